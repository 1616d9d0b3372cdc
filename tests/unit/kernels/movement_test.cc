#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "lib/base/float16.h"
#include "lib/kernels/aligned.h"
#include "lib/kernels/convert.h"
#include "lib/kernels/resize.h"
#include "lib/kernels/shuffle.h"
#include "lib/kernels/sort.h"
#include "lib/kernels/transpose.h"
#include "tests/unit/kernels/kernels_test.h"

namespace mlt {
namespace {

template <typename T>
void check_transpose(const std::vector<int64_t>& shape, const std::vector<int64_t>& perm) {
  size_t n = 1;
  for (int64_t d : shape) n *= static_cast<size_t>(d);
  std::vector<T> x(n), e(n);
  for (size_t i = 0; i < n; ++i) x[i] = static_cast<T>(i * 2654435761u);
  std::vector<int64_t> stride(shape.size());
  int64_t s = 1;
  for (size_t i = shape.size(); i-- > 0;) stride[i] = s, s *= shape[i];
  for (size_t i = 0; i < n; ++i) {
    size_t rest = i, from = 0;
    for (size_t a = shape.size(); a-- > 0;) {
      const auto p = static_cast<size_t>(perm[a]);
      from += rest % static_cast<size_t>(shape[p]) * static_cast<size_t>(stride[p]);
      rest /= static_cast<size_t>(shape[p]);
    }
    e[i] = x[from];
  }
  on_every_target([&] {
    std::vector<T> y(n, T{77});
    transpose(x.data(), y.data(), shape, perm, sizeof(T));
    CHECK(y == e);
  });
}

TEST_CASE("transposition of every element size") {
  const std::vector<std::vector<int64_t>> shapes = {{40, 70}, {1, 33}, {5, 7, 9}, {2, 3, 35, 36}, {3, 1, 4, 1, 5}};
  for (const auto& shape : shapes) {
    std::vector<int64_t> perm(shape.size());
    std::iota(perm.begin(), perm.end(), 0);
    do {
      check_transpose<uint32_t>(shape, perm);
      check_transpose<uint8_t>(shape, perm);
      if (shape.size() < 4) {
        check_transpose<uint16_t>(shape, perm);
        check_transpose<uint64_t>(shape, perm);
      }
    } while (std::next_permutation(perm.begin(), perm.end()));
  }
  check_transpose<uint32_t>({0, 3}, {1, 0});
  // Three planes to pixels of three, and back.
  for (int64_t n : {1, 3, 4, 7, 33, 5000})
    for (int64_t batch : {1, 2}) {
      check_transpose<uint32_t>({batch, 3, n}, {0, 2, 1});
      check_transpose<uint32_t>({batch, n, 3}, {0, 2, 1});
    }
}

TEST_CASE("strided copies: slices, reversal, broadcast, fill") {
  on_every_target([] {
    std::vector<float> x(60);
    std::iota(x.begin(), x.end(), 0.0f);
    // x[4, 15][::2, 12::-3], into the middle of a larger array.
    StridedCopy p;
    p.rank = 2;
    p.shape = {2, 5};
    p.in_stride = {30, -3};
    p.out_stride = {10, 1};
    std::vector<float> y(20, -1.0f);
    strided_copy(p, x.data() + 12, y.data() + 2, 4);
    CHECK(std::vector<float>(y.begin(), y.begin() + 8) == std::vector<float>{-1, -1, 12, 9, 6, 3, 0, -1});
    CHECK(std::vector<float>(y.begin() + 12, y.begin() + 18) == std::vector<float>{42, 39, 36, 33, 30, -1});
    p.in_stride = {1, 0};
    p.out_stride = {5, 1};
    strided_copy(p, x.data() + 7, y.data(), 4);
    CHECK(std::vector<float>(y.begin(), y.begin() + 10) == std::vector<float>{7, 7, 7, 7, 7, 8, 8, 8, 8, 8});
    const float v = 3;
    p.out_stride = {10, 2};
    strided_fill(p, &v, y.data(), 4);
    CHECK((y[0] == 3 && y[1] == 7 && y[8] == 3 && y[10] == 3 && y[18] == 3));
    std::vector<float> scalar(1);
    StridedCopy none;
    strided_copy(none, &v, scalar.data(), 4);
    CHECK(scalar[0] == 3);
  });
}

TEST_CASE("strided copies past the caches, from and to any alignment") {
  on_every_target([] {
    std::vector<float> x(40'000);
    std::iota(x.begin(), x.end(), 0.0f);
    StridedCopy p;
    p.rank = 2;
    p.in_stride = {9'000, 1};
    p.out_stride = {8'200, 1};
    p.stream = true;
    for (int64_t n : {1, 255, 256, 259, 1'000, 8'199})
      for (size_t from : {0, 1, 15})
        for (size_t to : {0, 3, 4}) {
          CAPTURE(n);
          p.shape = {3, n};
          std::vector<float> y(30'000, -1.0f), want = y;
          for (int64_t i = 0; i < 3; ++i) std::copy_n(x.begin() + static_cast<int64_t>(from) + i * 9'000, n, want.begin() + static_cast<int64_t>(to) + i * 8'200);
          strided_copy(p, x.data() + from, y.data() + to, 4);
          CHECK(y == want);
        }
  });
}

TEST_CASE("gathering rows") {
  const std::vector<uint16_t> x{1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16};
  const std::vector<int32_t> index{2, 0, -1, 3, -4};
  std::vector<uint16_t> y(20, 99);
  gather_rows(x.data(), index.data(), y.data(), 2, 3, 2, 5, 2);
  CHECK(y == std::vector<uint16_t>{5, 6, 1, 2, 5, 6, 0, 0, 0, 0, 15, 16, 11, 12, 15, 16, 0, 0, 0, 0});
}

TEST_CASE("resampling by tables") {
  const int64_t planes = 3, h = 7, w = 9;
  const auto x = numbers(planes * h * w, 1);
  std::vector<float> last(x.size());  // channels last, a plane each
  for (int64_t p = 0; p < planes; ++p)
    for (int64_t i = 0; i < h * w; ++i) last[static_cast<size_t>(i * planes + p)] = x[static_cast<size_t>(p * h * w + i)];
  for (const auto& size : {std::pair<int64_t, int64_t>{14, 37}, {3, 4}, {7, 9}, {20, 1}, {1, 64}}) {
    const int64_t oh = size.first, ow = size.second;
    std::vector<double> py, px;
    std::vector<int64_t> ny, nx;
    for (int64_t i = 0; i < oh; ++i) py.push_back((static_cast<double>(i) + 0.5) * h / static_cast<double>(oh) - 0.5);  // before the first, too
    for (int64_t i = 0; i < ow; ++i) px.push_back(ow > 1 ? static_cast<double>(i * (w - 1)) / static_cast<double>(ow - 1) : 0);
    for (int64_t i = 0; i < oh; ++i) ny.push_back(i * h / oh);
    for (int64_t i = 0; i < ow; ++i) nx.push_back(i * w / ow);
    std::vector<double> linear, nearest;
    for (int64_t p = 0; p < planes; ++p)
      for (size_t r = 0; r < py.size(); ++r)
        for (size_t c = 0; c < px.size(); ++c) {
          const auto at = [&](int64_t y, int64_t q) { return static_cast<double>(x[static_cast<size_t>((p * h + y) * w + q)]); };
          const double fy = std::clamp(py[r], 0.0, h - 1.0), fx = px[c];
          const int64_t y0 = static_cast<int64_t>(fy), x0 = static_cast<int64_t>(fx), y1 = std::min(h - 1, y0 + 1), x1 = std::min(w - 1, x0 + 1);
          const double wy = fy - static_cast<double>(y0), wx = fx - static_cast<double>(x0);
          linear.push_back((at(y0, x0) * (1 - wx) + at(y0, x1) * wx) * (1 - wy) + (at(y1, x0) * (1 - wx) + at(y1, x1) * wx) * wy);
          nearest.push_back(at(ny[r], nx[c]));
        }
    const ResizeAxis ly = ResizeAxis::linear(h, py), lx = ResizeAxis::linear(w, px);
    on_every_target([&] {
      std::vector<float> y(linear.size()), turned(linear.size());
      resize_linear(x.data(), y.data(), planes, ly, lx);
      CHECK(distance(y, linear) < 1e-6);
      resize_linear_nhwc(last.data(), planes, turned.data(), planes, 1, planes, ly, lx);
      for (int64_t p = 0; p < planes; ++p)
        for (int64_t i = 0; i < oh * ow; ++i) y[static_cast<size_t>(p * oh * ow + i)] = turned[static_cast<size_t>(i * planes + p)];
      CHECK(distance(y, linear) < 1e-6);
      // The same among wider pixels.
      const int64_t wide = planes + 3;
      std::vector<float> spread(last.size() / static_cast<size_t>(planes) * static_cast<size_t>(wide), NAN), placed(turned.size() / static_cast<size_t>(planes) * static_cast<size_t>(wide), 7);
      for (size_t i = 0; i < last.size(); ++i) spread[i / static_cast<size_t>(planes) * static_cast<size_t>(wide) + i % static_cast<size_t>(planes)] = last[i];
      resize_linear_nhwc(spread.data(), wide, placed.data(), wide, 1, planes, ly, lx);
      for (size_t i = 0; i < placed.size(); ++i) {
        const size_t c = i % static_cast<size_t>(wide), p = i / static_cast<size_t>(wide);
        REQUIRE(placed[i] == (c < static_cast<size_t>(planes) ? turned[p * static_cast<size_t>(planes) + c] : 7));
      }
      resize_nearest(x.data(), y.data(), planes, ResizeAxis::nearest(h, ny), ResizeAxis::nearest(w, nx));
      CHECK(distance(y, nearest) == 0);
    });
  }
}

TEST_CASE("resampling of lines that are longer than a block") {
  const int64_t h = 2, w = 5003;
  const auto x = numbers(h * w, 4);
  const std::vector<double> py{0.0, 0.25, 1.0}, px{0.0, 7.5, 4998.25, 5002.0};
  const ResizeAxis ly = ResizeAxis::linear(h, py), lx = ResizeAxis::linear(w, px);
  std::vector<double> expected;
  for (double fy : py)
    for (double fx : px) {
      const auto column = [&](int64_t at) { return (1 - fy) * static_cast<double>(x[static_cast<size_t>(at)]) + fy * static_cast<double>(x[static_cast<size_t>(w + at)]); };
      const auto at = static_cast<int64_t>(fx);
      const double weight = fx - static_cast<double>(at);
      expected.push_back((1 - weight) * column(at) + weight * column(std::min(w - 1, at + 1)));
    }
  on_every_target([&] {
    std::vector<float> y(expected.size());
    resize_linear(x.data(), y.data(), 1, ly, lx);
    CHECK(distance(y, expected) < 1e-6);
    // As one pixel of many channels each: more than are blended at once.
    std::vector<float> mixed(static_cast<size_t>(3 * w));
    resize_linear_nhwc(x.data(), w, mixed.data(), w, 1, w, ly, ResizeAxis::linear(1, std::vector<double>{0.0}));
    for (size_t r = 0; r < 3; ++r)
      for (size_t c = 0; c < 4; c += 3) CHECK(std::fabs(static_cast<double>(mixed[r * 5003 + (c == 0 ? 0 : 5002)]) - expected[r * 4 + c]) < 1e-6);
  });
}

TEST_CASE("halves: every value there, rounding back as the scalar form does") {
  on_every_target([] {
    std::vector<uint16_t> h(65536), back(65536);
    std::iota(h.begin(), h.end(), uint16_t{0});
    std::vector<float> f(65536);
    half_to_float(h.data(), f.data(), 65536);
    bool same = true;
    for (size_t i = 0; i < 65536; ++i) {
      const float e = half_to_float(static_cast<uint16_t>(i));
      same = same && (f[i] == e || (std::isnan(f[i]) && std::isnan(e)));
    }
    CHECK(same);
    // Halfway between neighbours and a little to each side.
    std::vector<float> g;
    for (size_t i = 0; i + 1 < 0x7c00; i += 3) {
      const float m = (half_to_float(static_cast<uint16_t>(i)) + half_to_float(static_cast<uint16_t>(i + 1))) / 2;
      for (float v : {m, std::nextafter(m, 1e9f), std::nextafter(m, -1e9f), -m}) g.push_back(v);
    }
    for (float v : {65504.0f, 65519.9f, 65520.0f, 1e30f, INFINITY, 1e-30f}) g.push_back(v);
    back.resize(g.size());
    float_to_half(g.data(), back.data(), static_cast<int64_t>(g.size()));
    same = true;
    for (size_t i = 0; i < g.size(); ++i) same = same && back[i] == float_to_half(g[i]);
    CHECK(same);
    std::vector<float> r(g.size());
    round_to_half(g.data(), r.data(), static_cast<int64_t>(g.size()));
    same = true;
    for (size_t i = 0; i < g.size(); ++i) same = same && r[i] == half_to_float(back[i]);
    CHECK(same);
  });
}

TEST_CASE("integers in and out") {
  on_every_target([] {
    std::vector<int8_t> q(301), p(301);
    std::vector<uint8_t> u(301);
    for (size_t i = 0; i < q.size(); ++i) q[i] = static_cast<int8_t>(i), u[i] = static_cast<uint8_t>(i * 7);
    std::vector<float> x(301), y(301);
    dequantize(q.data(), x.data(), 301, 0.25f, -3);
    dequantize(u.data(), y.data(), 301, 0.5f, 128);
    for (size_t i = 0; i < q.size(); ++i) {
      CHECK(x[i] == (static_cast<float>(q[i]) + 3) * 0.25f);
      CHECK(y[i] == (static_cast<float>(u[i]) - 128) * 0.5f);
    }
    quantize(x.data(), p.data(), 301, 0.25f, -3);
    CHECK(p == q);
    const std::vector<float> odd{1e9f, -1e9f, NAN, 0.5f, 1.5f, 2.5f, -0.5f};
    std::vector<uint8_t> o(7);
    quantize(odd.data(), o.data(), 7, 1, 10);
    CHECK(o == std::vector<uint8_t>{255, 0, 10, 10, 12, 12, 10});
    const std::vector<float> far{1e10f, -1e10f, NAN, 2.9f, -2.9f};
    std::vector<int32_t> i32(5);
    float_to_int32(far.data(), i32.data(), 5);
    CHECK(i32 == std::vector<int32_t>{INT32_MAX, INT32_MIN, 0, 2, -2});
    std::vector<float> table(256), out(100000), expected(100000);
    std::iota(table.begin(), table.end(), 5.0f);
    for (int bits : {1, 2, 3, 4, 6, 8}) {
      std::vector<uint8_t> packed(100001);
      for (size_t i = 0; i < expected.size(); ++i) {
        const unsigned v = static_cast<unsigned>(i * 2654435761u >> 7) & ((1u << bits) - 1);
        expected[i] = table[v];
        for (size_t b = 0; b < static_cast<size_t>(bits); ++b)
          packed[(i * static_cast<size_t>(bits) + b) / 8] |=
              static_cast<uint8_t>((v >> b & 1) << ((i * static_cast<size_t>(bits) + b) % 8));
      }
      for (int64_t n : {100000, 99999, 1}) {
        palette_lookup_packed(packed.data(), bits, table.data(), out.data(), n);
        CHECK(std::equal(out.begin(), out.begin() + n, expected.begin()));
      }
    }
    const std::vector<uint8_t> index{3, 17, 255};
    palette_lookup(index.data(), table.data(), 16, out.data(), 3);
    CHECK((out[0] == 8 && out[1] == 6 && out[2] == 20));
  });
}

TEST_CASE("sorting is stable, and NaN comes last") {
  const std::vector<float> x{3, 1, NAN, 2, 1, -INFINITY, 3, NAN};
  std::vector<int32_t> i(8);
  std::vector<float> v(3);
  arg_sort(x.data(), i.data(), 1, 8, 1, false, nullptr);
  CHECK(i == std::vector<int32_t>{5, 1, 4, 3, 0, 6, 2, 7});
  arg_sort(x.data(), i.data(), 1, 8, 1, true, nullptr);
  CHECK(i == std::vector<int32_t>{0, 6, 3, 1, 4, 5, 2, 7});
  arg_sort(x.data(), i.data(), 1, 4, 2, false, nullptr);
  CHECK(i == std::vector<int32_t>{2, 2, 0, 0, 3, 1, 1, 3});
  top_k(x.data() + 3, v.data(), i.data(), 1, 4, 1, 3, false, nullptr);
  CHECK(v == std::vector<float>{3, 2, 1});
  CHECK((i[0] == 3 && i[1] == 0 && i[2] == 1));
  const std::vector<float> zeros{0.0f, -0.0f, 0.0f};
  arg_sort(zeros.data(), i.data(), 1, 3, 1, true, nullptr);
  CHECK((i[0] == 0 && i[1] == 1 && i[2] == 2));
}

TEST_CASE("the best of slices, few and many, are those of a stable sort") {
  for (int64_t axis : {1, 15, 70, 1000})
    for (int64_t inner : {1, 3})
      for (int64_t k : {int64_t{1}, int64_t{5}, int64_t{64}, int64_t{65}, axis}) {
        if (k > axis) continue;
        const int64_t outer = 21, lanes = outer * inner;
        std::vector<int32_t> x(static_cast<size_t>(lanes * axis));
        for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int32_t>(i * 7919 % 211) - 100;
        std::vector<float> floats(x.begin(), x.end());
        for (size_t i = 5; i < floats.size(); i += 97) floats[i] = NAN;
        for (bool ascending : {false, true}) {
          AlignedBuffer scratch;
          REQUIRE(scratch.reset(std::max<size_t>(1, sort_scratch_bytes(lanes, axis, k))));
          const auto check = [&]<typename T>(const std::vector<T>& in) {
            std::vector<T> values(static_cast<size_t>(lanes * k));
            std::vector<int32_t> indices(values.size());
            top_k(in.data(), values.data(), indices.data(), outer, axis, inner, k, ascending, scratch.data<void>());
            bool same = true;
            for (int64_t lane = 0; lane < lanes; ++lane) {
              const T* from = in.data() + lane / inner * axis * inner + lane % inner;
              std::vector<int32_t> order(static_cast<size_t>(axis));
              for (size_t a = 0; a < order.size(); ++a) order[a] = static_cast<int32_t>(a);
              std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
                const T p = from[a * inner], q = from[b * inner];
                if (p != p || q != q) return p == p;
                return ascending ? p < q : p > q;
              });
              for (int64_t j = 0; j < k; ++j) {
                const size_t at = static_cast<size_t>(lane / inner * k * inner + j * inner + lane % inner);
                const T want = from[order[static_cast<size_t>(j)] * inner];
                same = same && indices[at] == order[static_cast<size_t>(j)] && std::memcmp(&values[at], &want, sizeof want) == 0;
              }
            }
            CHECK(same);
          };
          CAPTURE(axis);
          CAPTURE(inner);
          CAPTURE(k);
          check(x);
          check(floats);
        }
      }
}

TEST_CASE("gathering along an axis") {
  const std::vector<uint16_t> x{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};  // [2, 3, 2]
  const std::vector<int32_t> index{0, -1, 2, 1, 3, 0, -3, -4};           // [2, 2, 2]
  std::vector<uint16_t> y(8);
  gather_along(x.data(), index.data(), y.data(), 2, 3, 2, 2, 2);
  CHECK(y == std::vector<uint16_t>{1, 6, 5, 4, 0, 8, 7, 0});
  std::vector<double> wide{1, 2, 3}, out(2);
  gather_along(wide.data(), std::vector<int32_t>{2, -3}.data(), out.data(), 1, 3, 1, 2, 8);
  CHECK(out == std::vector<double>{3, 1});
}

TEST_CASE("channel shuffles in both orders, whole and in parts") {
  for (int64_t groups : {1, 2, 3, 4, 5, 8})
    for (int64_t width : {1, 3, 16, 29, 58})
      for (int64_t pixels : {1, 6, 35}) {
        const int64_t channels = groups * width, batch = 2;
        const auto x = numbers(static_cast<size_t>(batch * channels * pixels), 9);
        for (int64_t first : {int64_t{0}, width / 2 * groups})
          for (int64_t count : {channels - first, groups}) {
            // [batch, channel, pixel], and [batch * pixel, channel] with a gap behind each.
            std::vector<float> planes(static_cast<size_t>(batch * count * pixels)), last(static_cast<size_t>(batch * pixels * (count + 3)), 777.0f);
            for (int64_t n = 0; n < batch; ++n)
              for (int64_t c = 0; c < count; ++c)
                for (int64_t p = 0; p < pixels; ++p) {
                  const int64_t from = (first + c) % groups * width + (first + c) / groups;
                  planes[static_cast<size_t>((n * count + c) * pixels + p)] = x[static_cast<size_t>((n * channels + from) * pixels + p)];
                  last[static_cast<size_t>((n * pixels + p) * (count + 3) + c)] = x[static_cast<size_t>((n * pixels + p) * channels + from)];
                }
            on_every_target([&] {
              std::vector<float> y(planes.size()), z(last.size(), 777.0f);
              shuffle_planes(x.data(), y.data(), batch, groups, width, pixels, first, count);
              shuffle_channels_nhwc(x.data(), z.data(), batch * pixels, groups, width, first, count, count + 3);
              CHECK(y == planes);
              CHECK(z == last);
            });
          }
      }
}

}  // namespace
}  // namespace mlt
