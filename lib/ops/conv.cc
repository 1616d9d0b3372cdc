// conv, conv_quantized, conv_transpose: rows and shape rules. Evaluation is in conv_eval.cc.
#include "lib/ops/conv_eval.h"
#include "lib/ops/eval_util.h"
#include "lib/ops/extents.h"
#include "lib/ops/families.h"

namespace mlt::ops {
namespace {

std::vector<int64_t> ints_or(Call& call, std::string_view param, size_t count, int64_t value) {
  return call.has(param) ? call.ints(param) : std::vector<int64_t>(count, value);
}

Dims spatial(const Dims& dims) { return Dims(dims.begin() + 2, dims.end()); }

// Checks what conv and conv_transpose share and resolves channels; leaves windows and out to the caller.
Result<ConvShape> common_shape(Call& call, const Dims& x, const Dims& weight, bool transposed) {
  MLT_TRY(check_extents(x));
  MLT_TRY(check_extents(weight));
  if (x.size() < 3 || x.size() > 5) return input_error("x must have rank 3, 4 or 5, not " + std::to_string(x.size()));
  if (weight.size() != x.size())
    return input_error("weight " + dims_text(weight) + " must have the rank of x " + dims_text(x));
  ConvShape shape;
  shape.groups = call.i64("groups");
  if (call.failed()) return *call.error();
  if (shape.groups < 1) return input_error("groups must be positive");
  if (weight[1] > 0 && shape.groups > (int64_t{1} << 40) / weight[1]) return input_error("groups is too large");
  shape.n = x[0];
  shape.c_in = x[1];
  shape.in = spatial(x);
  int64_t in_extent = transposed ? weight[0] : weight[1] < 0 ? weight[1] : weight[1] * shape.groups;
  if (!extents_agree(shape.c_in, in_extent))
    return input_error("x has " + std::to_string(shape.c_in) + " channels, weight " + dims_text(weight) + " with " +
                       std::to_string(shape.groups) + " groups needs " + std::to_string(in_extent));
  if (shape.c_in < 0) shape.c_in = in_extent;
  if (shape.c_in >= 0 && shape.c_in % shape.groups != 0) return input_error("input channels are not divisible by groups");
  shape.c_out = !transposed ? weight[0] : weight[1] < 0 ? weight[1] : weight[1] * shape.groups;
  if (shape.c_out >= 0 && shape.c_out % shape.groups != 0) return input_error("output channels are not divisible by groups");
  if (call.has("bias")) {
    const ir::Type& bias = call.type("bias");
    if (bias.rank() > 1 || (bias.rank() == 1 && !extents_agree(bias.dims[0], shape.c_out)))
      return input_error("bias " + dims_text(bias.dims) + " must have one value for each of the " +
                         std::to_string(shape.c_out) + " output channels");
  }
  return shape;
}

Result<ConvShape> conv_shape(Call& call, const Dims& x, const Dims& weight) {
  MLT_ASSIGN(ConvShape shape, common_shape(call, x, weight, false));
  size_t rank = shape.in.size();
  MLT_ASSIGN(PadType pad_type, pad_type_from_name(call.str("pad_type")));
  Dims kernel = spatial(weight);
  auto strides = ints_or(call, "strides", rank, 1), dilations = ints_or(call, "dilations", rank, 1);
  auto pad = pad_type == PadType::kCustom ? ints_or(call, "pad", 2 * rank, 0) : std::vector<int64_t>(2 * rank, 0);
  if (call.failed()) return *call.error();
  for (int64_t& k : kernel)
    if (k < 0) k = 1;  // not known: every extent of the output is unknown below
  MLT_ASSIGN(shape.windows, make_windows(pad_type, shape.in, kernel, strides, dilations, pad));
  for (size_t i = 0; i < rank; ++i) {
    int64_t out = weight[2 + i] < 0 && pad_type != PadType::kSame && pad_type != PadType::kSameLower
                      ? ir::kUnknown
                      : shape.windows[i].output(shape.in[i]);
    if (shape.in[i] >= 0 && out != ir::kUnknown && out <= 0)
      return input_error("spatial axis " + std::to_string(i) + " of x " + dims_text(x) + " is smaller than the kernel of weight " +
                         dims_text(weight));
    if (shape.in[i] >= 0 && weight[2 + i] >= 0 && out < 0)
      return input_error("spatial axis " + std::to_string(i) + " of x " + dims_text(x) + " is smaller than the kernel");
    shape.out.push_back(out);
  }
  return shape;
}

Result<ConvShape> conv_transpose_shape(Call& call, const Dims& x, const Dims& weight) {
  MLT_ASSIGN(ConvShape shape, common_shape(call, x, weight, true));
  size_t rank = shape.in.size();
  MLT_ASSIGN(PadType pad_type, pad_type_from_name(call.str("pad_type")));
  if (pad_type == PadType::kSameLower) return input_error("pad_type \"same_lower\" is not defined for conv_transpose");
  auto strides = ints_or(call, "strides", rank, 1), dilations = ints_or(call, "dilations", rank, 1);
  auto pad = pad_type == PadType::kCustom ? ints_or(call, "pad", 2 * rank, 0) : std::vector<int64_t>(2 * rank, 0);
  std::vector<int64_t> wanted;
  if (call.has("output_shape")) {
    wanted = call.ints("output_shape");
    if (!call.failed() && (wanted.size() != rank + 2 || !extents_agree(wanted[0], shape.n) || !extents_agree(wanted[1], shape.c_out)))
      return input_error("output_shape " + dims_text(wanted) + " must start with the batch size and the number of output channels " +
                         "and have the rank of x");
  }
  if (call.failed()) return *call.error();
  Dims kernel = spatial(weight);
  bool kernel_known = true;
  for (int64_t& k : kernel)
    if (k < 0) k = 1, kernel_known = false;
  MLT_ASSIGN(shape.windows,
             make_windows(pad_type == PadType::kSame ? PadType::kValid : pad_type, shape.in, kernel, strides, dilations, pad));
  for (size_t i = 0; i < rank; ++i) {
    Window& w = shape.windows[i];
    int64_t in = shape.in[i], out = ir::kUnknown, full = ir::kUnknown, before_crop = ir::kUnknown;
    if (in >= 0 && (__builtin_mul_overflow(in - 1, w.stride, &before_crop) ||
                    __builtin_add_overflow(before_crop, (w.kernel - 1) * w.dilation + 1, &full) || full > (int64_t{1} << 47)))
      return input_error("the output of x " + dims_text(x) + " is too large");
    if (!wanted.empty()) {
      out = wanted[2 + i];
    } else if (in >= 0 && pad_type == PadType::kSame) {
      out = in * w.stride;
    } else if (in >= 0 && kernel_known) {
      out = full - w.pad_before - w.pad_after;
    }
    if (pad_type == PadType::kSame && in >= 0) {
      // The padding a convolution with "same" would need to map `out` onto `in` (TensorFlow's rule).
      int64_t total = std::max<int64_t>(0, full - out);
      w.pad_before = total / 2;
      w.pad_after = total - w.pad_before;
    }
    if (out != ir::kUnknown && (out <= 0 || out > (int64_t{1} << 47)))
      return input_error("spatial axis " + std::to_string(i) + " of the output would have extent " + std::to_string(out));
    shape.out.push_back(out);
  }
  return shape;
}

Result<std::vector<ir::Type>> infer_conv(Call& call) {
  MLT_ASSIGN(ConvShape shape, conv_shape(call, call.type("x").dims, call.type("weight").dims));
  return std::vector<ir::Type>{ir::Type::tensor(call.type("x").dtype, shape.out_dims())};
}

Result<std::vector<ir::Type>> infer_conv_transpose(Call& call) {
  MLT_ASSIGN(ConvShape shape, conv_transpose_shape(call, call.type("x").dims, call.type("weight").dims));
  return std::vector<ir::Type>{ir::Type::tensor(call.type("x").dtype, shape.out_dims())};
}

// A bias of c_out values; a single value stands for all.
Result<std::vector<float>> bias_values(Call& call, int64_t c_out) {
  if (!call.has("bias")) return std::vector<float>{};
  std::vector<float> bias = to_floats(call.tensor("bias"));
  if (bias.size() == 1) bias.assign(static_cast<size_t>(c_out), bias[0]);
  if (static_cast<int64_t>(bias.size()) != c_out) return input_error("bias must have one value for each output channel");
  return bias;
}

using Reference = void (*)(const ConvShape&, const float*, const float*, const float*, float*);

Status run(Call& call, const ConvShape& shape, const float* x, const float* weight, Reference reference) {
  MLT_ASSIGN(std::vector<float> bias, bias_values(call, shape.c_out));
  MLT_TRY(element_count(shape.out_dims()));
  Tensor& out = output(call, 0, shape.out_dims());
  reference(shape, x, weight, bias.empty() ? nullptr : bias.data(), out.mutable_data<float>());
  return {};
}

Status eval_conv(Call& call) {
  const Tensor &x = call.tensor("x"), &weight = call.tensor("weight");
  if (call.failed()) return {};
  MLT_ASSIGN(ConvShape shape, conv_shape(call, x.dims(), weight.dims()));
  return run(call, shape, x.data<float>(), weight.data<float>(), conv_reference);
}

Status eval_conv_transpose(Call& call) {
  const Tensor &x = call.tensor("x"), &weight = call.tensor("weight");
  if (call.failed()) return {};
  MLT_ASSIGN(ConvShape shape, conv_transpose_shape(call, x.dims(), weight.dims()));
  return run(call, shape, x.data<float>(), weight.data<float>(), conv_transpose_reference);
}

Result<std::vector<ir::Type>> infer_conv_quantized(Call& call) {
  std::string type = call.str("quantization_type");
  int64_t nbits = call.i64("nbits");
  if (call.failed()) return *call.error();
  if (type == "lut") return unsupported_error("conv_quantized with quantization_type \"lut\" carries no table");
  if (type != "linear") return input_error("unknown quantization_type \"" + type + "\"");
  if (nbits < 1 || nbits > 8) return input_error("nbits must be between 1 and 8");
  return infer_conv(call);
}

Status eval_conv_quantized(Call& call) {
  const Tensor &x = call.tensor("x"), &weight = call.tensor("weight");
  std::vector<float> scale = call.floats("quant_scale"), offset = call.floats("quant_bias");
  if (call.failed()) return {};
  MLT_ASSIGN(ConvShape shape, conv_shape(call, x.dims(), weight.dims()));
  std::vector<float> dense = to_floats(weight);
  size_t channels = static_cast<size_t>(shape.c_out), per_channel = channels == 0 ? 0 : dense.size() / channels;
  if ((scale.size() != 1 && scale.size() != channels) || (offset.size() != 1 && offset.size() != channels))
    return input_error("quant_scale and quant_bias must have one value, or one for each output channel");
  for (size_t c = 0; c < channels; ++c)
    for (size_t i = c * per_channel; i < (c + 1) * per_channel; ++i)
      dense[i] = dense[i] * scale[scale.size() == 1 ? 0 : c] + offset[offset.size() == 1 ? 0 : c];
  return run(call, shape, x.data<float>(), dense.data(), conv_reference);
}

constexpr std::string_view kConvDoc =
    "Convolution over 1 to 3 spatial axes. x is [n, c_in, d...], weight [c_out, c_in / groups, k...], bias [c_out]; "
    "pad_type is valid, same, same_lower or custom (pad holds before and after of each axis).";
constexpr std::string_view kConvTransposeDoc =
    "Transposed convolution over 1 to 3 spatial axes. x is [n, c_in, d...], weight [c_in, c_out / groups, k...]. Output "
    "extents are output_shape, else d * stride (same), (d - 1) * stride + (k - 1) * dilation + 1 (valid), less pad (custom).";

constexpr OpDef kOps[] = {
    {.name = "conv",
     .since = Opset::kCoreML5,
     .signature = "x: T, weight: T, bias?: const T, strides?: const int32, pad_type: const string = \"valid\", "
                  "pad?: const int32, dilations?: const int32, groups: const int32 = 1 -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_conv,
     .eval = eval_conv,
     .doc = kConvDoc},
    {.name = "conv",
     .since = Opset::kCoreML7,
     .signature = "x: T, weight: U, bias?: U, strides?: const int32, pad_type: const string = \"valid\", "
                  "pad?: const int32, dilations?: const int32, groups: const int32 = 1 -> y",
     .domains = "T: fp16 fp32; U: fp16 fp32",
     .infer = infer_conv,
     .eval = eval_conv,
     .doc = kConvDoc},
    {.name = "conv_quantized",
     .since = Opset::kCoreML5,
     .signature = "x: T, weight: U, bias?: const U, quantization_type: const string, nbits: const int32 = 8, "
                  "quant_scale: const T, quant_bias: const T, strides?: const int32, pad_type: const string = \"valid\", "
                  "pad?: const int32, dilations?: const int32, groups: const int32 = 1 -> y",
     .domains = "T: fp32 fp16; U: uint8",
     .infer = infer_conv_quantized,
     .eval = eval_conv_quantized,
     .doc = "Convolution with weights stored as integers: weight * quant_scale + quant_bias, scale and bias one value or "
            "one for each output channel."},
    {.name = "conv_transpose",
     .since = Opset::kCoreML5,
     .signature = "x: T, weight: const T, bias?: const T, pad?: const int32, output_shape?: const int32, "
                  "pad_type: const string = \"valid\", strides?: const int32, dilations?: const int32, "
                  "groups: const int32 = 1 -> y",
     .domains = "T: fp16 fp32",
     .infer = infer_conv_transpose,
     .eval = eval_conv_transpose,
     .doc = kConvTransposeDoc},
    {.name = "conv_transpose",
     .since = Opset::kCoreML7,
     .signature = "x: T, weight: U, bias?: U, pad?: const int32, output_shape?: const int32, "
                  "pad_type: const string = \"valid\", strides?: const int32, dilations?: const int32, "
                  "groups: const int32 = 1 -> y",
     .domains = "T: fp16 fp32; U: fp16 fp32",
     .infer = infer_conv_transpose,
     .eval = eval_conv_transpose,
     .doc = kConvTransposeDoc},
};

}  // namespace

std::span<const OpDef> conv_ops() { return kOps; }

}  // namespace mlt::ops
