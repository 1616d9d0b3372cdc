#include "lib/kernels/reduce.h"

#include <algorithm>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/norm.h"
#include "tests/unit/kernels/kernels_test.h"

namespace mlt {
namespace {

struct Sizes {
  int64_t outer, axis, inner;
};
const Sizes kSizes[] = {{1, 1, 1}, {3, 7, 1}, {2, 1000, 1}, {5, 37, 3}, {1, 300, 70}, {2, 9, 1200}, {1, 20000, 1}, {4, 0, 3}, {37, 20, 1}, {5, 32, 1}, {70, 33, 1}, {130, 7, 1}, {64, 32, 1}};

size_t count(const Sizes& s) { return static_cast<size_t>(s.outer * s.axis * s.inner); }

// f(vector of the axis' elements) for every slice, in output order.
template <typename F>
std::vector<double> by_slice(const Sizes& s, const std::vector<float>& x, const F& f) {
  std::vector<double> out;
  for (int64_t o = 0; o < s.outer; ++o)
    for (int64_t i = 0; i < s.inner; ++i) {
      std::vector<double> v;
      for (int64_t a = 0; a < s.axis; ++a) v.push_back(x[static_cast<size_t>((o * s.axis + a) * s.inner + i)]);
      out.push_back(f(v));
    }
  return out;
}

double exact(Reduce op, const std::vector<double>& v) {
  double sum = 0, abs = 0, square = 0, prod = 1, largest = -INFINITY, smallest = INFINITY, exps = 0;
  bool nan = false;
  for (double x : v) {
    sum += x, abs += std::fabs(x), square += x * x, prod *= x, exps += std::exp(x);
    largest = std::max(largest, x), smallest = std::min(smallest, x);
    nan = nan || std::isnan(x);
  }
  if (nan) return NAN;
  switch (op) {
    case Reduce::kSum: return sum;
    case Reduce::kMean: return sum / static_cast<double>(v.size());
    case Reduce::kMax: return largest;
    case Reduce::kMin: return smallest;
    case Reduce::kProd: return prod;
    case Reduce::kSumSquare: return square;
    case Reduce::kL1: return abs;
    case Reduce::kL2: return std::sqrt(square);
    case Reduce::kLogSum: return std::log(sum);
    case Reduce::kLogSumExp: return std::log(exps);
  }
  return 0;
}

TEST_CASE("reductions agree with double precision") {
  for (const Sizes& s : kSizes)
    for (bool nan : {false, true}) {
      auto x = numbers(count(s), 1, 0.1f, 1.7f);
      if (nan && !x.empty()) x[x.size() / 2] = NAN;
      for (int op = 0; op <= static_cast<int>(Reduce::kLogSumExp); ++op) {
        const auto e = by_slice(s, x, [&](const auto& v) { return exact(static_cast<Reduce>(op), v); });
        on_every_target([&] {
          std::vector<float> y(static_cast<size_t>(s.outer * s.inner));
          reduce(static_cast<Reduce>(op), x.data(), y.data(), s.outer, s.axis, s.inner);
          CAPTURE(op);
          CAPTURE(s.axis);
          CAPTURE(s.inner);
          CHECK(distance(y, e) < (op == static_cast<int>(Reduce::kProd) ? 1e-4 : 3e-6));
        });
      }
    }
}

TEST_CASE("a sum over very many elements keeps its digits") {
  const Sizes s{1, 3000000, 1};
  const std::vector<float> x(count(s), 0.1f);
  on_every_target([&] {
    float y = 0;
    reduce(Reduce::kSum, x.data(), &y, 1, s.axis, 1);
    CHECK(y == doctest::Approx(3000000.0 * static_cast<double>(0.1f)).epsilon(1e-6));
  });
}

TEST_CASE("log-sum-exp neither overflows nor underflows") {
  const std::vector<float> x{1000, 1001, -1000, -1001, INFINITY, 3, -INFINITY, -INFINITY};
  on_every_target([&] {
    std::vector<float> y(4), z(4), t(8);
    reduce(Reduce::kLogSumExp, x.data(), y.data(), 4, 2, 1);
    for (size_t i = 0; i < 4; ++i) t[i] = x[2 * i], t[4 + i] = x[2 * i + 1];
    reduce(Reduce::kLogSumExp, t.data(), z.data(), 1, 2, 4);
    for (const auto& r : {y, z}) {
      CHECK(r[0] == doctest::Approx(1001.3132617));
      CHECK(r[1] == doctest::Approx(-999.6867383));
      CHECK(r[2] == INFINITY);
      CHECK(r[3] == -INFINITY);
    }
  });
}

TEST_CASE("integer reductions") {
  const std::vector<int32_t> x{5, -7, 3, INT32_MAX, 1, -2};
  std::vector<int32_t> y(3);
  REQUIRE(reduce(Reduce::kSum, x.data(), y.data(), 1, 2, 3));
  CHECK(y == std::vector<int32_t>{INT32_MIN + 4, -6, 1});  // wraps
  REQUIRE(reduce(Reduce::kMean, x.data(), y.data(), 3, 2, 1));
  CHECK(y == std::vector<int32_t>{-1, 1073741825, 0});  // toward zero
  REQUIRE(reduce(Reduce::kMax, x.data(), y.data(), 3, 2, 1));
  CHECK(y == std::vector<int32_t>{5, INT32_MAX, 1});
  REQUIRE(reduce(Reduce::kProd, x.data(), y.data(), 3, 2, 1));
  CHECK(y[0] == -35);
  CHECK_FALSE(reduce(Reduce::kL2, x.data(), y.data(), 3, 2, 1));
}

TEST_CASE("positions of extremes, the first of equals, NaN first") {
  for (const Sizes& s : kSizes) {
    if (s.axis == 0) continue;
    auto x = numbers(count(s), 3);
    for (float& v : x) v = std::round(v * 4);
    if (s.axis > 30) x[5 * static_cast<size_t>(s.inner)] = NAN;
    const auto largest = by_slice(s, x, [](const auto& v) {
      size_t at = 0;
      for (size_t i = 1; i < v.size(); ++i)
        if (!std::isnan(v[at]) && (v[i] > v[at] || std::isnan(v[i]))) at = i;
      return static_cast<double>(at);
    });
    const auto smallest = by_slice(s, x, [](const auto& v) {
      size_t at = 0;
      for (size_t i = 1; i < v.size(); ++i)
        if (!std::isnan(v[at]) && (v[i] < v[at] || std::isnan(v[i]))) at = i;
      return static_cast<double>(at);
    });
    on_every_target([&] {
      std::vector<int32_t> y(largest.size());
      arg_max(x.data(), y.data(), s.outer, s.axis, s.inner);
      CHECK(std::equal(y.begin(), y.end(), largest.begin()));
      arg_min(x.data(), y.data(), s.outer, s.axis, s.inner);
      CHECK(std::equal(y.begin(), y.end(), smallest.begin()));
    });
  }
}

TEST_CASE("running sums") {
  const std::vector<float> x{1, 2, 3, 4, 5, 6};
  std::vector<float> y(6);
  cumsum(x.data(), y.data(), 1, 3, 2, false, false);
  CHECK(y == std::vector<float>{1, 2, 4, 6, 9, 12});
  cumsum(x.data(), y.data(), 1, 3, 2, true, false);
  CHECK(y == std::vector<float>{0, 0, 1, 2, 4, 6});
  cumsum(x.data(), y.data(), 2, 3, 1, false, true);
  CHECK(y == std::vector<float>{6, 5, 3, 15, 11, 6});
  cumsum(x.data(), y.data(), 2, 3, 1, true, true);
  CHECK(y == std::vector<float>{5, 3, 0, 11, 6, 0});
  // More columns than are taken together; in place; integers wrap.
  for (int64_t inner : {1, 63, 64, 65, 200}) {
    const int64_t axis = 7, outer = 3;
    std::vector<int32_t> in(static_cast<size_t>(outer * axis * inner)), expected(in.size());
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int32_t>(i * 2654435761u);
    for (size_t i = 0; i < in.size(); ++i) {
      const auto above = static_cast<int64_t>(i) - inner;
      expected[i] = static_cast<int32_t>(static_cast<uint32_t>(in[i]) + (above >= 0 && static_cast<int64_t>(i) / inner % axis != 0 ? static_cast<uint32_t>(expected[static_cast<size_t>(above)]) : 0u));
    }
    std::vector<int32_t> out = in;
    cumsum(out.data(), out.data(), outer, axis, inner, false, false);
    CHECK(out == expected);
  }
}

TEST_CASE("softmax and log-softmax along any axis") {
  for (const Sizes& s : kSizes) {
    if (s.axis == 0) continue;
    auto x = numbers(count(s), 4, -30, 30);
    if (s.axis > 5) x[3] = -INFINITY;
    std::vector<double> e(x.size()), l(x.size());
    for (int64_t o = 0; o < s.outer; ++o)
      for (int64_t i = 0; i < s.inner; ++i) {
        double sum = 0;
        const auto at = [&](int64_t a) { return static_cast<size_t>((o * s.axis + a) * s.inner + i); };
        for (int64_t a = 0; a < s.axis; ++a) sum += std::exp(static_cast<double>(x[at(a)]));
        for (int64_t a = 0; a < s.axis; ++a) {
          e[at(a)] = std::exp(static_cast<double>(x[at(a)])) / sum;
          l[at(a)] = x[at(a)] - std::log(sum);
        }
      }
    on_every_target([&] {
      std::vector<float> y(x.size());
      softmax(x.data(), y.data(), s.outer, s.axis, s.inner);
      double worst = 0;
      for (size_t i = 0; i < y.size(); ++i) worst = std::max(worst, std::fabs(y[i] - e[i]) / (e[i] + 1e-30));
      CHECK(worst < 1e-5);
      y = x;
      log_softmax(y.data(), y.data(), s.outer, s.axis, s.inner);  // in place
      CHECK(distance(y, l) < 1e-6);
    });
  }
}

TEST_CASE("what softmax masks away is zero, not subnormal") {
  on_every_target([] {
    std::vector<float> x(70), y(70);
    for (size_t i = 0; i < x.size(); ++i) x[i] = i % 3 == 0 ? 2.0f : i % 3 == 1 ? -98.0f : -80.0f;
    softmax(x.data(), y.data(), 1, 70, 1);
    for (size_t i = 0; i < y.size(); ++i) {
      CAPTURE(i);
      CHECK((y[i] == 0 || std::isnormal(y[i]) || use_reference()));
      if (i % 3 == 2) CHECK(y[i] == doctest::Approx(std::exp(-82.0) / 24).epsilon(1e-3));
    }
    x[5] = NAN;
    softmax(x.data(), y.data(), 1, 70, 1);
    CHECK(std::isnan(y[1]));
    std::vector<float> rows(300), out(300);  // 100 rows of 3
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = i % 3 == 0 ? 1.0f : i % 3 == 1 ? -100.0f : -INFINITY;
    softmax(rows.data(), out.data(), 100, 3, 1);
    for (size_t i = 0; i < out.size(); ++i) CHECK((i % 3 == 0 ? out[i] == 1 : out[i] == 0 || use_reference()));
  });
}

TEST_CASE("normalisations") {
  for (int64_t inner : {1, 6, 49, 768, 5000}) {
    const int64_t batch = 2, channels = 6;
    const auto n = static_cast<size_t>(batch * channels * inner);
    const auto x = numbers(n, 5, 99, 101);  // a large mean: cancellation shows
    const auto gamma = numbers(5000, 6), beta = numbers(5000, 7);
    const double eps = 1e-3;
    const auto normalised = [&](size_t group, bool by_channel, bool center) {
      std::vector<double> y(n);
      for (size_t from = 0; from < n; from += group) {
        double mean = 0, var = 0;
        for (size_t i = from; i < from + group && center; ++i) mean += x[i] / static_cast<double>(group);
        for (size_t i = from; i < from + group; ++i) var += (x[i] - mean) * (x[i] - mean) / static_cast<double>(group);
        for (size_t i = from; i < from + group; ++i) {
          const size_t p = by_channel ? i / static_cast<size_t>(inner) % channels : i % static_cast<size_t>(inner);
          y[i] = (x[i] - mean) / std::sqrt(var + eps) * gamma[p] + (center ? beta[p] : 0);
        }
      }
      return y;
    };
    const auto layer = normalised(static_cast<size_t>(inner), false, true);
    const auto rms = normalised(static_cast<size_t>(inner), false, false);
    on_every_target([&] {
      std::vector<float> y(n);
      layer_norm(x.data(), y.data(), batch * channels, inner, gamma.data(), beta.data(), 1e-3f);
      CHECK(distance(y, layer) < 2e-4);
      rms_norm(x.data(), y.data(), batch * channels, inner, gamma.data(), 1e-3f);
      CHECK(distance(y, rms) < 1e-5);
      for (int64_t groups : {1, 2, 3, 6}) {
        y = x;
        group_norm(y.data(), y.data(), batch, channels, inner, groups, gamma.data(), beta.data(), 1e-3f);
        CHECK(distance(y, normalised(static_cast<size_t>(channels / groups * inner), true, true)) < 2e-4);
      }
      l2_normalize(x.data(), y.data(), batch * channels, inner, 1e-10f);
      double square = 0;
      for (int64_t i = 0; i < inner; ++i) square += static_cast<double>(x[static_cast<size_t>(i)]) * x[static_cast<size_t>(i)];
      CHECK(y[0] == doctest::Approx(x[0] / std::sqrt(square)));
      local_response_norm(x.data(), y.data(), batch, channels, inner, 4, 2e-4f, 0.75f, 1.5f);
      const size_t c = 1;
      double window = 0;
      for (size_t q = 0; q <= 3; ++q) window += std::pow(static_cast<double>(x[q * static_cast<size_t>(inner)]), 2);
      CHECK(y[c * static_cast<size_t>(inner)] ==
            doctest::Approx(x[c * static_cast<size_t>(inner)] / std::pow(1.5 + 2e-4 / 4 * window, 0.75)).epsilon(1e-5));
    });
  }
}

}  // namespace
}  // namespace mlt
