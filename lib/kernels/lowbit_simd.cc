#include "lib/kernels/hwy_config.h"

// AVX3_DL has dot products of bytes.
#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/lowbit_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cmath>
#include <cstring>

#include "lib/base/float16.h"
#include "lib/kernels/lowbit_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
using DI = hn::RebindToSigned<D>;
using VI = hn::Vec<DI>;
constexpr int kLanes = HWY_MAX_BYTES / sizeof(float);
#define MLT_LOWBIT_DOT (HWY_TARGET == HWY_AVX3_DL)
#define MLT_LOWBIT_AVX512 (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)

// As in gemm_simd.cc: a line of each vector of columns, and of one of them far ahead.
HWY_INLINE void fetch_ahead(const uint8_t* p, int vector) {
  if (vector == 0) __builtin_prefetch(p + 12288, 0, 2);
  __builtin_prefetch(p + 3072, 0, 3);
}

HWY_INLINE V load_bytes(const uint8_t* p) {
  const hn::Rebind<int8_t, D> db;
  return hn::ConvertTo(D(), hn::PromoteTo(DI(), hn::LoadU(db, reinterpret_cast<const int8_t*>(p))));
}

#if MLT_LOWBIT_AVX512 || HWY_TARGET == HWY_AVX2
HWY_INLINE V load_half(const uint8_t* p) {
  const hn::Rebind<uint16_t, D> du;
  const hn::Rebind<hwy::float16_t, D> dh;
  return hn::PromoteTo(D(), hn::BitCast(dh, hn::LoadU(du, reinterpret_cast<const uint16_t*>(p))));
}
#else
HWY_INLINE V load_half(const uint8_t* p) {
  HWY_ALIGN float x[kLanes];
  for (int i = 0; i < kLanes; ++i) x[i] = half_to_float(reinterpret_cast<const uint16_t*>(p)[i]);
  return hn::Load(D(), x);
}
#endif
HWY_INLINE V load_scale(const uint8_t* p, bool half, int vector) {
  return half ? load_half(p + vector * kLanes * 2) : hn::LoadU(D(), reinterpret_cast<const float*>(p) + vector * kLanes);
}

// The values of nibble kNibble of every word.
#if MLT_LOWBIT_AVX512
// One permutation by the low four bits of each lane, whatever the codes mean.
struct Table {
  V values;
  explicit Table(const float* p) : values(hn::LoadU(D(), p)) {}
};
template <LowBitMode kMode, int kNibble>
HWY_INLINE V nibble(VI q, const Table& t) {
  return V{_mm512_permutexvar_ps(hn::ShiftRight<4 * kNibble>(q).raw, t.values.raw)};
}
#else
struct Table {
#if HWY_TARGET == HWY_AVX2
  V low, high;
  explicit Table(const float* p) : low(hn::LoadU(D(), p)), high(hn::LoadU(D(), p + 8)) {}
#else
  const float* values;
  explicit Table(const float* p) : values(p) {}
#endif
};
template <LowBitMode kMode, int kNibble>
HWY_INLINE V nibble(VI q, const Table& t) {
  if constexpr (kMode == LowBitMode::kSigned) {
    return hn::ConvertTo(D(), hn::ShiftRight<28>(hn::ShiftLeft<28 - 4 * kNibble>(q)));
  } else if constexpr (kMode == LowBitMode::kUnsigned) {
    return hn::ConvertTo(D(), hn::And(hn::ShiftRight<4 * kNibble>(q), hn::Set(DI(), 15)));
  } else {
#if HWY_TARGET == HWY_AVX2
    const __m256i index = hn::ShiftRight<4 * kNibble>(q).raw;
    const V low{_mm256_permutevar8x32_ps(t.low.raw, index)}, high{_mm256_permutevar8x32_ps(t.high.raw, index)};
    return V{_mm256_blendv_ps(low.raw, high.raw, _mm256_castsi256_ps(hn::ShiftLeft<28 - 4 * kNibble>(q).raw))};
#else
    return hn::GatherIndex(D(), t.values, hn::And(hn::ShiftRight<4 * kNibble>(q), hn::Set(DI(), 15)));
#endif
  }
}
#endif

