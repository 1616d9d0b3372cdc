#include "lib/generate/sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace mlt {

int64_t Sampler::choose(std::span<const float> scores) {
  int64_t best = -1;
  for (size_t i = 0; i < scores.size(); ++i)
    if (!std::isnan(scores[i]) && (best < 0 || scores[i] > scores[static_cast<size_t>(best)])) best = static_cast<int64_t>(i);
  if (options_.temperature <= 0 || best < 0) return best;
  double top = scores[static_cast<size_t>(best)];
  if (std::isinf(top)) return best;

  std::vector<int64_t> order;
  for (size_t i = 0; i < scores.size(); ++i)
    if (!std::isnan(scores[i]) && !std::isinf(scores[i])) order.push_back(static_cast<int64_t>(i));
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    float x = scores[static_cast<size_t>(a)], y = scores[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  });
  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(order.size())) order.resize(static_cast<size_t>(options_.top_k));
  std::vector<double> weights;
  for (int64_t id : order) weights.push_back(std::exp((static_cast<double>(scores[static_cast<size_t>(id)]) - top) / options_.temperature));
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (options_.top_p < 1) {
    double sum = 0;
    size_t kept = 0;
    while (kept < weights.size() && sum < options_.top_p * total) sum += weights[kept++];
    weights.resize(std::max<size_t>(kept, 1));
    total = std::accumulate(weights.begin(), weights.end(), 0.0);
  }
  state_ += 0x9E3779B97F4A7C15u;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  double at = static_cast<double>(z >> 11) * 0x1.0p-53 * total;
  for (size_t i = 0; i < weights.size(); ++i) {
    at -= weights[i];
    if (at < 0) return order[i];
  }
  return order[weights.size() - 1];
}

}  // namespace mlt
