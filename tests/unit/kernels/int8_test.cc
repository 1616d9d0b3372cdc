// Arithmetic in eight bits against the same operations in int64 and double.
#include "lib/kernels/int8.h"

#include <algorithm>
#include <cstring>

#include "lib/kernels/aligned.h"
#include "tests/unit/kernels/kernels_test.h"

using namespace mlt;

namespace {

// Every byte of the range, the ends more often than others.
std::vector<uint8_t> bytes(size_t count, uint32_t seed) {
  std::vector<uint8_t> v(count + kSlack, 0xcd);
  uint32_t state = seed * 2654435761u + 99u;
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    v[i] = state >> 30 == 0 ? (state & 0x10000 ? 255 : 0) : static_cast<uint8_t>(state >> 16);
  }
  return v;
}
std::vector<int8_t> signed_bytes(size_t count, uint32_t seed) {
  std::vector<int8_t> v(count);
  const auto from = bytes(count, seed);
  for (size_t i = 0; i < count; ++i) v[i] = static_cast<int8_t>(from[i] ^ 0x80);
  return v;
}

double clip(double v, double lo, double hi) { return std::min(hi, std::max(lo, v)); }
// Value to code, not yet rounded, and the value of the code.
double code(double v, const Codes& q) { return clip(v / q.scale + q.zero, 0, 255); }
double rounded(double v, const Codes& q) { return (clip(std::nearbyint(v / q.scale) + q.zero, 0, 255) - q.zero) * q.scale; }

double activated(const Activation& f, double v) {
  switch (f.op) {
    case Unary::kRelu: return std::max(v, 0.0);
    case Unary::kClip: return clip(v, f.a, f.b);
    case Unary::kLeakyRelu: return v >= 0 ? v : f.a * v;
    case Unary::kSigmoid: return 1 / (1 + std::exp(-v));
    case Unary::kSilu: return v / (1 + std::exp(-v));
    case Unary::kGelu: return v * std::erfc(-v / std::sqrt(2.0)) / 2;
    case Unary::kGeluTanh: return v * (1 + std::tanh(std::sqrt(2 / 3.14159265358979) * (v + 0.044715 * v * v * v))) / 2;
    case Unary::kGeluSigmoid: return v / (1 + std::exp(-1.702 * v));
    default: return v;
  }
}

struct Case {
  ConvShape shape;
  Codes in;
  Int8Epilogue e;
};

ConvShape image(int64_t batch, int64_t ci, int64_t h, int64_t w, int64_t co, int64_t kh, int64_t kw, int64_t stride = 1, int64_t pad = 0, int64_t groups = 1,
                int64_t dilation = 1) {
  ConvShape s;
  s.batch = batch, s.in_channels = ci, s.out_channels = co, s.groups = groups;
  s.in = {h, w, 1}, s.kernel = {kh, kw, 1}, s.stride = {stride, stride, 1}, s.dilation = {dilation, dilation, 1};
  s.pad_before = {pad, pad, 0}, s.pad_after = {pad, pad, 0};
  return s;
}

// Axes of fewer than three come last.
std::array<int64_t, 3> axes(const ConvShape& s, const std::array<int64_t, 3>& values, int64_t none) {
  std::array<int64_t, 3> all{none, none, none};
  for (int i = 0; i < s.rank; ++i) all[static_cast<size_t>(3 - s.rank + i)] = values[static_cast<size_t>(i)];
  return all;
}

