#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/sample_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/kernels/sample_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using DI = hn::RebindToSigned<D>;
constexpr int64_t kLanes = HWY_MAX_BYTES / sizeof(float);

void blend_simd(const float* plane, const SampleTaps& taps, float* out, int64_t n) noexcept {
  const D d;
  const DI di;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    auto sum = hn::Zero(d);
    HWY_UNROLL(4) for (int k = 0; k < 4; ++k) {
      const auto w = hn::Load(d, taps.weight[k] + i);
      const auto term = hn::Mul(hn::GatherIndex(d, plane, hn::Load(di, taps.at[k] + i)), w);
      sum = hn::Add(sum, hn::IfThenZeroElse(hn::Eq(w, hn::Zero(d)), term));
    }
    hn::StoreU(hn::Add(sum, hn::Load(d, taps.rest + i)), d, out + i);
  }
  for (; i < n; ++i) out[i] = blend_point(plane, taps, i);
}

void pick_simd(const float* plane, const SampleTaps& taps, float* out, int64_t n) noexcept {
  const D d;
  const DI di;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto v = hn::GatherIndex(d, plane, hn::Load(di, taps.at[0] + i));
    hn::StoreU(hn::IfThenElse(hn::Eq(hn::Load(d, taps.weight[0] + i), hn::Zero(d)), hn::Load(d, taps.rest + i), v), d, out + i);
  }
  for (; i < n; ++i) out[i] = taps.weight[0][i] != 0 ? plane[taps.at[0][i]] : taps.rest[i];
}

const SampleTarget* simd_target() {
  static constexpr SampleTarget kTarget{blend_simd, pick_simd};
  return &kTarget;
}
#else
const SampleTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const SampleTarget* sample_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(sample_simd_target);
const SampleTarget* sample_simd() { return HWY_DYNAMIC_DISPATCH(sample_simd_target)(); }
}  // namespace mlt
#endif
