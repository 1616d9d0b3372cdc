// Internal: one pixel's channel shuffle of one instruction set.
#pragma once
#include <cstdint>

namespace mlt {

// out[j * groups + g] = in[g * width + j] for j < count.
using ShuffleFn = void (*)(const float* in, int64_t groups, int64_t width, int64_t count, float* out) noexcept;

}  // namespace mlt
