// Reference evaluation of the convolutions; conv.cc holds their rows and shape rules.
#pragma once
#include <vector>

#include "lib/ops/infer_util.h"

namespace mlt::ops {

// One convolution with all its parameters resolved; `in`, `out` and `windows` run over the spatial axes.
struct ConvShape {
  int64_t n = 0, c_in = 0, c_out = 0, groups = 1;
  Dims in, out;
  std::vector<Window> windows;
  Dims out_dims() const;  // [n, c_out, out...]
};

// y[n, c_out, out...] from x[n, c_in, in...] and weight[c_out, c_in / groups, kernel...]; bias (c_out values) may be null.
void conv_reference(const ConvShape& shape, const float* x, const float* weight, const float* bias, float* y);
// The transposed one: weight[c_in, c_out / groups, kernel...], windows slide over the output.
void conv_transpose_reference(const ConvShape& shape, const float* x, const float* weight, const float* bias, float* y);

}  // namespace mlt::ops
