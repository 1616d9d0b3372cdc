#include "lib/kernels/norm.h"

#include <algorithm>
#include <cmath>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/row_target.h"

namespace mlt {
namespace {

constexpr int64_t kColumns = 256;
// Rows up to this long are turned, so many at a time, and go across the vectors.
constexpr int64_t kShortRow = 32;
constexpr int64_t kTurnedRows = 64;

// Softmax down `axis` rows of up to kColumns columns.
void softmax_columns(const RowTarget& row, const ElementwiseTarget& ew, const float* in, float* out, int64_t axis,
                     int64_t stride, int64_t columns, bool log) noexcept {
  alignas(64) float largest[kColumns], sum[kColumns], terms[kColumns];
  std::fill_n(largest, columns, -INFINITY);
  std::fill_n(sum, columns, 0.0f);
  for (int64_t i = 0; i < axis; ++i) row.accumulate(Reduce::kMax, in + i * stride, largest, columns);
  float least = kLeastPower;
  ew.unary(Unary::kExp, &least, &least, 1, 0, 0);
  for (int64_t i = 0; i < axis; ++i) {
    float* e = log ? terms : out + i * stride;
    ew.binary(Binary::kSub, in + i * stride, 1, largest, 1, e, columns);
    for (int64_t c = 0; c < columns; ++c) e[c] = e[c] < kLeastPower ? kLeastPower : e[c];
    ew.unary(Unary::kExp, e, e, columns, 0, 0);
    for (int64_t c = 0; c < columns; ++c) e[c] = e[c] <= least ? 0 : e[c];
    row.accumulate(Reduce::kSum, e, sum, columns);
  }
  if (log) {
    ew.unary(Unary::kLog, sum, sum, columns, 0, 0);
    for (int64_t i = 0; i < axis; ++i) {
      float* o = out + i * stride;
      ew.binary(Binary::kSub, in + i * stride, 1, largest, 1, o, columns);
      ew.binary(Binary::kSub, o, 1, sum, 1, o, columns);
    }
  } else {
    for (int64_t i = 0; i < axis; ++i) ew.binary(Binary::kDiv, out + i * stride, 1, sum, 1, out + i * stride, columns);
  }
}

void softmax_short_rows(const float* in, float* out, int64_t rows, int64_t axis, bool log) noexcept {
  const RowTarget& row = row_target();
  const ElementwiseTarget& ew = elementwise_target();
  parallel_for((rows + kTurnedRows - 1) / kTurnedRows, grain_for(kTurnedRows * axis * 4), [&](int64_t begin, int64_t end) {
    alignas(64) float turned[kShortRow * kTurnedRows];
    for (int64_t block = begin; block < end; ++block) {
      const int64_t from = block * kTurnedRows, count = std::min(kTurnedRows, rows - from);
      const float* x = in + from * axis;
      float* o = out + from * axis;
      for (int64_t r = 0; r < count; ++r)
        for (int64_t i = 0; i < axis; ++i) turned[i * kTurnedRows + r] = x[r * axis + i];
      softmax_columns(row, ew, turned, turned, axis, kTurnedRows, count, log);
      for (int64_t r = 0; r < count; ++r)
        for (int64_t i = 0; i < axis; ++i) o[r * axis + i] = turned[i * kTurnedRows + r];
    }
  });
}

void softmax_any(const float* in, float* out, int64_t outer, int64_t axis, int64_t inner, bool log) noexcept {
  const RowTarget& row = row_target();
  if (inner == 1 && axis <= kShortRow && outer >= kTurnedRows) return softmax_short_rows(in, out, outer, axis, log);
  if (inner == 1) {
    parallel_for(outer, grain_for(axis * 4), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float* x = in + i * axis;
        float* o = out + i * axis;
        const float m = row.max(x, axis);
        if (log) {
          const double sum = row.exp_sum(x, nullptr, axis, m);
          row.center_scale(x, o, axis, m, 1, static_cast<float>(-std::log(sum)));
        } else {
          const double sum = row.exp_sum(x, o, axis, m);
          row.center_scale(o, o, axis, 0, static_cast<float>(1 / sum), 0);
        }
      }
    });
    return;
  }
  const ElementwiseTarget& ew = elementwise_target();
  const int64_t parts = (inner + kColumns - 1) / kColumns;
  parallel_for(outer * parts, grain_for(axis * std::min(inner, kColumns) * 4), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t c = item % parts * kColumns, at = item / parts * axis * inner + c;
      softmax_columns(row, ew, in + at, out + at, axis, inner, std::min(kColumns, inner - c), log);
    }
  });
}

}  // namespace

