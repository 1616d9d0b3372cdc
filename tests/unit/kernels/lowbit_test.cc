#include "lib/kernels/lowbit.h"

#include "kernels_test.h"

#include <map>
#include <memory>

using namespace mlt;

namespace {

struct Weights {
  LowBitMatrix w;
  std::vector<uint8_t> codes;
  std::vector<float> scale, offset, table;
  // Every element, from its definition.
  double at(int64_t row, int64_t k) const {
    const int64_t bit = (row * w.k + k) * w.bits;
    int code = 0;
    for (int b = 0; b < w.bits; ++b)
      code |= (codes[static_cast<size_t>((bit + b) / 8)] >> ((bit + b) % 8) & 1) << b;
    if (w.table != nullptr) return table[static_cast<size_t>(row / w.table_rows * (1 << w.bits) + code)];
    if (w.is_signed && code >= 1 << (w.bits - 1)) code -= 1 << w.bits;
    const auto entry = static_cast<size_t>(row / w.row_block * (w.k / w.col_block) + k / w.col_block);
    return static_cast<double>(scale[entry]) * (code - (offset.empty() ? 0.0 : static_cast<double>(offset[entry])));
  }
};

Weights weights(int64_t n, int64_t k, int bits) {
  Weights s;
  s.w.n = n, s.w.k = k, s.w.bits = bits;
  uint32_t state = 99;
  s.codes.resize(static_cast<size_t>((n * k * bits + 7) / 8));
  for (uint8_t& c : s.codes) c = static_cast<uint8_t>((state = state * 1664525u + 1013904223u) >> 24);
  s.w.codes = s.codes.data();
  return s;
}
void scaled(Weights& s, bool is_signed, int64_t row_block, int64_t col_block, bool half, bool offsets) {
  s.w.is_signed = is_signed;
  s.w.row_block = row_block, s.w.col_block = col_block;
  const auto entries = static_cast<size_t>(s.w.n / row_block * (s.w.k / col_block));
  s.scale = numbers(entries, 5, 0.5f, 2);
  if (half)
    for (float& x : s.scale) x = std::round(x * 64) / 64;
  if (offsets) {
    s.offset = numbers(entries, 6, -4, 12);
    for (float& x : s.offset) x = std::round(x);
  }
  s.w.scale = s.scale.data();
  s.w.offset = offsets ? s.offset.data() : nullptr;
}
void palette(Weights& s, int64_t rows) {
  s.table = numbers(static_cast<size_t>((s.w.n / rows) << s.w.bits), 8);
  s.w.table = s.table.data();
  s.w.table_rows = rows;
}

class Memory : public PackedForms {
 public:
  const std::byte* find(const std::string& name, size_t size, std::shared_ptr<const void>* owner) override {
    auto it = forms.find(name);
    if (it == forms.end() || it->second->bytes() != size) return nullptr;
    *owner = it->second;
    return it->second->data<std::byte>();
  }
  Status made(const std::string& name, const AlignedBuffer& form) override {
    auto copy = std::make_shared<AlignedBuffer>();
    REQUIRE(copy->reset(form.bytes()));
    std::copy_n(form.data<std::byte>(), form.bytes(), copy->data<std::byte>());
    REQUIRE(forms.emplace(name, copy).second);
    return {};
  }
  std::map<std::string, std::shared_ptr<AlignedBuffer>> forms;
};

void check(const Weights& s) {
  std::vector<float> row(static_cast<size_t>(s.w.k));
  for (int64_t i : {int64_t{0}, s.w.n - 1}) {
    lowbit_row(s.w, i, row.data());
    for (int64_t k = 0; k < s.w.k; ++k) REQUIRE(std::fabs(row[static_cast<size_t>(k)] - s.at(i, k)) < 1e-5 * (1 + std::fabs(s.at(i, k))));
  }
  for (int64_t m : {1, 2, 3, 7, 8, 9, 30}) {
    const std::vector<float> a = numbers(static_cast<size_t>(m * (s.w.k + 3)), 1), bias = numbers(static_cast<size_t>(s.w.n), 2),
                             residual = numbers(static_cast<size_t>(m * s.w.n), 3);
    std::vector<double> want(static_cast<size_t>(m * s.w.n));
    double largest = 1;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < s.w.n; ++j) {
        double y = bias[static_cast<size_t>(j)] + static_cast<double>(residual[static_cast<size_t>(i * s.w.n + j)]);
        for (int64_t k = 0; k < s.w.k; ++k) y += a[static_cast<size_t>(i * (s.w.k + 3) + k)] * s.at(j, k);
        largest = std::max(largest, std::fabs(y));
        want[static_cast<size_t>(i * s.w.n + j)] = std::max(y, 0.0);
      }
    CAPTURE(m);
    on_every_target([&] {
      auto packed = PackedLowBit::pack(s.w);
      REQUIRE_MESSAGE(packed.ok(), (packed.ok() ? "" : packed.error().message));
      AlignedBuffer scratch;
      REQUIRE(scratch.reset(packed->scratch_bytes(m)));
      std::vector<float> c(want.size(), 7), plain(want.size(), 7);
      packed->run(m, a.data(), s.w.k + 3, c.data(), s.w.n, bias.data(), {Unary::kRelu, 0, 0}, residual.data(), s.w.n, scratch.data());
      for (size_t i = 0; i < c.size(); ++i) REQUIRE(std::fabs(c[i] - want[i]) < 2e-6 * largest);
      // In place over the residual, and without anything.
      std::vector<float> over = residual;
      packed->run(m, a.data(), s.w.k + 3, over.data(), s.w.n, bias.data(), {Unary::kRelu, 0, 0}, over.data(), s.w.n, scratch.data());
      REQUIRE(over == c);
      packed->run(m, a.data(), s.w.k + 3, plain.data(), s.w.n, nullptr, {}, nullptr, 0, scratch.data());
      REQUIRE(!std::isnan(plain.back()));
    });
  }
}

}  // namespace