template <int kRows, int kVectors, LowBitMode kMode, int kNibble>
HWY_INLINE void add_nibble(const VI (&q)[kVectors], const Table* tables, const float* x, int64_t ldx, V (&acc)[kRows][kVectors]) {
  V w[kVectors];
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) w[j] = nibble<kMode, kNibble>(q[j], tables[j]);
  HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
    const V v = hn::Set(D(), x[r * ldx + kNibble]);
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[r][j] = hn::MulAdd(v, w[j], acc[r][j]);
  }
}

template <int kRows, int kVectors, LowBitMode kMode>
HWY_NOINLINE void product_of(const LowBitPanel& p) {
  const D d;
  const DI di;
  V total[kRows][kVectors];
  HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) total[r][j] = hn::Zero(d);
  }
  const Table tables[3] = {Table(p.tables), Table(p.tables + (kVectors > 1 ? p.table_step : 0)),
                           Table(p.tables + (kVectors > 2 ? 2 * p.table_step : 0))};
  const int64_t scale_bytes = p.scaled ? kVectors * kLanes * (p.half ? 2 : 4) : 0;
  const uint8_t* HWY_RESTRICT data = p.data;
  const float* HWY_RESTRICT x = p.x;
  for (int64_t b = 0; b < p.blocks; ++b) {
    // One row's sums would wait for one another.
    V acc[kRows][kVectors], odd[kRows][kVectors];
    HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[r][j] = odd[r][j] = hn::Zero(d);
    }
    const uint8_t *scales = data, *offsets = data + scale_bytes;
    data += p.shifted ? 2 * scale_bytes : scale_bytes;
    if constexpr (kMode == LowBitMode::kByte) {
      for (int64_t k = 0; k < p.block; ++k) {
        V w[kVectors];
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) w[j] = load_bytes(data + j * kLanes);
        fetch_ahead(data, 0);
        HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
          const V v = hn::Set(d, x[r * p.ldx + k]);
          HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[r][j] = hn::MulAdd(v, w[j], acc[r][j]);
        }
        data += kVectors * kLanes;
      }
    } else {
      for (int64_t k = 0; k < p.block; k += 8) {
        VI q[kVectors];
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
          q[j] = hn::LoadU(di, reinterpret_cast<const int32_t*>(data) + j * kLanes);
          fetch_ahead(data + j * kLanes * 4, j);
        }
        const float* at = x + k;
#if MLT_LOWBIT_AVX512
        // The permutation looks at the low nibble alone: words read a byte further on save every other shift.
        add_nibble<kRows, kVectors, kMode, 0>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 1>(q, tables, at, p.ldx, kRows == 1 ? odd : acc);
        HWY_UNROLL(4) for (int64_t byte = 1; byte < 4; ++byte) {
          HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) q[j] = hn::LoadU(di, reinterpret_cast<const int32_t*>(data + byte + j * kLanes * 4));
          add_nibble<kRows, kVectors, kMode, 0>(q, tables, at + 2 * byte, p.ldx, acc);
          add_nibble<kRows, kVectors, kMode, 1>(q, tables, at + 2 * byte, p.ldx, kRows == 1 ? odd : acc);
        }
#else
        add_nibble<kRows, kVectors, kMode, 0>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 1>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 2>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 3>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 4>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 5>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 6>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 7>(q, tables, at, p.ldx, acc);
#endif
        data += kVectors * kLanes * 4;
      }
    }
    x += p.block;
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
      const V s = p.scaled ? load_scale(scales, p.half, j) : hn::Set(d, 1.0f);
      HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
        if constexpr (kRows == 1) acc[r][j] = hn::Add(acc[r][j], odd[r][j]);
        if (p.shifted) acc[r][j] = hn::NegMulAdd(load_scale(offsets, p.half, j), hn::Set(d, p.sums[r * p.lds + b]), acc[r][j]);
        total[r][j] = hn::MulAdd(s, acc[r][j], total[r][j]);
      }
    }
  }
  HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) hn::StoreU(total[r][j], d, p.out + (r * kVectors + j) * kLanes);
  }
}

#if MLT_LOWBIT_DOT
// Written out, as in int8_simd.cc: the compiler's attributes of this target lack it.
HWY_INLINE void dot(__m512i& acc, __m512i codes, __m512i x) { asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(codes), "v"(x)); }

