// Vectors of codes and of their sums, for *_simd.cc files that are compiled for AVX3_DL too: included inside each of
// Highway's passes, after highway.h.
#if defined(MLT_INT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLT_INT8_INL_H_
#undef MLT_INT8_INL_H_
#else
#define MLT_INT8_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "lib/kernels/cheap-inl.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/int8_target.h"

// True where there is a dot product of bytes.
#undef MLT_INT8_DOT
#define MLT_INT8_DOT (HWY_TARGET == HWY_AVX3_DL)
// True where one instruction looks up floats in a table of 32.
#undef MLT_INT8_CURVES
#define MLT_INT8_CURVES (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
#if !MLT_HWY_EMULATED
namespace int8 {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using DI = hn::ScalableTag<int32_t>;
using DW = hn::ScalableTag<int16_t>;
using DB = hn::ScalableTag<uint8_t>;
using DQ = hn::Rebind<uint8_t, D>;  // as many codes as a vector has floats
using V = hn::Vec<D>;
using VI = hn::Vec<DI>;
using VW = hn::Vec<DW>;
using VB = hn::Vec<DB>;
constexpr int kLanes = HWY_MAX_BYTES / sizeof(float);

// Sixteen-bit products, added in pairs.
HWY_INLINE VI pair_sums(VW a, VW b) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  return VI{_mm512_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_AVX2
  return VI{_mm256_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_SSE4
  return VI{_mm_madd_epi16(a.raw, b.raw)};
#else
  return VI(vpaddq_s32(vmull_s16(vget_low_s16(a.raw), vget_low_s16(b.raw)), vmull_s16(vget_high_s16(a.raw), vget_high_s16(b.raw))));
#endif
}

// Four vectors of int32 as codes, saturated: sixteen lanes of 128 bits each hold the same lanes of v0, v1, v2 and v3.
HWY_INLINE VB narrow(VI v0, VI v1, VI v2, VI v3) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  return VB{_mm512_packus_epi16(_mm512_packs_epi32(v0.raw, v1.raw), _mm512_packs_epi32(v2.raw, v3.raw))};
#elif HWY_TARGET == HWY_AVX2
  return VB{_mm256_packus_epi16(_mm256_packs_epi32(v0.raw, v1.raw), _mm256_packs_epi32(v2.raw, v3.raw))};
#elif HWY_TARGET == HWY_SSE4
  return VB{_mm_packus_epi16(_mm_packs_epi32(v0.raw, v1.raw), _mm_packs_epi32(v2.raw, v3.raw))};
#else
  return VB(vcombine_u8(vqmovun_s16(vcombine_s16(vqmovn_s32(v0.raw), vqmovn_s32(v1.raw))), vqmovun_s16(vcombine_s16(vqmovn_s32(v2.raw), vqmovn_s32(v3.raw)))));
#endif
}

// narrow()'s result with v0 first, then v1, ...
HWY_INLINE VB in_order(VB v) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  alignas(64) static constexpr int32_t kOrder[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  return hn::BitCast(DB(), hn::TableLookupLanes(hn::BitCast(DI(), v), hn::SetTableIndices(DI(), kOrder)));
#elif HWY_TARGET == HWY_AVX2
  alignas(32) static constexpr int32_t kOrder[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  return hn::BitCast(DB(), hn::TableLookupLanes(hn::BitCast(DI(), v), hn::SetTableIndices(DI(), kOrder)));
#else
  return v;
#endif
}

// Halves to even, of values inside int32: Highway's NearestInt has to mind the others.
HWY_INLINE VI nearest(V v) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  return VI{_mm512_cvtps_epi32(v.raw)};
#elif HWY_TARGET == HWY_AVX2
  return VI{_mm256_cvtps_epi32(v.raw)};
#elif HWY_TARGET == HWY_SSE4
  return VI{_mm_cvtps_epi32(v.raw)};
#else
  return hn::NearestInt(v);
#endif
}

// What is left of the end of a sum where no value comes near the ends of int32: codes are clipped after they are rounded.
struct Fitting {
  explicit HWY_INLINE Fitting(const Int8Finish& f)
      : zero(hn::Set(DW(), static_cast<int16_t>(f.zero))), lo(hn::Set(DB(), f.code_lo)), hi(hn::Set(DB(), f.code_hi)), bare(f.zero == 0 && f.code_lo == 0 && f.code_hi == 255) {}
  // As narrow() of these rounded, plus `zero`, within the bounds; or kBare, of which there is nothing to do.
  template <bool kBare = false>
  HWY_INLINE VB operator()(V v0, V v1, V v2, V v3) const {
    const VI i0 = nearest(v0), i1 = nearest(v1), i2 = nearest(v2), i3 = nearest(v3);
    if constexpr (kBare) return narrow(i0, i1, i2, i3);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
    const VB codes{_mm512_packus_epi16(_mm512_adds_epi16(_mm512_packs_epi32(i0.raw, i1.raw), zero.raw), _mm512_adds_epi16(_mm512_packs_epi32(i2.raw, i3.raw), zero.raw))};
#elif HWY_TARGET == HWY_AVX2
    const VB codes{_mm256_packus_epi16(_mm256_adds_epi16(_mm256_packs_epi32(i0.raw, i1.raw), zero.raw), _mm256_adds_epi16(_mm256_packs_epi32(i2.raw, i3.raw), zero.raw))};
#elif HWY_TARGET == HWY_SSE4
    const VB codes{_mm_packus_epi16(_mm_adds_epi16(_mm_packs_epi32(i0.raw, i1.raw), zero.raw), _mm_adds_epi16(_mm_packs_epi32(i2.raw, i3.raw), zero.raw))};
#else
    const VB codes(vcombine_u8(vqmovun_s16(vqaddq_s16(vcombine_s16(vqmovn_s32(i0.raw), vqmovn_s32(i1.raw)), zero.raw)),
                               vqmovun_s16(vqaddq_s16(vcombine_s16(vqmovn_s32(i2.raw), vqmovn_s32(i3.raw)), zero.raw))));
#endif
    return hn::Min(hi, hn::Max(lo, codes));
  }
  VW zero;
  VB lo, hi;
  bool bare;
};

// The first n bytes.
HWY_INLINE void store_bytes(VB v, uint8_t* p, int64_t n) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  _mm512_mask_storeu_epi8(p, n >= 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1, v.raw);
#else
  if (n >= 4 * kLanes) return hn::StoreU(v, DB(), p);
  HWY_ALIGN uint8_t edge[4 * kLanes];
  hn::Store(v, DB(), edge);
  if (n == 3 * kLanes) {
    std::memcpy(p, edge, 3 * kLanes);
  } else {
    std::memcpy(p, edge, static_cast<size_t>(n));
  }
#endif
}

