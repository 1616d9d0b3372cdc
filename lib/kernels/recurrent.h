// Recurrent layers, one direction, float32, weights packed once.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "lib/base/result.h"
#include "lib/kernels/aligned.h"
#include "lib/kernels/elementwise.h"
#include "lib/kernels/gemm.h"

namespace mlt {

struct RecurrentShape {
  int64_t input = 0, hidden = 0;
};

// LSTM: i, f, o, g = gates(x W^T + h R^T + b); c' = f c + i g; h' = o act(c').
class LstmPlan {
 public:
  // w: [4 * hidden, input], r: [4 * hidden, hidden], bias: [4 * hidden] or null, their blocks in the order i, f, o, g
  // through `order`: block order[0] holds i, order[1] f, order[2] o, order[3] g. peephole: [3 * hidden] for i, f, o
  // (same convention: blocks 0, 1, 2) or null.
  static Result<LstmPlan> create(const RecurrentShape& shape, const float* w, const float* r, const float* bias,
                                 const float* peephole, const std::array<int, 4>& order, const Activation& gate,
                                 const Activation& cell, const Activation& output, float clip);
  size_t scratch_bytes(int64_t steps, int64_t batch) const;
  // x: [steps, batch, input]; h, c: [batch, hidden], initial state on entry, final state on return. y: null, or
  // [steps, batch, hidden] with consecutive steps y_step elements apart and rows y_row apart. `reverse` walks from
  // the last step to the first and writes each step's output at its own place. all_c: null or like y, cell states.
  void run(int64_t steps, int64_t batch, const float* x, float* h, float* c, float* y, int64_t y_step, int64_t y_row,
           bool reverse, void* scratch, float* all_c = nullptr) const noexcept;

 private:
  RecurrentShape shape_;
  PackedWeights w_, r_;
  AlignedBuffer bias_, peephole_;
  Activation gate_, cell_, output_;
  float clip_ = 0;
  bool has_peephole_ = false;
};

// GRU: z, r = gates; n = act(x Wn + bn + r * (h Rn + rbn)) when reset_after, else act(x Wn + bn + (r * h) Rn + rbn);
// h' = (1 - z) n + z h.
class GruPlan {
 public:
  // w: [3 * hidden, input], r: [3 * hidden, hidden], bias and recurrent_bias: [3 * hidden] or null; block order[0]
  // holds z, order[1] r, order[2] n.
  static Result<GruPlan> create(const RecurrentShape& shape, const float* w, const float* r, const float* bias,
                                const float* recurrent_bias, const std::array<int, 3>& order, bool reset_after,
                                const Activation& gate, const Activation& activation);
  size_t scratch_bytes(int64_t steps, int64_t batch) const;
  void run(int64_t steps, int64_t batch, const float* x, float* h, float* y, int64_t y_step, int64_t y_row,
           bool reverse, void* scratch) const noexcept;

 private:
  RecurrentShape shape_;
  PackedWeights w_, r_, rn_;
  AlignedBuffer bias_, recurrent_bias_;
  Activation gate_, activation_;
  bool reset_after_ = false;
};

// Simple recurrence: h' = act(x W^T + h R^T + b).
class RnnPlan {
 public:
  static Result<RnnPlan> create(const RecurrentShape& shape, const float* w, const float* r, const float* bias,
                                const Activation& activation);
  size_t scratch_bytes(int64_t steps, int64_t batch) const;
  void run(int64_t steps, int64_t batch, const float* x, float* h, float* y, int64_t y_step, int64_t y_row,
           bool reverse, void* scratch) const noexcept;

 private:
  RecurrentShape shape_;
  PackedWeights w_, r_;
  AlignedBuffer bias_;
  Activation activation_;
};

}  // namespace mlt
