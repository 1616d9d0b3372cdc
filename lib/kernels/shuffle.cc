#include "lib/kernels/shuffle.h"

#include <cstring>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/shuffle_target.h"

namespace mlt {

ShuffleFn shuffle_simd();

namespace {

void shuffle_reference(const float* in, int64_t groups, int64_t width, int64_t count, float* out) noexcept {
  for (int64_t j = 0; j < count; ++j)
    for (int64_t g = 0; g < groups; ++g) out[j * groups + g] = in[g * width + j];
}

}  // namespace

void shuffle_planes(const float* in, float* out, int64_t batch, int64_t groups, int64_t width, int64_t pixels, int64_t first, int64_t count) noexcept {
  parallel_for(batch * count, grain_for(pixels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t channel = first + i % count, from = channel % groups * width + channel / groups;
      std::memcpy(out + i * pixels, in + (i / count * groups * width + from) * pixels, static_cast<size_t>(pixels) * sizeof(float));
    }
  });
}

void shuffle_channels_nhwc(const float* in, float* out, int64_t pixels, int64_t groups, int64_t width, int64_t first, int64_t count, int64_t pitch) noexcept {
  const ShuffleFn shuffle = use_reference() || shuffle_simd() == nullptr ? shuffle_reference : shuffle_simd();
  parallel_for(pixels, grain_for(2 * count), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) shuffle(in + i * groups * width + first / groups, groups, width, count / groups, out + i * pitch);
  });
}

}  // namespace mlt
