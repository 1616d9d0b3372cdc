// Loops over channels on Highway.
#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/nhwc_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "lib/kernels/activate-inl.h"
#include "lib/kernels/bounds-inl.h"
#include "lib/kernels/cheap-inl.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/nhwc_target.h"
#include "lib/kernels/partial-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int64_t kLanes = HWY_MAX_BYTES / sizeof(float);
using End = Cheap<D>;

// kPixels outputs from x on whose taps [kx0, kx1) lie inside, for rows [ky0, ky1) of the kernel.
template <int kPixels>
HWY_INLINE void depthwise_pixels(const DepthwiseRow& r, int64_t x, int64_t ky0, int64_t ky1, int64_t kx0, int64_t kx1, const End& cheap, int64_t c0 = 0) {
  const D d;
  const int64_t step = r.stride * r.step;
  for (int64_t c = c0; c < r.channels; c += kLanes) {
    const int64_t n = r.channels - c;
    V acc[kPixels];
    const V bias = load_first(d, r.bias + c, n);
    HWY_UNROLL(8) for (int p = 0; p < kPixels; ++p) acc[p] = bias;
    for (int64_t ky = ky0; ky < ky1; ++ky) {
      const float* in = r.in + ((r.top + ky * r.dilation_h) * r.w + r.left + x * r.stride + kx0 * r.dilation_w) * r.step + c;
      const float* w = r.weights + (ky * r.kernel_w + kx0) * r.step + c;
      for (int64_t kx = kx0; kx < kx1; ++kx, in += r.dilation_w * r.step, w += r.step) {
        if (n >= kLanes) {
          const V weight = hn::LoadU(d, w);
          HWY_UNROLL(8) for (int p = 0; p < kPixels; ++p) acc[p] = hn::MulAdd(weight, hn::LoadU(d, in + p * step), acc[p]);
        } else {
          const V weight = load_first(d, w, n);
          HWY_UNROLL(8) for (int p = 0; p < kPixels; ++p) acc[p] = hn::MulAdd(weight, load_first(d, in + p * step, n), acc[p]);
        }
      }
    }
    HWY_UNROLL(8) for (int p = 0; p < kPixels; ++p) {
      V v = acc[p];
      if (r.residual != nullptr) v = hn::Add(v, load_first(d, r.residual + (x + p) * r.step + c, n));
      store_first(d, cheap(v), r.out + (x + p) * r.pitch + c, n);
    }
  }
}

// One output whose window is cut by the picture's edge: there are no neighbours to work on meanwhile, so several vectors of
// channels are summed at a time.
HWY_INLINE void depthwise_edge(const DepthwiseRow& r, int64_t x, int64_t ky0, int64_t ky1, int64_t kx0, int64_t kx1, const End& cheap) {
  constexpr int kVectors = 4;
  const D d;
  int64_t c = 0;
  for (; c + kVectors * kLanes <= r.channels; c += kVectors * kLanes) {
    V acc[kVectors];
    HWY_UNROLL(4) for (int i = 0; i < kVectors; ++i) acc[i] = hn::LoadU(d, r.bias + c + i * kLanes);
    for (int64_t ky = ky0; ky < ky1; ++ky) {
      const float* in = r.in + ((r.top + ky * r.dilation_h) * r.w + r.left + x * r.stride + kx0 * r.dilation_w) * r.step + c;
      const float* w = r.weights + (ky * r.kernel_w + kx0) * r.step + c;
      for (int64_t kx = kx0; kx < kx1; ++kx, in += r.dilation_w * r.step, w += r.step)
        HWY_UNROLL(4) for (int i = 0; i < kVectors; ++i) acc[i] = hn::MulAdd(hn::LoadU(d, w + i * kLanes), hn::LoadU(d, in + i * kLanes), acc[i]);
    }
    HWY_UNROLL(4) for (int i = 0; i < kVectors; ++i) {
      V v = acc[i];
      if (r.residual != nullptr) v = hn::Add(v, hn::LoadU(d, r.residual + x * r.step + c + i * kLanes));
      hn::StoreU(cheap(v), d, r.out + x * r.pitch + c + i * kLanes);
    }
  }
  if (c < r.channels) depthwise_pixels<1>(r, x, ky0, ky1, kx0, kx1, cheap, c);
}

