#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/trees_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "lib/kernels/trees_target.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
namespace {
#if !MLT_HWY_EMULATED
namespace hn = hwy::HWY_NAMESPACE;

using D8 = hn::ScalableTag<int8_t>;
using DU8 = hn::RebindToUnsigned<D8>;
constexpr int64_t kLanes8 = HWY_MAX_BYTES;
constexpr int64_t kWords = kTreeTile / 64;  // 64-bit words that hold a bit for each row

// Words as vectors: the widest that hold no more than a tile.
using D64 = hn::CappedTag<uint64_t, static_cast<size_t>(kWords)>;
constexpr int64_t kLanes64 = HWY_MAX_BYTES / 8 < kWords ? HWY_MAX_BYTES / 8 : kWords;

// Bit by bit; IfVecThenElse() may choose by the highest of a byte alone.
template <typename V>
HWY_INLINE V choose(V which, V yes, V no) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  return hn::IfVecThenElse(which, yes, no);
#else
  return hn::Or(hn::And(which, yes), hn::AndNot(which, no));
#endif
}

// The ways through the part of a tree that is rooted at `place`, kLevels high: out[l] has the bits of its level l. right: of
// each place, the rows whose test sends them right.
template <int kLevels>
struct Ways {
  template <typename V>
  static HWY_INLINE void through(const uint64_t* right, int64_t place, V (&out)[kLevels]) {
    const D64 d;
    out[0] = hn::Load(d, right + place * kWords);
    V left[kLevels - 1], other[kLevels - 1];
    Ways<kLevels - 1>::through(right, 2 * place + 1, left);
    Ways<kLevels - 1>::through(right, 2 * place + 2, other);
    for (int l = 0; l + 1 < kLevels; ++l) out[l + 1] = choose(out[0], other[l], left[l]);
  }
};
template <>
struct Ways<1> {
  template <typename V>
  static HWY_INLINE void through(const uint64_t* right, int64_t place, V (&out)[1]) {
    out[0] = hn::Load(D64(), right + place * kWords);
  }
};
constexpr int kInRegisters = 6;  // levels whose bits registers hold

template <int kLevels>
void ways_through(const uint64_t* right, uint64_t* bits) noexcept {
  const D64 d;
  for (int64_t w = 0; w < kWords; w += kLanes64) {
    hn::Vec<D64> out[kLevels];
    Ways<kLevels>::through(right + w, 0, out);
    for (int l = 0; l < kLevels; ++l) hn::Store(out[l], d, bits + l * kWords + w);
  }
}

// More levels: rows that come to each node, from level to level.
void ways_down(const uint64_t* right, int depth, uint64_t* bits) noexcept {
  const D64 d64;
  HWY_ALIGN uint64_t reach[2][(int64_t{1} << kTreeDepth) / 2 * kWords];
  for (int64_t w = 0; w < kWords; ++w) reach[0][w] = ~uint64_t{0};
  for (int level = 0; level < depth; ++level) {
    const uint64_t* from = reach[level % 2];
    uint64_t* to = reach[1 - level % 2];
    const int64_t width = int64_t{1} << level;
    const uint64_t* test = right + (width - 1) * kWords;
    for (int64_t w = 0; w < kWords; w += kLanes64) {
      auto any = hn::Zero(d64);
      if (level + 1 == depth) {
        for (int64_t i = 0; i < width; ++i)
          any = hn::Or(any, hn::And(hn::Load(d64, from + i * kWords + w), hn::Load(d64, test + i * kWords + w)));
      } else {
        for (int64_t i = 0; i < width; ++i) {
          const auto here = hn::Load(d64, from + i * kWords + w);
          const auto went = hn::And(here, hn::Load(d64, test + i * kWords + w));
          any = hn::Or(any, went);
          hn::Store(hn::Xor(here, went), d64, to + 2 * i * kWords + w);
          hn::Store(went, d64, to + (2 * i + 1) * kWords + w);
        }
      }
      hn::Store(any, d64, bits + level * kWords + w);
    }
  }
}

void paths(const TreeNode* nodes, int count, int depth, const int8_t* bins, uint8_t* path) noexcept {
  const D8 d8;
  const hn::Repartition<uint32_t, D8> d32;
  HWY_ALIGN uint64_t right[(int64_t{1} << kTreeDepth) * kWords];  // of each place: rows whose test sends them right
  HWY_ALIGN uint64_t bits[kTreeDepth * kWords];
  const int64_t places = (int64_t{1} << depth) - 1;
  if (count < places) std::memset(right, 0, static_cast<size_t>(places * kWords) * sizeof(uint64_t));
  for (int64_t n = 0; n < count; ++n) {
    const int8_t* column = bins + nodes[n].column() * kTreeTile;
    const auto threshold = hn::BitCast(d8, hn::Set(d32, nodes[n].threshold));
    auto* out = reinterpret_cast<uint8_t*>(right + nodes[n].place() * kWords);
    for (int64_t r = 0; r < kTreeTile; r += kLanes8) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
      // Straight from the mask register: the general way goes through another one.
      _store_mask64(reinterpret_cast<__mmask64*>(out + r / 8), hn::Gt(hn::Load(d8, column + r), threshold).raw);
#else
      hn::StoreMaskBits(d8, hn::Gt(hn::Load(d8, column + r), threshold), out + r / 8);
#endif
    }
  }
  switch (depth) {
    case 0: break;
    case 1: ways_through<1>(right, bits); break;
    case 2: ways_through<2>(right, bits); break;
    case 3: ways_through<3>(right, bits); break;
    case 4: ways_through<4>(right, bits); break;
    case 5: ways_through<5>(right, bits); break;
    case kInRegisters: ways_through<kInRegisters>(right, bits); break;
    default: ways_down(right, depth, bits);
  }
  const DU8 du8;
  for (int64_t r = 0; r < kTreeTile; r += kLanes8) {
    auto sum = hn::Zero(du8);
    for (int level = 0; level < depth; ++level) {
      const auto mask = hn::LoadMaskBits(du8, reinterpret_cast<const uint8_t*>(bits + level * kWords) + r / 8);
      sum = hn::Or(sum, hn::IfThenElseZero(mask, hn::Set(du8, static_cast<uint8_t>(1u << (depth - 1 - level)))));
    }
    hn::StoreU(sum, du8, path + r);
  }
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
constexpr int kDescendFrom = 6;

// The tests of a level lie in up to four vectors of 32; each row looks up its own, and gathers the bin it names.
void descend(const uint16_t* tests, int level, const int8_t* bins, uint8_t* path) noexcept {
  const int64_t count = int64_t{1} << level;
  __m512i table[4];
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t left = count - 32 * i;
    const auto some = static_cast<__mmask32>(left >= 32 ? 0xffffffffu : left > 0 ? (1u << left) - 1 : 0);
    table[i] = _mm512_maskz_loadu_epi16(some, tests + std::min(32 * i, count - 1));
  }
  const __m512i place = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i column = _mm512_set1_epi32(0xff00);
  const __m512i high = _mm512_set1_epi16(64);
  for (int64_t r = 0; r < kTreeTile; r += 32) {
    const __m512i at = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(path + r)));
    __m512i test = _mm512_permutex2var_epi16(table[0], at, table[1]);
    if (count > 64) test = _mm512_mask_blend_epi16(_mm512_test_epi16_mask(at, high), test, _mm512_permutex2var_epi16(table[2], at, table[3]));
    const __m512i first = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(test));
    const __m512i second = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(test, 1));
    const __m512i x = _mm512_i32gather_epi32(_mm512_add_epi32(_mm512_and_si512(first, column), place), bins + r, 1);
    const __m512i y = _mm512_i32gather_epi32(_mm512_add_epi32(_mm512_and_si512(second, column), place), bins + r + 16, 1);
    const uint32_t right = static_cast<uint32_t>(_mm512_cmpgt_epi32_mask(_mm512_slli_epi32(x, 24), _mm512_slli_epi32(first, 24))) |
                           static_cast<uint32_t>(_mm512_cmpgt_epi32_mask(_mm512_slli_epi32(y, 24), _mm512_slli_epi32(second, 24))) << 16;
    const __m512i twice = _mm512_add_epi16(at, at);
    const __m512i next = _mm512_mask_add_epi16(twice, static_cast<__mmask32>(right), twice, _mm512_set1_epi16(1));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(path + r), _mm512_cvtepi16_epi8(next));
  }
}
#else
constexpr int kDescendFrom = kTreeDepth;

void descend(const uint16_t* tests, int /*level*/, const int8_t* bins, uint8_t* path) noexcept {
  for (int64_t r = 0; r < kTreeTile; ++r) {
    const uint32_t test = tests[path[r]];
    const bool right = bins[static_cast<int64_t>(test >> 8) * kTreeTile + r] > static_cast<int8_t>(test & 255);
    path[r] = static_cast<uint8_t>(2 * path[r] + right);
  }
}
#endif

void add(const uint8_t* path, const double* values, double* sums) noexcept {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  const hn::ScalableTag<double> d;
  const hn::Rebind<int64_t, decltype(d)> di;
  const hn::Rebind<int32_t, decltype(d)> d32;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  constexpr int64_t kStep = HWY_MAX_BYTES / 8;
  for (int64_t r = 0; r < kTreeTile; r += kStep) {
    const auto index = hn::PromoteTo(di, hn::PromoteTo(d32, hn::LoadU(d8, path + r)));
    hn::StoreU(hn::Add(hn::LoadU(d, sums + r), hn::GatherIndex(d, values, index)), d, sums + r);
  }
#else
  for (int64_t r = 0; r < kTreeTile; ++r) sums[r] += values[path[r]];
#endif
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
// table[index] of two vectors.
HWY_INLINE hn::Vec<hn::ScalableTag<float>> look_up(const float* table, hn::Vec<hn::ScalableTag<int32_t>> index) {
  return hn::Vec<hn::ScalableTag<float>>{_mm512_permutex2var_ps(_mm512_load_ps(table), index.raw, _mm512_load_ps(table + 16))};
}
HWY_INLINE hn::Vec<hn::ScalableTag<double>> look_up(const double* table, hn::Vec<hn::ScalableTag<int64_t>> index) {
  return hn::Vec<hn::ScalableTag<double>>{_mm512_permutex2var_pd(_mm512_load_pd(table), index.raw, _mm512_load_pd(table + 8))};
}

template <typename T>
bool ranks(const T* x, const T* thresholds, int steps, uint16_t* out) noexcept {
  const hn::ScalableTag<T> d;
  const hn::RebindToSigned<decltype(d)> di;
  using I = hwy::MakeSigned<T>;
  constexpr int64_t kStep = HWY_MAX_BYTES / sizeof(T);
  // Several vectors at once hide the latency of the gathers.
  constexpr int64_t kAtOnce = 4;
  // The first steps choose among thresholds that two vectors hold.
  constexpr int kNear = static_cast<int>(hwy::CeilLog2(static_cast<size_t>(2 * kStep)));
  HWY_ALIGN T near[2 * kStep];
  const int shift = std::max(0, steps - kNear);
  for (int64_t i = 0; i < 2 * kStep; ++i) {
    const int64_t at = ((i + 1) << shift) - 1;
    near[i] = at + 1 < int64_t{1} << steps ? thresholds[at] : std::numeric_limits<T>::quiet_NaN();
  }
  bool missing = false;
  for (int64_t r = 0; r < kTreeTile; r += kAtOnce * kStep) {
    hn::Vec<decltype(di)> at[kAtOnce];
    hn::Vec<decltype(d)> value[kAtOnce];
    for (int64_t k = 0; k < kAtOnce; ++k) {
      at[k] = hn::Zero(di);
      value[k] = hn::LoadU(d, x + r + k * kStep);
      missing |= !hn::AllFalse(d, hn::IsNaN(value[k]));
    }
    for (int64_t step = kStep; step > 0; step /= 2) {
      const auto jump = hn::Set(di, static_cast<I>(step));
      const auto before = hn::Set(di, static_cast<I>(step - 1));
      for (int64_t k = 0; k < kAtOnce; ++k) {
        const auto t = look_up(near, hn::Add(at[k], before));
        at[k] = hn::Add(at[k], hn::IfThenElseZero(hn::RebindMask(di, hn::Le(t, value[k])), jump));
      }
    }
    for (int64_t k = 0; k < kAtOnce; ++k) at[k] = hn::ShiftLeftSame(at[k], shift);
    for (int64_t step = (int64_t{1} << shift) / 2; step > 0; step /= 2) {
      const auto jump = hn::Set(di, static_cast<I>(step));
      for (int64_t k = 0; k < kAtOnce; ++k) {
        const auto t = hn::GatherIndex(d, thresholds + step - 1, at[k]);
        at[k] = hn::Add(at[k], hn::IfThenElseZero(hn::RebindMask(di, hn::Le(t, value[k])), jump));
      }
    }
    HWY_ALIGN I lanes[kStep];
    for (int64_t k = 0; k < kAtOnce; ++k) {
      hn::Store(at[k], di, lanes);
      for (int64_t i = 0; i < kStep; ++i) out[r + k * kStep + i] = static_cast<uint16_t>(lanes[i]);
    }
  }
  return missing;
}

// Squares of 16 rows and columns: pairs of rows are interleaved by numbers, then by pairs, then by quarters of vectors.
HWY_INLINE void columns_of_16(const float* rows, int64_t stride, __mmask16 some, float* columns) {
  __m512 a[16], b[16];
  for (int i = 0; i < 16; ++i) a[i] = _mm512_maskz_loadu_ps(some, rows + i * stride);
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int k = 0; k < 2; ++k) {
      const __m512d x = _mm512_castps_pd(b[i + k]), y = _mm512_castps_pd(b[i + k + 2]);
      a[i + 2 * k] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
      a[i + 2 * k + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
    }
  // a[4 * i + j]: of rows 4i to 4i + 3, columns j, j + 4, j + 8 and j + 12.
  for (int j = 0; j < 4; ++j) {
    const __m512 near = _mm512_shuffle_f32x4(a[j], a[4 + j], 0x88), far = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0x88);
    const __m512 near_odd = _mm512_shuffle_f32x4(a[j], a[4 + j], 0xdd), far_odd = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0xdd);
    _mm512_storeu_ps(columns + j * kTreeTile, _mm512_shuffle_f32x4(near, far, 0x88));
    _mm512_storeu_ps(columns + (j + 4) * kTreeTile, _mm512_shuffle_f32x4(near_odd, far_odd, 0x88));
    _mm512_storeu_ps(columns + (j + 8) * kTreeTile, _mm512_shuffle_f32x4(near, far, 0xdd));
    _mm512_storeu_ps(columns + (j + 12) * kTreeTile, _mm512_shuffle_f32x4(near_odd, far_odd, 0xdd));
  }
}
#else
template <typename T>
bool ranks(const T* x, const T* thresholds, int steps, uint16_t* out) noexcept {
  // Level by level over a few rows: their loads do not wait for one another.
  constexpr int64_t kAtOnce = 16;
  bool missing = false;
  for (int64_t r = 0; r < kTreeTile; r += kAtOnce) {
    uint32_t at[kAtOnce] = {};
    for (uint32_t step = (1u << steps) / 2; step > 0; step /= 2)
      for (int64_t i = 0; i < kAtOnce; ++i) at[i] += thresholds[at[i] + step - 1] <= x[r + i] ? step : 0;
    for (int64_t i = 0; i < kAtOnce; ++i) {
      missing |= x[r + i] != x[r + i];
      out[r + i] = static_cast<uint16_t>(at[i]);
    }
  }
  return missing;
}
#endif

// A line of each row is used whole while it is near.
template <typename T>
void columns(const T* rows, int64_t count, int64_t stride, int64_t width, T* out) noexcept {
  int64_t r = 0;
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  if constexpr (sizeof(T) == sizeof(float)) {
    // All 16 columns are written: those from width on with zeros.
    const auto some = static_cast<__mmask16>((1u << width) - 1);
    for (; r + 16 <= count; r += 16) columns_of_16(rows + r * stride, stride, some, out + r);
  } else {
    const __m512i places = _mm512_mullo_epi64(_mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7), _mm512_set1_epi64(stride));
    for (; r + 8 <= count; r += 8)
      for (int64_t f = 0; f < width; ++f) _mm512_storeu_pd(out + f * kTreeTile + r, _mm512_i64gather_pd(places, rows + r * stride + f, 8));
  }
#endif
  for (; r < count; ++r)
    for (int64_t f = 0; f < width; ++f) out[f * kTreeTile + r] = number_at(rows + r * stride + f);
  for (int64_t f = 0; f < width && count < kTreeTile; ++f) std::fill(out + f * kTreeTile + count, out + (f + 1) * kTreeTile, T{0});
}

void axpy_f64(const double* x, double weight, double* sums) noexcept {
  const hn::ScalableTag<double> d;
  constexpr int64_t kStep = HWY_MAX_BYTES / 8;
  const auto w = hn::Set(d, weight);
  for (int64_t r = 0; r < kTreeTile; r += kStep) hn::StoreU(hn::Add(hn::LoadU(d, sums + r), hn::Mul(w, hn::LoadU(d, x + r))), d, sums + r);
}

void axpy_f32(const float* x, double weight, double* sums) noexcept {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  constexpr int64_t kStep = HWY_MAX_BYTES / 8;
  const auto w = hn::Set(d, weight);
  for (int64_t r = 0; r < kTreeTile; r += kStep)
    hn::StoreU(hn::Add(hn::LoadU(d, sums + r), hn::Mul(w, hn::PromoteTo(d, hn::LoadU(df, x + r)))), d, sums + r);
}

const TreeKernels* simd_target() {
  static const TreeKernels kTarget = [] {
    TreeKernels all{paths,          descend,         kDescendFrom, add,      ranks<float>, ranks<double>,
                    columns<float>, columns<double>, axpy_f32,     axpy_f64, nullptr,      nullptr};
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
    if (have_tree_pairs()) {
      all.pair_rows = tree_pair_rows;
      all.pairs = tree_pairs;
    }
#endif
    return all;
  }();
  return &kTarget;
}
#else
const TreeKernels* simd_target() { return nullptr; }
#endif
}  // namespace
const TreeKernels* tree_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(tree_simd_target);
const TreeKernels* tree_simd() { return HWY_DYNAMIC_DISPATCH(tree_simd_target)(); }
}  // namespace mlt
#endif
