// Linear quantization of weights to eight bits, in the arithmetic of coremltools (optimize/_utils.py), so that codes,
// scales and zero points are the same: every step is rounded to the weight's own precision.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "lib/compress/measure.h"
#include "lib/tensor/tensor.h"

namespace mlt::compress {

struct LinearOptions {
  bool is_signed = true;
  bool symmetric = true;
  int axis = -1;      // a scale for each slice along it; -1: one for all
  bool half = false;  // values and scales are float16
};

// value = scale * (code - zero point). Codes are bytes: int8 as two's complement.
struct LinearCodes {
  std::vector<uint8_t> codes;
  std::vector<float> scale;        // one, or one per slice; float16 values when `half`
  std::vector<uint8_t> zero_point; // as many; all 0 for signed symmetric
  bool has_zero_point = false;     // false: symmetric to code 0
  Distance distance;
};

// values: finite, row-major of extents dims. axis: below the rank.
LinearCodes quantize_linear(std::span<const float> values, const Dims& dims, const LinearOptions& options);

// The neural networks' form, value = code * scale + bias with codes from 0, in the arithmetic of coremltools'
// models/neural_network/quantization_utils.py.
struct AffineCodes {
  std::vector<uint8_t> codes;
  std::vector<float> scale, bias;
  Distance distance;
};
AffineCodes quantize_affine(std::span<const float> values, const Dims& dims, int axis, bool symmetric);

}  // namespace mlt::compress
