// Products with weights of at most 8 bits, kept so in memory and expanded in registers. A few rows wait for memory, and
// then cost what the codes weigh; for many rows the panels are expanded in cache, a piece at a time. The activations
// stay float32: nothing is rounded but the sums. Where the machine has dot products of bytes, a few rows meet codes that
// are whole numbers in fixed point instead: at most 128 activations share a power of two, which leaves each of them within
// 2^-23 of the greatest among them, and their sums are exact.
#pragma once
#include <cstddef>
#include <cstdint>

#include "lib/base/result.h"
#include "lib/base/threads.h"
#include "lib/kernels/aligned.h"
#include "lib/kernels/elementwise.h"
#include "lib/kernels/packed_forms.h"

namespace mlt {

struct GemmTarget;
struct LowBitTarget;

// A stored matrix W, [n, k]: codes row by row, a stream of `bits` each, lowest bits first. An element is
// scale * (code - offset), or the entry of its row's table.
struct LowBitMatrix {
  int64_t n = 0, k = 0;
  const uint8_t* codes = nullptr;
  int bits = 8;  // 1, 2, 3, 4 or 8
  bool is_signed = false;
  // One scale, and unless null one offset, for each block of row_block by col_block elements: [n / row_block, k / col_block].
  const float* scale = nullptr;
  const float* offset = nullptr;
  int64_t row_block = 1, col_block = 1;
  // Or 2^bits floats for every table_rows rows.
  const float* table = nullptr;
  int64_t table_rows = 1;
};

// Row `row` of W, [k].
void lowbit_row(const LowBitMatrix& w, int64_t row, float* out) noexcept;
// The same with the scales, and offsets or null, of that row's blocks, [k / col_block], instead of those in w.
void lowbit_row(const LowBitMatrix& w, int64_t row, const float* scale, const float* offset, float* out) noexcept;

class PackedLowBit {
 public:
  // kUnsupported when the blocks or tables do not suit the kernels; kResource when memory runs out.
  // Kept under `name`, if anywhere: otherwise `scales` is asked for w with scales and offsets, which it need not have before.
  static Result<PackedLowBit> prepare(const LowBitMatrix& w, const PackedName& name, FunctionRef<const LowBitMatrix&()> scales);
  static Result<PackedLowBit> pack(const LowBitMatrix& w) {
    return prepare(w, {}, [&]() -> const LowBitMatrix& { return w; });
  }

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  int bits() const { return bits_; }
  size_t bytes() const { return data_.bytes() + tables_.bytes(); }

  // Bytes of scratch that run() needs for m rows.
  size_t scratch_bytes(int64_t m) const noexcept;
  // As PackedWeights::run, with `scratch` aligned to kAlignment.
  void run(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias, const Activation& f, const float* residual,
           int64_t ldr, void* scratch) const noexcept;

 private:
  void run_few(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias, const Activation& f, const float* residual,
               int64_t ldr, float* scratch) const noexcept;
  void run_many(int64_t m, const float* a, int64_t lda, float* c, int64_t ldc, const float* bias, const Activation& f, const float* residual,
                int64_t ldr) const noexcept;
  int64_t block_bytes(int64_t width) const;
  struct Scratch;
  void set_scales(const LowBitMatrix& w);
  void fill(const LowBitMatrix& w);
  float stored_shift(const LowBitMatrix& w) const { return bits_ == 8 && !w.is_signed && !dot_ ? 128.0f : 0.0f; }  // bytes are kept with a sign

  int64_t n_ = 0, k_ = 0, block_ = 0, blocks_ = 0;  // elements of k that share a scale
  int bits_ = 8;
  int mode_ = 0;
  bool scaled_ = false, shifted_ = false, half_ = false, one_table_ = true, dot_ = false;
  int bias_ = 0;
  const GemmTarget* gemm_ = nullptr;
  const LowBitTarget* target_ = nullptr;
  AlignedBuffer data_, tables_;
};

}  // namespace mlt
