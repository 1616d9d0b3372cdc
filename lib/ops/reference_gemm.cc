#include "lib/ops/reference_gemm.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "lib/base/threads.h"

namespace mlt::ops {
namespace {

constexpr int64_t kRows = 4, kCols = 8;  // the tile kept in registers
constexpr int64_t kChunk = 64;           // columns packed together
constexpr int64_t kBlock = 256;          // rows of one task

// Four floats as the compilers' own vector type: every target has at least that much.
using Vector = float __attribute__((vector_size(16)));

Vector load(const float* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

// One tile; a has rows `lda` apart, b is a packed panel of kCols columns.
template <int64_t Rows>
void tile(int64_t k, const float* a, int64_t lda, const float* b, float* c, int64_t ldc, int64_t cols, bool accumulate) {
  Vector low[Rows] = {}, high[Rows] = {};
  for (int64_t p = 0; p < k; ++p, b += kCols) {
    Vector b0 = load(b), b1 = load(b + 4);
    for (int64_t i = 0; i < Rows; ++i) {
      float value = a[i * lda + p];
      low[i] += value * b0;
      high[i] += value * b1;
    }
  }
  for (int64_t i = 0; i < Rows; ++i) {
    float sum[kCols];
    std::memcpy(sum, &low[i], sizeof low[i]);
    std::memcpy(sum + 4, &high[i], sizeof high[i]);
    float* to = c + i * ldc;
    for (int64_t j = 0; j < cols; ++j) to[j] = accumulate ? to[j] + sum[j] : sum[j];
  }
}

// Columns [first, first + cols) of b as panels of kCols, zero beyond the last.
void pack(int64_t k, MatrixView b, int64_t first, int64_t cols, float* out) {
  for (int64_t panel = 0; panel < cols; panel += kCols) {
    int64_t width = std::min(kCols, cols - panel);
    const float* from = b.data + (first + panel) * b.col_stride;
    for (int64_t p = 0; p < k; ++p, out += kCols) {
      for (int64_t j = 0; j < width; ++j) out[j] = from[p * b.row_stride + j * b.col_stride];
      for (int64_t j = width; j < kCols; ++j) out[j] = 0.0f;
    }
  }
}

// Eight partial sums, so that the additions do not wait for each other.
float dot(int64_t k, const float* a, const float* b) {
  float part[8] = {};
  int64_t p = 0;
  for (; p + 8 <= k; p += 8)
    for (int64_t l = 0; l < 8; ++l) part[l] += a[p + l] * b[p + l];
  for (int64_t l = 0; p < k; ++p, ++l) part[l] += a[p] * b[p];
  return ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7]));
}

// Few rows: b is read once, so packing it would cost as much as the product.
void few_rows(int64_t m, int64_t first, int64_t cols, int64_t k, const float* a, int64_t lda, MatrixView b, float* c,
              int64_t ldc, bool accumulate) {
  for (int64_t i = 0; i < m; ++i) {
    float* row = c + i * ldc + first;
    if (b.col_stride == 1) {
      if (!accumulate) std::fill_n(row, cols, 0.0f);
      for (int64_t p = 0; p < k; ++p) {
        float value = a[i * lda + p];
        const float* from = b.data + p * b.row_stride + first;
        for (int64_t j = 0; j < cols; ++j) row[j] += value * from[j];
      }
    } else {
      for (int64_t j = 0; j < cols; ++j) {
        float sum = dot(k, a + i * lda, b.data + (first + j) * b.col_stride);
        row[j] = accumulate ? row[j] + sum : sum;
      }
    }
  }
}

}  // namespace

void reference_gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float* c, int64_t ldc, bool accumulate) {
  if (m <= 0 || n <= 0) return;
  std::vector<float> packed_a;
  int64_t lda = a.row_stride;
  if (a.col_stride != 1) {
    packed_a.resize(static_cast<size_t>(m * k));
    for (int64_t i = 0; i < m; ++i)
      for (int64_t p = 0; p < k; ++p) packed_a[static_cast<size_t>(i * k + p)] = a.data[i * a.row_stride + p * a.col_stride];
    a.data = packed_a.data();
    lda = k;
  }
  int64_t chunks = (n + kChunk - 1) / kChunk;
  int64_t work_per_chunk = kChunk * std::max<int64_t>(k, 1) * std::min(m, kBlock);
  int64_t grain = std::max<int64_t>(1, (int64_t{1} << 16) / work_per_chunk);
  if (m < kRows && (b.col_stride == 1 || b.row_stride == 1)) {
    parallel_for(chunks, grain, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        int64_t first = chunk * kChunk;
        few_rows(m, first, std::min(kChunk, n - first), k, a.data, lda, b, c, ldc, accumulate);
      }
    });
    return;
  }
  int64_t blocks = (m + kBlock - 1) / kBlock;
  parallel_for(chunks * blocks, grain, [&](int64_t begin, int64_t end) {
    std::vector<float> panels(static_cast<size_t>(std::min(kChunk, (n + kCols - 1) / kCols * kCols) * k));
    int64_t packed = -1;
    for (int64_t task = begin; task < end; ++task) {
      int64_t chunk = task / blocks, row_begin = task % blocks * kBlock, row_end = std::min(m, row_begin + kBlock);
      int64_t first = chunk * kChunk, cols = std::min(kChunk, n - first);
      if (packed != chunk) pack(k, b, first, cols, panels.data());
      packed = chunk;
      for (int64_t panel = 0; panel < cols; panel += kCols) {
        const float* from = panels.data() + panel * k;
        int64_t width = std::min(kCols, cols - panel), i = row_begin;
        float* to = c + first + panel;
        for (; i + kRows <= row_end; i += kRows) tile<kRows>(k, a.data + i * lda, lda, from, to + i * ldc, ldc, width, accumulate);
        for (; i < row_end; ++i) tile<1>(k, a.data + i * lda, lda, from, to + i * ldc, ldc, width, accumulate);
      }
    }
  });
}

void reference_gemm_i32(int64_t m, int64_t n, int64_t k, const int32_t* a, int64_t a_row, int64_t a_col, const int32_t* b,
                        int64_t b_row, int64_t b_col, int32_t* c, int64_t ldc) {
  parallel_for(m, 1 + (int64_t{1} << 16) / (n * k + 1), [&](int64_t begin, int64_t end) {
    std::vector<uint32_t> row(static_cast<size_t>(n));
    for (int64_t i = begin; i < end; ++i) {
      std::fill(row.begin(), row.end(), 0u);
      for (int64_t p = 0; p < k; ++p) {
        uint32_t value = static_cast<uint32_t>(a[i * a_row + p * a_col]);
        for (int64_t j = 0; j < n; ++j) row[static_cast<size_t>(j)] += value * static_cast<uint32_t>(b[p * b_row + j * b_col]);
      }
      for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = static_cast<int32_t>(row[static_cast<size_t>(j)]);
    }
  });
}

}  // namespace mlt::ops
