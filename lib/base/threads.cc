// The pool: one job at a time, published by bumping a generation counter. Every thread has its own part of each job and
// helps the others when it is done: the same rows of a network's images stay on the same core from one step to the next,
// and a core that a neighbour holds up costs no more than the chunk it is at. A worker waiting for the next job spins for
// about as long as a small step takes that one thread runs alone (a model's steps follow each other closely) and then parks
// on a futex (std::atomic::wait): a pool that spins for ever slows down several times as soon as another process wants the
// core.
#include "lib/base/threads.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "lib/base/cpu.h"
#include "lib/base/float_mode.h"
#include "lib/base/work_share.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace mlt {
namespace {

constexpr int kSpins = 8000, kShortSpins = 2000;
// A caller that has given way so often before its workers were done takes it that somebody else wants a core, for so many
// jobs: who spins then is not there when it should be.
constexpr int kPatience = 256, kCrowdedJobs = 256;
constexpr int64_t kChunks = 16;
constexpr uint64_t kPart = 2;  // what is taken at once of what is left: half

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
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  }
  ~Pool() {
    stop_.store(true);
    generation_.fetch_add(1);
    generation_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }
  int size() const { return static_cast<int>(workers_.size()) + 1; }

  void run(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
    // So many chunks per thread even the ends out; far from them several are taken at once.
    const int64_t threads = size(), most = std::max<int64_t>(1, (count + grain - 1) / grain);
    const int64_t chunks = most >= threads ? std::min(kChunks * threads, most / threads * threads) : most;
    // Workers that woke late for the previous job may still be looking at its fields.
    while (active_.load(std::memory_order_acquire) != 0) relax();
    place_.here();
    mode_ = float_mode();
    if (const int left = crowded_.load(std::memory_order_relaxed); left > 0) crowded_.store(left - 1, std::memory_order_relaxed);
    body_ = &body;
    count_ = count;
    chunks_ = chunks;
    share_.reset(size(), chunks);
    pending_.store(chunks, std::memory_order_relaxed);
    open_.store(true, std::memory_order_seq_cst);
    generation_.fetch_add(1, std::memory_order_seq_cst);
    if (parked_.load(std::memory_order_seq_cst) > 0) generation_.notify_all();
    inside_pool = true;
    take_chunks(0);
    inside_pool = false;
    for (int spins = 0; pending_.load(std::memory_order_acquire) != 0;) {
      if (++spins < kShortSpins) {
        relax();
      } else {
        std::this_thread::yield();
        if (spins == kShortSpins + kPatience) crowded_.store(kCrowdedJobs, std::memory_order_relaxed);
      }
    }
    open_.store(false, std::memory_order_seq_cst);
  }

 private:
  void take_chunks(int thread) {
    int64_t done = 0;
    for (WorkShare::Span span; (span = share_.next(thread, kPart)).begin < span.end; done += span.end - span.begin)
      (*body_)(bound(span.begin), bound(span.end));
    if (done > 0) pending_.fetch_sub(done, std::memory_order_acq_rel);
  }
  int64_t bound(int64_t chunk) const { return count_ / chunks_ * chunk + count_ % chunks_ * chunk / chunks_; }

  void work(int thread) {
    inside_pool = true;
    uint32_t seen = 0;
    for (;;) {
      int spins = 0;
      while (generation_.load(std::memory_order_acquire) == seen) {
        if (++spins < (crowded_.load(std::memory_order_relaxed) > 0 ? kShortSpins : kSpins)) {
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
      if (open_.load(std::memory_order_seq_cst)) {
        set_float_mode(mode_);  // results do not depend on who computes them
        take_chunks(thread);
      }
      active_.fetch_sub(1, std::memory_order_release);
    }
  }

  Placement place_;
  std::vector<std::thread> workers_;
  // Written by everybody, each in a line of its own; then what the caller writes once a job.
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<int> active_{0};
  alignas(64) std::atomic<int> parked_{0};
  alignas(64) std::atomic<int64_t> pending_{0};
  alignas(64) std::atomic<bool> stop_{false};
  std::atomic<bool> open_{false};
  std::atomic<int> crowded_{0};  // jobs
  FunctionRef<void(int64_t, int64_t)>* body_ = nullptr;
  int64_t count_ = 0, chunks_ = 1;
  uint32_t mode_ = 0;  // the caller's
  WorkShare share_;
};

struct Global {
  std::mutex mutex;  // one job at a time; callers from several threads take turns
  std::atomic<int> requested{0};
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
  static const int cores = available_cores();  // reads files: too slow to ask at every kernel
  const int requested = global().requested;
  return requested > 0 ? requested : cores;
}

int threads_here() { return inside_pool ? 1 : thread_count(); }

void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (inside_pool || count <= grain) return body(0, count);
  Global& g = global();
  std::lock_guard lock(g.mutex);
  if (g.pool == nullptr) g.pool = new Pool(thread_count());
  if (g.pool->size() == 1) {
    inside_pool = true;
    body(0, count);
    inside_pool = false;
    return;
  }
  g.pool->run(count, grain, body);
}

}  // namespace mlt
