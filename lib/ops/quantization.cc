// quantize and dequantize: affine quantization of activations.
#include <algorithm>
#include <cmath>

#include "lib/ops/eval_util.h"
#include "lib/ops/extents.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

// scale and zero_point are both scalars (no axis), or both vectors along `axis`.
Status check_parameters(Call& call, const Dims& input) {
  const ir::Type& scale = call.type("scale");
  const ir::Type* zero_point = call.has("zero_point") ? &call.type("zero_point") : nullptr;
  if (scale.rank() == 0) {
    if (call.has("axis")) return input_error("axis must be absent when scale is a scalar");
    if (zero_point != nullptr && zero_point->rank() != 0) return input_error("zero_point must be a scalar as scale is");
    return {};
  }
  if (scale.rank() != 1) return input_error("scale must be a scalar or a vector");
  if (!call.has("axis")) return input_error("axis must be given when scale is a vector");
  int64_t wanted = call.i64("axis");
  if (call.failed()) return {};
  MLT_ASSIGN(int64_t axis, normalize_axis(wanted, static_cast<int64_t>(input.size())));
  int64_t extent = input[static_cast<size_t>(axis)];
  if (!extents_agree(scale.dims[0], extent))
    return input_error("scale must have " + std::to_string(extent) + " values, not " + std::to_string(scale.dims[0]));
  if (zero_point != nullptr && (zero_point->rank() != 1 || !extents_agree(zero_point->dims[0], extent)))
    return input_error("zero_point must have one value for each of scale's");
  return {};
}

// Scale and zero point of each element: value i belongs to entry i / inner % count.
struct Parameters {
  std::vector<float> scale, zero_point;
  int64_t inner = 1, count = 1;

  // Calls f(element, scale, zero point) for all of `size` elements, on all threads.
  template <typename F>
  void for_each(int64_t size, F f) const {
    int64_t run = count == 1 ? std::max<int64_t>(1, std::min<int64_t>(size, 4096)) : inner;
    if (size == 0) return;
    parallel_for((size + run - 1) / run, 1 + 16384 / run, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        size_t entry = static_cast<size_t>(r % count);
        for (int64_t i = r * run; i < std::min(size, (r + 1) * run); ++i) f(i, scale[entry], zero_point[entry]);
      }
    });
  }
};

Result<Parameters> parameters(Call& call, const Dims& input) {
  MLT_TRY(check_parameters(call, input));
  Parameters p;
  p.scale = call.floats("scale");
  if (call.has("zero_point")) p.zero_point = call.floats("zero_point");
  if (call.failed()) return *call.error();
  if (call.has("axis")) {
    MLT_ASSIGN(int64_t axis, normalize_axis(call.i64("axis"), static_cast<int64_t>(input.size())));
    p.inner = product(input, static_cast<size_t>(axis) + 1, input.size());
    p.count = input[static_cast<size_t>(axis)];
  }
  if (static_cast<int64_t>(p.scale.size()) != p.count) return input_error("scale does not fit the input");
  if (p.zero_point.empty()) p.zero_point.assign(p.scale.size(), 0.0f);
  if (p.zero_point.size() != p.scale.size()) return input_error("zero_point does not fit the input");
  return p;
}

Result<DType> output_dtype(Call& call) {
  std::string name = call.str("output_dtype");
  if (call.failed()) return *call.error();
  if (name == "int8") return DType::kI8;
  if (name == "uint8") return DType::kU8;
  return input_error("output_dtype must be \"int8\" or \"uint8\", not \"" + name + "\"");
}

Result<std::vector<ir::Type>> infer_quantize(Call& call) {
  const ir::Type& input = call.type("input");
  MLT_ASSIGN(DType dtype, output_dtype(call));
  if (call.has("zero_point") && call.type("zero_point").dtype != dtype)
    return input_error("zero_point must have the element type of output_dtype");
  MLT_TRY(check_parameters(call, input.dims));
  if (call.known("scale")) {
    std::vector<float> scale = call.floats("scale");
    if (!scale.empty() && std::all_of(scale.begin(), scale.end(), [](float v) { return v == 0.0f; }))
      return input_error("scale must not be 0");
  }
  return std::vector<ir::Type>{ir::Type::tensor(dtype, input.dims)};
}

Status eval_quantize(Call& call) {
  const Tensor& input = call.tensor("input");
  if (call.failed()) return {};
  MLT_ASSIGN(DType dtype, output_dtype(call));
  MLT_ASSIGN(Parameters p, parameters(call, input.dims()));
  float low = dtype == DType::kI8 ? -128.0f : 0.0f, high = dtype == DType::kI8 ? 127.0f : 255.0f;
  Tensor& out = output(call, 0, input.dims());
  const float* from = input.data<float>();
  int32_t* to = out.mutable_data<int32_t>();
  p.for_each(input.size(), [&](int64_t i, float scale, float zero_point) {
    float value = std::nearbyint(from[i] / scale) + zero_point;
    to[i] = std::isnan(value) ? 0 : static_cast<int32_t>(std::min(std::max(value, low), high));
  });
  return {};
}

Result<std::vector<ir::Type>> infer_dequantize(Call& call) {
  const ir::Type& input = call.type("input");
  MLT_TRY(check_parameters(call, input.dims));
  return std::vector<ir::Type>{ir::Type::tensor(call.type("scale").dtype, input.dims)};
}

Status eval_dequantize(Call& call) {
  const Tensor& input = call.tensor("input");
  if (call.failed()) return {};
  MLT_ASSIGN(Parameters p, parameters(call, input.dims()));
  Tensor& out = output(call, 0, input.dims());
  const int32_t* from = input.data<int32_t>();
  float* to = out.mutable_data<float>();
  p.for_each(input.size(), [&](int64_t i, float scale, float zero_point) { to[i] = (static_cast<float>(from[i]) - zero_point) * scale; });
  return {};
}

constexpr OpDef kOps[] = {
    {.name = "quantize",
     .since = Opset::kCoreML7,
     .signature = "input: T, zero_point?: const U, scale: const T, axis?: const int32, output_dtype: const string -> output",
     .domains = "T: fp16 fp32; U: uint8 int8",
     .infer = infer_quantize,
     .eval = eval_quantize,
     .doc = "clip(round(input / scale) + zero_point), rounding halves to even; scale and zero_point are scalars, or "
            "vectors along axis."},
    {.name = "dequantize",
     .since = Opset::kCoreML7,
     .signature = "input: T, zero_point?: const T, scale: const U, axis?: const int32 -> output",
     .domains = "T: uint8 int8; U: fp16 fp32",
     .infer = infer_dequantize,
     .eval = eval_dequantize,
     .doc = "scale * (input - zero_point); scale and zero_point are scalars, or vectors along axis."},
};

}  // namespace

std::span<const OpDef> quantization_ops() { return kOps; }

}  // namespace mlt::ops
