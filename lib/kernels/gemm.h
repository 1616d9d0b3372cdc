// Matrix products in float32. Nothing here allocates while running; results do not depend on the thread count.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "lib/base/result.h"
#include "lib/base/threads.h"
#include "lib/kernels/aligned.h"
#include "lib/kernels/elementwise.h"
#include "lib/kernels/packed_forms.h"

namespace mlt {

struct GemmTarget;  // one instruction set's tile shapes and inner loops (gemm_target.h)

// The constant right-hand side of a product, rearranged once for the instruction set in use when it was packed.
class PackedWeights {
 public:
  // W is [n, k]; element (i, j) is at w[i * row_stride + j * col_stride], so that a [k, n] matrix packs with strides
  // (1, n). n, k >= 1. Fails with kResource when memory runs out.
  static Result<PackedWeights> pack(int64_t n, int64_t k, const float* w, int64_t row_stride, int64_t col_stride);
  static Result<PackedWeights> pack(int64_t n, int64_t k, const float* w) { return pack(n, k, w, k, 1); }

  // The same for float16 weights, kept as float16: half the memory, half the time where few rows make a product wait
  // for memory; converted panel by panel where many rows make it wait for arithmetic. Same results as packing the
  // converted weights, up to rounding.
  static Result<PackedWeights> pack_half(int64_t n, int64_t k, const uint16_t* w, int64_t row_stride,
                                         int64_t col_stride);
  static Result<PackedWeights> pack_half(int64_t n, int64_t k, const uint16_t* w) { return pack_half(n, k, w, k, 1); }

  // The same of weights that are only asked for when the form is not kept.
  using Floats = FunctionRef<const float*()>;
  using Halves = FunctionRef<const uint16_t*()>;
  static Result<PackedWeights> prepare(int64_t n, int64_t k, Floats w, int64_t row_stride, int64_t col_stride, const PackedName& name);
  static Result<PackedWeights> prepare_half(int64_t n, int64_t k, Halves w, int64_t row_stride, int64_t col_stride, const PackedName& name);

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  size_t bytes() const { return data_.bytes(); }

  // C[m, n] = f(A[m, k] . W^T + bias[n] + residual[m, n]). Rows of A, C and residual are lda, ldc and ldr elements
  // apart; bias and residual may be null. One row is a bandwidth-bound loop threaded over n. C may be the residual
  // but must not overlap A.
  void run(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias = nullptr,
           const Activation& f = {}, const float* residual = nullptr, int64_t ldr = 0) const noexcept;

 private:
  int64_t n_ = 0, k_ = 0;
  bool half_ = false;
  const GemmTarget* target_ = nullptr;
  AlignedBuffer data_;
};

// C = f(alpha * A . B + bias): both operands are activations. Batch axes broadcast through strides.
struct Matmul {
  int64_t m = 0, n = 0, k = 0;
  int64_t a_row = 0, a_col = 0;  // strides in elements; a transposed operand has them exchanged
  int64_t b_row = 0, b_col = 0;
  int64_t c_row = 0;  // C's columns are adjacent
  int batch_rank = 0;
  std::array<int64_t, kMaxRank> batch{}, a_batch{}, b_batch{}, c_batch{};  // counts and strides
  float alpha = 1;
  const float* bias = nullptr;  // [n] or null
  Activation f{};
  // Products of the batch that may run at the same time, each with its own scratch; thread_count() is a good value.
  int slots = 1;
};
// Bytes of scratch that matmul() needs for this shape and number of slots (at any thread count).
size_t matmul_scratch_bytes(const Matmul& p) noexcept;
// `scratch` is aligned to kAlignment. k may be 0: C = f(bias).
void matmul(const Matmul& p, const float* a, const float* b, float* c, void* scratch) noexcept;

}  // namespace mlt
