// Internal: loops over channels of one instruction set, for nhwc.h.
#pragma once
#include <cstdint>

#include "lib/kernels/elementwise.h"

namespace mlt {

// One row of outputs of a depthwise convolution.
struct DepthwiseRow {
  const float* in = nullptr;  // [h, w], one image
  int64_t h = 0, w = 0, channels = 0;
  int64_t step = 0;           // from one pixel, or tap of the weights, to the next: `channels` may be a part of them
  const float* weights = nullptr;  // [kh, kw]
  int64_t kernel_h = 0, kernel_w = 0, stride = 1, dilation_h = 1, dilation_w = 1;  // stride along the row
  int64_t top = 0, left = 0;  // input coordinates of the first output's first tap
  const float* bias = nullptr;      // [channels]
  const float* residual = nullptr;  // [count] pixels, `step` apart, or null
  float* out = nullptr;             // [count] pixels, `pitch` apart
  int64_t pitch = 0, count = 0;
  Activation f{};
};

// One pooled row: outputs [count, channels]; rows of the input under the window, and for each output its columns.
struct PoolRow {
  const float* const* rows = nullptr;  // `row_count` of them, each [w, channels]
  int64_t row_count = 0, w = 0, channels = 0;
  int64_t kernel = 0, stride = 1, dilation = 1, left = 0;  // as DepthwiseRow
  bool average = false;
  const float* divisors = nullptr;  // average: for each output
  float* out = nullptr;
  int64_t count = 0;
};

// Winograd's F(4x4, 3x3), transforms as in winograd_target.h, and F(2x2, 3x3): `side` is 4 or 2.
struct NhwcTarget {
  void (*depthwise)(const DepthwiseRow& r) noexcept;
  void (*pool)(const PoolRow& r) noexcept;
  void (*scale_bias)(const float* in, float* out, int64_t channels, const float* scale, const float* bias) noexcept;
  // (side + 2)^2 pixels of one tile, row by row, to out[position * stride + c]. Null where the target has none, as `tile_out`.
  void (*tile_in)(int64_t side, const float* const* pixels, int64_t channels, float* out, int64_t stride) noexcept;
  // in[position * stride + c] to side^2 pixels, row by row, null where the output ends; residuals likewise, or null.
  void (*tile_out)(int64_t side, const float* in, int64_t stride, int64_t channels, const float* bias, const float* const* residuals,
                   const Activation& f, float* const* pixels) noexcept;
  int lanes;
};

const NhwcTarget& nhwc_target() noexcept;

}  // namespace mlt
