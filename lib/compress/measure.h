// How far a compressed weight is from the original.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "lib/base/threads.h"

namespace mlt::compress {

struct Distance {
  double max = 0, mean = 0;    // of absolute differences
  double squared = 0;          // mean squared difference
  std::optional<double> psnr;  // dB: largest magnitude squared over mean squared difference; nothing when all are equal
};

// decode(begin, end, out): writes the values that stand for original[begin, end) to out[0, end - begin); called from all
// threads. The sums do not depend on their number.
Distance measure(std::span<const float> original, FunctionRef<void(size_t, size_t, float*)> decode);

}  // namespace mlt::compress
