// Depthwise convolutions of padded rows on Highway: several outputs at a time, which share the weights and what they read.
#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/depthwise_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <array>
#include <cmath>

#include "lib/kernels/activate-inl.h"
#include "lib/kernels/bounds-inl.h"
#include "lib/kernels/cheap-inl.h"
#include "lib/kernels/depthwise_target.h"
#include "lib/kernels/gemm_target.h"
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
// Sums, inputs and a weight fill the registers.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr int kMost[] = {8, 5};  // by stride
#else
constexpr int kMost[] = {5, 4};
#endif

// Functions that are done before a result is stored; the others follow row by row.
struct Finish {
  explicit HWY_INLINE Finish(const Activation& f) : cheap(D(), f), slope(hn::Set(D(), f.a)), shift(hn::Set(D(), f.b)), swish(f.op == Unary::kHardSwish) {}
  HWY_INLINE V operator()(V v) const {
    const D d;
    if (swish) return hn::Mul(v, at_most(hn::Set(d, 1.0f), at_least(hn::Zero(d), hn::Add(hn::Mul(v, slope), shift))));
    return cheap(v);
  }
  Cheap<D> cheap;
  V slope, shift;
  bool swish;
};

// `groups` times kPixels outputs of every row, from x on.
template <int kKernel, int kStride, int kPixels>
HWY_NOINLINE void columns(const DepthwiseBand& b, const Finish& finish, int64_t x, int64_t groups) {
  constexpr int kColumns = (kPixels - 1) * kStride + kKernel;
  const D d;
  for (int64_t c = 0; c < b.channels; c += kLanes) {
    const V bias = hn::LoadU(d, b.bias + c);
    const int64_t n = b.channels - c;
    for (int64_t y = 0; y < b.count_y; ++y) {
      const float* const* rows = b.rows + y * kStride;
      int64_t at = b.offset + x * kStride * b.step + c;
      float* out = b.out + y * b.row_pitch + x * b.pitch + c;
      for (int64_t g = 0; g < groups; ++g, at += kPixels * kStride * b.step) {
        V acc[kPixels];
        HWY_UNROLL(8) for (int p = 0; p < kPixels; ++p) acc[p] = bias;
        const float* w = b.weights + c;
        HWY_UNROLL(5) for (int ky = 0; ky < kKernel; ++ky) {
          const float* in = rows[ky * b.row_step] + at;
          V v[kColumns];
          HWY_UNROLL(13) for (int i = 0; i < kColumns; ++i) v[i] = hn::LoadU(d, in + i * b.step);
          HWY_UNROLL(5) for (int kx = 0; kx < kKernel; ++kx, w += b.width) {
            const V weight = hn::LoadU(d, w);
            HWY_UNROLL(8) for (int p = 0; p < kPixels; ++p) acc[p] = hn::MulAdd(weight, v[p * kStride + kx], acc[p]);
          }
        }
        HWY_UNROLL(8) for (int p = 0; p < kPixels; ++p, out += b.pitch) store_first(d, finish(acc[p]), out, n);
      }
    }
  }
}

using Columns = void (*)(const DepthwiseBand&, const Finish&, int64_t, int64_t);
template <int kKernel, int kStride>
constexpr std::array<Columns, 9> columns_of() {
  constexpr int kLast = kMost[kStride - 1];
  return {nullptr,
          columns<kKernel, kStride, 1>,
          columns<kKernel, kStride, 2>,
          columns<kKernel, kStride, 3>,
          columns<kKernel, kStride, 4>,
          columns<kKernel, kStride, kLast < 5 ? kLast : 5>,
          columns<kKernel, kStride, kLast < 6 ? kLast : 6>,
          columns<kKernel, kStride, kLast < 7 ? kLast : 7>,
          columns<kKernel, kStride, kLast < 8 ? kLast : 8>};
}

void activate(const Activation& f, float* out, int64_t pitch, int64_t count, int64_t channels) {
  if (f.op != Unary::kHardSwish) activate_rectangle(f, out, count, pitch, channels);
}

void band(const DepthwiseBand& b) noexcept {
  static constexpr std::array<Columns, 9> kColumns[2][2] = {{columns_of<3, 1>(), columns_of<3, 2>()}, {columns_of<5, 1>(), columns_of<5, 2>()}};
  const auto& table = kColumns[b.kernel == 5][b.stride - 1];
  const Finish finish(b.f);
  const int64_t group = balanced_tile(b.count_x, kMost[b.stride - 1]), groups = b.count_x / group, rest = b.count_x - groups * group;
  table[static_cast<size_t>(group)](b, finish, 0, groups);
  if (rest > 0) table[static_cast<size_t>(rest)](b, finish, groups * group, 1);
  for (int64_t y = 0; y < b.count_y; ++y) activate(b.f, b.out + y * b.row_pitch, b.pitch, b.count_x, b.channels);
}

void combine(const PartSums& s) noexcept {
  const D d;
  const Finish finish(s.f);
  for (int64_t i = 0; i < s.count; ++i) {
    const float* in = s.parts + i * s.channels;
    float* out = s.out + i * s.pitch;
    for (int64_t c = 0; c < s.channels; c += kLanes) {
      const int64_t n = s.channels - c;
      V v = load_first(d, in + c, n);
      for (int64_t p = 1; p < s.part_count; ++p) v = hn::Add(v, load_first(d, in + p * s.part_step + c, n));
      v = hn::Add(v, load_first(d, s.bias + c, n));
      if (s.residual != nullptr) v = hn::Add(v, load_first(d, s.residual + i * s.channels + c, n));
      store_first(d, finish(v), out + c, n);
    }
  }
  activate(s.f, s.out, s.pitch, s.count, s.channels);
}

void sum(const float* in, int64_t pitch, int64_t count, int64_t channels, float* out) noexcept {
  constexpr int kVectors = 4;
  const D d;
  int64_t c = 0;
  for (; c + kVectors * kLanes <= channels; c += kVectors * kLanes) {
    V acc[kVectors];
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[j] = hn::LoadU(d, in + c + j * kLanes);
    for (int64_t i = 1; i < count; ++i)
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[j] = hn::Add(acc[j], hn::LoadU(d, in + i * pitch + c + j * kLanes));
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) hn::StoreU(acc[j], d, out + c + j * kLanes);
  }
  for (; c < channels; c += kLanes) {
    V acc = load_first(d, in + c, channels - c);
    for (int64_t i = 1; i < count; ++i) acc = hn::Add(acc, load_first(d, in + i * pitch + c, channels - c));
    store_first(d, acc, out + c, channels - c);
  }
}

void scale(const float* in, int64_t width, int64_t rows, const float* by, float* out) noexcept {
  const D d;
  for (int64_t i = 0; i < rows; ++i) {
    const V s = hn::Set(d, by[i]);
    for (int64_t j = 0; j < width; j += kLanes) hn::StoreU(hn::Mul(hn::LoadU(d, in + i * width + j), s), d, out + i * width + j);
  }
}

const DepthwiseTarget* simd_target() {
  static constexpr DepthwiseTarget kTarget{band, combine, sum, scale};
  return &kTarget;
}
#else
const DepthwiseTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const DepthwiseTarget* depthwise_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(depthwise_simd_target);
const DepthwiseTarget* depthwise_simd() { return HWY_DYNAMIC_DISPATCH(depthwise_simd_target)(); }
}  // namespace mlt
#endif
