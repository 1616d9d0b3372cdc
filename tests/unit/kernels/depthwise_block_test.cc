// Blocks of convolutions against the three one behind the other.
#include "lib/kernels/depthwise_block.h"

#include <algorithm>
#include <array>
#include <optional>

#include "lib/kernels/aligned.h"
#include "lib/kernels/gated_product.h"
#include "tests/unit/kernels/kernels_test.h"

using namespace mlt;

namespace {

// [N, H, W, C]; weights as a convolution has them.
std::vector<double> product(const std::vector<double>& x, int64_t pixels, int64_t in, int64_t out, const std::vector<float>& w, const std::vector<float>& b) {
  std::vector<double> y(static_cast<size_t>(pixels * out));
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t o = 0; o < out; ++o) {
      double sum = b[static_cast<size_t>(o)];
      for (int64_t i = 0; i < in; ++i) sum += x[static_cast<size_t>(p * in + i)] * static_cast<double>(w[static_cast<size_t>(o * in + i)]);
      y[static_cast<size_t>(p * out + o)] = sum;
    }
  return y;
}

std::vector<double> depthwise(const std::vector<double>& x, const ConvShape& s, const std::vector<float>& w, const std::vector<float>& b) {
  const int64_t c = s.in_channels, oh = s.out()[0], ow = s.out()[1], taps = s.kernel[0] * s.kernel[1];
  std::vector<double> y(static_cast<size_t>(s.batch * oh * ow * c));
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t oy = 0; oy < oh; ++oy)
      for (int64_t ox = 0; ox < ow; ++ox)
        for (int64_t i = 0; i < c; ++i) {
          double sum = b[static_cast<size_t>(i)];
          for (int64_t t = 0; t < taps; ++t) {
            const int64_t iy = oy * s.stride[0] + t / s.kernel[1] * s.dilation[0] - s.pad_before[0], ix = ox * s.stride[1] + t % s.kernel[1] * s.dilation[1] - s.pad_before[1];
            if (iy < 0 || iy >= s.in[0] || ix < 0 || ix >= s.in[1]) continue;
            sum += static_cast<double>(w[static_cast<size_t>(i * taps + t)]) * x[static_cast<size_t>(((n * s.in[0] + iy) * s.in[1] + ix) * c + i)];
          }
          y[static_cast<size_t>(((n * oh + oy) * ow + ox) * c + i)] = sum;
        }
  return y;
}

void activate(std::vector<double>& y, const Activation& f) {
  for (double& v : y) {
    const auto x = static_cast<float>(v);
    float r = 0;
    unary(f, &x, &r, 1);
    if (f.op != Unary::kIdentity) v = static_cast<double>(r);
  }
}

struct Case {
  int64_t h, w, in, middle, out, kernel, stride;
  int64_t batch = 1, dilation = 1;
  Activation expand{Unary::kClip, 0, 6}, depthwise{Unary::kClip, 0, 6}, project{};
  bool residual = false, lopsided = false, mean = false;
};

void check(const Case& k) {
  DepthwiseBlock::Shape shape;
  ConvShape& s = shape.depthwise;
  s.batch = k.batch;
  s.in_channels = s.out_channels = s.groups = k.middle;
  s.in = {k.h, k.w, 1};
  s.kernel = {k.kernel, k.kernel, 1};
  s.stride = {k.stride, k.stride, 1};
  s.dilation = {k.dilation, k.dilation, 1};
  const int64_t pad = k.kernel / 2 * k.dilation;
  s.pad_before = {k.lopsided ? 0 : pad, pad, 0};
  s.pad_after = {pad, k.lopsided ? 2 * pad : pad, 0};
  shape.in_channels = k.in;
  shape.out_channels = k.out;
  shape.mean = k.mean;
  REQUIRE(DepthwiseBlock::takes(shape));
  const int64_t in = k.in > 0 ? k.in : k.middle, out = k.out > 0 ? k.out : k.middle, pixels = s.out()[0] * s.out()[1];
  const auto count = [](int64_t n) { return static_cast<size_t>(n); };
  const auto x = numbers(count(k.batch * k.h * k.w * in), 1);
  const auto w1 = numbers(count(k.middle * k.in), 2, -0.4f, 0.4f), b1 = numbers(count(k.middle), 3);
  const auto w2 = numbers(count(k.middle * k.kernel * k.kernel), 4), b2 = numbers(count(k.middle), 5);
  const auto w3 = numbers(count(k.out * k.middle), 6, -0.2f, 0.2f), b3 = numbers(count(out), 7), r = numbers(count(k.batch * pixels * out), 8);

  std::vector<double> y(x.begin(), x.end());
  if (k.in > 0) {
    y = product(y, k.batch * k.h * k.w, in, k.middle, w1, b1);
    activate(y, k.expand);
  }
  y = depthwise(y, s, w2, b2);
  activate(y, k.depthwise);
  if (k.out > 0) {
    y = product(y, k.batch * pixels, k.middle, out, w3, b3);
    for (size_t i = 0; k.residual && i < y.size(); ++i) y[i] += static_cast<double>(r[i]);
    activate(y, k.project);
  }

  std::vector<double> want_mean(count(k.batch * out));
  for (int64_t n = 0; n < k.batch; ++n)
    for (int64_t p = 0; p < pixels; ++p)
      for (int64_t c = 0; c < out; ++c) want_mean[count(n * out + c)] += y[count((n * pixels + p) * out + c)] / static_cast<double>(pixels);

  for (const int64_t pitch : {out, out + 3}) {
    std::vector<double> want(count(k.batch * pixels * pitch), 777.0);
    for (int64_t p = 0; p < k.batch * pixels; ++p) std::copy_n(y.begin() + p * out, out, want.begin() + p * pitch);
    std::vector<float> first;
    std::string first_target;
    on_every_target([&] {
      const auto f1 = [&] { return w1.data(); };
      const auto f2 = [&] { return w2.data(); };
      const auto f3 = [&] { return w3.data(); };
      const DepthwiseBlock::Layer expand{f1, nullptr, b1.data(), k.expand, {}}, middle{f2, nullptr, b2.data(), k.depthwise, {}}, project{f3, nullptr, b3.data(), k.project, {}};
      auto block = DepthwiseBlock::prepare(shape, k.in > 0 ? &expand : nullptr, middle, k.out > 0 ? &project : nullptr);
      REQUIRE(block.ok());
      CAPTURE(block->kernel());
      CAPTURE(k.h);
      CAPTURE(k.w);
      CAPTURE(k.middle);
      CAPTURE(k.kernel);
      CAPTURE(k.stride);
      AlignedBuffer scratch;
      REQUIRE(scratch.reset(block->scratch_bytes()));
      std::fill_n(scratch.data(), block->scratch_bytes() / sizeof(float), NAN);  // what was not written shows
      std::vector<float> made(want.size(), 777.0f);
      if (k.residual && pitch == out) made = r;  // in place
      std::vector<float> mean(want_mean.size());
      block->run(x.data(), made.data(), pitch, !k.residual ? nullptr : pitch == out ? made.data() : r.data(), scratch.data<void>(), mean.data());
      CHECK(distance(made, want) < 3e-5);
      if (k.mean) {
        CHECK(distance(mean, want_mean) < 3e-5);
        made.insert(made.end(), mean.begin(), mean.end());
      }
      if (kernel_target() != first_target) {
        first = made;
        first_target = kernel_target();
      }
      CHECK(made == first);  // the same bits with one thread and with two
    });
  }
}

}  // namespace

TEST_CASE("depthwise block: expansion, depthwise, projection") {
  check({.h = 14, .w = 14, .in = 16, .middle = 96, .out = 24, .kernel = 3, .stride = 1});
  check({.h = 33, .w = 29, .in = 5, .middle = 50, .out = 19, .kernel = 3, .stride = 1});  // bands, and rows that two of them read
  check({.h = 41, .w = 38, .in = 8, .middle = 35, .out = 16, .kernel = 5, .stride = 1, .project = {Unary::kRelu}});
  check({.h = 35, .w = 44, .in = 7, .middle = 29, .out = 9, .kernel = 3, .stride = 2, .lopsided = true});
  check({.h = 40, .w = 31, .in = 6, .middle = 33, .out = 50, .kernel = 5, .stride = 2, .batch = 2});
  check({.h = 9, .w = 1, .in = 3, .middle = 10, .out = 4, .kernel = 3, .stride = 1});
  check({.h = 1, .w = 6, .in = 3, .middle = 10, .out = 4, .kernel = 5, .stride = 2});
}

TEST_CASE("depthwise block: sums of channels in two parts") {
  check({.h = 7, .w = 7, .in = 20, .middle = 200, .out = 40, .kernel = 3, .stride = 1, .residual = true});
  check({.h = 28, .w = 13, .in = 20, .middle = 240, .out = 40, .kernel = 3, .stride = 2});  // halves of the channels would be uneven
  check({.h = 7, .w = 9, .in = 20, .middle = 211, .out = 33, .kernel = 5, .stride = 1, .batch = 3, .project = {Unary::kHardSwish, 1.0f / 6, 0.5f}, .residual = true});
  check({.h = 11, .w = 10, .in = 0, .middle = 1030, .out = 17, .kernel = 3, .stride = 2});
}

TEST_CASE("depthwise block: without one of its ends, and every function") {
  check({.h = 20, .w = 23, .in = 0, .middle = 21, .out = 13, .kernel = 3, .stride = 1, .residual = true});
  check({.h = 17, .w = 40, .in = 9, .middle = 70, .out = 0, .kernel = 5, .stride = 2});
  check({.h = 10, .w = 10, .in = 9, .middle = 210, .out = 0, .kernel = 3, .stride = 1});
  for (const Activation& f : {Activation{Unary::kHardSwish, 1.0f / 6, 0.5f}, Activation{Unary::kSilu, 0, 0}, Activation{Unary::kLeakyRelu, 0.1f, 0}, Activation{Unary::kTanh, 0, 0}, Activation{}})
    check({.h = 6, .w = 11, .in = 4, .middle = 20, .out = 6, .kernel = 3, .stride = 1, .expand = f, .depthwise = f, .project = f});
}

TEST_CASE("depthwise block: dilated") {
  check({.h = 20, .w = 19, .in = 6, .middle = 40, .out = 11, .kernel = 3, .stride = 1, .dilation = 2});
  check({.h = 37, .w = 40, .in = 6, .middle = 40, .out = 11, .kernel = 5, .stride = 1, .dilation = 3, .lopsided = true});
  check({.h = 9, .w = 2, .in = 6, .middle = 200, .out = 0, .kernel = 5, .stride = 1, .dilation = 4, .mean = true});
}

TEST_CASE("depthwise block: the mean of each channel") {
  check({.h = 30, .w = 33, .in = 9, .middle = 70, .out = 0, .kernel = 5, .stride = 1, .depthwise = {Unary::kSilu}, .mean = true});
  check({.h = 9, .w = 7, .in = 5, .middle = 203, .out = 0, .kernel = 3, .stride = 1, .batch = 2, .mean = true});
  check({.h = 21, .w = 18, .in = 0, .middle = 37, .out = 0, .kernel = 3, .stride = 2, .mean = true});
}

TEST_CASE("gated product: factors for channels, on either side") {
  for (const auto& size : {std::array<int64_t, 3>{100, 37, 20}, {9, 37, 50}, {60, 1100, 33}, {7, 1100, 65}, {49, 200, 30}, {410, 1100, 33}, {9, 2100, 12}}) {
    const int64_t pixels = size[0], in = size[1], out = size[2];
    const int64_t batch = 2;
    const auto count = [](int64_t n) { return static_cast<size_t>(n); };
    const auto x = numbers(count(batch * pixels * in), 1), gate = numbers(count(batch * in), 2, 0, 1), w = numbers(count(in * out), 3, -0.1f, 0.1f), b = numbers(count(out), 4);
    const auto r = numbers(count(batch * pixels * out), 5);
    std::vector<double> want(count(batch * pixels * out));
    for (int64_t p = 0; p < batch * pixels; ++p)
      for (int64_t o = 0; o < out; ++o) {
        double sum = static_cast<double>(b[count(o)]) + static_cast<double>(r[count(p * out + o)]);
        for (int64_t i = 0; i < in; ++i)
          sum += static_cast<double>(x[count(p * in + i)]) * static_cast<double>(gate[count(p / pixels * in + i)]) * static_cast<double>(w[count(o * in + i)]);
        want[count(p * out + o)] = std::max(sum, 0.0);
      }
    const GatedProduct::Shape shape{batch, pixels, in, out};
    std::vector<float> first;
    std::string first_target;
    on_every_target([&] {
      auto product = GatedProduct::prepare(shape, [&] { return w.data(); }, b.data(), {Unary::kRelu, 0, 0}, {});
      REQUIRE(product.ok());
      AlignedBuffer scratch;
      REQUIRE(scratch.reset(product->scratch_bytes()));
      std::fill_n(scratch.data(), product->scratch_bytes() / sizeof(float), NAN);
      std::vector<float> made = r;  // in place
      product->run(x.data(), gate.data(), made.data(), shape.out_channels, made.data(), scratch.data<void>());
      CHECK(distance(made, want) < 3e-5);
      if (kernel_target() != first_target) {
        first = made;
        first_target = kernel_target();
      }
      CHECK(made == first);
    });
  }
  CHECK(!GatedProduct::prepare({1, 4, 0, 3}, [] { return nullptr; }, nullptr, {}, {}).ok());
}

