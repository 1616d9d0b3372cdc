#include "lib/ops/eval_util.h"

#include <algorithm>
#include <cstring>

#include "lib/ops/infer_util.h"

namespace mlt::ops {

const Dims& dims_of(Call& call, std::string_view param, size_t i) {
  // Not call.value(): that converts, and the value may be a large table of weights.
  for (const Binding& b : call.bindings())
    if (b.param->name == param && i < b.items.size() && b.items[i].value.tensor.valid()) return b.items[i].value.tensor.dims();
  return call.type(param, i).dims;
}

bool is_ranked(Call& call, std::string_view param, size_t i) {
  // The type first: a value is converted when it is asked for, and may be a large table of weights.
  const ir::Type& type = call.type(param, i);
  if (type.ranked && std::find(type.dims.begin(), type.dims.end(), ir::kVariadic) == type.dims.end()) return true;
  return call.value(param, i) != nullptr;
}

std::optional<std::vector<int64_t>> known_ints(Call& call, std::string_view param) {
  if (call.value(param) == nullptr) return std::nullopt;
  return call.ints(param);
}

float scalar_f32(Call& call, std::string_view param, std::string_view like) {
  const Tensor* value = call.value(param);
  if (value != nullptr && value->size() != 1) {
    call.fail("parameter \"" + std::string(param) + "\" must be a single number");
    return 0;
  }
  float number = static_cast<float>(call.f64(param));
  if (value == nullptr && !like.empty()) {
    Tensor rounded = convert(convert(Tensor::scalar(number), call.type(like).dtype), DType::kF32);
    number = *rounded.data<float>();
  }
  return number;
}

Result<ir::Type> shaped_by(Call& call, std::string_view shape_param, DType dtype) {
  if (auto shape = known_ints(call, shape_param)) {
    MLT_TRY(element_count(*shape));
    return ir::Type::tensor(dtype, std::move(*shape));
  }
  const ir::Type& type = call.type(shape_param);
  if (type.ranked && type.rank() != 1) return input_error("parameter \"" + std::string(shape_param) + "\" must have rank 1");
  constexpr int64_t kHighestRank = 64;
  if (!type.is_static() || type.dims[0] > kHighestRank) return ir::Type::unranked(dtype);
  return ir::Type::tensor(dtype, Dims(static_cast<size_t>(type.dims[0]), ir::kUnknown));
}

Tensor& output(Call& call, size_t i, const Dims& dims) {
  Tensor& out = call.out(i);
  DType dtype = compute_dtype(call.out_type(i).dtype);
  if (out.valid() && out.writable() && out.dims() == dims && out.dtype() == dtype) return out;
  auto count = element_count(dims);
  if (!count) {
    call.fail(count.error().message);
    out = Tensor::zeros(dtype, {0});
    return out;
  }
  out = dtype == DType::kString ? Tensor::of_strings(dims, std::vector<std::string>(static_cast<size_t>(*count)))
                                : Tensor::uninitialized(dtype, dims);
  return out;
}

Status copy_to_output(Call& call, size_t i, const Tensor& source, const Dims& dims) {
  MLT_ASSIGN(int64_t count, element_count(dims));
  if (count != source.size())
    return input_error("cannot see " + dims_text(source.dims()) + " as " + dims_text(dims) + ": " + std::to_string(source.size()) +
                       " elements are not " + std::to_string(count));
  Tensor& out = output(call, i, dims);
  if (call.failed()) return {};
  if (source.dtype() != out.dtype()) return input_error("element type differs from the inferred one");
  if (source.dtype() == DType::kString) {
    out.mutable_strings() = source.strings();
  } else if (source.nbytes() > 0 && out.mutable_bytes() != source.bytes().data()) {
    std::memmove(out.mutable_bytes(), source.bytes().data(), static_cast<size_t>(source.nbytes()));
  }
  return {};
}

BroadcastPlan plan_broadcast(const Dims& result, const std::vector<const Dims*>& operands) {
  std::vector<Dims> strides;
  for (const Dims* operand : operands) strides.push_back(broadcast_strides(*operand, result));
  // Axes from the last to the first; an axis joins the one after it when every operand steps evenly over both.
  Dims dims;
  std::vector<Dims> merged(operands.size());
  for (size_t d = result.size(); d-- > 0;) {
    if (result[d] == 1) continue;
    bool joins = !dims.empty();
    for (size_t k = 0; joins && k < operands.size(); ++k) joins = strides[k][d] == merged[k].back() * dims.back();
    if (joins) {
      dims.back() *= result[d];
      continue;
    }
    dims.push_back(result[d]);
    for (size_t k = 0; k < operands.size(); ++k) merged[k].push_back(strides[k][d]);
  }
  BroadcastPlan plan;
  plan.row_strides.assign(operands.size(), 0);
  plan.strides.resize(operands.size());
  if (dims.empty()) return plan;
  plan.row = dims.front();
  for (size_t d = dims.size(); d-- > 1;) {
    plan.dims.push_back(dims[d]);
    plan.rows *= dims[d];
    for (size_t k = 0; k < operands.size(); ++k) plan.strides[k].push_back(merged[k][d]);
  }
  for (size_t k = 0; k < operands.size(); ++k) plan.row_strides[k] = merged[k].front();
  return plan;
}

void copy_strided(const std::byte* from, std::byte* to, const Dims& dims, const Dims& strides, int64_t bytes) {
  // Drops axes of one element and joins axes that are contiguous in the source.
  Dims d, s;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 0) return;
    if (dims[i] == 1) continue;
    if (!d.empty() && s.back() == strides[i] * dims[i]) {
      d.back() *= dims[i];
      s.back() = strides[i];
    } else {
      d.push_back(dims[i]);
      s.push_back(strides[i]);
    }
  }
  if (d.empty()) {
    std::memcpy(to, from, static_cast<size_t>(bytes));
    return;
  }
  int64_t row = d.back(), step = s.back(), rows = 1;
  d.pop_back();
  s.pop_back();
  for (int64_t extent : d) rows *= extent;
  parallel_for(rows, std::max<int64_t>(1, (1 << 14) / row), [&](int64_t begin, int64_t end) {
    Dims index(d.size(), 0);
    int64_t offset = 0, rest = begin;
    for (size_t i = d.size(); i-- > 0;) {
      index[i] = rest % d[i];
      rest /= d[i];
      offset += index[i] * s[i];
    }
    for (int64_t r = begin; r < end; ++r) {
      const std::byte* in = from + offset * bytes;
      std::byte* out = to + r * row * bytes;
      if (step == 1) {
        std::memcpy(out, in, static_cast<size_t>(row * bytes));
      } else if (bytes == 4) {
        for (int64_t i = 0; i < row; ++i) std::memcpy(out + i * 4, in + i * step * 4, 4);
      } else {
        for (int64_t i = 0; i < row; ++i) std::memcpy(out + i * bytes, in + i * step * bytes, static_cast<size_t>(bytes));
      }
      for (size_t i = d.size(); i-- > 0;) {
        offset += s[i];
        if (++index[i] < d[i]) break;
        offset -= s[i] * d[i];
        index[i] = 0;
      }
    }
  });
}

}  // namespace mlt::ops
