// A 1x1 convolution, channels innermost, of an image with a factor for each of its channels: squeeze and excitation. The
// factors go to the smaller side of the product, so that the scaled image need not be made. Nothing allocates while running;
// results do not depend on the thread count.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "lib/base/result.h"
#include "lib/base/threads.h"
#include "lib/kernels/aligned.h"
#include "lib/kernels/elementwise.h"
#include "lib/kernels/packed_forms.h"

namespace mlt {

struct GemmTarget;

class GatedProduct {
 public:
  struct Shape {
    int64_t batch = 1, pixels = 1;  // of one image
    int64_t in_channels = 1, out_channels = 1;
  };
  // weights: [out_channels, in_channels], only asked for when their form is not kept; bias: [out_channels] or null. kUsage
  // when an extent is less than 1, kResource when memory runs out.
  static Result<GatedProduct> prepare(const Shape& shape, FunctionRef<const float*()> weights, const float* bias, const Activation& f, const PackedName& name);

  size_t scratch_bytes() const;
  size_t weight_bytes() const { return weights_.bytes(); }
  const char* kernel() const { return name_.c_str(); }

  // out = f(conv(in * gate) + bias + residual); gate: [batch, in_channels]. `pitch` and `residual` as in ConvNhwcPlan.
  void run(const float* in, const float* gate, float* out, int64_t pitch, const float* residual, void* scratch) const noexcept;

 private:
  Shape shape_;
  Activation f_;
  int64_t depth_ = 1;
  int64_t parts_ = 1;  // of the channels, each a sum of its own: does not depend on threads
  const GemmTarget* target_ = nullptr;
  AlignedBuffer weights_, bias_;
  std::string name_;
  void run_parts(const float* in, const float* gate, float* out, int64_t pitch, const float* residual, float* scratch) const noexcept;
  bool scales_weights() const { return shape_.out_channels < shape_.pixels; }
};

}  // namespace mlt
