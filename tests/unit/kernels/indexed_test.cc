// Borders, elements at given places, and integers and truth values element by element.
#include <algorithm>
#include <limits>

#include "lib/kernels/convert.h"
#include "lib/kernels/elementwise.h"
#include "lib/kernels/pad.h"
#include "lib/kernels/sample.h"
#include "lib/kernels/scatter.h"
#include "tests/unit/kernels/kernels_test.h"

namespace mlt {
namespace {

std::vector<int32_t> integers(size_t count, uint32_t seed, int32_t lo, int32_t hi) {
  std::vector<int32_t> v(count);
  for (size_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    v[i] = lo + static_cast<int32_t>((seed >> 8) % static_cast<uint32_t>(hi - lo + 1));
  }
  return v;
}

TEST_CASE("borders: constant, reflected, repeated, on any axis") {
  struct Case {
    std::vector<int64_t> in, before, after;
  };
  const Case cases[] = {
      {{5}, {2}, {3}}, {{3, 4}, {1, 2}, {2, 0}}, {{2, 5, 3}, {0, 4, 0}, {0, 1, 0}}, {{2, 3, 4, 33}, {0, 0, 3, 1}, {0, 2, 1, 17}}, {{4, 6, 7}, {3, 0, 0}, {0, 0, 0}}, {{2, 40, 50, 3}, {0, 3, 2, 0}, {0, 1, 4, 0}}};
  for (const Case& one : cases)
    for (PadMode mode : {PadMode::kConstant, PadMode::kReflect, PadMode::kReplicate}) {
      PadShape p;
      p.mode = mode;
      p.rank = static_cast<int>(one.in.size());
      std::copy(one.in.begin(), one.in.end(), p.in.begin());
      std::copy(one.before.begin(), one.before.end(), p.before.begin());
      std::copy(one.after.begin(), one.after.end(), p.after.begin());
      size_t n = 1, m = 1;
      for (size_t a = 0; a < one.in.size(); ++a) n *= static_cast<size_t>(one.in[a]), m *= static_cast<size_t>(one.in[a] + one.before[a] + one.after[a]);
      const auto x = numbers(n, 5);
      std::vector<float> e(m);
      for (size_t i = 0; i < m; ++i) {
        int64_t rest = static_cast<int64_t>(i), from = 0, step = 1;
        bool outside = false;
        for (size_t a = one.in.size(); a-- > 0;) {
          const int64_t extent = one.in[a], whole = extent + one.before[a] + one.after[a];
          int64_t at = rest % whole - one.before[a];
          rest /= whole;
          if (mode == PadMode::kConstant) outside = outside || at < 0 || at >= extent;
          if (mode == PadMode::kReflect) at = at < 0 ? -at : at >= extent ? 2 * (extent - 1) - at : at;
          if (mode == PadMode::kReplicate) at = std::clamp<int64_t>(at, 0, extent - 1);
          from += at * step;
          step *= extent;
        }
        e[i] = outside ? 7.5f : x[static_cast<size_t>(from)];
      }
      on_every_target([&] {
        std::vector<float> y(m, -1.0f);
        pad(p, x.data(), 7.5f, y.data());
        CHECK(y == e);
      });
    }
}

// Plainly, as the contract says.
float sampled(const SampleShape& s, const float* plane, double row, double column) {
  const auto at = [&](int64_t y, int64_t x) { return y >= 0 && x >= 0 && y < s.height && x < s.width ? plane[y * s.width + x] : s.value; };
  if (s.nearest) return std::isnan(row) || std::isnan(column) ? s.value : at(static_cast<int64_t>(std::nearbyint(row)), static_cast<int64_t>(std::nearbyint(column)));
  if (!(row > -1 && column > -1 && row < static_cast<double>(s.height) && column < static_cast<double>(s.width))) return s.value;
  const double r = std::floor(row), c = std::floor(column), wr = row - r, wc = column - c;
  double sum = 0;
  for (int k = 0; k < 4; ++k) {
    const double w = (k / 2 ? wr : 1 - wr) * (k % 2 ? wc : 1 - wc);
    if (w != 0) sum += w * static_cast<double>(at(static_cast<int64_t>(r) + k / 2, static_cast<int64_t>(c) + k % 2));
  }
  return static_cast<float>(sum);
}

TEST_CASE("images at arbitrary positions") {
  for (int64_t points : {1, 7, 255, 256, 300, 1000})
    for (bool nearest : {false, true})
      for (float value : {0.0f, 3.0f}) {
        const SampleShape s{2, 5, 6, 9, points, nearest, value};
        auto x = numbers(static_cast<size_t>(s.batch * s.channels * s.height * s.width), 3);
        x[20] = std::numeric_limits<float>::infinity();  // not to be touched by those beside it
        auto where = numbers(static_cast<size_t>(2 * s.batch * points), 9, -3, 11);
        for (size_t i = 0; i < where.size(); i += 5) where[i] = std::round(where[i]);
        where[0] = NAN;
        where.back() = 1e30f;
        if (points > 20) where[21] = -0.25f, where[22] = -1e30f;
        std::vector<float> e(static_cast<size_t>(s.batch * s.channels * points));
        for (int64_t i = 0; i < s.batch * s.channels; ++i)
          for (int64_t p = 0; p < points; ++p) {
            const size_t at = static_cast<size_t>(2 * (i / s.channels * points + p));
            e[static_cast<size_t>(i * points + p)] = sampled(s, x.data() + i * s.height * s.width, static_cast<double>(where[at]), static_cast<double>(where[at + 1]));
          }
        on_every_target([&] {
          std::vector<float> y(e.size(), -7.0f);
          sample_planes(s, x.data(), [&](int64_t image, int64_t first, int64_t n, double* rows, double* columns) {
            for (int64_t i = 0; i < n; ++i) {
              const size_t at = static_cast<size_t>(2 * (image * points + first + i));
              rows[i] = static_cast<double>(where[at]), columns[i] = static_cast<double>(where[at + 1]);
            }
          }, y.data());
          CHECK(distance(y, std::vector<double>(e.begin(), e.end())) < 1e-6);
        });
      }
}

template <typename T>
T combined(Scatter f, T a, T b) {
  switch (f) {
    case Scatter::kUpdate: return b;
    case Scatter::kAdd: return a + b;
    case Scatter::kSub: return a - b;
    case Scatter::kMul: return a * b;
    case Scatter::kDiv: return b == 0 && std::is_same_v<T, int32_t> ? 0 : a / b;
    case Scatter::kMax: return std::max(a, b);
    case Scatter::kMin: return std::min(a, b);
  }
  return a;
}

template <typename T>
void check_scatter(Scatter f, int64_t outer, int64_t inner, int64_t count) {
  const int64_t rows = 4, columns = 5, slices = rows * columns;
  std::vector<T> data(static_cast<size_t>(outer * slices * inner)), updates(static_cast<size_t>(outer * count * inner));
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<T>(i % 17);
  for (size_t i = 0; i < updates.size(); ++i) updates[i] = static_cast<T>(1 + i % 3);
  if (std::is_same_v<T, int32_t> && !updates.empty()) updates[0] = 0;
  auto index = integers(static_cast<size_t>(2 * count), 11, -5, 5);  // many twice, negative ones, and beyond either end
  std::vector<T> e = data;
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t t = 0; t < count; ++t) {
      int64_t r = index[static_cast<size_t>(2 * t)], c = index[static_cast<size_t>(2 * t + 1)];
      r += r < 0 ? rows : 0, c += c < 0 ? columns : 0;
      if (r < 0 || c < 0 || r >= rows || c >= columns) continue;
      for (int64_t i = 0; i < inner; ++i) {
        T& to = e[static_cast<size_t>(((o * rows + r) * columns + c) * inner + i)];
        to = combined(f, to, updates[static_cast<size_t>((o * count + t) * inner + i)]);
      }
    }
  const IndexTuples tuples{index.data(), 2, {rows, columns}};
  on_every_target([&] {
    std::vector<T> y = data;
    scatter_slices(f, tuples, updates.data(), y.data(), outer, slices, inner, count);
    CHECK(y == e);
    // What is read at the same places.
    std::vector<T> read(updates.size(), T{99}), there(updates.size(), T{0});
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t t = 0; t < count; ++t)
        for (int64_t i = 0, at = tuples.slice(t); i < inner && at >= 0; ++i)
          there[static_cast<size_t>((o * count + t) * inner + i)] = data[static_cast<size_t>((o * slices + at) * inner + i)];
    std::vector<int32_t> again;
    for (int64_t o = 0; o < outer; ++o) again.insert(again.end(), index.begin(), index.end());
    gather_tuples(data.data(), {again.data(), 2, {rows, columns}}, read.data(), outer, slices, inner, count, sizeof(T));
    CHECK(read == there);
  });
  // Along an axis, each element by its own index.
  auto along = integers(updates.size(), 13, -21, 21);
  e = data;
  for (int64_t i = 0; i < static_cast<int64_t>(updates.size()); ++i) {
    int64_t at = along[static_cast<size_t>(i)];
    at += at < 0 ? slices : 0;
    if (at < 0 || at >= slices) continue;
    T& to = e[static_cast<size_t>((i / (count * inner) * slices + at) * inner + i % inner)];
    to = combined(f, to, updates[static_cast<size_t>(i)]);
  }
  on_every_target([&] {
    std::vector<T> y = data;
    scatter_along(f, along.data(), updates.data(), y.data(), outer, slices, inner, count);
    CHECK(y == e);
  });
}

