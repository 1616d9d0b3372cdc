// Items 0..n-1 cut into one range for each owner. An owner takes from the front of its range and, when that is empty, from
// the back of the others': who takes which item is the same from one job to the next as long as nobody falls behind, so that
// what a core made stays in its cache.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

namespace mlt {

class WorkShare {
 public:
  static constexpr int kMostOwners = 64;
  struct Span {
    int64_t begin, end;  // empty: nothing is left
  };

  // Nobody else uses the object meanwhile. More owners than kMostOwners share ranges.
  void reset(int owners, int64_t items) {
    owners_ = std::clamp(owners, 1, kMostOwners);
    items_ = items;
    unit_ = std::max<int64_t>(1, (items + kMostUnits - 1) / kMostUnits);
    const uint64_t units = static_cast<uint64_t>((items + unit_ - 1) / unit_), n = static_cast<uint64_t>(owners_);
    for (uint64_t i = 0; i < n; ++i) ranges_[i].span.store(units * i / n << 32 | units * (i + 1) / n, std::memory_order_relaxed);
  }
  // A unit, or as much as one part in `parts` of what is left of a range.
  Span next(int owner, uint64_t parts = ~uint64_t{0}) {
    owner %= owners_;
    for (int i = 0; i < owners_; ++i) {
      std::atomic<uint64_t>& span = ranges_[static_cast<size_t>((owner + i) % owners_)].span;
      uint64_t old = span.load(std::memory_order_relaxed);
      for (;;) {
        const uint64_t begin = old >> 32, end = old & 0xffffffff;
        if (begin >= end) break;
        const uint64_t units = std::max<uint64_t>(1, (end - begin) / parts);
        const uint64_t taken = i == 0 ? begin : end - units, left = i == 0 ? (begin + units) << 32 | end : begin << 32 | taken;
        if (!span.compare_exchange_weak(old, left, std::memory_order_relaxed)) continue;
        const int64_t first = static_cast<int64_t>(taken) * unit_;
        return {first, std::min(items_, first + static_cast<int64_t>(units) * unit_)};
      }
    }
    return {0, 0};
  }

 private:
  static constexpr int64_t kMostUnits = int64_t{1} << 30;
  struct alignas(64) Range {
    std::atomic<uint64_t> span{0};  // begin << 32 | end, in units
  };
  std::array<Range, kMostOwners> ranges_;
  int owners_ = 1;
  int64_t items_ = 0, unit_ = 1;
};

}  // namespace mlt
