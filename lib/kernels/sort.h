// Orders of the elements along an axis.
#pragma once
#include <cstddef>
#include <cstdint>

namespace mlt {

// Bytes of scratch for either function below; 0 where none is needed.
size_t sort_scratch_bytes(int64_t lanes, int64_t axis, int64_t k) noexcept;
// Indices that sort each slice of [outer, axis, inner]; stable; NaN last.
// axis <= INT32_MAX. T: float, int32_t.
template <typename T>
void arg_sort(const T* in, int32_t* out, int64_t outer, int64_t axis, int64_t inner, bool descending, void* scratch) noexcept;
// The k first of that order: values and indices are [outer, k, inner]; either may be null. k <= axis.
template <typename T>
void top_k(const T* in, T* values, int32_t* indices, int64_t outer, int64_t axis, int64_t inner, int64_t k, bool ascending,
           void* scratch) noexcept;

}  // namespace mlt
