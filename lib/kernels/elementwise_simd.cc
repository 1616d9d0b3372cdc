#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/elementwise_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>

#include "lib/kernels/bounds-inl.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr int64_t kLanes = HWY_MAX_BYTES / sizeof(float);

HWY_INLINE V load_part(const float* p, int64_t n) {
  HWY_ALIGN float edge[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) edge[i] = p[i];
  return hn::Load(D(), edge);
}
HWY_INLINE void store_part(V v, float* p, int64_t n) {
  HWY_ALIGN float edge[kLanes];
  hn::Store(v, D(), edge);
  for (int64_t i = 0; i < n; ++i) p[i] = edge[i];
}

template <typename F>
HWY_INLINE void map(const float* in, float* out, int64_t count, const F& f) {
  const D d;
  int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    const V a = f(hn::LoadU(d, in + i)), b = f(hn::LoadU(d, in + i + kLanes));
    hn::StoreU(a, d, out + i);
    hn::StoreU(b, d, out + i + kLanes);
  }
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(f(hn::LoadU(d, in + i)), d, out + i);
  if (i < count) store_part(f(load_part(in + i, count - i)), out + i, count - i);
}

template <int kQuadrant>
void trig(const float* in, float* out, int64_t count) {
  const D d;
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t n = count - i < kLanes ? count - i : kLanes;
    const V x = n == kLanes ? hn::LoadU(d, in + i) : load_part(in + i, n);
    // Large arguments need more digits of pi; NaN takes this way too.
    if (!hn::AllTrue(d, hn::Lt(hn::Abs(x), hn::Set(d, 8192.0f)))) {
      for (int64_t j = i; j < i + n; ++j)
        out[j] = unary_reference(kQuadrant == 0 ? Unary::kSin : Unary::kCos, in[j], 0, 0);
      continue;
    }
    const V y = math::sin_cos<kQuadrant>(x);
    if (n == kLanes) {
      hn::StoreU(y, d, out + i);
    } else {
      store_part(y, out + i, n);
    }
  }
}

void unary_simd(Unary op, const float* in, float* out, int64_t count, float a, float b) noexcept {
  const D d;
  const V va = hn::Set(d, a), vb = hn::Set(d, b), zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  switch (op) {
    case Unary::kAbs: return map(in, out, count, [](V x) { return hn::Abs(x); });
    case Unary::kNeg: return map(in, out, count, [](V x) { return hn::Neg(x); });
    case Unary::kSquare: return map(in, out, count, [](V x) { return hn::Mul(x, x); });
    case Unary::kSqrt: return map(in, out, count, [](V x) { return hn::Sqrt(x); });
    case Unary::kRsqrt: return map(in, out, count, [=](V x) { return hn::Div(one, hn::Sqrt(hn::Add(x, va))); });
    case Unary::kInverse: return map(in, out, count, [=](V x) { return hn::Div(one, hn::Add(x, va)); });
    case Unary::kExp: return map(in, out, count, [](V x) { return math::exp(x); });
    case Unary::kExp2: return map(in, out, count, [](V x) { return math::exp2(x); });
    case Unary::kLog: return map(in, out, count, [=](V x) { return math::log(hn::Add(x, va)); });
    case Unary::kSin: return trig<0>(in, out, count);
    case Unary::kCos: return trig<1>(in, out, count);
    case Unary::kTanh: return map(in, out, count, [](V x) { return math::tanh(x); });
    case Unary::kErf: return map(in, out, count, [](V x) { return math::erf(x); });
    case Unary::kCeil: return map(in, out, count, [](V x) { return hn::Ceil(x); });
    case Unary::kFloor: return map(in, out, count, [](V x) { return hn::Floor(x); });
    case Unary::kRound: return map(in, out, count, [](V x) { return hn::Round(x); });
    case Unary::kSign:
      return map(in, out, count, [=](V x) {
        return hn::IfThenElse(hn::Gt(x, zero), one, hn::IfThenElse(hn::Lt(x, zero), hn::Neg(one), x));
      });
    case Unary::kRelu: return map(in, out, count, [=](V x) { return at_least(zero, x); });
    case Unary::kClip: return map(in, out, count, [=](V x) { return at_most(vb, at_least(va, x)); });
    case Unary::kThreshold: return map(in, out, count, [=](V x) { return at_least(va, x); });
    case Unary::kThresholdedRelu:
      return map(in, out, count, [=](V x) { return hn::IfThenElse(hn::Lt(x, va), zero, x); });
    case Unary::kLeakyRelu:
      return map(in, out, count, [=](V x) { return hn::IfThenElse(hn::Lt(x, zero), hn::Mul(x, va), x); });
    case Unary::kClampedRelu:
      return map(in, out, count,
                 [=](V x) { return at_most(vb, hn::IfThenElse(hn::Lt(x, zero), hn::Mul(x, va), x)); });
    case Unary::kLinear: return map(in, out, count, [=](V x) { return hn::Add(hn::Mul(x, va), vb); });
    case Unary::kSigmoid: return map(in, out, count, [](V x) { return math::sigmoid(x); });
    case Unary::kHardSigmoid:
      return map(in, out, count, [=](V x) { return at_most(one, at_least(zero, hn::Add(hn::Mul(x, va), vb))); });
    case Unary::kHardSwish:
      return map(in, out, count,
                 [=](V x) { return hn::Mul(x, at_most(one, at_least(zero, hn::Add(hn::Mul(x, va), vb)))); });
    case Unary::kSilu: return map(in, out, count, [](V x) { return math::silu(x); });
    case Unary::kElu:
      return map(in, out, count,
                 [=](V x) { return hn::IfThenElse(hn::Gt(x, zero), x, hn::Mul(va, math::expm1(x))); });
    case Unary::kScaledTanh:
      return map(in, out, count, [=](V x) { return hn::Mul(va, math::tanh(hn::Mul(vb, x))); });
    case Unary::kSoftplus: return map(in, out, count, [](V x) { return math::softplus(x); });
    case Unary::kSoftplusParametric:
      return map(in, out, count, [=](V x) { return hn::Mul(va, math::softplus(hn::Mul(vb, x))); });
    case Unary::kSoftsign: return map(in, out, count, [=](V x) { return hn::Div(x, hn::Add(one, hn::Abs(x))); });
    case Unary::kGelu: return map(in, out, count, [](V x) { return math::gelu(x); });
    case Unary::kGeluTanh:
      // x (1 + tanh u) / 2 = x / (1 + exp(-2 u)).
      return map(in, out, count, [=](V x) {
        const V c = at_least(hn::Set(d, -128.0f), x);
        return math::logistic(hn::Mul(c, hn::MulAdd(hn::Mul(c, c), hn::Set(d, 0.044715f * 1.5957691216f), hn::Set(d, 1.5957691216f))), c);
      });
    case Unary::kGeluSigmoid:
      return map(in, out, count, [=](V x) { return math::logistic(hn::Mul(x, hn::Set(d, 1.702f)), at_least(hn::Set(d, -128.0f), x)); });
    default:
      for (int64_t i = 0; i < count; ++i) out[i] = unary_reference(op, in[i], a, b);
  }
}

