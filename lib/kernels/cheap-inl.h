// The activations that cost next to nothing (is_cheap), for *_simd.cc files: included inside each of Highway's passes, after
// highway.h. Others are left out: what is stored goes through them later.
#if defined(MLT_CHEAP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLT_CHEAP_INL_H_
#undef MLT_CHEAP_INL_H_
#else
#define MLT_CHEAP_INL_H_
#endif

#include <cmath>

#include "lib/kernels/bounds-inl.h"
#include "lib/kernels/elementwise.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
#if !MLT_HWY_EMULATED

template <class D>
struct Cheap {
  using V = hwy::HWY_NAMESPACE::Vec<D>;
  HWY_INLINE Cheap(D d, const Activation& f) : leaky(f.op == Unary::kLeakyRelu) {
    namespace hn = hwy::HWY_NAMESPACE;
    lo = hn::Set(d, leaky || f.op == Unary::kClip ? f.a : f.op == Unary::kRelu ? 0.0f : -HUGE_VALF);
    hi = hn::Set(d, f.op == Unary::kClip ? f.b : HUGE_VALF);
  }
  HWY_INLINE V operator()(V v) const {
    namespace hn = hwy::HWY_NAMESPACE;
    if (leaky) return hn::IfThenElse(hn::Lt(v, hn::Zero(D())), hn::Mul(v, lo), v);
    return bounded(v);
  }
  // Of those that are not leaky.
  HWY_INLINE V bounded(V v) const { return at_most(hi, at_least(lo, v)); }
  V lo, hi;
  bool leaky;
};

#endif
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();
#endif
