// Products of codes and weights on Highway. Where AVX-512 has a dot product of bytes it takes a quad at a time; elsewhere
// codes and weights are widened to 16 bits and added in pairs, which cannot overflow (the byte products of AVX2 saturate).
#include "lib/kernels/hwy_config.h"

// One target more than the other families: AVX3_DL has the dot product.
#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/int8_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/kernels/bounds-inl.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/int8_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

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
#define MLT_INT8_DOT (HWY_TARGET == HWY_AVX3_DL)
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON
constexpr int kMr = 8, kNv = 3;
#else
constexpr int kMr = 4, kNv = 3;
#endif
// Rows of a tile: narrow ones take more, so that as many sums are under way.
constexpr int most_rows(int vectors) { return MLT_INT8_DOT ? (vectors == 1 ? 16 : vectors == 2 ? 12 : kMr) : kMr; }

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

// As narrow() of these rounded, plus `zero` (16 bits), within the bounds: for values that stay well inside int32.
HWY_INLINE VB narrow_fitting(V v0, V v1, V v2, V v3, VW zero, VB lo, VB hi) {
  const VI i0 = hn::NearestInt(v0), i1 = hn::NearestInt(v1), i2 = hn::NearestInt(v2), i3 = hn::NearestInt(v3);
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

HWY_INLINE void store_floats(V v, float* p, int64_t n) {
  if (n >= kLanes) return hn::StoreU(v, D(), p);
  HWY_ALIGN float edge[kLanes];
  hn::Store(v, D(), edge);
  for (int64_t i = 0; i < n; ++i) p[i] = edge[i];
}

// table[code]. Only some processors look up bytes in a table of 256 without going to memory: others map what is stored.
struct Lookup {
#if MLT_INT8_DOT
  // Two tables of 128 bytes, each in two registers.
  explicit HWY_INLINE Lookup(const uint8_t* table)
      : t0(_mm512_loadu_si512(table)), t1(_mm512_loadu_si512(table + 64)), t2(_mm512_loadu_si512(table + 128)), t3(_mm512_loadu_si512(table + 192)) {}
  HWY_INLINE __m512i operator()(__m512i codes) const {
    const __m512i low = _mm512_permutex2var_epi8(t0, codes, t1), high = _mm512_permutex2var_epi8(t2, codes, t3);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), low, high);
  }
  __m512i t0, t1, t2, t3;
#endif
};

void map(const uint8_t* in, int64_t in_pitch, uint8_t* out, int64_t out_pitch, int64_t rows, int64_t columns, const uint8_t* table) noexcept {
#if MLT_INT8_DOT
  const Lookup lookup(table);
  for (int64_t r = 0; r < rows; ++r, in += in_pitch, out += out_pitch)
    for (int64_t i = 0; i < columns; i += 64) {
      const __mmask64 some = columns - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << (columns - i)) - 1;
      _mm512_mask_storeu_epi8(out + i, some, lookup(_mm512_maskz_loadu_epi8(some, in + i)));
    }
#else
  for (int64_t r = 0; r < rows; ++r, in += in_pitch, out += out_pitch) {
    int64_t i = 0;
    for (; i + 8 <= columns; i += 8) {  // loads before stores, which might be of the table for all the compiler knows
      const uint8_t a = table[in[i]], b = table[in[i + 1]], c = table[in[i + 2]], d = table[in[i + 3]];
      const uint8_t e = table[in[i + 4]], f = table[in[i + 5]], g = table[in[i + 6]], h = table[in[i + 7]];
      out[i] = a, out[i + 1] = b, out[i + 2] = c, out[i + 3] = d, out[i + 4] = e, out[i + 5] = f, out[i + 6] = g, out[i + 7] = h;
    }
    for (; i < columns; ++i) out[i] = table[in[i]];
  }
#endif
}

HWY_INLINE V code_floats(const uint8_t* p) { return hn::ConvertTo(D(), hn::PromoteTo(DI(), hn::LoadU(DQ(), p))); }