void check(const Case& t) {
  const ConvShape& s = t.shape;
  const auto in_size = axes(s, s.in, 1), size = axes(s, s.out(), 1), kernel = axes(s, s.kernel, 1), stride = axes(s, s.stride, 1), step = axes(s, s.dilation, 1),
             pad = axes(s, s.pad_before, 0);
  const int64_t ci = s.in_channels, co = s.out_channels, cg = ci / s.groups, taps = kernel[0] * kernel[1] * kernel[2];
  const auto in = bytes(static_cast<size_t>(s.batch * in_size[0] * in_size[1] * in_size[2] * ci), 1);
  const auto w = signed_bytes(static_cast<size_t>(co * cg * taps), 2);
  const auto scale = numbers(static_cast<size_t>(co), 3, 0.001f, 0.004f), bias = numbers(static_cast<size_t>(co), 4, -2, 2);
  const size_t count = static_cast<size_t>(s.batch * size[0] * size[1] * size[2] * co);
  const auto residual = bytes(count, 5);
  std::vector<double> want(count);
  for (size_t at = 0; at < count; ++at) {
    auto rest = static_cast<int64_t>(at);
    const int64_t o = rest % co, x = (rest /= co) % size[2], y = (rest /= size[2]) % size[1], z = (rest /= size[1]) % size[0], n = rest / size[0];
    int64_t sum = 0;
    for (int64_t i = 0; i < cg; ++i)
      for (int64_t tap = 0; tap < taps; ++tap) {
        const std::array<int64_t, 3> to{z, y, x}, k{tap / kernel[2] / kernel[1], tap / kernel[2] % kernel[1], tap % kernel[2]};
        int64_t from = n;
        bool inside = true;
        for (size_t a = 0; a < 3; ++a) {
          const int64_t v = to[a] * stride[a] - pad[a] + k[a] * step[a];
          inside = inside && v >= 0 && v < in_size[a];
          from = from * in_size[a] + v;
        }
        if (!inside) continue;
        sum += (int64_t{in[static_cast<size_t>(from * ci + o / (co / s.groups) * cg + i)]} - t.in.zero) * w[static_cast<size_t>((o * cg + i) * taps + tap)];
      }
    double v = static_cast<double>(sum) * t.in.scale * scale[static_cast<size_t>(o)] + bias[static_cast<size_t>(o)];
    if (t.e.between) v = rounded(v, *t.e.between);
    if (t.e.residual) v += (residual[at] - t.e.residual->zero) * static_cast<double>(t.e.residual->scale);
    want[at] = activated(t.e.f, v);
  }
  on_every_target([&] {
    auto plan = Int8Conv::create(s, t.in, w.data(), scale.data(), bias.data(), t.e);
    REQUIRE(plan.ok());
    CAPTURE(plan->kernel());
    AlignedBuffer scratch;
    REQUIRE(scratch.reset(plan->scratch_bytes()));
    const uint8_t* r = t.e.residual ? residual.data() : nullptr;
    // One step of `between` can move the result by as much.
    const double between = t.e.between ? t.e.between->scale : 0;
    double worst = 0;
    if (t.e.out) {
      std::vector<uint8_t> out(count + 8, 0x5a);
      plan->run(in.data(), out.data(), r, scratch.data<void>());
      size_t different = 0;
      for (size_t i = 0; i < count; ++i) {
        const double error = std::fabs(out[i] - code(want[i], *t.e.out));
        worst = std::max(worst, error);
        different += error > 0.501;
      }
      CHECK(worst < 0.501 + between / t.e.out->scale);
      CHECK(different <= count / 200 + (between > 0 ? 1 : 0));
      for (size_t i = count; i < count + 8; ++i) CHECK(out[i] == 0x5a);
      // The same, and a function of the codes.
      Int8Epilogue mapped = t.e;
      mapped.table.emplace();
      for (size_t i = 0; i < 256; ++i) (*mapped.table)[i] = static_cast<uint8_t>(i * 167 + 13);
      auto with_table = Int8Conv::create(s, t.in, w.data(), scale.data(), bias.data(), mapped);
      REQUIRE(with_table.ok());
      std::vector<uint8_t> functions(count + 8, 0x5a);
      with_table->run(in.data(), functions.data(), r, scratch.data<void>());
      size_t wrong = 0;
      for (size_t i = 0; i < count; ++i) wrong += functions[i] != (*mapped.table)[out[i]];
      for (size_t i = count; i < count + 8; ++i) wrong += functions[i] != 0x5a;
      if (!t.e.residual) {
        const size_t channels = static_cast<size_t>(co), pitch = channels + 5;
        std::vector<uint8_t> apart(count / channels * pitch, 0x5a);
        with_table->run_apart(in.data(), apart.data(), static_cast<int64_t>(pitch), scratch.data<void>());
        for (size_t i = 0; i < apart.size(); ++i) wrong += apart[i] != (i % pitch < channels ? functions[i / pitch * channels + i % pitch] : 0x5a);
      }
      CHECK(wrong == 0);
    } else {
      std::vector<float> out(count + 8, 77.0f);
      plan->run(in.data(), out.data(), r, scratch.data<void>());
      for (size_t i = 0; i < count; ++i) worst = std::max(worst, std::fabs(out[i] - want[i]) / (1 + std::fabs(want[i])));
      CHECK(worst < 2e-5 + between);
      for (size_t i = count; i < count + 8; ++i) CHECK(out[i] == 77.0f);
    }
  });
}

const Codes kIn{0.02f, 114}, kOut{0.5f, 93};

}  // namespace

TEST_CASE("int8: matrix products of odd sizes") {
  for (int64_t rows : {1, 3, 8, 9, 17})
    for (int64_t k : {1, 3, 4, 31, 64, 130})
      for (int64_t n : {1, 5, 16, 47, 48, 49, 100}) {
        CAPTURE(rows);
        CAPTURE(k);
        CAPTURE(n);
        check({image(1, k, rows, 1, n, 1, 1), kIn, {.out = kOut}});
      }
}

