#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/row_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstddef>

#include "lib/kernels/bounds-inl.h"
#include "lib/kernels/math-inl.h"
#include "lib/kernels/row_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int64_t kLanes = HWY_MAX_BYTES / sizeof(float);
// A multiple of four vectors of any target.
constexpr int64_t kBlock = 1024;

// Masks where the set has them: a vector loaded from scalars just stored waits for all of them.
HWY_INLINE V load_part(const float* p, int64_t n, float fill) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  const auto mask = hn::FirstN(D(), static_cast<size_t>(n));
  return hn::IfThenElse(mask, hn::MaskedLoad(mask, D(), p), hn::Set(D(), fill));
#else
  HWY_ALIGN float edge[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) edge[i] = i < n ? p[i] : fill;
  return hn::Load(D(), edge);
#endif
}
HWY_INLINE void store_part(V v, float* p, int64_t n) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  hn::BlendedStore(v, hn::FirstN(D(), static_cast<size_t>(n)), D(), p);
#else
  HWY_ALIGN float edge[kLanes];
  hn::Store(v, D(), edge);
  for (int64_t i = 0; i < n; ++i) p[i] = edge[i];
#endif
}

// Sum of f(x) where f of the neutral element is 0.
template <typename F>
HWY_INLINE double sum_of(const float* x, int64_t n, float neutral, const F& f) {
  const D d;
  double total = 0;
  for (int64_t from = 0; from < n; from += kBlock) {
    const int64_t end = n - from < kBlock ? n : from + kBlock;
    V a = hn::Zero(d), b = a, c = a, e = a;
    int64_t i = from;
    for (; i + 4 * kLanes <= end; i += 4 * kLanes) {
      a = hn::Add(a, f(hn::LoadU(d, x + i)));
      b = hn::Add(b, f(hn::LoadU(d, x + i + kLanes)));
      c = hn::Add(c, f(hn::LoadU(d, x + i + 2 * kLanes)));
      e = hn::Add(e, f(hn::LoadU(d, x + i + 3 * kLanes)));
    }
    for (; i + kLanes <= end; i += kLanes) a = hn::Add(a, f(hn::LoadU(d, x + i)));
    if (i < end) b = hn::Add(b, f(load_part(x + i, end - i, neutral)));
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e)))));
  }
  return total;
}

double sum(const float* x, int64_t n) noexcept {
  return sum_of(x, n, 0, [](V v) { return v; });
}
double sum_abs(const float* x, int64_t n) noexcept {
  return sum_of(x, n, 0, [](V v) { return hn::Abs(v); });
}
double sum_square(const float* x, int64_t n, float center) noexcept {
  const V c = hn::Set(D(), center);
  return sum_of(x, n, center, [c](V v) {
    const V z = hn::Sub(v, c);
    return hn::Mul(z, z);
  });
}

// x, unless the accumulator is already NaN.
HWY_INLINE V max_nan(V acc, V x) { return math::keep_nan(acc, at_least(acc, x)); }
HWY_INLINE V min_nan(V acc, V x) { return math::keep_nan(acc, at_most(acc, x)); }

template <typename F>
HWY_INLINE float extreme(const float* x, int64_t n, float neutral, const F& f) {
  const D d;
  V a = hn::Set(d, neutral), b = a;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    a = f(a, hn::LoadU(d, x + i));
    b = f(b, hn::LoadU(d, x + i + kLanes));
  }
  for (; i < n; i += kLanes) a = f(a, n - i >= kLanes ? hn::LoadU(d, x + i) : load_part(x + i, n - i, neutral));
  HWY_ALIGN float lanes[kLanes];
  hn::Store(f(a, b), d, lanes);
  float m = neutral;
  for (int64_t j = 0; j < kLanes; ++j)
    m = std::isnan(lanes[j]) || (neutral < 0 ? lanes[j] > m : lanes[j] < m) ? lanes[j] : m;
  return m;
}
float max(const float* x, int64_t n) noexcept {
  return extreme(x, n, -HUGE_VALF, [](V a, V b) { return max_nan(a, b); });
}
float min(const float* x, int64_t n) noexcept {
  return extreme(x, n, HUGE_VALF, [](V a, V b) { return min_nan(a, b); });
}

