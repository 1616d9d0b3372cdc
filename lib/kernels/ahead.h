// Internal: the panel of weights behind the one in use comes from memory meanwhile.
#pragma once
#include <cstdint>

namespace mlt {

// Each of `tiles` tiles that use one panel fetches its share of what is used next, `size` floats, or null.
struct Ahead {
  Ahead(const float* behind, int64_t size, int64_t tiles) : next(behind), lines(tiles > 0 ? (size / 16 + tiles - 1) / tiles : 0) {
    // One tile makes it worth nothing.
    if (tiles < 2) next = nullptr;
  }
  const float* share(int64_t tile) const { return next != nullptr ? next + tile * lines * 16 : nullptr; }
  const float* next;
  int64_t lines;
};

}  // namespace mlt
