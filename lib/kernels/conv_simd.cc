// Convolution's own loops on Highway: packing pixels into panels, and depthwise planes.
#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/conv_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/kernels/bounds-inl.h"
#include "lib/kernels/cheap-inl.h"
#include "lib/kernels/conv_target.h"
#include "lib/kernels/gemm_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int64_t kLanes = HWY_MAX_BYTES / sizeof(float);
// Masked loads that never touch what they do not read.
#define MLT_SAFE_MASKS (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2)

HWY_INLINE V load_first(D d, const float* p, int64_t n) {
#if MLT_SAFE_MASKS
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(n)), d, p);
#else
  HWY_ALIGN float edge[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) edge[i] = p[i];
  return hn::Load(d, edge);
#endif
}

HWY_INLINE void store_first(D d, V v, float* p, int64_t n) {
#if MLT_SAFE_MASKS
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(n)), d, p);
#else
  HWY_ALIGN float edge[kLanes];
  hn::Store(v, d, edge);
  for (int64_t i = 0; i < n; ++i) p[i] = edge[i];
#endif
}

// `count` rows of `length` floats.
HWY_INLINE void copy_rows(const float* HWY_RESTRICT in, int64_t in_row, float* HWY_RESTRICT out, int64_t out_row,
                          int64_t count, int64_t length) {
  const D d;
  while (length > 0) {
    if (length >= 3 * kLanes) {
      for (int64_t c = 0; c < count; ++c) {
        const float* s = in + c * in_row;
        float* o = out + c * out_row;
        const V v0 = hn::LoadU(d, s), v1 = hn::LoadU(d, s + kLanes), v2 = hn::LoadU(d, s + 2 * kLanes);
        hn::StoreU(v0, d, o);
        hn::StoreU(v1, d, o + kLanes);
        hn::StoreU(v2, d, o + 2 * kLanes);
      }
      in += 3 * kLanes, out += 3 * kLanes, length -= 3 * kLanes;
    } else if (length >= kLanes) {
      for (int64_t c = 0; c < count; ++c) hn::StoreU(hn::LoadU(d, in + c * in_row), d, out + c * out_row);
      in += kLanes, out += kLanes, length -= kLanes;
    } else {
#if MLT_SAFE_MASKS
      const auto mask = hn::FirstN(d, static_cast<size_t>(length));
      for (int64_t c = 0; c < count; ++c)
        hn::BlendedStore(hn::MaskedLoad(mask, d, in + c * in_row), mask, d, out + c * out_row);
#else
      for (int64_t c = 0; c < count; ++c)
        for (int64_t i = 0; i < length; ++i) out[c * out_row + i] = in[c * in_row + i];
#endif
      return;
    }
  }
}

// As copy_rows, taking every second float.
HWY_INLINE void copy_rows_by_two(const float* HWY_RESTRICT in, int64_t in_row, float* HWY_RESTRICT out,
                                 int64_t out_row, int64_t count, int64_t length) {
#if MLT_SAFE_MASKS
  const D d;
  for (; length > 0; in += 2 * kLanes, out += kLanes, length -= kLanes) {
    const int64_t n = length < kLanes ? length : kLanes, span = 2 * n - 1;
    const auto low = hn::FirstN(d, static_cast<size_t>(span < kLanes ? span : kLanes));
    const auto high = hn::FirstN(d, static_cast<size_t>(span < kLanes ? 0 : span - kLanes));
    const auto whole = hn::FirstN(d, static_cast<size_t>(n));
    for (int64_t c = 0; c < count; ++c) {
      const float* s = in + c * in_row;
      const V a = hn::MaskedLoad(low, d, s), b = hn::MaskedLoad(high, d, s + kLanes);
      hn::BlendedStore(hn::ConcatEven(d, b, a), whole, d, out + c * out_row);
    }
  }
#else
  for (int64_t c = 0; c < count; ++c)
    for (int64_t i = 0; i < length; ++i) out[c * out_row + i] = in[c * in_row + 2 * i];
#endif
}

HWY_INLINE void zero_rows(float* out, int64_t out_row, int64_t count, int64_t length) {
  const D d;
  for (; length > 0; out += kLanes, length -= kLanes) {
    if (length >= kLanes) {
      for (int64_t c = 0; c < count; ++c) hn::StoreU(hn::Zero(d), d, out + c * out_row);
    } else {
      for (int64_t c = 0; c < count; ++c) store_first(d, hn::Zero(d), out + c * out_row, length);
    }
  }
}