// exp(x), 0 where that would be subnormal.
HWY_INLINE V exp_normal(V x) {
  const V least = hn::Set(D(), kLeastPower);
  return hn::IfThenZeroElse(hn::Le(x, least), math::exp(at_least(least, x)));
}

double exp_sum(const float* x, float* out, int64_t n, float shift) noexcept {
  const D d;
  const V s = hn::Set(d, shift);
  double total = 0;
  for (int64_t from = 0; from < n; from += kBlock) {
    const int64_t end = n - from < kBlock ? n : from + kBlock;
    V a = hn::Zero(d), b = a;
    int64_t i = from;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
      const V p = exp_normal(hn::Sub(hn::LoadU(d, x + i), s)), q = exp_normal(hn::Sub(hn::LoadU(d, x + i + kLanes), s));
      if (out != nullptr) {
        hn::StoreU(p, d, out + i);
        hn::StoreU(q, d, out + i + kLanes);
      }
      a = hn::Add(a, p);
      b = hn::Add(b, q);
    }
    for (; i < end; i += kLanes) {
      const int64_t left = end - i;
      const V v = left >= kLanes ? hn::LoadU(d, x + i) : load_part(x + i, left, -HUGE_VALF);
      V p = exp_normal(hn::Sub(v, s));
      if (left < kLanes) p = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(left)), p);
      if (out != nullptr) {
        if (left >= kLanes) {
          hn::StoreU(p, d, out + i);
        } else {
          store_part(p, out + i, left);
        }
      }
      a = hn::Add(a, p);
    }
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b))));
  }
  return total;
}

void normalize(const float* x, float* out, int64_t n, float center, float scale, const float* gamma,
               const float* beta) noexcept {
  const D d;
  const V c = hn::Set(d, center), s = hn::Set(d, scale);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t left = n - i;
    const bool whole = left >= kLanes;
    V v = hn::Mul(hn::Sub(whole ? hn::LoadU(d, x + i) : load_part(x + i, left, 0), c), s);
    if (gamma != nullptr) v = hn::Mul(v, whole ? hn::LoadU(d, gamma + i) : load_part(gamma + i, left, 0));
    if (beta != nullptr) v = hn::Add(v, whole ? hn::LoadU(d, beta + i) : load_part(beta + i, left, 0));
    if (whole) {
      hn::StoreU(v, d, out + i);
    } else {
      store_part(v, out + i, left);
    }
  }
}

void center_scale(const float* x, float* out, int64_t n, float center, float scale, float shift) noexcept {
  const D d;
  const V c = hn::Set(d, center), s = hn::Set(d, scale), b = hn::Set(d, shift);
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t left = n - i;
    const V v = left >= kLanes ? hn::LoadU(d, x + i) : load_part(x + i, left, 0);
    const V y = hn::MulAdd(hn::Sub(v, c), s, b);
    if (left >= kLanes) {
      hn::StoreU(y, d, out + i);
    } else {
      store_part(y, out + i, left);
    }
  }
}

template <typename F>
HWY_INLINE void accumulate_with(const float* x, float* acc, int64_t n, const F& f) {
  const D d;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t left = n - i;
    if (left >= kLanes) {
      hn::StoreU(f(hn::LoadU(d, acc + i), hn::LoadU(d, x + i)), d, acc + i);
    } else {
      store_part(f(load_part(acc + i, left, 0), load_part(x + i, left, 0)), acc + i, left);
    }
  }
}
void accumulate(Reduce op, const float* x, float* acc, int64_t n) noexcept {
  switch (op) {
    case Reduce::kMax: return accumulate_with(x, acc, n, [](V a, V v) { return max_nan(a, v); });
    case Reduce::kMin: return accumulate_with(x, acc, n, [](V a, V v) { return min_nan(a, v); });
    case Reduce::kProd: return accumulate_with(x, acc, n, [](V a, V v) { return hn::Mul(a, v); });
    case Reduce::kSumSquare: return accumulate_with(x, acc, n, [](V a, V v) { return hn::Add(a, hn::Mul(v, v)); });
    case Reduce::kL1: return accumulate_with(x, acc, n, [](V a, V v) { return hn::Add(a, hn::Abs(v)); });
    default: return accumulate_with(x, acc, n, [](V a, V v) { return hn::Add(a, v); });
  }
}

