// The pool: one job at a time, published by bumping a generation counter. Workers that find the counter changed take
// chunks from a shared cursor until it is exhausted. A worker waiting for the next job spins for a few microseconds
// (a model's steps follow each other closely) and then parks on a futex (std::atomic::wait): a pool that spins for
// ever slows down several times as soon as another process wants the core.
#include "lib/base/threads.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "lib/base/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace mlt {
namespace {

constexpr int kSpins = 2000;

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

thread_local bool inside_pool = false;

// A worker that is woken may be put on the caller's own core, and stay there for milliseconds: longer than many models
// run. It then leaves that core to the caller.
class Placement {
 public:
#if defined(__linux__)
  Placement() { known_ = sched_getaffinity(0, sizeof allowed_, &allowed_) == 0 && CPU_COUNT(&allowed_) > 1; }
  // By the caller.
  void here() { caller_.store(known_ ? sched_getcpu() : -1, std::memory_order_relaxed); }
  // By a worker.
  void make_way() const {
    const int caller = caller_.load(std::memory_order_relaxed);
    if (caller < 0 || caller >= CPU_SETSIZE || sched_getcpu() != caller) return;
    cpu_set_t others = allowed_;
    CPU_CLR(caller, &others);
    if (CPU_COUNT(&others) > 0) sched_setaffinity(0, sizeof others, &others);  // a wish: failure changes nothing
  }

 private:
  cpu_set_t allowed_{};
  bool known_ = false;
  std::atomic<int> caller_{-1};
#else
  void here() {}
  void make_way() const {}
#endif
};

class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() {
    stop_.store(true);
    generation_.fetch_add(1);
    generation_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }
  int size() const { return static_cast<int>(workers_.size()) + 1; }

  void run(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
    // About four chunks per thread balance uneven work without many trips to the cursor.
    int64_t chunk = std::max(grain, (count + size() * 4 - 1) / (size() * 4));
    // Workers that woke late for the previous job may still be looking at its fields.
    while (active_.load(std::memory_order_acquire) != 0) relax();
    place_.here();
    body_ = &body;
    count_ = count;
    chunk_ = chunk;
    cursor_.store(0, std::memory_order_relaxed);
    pending_.store((count + chunk - 1) / chunk, std::memory_order_relaxed);
    open_.store(true, std::memory_order_seq_cst);
    generation_.fetch_add(1, std::memory_order_seq_cst);
    if (parked_.load(std::memory_order_seq_cst) > 0) generation_.notify_all();
    inside_pool = true;
    take_chunks();
    inside_pool = false;
    for (int spins = 0; pending_.load(std::memory_order_acquire) != 0;) {
      if (++spins < kSpins) {
        relax();
      } else {
        std::this_thread::yield();
      }
    }
    open_.store(false, std::memory_order_seq_cst);
  }

 private:
  void take_chunks() {
    for (;;) {
      int64_t begin = cursor_.fetch_add(chunk_, std::memory_order_relaxed);
      if (begin >= count_) return;
      (*body_)(begin, std::min(begin + chunk_, count_));
      pending_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  void work() {
    inside_pool = true;
    uint32_t seen = 0;
    for (;;) {
      int spins = 0;
      while (generation_.load(std::memory_order_acquire) == seen) {
        if (++spins < kSpins) {
          relax();
          continue;
        }
        parked_.fetch_add(1, std::memory_order_seq_cst);
        generation_.wait(seen, std::memory_order_seq_cst);
        parked_.fetch_sub(1, std::memory_order_seq_cst);
      }
      seen = generation_.load(std::memory_order_acquire);
      if (stop_.load()) return;
      place_.make_way();
      active_.fetch_add(1, std::memory_order_seq_cst);
      if (open_.load(std::memory_order_seq_cst)) take_chunks();
      active_.fetch_sub(1, std::memory_order_release);
    }
  }

  Placement place_;
  std::vector<std::thread> workers_;
  std::atomic<uint32_t> generation_{0};
  std::atomic<bool> stop_{false}, open_{false};
  std::atomic<int> active_{0}, parked_{0};
  std::atomic<int64_t> cursor_{0}, pending_{0};
  FunctionRef<void(int64_t, int64_t)>* body_ = nullptr;
  int64_t count_ = 0, chunk_ = 1;
};

struct Global {
  std::mutex mutex;  // one job at a time; callers from several threads take turns
  int requested = 0;
  Pool* pool = nullptr;
  ~Global() { delete pool; }
};
Global& global() {
  static Global g;
  return g;
}

}  // namespace

void set_thread_count(int threads) {
  Global& g = global();
  std::lock_guard lock(g.mutex);
  if (threads == g.requested) return;
  g.requested = threads;
  delete g.pool;
  g.pool = nullptr;
}

int thread_count() {
  Global& g = global();
  std::lock_guard lock(g.mutex);
  static const int cores = available_cores();  // reads files: too slow to ask at every kernel
  return g.requested > 0 ? g.requested : cores;
}

void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (inside_pool || count <= grain) return body(0, count);
  Global& g = global();
  std::lock_guard lock(g.mutex);
  if (g.pool == nullptr) g.pool = new Pool(g.requested > 0 ? g.requested : available_cores());
  if (g.pool->size() == 1) {
    inside_pool = true;
    body(0, count);
    inside_pool = false;
    return;
  }
  g.pool->run(count, grain, body);
}

}  // namespace mlt
