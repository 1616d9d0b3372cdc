// Convolutions, transposed convolutions and pooling on the packed kernels.
#include <memory>

#include "lib/kernels/conv.h"
#include "lib/kernels/pool.h"
#include "lib/ops/infer_util.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

// [N, C, spatial...] of a float value with one to three spatial axes.
bool is_image(Lowering& l, int id) { return l.is_float(id) && l.dims(id).size() >= 3 && l.dims(id).size() <= 5; }

std::array<int64_t, 3> fill(const std::vector<int64_t>& values, int64_t rest) {
  std::array<int64_t, 3> out{rest, rest, rest};
  for (size_t i = 0; i < values.size() && i < 3; ++i) out[i] = values[i];
  return out;
}

// A per-axis parameter, one for every spatial axis when the op leaves it out.
std::vector<int64_t> per_axis(Lowering& l, std::string_view param, size_t axes) {
  return l.call.known(param) && l.call.has(param) ? l.call.ints(param) : std::vector<int64_t>(axes, 1);
}

std::optional<std::vector<ops::Window>> windows(Lowering& l, const Dims& spatial, const std::vector<int64_t>& kernel,
                                                const std::vector<int64_t>& dilations) {
  auto type = ops::pad_type_from_name(l.call.known("pad_type") ? l.call.str("pad_type") : "valid");
  if (!type) return std::nullopt;
  std::vector<int64_t> pad = l.call.has("pad") ? l.call.ints("pad") : std::vector<int64_t>(2 * spatial.size(), 0);
  auto result = ops::make_windows(*type, spatial, kernel, per_axis(l, "strides", spatial.size()), dilations, pad);
  if (!result) return std::nullopt;
  return *result;
}

