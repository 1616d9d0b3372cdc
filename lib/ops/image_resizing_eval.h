// Sampling grids and interpolation of the image resizing ops; image_resizing.cc holds their rows and shape rules.
#pragma once
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/tensor/tensor.h"

namespace mlt::ops {

class Call;

// kInput for a target extent below 1.
Status check_target(int64_t extent);
// Pixels to read from must exist on the resized axes.
Status check_source(const Dims& x, size_t first_axis);

// How n points are laid over [0, length] (length is an extent less one). Source: SamplingMode in NeuralNetwork.proto and
// resize_bilinear in coremltools.
enum class Sampling { kDefault, kStrictAlignCorners, kAlignCorners, kOffsetCorners, kUnalignCorners };
Result<Sampling> sampling_from_name(const std::string& name);
std::vector<double> sample_grid(Sampling sampling, double length, int64_t n);

// x with the extent of each axis replaced: axis a is read at the positions grids[a] (empty: unchanged) with linear
// interpolation. Positions must lie in [0, extent - 1].
Tensor interpolate_linear(const Tensor& x, const std::vector<std::vector<double>>& grids);
// The same by index: sources[a][i] is where position i of axis a comes from. Any element type of 4 bytes.
Tensor gather_axes(const Tensor& x, const std::vector<std::vector<int64_t>>& sources);

// Index of the nearest source for each of n positions: by the centers of pixels, floor((i + 1/2) * extent / n), or by
// their corners, floor(i * extent / n).
std::vector<int64_t> nearest_by_center(int64_t extent, int64_t n);
std::vector<int64_t> nearest_by_corner(int64_t extent, int64_t n);

// What lies outside an image.
enum class Border { kConstant, kClamp, kReflect, kSymmetric };
struct PixelSampler {
  const float* plane;  // [height, width]
  int64_t height, width;
  Border border;
  float value;  // kConstant
  float at(int64_t row, int64_t column) const {
    return row < 0 || row >= height || column < 0 || column >= width ? value : plane[row * width + column];
  }
};
// Moves a coordinate into [0, extent - 1] as the border says; kConstant leaves it.
double fold_coordinate(double v, int64_t extent, Border border);
// How resample reads the points it is given; image_sampling.cc.
struct ResampleRule {
  enum class Coordinates { kPixels, kMinusOneToOne, kZeroToOne };
  Border border = Border::kConstant;
  Coordinates mode = Coordinates::kPixels;
  bool align_corners = false, nearest = false;
  float value = 0;
  // A given coordinate as a position among the pixels' centers.
  double to_pixel(double v, int64_t extent) const;
};
Result<ResampleRule> resample_rule(Call& call);
float sample_bilinear(const PixelSampler& image, double row, double column);
float sample_nearest(const PixelSampler& image, double row, double column);

}  // namespace mlt::ops
