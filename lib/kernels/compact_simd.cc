#include "lib/kernels/hwy_config.h"

// AVX3_DL permutes bytes across the vector.
#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/compact_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <utility>

#include "lib/kernels/cheap-inl.h"
#include "lib/kernels/compact_target.h"
#include "lib/kernels/partial-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#define MLT_COMPACT_AVX512 (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)
#if MLT_COMPACT_AVX512 || HWY_TARGET == HWY_AVX2

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
using DU = hn::RebindToUnsigned<D>;
using VU = hn::Vec<DU>;
using DB = hn::Repartition<uint8_t, D>;
constexpr int kLanes = HWY_MAX_BYTES / sizeof(float);
constexpr int kLowBytes = 3 * kLanes;  // of a vector of columns

HWY_INLINE VU load_words(const uint8_t* p) { return hn::LoadU(DU(), reinterpret_cast<const uint32_t*>(p)); }

// The floats' low bytes, a vector of columns, under what `high` has in its high bytes. A whole vector is read.
struct Low {
#if HWY_TARGET == HWY_AVX3_DL
  HWY_INLINE Low() {
    HWY_ALIGN uint8_t from[64];
    for (uint8_t i = 0; i < 64; ++i) from[i] = static_cast<uint8_t>(i / 4 * 3 + i % 4);
    index = _mm512_load_si512(from);
  }
  HWY_INLINE V operator()(const uint8_t* p, VU high) const {
    return V{_mm512_castsi512_ps(_mm512_mask_permutexvar_epi8(high.raw, 0x7777777777777777, index, _mm512_loadu_si512(p)))};
  }
  __m512i index;
#else
  HWY_INLINE Low() : blocks(hn::IndicesFromVec(DU(), block_index())), bytes(hn::LoadDup128(DB(), kBytes)) {}
  static HWY_INLINE VU block_index() {
    HWY_ALIGN uint32_t from[kLanes];
    for (uint32_t i = 0; i < kLanes; ++i) from[i] = i % 4 == 3 ? 0 : i / 4 * 3 + i % 4;
    return hn::Load(DU(), from);
  }
  HWY_INLINE V operator()(const uint8_t* p, VU high) const {
    const VU low = hn::TableLookupLanes(load_words(p), blocks);
    return hn::BitCast(D(), hn::Or(high, hn::BitCast(DU(), hn::TableLookupBytesOr0(hn::BitCast(DB(), low), bytes))));
  }
  alignas(16) static constexpr uint8_t kBytes[16] = {0, 1, 2, 0x80, 3, 4, 5, 0x80, 6, 7, 8, 0x80, 9, 10, 11, 0x80};
  decltype(hn::IndicesFromVec(DU(), VU())) blocks;
  hn::Vec<DB> bytes;
#endif
};

// The floats' high bytes of code `j` of every word.
struct High {
#if MLT_COMPACT_AVX512
  explicit HWY_INLINE High(const uint32_t* table) : values(hn::LoadU(DU(), table)) {}
  // One permutation by the low four bits of each lane.
  HWY_INLINE VU at(VU code) const { return VU{_mm512_permutexvar_epi32(code.raw, values.raw)}; }
  HWY_INLINE VU operator()(const uint8_t* words, int j) const { return at(hn::ShiftRightSame(load_words(words), 4 * j)); }
  // Words read a byte further on save every other shift.
  template <int kJ>
  HWY_INLINE VU get(const uint8_t* words) const {
    const VU q = load_words(words + kJ / 2);
    return at(kJ % 2 == 0 ? q : hn::ShiftRight<4>(q));
  }
  VU values;
#else
  explicit HWY_INLINE High(const uint32_t* table) {
    HWY_ALIGN uint8_t bytes[16];
    for (int i = 0; i < 16; ++i) bytes[i] = static_cast<uint8_t>(table[i] >> 24);
    values = hn::LoadDup128(DB(), bytes);
  }
  HWY_INLINE VU at(VU code) const {
    const VU index = hn::Or(hn::And(code, hn::Set(DU(), 0x0f000000)), hn::Set(DU(), 0x00808080));
    return hn::BitCast(DU(), hn::TableLookupBytesOr0(values, hn::BitCast(DB(), index)));
  }
  HWY_INLINE VU operator()(const uint8_t* words, int j) const { return at(hn::ShiftLeftSame(hn::ShiftRightSame(load_words(words), 4 * j), 24)); }
  template <int kJ>
  HWY_INLINE VU get(const uint8_t* words) const {
    const VU q = load_words(words);
    if constexpr (kJ > 6) return at(hn::ShiftRight<4>(q));
    return at(hn::ShiftLeft<kJ < 6 ? 24 - 4 * kJ : 0>(q));
  }
  hn::Vec<DB> values;
#endif
};

