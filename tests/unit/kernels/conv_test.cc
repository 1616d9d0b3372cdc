#include "lib/kernels/conv.h"

#include <algorithm>

#include "lib/base/float16.h"
#include "lib/kernels/nhwc.h"
#include "tests/unit/kernels/kernels_test.h"

namespace mlt {
namespace {

std::vector<double> expected_conv(const ConvShape& s, const std::vector<float>& x, const std::vector<float>& w,
                                  const std::vector<float>* bias, const std::vector<float>* residual, Activation f) {
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1}, pad{};
  const auto size = s.out();
  for (size_t i = 0; i < static_cast<size_t>(s.rank); ++i) {
    const size_t a = 3 - static_cast<size_t>(s.rank) + i;
    in[a] = s.in[i], out[a] = size[i], kernel[a] = s.kernel[i], stride[a] = s.stride[i], dilation[a] = s.dilation[i],
    pad[a] = s.pad_before[i];
  }
  const int64_t ci = s.in_channels / s.groups, co = s.out_channels / s.groups;
  std::vector<double> y;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t o = 0; o < s.out_channels; ++o)
      for (int64_t z = 0; z < out[0]; ++z)
        for (int64_t r = 0; r < out[1]; ++r)
          for (int64_t q = 0; q < out[2]; ++q) {
            double sum = bias != nullptr ? (*bias)[static_cast<size_t>(o)] : 0;
            for (int64_t c = 0; c < ci; ++c)
              for (int64_t kz = 0; kz < kernel[0]; ++kz)
                for (int64_t ky = 0; ky < kernel[1]; ++ky)
                  for (int64_t kx = 0; kx < kernel[2]; ++kx) {
                    const int64_t iz = z * stride[0] + kz * dilation[0] - pad[0];
                    const int64_t iy = r * stride[1] + ky * dilation[1] - pad[1];
                    const int64_t ix = q * stride[2] + kx * dilation[2] - pad[2];
                    if (iz < 0 || iz >= in[0] || iy < 0 || iy >= in[1] || ix < 0 || ix >= in[2]) continue;
                    const int64_t channel = o / co * ci + c;
                    sum += static_cast<double>(
                               x[static_cast<size_t>((((n * s.in_channels + channel) * in[0] + iz) * in[1] + iy) * in[2] + ix)]) *
                           w[static_cast<size_t>((((o * ci + c) * kernel[0] + kz) * kernel[1] + ky) * kernel[2] + kx)];
                  }
            if (residual != nullptr) sum += (*residual)[y.size()];
            float v = static_cast<float>(sum);
            unary(f, &v, &v, 1);
            y.push_back(f.op == Unary::kIdentity ? sum : v);
          }
  return y;
}

// [n, c, pixels] to [n, pixels, c], pixels `pitch` apart, or back.
template <typename T>
std::vector<T> channels_last(const std::vector<T>& v, int64_t n, int64_t c, int64_t pitch, T fill) {
  const auto pixels = static_cast<int64_t>(v.size()) / (n * c);
  std::vector<T> out(static_cast<size_t>(n * pixels * pitch), fill);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < c; ++j)
      for (int64_t p = 0; p < pixels; ++p) out[static_cast<size_t>((i * pixels + p) * pitch + j)] = v[static_cast<size_t>((i * c + j) * pixels + p)];
  return out;
}

