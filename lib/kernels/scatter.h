// Slices and elements at given places: combined into others, or read.
#pragma once
#include <array>
#include <cstdint>

#include "lib/kernels/elementwise.h"

namespace mlt {

enum class Scatter : uint8_t { kUpdate, kAdd, kSub, kMul, kDiv, kMax, kMin };  // int32 division by zero gives 0

// Tuples of `depth` indices, one for each axis. Negative indices count from the end. depth <= kMaxRank.
struct IndexTuples {
  const int32_t* at = nullptr;
  int depth = 1;
  std::array<int64_t, kMaxRank> extent{};
  // The slice that tuple t addresses; -1 when an index is outside of [-extent, extent).
  int64_t slice(int64_t t) const noexcept {
    const int32_t* tuple = at + t * depth;
    int64_t offset = 0;
    for (int d = 0; d < depth; ++d) {
      const int64_t n = extent[static_cast<size_t>(d)], index = tuple[d] < 0 ? tuple[d] + n : tuple[d];
      if (index < 0 || index >= n) return -1;
      offset = offset * n + index;
    }
    return offset;
  }
};

// out[b, t] = in[b, index[b, t]] over in [batches, slices, inner] and tuples [batches, count]; zeros where there is none.
// Elements are 1, 2, 4 or 8 bytes.
void gather_tuples(const void* in, const IndexTuples& index, void* out, int64_t batches, int64_t slices, int64_t inner, int64_t count, int element) noexcept;

// data[o, index[t]] = f(data[o, index[t]], updates[o, t]) over data [outer, slices, inner], updates [outer, count, inner] and
// `count` tuples, in their order; those that address nothing are left out. T: float, int32_t.
template <typename T>
void scatter_slices(Scatter f, const IndexTuples& index, const T* updates, T* data, int64_t outer, int64_t slices, int64_t inner, int64_t count) noexcept;
// data[o, index[o, r, i], i] = f(..., updates[o, r, i]) over data [outer, axis, inner], index and updates [outer, count, inner].
template <typename T>
void scatter_along(Scatter f, const int32_t* index, const T* updates, T* data, int64_t outer, int64_t axis, int64_t inner, int64_t count) noexcept;

}  // namespace mlt
