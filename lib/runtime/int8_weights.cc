#include <algorithm>
#include <cmath>

#include "lib/runtime/int8_plan.h"

namespace mlt {

std::optional<Int8Weights> int8_weights(ops::Call& call, size_t axis, std::string& reason) {
  const std::string& kind = call.op()->kind;
  const bool affine = kind == "constexpr_affine_dequantize";
  if (!affine && kind != "constexpr_blockwise_shift_scale") return reason = "the weights are a palette", std::nullopt;
  const char* data_name = affine ? "quantized_data" : "data";
  const char* zero_name = affine ? "zero_point" : "offset";
  const Tensor& data = call.tensor(data_name);
  const DType type = call.type(data_name).dtype;
  if (call.failed() || is_float(type) || type == DType::kBool || data.dims().size() <= axis) return reason = "the weights are not integers", std::nullopt;
  Int8Weights w;
  w.dims = data.dims();
  const int64_t n = w.dims[axis], count = data.size();
  int64_t inner = 1;
  for (size_t i = axis + 1; i < w.dims.size(); ++i) inner *= w.dims[i];
  if (n < 1 || count < 1) return reason = "the weights are empty", std::nullopt;
  w.scale = call.floats("scale");
  std::vector<float> zero = call.has(zero_name) ? call.floats(zero_name) : std::vector<float>();
  if (call.failed()) return reason = "the weights' scales are not known", std::nullopt;
  if (affine) {
    const int64_t given = call.i64("axis"), rank = static_cast<int64_t>(w.dims.size());
    if (call.failed()) return reason = "the weights' axis is not known", std::nullopt;
    if ((w.scale.size() > 1 || zero.size() > 1) && (given < 0 ? given + rank : given) != static_cast<int64_t>(axis))
      return reason = "the weights' scales are not by output channel", std::nullopt;
  } else {
    const Dims& s = call.tensor("scale").dims();
    for (size_t i = 0; i < s.size(); ++i)
      if (s.size() != w.dims.size() || (i != axis && s[i] != 1)) return reason = "the weights' scales are not by output channel", std::nullopt;
  }
  for (auto* list : {&w.scale, &zero}) {
    const auto have = static_cast<int64_t>(list->size());
    if (have == 0 && list == &zero) list->assign(1, 0.0f);
    if (have > 0 && n % have != 0) return reason = "the weights' scales are not by output channel", std::nullopt;
    std::vector<float> each(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) each[static_cast<size_t>(i)] = (*list)[static_cast<size_t>(i / std::max<int64_t>(1, n / static_cast<int64_t>(list->size())))];
    *list = std::move(each);
  }
  w.codes.resize(static_cast<size_t>(count));
  const auto centred = [&](const auto* from) {
    for (int64_t row = 0, rows = count / inner; row < rows; ++row, from += inner) {
      const float z = zero[static_cast<size_t>(row % n)];
      if (!(std::fabs(z) <= 1024) || z != std::nearbyint(z)) return false;
      const auto shift = static_cast<int64_t>(z);
      int8_t* to = w.codes.data() + row * inner;
      int64_t outside = 0;
      for (int64_t k = 0; k < inner; ++k) {
        const int64_t v = from[k] - shift;
        outside += v < -128 || v > 127;
        to[k] = static_cast<int8_t>(v);
      }
      if (outside > 0) return false;
    }
    return true;
  };
  bool fit = false;
  if (data.dtype() == DType::kI8) {
    fit = centred(data.data<int8_t>());
  } else if (data.dtype() == DType::kU8) {
    fit = centred(data.data<uint8_t>());
  } else {
    const Tensor wide = to_compute(data);
    if (wide.dtype() != DType::kI32) return reason = "the weights are not integers", std::nullopt;
    fit = centred(wide.data<int32_t>());
  }
  if (!fit) return reason = "the weights' zero points leave the range of int8", std::nullopt;
  return w;
}

}  // namespace mlt
