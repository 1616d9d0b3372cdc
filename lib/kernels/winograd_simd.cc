#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/winograd_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/kernels/cheap-inl.h"
#include "lib/kernels/winograd_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

namespace hn = hwy::HWY_NAMESPACE;
using Widest = hn::ScalableTag<float>;
constexpr int64_t kLanes = HWY_MAX_BYTES / sizeof(float);

template <class D>
HWY_INLINE hn::Vec<D> load_first(D d, const float* p, int64_t n) {
  if (n >= static_cast<int64_t>(hn::Lanes(d))) return hn::LoadU(d, p);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(n)), d, p);
#else
  HWY_ALIGN float edge[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) edge[i] = p[i];
  return hn::Load(d, edge);
#endif
}

template <class D>
HWY_INLINE void store_first(D d, hn::Vec<D> v, float* p, int64_t n) {
  if (n >= static_cast<int64_t>(hn::Lanes(d))) return hn::StoreU(v, d, p);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(n)), d, p);
#else
  HWY_ALIGN float edge[kLanes];
  hn::Store(v, d, edge);
  for (int64_t i = 0; i < n; ++i) p[i] = edge[i];
#endif
}

// Six values through B^T.
template <class D, class V>
HWY_INLINE void transform_in(D d, V d0, V d1, V d2, V d3, V d4, V d5, V (&o)[6]) {
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
template <class D, class V>
HWY_INLINE void transform_out(D d, V m0, V m1, V m2, V m3, V m4, V m5, V& o0, V& o1, V& o2, V& o3) {
  const V a = hn::Add(m1, m2), b = hn::Sub(m1, m2), c = hn::Add(m3, m4), e = hn::Sub(m3, m4);
  o0 = hn::Add(m0, hn::Add(a, c));
  o1 = hn::MulAdd(b, hn::Set(d, 0.70710678f), hn::Mul(e, hn::Set(d, 1.41421356f)));
  o2 = hn::MulAdd(a, hn::Set(d, 0.5f), hn::Add(c, c));
  o3 = hn::MulAdd(b, hn::Set(d, 0.35355339f), hn::MulAdd(e, hn::Set(d, 2.82842712f), m5));
}

// Tiles along a row are the vector: a row's columns 4 t + i are its i-th phase.
template <class D>
HWY_INLINE void input_tiles(D d, const WinogradBlock& b, const float* rows, int64_t row_floats, const Panels& panels,
                            int64_t tile, int64_t channel, int64_t channels, int64_t position_stride, float* out) {
  using V = hn::Vec<D>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t x = 0; x < b.tiles_across;) {
    int64_t panel = 0;
    while (panels.first_column(panel + 1) <= tile + x && panel + 1 < panels.count) ++panel;
    const int64_t first = panels.first_column(panel), width = panels.width_in_vectors(panel) * panels.lanes;
    int64_t n = b.tiles_across - x;
    n = n > lanes ? lanes : n;
    n = n > first + width - tile - x ? first + width - tile - x : n;
    float* o = out + first * channels + channel * width + tile + x - first;
    for (int r = 0; r < 6; ++r) {
      const float* p = rows + r * row_floats + 4 * x;
      V d0, d1, d2, d3, d4, d5, unused0, unused1;
      hn::LoadInterleaved4(d, p, d0, d1, d2, d3);
      hn::LoadInterleaved4(d, p + 4, d4, d5, unused0, unused1);
      V t[6];
      transform_in(d, d0, d1, d2, d3, d4, d5, t);
      HWY_UNROLL(6) for (int j = 0; j < 6; ++j) store_first(d, t[j], o + (r * 6 + j) * position_stride, n);
    }
    x += n;
  }
}