// 3x3 windows that lie inside, four outputs at a time from x on, for channels that fill vectors: the weights stay in
// registers, and outputs share what they read. Returns where it stopped.
template <int kStride>
int64_t depthwise_square(const DepthwiseRow& r, int64_t x, int64_t end, const End& cheap) {
  constexpr int kColumns = 3 * kStride + 3;
  const D d;
  const int64_t c_end = r.channels / kLanes * kLanes, line = r.w * r.step, stop = x + (end - x) / 4 * 4;
  for (int64_t c = 0; c < c_end; c += kLanes) {
    V w[9];
    HWY_UNROLL(9) for (int i = 0; i < 9; ++i) w[i] = hn::LoadU(d, r.weights + i * r.step + c);
    const V bias = hn::LoadU(d, r.bias + c);
    const float* in = r.in + (r.top * r.w + r.left + x * kStride) * r.step + c;
    for (int64_t at = x; at < stop; at += 4, in += 4 * kStride * r.step) {
      V acc[4] = {bias, bias, bias, bias};
      HWY_UNROLL(3) for (int ky = 0; ky < 3; ++ky) {
        V v[kColumns];
        HWY_UNROLL(9) for (int i = 0; i < kColumns; ++i) v[i] = hn::LoadU(d, in + ky * line + i * r.step);
        HWY_UNROLL(3) for (int kx = 0; kx < 3; ++kx) {
          HWY_UNROLL(4) for (int p = 0; p < 4; ++p) acc[p] = hn::MulAdd(w[ky * 3 + kx], v[p * kStride + kx], acc[p]);
        }
      }
      HWY_UNROLL(4) for (int p = 0; p < 4; ++p) {
        V o = acc[p];
        if (r.residual != nullptr) o = hn::Add(o, hn::LoadU(d, r.residual + (at + p) * r.step + c));
        hn::StoreU(cheap(o), d, r.out + (at + p) * r.pitch + c);
      }
    }
  }
  if (c_end < r.channels)
    for (int64_t at = x; at < stop; at += 4) depthwise_pixels<4>(r, at, 0, 3, 0, 3, cheap, c_end);
  return stop;
}

// First and one past the last tap that lies inside [0, size), for a window that begins at `start`.
HWY_INLINE void inside(int64_t start, int64_t taps, int64_t dilation, int64_t size, int64_t& first, int64_t& last) {
  first = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
  last = start >= size ? 0 : (size - 1 - start) / dilation + 1;
  first = first > taps ? taps : first;
  last = last > taps ? taps : last;
  last = last < first ? first : last;
}

void depthwise(const DepthwiseRow& r) noexcept {
  const End cheap(D(), r.f);
  int64_t ky0, ky1;
  inside(r.top, r.kernel_h, r.dilation_h, r.h, ky0, ky1);
  const int64_t reach = (r.kernel_w - 1) * r.dilation_w;
  const bool square = r.kernel_h == 3 && r.kernel_w == 3 && r.dilation_h == 1 && r.dilation_w == 1 && ky1 - ky0 == 3 && r.stride <= 2;
  int64_t x = 0;
  while (x < r.count) {
    const int64_t start = r.left + x * r.stride;
    // Whole windows for several pixels, or one pixel at the edge.
    if (start >= 0 && x + 4 <= r.count && start + 3 * r.stride + reach < r.w) {
      if (square) {
        // Outputs whose windows end inside.
        const int64_t end = std::min(r.count, (r.w - 1 - reach - r.left) / r.stride + 1);
        x = r.stride == 1 ? depthwise_square<1>(r, x, end, cheap) : depthwise_square<2>(r, x, end, cheap);
        continue;
      }
      depthwise_pixels<4>(r, x, ky0, ky1, 0, r.kernel_w, cheap);
      x += 4;
      continue;
    }
    int64_t kx0, kx1;
    inside(start, r.kernel_w, r.dilation_w, r.w, kx0, kx1);
    depthwise_edge(r, x, ky0, ky1, kx0, kx1, cheap);
    ++x;
  }
  if (is_cheap(r.f.op)) return;
  const ElementwiseTarget& ew = elementwise_target();
  if (r.pitch == r.channels) return ew.unary(r.f.op, r.out, r.out, r.count * r.channels, r.f.a, r.f.b);
  for (x = 0; x < r.count; ++x) ew.unary(r.f.op, r.out + x * r.pitch, r.out + x * r.pitch, r.channels, r.f.a, r.f.b);
}