template <int kRows, int kVectors, bool kBytes>
HWY_NOINLINE void product_dot(const LowBitPanel& p) {
  const D d;
  V total[kRows][kVectors];
  HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) total[r][j] = hn::Zero(d);
  }
  const __m512i low = _mm512_set1_epi8(15);
  const int64_t scale_bytes = kVectors * kLanes * (p.half ? 2 : 4);
  const uint8_t* HWY_RESTRICT data = p.data;
  const int8_t* HWY_RESTRICT x = p.digits;
  const int64_t plane = p.digit_plane, row = p.digit_row;
  int64_t part = 0;
  for (int64_t b = 0; b < p.blocks; ++b) {
    const uint8_t *scales = data, *offsets = data + scale_bytes;
    data += p.shifted ? 2 * scale_bytes : scale_bytes;
    V sum[kRows][kVectors];
    HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) sum[r][j] = hn::Zero(d);
    }
    for (int64_t from = 0; from < p.block; from += p.x_block, ++part) {
      const int64_t count = p.block - from < p.x_block ? p.block - from : p.x_block;
      __m512i acc[kRows][kLowBitDigits][kVectors];
      HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
        HWY_UNROLL(4) for (int e = 0; e < kLowBitDigits; ++e) {
          const __m512i start = _mm512_set1_epi32(p.starts[(r * p.part_row + part) * kLowBitDigits + e]);
          HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[r][e][j] = start;
        }
      }
      auto word = [&](int r, int e, int64_t k) HWY_ATTR {
        int32_t quad;
        std::memcpy(&quad, x + r * row + e * plane + k, 4);
        return _mm512_set1_epi32(quad);
      };
      for (int64_t k = 0; k < count; k += 8) {
        __m512i first[kVectors], second[kVectors];
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
          if constexpr (kBytes) {
            first[j] = _mm512_loadu_si512(data + j * 64);
            second[j] = _mm512_loadu_si512(data + (kVectors + j) * 64);
            fetch_ahead(data + (kVectors + j) * 64, j);
          } else {
            const __m512i q = _mm512_loadu_si512(data + j * 64);
            first[j] = _mm512_and_si512(q, low);
            second[j] = _mm512_and_si512(_mm512_srli_epi16(q, 4), low);
          }
          fetch_ahead(data + j * 64, j);
        }
        HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
          HWY_UNROLL(4) for (int e = 0; e < kLowBitDigits; ++e) {
            const __m512i x0 = word(r, e, k), x1 = word(r, e, k + 4);
            HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) dot(acc[r][e][j], first[j], x0);
            HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) dot(acc[r][e][j], second[j], x1);
          }
        }
        data += kVectors * (kBytes ? 128 : 64);
      }
      x += count;
      HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
        const V scale = hn::Set(d, p.x_scale[r * p.part_row + part]);
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
          const VI high{_mm512_add_epi32(_mm512_slli_epi32(acc[r][2][j], 8), acc[r][1][j])};
          const V v = hn::MulAdd(hn::ConvertTo(d, high), hn::Set(d, 256.0f), hn::ConvertTo(d, VI{acc[r][0][j]}));
          sum[r][j] = hn::MulAdd(scale, v, sum[r][j]);
        }
      }
    }
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
      const V s = load_scale(scales, p.half, j);
      HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
        if (p.shifted) sum[r][j] = hn::NegMulAdd(load_scale(offsets, p.half, j), hn::Set(d, p.sums[r * p.lds + b]), sum[r][j]);
        total[r][j] = hn::MulAdd(s, sum[r][j], total[r][j]);
      }
    }
  }
  HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) hn::StoreU(total[r][j], d, p.out + (r * kVectors + j) * kLanes);
  }
}

template <int kRows, bool kBytes>
void product_dot_rows(const LowBitPanel& p) {
  switch (p.nv) {
    case 1: return product_dot<kRows, 1, kBytes>(p);
    case 2: return product_dot<kRows, 2, kBytes>(p);
    default: return product_dot<kRows, 3, kBytes>(p);
  }
}