TEST_CASE("int8: a function of codes needs codes") {
  const int8_t w = 1;
  const float scale = 1;
  CHECK_FALSE(Int8Conv::create(image(1, 1, 1, 1, 1, 1, 1), kIn, &w, &scale, nullptr, {.table = CodeTable{}}).ok());
}

TEST_CASE("int8: the ends of the ranges, where sums are largest") {
  // All codes 255 and all weights -128 are among them; sums of pairs of products pass 16 bits.
  const int64_t k = 4096, n = 20;
  for (int32_t zero : {0, 255, 128}) {
    std::vector<uint8_t> in(static_cast<size_t>(k) + kSlack, zero == 255 ? 0 : 255);
    std::vector<int8_t> w(static_cast<size_t>(k * n));
    for (size_t i = 0; i < w.size(); ++i) w[i] = i / static_cast<size_t>(k) % 2 ? 127 : -128;
    const std::vector<float> scale(n, 0.5f);
    on_every_target([&] {
      auto plan = Int8Conv::create(image(1, k, 1, 1, n, 1, 1), {2, zero}, w.data(), scale.data(), nullptr, {});
      REQUIRE(plan.ok());
      std::vector<float> out(n);
      plan->run(in.data(), out.data(), nullptr, nullptr);
      for (size_t o = 0; o < out.size(); ++o) CHECK(out[o] == static_cast<float>((zero == 255 ? -255 : 255 - zero) * (o % 2 ? 127 : -128) * k));
    });
  }
}

TEST_CASE("int8: depths beyond 32 bits are refused") {
  std::vector<int8_t> w(static_cast<size_t>(Int8Conv::kMaxDepth) + 1, 1);
  const float scale = 1;
  CHECK(!Int8Conv::create(image(1, Int8Conv::kMaxDepth + 1, 1, 1, 1, 1, 1), {}, w.data(), &scale, nullptr, {}).ok());
  CHECK(!Int8Conv::create(image(1, Int8Conv::kMaxDepth / 8, 3, 3, 1, 3, 3, 1, 1), {}, w.data(), &scale, nullptr, {}).ok());
}

TEST_CASE("int8: convolutions") {
  const Int8Epilogue plain{.out = kOut};
  check({image(2, 5, 7, 6, 9, 3, 3, 1, 1), kIn, plain});
  check({image(1, 16, 9, 9, 33, 3, 3, 2, 1), kIn, plain});  // lines
  check({image(1, 20, 8, 11, 50, 1, 1, 2, 0), kIn, plain});
  check({image(1, 3, 17, 15, 20, 7, 7, 2, 3), kIn, plain});   // windows
  check({image(2, 3, 9, 10, 12, 3, 3, 1, 1), {0.1f, 255}, plain});
  check({image(1, 17, 10, 10, 7, 3, 2, 1, 2, 1, 2), kIn, plain});
  check({image(1, 64, 14, 14, 96, 3, 3, 1, 1), {0.1f, 0}, plain});
}

TEST_CASE("int8: grouped convolutions") {
  for (int64_t groups : {2, 3, 5})
    for (int64_t inputs : {1, 3, 8, 18})
      for (int64_t outputs : {1, 7, 16, 50}) {
        CAPTURE(groups);
        CAPTURE(inputs);
        CAPTURE(outputs);
        check({image(2, groups * inputs, 6, 7, groups * outputs, 3, 3, 2, 1, groups), kIn, {.residual = Codes{0.1f, 7}, .f = {Unary::kRelu}, .out = kOut}});
        check({image(1, groups * inputs, 5, 5, groups * outputs, 1, 1, 1, 0, groups), {0.1f, 255}, {.out = kOut}});
      }
  check({image(1, 12, 8, 7, 24, 3, 3, 1, 2, 12, 2), kIn, {.out = kOut}});  // two of each channel
}

TEST_CASE("int8: convolutions of one and of three axes") {
  for (int64_t groups : {int64_t{1}, int64_t{2}, int64_t{6}})
    for (int64_t stride : {1, 2}) {
      CAPTURE(groups);
      CAPTURE(stride);
      ConvShape line;
      line.rank = 1, line.batch = 2, line.in_channels = 6, line.out_channels = groups == 6 ? 6 : 20, line.groups = groups;
      line.in = {19, 1, 1}, line.kernel = {5, 1, 1}, line.stride = {stride, 1, 1}, line.dilation = {2, 1, 1}, line.pad_before = {6, 0, 0}, line.pad_after = {1, 0, 0};
      check({line, kIn, {.out = kOut}});
      ConvShape volume = line;
      volume.rank = 3, volume.in = {5, 6, 7}, volume.kernel = {3, 1, 2}, volume.stride = {stride, 1, 2}, volume.dilation = {1, 1, 2};
      volume.pad_before = {1, 0, 2}, volume.pad_after = {1, 0, 1};
      check({volume, kIn, {.f = {Unary::kRelu}, .out = kOut}});
      volume.in = {1, 6, 7}, volume.kernel = {1, 3, 3}, volume.pad_before = volume.pad_after = {0, 1, 1};
      check({volume, kIn, {.out = kOut}});
      volume.pad_before = {1, 1, 1};  // a plane of nothing
      check({volume, kIn, {.out = kOut}});
    }
}