void input(const WinogradBlock& b, const float* in, int64_t depth_tap, const Panels& panels, int64_t channel, int64_t channels,
           int64_t position_stride, float* out, float* work) noexcept {
  const Widest d;
  using V = hn::Vec<Widest>;
  const ConvGeometry& g = *b.g;
  const int64_t h = g.in[1], w = g.in[2], left = g.pad[2];
  const int64_t row_floats = winograd_row_floats(b, kLanes);
  // Columns of padding stay zero; what lies right of the last column used is never written either.
  for (int64_t i = 0; i < 7 * row_floats; i += kLanes) hn::StoreU(hn::Zero(d), d, work + i);
  const float* zeros = work + 6 * row_floats;
  int64_t columns = b.tiles_across * 4 + 2 - left;
  columns = columns > w ? w : columns;
  for (int64_t y = b.y0; y < b.y1; ++y) {
    const int64_t z = y / b.tiles_down * g.stride[0] + depth_tap * g.dilation[0] - g.pad[0];
    const float* source[6];
    for (int i = 0; i < 6; ++i) {
      const int64_t iy = y % b.tiles_down * 4 - g.pad[1] + i;
      source[i] = z >= 0 && z < g.in[0] && iy >= 0 && iy < h ? in + (z * h + iy) * w : nullptr;
    }
    for (int64_t x = 0; x < columns; x += kLanes) {
      const int64_t n = columns - x;
      V t[6];
      const auto row = [&](int i) HWY_ATTR {
        return source[i] != nullptr ? load_first(d, source[i] + x, n) : hn::Load(d, zeros);
      };
      transform_in(d, row(0), row(1), row(2), row(3), row(4), row(5), t);
      HWY_UNROLL(6) for (int j = 0; j < 6; ++j) store_first(d, t[j], work + j * row_floats + left + x, n);
    }
    const int64_t tile = (y - b.y0) * b.tiles_across;
    const hn::CappedTag<float, 4> d4;
    const hn::CappedTag<float, 8> d8;
    if (b.tiles_across <= 4) {
      input_tiles(d4, b, work, row_floats, panels, tile, channel, channels, position_stride, out);
    } else if (b.tiles_across <= 8) {
      input_tiles(d8, b, work, row_floats, panels, tile, channel, channels, position_stride, out);
    } else {
      input_tiles(d, b, work, row_floats, panels, tile, channel, channels, position_stride, out);
    }
  }
}

template <class D>
HWY_INLINE void output_tiles(D d, const float* in, int64_t tiles, int64_t position_stride, float* rows,
                             int64_t row_floats) {
  using V = hn::Vec<D>;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t x = 0; x < tiles; x += lanes) {
    V t[4][6];
    HWY_UNROLL(6) for (int j = 0; j < 6; ++j) {
      const float* p = in + x + j * position_stride;
      const auto m = [&](int i) HWY_ATTR { return hn::LoadU(d, p + i * 6 * position_stride); };
      transform_out(d, m(0), m(1), m(2), m(3), m(4), m(5), t[0][j], t[1][j], t[2][j], t[3][j]);
    }
    HWY_UNROLL(4) for (int i = 0; i < 4; ++i) {
      V o0, o1, o2, o3;
      transform_out(d, t[i][0], t[i][1], t[i][2], t[i][3], t[i][4], t[i][5], o0, o1, o2, o3);
      hn::StoreInterleaved4(o0, o1, o2, o3, d, rows + i * row_floats + 4 * x);
    }
  }
}

void output(const WinogradBlock& b, const float* in, int64_t position_stride, float bias, const float* residual,
            const Activation& f, float* out, float* work) noexcept {
  const Widest d;
  using V = hn::Vec<Widest>;
  const ConvGeometry& g = *b.g;
  const int64_t ow = g.out[2], oh = g.out[1];
  const int64_t row_floats = winograd_row_floats(b, kLanes);
  const bool stored = is_cheap(f.op);
  const Cheap<Widest> cheap(d, f);
  const V add = hn::Set(d, bias);
  for (int64_t y = b.y0; y < b.y1; ++y) {
    const float* m = in + (y - b.y0) * b.tiles_across;
    const hn::CappedTag<float, 4> d4;
    const hn::CappedTag<float, 8> d8;
    if (b.tiles_across <= 4) {
      output_tiles(d4, m, b.tiles_across, position_stride, work, row_floats);
    } else if (b.tiles_across <= 8) {
      output_tiles(d8, m, b.tiles_across, position_stride, work, row_floats);
    } else {
      output_tiles(d, m, b.tiles_across, position_stride, work, row_floats);
    }
    const int64_t first = y % b.tiles_down * 4, plane = y / b.tiles_down * oh;
    for (int64_t i = 0; i < 4 && first + i < oh; ++i) {
      const int64_t at = (plane + first + i) * ow;
      const float* row = work + i * row_floats;
      for (int64_t x = 0; x < ow; x += kLanes) {
        V v = hn::Add(hn::LoadU(d, row + x), add);
        if (residual != nullptr) v = hn::Add(v, load_first(d, residual + at + x, ow - x));
        store_first(d, cheap(v), out + at + x, ow - x);
      }
      if (!stored) unary(f, out + at, out + at, ow);
    }
  }
}

const WinogradTarget* simd_target() {
  static constexpr WinogradTarget kTarget{input, output, static_cast<int>(kLanes)};
  return &kTarget;
}
#else
const WinogradTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const WinogradTarget* winograd_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(winograd_simd_target);
const WinogradTarget* winograd_simd() { return HWY_DYNAMIC_DISPATCH(winograd_simd_target)(); }
}  // namespace mlt
#endif