void pack(const ConvGeometry& g, const float* in, int64_t c0, int64_t c1, int64_t p0, int64_t cols, int64_t width,
          float* out) noexcept {
  const int64_t plane = g.in_pixels(), stride = g.stride[2], taps = g.taps(), row = taps * width;
  // As many channels at a time as leave the rows being written in the first-level cache.
  int64_t step = 4096 / row;
  step = step < 1 ? 1 : step;
  for (int64_t c = c0; c < c1; c += step) {
    const int64_t n = c1 - c < step ? c1 - c : step;
    float* to = out + (c - c0) * row;
    const float* from = in + c * plane;
    walk_im2col(
        g, p0, cols,
        [=](int64_t tap, int64_t at, int64_t length) { zero_rows(to + tap * width + at, row, n, length); },
        [=](int64_t tap, int64_t at, int64_t length, int64_t source) {
          float* o = to + tap * width + at;
          const float* s = from + source;
          if (stride == 1) return copy_rows(s, plane, o, row, n, length);
          if (stride == 2) return copy_rows_by_two(s, plane, o, row, n, length);
          for (int64_t q = 0; q < n; ++q)
            for (int64_t i = 0; i < length; ++i) o[q * row + i] = s[q * plane + i * stride];
        });
  }
  if (cols < width) zero_rows(out + cols, width, (c1 - c0) * taps, width - cols);
}

HWY_INLINE void zero_line(float* out, int64_t length) {
  const D d;
  for (int64_t i = 0; i < length; i += kLanes) hn::StoreU(hn::Zero(d), d, out + i);  // rows have slack
}

// One row for strides 1 and 2: padding and the end are zeros, which masked loads give for nothing.
HWY_INLINE void pad_row(const float* in, int64_t w, int64_t left, int64_t length, float* out) {
  const D d;
  zero_line(out, left);
  for (int64_t x = 0; x < length - left; x += kLanes) {
    const int64_t n = w - x;
    hn::StoreU(n >= kLanes ? hn::LoadU(d, in + x) : n <= 0 ? hn::Zero(d) : load_first(d, in + x, n), d, out + left + x);
  }
}
// The first `length` of each phase; what is written beyond stays within the phase's slack.
HWY_INLINE void pad_row_by_two(const float* in, int64_t w, int64_t left, int64_t length, int64_t phase, float* out) {
  const D d;
  const int64_t half = (left + 1) / 2;
  zero_line(out, half);
  zero_line(out + phase, half);
  // An odd padding puts the first column alone into the second phase.
  if (left % 2 != 0 && w > 0) out[phase + half - 1] = in[0], ++in, --w;
  for (int64_t x = 0; x < length - half; x += kLanes) {
    const float* p = in + 2 * x;
    const int64_t n = w - 2 * x;
    V a = hn::Zero(d), b = a;
    if (n >= 2 * kLanes) {
      a = hn::LoadU(d, p), b = hn::LoadU(d, p + kLanes);
    } else if (n > 0) {
      a = load_first(d, p, n < kLanes ? n : kLanes);
      if (n > kLanes) b = load_first(d, p + kLanes, n - kLanes);
    }
    hn::StoreU(hn::ConcatEven(d, b, a), d, out + half + x);
    hn::StoreU(hn::ConcatOdd(d, b, a), d, out + phase + half + x);
  }
}

// The padded, phase-split copy of one plane.
void pad_plane(const DepthwisePlane& p, const PaddedPlane& padded) {
  const ConvGeometry& g = *p.g;
  const int64_t stride = g.stride[2], h = g.in[1], w = g.in[2];
  for (int64_t y = 0; y < padded.rows; ++y) {
    float* row = p.scratch + y * padded.row;
    const int64_t iy = y - g.pad[1];
    if (iy < 0 || iy >= h) {
      zero_line(row, padded.row);
      continue;
    }
    const float* in = p.in + iy * w;
    if (stride == 1 && g.pad[2] < padded.row) {
      pad_row(in, w, g.pad[2], padded.row - kLanes, row);
      continue;
    }
    if (stride == 2 && (g.pad[2] + 1) / 2 + kLanes < padded.phase) {
      pad_row_by_two(in, w, g.pad[2], padded.phase - kLanes, padded.phase, row);
      continue;
    }
    zero_line(row, padded.row);
    for (int64_t phase = 0; phase < stride; ++phase) {
      // Padded column phase + stride * i holds input column phase + stride * i - pad.
      const int64_t i0 = g.pad[2] <= phase ? 0 : (g.pad[2] - phase + stride - 1) / stride;
      const int64_t first = phase + stride * i0 - g.pad[2];
      int64_t count = first >= w ? 0 : (w - first + stride - 1) / stride;
      if (count > padded.phase - i0) count = padded.phase - i0;
      float* o = row + phase * padded.phase + i0;
      for (int64_t i = 0; i < count; ++i) o[i] = in[first + i * stride];
    }
  }
}

