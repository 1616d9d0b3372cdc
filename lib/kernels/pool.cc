// Windows are separable: the rows under a window are combined first, into a line padded with the neutral element, then
// the line's columns.
#include "lib/kernels/pool.h"

#include <algorithm>
#include <cmath>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/row_target.h"

namespace mlt {
namespace {

constexpr int64_t kLine = 4096;

struct Window {
  int64_t begin, end, count;  // taps inside the input, and how many count for an average
};

struct Geometry {
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1}, before{},
      after{};
  bool count_padding;

  explicit Geometry(const PoolShape& s) : count_padding(s.count_padding) {
    for (size_t i = 0; i < static_cast<size_t>(s.rank); ++i) {
      const size_t a = 3 - static_cast<size_t>(s.rank) + i;
      in[a] = s.in[i], out[a] = s.out[i], kernel[a] = s.kernel[i], stride[a] = s.stride[i];
      dilation[a] = s.dilation[i], before[a] = s.pad_before[i], after[a] = s.pad_after[i];
    }
  }
  // Taps of output o along an axis.
  Window window(size_t a, int64_t o) const {
    const int64_t start = o * stride[a] - before[a], step = dilation[a];
    const auto over = [step](int64_t v) { return step == 1 ? v : v / step; };  // divisions are slow
    const auto first_at = [&](int64_t bound) { return start >= bound ? 0 : over(bound - start + step - 1); };
    const auto end_at = [&](int64_t bound) {
      return start >= bound ? 0 : std::min(kernel[a], over(bound - 1 - start) + 1);
    };
    Window w{first_at(0), end_at(in[a]), 0};
    w.begin = std::min(w.begin, kernel[a]);
    w.end = std::max(w.end, w.begin);
    w.count = count_padding ? std::max<int64_t>(0, end_at(in[a] + after[a]) - std::min(first_at(-before[a]), kernel[a]))
                            : w.end - w.begin;
    return w;
  }
};

// Columns [x0, x1) of one output row.
void pool_part(Pool op, const Geometry& g, const RowTarget& row, const float* in, int64_t z, int64_t y, int64_t x0,
               int64_t x1, float* out) noexcept {
  const Reduce combine = op == Pool::kMax ? Reduce::kMax : Reduce::kSum;
  const float neutral = op == Pool::kMax ? -INFINITY : 0;
  const Window wz = g.window(0, z), wy = g.window(1, y);
  const int64_t start = x0 * g.stride[2] - g.before[2];
  constexpr int64_t kMostRows = 16;
  if (op == Pool::kMax && row.max_rows != nullptr && g.stride[2] <= 2 && g.kernel[0] == 1 && g.kernel[1] <= kMostRows) {
    const float* rows[kMostRows];
    int64_t count = 0;
    if (wz.begin < wz.end)
      for (int64_t ty = wy.begin; ty < wy.end; ++ty) {
        const int64_t iz = z * g.stride[0] - g.before[0], iy = y * g.stride[1] - g.before[1] + ty * g.dilation[1];
        rows[count++] = in + (iz * g.in[1] + iy) * g.in[2];
      }
    row.max_rows(rows, count, g.in[2], start, g.kernel[2], g.stride[2], g.dilation[2], out, x1 - x0);
    return;
  }
  const int64_t span = (x1 - 1 - x0) * g.stride[2] + (g.kernel[2] - 1) * g.dilation[2] + 1;
  alignas(64) float line[kLine + kWindowSlack];
  std::fill_n(line, span + kWindowSlack, neutral);
  const int64_t from = std::max<int64_t>(0, -start), to = std::min(span, g.in[2] - start);
  if (to > from)
    for (int64_t tz = wz.begin; tz < wz.end; ++tz)
      for (int64_t ty = wy.begin; ty < wy.end; ++ty) {
        const int64_t iz = z * g.stride[0] - g.before[0] + tz * g.dilation[0];
        const int64_t iy = y * g.stride[1] - g.before[1] + ty * g.dilation[1];
        row.accumulate(op == Pool::kL2 ? Reduce::kSumSquare : combine, in + (iz * g.in[1] + iy) * g.in[2] + start + from,
                       line + from, to - from);
      }
  row.window(combine, line, g.kernel[2], g.stride[2], g.dilation[2], out, x1 - x0);
  if (op == Pool::kMax) return;
  if (op == Pool::kL2) {
    for (int64_t x = x0; x < x1; ++x) out[x - x0] = std::sqrt(out[x - x0]);
    return;
  }
  // Columns whose taps are all inside share one divisor.
  const int64_t reach = (g.kernel[2] - 1) * g.dilation[2];
  for (int64_t x = x0; x < x1; ++x) {
    const int64_t first = x * g.stride[2] - g.before[2];
    const bool inside = first >= 0 && first + reach < g.in[2];
    const int64_t n = wz.count * wy.count * (inside ? g.kernel[2] : g.window(2, x).count);
    out[x - x0] = n > 0 ? out[x - x0] / static_cast<float>(n) : 0;
  }
}

// Windows too wide for the line.
float pool_one(Pool op, const Geometry& g, const float* in, int64_t z, int64_t y, int64_t x) {
  const Window wz = g.window(0, z), wy = g.window(1, y), wx = g.window(2, x);
  float best = -INFINITY;
  double sum = 0;
  for (int64_t tz = wz.begin; tz < wz.end; ++tz)
    for (int64_t ty = wy.begin; ty < wy.end; ++ty)
      for (int64_t tx = wx.begin; tx < wx.end; ++tx) {
        const int64_t iz = z * g.stride[0] - g.before[0] + tz * g.dilation[0];
        const int64_t iy = y * g.stride[1] - g.before[1] + ty * g.dilation[1];
        const float v = in[(iz * g.in[1] + iy) * g.in[2] + x * g.stride[2] - g.before[2] + tx * g.dilation[2]];
        best = v > best || std::isnan(v) ? v : best;
        sum += op == Pool::kL2 ? static_cast<double>(v) * v : v;
      }
  if (op == Pool::kMax) return best;
  if (op == Pool::kL2) return static_cast<float>(std::sqrt(sum));
  const int64_t n = wz.count * wy.count * wx.count;
  return n > 0 ? static_cast<float>(sum / static_cast<double>(n)) : 0;
}

}  // namespace