struct Finish {
  explicit HWY_INLINE Finish(const Int8Finish& f) : between(f.between), narrows(f.narrow), op(f.f.op) {
    const D d;
    between_inverse = hn::Set(d, f.between_inverse), between_scale = hn::Set(d, f.between_scale);
    between_lo = hn::Set(d, f.between_lo), between_hi = hn::Set(d, f.between_hi);
    residual_scale = hn::Set(d, f.residual_scale), residual_shift = hn::Set(d, f.residual_shift);
    act_lo = hn::Set(d, op == Unary::kRelu ? 0.0f : f.f.a);
    act_hi = hn::Set(d, op == Unary::kClip ? f.f.b : HUGE_VALF);
    inverse = hn::Set(d, f.inverse), lo = hn::Set(d, f.lo), hi = hn::Set(d, f.hi);
    zero = hn::Set(DI(), f.zero);
    zero16 = hn::Set(DW(), static_cast<int16_t>(f.zero));
    code_lo = hn::Set(DB(), f.code_lo), code_hi = hn::Set(DB(), f.code_hi);
    fits = f.fits;
    scaled = f.inverse != 1.0f;
    between_scaled = f.between_inverse != 1.0f;
    plain = f.narrow && !f.between && !scaled && op == Unary::kIdentity;
  }
  // Up to the activation, and this too where it costs next to nothing.
  HWY_INLINE V value(V v, const uint8_t* residual) const {
    if (between) {
      if (between_scaled) v = hn::Mul(v, between_inverse);
      v = hn::Mul(hn::Round(hn::Min(between_hi, hn::Max(v, between_lo))), between_scale);
    }
    if (residual != nullptr) v = hn::Add(hn::MulAdd(code_floats(residual), residual_scale, residual_shift), v);
    if (op == Unary::kLeakyRelu) return hn::IfThenElse(hn::Lt(v, hn::Zero(D())), hn::Mul(v, act_lo), v);
    if (op == Unary::kRelu || op == Unary::kClip) return at_most(act_hi, at_least(act_lo, v));
    return v;
  }
  HWY_INLINE VI code(V v) const {
    if (scaled) v = hn::Mul(v, inverse);
    return bounded(v);
  }
  HWY_INLINE VI bounded(V v) const { return hn::Add(hn::NearestInt(hn::Min(hi, hn::Max(v, lo))), zero); }
  V between_inverse, between_scale, between_lo, between_hi, residual_scale, residual_shift, act_lo, act_hi, inverse, lo, hi;
  VI zero;
  VW zero16;
  VB code_lo, code_hi;
  bool fits = false;
  bool between, narrows, scaled = false, between_scaled = false, plain = false;
  Unary op;
};

// `count` values with the activations that cost more; then codes where there are to be any.
HWY_NOINLINE void finish_slowly(const Int8Finish& f, const Finish& finish, float* values, int64_t count, uint8_t* out, float* out_float) {
  const ElementwiseTarget& ew = elementwise_target();
  ew.unary(f.f.op, values, f.narrow ? values : out_float, count, f.f.a, f.f.b);
  if (!f.narrow) return;
  const VI none = hn::Zero(DI());
  for (int64_t i = 0; i < count; i += kLanes)
    store_bytes(in_order(narrow(finish.code(hn::LoadU(D(), values + i)), none, none, none)), out + i, std::min<int64_t>(kLanes, count - i));
}

