#include "lib/compress/palettize.h"

#include <algorithm>

#include "lib/base/float16.h"
#include "lib/compress/kmeans.h"

namespace mlt::compress {

Palette palettize(std::span<const float> values, int bits, bool half) {
  std::vector<double> centres;
  if (half) {
    // Half-precision values are few: count instead of sorting. Index: order of the values, not of their bits.
    std::vector<double> counts(65536);
    auto order = [](uint16_t h) { return h & 0x8000u ? 0xffffu - h : h | 0x8000u; };
    for (float v : values) counts[order(float_to_half(v == 0 ? 0.0f : v))] += 1;
    std::vector<double> points, weights;
    for (uint32_t i = 0; i < counts.size(); ++i) {
      if (counts[i] == 0) continue;
      auto h = static_cast<uint16_t>(i & 0x8000u ? i & 0x7fffu : 0xffffu - i);
      points.push_back(half_to_float(h));
      weights.push_back(counts[i]);
    }
    centres = optimal_centres(points, weights, 1 << bits);
  } else {
    std::vector<float> sorted(values.begin(), values.end());
    std::sort(sorted.begin(), sorted.end());
    centres = cluster_sorted(sorted, 1 << bits);
  }
  for (double& c : centres) c = half ? static_cast<double>(round_to_half(static_cast<float>(c))) : static_cast<double>(static_cast<float>(c));
  centres.erase(std::unique(centres.begin(), centres.end()), centres.end());

  Palette out;
  out.table.resize(size_t{1} << bits);
  for (size_t i = 0; i < centres.size(); ++i) out.table[i] = static_cast<float>(centres[i]);
  out.codes.resize(values.size());
  NearestCentre nearest(centres);
  parallel_for(static_cast<int64_t>(values.size()), 4096, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) out.codes[i] = static_cast<uint8_t>(nearest(values[i]));
  });
  out.distance = measure(values, [&](size_t i) { return out.table[out.codes[i]]; });
  return out;
}

}  // namespace mlt::compress
