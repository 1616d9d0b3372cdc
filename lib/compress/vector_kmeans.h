// K-means of short vectors: Lloyd's rounds from the best of a few seeded starts (k-means++, Arthur and Vassilvitskii 2007)
// on an even sample. The seed is fixed, so equal points give equal centres, at any number of threads.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace mlt::compress {

// points: count * width numbers, finite; 1 <= k <= 256. Returns min(k, count) * width numbers.
std::vector<float> cluster_vectors(std::span<const float> points, int width, int k);

// The nearest centre of each point; the first of several that are equally near.
std::vector<uint8_t> nearest_vectors(std::span<const float> points, int width, std::span<const float> centres);

}  // namespace mlt::compress