// Maxima of one vector where NaN may be, which wins.
HWY_NOINLINE void pool_with_nan(const PoolRow& r, int64_t first, int64_t k0, int64_t k1, int64_t c, float* out) {
  const D d;
  const int64_t step = r.dilation * r.channels, n = r.channels - c;
  V acc = hn::Set(d, -HUGE_VALF);
  auto nan = hn::FirstN(d, 0);
  for (int64_t i = 0; i < r.row_count; ++i) {
    const float* p = r.rows[i] + first * r.channels + c;
    for (int64_t k = k0; k < k1; ++k, p += step) {
      const V v = load_first(d, p, n);
      acc = hn::Max(acc, v);
      nan = hn::Or(nan, hn::IsNaN(v));
    }
  }
  store_first(d, hn::IfThenElse(nan, hn::Set(d, NAN), acc), out + c, n);
}

// kVectors at a time, so that the chain of one does not keep the others waiting. The last may be partial.
template <bool kAverage, int kVectors>
HWY_INLINE void pool_vectors(const PoolRow& r, int64_t first, int64_t k0, int64_t k1, V divisor, int64_t c, float* out) {
  const D d;
  const int64_t step = r.dilation * r.channels, n = r.channels - c - (kVectors - 1) * kLanes;
  V acc[kVectors], sum[kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
    acc[j] = hn::Set(d, -HUGE_VALF);
    sum[j] = hn::Zero(d);
  }
  for (int64_t i = 0; i < r.row_count; ++i) {
    const float* p = r.rows[i] + first * r.channels + c;
    for (int64_t k = k0; k < k1; ++k, p += step) {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
        const V v = j + 1 < kVectors ? hn::LoadU(d, p + j * kLanes) : load_first(d, p + j * kLanes, n);
        if constexpr (!kAverage) acc[j] = hn::Max(acc[j], v);
        sum[j] = hn::Add(sum[j], v);
      }
    }
  }
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
    const int64_t at = c + j * kLanes, valid = j + 1 < kVectors ? kLanes : n;
    if constexpr (kAverage) {
      store_first(d, hn::Div(sum[j], divisor), out + at, valid);
    } else {
      store_first(d, acc[j], out + at, valid);
      // A sum tells of NaN at less cost than each value does; infinities of both signs ask for nothing.
      if (HWY_UNLIKELY(!hn::AllFalse(d, hn::IsNaN(sum[j])))) pool_with_nan(r, first, k0, k1, at, out);
    }
  }
}

template <bool kAverage>
HWY_INLINE void pool_row(const PoolRow& r) {
  const D d;
  for (int64_t x = 0; x < r.count; ++x) {
    const int64_t start = r.left + x * r.stride;
    int64_t k0, k1, c = 0;
    inside(start, r.kernel, r.dilation, r.w, k0, k1);
    float* out = r.out + x * r.channels;
    const V divisor = hn::Set(d, kAverage ? r.divisors[x] : 1.0f);
    const int64_t first = start + k0 * r.dilation;
    for (; r.channels - c > 3 * kLanes; c += 4 * kLanes) pool_vectors<kAverage, 4>(r, first, k0, k1, divisor, c, out);
    if (r.channels - c > kLanes) {
      pool_vectors<kAverage, 2>(r, first, k0, k1, divisor, c, out);
      c += 2 * kLanes;
    }
    if (c < r.channels) pool_vectors<kAverage, 1>(r, first, k0, k1, divisor, c, out);
  }
}

