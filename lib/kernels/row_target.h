// Internal: loops over one contiguous row that reductions, normalisations and pooling are made of.
#pragma once
#include <cstdint>

#include "lib/kernels/pool.h"
#include "lib/kernels/reduce.h"

namespace mlt {

inline constexpr int64_t kWindowSlack = 128;

// Powers of e from here down count as 0 in sums of them (ln of the least normal number, rounded up): others would be
// subnormal, whatever computes with those takes many times as long, and masks are full of them.
inline constexpr float kLeastPower = -87.33654f;

struct RowTarget {
  // Long rows are summed in blocks, in float, the blocks in double.
  double (*sum)(const float* x, int64_t n) noexcept;
  double (*sum_abs)(const float* x, int64_t n) noexcept;
  // of (x - center)^2
  double (*sum_square)(const float* x, int64_t n, float center) noexcept;
  float (*max)(const float* x, int64_t n) noexcept;  // NaN if any is; -infinity when n is 0
  float (*min)(const float* x, int64_t n) noexcept;
  // exp(x - shift) to out unless null; returns the sum.
  double (*exp_sum)(const float* x, float* out, int64_t n, float shift) noexcept;
  // out = (x - center) * scale * gamma + beta; gamma and beta by element or null.
  void (*normalize)(const float* x, float* out, int64_t n, float center, float scale, const float* gamma,
                    const float* beta) noexcept;
  // out = (x - center) * scale + shift
  void (*center_scale)(const float* x, float* out, int64_t n, float center, float scale, float shift) noexcept;
  // acc[i] = acc[i] op x[i] for kSum, kMax, kMin, kProd, kSumSquare, kL1.
  void (*accumulate)(Reduce op, const float* x, float* acc, int64_t n) noexcept;
  // out[r] = x[r * n] op ... op x[r * n + n - 1], rows across the lanes, which pays where they are short. Null in the
  // reference.
  void (*short_rows)(Reduce op, const float* x, float* out, int64_t rows, int64_t n) noexcept;
  float (*dot)(const float* a, const float* b, int64_t n) noexcept;
  // y += alpha * x
  void (*axpy)(float alpha, const float* x, float* y, int64_t n) noexcept;
  // out[i] = x . rows[i], of `count` rows `stride` apart.
  void (*dots)(const float* x, const float* rows, int64_t stride, int64_t count, int64_t n, float* out) noexcept;
  // out[0..n) += sum over i of weights[i] * rows[i][0..n).
  void (*combine)(const float* weights, const float* rows, int64_t stride, int64_t count, float* out, int64_t n) noexcept;
  // out[i] = acc over `taps` of in[i * stride + t * dilation], for kSum, kMax. Reads up to
  // kWindowSlack floats behind the last one used.
  void (*window)(Reduce op, const float* in, int64_t taps, int64_t stride, int64_t dilation, float* out,
                 int64_t n) noexcept;
  // Maximum over the windows of several rows of one width at once, straight from the input: out[i] over all rows and
  // taps of row[start + i * stride + t * dilation], columns outside [0, width) ignored. Stride 1 or 2. Null where the
  // set has no masked loads.
  void (*max_rows)(const float* const* rows, int64_t count, int64_t width, int64_t start, int64_t taps, int64_t stride,
                   int64_t dilation, float* out, int64_t n) noexcept;
};

const RowTarget& row_target() noexcept;

}  // namespace mlt
