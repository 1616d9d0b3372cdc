// Internal: loops over one packed panel of low-bit weights.
//
// A panel holds nv vectors of columns. For each block of k: scales of its columns (float16 or float32), offsets likewise
// when there are any, then codes: 8 bits: for each k the columns' codes as signed bytes; 4 bits: for each 8 k, a 32-bit
// word per column whose j-th nibble belongs to k + j.
#pragma once
#include <cstdint>

namespace mlt {

enum class LowBitMode : uint8_t { kByte, kSigned, kUnsigned, kTable };  // the last three are nibbles

struct LowBitPanel {
  LowBitMode mode = LowBitMode::kByte;
  int nv = 0;
  int64_t block = 0, blocks = 0;  // k of a block; for nibbles a multiple of 8
  const uint8_t* data = nullptr;
  bool scaled = false, shifted = false, half = false;
  const float* tables = nullptr;  // 16 floats for each vector of columns, table_step apart; for all modes of nibbles
  int64_t table_step = 0;
  // Rows of A, zero-padded to blocks * block, and for shifted weights the sum of each block of each row.
  const float* x = nullptr;
  int64_t ldx = 0;
  const float* sums = nullptr;
  int64_t lds = 0;
  int rows = 0;          // at most kLowBitRows
  float* out = nullptr;  // [rows, nv * lanes]
};

inline constexpr int kLowBitRows = 4;

struct LowBitTarget {
  void (*product)(const LowBitPanel&) noexcept;
  // `count` elements of k of one block: values to out, [count, nv * lanes]. Nibbles: count is a multiple of 8.
  void (*expand)(const LowBitPanel&, const uint8_t* scales, const uint8_t* codes, int64_t count, float* out) noexcept;
};

}  // namespace mlt
