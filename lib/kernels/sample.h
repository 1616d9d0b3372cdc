// Images read at arbitrary positions, for all channels at once.
#pragma once
#include <cstdint>

#include "lib/base/threads.h"

namespace mlt {

// in[batch, channels, height, width], height * width <= INT32_MAX; out[batch, channels, points].
struct SampleShape {
  int64_t batch = 0, channels = 0, height = 0, width = 0, points = 0;
  bool nearest = false;  // otherwise bilinear
  float value = 0;       // of what is not there
};
// Where the n points from `first` of an image lie: row and column in pixels, from the centre of the first. Beyond a pixel
// outside, and where they are NaN, nothing but `value` is seen.
using PlacePoints = FunctionRef<void(int64_t image, int64_t first, int64_t n, double* rows, double* columns)>;

void sample_planes(const SampleShape& s, const float* in, PlacePoints place, float* out) noexcept;

}  // namespace mlt
