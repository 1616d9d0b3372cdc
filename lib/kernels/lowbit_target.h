// Internal: loops over one packed panel of low-bit weights.
//
// A panel holds nv vectors of columns. For each block of k: scales of its columns (float16 or float32), offsets likewise
// when there are any, then codes: 8 bits: for each k the columns' codes as signed bytes; 4 bits: for each 8 k, a 32-bit
// word per column whose j-th nibble belongs to k + j.
//
// Panels for dot products of bytes ("dot") hold codes that are whole numbers without their sign, `bias` added: 8 bits: for
// each 4 k, a word per column, a byte for each k; 4 bits: for each 8 k, a word whose bytes have k to k + 3 in their low
// nibbles and the next four in the high ones. They meet activations in fixed point: for each x_block elements of a block a
// scale, and kLowBitDigits planes of signed bytes, the lowest digits first.
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
  // Instead of x, for dot products. Rows of digits are digit_row bytes apart, of parts part_row elements.
  bool dot = false;
  float bias = 0;
  const int8_t* digits = nullptr;
  int64_t digit_plane = 0, digit_row = 0, x_block = 0, part_row = 0;
  const float* x_scale = nullptr;      // of each part
  const int32_t* starts = nullptr;     // of each part, kLowBitDigits: minus bias times the sum of its digits
  int rows = 0;          // at most kLowBitRows; of dot products, kLowBitDotRows
  float* out = nullptr;  // [rows, nv * lanes]
};

inline constexpr int kLowBitRows = 4, kLowBitDotRows = 2, kLowBitDigits = 3;

struct LowBitTarget {
  bool dot;
  // `count` activations, a multiple of 8, as digits: planes `plane` bytes apart, and sums of `sum` of each plane times -bias.
  // Returns the scale of the lowest digit. Less than 0 when fixed point cannot hold them: not finite, or all but 0.
  float (*digits)(const float* x, int64_t count, int32_t bias, int8_t* out, int64_t plane, int32_t* starts) noexcept;
  void (*product)(const LowBitPanel&) noexcept;
  // `count` elements of k of one block: values to out, [count, nv * lanes]. Nibbles: count is a multiple of 8.
  void (*expand)(const LowBitPanel&, const uint8_t* scales, const uint8_t* codes, int64_t count, float* out) noexcept;
};

}  // namespace mlt