TEST_CASE("updates at given places, in their order, whatever the threads") {
  for (Scatter f : {Scatter::kUpdate, Scatter::kAdd, Scatter::kSub, Scatter::kMul, Scatter::kDiv, Scatter::kMax, Scatter::kMin})
    for (int64_t inner : {1, 3, 600})
      for (int64_t outer : {1, 3}) {
        check_scatter<float>(f, outer, inner, f == Scatter::kMul ? 9 : 40);
        check_scatter<int32_t>(f, outer, inner, f == Scatter::kMul ? 9 : 40);
      }
  check_scatter<float>(Scatter::kAdd, 2, 3, 0);
}

TEST_CASE("integers and truth values in vectors and at their ends") {
  constexpr int32_t kLow = std::numeric_limits<int32_t>::min(), kHigh = std::numeric_limits<int32_t>::max();
  const size_t rows = 3, n = 77;
  auto a = integers(rows * n, 1, -9, 9), b = integers(rows * n, 2, -9, 9);
  a[0] = a[40] = kLow, b[0] = -1, a[1] = kHigh, b[1] = 1, b[40] = kLow;
  const auto at = [&](const std::vector<int32_t>& v, const Broadcast& s, const std::array<int64_t, kMaxRank>& stride, size_t i) {
    return v[static_cast<size_t>(static_cast<int64_t>(i / static_cast<size_t>(s.shape[1])) * stride[0] + static_cast<int64_t>(i % static_cast<size_t>(s.shape[1])) * stride[1])];
  };
  const std::vector<int64_t> full = {rows, n}, row = {1, n}, column = {rows, 1}, one = {1, 1};
  for (const auto& [x, y] : {std::pair{full, full}, {full, row}, {full, column}, {column, full}, {one, full}, {full, one}, {column, row}}) {
    Broadcast s;
    REQUIRE(make_broadcast(x, y, &s));
    const size_t count = static_cast<size_t>(s.shape[0] * s.shape[1]);
    for (Binary op : {Binary::kAdd, Binary::kSub, Binary::kMul, Binary::kMax, Binary::kMin, Binary::kFloorDiv, Binary::kMod})
      on_every_target([&] {
        std::vector<int32_t> out(count);
        binary(op, s, a.data(), b.data(), out.data());
        for (size_t i = 0; i < count; ++i) {
          const int64_t u = at(a, s, s.a, i), v = at(b, s, s.b, i);
          const int64_t q = v == 0 ? 0 : static_cast<int64_t>(std::floor(static_cast<double>(u) / static_cast<double>(v)));
          const int64_t e = op == Binary::kAdd ? u + v : op == Binary::kSub ? u - v : op == Binary::kMul ? u * v : op == Binary::kMax ? std::max(u, v) : op == Binary::kMin ? std::min(u, v)
                                                                                              : op == Binary::kFloorDiv ? q : v == 0 ? 0 : u - q * v;
          CHECK(out[i] == static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint64_t>(e))));
        }
      });
    for (Compare op : {Compare::kEqual, Compare::kNotEqual, Compare::kLess, Compare::kLessEqual, Compare::kGreater, Compare::kGreaterEqual})
      on_every_target([&] {
        std::vector<uint8_t> out(count, 9);
        compare(op, s, a.data(), b.data(), out.data());
        for (size_t i = 0; i < count; ++i) {
          const int32_t u = at(a, s, s.a, i), v = at(b, s, s.b, i);
          const bool e = op == Compare::kEqual ? u == v : op == Compare::kNotEqual ? u != v : op == Compare::kLess ? u < v : op == Compare::kLessEqual ? u <= v : op == Compare::kGreater ? u > v : u >= v;
          CHECK(out[i] == static_cast<uint8_t>(e));
        }
      });
    std::vector<uint8_t> p(a.size()), q(b.size());
    for (size_t i = 0; i < a.size(); ++i) p[i] = static_cast<uint8_t>(a[i] > 3 ? a[i] * 20 : a[i] > 0), q[i] = b[i] > 0;
    for (Logical op : {Logical::kAnd, Logical::kOr, Logical::kXor})
      on_every_target([&] {
        std::vector<uint8_t> out(count, 9);
        logical(op, s, p.data(), q.data(), out.data());
        for (size_t i = 0; i < count; ++i) {
          const bool u = at(std::vector<int32_t>(p.begin(), p.end()), s, s.a, i) != 0, v = at(std::vector<int32_t>(q.begin(), q.end()), s, s.b, i) != 0;
          CHECK(out[i] == static_cast<uint8_t>(op == Logical::kAnd ? u && v : op == Logical::kOr ? u || v : u != v));
        }
      });
    for (const auto& cond : {full, row, column, one}) {
      Broadcast c;
      REQUIRE(make_broadcast(full, cond, &c));
      if (count != rows * n) continue;
      on_every_target([&] {
        std::vector<int32_t> out(count, 55);
        select(s, c.b, p.data(), a.data(), b.data(), out.data(), 4);
        for (size_t i = 0; i < count; ++i)
          CHECK(out[i] == (at(std::vector<int32_t>(p.begin(), p.end()), s, c.b, i) != 0 ? at(a, s, s.a, i) : at(b, s, s.b, i)));
      });
    }
  }
}