TEST_CASE("int8: depthwise convolutions") {
  for (int64_t channels : {1, 15, 16, 33, 64, 70, 144}) {
    CAPTURE(channels);
    for (int64_t kernel : {1, 3, 4, 5, 9})
      for (int64_t stride : {1, 2}) {
        CAPTURE(kernel);
        CAPTURE(stride);
        check({image(2, channels, 9, 11, channels, kernel, kernel, stride, kernel / 2, channels), kIn, {.out = Codes{0.05f, 20}}});
      }
    check({image(1, channels, 12, 9, channels, 3, 3, 1, 2, channels, 2), {0.1f, 255}, {.residual = Codes{0.1f, 7}, .f = {Unary::kRelu}, .out = kOut}});
    check({image(1, channels, 6, 5, channels, 3, 3, 1, 1, channels), kIn, {.f = {Unary::kSigmoid}, .out = Codes{1.0f / 256, 0}}});
    check({image(1, channels, 6, 5, channels, 3, 3, 1, 1, channels), kIn, {.f = {Unary::kSigmoid}}});
  }
}

TEST_CASE("int8: depthwise convolutions of rows longer than what is gathered at once") {
  for (int64_t channels : {5, 16, 32, 80})
    for (int64_t stride : {1, 2})
      for (int64_t kernel : {3, 5}) {
        CAPTURE(channels);
        CAPTURE(stride);
        CAPTURE(kernel);
        check({image(1, channels, 5, 401, channels, kernel, kernel, stride, kernel / 2, channels), kIn, {.out = Codes{0.05f, 20}}});
        check({image(1, channels, 5, 3, channels, kernel, kernel, stride, kernel / 2, channels), kIn, {.f = {Unary::kRelu}, .out = Codes{0.05f, 0}}});
      }
}

TEST_CASE("int8: epilogues") {
  const ConvShape shape = image(1, 24, 7, 5, 53, 1, 1), window = image(1, 24, 7, 5, 53, 3, 3, 1, 1);
  for (const Activation& f : {Activation{}, Activation{Unary::kRelu}, Activation{Unary::kClip, -1, 6}, Activation{Unary::kClip, 5, -5}, Activation{Unary::kLeakyRelu, 0.1f},
                              Activation{Unary::kSigmoid}}) {
    CAPTURE(static_cast<int>(f.op));
    const Codes out = f.op == Unary::kSigmoid ? Codes{1.0f / 256, 0} : kOut;
    for (const ConvShape& s : {shape, window}) {
      check({s, kIn, {.f = f, .out = out}});
      check({s, kIn, {.f = f}});
      check({s, kIn, {.residual = Codes{0.07f, 40}, .f = f, .out = out}});
      check({s, kIn, {.residual = Codes{0.07f, 40}, .f = f}});
      check({s, kIn, {.between = Codes{0.06f, 250}, .residual = Codes{0.07f, 40}, .f = f, .out = Codes{0.5f, 0}}});
    }
  }
}

TEST_CASE("int8: activations whose codes are made of curves") {
  for (Unary op : {Unary::kGelu, Unary::kGeluTanh, Unary::kGeluSigmoid, Unary::kSilu})
    for (const Codes& out : {Codes{0.02f, 9}, Codes{0.5f, 1}, Codes{0.0004f, 255}, Codes{1e-7f, 128}}) {
      CAPTURE(static_cast<int>(op));
      CAPTURE(out.scale);
      for (int64_t n : {1, 16, 53, 64}) check({image(1, 24, 7, 5, n, 1, 1), {0.002f, 114}, {.f = {op}, .out = out}});
      check({image(1, 20, 9, 5, 20, 3, 3, 1, 1, 20), {0.002f, 114}, {.f = {op}, .out = out}});
      check({image(1, 24, 7, 5, 53, 3, 3, 1, 1), {30.0f, 114}, {.f = {op}, .out = Codes{1000.0f, 3}}});
    }
}

TEST_CASE("int8: panels of many columns and rows") {
  for (int64_t n : {63, 64, 100, 128})
    for (const Codes& out : {kOut, Codes{0.5f, 0}}) {
      CAPTURE(n);
      const ConvShape shape = image(1, 21, 13, 19, n, 1, 1), window = image(1, 40, 16, 13, n, 3, 3, 1, 1);
      for (const ConvShape& s : {shape, window}) {
        check({s, kIn, {.out = out}});
        check({s, kIn, {.f = {Unary::kSigmoid}}});
        check({s, kIn, {.between = Codes{0.06f, 250}, .residual = Codes{0.07f, 40}, .f = {Unary::kRelu}, .out = out}});
      }
    }
}

