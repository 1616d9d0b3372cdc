#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/convert_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lib/base/float16.h"
#include "lib/kernels/convert_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
constexpr int64_t kLanes = HWY_MAX_BYTES / sizeof(float);
// Elsewhere Highway emulates, without rounding as the hardware does.
#define MLT_HALF_HARDWARE (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2)

void half_to_float_simd(const uint16_t* in, float* out, int64_t count) noexcept {
  int64_t i = 0;
#if MLT_HALF_HARDWARE
  const D d;
  const hn::Rebind<hwy::float16_t, D> d16;
  const hn::Rebind<uint16_t, D> du16;
  for (; i + kLanes <= count; i += kLanes)
    hn::StoreU(hn::PromoteTo(d, hn::BitCast(d16, hn::LoadU(du16, in + i))), d, out + i);
#endif
  for (; i < count; ++i) out[i] = half_to_float(in[i]);
}

void float_to_half_simd(const float* in, uint16_t* out, int64_t count) noexcept {
  int64_t i = 0;
#if MLT_HALF_HARDWARE
  const D d;
  const hn::Rebind<hwy::float16_t, D> d16;
  const hn::Rebind<uint16_t, D> du16;
  for (; i + kLanes <= count; i += kLanes)
    hn::StoreU(hn::BitCast(du16, hn::DemoteTo(d16, hn::LoadU(d, in + i))), du16, out + i);
#endif
  for (; i < count; ++i) out[i] = float_to_half(in[i]);
}

float clamped(float v) {
  float a = v < 0 ? -v : v;
  if (a > 65504.0f && a <= 3.402823466e38f) a = 65504.0f;
  else if (a < 0x1p-24f) a = 0;
  return std::bit_cast<float>((std::bit_cast<uint32_t>(a) & 0x7fffffffu) | (std::bit_cast<uint32_t>(v) & 0x80000000u));
}

void constants_to_half_simd(const float* in, uint16_t* out, int64_t count) noexcept {
  int64_t i = 0;
#if MLT_HALF_HARDWARE
  const D d;
  const hn::Rebind<hwy::float16_t, D> d16;
  const hn::Rebind<uint16_t, D> du16;
  const auto largest = hn::Set(d, 65504.0f), finite = hn::Set(d, 3.402823466e38f), smallest = hn::Set(d, 0x1p-24f);
  for (; i + kLanes <= count; i += kLanes) {
    const auto v = hn::LoadU(d, in + i);
    auto a = hn::Abs(v);
    a = hn::IfThenElse(hn::And(hn::Gt(a, largest), hn::Le(a, finite)), largest, a);
    a = hn::IfThenZeroElse(hn::Lt(a, smallest), a);
    hn::StoreU(hn::BitCast(du16, hn::DemoteTo(d16, hn::CopySignToAbs(a, v))), du16, out + i);
  }
#endif
  for (; i < count; ++i) out[i] = float_to_half(clamped(in[i]));
}

bool any_magnitude_simd(const float* in, int64_t count, float low, float high) noexcept {
  const D d;
  const auto lo = hn::Set(d, low), hi = hn::Set(d, high);
  int64_t i = 0;
  auto found = hn::Zero(d);
  for (; i + kLanes <= count; i += kLanes) {
    const auto a = hn::Abs(hn::LoadU(d, in + i));
    found = hn::Or(found, hn::VecFromMask(d, hn::And(hn::Gt(a, lo), hn::Le(a, hi))));
  }
  if (!hn::AllFalse(d, hn::MaskFromVec(found))) return true;
  for (; i < count; ++i) {
    const float a = in[i] < 0 ? -in[i] : in[i];
    if (a > low && a <= high) return true;
  }
  return false;
}

template <typename T>
void dequantize_simd(const T* in, float* out, int64_t count, float scale, float zero_point) noexcept {
  const D d;
  const hn::Rebind<int32_t, D> di;
  const hn::Rebind<T, D> dt;
  const auto s = hn::Set(d, scale), z = hn::Set(d, zero_point);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    hn::StoreU(hn::Mul(hn::Sub(hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(dt, in + i))), z), s), d, out + i);
  for (; i < count; ++i) out[i] = (static_cast<float>(in[i]) - zero_point) * scale;
}

void int32_to_float_simd(const int32_t* in, float* out, int64_t count) noexcept {
  const D d;
  const hn::Rebind<int32_t, D> di;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(hn::ConvertTo(d, hn::LoadU(di, in + i)), d, out + i);
  for (; i < count; ++i) out[i] = static_cast<float>(in[i]);
}

void float_to_int32_simd(const float* in, int32_t* out, int64_t count) noexcept {
  const D d;
  const hn::Rebind<int32_t, D> di;
  const auto beyond = hn::Set(d, 0x1p31f), largest = hn::BitCast(d, hn::Set(di, INT32_MAX));
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto v = hn::LoadU(d, in + i), number = hn::IfThenElseZero(hn::Eq(v, v), v);
    const auto whole = hn::BitCast(d, hn::ConvertTo(di, number));
    hn::StoreU(hn::BitCast(di, hn::IfThenElse(hn::Ge(number, beyond), largest, whole)), di, out + i);
  }
  for (; i < count; ++i) out[i] = truncated(in[i]);
}

template <typename T>
void bool_simd(const uint8_t* in, T* out, int64_t count) noexcept {
  const hn::ScalableTag<T> d;
  const hn::ScalableTag<int32_t> di;
  const hn::Rebind<uint8_t, decltype(di)> d8;
  const auto one = hn::BitCast(di, hn::Set(d, 1));
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto v = hn::PromoteTo(di, hn::LoadU(d8, in + i));
    hn::StoreU(hn::BitCast(d, hn::IfThenZeroElse(hn::Eq(v, hn::Zero(di)), one)), d, out + i);
  }
  for (; i < count; ++i) out[i] = in[i] != 0;
}

const ConvertTarget* simd_target() {
  static constexpr ConvertTarget kTarget{half_to_float_simd, float_to_half_simd, constants_to_half_simd, any_magnitude_simd, dequantize_simd<int8_t>,
                                         dequantize_simd<uint8_t>, int32_to_float_simd, float_to_int32_simd, bool_simd<float>, bool_simd<int32_t>};
  return &kTarget;
}
#else
const ConvertTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const ConvertTarget* convert_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(convert_target);
const ConvertTarget* convert_simd() { return HWY_DYNAMIC_DISPATCH(convert_target)(); }
}  // namespace mlt
#endif