template <typename F>
HWY_INLINE void map2(const float* a, int64_t as, const float* b, int64_t bs, float* out, int64_t count, const F& f) {
  const D d;
  const V a0 = hn::Set(d, a[0]), b0 = hn::Set(d, b[0]);
  int64_t i = 0;
  if (as != 0 && bs != 0) {
    for (; i + kLanes <= count; i += kLanes) hn::StoreU(f(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  } else if (as != 0) {
    for (; i + kLanes <= count; i += kLanes) hn::StoreU(f(hn::LoadU(d, a + i), b0), d, out + i);
  } else {
    for (; i + kLanes <= count; i += kLanes)
      hn::StoreU(f(a0, bs != 0 ? hn::LoadU(d, b + i) : b0), d, out + i);
  }
  if (i < count) {
    const int64_t n = count - i;
    store_part(f(as != 0 ? load_part(a + i, n) : a0, bs != 0 ? load_part(b + i, n) : b0), out + i, n);
  }
}

void binary_simd(Binary op, const float* a, int64_t as, const float* b, int64_t bs, float* out,
                 int64_t count) noexcept {
  if (count <= 0) return;
  switch (op) {
    case Binary::kAdd: return map2(a, as, b, bs, out, count, [](V x, V y) { return hn::Add(x, y); });
    case Binary::kSub: return map2(a, as, b, bs, out, count, [](V x, V y) { return hn::Sub(x, y); });
    case Binary::kMul: return map2(a, as, b, bs, out, count, [](V x, V y) { return hn::Mul(x, y); });
    case Binary::kDiv: return map2(a, as, b, bs, out, count, [](V x, V y) { return hn::Div(x, y); });
    case Binary::kFloorDiv:
      return map2(a, as, b, bs, out, count, [](V x, V y) { return hn::Floor(hn::Div(x, y)); });
    case Binary::kMax:
      return map2(a, as, b, bs, out, count, [](V x, V y) { return math::keep_nan(x, at_least(x, y)); });
    case Binary::kMin:
      return map2(a, as, b, bs, out, count, [](V x, V y) { return math::keep_nan(x, at_most(x, y)); });
    case Binary::kPow:
      if (bs == 0 && b[0] == 2.0f) return map(a, out, count, [](V x) { return hn::Mul(x, x); });
      break;
    case Binary::kMod: break;
  }
  for (int64_t i = 0; i < count; ++i) out[i] = binary_reference(op, a[i * as], b[i * bs]);
}

template <typename F>
HWY_INLINE void compare_with(const float* a, int64_t as, const float* b, int64_t bs, uint8_t* out, int64_t count,
                             const F& f) {
  const D d;
  const hn::Rebind<uint8_t, D> d8;
  const hn::RebindToSigned<D> di;
  const V a0 = hn::Set(d, a[0]), b0 = hn::Set(d, b[0]);
  const auto one = hn::Set(di, 1);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const V x = as != 0 ? hn::LoadU(d, a + i) : a0, y = bs != 0 ? hn::LoadU(d, b + i) : b0;
    hn::StoreU(hn::DemoteTo(d8, hn::IfThenElseZero(hn::RebindMask(di, f(x, y)), one)), d8, out + i);
  }
  if (i < count) {
    const int64_t n = count - i;
    HWY_ALIGN int32_t edge[kLanes];
    const V x = as != 0 ? load_part(a + i, n) : a0, y = bs != 0 ? load_part(b + i, n) : b0;
    hn::Store(hn::IfThenElseZero(hn::RebindMask(di, f(x, y)), one), di, edge);
    for (int64_t j = 0; j < n; ++j) out[i + j] = static_cast<uint8_t>(edge[j]);
  }
}

void compare_simd(Compare op, const float* a, int64_t as, const float* b, int64_t bs, uint8_t* out,
                  int64_t count) noexcept {
  if (count <= 0) return;
  switch (op) {
    case Compare::kEqual: return compare_with(a, as, b, bs, out, count, [](V x, V y) { return hn::Eq(x, y); });
    // Highway 1.0 compares ordered: Ne would be false for a NaN.
    case Compare::kNotEqual: return compare_with(a, as, b, bs, out, count, [](V x, V y) { return hn::Not(hn::Eq(x, y)); });
    case Compare::kLess: return compare_with(a, as, b, bs, out, count, [](V x, V y) { return hn::Lt(x, y); });
    case Compare::kLessEqual: return compare_with(a, as, b, bs, out, count, [](V x, V y) { return hn::Le(x, y); });
    case Compare::kGreater: return compare_with(a, as, b, bs, out, count, [](V x, V y) { return hn::Gt(x, y); });
    case Compare::kGreaterEqual:
      return compare_with(a, as, b, bs, out, count, [](V x, V y) { return hn::Ge(x, y); });
  }
}

void linear_simd(const float* in, float* out, int64_t count, float scale, float bias) noexcept {
  const V s = hn::Set(D(), scale), b = hn::Set(D(), bias);
  map(in, out, count, [=](V x) { return hn::Add(hn::Mul(x, s), b); });
}

void blend_simd(const float* a, float a_weight, const float* b, float b_weight, float* out, int64_t count) noexcept {
  if (b_weight == 0) return linear_simd(a, out, count, a_weight, 0);
  const V wa = hn::Set(D(), a_weight), wb = hn::Set(D(), b_weight);
  map2(a, 1, b, 1, out, count, [=](V x, V y) { return hn::Add(hn::Mul(x, wa), hn::Mul(y, wb)); });
}

void blend_at_simd(const float* line, const int32_t* low, const int32_t* high, const float* weight, float* out, int64_t count) noexcept {
  const D d;
  const hn::RebindToSigned<D> di;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const V w = hn::LoadU(d, weight + i);
    const V a = hn::GatherIndex(d, line, hn::LoadU(di, low + i)), b = hn::GatherIndex(d, line, hn::LoadU(di, high + i));
    hn::StoreU(hn::Add(hn::Mul(a, hn::Sub(hn::Set(d, 1.0f), w)), hn::Mul(b, w)), d, out + i);
  }
  for (; i < count; ++i) out[i] = line[low[i]] * (1 - weight[i]) + line[high[i]] * weight[i];
}

const ElementwiseTarget* simd_target() {
  static constexpr ElementwiseTarget kTarget{unary_simd, binary_simd, compare_simd, linear_simd, blend_simd, blend_at_simd};
  return &kTarget;
}

#else
const ElementwiseTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const ElementwiseTarget* elementwise_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(elementwise_simd_target);
const ElementwiseTarget* elementwise_simd() { return HWY_DYNAMIC_DISPATCH(elementwise_simd_target)(); }
}  // namespace mlt
#endif