TEST_CASE("int8: windows of few channels") {
  for (int64_t c : {1, 2, 3, 4, 7})
    for (int64_t width : {1, 2, 5, 40})
      for (int64_t stride : {1, 2, 3})
        for (int64_t pad : {0, 1, 4}) {
          CAPTURE(c);
          CAPTURE(width);
          CAPTURE(stride);
          CAPTURE(pad);
          for (int64_t kw : {2, 3, 5})
            if (width + 2 * pad >= kw) check({image(2, c, 9, width, 16, 3, kw, stride, pad), kIn, {.out = kOut}});
          check({image(1, c, 9, width, 31, 5, 1, stride, pad, 1, 2), kIn, {.out = kOut}});
        }
}

TEST_CASE("int8: sums in place") {
  for (int64_t n : {3, 16, 24, 48, 64, 80}) {
    CAPTURE(n);
    const ConvShape s = image(1, 12, 11, 7, n, 1, 1);
    const auto in = bytes(static_cast<size_t>(12 * 77), 1), residual = bytes(static_cast<size_t>(n * 77), 5);
    const auto w = signed_bytes(static_cast<size_t>(n * 12), 2);
    const auto scale = numbers(static_cast<size_t>(n), 3, 0.001f, 0.004f), bias = numbers(static_cast<size_t>(n), 4, -2, 2);
    on_every_target([&] {
      auto plan = Int8Conv::create(s, kIn, w.data(), scale.data(), bias.data(), {.between = Codes{0.06f, 250}, .residual = Codes{0.07f, 40}, .out = kOut});
      REQUIRE(plan.ok());
      std::vector<uint8_t> apart(residual.size()), both = residual;
      plan->run(in.data(), apart.data(), residual.data(), nullptr);
      plan->run(in.data(), both.data(), both.data(), nullptr);
      CHECK(std::memcmp(apart.data(), both.data(), static_cast<size_t>(n * 77)) == 0);
    });
  }
}

TEST_CASE("int8: scales that leave the range of int32") {
  const ConvShape shape = image(1, 24, 3, 5, 53, 1, 1), window = image(1, 70, 6, 5, 70, 3, 3, 1, 1, 70);
  for (const ConvShape& s : {shape, window}) {
    check({s, {1e20f, 114}, {.out = Codes{1e-3f, 93}}});
    check({s, {1e20f, 114}, {.f = {Unary::kRelu}, .out = Codes{1e-3f, 93}}});
    check({s, {1e20f, 114}, {.between = Codes{1e10f, 128}, .residual = Codes{0.5f, 9}, .out = Codes{1e-3f, 0}}});
  }
}

TEST_CASE("int8: quantize and dequantize") {
  std::vector<float> in = numbers(203, 9, -40, 40);
  in[3] = NAN, in[5] = INFINITY, in[6] = -INFINITY, in[7] = 0.25f, in[8] = 0.75f, in[9] = -0.25f, in[10] = 1e30f, in[11] = -1e-40f, in[202] = NAN;
  for (int32_t zero : {0, 3, 128, 255}) {
    const Codes q{0.5f, zero};
    on_every_target([&] {
      for (size_t count : {size_t{1}, size_t{15}, size_t{64}, in.size()}) {
        std::vector<uint8_t> out(count + 4, 0x5a);
        quantize_codes(in.data(), out.data(), static_cast<int64_t>(count), q, 9);
        for (size_t i = 0; i < count; ++i) {
          CAPTURE(i);
          CHECK(int{out[i]} == (std::isnan(in[i]) ? 9 : static_cast<int>(clip(std::nearbyint(in[i] / 0.5) + zero, 0, 255))));
        }
        for (size_t i = count; i < count + 4; ++i) CHECK(out[i] == 0x5a);
        out.resize(count + kSlack);
        std::vector<float> back(count);
        dequantize_codes(out.data(), back.data(), static_cast<int64_t>(count), q);
        for (size_t i = 0; i < count; ++i) CHECK(back[i] == static_cast<float>(out[i] - zero) * 0.5f);
      }
    });
  }
}