TEST_CASE("products with bytes") {
  for (bool is_signed : {true, false})
    for (bool offsets : {true, false}) {
      Weights s = weights(53, 37, 8);
      scaled(s, is_signed, 1, 37, true, offsets);
      check(s);
      s = weights(100, 96, 8);
      scaled(s, is_signed, 4, 32, false, offsets);
      check(s);
    }
  Weights s = weights(17, 400, 8);
  scaled(s, true, 17, 400, true, false);
  check(s);
}

TEST_CASE("products with nibbles") {
  for (bool is_signed : {true, false})
    for (bool offsets : {true, false}) {
      Weights s = weights(50, 96, 4);
      scaled(s, is_signed, 1, 32, true, offsets);
      check(s);
      s = weights(33, 45, 4);  // codes of two rows share a byte
      scaled(s, is_signed, 3, 45, false, offsets);
      check(s);
    }
  Weights s = weights(16, 720, 4);
  scaled(s, true, 1, 720, true, false);
  check(s);
  s = weights(20, 40, 2);
  scaled(s, false, 1, 8, true, true);
  check(s);
}

TEST_CASE("products with palettes") {
  for (int bits : {1, 2, 3, 4}) {
    Weights s = weights(70, 51, bits);
    palette(s, 70);
    check(s);
    s = weights(96, 64, bits);
    palette(s, 16);
    check(s);
  }
}

TEST_CASE("low-bit weights that are kept give what packing them gives") {
  for (int bits : {4, 8, 0})
    for (bool half : {true, false}) {
      Weights s = weights(53, 96, bits == 0 ? 4 : bits);
      if (bits == 0) {
        palette(s, 53);
      } else {
        scaled(s, half, 1, 32, half, !half);
      }
      const std::vector<float> a = numbers(96, 1);
      on_every_target([&] {
        Memory memory;
        Weights bare = s;  // scales come when they are asked for
        bare.w.scale = bare.w.offset = nullptr;
        auto first = PackedLowBit::prepare(bare.w, {&memory, "w"}, [&]() -> const LowBitMatrix& { return s.w; });
        REQUIRE(first.ok());
        CHECK(memory.forms.size() == 1);
        Weights other = s;  // neither codes nor scales are looked at again
        other.w.codes = nullptr;
        if (bits != 0) other.w.scale = other.w.offset = nullptr;
        bool asked = false;
        auto again = PackedLowBit::prepare(other.w, {&memory, "w"}, [&]() -> const LowBitMatrix& {
          asked = true;
          return s.w;
        });
        CHECK_FALSE(asked);
        REQUIRE(again.ok());
        CHECK(memory.forms.size() == 1);
        AlignedBuffer scratch;
        REQUIRE(scratch.reset(first->scratch_bytes(1)));
        std::vector<float> x(53), y(53);
        first->run(1, a.data(), 96, x.data(), 53, nullptr, {}, nullptr, 0, scratch.data());
        again->run(1, a.data(), 96, y.data(), 53, nullptr, {}, nullptr, 0, scratch.data());
        CHECK(x == y);
      });
    }
}

