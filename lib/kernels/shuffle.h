// Channel shuffles: of `groups` groups of `width` channels, channel j of group g becomes channel j * groups + g.
#pragma once
#include <cstdint>

namespace mlt {

// The shuffled channels [first, first + count) of images [batch, groups * width, pixels].
void shuffle_planes(const float* in, float* out, int64_t batch, int64_t groups, int64_t width, int64_t pixels, int64_t first, int64_t count) noexcept;

// The same of images [pixels, groups * width], for multiples of `groups`; pixels of `out` are `pitch` floats apart.
void shuffle_channels_nhwc(const float* in, float* out, int64_t pixels, int64_t groups, int64_t width, int64_t first, int64_t count, int64_t pitch) noexcept;

}  // namespace mlt