// Everything but scaling and bounds, row by row from a copy of the sums.
template <int kVectors>
HWY_NOINLINE void finish_rows(const Int8Tile& t, const int32_t* sums) {
  const D d;
  const Finish finish(*t.finish);
  V scale[kVectors], bias[kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
    scale[j] = hn::LoadU(d, t.scale + j * kLanes);
    bias[j] = hn::LoadU(d, t.bias + j * kLanes);
  }
  const bool cheap = is_cheap(t.finish->f.op);
  // Sums of two tensors in codes, whose scales the caller has put together.
  const bool sum = finish.between && finish.narrows && t.residual != nullptr && finish.op == Unary::kIdentity && !finish.scaled && !finish.between_scaled;
  const VI none = hn::Zero(DI());
  HWY_ALIGN float values[most_rows(kVectors) * kVectors * kLanes];
  const auto store = [&](int i, const V* v) HWY_ATTR {
    if (finish.narrows) {
      VI c[4] = {none, none, none, none};
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) c[j] = finish.code(v[j]);
      store_bytes(in_order(narrow(c[0], c[1], c[2], c[3])), t.out + i * t.pitch, t.cols);
      return;
    }
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j)
      if (t.cols > j * kLanes) store_floats(v[j], t.out_float + i * t.pitch + j * kLanes, t.cols - j * kLanes);
  };
  for (int i = 0; i < t.rows; ++i, sums += kVectors * kLanes) {
    V v[kVectors];
    const uint8_t* residual = t.residual != nullptr ? t.residual + i * t.pitch : nullptr;
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) v[j] = hn::MulAdd(hn::ConvertTo(d, hn::Load(DI(), sums + j * kLanes)), scale[j], bias[j]);
    if (sum) {
      VI c[4] = {none, none, none, none};
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
        const V other = hn::MulAdd(code_floats(residual + j * kLanes), finish.residual_scale, finish.residual_shift);
        v[j] = hn::Round(hn::Min(finish.between_hi, hn::Max(v[j], finish.between_lo)));
        v[j] = hn::MulAdd(v[j], finish.between_scale, other);
      }
      if (finish.fits) {
        store_bytes(in_order(narrow_fitting(v[0], v[kVectors > 1 ? 1 : 0], v[kVectors > 2 ? 2 : 0], v[0], finish.zero16, finish.code_lo, finish.code_hi)),
                    t.out + i * t.pitch, t.cols);
        continue;
      }
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) c[j] = finish.bounded(v[j]);
      store_bytes(in_order(narrow(c[0], c[1], c[2], c[3])), t.out + i * t.pitch, t.cols);
      continue;
    }
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) v[j] = finish.value(v[j], residual != nullptr ? residual + j * kLanes : nullptr);
    if (cheap) {
      store(i, v);
    } else {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) hn::Store(v[j], d, values + (i * kVectors + j) * kLanes);
    }
  }
  if (cheap) return;
  // One call for the whole tile.
  elementwise_target().unary(t.finish->f.op, values, values, t.rows * kVectors * kLanes, t.finish->f.a, t.finish->f.b);
  for (int i = 0; i < t.rows; ++i) {
    V v[kVectors];
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) v[j] = hn::Load(d, values + (i * kVectors + j) * kLanes);
    store(i, v);
  }
}

#if MLT_INT8_DOT
alignas(64) constexpr uint8_t kNoTable[256] = {};
#endif

// A vector that holds several rows of codes; `rows` of them are to be stored at most.
template <int kTogether, int kVectors>
HWY_INLINE void store_rows(VB codes, uint8_t* to, int64_t pitch, int64_t cols, int rows) {
  constexpr int64_t kRow = kVectors * kLanes;
  if (cols == kRow && pitch == kRow && rows >= kTogether) return hn::StoreU(codes, DB(), to);
  HWY_ALIGN uint8_t edge[4 * kLanes];
  hn::Store(codes, DB(), edge);
  HWY_UNROLL(4) for (int r = 0; r < kTogether; ++r) {
    if (r >= rows) break;
    if (cols == kRow) std::memcpy(to + r * pitch, edge + r * kRow, kRow);
    else std::memcpy(to + r * pitch, edge + r * kRow, static_cast<size_t>(cols));
  }
}

