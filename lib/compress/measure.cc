#include "lib/compress/measure.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace mlt::compress {

Distance measure(std::span<const float> original, FunctionRef<void(size_t, size_t, float*)> decode) {
  constexpr size_t kChunk = 1 << 15;  // summed in order, whoever computes it
  struct Part {
    double max = 0, sum = 0, squares = 0, peak = 0;
  };
  std::vector<Part> parts((original.size() + kChunk - 1) / kChunk);
  parallel_for(static_cast<int64_t>(parts.size()), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> decoded(std::min(kChunk, original.size()));
    for (auto c = static_cast<size_t>(begin); c < static_cast<size_t>(end); ++c) {
      size_t first = c * kChunk, last = std::min(original.size(), first + kChunk);
      decode(first, last, decoded.data());
      Part part;
      for (size_t i = first; i < last; ++i) {
        double d = std::abs(static_cast<double>(decoded[i - first]) - static_cast<double>(original[i]));
        part.max = std::max(part.max, d);
        part.sum += d;
        part.squares += d * d;
        part.peak = std::max(part.peak, std::abs(static_cast<double>(original[i])));
      }
      parts[c] = part;
    }
  });
  Part all;
  for (const Part& part : parts) {
    all.max = std::max(all.max, part.max);
    all.sum += part.sum;
    all.squares += part.squares;
    all.peak = std::max(all.peak, part.peak);
  }
  Distance out;
  if (original.empty()) return out;
  double count = static_cast<double>(original.size());
  out.max = all.max;
  out.mean = all.sum / count;
  out.squared = all.squares / count;
  if (all.squares > 0) out.psnr = 10 * std::log10(all.peak * all.peak / (all.squares / count));
  return out;
}

}  // namespace mlt::compress
