#include "lib/kernels/elementwise.h"

#include <bit>
#include <cstring>
#include <limits>

#include "tests/unit/kernels/kernels_test.h"

namespace mlt {
namespace {

// Every exponent, both signs, a few hundred mantissas, and what is special.
std::vector<float> everywhere() {
  std::vector<float> v{0.0f, -0.0f, 1.0f, -1.0f, INFINITY, -INFINITY, NAN};
  for (uint32_t i = 0; i < 60000; ++i) {
    const float x = std::bit_cast<float>(i * 71473u);
    if (std::isfinite(x)) v.push_back(x);
  }
  for (uint32_t i = 0; i < 40000; ++i) v.push_back((static_cast<float>(i) - 20000.0f) * 0.0053711f);
  return v;
}

// Distance in units in the last place of the exact result; below 1e-35 only smallness is asked for.
double ulps(float got, double exact) {
  const float rounded = static_cast<float>(exact);
  if (std::isnan(exact)) return std::isnan(got) ? 0 : INFINITY;
  if (std::isinf(rounded)) return got == rounded || std::fabs(got) > 3.4e38f ? 0 : INFINITY;
  if (std::fabs(exact) < 1e-35) return std::fabs(got) < 1.1e-35 ? 0 : INFINITY;
  int exponent = 0;
  std::frexp(exact, &exponent);
  return std::fabs(got - exact) / std::ldexp(1.0, exponent - 24);
}

template <typename F>
void check_ulps(Unary op, double limit, const F& exact, float a = 0, float b = 0) {
  static const std::vector<float> x = everywhere();
  on_every_target([&] {
    std::vector<float> y(x.size());
    unary(op, x.data(), y.data(), static_cast<int64_t>(x.size()), a, b);
    double worst = 0, at = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double e = ulps(y[i], exact(static_cast<double>(x[i])));
      if (!(e <= worst)) worst = e, at = x[i];
    }
    CAPTURE(static_cast<int>(op));
    CAPTURE(at);
    CHECK(worst <= limit);
  });
}

TEST_CASE("functions are as accurate as promised") {
  check_ulps(Unary::kExp, 2, [](double x) { return std::exp(x); });
  check_ulps(Unary::kExp2, 2, [](double x) { return std::exp2(x); });
  check_ulps(Unary::kLog, 2, [](double x) { return std::log(x); });
  check_ulps(Unary::kTanh, 4, [](double x) { return std::tanh(x); });
  check_ulps(Unary::kSigmoid, 4, [](double x) { return 1 / (1 + std::exp(-x)); });
  check_ulps(Unary::kErf, 4, [](double x) { return std::erf(x); });
  check_ulps(Unary::kSilu, 4, [](double x) { return x == -INFINITY ? 0 : x / (1 + std::exp(-x)); });
  check_ulps(Unary::kElu, 4, [](double x) { return x > 0 ? x : 1.5 * std::expm1(x); }, 1.5f);
  check_ulps(Unary::kSoftplus, 4, [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); });
  check_ulps(Unary::kSqrt, 0.51, [](double x) { return std::sqrt(x); });
  check_ulps(Unary::kRsqrt, 2, [](double x) { return 1 / std::sqrt(static_cast<double>(static_cast<float>(x) + 1e-5f)); }, 1e-5f);
  check_ulps(Unary::kInverse, 1, [](double x) { return 1 / x; });
  check_ulps(Unary::kSoftsign, 2, [](double x) { return std::isinf(x) ? NAN : x / (1 + std::fabs(x)); });
  for (const auto& [op, f] : {std::pair<Unary, double (*)(double)>{Unary::kTan, std::tan}, {Unary::kAsin, std::asin},
                              {Unary::kAcos, std::acos}, {Unary::kAtan, std::atan}, {Unary::kSinh, std::sinh},
                              {Unary::kCosh, std::cosh}, {Unary::kAsinh, std::asinh}, {Unary::kAcosh, std::acosh},
                              {Unary::kAtanh, std::atanh}})
    check_ulps(op, 2, f);
}