void pool(Pool op, const PoolShape& shape, const float* in, float* out) noexcept {
  const Geometry g(shape);
  const RowTarget& row = row_target();
  const int64_t lines = g.out[0] * g.out[1], width = g.out[2];
  const int64_t room = kLine - ((g.kernel[2] - 1) * g.dilation[2] + 1);
  const int64_t part = room < 0 ? 0 : room / g.stride[2] + 1;
  const int64_t in_plane = g.in[0] * g.in[1] * g.in[2];
  parallel_for(shape.batch * shape.channels * lines, grain_for(width * (g.kernel[0] * g.kernel[1] + g.kernel[2])),
               [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* plane = in + i / lines * in_plane;
      const int64_t z = i % lines / g.out[1], y = i % g.out[1];
      float* o = out + i * width;
      for (int64_t x = 0; x < width;) {
        if (part > 0) {
          const int64_t x1 = std::min(width, x + part);
          pool_part(op, g, row, plane, z, y, x, x1, o + x);
          x = x1;
        } else {
          o[x] = pool_one(op, g, plane, z, y, x);
          ++x;
        }
      }
    }
  });
}

void global_pool(Pool op, const float* in, float* out, int64_t outer, int64_t inner) noexcept {
  const RowTarget& row = row_target();
  parallel_for(outer, grain_for(inner), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* x = in + i * inner;
      switch (op) {
        case Pool::kMax: out[i] = row.max(x, inner); break;
        case Pool::kAverage: out[i] = static_cast<float>(inner > 0 ? row.sum(x, inner) / static_cast<double>(inner) : 0); break;
        case Pool::kL2: out[i] = static_cast<float>(std::sqrt(row.sum_square(x, inner, 0))); break;
      }
    }
  });
}

}  // namespace mlt
