// Pooling over 1 to 3 spatial axes, float32, NCHW.
#pragma once
#include <array>
#include <cstdint>

namespace mlt {

enum class Pool : uint8_t {
  kMax,      // padding never wins; a window with no element inside gives -infinity; NaN wins
  kAverage,  // a window with no element inside gives 0
  kL2,       // square root of the sum of squares
};

// Arrays hold `rank` entries, outermost spatial axis first. The output's size is the caller's: floor or ceil mode and
// "same" padding differ only there and in the pads. Padding behind the input follows from the output's size.
struct PoolShape {
  int rank = 2;
  int64_t batch = 1, channels = 1;
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1};
  std::array<int64_t, 3> pad_before{0, 0, 0};
  // Average with padding counted divides by the window's size clipped to [-pad_before, in + pad_after); pad_after is
  // used for this alone.
  bool count_padding = false;
  std::array<int64_t, 3> pad_after{0, 0, 0};
};

void pool(Pool op, const PoolShape& shape, const float* in, float* out) noexcept;

// Over all `inner` elements of each of `outer` rows: out[outer].
void global_pool(Pool op, const float* in, float* out, int64_t outer, int64_t inner) noexcept;

}  // namespace mlt
