// Internal to lib/kernels: how a family's functions reach the instruction set in use, and how work is spread.
//
// Each family has a table of function pointers (<family>_target.h); the reference fills one, each Highway target
// another. Tables hold single-threaded loops; the family's .cc splits the work.
#pragma once
#include <algorithm>
#include <cstdint>

#include "lib/base/threads.h"
#include "lib/base/work_share.h"

namespace mlt {

// True when the scalar reference is to run. Also makes Highway's dispatch honour MLT_CPU before its first use.
bool use_reference() noexcept;

// Chunks below this many elementary operations are not worth another thread.
inline constexpr int64_t kMinWork = 1 << 15;

inline int64_t grain_for(int64_t work_per_item) noexcept {
  return std::max<int64_t>(1, kMinWork / std::max<int64_t>(1, work_per_item));
}

// Runs body(slot, item) for every item in [0, items); at any moment each slot in [0, slots) works on one item only, so
// it can own a piece of scratch.
template <typename Body>
void for_slots(int64_t slots, int64_t items, const Body& body) noexcept {
  slots = std::max<int64_t>(1, std::min(slots, items));
  WorkShare share;
  share.reset(static_cast<int>(std::min<int64_t>(slots, WorkShare::kMostOwners)), items);
  parallel_for(slots, 1, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot)
      for (WorkShare::Span span; (span = share.next(static_cast<int>(slot))).begin < span.end;)
        for (int64_t i = span.begin; i < span.end; ++i) body(slot, i);
  });
}

}  // namespace mlt