void softmax(const float* in, float* out, int64_t outer, int64_t axis, int64_t inner) noexcept {
  softmax_any(in, out, outer, axis, inner, false);
}
void log_softmax(const float* in, float* out, int64_t outer, int64_t axis, int64_t inner) noexcept {
  softmax_any(in, out, outer, axis, inner, true);
}

void layer_norm(const float* in, float* out, int64_t outer, int64_t inner, const float* gamma, const float* beta,
                float eps) noexcept {
  const RowTarget& row = row_target();
  if (inner <= 0) return;
  parallel_for(outer, grain_for(inner * 3), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* x = in + i * inner;
      const auto n = static_cast<double>(inner);
      const float mean = static_cast<float>(row.sum(x, inner) / n);
      const double variance = row.sum_square(x, inner, mean) / n;
      row.normalize(x, out + i * inner, inner, mean, static_cast<float>(1 / std::sqrt(variance + eps)), gamma, beta);
    }
  });
}

void rms_norm(const float* in, float* out, int64_t outer, int64_t inner, const float* gamma, float eps) noexcept {
  const RowTarget& row = row_target();
  if (inner <= 0) return;
  parallel_for(outer, grain_for(inner * 2), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double square = row.sum_square(in + i * inner, inner, 0) / static_cast<double>(inner);
      row.normalize(in + i * inner, out + i * inner, inner, 0, static_cast<float>(1 / std::sqrt(square + eps)), gamma,
                    nullptr);
    }
  });
}

void group_norm(const float* in, float* out, int64_t batch, int64_t channels, int64_t inner, int64_t groups,
                const float* gamma, const float* beta, float eps) noexcept {
  const RowTarget& row = row_target();
  if (groups <= 0 || inner <= 0 || channels <= 0) return;
  const int64_t members = channels / groups, size = members * inner;
  parallel_for(batch * groups, grain_for(size * 3), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* x = in + i * size;
      const auto n = static_cast<double>(size);
      const float mean = static_cast<float>(row.sum(x, size) / n);
      const double variance = row.sum_square(x, size, mean) / n;
      const float scale = static_cast<float>(1 / std::sqrt(variance + eps));
      for (int64_t m = 0; m < members; ++m) {
        const int64_t c = i % groups * members + m;
        row.center_scale(x + m * inner, out + i * size + m * inner, inner, mean,
                         gamma != nullptr ? scale * gamma[c] : scale, beta != nullptr ? beta[c] : 0);
      }
    }
  });
}

void l2_normalize(const float* in, float* out, int64_t outer, int64_t inner, float eps) noexcept {
  const RowTarget& row = row_target();
  parallel_for(outer, grain_for(inner * 2), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const double square = row.sum_square(in + i * inner, inner, 0);
      row.center_scale(in + i * inner, out + i * inner, inner, 0, static_cast<float>(1 / std::sqrt(square + eps)), 0);
    }
  });
}

void local_response_norm(const float* in, float* out, int64_t batch, int64_t channels, int64_t inner, int64_t size,
                         float alpha, float beta, float k) noexcept {
  const RowTarget& row = row_target();
  const ElementwiseTarget& ew = elementwise_target();
  const int64_t parts = (inner + kColumns - 1) / kColumns;
  parallel_for(batch * channels * parts, grain_for(std::min(inner, kColumns) * (size + 8)), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t part = item % parts * kColumns, columns = std::min(kColumns, inner - part);
      const int64_t c = item / parts % channels, image = item / parts / channels;
      const float* x = in + image * channels * inner + part;
      alignas(64) float sum[kColumns] = {};
      for (int64_t q = std::max<int64_t>(0, c - (size - 1) / 2); q <= std::min(channels - 1, c + size / 2); ++q)
        row.accumulate(Reduce::kSumSquare, x + q * inner, sum, columns);
      // (k + a s)^-beta = exp(-beta log(k + a s))
      ew.linear(sum, sum, columns, alpha / static_cast<float>(size), k);
      ew.unary(Unary::kLog, sum, sum, columns, 0, 0);
      ew.linear(sum, sum, columns, -beta, 0);
      ew.unary(Unary::kExp, sum, sum, columns, 0, 0);
      ew.binary(Binary::kMul, x + c * inner, 1, sum, 1, out + (image * channels + c) * inner + part, columns);
    }
  });
}

}  // namespace mlt
