// Matrix product of the reference evaluations: plain C++ in an order that keeps the cache and the compiler's
// vectorizer busy, so that a model running on reference evaluation alone stays usable. lib/kernels holds the fast ones.
#pragma once
#include <cstdint>

namespace mlt::ops {

// A read-only matrix with strides in elements; a transposed view swaps them.
struct MatrixView {
  const float* data = nullptr;
  int64_t row_stride = 0, col_stride = 1;
};

// c[i * ldc + j] = sum over p of a[i, p] * b[p, j], added to c's old value when `accumulate`. Runs on all threads unless
// called from inside a parallel_for; the result is the same either way.
void reference_gemm(int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b, float* c, int64_t ldc,
                    bool accumulate = false);

// The same for int32, wrapping on overflow.
void reference_gemm_i32(int64_t m, int64_t n, int64_t k, const int32_t* a, int64_t a_row, int64_t a_col,
                        const int32_t* b, int64_t b_row, int64_t b_col, int32_t* c, int64_t ldc);

}  // namespace mlt::ops
