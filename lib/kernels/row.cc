#include <algorithm>
#include <cmath>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/row_target.h"

namespace mlt {

const RowTarget* row_simd();

namespace {

double sum_ref(const float* x, int64_t n) noexcept {
  double s = 0;
  for (int64_t i = 0; i < n; ++i) s += x[i];
  return s;
}
double sum_abs_ref(const float* x, int64_t n) noexcept {
  double s = 0;
  for (int64_t i = 0; i < n; ++i) s += std::fabs(x[i]);
  return s;
}
double sum_square_ref(const float* x, int64_t n, float center) noexcept {
  double s = 0;
  for (int64_t i = 0; i < n; ++i) s += (static_cast<double>(x[i]) - center) * (static_cast<double>(x[i]) - center);
  return s;
}
float max_ref(const float* x, int64_t n) noexcept {
  float m = -INFINITY;
  for (int64_t i = 0; i < n; ++i) m = x[i] > m || std::isnan(x[i]) ? x[i] : m;
  return m;
}
float min_ref(const float* x, int64_t n) noexcept {
  float m = INFINITY;
  for (int64_t i = 0; i < n; ++i) m = x[i] < m || std::isnan(x[i]) ? x[i] : m;
  return m;
}
double exp_sum_ref(const float* x, float* out, int64_t n, float shift) noexcept {
  double s = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float e = std::exp(x[i] - shift);
    if (out != nullptr) out[i] = e;
    s += e;
  }
  return s;
}
void normalize_ref(const float* x, float* out, int64_t n, float center, float scale, const float* gamma,
                   const float* beta) noexcept {
  for (int64_t i = 0; i < n; ++i) {
    float v = (x[i] - center) * scale;
    if (gamma != nullptr) v *= gamma[i];
    out[i] = beta != nullptr ? v + beta[i] : v;
  }
}
void center_scale_ref(const float* x, float* out, int64_t n, float center, float scale, float shift) noexcept {
  for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - center) * scale + shift;
}
float combine(Reduce op, float acc, float x) {
  switch (op) {
    case Reduce::kMax: return x > acc || std::isnan(x) ? x : acc;
    case Reduce::kMin: return x < acc || std::isnan(x) ? x : acc;
    case Reduce::kProd: return acc * x;
    case Reduce::kSumSquare: return acc + x * x;
    case Reduce::kL1: return acc + std::fabs(x);
    default: return acc + x;
  }
}
void accumulate_ref(Reduce op, const float* x, float* acc, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) acc[i] = combine(op, acc[i], x[i]);
}
float dot_ref(const float* a, const float* b, int64_t n) noexcept {
  float s = 0;
  for (int64_t i = 0; i < n; ++i) s += a[i] * b[i];
  return s;
}
void axpy_ref(float alpha, const float* x, float* y, int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) y[i] += alpha * x[i];
}
void dots_ref(const float* x, const float* rows, int64_t stride, int64_t count, int64_t n, float* out) noexcept {
  for (int64_t i = 0; i < count; ++i) out[i] = dot_ref(x, rows + i * stride, n);
}
void combine_ref(const float* weights, const float* rows, int64_t stride, int64_t count, float* out, int64_t n) noexcept {
  for (int64_t i = 0; i < count; ++i) axpy_ref(weights[i], rows + i * stride, out, n);
}
void window_ref(Reduce op, const float* in, int64_t taps, int64_t stride, int64_t dilation, float* out,
                int64_t n) noexcept {
  for (int64_t i = 0; i < n; ++i) {
    float acc = in[i * stride];
    for (int64_t t = 1; t < taps; ++t) acc = combine(op, acc, in[i * stride + t * dilation]);
    out[i] = acc;
  }
}

constexpr RowTarget kReference{sum_ref,     sum_abs_ref,   sum_square_ref, max_ref,   min_ref,
                               exp_sum_ref, normalize_ref, center_scale_ref, accumulate_ref,
                               nullptr,     dot_ref,     axpy_ref,      dots_ref,       combine_ref,   window_ref,     nullptr};

}  // namespace

const RowTarget& row_target() noexcept { return use_reference() ? kReference : *row_simd(); }

}  // namespace mlt