TEST_CASE("low-bit weights that the kernels do not take") {
  Weights s = weights(8, 40, 4);
  scaled(s, true, 1, 20, true, false);
  CHECK_FALSE(PackedLowBit::pack(s.w).ok());
  s = weights(8, 40, 8);
  palette(s, 8);
  CHECK_FALSE(PackedLowBit::pack(s.w).ok());
}

TEST_CASE("low-bit products of activations that fixed point does not hold") {
  for (int bits : {4, 8}) {
    Weights s = weights(20, 320, bits);
    scaled(s, true, 1, bits == 4 ? 32 : 320, true, false);
    for (float odd : {NAN, INFINITY, -INFINITY, 0x1p-140f, 0x1p118f}) {
      std::vector<float> a = numbers(320, 4);
      if (odd == 0x1p-140f)
        for (float& x : a) x = std::ldexp(x, -130);
      a[130] = odd;
      std::vector<double> want(20), lost(20);
      for (int64_t j = 0; j < 20; ++j)
        for (int64_t k = 0; k < 320; ++k) {
          want[static_cast<size_t>(j)] += static_cast<double>(a[static_cast<size_t>(k)]) * s.at(j, k);
          lost[static_cast<size_t>(j)] += odd > 1 ? static_cast<double>(odd) * 0x1p-23 * std::fabs(s.at(j, k)) : 0;
        }
      on_every_target([&] {
        auto packed = PackedLowBit::pack(s.w);
        REQUIRE(packed.ok());
        AlignedBuffer scratch;
        REQUIRE(scratch.reset(packed->scratch_bytes(1)));
        std::vector<float> c(20);
        packed->run(1, a.data(), 320, c.data(), 20, nullptr, {}, nullptr, 0, scratch.data());
        for (size_t j = 0; j < 20; ++j) {
          CAPTURE(odd);
          CAPTURE(want[j]);
          CAPTURE(c[j]);
          if (std::isnan(want[j])) {
            CHECK(std::isnan(c[j]));
          } else if (std::isinf(static_cast<float>(want[j]))) {
            CHECK(c[j] == static_cast<float>(want[j]));
          } else {
            CHECK(std::fabs(c[j] - want[j]) <= 2e-5 * std::fabs(want[j]) + lost[j] + 1e-42);
          }
        }
      });
    }
  }
}

TEST_CASE("low-bit products: small activations beside large ones") {
  // One large activation among 128: the others keep what is above 2^-23 of it.
  Weights s = weights(33, 512, 8);
  scaled(s, false, 1, 512, true, false);
  std::vector<float> a = numbers(512, 4);
  a[3] = 1000.0f;
  std::vector<double> want(33), scale(33);
  for (int64_t j = 0; j < 33; ++j)
    for (int64_t k = 0; k < 512; ++k) {
      want[static_cast<size_t>(j)] += static_cast<double>(a[static_cast<size_t>(k)]) * s.at(j, k);
      scale[static_cast<size_t>(j)] += std::fabs(s.at(j, k)) * (k < 128 ? 1000.0 : 1.0);
    }
  on_every_target([&] {
    auto packed = PackedLowBit::pack(s.w);
    REQUIRE(packed.ok());
    AlignedBuffer scratch;
    REQUIRE(scratch.reset(packed->scratch_bytes(1)));
    std::vector<float> c(33);
    packed->run(1, a.data(), 512, c.data(), 33, nullptr, {}, nullptr, 0, scratch.data());
    for (size_t j = 0; j < 33; ++j) CHECK(std::fabs(c[j] - want[j]) <= 0x1p-23 * scale[j] + 1e-6 * std::fabs(want[j]));
  });
}

TEST_CASE("low-bit products pass NaN and infinities on") {
  Weights s = weights(20, 64, 4);
  scaled(s, true, 1, 32, true, false);
  on_every_target([&] {
    auto packed = PackedLowBit::pack(s.w);
    REQUIRE(packed.ok());
    AlignedBuffer scratch;
    REQUIRE(scratch.reset(packed->scratch_bytes(1)));
    std::vector<float> a(64, 1), c(20);
    a[40] = NAN;
    packed->run(1, a.data(), 64, c.data(), 20, nullptr, {}, nullptr, 0, scratch.data());
    for (float x : c) CHECK(std::isnan(x));
  });
}
