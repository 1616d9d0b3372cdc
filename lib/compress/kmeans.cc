#include "lib/compress/kmeans.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace mlt::compress {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr size_t kHistogramCuts = 8192;
constexpr int kMaxRounds = 1000;

// Leftmost row minima of a totally monotone matrix. rows and columns: indices, ascending. argmin: by row index.
template <typename Value>
void row_minima(const std::vector<uint32_t>& rows, const std::vector<uint32_t>& columns, const Value& value, std::vector<uint32_t>& argmin) {
  if (rows.empty()) return;
  // Keep at most as many columns as rows.
  std::vector<uint32_t> kept;
  for (uint32_t column : columns) {
    while (!kept.empty() && value(rows[kept.size() - 1], kept.back()) > value(rows[kept.size() - 1], column)) kept.pop_back();
    if (kept.size() < rows.size()) kept.push_back(column);
  }
  std::vector<uint32_t> odd;
  for (size_t i = 1; i < rows.size(); i += 2) odd.push_back(rows[i]);
  row_minima(odd, kept, value, argmin);
  // Minima of the other rows lie between those of their neighbours.
  size_t at = 0;
  for (size_t i = 0; i < rows.size(); i += 2) {
    uint32_t last = i + 1 < rows.size() ? argmin[rows[i + 1]] : kept.back();
    uint32_t best = kept[at];
    double least = value(rows[i], best);
    while (kept[at] != last) {
      ++at;
      double v = value(rows[i], kept[at]);
      if (v < least) {
        least = v;
        best = kept[at];
      }
    }
    argmin[rows[i]] = best;
  }
}

// Sums of weight, weight * x and weight * x^2 of every interval of points, in constant time.
class Intervals {
 public:
  Intervals(std::span<const double> points, std::span<const double> weights) : w_(points.size() + 1), x_(w_), xx_(w_) {
    // Relative to the middle, so that squares do not cancel.
    shift_ = points.empty() ? 0 : points[points.size() / 2];
    for (size_t i = 0; i < points.size(); ++i) {
      double x = points[i] - shift_;
      w_[i + 1] = w_[i] + weights[i];
      x_[i + 1] = x_[i] + weights[i] * x;
      xx_[i + 1] = xx_[i] + weights[i] * x * x;
    }
  }
  // Points first..last, both included.
  double cost(size_t first, size_t last) const {
    double w = w_[last + 1] - w_[first], x = x_[last + 1] - x_[first];
    return std::max(0.0, xx_[last + 1] - xx_[first] - x * x / w);
  }
  double mean(size_t first, size_t last) const { return shift_ + (x_[last + 1] - x_[first]) / (w_[last + 1] - w_[first]); }

 private:
  double shift_;
  std::vector<double> w_, x_, xx_;
};

// Centres become means of their points, points go to the nearest centre, until nothing moves.
void settle(std::span<const float> values, std::span<const float> weights, std::vector<double>& centres) {
  std::vector<double> sums(values.size() + 1), counts(weights.empty() ? 0 : values.size() + 1);
  double shift = values[values.size() / 2];
  for (size_t i = 0; i < values.size(); ++i) {
    double weight = weights.empty() ? 1 : static_cast<double>(weights[i]);
    sums[i + 1] = sums[i] + weight * (static_cast<double>(values[i]) - shift);
    if (!weights.empty()) counts[i + 1] = counts[i] + weight;
  }
  auto count = [&](size_t begin, size_t end) { return weights.empty() ? static_cast<double>(end - begin) : counts[end] - counts[begin]; };
  std::vector<size_t> ends(centres.size()), before;
  for (int round = 0; round < kMaxRounds; ++round) {
    for (size_t c = 0; c + 1 < centres.size(); ++c) {
      double middle = (centres[c] + centres[c + 1]) / 2;
      ends[c] = static_cast<size_t>(std::upper_bound(values.begin(), values.end(), middle, [](double m, float v) { return m < static_cast<double>(v); }) - values.begin());
    }
    ends.back() = values.size();
    if (ends == before) return;
    before = ends;
    size_t begin = 0;
    for (size_t c = 0; c < centres.size(); ++c) {
      if (ends[c] > begin && count(begin, ends[c]) > 0) centres[c] = shift + (sums[ends[c]] - sums[begin]) / count(begin, ends[c]);
      begin = std::max(begin, ends[c]);
    }
  }
}

}  // namespace

