// Internal: the loops of trees.h for one instruction set.
#pragma once
#include "lib/kernels/trees.h"

namespace mlt {

struct TreeTarget {
  void (*paths)(const TreeNode* nodes, int count, int depth, const int8_t* bins, uint8_t* path) noexcept;
  void (*descend)(const uint16_t* tests, int level, const int8_t* bins, uint8_t* path) noexcept;
  int descend_from;
  void (*add)(const uint8_t* path, const double* values, double* sums) noexcept;
  void (*ranks_f32)(const float* x, const float* thresholds, int steps, uint16_t* ranks) noexcept;
  void (*ranks_f64)(const double* x, const double* thresholds, int steps, uint16_t* ranks) noexcept;
  void (*axpy_f32)(const float* x, double weight, double* sums) noexcept;
  void (*axpy_f64)(const double* x, double weight, double* sums) noexcept;
};
const TreeTarget* tree_simd();

}  // namespace mlt