// table[code]. Only some processors look up bytes in a table of 256 without going to memory: others map what is stored.
#if MLT_INT8_DOT
struct Lookup {
  // Two tables of 128 bytes, each in two registers.
  explicit HWY_INLINE Lookup(const uint8_t* table)
      : t0(_mm512_loadu_si512(table)), t1(_mm512_loadu_si512(table + 64)), t2(_mm512_loadu_si512(table + 128)), t3(_mm512_loadu_si512(table + 192)) {}
  HWY_INLINE __m512i operator()(__m512i codes) const {
    const __m512i low = _mm512_permutex2var_epi8(t0, codes, t1), high = _mm512_permutex2var_epi8(t2, codes, t3);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), low, high);
  }
  __m512i t0, t1, t2, t3;
};
#endif

HWY_INLINE V code_floats(const uint8_t* p) { return hn::ConvertTo(D(), hn::PromoteTo(DI(), hn::LoadU(DQ(), p))); }

struct Finish {
  explicit HWY_INLINE Finish(const Int8Finish& f) : act(D(), f.f), between(f.between), narrows(f.narrow), op(f.f.op) {
    const D d;
    between_inverse = hn::Set(d, f.between_inverse), between_scale = hn::Set(d, f.between_scale);
    between_lo = hn::Set(d, f.between_lo), between_hi = hn::Set(d, f.between_hi);
    residual_scale = hn::Set(d, f.residual_scale), residual_shift = hn::Set(d, f.residual_shift);
    inverse = hn::Set(d, f.inverse), lo = hn::Set(d, f.lo), hi = hn::Set(d, f.hi);
    zero = hn::Set(DI(), f.zero);
    fits = f.fits;
    scaled = f.inverse != 1.0f;
    between_scaled = f.between_inverse != 1.0f;
  }
  // Up to the activation; this too where it is_cheap.
  HWY_INLINE V value(V v, const uint8_t* residual) const {
    if (between) {
      if (between_scaled) v = hn::Mul(v, between_inverse);
      v = hn::Mul(hn::Round(hn::Min(between_hi, hn::Max(v, between_lo))), between_scale);
    }
    if (residual != nullptr) v = hn::Add(hn::MulAdd(code_floats(residual), residual_scale, residual_shift), v);
    return op == Unary::kIdentity ? v : act(v);
  }
  HWY_INLINE VI code(V v) const {
    if (scaled) v = hn::Mul(v, inverse);
    return bounded(v);
  }
  HWY_INLINE VI bounded(V v) const { return hn::Add(nearest(hn::Min(hi, hn::Max(v, lo))), zero); }
  Cheap<D> act;
  V between_inverse, between_scale, between_lo, between_hi, residual_scale, residual_shift, inverse, lo, hi;
  VI zero;
  bool fits = false;
  bool between, narrows, scaled = false, between_scaled = false;
  Unary op;
};

// `count` values with the activations that cost more; then codes where there are to be any.
inline HWY_NOINLINE void finish_slowly(const Int8Finish& f, const Finish& finish, float* values, int64_t count, uint8_t* out, float* out_float) {
  const ElementwiseTarget& ew = elementwise_target();
  ew.unary(f.f.op, values, f.narrow ? values : out_float, count, f.f.a, f.f.b);
  if (!f.narrow) return;
  const VI none = hn::Zero(DI());
  for (int64_t i = 0; i < count; i += kLanes)
    store_bytes(in_order(narrow(finish.code(hn::LoadU(D(), values + i)), none, none, none)), out + i, std::min<int64_t>(kLanes, count - i));
}

}  // namespace int8
#endif
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();
#endif
