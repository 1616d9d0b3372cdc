// Products of operands rounded to bfloat16, to nearest even, with sums in float32: a caller's choice, never made for him.
// Each operand errs by at most 2^-9 of itself. Operands below 2^-126 count as zero.
#pragma once
#include <cstddef>
#include <cstdint>

#include "lib/base/result.h"
#include "lib/kernels/aligned.h"
#include "lib/kernels/elementwise.h"
#include "lib/kernels/gemm.h"
#include "lib/kernels/packed_forms.h"

namespace mlt {

struct Bf16Target;

float round_to_bf16(float x) noexcept;

// Whether the processor in use has dot products of bfloat16, and whether they are faster than float32's: AMD's are, twice
// (Zen 4 and later); Intel's take four times as long as a multiplication of float32 (measured on Emerald Rapids).
bool bf16_native() noexcept;
bool bf16_fast() noexcept;

// As PackedWeights. Where bf16_native() is false operands are rounded and multiplied as float32: the same numbers up to
// the order of sums, and nothing gained.
class PackedBf16 {
 public:
  static Result<PackedBf16> prepare(int64_t n, int64_t k, PackedWeights::Floats w, int64_t row_stride, int64_t col_stride, const PackedName& name);
  bool native() const { return target_ != nullptr; }
  size_t bytes() const { return target_ != nullptr ? data_.bytes() : rounded_.bytes(); }
  size_t scratch_bytes(int64_t m) const noexcept;
  // `scratch` is aligned to kAlignment.
  void run(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias, const Activation& f, const float* residual,
           int64_t ldr, void* scratch) const noexcept;

 private:
  int64_t n_ = 0, k_ = 0, pairs_ = 0, row_ = 0;
  const Bf16Target* target_ = nullptr;
  AlignedBuffer data_;
  PackedWeights rounded_;
};

}  // namespace mlt