TEST_CASE("int8: quantize divides") {
  // Halves between codes and their neighbours, of scales whose reciprocals are no numbers.
  for (float scale : {0.0123f, 0.3f, 7.0f, 1.0f / 255, 0.99999994f, 1.9999999f, 1e-30f, 3e-39f, 1e25f, 3e38f}) {
    CAPTURE(scale);
    std::vector<float> in;
    for (int k = -300; k < 300; ++k) {
      float v = (static_cast<float>(k) + 0.5f) * scale;
      for (int i = 0; i < 3; ++i) v = std::nextafter(v, -HUGE_VALF);
      for (int i = 0; i < 7; ++i, v = std::nextafter(v, HUGE_VALF)) in.push_back(v);
    }
    for (float v : numbers(999, 17, -300, 300)) in.push_back(v * scale);
    for (float v : {NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 0.0f, -0.0f, 1e-45f}) in.push_back(v);
    while (in.size() % 3 != 0) in.push_back(0);
    const Codes q{scale, 100};
    const auto want = [&](float v) { return std::isnan(v) ? 9 : static_cast<int>(clip(static_cast<double>(std::nearbyint(v / scale)) + 100, 0, 255)); };
    on_every_target([&] {
      std::vector<uint8_t> out(in.size());
      quantize_codes(in.data(), out.data(), static_cast<int64_t>(in.size()), q, 9);
      size_t wrong = 0;
      for (size_t i = 0; i < in.size(); ++i) wrong += out[i] != want(in[i]);
      CHECK(wrong == 0);
      // Planes to pixels.
      for (size_t n : {size_t{1}, size_t{16}, size_t{333}, in.size() / 3}) {
        std::vector<uint8_t> pixels(3 * n + 4, 0x5a);
        quantize_pixels(in.data(), pixels.data(), static_cast<int64_t>(n), q, 9);
        for (size_t i = 0; i < 3 * n; ++i) wrong += pixels[i] != want(in[i % 3 * n + i / 3]);
        CHECK(wrong == 0);
        CHECK(pixels[3 * n] == 0x5a);
      }
    });
  }
}

TEST_CASE("int8: windows") {
  for (int64_t kernel : {1, 2, 3, 5})
    for (int64_t stride : {1, 2, 3})
      for (int64_t dilation : {1, 2})
        for (int64_t channels : {1, 16, 70})
          for (bool padding : {false, true}) {
            PoolShape p;
            const int64_t pad = kernel / 2, h = 9, w = 13, reach = (kernel - 1) * dilation;
            p.batch = 2, p.channels = channels, p.in = {h, w, 1}, p.kernel = {kernel, kernel, 1}, p.stride = {stride, stride, 1}, p.dilation = {dilation, dilation, 1};
            p.pad_before = {pad, pad, 0}, p.pad_after = {pad, pad, 0}, p.count_padding = padding;
            p.out = {(h + 2 * pad - reach - 1) / stride + 1, (w + 2 * pad - reach - 1) / stride + 1, 1};
            CAPTURE(kernel);
            CAPTURE(stride);
            CAPTURE(dilation);
            CAPTURE(channels);
            CAPTURE(padding);
            const Codes from{0.1f, 3}, to{0.13f, 77};
            const auto x = bytes(static_cast<size_t>(2 * h * w * channels), 13);
            on_every_target([&] {
              const size_t count = static_cast<size_t>(2 * p.out[0] * p.out[1] * channels);
              std::vector<uint8_t> out(count + 4, 0x5a), mean(count + 4, 0x5a);
              pool_codes_nhwc(Pool::kMax, p, x.data(), from, out.data(), from);
              pool_codes_nhwc(Pool::kAverage, p, x.data(), from, mean.data(), to);
              size_t wrong = 0;
              for (size_t i = 0; i < count; ++i) {
                auto rest = static_cast<int64_t>(i);
                const int64_t c = rest % channels, ox = (rest /= channels) % p.out[1], oy = (rest /= p.out[1]) % p.out[0], n = rest / p.out[0];
                int top = 0, inside = 0;
                double sum = 0;
                for (int64_t ky = 0; ky < kernel; ++ky)
                  for (int64_t kx = 0; kx < kernel; ++kx) {
                    const int64_t iy = oy * stride - pad + ky * dilation, ix = ox * stride - pad + kx * dilation;
                    if (iy < 0 || iy >= h || ix < 0 || ix >= w) continue;
                    const int v = x[static_cast<size_t>(((n * h + iy) * w + ix) * channels + c)];
                    top = std::max(top, v), sum += (v - 3) * 0.1, ++inside;
                  }
                const double number = static_cast<double>(padding ? kernel * kernel : inside);
                wrong += out[i] != top || std::fabs(mean[i] - code(sum / number, to)) > 0.501;
              }
              CHECK(wrong == 0);
              CHECK(out[count] == 0x5a);
              CHECK(mean[count] == 0x5a);
            });
          }
}

TEST_CASE("int8: the mean of a large window") {
  // 600 codes of 255 pass 16 bits.
  PoolShape p;
  p.channels = 300, p.in = p.kernel = {30, 20, 1}, p.out = {1, 1, 1};
  for (int number : {255, 0, 131}) {
    const std::vector<uint8_t> x(600 * 300 + kSlack, static_cast<uint8_t>(number));
    on_every_target([&] {
      std::vector<uint8_t> mean(300);
      pool_codes_nhwc(Pool::kAverage, p, x.data(), {0.5f, 3}, mean.data(), {0.5f, 3});
      for (uint8_t v : mean) CHECK(v == number);
    });
  }
}