// Every line, from memory into the second-level cache and from there into the first: the work on a line is enough for the
// hardware's own fetching to fall behind.
template <int kVectors, int kRow>
HWY_INLINE void fetch_ahead(const uint8_t* group) {
  constexpr int kLines = (kVectors * kLanes * (4 + 3 * kCompactGroup) + 63) / 64;
  HWY_UNROLL(4) for (int line = kRow * kLines / kCompactGroup; line < (kRow + 1) * kLines / kCompactGroup; ++line) {
    __builtin_prefetch(group + 4096 + line * 64, 0, 3);
    __builtin_prefetch(group + 12288 + line * 64, 0, 2);
  }
}

template <int kVectors>
struct Sums {
  const Low low;
  const High high;
  V acc[kVectors];

  template <int kRow>
  HWY_INLINE void add(const uint8_t* words, const float* x) {
    fetch_ahead<kVectors, kRow>(words);
    const uint8_t* lows = words + kVectors * (kLanes * 4 + kRow * kLowBytes);
    const V xv = hn::Set(D(), x[kRow]);
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j)
      acc[j] = hn::MulAdd(xv, low(lows + j * kLowBytes, high.template get<kRow>(words + j * kLanes * 4)), acc[j]);
  }
  template <size_t... kRow>
  HWY_INLINE void add_group(const uint8_t* words, const float* x, std::index_sequence<kRow...>) {
    (add<kRow>(words, x), ...);
  }
  // A row with exceptions, or of a group that is not whole.
  HWY_INLINE void add_row(const uint8_t* words, const float* x, int row, int64_t at, const CompactException*& next, const CompactException* end) {
    constexpr int64_t kWidth = kVectors * kLanes;
    const uint8_t* lows = words + kVectors * (kLanes * 4 + row * kLowBytes);
    HWY_ALIGN float w[kWidth];
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) hn::Store(low(lows + j * kLowBytes, high(words + j * kLanes * 4, row)), D(), w + j * kLanes);
    for (; next != end && next->at < at + kWidth; ++next) w[next->at - at] = next->value;
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) acc[j] = hn::MulAdd(hn::Set(D(), x[row]), hn::Load(D(), w + j * kLanes), acc[j]);
  }
};

template <int kVectors>
HWY_NOINLINE void product_of(const CompactPanel& p) {
  const D d;
  constexpr int64_t kWidth = kVectors * kLanes, kGroupBytes = kWidth * (4 + 3 * kCompactGroup);
  Sums<kVectors> sums{Low(), High(p.table), {}};
  const uint8_t* HWY_RESTRICT data = p.data;
  const CompactException *next = p.next, *const end = p.end;
  V total[kVectors];
  // Added in the order in which a tile of PackedWeights adds.
  for (int64_t k0 = 0; k0 < p.k; k0 += p.depth) {
    const int64_t k1 = p.k - k0 < p.depth ? p.k : k0 + p.depth;
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) sums.acc[j] = hn::Zero(d);
    for (int64_t k = k0; k < k1; k += kCompactGroup, data += kGroupBytes) {
      const int64_t count = k1 - k < kCompactGroup ? k1 - k : kCompactGroup;
      if (HWY_LIKELY(count == kCompactGroup && (next == end || next->at >= (k + kCompactGroup) * kWidth))) {
        sums.add_group(data, p.x + k, std::make_index_sequence<kCompactGroup>());
      } else {
        for (int row = 0; row < count; ++row) sums.add_row(data, p.x + k, row, (k + row) * kWidth, next, end);
      }
    }
    HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) {
      const int64_t left = p.cols - j * kLanes;
      V v = hn::Add(sums.acc[j], k1 == p.k && p.bias != nullptr ? load_first(d, p.bias + j * kLanes, left) : hn::Zero(d));
      if (k0 > 0) v = hn::Add(v, total[j]);
      if (k0 == 0 && p.residual != nullptr) v = hn::Add(v, load_first(d, p.residual + j * kLanes, left));
      total[j] = v;
    }
  }
  const Cheap<D> cheap(d, p.f);
  HWY_UNROLL(4) for (int j = 0; j < kVectors; ++j) store_first(d, cheap(total[j]), p.out + j * kLanes, p.cols - j * kLanes);
}

