// Resampling of two axes of images, nearest and linear, driven by tables: every framework's coordinate rule is a table.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace mlt {

// One axis: the inputs that each output index lies between.
struct ResizeAxis {
  int64_t in = 0;
  std::vector<int32_t> low;
  std::vector<int32_t> high;  // of linear ones: low + 1, or low at the end
  std::vector<float> weight;  // of high

  int64_t out() const noexcept { return static_cast<int64_t>(low.size()); }
  // From the input index of each output index, in [0, in).
  static ResizeAxis nearest(int64_t in, std::span<const int64_t> sources);
  // From the input position of each output index, in [0, in - 1]; others are clamped to it.
  static ResizeAxis linear(int64_t in, std::span<const double> positions);
};

// out[planes, y.out(), x.out()] of in[planes, y.in, x.in].
void resize_nearest(const float* in, float* out, int64_t planes, const ResizeAxis& y, const ResizeAxis& x) noexcept;
void resize_linear(const float* in, float* out, int64_t planes, const ResizeAxis& y, const ResizeAxis& x) noexcept;
// out[batch, y.out(), x.out(), channels] of in[batch, y.in, x.in, channels]; pitches are floats from pixel to pixel.
void resize_linear_nhwc(const float* in, int64_t in_pitch, float* out, int64_t pitch, int64_t batch, int64_t channels, const ResizeAxis& y,
                        const ResizeAxis& x) noexcept;

}  // namespace mlt