TEST_CASE("int8: numbers by channel") {
  const Codes from{0.03f, 120}, to{0.05f, 77};
  for (int64_t channels : {1, 3, 16, 63, 64, 100, 300})
    for (int64_t pixels : {1, 7, 300}) {
      CAPTURE(channels);
      CAPTURE(pixels);
      const auto count = static_cast<size_t>(channels * pixels);
      const auto x = bytes(count, 7);
      const auto factor = numbers(static_cast<size_t>(channels), 3, -2, 2), shift = numbers(static_cast<size_t>(channels), 4, -1, 1);
      on_every_target([&] {
        AlignedBuffer scratch;
        REQUIRE(scratch.reset(scale_codes_scratch(channels)));
        for (int form : {1, 2, 3}) {
          std::vector<uint8_t> out(count + 8, 0x5a);
          scale_codes(x.data(), from, form & 1 ? factor.data() : nullptr, form & 2 ? shift.data() : nullptr, out.data(), to, pixels, channels, scratch.data<void>());
          double worst = 0;
          for (size_t i = 0; i < count; ++i) {
            const size_t c = i % static_cast<size_t>(channels);
            double v = (x[i] - from.zero) * static_cast<double>(from.scale);
            if (form & 1) v *= factor[c];
            if (form & 2) v += shift[c];
            worst = std::max(worst, std::fabs(out[i] - code(v, to)));
          }
          CHECK(worst < 0.501);
          for (size_t i = count; i < count + 8; ++i) CHECK(out[i] == 0x5a);
        }
        // A mean in floats.
        std::vector<float> mean(static_cast<size_t>(channels) + 4, 77.0f);
        mean_of_codes(x.data(), from, mean.data(), 1, pixels, channels);
        for (size_t c = 0; c < static_cast<size_t>(channels); ++c) {
          double sum = 0;
          for (size_t i = c; i < count; i += static_cast<size_t>(channels)) sum += (x[i] - from.zero) * static_cast<double>(from.scale);
          CHECK(std::fabs(mean[c] - sum / static_cast<double>(pixels)) < 1e-5);
        }
        CHECK(mean[static_cast<size_t>(channels)] == 77.0f);
      });
    }
}

TEST_CASE("int8: norms of planes") {
  const Codes from{0.03f, 120}, to{0.02f, 130};
  // The last are longer than what 32 bits add up.
  for (int64_t inner : {1, 5, 64, 200, 1003, 600000}) {
    CAPTURE(inner);
    auto x = bytes(static_cast<size_t>(4 * inner), 8);
    std::fill_n(x.begin(), inner, uint8_t{255});
    const std::vector<float> gamma{0.5f, -1.5f}, beta{0.1f, 0};
    on_every_target([&] {
      for (bool scaled : {false, true}) {
        std::vector<uint8_t> out(x.size(), 0x5a);
        norm_codes(x.data(), from, out.data(), to, 0, 2, 2, inner, scaled ? gamma.data() : nullptr, scaled ? beta.data() : nullptr, 1e-3f);
        double worst = 0;
        for (int64_t plane = 0; plane < 4; ++plane) {
          const uint8_t* in = x.data() + plane * inner;
          double sum = 0, squares = 0;
          for (int64_t i = 0; i < inner; ++i) sum += in[i];
          const double mean = sum / static_cast<double>(inner), step = from.scale;
          for (int64_t i = 0; i < inner; ++i) squares += (in[i] - mean) * (in[i] - mean) * step * step;
          const double spread = 1 / std::sqrt(squares / static_cast<double>(inner) + static_cast<double>(1e-3f));
          for (int64_t i = 0; i < inner; ++i) {
            double v = (in[i] - mean) * step * spread;
            if (scaled) v = v * gamma[static_cast<size_t>(plane % 2)] + beta[static_cast<size_t>(plane % 2)];
            worst = std::max(worst, std::fabs(out[static_cast<size_t>(plane * inner + i)] - code(v, to)));
          }
        }
        CHECK(worst < 0.501);
        CHECK(out[static_cast<size_t>(4 * inner)] == 0x5a);
      }
    });
  }
}

