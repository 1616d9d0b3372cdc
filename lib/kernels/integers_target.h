// Internal: loops over integers and truth values that each instruction set provides, over one contiguous run.
#pragma once
#include <cstdint>

#include "lib/kernels/elementwise.h"

namespace mlt {

// Each step is 0 (one value for the whole run) or 1. In place over an operand of step 1.
struct IntegersTarget {
  void (*binary)(Binary op, const int32_t* a, int64_t a_step, const int32_t* b, int64_t b_step, int32_t* out, int64_t count) noexcept;
  void (*compare)(Compare op, const int32_t* a, int64_t a_step, const int32_t* b, int64_t b_step, uint8_t* out, int64_t count) noexcept;
  void (*logical)(Logical op, const uint8_t* a, int64_t a_step, const uint8_t* b, int64_t b_step, uint8_t* out, int64_t count) noexcept;
  // Of 32-bit elements; the condition has step 1.
  void (*select)(const uint8_t* cond, const uint32_t* a, int64_t a_step, const uint32_t* b, int64_t b_step, uint32_t* out, int64_t count) noexcept;
};
const IntegersTarget* integers_simd();

int32_t binary_reference(Binary op, int32_t x, int32_t y) noexcept;
bool logical_reference(Logical op, uint8_t x, uint8_t y) noexcept;
template <typename T>
bool compare_reference(Compare op, T x, T y) noexcept {
  switch (op) {
    case Compare::kEqual: return x == y;
    case Compare::kNotEqual: return x != y;
    case Compare::kLess: return x < y;
    case Compare::kLessEqual: return x <= y;
    case Compare::kGreater: return x > y;
    case Compare::kGreaterEqual: return x >= y;
  }
  return false;
}

}  // namespace mlt