template <typename F>
HWY_INLINE void short_rows_with(const float* x, float* out, int64_t rows, int64_t n, V start, const F& f) {
  const D d;
  const hn::RebindToSigned<D> di;
  for (int64_t r = 0; r < rows; r += kLanes, x += kLanes * n) {
    const int64_t left = rows - r;
    // Lanes behind the last row read it again.
    const auto row = hn::Min(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(left < kLanes ? left - 1 : kLanes - 1)));
    const auto at = hn::Mul(row, hn::Set(di, static_cast<int32_t>(n)));
    V acc = start;
    for (int64_t i = 0; i < n; ++i) acc = f(acc, hn::GatherIndex(d, x + i, at));
    if (left >= kLanes) {
      hn::StoreU(acc, d, out + r);
    } else {
      store_part(acc, out + r, left);
    }
  }
}
void short_rows(Reduce op, const float* x, float* out, int64_t rows, int64_t n) noexcept {
  const D d;
  const V zero = hn::Zero(d);
  switch (op) {
    case Reduce::kMax: return short_rows_with(x, out, rows, n, hn::Set(d, -HUGE_VALF), [](V a, V v) { return max_nan(a, v); });
    case Reduce::kMin: return short_rows_with(x, out, rows, n, hn::Set(d, HUGE_VALF), [](V a, V v) { return min_nan(a, v); });
    case Reduce::kProd: return short_rows_with(x, out, rows, n, hn::Set(d, 1.0f), [](V a, V v) { return hn::Mul(a, v); });
    case Reduce::kSumSquare: return short_rows_with(x, out, rows, n, zero, [](V a, V v) { return hn::Add(a, hn::Mul(v, v)); });
    case Reduce::kL1: return short_rows_with(x, out, rows, n, zero, [](V a, V v) { return hn::Add(a, hn::Abs(v)); });
    default: return short_rows_with(x, out, rows, n, zero, [](V a, V v) { return hn::Add(a, v); });
  }
}

float dot(const float* p, const float* q, int64_t n) noexcept {
  const D d;
  V a = hn::Zero(d), b = a, c = a, e = a;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = hn::MulAdd(hn::LoadU(d, p + i), hn::LoadU(d, q + i), a);
    b = hn::MulAdd(hn::LoadU(d, p + i + kLanes), hn::LoadU(d, q + i + kLanes), b);
    c = hn::MulAdd(hn::LoadU(d, p + i + 2 * kLanes), hn::LoadU(d, q + i + 2 * kLanes), c);
    e = hn::MulAdd(hn::LoadU(d, p + i + 3 * kLanes), hn::LoadU(d, q + i + 3 * kLanes), e);
  }
  for (; i + kLanes <= n; i += kLanes) a = hn::MulAdd(hn::LoadU(d, p + i), hn::LoadU(d, q + i), a);
  if (i < n) b = hn::MulAdd(load_part(p + i, n - i, 0), load_part(q + i, n - i, 0), b);
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
}

void axpy(float alpha, const float* x, float* y, int64_t n) noexcept {
  const V s = hn::Set(D(), alpha);
  accumulate_with(x, y, n, [s](V a, V v) { return hn::MulAdd(s, v, a); });
}