// The same convolution with channels innermost, its output dense or part of something wider.
void check_conv_nhwc(const ConvShape& s, const std::vector<float>& x, const std::vector<float>& w, const std::vector<float>* bias,
                     const std::vector<float>* residual, const std::vector<double>& expected, Activation f, double tolerance) {
  if (!ConvNhwcPlan::takes(s)) return;
  const int64_t n = s.batch, co = s.out_channels;
  const auto in = channels_last(x, n, s.in_channels, s.in_channels, 0.0f);
  const auto other = residual != nullptr ? channels_last(*residual, n, co, co, 0.0f) : std::vector<float>();
  for (int64_t pitch : {co, co + 5}) {
    const auto want = channels_last(expected, n, co, pitch, 777.0);
    double largest = 4;
    for (double e : expected) largest = std::max(largest, std::fabs(e));
    std::vector<float> first;
    std::string first_target;
    on_every_target([&] {
      auto plan = ConvNhwcPlan::create(s, w.data(), bias != nullptr ? bias->data() : nullptr, f);
      REQUIRE(plan.ok());
      CAPTURE(plan->kernel());
      CAPTURE(s.in_channels);
      CAPTURE(co);
      CAPTURE(s.in[0]);
      CAPTURE(s.in[1]);
      CAPTURE(s.kernel[0]);
      CAPTURE(s.stride[0]);
      CAPTURE(pitch);
      AlignedBuffer scratch;
      REQUIRE(scratch.reset(plan->scratch_bytes()));
      std::fill_n(scratch.data(), plan->scratch_bytes() / sizeof(float), NAN);
      std::vector<float> y(want.size(), 777.0f);
      if (residual != nullptr && pitch == co) y = other;  // in place
      plan->run(in.data(), y.data(), pitch, residual == nullptr ? nullptr : pitch == co ? y.data() : other.data(), scratch.data<void>());
      if (std::string(plan->kernel()).find("winograd") != std::string::npos) {
        double worst = 0;
        for (size_t i = 0; i < y.size(); ++i) worst = std::max(worst, std::fabs(y[i] - want[i]));
        CHECK(worst < 1e-5 * largest);
      } else {
        CHECK(distance(y, want) < tolerance);
      }
      if (kernel_target() != first_target) {
        first = y;
        first_target = kernel_target();
      }
      CHECK(y == first);  // the same bits with one thread and with two
      if (pitch == co || !ConvNhwcPlan::takes_pitch(s)) return;
      const auto wide = channels_last(x, n, s.in_channels, s.in_channels + 7, NAN);
      const auto wide_other = residual != nullptr ? channels_last(*residual, n, co, co + 3, NAN) : std::vector<float>();
      std::vector<float> z(want.size(), 777.0f);
      plan->run(wide.data(), s.in_channels + 7, z.data(), pitch, residual != nullptr ? wide_other.data() : nullptr, co + 3, scratch.data<void>());
      CHECK(z == first);  // wherever the pixels lie
    });
  }
}

void check_conv(const ConvShape& s, Activation f = {}, bool with_bias = true, bool with_residual = false,
                double tolerance = 2e-5) {
  const auto size = s.out();
  int64_t x_count = s.batch * s.in_channels, w_count = s.out_channels * (s.in_channels / s.groups);
  int64_t y_count = s.batch * s.out_channels;
  for (size_t i = 0; i < static_cast<size_t>(s.rank); ++i) x_count *= s.in[i], w_count *= s.kernel[i], y_count *= size[i];
  const auto x = numbers(static_cast<size_t>(x_count), 1), w = numbers(static_cast<size_t>(w_count), 2);
  const auto b = numbers(static_cast<size_t>(s.out_channels), 3), r = numbers(static_cast<size_t>(y_count), 4);
  const auto expected = expected_conv(s, x, w, with_bias ? &b : nullptr, with_residual ? &r : nullptr, f);
  std::vector<float> first;
  std::string first_target;
  on_every_target([&] {
    auto plan = ConvPlan::create(s, w.data(), with_bias ? b.data() : nullptr, f);
    REQUIRE(plan.ok());
    CAPTURE(plan->kernel());
    CAPTURE(s.in_channels);
    CAPTURE(s.out_channels);
    CAPTURE(s.groups);
    CAPTURE(s.in[0]);
    CAPTURE(s.in[1]);
    CAPTURE(s.kernel[0]);
    CAPTURE(s.stride[0]);
    AlignedBuffer scratch;
    REQUIRE(scratch.reset(plan->scratch_bytes()));
    // A signalling fill: reading scratch that was not written shows.
    std::fill_n(scratch.data(), plan->scratch_bytes() / sizeof(float), NAN);
    std::vector<float> y(static_cast<size_t>(y_count), 777.0f);
    if (with_residual) y = r;  // in place
    plan->run(x.data(), y.data(), with_residual ? y.data() : nullptr, scratch.data<void>());
    if (std::string(plan->kernel()).starts_with("winograd")) {
      double worst = 0, largest = 0;
      for (size_t i = 0; i < y.size(); ++i) {
        worst = std::max(worst, std::fabs(y[i] - expected[i]));
        largest = std::max(largest, std::fabs(expected[i]));
      }
      CHECK(worst < 1e-5 * std::max(largest, 4.0));
    } else {
      CHECK(distance(y, expected) < tolerance);
    }
    if (kernel_target() != first_target) {
      first = y;
      first_target = kernel_target();
    }
    CHECK(y == first);  // the same bits with one thread and with two
  });
  check_conv_nhwc(s, x, w, with_bias ? &b : nullptr, with_residual ? &r : nullptr, expected, f, tolerance);
}

ConvShape shape2(int64_t ci, int64_t co, int64_t h, int64_t w, int64_t k, int64_t stride = 1, int64_t pad = 0,
                 int64_t groups = 1, int64_t dilation = 1) {
  ConvShape s;
  s.in_channels = ci;
  s.out_channels = co;
  s.groups = groups;
  s.in = {h, w, 1};
  s.kernel = {k, k, 1};
  s.stride = {stride, stride, 1};
  s.dilation = {dilation, dilation, 1};
  s.pad_before = s.pad_after = {pad, pad, 0};
  return s;
}

TEST_CASE("convolutions agree with double precision") {
  for (int64_t size : {1, 3, 7, 14, 20, 33}) {
    check_conv(shape2(5, 9, size, size + 2, 3, 1, 1));
    check_conv(shape2(5, 20, size, size + 1, 1));
    check_conv(shape2(3, 17, size + 4, size + 3, 5, 2, 2));
    check_conv(shape2(4, 7, size + 6, size + 6, 3, 3, 1));
  }
  check_conv(shape2(3, 16, 40, 37, 7, 2, 3), {Unary::kRelu});
  check_conv(shape2(8, 8, 12, 12, 1, 2), {Unary::kClip, 0, 6});
  check_conv(shape2(6, 10, 15, 15, 3, 1, 2, 1, 2), {Unary::kSilu});
  check_conv(shape2(130, 24, 14, 14, 3, 1, 1), {Unary::kRelu}, true, true, 4e-5);
  check_conv(shape2(70, 64, 56, 56, 1), {Unary::kLeakyRelu, 0.1f}, false, true);
}

TEST_CASE("direct: few output channels, or few input channels under a large kernel") {
  const auto chosen = [](const ConvShape& s) {
    const std::vector<float> w(static_cast<size_t>(s.out_channels * (s.in_channels / s.groups) * s.kernel[0] * s.kernel[1]));
    auto plan = ConvPlan::create(s, w.data(), nullptr);
    REQUIRE(plan.ok());
    return std::string(plan->kernel()).starts_with("direct");
  };
  CHECK(chosen(shape2(3, 64, 224, 224, 7, 2, 3)));
  CHECK(chosen(shape2(8, 3, 64, 96, 9, 1, 4)));
  CHECK_FALSE(chosen(shape2(8, 3, 64, 96, 1)));
  CHECK_FALSE(chosen(shape2(64, 128, 56, 56, 3, 2, 1)));
  for (int64_t stride : {1, 2, 3})
    for (int64_t pad : {0, 1, 4, 9}) {
      check_conv(shape2(3, 13, 50, 150, 7, stride, pad), {Unary::kRelu}, true, stride == 1);
      check_conv(shape2(9, 3, 40, 96, 4, stride, pad, 1, 2), {Unary::kLeakyRelu, 0.1f}, true, pad == 1, 4e-5);
      check_conv(shape2(6, 8, 33, 97, 3, stride, pad, 2), {Unary::kSilu}, false, true);
    }
  // k in several parts; more padding than picture.
  check_conv(shape2(40, 5, 20, 64, 9, 1, 4), {Unary::kRelu}, true, true, 1e-4);
  check_conv(shape2(2, 4, 3, 5, 5, 1, 40));
  ConvShape s = shape2(4, 6, 32, 32, 3);
  s.batch = 2;
  s.pad_before = {0, 2, 0};
  s.pad_after = {3, 1, 0};
  s.stride = {2, 1, 1};
  s.kernel = {3, 2, 1};
  check_conv(s);
}

TEST_CASE("Winograd's method: within 1e-5 of the largest sum, chosen where it pays") {
  const auto chosen = [](const ConvShape& s, bool allow = true) {
    const std::vector<float> w(static_cast<size_t>(s.in_channels * s.out_channels * 9));
    auto plan = ConvPlan::create(s, w.data(), nullptr, {}, allow);
    REQUIRE(plan.ok());
    return std::string(plan->kernel()).starts_with("winograd");
  };
  const bool vectors = kernel_target() != "scalar";
  CHECK(chosen(shape2(64, 64, 56, 56, 3, 1, 1)) == vectors);
  CHECK_FALSE(chosen(shape2(64, 64, 56, 56, 3, 1, 1), false));
  CHECK_FALSE(chosen(shape2(64, 64, 7, 7, 3, 1, 1)));
  CHECK_FALSE(chosen(shape2(64, 64, 56, 56, 3, 2, 1)));
  for (int64_t pad : {0, 1, 2})
    for (auto [h, w] : {std::pair<int64_t, int64_t>{14, 14}, {28, 13}, {12, 100}, {57, 30}, {13, 205}})
      check_conv(shape2(17, 21, h, w, 3, 1, pad), {Unary::kLeakyRelu, 0.1f}, true, pad == 1, 4e-5);
  check_conv(shape2(160, 40, 28, 28, 3, 1, 1), {Unary::kRelu}, true, false, 1e-4);
  check_conv(shape2(32, 64, 20, 20, 3, 1, 1, 2), {Unary::kSilu}, true, true, 4e-5);
  ConvShape s = shape2(16, 16, 16, 24, 3);
  s.pad_before = {2, 0, 0};
  s.pad_after = {0, 2, 0};
  s.batch = 3;
  check_conv(s, {Unary::kClip, -1, 1}, true, false, 4e-5);
}

TEST_CASE("Winograd's method behind an axis of depth") {
  const auto volume = [](int64_t in, int64_t out, std::array<int64_t, 3> size, int64_t depth_taps) {
    ConvShape s;
    s.rank = 3;
    s.in_channels = in, s.out_channels = out;
    s.in = size;
    s.kernel = {depth_taps, 3, 3};
    s.pad_before = s.pad_after = {depth_taps / 2, 1, 1};
    return s;
  };
  const auto kernel = [](const ConvShape& s) {
    const std::vector<float> w(static_cast<size_t>(s.in_channels / s.groups * s.out_channels * s.kernel[0] * 9));
    auto plan = ConvPlan::create(s, w.data(), nullptr, {});
    REQUIRE(plan.ok());
    return std::string(plan->kernel());
  };
  ConvShape s = volume(18, 20, {5, 13, 12}, 3);
  if (kernel_target() != "scalar") CHECK(kernel(s).starts_with("winograd"));
  check_conv(s, {Unary::kRelu}, true, true, 4e-5);
  s.stride[0] = 2, s.dilation[0] = 2, s.pad_before[0] = 3, s.pad_after[0] = 0;
  check_conv(s, {Unary::kSilu}, true, false, 4e-5);
  s = volume(32, 34, {2, 16, 9}, 2);
  s.groups = 2;
  s.batch = 2;
  s.pad_before = {0, 2, 1}, s.pad_after = {4, 0, 2};
  if (kernel_target() != "scalar") CHECK(kernel(s).starts_with("winograd"));
  check_conv(s, {}, false, true, 4e-5);
  check_conv(volume(16, 16, {3, 28, 28}, 1), {Unary::kLeakyRelu, 0.1f}, true, false, 4e-5);
  // Weights that outweigh a block.
  check_conv(volume(130, 132, {2, 12, 12}, 3), {Unary::kRelu}, true, false, 1e-4);
  s = volume(64, 64, {8, 56, 56}, 3);
  s.stride = {1, 2, 2};
  CHECK_FALSE(kernel(s).starts_with("winograd"));
}

TEST_CASE("channels innermost: Winograd's tiles of 2x2 outputs, where weights weigh more than sums") {
  const auto kernel = [](const ConvShape& s) {
    const std::vector<float> w(static_cast<size_t>(s.in_channels * s.out_channels * 9));
    auto plan = ConvNhwcPlan::create(s, w.data(), nullptr);
    REQUIRE(plan.ok());
    return std::string(plan->kernel());
  };
  for (auto [h, w] : {std::pair<int64_t, int64_t>{2, 2}, {3, 2}, {2, 5}, {6, 2}})
    for (int64_t pad : {1, 2}) {
      ConvShape s = shape2(67, 53, h, w, 3, 1, 1);
      s.batch = 41;
      if (pad == 2) s.pad_before = {2, 0, 0}, s.pad_after = {0, 2, 0};
      if (kernel_target() != "scalar") CHECK(kernel(s).find("winograd 2x2") != std::string::npos);
      check_conv(s, {pad == 1 ? Unary::kSilu : Unary::kLeakyRelu, 0.1f}, true, pad == 1, 4e-5);
    }
  ConvShape s = shape2(48, 32, 13, 13, 3, 1, 1);
  check_conv(s, {Unary::kRelu}, true, true, 4e-5);
  s = shape2(160, 224, 14, 14, 3, 1, 1);
  if (kernel_target().starts_with("avx3")) {
    CHECK(kernel(s).find("winograd 2x2") != std::string::npos);
    CHECK(kernel(shape2(64, 64, 56, 56, 3, 1, 1)).find("winograd 4x4") != std::string::npos);
  }
  check_conv(s, {}, false, true, 1e-4);
}

TEST_CASE("weights that weigh more than images: threads share by output channels") {
  check_conv(shape2(140, 500, 9, 9, 3, 2, 1), {Unary::kRelu}, true, true, 4e-4);
  check_conv(shape2(33, 490, 7, 5, 5, 1, 2), {Unary::kSilu}, true, false, 4e-4);
}

