// Kernels of images with channels innermost: [N, H, W, C], float32, two spatial axes. Convolutions need no packing of
// their input here, and vectors run along channels, which fill them in most networks. Nothing allocates while running;
// results do not depend on the thread count.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/base/result.h"
#include "lib/kernels/conv.h"
#include "lib/kernels/pool.h"

namespace mlt {

// A convolution with constant weights: chosen, packed and sized once, run many times.
class ConvNhwcPlan {
 public:
  // Two spatial axes, and one group, or one group for each channel (depthwise, as many outputs as inputs), or groups that fill
  // vectors well enough.
  static bool takes(const ConvShape& shape) noexcept;
  // Whether the pixels of the input and the residual may be further apart than their channels need.
  static bool takes_pitch(const ConvShape& shape) noexcept { return shape.groups == 1 && takes(shape); }
  // Whether `in` may as well be [N, C, H, W]: few channels, which are copied anyway.
  static bool takes_planar(const ConvShape& shape) noexcept;
  // Whether the maxima over windows of the output are best taken while it is made, without writing it.
  static bool takes_max(const ConvShape& shape, const PoolShape& pool) noexcept;
  // weights: [out_channels, in_channels / groups, kh, kw] as in ConvPlan; bias: [out_channels] or null; both are copied.
  // kUsage when the shape is not valid or not taken, kResource when memory runs out. Accuracy as ConvPlan's. half_weights:
  // the same weights as float16, or null; where a convolution is a plain product they stay so.
  static Result<ConvNhwcPlan> create(const ConvShape& shape, const float* weights, const float* bias, const Activation& f = {},
                                     bool allow_winograd = true, const uint16_t* half_weights = nullptr);
  // The same of weights that are only asked for when their form is not kept; with half_weights these may be null. `planar`: see
  // takes_planar; `pool`: null, or see takes_max: then `out` is dense and holds the maxima, and there is no residual.
  static Result<ConvNhwcPlan> prepare(const ConvShape& shape, FunctionRef<const float*()> weights, const float* bias, const Activation& f,
                                      bool allow_winograd, const uint16_t* half_weights, const PackedName& name, bool planar = false,
                                      const PoolShape* pool = nullptr);
  ConvNhwcPlan(ConvNhwcPlan&&) noexcept;
  ConvNhwcPlan& operator=(ConvNhwcPlan&&) noexcept;
  ~ConvNhwcPlan();

  size_t scratch_bytes() const;
  size_t weight_bytes() const;
  const char* kernel() const;

  // out = f(conv(in) + bias + residual). Pixels of `out` are `pitch` floats apart, at least out_channels: parts of a
  // concatenation are made in place. `residual` may be null, or `out` itself when both are dense.
  void run(const float* in, float* out, int64_t pitch, const float* residual, void* scratch) const noexcept;
  // The same with floats from pixel to pixel of `in` and `residual` too, where takes_pitch; dense otherwise.
  void run(const float* in, int64_t in_pitch, float* out, int64_t pitch, const float* residual, int64_t residual_pitch, void* scratch) const noexcept;

  struct Impl;

 private:
  explicit ConvNhwcPlan(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// As pool(), rank 2; kMax and kAverage.
void pool_nhwc(Pool op, const PoolShape& shape, const float* in, float* out) noexcept;

// out[i, c] = in[i, c] * scale[c] + bias[c] for `pixels` pixels.
void scale_bias_nhwc(const float* in, float* out, int64_t pixels, int64_t channels, const float* scale, const float* bias) noexcept;

// out[i, c] = a[i, c] op b[i, c] for `pixels` pixels of `channels`, each with its floats from pixel to pixel.
void binary_nhwc(Binary op, const float* a, int64_t a_pitch, const float* b, int64_t b_pitch, float* out, int64_t pitch, int64_t pixels,
                 int64_t channels) noexcept;

// Pixel (y, x) of an output [N, out_h, out_w, C] is pixel (rows[y], columns[x]) of the input: nearest neighbours. Pixels are
// in_pitch and pitch floats apart.
void pick_pixels_nhwc(const float* in, int64_t in_pitch, float* out, int64_t pitch, int64_t batch, int64_t in_h, int64_t in_w, int64_t channels, const int32_t* rows,
                      int64_t out_h, const int32_t* columns, int64_t out_w) noexcept;

}  // namespace mlt