// Four rows at a time: their sums wait for one another's additions otherwise.
void dots(const float* x, const float* rows, int64_t stride, int64_t count, int64_t n, float* out) noexcept {
  const D d;
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const float *p = rows + i * stride, *q = p + stride, *r = q + stride, *s = r + stride;
    V a = hn::Zero(d), b = a, c = a, e = a;
    int64_t j = 0;
    for (; j + kLanes <= n; j += kLanes) {
      const V v = hn::LoadU(d, x + j);
      a = hn::MulAdd(v, hn::LoadU(d, p + j), a);
      b = hn::MulAdd(v, hn::LoadU(d, q + j), b);
      c = hn::MulAdd(v, hn::LoadU(d, r + j), c);
      e = hn::MulAdd(v, hn::LoadU(d, s + j), e);
    }
    if (j < n) {
      const V v = load_part(x + j, n - j, 0);
      a = hn::MulAdd(v, load_part(p + j, n - j, 0), a);
      b = hn::MulAdd(v, load_part(q + j, n - j, 0), b);
      c = hn::MulAdd(v, load_part(r + j, n - j, 0), c);
      e = hn::MulAdd(v, load_part(s + j, n - j, 0), e);
    }
    out[i] = hn::GetLane(hn::SumOfLanes(d, a));
    out[i + 1] = hn::GetLane(hn::SumOfLanes(d, b));
    out[i + 2] = hn::GetLane(hn::SumOfLanes(d, c));
    out[i + 3] = hn::GetLane(hn::SumOfLanes(d, e));
  }
  for (; i < count; ++i) out[i] = dot(x, rows + i * stride, n);
}

// Four vectors of sums stay in registers while the rows pass.
void combine(const float* weights, const float* rows, int64_t stride, int64_t count, float* out, int64_t n) noexcept {
  const D d;
  int64_t j = 0;
  for (; j + 4 * kLanes <= n; j += 4 * kLanes) {
    float* o = out + j;
    V a = hn::LoadU(d, o), b = hn::LoadU(d, o + kLanes), c = hn::LoadU(d, o + 2 * kLanes), e = hn::LoadU(d, o + 3 * kLanes);
    const float* p = rows + j;
    for (int64_t i = 0; i < count; ++i, p += stride) {
      const V w = hn::Set(d, weights[i]);
      a = hn::MulAdd(w, hn::LoadU(d, p), a);
      b = hn::MulAdd(w, hn::LoadU(d, p + kLanes), b);
      c = hn::MulAdd(w, hn::LoadU(d, p + 2 * kLanes), c);
      e = hn::MulAdd(w, hn::LoadU(d, p + 3 * kLanes), e);
    }
    hn::StoreU(a, d, o);
    hn::StoreU(b, d, o + kLanes);
    hn::StoreU(c, d, o + 2 * kLanes);
    hn::StoreU(e, d, o + 3 * kLanes);
  }
  for (; j < n; j += kLanes) {
    const int64_t left = n - j < kLanes ? n - j : kLanes;
    V a = load_part(out + j, left, 0);
    for (int64_t i = 0; i < count; ++i) a = hn::MulAdd(hn::Set(d, weights[i]), load_part(rows + i * stride + j, left, 0), a);
    store_part(a, out + j, left);
  }
}