// False when codes are stored that the table has yet to be asked for.
template <int kRows, int kVectors>
HWY_INLINE bool finish_tile(const Int8Tile& t, VI (&acc)[kRows][kVectors]) {
  const D d;
  const Int8Finish& f = *t.finish;
  if (!f.narrow || f.between || f.inverse != 1.0f || f.f.op != Unary::kIdentity || t.residual != nullptr) {
    HWY_ALIGN int32_t sums[kRows * kVectors * kLanes];
    HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) hn::Store(acc[i][j], DI(), sums + (i * kVectors + j) * kLanes);
    }
    finish_rows<kVectors>(t, sums);
    return false;
  }
  // By far the most frequent: scaling and bounds are all there is.
  const V lo = hn::Set(d, f.lo), hi = hn::Set(d, f.hi);
  const VI zero = hn::Set(DI(), f.zero), none = hn::Zero(DI());
  V scale[kVectors], bias[kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
    scale[j] = hn::LoadU(d, t.scale + j * kLanes);
    bias[j] = hn::LoadU(d, t.bias + j * kLanes);
  }
  if (f.fits) {
    const VW zero16 = hn::Set(DW(), static_cast<int16_t>(f.zero));
    const VB code_lo = hn::Set(DB(), f.code_lo), code_hi = hn::Set(DB(), f.code_hi);
    // As many rows as fill a vector of codes: four, two or one.
    constexpr int kTogether = 4 / kVectors;
#if MLT_INT8_DOT
    const Lookup lookup(t.table != nullptr ? t.table : kNoTable);
#endif
    HWY_UNROLL(16) for (int i = 0; i < kRows; i += kTogether) {
      V v[4];
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
        if (j >= kTogether * kVectors) {
          v[j] = v[0];
          continue;
        }
        const int row = i + j / kVectors < kRows ? i + j / kVectors : i, column = j % kVectors;
        v[j] = hn::MulAdd(hn::ConvertTo(d, acc[row][column]), scale[column], bias[column]);
      }
      VB codes = in_order(narrow_fitting(v[0], v[1], v[2], v[3], zero16, code_lo, code_hi));
#if MLT_INT8_DOT
      if (t.table != nullptr) codes = VB{lookup(codes.raw)};
#endif
      uint8_t* to = t.out + i * t.pitch;
      if (kTogether == 1) {
        store_bytes(codes, to, t.cols);
      } else {
        store_rows<kTogether, kVectors>(codes, to, t.pitch, t.cols, kRows - i);
      }
    }
    return MLT_INT8_DOT;
  }
  HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
    VI c[4] = {none, none, none, none};
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
      const V v = hn::MulAdd(hn::ConvertTo(d, acc[i][j]), scale[j], bias[j]);
      c[j] = hn::Add(hn::NearestInt(hn::Min(hi, hn::Max(v, lo))), zero);
    }
    store_bytes(in_order(narrow(c[0], c[1], c[2], c[3])), t.out + i * t.pitch, t.cols);
  }
  return false;
}

HWY_INLINE VI broadcast_quad(const uint8_t* p) {
  int32_t quad;
  std::memcpy(&quad, p, 4);
  return hn::Set(DI(), quad);
}

#if MLT_INT8_DOT
constexpr int64_t kVectorBytes = 4 * kLanes;  // of weights, for a quad
// Written out, because Highway 1.0.3 asks the compiler for AVX-VNNI in this target and not for AVX-512's, which all
// machines have that it chooses the target for.
HWY_INLINE VI dot(VI acc, VI a, VI b) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc.raw) : "v"(a.raw), "v"(b.raw));
  return acc;
}
#else
constexpr int64_t kVectorBytes = 8 * kLanes;
#endif

