#include "lib/compress/kmeans.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "lib/base/float16.h"
#include "lib/compress/palettize.h"

namespace {

using namespace mlt;
using namespace mlt::compress;

double cost(std::span<const double> points, std::span<const double> weights, const std::vector<double>& centres) {
  double sum = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    for (double c : centres) least = std::min(least, (points[i] - c) * (points[i] - c));
    sum += weights[i] * least;
  }
  return sum;
}

// The plain recurrence, in cubic time.
double least_cost(std::span<const double> points, std::span<const double> weights, int k) {
  size_t n = points.size();
  auto interval = [&](size_t a, size_t b) {
    double w = 0, m = 0, s = 0;
    for (size_t i = a; i <= b; ++i) w += weights[i], m += weights[i] * points[i];
    m /= w;
    for (size_t i = a; i <= b; ++i) s += weights[i] * (points[i] - m) * (points[i] - m);
    return s;
  };
  std::vector<double> best(n);
  for (size_t i = 0; i < n; ++i) best[i] = interval(0, i);
  for (int layer = 1; layer < k; ++layer) {
    std::vector<double> next(n);
    for (size_t i = 0; i < n; ++i) {
      next[i] = best[i];
      for (size_t j = 1; j <= i; ++j) next[i] = std::min(next[i], best[j - 1] + interval(j, i));
    }
    best = next;
  }
  return best[n - 1];
}

TEST_CASE("clusters are optimal") {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    size_t n = 1 + random() % 40;
    std::vector<double> points, weights;
    double at = -3;
    for (size_t i = 0; i < n; ++i) {
      at += 0.001 + static_cast<double>(random() % 1000) / (random() % 7 == 0 ? 20.0 : 900.0);
      points.push_back(at);
      weights.push_back(1 + static_cast<double>(random() % 9));
    }
    for (int k : {1, 2, 3, 4, 8, 16}) {
      auto centres = optimal_centres(points, weights, k);
      CHECK(centres.size() == std::min<size_t>(n, static_cast<size_t>(k)));
      CHECK(std::is_sorted(centres.begin(), centres.end()));
      CHECK(cost(points, weights, centres) == doctest::Approx(least_cost(points, weights, k)).epsilon(1e-9));
    }
  }
}

TEST_CASE("far from zero, squares do not cancel") {
  std::vector<double> points, weights(8, 1.0);
  for (int i = 0; i < 8; ++i) points.push_back(1e6 + (i < 4 ? 0 : 1) + i * 1e-3);
  auto centres = optimal_centres(points, weights, 2);
  CHECK(centres[0] == doctest::Approx(1e6 + 0.0015).epsilon(1e-12));
  CHECK(centres[1] == doctest::Approx(1e6 + 1.0055).epsilon(1e-12));
}

TEST_CASE("more distinct values than the exact method takes: nearly as good as exact, and a fixed point") {
  std::mt19937 random(3);
  std::vector<float> values;
  for (int i = 0; i < 100000; ++i) {
    double u = 0;  // bell-shaped, without a library's distribution, which differs between systems
    for (int j = 0; j < 6; ++j) u += static_cast<double>(random()) / 4294967296.0;
    values.push_back(static_cast<float>((u - 3) * (i % 1000 == 0 ? 4 : 0.1)));
  }
  std::sort(values.begin(), values.end());
  for (int k : {2, 16}) {
    auto centres = cluster_sorted(values, k);
    std::vector<double> ones, rounded;
    // Exact on values rounded to 60,000 steps.
    for (float v : values) {
      double r = std::nearbyint(static_cast<double>(v) * 2500) / 2500;
      if (rounded.empty() || rounded.back() != r) rounded.push_back(r), ones.push_back(0);
      ones.back() += 1;
    }
    REQUIRE(rounded.size() <= kMaxPoints);
    std::vector<double> all(values.begin(), values.end()), unit(values.size(), 1.0);
    CHECK(cost(all, unit, centres) <= cost(all, unit, optimal_centres(rounded, ones, k)) * 1.0005);
    NearestCentre nearest(centres);
    std::vector<double> sums(centres.size()), counts(centres.size());
    for (float v : values) sums[nearest(v)] += v, counts[nearest(v)] += 1;
    for (size_t c = 0; c < centres.size(); ++c) CHECK(sums[c] / counts[c] == doctest::Approx(centres[c]).epsilon(1e-6));
  }
}

TEST_CASE("the nearest centre; the lower one when two are equally near") {
  std::vector<double> centres = {-1, 0, 2};
  NearestCentre nearest(centres);
  CHECK(nearest(-50) == 0);
  CHECK(nearest(-0.5) == 0);
  CHECK(nearest(-0.49) == 1);
  CHECK(nearest(1) == 1);
  CHECK(nearest(1.01) == 2);
  CHECK(NearestCentre(std::vector<double>{5})(0) == 0);
}

TEST_CASE("palettes: few values are kept exactly, unused entries are zero") {
  std::vector<float> values = {3, -1, 3, 0, -1, -0.0f};
  for (bool half : {false, true}) {
    PaletteCodes palette = *palettize(values, {static_cast<int64_t>(values.size())}, {.bits = 2, .half = half});
    CHECK(palette.tables == std::vector<float>{-1, 0, 3, 0});
    CHECK(palette.codes == std::vector<uint8_t>{2, 0, 2, 1, 0, 1});
    std::vector<float> decoded(6);
    palette.decode(0, 6, decoded.data());
    CHECK(decoded == std::vector<float>{3, -1, 3, 0, -1, 0});
  }
}

TEST_CASE("palettes of half-precision weights hold half-precision values") {
  std::vector<float> values;
  for (int i = 0; i < 5000; ++i) values.push_back(round_to_half(std::sin(static_cast<float>(i * i)) * 0.3f));
  for (int bits : {1, 2, 3, 4, 6, 8}) {
    PaletteCodes palette = *palettize(values, {static_cast<int64_t>(values.size())}, {.bits = bits, .half = true});
    REQUIRE(palette.tables.size() == size_t{1} << bits);
    for (float v : palette.tables) CHECK(round_to_half(v) == v);
    double worst = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      REQUIRE(palette.codes[i] < palette.tables.size());
      worst = std::max(worst, std::abs(static_cast<double>(palette.tables[palette.codes[i]]) - static_cast<double>(values[i])));
    }
    CHECK(worst <= 0.45 / (1 << bits) + 0.01);
  }
}

TEST_CASE("results do not depend on the number of threads") {
  std::vector<float> values;
  for (int i = 0; i < 200000; ++i) values.push_back(std::sin(static_cast<float>(i)) * static_cast<float>(i % 977));
  set_thread_count(1);
  PaletteCodes one = *palettize(values, {static_cast<int64_t>(values.size())}, {.bits = 4});
  set_thread_count(5);
  PaletteCodes five = *palettize(values, {static_cast<int64_t>(values.size())}, {.bits = 4});
  set_thread_count(0);
  CHECK(one.tables == five.tables);
  CHECK(one.codes == five.codes);
}

}  // namespace
