// The first n floats of a vector, for *_simd.cc files: included inside each of Highway's passes, after highway.h.
#if defined(MLT_PARTIAL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLT_PARTIAL_INL_H_
#undef MLT_PARTIAL_INL_H_
#else
#define MLT_PARTIAL_INL_H_
#endif

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
#if !MLT_HWY_EMULATED

// Nothing is read behind the first n floats; the other lanes are zero. Whole vectors where n is enough for one.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load_first(D d, const float* p, int64_t n) {
  namespace hn = hwy::HWY_NAMESPACE;
  if (n >= static_cast<int64_t>(hn::Lanes(d))) return hn::LoadU(d, p);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(n)), d, p);
#else
  HWY_ALIGN float edge[HWY_MAX_BYTES / sizeof(float)] = {};
  for (int64_t i = 0; i < n; ++i) edge[i] = p[i];
  return hn::Load(d, edge);
#endif
}

// Nothing is written behind them.
template <class D>
HWY_INLINE void store_first(D d, hwy::HWY_NAMESPACE::Vec<D> v, float* p, int64_t n) {
  namespace hn = hwy::HWY_NAMESPACE;
  if (n >= static_cast<int64_t>(hn::Lanes(d))) return hn::StoreU(v, d, p);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(n)), d, p);
#else
  HWY_ALIGN float edge[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(v, d, edge);
  for (int64_t i = 0; i < n; ++i) p[i] = edge[i];
#endif
}

#endif
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#endif
