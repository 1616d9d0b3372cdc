#include "lib/kernels/compact.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/unit/kernels/kernels_test.h"

namespace mlt {
namespace {

// About normally distributed.
std::vector<float> normal(size_t count, uint32_t seed, float scale) {
  const auto a = numbers(count, seed), b = numbers(count, seed + 1), c = numbers(count, seed + 2);
  std::vector<float> v(count);
  for (size_t i = 0; i < count; ++i) v[i] = scale * (a[i] + b[i] + c[i]);
  return v;
}

bool has_kernel() { return kernel_target().starts_with("avx"); }

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// What PackedWeights gives, to the last bit.
void check_product(const std::vector<float>& w, int64_t n, int64_t k, bool transposed, const Activation& f, bool bias, bool residual) {
  CAPTURE(n);
  CAPTURE(k);
  const int64_t row = transposed ? 1 : k, col = transposed ? n : 1;
  auto plain = PackedWeights::pack(n, k, w.data(), row, col);
  auto compact = CompactWeights::prepare(n, k, [&] { return w.data(); }, row, col, {});
  REQUIRE(plain);
  REQUIRE(compact.ok() == has_kernel());
  if (!compact) return;
  CHECK(compact->bytes() < plain->bytes() / 100 * 91);
  const int64_t m = 2, lda = k + 3, ldc = n + 5;
  const auto a = numbers(static_cast<size_t>(m * lda), 11), b = numbers(static_cast<size_t>(n), 12), r = numbers(static_cast<size_t>(m * n), 13);
  std::vector<float> expected(static_cast<size_t>(m * ldc), 777.0f), found(expected);
  for (auto [packed, to] : {std::pair{0, &expected}, std::pair{1, &found}}) {
    if (packed == 0) plain->run(m, a.data(), lda, to->data(), ldc, bias ? b.data() : nullptr, f, residual ? r.data() : nullptr, n);
    if (packed == 1) compact->run(m, a.data(), lda, to->data(), ldc, bias ? b.data() : nullptr, f, residual ? r.data() : nullptr, n);
  }
  CHECK(same_bits(found, expected));
}

TEST_CASE("compact weights give what packed ones give") {
  on_every_target([] {
    // Whole and narrow panels, groups and parts of k that are not whole.
    for (auto [n, k] : {std::pair<int64_t, int64_t>{1000, 401}, {769, 768}, {5, 80001}, {33, 12007}, {400, 1500}, {417, 1025}}) {
      const auto w = normal(static_cast<size_t>(n * k), 3, 0.02f);
      check_product(w, n, k, n % 2 == 0, {}, n % 3 == 0, k % 2 == 0);
    }
    const auto w = normal(700 * 603, 5, 1.0f);
    for (Unary op : {Unary::kRelu, Unary::kClip, Unary::kLeakyRelu, Unary::kTanh, Unary::kGelu, Unary::kSilu})
      check_product(w, 700, 603, op == Unary::kTanh, {op, 0.1f, 0.6f}, true, true);
  });
}

TEST_CASE("compact weights: every value is what it was") {
  const int64_t n = 1003, k = 611;
  const auto size = static_cast<size_t>(n * k);
  on_every_target([&] {
    std::vector<std::vector<float>> all{numbers(size, 1), std::vector<float>(size, -0.75f), std::vector<float>(size, 0.0f), numbers(size, 2, -1e-38f, 1e-38f),
                                        numbers(size, 4, 3e37f, 3e38f), normal(size, 7, 1e-3f)};
    // Rare ones among them, in the first and last places too.
    const float odd[] = {0.0f, -0.0f, INFINITY, -INFINITY, 1e-40f, -1e-44f, 3e38f, -1e-30f, 12345.678f};
    for (size_t i = 0; i < std::size(odd) * 17; ++i) all[5][(i * 4001) % size] = odd[i % std::size(odd)];
    all[5][size - 1] = -65504.0f;
    for (size_t i = 0; i < size; i += 3) all[0][i] = i % 2 == 0 ? 0.0f : -0.0f;  // pruned
    for (const auto& w : all) {
      auto compact = CompactWeights::prepare(n, k, [&] { return w.data(); }, k, 1, {});
      REQUIRE(compact.ok() == has_kernel());
      if (!compact) continue;
      // One row of the identity at a time gives a column, whatever is infinite elsewhere.
      auto plain = PackedWeights::pack(n, k, w.data());
      REQUIRE(plain);
      std::vector<float> x(static_cast<size_t>(k), 0.0f), found(static_cast<size_t>(n)), expected(found);
      for (int64_t i : {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{8}, k / 2, k - 1}) {
        x[static_cast<size_t>(i)] = 1.0f;
        compact->run(1, x.data(), k, found.data(), n);
        plain->run(1, x.data(), k, expected.data(), n);
        x[static_cast<size_t>(i)] = 0.0f;
        CHECK(same_bits(found, expected));
      }
      const auto y = numbers(static_cast<size_t>(k), 5);
      compact->run(1, y.data(), k, found.data(), n);
      plain->run(1, y.data(), k, expected.data(), n);
      CHECK(same_bits(found, expected));
    }
  });
}

TEST_CASE("compact weights: a NaN stays one") {
  const int64_t n = 800, k = 500;
  auto w = normal(static_cast<size_t>(n * k), 3, 0.02f);
  w[123 * 500 + 45] = NAN;
  on_every_target([&] {
    auto compact = CompactWeights::prepare(n, k, [&] { return w.data(); }, k, 1, {});
    REQUIRE(compact.ok() == has_kernel());
    if (!compact) return;
    const auto x = numbers(static_cast<size_t>(k), 5);
    std::vector<float> y(static_cast<size_t>(n));
    compact->run(1, x.data(), k, y.data(), n);
    for (size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i == 123));
  });
}

TEST_CASE("compact weights are refused with a reason") {
  const int64_t n = 900, k = 500;
  const auto size = static_cast<size_t>(n * k);
  auto refusal = [](const std::vector<float>& w, int64_t columns, int64_t rows) {
    auto made = CompactWeights::prepare(columns, rows, [&] { return w.data(); }, rows, 1, {});
    REQUIRE(!made.ok());
    return made.error().message;
  };
  std::vector<float> wild(size), rare = normal(size, 3, 1.0f);
  for (size_t i = 0; i < size; ++i) wild[i] = std::ldexp(1.0f, static_cast<int>(i * 7919 % 200) - 100);
  // So few that a sample does not tell.
  for (size_t i = 0; i < size; i += 1000) rare[i + i / 1000 % 700] = i % 2000 == 0 ? 1e20f : 1e-20f;
  on_every_target([&] {
    const std::string expected = has_kernel() ? "the weights' exponents differ too much" : "no kernel for this instruction set";
    CHECK(refusal(wild, n, k) == expected);
    CHECK(refusal(rare, n, k) == expected);
    if (has_kernel()) CHECK(refusal(rare, 100, 100) == "the weights stay in a near cache");
  });
  CHECK_FALSE(CompactWeights::prepare(0, 4, [] { return nullptr; }, 4, 1, {}).ok());
  CHECK_FALSE(CompactWeights::prepare(int64_t{1} << 40, int64_t{1} << 40, [] { return nullptr; }, 1, 1, {}).ok());
}

TEST_CASE("compact weights: memory of a form that is refused is used again") {
  if (!has_kernel()) return;
  const int64_t n = 900, k = 500;
  std::vector<float> wild(static_cast<size_t>(n * k)), w = normal(wild.size(), 3, 1.0f);
  for (size_t i = 0; i < wild.size(); ++i) wild[i] = std::ldexp(1.0f, static_cast<int>(i * 7919 % 200) - 100);
  PackedMemory memory;
  std::shared_ptr<const void> owner;
  (void)memory.take(kHugePage, &owner);  // beyond what is little
  const std::byte* before = memory.take(100, &owner);
  CHECK_FALSE(CompactWeights::prepare(n, k, [&] { return wild.data(); }, k, 1, {nullptr, {}, &memory}).ok());
  const std::byte* after = memory.take(100, &owner);
  CHECK(after == before + align_up(100 + kSlack));
  auto compact = CompactWeights::prepare(n, k, [&] { return w.data(); }, k, 1, {nullptr, {}, &memory});
  REQUIRE(compact);
  auto plain = PackedWeights::pack(n, k, w.data());
  const auto x = numbers(static_cast<size_t>(k), 5);
  std::vector<float> found(static_cast<size_t>(n)), expected(found);
  compact->run(1, x.data(), k, found.data(), n);
  plain->run(1, x.data(), k, expected.data(), n);
  CHECK(same_bits(found, expected));
}

// Keeps one form, and hands out what became of it.
class Kept : public PackedForms {
 public:
  const std::byte* find(const std::string&, size_t size, std::shared_ptr<const void>*) override {
    return buffer.bytes() == size ? buffer.data<std::byte>() : nullptr;
  }
  Status made(const std::string&, const AlignedBuffer& form) override {
    if (!buffer.reset(form.bytes())) return resource_error("out of memory");
    std::memcpy(buffer.data<std::byte>(), form.data<std::byte>(), form.bytes());
    return {};
  }
  AlignedBuffer buffer;
};

TEST_CASE("compact weights: a kept form that is damaged is refused") {
  if (!has_kernel()) return;
  const int64_t n = 900, k = 500;
  auto w = normal(static_cast<size_t>(n * k), 3, 1.0f);
  for (size_t i = 100; i < w.size(); i += w.size() / 5) w[i] = 1e30f;
  Kept kept;
  auto prepare = [&] { return CompactWeights::prepare(n, k, [&] { return w.data(); }, k, 1, {&kept, "w", nullptr}); };
  REQUIRE(prepare().ok());
  REQUIRE(prepare().ok());
  // The head, what tells the panels' exceptions, and these: all before the first weights.
  int refused = 0;
  for (size_t at = 0; at < 1024; at += 4) {
    uint32_t* word = reinterpret_cast<uint32_t*>(kept.buffer.data<std::byte>() + at);
    const uint32_t was = *word;
    for (uint32_t value : {was ^ 0x80000000u, was + 1000000u}) {
      *word = value;
      auto made = prepare();
      if (made) {
        const auto x = numbers(static_cast<size_t>(k), 5);
        std::vector<float> y(static_cast<size_t>(n));
        made->run(1, x.data(), k, y.data(), n);  // whatever it gives, it reads and writes where it may
      } else {
        CHECK(made.error().message == "the form that was kept is damaged");
        ++refused;
      }
    }
    *word = was;
  }
  CHECK(refused > 10);
}

}  // namespace
}  // namespace mlt