struct Epilogue {
  explicit HWY_INLINE Epilogue(const DepthwisePlane& p) : residual(p.residual), bias(hn::Set(D(), p.bias)), cheap(D(), p.f) {}
  HWY_INLINE void store(V v, float* out, int64_t at, int64_t n) const {
    const D d;
    v = hn::Add(v, bias);
    if (residual != nullptr) v = hn::Add(v, n >= kLanes ? hn::LoadU(d, residual + at) : load_first(d, residual + at, n));
    v = cheap(v);
    if (n >= kLanes) {
      hn::StoreU(v, d, out + at);
    } else {
      store_first(d, v, out + at, n);
    }
  }
  const float* residual;
  V bias;
  Cheap<D> cheap;
};

// kRows output rows at a time share their input rows' loads.
template <int kKernel, int kStride, int kRows>
HWY_INLINE void depthwise_rows(const DepthwisePlane& p, const PaddedPlane& padded, const Epilogue& end, int64_t y) {
  const D d;
  const int64_t ow = p.g->out[2];
  for (int64_t x = 0; x < ow; x += kLanes) {
    V acc[kRows];
    HWY_UNROLL(8) for (int r = 0; r < kRows; ++r) acc[r] = hn::Zero(d);
    const float* base = p.scratch + y * kStride * padded.row + x;
    HWY_UNROLL(16) for (int i = 0; i < (kRows - 1) * kStride + kKernel; ++i) {
      HWY_UNROLL(8) for (int kx = 0; kx < kKernel; ++kx) {
        const V v = hn::LoadU(d, base + i * padded.row + kx % kStride * padded.phase + kx / kStride);
        HWY_UNROLL(8) for (int r = 0; r < kRows; ++r) {
          const int ky = i - r * kStride;
          if (ky >= 0 && ky < kKernel) acc[r] = hn::MulAdd(hn::Set(d, p.weights[ky * kKernel + kx]), v, acc[r]);
        }
      }
    }
    HWY_UNROLL(8) for (int r = 0; r < kRows; ++r) end.store(acc[r], p.out, (y + r) * ow + x, ow - x);
  }
}

template <int kKernel, int kStride>
void depthwise_square(const DepthwisePlane& p, const PaddedPlane& padded) {
  const Epilogue end(p);
  const int64_t oh = p.g->out[1];
  int64_t y = 0;
  for (; y + 4 <= oh; y += 4) depthwise_rows<kKernel, kStride, 4>(p, padded, end, y);
  for (; y < oh; ++y) depthwise_rows<kKernel, kStride, 1>(p, padded, end, y);
}

void depthwise_any(const DepthwisePlane& p, const PaddedPlane& padded) {
  const D d;
  const ConvGeometry& g = *p.g;
  const Epilogue end(p);
  const int64_t ow = g.out[2], stride = g.stride[2];
  for (int64_t y = 0; y < g.out[1]; ++y)
    for (int64_t x = 0; x < ow; x += kLanes) {
      V acc = hn::Zero(d);
      for (int64_t ky = 0; ky < g.kernel[1]; ++ky)
        for (int64_t kx = 0; kx < g.kernel[2]; ++kx) {
          const int64_t column = kx * g.dilation[2];
          const float* row = p.scratch + (y * g.stride[1] + ky * g.dilation[1]) * padded.row;
          acc = hn::MulAdd(hn::Set(d, p.weights[ky * g.kernel[2] + kx]),
                           hn::LoadU(d, row + column % stride * padded.phase + column / stride + x), acc);
        }
      end.store(acc, p.out, y * ow + x, ow - x);
    }
}

void depthwise(const DepthwisePlane& p) noexcept {
  const ConvGeometry& g = *p.g;
  const PaddedPlane padded(g, static_cast<int>(kLanes));
  pad_plane(p, padded);
  const bool square = g.kernel[1] == g.kernel[2] && g.stride[1] == g.stride[2] && g.dilation[1] == 1 && g.dilation[2] == 1;
  if (square && g.kernel[1] == 3 && g.stride[1] == 1) {
    depthwise_square<3, 1>(p, padded);
  } else if (square && g.kernel[1] == 3 && g.stride[1] == 2) {
    depthwise_square<3, 2>(p, padded);
  } else if (square && g.kernel[1] == 5 && g.stride[1] == 1) {
    depthwise_square<5, 1>(p, padded);
  } else if (square && g.kernel[1] == 5 && g.stride[1] == 2) {
    depthwise_square<5, 2>(p, padded);
  } else if (square && g.kernel[1] == 7 && g.stride[1] == 1) {
    depthwise_square<7, 1>(p, padded);
  } else {
    depthwise_any(p, padded);
  }
  if (!is_cheap(p.f.op)) unary(p.f, p.out, p.out, g.out_pixels());
}

const ConvTarget* simd_target() {
  static constexpr ConvTarget kTarget{pack, depthwise, static_cast<int>(kLanes)};
  return &kTarget;
}

#else
const ConvTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const ConvTarget* conv_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(conv_simd_target);
const ConvTarget* conv_simd() { return HWY_DYNAMIC_DISPATCH(conv_simd_target)(); }
}  // namespace mlt
#endif