template <int kRows, int kVectors>
HWY_NOINLINE void tile(const Int8Tile& t) {
  const DI di;
  VI acc[kRows][kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
    const VI start = hn::LoadU(di, t.start + j * kLanes);
    HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) acc[i][j] = start;
  }
  const int8_t* HWY_RESTRICT b = t.b;
  const uint8_t* const* taps = t.taps;
  const int8_t* ahead = t.ahead;
  const int64_t every = ahead != nullptr ? t.ahead_every : t.quads;
  for (int64_t s = 0; s < t.segments; ++s, taps += kRows) {
    const uint8_t* rows[kRows];
    HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) rows[i] = taps[i] + t.shift;
    for (int64_t from = 0; from < t.quads; from += every) {
      if (ahead != nullptr) {
        __builtin_prefetch(ahead, 0, 2);
        ahead += 64;
      }
      const int64_t end = t.quads - from < every ? t.quads : from + every;
      for (int64_t q = from; q < end; ++q) {
#if MLT_INT8_DOT
        VI bv[kVectors];
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) bv[j] = hn::BitCast(di, hn::LoadU(hn::ScalableTag<int8_t>(), b + j * kVectorBytes));
        HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
          const VI a = broadcast_quad(rows[i] + 4 * q);
          HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[i][j] = dot(acc[i][j], a, bv[j]);
        }
#else
        const DW dw;
        const auto* w = reinterpret_cast<const int16_t*>(b);
        HWY_UNROLL(16) for (int i = 0; i < kRows; ++i) {
          const VI a = broadcast_quad(rows[i] + 4 * q);
          const VW even = hn::BitCast(dw, hn::And(a, hn::Set(di, 0x00ff00ff)));
          const VW odd = hn::BitCast(dw, hn::ShiftRight<8>(hn::BitCast(hn::ScalableTag<uint16_t>(), a)));
          HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
            acc[i][j] = hn::Add(acc[i][j], pair_sums(even, hn::LoadU(dw, w + 4 * j * kLanes)));
            acc[i][j] = hn::Add(acc[i][j], pair_sums(odd, hn::LoadU(dw, w + 4 * j * kLanes + 2 * kLanes)));
          }
        }
#endif
        b += kVectors * kVectorBytes;
      }
    }
  }
  if (!finish_tile<kRows, kVectors>(t, acc) && t.table != nullptr) map(t.out, t.pitch, t.out, t.pitch, t.rows, t.cols, t.table);
}

template <int kVectors, int kRows = 1>
void tile_rows(const Int8Tile& t) {
  if constexpr (kRows < most_rows(kVectors)) {
    if (t.rows > kRows) return tile_rows<kVectors, kRows + 1>(t);
  }
  tile<kRows, kVectors>(t);
}

void tile_any(const Int8Tile& t) noexcept {
  switch (t.nv) {
    case 1: return tile_rows<1>(t);
    case 2: return tile_rows<2>(t);
    default: return tile_rows<3>(t);
  }
}

void interleave(const uint8_t* const rows[4], const int64_t steps[4], int64_t count, int64_t blocks, uint8_t* out) noexcept {
  const DB db;
  const hn::ScalableTag<uint16_t> dh;
  const uint8_t *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
  for (int64_t i = 0; i < count; ++i, r0 += steps[0], r1 += steps[1], r2 += steps[2], r3 += steps[3])
    for (int64_t block = 0; block < blocks; ++block, out += 16 * kLanes) {
      const int64_t c = block * 4 * kLanes;
      const VB v0 = hn::LoadU(db, r0 + c), v1 = hn::LoadU(db, r1 + c), v2 = hn::LoadU(db, r2 + c), v3 = hn::LoadU(db, r3 + c);
      const auto lo01 = hn::BitCast(dh, hn::InterleaveLower(db, v0, v1)), hi01 = hn::BitCast(dh, hn::InterleaveUpper(db, v0, v1));
      const auto lo23 = hn::BitCast(dh, hn::InterleaveLower(db, v2, v3)), hi23 = hn::BitCast(dh, hn::InterleaveUpper(db, v2, v3));
      hn::StoreU(hn::BitCast(db, hn::InterleaveLower(dh, lo01, lo23)), db, out);
      hn::StoreU(hn::BitCast(db, hn::InterleaveUpper(dh, lo01, lo23)), db, out + 4 * kLanes);
      hn::StoreU(hn::BitCast(db, hn::InterleaveLower(dh, hi01, hi23)), db, out + 8 * kLanes);
      hn::StoreU(hn::BitCast(db, hn::InterleaveUpper(dh, hi01, hi23)), db, out + 12 * kLanes);
    }
}