TEST_CASE("sine and cosine, absolute below one period and anywhere") {
  const std::vector<float> x = everywhere();
  on_every_target([&] {
    std::vector<float> s(x.size()), c(x.size());
    unary(Unary::kSin, x.data(), s.data(), static_cast<int64_t>(x.size()));
    unary(Unary::kCos, x.data(), c.data(), static_cast<int64_t>(x.size()));
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double es = std::sin(static_cast<double>(x[i])), ec = std::cos(static_cast<double>(x[i]));
      if (std::isnan(es)) {
        CHECK(std::isnan(s[i]));
        CHECK(std::isnan(c[i]));
        continue;
      }
      worst = std::max({worst, std::fabs(s[i] - es), std::fabs(c[i] - ec)});
      if (std::fabs(x[i]) < 0.7) worst = std::max(worst, ulps(s[i], es) * 5e-8);
    }
    CHECK(worst < 2e-7);
  });
}

TEST_CASE("gelu's three forms within 4e-7 of max(1, |x|)") {
  const std::vector<float> x = everywhere();
  on_every_target([&] {
    std::vector<float> y(x.size());
    const auto worst = [&](Unary op, auto exact) {
      unary(op, x.data(), y.data(), static_cast<int64_t>(x.size()));
      double w = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const double d = x[i], e = d == -INFINITY ? 0 : exact(d);
        if (std::isnan(e) || std::isinf(e)) {
          CHECK(std::isnan(y[i]) == std::isnan(e));
        } else {
          w = std::max(w, std::fabs(y[i] - e) / std::max(1.0, std::fabs(d)));
        }
      }
      return w;
    };
    CHECK(worst(Unary::kGelu, [](double v) { return 0.5 * v * std::erfc(-v * std::sqrt(0.5)); }) < 4e-7);
    CHECK(worst(Unary::kGeluTanh, [](double v) {
      return v / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    }) < 4e-7);
    CHECK(worst(Unary::kGeluSigmoid, [](double v) { return v / (1 + std::exp(-1.702 * v)); }) < 4e-7);
  });
}

TEST_CASE("piecewise functions are exact, and NaN passes") {
  const std::vector<float> x = everywhere();
  struct Case {
    Unary op;
    float a, b;
    double (*f)(double);
  };
  const Case cases[] = {
      {Unary::kAbs, 0, 0, [](double v) { return std::fabs(v); }},
      {Unary::kNeg, 0, 0, [](double v) { return -v; }},
      {Unary::kCeil, 0, 0, [](double v) { return std::ceil(v); }},
      {Unary::kFloor, 0, 0, [](double v) { return std::floor(v); }},
      {Unary::kRound, 0, 0, [](double v) { return std::nearbyint(v); }},
      {Unary::kSign, 0, 0, [](double v) { return v > 0 ? 1.0 : v < 0 ? -1.0 : v; }},
      {Unary::kRelu, 0, 0, [](double v) { return v < 0 ? 0.0 : v; }},
      {Unary::kClip, -1, 6, [](double v) { return v < -1 ? -1 : v > 6 ? 6 : v; }},
      {Unary::kThreshold, 2, 0, [](double v) { return v < 2 ? 2 : v; }},
      {Unary::kThresholdedRelu, 2, 0, [](double v) { return v < 2 ? 0 : v; }},
      {Unary::kLeakyRelu, 0.5f, 0, [](double v) { return v < 0 ? 0.5 * v : v; }},
      {Unary::kClampedRelu, 0.5f, 3, [](double v) { return std::isnan(v) ? v : std::min(3.0, v < 0 ? 0.5 * v : v); }},
      {Unary::kIdentity, 0, 0, [](double v) { return v; }},
  };
  for (const Case& c : cases)
    check_ulps(c.op, 0.5, c.f, c.a, c.b);
  const auto small = numbers(1003, 1, -8, 8);
  on_every_target([&] {
    std::vector<float> y(small.size());
    const auto n = static_cast<int64_t>(small.size());
    const auto clip01 = [](double v) { return std::min(1.0, std::max(0.0, v)); };
    unary(Unary::kHardSigmoid, small.data(), y.data(), n, 0.2f, 0.5f);
    for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == doctest::Approx(clip01(0.2f * small[i] + 0.5)).epsilon(1e-5));
    unary(Unary::kHardSwish, small.data(), y.data(), n, 1.0f / 6, 0.5f);
    for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == doctest::Approx(small[i] * clip01(small[i] / 6.0 + 0.5)).epsilon(1e-5));
    unary(Unary::kScaledTanh, small.data(), y.data(), n, 1.7f, 0.6f);
    for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == doctest::Approx(1.7f * std::tanh(0.6f * small[i])).epsilon(1e-5));
    unary(Unary::kSoftplusParametric, small.data(), y.data(), n, 2, 0.5f);
    for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == doctest::Approx(2 * std::log1p(std::exp(0.5 * small[i]))).epsilon(1e-5));
    unary(Unary::kLinear, small.data(), y.data(), n, 3, -1);
    unary(Unary::kSquare, y.data(), y.data(), n);  // in place
    for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == doctest::Approx((3.0 * small[i] - 1) * (3.0 * small[i] - 1)).epsilon(1e-5));
  });
}