void pool(const PoolRow& r) noexcept {
  if (r.average) {
    pool_row<true>(r);
  } else {
    pool_row<false>(r);
  }
}

void scale_bias(const float* in, float* out, int64_t channels, const float* scale, const float* bias) noexcept {
  const D d;
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t n = channels - c;
    store_first(d, hn::Add(hn::Mul(load_first(d, in + c, n), load_first(d, scale + c, n)), load_first(d, bias + c, n)), out + c, n);
  }
}

// Six values through B^T.
HWY_INLINE void transform_in(V d0, V d1, V d2, V d3, V d4, V d5, V (&o)[6]) {
  const D d;
  const V half = hn::Set(d, 0.5f), two = hn::Set(d, 2.0f), more = hn::Set(d, 2.5f);
  o[0] = hn::Add(d0, hn::NegMulAdd(d2, more, d4));
  const V p = hn::NegMulAdd(d2, two, d4), q = hn::NegMulAdd(d1, two, d3), root_half = hn::Set(d, 0.70710678f);
  o[1] = hn::MulAdd(q, root_half, p);
  o[2] = hn::NegMulAdd(q, root_half, p);
  const V r = hn::NegMulAdd(d2, half, d4), s = hn::NegMulAdd(d1, half, d3), root_two = hn::Set(d, 1.41421356f);
  o[3] = hn::MulAdd(s, root_two, r);
  o[4] = hn::NegMulAdd(s, root_two, r);
  o[5] = hn::Add(d1, hn::NegMulAdd(d3, more, d5));
}

// Six values through A^T.
HWY_INLINE void transform_out(V m0, V m1, V m2, V m3, V m4, V m5, V (&o)[4]) {
  const D d;
  const V a = hn::Add(m1, m2), b = hn::Sub(m1, m2), c = hn::Add(m3, m4), e = hn::Sub(m3, m4);
  o[0] = hn::Add(m0, hn::Add(a, c));
  o[1] = hn::MulAdd(b, hn::Set(d, 0.70710678f), hn::Mul(e, hn::Set(d, 1.41421356f)));
  o[2] = hn::MulAdd(a, hn::Set(d, 0.5f), hn::Add(c, c));
  o[3] = hn::MulAdd(b, hn::Set(d, 0.35355339f), hn::MulAdd(e, hn::Set(d, 2.82842712f), m5));
}

// The same for tiles of 2x2 outputs.
HWY_INLINE void transform_in(V d0, V d1, V d2, V d3, V (&o)[4]) {
  o[0] = hn::Sub(d0, d2);
  o[1] = hn::Add(d1, d2);
  o[2] = hn::Sub(d2, d1);
  o[3] = hn::Sub(d1, d3);
}
HWY_INLINE void transform_out(V m0, V m1, V m2, V m3, V (&o)[2]) {
  o[0] = hn::Add(m0, hn::Add(m1, m2));
  o[1] = hn::Sub(hn::Sub(m1, m2), m3);
}

void tile_in_small(const float* const* pixels, int64_t channels, float* out, int64_t stride) {
  const D d;
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t n = channels - c;
    V t[4][4];  // [column][row]
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
      const auto at = [&](int i) HWY_ATTR { return load_first(d, pixels[i * 4 + j] + c, n); };
      transform_in(at(0), at(1), at(2), at(3), t[j]);
    }
    HWY_UNROLL(4) for (int i = 0; i < 4; ++i) {
      V o[4];
      transform_in(t[0][i], t[1][i], t[2][i], t[3][i], o);
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j) store_first(d, o[j], out + (i * 4 + j) * stride + c, n);
    }
  }
}

