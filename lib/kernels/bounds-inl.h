// Bounds that let NaN through, for *_simd.cc files: included inside each of Highway's passes, after highway.h. On x86 Max and
// Min return their second operand when either is NaN; elsewhere they may return the number.
#if defined(MLT_BOUNDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLT_BOUNDS_INL_H_
#undef MLT_BOUNDS_INL_H_
#else
#define MLT_BOUNDS_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
#if !MLT_HWY_EMULATED

// v, or `lo` where v is below it. A NaN in v stays.
template <class V>
HWY_INLINE V at_least(V lo, V v) {
#if HWY_ARCH_X86
  return hwy::HWY_NAMESPACE::Max(lo, v);
#else
  return hwy::HWY_NAMESPACE::IfThenElse(hwy::HWY_NAMESPACE::Lt(v, lo), lo, v);
#endif
}
// v, or `hi` where v is above it. A NaN in v stays.
template <class V>
HWY_INLINE V at_most(V hi, V v) {
#if HWY_ARCH_X86
  return hwy::HWY_NAMESPACE::Min(hi, v);
#else
  return hwy::HWY_NAMESPACE::IfThenElse(hwy::HWY_NAMESPACE::Lt(hi, v), hi, v);
#endif
}

#endif
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();
#endif
