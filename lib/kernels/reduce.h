// Reductions over the middle axis of [outer, axis, inner]; results are [outer, inner]. Callers merge adjacent reduced
// axes and transpose when reduced axes are not adjacent.
#pragma once
#include <cstdint>

namespace mlt {

enum class Reduce : uint8_t {
  kSum,
  kMean,
  kMax,  // NaN if any is NaN; -infinity when empty
  kMin,
  kProd,
  kSumSquare,
  kL1,
  kL2,
  kLogSum,
  kLogSumExp,
};

// Sums are accumulated in float32 over several partial sums whose number does not depend on the thread count.
void reduce(Reduce op, const float* in, float* out, int64_t outer, int64_t axis, int64_t inner) noexcept;
// kSum, kMax, kMin, kProd, kMean (rounded toward zero), kSumSquare, kL1; others leave out untouched and
// return false.
bool reduce(Reduce op, const int32_t* in, int32_t* out, int64_t outer, int64_t axis, int64_t inner) noexcept;

// Position of the largest or smallest element, the first of equals; NaN counts as the most extreme.
void arg_max(const float* in, int32_t* out, int64_t outer, int64_t axis, int64_t inner) noexcept;
void arg_min(const float* in, int32_t* out, int64_t outer, int64_t axis, int64_t inner) noexcept;

// Running sum along the axis of [outer, axis, inner], in float64 for float and modulo 2^32 for int32_t.
template <typename T>
void cumsum(const T* in, T* out, int64_t outer, int64_t axis, int64_t inner, bool exclusive, bool reverse) noexcept;

}  // namespace mlt
