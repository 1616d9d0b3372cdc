// Linear quantization of weights, in the arithmetic of coremltools (optimize/_utils.py), so that codes, scales and zero
// points are the same: every step is rounded to the weight's own precision.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "lib/compress/grid.h"
#include "lib/compress/measure.h"

namespace mlt::compress {

struct LinearOptions {
  int bits = 8;  // 2 to 8
  bool is_signed = true;
  bool symmetric = true;
  bool half = false;  // values and scales are float16
};

// value = scale * (code - zero point). Codes are bytes: signed ones as two's complement.
struct LinearCodes {
  std::vector<uint8_t> codes;
  std::vector<float> scale;         // one per block of the grid; float16 values when `half`
  std::vector<uint8_t> zero_point;  // as many; all 0 for signed symmetric
  bool has_zero_point = false;      // false: symmetric to code 0
  bool is_signed = true, half = false;
  // The values that stand for elements [begin, end).
  void decode(const Grid& grid, size_t begin, size_t end, float* out) const;
};

// values: finite, row-major of the grid's extents.
LinearCodes quantize_linear(std::span<const float> values, const Grid& grid, const LinearOptions& options);

// The neural networks' form, value = code * scale + bias with codes from 0, in the arithmetic of coremltools'
// models/neural_network/quantization_utils.py.
struct AffineCodes {
  std::vector<uint8_t> codes;
  std::vector<float> scale, bias;
};
AffineCodes quantize_affine(std::span<const float> values, const Grid& grid, int bits, bool symmetric);

}  // namespace mlt::compress
