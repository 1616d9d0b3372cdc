// Internal: the elementwise loops each instruction set provides, over one contiguous run.
#pragma once
#include <cstdint>

#include "lib/kernels/elementwise.h"

namespace mlt {

struct ElementwiseTarget {
  void (*unary)(Unary op, const float* in, float* out, int64_t count, float a, float b) noexcept;
  // Each step is 0 (one value for the whole run) or 1.
  void (*binary)(Binary op, const float* a, int64_t a_step, const float* b, int64_t b_step, float* out,
                 int64_t count) noexcept;
  void (*compare)(Compare op, const float* a, int64_t a_step, const float* b, int64_t b_step, uint8_t* out,
                  int64_t count) noexcept;
  // out = f(in * scale + bias)
  void (*linear)(const float* in, float* out, int64_t count, float scale, float bias) noexcept;
  // out = a * a_weight + b * b_weight; `a` alone when the other weight is zero.
  void (*blend)(const float* a, float a_weight, const float* b, float b_weight, float* out, int64_t count) noexcept;
  // out[i] = line[low[i]] * (1 - weight[i]) + line[high[i]] * weight[i]
  void (*blend_at)(const float* line, const int32_t* low, const int32_t* high, const float* weight, float* out, int64_t count) noexcept;
};

const ElementwiseTarget& elementwise_target() noexcept;
// The exact-as-libm form of every function, for the reference and for the rarely used ones.
float unary_reference(Unary op, float x, float a, float b) noexcept;
float binary_reference(Binary op, float x, float y) noexcept;

}  // namespace mlt