void interleave3(const uint8_t* planes, int64_t count, uint8_t* out) noexcept {
  const hn::CappedTag<uint8_t, 16> d;
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    hn::StoreInterleaved3(hn::LoadU(d, planes + i), hn::LoadU(d, planes + count + i), hn::LoadU(d, planes + 2 * count + i), d, out + 3 * i);
  for (; i < count; ++i)
    for (int64_t c = 0; c < 3; ++c) out[3 * i + c] = planes[c * count + i];
}

// What a column of the kernel adds to four vectors of sums.
HWY_INLINE void add_column(VI (&acc)[4], const uint8_t* in, const int8_t* w) {
  const DI di;
  HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
    const VI a = hn::BitCast(di, hn::LoadU(DB(), in + 4 * j * kLanes));
#if MLT_INT8_DOT
    acc[j] = dot(acc[j], a, hn::BitCast(di, hn::LoadU(hn::ScalableTag<int8_t>(), w + j * kVectorBytes)));
#else
    const DW dw;
    const auto* pairs = reinterpret_cast<const int16_t*>(w + j * kVectorBytes);
    const VW even = hn::BitCast(dw, hn::And(a, hn::Set(di, 0x00ff00ff)));
    const VW odd = hn::BitCast(dw, hn::ShiftRight<8>(hn::BitCast(hn::ScalableTag<uint16_t>(), a)));
    acc[j] = hn::Add(acc[j], hn::Add(pair_sums(even, hn::LoadU(dw, pairs)), pair_sums(odd, hn::LoadU(dw, pairs + 2 * kLanes))));
#endif
  }
}

// Three columns of at most four rows, and nothing but bounds: the weights stay in registers.
HWY_INLINE void depthwise3(const Int8DepthwiseRow& r, const Finish& finish, int64_t block, const int8_t* weights, const VI (&start)[4], const V (&scale)[4],
                           const V (&bias)[4]) {
  const D d;
  const int64_t column = r.blocks * 16 * kLanes, n = std::min<int64_t>(4 * kLanes, r.channels - block * 4 * kLanes);
  const uint8_t* in = r.quads + block * 16 * kLanes;
  uint8_t* out = r.out + block * 4 * kLanes;
#if MLT_INT8_DOT
  VI w[12];
  HWY_UNROLL(12) for (int i = 0; i < 12; ++i) w[i] = hn::BitCast(DI(), hn::LoadU(hn::ScalableTag<int8_t>(), weights + i * kVectorBytes));
#endif
  for (int64_t x = 0; x < r.count; ++x, in += r.stride * column, out += r.channels) {
    VI acc[4] = {start[0], start[1], start[2], start[3]};
    HWY_UNROLL(3) for (int kx = 0; kx < 3; ++kx) {
#if MLT_INT8_DOT
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j)
        acc[j] = dot(acc[j], hn::BitCast(DI(), hn::LoadU(DB(), in + kx * r.dilation * column + 4 * j * kLanes)), w[kx * 4 + j]);
#else
      add_column(acc, in + kx * r.dilation * column, weights + kx * 4 * kVectorBytes);
#endif
    }
    V v[4];
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) v[j] = hn::MulAdd(hn::ConvertTo(d, acc[j]), scale[j], bias[j]);
    store_bytes(narrow_fitting(v[0], v[1], v[2], v[3], finish.zero16, finish.code_lo, finish.code_hi), out, n);
  }
}

