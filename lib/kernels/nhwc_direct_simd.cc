// Convolutions with few channels on Highway: outputs stay in registers while their whole window is read.
#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/nhwc_direct_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/kernels/activate-inl.h"
#include "lib/kernels/cheap-inl.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/nhwc_direct_target.h"
#include "lib/kernels/partial-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int kLanes = HWY_MAX_BYTES / sizeof(float);
// As many outputs as leave registers for two vectors of weights and what is multiplied with them.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
#define MLT_DIRECT_BLOCKS 14, 12, 10, 8, 7, 4
#define MLT_DIRECT_ACROSS 12, 8, 7, 4
#define MLT_DIRECT_QUADS 6, 5, 4
#else
#define MLT_DIRECT_BLOCKS 6, 5, 4, 3, 2, 1
#define MLT_DIRECT_ACROSS 6, 5, 4, 2
#define MLT_DIRECT_QUADS 3, 2, 1
#endif
constexpr int kBlocks[] = {MLT_DIRECT_BLOCKS};
constexpr int kAcross[] = {MLT_DIRECT_ACROSS};
constexpr int kQuads[] = {MLT_DIRECT_QUADS};

template <int kPixels, int kVectors>
HWY_INLINE void store(const DirectRow& r, int64_t x, V (&acc)[kPixels][kVectors]) {
  const D d;
  const int64_t left = r.count - x;
  const Cheap<D> cheap(d, r.f);
  // The common end without a question for each vector, which takes long beside the sums of a small window.
  if (left >= kPixels && r.residual == nullptr && !cheap.leaky && r.valid[kVectors - 1] == kLanes) {
    float* out = r.out + x * r.pitch;
    HWY_UNROLL(2) for (int j = 0; j < kVectors; ++j) {
      const V bias = hn::LoadU(d, r.bias + j * kLanes);
      HWY_UNROLL(16) for (int i = 0; i < kPixels; ++i) hn::StoreU(cheap.bounded(hn::Add(acc[i][j], bias)), d, out + i * r.pitch + j * r.out_step);
    }
    return;
  }
  HWY_UNROLL(2) for (int j = 0; j < kVectors; ++j) {
    const V bias = hn::LoadU(d, r.bias + j * kLanes);
    const int64_t n = r.valid[j];
    float* to = r.out + x * r.pitch + j * r.out_step;
    const float* other = r.residual != nullptr ? r.residual + x * r.residual_pitch + j * r.out_step : nullptr;
    HWY_UNROLL(16) for (int i = 0; i < kPixels; ++i) {
      if (i < left) {
        V v = hn::Add(acc[i][j], bias);
        if (other != nullptr) v = hn::Add(v, load_first(d, other + i * r.residual_pitch, n));
        store_first(d, cheap(v), to + i * r.pitch, n);
      }
    }
  }
}

