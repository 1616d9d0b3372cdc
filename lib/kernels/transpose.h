// Moving elements: permutation and strided copies for slice, concat, pad, tile, expand, reverse. Elements are 1, 2, 4
// or 8 bytes and are not looked at.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "lib/kernels/elementwise.h"

namespace mlt {

// out's axis i is in's axis perm[i]; `shape` is in's. Rank <= kMaxRank. Not in place.
void transpose(const void* in, void* out, std::span<const int64_t> shape, std::span<const int64_t> perm,
               int element) noexcept;

// Copies `shape` elements between strided views (strides in elements; input strides may be 0 or negative, output
// strides must address distinct elements). Views must not overlap.
struct StridedCopy {
  int rank = 0;
  std::array<int64_t, kMaxRank> shape{}, in_stride{}, out_stride{};
  bool stream = false;  // nobody reads the copy soon: long lines go past the caches
};
void strided_copy(const StridedCopy& p, const void* in, void* out, int element) noexcept;

// Fills a strided view with one element; `in_stride` is not used.
void strided_fill(const StridedCopy& p, const void* value, void* out, int element) noexcept;

// Row-major strides of a contiguous array.
std::array<int64_t, kMaxRank> contiguous_strides(std::span<const int64_t> shape) noexcept;

// out[o, r, i] = in[o, index[r], i] over in [outer, axis, inner] and `count` indices. Negative indices count from the
// end; one outside [-axis, axis) gives zeros.
void gather_rows(const void* in, const int32_t* index, void* out, int64_t outer, int64_t axis, int64_t inner,
                 int64_t count, int element) noexcept;
// out[o, r, i] = in[o, index[o, r, i], i] over in [outer, axis, inner] and index [outer, count, inner]; the same rule.
void gather_along(const void* in, const int32_t* index, void* out, int64_t outer, int64_t axis, int64_t inner,
                  int64_t count, int element) noexcept;

}  // namespace mlt
