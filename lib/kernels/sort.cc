#include "lib/kernels/sort.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/kernels/dispatch.h"

namespace mlt {
namespace {

// Up to here the best are kept in order while the slice is read once.
constexpr int64_t kFew = 64;
// Elements that are passed over together when none is better than the last of the best.
constexpr int64_t kStep = 16;
// Slices that are sorted at a time, each with keys of its own in the scratch.
constexpr int64_t kSlots = 16;

// Sorts as an unsigned number in the order of the elements; behind it the index, so that no two are equal and equal
// elements keep their places. NaN comes last, and zeros are equal.
uint64_t key_of(float v, int64_t index, bool descending) {
  uint32_t bits = 0xffffffffu;
  if (!std::isnan(v)) {
    v += 0.0f;
    std::memcpy(&bits, &v, sizeof bits);
    bits = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    if (descending) bits = ~bits;
  }
  return static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(index);
}
uint64_t key_of(int32_t v, int64_t index, bool descending) {
  const uint32_t bits = static_cast<uint32_t>(v) ^ 0x80000000u;
  return static_cast<uint64_t>(descending ? ~bits : bits) << 32 | static_cast<uint32_t>(index);
}
int32_t index_of(uint64_t key) { return static_cast<int32_t>(key & 0xffffffffu); }

// Whether any of kStep elements may come before `last`; NaN may.
template <bool kDescending, typename T>
bool any_before(const T* x, T last) {
  int any = 0;
  for (int64_t i = 0; i < kStep; ++i) any |= kDescending ? !(x[i] <= last) : !(x[i] >= last);
  return any != 0;
}

template <bool kDescending, typename T>
void few_best(const T* x, int64_t axis, int64_t stride, int64_t k, uint64_t* best) {
  for (int64_t a = 0; a < k; ++a) best[a] = key_of(x[a * stride], a, kDescending);
  std::sort(best, best + k);
  T last = x[index_of(best[k - 1]) * stride];
  for (int64_t a = k; a < axis;) {
    if (stride == 1 && a + kStep <= axis && !any_before<kDescending>(x + a, last)) {
      a += kStep;
      continue;
    }
    for (const int64_t end = std::min(axis, a + kStep); a < end; ++a) {
      const uint64_t key = key_of(x[a * stride], a, kDescending);
      if (key > best[k - 1]) continue;
      int64_t at = k - 1;
      for (; at > 0 && best[at - 1] > key; --at) best[at] = best[at - 1];
      best[at] = key;
      last = x[index_of(best[k - 1]) * stride];
    }
  }
}

}  // namespace

size_t sort_scratch_bytes(int64_t lanes, int64_t axis, int64_t k) noexcept {
  return k <= kFew || lanes <= 0 || axis <= 0 ? 0 : static_cast<size_t>(std::min(lanes, kSlots) * axis) * sizeof(uint64_t);
}

template <typename T>
void top_k(const T* in, T* values, int32_t* indices, int64_t outer, int64_t axis, int64_t inner, int64_t k, bool ascending,
           void* scratch) noexcept {
  k = std::min(k, axis);
  if (k <= 0) return;
  const auto hand_out = [&](int64_t lane, const T* x, const uint64_t* best) {
    const int64_t at = lane / inner * k * inner + lane % inner;
    for (int64_t j = 0; j < k; ++j) {
      const int32_t index = index_of(best[j]);
      if (values != nullptr) values[at + j * inner] = x[index * inner];
      if (indices != nullptr) indices[at + j * inner] = index;
    }
  };
  const auto slice = [&](int64_t lane) { return in + lane / inner * axis * inner + lane % inner; };
  if (k <= kFew) {
    parallel_for(outer * inner, grain_for(2 * axis), [&](int64_t begin, int64_t end) {
      uint64_t best[kFew];
      for (int64_t lane = begin; lane < end; ++lane) {
        const T* x = slice(lane);
        ascending ? few_best<false>(x, axis, inner, k, best) : few_best<true>(x, axis, inner, k, best);
        hand_out(lane, x, best);
      }
    });
    return;
  }
  // A slot's slices are its own whichever thread takes it.
  const int64_t slots = std::min(outer * inner, kSlots);
  parallel_for(slots, grain_for(16 * axis * (outer * inner / slots)), [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      auto* keys = static_cast<uint64_t*>(scratch) + slot * axis;
      for (int64_t lane = slot; lane < outer * inner; lane += slots) {
        const T* x = slice(lane);
        for (int64_t a = 0; a < axis; ++a) keys[a] = key_of(x[a * inner], a, !ascending);
        if (k < axis) std::nth_element(keys, keys + k - 1, keys + axis);
        std::sort(keys, keys + k);
        hand_out(lane, x, keys);
      }
    }
  });
}

template <typename T>
void arg_sort(const T* in, int32_t* out, int64_t outer, int64_t axis, int64_t inner, bool descending, void* scratch) noexcept {
  top_k(in, static_cast<T*>(nullptr), out, outer, axis, inner, axis, !descending, scratch);
}

template void top_k(const float*, float*, int32_t*, int64_t, int64_t, int64_t, int64_t, bool, void*) noexcept;
template void top_k(const int32_t*, int32_t*, int32_t*, int64_t, int64_t, int64_t, int64_t, bool, void*) noexcept;
template void arg_sort(const float*, int32_t*, int64_t, int64_t, int64_t, bool, void*) noexcept;
template void arg_sort(const int32_t*, int32_t*, int64_t, int64_t, int64_t, bool, void*) noexcept;

}  // namespace mlt
