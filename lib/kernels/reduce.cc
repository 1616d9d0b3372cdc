#include "lib/kernels/reduce.h"

#include <algorithm>
#include <cmath>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/row_target.h"

namespace mlt {
namespace {

// Columns handled together, so that their accumulators stay in the first-level cache.
constexpr int64_t kColumns = 512;
// Rows summed before their sum is added to the total: keeps long sums accurate.
constexpr int64_t kRows = 256;
// Rows up to this long go across the vectors.
constexpr int64_t kShortRow = 32;

Reduce accumulation(Reduce op) {
  switch (op) {
    case Reduce::kMean:
    case Reduce::kLogSum:
    case Reduce::kLogSumExp: return Reduce::kSum;
    case Reduce::kL2: return Reduce::kSumSquare;
    default: return op;
  }
}

float neutral(Reduce op) {
  return op == Reduce::kMax ? -INFINITY : op == Reduce::kMin ? INFINITY : op == Reduce::kProd ? 1.0f : 0.0f;
}

float finish(Reduce op, double v, int64_t axis) {
  switch (op) {
    case Reduce::kMean: return static_cast<float>(v / static_cast<double>(axis));
    case Reduce::kL2: return static_cast<float>(std::sqrt(v));
    case Reduce::kLogSum: return static_cast<float>(std::log(v));
    default: return static_cast<float>(v);
  }
}

float reduce_row(Reduce op, const RowTarget& row, const float* x, int64_t n) {
  switch (op) {
    case Reduce::kMax: return row.max(x, n);
    case Reduce::kMin: return row.min(x, n);
    case Reduce::kProd: {
      float p = 1;
      for (int64_t i = 0; i < n; ++i) p *= x[i];
      return p;
    }
    case Reduce::kL1: return static_cast<float>(row.sum_abs(x, n));
    case Reduce::kSumSquare:
    case Reduce::kL2: return finish(op, row.sum_square(x, n, 0), n);
    case Reduce::kLogSumExp: {
      const float m = row.max(x, n);
      if (!std::isfinite(m)) return m;
      return m + static_cast<float>(std::log(row.exp_sum(x, nullptr, n, m)));
    }
    default: return finish(op, row.sum(x, n), n);
  }
}

// out[columns] = reduction over `axis` rows, `stride` apart.
void reduce_columns(Reduce op, const RowTarget& row, const float* in, int64_t axis, int64_t stride, int64_t columns,
                    float* out) {
  const Reduce acc = accumulation(op);
  const float start = neutral(op);
  alignas(64) float part[kColumns], work[kColumns], largest[kColumns];
  std::fill_n(out, columns, start);
  if (op == Reduce::kLogSumExp) {
    std::fill_n(largest, columns, -INFINITY);
    for (int64_t i = 0; i < axis; ++i) row.accumulate(Reduce::kMax, in + i * stride, largest, columns);
    // A column whose largest is infinite or NaN is its own answer.
    for (int64_t c = 0; c < columns; ++c) work[c] = std::isfinite(largest[c]) ? 0 : largest[c];
    for (int64_t c = 0; c < columns; ++c) largest[c] = std::isfinite(largest[c]) ? largest[c] : 0;
    alignas(64) float terms[kColumns];
    const ElementwiseTarget& ew = elementwise_target();
    for (int64_t i = 0; i < axis; ++i) {
      ew.binary(Binary::kSub, in + i * stride, 1, largest, 1, terms, columns);
      ew.unary(Unary::kExp, terms, terms, columns, 0, 0);
      row.accumulate(Reduce::kSum, terms, out, columns);
    }
    for (int64_t c = 0; c < columns; ++c) out[c] = work[c] != 0 ? work[c] : largest[c] + std::log(out[c]);
    return;
  }
  const bool exact = op == Reduce::kMax || op == Reduce::kMin || op == Reduce::kProd;
  for (int64_t from = 0; from < axis; from += kRows) {
    const int64_t end = std::min(axis, from + kRows);
    float* to = exact || from == 0 ? out : part;
    if (to == part) std::fill_n(part, columns, 0.0f);
    for (int64_t i = from; i < end; ++i) row.accumulate(acc, in + i * stride, to, columns);
    if (to == part) row.accumulate(Reduce::kSum, part, out, columns);
  }
  if (op == Reduce::kMean || op == Reduce::kL2 || op == Reduce::kLogSum)
    for (int64_t c = 0; c < columns; ++c) out[c] = finish(op, out[c], axis);
}

template <bool kLargest>
void arg_extreme(const float* in, int32_t* out, int64_t outer, int64_t axis, int64_t inner) noexcept {
  const RowTarget& row = row_target();
  const auto beats = [](float a, float b) { return kLargest ? a > b : a < b; };
  if (inner == 1) {
    parallel_for(outer, grain_for(axis), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const float* x = in + o * axis;
        const float m = kLargest ? row.max(x, axis) : row.min(x, axis);
        int64_t at = 0;
        if (std::isnan(m)) {
          while (at < axis - 1 && !std::isnan(x[at])) ++at;
        } else {
          while (at < axis - 1 && x[at] != m) ++at;
        }
        out[o] = static_cast<int32_t>(at);
      }
    });
    return;
  }
  const int64_t parts = (inner + kColumns - 1) / kColumns;
  parallel_for(outer * parts, grain_for(axis * std::min(inner, kColumns)), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t o = item / parts, c0 = item % parts * kColumns, columns = std::min(kColumns, inner - c0);
      const float* x = in + o * axis * inner + c0;
      int32_t* index = out + o * inner + c0;
      float best[kColumns];
      for (int64_t c = 0; c < columns; ++c) best[c] = axis > 0 ? x[c] : 0, index[c] = 0;
      for (int64_t i = 1; i < axis; ++i)
        for (int64_t c = 0; c < columns; ++c) {
          const float v = x[i * inner + c];
          if (beats(v, best[c]) || (std::isnan(v) && !std::isnan(best[c]))) best[c] = v, index[c] = static_cast<int32_t>(i);
        }
    }
  });
}

}  // namespace