std::optional<Lowered> lower_conv(Lowering& l) {
  int x = l.in("x"), weight = l.in("weight"), bias = l.in("bias"), out = l.out();
  if (!is_image(l, x)) return l.refuse("not a float tensor of rank 3 to 5");
  if (!l.is_constant(weight) || (bias >= 0 && !l.is_constant(bias))) return l.refuse("weights are not constant");
  const Dims &xd = l.dims(x), &wd = l.dims(weight), &od = l.dims(out);
  Dims spatial(xd.begin() + 2, xd.end());
  std::vector<int64_t> kernel(wd.begin() + 2, wd.end());
  auto w = windows(l, spatial, kernel, per_axis(l, "dilations", spatial.size()));
  if (!w) return l.refuse("padding is not understood");
  ConvShape shape;
  shape.rank = static_cast<int>(spatial.size());
  shape.batch = xd[0];
  shape.in_channels = xd[1];
  shape.out_channels = wd[0];
  shape.groups = l.call.i64("groups");
  shape.in = fill(spatial, 1);
  shape.kernel = fill(kernel, 1);
  for (size_t i = 0; i < spatial.size(); ++i) {
    shape.stride[i] = (*w)[i].stride;
    shape.dilation[i] = (*w)[i].dilation;
    shape.pad_before[i] = (*w)[i].pad_before;
    shape.pad_after[i] = (*w)[i].pad_after;
  }
  auto expected = shape.out();
  for (size_t i = 0; i < spatial.size(); ++i)
    if (expected[i] != od[i + 2]) return l.refuse("output extents differ");
  Tensor weights = l.constant(weight), biases = bias >= 0 ? l.constant(bias) : Tensor();
  auto plan = ConvPlan::create(shape, weights.data<float>(), bias >= 0 ? biases.data<float>() : nullptr, l.node().act.value_or(Activation{}));
  if (!plan) return l.refuse(plan.error().message);
  auto shared = std::make_shared<ConvPlan>(std::move(*plan));
  int residual = l.node().residual;
  Lowered lowered;
  lowered.kernel = shared->kernel();
  lowered.scratch = shared->scratch_bytes();
  lowered.packed = shared->weight_bytes();
  if (residual >= 0) lowered.in_place = {residual};
  lowered.run = [shared, x, out, residual](RunContext& c) {
    shared->run(c.f32(x), c.f32_out(out), residual >= 0 ? c.f32(residual) : nullptr, c.scratch);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_conv_transpose(Lowering& l) {
  int x = l.in("x"), weight = l.in("weight"), bias = l.in("bias"), out = l.out();
  if (!is_image(l, x)) return l.refuse("not a float tensor of rank 3 to 5");
  if (!l.is_constant(weight) || (bias >= 0 && !l.is_constant(bias))) return l.refuse("weights are not constant");
  const Dims &xd = l.dims(x), &wd = l.dims(weight), &od = l.dims(out);
  size_t axes = xd.size() - 2;
  ConvTransposeShape shape;
  shape.rank = static_cast<int>(axes);
  shape.batch = xd[0];
  shape.in_channels = xd[1];
  shape.groups = l.call.i64("groups");
  shape.out_channels = wd[1] * shape.groups;
  auto strides = per_axis(l, "strides", axes), dilations = per_axis(l, "dilations", axes);
  std::string type = l.call.str("pad_type");
  std::vector<int64_t> pad = l.call.has("pad") ? l.call.ints("pad") : std::vector<int64_t>(2 * axes, 0);
  if (pad.size() != 2 * axes) return l.refuse("padding is not understood");
  for (size_t i = 0; i < axes; ++i) {
    shape.in[i] = xd[i + 2];
    shape.kernel[i] = wd[i + 2];
    shape.stride[i] = strides[i];
    shape.dilation[i] = dilations[i];
    int64_t full = (shape.in[i] - 1) * strides[i] + dilations[i] * (shape.kernel[i] - 1) + 1;
    int64_t crop = full - od[i + 2];
    if (type == "custom") {
      shape.pad_before[i] = pad[2 * i];
    } else if (type == "same") {
      shape.pad_before[i] = std::max<int64_t>(crop, 0) / 2;
    } else if (type == "same_lower") {
      shape.pad_before[i] = (std::max<int64_t>(crop, 0) + 1) / 2;
    }
    // What is left of the difference to the inferred output is cropped behind, or added there.
    int64_t rest = crop - shape.pad_before[i];
    shape.pad_after[i] = std::max<int64_t>(rest, 0);
    shape.output_padding[i] = std::max<int64_t>(-rest, 0);
  }
  Tensor weights = l.constant(weight), biases = bias >= 0 ? l.constant(bias) : Tensor();
  auto plan = ConvTransposePlan::create(shape, weights.data<float>(), bias >= 0 ? biases.data<float>() : nullptr, l.node().act.value_or(Activation{}));
  if (!plan) return l.refuse(plan.error().message);
  auto shared = std::make_shared<ConvTransposePlan>(std::move(*plan));
  Lowered lowered;
  lowered.kernel = "gemm col2im";
  lowered.scratch = shared->scratch_bytes();
  lowered.run = [shared, x, out](RunContext& c) {
    shared->run(c.f32(x), c.f32_out(out), c.scratch);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_pool(Lowering& l, Pool op) {
  int x = l.in("x"), out = l.out();
  if (!is_image(l, x)) return l.refuse("not a float tensor of rank 3 to 5");
  const Dims &xd = l.dims(x), &od = l.dims(out);
  Dims spatial(xd.begin() + 2, xd.end());
  std::vector<int64_t> kernel = l.call.ints("kernel_sizes");
  auto w = windows(l, spatial, kernel, std::vector<int64_t>(spatial.size(), 1));
  if (!w) return l.refuse("padding is not understood");
  PoolShape shape;
  shape.rank = static_cast<int>(spatial.size());
  shape.batch = xd[0];
  shape.channels = xd[1];
  shape.in = fill(spatial, 1);
  shape.kernel = fill(kernel, 1);
  bool whole = true;
  for (size_t i = 0; i < spatial.size(); ++i) {
    shape.out[i] = od[i + 2];
    shape.stride[i] = (*w)[i].stride;
    shape.pad_before[i] = (*w)[i].pad_before;
    shape.pad_after[i] = (*w)[i].pad_after;
    whole = whole && shape.out[i] == 1 && kernel[i] == spatial[i] && shape.pad_before[i] == 0 && shape.pad_after[i] == 0;
  }
  if (op == Pool::kAverage) shape.count_padding = !l.call.flag("exclude_padding_from_average");
  // Ceil mode may let the last window reach beyond the padding; how that is averaged is the reference's business.
  if (l.call.known("ceil_mode") && l.call.info().param("ceil_mode") != nullptr && l.call.flag("ceil_mode") && op != Pool::kMax)
    return l.refuse("ceil mode");
  int64_t rows = xd[0] * xd[1], inner = 1;
  for (int64_t d : spatial) inner *= d;
  Lowered lowered;
  if (whole) {
    lowered.kernel = "global";
    lowered.run = [=](RunContext& c) {
      global_pool(op, c.f32(x), c.f32_out(out), rows, inner);
      return Status();
    };
    return lowered;
  }
  lowered.kernel = "window";
  lowered.run = [=](RunContext& c) {
    pool(op, shape, c.f32(x), c.f32_out(out));
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_max_pool(Lowering& l) { return lower_pool(l, Pool::kMax); }
std::optional<Lowered> lower_avg_pool(Lowering& l) { return lower_pool(l, Pool::kAverage); }
std::optional<Lowered> lower_l2_pool(Lowering& l) { return lower_pool(l, Pool::kL2); }

constexpr LowerRow kRows[] = {
    {"conv", "packed", lower_conv},
    {"conv_transpose", "packed", lower_conv_transpose},
    {"max_pool", "window", lower_max_pool},
    {"avg_pool", "window", lower_avg_pool},
    {"l2_pool", "window", lower_l2_pool},
};

}  // namespace

std::span<const LowerRow> conv_lowerings() { return kRows; }

}  // namespace mlt