float digits(const float* x, int64_t count, int32_t bias, int8_t* out, int64_t plane, int32_t* starts) noexcept {
  __m512 most = _mm512_setzero_ps(), odd = most;
  for (int64_t k = 0; k < count; k += 16) {
    const __mmask16 mask = count - k >= 16 ? 0xffff : 0xff;
    const __m512 v = _mm512_maskz_loadu_ps(mask, x + k);
    most = _mm512_max_ps(most, _mm512_abs_ps(v));
    odd = _mm512_mask_mov_ps(odd, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), v);
  }
  const float largest = _mm512_reduce_max_ps(most);
  if (_mm512_cmp_ps_mask(odd, odd, _CMP_UNORD_Q) != 0 || !(largest <= 0x1p126f) || (largest < 0x1p-100f && largest != 0)) return -1;
  // The largest power of two that leaves the digits' range, 127 * (65536 + 256 + 1).
  int exponent = 0;
  std::frexp(largest, &exponent);  // largest < 2^exponent
  int shift = largest == 0 ? 0 : 23 - exponent;
  if (std::ldexp(largest, shift) > 8355711.0f) --shift;
  const __m512 scale = _mm512_set1_ps(std::ldexp(1.0f, shift));
  const __m512i half = _mm512_set1_epi32(128);
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0;
  for (int64_t k = 0; k < count; k += 16) {
    const __mmask16 mask = count - k >= 16 ? 0xffff : 0xff;
    const __m512i v0 = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + k), scale));
    const __m512i v1 = _mm512_srai_epi32(_mm512_add_epi32(v0, half), 8), v2 = _mm512_srai_epi32(_mm512_add_epi32(v1, half), 8);
    _mm512_mask_cvtepi32_storeu_epi8(out + k, mask, v0);
    _mm512_mask_cvtepi32_storeu_epi8(out + plane + k, mask, v1);
    _mm512_mask_cvtepi32_storeu_epi8(out + 2 * plane + k, mask, v2);
    s0 = _mm512_add_epi32(s0, _mm512_sub_epi32(v0, _mm512_slli_epi32(v1, 8)));
    s1 = _mm512_add_epi32(s1, _mm512_sub_epi32(v1, _mm512_slli_epi32(v2, 8)));
    s2 = _mm512_add_epi32(s2, v2);
  }
  starts[0] = bias == 0 ? 0 : -bias * _mm512_reduce_add_epi32(s0);
  starts[1] = bias == 0 ? 0 : -bias * _mm512_reduce_add_epi32(s1);
  starts[2] = bias == 0 ? 0 : -bias * _mm512_reduce_add_epi32(s2);
  return std::ldexp(1.0f, -shift);
}

// Four or eight k of every column's word.
HWY_INLINE void expand_words(VI q, bool bytes, V bias, V s, V o, float* out, int64_t width) {
  const V shift = hn::Add(bias, o);
  for (int k = 0; k < (bytes ? 4 : 8); ++k) {
    const int bit = bytes ? 8 * k : k < 4 ? 8 * k : 8 * (k - 4) + 4;
    const VI code{_mm512_and_si512(_mm512_srl_epi32(q.raw, _mm_cvtsi32_si128(bit)), _mm512_set1_epi32(bytes ? 255 : 15))};
    hn::StoreU(hn::Mul(s, hn::Sub(hn::ConvertTo(D(), code), shift)), D(), out + k * width);
  }
}
#endif

template <int kRows, int kVectors>
HWY_INLINE void product_in(const LowBitPanel& p) {
  switch (p.mode) {
    case LowBitMode::kByte: return product_of<kRows, kVectors, LowBitMode::kByte>(p);
#if MLT_LOWBIT_AVX512
    default: return product_of<kRows, kVectors, LowBitMode::kTable>(p);
#else
    case LowBitMode::kSigned: return product_of<kRows, kVectors, LowBitMode::kSigned>(p);
    case LowBitMode::kUnsigned: return product_of<kRows, kVectors, LowBitMode::kUnsigned>(p);
    default: return product_of<kRows, kVectors, LowBitMode::kTable>(p);
#endif
  }
}
template <int kRows>
HWY_INLINE void product_rows(const LowBitPanel& p) {
  switch (p.nv) {
    case 1: return product_in<kRows, 1>(p);
    case 2: return product_in<kRows, 2>(p);
    default: return product_in<kRows, 3>(p);
  }
}
void product(const LowBitPanel& p) noexcept {
#if MLT_LOWBIT_DOT
  if (p.dot) {
    if (p.mode == LowBitMode::kByte) return p.rows == 1 ? product_dot_rows<1, true>(p) : product_dot_rows<2, true>(p);
    return p.rows == 1 ? product_dot_rows<1, false>(p) : product_dot_rows<2, false>(p);
  }
#endif
  switch (p.rows) {
    case 1: return product_rows<1>(p);
    case 2: return product_rows<2>(p);
    case 3: return product_rows<3>(p);
    default: return product_rows<4>(p);
  }
}