TEST_CASE("numbers to integers and truth values to numbers") {
  std::vector<float> x = numbers(1003, 4, -3e9f, 3e9f);
  x[0] = NAN, x[17] = INFINITY, x[18] = -INFINITY, x[19] = 0x1p31f, x[20] = -0x1p31f, x[21] = 2147483520.0f, x[22] = -0.9f, x[23] = 1.9f, x[1002] = NAN;
  std::vector<uint8_t> truth(x.size());
  for (size_t i = 0; i < truth.size(); ++i) truth[i] = static_cast<uint8_t>(i % 3 == 0 ? 0 : i % 5 == 0 ? 255 : 1);
  on_every_target([&] {
    std::vector<int32_t> y(x.size()), t(x.size());
    std::vector<float> back(x.size()), f(x.size());
    float_to_int32(x.data(), y.data(), static_cast<int64_t>(x.size()));
    int32_to_float(y.data(), back.data(), static_cast<int64_t>(x.size()));
    bool_to_int32(truth.data(), t.data(), static_cast<int64_t>(x.size()));
    bool_to_float(truth.data(), f.data(), static_cast<int64_t>(x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double v = std::isnan(x[i]) ? 0 : std::clamp(std::trunc(static_cast<double>(x[i])), -2147483648.0, 2147483647.0);
      CHECK(y[i] == static_cast<int32_t>(v));
      CHECK(back[i] == static_cast<float>(y[i]));
      CHECK(t[i] == (truth[i] != 0));
      CHECK(f[i] == (truth[i] != 0 ? 1.0f : 0.0f));
    }
  });
}

}  // namespace
}  // namespace mlt