template <int kPixels, int kVectors, DirectInput kInput>
HWY_NOINLINE void tile(const DirectRow& r, int64_t x) {
  const D d;
  V acc[kPixels][kVectors];
  HWY_UNROLL(16) for (int i = 0; i < kPixels; ++i) {
    HWY_UNROLL(2) for (int j = 0; j < kVectors; ++j) acc[i][j] = hn::Zero(d);
  }
  const float* HWY_RESTRICT w = r.weights;
  const float* base = r.in + x * r.step;
  // One pointer for three outputs, each reached with an index of 0, step or 2 * step, keeps the addresses in registers.
  const int64_t step = r.step, step2 = 2 * r.step;
  const float* ahead = r.ahead + x / kPixels * r.segments * r.ahead_lines * 16;
  for (int64_t s = 0; s < r.segments; ++s) {
    for (int64_t i = 0; i < r.ahead_lines; ++i, ahead += 16) __builtin_prefetch(ahead, 0, 2);
    const float* p = base + r.offsets[s];
    const float* rows[(kPixels + 2) / 3];
    HWY_UNROLL(8) for (int i = 0; i < (kPixels + 2) / 3; ++i) rows[i] = p + 3 * i * step;
    for (int64_t k = 0; k < r.length; ++k) {
      V weight[kVectors];
      HWY_UNROLL(2) for (int j = 0; j < kVectors; ++j) weight[j] = hn::LoadU(d, w + j * kLanes);
      w += kVectors * kLanes;
      if constexpr (kInput == DirectInput::kPermuted) {
        const auto index = hn::SetTableIndices(d, r.indices + k * kLanes);
        HWY_UNROLL(16) for (int i = 0; i < kPixels; ++i) {
          const float* at = rows[i / 3] + (i % 3 == 0 ? 0 : i % 3 == 1 ? step : step2);
          HWY_UNROLL(2) for (int j = 0; j < kVectors; ++j)
            acc[i][j] = hn::MulAdd(hn::TableLookupLanes(hn::LoadU(d, at + j * kLanes), index), weight[j], acc[i][j]);
        }
      } else {
        HWY_UNROLL(16) for (int i = 0; i < kPixels; ++i) {
          const float* at = rows[i / 3] + k + (i % 3 == 0 ? 0 : i % 3 == 1 ? step : step2);
          const V v = hn::Set(d, at[0]);
          acc[i][0] = hn::MulAdd(v, weight[0], acc[i][0]);
          if constexpr (kVectors > 1) acc[i][1] = hn::MulAdd(kInput == DirectInput::kShared ? v : hn::Set(d, at[kLanes]), weight[1], acc[i][1]);
        }
      }
    }
  }
  store<kPixels, kVectors>(r, x, acc);
}

// Windows three pixels wide: each input that was read is multiplied with the weights of all outputs that it is part of.
template <int kPixels, int kVectors, bool kPairs, int kStride>
HWY_NOINLINE void across(const DirectRow& r, int64_t x) {
  constexpr int kSlot = kPairs ? kLanes / 2 : kLanes, kPixel = 2 * kSlot, kInputs = (kPixels - 1) * kStride + 3;
  const D d;
  V acc[kPixels][kVectors];
  HWY_UNROLL(16) for (int i = 0; i < kPixels; ++i) {
    HWY_UNROLL(2) for (int j = 0; j < kVectors; ++j) acc[i][j] = hn::Zero(d);
  }
  const float* HWY_RESTRICT w = r.weights;
  const float* ahead = r.ahead + x / kPixels * r.segments * r.ahead_lines * 16;
  for (int64_t s = 0; s < r.segments; ++s) {
    for (int64_t i = 0; i < r.ahead_lines; ++i, ahead += 16) __builtin_prefetch(ahead, 0, 2);
    const float* HWY_RESTRICT p = r.in + x * kStride * kPixel + r.offsets[s];
    for (int64_t k = 0; k < r.length; ++k, p += kPairs ? 2 : 1, w += 3 * kVectors * kLanes) {
      HWY_UNROLL(2) for (int j = 0; j < kVectors; ++j) {
        const V w0 = hn::LoadU(d, w + j * kLanes), w1 = hn::LoadU(d, w + (kVectors + j) * kLanes), w2 = hn::LoadU(d, w + (2 * kVectors + j) * kLanes);
        HWY_UNROLL(32) for (int i = 0; i < kInputs; ++i) {
          const float* at = p + i * kPixel + j * kSlot;
          V v;
          if constexpr (kPairs) {
            double two;
            hwy::CopyBytes<sizeof(two)>(at, &two);
            v = hn::BitCast(d, hn::Set(hn::Repartition<double, D>(), two));
          } else {
            v = hn::Set(d, *at);
          }
          if (i % kStride == 0 && i / kStride < kPixels) acc[i / kStride][j] = hn::MulAdd(v, w0, acc[i / kStride][j]);
          if (i >= 1 && (i - 1) % kStride == 0 && (i - 1) / kStride < kPixels) acc[(i - 1) / kStride][j] = hn::MulAdd(v, w1, acc[(i - 1) / kStride][j]);
          if (i >= 2 && (i - 2) % kStride == 0) acc[(i - 2) / kStride][j] = hn::MulAdd(v, w2, acc[(i - 2) / kStride][j]);
        }
      }
    }
  }
  if constexpr (kPairs) {
    V sums[kPixels][1];
    HWY_UNROLL(16) for (int i = 0; i < kPixels; ++i) {
      const V low = acc[i][0], high = acc[i][kVectors - 1];
      sums[i][0] = hn::Add(hn::ConcatEven(d, high, low), hn::ConcatOdd(d, high, low));
    }
    store<kPixels, 1>(r, x, sums);
  } else {
    store<kPixels, kVectors>(r, x, acc);
  }
}

