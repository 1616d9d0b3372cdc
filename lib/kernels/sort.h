// Orders of the elements along an axis.
#pragma once
#include <cstddef>
#include <cstdint>

namespace mlt {

// Bytes of scratch for either function below.
size_t sort_scratch_bytes(int64_t axis) noexcept;
// Indices that sort each slice of [outer, axis, inner]; stable; NaN last when ascending, first when descending.
void arg_sort(const float* in, int32_t* out, int64_t outer, int64_t axis, int64_t inner, bool descending,
              void* scratch) noexcept;
// The k first of that order: values and indices are [outer, k, inner]; either may be null. k <= axis.
void top_k(const float* in, float* values, int32_t* indices, int64_t outer, int64_t axis, int64_t inner, int64_t k,
           bool ascending, void* scratch) noexcept;

}  // namespace mlt