double exact_binary(Binary op, double x, double y) {
  switch (op) {
    case Binary::kAdd: return x + y;
    case Binary::kSub: return x - y;
    case Binary::kMul: return x * y;
    case Binary::kDiv: return x / y;
    case Binary::kFloorDiv: return std::floor(x / y);
    case Binary::kMod: return x - y * std::floor(x / y);
    case Binary::kPow: return std::pow(x, y);
    case Binary::kMax: return std::max(x, y);
    case Binary::kMin: return std::min(x, y);
  }
  return 0;
}

TEST_CASE("binary functions broadcast like numpy") {
  using Shape = std::vector<int64_t>;
  const std::vector<std::pair<Shape, Shape>> shapes = {
      {{}, {}},           {{7}, {7}},       {{3, 50}, {50}},       {{3, 50}, {3, 1}},     {{2, 3, 40}, {3, 1}},
      {{1, 4, 5}, {6, 1, 5}}, {{5}, {4, 1}}, {{2, 1, 3, 1}, {1, 4, 1, 5}}, {{1}, {70000}}, {{70001}, {1}}, {{0, 3}, {3}}, {{5, 0}, {0}}, {{5, 6, 0}, {6, 1}},
      {{2, 3, 4, 5, 2, 2}, {3, 1, 5, 1, 2}}, {{3, 700, 5}, {3, 1, 5}}, {{2, 1, 1, 16}, {2, 3, 37, 16}}, {{4, 9, 63}, {63}}};
  for (const auto& [sa, sb] : shapes) {
    Broadcast s;
    REQUIRE(make_broadcast(sa, sb, &s));
    size_t na = 1, nb = 1, n = 1;
    for (int64_t d : sa) na *= static_cast<size_t>(d);
    for (int64_t d : sb) nb *= static_cast<size_t>(d);
    for (int i = 0; i < s.rank; ++i) n *= static_cast<size_t>(s.shape[static_cast<size_t>(i)]);
    const auto a = numbers(na + 1, 1, 0.5, 4), b = numbers(nb + 1, 2, 0.5, 4);
    std::vector<int32_t> ia(na + 1), ib(nb + 1);
    for (size_t i = 0; i <= na; ++i) ia[i] = static_cast<int32_t>(a[i] * 10) - 20;
    for (size_t i = 0; i <= nb; ++i) ib[i] = static_cast<int32_t>(b[i] * 10) - 23;
    std::vector<size_t> ai(n), bi(n);
    for (size_t i = 0; i < n; ++i) {
      size_t rest = i;
      for (int axis = s.rank - 1; axis >= 0; --axis) {
        const auto x = static_cast<size_t>(axis);
        const size_t at = rest % static_cast<size_t>(s.shape[x]);
        rest /= static_cast<size_t>(s.shape[x]);
        ai[i] += at * static_cast<size_t>(s.a[x]);
        bi[i] += at * static_cast<size_t>(s.b[x]);
      }
    }
    on_every_target([&] {
      std::vector<float> out(n);
      std::vector<uint8_t> flags(n);
      std::vector<int32_t> iout(n);
      for (int op = 0; op <= static_cast<int>(Binary::kMin); ++op) {
        binary(static_cast<Binary>(op), s, a.data(), b.data(), out.data());
        double worst = 0;
        for (size_t i = 0; i < n; ++i) {
          const double e = exact_binary(static_cast<Binary>(op), a[ai[i]], b[bi[i]]);
          worst = std::max(worst, std::fabs(out[i] - e) / (1 + std::fabs(e)));
        }
        CAPTURE(op);
        CHECK(worst < 1e-6);
        binary(static_cast<Binary>(op), s, ia.data(), ib.data(), iout.data());
        bool same = true;
        for (size_t i = 0; i < n; ++i) {
          const double x = ia[ai[i]], y = ib[bi[i]];
          if (static_cast<Binary>(op) == Binary::kPow) continue;
          double e = exact_binary(static_cast<Binary>(op), x, y);
          if (static_cast<Binary>(op) == Binary::kDiv) e = std::floor(e);
          if (y == 0 && op >= static_cast<int>(Binary::kDiv) && op <= static_cast<int>(Binary::kMod)) e = 0;
          same = same && iout[i] == static_cast<int32_t>(e);
        }
        CHECK(same);
      }
      for (int op = 0; op <= static_cast<int>(Compare::kGreaterEqual); ++op) {
        const auto want = [&](auto x, auto y) {
          return op == 0 ? x == y : op == 1 ? x != y : op == 2 ? x < y : op == 3 ? x <= y : op == 4 ? x > y : x >= y;
        };
        compare(static_cast<Compare>(op), s, a.data(), b.data(), flags.data());
        bool same = true;
        for (size_t i = 0; i < n; ++i) same = same && flags[i] == (want(a[ai[i]], b[bi[i]]) ? 1 : 0);
        compare(static_cast<Compare>(op), s, ia.data(), ib.data(), flags.data());
        for (size_t i = 0; i < n; ++i) same = same && flags[i] == (want(ia[ai[i]], ib[bi[i]]) ? 1 : 0);
        CHECK(same);
      }
    });
  }
  Broadcast s;
  CHECK_FALSE(make_broadcast(Shape{2, 3}, Shape{4}, &s));
  CHECK_FALSE(make_broadcast(Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}, Shape{4}, &s));
}

