// One thread pool, sized once. parallel_for gives each thread a part of the range, in chunks; those who are done help the
// others. Workers spin briefly, then park, so that a neighbour on the machine costs little. Results never depend on the
// thread count: kernels split work only along independent outputs.
#pragma once
#include <cstdint>
#include <functional>

namespace mlt {

// Non-owning reference to a callable; cheaper than std::function and never allocates.
template <typename Sig>
class FunctionRef;
template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  template <typename F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef>)
  FunctionRef(F&& f)  // NOLINT(google-explicit-constructor)
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// Sets the pool's size (callers included); 0 means available_cores(). Takes effect before the next parallel_for.
void set_thread_count(int threads);
int thread_count();
// Those that a parallel_for called here would use: one inside another.
int threads_here();

// Runs body(begin, end) over [0, count) in chunks of about `grain` or more, on all threads; returns when all are done.
// Nested calls run inline. body must not throw.
void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body);

}  // namespace mlt