template <int kPixels>
HWY_NOINLINE void quads(const DirectRow& r, int64_t x) {
  const D d;
  V acc[kPixels][4];
  HWY_UNROLL(6) for (int i = 0; i < kPixels; ++i) {
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) acc[i][j] = hn::Zero(d);
  }
  const float* HWY_RESTRICT w = r.weights;
  const float* ahead = r.ahead + x / kPixels * r.segments * r.ahead_lines * 16;
  for (int64_t s = 0; s < r.segments; ++s, w += 4 * kLanes) {
    for (int64_t i = 0; i < r.ahead_lines; ++i, ahead += 16) __builtin_prefetch(ahead, 0, 2);
    const float* HWY_RESTRICT p = r.in + x * r.step + r.offsets[s];
    V weight[4];
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) weight[j] = hn::LoadU(d, w + j * kLanes);
    HWY_UNROLL(6) for (int i = 0; i < kPixels; ++i) {
      const V v = hn::LoadU(d, p + i * r.step);
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j) acc[i][j] = hn::MulAdd(v, weight[j], acc[i][j]);
    }
  }
  // Each block of four lanes is a matrix: its columns are added up.
  const hn::Repartition<double, D> pairs;
  const auto halves = [&](V a, V b) HWY_ATTR { return hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b))); };
  V sums[kPixels][1];
  HWY_UNROLL(6) for (int i = 0; i < kPixels; ++i) {
    const auto low = halves(acc[i][0], acc[i][1]), high = halves(acc[i][2], acc[i][3]);
    sums[i][0] = hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, low, high)), hn::BitCast(d, hn::InterleaveUpper(pairs, low, high)));
  }
  store<kPixels, 1>(r, x, sums);
}

// The functions that store() does not know. A block's vectors lie side by side, apart from shared inputs' they are one group each.
HWY_NOINLINE void activate(const DirectRow& r, int64_t x) {
  const bool sums = r.input == DirectInput::kPairs || r.input == DirectInput::kQuads;
  const int64_t count = r.count < x + r.block ? r.count - x : r.block;
  activate_rectangle(r.f, r.out + x * r.pitch, count, r.pitch, sums || r.vectors == 1 ? r.valid[0] : r.out_step + r.valid[1]);
}

using Run = void (*)(const DirectRow&, int64_t);

template <int kPixels>
Run pick(const DirectRow& r) {
  if (r.vectors == 1) return r.input == DirectInput::kPermuted ? tile<kPixels, 1, DirectInput::kPermuted> : tile<kPixels, 1, DirectInput::kShared>;
  if (r.input == DirectInput::kShared) return tile<kPixels, 2, DirectInput::kShared>;
  return r.input == DirectInput::kSeparate ? tile<kPixels, 2, DirectInput::kSeparate> : tile<kPixels, 2, DirectInput::kPermuted>;
}