template <int kStride, typename F>
HWY_INLINE void window_with(const float* in, int64_t taps, int64_t dilation, float* out, int64_t n, const F& f) {
  const D d;
  const auto load = [&](const float* p) HWY_ATTR {
    if constexpr (kStride == 1) return hn::LoadU(d, p);
    else return hn::ConcatEven(d, hn::LoadU(d, p + kLanes), hn::LoadU(d, p));
  };
  for (int64_t i = 0; i < n; i += kLanes) {
    V acc = load(in + i * kStride);
    for (int64_t t = 1; t < taps; ++t) acc = f(acc, load(in + i * kStride + t * dilation));
    if (n - i >= kLanes) {
      hn::StoreU(acc, d, out + i);
    } else {
      store_part(acc, out + i, n - i);
    }
  }
}
void window(Reduce op, const float* in, int64_t taps, int64_t stride, int64_t dilation, float* out,
            int64_t n) noexcept {
  const auto larger = [](V a, V v) { return max_nan(a, v); };
  const auto add = [](V a, V v) { return hn::Add(a, v); };
  if (stride == 1)
    return op == Reduce::kMax ? window_with<1>(in, taps, dilation, out, n, larger)
                              : window_with<1>(in, taps, dilation, out, n, add);
  if (stride == 2)
    return op == Reduce::kMax ? window_with<2>(in, taps, dilation, out, n, larger)
                              : window_with<2>(in, taps, dilation, out, n, add);
  for (int64_t i = 0; i < n; ++i) {
    const float* p = in + i * stride;
    float acc = p[0];
    for (int64_t t = 1; t < taps; ++t) {
      const float v = p[t * dilation];
      acc = op != Reduce::kMax ? acc + v : v > acc || std::isnan(v) ? v : acc;
    }
    out[i] = acc;
  }
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
template <int kStride>
HWY_INLINE void max_rows_with(const float* const* rows, int64_t count, int64_t width, int64_t start, int64_t taps,
                              int64_t dilation, float* out, int64_t n) {
  const D d;
  const V lowest = hn::Set(d, -HUGE_VALF);
  for (int64_t i = 0; i < n; i += kLanes) {
    V acc = lowest;
    for (int64_t t = 0; t < taps; ++t) {
      const int64_t base = start + i * kStride + t * dilation;
      if (base >= 0 && base + kStride * kLanes <= width) {
        for (int64_t r = 0; r < count; ++r) {
          const float* p = rows[r] + base;
          if constexpr (kStride == 1) {
            acc = max_nan(acc, hn::LoadU(d, p));
          } else {
            acc = max_nan(acc, hn::ConcatEven(d, hn::LoadU(d, p + kLanes), hn::LoadU(d, p)));
          }
        }
        continue;
      }
      const auto inside = [&](int64_t at) HWY_ATTR {
        const int64_t lo = at >= 0 ? 0 : -at < kLanes ? -at : kLanes, left = width - at;
        const int64_t hi = left <= 0 ? 0 : left < kLanes ? left : kLanes;
        return hn::AndNot(hn::FirstN(d, static_cast<size_t>(lo)), hn::FirstN(d, static_cast<size_t>(hi)));
      };
      const auto first = inside(base);
      [[maybe_unused]] const auto second = inside(base + kLanes);
      for (int64_t r = 0; r < count; ++r) {
        const float* p = rows[r] + base;
        V v = hn::IfThenElse(first, hn::MaskedLoad(first, d, p), lowest);
        if constexpr (kStride == 2) v = hn::ConcatEven(d, hn::IfThenElse(second, hn::MaskedLoad(second, d, p + kLanes), lowest), v);
        acc = max_nan(acc, v);
      }
    }
    if (n - i >= kLanes) {
      hn::StoreU(acc, d, out + i);
    } else {
      store_part(acc, out + i, n - i);
    }
  }
}
void max_rows_any(const float* const* rows, int64_t count, int64_t width, int64_t start, int64_t taps, int64_t stride,
                  int64_t dilation, float* out, int64_t n) noexcept {
  if (stride == 1) return max_rows_with<1>(rows, count, width, start, taps, dilation, out, n);
  max_rows_with<2>(rows, count, width, start, taps, dilation, out, n);
}
constexpr auto kMaxRows = max_rows_any;
#else
constexpr std::nullptr_t kMaxRows = nullptr;
#endif

const RowTarget* simd_target() {
  static constexpr RowTarget kTarget{sum, sum_abs, sum_square, max, min, exp_sum, normalize, center_scale, accumulate,
                                     short_rows, dot, axpy, dots, combine, window, kMaxRows};
  return &kTarget;
}

#else
const RowTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const RowTarget* row_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(row_simd_target);
const RowTarget* row_simd() { return HWY_DYNAMIC_DISPATCH(row_simd_target)(); }
}  // namespace mlt
#endif
