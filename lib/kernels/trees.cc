#include "lib/kernels/trees.h"

#include <algorithm>

#include "lib/kernels/dispatch.h"
#include "lib/kernels/trees_target.h"

namespace mlt {
namespace {

void paths_ref(const TreeNode* nodes, int count, int depth, const int8_t* bins, uint8_t* path) noexcept {
  const TreeNode* at_place[1 << kTreeDepth] = {};
  for (int n = 0; n < count; ++n) at_place[nodes[n].place()] = nodes + n;
  for (int64_t r = 0; r < kTreeTile; ++r) {
    uint32_t at = 0;
    for (int level = 0; level < depth; ++level) {
      const TreeNode* node = at_place[(1u << level) - 1 + at];
      at = 2 * at + (node != nullptr && bins[node->column() * kTreeTile + static_cast<size_t>(r)] > static_cast<int8_t>(node->threshold & 0xff));
    }
    path[r] = static_cast<uint8_t>(at);
  }
}

void descend_ref(const uint16_t* tests, int /*level*/, const int8_t* bins, uint8_t* path) noexcept {
  for (int64_t r = 0; r < kTreeTile; ++r) {
    uint32_t test = tests[path[r]];
    bool right = bins[static_cast<int64_t>(test >> 8) * kTreeTile + r] > static_cast<int8_t>(test & 255);
    path[r] = static_cast<uint8_t>(2 * path[r] + right);
  }
}

void add_ref(const uint8_t* path, const double* values, double* sums) noexcept {
  for (int64_t r = 0; r < kTreeTile; ++r) sums[r] += values[path[r]];
}

template <typename T>
bool ranks_ref(const T* x, const T* thresholds, int steps, uint16_t* ranks) noexcept {
  bool missing = false;
  for (int64_t r = 0; r < kTreeTile; ++r) {
    missing |= x[r] != x[r];
    uint32_t at = 0;
    for (uint32_t step = (1u << steps) / 2; step > 0; step /= 2) at += thresholds[at + step - 1] <= x[r] ? step : 0;
    ranks[r] = static_cast<uint16_t>(at);
  }
  return missing;
}

template <typename T>
void columns_ref(const T* rows, int64_t count, int64_t stride, int64_t width, T* columns) noexcept {
  for (int64_t r = 0; r < kTreeTile; ++r)
    for (int64_t f = 0; f < width; ++f) columns[f * kTreeTile + r] = r < count ? number_at(rows + r * stride + f) : T{0};
}

template <typename T>
void axpy_ref(const T* x, double weight, double* sums) noexcept {
  for (int64_t r = 0; r < kTreeTile; ++r) sums[r] += weight * static_cast<double>(x[r]);
}

constexpr TreeKernels kReference{paths_ref,          descend_ref,        kTreeDepth,      add_ref,         ranks_ref<float>, ranks_ref<double>,
                                 columns_ref<float>, columns_ref<double>, axpy_ref<float>, axpy_ref<double>, nullptr,          nullptr};

}  // namespace

const TreeKernels& tree_kernels() noexcept { return use_reference() ? kReference : *tree_simd(); }

void tree_paths(const TreeNode* nodes, int count, int depth, const int8_t* bins, uint8_t* path) noexcept {
  tree_kernels().paths(nodes, count, depth, bins, path);
}
int tree_descend_from() noexcept { return tree_kernels().descend_from; }
void tree_descend(const uint16_t* tests, int level, const int8_t* bins, uint8_t* path) noexcept { tree_kernels().descend(tests, level, bins, path); }
void tree_add(const uint8_t* path, const double* values, double* sums) noexcept { tree_kernels().add(path, values, sums); }
bool tree_ranks(const float* x, const float* thresholds, int steps, uint16_t* ranks) noexcept { return tree_kernels().ranks_f32(x, thresholds, steps, ranks); }
bool tree_ranks(const double* x, const double* thresholds, int steps, uint16_t* ranks) noexcept {
  return tree_kernels().ranks_f64(x, thresholds, steps, ranks);
}
void tree_columns(const float* rows, int64_t count, int64_t stride, int64_t width, float* columns) noexcept {
  tree_kernels().columns_f32(rows, count, stride, width, columns);
}
void tree_columns(const double* rows, int64_t count, int64_t stride, int64_t width, double* columns) noexcept {
  tree_kernels().columns_f64(rows, count, stride, width, columns);
}
void rows_add(const float* x, double weight, double* sums) noexcept { tree_kernels().axpy_f32(x, weight, sums); }
void rows_add(const double* x, double weight, double* sums) noexcept { tree_kernels().axpy_f64(x, weight, sums); }

}  // namespace mlt
