// Channel shuffles on Highway.
#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/shuffle_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstring>

#include "lib/kernels/partial-inl.h"
#include "lib/kernels/shuffle_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int64_t kLanes = HWY_MAX_BYTES / sizeof(float);

template <int kGroups>
HWY_INLINE void interleave(const V (&v)[kGroups], float* out) {
  const D d;
  if constexpr (kGroups == 2) {
    hn::StoreInterleaved2(v[0], v[1], d, out);
  } else if constexpr (kGroups == 3) {
    hn::StoreInterleaved3(v[0], v[1], v[2], d, out);
  } else {
    hn::StoreInterleaved4(v[0], v[1], v[2], v[3], d, out);
  }
}

template <int kGroups>
HWY_INLINE void shuffle_few(const float* in, int64_t width, int64_t count, float* out) {
  const D d;
  V v[kGroups];
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    HWY_UNROLL(4) for (int g = 0; g < kGroups; ++g) v[g] = hn::LoadU(d, in + g * width + j);
    interleave<kGroups>(v, out + j * kGroups);
  }
  if (j == count) return;
  HWY_ALIGN float edge[kGroups * kLanes];
  HWY_UNROLL(4) for (int g = 0; g < kGroups; ++g) v[g] = load_first(d, in + g * width + j, count - j);
  interleave<kGroups>(v, edge);
  std::memcpy(out + j * kGroups, edge, static_cast<size_t>((count - j) * kGroups) * sizeof(float));
}

void shuffle(const float* in, int64_t groups, int64_t width, int64_t count, float* out) noexcept {
  if (groups == 2) return shuffle_few<2>(in, width, count, out);
  if (groups == 3) return shuffle_few<3>(in, width, count, out);
  if (groups == 4) return shuffle_few<4>(in, width, count, out);
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t j = 0; j < count; ++j) out[j * groups + g] = in[g * width + j];
}

ShuffleFn simd_target() { return shuffle; }
#else
ShuffleFn simd_target() { return nullptr; }
#endif
}  // namespace
ShuffleFn shuffle_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(shuffle_simd_target);
ShuffleFn shuffle_simd() { return HWY_DYNAMIC_DISPATCH(shuffle_simd_target)(); }
}  // namespace mlt
#endif
