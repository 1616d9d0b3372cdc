#include "lib/kernels/recurrent.h"

#include <algorithm>

#include "tests/unit/kernels/kernels_test.h"

namespace mlt {
namespace {

const Activation kSigmoid{Unary::kSigmoid}, kTanh{Unary::kTanh};
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Problem {
  int64_t steps, batch, input, hidden;
  std::vector<float> x, w, r, b, rb, p, h, c;
  Problem(int64_t t, int64_t n, int64_t i, int64_t o, int64_t gates) : steps(t), batch(n), input(i), hidden(o) {
    const auto size = [](int64_t v) { return static_cast<size_t>(v); };
    x = numbers(size(t * n * i), 1);
    w = numbers(size(gates * o * i), 2);
    r = numbers(size(gates * o * o), 3, -0.3f, 0.3f);
    b = numbers(size(gates * o), 4);
    rb = numbers(size(gates * o), 5);
    p = numbers(size(3 * o), 6);
    h = numbers(size(n * o), 7);
    c = numbers(size(n * o), 8);
  }
  double product(const std::vector<float>& m, int64_t row, const float* v, int64_t k) const {
    double s = 0;
    for (int64_t j = 0; j < k; ++j) s += static_cast<double>(m[static_cast<size_t>(row * k + j)]) * v[j];
    return s;
  }
  double product(const std::vector<float>& m, int64_t row, const std::vector<double>& v) const {
    double s = 0;
    for (size_t j = 0; j < v.size(); ++j) s += static_cast<double>(m[static_cast<size_t>(row) * v.size() + j]) * v[j];
    return s;
  }
};

TEST_CASE("lstm agrees with its definition") {
  for (const auto& order : {std::array<int, 4>{0, 1, 2, 3}, std::array<int, 4>{0, 2, 1, 3}, std::array<int, 4>{3, 0, 2, 1}})
    for (bool reverse : {false, true})
      for (bool peep : {false, true}) {
        const Problem q(peep ? 140 : 5, 3, 11, 17, 4);
        const int64_t n = q.hidden;
        const float clip = peep ? 0.4f : 0;
        std::vector<double> y(static_cast<size_t>(q.steps * q.batch * n)), all_c = y, last_h(static_cast<size_t>(q.batch * n)), last_c = last_h;
        for (int64_t b = 0; b < q.batch; ++b) {
          std::vector<double> h(q.h.begin() + b * n, q.h.begin() + (b + 1) * n), c(q.c.begin() + b * n, q.c.begin() + (b + 1) * n);
          for (int64_t s = 0; s < q.steps; ++s) {
            const int64_t t = reverse ? q.steps - 1 - s : s;
            const float* x = q.x.data() + (t * q.batch + b) * q.input;
            std::vector<double> h2(h.size()), c2(c.size());
            for (int64_t j = 0; j < n; ++j) {
              const auto u = static_cast<size_t>(j);
              const auto gate = [&](size_t g) {
                const int64_t row = order[g] * n + j;
                return q.product(q.w, row, x, q.input) + q.product(q.r, row, h) + q.b[static_cast<size_t>(row)];
              };
              const double i = sigmoid(gate(0) + (peep ? q.p[u] * c[u] : 0));
              const double f = sigmoid(gate(1) + (peep ? q.p[static_cast<size_t>(n) + u] * c[u] : 0));
              c2[u] = f * c[u] + i * std::tanh(gate(3));
              if (clip > 0) c2[u] = std::clamp(c2[u], -static_cast<double>(clip), static_cast<double>(clip));
              const double o = sigmoid(gate(2) + (peep ? q.p[static_cast<size_t>(2 * n) + u] * c2[u] : 0));
              h2[u] = o * std::tanh(c2[u]);
              y[static_cast<size_t>((t * q.batch + b) * n + j)] = h2[u];
              all_c[static_cast<size_t>((t * q.batch + b) * n + j)] = c2[u];
            }
            h = h2, c = c2;
          }
          std::copy(h.begin(), h.end(), last_h.begin() + b * n);
          std::copy(c.begin(), c.end(), last_c.begin() + b * n);
        }
        on_every_target([&] {
          auto plan = LstmPlan::create({q.input, n}, q.w.data(), q.r.data(), q.b.data(), peep ? q.p.data() : nullptr, order,
                                       kSigmoid, kTanh, kTanh, clip);
          REQUIRE(plan.ok());
          AlignedBuffer scratch;
          REQUIRE(scratch.reset(plan->scratch_bytes(q.steps, q.batch)));
          std::vector<float> out(y.size()), cells(y.size()), h = q.h, c = q.c;
          plan->run(q.steps, q.batch, q.x.data(), h.data(), c.data(), out.data(), q.batch * n, n, reverse,
                    scratch.data<void>(), cells.data());
          CHECK(distance(out, y) < 1e-5);
          CHECK(distance(cells, all_c) < 1e-5);
          CHECK(distance(h, last_h) < 1e-5);
          CHECK(distance(c, last_c) < 1e-5);
        });
      }
}

TEST_CASE("gru agrees with both of its definitions") {
  const std::array<int, 3> order{1, 0, 2};
  for (bool after : {false, true})
    for (bool reverse : {false, true}) {
      const Problem q(6, 2, 7, 19, 3);
      const int64_t n = q.hidden;
      std::vector<double> y(static_cast<size_t>(q.steps * q.batch * n));
      for (int64_t b = 0; b < q.batch; ++b) {
        std::vector<double> h(q.h.begin() + b * n, q.h.begin() + (b + 1) * n);
        for (int64_t s = 0; s < q.steps; ++s) {
          const int64_t t = reverse ? q.steps - 1 - s : s;
          const float* x = q.x.data() + (t * q.batch + b) * q.input;
          std::vector<double> z(h.size()), r(h.size()), rh(h.size()), h2(h.size());
          const auto from_x = [&](size_t g, int64_t j) {
            const int64_t row = order[g] * n + j;
            return q.product(q.w, row, x, q.input) + q.b[static_cast<size_t>(row)];
          };
          const auto from_h = [&](size_t g, int64_t j, const std::vector<double>& v) {
            const int64_t row = order[g] * n + j;
            return q.product(q.r, row, v) + q.rb[static_cast<size_t>(row)];
          };
          for (int64_t j = 0; j < n; ++j) {
            const auto u = static_cast<size_t>(j);
            z[u] = sigmoid(from_x(0, j) + from_h(0, j, h));
            r[u] = sigmoid(from_x(1, j) + from_h(1, j, h));
            rh[u] = r[u] * h[u];
          }
          for (int64_t j = 0; j < n; ++j) {
            const auto u = static_cast<size_t>(j);
            const double c = std::tanh(from_x(2, j) + (after ? r[u] * from_h(2, j, h) : from_h(2, j, rh)));
            h2[u] = (1 - z[u]) * c + z[u] * h[u];
            y[static_cast<size_t>((t * q.batch + b) * n + j)] = h2[u];
          }
          h = h2;
        }
      }
      on_every_target([&] {
        auto plan = GruPlan::create({q.input, n}, q.w.data(), q.r.data(), q.b.data(), q.rb.data(), order, after, kSigmoid, kTanh);
        REQUIRE(plan.ok());
        AlignedBuffer scratch;
        REQUIRE(scratch.reset(plan->scratch_bytes(q.steps, q.batch)));
        std::vector<float> out(y.size()), h = q.h;
        plan->run(q.steps, q.batch, q.x.data(), h.data(), out.data(), q.batch * n, n, reverse, scratch.data<void>());
        CHECK(distance(out, y) < 1e-5);
      });
    }
}

TEST_CASE("simple recurrence, and wrong shapes") {
  const Problem q(4, 2, 5, 6, 1);
  const int64_t n = q.hidden;
  std::vector<double> expected;
  for (int64_t b = 0; b < q.batch; ++b) {
    std::vector<double> h(q.h.begin() + b * n, q.h.begin() + (b + 1) * n);
    for (int64_t t = 0; t < q.steps; ++t) {
      std::vector<double> h2(h.size());
      for (int64_t j = 0; j < n; ++j)
        h2[static_cast<size_t>(j)] = std::tanh(q.product(q.w, j, q.x.data() + (t * q.batch + b) * q.input, q.input) +
                                               q.product(q.r, j, h) + q.b[static_cast<size_t>(j)]);
      h = h2;
    }
    expected.insert(expected.end(), h.begin(), h.end());
  }
  on_every_target([&] {
    auto plan = RnnPlan::create({q.input, n}, q.w.data(), q.r.data(), q.b.data(), kTanh);
    REQUIRE(plan.ok());
    AlignedBuffer scratch;
    REQUIRE(scratch.reset(plan->scratch_bytes(q.steps, q.batch)));
    std::vector<float> h = q.h;
    plan->run(q.steps, q.batch, q.x.data(), h.data(), nullptr, 0, 0, false, scratch.data<void>());
    CHECK(distance(h, expected) < 1e-5);
  });
  CHECK_FALSE(RnnPlan::create({0, 3}, nullptr, nullptr, nullptr, kTanh).ok());
  CHECK_FALSE(RnnPlan::create({3, int64_t{1} << 40}, nullptr, nullptr, nullptr, kTanh).ok());
  CHECK_FALSE(LstmPlan::create({2, 2}, q.w.data(), q.r.data(), nullptr, nullptr, {0, 1, 1, 3}, kSigmoid, kTanh, kTanh, 0).ok());
}

}  // namespace
}  // namespace mlt