TEST_CASE("int8: picked pixels") {
  const std::vector<int32_t> ys{0, 0, 1, 2, 2, 2}, xs{0, 1, 1, 3};
  for (int64_t channels : {1, 5, 64}) {
    const auto x = bytes(static_cast<size_t>(2 * 3 * 4 * channels), 3);
    std::vector<uint8_t> out(static_cast<size_t>(2 * 6 * 4 * channels));
    pick_code_pixels(x.data(), out.data(), 2, 3, 4, channels, ys, xs);
    size_t wrong = 0, at = 0;
    for (int64_t n = 0; n < 2; ++n)
      for (int32_t y : ys)
        for (int32_t column : xs)
          for (int64_t c = 0; c < channels; ++c) wrong += out[at++] != x[static_cast<size_t>(((n * 3 + y) * 4 + column) * channels + c)];
    CHECK(wrong == 0);
  }
}

TEST_CASE("int8: sums of two tensors, tables, pooling") {
  const size_t count = 1003;
  const auto a = bytes(count, 11), b = bytes(count, 12);
  const Codes qa{0.1f, 3}, qb{0.23f, 200}, qo{0.4f, 77};
  on_every_target([&] {
    for (const Activation& f : {Activation{}, Activation{Unary::kRelu}, Activation{Unary::kSigmoid}}) {
      const Codes to = f.op == Unary::kSigmoid ? Codes{1.0f / 256, 0} : qo;
      std::vector<uint8_t> out(count + 4, 0x5a);
      add_codes(a.data(), qa, b.data(), qb, f, out.data(), to, count);
      for (size_t i = 0; i < count; ++i) {
        const double want = activated(f, (a[i] - 3) * 0.1 + (b[i] - 200) * 0.23);
        CHECK(std::fabs(out[i] - code(want, to)) < 0.501);
      }
      CHECK(out[count] == 0x5a);
    }
    CodeTable table;
    for (size_t i = 0; i < 256; ++i) table[i] = static_cast<uint8_t>(i * 91 + 200);
    for (size_t n : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{65}, count}) {
      std::vector<uint8_t> mapped(n + 4, 0x5a);
      map_codes(a.data(), mapped.data(), static_cast<int64_t>(n), table);
      size_t wrong = 0;
      for (size_t i = 0; i < n + 4; ++i) wrong += mapped[i] != (i < n ? table[a[i]] : 0x5a);
      CHECK(wrong == 0);
    }
    for (int64_t columns : {1, 7, 16, 64, 70, 130})
      for (const CodeTable* f : {static_cast<const CodeTable*>(nullptr), static_cast<const CodeTable*>(&table)}) {
        const int64_t rows = 7, in_pitch = columns + 3, out_pitch = columns + 5;
        std::vector<uint8_t> rows_out(static_cast<size_t>(rows * out_pitch), 0x5a);
        map_code_rows(a.data(), in_pitch, rows_out.data(), out_pitch, rows, columns, f);
        size_t wrong = 0;
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t i = 0; i < out_pitch; ++i) {
            const uint8_t from = a[static_cast<size_t>(r * in_pitch + i)];
            wrong += rows_out[static_cast<size_t>(r * out_pitch + i)] != (i >= columns ? 0x5a : f != nullptr ? table[from] : from);
          }
        CHECK(wrong == 0);
      }

    for (bool counted : {false, true}) {
      PoolShape p;
      p.batch = 2, p.channels = 300, p.in = {7, 6, 1}, p.kernel = {3, 3, 1}, p.stride = {2, 2, 1}, p.pad_before = {1, 1, 0}, p.pad_after = {1, 1, 0};
      p.out = {4, 3, 1}, p.count_padding = counted;
      const auto x = bytes(2 * 7 * 6 * 300, 13);
      std::vector<uint8_t> most(2 * 4 * 3 * 300), mean(most.size());
      pool_codes_nhwc(Pool::kMax, p, x.data(), qa, most.data(), qa);
      pool_codes_nhwc(Pool::kAverage, p, x.data(), qa, mean.data(), qo);
      for (int64_t n = 0; n < 2; ++n)
        for (int64_t y = 0; y < 4; ++y)
          for (int64_t i = 0; i < 3; ++i)
            for (int64_t c = 0; c < 300; ++c) {
              int top = 0;
              double sum = 0;
              int64_t inside = 0, window = 0;
              for (int64_t iy = 2 * y - 1; iy < 2 * y + 2; ++iy)
                for (int64_t ix = 2 * i - 1; ix < 2 * i + 2; ++ix) {
                  window += iy < 8 && ix < 7;
                  if (iy < 0 || iy >= 7 || ix < 0 || ix >= 6) continue;
                  const int v = x[static_cast<size_t>(((n * 7 + iy) * 6 + ix) * 300 + c)];
                  top = std::max(top, v), sum += (v - 3) * 0.1, ++inside;
                }
              const auto at = static_cast<size_t>(((n * 4 + y) * 3 + i) * 300 + c);
              CHECK(int{most[at]} == top);
              CHECK(std::fabs(mean[at] - code(sum / static_cast<double>(counted ? window : inside), qo)) < 0.501);
            }
    }
  });
}