TEST_CASE("depthwise block: float16 weights, and what is not taken") {
  DepthwiseBlock::Shape shape;
  ConvShape& s = shape.depthwise;
  s.in_channels = s.out_channels = s.groups = 200;
  s.in = {7, 7, 1};
  s.kernel = {3, 3, 1};
  s.pad_before = s.pad_after = {1, 1, 0};
  shape.in_channels = 30;
  shape.out_channels = 20;
  const std::vector<uint16_t> half1(6000, 0x3400), half3(4000, 0x3000);  // 0.25, 0.125
  const std::vector<float> full1(6000, 0.25f), full3(4000, 0.125f), w2 = numbers(1800, 2), x = numbers(7 * 7 * 30, 3);
  on_every_target([&] {
    std::vector<std::vector<float>> made;
    for (const bool half : {false, true}) {
      const auto f1 = [&] { return full1.data(); };
      const auto f2 = [&] { return w2.data(); };
      const auto f3 = [&] { return full3.data(); };
      const DepthwiseBlock::Layer expand{f1, half ? half1.data() : nullptr, nullptr, {}, {}}, middle{f2, nullptr, nullptr, {}, {}}, project{f3, half ? half3.data() : nullptr, nullptr, {}, {}};
      auto block = DepthwiseBlock::prepare(shape, &expand, middle, &project);
      REQUIRE(block.ok());
      AlignedBuffer scratch;
      REQUIRE(scratch.reset(block->scratch_bytes()));
      made.emplace_back(49 * 20);
      block->run(x.data(), made.back().data(), 20, nullptr, scratch.data<void>());
    }
    CHECK(made[0] == made[1]);
  });
  auto refused = [&](auto change) {
    DepthwiseBlock::Shape other = shape;
    change(other);
    return !DepthwiseBlock::takes(other);
  };
  CHECK(!refused([](auto&) {}));
  CHECK(refused([](auto& o) { o.in_channels = o.out_channels = 0; }));
  CHECK(refused([](auto& o) { o.depthwise.kernel = {7, 7, 1}; }));
  CHECK(refused([](auto& o) { o.depthwise.kernel = {3, 5, 1}; }));
  CHECK(refused([](auto& o) { o.depthwise.stride = {1, 2, 1}; }));
  CHECK(refused([](auto& o) { o.depthwise.dilation = {2, 1, 1}; }));
  CHECK(refused([](auto& o) { o.depthwise.dilation = o.depthwise.stride = {2, 2, 1}, o.depthwise.pad_before = {2, 2, 0}; }));
  CHECK(refused([](auto& o) { o.depthwise.dilation = {500, 500, 1}, o.depthwise.pad_before = o.depthwise.pad_after = {500, 500, 0}; }));
  CHECK(refused([](auto& o) { o.depthwise.groups = 100; }));
  CHECK(refused([](auto& o) { o.in_channels = 5000; }));
  CHECK(refused([](auto& o) { o.depthwise.in = {1, 1, 1}, o.depthwise.pad_before = o.depthwise.pad_after = {0, 0, 0}; }));
}
