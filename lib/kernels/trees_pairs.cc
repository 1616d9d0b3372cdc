// Two levels of 64 trees at a time, for machines with AVX-512 VBMI; not a Highway target of its own, which would compile every
// kernel once more for this one.
//
// Paths lie tree by tree and are needed row by row: squares of eight trees and 16 rows are turned, so that a word holds
// the paths of a row in eight trees. Eight pairs are fetched with one gather, and one lookup in the row's 128 bins finds the
// bins of all 24 nodes: a pair's columns are the indices of the lookup. The three bits of each tree are turned back.
#include <cstring>

#include "lib/kernels/trees_target.h"

#if defined(__x86_64__)
// GCC 12 takes the operands that its intrinsics leave out for uninitialised ones (bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

namespace mlt {

#if defined(__x86_64__)
#define MLT_VBMI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")))
namespace {

constexpr int64_t kEight = 8, kBlock = 64;  // trees and rows of a square

// The row of a block whose word is at `place` of a turned square: unpacking keeps to the quarters of a vector.
constexpr int64_t row_at(int64_t place) { return 16 * ((place >> 1) & 3) + 2 * (place >> 3) + (place & 1); }

// words[place]: byte t is lines[t * step + row_at(place)].
MLT_VBMI inline void turn(const uint8_t* lines, int64_t step, uint64_t* words) {
  __m512i a[8], b[8];
  for (int i = 0; i < 8; ++i) a[i] = _mm512_load_si512(lines + i * step);
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm512_unpacklo_epi8(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi8(a[i], a[i + 1]);
  }
  for (int h = 0; h < 8; h += 4)
    for (int i = 0; i < 2; ++i) {
      a[h + 2 * i] = _mm512_unpacklo_epi16(b[h + i], b[h + 2 + i]);
      a[h + 2 * i + 1] = _mm512_unpackhi_epi16(b[h + i], b[h + 2 + i]);
    }
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = _mm512_unpacklo_epi32(a[i], a[4 + i]);
    b[2 * i + 1] = _mm512_unpackhi_epi32(a[i], a[4 + i]);
  }
  for (int i = 0; i < 8; ++i) _mm512_store_si512(words + 8 * i, b[i]);
}

// The other way: lines[t] is byte t of every word, by rows.
MLT_VBMI inline void turn_back(const uint64_t* words, __m512i (&lines)[8]) {
  __m512i a[8], b[8];
  const __m512i by_tree = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
  for (int i = 0; i < 8; ++i) a[i] = _mm512_shuffle_epi8(_mm512_load_si512(words + 8 * i), by_tree);
  for (int i = 0; i < 4; ++i) {
    b[i] = _mm512_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
    b[4 + i] = _mm512_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
  }
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm512_unpacklo_epi32(b[i], b[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(b[i], b[i + 1]);
  }
  for (int h = 0; h < 8; h += 4)
    for (int i = 0; i < 2; ++i) {
      lines[h + 2 * i] = _mm512_unpacklo_epi64(a[h + i], a[h + 2 + i]);
      lines[h + 2 * i + 1] = _mm512_unpackhi_epi64(a[h + i], a[h + 2 + i]);
    }
}

MLT_VBMI void pairs_vbmi(const uint64_t* pairs, int64_t count, const int8_t* rows, uint8_t* paths) noexcept {
  alignas(64) uint64_t at[kPairTrees / kEight * kBlock], right[kPairTrees / kEight * kBlock];
  const __m512i trees = _mm512_setr_epi64(0, kTreePairs, 2 * kTreePairs, 3 * kTreePairs, 4 * kTreePairs, 5 * kTreePairs, 6 * kTreePairs, 7 * kTreePairs);
  // The bits are of the node, of its left and of its right child.
  const __m512i way = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 1, 2, 0, 3, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0));
  const int64_t squares = count / kEight;
  for (int64_t first = 0; first < kTreeTile; first += kBlock) {
    for (int64_t s = 0; s < squares; ++s) turn(paths + s * kEight * kTreeTile + first, kTreeTile, at + s * kBlock);
    for (int64_t place = 0; place < kBlock; ++place) {
      const int8_t* row = rows + (first + row_at(place)) * kPairColumns;
      const __m512i low = _mm512_load_si512(row), high = _mm512_load_si512(row + 64);
      for (int64_t s = 0; s < squares; ++s) {
        const __m512i path = _mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at + s * kBlock + place)));
        const __m512i tests = _mm512_i64gather_epi64(_mm512_add_epi64(path, trees), pairs + s * kEight * kTreePairs, 8);
        const __m512i bins = _mm512_permutex2var_epi8(low, tests, high);
        _store_mask64(reinterpret_cast<__mmask64*>(right + s * kBlock + place),
                      _mm512_mask_cmpgt_epi8_mask(0x0707070707070707u, bins, _mm512_srli_epi64(tests, 32)));
      }
    }
    for (int64_t s = 0; s < squares; ++s) {
      __m512i bits[8];
      turn_back(right + s * kBlock, bits);
      for (int64_t t = 0; t < kEight; ++t) {
        uint8_t* path = paths + (s * kEight + t) * kTreeTile + first;
        const __m512i four = _mm512_slli_epi16(_mm512_load_si512(path), 2);  // below 64: nothing leaves its byte
        _mm512_store_si512(path, _mm512_or_si512(four, _mm512_shuffle_epi8(way, bits[t])));
      }
    }
  }
}

MLT_VBMI void pair_rows_vbmi(const int8_t* bins, int8_t* rows) noexcept {
  alignas(64) uint64_t words[kBlock];
  for (int64_t c = 0; c < kPairColumns; c += kEight)
    for (int64_t first = 0; first < kTreeTile; first += kBlock) {
      turn(reinterpret_cast<const uint8_t*>(bins) + c * kTreeTile + first, kTreeTile, words);
      for (int64_t place = 0; place < kBlock; ++place) std::memcpy(rows + (first + row_at(place)) * kPairColumns + c, words + place, kEight);
    }
}

}  // namespace

bool have_tree_pairs() noexcept { return __builtin_cpu_supports("avx512vbmi") != 0; }
void tree_pair_rows(const int8_t* bins, int8_t* rows) noexcept { pair_rows_vbmi(bins, rows); }
void tree_pairs(const uint64_t* pairs, int64_t count, const int8_t* rows, uint8_t* paths) noexcept { pairs_vbmi(pairs, count, rows, paths); }
#else
bool have_tree_pairs() noexcept { return false; }
void tree_pair_rows(const int8_t* /*bins*/, int8_t* /*rows*/) noexcept {}
void tree_pairs(const uint64_t* /*pairs*/, int64_t /*count*/, const int8_t* /*rows*/, uint8_t* /*paths*/) noexcept {}
#endif

}  // namespace mlt
