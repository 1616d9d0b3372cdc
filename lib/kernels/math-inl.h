// Vectorised functions of float32, for inclusion inside each target's namespace. Polynomials are minimax fits or
// truncated series evaluated by Horner's rule; errors were measured against double precision (elementwise_test.cc).
#if defined(MLT_KERNELS_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MLT_KERNELS_MATH_INL_H
#undef MLT_KERNELS_MATH_INL_H
#else
#define MLT_KERNELS_MATH_INL_H
#endif

#include <hwy/highway.h>

#include "lib/kernels/bounds-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
#if !MLT_HWY_EMULATED
namespace math {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
using DI = hn::RebindToSigned<D>;
using VI = hn::Vec<DI>;

HWY_INLINE V set(float x) { return hn::Set(D(), x); }

#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
// x * 2^n for integral n: one instruction there, which also rounds to denormals, and to infinity, by itself.
HWY_INLINE V scale_by_power(V x, V n) { return V{_mm512_scalef_ps(x.raw, n.raw)}; }

// num / den for den in [1, 2^125]: a division takes as long as ten multiplications there. Within 1.5 ulp.
HWY_INLINE V divide(V num, V den) {
  const V r = hn::ApproximateReciprocal(den);
  return hn::Mul(num, hn::MulAdd(r, hn::NegMulAdd(den, r, set(1.0f)), r));
}
#else
// x * 2^n for integral n in [-252, 254], in two factors because either alone may leave the exponent's range.
HWY_INLINE V scale_by_power(V x, V power) {
  const DI di;
  const VI n = hn::ConvertTo(di, power);
  const VI half = hn::ShiftRight<1>(n), rest = hn::Sub(n, half), bias = hn::Set(di, 127);
  x = hn::Mul(x, hn::BitCast(D(), hn::ShiftLeft<23>(hn::Add(half, bias))));
  return hn::Mul(x, hn::BitCast(D(), hn::ShiftLeft<23>(hn::Add(rest, bias))));
}

HWY_INLINE V divide(V num, V den) { return hn::Div(num, den); }
#endif

// (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2; exp from it errs by 3e-9.
HWY_INLINE V exp_tail(V r) {
  V p = hn::MulAdd(set(1.3814539e-3f), r, set(8.368745e-3f));
  p = hn::MulAdd(p, r, set(4.166839e-2f));
  p = hn::MulAdd(p, r, set(1.6666521e-1f));
  return hn::MulAdd(p, r, set(0.49999994f));
}
HWY_INLINE V exp_small(V r) { return hn::MulAdd(hn::MulAdd(exp_tail(r), r, set(1.0f)), r, set(1.0f)); }
HWY_INLINE V expm1_small(V r) { return hn::MulAdd(hn::Mul(exp_tail(r), r), r, r); }

HWY_INLINE V keep_nan(V from, V x) { return hn::IfThenElse(hn::IsNaN(from), from, x); }

// An integral number near a * b, which is less than 2^22: adding a number whose last place is 1 rounds the sum.
HWY_INLINE V near_product(V a, V b) { return hn::Sub(hn::MulAdd(a, b, set(12582912.0f)), set(12582912.0f)); }

// x - n ln 2 in two steps.
HWY_INLINE V less_ln2(V x, V n) { return hn::NegMulAdd(n, set(-2.12194440e-4f), hn::NegMulAdd(n, set(0.693359375f), x)); }

// exp(x) for x in [-104, 89]; NaN stays, as in what follows.
HWY_INLINE V exp_within(V x) {
  const V n = near_product(x, set(1.44269504f));
  return scale_by_power(exp_small(less_ln2(x, n)), n);
}

HWY_INLINE V exp(V x) { return exp_within(at_most(set(89.0f), at_least(set(-104.0f), x))); }

HWY_INLINE V exp2(V x) {
  const V c = at_most(set(129.0f), at_least(set(-151.0f), x));
  const V n = hn::Round(c);
  return scale_by_power(exp_small(hn::Mul(hn::Sub(c, n), set(0.69314718f))), n);
}

// exp(x) - 1 without cancellation near zero.
HWY_INLINE V expm1(V x) {
  const V c = hn::Min(set(89.0f), hn::Max(set(-40.0f), x));
  const V n = hn::Round(hn::Mul(c, set(1.44269504f)));
  const V power = scale_by_power(set(1.0f), n);
  const V big = hn::MulAdd(expm1_small(less_ln2(c, n)), power, hn::Sub(power, set(1.0f)));
  return keep_nan(x, hn::IfThenElse(hn::Eq(power, set(HUGE_VALF)), set(HUGE_VALF), big));
}

// log(x); -infinity at 0, NaN below.
HWY_INLINE V log(V x) {
  const DI di;
  const auto tiny = hn::Lt(x, set(1.17549435e-38f));
  const V y = hn::IfThenElse(tiny, hn::Mul(x, set(8388608.0f)), x);
  // y = m * 2^e with m in [sqrt(1/2), sqrt 2).
  const VI bits = hn::BitCast(di, y);
  const VI shifted = hn::Sub(bits, hn::Set(di, 0x3f3504f3));
  const VI e = hn::ShiftRight<23>(shifted);
  const V m = hn::BitCast(D(), hn::Sub(bits, hn::ShiftLeft<23>(e)));
  const V ef = hn::Sub(hn::ConvertTo(D(), e), hn::IfThenElseZero(tiny, set(23.0f)));
  // log((1 + s) / (1 - s)) = 2 s + 2 s^3 / 3 + ..., with f = m - 1 and s = f / (2 + f).
  const V f = hn::Sub(m, set(1.0f));
  const V s = hn::Div(f, hn::Add(f, set(2.0f))), z = hn::Mul(s, s);
  V p = hn::MulAdd(z, set(0.24279079f), set(0.28498787f));
  p = hn::MulAdd(p, z, set(0.40000972f));
  p = hn::MulAdd(p, z, set(0.66666663f));
  const V square = hn::Mul(hn::Mul(f, f), set(0.5f));
  V r = hn::Mul(s, hn::MulAdd(p, z, square));
  r = hn::MulAdd(ef, set(9.05800023e-6f), r);
  r = hn::Add(f, hn::Sub(r, square));
  r = hn::MulAdd(ef, set(0.693138123f), r);
  r = hn::IfThenElse(hn::Eq(x, hn::Zero(D())), set(-HUGE_VALF), r);
  r = hn::IfThenElse(hn::Lt(x, hn::Zero(D())), set(NAN), r);
  r = hn::IfThenElse(hn::Eq(x, set(HUGE_VALF)), x, r);
  return keep_nan(x, r);
}

// factor / (1 + exp(-x)) for x that is at least -86, or NaN.
HWY_INLINE V logistic_above(V x, V factor) {
  const V c = at_most(set(104.0f), x), n = near_product(c, set(-1.44269504f));
  // -c - n ln 2 in two steps.
  const V r = hn::NegMulAdd(n, set(-2.12194440e-4f), hn::NegMulSub(n, set(0.693359375f), c));
  return divide(factor, hn::Add(set(1.0f), scale_by_power(exp_small(r), n)));
}

// The same for all x; below -86 it is factor times 5e-38.
HWY_INLINE V logistic(V x, V factor) { return logistic_above(at_least(set(-86.0f), x), factor); }

HWY_INLINE V sigmoid(V x) { return logistic(x, set(1.0f)); }

HWY_INLINE V silu(V x) {
  const V c = at_least(set(-86.0f), x);
  return logistic_above(c, c);
}

HWY_INLINE V tanh(V x) {
  const V a = hn::Abs(x);
  // (e - 1) / (e + 1) with e = exp(2 |x|); expm1 keeps small arguments exact.
  const V e = expm1(at_most(set(20.0f), hn::Add(a, a)));
  return hn::CopySignToAbs(divide(e, hn::Add(e, set(2.0f))), x);
}

// exp(-x^2) up to a factor: erfc(a) for 1 <= a <= 4, from a fit of its logarithm.
HWY_INLINE V erfc_large(V a) {
  V p = set(1.863809682e-4f);
  p = hn::MulAdd(p, a, set(-2.947675204e-3f));
  p = hn::MulAdd(p, a, set(2.183812958e-2f));
  p = hn::MulAdd(p, a, set(-1.031068875e-1f));
  p = hn::MulAdd(p, a, set(-6.381446843e-1f));
  p = hn::MulAdd(p, a, set(-1.127089277f));
  p = hn::MulAdd(p, a, set(-3.415022541e-4f));
  return exp(p);
}

// erf(x) / x as a function of z = x^2 <= 1.
HWY_INLINE V erf_ratio(V z) {
  V p = set(7.853854537e-5f);
  p = hn::MulAdd(p, z, set(-8.010191561e-4f));
  p = hn::MulAdd(p, z, set(5.188327451e-3f));
  p = hn::MulAdd(p, z, set(-2.685381181e-2f));
  p = hn::MulAdd(p, z, set(1.128358515e-1f));
  p = hn::MulAdd(p, z, set(-3.761262582e-1f));
  return hn::MulAdd(p, z, set(1.128379166f));
}

HWY_INLINE V erf(V x) {
  const V a = hn::Min(hn::Abs(x), set(4.0f));
  const V large = hn::CopySignToAbs(hn::Sub(set(1.0f), erfc_large(a)), x);
  const V small = hn::Mul(x, erf_ratio(hn::Mul(a, a)));
  return keep_nan(x, hn::IfThenElse(hn::Lt(a, set(1.0f)), small, large));
}

// x * (1 + erf(x / sqrt 2)) / 2: the second factor, less a half, as x times a quotient of polynomials in x^2, fitted to
// 2e-8 where it is not yet constant. Below that the product is less than 6e-7 and counts as 0.
HWY_INLINE V gelu(V x) {
  constexpr float kEnd = 5.5f;
  const V a = at_most(set(kEnd), at_least(set(-kEnd), x)), z = hn::Mul(a, a);
  V p = set(1.11911806e-10f), q = set(6.45845503e-5f);
  p = hn::MulAdd(p, z, set(-2.23205383e-8f));
  q = hn::MulAdd(q, z, set(1.86509534e-3f));
  p = hn::MulAdd(p, z, set(3.32640707e-6f));
  q = hn::MulAdd(q, z, set(2.9423546e-2f));
  p = hn::MulAdd(p, z, set(1.76637972e-4f));
  q = hn::MulAdd(q, z, set(0.258132339f));
  p = hn::MulAdd(p, z, set(4.54629585e-3f));
  q = hn::MulAdd(q, z, set(1.0f));
  p = hn::MulAdd(p, z, set(3.64909023e-2f));
  p = hn::MulAdd(p, z, set(0.398941994f));
  const V share = hn::Add(divide(hn::Mul(p, a), q), set(0.5f));
  return hn::IfThenZeroElse(hn::Lt(x, set(-kEnd)), hn::Mul(x, share));
}

// log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)).
HWY_INLINE V softplus(V x) {
  const V t = exp(hn::Neg(hn::Abs(x)));
  // log1p(t) = log(u) * t / (u - 1) with u = 1 + t rounded: the rounding cancels.
  const V u = hn::Add(set(1.0f), t), d = hn::Sub(u, set(1.0f));
  const V l = hn::IfThenElse(hn::Eq(d, hn::Zero(D())), t, hn::Div(hn::Mul(log(u), t), d));
  return keep_nan(x, hn::Add(hn::Max(x, hn::Zero(D())), l));
}

// sin (quadrant 0) or cos (quadrant 1) for |x| < 8192.
template <int kQuadrant>
HWY_INLINE V sin_cos(V x) {
  const DI di;
  const V n = hn::Round(hn::Mul(x, set(0.636619772f)));
  V r = hn::NegMulAdd(n, set(1.5703125f), x);
  r = hn::NegMulAdd(n, set(4.837512969970703e-4f), r);
  r = hn::NegMulAdd(n, set(7.549789954891882e-8f), r);
  const VI q = hn::Add(hn::ConvertTo(di, n), hn::Set(di, kQuadrant));
  const V z = hn::Mul(r, r);
  V s = hn::MulAdd(set(-1.9515295891e-4f), z, set(8.3321608736e-3f));
  s = hn::MulAdd(s, z, set(-1.6666654611e-1f));
  s = hn::MulAdd(hn::Mul(s, z), r, r);
  V c = hn::MulAdd(set(2.443315711809948e-5f), z, set(-1.388731625493765e-3f));
  c = hn::MulAdd(c, z, set(4.166664568298827e-2f));
  c = hn::MulAdd(hn::Mul(c, z), z, hn::NegMulAdd(z, set(0.5f), set(1.0f)));
  const auto odd = hn::RebindMask(D(), hn::Ne(hn::And(q, hn::Set(di, 1)), hn::Zero(di)));
  const V value = hn::IfThenElse(odd, c, s);
  const VI sign = hn::ShiftLeft<30>(hn::And(q, hn::Set(di, 2)));
  return hn::BitCast(D(), hn::Xor(hn::BitCast(di, value), sign));
}

}  // namespace math
#endif
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();
#endif
