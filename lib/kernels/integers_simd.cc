#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/integers_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstring>

#include "lib/kernels/integers_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED
namespace hn = hwy::HWY_NAMESPACE;
using DI = hn::ScalableTag<int32_t>;
using VI = hn::Vec<DI>;
using D8 = hn::ScalableTag<uint8_t>;
using V8 = hn::Vec<D8>;
constexpr int64_t kLanes = HWY_MAX_BYTES / sizeof(int32_t);

// f over whole vectors of two operands, and of what is left over through a copy. Steps are 0 or 1.
template <class TagIn, class TagOut, typename T, typename R, typename F>
HWY_INLINE void map2(TagIn d, TagOut to, const T* a, int64_t as, const T* b, int64_t bs, R* out, int64_t count, const F& f) {
  constexpr int64_t n = HWY_MAX_BYTES / static_cast<int64_t>(sizeof(T));
  const auto a0 = hn::Set(d, a[0]), b0 = hn::Set(d, b[0]);
  int64_t i = 0;
  if (as != 0 && bs != 0) {
    for (; i + n <= count; i += n) hn::StoreU(f(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), to, out + i);
  } else if (as != 0) {
    for (; i + n <= count; i += n) hn::StoreU(f(hn::LoadU(d, a + i), b0), to, out + i);
  } else {
    for (; i + n <= count; i += n) hn::StoreU(f(a0, bs != 0 ? hn::LoadU(d, b + i) : b0), to, out + i);
  }
  if (i == count) return;
  HWY_ALIGN T x[n] = {}, y[n] = {};
  HWY_ALIGN R z[n];
  for (int64_t j = i; j < count; ++j) x[j - i] = a[j * as], y[j - i] = b[j * bs];
  hn::Store(f(hn::Load(d, x), hn::Load(d, y)), to, z);
  std::memcpy(out + i, z, static_cast<size_t>(count - i) * sizeof(R));
}

void binary_simd(Binary op, const int32_t* a, int64_t as, const int32_t* b, int64_t bs, int32_t* out, int64_t count) noexcept {
  if (count <= 0) return;
  const DI d;
  switch (op) {
    case Binary::kAdd: return map2(d, d, a, as, b, bs, out, count, [](VI x, VI y) { return hn::Add(x, y); });
    case Binary::kSub: return map2(d, d, a, as, b, bs, out, count, [](VI x, VI y) { return hn::Sub(x, y); });
    case Binary::kMul: return map2(d, d, a, as, b, bs, out, count, [](VI x, VI y) { return hn::Mul(x, y); });
    case Binary::kMax: return map2(d, d, a, as, b, bs, out, count, [](VI x, VI y) { return hn::Max(x, y); });
    case Binary::kMin: return map2(d, d, a, as, b, bs, out, count, [](VI x, VI y) { return hn::Min(x, y); });
    default: break;
  }
  for (int64_t i = 0; i < count; ++i) out[i] = binary_reference(op, a[i * as], b[i * bs]);
}

template <typename F>
HWY_INLINE void compare_with(const int32_t* a, int64_t as, const int32_t* b, int64_t bs, uint8_t* out, int64_t count, const F& f) {
  const DI d;
  const hn::Rebind<uint8_t, DI> d8;
  const auto one = hn::Set(d, 1);
  map2(d, d8, a, as, b, bs, out, count, [&](VI x, VI y) HWY_ATTR { return hn::DemoteTo(d8, hn::IfThenElseZero(f(x, y), one)); });
}

void compare_simd(Compare op, const int32_t* a, int64_t as, const int32_t* b, int64_t bs, uint8_t* out, int64_t count) noexcept {
  if (count <= 0) return;
  switch (op) {
    case Compare::kEqual: return compare_with(a, as, b, bs, out, count, [](VI x, VI y) { return hn::Eq(x, y); });
    case Compare::kNotEqual: return compare_with(a, as, b, bs, out, count, [](VI x, VI y) { return hn::Not(hn::Eq(x, y)); });
    case Compare::kLess: return compare_with(a, as, b, bs, out, count, [](VI x, VI y) { return hn::Lt(x, y); });
    case Compare::kLessEqual: return compare_with(a, as, b, bs, out, count, [](VI x, VI y) { return hn::Not(hn::Gt(x, y)); });
    case Compare::kGreater: return compare_with(a, as, b, bs, out, count, [](VI x, VI y) { return hn::Gt(x, y); });
    case Compare::kGreaterEqual: return compare_with(a, as, b, bs, out, count, [](VI x, VI y) { return hn::Not(hn::Lt(x, y)); });
  }
}

// 1 where a byte is not 0.
HWY_INLINE V8 truth(V8 x) {
  const D8 d;
  return hn::IfThenZeroElse(hn::Eq(x, hn::Zero(d)), hn::Set(d, 1));
}

void logical_simd(Logical op, const uint8_t* a, int64_t as, const uint8_t* b, int64_t bs, uint8_t* out, int64_t count) noexcept {
  if (count <= 0) return;
  const D8 d;
  switch (op) {
    case Logical::kAnd: return map2(d, d, a, as, b, bs, out, count, [](V8 x, V8 y) { return hn::And(truth(x), truth(y)); });
    case Logical::kOr: return map2(d, d, a, as, b, bs, out, count, [](V8 x, V8 y) { return truth(hn::Or(x, y)); });
    case Logical::kXor: return map2(d, d, a, as, b, bs, out, count, [](V8 x, V8 y) { return hn::Xor(truth(x), truth(y)); });
  }
}

void select_simd(const uint8_t* cond, const uint32_t* a, int64_t as, const uint32_t* b, int64_t bs, uint32_t* out, int64_t count) noexcept {
  if (count <= 0) return;
  const hn::ScalableTag<uint32_t> d;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const auto a0 = hn::Set(d, a[0]), b0 = hn::Set(d, b[0]), zero = hn::Zero(d);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto none = hn::Eq(hn::PromoteTo(d, hn::LoadU(d8, cond + i)), zero);
    hn::StoreU(hn::IfThenElse(none, bs != 0 ? hn::LoadU(d, b + i) : b0, as != 0 ? hn::LoadU(d, a + i) : a0), d, out + i);
  }
  for (; i < count; ++i) out[i] = cond[i] != 0 ? a[i * as] : b[i * bs];
}

const IntegersTarget* simd_target() {
  static constexpr IntegersTarget kTarget{binary_simd, compare_simd, logical_simd, select_simd};
  return &kTarget;
}
#else
const IntegersTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const IntegersTarget* integers_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(integers_simd_target);
const IntegersTarget* integers_simd() { return HWY_DYNAMIC_DISPATCH(integers_simd_target)(); }
}  // namespace mlt
#endif
