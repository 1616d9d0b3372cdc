// One-row products with float32 weights kept in 28 bits each, and not a bit of them lost. Such products wait for memory, and
// of a weight's exponent little is news: those of a trained matrix are a few neighbours. The upper seven bits of the exponent
// become a code of three; the weights of other exponents are kept whole, in a list.
#pragma once
#include <cstddef>
#include <cstdint>

#include "lib/kernels/gemm.h"

namespace mlt {

struct CompactTarget;

class CompactWeights {
 public:
  // W is [n, k]; element (i, j) is at w[i * row_stride + j * col_stride]. `w` is only asked for when the form is not kept under
  // `name`. kUnsupported, with the reason, where this is not faster than PackedWeights: the weights stay in a near cache, too
  // many have other exponents, the instruction set has no kernel, or what was kept is damaged.
  static Result<CompactWeights> prepare(int64_t n, int64_t k, PackedWeights::Floats w, int64_t row_stride, int64_t col_stride,
                                        const PackedName& name);

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  size_t bytes() const { return data_.bytes(); }

  // As PackedWeights::run, with the same results to the last bit, one row at a time.
  void run(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias = nullptr, const Activation& f = {},
           const float* residual = nullptr, int64_t ldr = 0) const noexcept;

 private:
  struct Layout;
  bool fill(const float* w, int64_t row_stride, int64_t col_stride) const;
  bool sound() const;
  int64_t n_ = 0, k_ = 0;
  const GemmTarget* gemm_ = nullptr;
  const CompactTarget* target_ = nullptr;
  AlignedBuffer data_;
};

}  // namespace mlt
