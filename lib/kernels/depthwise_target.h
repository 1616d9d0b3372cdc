// Internal: loops of one instruction set for depthwise_block.h and gated_product.h.
#pragma once
#include <cstdint>

#include "lib/kernels/elementwise.h"

namespace mlt {

// Some rows of a depthwise convolution whose input rows are padded copies, of a panel of channels: whole vectors.
struct DepthwiseBand {
  int kernel = 3, stride = 1;          // of both axes; kernel 3 or 5, stride 1 or 2
  const float* const* rows = nullptr;  // (count_y - 1) * stride + (kernel - 1) * row_step + 1 of them
  int64_t row_step = 1;                // from tap to tap
  int64_t offset = 0, step = 0;        // in a row: where the first output's window begins, and floats from pixel to pixel
  int64_t width = 0;                   // of the panel
  const float* weights = nullptr;      // [kernel, kernel, width]
  const float* bias = nullptr;         // [width]
  int64_t channels = 0;                // of them stored, at most `width`
  float* out = nullptr;
  int64_t pitch = 0, row_pitch = 0;     // floats from pixel to pixel and from row to row
  int64_t count_y = 0, count_x = 0;     // outputs
  Activation f{};
};

// out = f(parts[0] + parts[1] + ... + bias + residual), of `count` pixels.
struct PartSums {
  const float* parts = nullptr;
  int64_t part_count = 0, part_step = 0;
  const float* bias = nullptr;      // [channels]
  const float* residual = nullptr;  // dense as the parts, or null
  float* out = nullptr;
  int64_t pitch = 0, channels = 0, count = 0;
  Activation f{};
};

struct DepthwiseTarget {
  void (*band)(const DepthwiseBand& b) noexcept;
  void (*combine)(const PartSums& s) noexcept;
  // out[c] = the sum of in[i * pitch + c] over `count` pixels, in their order.
  void (*sum)(const float* in, int64_t pitch, int64_t count, int64_t channels, float* out) noexcept;
  // out[i * width + j] = in[i * width + j] * scale[i]; `width` in whole vectors.
  void (*scale)(const float* in, int64_t width, int64_t rows, const float* scale, float* out) noexcept;
};

const DepthwiseTarget& depthwise_target() noexcept;

}  // namespace mlt
