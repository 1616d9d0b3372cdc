// Convolutions with few channels on Highway: outputs stay in registers while their whole window is read.
#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/nhwc_direct_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/kernels/cheap-inl.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/math-inl.h"
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
#else
#define MLT_DIRECT_BLOCKS 6, 5, 4, 3, 2, 1
#endif
constexpr int kBlocks[] = {MLT_DIRECT_BLOCKS};

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

template <typename F>
HWY_INLINE void map_outputs(const DirectRow& r, int64_t x, const F& f) {
  const D d;
  const int64_t end = r.count < x + r.block ? r.count : x + r.block;
  for (; x < end; ++x)
    for (int j = 0; j < r.vectors; ++j) {
      float* p = r.out + x * r.pitch + j * r.out_step;
      store_first(d, f(load_first(d, p, r.valid[j])), p, r.valid[j]);
    }
}

// The functions that store() does not know, while a block's outputs are in the first-level cache.
HWY_NOINLINE void activate(const DirectRow& r, int64_t x) {
  if (r.f.op == Unary::kSilu) return map_outputs(r, x, [](V v) HWY_ATTR { return math::silu(v); });
  if (r.f.op == Unary::kGelu) return map_outputs(r, x, [](V v) HWY_ATTR { return math::gelu(v); });
  const ElementwiseTarget& ew = elementwise_target();
  const int64_t end = r.count < x + r.block ? r.count : x + r.block;
  for (; x < end; ++x)
    for (int j = 0; j < r.vectors; ++j) {
      float* p = r.out + x * r.pitch + j * r.out_step;
      ew.unary(r.f.op, p, p, r.valid[j], r.f.a, r.f.b);
    }
}

template <int kPixels>
void blocks(const DirectRow& r) {
  const bool cheap = is_cheap(r.f.op);
  void (*run)(const DirectRow&, int64_t) = nullptr;
  if (r.vectors == 1) {
    run = r.input == DirectInput::kPermuted ? tile<kPixels, 1, DirectInput::kPermuted> : tile<kPixels, 1, DirectInput::kShared>;
  } else {
    switch (r.input) {
      case DirectInput::kShared: run = tile<kPixels, 2, DirectInput::kShared>; break;
      case DirectInput::kSeparate: run = tile<kPixels, 2, DirectInput::kSeparate>; break;
      case DirectInput::kPermuted: run = tile<kPixels, 2, DirectInput::kPermuted>; break;
    }
  }
  for (int64_t x = 0; x < r.count; x += kPixels) {
    run(r, x);
    if (!cheap) activate(r, x);
  }
}

void row(const DirectRow& r) noexcept {
  if (r.block == kBlocks[0]) return blocks<kBlocks[0]>(r);
  if (r.block == kBlocks[1]) return blocks<kBlocks[1]>(r);
  if (r.block == kBlocks[2]) return blocks<kBlocks[2]>(r);
  if (r.block == kBlocks[3]) return blocks<kBlocks[3]>(r);
  if (r.block == kBlocks[4]) return blocks<kBlocks[4]>(r);
  return blocks<kBlocks[5]>(r);
}

void gather(const float* in, int64_t pitch, int64_t pixels, int64_t slots, int64_t length, int64_t last, int64_t slot, float* out) noexcept {
  const D d;
  for (int64_t i = 0; i < pixels; ++i, in += pitch) {
    const float* from = in;
    for (int64_t s = 0; s < slots; ++s, from += length, out += slot) {
      const int64_t n = s + 1 < slots ? length : last;
      for (int64_t c = 0; c < n; c += kLanes) hn::StoreU(load_first(d, from + c, n - c), d, out + c);
    }
  }
}

const DirectTarget* simd_target() {
  static constexpr DirectTarget kTarget{row, gather, kLanes, {MLT_DIRECT_BLOCKS}};
  return &kTarget;
}
#undef MLT_DIRECT_BLOCKS
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