template <LowBitMode kMode, int kNibble>
HWY_INLINE void expand_nibble(VI q, const Table& table, V s, V o, float* out, int64_t width) {
  hn::StoreU(hn::Mul(s, hn::Sub(nibble<kMode, kNibble>(q, table), o)), D(), out + kNibble * width);
}

template <LowBitMode kMode>
void expand_in(const LowBitPanel& p, const uint8_t* scales, const uint8_t* codes, int64_t count, float* out) {
  const D d;
  const DI di;
  const int64_t width = p.nv * kLanes, scale_bytes = width * (p.half ? 2 : 4);
  for (int j = 0; j < p.nv; ++j) {
    const Table table(p.tables + j * p.table_step);
    const V s = p.scaled ? load_scale(scales, p.half, j) : hn::Set(d, 1.0f);
    const V o = p.shifted ? load_scale(scales + scale_bytes, p.half, j) : hn::Zero(d);
    if constexpr (kMode == LowBitMode::kByte) {
      for (int64_t k = 0; k < count; ++k)
        hn::StoreU(hn::Mul(s, hn::Sub(load_bytes(codes + k * width + j * kLanes), o)), d, out + k * width + j * kLanes);
    } else {
      for (int64_t k = 0; k < count; k += 8) {
        const VI q = hn::LoadU(di, reinterpret_cast<const int32_t*>(codes + k * width / 2) + j * kLanes);
        float* to = out + k * width + j * kLanes;
        expand_nibble<kMode, 0>(q, table, s, o, to, width);
        expand_nibble<kMode, 1>(q, table, s, o, to, width);
        expand_nibble<kMode, 2>(q, table, s, o, to, width);
        expand_nibble<kMode, 3>(q, table, s, o, to, width);
        expand_nibble<kMode, 4>(q, table, s, o, to, width);
        expand_nibble<kMode, 5>(q, table, s, o, to, width);
        expand_nibble<kMode, 6>(q, table, s, o, to, width);
        expand_nibble<kMode, 7>(q, table, s, o, to, width);
      }
    }
  }
}
void expand(const LowBitPanel& p, const uint8_t* scales, const uint8_t* codes, int64_t count, float* out) noexcept {
#if MLT_LOWBIT_DOT
  if (p.dot) {
    const bool bytes = p.mode == LowBitMode::kByte;
    const int64_t width = p.nv * kLanes, scale_bytes = width * (p.half ? 2 : 4), step = bytes ? 4 : 8;
    for (int j = 0; j < p.nv; ++j) {
      const V s = load_scale(scales, p.half, j), o = p.shifted ? load_scale(scales + scale_bytes, p.half, j) : hn::Zero(D());
      for (int64_t k = 0; k < count; k += step)
        expand_words(hn::LoadU(DI(), reinterpret_cast<const int32_t*>(codes + k / step * width * 4) + j * kLanes), bytes, hn::Set(D(), p.bias), s, o,
                     out + k * width + j * kLanes, width);
    }
    return;
  }
#endif
  switch (p.mode) {
    case LowBitMode::kByte: return expand_in<LowBitMode::kByte>(p, scales, codes, count, out);
    case LowBitMode::kSigned: return expand_in<LowBitMode::kSigned>(p, scales, codes, count, out);
    case LowBitMode::kUnsigned: return expand_in<LowBitMode::kUnsigned>(p, scales, codes, count, out);
    default: return expand_in<LowBitMode::kTable>(p, scales, codes, count, out);
  }
}

const LowBitTarget* simd_target() {
#if MLT_LOWBIT_DOT
  static constexpr LowBitTarget kTarget{true, digits, product, expand};
#else
  static constexpr LowBitTarget kTarget{false, nullptr, product, expand};
#endif
  return &kTarget;
}

#else
const LowBitTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const LowBitTarget* lowbit_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(lowbit_simd_target);
const LowBitTarget* lowbit_simd() { return HWY_DYNAMIC_DISPATCH(lowbit_simd_target)(); }
}  // namespace mlt
#endif