std::vector<double> optimal_centres(std::span<const double> points, std::span<const double> weights, int k) {
  size_t n = points.size();
  if (n <= static_cast<size_t>(k)) return {points.begin(), points.end()};
  Intervals intervals(points, weights);
  // best[i]: least cost of the points up to i in as many clusters as there were layers.
  std::vector<double> best(n), next(n);
  for (size_t i = 0; i < n; ++i) best[i] = intervals.cost(0, i);
  std::vector<std::vector<uint16_t>> first(static_cast<size_t>(k));  // of the last cluster, when points up to i are in layer + 1 clusters
  std::vector<uint32_t> argmin(n), range;
  for (size_t layer = 1; layer < static_cast<size_t>(k); ++layer) {
    auto value = [&](uint32_t last, uint32_t begin) { return begin > last ? kInfinity : best[begin - 1] + intervals.cost(begin, last); };
    range.clear();
    for (size_t i = layer; i < n; ++i) range.push_back(static_cast<uint32_t>(i));
    row_minima(range, range, value, argmin);
    for (uint32_t i : range) next[i] = value(i, argmin[i]);
    std::fill(next.begin(), next.begin() + static_cast<std::ptrdiff_t>(layer), kInfinity);
    first[layer].assign(n, 0);
    for (uint32_t i : range) first[layer][i] = static_cast<uint16_t>(argmin[i]);
    std::swap(best, next);
  }
  std::vector<double> centres(static_cast<size_t>(k));
  size_t last = n - 1;
  for (size_t layer = static_cast<size_t>(k); layer-- > 0;) {
    size_t begin = layer == 0 ? 0 : first[layer][last];
    centres[layer] = intervals.mean(begin, last);
    if (layer > 0) last = begin - 1;
  }
  return centres;
}

std::vector<double> cluster_sorted(std::span<const float> values, int k, std::span<const float> weights) {
  if (values.empty()) return {};
  size_t distinct = 1;
  for (size_t i = 1; i < values.size(); ++i) distinct += values[i] != values[i - 1] ? 1 : 0;
  // Buckets end at every distinct value, or else where one of two grids is crossed: one of equal counts, which resolves
  // where values are dense, and one of equal widths, which resolves the tails.
  bool exact = distinct <= kMaxPoints;
  double low = values.front(), high = values.back();
  double per_count = static_cast<double>(kHistogramCuts) / static_cast<double>(values.size());
  double per_width = exact ? 0 : static_cast<double>(kHistogramCuts) / (high - low);
  std::vector<double> points, masses;
  size_t begin = 0;
  double sum = 0, mass = 0, origin = values.front();
  for (size_t i = 0; i < values.size(); ++i) {
    double here = values[i];
    double weight = weights.empty() ? 1 : static_cast<double>(weights[i]);
    mass += weight;
    sum += weight * (here - origin);
    bool last = i + 1 == values.size();
    bool ends = last || values[i + 1] != values[i];
    if (ends && !last && !exact)
      ends = std::floor(static_cast<double>(begin) * per_count) != std::floor(static_cast<double>(i + 1) * per_count) ||
             std::floor((origin - low) * per_width) != std::floor((static_cast<double>(values[i + 1]) - low) * per_width);
    if (!ends) continue;
    points.push_back(exact || mass <= 0 ? here : origin + sum / mass);
    masses.push_back(std::max(mass, 1e-300));
    begin = i + 1;
    sum = mass = 0;
    if (!last) origin = values[i + 1];
  }
  std::vector<double> centres = optimal_centres(points, masses, k);
  if (!exact) settle(values, weights, centres);
  return centres;
}

NearestCentre::NearestCentre(std::span<const double> centres) {
  for (size_t i = 0; i + 1 < centres.size(); ++i) thresholds_.push_back((centres[i] + centres[i + 1]) / 2);
}

size_t NearestCentre::operator()(double value) const {
  return static_cast<size_t>(std::lower_bound(thresholds_.begin(), thresholds_.end(), value) - thresholds_.begin());
}

}  // namespace mlt::compress
