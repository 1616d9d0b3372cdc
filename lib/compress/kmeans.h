// K-means in one dimension. There the best clusters are intervals of the sorted values, so the optimum can be computed:
// dynamic programming over the end of each interval, whose row minima are monotone (SMAWK, Aggarwal et al. 1987). No
// random start, so nothing to seed.
#pragma once
#include <span>
#include <vector>

namespace mlt::compress {

// The centres, ascending, that minimise the sum of weight * squared distance to the nearest centre: min(k, number of
// points) of them. points: strictly ascending, finite, at most kMaxPoints; weights: positive; 1 <= k <= 256.
constexpr size_t kMaxPoints = 65536;
std::vector<double> optimal_centres(std::span<const double> points, std::span<const double> weights, int k);

// The same for values that may repeat: ascending, finite, any number. Exact up to kMaxPoints distinct values; beyond
// that the optimum of a fine histogram, then improved on the values themselves until nothing moves. weights: one for
// each value, or none: all alike.
std::vector<double> cluster_sorted(std::span<const float> values, int k, std::span<const float> weights = {});

// Index of the nearest centre; the lower one of two that are equally near. centres: ascending, not empty.
class NearestCentre {
 public:
  explicit NearestCentre(std::span<const double> centres);
  size_t operator()(double value) const;

 private:
  std::vector<double> thresholds_;  // between neighbours
};

}  // namespace mlt::compress
