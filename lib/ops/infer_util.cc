#include "lib/ops/infer_util.h"

#include <algorithm>

namespace mlt::ops {

Result<Dims> broadcast(const Dims& a, const Dims& b) {
  Dims out(std::max(a.size(), b.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t x = i < out.size() - a.size() ? 1 : a[i - (out.size() - a.size())];
    int64_t y = i < out.size() - b.size() ? 1 : b[i - (out.size() - b.size())];
    if (x == y) {
      out[i] = x;
    } else if (x == 1) {
      out[i] = y;
    } else if (y == 1) {
      out[i] = x;
    } else if (x < 0) {
      out[i] = y;
    } else if (y < 0) {
      out[i] = x;
    } else {
      return input_error("shapes " + dims_text(a) + " and " + dims_text(b) + " do not broadcast");
    }
  }
  return out;
}

Dims broadcast_strides(const Dims& operand, const Dims& result) {
  Dims own = row_major_strides(operand), strides(result.size(), 0);
  for (size_t i = 0; i < operand.size(); ++i) {
    size_t at = result.size() - operand.size() + i;
    strides[at] = operand[i] == 1 ? 0 : own[i];
  }
  return strides;
}

Result<int64_t> normalize_axis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) return input_error("axis " + std::to_string(axis) + " is out of range for rank " + std::to_string(rank));
  return axis < 0 ? axis + rank : axis;
}

Result<std::vector<int64_t>> normalize_axes(const std::vector<int64_t>& axes, int64_t rank) {
  std::vector<int64_t> out;
  for (int64_t axis : axes) {
    MLT_ASSIGN(int64_t a, normalize_axis(axis, rank));
    if (std::find(out.begin(), out.end(), a) != out.end()) return input_error("axis " + std::to_string(axis) + " is given twice");
    out.push_back(a);
  }
  return out;
}

Result<PadType> pad_type_from_name(const std::string& name) {
  if (name == "valid") return PadType::kValid;
  if (name == "same") return PadType::kSame;
  if (name == "same_lower") return PadType::kSameLower;
  if (name == "custom") return PadType::kCustom;
  return input_error("unknown pad_type \"" + name + "\"");
}

int64_t Window::output(int64_t input) const {
  if (input < 0) return ir::kUnknown;
  int64_t span = input + pad_before + pad_after - ((kernel - 1) * dilation + 1);
  if (span < 0) return span < -stride ? -1 : 0;
  return span / stride + 1;
}

Result<std::vector<Window>> make_windows(PadType type, const Dims& input, const std::vector<int64_t>& kernel,
                                         const std::vector<int64_t>& strides, const std::vector<int64_t>& dilations,
                                         const std::vector<int64_t>& pad) {
  size_t n = input.size();
  if (kernel.size() != n || strides.size() != n || dilations.size() != n || (type == PadType::kCustom && pad.size() != 2 * n))
    return input_error("kernel, strides, dilations and pad must have one entry (pad: two) for each of the " + std::to_string(n) + " spatial axes");
  std::vector<Window> windows(n);
  for (size_t i = 0; i < n; ++i) {
    Window& w = windows[i];
    w.kernel = kernel[i];
    w.stride = strides[i];
    w.dilation = dilations[i];
    constexpr int64_t kLimit = int64_t{1} << 31;
    if (w.kernel < 0 || w.stride < 1 || w.dilation < 1 || w.kernel > kLimit || w.stride > kLimit || w.dilation > kLimit)
      return input_error("kernel sizes, strides and dilations must be positive");
    if (type == PadType::kCustom) {
      w.pad_before = pad[2 * i];
      w.pad_after = pad[2 * i + 1];
      if (w.pad_before < 0 || w.pad_after < 0 || w.pad_before > kLimit || w.pad_after > kLimit) return input_error("padding must not be negative");
    } else if (type != PadType::kValid && input[i] >= 0) {
      int64_t out = (input[i] + w.stride - 1) / w.stride;
      int64_t total = std::max<int64_t>(0, (out - 1) * w.stride + (w.kernel - 1) * w.dilation + 1 - input[i]);
      w.pad_before = type == PadType::kSame ? total / 2 : total - total / 2;
      w.pad_after = total - w.pad_before;
    }
  }
  return windows;
}

Result<std::vector<ir::Type>> infer_same_as_x(Call& call) { return std::vector<ir::Type>{call.type("x")}; }

bool next_index(Dims& index, const Dims& dims) {
  for (size_t d = dims.size(); d-- > 0;) {
    if (++index[d] < dims[d]) return true;
    index[d] = 0;
  }
  return false;
}

Result<std::vector<ir::Type>> infer_with_scalars(Call& call) {
  for (const Param& param : call.info().params) {
    if (!param.is_const || !call.has(param.name)) continue;
    const ir::Type& type = call.type(param.name);
    if (type.is_static() && *element_count(type.dims) != 1) return input_error("\"" + std::string(param.name) + "\" must be a single number");
  }
  return infer_same_as_x(call);
}

}  // namespace mlt::ops
