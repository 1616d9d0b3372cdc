#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/lowbit_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

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
constexpr int64_t kAhead = 3072;  // bytes

HWY_INLINE V load_bytes(const uint8_t* p) {
  const hn::Rebind<int8_t, D> db;
  return hn::ConvertTo(D(), hn::PromoteTo(DI(), hn::LoadU(db, reinterpret_cast<const int8_t*>(p))));
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
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
#if HWY_TARGET == HWY_AVX3
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
    V acc[kRows][kVectors];
    HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[r][j] = hn::Zero(d);
    }
    const uint8_t *scales = data, *offsets = data + scale_bytes;
    data += p.shifted ? 2 * scale_bytes : scale_bytes;
    if constexpr (kMode == LowBitMode::kByte) {
      for (int64_t k = 0; k < p.block; ++k) {
        V w[kVectors];
        HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) w[j] = load_bytes(data + j * kLanes);
        hwy::Prefetch(data + kAhead);
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
          hwy::Prefetch(data + j * kLanes * 4 + kAhead);
        }
        const float* at = x + k;
        add_nibble<kRows, kVectors, kMode, 0>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 1>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 2>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 3>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 4>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 5>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 6>(q, tables, at, p.ldx, acc);
        add_nibble<kRows, kVectors, kMode, 7>(q, tables, at, p.ldx, acc);
        data += kVectors * kLanes * 4;
      }
    }
    x += p.block;
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
      const V s = p.scaled ? load_scale(scales, p.half, j) : hn::Set(d, 1.0f);
      HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
        if (p.shifted) acc[r][j] = hn::NegMulAdd(load_scale(offsets, p.half, j), hn::Set(d, p.sums[r * p.lds + b]), acc[r][j]);
        total[r][j] = hn::MulAdd(s, acc[r][j], total[r][j]);
      }
    }
  }
  HWY_UNROLL(4) for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) hn::StoreU(total[r][j], d, p.out + (r * kVectors + j) * kLanes);
  }
}

template <int kRows, int kVectors>
HWY_INLINE void product_in(const LowBitPanel& p) {
  switch (p.mode) {
    case LowBitMode::kByte: return product_of<kRows, kVectors, LowBitMode::kByte>(p);
#if HWY_TARGET == HWY_AVX3
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
  switch (p.mode) {
    case LowBitMode::kByte: return expand_in<LowBitMode::kByte>(p, scales, codes, count, out);
    case LowBitMode::kSigned: return expand_in<LowBitMode::kSigned>(p, scales, codes, count, out);
    case LowBitMode::kUnsigned: return expand_in<LowBitMode::kUnsigned>(p, scales, codes, count, out);
    default: return expand_in<LowBitMode::kTable>(p, scales, codes, count, out);
  }
}

const LowBitTarget* simd_target() {
  static constexpr LowBitTarget kTarget{product, expand};
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
