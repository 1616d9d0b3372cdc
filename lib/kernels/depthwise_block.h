// A depthwise convolution together with the 1x1 convolutions around it, channels innermost, float32: what lies between them
// is made a few rows, or a few channels, at a time and never leaves the near caches. Nothing allocates while running;
// results do not depend on the thread count.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/base/result.h"
#include "lib/kernels/conv.h"

namespace mlt {

class DepthwiseBlock {
 public:
  // One of the convolutions. The weights are [out_channels, in_channels / groups, kh, kw], and only asked for when their form
  // is not kept; `half`: the same as float16, or null; bias: [out_channels] or null. All are copied.
  struct Layer {
    FunctionRef<const float*()> weights;
    const uint16_t* half = nullptr;
    const float* bias = nullptr;
    Activation f{};
    PackedName name{};
  };
  struct Shape {
    ConvShape depthwise;       // as many groups, inputs and outputs
    int64_t in_channels = 0;   // of the 1x1 convolution before it; 0: there is none
    int64_t out_channels = 0;  // of the one behind it; 0: there is none
    bool mean = false;         // of each channel is wanted as well; only where there is none behind
  };
  // 3x3 or 5x5 with stride 1 or 2, dilated only with stride 1, and one of the others or the mean at least.
  static bool takes(const Shape& shape) noexcept;
  // `expand` and `project` are null where the shape has none. kUsage when the shape is not taken, kResource when memory
  // runs out. Plans for the thread count of this moment.
  static Result<DepthwiseBlock> prepare(const Shape& shape, const Layer* expand, const Layer& depthwise, const Layer* project);
  DepthwiseBlock(DepthwiseBlock&&) noexcept;
  DepthwiseBlock& operator=(DepthwiseBlock&&) noexcept;
  ~DepthwiseBlock();

  size_t scratch_bytes() const;
  size_t weight_bytes() const;
  const char* kernel() const;

  // Pixels of `out` are `pitch` floats apart, at least its channels. `residual`, dense or null, is added before the last
  // function; it may be `in` or, when that is dense too, `out`. Only where there is a 1x1 convolution behind. `in` and `out`
  // must not overlap. `mean`: [batch, channels], where it is wanted.
  void run(const float* in, float* out, int64_t pitch, const float* residual, void* scratch, float* mean = nullptr) const noexcept;

  struct Impl;

 private:
  explicit DepthwiseBlock(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlt
