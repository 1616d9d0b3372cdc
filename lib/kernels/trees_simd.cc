#include "lib/kernels/hwy_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/trees_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

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

void paths(const TreeNode* nodes, int count, int depth, const int8_t* bins, uint8_t* path) noexcept {
  const D8 d8;
  const hn::Repartition<uint32_t, D8> d32;
  const D64 d64;
  constexpr int64_t kMost = int64_t{1} << kTreeDepth;
  HWY_ALIGN uint64_t right[kMost * kWords];     // of each place: rows whose test sends them right
  HWY_ALIGN uint64_t reach[2][kMost / 2 * kWords];  // rows that come to each node of a level
  HWY_ALIGN uint64_t bits[kTreeDepth * kWords];
  const int64_t places = (int64_t{1} << depth) - 1;
  if (count < places) std::memset(right, 0, static_cast<size_t>(places * kWords) * sizeof(uint64_t));
  for (int64_t n = 0; n < count; ++n) {
    const int8_t* column = bins + nodes[n].column() * kTreeTile;
    const auto threshold = hn::BitCast(d8, hn::Set(d32, nodes[n].threshold));
    auto* out = reinterpret_cast<uint8_t*>(right + nodes[n].place() * kWords);
    for (int64_t r = 0; r < kTreeTile; r += kLanes8)
      hn::StoreMaskBits(d8, hn::Gt(hn::Load(d8, column + r), threshold), out + r / 8);
  }
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

template <typename T>
void ranks(const T* x, const T* thresholds, int steps, uint16_t* out) noexcept {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  const hn::ScalableTag<T> d;
  const hn::RebindToSigned<decltype(d)> di;
  using I = hwy::MakeSigned<T>;
  constexpr int64_t kStep = HWY_MAX_BYTES / sizeof(T);
  // Several vectors at once hide the latency of the gathers.
  constexpr int64_t kAtOnce = 4;
  // The first steps choose among thresholds that one vector holds.
  constexpr int64_t kNear = hwy::CeilLog2(static_cast<size_t>(kStep));
  HWY_ALIGN T far[kStep] = {};
  const int64_t shift = steps - kNear;
  if (shift > 0)
    for (int64_t i = 0; i + 1 < kStep; ++i) far[i] = thresholds[((i + 1) << shift) - 1];
  const auto coarse = hn::Load(d, far);
  for (int64_t r = 0; r < kTreeTile; r += kAtOnce * kStep) {
    hn::Vec<decltype(di)> at[kAtOnce];
    hn::Vec<decltype(d)> value[kAtOnce];
    for (int64_t k = 0; k < kAtOnce; ++k) {
      at[k] = hn::Zero(di);
      value[k] = hn::LoadU(d, x + r + k * kStep);
    }
    int64_t begin = (int64_t{1} << steps) / 2;
    if (shift > 0) {
      for (int64_t step = kStep / 2; step > 0; step /= 2) {
        const auto jump = hn::Set(di, static_cast<I>(step));
        const auto before = hn::Set(di, static_cast<I>(step - 1));
        for (int64_t k = 0; k < kAtOnce; ++k) {
          const auto t = hn::TableLookupLanes(coarse, hn::IndicesFromVec(d, hn::Add(at[k], before)));
          at[k] = hn::Add(at[k], hn::IfThenElseZero(hn::RebindMask(di, hn::Le(t, value[k])), jump));
        }
      }
      for (int64_t k = 0; k < kAtOnce; ++k) at[k] = hn::ShiftLeftSame(at[k], static_cast<int>(shift));
      begin >>= kNear;
    }
    for (int64_t step = begin; step > 0; step /= 2) {
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
#else
  // Level by level over a few rows: their loads do not wait for one another.
  constexpr int64_t kAtOnce = 16;
  for (int64_t r = 0; r < kTreeTile; r += kAtOnce) {
    uint32_t at[kAtOnce] = {};
    for (uint32_t step = (1u << steps) / 2; step > 0; step /= 2)
      for (int64_t i = 0; i < kAtOnce; ++i) at[i] += thresholds[at[i] + step - 1] <= x[r + i] ? step : 0;
    for (int64_t i = 0; i < kAtOnce; ++i) out[r + i] = static_cast<uint16_t>(at[i]);
  }
#endif
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

const TreeTarget* simd_target() {
  static constexpr TreeTarget kTarget{paths, descend, kDescendFrom, add, ranks<float>, ranks<double>, axpy_f32, axpy_f64};
  return &kTarget;
}
#else
const TreeTarget* simd_target() { return nullptr; }
#endif
}  // namespace
const TreeTarget* tree_simd_target() { return simd_target(); }
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mlt {
HWY_EXPORT(tree_simd_target);
const TreeTarget* tree_simd() { return HWY_DYNAMIC_DISPATCH(tree_simd_target)(); }
}  // namespace mlt
#endif