void product(const CompactPanel& p) noexcept {
  switch (p.nv) {
    case 1: return product_of<1>(p);
    case 2: return product_of<2>(p);
    default: return product_of<3>(p);
  }
}

bool encode(const float* rows, int64_t count, int nv, const CompactPairs& pairs, uint8_t* out) noexcept {
  const DU d;
  HWY_ALIGN uint32_t from[kLanes];
  for (uint32_t i = 0; i < kLanes; ++i) from[i] = i < kLanes / 4 * 3 ? i / 3 * 4 + i % 3 : 3;
  const auto blocks = hn::IndicesFromVec(d, hn::Load(d, from));
  alignas(16) static constexpr uint8_t kBytes[16] = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 0x80, 0x80, 0x80, 0x80};
  const auto bytes = hn::LoadDup128(DB(), kBytes), codes = hn::LoadDup128(DB(), pairs.codes), values = hn::LoadDup128(DB(), pairs.pairs);
  const auto whole = hn::FirstN(d, kLanes / 4 * 3);
  // Tables of bytes, asked with the lowest byte of each lane.
  const VU others = hn::Set(d, 0x80808000);
  const auto look_up = [&](hn::Vec<DB> table, VU index) HWY_ATTR {
    return hn::BitCast(d, hn::TableLookupBytesOr0(table, hn::BitCast(DB(), hn::Or(index, others))));
  };
  VU wrong = hn::Zero(d);
  for (int j = 0; j < nv; ++j) {
    VU words = hn::Zero(d);
    for (int64_t row = 0; row < count; ++row) {
      const VU bits = hn::LoadU(d, reinterpret_cast<const uint32_t*>(rows) + (row * nv + j) * kLanes);
      const VU high = hn::ShiftRight<24>(bits), pair = hn::And(high, hn::Set(d, 127));
      const VU code = look_up(codes, hn::Min(hn::Sub(pair, hn::Set(d, pairs.low)), hn::Set(d, 15)));
      wrong = hn::Or(wrong, hn::Xor(look_up(values, code), pair));
      const VU sign = hn::ShiftRight<4>(hn::Xor(high, pair));
      words = hn::Or(words, hn::ShiftLeftSame(hn::Or(code, sign), static_cast<int>(4 * row)));
      const VU low = hn::TableLookupLanes(hn::BitCast(d, hn::TableLookupBytesOr0(hn::BitCast(DB(), bits), bytes)), blocks);
      uint8_t* to = out + nv * kLanes * 4 + (row * nv + j) * kLowBytes;
      hn::BlendedStore(low, whole, d, reinterpret_cast<uint32_t*>(to));
    }
    hn::StoreU(words, d, reinterpret_cast<uint32_t*>(out) + j * kLanes);
  }
  for (int64_t row = count; row < kCompactGroup; ++row)
    for (int64_t i = 0; i < nv * kLowBytes; ++i) out[nv * (kLanes * 4 + row * kLowBytes) + i] = 0;
  return hn::AllTrue(d, hn::Eq(wrong, hn::Zero(d)));
}

const CompactTarget* simd_target() {
  static constexpr CompactTarget kTarget{product, encode};
  return &kTarget;
}

#else
// Without permutations of bytes or lanes in vectors this wide putting weights together takes longer than reading them.
const CompactTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const CompactTarget* compact_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(compact_simd_target);
const CompactTarget* compact_simd() { return HWY_DYNAMIC_DISPATCH(compact_simd_target)(); }
}  // namespace mlt
#endif
