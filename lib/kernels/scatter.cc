#include "lib/kernels/scatter.h"

#include <cstring>

#include "lib/kernels/dispatch.h"

namespace mlt {
namespace {

struct Update {
  template <typename T>
  static T of(T, T b) {
    return b;
  }
};
// Integers wrap around.
#define MLT_SCATTER_ARITHMETIC(NAME, OPERATOR)                                                                                            \
  struct NAME {                                                                                                                           \
    static float of(float a, float b) { return a OPERATOR b; }                                                                            \
    static int32_t of(int32_t a, int32_t b) { return static_cast<int32_t>(static_cast<uint32_t>(a) OPERATOR static_cast<uint32_t>(b)); } \
  };
MLT_SCATTER_ARITHMETIC(Add, +)
MLT_SCATTER_ARITHMETIC(Sub, -)
MLT_SCATTER_ARITHMETIC(Mul, *)
#undef MLT_SCATTER_ARITHMETIC
struct Div {
  static float of(float a, float b) { return a / b; }
  static int32_t of(int32_t a, int32_t b) { return b == 0 ? 0 : b == -1 ? static_cast<int32_t>(0u - static_cast<uint32_t>(a)) : a / b; }
};
struct Max {
  template <typename T>
  static T of(T a, T b) {
    return a > b ? a : b;
  }
};
struct Min {
  template <typename T>
  static T of(T a, T b) {
    return a < b ? a : b;
  }
};

template <typename F>
void with(Scatter f, const F& go) {
  switch (f) {
    case Scatter::kUpdate: return go(Update());
    case Scatter::kAdd: return go(Add());
    case Scatter::kSub: return go(Sub());
    case Scatter::kMul: return go(Mul());
    case Scatter::kDiv: return go(Div());
    case Scatter::kMax: return go(Max());
    case Scatter::kMin: return go(Min());
  }
}

constexpr int64_t kColumns = 256;  // of a slice, for one thread: all updates of an element come from one, in their order

template <typename T>
void gather_elements(const T* in, const IndexTuples& index, T* out, int64_t slices, int64_t count, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end;) {
    const T* from = in + i / count * slices;
    for (const int64_t stop = std::min(end, (i / count + 1) * count); i < stop; ++i) {
      const int64_t at = index.slice(i);
      out[i] = at < 0 ? T() : from[at];
    }
  }
}

}  // namespace

void gather_tuples(const void* in, const IndexTuples& index, void* out, int64_t batches, int64_t slices, int64_t inner, int64_t count, int element) noexcept {
  const auto bytes = static_cast<size_t>(inner) * static_cast<size_t>(element);
  if (bytes == 0) return;
  parallel_for(batches * count, grain_for(inner + 4), [&](int64_t begin, int64_t end) {
    if (bytes == 4) return gather_elements(static_cast<const uint32_t*>(in), index, static_cast<uint32_t*>(out), slices, count, begin, end);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = index.slice(i);
      char* to = static_cast<char*>(out) + static_cast<size_t>(i) * bytes;
      if (at < 0) std::memset(to, 0, bytes);
      else std::memcpy(to, static_cast<const char*>(in) + static_cast<size_t>(i / count * slices + at) * bytes, bytes);
    }
  });
}

template <typename T>
void scatter_slices(Scatter f, const IndexTuples& index, const T* updates, T* data, int64_t outer, int64_t slices, int64_t inner, int64_t count) noexcept {
  if (count <= 0 || inner <= 0) return;
  with(f, [&]<typename F>(F) {
    const int64_t parts = (inner + kColumns - 1) / kColumns;
    parallel_for(outer * parts, grain_for(count * std::min(inner, kColumns)), [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t o = item / parts, first = item % parts * kColumns, n = std::min(kColumns, inner - first);
        const T* in = updates + o * count * inner + first;
        T* out = data + o * slices * inner + first;
        for (int64_t t = 0; t < count; ++t) {
          const int64_t at = index.slice(t);
          if (at < 0) continue;
          const T* from = in + t * inner;
          T* to = out + at * inner;
          for (int64_t i = 0; i < n; ++i) to[i] = F::of(to[i], from[i]);
        }
      }
    });
  });
}

template <typename T>
void scatter_along(Scatter f, const int32_t* index, const T* updates, T* data, int64_t outer, int64_t axis, int64_t inner, int64_t count) noexcept {
  if (count <= 0 || inner <= 0) return;
  with(f, [&]<typename F>(F) {
    const int64_t parts = (inner + kColumns - 1) / kColumns;
    parallel_for(outer * parts, grain_for(count * std::min(inner, kColumns)), [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t o = item / parts, first = item % parts * kColumns, last = std::min(inner, first + kColumns);
        T* out = data + o * axis * inner;
        for (int64_t r = o * count; r < (o + 1) * count; ++r)
          for (int64_t i = first; i < last; ++i) {
            int64_t at = index[r * inner + i];
            if (at < 0) at += axis;
            if (at >= 0 && at < axis) out[at * inner + i] = F::of(out[at * inner + i], updates[r * inner + i]);
          }
      }
    });
  });
}

template void scatter_slices<float>(Scatter, const IndexTuples&, const float*, float*, int64_t, int64_t, int64_t, int64_t) noexcept;
template void scatter_slices<int32_t>(Scatter, const IndexTuples&, const int32_t*, int32_t*, int64_t, int64_t, int64_t, int64_t) noexcept;
template void scatter_along<float>(Scatter, const int32_t*, const float*, float*, int64_t, int64_t, int64_t, int64_t) noexcept;
template void scatter_along<int32_t>(Scatter, const int32_t*, const int32_t*, int32_t*, int64_t, int64_t, int64_t, int64_t) noexcept;

}  // namespace mlt