template <int kPixels>
Run pick_across(const DirectRow& r) {
  if (r.input == DirectInput::kPairs) {
    if (r.across == 1) return r.vectors == 1 ? across<kPixels, 1, true, 1> : across<kPixels, 2, true, 1>;
    return r.vectors == 1 ? across<kPixels, 1, true, 2> : across<kPixels, 2, true, 2>;
  }
  if (r.across == 1) return r.vectors == 1 ? across<kPixels, 1, false, 1> : across<kPixels, 2, false, 1>;
  return r.vectors == 1 ? across<kPixels, 1, false, 2> : across<kPixels, 2, false, 2>;
}

Run pick(const DirectRow& r) {
  if (r.input == DirectInput::kQuads) return r.block == kQuads[0] ? quads<kQuads[0]> : r.block == kQuads[1] ? quads<kQuads[1]> : quads<kQuads[2]>;
  if (r.across != 0) {
    if (r.block == kAcross[0]) return pick_across<kAcross[0]>(r);
    if (r.block == kAcross[1]) return pick_across<kAcross[1]>(r);
    if (r.block == kAcross[2]) return pick_across<kAcross[2]>(r);
    return pick_across<kAcross[3]>(r);
  }
  if (r.block == kBlocks[0]) return pick<kBlocks[0]>(r);
  if (r.block == kBlocks[1]) return pick<kBlocks[1]>(r);
  if (r.block == kBlocks[2]) return pick<kBlocks[2]>(r);
  if (r.block == kBlocks[3]) return pick<kBlocks[3]>(r);
  if (r.block == kBlocks[4]) return pick<kBlocks[4]>(r);
  return pick<kBlocks[5]>(r);
}

void row(const DirectRow& r) noexcept {
  const bool cheap = is_cheap(r.f.op);
  const Run run = pick(r);
  for (int64_t x = 0; x < r.count; x += r.block) {
    run(r, x);
    if (!cheap) activate(r, x);
  }
}

template <int kVectors>
void gather_vectors(const DirectGather& g, const float* in, float* out) {
  const D d;
  for (int64_t i = 0; i < g.pixels; ++i, in += g.pitch, out += g.pixel) {
    V v[kVectors];
    HWY_UNROLL(2) for (int j = 0; j < kVectors; ++j) v[j] = hn::LoadU(d, in + j * kLanes);
    HWY_UNROLL(2) for (int j = 0; j < kVectors; ++j) hn::StoreU(v[j], d, out + j * kLanes);
  }
}

void gather(const DirectGather& g, const float* in, float* out) noexcept {
  const D d;
  if (g.last == g.length && (g.slots == 1 || g.length == g.slot)) {
    if (g.slots * g.length == kLanes) return gather_vectors<1>(g, in, out);
    if (g.slots * g.length == 2 * kLanes) return gather_vectors<2>(g, in, out);
  }
  for (int64_t i = 0; i < g.pixels; ++i, in += g.pitch, out += g.pixel) {
    const float* from = in;
    float* to = out;
    for (int64_t s = 0; s < g.slots; ++s, from += g.length, to += g.slot) {
      const int64_t n = s + 1 < g.slots ? g.length : g.last;
      for (int64_t c = 0; c < n; c += kLanes) {
        const V v = load_first(d, from + c, n - c);
        if (c + kLanes <= g.slot) {
          hn::StoreU(v, d, to + c);
        } else {
          store_first(d, v, to + c, n - c);
        }
      }
    }
  }
}

const DirectTarget* simd_target() {
  static constexpr DirectTarget kTarget{row, gather, kLanes, {MLT_DIRECT_BLOCKS}, {MLT_DIRECT_ACROSS}, {MLT_DIRECT_QUADS}};
  return &kTarget;
}
#undef MLT_DIRECT_BLOCKS
#undef MLT_DIRECT_ACROSS
#undef MLT_DIRECT_QUADS
#else
const DirectTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const DirectTarget* nhwc_direct_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(nhwc_direct_simd_target);
const DirectTarget* nhwc_direct_simd() { return HWY_DYNAMIC_DISPATCH(nhwc_direct_simd_target)(); }
}  // namespace mlt
#endif