void tile_in(int64_t side, const float* const* pixels, int64_t channels, float* out, int64_t stride) noexcept {
  if (side == 2) return tile_in_small(pixels, channels, out, stride);
  const D d;
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t n = channels - c;
    V t[6][6];  // [column][row]
    HWY_UNROLL(6) for (int j = 0; j < 6; ++j) {
      const auto at = [&](int i) HWY_ATTR { return load_first(d, pixels[i * 6 + j] + c, n); };
      transform_in(at(0), at(1), at(2), at(3), at(4), at(5), t[j]);
    }
    HWY_UNROLL(6) for (int i = 0; i < 6; ++i) {
      V o[6];
      transform_in(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i], o);
      HWY_UNROLL(6) for (int j = 0; j < 6; ++j) store_first(d, o[j], out + (i * 6 + j) * stride + c, n);
    }
  }
}

// One row of a tile's outputs.
template <int kSide>
HWY_INLINE void store_row(const V (&o)[kSide], V bias, const End& cheap, const float* const* residuals, float* const* pixels, int64_t c, int64_t n) {
  const D d;
  HWY_UNROLL(4) for (int j = 0; j < kSide; ++j) {
    if (pixels[j] == nullptr) continue;
    V v = hn::Add(o[j], bias);
    if (residuals != nullptr) v = hn::Add(v, load_first(d, residuals[j] + c, n));
    store_first(d, cheap(v), pixels[j] + c, n);
  }
}

void tile_out(int64_t side, const float* in, int64_t stride, int64_t channels, const float* bias, const float* const* residuals, const Activation& f,
              float* const* pixels) noexcept {
  const D d;
  const End cheap(D(), f);
  const auto others = [&](int row) { return residuals != nullptr ? residuals + row * side : nullptr; };
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t n = channels - c;
    const V add = load_first(d, bias + c, n);
    if (side == 2) {
      V t[4][2];  // [column][row]
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
        const auto at = [&](int i) HWY_ATTR { return load_first(d, in + (i * 4 + j) * stride + c, n); };
        transform_out(at(0), at(1), at(2), at(3), t[j]);
      }
      HWY_UNROLL(2) for (int i = 0; i < 2; ++i) {
        V o[2];
        transform_out(t[0][i], t[1][i], t[2][i], t[3][i], o);
        store_row(o, add, cheap, others(i), pixels + i * 2, c, n);
      }
      continue;
    }
    V t[6][4];
    HWY_UNROLL(6) for (int j = 0; j < 6; ++j) {
      const auto at = [&](int i) HWY_ATTR { return load_first(d, in + (i * 6 + j) * stride + c, n); };
      transform_out(at(0), at(1), at(2), at(3), at(4), at(5), t[j]);
    }
    HWY_UNROLL(4) for (int i = 0; i < 4; ++i) {
      V o[4];
      transform_out(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i], o);
      store_row(o, add, cheap, others(i), pixels + i * 4, c, n);
    }
  }
  if (is_cheap(f.op)) return;
  for (int64_t y = 0; y < side; ++y) {
    float* const* row = pixels + y * side;
    int64_t count = 0;
    while (count < side && row[count] != nullptr) ++count;
    if (count > 0) activate_rectangle(f, row[0], count, count > 1 ? row[1] - row[0] : 0, channels);
  }
}

const NhwcTarget* simd_target() {
  static constexpr NhwcTarget kTarget{depthwise, pool, scale_bias, tile_in, tile_out, static_cast<int>(kLanes)};
  return &kTarget;
}
#else
const NhwcTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const NhwcTarget* nhwc_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(nhwc_simd_target);
const NhwcTarget* nhwc_simd() { return HWY_DYNAMIC_DISPATCH(nhwc_simd_target)(); }
}  // namespace mlt
#endif
