#include "lib/kernels/pad.h"

#include <cstring>

#include "lib/kernels/dispatch.h"

namespace mlt {
namespace {

// Where the element at `at` comes from; -1 for the constant.
int64_t source(PadMode mode, int64_t at, int64_t before, int64_t extent) {
  const int64_t i = at - before;
  if (i >= 0 && i < extent) return i;
  switch (mode) {
    case PadMode::kReflect: return i < 0 ? -i : 2 * (extent - 1) - i;
    case PadMode::kReplicate: return i < 0 ? 0 : extent - 1;
    case PadMode::kConstant: break;
  }
  return -1;
}

void copy(const float* from, float* to, int64_t n) { std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float)); }

// A line of positions of `unit` elements each.
struct Line {
  PadMode mode;
  int64_t before, extent, after, unit;
  float value;

  void border(const float* from, float* to, int64_t first, int64_t count) const {
    if (mode == PadMode::kConstant) return static_cast<void>(std::fill_n(to, count * unit, value));
    for (int64_t i = 0; i < count; ++i) {
      const float* element = from + source(mode, first + i, before, extent) * unit;
      if (unit == 1) to[i] = *element;
      else copy(element, to + i * unit, unit);
    }
  }
  void make(const float* from, float* to) const {
    border(from, to, 0, before);
    copy(from, to + before * unit, extent * unit);
    border(from, to + (before + extent) * unit, before + extent, after);
  }
};

}  // namespace

void pad(const PadShape& p, const float* in, float value, float* out) noexcept {
  // What is not padded behind the last axis that is belongs to that axis' elements.
  int last = p.rank - 1;
  int64_t unit = 1;
  const auto padded = [&](int axis) { return p.before[static_cast<size_t>(axis)] + p.after[static_cast<size_t>(axis)] > 0; };
  while (last > 0 && !padded(last)) unit *= p.in[static_cast<size_t>(last--)];
  if (last < 0) return static_cast<void>(*out = *in);
  const auto l = static_cast<size_t>(last);
  const Line line{p.mode, p.before[l], p.in[l], p.after[l], unit, value};
  const int64_t row = (line.before + line.extent + line.after) * unit;
  std::array<int64_t, kMaxRank> extent{}, stride{};
  int64_t rows = 1;
  for (int64_t step = line.extent * unit, i = last - 1; i >= 0; --i) {
    const auto a = static_cast<size_t>(i);
    extent[a] = p.before[a] + p.in[a] + p.after[a];
    rows *= extent[a];
    stride[a] = step;
    step *= p.in[a];
  }
  if (rows <= 0 || row <= 0) return;
  parallel_for(rows, grain_for(row), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t offset = 0, rest = r;
      for (int i = last - 1; i >= 0 && offset >= 0; --i) {
        const auto a = static_cast<size_t>(i);
        const int64_t from = source(p.mode, rest % extent[a], p.before[a], p.in[a]);
        offset = from < 0 ? -1 : offset + from * stride[a];
        rest /= extent[a];
      }
      if (offset < 0) std::fill_n(out + r * row, row, value);
      else line.make(in + offset, out + r * row);
    }
  });
}

}  // namespace mlt
