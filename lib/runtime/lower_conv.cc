// Convolutions, transposed convolutions and pooling on the packed kernels.
#include <memory>

#include "lib/kernels/conv.h"
#include "lib/kernels/nhwc.h"
#include "lib/kernels/pool.h"
#include "lib/kernels/reduce.h"
#include "lib/kernels/transpose.h"
#include "lib/ops/image_resizing_eval.h"
#include "lib/ops/infer_util.h"
#include "lib/runtime/block_plan.h"
#include "lib/runtime/fuse.h"
#include "lib/runtime/layout.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

// [N, C, spatial...] of a float value with one to three spatial axes.
bool is_image(Lowering& l, int id) { return l.is_float(id) && l.type(id).dims.size() >= 3 && l.type(id).dims.size() <= 5; }

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

template <typename P>
Lowered lowered_conv(const P& plan, int residual, bool in_place) {
  Lowered lowered;
  lowered.kernel = plan->kernel();
  lowered.scratch = plan->scratch_bytes();
  lowered.packed = plan->weight_bytes();
  if (residual >= 0 && in_place) lowered.in_place = {residual};
  return lowered;
}

std::optional<Lowered> lower_conv(Lowering& l) {
  const int x = l.in("x"), weight = l.in("weight"), bias = l.in("bias"), out = l.out(), residual = l.node().residual;
  auto shape = conv_shape(l);
  if (!shape) return std::nullopt;
  if (l.in("gate") >= 0) return lower_gated(l, *shape);
  Tensor weights, biases = bias >= 0 ? l.constant(bias) : Tensor();
  auto floats = [&]() -> const float* { return (weights = l.constant(weight)).data<float>(); };
  const float* b = bias >= 0 ? biases.data<float>() : nullptr;
  const Activation act = l.node().act.value_or(Activation{});
  if (l.node().channels_last) {
    Tensor stored = l.stored_dtype(weight) == DType::kF16 ? l.stored_constant(weight) : Tensor();
    const bool planar = reads_planar(l.plan(), l.node());
    auto plan = ConvNhwcPlan::prepare(*shape, floats, b, act, true, stored.valid() ? reinterpret_cast<const uint16_t*>(stored.bytes().data()) : nullptr,
                                      l.packed_name(weight), planar, l.node().maxima != nullptr ? &l.node().maxima->pool : nullptr);
    if (!plan) return l.refuse(plan.error().message);
    auto shared = std::make_shared<ConvNhwcPlan>(std::move(*plan));
    const int64_t pitch = l.pitch(out);
    Lowered lowered = lowered_conv(shared, residual, pitch == shape->out_channels);
    lowered.reads_anywhere = planar;
    const int64_t in_pitch = l.pitch(x), residual_pitch = residual >= 0 ? l.pitch(residual) : pitch;
    lowered.run = [=](RunContext& c) {
      shared->run(c.f32(x), in_pitch, c.f32_out(out), pitch, residual >= 0 ? c.f32(residual) : nullptr, residual_pitch, c.scratch);
      return Status();
    };
    return lowered;
  }
  auto plan = ConvPlan::prepare(*shape, floats, b, act, true, l.packed_name(weight));
  if (!plan) return l.refuse(plan.error().message);
  auto shared = std::make_shared<ConvPlan>(std::move(*plan));
  Lowered lowered = lowered_conv(shared, residual, true);
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
  const auto window = pool_shape(l, op);
  if (!window) return std::nullopt;
  const PoolShape& shape = *window;
  const Dims& xd = l.type(x).dims;
  Dims spatial(xd.begin() + 2, xd.end());
  const auto& kernel = shape.kernel;
  bool whole = true;
  for (size_t i = 0; i < spatial.size(); ++i)
    whole = whole && shape.out[i] == 1 && kernel[i] == spatial[i] && shape.pad_before[i] == 0 && shape.pad_after[i] == 0;
  int64_t rows = xd[0] * xd[1], inner = 1;
  for (int64_t d : spatial) inner *= d;
  Lowered lowered;
  if (l.node().channels_last) {
    if (op == Pool::kL2 || (kernel[0] > 16 && !(whole && op == Pool::kAverage))) return l.refuse("not with channels innermost");
    lowered.kernel = whole && op == Pool::kAverage ? "nhwc global" : "nhwc window";
    lowered.run = [=](RunContext& c) {
      if (whole && op == Pool::kAverage) {
        reduce(Reduce::kMean, c.f32(x), c.f32_out(out), shape.batch, inner, shape.channels);
      } else {
        pool_nhwc(op, shape, c.f32(x), c.f32_out(out));
      }
      return Status();
    };
    return lowered;
  }
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

std::optional<Lowered> lower_concat_nhwc(Lowering& l) {
  const int out = l.out();
  if (l.call.flag("interleave")) return l.refuse("interleave");
  const Dims& od = l.type(out).dims;
  struct Part {
    int id;
    StridedCopy copy;
    int64_t at;
  };
  std::vector<Part> parts;
  int64_t at = 0;
  for (size_t i = 0; i < l.call.count("values"); ++i) {
    const int id = l.in("values", i);
    const int64_t channels = l.type(id).dims[1];
    const PlanValue& part = l.plan().values[static_cast<size_t>(id)];
    if (part.pitch == 0 || part.alias_of != out) {  // others are there already
      StridedCopy copy;
      copy.rank = 2;
      copy.shape = {od[0] * od[2] * od[3], channels};
      copy.in_stride = {l.pitch(id), 1};
      copy.out_stride = {od[1], 1};
      parts.push_back({id, copy, at});
    }
    at += channels;
  }
  Lowered lowered;
  lowered.kernel = parts.empty() ? "in place" : "nhwc copy";
  lowered.run = [=](RunContext& c) {
    for (const Part& part : parts) strided_copy(part.copy, c.tensor(part.id).bytes().data(), c.f32_out(out) + part.at, sizeof(float));
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_split_nhwc(Lowering& l) {
  const int x = l.in("x");
  const Dims& xd = l.type(x).dims;
  struct Part {
    int id;
    StridedCopy copy;
    int64_t at;
  };
  std::vector<Part> parts;
  int64_t at = 0;
  for (int id : l.node().outs) {
    const int64_t channels = l.type(id).dims[1];
    StridedCopy copy;
    copy.rank = 2;
    copy.shape = {xd[0] * xd[2] * xd[3], channels};
    copy.in_stride = {xd[1], 1};
    copy.out_stride = {channels, 1};
    if (l.pitch(id) == channels) parts.push_back({id, copy, at});  // others are where they are concatenated
    at += channels;
  }
  Lowered lowered;
  lowered.kernel = parts.empty() ? "in place" : "nhwc copy";
  lowered.run = [=](RunContext& c) {
    for (const Part& part : parts) strided_copy(part.copy, c.f32(x) + part.at, c.f32_out(part.id), sizeof(float));
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_batch_norm_nhwc(Lowering& l) {
  const int x = l.in("x"), out = l.out();
  auto folded = folded_batch_norm(l, l.type(x).dims[1]);
  if (!folded) return std::nullopt;
  const Dims& d = l.type(out).dims;
  Lowered lowered;
  lowered.kernel = "nhwc scale and bias";
  lowered.in_place = {x};
  lowered.run = [x, out, pixels = d[0] * d[2] * d[3], channels = d[1], folded = std::move(*folded)](RunContext& c) {
    scale_bias_nhwc(c.f32(x), c.f32_out(out), pixels, channels, folded.scale.data(), folded.bias.data());
    return Status();
  };
  return lowered;
}

// Over both spatial axes: the result is one pixel.
std::optional<Lowered> lower_reduce_mean_nhwc(Lowering& l) {
  const int x = l.in("x"), out = l.out();
  const Dims& d = l.type(x).dims;
  Lowered lowered;
  lowered.kernel = "nhwc global";
  lowered.run = [=](RunContext& c) {
    reduce(Reduce::kMean, c.f32(x), c.f32_out(out), d[0], d[2] * d[3], d[1]);
    return Status();
  };
  return lowered;
}

constexpr LowerRow kChannelsLast[] = {
    {"conv", "nhwc", lower_conv},
    {"max_pool", "nhwc window", lower_max_pool},
    {"avg_pool", "nhwc window", lower_avg_pool},
    {"concat", "nhwc copy", lower_concat_nhwc},
    {"split", "nhwc copy", lower_split_nhwc},
    {"batch_norm", "nhwc scale and bias", lower_batch_norm_nhwc},
    {"reduce_mean", "nhwc global", lower_reduce_mean_nhwc},
    {"transpose", "nhwc shuffle", lower_shuffle},
};

}  // namespace

std::optional<ConvShape> conv_shape(Lowering& l) {
  if (l.node().maxima != nullptr) return l.node().maxima->conv;
  const int x = l.in("x"), weight = l.in("weight"), bias = l.in("bias"), out = l.out();
  if (!is_image(l, x)) return l.refuse("not a float tensor of rank 3 to 5");
  if (!l.is_constant(weight) || (bias >= 0 && !l.is_constant(bias))) return l.refuse("weights are not constant");
  const Dims &xd = l.type(x).dims, &wd = l.type(weight).dims, &od = l.type(out).dims;
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
  return shape;
}

std::optional<PoolShape> pool_shape(Lowering& l, Pool op) {
  int x = l.in("x"), out = l.out();
  if (!is_image(l, x)) return l.refuse("not a float tensor of rank 3 to 5");
  const Dims &xd = l.type(x).dims, &od = l.type(out).dims;
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
  for (size_t i = 0; i < spatial.size(); ++i) {
    shape.out[i] = od[i + 2];
    shape.stride[i] = (*w)[i].stride;
    shape.pad_before[i] = (*w)[i].pad_before;
    shape.pad_after[i] = (*w)[i].pad_after;
  }
  if (op == Pool::kAverage) shape.count_padding = !l.call.flag("exclude_padding_from_average");
  // Ceil mode may let the last window reach beyond the padding; how that is averaged is the reference's business.
  if (l.call.known("ceil_mode") && l.call.info().param("ceil_mode") != nullptr && l.call.flag("ceil_mode") && op != Pool::kMax)
    return l.refuse("ceil mode");
  return shape;
}

std::span<const LowerRow> conv_lowerings() { return kRows; }
std::span<const LowerRow> channels_last_lowerings() { return kChannelsLast; }

}  // namespace mlt
