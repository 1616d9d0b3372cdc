// Convolutions whose im2col matrix costs more to make than its product saves: few output channels, or few input
// channels under a large kernel. The tile kernel reads its columns from a padded copy of some input rows instead, one
// offset for every row of the im2col matrix.
#include <algorithm>
#include <cstring>

#include "lib/kernels/conv_impl.h"
#include "lib/kernels/dispatch.h"

namespace mlt {
namespace {

// A padded strip stays in the second-level cache.
constexpr int64_t kStripFloats = 96 * 1024;
constexpr int64_t kMostStripFloats = int64_t{1} << 24;

// Row iy of a plane into `phases` rows of `length` floats: column x of the padded row at phase x % stride.
void pad_row(const ConvGeometry& g, const float* row, bool inside, int64_t length, float* out) noexcept {
  const int64_t stride = g.stride[2], left = g.pad[2], width = g.in[2];
  if (!inside) {
    std::fill_n(out, length * stride, 0.0f);
    return;
  }
  for (int64_t phase = 0; phase < stride; ++phase, out += length) {
    // Index i holds input column i * stride + phase - left.
    const int64_t first = std::min(length, phase >= left ? 0 : (left - phase + stride - 1) / stride);
    const int64_t room = width + left - phase;
    const int64_t last = std::clamp<int64_t>(room <= 0 ? 0 : (room + stride - 1) / stride, first, length);
    std::fill_n(out, first, 0.0f);
    const float* from = row + first * stride + phase - left;
    if (stride == 1) {
      if (last > first) std::memcpy(out + first, from, static_cast<size_t>(last - first) * sizeof(float));
    } else if (stride == 2) {
      for (int64_t i = 0; i < last - first; ++i) out[first + i] = from[2 * i];
    } else {
      for (int64_t i = 0; i < last - first; ++i) out[first + i] = from[i * stride];
    }
    std::fill_n(out + last, length - last, 0.0f);
  }
}

}  // namespace

bool ConvPlan::Impl::choose_direct() {
  if (g.taps() < 4 || g.kernel[0] != 1 || g.in[0] != 1 || g.out[0] != 1) return false;
  if (rows > 32 && g.channels > 4) return false;
  const Panels panels(g.out[2], *gemm);
  // Rows of output that leave lanes empty are better taken together, as pixels.
  if (4 * panels.padded_columns() > 5 * g.out[2]) return false;
  const PaddedPlane plane(g, conv->lanes);
  const int64_t span = g.dilation[1] * (g.kernel[1] - 1) + 1;
  const double least = static_cast<double>(g.channels) * static_cast<double>(plane.row) * static_cast<double>(span);
  if (least > static_cast<double>(kMostStripFloats)) return false;
  method = ConvMethod::kDirect;
  kernel_name = std::string("direct ") + gemm->name;
  const int64_t line = g.channels * plane.row, fitting = std::max<int64_t>(0, kStripFloats / line - span) / g.stride[1] + 1;
  // At least as many output rows as the kernel is high, or most of the work is copying; enough strips for the threads.
  strip_rows = std::clamp<int64_t>(std::max(fitting, g.kernel[1]), 1, g.out[1]);
  if (threads > 1) strip_rows = std::min(strip_rows, std::max<int64_t>(1, (g.out[1] + 4 * threads - 1) / (4 * threads)));
  if (static_cast<double>(line) * static_cast<double>(strip_input_rows()) > static_cast<double>(kMostStripFloats)) strip_rows = 1;
  const int64_t strip = strip_input_rows() * plane.row;
  offsets.resize(static_cast<size_t>(k));
  size_t at = 0;
  for (int64_t c = 0; c < g.channels; ++c)
    for (int64_t y = 0; y < g.kernel[1]; ++y)
      for (int64_t x = 0; x < g.kernel[2]; ++x) {
        const int64_t column = x * g.dilation[2];
        offsets[at++] = static_cast<int32_t>(c * strip + y * g.dilation[1] * plane.row + column % g.stride[2] * plane.phase +
                                             column / g.stride[2]);
      }
  return true;
}

int64_t ConvPlan::Impl::strip_input_rows() const {
  return (strip_rows - 1) * g.stride[1] + g.dilation[1] * (g.kernel[1] - 1) + 1;
}

void ConvPlan::Impl::run_direct(const float* in, float* out, const float* residual, float* scratch) const noexcept {
  const Panels panels(g.out[2], *gemm);
  const PaddedPlane plane(g, conv->lanes);
  const size_t slot_size = slot_floats();
  const int64_t strips = (g.out[1] + strip_rows - 1) / strip_rows, pixels = g.out_pixels(), strip = strip_input_rows() * plane.row;
  for_slots(std::min<int64_t>(threads, thread_count()), shape.batch * shape.groups * strips, [&](int64_t slot, int64_t item) {
    const int64_t image = item / strips, group = image % shape.groups;
    const int64_t y0 = item % strips * strip_rows, y1 = std::min(g.out[1], y0 + strip_rows);
    float* padded = scratch + static_cast<size_t>(slot) * slot_size;
    const int64_t first = y0 * g.stride[1] - g.pad[1];
    const int64_t lines = (y1 - y0 - 1) * g.stride[1] + g.dilation[1] * (g.kernel[1] - 1) + 1;
    for (int64_t c = 0; c < g.channels; ++c) {
      const float* x = in + (image * g.channels + c) * g.in_pixels();
      for (int64_t i = 0; i < lines; ++i) {
        const int64_t iy = first + i;
        const bool inside = iy >= 0 && iy < g.in[1];
        pad_row(g, inside ? x + iy * g.in[2] : x, inside, plane.phase, padded + c * strip + i * plane.row);
      }
    }
    for (int64_t k0 = 0; k0 < k; k0 += depth) {
      const int64_t kc = std::min(depth, k - k0);
      const bool last = k0 + kc == k;
      Tile t;
      t.k = kc;
      t.offsets = offsets.data() + k0;
      t.ldc = t.ldr = pixels;
      t.accumulate = k0 > 0;
      if (last) t.f = f;
      for (int64_t y = y0; y < y1; ++y)
        for (int64_t p = 0; p < panels.count; ++p) {
          const int64_t column = panels.first_column(p);
          t.nv = static_cast<int>(panels.width_in_vectors(p));
          t.cols = std::min<int64_t>(t.nv * panels.lanes, g.out[2] - column);
          t.b = padded + (y - y0) * g.stride[1] * plane.row + column;
          for (int64_t m = 0; m < rows; m += row_step) {
            const int64_t at = (image * rows + m) * pixels + y * g.out[2] + column;
            t.rows = static_cast<int>(std::min(row_step, rows - m));
            t.a = weights.data() + group * rows * k + rows * k0 + m * kc;
            t.bias_row = last ? bias.data() + group * rows + m : nullptr;
            t.c = out + at;
            t.residual = k0 == 0 && residual != nullptr ? residual + at : nullptr;
            gemm->gather(t);
          }
        }
    }
  });
}

}  // namespace mlt