void reduce(Reduce op, const float* in, float* out, int64_t outer, int64_t axis, int64_t inner) noexcept {
  const RowTarget& row = row_target();
  if (inner == 1 && axis > 0 && axis <= kShortRow && row.short_rows != nullptr && op != Reduce::kLogSumExp) {
    const bool finished = accumulation(op) == op;
    parallel_for(outer, grain_for(axis), [&](int64_t begin, int64_t end) {
      row.short_rows(accumulation(op), in + begin * axis, out + begin, end - begin, axis);
      for (int64_t o = begin; !finished && o < end; ++o) out[o] = finish(op, out[o], axis);
    });
    return;
  }
  if (inner == 1) {
    parallel_for(outer, grain_for(axis), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) out[o] = reduce_row(op, row, in + o * axis, axis);
    });
    return;
  }
  const int64_t parts = (inner + kColumns - 1) / kColumns;
  parallel_for(outer * parts, grain_for(axis * std::min(inner, kColumns)), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t o = item / parts, c = item % parts * kColumns;
      reduce_columns(op, row, in + o * axis * inner + c, axis, inner, std::min(kColumns, inner - c), out + o * inner + c);
    }
  });
}

bool reduce(Reduce op, const int32_t* in, int32_t* out, int64_t outer, int64_t axis, int64_t inner) noexcept {
  switch (op) {
    case Reduce::kL2:
    case Reduce::kLogSum:
    case Reduce::kLogSumExp: return false;
    default: break;
  }
  if (op == Reduce::kMean && axis == 0) return false;
  // Wraps as int32 arithmetic would, without undefined overflow; the mean needs the true sum.
  const auto over = [&]<typename A>(A start, const auto& step, const auto& finish) {
    parallel_for(outer * inner, grain_for(axis), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int32_t* x = in + i / inner * axis * inner + i % inner;
        A sum = start;
        if (inner == 1) {
          for (int64_t a = 0; a < axis; ++a) sum = step(sum, x[a]);
        } else {
          for (int64_t a = 0; a < axis; ++a) sum = step(sum, x[a * inner]);
        }
        out[i] = static_cast<int32_t>(finish(sum));
      }
    });
    return true;
  };
  const auto same = [](auto sum) { return sum; };
  const auto bits = [](int32_t v) { return static_cast<uint32_t>(v); };
  switch (op) {
    case Reduce::kMax: return over(INT32_MIN, [](int32_t a, int32_t v) { return std::max(a, v); }, same);
    case Reduce::kMin: return over(INT32_MAX, [](int32_t a, int32_t v) { return std::min(a, v); }, same);
    case Reduce::kProd: return over(1u, [&](uint32_t a, int32_t v) { return a * bits(v); }, same);
    case Reduce::kSumSquare: return over(0u, [&](uint32_t a, int32_t v) { return a + bits(v) * bits(v); }, same);
    case Reduce::kL1: return over(0u, [&](uint32_t a, int32_t v) { return a + (v < 0 ? 0u - bits(v) : bits(v)); }, same);
    case Reduce::kMean: return over(int64_t{0}, [](int64_t a, int32_t v) { return a + v; }, [axis](int64_t sum) { return sum / axis; });
    default: return over(0u, [&](uint32_t a, int32_t v) { return a + bits(v); }, same);
  }
}

void arg_max(const float* in, int32_t* out, int64_t outer, int64_t axis, int64_t inner) noexcept {
  arg_extreme<true>(in, out, outer, axis, inner);
}
void arg_min(const float* in, int32_t* out, int64_t outer, int64_t axis, int64_t inner) noexcept {
  arg_extreme<false>(in, out, outer, axis, inner);
}

template <typename T>
void cumsum(const T* in, T* out, int64_t outer, int64_t axis, int64_t inner, bool exclusive, bool reverse) noexcept {
  using Sum = std::conditional_t<std::is_same_v<T, float>, double, uint32_t>;
  constexpr int64_t kTogether = 64;
  const int64_t parts = (inner + kTogether - 1) / kTogether;
  parallel_for(outer * parts, grain_for(axis * std::min(inner, kTogether)), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % parts * kTogether, n = std::min(kTogether, inner - first);
      const int64_t base = item / parts * axis * inner + first;
      if (inner == 1) {
        Sum sum = 0;
        for (int64_t a = 0; a < axis; ++a) {
          const int64_t at = base + (reverse ? axis - 1 - a : a);
          const auto before = sum;
          sum += static_cast<Sum>(in[at]);
          out[at] = static_cast<T>(exclusive ? before : sum);
        }
        continue;
      }
      Sum sums[kTogether] = {};
      for (int64_t a = 0; a < axis; ++a) {
        const int64_t at = base + (reverse ? axis - 1 - a : a) * inner;
        for (int64_t i = 0; i < n; ++i) {
          const auto v = static_cast<Sum>(in[at + i]), before = sums[i];
          sums[i] = before + v;
          out[at + i] = static_cast<T>(exclusive ? before : sums[i]);
        }
      }
    }
  });
}
template void cumsum<float>(const float*, float*, int64_t, int64_t, int64_t, bool, bool) noexcept;
template void cumsum<int32_t>(const int32_t*, int32_t*, int64_t, int64_t, int64_t, bool, bool) noexcept;

}  // namespace mlt
