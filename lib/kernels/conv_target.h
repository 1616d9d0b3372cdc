// Internal: what a convolution needs of an instruction set besides the tile kernel of gemm_target.h.
#pragma once
#include <cstdint>

#include "lib/kernels/conv.h"

namespace mlt {

// One image and one group, spatial axes padded to three (d, h, w) with leading ones.
struct ConvGeometry {
  int64_t channels = 1;  // of the input, in this group
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1}, pad{0, 0, 0};
  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t in_pixels() const { return in[0] * in[1] * in[2]; }
  int64_t out_pixels() const { return out[0] * out[1] * out[2]; }
};

// kUsage when the shape is not valid or too large.
Result<ConvGeometry> convolution_geometry(const ConvShape& shape);

// One plane of a depthwise convolution: `in` is a padded copy made by the target itself in `scratch`.
struct DepthwisePlane {
  const ConvGeometry* g = nullptr;
  const float* in = nullptr;       // [h, w]
  const float* weights = nullptr;  // [kh, kw]
  float bias = 0;
  const float* residual = nullptr;  // [oh, ow] or null
  float* out = nullptr;
  float* scratch = nullptr;
  Activation f{};
};

struct ConvTarget {
  // Rows of the im2col matrix, k = channel * taps + tap, for channels [c0, c1) and the output pixels [p0, p0 + cols),
  // zero-padded to `width` columns: out[(k - c0 * taps) * width + j].
  void (*pack)(const ConvGeometry& g, const float* in, int64_t c0, int64_t c1, int64_t p0, int64_t cols,
               int64_t width, float* out) noexcept;
  void (*depthwise)(const DepthwisePlane& p) noexcept;
  int lanes;
};

const ConvTarget& conv_target() noexcept;

// A padded plane's rows are split by column into `stride` phases so that every tap reads adjacent floats:
// column x of the padded row is at phase x % stride, index x / stride.
struct PaddedPlane {
  PaddedPlane(const ConvGeometry& g, int lanes) {
    rows = (g.out[1] - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1;
    // Whole vectors are read from the last output column's tap on, and written a little further.
    const int64_t needed = (g.out[2] + lanes - 1) / lanes * lanes + (g.kernel[2] - 1) * g.dilation[2] / g.stride[2] + 1;
    phase = (needed + lanes - 1) / lanes * lanes + lanes;
    row = phase * g.stride[2];
  }
  size_t floats() const { return static_cast<size_t>(rows * row); }
  int64_t rows = 0, phase = 0, row = 0;
};

// Walks the taps over pixels [p0, p0 + cols): zero(tap, offset, length) where a tap falls outside the input,
// copy(tap, offset, length, source) where `length` columns starting at `offset` of the panel read source,
// source + stride, ... of every channel's plane; source is an offset into the plane.
template <typename Zero, typename Copy>
inline void walk_im2col(const ConvGeometry& g, int64_t p0, int64_t cols, const Zero& zero, const Copy& copy) {
  const int64_t ow = g.out[2], stride = g.stride[2];
  // Divisions are slow, and strides are nearly always 1 or 2.
  const auto over_stride = [stride](int64_t v) { return stride == 1 ? v : stride == 2 ? v >> 1 : v / stride; };
  const int64_t line = p0 / ow, start_x = p0 - line * ow, start_z = g.out[0] == 1 ? 0 : line / g.out[1];
  const int64_t start_y = line - start_z * g.out[1];
  int64_t tap = 0;
  for (int64_t kz = 0; kz < g.kernel[0]; ++kz)
    for (int64_t ky = 0; ky < g.kernel[1]; ++ky)
      for (int64_t kx = 0; kx < g.kernel[2]; ++kx, ++tap) {
        const int64_t shift = kx * g.dilation[2] - g.pad[2];  // ix = ox * stride + shift
        // [first, last) of an output row reads inside the input row.
        const int64_t first = shift >= 0 ? 0 : over_stride(-shift + stride - 1);
        const int64_t last = g.in[2] - 1 - shift < 0 ? 0 : over_stride(g.in[2] - 1 - shift) + 1;
        int64_t ox0 = start_x, oy = start_y, oz = start_z;
        for (int64_t j = 0; j < cols;) {
          const int64_t ox1 = ow - ox0 < cols - j ? ow : ox0 + cols - j;
          const int64_t iy = oy * g.stride[1] + ky * g.dilation[1] - g.pad[1];
          const int64_t iz = oz * g.stride[0] + kz * g.dilation[0] - g.pad[0];
          int64_t lo = ox1, hi = ox1;
          if (iy >= 0 && iy < g.in[1] && iz >= 0 && iz < g.in[0]) {
            lo = first < ox0 ? ox0 : first > ox1 ? ox1 : first;
            hi = last < lo ? lo : last > ox1 ? ox1 : last;
          }
          if (lo > ox0) zero(tap, j, lo - ox0);
          if (hi > lo) copy(tap, j + lo - ox0, hi - lo, (iz * g.in[1] + iy) * g.in[2] + lo * stride + shift);
          if (ox1 > hi) zero(tap, j + hi - ox0, ox1 - hi);
          j += ox1 - ox0;
          ox0 = 0;
          if (++oy == g.out[1]) oy = 0, ++oz;
        }
      }
}

}  // namespace mlt
