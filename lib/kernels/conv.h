// Convolution and transposed convolution, 1 to 3 spatial axes, float32, NCHW in and out.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/base/result.h"
#include "lib/base/threads.h"
#include "lib/kernels/aligned.h"
#include "lib/kernels/elementwise.h"
#include "lib/kernels/packed_forms.h"

namespace mlt {

// Arrays hold `rank` entries, outermost spatial axis first.
struct ConvShape {
  int rank = 2;
  int64_t batch = 1, in_channels = 1, out_channels = 1, groups = 1;
  std::array<int64_t, 3> in{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1};
  std::array<int64_t, 3> pad_before{0, 0, 0}, pad_after{0, 0, 0};
  // Spatial size of the output: (in + pads - dilation * (kernel - 1) - 1) / stride + 1; <= 0 where the kernel does
  // not fit.
  std::array<int64_t, 3> out() const;
};

// A convolution with constant weights: chosen, packed and sized once, run many times.
class ConvPlan {
 public:
  // weights: [out_channels, in_channels / groups, kernel...]; bias: [out_channels] or null; both are copied. kUsage
  // when the shape is not valid, kResource when memory runs out. Winograd's method, taken where it is faster, is
  // within 1e-5 of the largest sums, where the others are within 1e-6.
  static Result<ConvPlan> create(const ConvShape& shape, const float* weights, const float* bias,
                                 const Activation& f = {}, bool allow_winograd = true);
  // The same of weights that are only asked for when their form is not kept.
  static Result<ConvPlan> prepare(const ConvShape& shape, FunctionRef<const float*()> weights, const float* bias, const Activation& f,
                                  bool allow_winograd, const PackedName& name);
  ConvPlan(ConvPlan&&) noexcept;
  ConvPlan& operator=(ConvPlan&&) noexcept;
  ~ConvPlan();

  const ConvShape& shape() const;
  // Scratch that run() needs, for the thread count at creation; with more threads later the additional ones stay idle.
  size_t scratch_bytes() const;
  size_t weight_bytes() const;
  // Which kernel runs, e.g. "gemm 8x48", "depthwise", "winograd 4x4": for reports.
  const char* kernel() const;

  // out = f(conv(in) + bias + residual). `residual` has the shape of out or is null; it may be `out` itself. `in` and
  // `out` must not overlap. `scratch` is aligned to kAlignment.
  void run(const float* in, float* out, const float* residual, void* scratch) const noexcept;

  struct Impl;

 private:
  explicit ConvPlan(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct ConvTransposeShape {
  int rank = 2;
  int64_t batch = 1, in_channels = 1, out_channels = 1, groups = 1;
  std::array<int64_t, 3> in{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1};
  std::array<int64_t, 3> pad_before{0, 0, 0}, pad_after{0, 0, 0};  // cropped from the output
  std::array<int64_t, 3> output_padding{0, 0, 0};                  // added after it
  // (in - 1) * stride + dilation * (kernel - 1) + 1 - pads + output_padding
  std::array<int64_t, 3> out() const;
};

class ConvTransposePlan {
 public:
  // weights: [in_channels, out_channels / groups, kernel...]; the rest as ConvPlan::create.
  static Result<ConvTransposePlan> create(const ConvTransposeShape& shape, const float* weights, const float* bias,
                                          const Activation& f = {});
  ConvTransposePlan(ConvTransposePlan&&) noexcept;
  ConvTransposePlan& operator=(ConvTransposePlan&&) noexcept;
  ~ConvTransposePlan();
  const ConvTransposeShape& shape() const;
  size_t scratch_bytes() const;
  void run(const float* in, float* out, void* scratch) const noexcept;

  struct Impl;

 private:
  explicit ConvTransposePlan(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlt
