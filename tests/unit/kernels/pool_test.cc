#include "lib/kernels/pool.h"

#include <algorithm>

#include "lib/kernels/conv.h"
#include "lib/kernels/nhwc.h"
#include "tests/unit/kernels/kernels_test.h"

namespace mlt {
namespace {

std::vector<double> expected_pool(Pool op, const PoolShape& s, const std::vector<float>& x) {
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1}, before{}, after{};
  for (size_t i = 0; i < static_cast<size_t>(s.rank); ++i) {
    const size_t a = 3 - static_cast<size_t>(s.rank) + i;
    in[a] = s.in[i], out[a] = s.out[i], kernel[a] = s.kernel[i], stride[a] = s.stride[i], dilation[a] = s.dilation[i];
    before[a] = s.pad_before[i], after[a] = s.pad_after[i];
  }
  std::vector<double> y;
  for (int64_t c = 0; c < s.batch * s.channels; ++c)
    for (int64_t z = 0; z < out[0]; ++z)
      for (int64_t r = 0; r < out[1]; ++r)
        for (int64_t q = 0; q < out[2]; ++q) {
          double sum = 0, best = -INFINITY;
          int64_t count = 0;
          for (int64_t kz = 0; kz < kernel[0]; ++kz)
            for (int64_t ky = 0; ky < kernel[1]; ++ky)
              for (int64_t kx = 0; kx < kernel[2]; ++kx) {
                const int64_t at[3] = {z * stride[0] + kz * dilation[0] - before[0], r * stride[1] + ky * dilation[1] - before[1],
                                       q * stride[2] + kx * dilation[2] - before[2]};
                bool inside = true, padded = true;
                for (size_t a = 0; a < 3; ++a) {
                  inside = inside && at[a] >= 0 && at[a] < in[a];
                  padded = padded && at[a] >= -before[a] && at[a] < in[a] + after[a];
                }
                if (inside || (padded && s.count_padding)) ++count;
                if (!inside) continue;
                const double v = x[static_cast<size_t>(((c * in[0] + at[0]) * in[1] + at[1]) * in[2] + at[2])];
                best = v > best || std::isnan(v) ? v : best;
                sum += op == Pool::kL2 ? v * v : v;
              }
          y.push_back(op == Pool::kMax ? best : op == Pool::kL2 ? std::sqrt(sum) : count > 0 ? sum / static_cast<double>(count) : 0);
        }
  return y;
}

void check_pool(PoolShape s) {
  int64_t n_in = s.batch * s.channels, n_out = n_in;
  for (size_t i = 0; i < static_cast<size_t>(s.rank); ++i) n_in *= s.in[i], n_out *= s.out[i];
  auto x = numbers(static_cast<size_t>(n_in), 1);
  x[static_cast<size_t>(n_in / 3)] = NAN;
  for (Pool op : {Pool::kMax, Pool::kAverage, Pool::kL2})
    for (bool padding : {false, true}) {
      s.count_padding = padding;
      const auto e = expected_pool(op, s, x);
      on_every_target([&] {
        std::vector<float> y(static_cast<size_t>(n_out));
        pool(op, s, x.data(), y.data());
        CAPTURE(static_cast<int>(op));
        CAPTURE(s.in[0]);
        CAPTURE(s.kernel[0]);
        CAPTURE(s.stride[0]);
        CHECK(distance(y, e) < 1e-5);
        if (s.rank != 2 || op == Pool::kL2 || s.kernel[0] > 16) return;
        // The same with channels innermost.
        const int64_t pixels_in = s.in[0] * s.in[1], pixels_out = s.out[0] * s.out[1];
        std::vector<float> in(x.size()), out(y.size()), back(y.size());
        for (int64_t c = 0; c < s.channels; ++c)
          for (int64_t p = 0; p < pixels_in; ++p) in[static_cast<size_t>(p * s.channels + c)] = x[static_cast<size_t>(c * pixels_in + p)];
        pool_nhwc(op, s, in.data(), out.data());
        for (int64_t c = 0; c < s.channels; ++c)
          for (int64_t p = 0; p < pixels_out; ++p) back[static_cast<size_t>(c * pixels_out + p)] = out[static_cast<size_t>(p * s.channels + c)];
        CHECK(distance(back, e) < 1e-5);
      });
    }
}

TEST_CASE("pooling agrees with double precision") {
  for (int64_t k : {1, 2, 3, 5})
    for (int64_t stride : {1, 2, 3})
      for (int64_t pad : {0, 1, 2}) {
        PoolShape s;
        // Vectors one at a time, two, four, with a rest or without.
        s.channels = k == 3 ? 37 : k == 2 ? 70 + 17 * pad : 3;
        s.in = {13, 45, 1};
        s.kernel = {k, k, 1};
        s.stride = {stride, stride, 1};
        s.pad_before = {pad, pad, 0};
        s.pad_after = {pad + 1, pad, 0};
        // Ceil mode: the last window may reach beyond the padding.
        s.out = {(13 + 2 * pad + 1 - k + stride - 1) / stride + 1, (45 + 2 * pad - k + stride - 1) / stride + 1, 1};
        check_pool(s);
      }
  PoolShape s;
  s.rank = 1;
  s.batch = 2;
  s.channels = 2;
  s.in = {100, 1, 1};
  s.kernel = {4, 1, 1};
  s.stride = {4, 1, 1};
  s.dilation = {3, 1, 1};
  s.out = {23, 1, 1};
  check_pool(s);
  s.in = {9000, 1, 1};
  s.kernel = {3, 1, 1};
  s.dilation = {1, 1, 1};
  s.stride = {2, 1, 1};
  s.out = {4499, 1, 1};
  check_pool(s);
  s.kernel = {5000, 1, 1};
  s.stride = {1, 1, 1};
  s.out = {5, 1, 1};
  check_pool(s);
  PoolShape v;
  v.rank = 3;
  v.channels = 2;
  v.in = {6, 7, 20};
  v.kernel = {2, 3, 3};
  v.stride = {2, 2, 2};
  v.pad_before = {0, 1, 1};
  v.pad_after = {0, 1, 1};
  v.out = {3, 4, 10};
  check_pool(v);
}

TEST_CASE("global pooling") {
  for (int64_t inner : {1, 7, 49, 10007}) {
    const auto x = numbers(static_cast<size_t>(3 * inner), 2);
    on_every_target([&] {
      std::vector<float> y(3);
      for (Pool op : {Pool::kMax, Pool::kAverage, Pool::kL2}) {
        std::vector<double> e(3);
        for (size_t i = 0; i < 3; ++i) {
          double sum = 0, best = -INFINITY;
          for (int64_t j = 0; j < inner; ++j) {
            const double v = x[i * static_cast<size_t>(inner) + static_cast<size_t>(j)];
            best = std::max(best, v);
            sum += op == Pool::kL2 ? v * v : v;
          }
          e[i] = op == Pool::kMax ? best : op == Pool::kL2 ? std::sqrt(sum) : sum / static_cast<double>(inner);
        }
        global_pool(op, x.data(), y.data(), 3, inner);
        CHECK(distance(y, e) < 1e-5);
      }
    });
  }
}

void check_transpose(const ConvTransposeShape& s, Activation f = {}) {
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1}, pad{};
  const auto size = s.out();
  for (size_t i = 0; i < static_cast<size_t>(s.rank); ++i) {
    const size_t a = 3 - static_cast<size_t>(s.rank) + i;
    in[a] = s.in[i], out[a] = size[i], kernel[a] = s.kernel[i], stride[a] = s.stride[i], dilation[a] = s.dilation[i],
    pad[a] = s.pad_before[i];
  }
  const int64_t ci = s.in_channels / s.groups, co = s.out_channels / s.groups;
  const int64_t pixels = in[0] * in[1] * in[2], plane = out[0] * out[1] * out[2], taps = kernel[0] * kernel[1] * kernel[2];
  const auto x = numbers(static_cast<size_t>(s.batch * s.in_channels * pixels), 1);
  const auto w = numbers(static_cast<size_t>(s.in_channels * co * taps), 2), b = numbers(static_cast<size_t>(s.out_channels), 3);
  std::vector<double> e(static_cast<size_t>(s.batch * s.out_channels * plane));
  for (size_t i = 0; i < e.size(); ++i) e[i] = b[i / static_cast<size_t>(plane) % static_cast<size_t>(s.out_channels)];
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t c = 0; c < s.in_channels; ++c)
      for (int64_t o = 0; o < co; ++o)
        for (int64_t p = 0; p < pixels; ++p)
          for (int64_t t = 0; t < taps; ++t) {
            const int64_t z = p / (in[1] * in[2]) * stride[0] + t / (kernel[1] * kernel[2]) * dilation[0] - pad[0];
            const int64_t y = p / in[2] % in[1] * stride[1] + t / kernel[2] % kernel[1] * dilation[1] - pad[1];
            const int64_t q = p % in[2] * stride[2] + t % kernel[2] * dilation[2] - pad[2];
            if (z < 0 || z >= out[0] || y < 0 || y >= out[1] || q < 0 || q >= out[2]) continue;
            const int64_t channel = c / ci * co + o;
            e[static_cast<size_t>((((n * s.out_channels + channel) * out[0] + z) * out[1] + y) * out[2] + q)] +=
                static_cast<double>(x[static_cast<size_t>((n * s.in_channels + c) * pixels + p)]) * w[static_cast<size_t>((c * co + o) * taps + t)];
          }
  if (f.op == Unary::kRelu)
    for (double& v : e) v = std::max(0.0, v);
  on_every_target([&] {
    auto plan = ConvTransposePlan::create(s, w.data(), b.data(), f);
    REQUIRE(plan.ok());
    AlignedBuffer scratch;
    REQUIRE(scratch.reset(plan->scratch_bytes()));
    std::vector<float> y(e.size(), 777.0f);
    plan->run(x.data(), y.data(), scratch.data<void>());
    CHECK(distance(y, e) < 2e-5);
  });
}

TEST_CASE("transposed convolutions agree with double precision") {
  ConvTransposeShape s;
  s.batch = 2;
  s.in_channels = 6;
  s.out_channels = 10;
  s.in = {7, 9, 1};
  for (int64_t k : {1, 2, 3, 4})
    for (int64_t stride : {1, 2, 3})
      for (int64_t groups : {1, 2}) {
        s.kernel = {k, k + 1, 1};
        s.stride = {stride, stride, 1};
        s.groups = groups;
        s.pad_before = {k / 2, 0, 0};
        s.pad_after = {0, k / 3, 0};
        s.output_padding = {0, stride - 1, 0};
        check_transpose(s, {Unary::kRelu});
      }
  s.groups = 1;
  s.kernel = {3, 3, 1};
  s.dilation = {2, 3, 1};
  check_transpose(s);
  s.in_channels = s.out_channels = s.groups = 4;
  check_transpose(s);
  ConvTransposeShape v;
  v.rank = 3;
  v.in_channels = 3;
  v.out_channels = 2;
  v.in = {3, 4, 5};
  v.kernel = {2, 3, 2};
  v.stride = {2, 1, 2};
  v.pad_before = {0, 1, 0};
  check_transpose(v);
  v.rank = 1;
  check_transpose(v);
  ConvTransposeShape large;  // several chunks
  large.in_channels = 2;
  large.out_channels = 5;
  large.in = {300, 300, 1};
  large.kernel = {2, 2, 1};
  large.stride = {2, 2, 1};
  check_transpose(large);
  large.pad_before = {700, 0, 0};
  CHECK_FALSE(ConvTransposePlan::create(large, nullptr, nullptr).ok());
}

}  // namespace
}  // namespace mlt