TEST_CASE("strongly dilated: taps that lie in the padding for whole tiles") {
  for (int64_t channels : {300, 1030})
    for (int64_t dilation : {6, 9, 12}) {
      check_conv(shape2(channels, 20, 9, 11, 3, 1, dilation, 1, dilation), {Unary::kSilu}, true, true, 4e-4);
      check_conv(shape2(channels, 7, 10, 5, 3, 2, dilation, 1, dilation), {Unary::kRelu}, false, true, 4e-4);
    }
  check_conv(shape2(1030, 9, 4, 4, 3, 1, 9, 1, 2), {Unary::kRelu}, true, true, 4e-4);  // some windows see nothing at all
}

TEST_CASE("grouped and depthwise convolutions") {
  check_conv(shape2(8, 12, 10, 9, 3, 1, 1, 4));
  check_conv(shape2(32, 32, 6, 6, 3, 2, 1, 2));
  for (int64_t stride : {1, 2, 3})
    for (int64_t k : {1, 3, 4, 5, 7}) {
      check_conv(shape2(5, 5, 19, 23, k, stride, k / 2, 5), {Unary::kClip, 0, 6});
      check_conv(shape2(3, 6, 9, 34, k, stride, 0, 3), {Unary::kHardSwish, 1.0f / 6, 0.5f}, true, true);
    }
  for (int64_t stride : {1, 2, 3})
    for (int64_t width : {3, 6, 19, 24}) check_conv(shape2(37, 37, 7, width, 3, stride, 1, 37), {Unary::kClip, 0, 6}, true, stride == 1);
  for (int64_t k : {3, 5, 7}) check_conv(shape2(133, 133, 7, 9, k, k == 5 ? 2 : 1, k / 2, 133), {Unary::kLeakyRelu, 0.1f}, true, k != 5);
  check_conv(shape2(133, 133, 6, 9, 5, 1, 2, 133), {Unary::kRelu}, true, true);
  check_conv(shape2(4, 4, 20, 20, 3, 1, 2, 4, 2));
  check_conv(shape2(4, 4, 20, 20, 3, 2, 3, 4, 3));
  check_conv(shape2(2, 2, 1, 1, 3, 1, 1, 2));
  // Few lines: channels are cut as well. Groups of their own for each thread, where pixels are few.
  check_conv(shape2(150, 150, 5, 5, 3, 1, 1, 150), {Unary::kClip, 0, 6}, true, true);
  check_conv(shape2(131, 131, 3, 4, 3, 2, 1, 131), {Unary::kHardSwish, 1.0f / 6, 0.5f});
  check_conv(shape2(64, 256, 5, 5, 1, 1, 0, 4), {Unary::kRelu, 0, 0}, true, true);
  check_conv(shape2(64, 64, 14, 13, 1, 1, 0, 4));
}

TEST_CASE("groups that fill vectors, and few channels, with channels innermost") {
  const auto kernel = [](const ConvShape& s) {
    const std::vector<float> w(static_cast<size_t>(s.out_channels * (s.in_channels / s.groups) * s.kernel[0] * s.kernel[1]));
    auto plan = ConvNhwcPlan::create(s, w.data(), nullptr);
    REQUIRE(plan.ok());
    return std::string(plan->kernel());
  };
  CHECK(kernel(shape2(3, 32, 64, 64, 3, 2, 1)) == "nhwc direct");
  CHECK(kernel(shape2(128, 32, 64, 64, 3, 2, 1)).starts_with("nhwc taps"));
  CHECK(kernel(shape2(64, 64, 14, 14, 3, 1, 1, 1)) != "nhwc direct");
  CHECK(kernel(shape2(96, 96, 14, 14, 3, 1, 1, 2)) == "nhwc direct");
  CHECK_FALSE(ConvNhwcPlan::takes(shape2(256, 256, 14, 14, 3, 1, 1, 2)));
  CHECK(ConvNhwcPlan::takes(shape2(256, 256, 14, 14, 3, 2, 1, 2)));
  // Groups of 2 to 48 channels, an odd number of them, the last vector partly filled.
  for (int64_t width : {2, 4, 8, 10, 12, 16, 24, 32, 48})
    for (int64_t stride : {1, 2}) {
      check_conv(shape2(5 * width, 5 * width, 9, 17, 3, stride, 1, 5), {Unary::kRelu}, true, stride == 1, 4e-5);
      check_conv(shape2(4 * width, 4 * width, 7, 7, 3, stride, 1, 4), {Unary::kSilu}, false, stride == 2, 4e-5);
    }
  // Windows whose inputs are shared by neighbours, and sums that are spread over lanes: every block of outputs, channels that leave
  // gaps, and groups that leave vectors partly empty.
  for (int64_t width : {2, 4, 8, 16})
    for (int64_t stride : {1, 2, 3})
      for (int64_t pixels : {4, 12, 13, 31, 56}) {
        check_conv(shape2(5 * width, 5 * width, 5, pixels, 3, stride, 1, 5), {Unary::kRelu}, true, stride != 2, 4e-5);
        check_conv(shape2(7 * width, 7 * width, 3, pixels, stride == 3 ? 1 : 5, stride, 2, 7), {Unary::kSilu}, true, false, 4e-5);
        check_conv(shape2(3 * width, 6 * width, 4, pixels, 3, stride, 2, 3, stride), {Unary::kHardSwish, 1.0f / 6, 0.5f}, false, stride == 1, 4e-5);
      }
  // Several bands of rows; kernels higher than the rows that are kept, and less high than the stride.
  check_conv(shape2(64, 64, 90, 70, 3, 1, 1, 8), {Unary::kRelu}, true, true, 4e-5);
  check_conv(shape2(64, 64, 91, 70, 3, 2, 1, 4), {Unary::kSilu}, true, false, 4e-5);
  for (const auto& [height, step] : {std::pair<int64_t, int64_t>{9, 1}, {2, 3}, {5, 3}, {3, 5}}) {
    ConvShape tall = shape2(48, 48, 23, 19, 3, 1, 1, 3);
    tall.kernel[0] = height, tall.stride[0] = step;
    check_conv(tall, {Unary::kRelu}, true, true, 4e-5);
    tall.in_channels = 4, tall.out_channels = 24, tall.groups = 1;
    check_conv(tall, {Unary::kRelu}, true, true, 4e-5);
  }
  // Plain products of groups, in whole blocks and not.
  for (int64_t side : {1, 5, 11, 23}) check_conv(shape2(80, 130, side, side + 1, 1, 1, 0, 2), {Unary::kGelu}, true, true, 4e-5);
  check_conv(shape2(60, 600, 4, 9, 3, 2, 1, 1), {Unary::kRelu});
  check_conv(shape2(140, 420, 9, 7, 3, 2, 1, 2), {Unary::kRelu}, true, true, 1e-4);  // more weights than the caches near a core hold
  // Groups that grow or shrink; uneven kernels and padding; dilation; one output; pictures smaller than the padding.
  check_conv(shape2(12, 48, 8, 15, 3, 1, 1, 3), {Unary::kLeakyRelu, 0.1f}, true, true);
  check_conv(shape2(48, 24, 8, 15, 3, 1, 1, 3), {Unary::kGelu}, true, true, 4e-5);
  check_conv(shape2(8, 64, 11, 29, 5, 3, 2, 8), {Unary::kHardSwish, 1.0f / 6, 0.5f}, true, true);
  check_conv(shape2(32, 32, 12, 30, 3, 2, 3, 4, 3), {Unary::kClip, 0, 6});
  check_conv(shape2(32, 32, 3, 3, 3, 1, 0, 2));
  check_conv(shape2(48, 48, 2, 3, 5, 2, 7, 3), {Unary::kRelu}, true, true, 4e-5);
  check_conv(shape2(96, 96, 6, 20, 1, 1, 0, 6), {Unary::kTanh}, true, true, 4e-5);
  for (int64_t channels : {1, 2, 3, 8, 15, 27})
    for (int64_t width : {4, 7, 30, 113}) {
      check_conv(shape2(channels, 37, 10, width, 3, 2, 1), {Unary::kSilu}, true, true, 4e-5);
      check_conv(shape2(channels, 16, 9, width, 3, 1, 3, 1, 3), {Unary::kRelu}, true, width == 30, 4e-5);
    }
  ConvShape s = shape2(48, 72, 9, 20, 3, 1, 1, 6);
  s.batch = 3;
  s.kernel = {2, 3, 1};
  s.pad_before = {0, 2, 0};
  s.pad_after = {3, 0, 0};
  s.stride = {2, 1, 1};
  check_conv(s, {Unary::kSigmoid}, true, true, 4e-5);
}

// The same bits as the convolution and the pooling behind it give.
TEST_CASE("channels innermost: maxima over windows of a convolution that is not written") {
  struct Window {
    int64_t kernel, stride, pad;
  };
  for (const Window window : {Window{3, 2, 0}, Window{3, 2, 1}, Window{2, 2, 0}, Window{3, 1, 1}, Window{5, 3, 2}})
    for (int64_t channels : {3, 5})
      for (const auto& size : {std::array<int64_t, 3>{3, 2, 37}, {7, 2, 64}, {5, 1, 16}, {2, 3, 11}}) {
        const int64_t kernel = size[0], stride = size[1], out = size[2];
        ConvShape s = shape2(channels, out, 47, 61, kernel, stride, kernel / 2);
        s.batch = 2;
        PoolShape pool;
        pool.batch = 2, pool.channels = out;
        for (size_t i = 0; i < 2; ++i) {
          pool.in[i] = s.out()[i];
          pool.kernel[i] = window.kernel, pool.stride[i] = window.stride, pool.pad_before[i] = window.pad;
          // As ceil mode has it: the last window may end outside.
          pool.out[i] = (pool.in[i] + 2 * window.pad - window.kernel + window.stride - 1) / window.stride + 1;
          if ((pool.out[i] - 1) * window.stride >= pool.in[i] + window.pad) --pool.out[i];
        }
        auto x = numbers(static_cast<size_t>(2 * channels * 47 * 61), 1);
        x[x.size() / 3] = NAN;
        x[x.size() / 2] = INFINITY;
        const auto w = numbers(static_cast<size_t>(out * channels * kernel * kernel), 2), b = numbers(static_cast<size_t>(out), 3);
        for (bool planar : {false, true})
          on_every_target([&] {
            if (!ConvNhwcPlan::takes_max(s, pool) || (planar && !ConvNhwcPlan::takes_planar(s))) return;
            const Activation f{Unary::kClip, -0.5f, 2.0f};
            const auto floats = [&] { return w.data(); };
            auto whole = ConvNhwcPlan::prepare(s, floats, b.data(), f, true, nullptr, {}, planar);
            REQUIRE(whole.ok());
            AlignedBuffer scratch;
            REQUIRE(scratch.reset(whole->scratch_bytes()));
            std::vector<float> between(static_cast<size_t>(2 * out * pool.in[0] * pool.in[1])), want(static_cast<size_t>(2 * out * pool.out[0] * pool.out[1]));
            whole->run(x.data(), between.data(), out, nullptr, scratch.data<void>());
            pool_nhwc(Pool::kMax, pool, between.data(), want.data());
            auto plan = ConvNhwcPlan::prepare(s, floats, b.data(), f, true, nullptr, {}, planar, &pool);
            REQUIRE(plan.ok());
            REQUIRE(scratch.reset(plan->scratch_bytes()));
            std::fill_n(scratch.data(), plan->scratch_bytes() / sizeof(float), NAN);
            std::vector<float> y(want.size());
            plan->run(x.data(), y.data(), out, nullptr, scratch.data<void>());
            CAPTURE(plan->kernel());
            CAPTURE(window.kernel);
            int64_t wrong = 0;
            for (size_t i = 0; i < y.size(); ++i) wrong += std::isnan(want[i]) ? !std::isnan(y[i]) : y[i] != want[i];
            CHECK(wrong == 0);
          });
      }
  PoolShape pool;
  pool.channels = 64;
  pool.in = {112, 112, 1}, pool.out = {56, 56, 1}, pool.kernel = {3, 3, 1}, pool.stride = {2, 2, 1}, pool.pad_before = {1, 1, 0};
  const ConvShape stem = shape2(3, 64, 224, 224, 7, 2, 3);
  CHECK(ConvNhwcPlan::takes_max(stem, pool));
  const auto refused = [&](auto&& change) {
    PoolShape other = pool;
    change(other);
    return !ConvNhwcPlan::takes_max(stem, other);
  };
  CHECK(refused([](auto& o) { o.in[1] = 111; }));
  CHECK(refused([](auto& o) { o.channels = 63; }));
  CHECK(refused([](auto& o) { o.dilation[0] = 2; }));
  CHECK(refused([](auto& o) { o.stride[0] = 4; }));
  CHECK(refused([](auto& o) { o.kernel = {9, 9, 1}; }));
  CHECK_FALSE(ConvNhwcPlan::takes_max(shape2(32, 64, 112, 112, 3, 1, 1), pool));
}

TEST_CASE("channels innermost: few channels of a picture that is not so") {
  for (int64_t channels : {1, 3, 5, 8})
    for (int64_t stride : {1, 2, 3})
      for (int64_t dilation : {1, 2})
        for (int64_t k : {2, 3, 6}) {
          ConvShape s = shape2(channels, 37, 21, 44, k, stride, k / 2, 1, dilation);
          s.batch = 2;
          s.pad_after[1] = 4;
          if (!ConvNhwcPlan::takes_planar(s)) continue;
          const auto x = numbers(static_cast<size_t>(2 * channels * 21 * 44), 1), w = numbers(static_cast<size_t>(37 * channels * k * k), 2), b = numbers(37, 3);
          const auto want = channels_last(expected_conv(s, x, w, &b, nullptr, {Unary::kSilu}), 2, 37, 37, 0.0);
          on_every_target([&] {
            if (!ConvNhwcPlan::takes_planar(s)) return;
            auto plan = ConvNhwcPlan::prepare(s, [&] { return w.data(); }, b.data(), {Unary::kSilu}, true, nullptr, {}, true);
            REQUIRE(plan.ok());
            CHECK(std::string(plan->kernel()) == "nhwc direct planar");
            AlignedBuffer scratch;
            REQUIRE(scratch.reset(plan->scratch_bytes()));
            std::fill_n(scratch.data(), plan->scratch_bytes() / sizeof(float), NAN);
            std::vector<float> y(want.size());
            plan->run(x.data(), y.data(), 37, nullptr, scratch.data<void>());
            CHECK(distance(y, want) < 4e-5);
          });
        }
  CHECK(ConvNhwcPlan::takes_planar(shape2(3, 64, 224, 224, 7, 2, 3)));
  CHECK_FALSE(ConvNhwcPlan::takes_planar(shape2(64, 64, 56, 56, 3, 2, 1)));
  CHECK_FALSE(ConvNhwcPlan::takes_planar(shape2(4, 8, 56, 56, 3, 2, 1, 2)));
  CHECK_FALSE(ConvNhwcPlan::takes_planar(shape2(3, 8, 56, 56, 1)));
  // Rows of the copy that nobody has memory for.
  const int64_t far = int64_t{1} << 28;
  CHECK_FALSE(ConvNhwcPlan::takes_planar(shape2(3, 8, 2, 2, 3, far, 3 * far)));
  CHECK_FALSE(ConvNhwcPlan::takes(shape2(64, 64, 2, 2, 3, far, 3 * far, 2)));
}

TEST_CASE("one and three spatial axes, batches, uneven padding") {
  ConvShape s;
  s.rank = 1;
  s.batch = 3;
  s.in_channels = 6;
  s.out_channels = 10;
  s.in = {50, 1, 1};
  s.kernel = {3, 1, 1};
  s.stride = {2, 1, 1};
  s.pad_before = {0, 0, 0};
  s.pad_after = {4, 0, 0};
  check_conv(s);
  s.groups = 2;
  check_conv(s);
  s.in_channels = s.groups = s.out_channels = 6;
  check_conv(s);
  ConvShape v;
  v.rank = 3;
  v.batch = 2;
  v.in_channels = 3;
  v.out_channels = 5;
  v.in = {5, 6, 7};
  v.kernel = {3, 2, 3};
  v.stride = {1, 2, 1};
  v.dilation = {1, 1, 2};
  v.pad_before = {1, 0, 2};
  v.pad_after = {0, 1, 2};
  check_conv(v);
  v.in_channels = v.out_channels = v.groups = 3;
  check_conv(v);
}

TEST_CASE("channels innermost: float16 weights of a plain product stay so") {
  const ConvShape s = shape2(24, 50, 7, 9, 1);
  std::vector<uint16_t> half(24 * 50);
  std::vector<float> w(half.size());
  const auto raw = numbers(w.size(), 5), x = numbers(24 * 63, 6);
  for (size_t i = 0; i < w.size(); ++i) half[i] = float_to_half(raw[i]), w[i] = half_to_float(half[i]);
  const auto want = channels_last(expected_conv(s, x, w, nullptr, nullptr, {}), 1, 50, 50, 0.0);
  const auto in = channels_last(x, 1, 24, 24, 0.0f);
  on_every_target([&] {
    auto whole = ConvNhwcPlan::create(s, w.data(), nullptr), plan = ConvNhwcPlan::create(s, w.data(), nullptr, {}, true, half.data());
    REQUIRE(whole.ok());
    REQUIRE(plan.ok());
    CHECK(2 * plan->weight_bytes() == whole->weight_bytes());
    std::vector<float> y(want.size());
    plan->run(in.data(), y.data(), 50, nullptr, nullptr);
    CHECK(distance(y, want) < 2e-5);
  });
}

TEST_CASE("wrong convolution shapes are refused") {
  const std::vector<float> w(1000);
  auto refused = [&](ConvShape s) { return !ConvPlan::create(s, w.data(), nullptr).ok(); };
  CHECK(refused(shape2(3, 4, 5, 5, 3, 1, 0, 2)));
  CHECK(refused(shape2(3, 4, 2, 2, 3)));
  CHECK(refused(shape2(3, 4, 5, 5, 3, 0)));
  CHECK_FALSE(ConvNhwcPlan::takes(shape2(32, 32, 5, 5, 3, 0, 0, 2)));
  CHECK(refused(shape2(3, 4, 5, 5, 3, 1, -1)));
  CHECK(refused(shape2(0, 4, 5, 5, 3)));
  CHECK(refused(shape2(int64_t{1} << 40, int64_t{1} << 40, 5, 5, 1)));
  ConvShape s = shape2(1, 1, 5, 5, 1);
  s.rank = 4;
  CHECK(refused(s));
}

}  // namespace
}  // namespace mlt
