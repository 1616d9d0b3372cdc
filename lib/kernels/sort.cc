#include "lib/kernels/sort.h"

#include <algorithm>
#include <cmath>

#include "lib/kernels/aligned.h"

namespace mlt {
namespace {

// A total order: NaN is larger than any number, equals keep their places. std::sort then gives a stable result without
// std::stable_sort's buffer.
struct Order {
  const float* x;
  bool descending;
  bool operator()(int32_t a, int32_t b) const {
    const float p = x[a], q = x[b];
    const bool pn = std::isnan(p), qn = std::isnan(q);
    if (pn || qn) {
      if (pn != qn) return descending ? pn : qn;
      return a < b;
    }
    if (p != q) return descending ? p > q : p < q;
    return a < b;
  }
};

}  // namespace

size_t sort_scratch_bytes(int64_t axis) noexcept {
  return 2 * align_up(static_cast<size_t>(std::max<int64_t>(0, axis)) * sizeof(float));
}

void top_k(const float* in, float* values, int32_t* indices, int64_t outer, int64_t axis, int64_t inner, int64_t k,
           bool ascending, void* scratch) noexcept {
  k = std::min(k, axis);
  if (k <= 0) return;
  auto* order = static_cast<int32_t*>(scratch);
  auto* slice = reinterpret_cast<float*>(static_cast<char*>(scratch) + sort_scratch_bytes(axis) / 2);
  for (int64_t i = 0; i < outer * inner; ++i) {
    const float* x = in + i / inner * axis * inner + i % inner;
    if (inner != 1) {
      for (int64_t a = 0; a < axis; ++a) slice[a] = x[a * inner];
      x = slice;
    }
    for (int64_t a = 0; a < axis; ++a) order[a] = static_cast<int32_t>(a);
    const Order less{x, !ascending};
    if (k == 1) {
      order[0] = *std::min_element(order, order + axis, less);
    } else if (k < axis / 4) {
      std::partial_sort(order, order + k, order + axis, less);
    } else {
      std::sort(order, order + axis, less);
    }
    const int64_t at = i / inner * k * inner + i % inner;
    for (int64_t j = 0; j < k; ++j) {
      if (values != nullptr) values[at + j * inner] = x[order[j]];
      if (indices != nullptr) indices[at + j * inner] = order[j];
    }
  }
}

void arg_sort(const float* in, int32_t* out, int64_t outer, int64_t axis, int64_t inner, bool descending,
              void* scratch) noexcept {
  top_k(in, nullptr, out, outer, axis, inner, axis, !descending, scratch);
}

}  // namespace mlt
