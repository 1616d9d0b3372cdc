// The activations that are not cheap (cheap-inl.h) but common, over a rectangle that was just written, for *_simd.cc files: included
// inside each of Highway's passes, after highway.h.
#if defined(MLT_ACTIVATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MLT_ACTIVATE_INL_H_
#undef MLT_ACTIVATE_INL_H_
#else
#define MLT_ACTIVATE_INL_H_
#endif

#include "lib/kernels/cheap-inl.h"
#include "lib/kernels/elementwise_target.h"
#include "lib/kernels/gemm_target.h"
#include "lib/kernels/math-inl.h"
#include "lib/kernels/partial-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mlt {
namespace HWY_NAMESPACE {
#if !MLT_HWY_EMULATED

template <typename F>
HWY_INLINE void map_rectangle(float* p, int64_t rows, int64_t pitch, int64_t columns, const F& f) {
  const hwy::HWY_NAMESPACE::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hwy::HWY_NAMESPACE::Lanes(d));
  for (; rows > 0; --rows, p += pitch)
    for (int64_t c = 0; c < columns; c += lanes) store_first(d, f(load_first(d, p + c, columns - c)), p + c, columns - c);
}

// What Cheap leaves out, while the rectangle is in the first-level cache. A call for each of its short rows would cost as much as the
// function.
HWY_INLINE void activate_rectangle(const Activation& f, float* p, int64_t rows, int64_t pitch, int64_t columns) {
  if (is_cheap(f.op)) return;
  if (f.op == Unary::kSilu) return map_rectangle(p, rows, pitch, columns, [](math::V x) HWY_ATTR { return math::silu(x); });
  if (f.op == Unary::kGelu) return map_rectangle(p, rows, pitch, columns, [](math::V x) HWY_ATTR { return math::gelu(x); });
  const ElementwiseTarget& ew = elementwise_target();
  for (int64_t i = 0; i < rows; ++i) ew.unary(f.op, p + i * pitch, p + i * pitch, columns, f.a, f.b);
}

#endif
}  // namespace HWY_NAMESPACE
}  // namespace mlt
HWY_AFTER_NAMESPACE();
#endif
