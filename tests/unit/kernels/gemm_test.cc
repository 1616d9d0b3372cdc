#include "lib/kernels/bf16.h"
#include "lib/kernels/gemm.h"

#include <algorithm>

#include "lib/base/float16.h"
#include "tests/unit/kernels/kernels_test.h"

namespace mlt {
namespace {

double activate(const Activation& f, double x) {
  float y = static_cast<float>(x);
  unary(f, &y, &y, 1);
  return y;
}

void check_linear(int64_t m, int64_t n, int64_t k, const Activation& f, bool bias, bool residual, bool transposed) {
  CAPTURE(m);
  CAPTURE(n);
  CAPTURE(k);
  const int64_t lda = k + 3, ldc = n + 5;
  const auto a = numbers(static_cast<size_t>(m * lda), 1), w = numbers(static_cast<size_t>(n * k), 2);
  const auto b = numbers(static_cast<size_t>(n), 3), r = numbers(static_cast<size_t>(m * n), 4);
  std::vector<double> expected(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = (bias ? b[static_cast<size_t>(j)] : 0.0) + (residual ? r[static_cast<size_t>(i * n + j)] : 0.0);
      for (int64_t q = 0; q < k; ++q)
        sum += static_cast<double>(a[static_cast<size_t>(i * lda + q)]) *
               w[static_cast<size_t>(transposed ? q * n + j : j * k + q)];
      expected[static_cast<size_t>(i * n + j)] = activate(f, sum);
    }
  auto packed = transposed ? PackedWeights::pack(n, k, w.data(), 1, n) : PackedWeights::pack(n, k, w.data());
  REQUIRE(packed.ok());
  std::vector<float> c(static_cast<size_t>(m * ldc), 777.0f), dense;
  packed->run(m, a.data(), lda, c.data(), ldc, bias ? b.data() : nullptr, f, residual ? r.data() : nullptr, n);
  bool kept = true;
  for (int64_t i = 0; i < m; ++i) {
    dense.insert(dense.end(), c.begin() + i * ldc, c.begin() + i * ldc + n);
    for (int64_t j = n; j < ldc; ++j) kept = kept && c[static_cast<size_t>(i * ldc + j)] == 777.0f;
  }
  CHECK(kept);
  CHECK(distance(dense, expected) < 2e-6 * std::sqrt(static_cast<double>(k)) + 1e-6);
}

TEST_CASE("products with packed weights agree with double precision") {
  on_every_target([] {
    for (int64_t m : {1, 2, 7, 8, 9, 33})
      for (int64_t n : {1, 3, 16, 17, 47, 48, 49, 64, 101})
        check_linear(m, n, 1 + (m * 7 + n) % 40, {}, n % 2 == 0, m % 3 == 0, n % 3 == 0);
    check_linear(5, 70, 2500, {}, true, true, false);
    check_linear(200, 100, 64, {}, true, false, true);
    for (Unary op : {Unary::kRelu, Unary::kClip, Unary::kLeakyRelu, Unary::kTanh, Unary::kGelu})
      check_linear(9, 53, 19, {op, 0.1f, 0.6f}, true, true, false);
  });
}

TEST_CASE("a product does not depend on the thread count or on how many rows go together") {
  const int64_t m = 37, n = 131, k = 1500;
  const auto a = numbers(m * k, 5), w = numbers(n * k, 6);
  for (const std::string& target : kernel_targets()) {
    select_kernel_target(target);
    auto packed = PackedWeights::pack(n, k, w.data());
    REQUIRE(packed.ok());
    std::vector<float> one(m * n), two(m * n), rows(m * n);
    set_thread_count(1);
    packed->run(m, a.data(), k, one.data(), n);
    set_thread_count(2);
    packed->run(m, a.data(), k, two.data(), n);
    for (int64_t i = 0; i < m; ++i) packed->run(1, a.data() + i * k, k, rows.data() + i * n, n);
    CHECK(one == two);
    CHECK(one == rows);
  }
  select_kernel_target("");
  set_thread_count(0);
}

TEST_CASE("float16 weights give what their conversions give") {
  on_every_target([] {
    for (int64_t m : {1, 3, 4, 5, 8, 9, 40})
      for (int64_t k : {1, 37, 1500}) {
        const int64_t n = 101;
        const auto a = numbers(static_cast<size_t>(m * k), 1), bias = numbers(101, 3), r = numbers(static_cast<size_t>(m * n), 4);
        auto w = numbers(static_cast<size_t>(n * k), 2);
        std::vector<uint16_t> h(w.size());
        for (size_t i = 0; i < w.size(); ++i) h[i] = float_to_half(w[i]), w[i] = half_to_float(h[i]);
        auto full = PackedWeights::pack(n, k, w.data());
        auto half = PackedWeights::pack_half(n, k, h.data());
        REQUIRE(full.ok());
        REQUIRE(half.ok());
        CHECK(half->bytes() * 2 == full->bytes());
        std::vector<float> x(static_cast<size_t>(m * n)), y(x.size());
        const Activation f{Unary::kSilu};
        full->run(m, a.data(), k, x.data(), n, bias.data(), f, r.data(), n);
        half->run(m, a.data(), k, y.data(), n, bias.data(), f, r.data(), n);
        CHECK(distance(y, std::vector<double>(x.begin(), x.end())) < 1e-5);
      }
  });
}

TEST_CASE("products of bfloat16 are those of rounded operands") {
  CHECK(round_to_bf16(1.0f + 0x1p-8f) == 1.0f);
  CHECK(round_to_bf16(1.0f + 0x1p-7f + 0x1p-8f) == 1.0f + 0x1p-6f);
  CHECK(round_to_bf16(-3.4e38f) == -INFINITY);
  CHECK(std::isnan(round_to_bf16(NAN)));
  on_every_target([] {
    for (int64_t m : {1, 2, 8, 9, 40})
      for (int64_t n : {1, 17, 48, 101})
        for (int64_t k : {1, 2, 37, 1024, 2501}) {
          const auto a = numbers(static_cast<size_t>(m * (k + 3)), 1), w = numbers(static_cast<size_t>(n * k), 2), bias = numbers(static_cast<size_t>(n), 3);
          const auto r = numbers(static_cast<size_t>(m * n), 4);
          // Once as [n, k], once as the transpose of [k, n].
          for (bool transposed : {false, true}) {
            auto at = [&](int64_t j, int64_t x) { return w[static_cast<size_t>(transposed ? x * n + j : j * k + x)]; };
            std::vector<double> expected(static_cast<size_t>(m * n));
            for (int64_t i = 0; i < m; ++i)
              for (int64_t j = 0; j < n; ++j) {
                double sum = bias[static_cast<size_t>(j)] + static_cast<double>(r[static_cast<size_t>(i * n + j)]);
                for (int64_t x = 0; x < k; ++x) sum += static_cast<double>(round_to_bf16(a[static_cast<size_t>(i * (k + 3) + x)])) * round_to_bf16(at(j, x));
                expected[static_cast<size_t>(i * n + j)] = std::max(sum, 0.0);
              }
            auto packed = PackedBf16::prepare(n, k, [&] { return w.data(); }, transposed ? 1 : k, transposed ? n : 1, {});
            REQUIRE(packed.ok());
            CHECK(packed->native() == bf16_native());
            AlignedBuffer scratch;
            REQUIRE(scratch.reset(packed->scratch_bytes(m)));
            std::vector<float> c(static_cast<size_t>(m * n));
            packed->run(m, a.data(), k + 3, c.data(), n, bias.data(), {Unary::kRelu}, r.data(), n, scratch.data<void>());
            CHECK(distance(c, expected) < 2e-6 * std::sqrt(static_cast<double>(k)) + 1e-6);
          }
        }
    // Not numbers.
    std::vector<float> a(70, 1), w(70 * 20, 0.5f), c(20);
    for (float odd : {NAN, INFINITY}) {
      a[69] = odd;
      auto packed = PackedBf16::prepare(20, 70, [&] { return w.data(); }, 70, 1, {});
      REQUIRE(packed.ok());
      AlignedBuffer scratch;
      REQUIRE(scratch.reset(packed->scratch_bytes(1)));
      packed->run(1, a.data(), 70, c.data(), 20, nullptr, {}, nullptr, 0, scratch.data<void>());
      for (float x : c) CHECK((std::isnan(odd) ? std::isnan(x) : x == INFINITY));
    }
  });
}

TEST_CASE("weights keep the target they were packed for") {
  const auto a = numbers(20, 1), w = numbers(20 * 30, 2);
  for (const std::string& from : kernel_targets())
    for (const std::string& to : kernel_targets()) {
      select_kernel_target(from);
      auto packed = PackedWeights::pack(30, 20, w.data());
      select_kernel_target(to);
      std::vector<float> c(30);
      packed->run(1, a.data(), 20, c.data(), 30);
      double sum = 0;
      for (size_t i = 0; i < 20; ++i) sum += static_cast<double>(a[i]) * w[29 * 20 + i];
      CHECK(c[29] == doctest::Approx(sum).epsilon(1e-5));
    }
  select_kernel_target("");
}

TEST_CASE("general products: transposes, batch broadcasting, scale, bias, empty k") {
  on_every_target([] {
    for (bool ta : {false, true})
      for (bool tb : {false, true})
        for (int64_t k : {0, 1, 5, 33, 1100, 1101}) {
          // Few rows take another way, and there the last rows of a part of the columns.
          const int64_t m = k % 2 == 1 ? 3 : 11, n = k == 33 ? 530 : 50, outer = 2, inner = 3;
          Matmul p;
          p.m = m;
          p.n = n;
          p.k = k;
          p.a_row = ta ? 1 : k;
          p.a_col = ta ? m : 1;
          p.b_row = tb ? 1 : n;
          p.b_col = tb ? k : 1;
          p.c_row = n;
          p.batch_rank = 2;
          p.batch = {outer, inner};
          p.a_batch = {inner * m * k, m * k};
          p.b_batch = {0, k * n};  // shared by the outer axis
          p.c_batch = {inner * m * n, m * n};
          p.alpha = 0.5f;
          p.f = {Unary::kRelu};
          p.slots = k == 33 ? 2 : 1;
          const auto bias = numbers(static_cast<size_t>(n), 9);
          p.bias = bias.data();
          const auto a = numbers(static_cast<size_t>(outer * inner * m * k + 1), 7);
          const auto b = numbers(static_cast<size_t>(inner * k * n + 1), 8);
          std::vector<float> c(static_cast<size_t>(outer * inner * m * n));
          std::vector<double> expected(c.size());
          for (int64_t o = 0; o < outer; ++o)
            for (int64_t q = 0; q < inner; ++q)
              for (int64_t i = 0; i < m; ++i)
                for (int64_t j = 0; j < n; ++j) {
                  double sum = 0;
                  for (int64_t x = 0; x < k; ++x)
                    sum += static_cast<double>(a[static_cast<size_t>((o * inner + q) * m * k + (ta ? x * m + i : i * k + x))]) *
                           b[static_cast<size_t>(q * k * n + (tb ? j * k + x : x * n + j))];
                  expected[static_cast<size_t>(((o * inner + q) * m + i) * n + j)] =
                      std::max(0.0, sum * 0.5 + bias[static_cast<size_t>(j)]);
                }
          AlignedBuffer scratch;
          REQUIRE(scratch.reset(matmul_scratch_bytes(p)));
          matmul(p, a.data(), b.data(), c.data(), scratch.data<void>());
          CHECK(distance(c, expected) < 3e-5);
        }
  });
}

TEST_CASE("impossible weights are refused") {
  CHECK_FALSE(PackedWeights::pack(0, 4, nullptr).ok());
  CHECK_FALSE(PackedWeights::pack(int64_t{1} << 40, int64_t{1} << 40, nullptr).ok());
}

}  // namespace
}  // namespace mlt
