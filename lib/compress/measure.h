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
  std::optional<double> psnr;  // dB: largest magnitude squared over mean squared difference; nothing when all are equal
};

// decoded(i): the value that stands for original[i]; called from all threads. The sums do not depend on their number.
Distance measure(std::span<const float> original, FunctionRef<float(size_t)> decoded);

}  // namespace mlt::compress