TEST_CASE("strided operands, logic, selection") {
  on_every_target([] {
    // A transposed operand: strides that are neither 0 nor 1 along the last axis.
    Broadcast s;
    s.rank = 2;
    s.shape = {3, 4};
    s.a = {1, 3};
    s.b = {4, 1};
    std::vector<float> a(12), b(12), out(12);
    for (size_t i = 0; i < 12; ++i) a[i] = static_cast<float>(i), b[i] = 100.0f * static_cast<float>(i);
    binary(Binary::kAdd, s, a.data(), b.data(), out.data());
    for (size_t r = 0; r < 3; ++r)
      for (size_t c = 0; c < 4; ++c) CHECK(out[r * 4 + c] == static_cast<float>(r + 3 * c) + 100.0f * static_cast<float>(r * 4 + c));
    const uint8_t p[4] = {0, 1, 0, 2}, q[4] = {0, 0, 1, 1};
    uint8_t flags[4];
    Broadcast f;
    f.rank = 1;
    f.shape = {4};
    f.a = f.b = {1};
    logical(Logical::kAnd, f, p, q, flags);
    CHECK((flags[0] == 0 && flags[1] == 0 && flags[2] == 0 && flags[3] == 1));
    logical(Logical::kOr, f, p, q, flags);
    CHECK((flags[0] == 0 && flags[1] == 1 && flags[2] == 1 && flags[3] == 1));
    logical(Logical::kXor, f, p, q, flags);
    CHECK((flags[0] == 0 && flags[1] == 1 && flags[2] == 1 && flags[3] == 0));
    const int64_t big[4] = {1, 2, 3, int64_t{1} << 40}, one[1] = {-7};
    int64_t chosen[4];
    Broadcast t;
    t.rank = 1;
    t.shape = {4};
    t.a = {1};
    t.b = {0};
    select(t, {1}, p, big, one, chosen, 8);
    CHECK((chosen[0] == -7 && chosen[1] == 2 && chosen[2] == -7 && chosen[3] == int64_t{1} << 40));
  });
}

TEST_CASE("scale and bias by channel, prelu") {
  for (int64_t inner : {1, 5, 49, 20000}) {
    const int64_t outer = 2, channels = 3;
    const auto n = static_cast<size_t>(outer * channels * inner);
    const auto x = numbers(n, 1), scale = numbers(3, 2), bias = numbers(3, 3);
    on_every_target([&] {
      std::vector<float> y(n);
      std::vector<double> e(n), pe(n);
      for (size_t i = 0; i < n; ++i) {
        const size_t c = i / static_cast<size_t>(inner) % 3;
        e[i] = std::max(0.0, static_cast<double>(x[i]) * scale[c] + bias[c]);
        pe[i] = x[i] < 0 ? static_cast<double>(x[i]) * scale[c] : x[i];
      }
      scale_bias(x.data(), y.data(), outer, channels, inner, scale.data(), bias.data(), {Unary::kRelu});
      CHECK(distance(y, e) < 1e-6);
      prelu(x.data(), y.data(), outer, channels, inner, scale.data());
      CHECK(distance(y, pe) < 1e-6);
    });
  }
}

}  // namespace
}  // namespace mlt
