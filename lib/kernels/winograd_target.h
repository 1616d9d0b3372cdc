// Internal: the transforms of Winograd's convolution F(4x4, 3x3) (Lavin and Gray, 2015): 36 products of transformed
// 6x6 input tiles with transformed kernels give 4x4 outputs, for a quarter of the multiplications. Points 0,
// +-sqrt(1/2), +-sqrt(2), infinity: in float32 a third of the error of 0, +-1, +-2, infinity.
#pragma once
#include <cstdint>

#include "lib/kernels/conv_target.h"
#include "lib/kernels/gemm_target.h"

namespace mlt {

// The tiles of rows [y0, y1) of the output's grid of tiles, all columns; the rows of one depth come after those of another.
struct WinogradBlock {
  const ConvGeometry* g = nullptr;
  int64_t tiles_across = 0, tiles_down = 0, y0 = 0, y1 = 0;
  int64_t tiles() const { return tiles_across * (y1 - y0); }
};

// A row of work: whole vectors of tiles may be read from any tile on.
inline int64_t winograd_row_floats(const WinogradBlock& b, int64_t lanes) {
  const int64_t tiles = b.tiles_across + 2 * lanes;
  return (4 * tiles + b.g->pad[2] + 8 + lanes + 15) / 16 * 16;
}

struct WinogradTarget {
  // One channel's planes, as tap `depth_tap` of the kernel's first axis meets them, to row `row` of each of the 36 matrices
  // [rows, tiles], which are packed as panels: element (position, tile) goes to
  // out[position * position_stride + first_column * rows + row * width + column]. `work` holds work_floats().
  void (*input)(const WinogradBlock& b, const float* in, int64_t depth_tap, const Panels& panels, int64_t row, int64_t rows,
                int64_t position_stride, float* out, float* work) noexcept;
  // One output channel, all its planes: element (position, tile) is at in[position * position_stride + tile].
  void (*output)(const WinogradBlock& b, const float* in, int64_t position_stride, float bias, const float* residual,
                 const Activation& f, float* out, float* work) noexcept;
  int lanes;
  int64_t work_floats(const WinogradBlock& b) const { return 7 * winograd_row_floats(b, lanes); }
};

// A 3x3 kernel, row by row, transformed for tiles of 4x4 or 2x2 outputs (of points 0, +-1, infinity): 36 or 16 values, row by row.
void winograd_kernel(int64_t side, const float* kernel, float* out) noexcept;

// Null where the target has none.
const WinogradTarget* winograd_target() noexcept;

}  // namespace mlt