void depthwise(const Int8DepthwiseRow& r) noexcept {
  const D d;
  const DI di;
  const Finish finish(*r.finish);
  const bool cheap = is_cheap(r.finish->f.op);
  const int64_t column = r.blocks * 16 * kLanes, group = r.columns * column;
  for (int64_t block = 0; block < r.blocks; ++block) {
    const int64_t c0 = block * 4 * kLanes, n = std::min<int64_t>(4 * kLanes, r.channels - c0);
    const int8_t* weights = r.weights + block * r.groups * r.kernel_w * 4 * kVectorBytes;
    VI start[4];
    V scale[4], bias[4];
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
      start[j] = hn::LoadU(di, r.start + c0 + j * kLanes);
      scale[j] = hn::LoadU(d, r.scale + c0 + j * kLanes);
      bias[j] = hn::LoadU(d, r.bias + c0 + j * kLanes);
    }
    if (finish.plain && finish.fits && r.residual == nullptr && r.groups == 1 && r.kernel_w == 3) {
      depthwise3(r, finish, block, weights, start, scale, bias);
      continue;
    }
    for (int64_t x = 0; x < r.count; ++x) {
      VI acc[4] = {start[0], start[1], start[2], start[3]};
      const uint8_t* in = r.quads + x * r.stride * column + block * 16 * kLanes;
      const int8_t* w = weights;
      for (int64_t g = 0; g < r.groups; ++g, in += group)
        for (int64_t kx = 0; kx < r.kernel_w; ++kx, w += 4 * kVectorBytes) add_column(acc, in + kx * r.dilation * column, w);
      // Four codes of each sixteen channels lie in each vector: narrow() brings them in order.
      V v[4];
      HWY_ALIGN uint8_t others[4 * kLanes];
      if (r.residual != nullptr)
        for (int64_t c = 0; c < n; ++c) others[interleaved_place(c, kLanes)] = r.residual[x * r.channels + c0 + c];
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j) {
        v[j] = hn::MulAdd(hn::ConvertTo(d, acc[j]), scale[j], bias[j]);
        v[j] = finish.value(v[j], r.residual != nullptr ? others + j * kLanes : nullptr);
      }
      const int64_t at = x * r.channels + c0;
      if (cheap && finish.narrows) {
        store_bytes(narrow(finish.code(v[0]), finish.code(v[1]), finish.code(v[2]), finish.code(v[3])), r.out + at, n);
        continue;
      }
      HWY_ALIGN float mixed[4 * kLanes];
      HWY_ALIGN float values[4 * kLanes];
      HWY_UNROLL(4) for (int j = 0; j < 4; ++j) hn::Store(v[j], d, mixed + j * kLanes);
      for (int64_t c = 0; c < n; ++c) values[c] = mixed[interleaved_place(c, kLanes)];
      if (cheap) {
        std::memcpy(r.out_float + at, values, static_cast<size_t>(n) * sizeof(float));
      } else {
        finish_slowly(*r.finish, finish, values, n, r.out + at, r.out_float + at);
      }
    }
  }  if (r.table != nullptr) map(r.out, 0, r.out, 0, 1, r.count * r.channels, r.table);
}

void most(const uint8_t* const* taps, int64_t count, int64_t channels, uint8_t* out) noexcept {
  const DB db;
  for (int64_t c = 0; c < channels; c += 4 * kLanes) {
    VB v = hn::Zero(db);
    for (int64_t i = 0; i < count; ++i) v = hn::Max(v, hn::LoadU(db, taps[i] + c));
    store_bytes(v, out + c, channels - c);
  }
}

void quantize(const float* in, uint8_t* out, int64_t count, float scale, int32_t zero, uint8_t nan) noexcept {
  const D d;
  const V s = hn::Set(d, scale), lo = hn::Set(d, -static_cast<float>(zero)), hi = hn::Set(d, 255.0f - static_cast<float>(zero)),
          none = hn::Set(d, static_cast<float>(nan) - static_cast<float>(zero));
  const VI z = hn::Set(DI(), zero);
  const auto code = [&](V v) {
    v = hn::Div(v, s);
    v = hn::IfThenElse(hn::Eq(v, v), v, none);
    return hn::Add(hn::NearestInt(hn::Min(hi, hn::Max(v, lo))), z);
  };
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes)
    hn::StoreU(in_order(narrow(code(hn::LoadU(d, in + i)), code(hn::LoadU(d, in + i + kLanes)), code(hn::LoadU(d, in + i + 2 * kLanes)),
                               code(hn::LoadU(d, in + i + 3 * kLanes)))), DB(), out + i);
  const VI zeros = hn::Zero(DI());
  for (; i < count; i += kLanes) {
    HWY_ALIGN float edge[kLanes] = {};
    const int64_t n = std::min<int64_t>(kLanes, count - i);
    std::memcpy(edge, in + i, static_cast<size_t>(n) * sizeof(float));
    store_bytes(in_order(narrow(code(hn::Load(d, edge)), zeros, zeros, zeros)), out + i, n);
  }
}

void dequantize(const uint8_t* in, float* out, int64_t count, float scale, int32_t zero) noexcept {
  const D d;
  const V s = hn::Set(d, scale), z = hn::Set(d, static_cast<float>(zero));
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(hn::Mul(hn::Sub(code_floats(in + i), z), s), d, out + i);
  for (; i < count; ++i) out[i] = (static_cast<float>(in[i]) - static_cast<float>(zero)) * scale;
}

void add(const uint8_t* a, float scale, float shift, const uint8_t* b, const Int8Finish& f, uint8_t* out, int64_t count) noexcept {
  const D d;
  const Finish finish(f);
  const V s = hn::Set(d, scale), t = hn::Set(d, shift);
  const bool cheap = is_cheap(f.f.op);
  const VI none = hn::Zero(DI());
  const auto sum = [&](const uint8_t* pa, const uint8_t* pb) HWY_ATTR { return finish.value(hn::MulAdd(code_floats(pa), s, t), pb); };
  int64_t i = 0;
  for (; cheap && i + 4 * kLanes <= count; i += 4 * kLanes) {
    VI c[4];
    HWY_UNROLL(4) for (int j = 0; j < 4; ++j) c[j] = finish.code(sum(a + i + j * kLanes, b + i + j * kLanes));
    hn::StoreU(in_order(narrow(c[0], c[1], c[2], c[3])), DB(), out + i);
  }
  HWY_ALIGN uint8_t edge_a[kLanes] = {}, edge_b[kLanes] = {};
  for (; i < count; i += kLanes) {
    const int64_t n = std::min<int64_t>(kLanes, count - i);
    const uint8_t *pa = a + i, *pb = b + i;
    if (n < kLanes) {
      std::memcpy(edge_a, pa, static_cast<size_t>(n));
      std::memcpy(edge_b, pb, static_cast<size_t>(n));
      pa = edge_a, pb = edge_b;
    }
    const V v = sum(pa, pb);
    if (cheap) {
      store_bytes(in_order(narrow(finish.code(v), none, none, none)), out + i, n);
      continue;
    }
    HWY_ALIGN float values[kLanes];
    hn::Store(v, d, values);
    finish_slowly(f, finish, values, n, out + i, nullptr);
  }
}

const Int8Target* simd_target() {
  static constexpr Int8Target kTarget{MLT_INT8_DOT ? "int8 vnni 8x48" : HWY_TARGET == HWY_AVX3 ? "int8 8x48" : HWY_TARGET == HWY_AVX2 ? "int8 4x24" : kMr == 8 ? "int8 8x12" : "int8 4x12",
                                      {most_rows(1), most_rows(2), most_rows(3)}, kNv, kLanes, !MLT_INT8_DOT, tile_any, interleave, interleave3, depthwise, most, quantize, dequantize, map, add};
  return &kTarget;
}

#else
const Int8Target* simd_target() { return nullptr; }
#endif
}  // namespace
const Int8Target* int8_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(int8_simd_target);
const Int8Target* int8_simd() { return HWY_DYNAMIC_DISPATCH(int8_simd_target)(); }
}  // namespace mlt
#endif
