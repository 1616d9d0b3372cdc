#include "lib/convert/lower.h"

#include <algorithm>
#include <cmath>

#include "lib/ops/call.h"
#include "lib/ops/infer_util.h"

namespace mlt::foreign {

// A folded result larger than this stays an op: small files must not become large models.
constexpr int64_t kMaxFolded = int64_t{1} << 26;

void unsupported(std::string reason, std::string hint) {
  throw LowerError{unsupported_error(std::move(reason), std::move(hint))};
}
void bad_input(std::string reason) { throw LowerError{input_error(std::move(reason))}; }

Lower::Lower(ir::Function& function, ops::Opset opset) : function_(function), opset_(opset) {
  push_block(function.body.get());
}

void Lower::push_block(ir::Block* block) {
  blocks_.push_back(block);
  builders_.emplace_back(function_, opset_, block);
}

void Lower::pop_block() {
  blocks_.pop_back();
  builders_.pop_back();
}

std::vector<V> Lower::ops(std::string_view kind, std::vector<Input> inputs) {
  std::vector<V> outputs = place(kind, std::move(inputs));
  return fold(blocks_.back()->ops.back().get(), std::move(outputs));
}

V Lower::fill(const Dims& extents, DType type, double value) {
  V scalar = type == DType::kI32 ? i32(static_cast<int64_t>(value)) : f32(value);
  return place("fill", {{"shape", ints(extents)}, {"value", scalar}})[0];
}

std::vector<V> Lower::place(std::string_view kind, std::vector<Input> inputs) {
  ops::OpBuilder& builder = builders_.back();
  std::vector<V> outputs = builder.ops(kind, std::move(inputs));
  if (!builder.ok()) {
    Error error = builder.status().error();
    ir::Block* block = blocks_.back();
    // The op that failed has no outputs: nothing refers to it.
    if (!block->ops.empty() && block->ops.back()->outputs.empty()) block->ops.pop_back();
    builders_.pop_back();
    builders_.emplace_back(function_, opset_, block);
    throw LowerError{std::move(error)};
  }
  return outputs;
}

std::vector<V> Lower::fold(ir::Op* op, std::vector<V> outputs) {
  bool all_known = !op->args.empty();
  for (const ir::Arg& arg : op->args)
    for (const ir::Operand& operand : arg.operands)
      if (operand.constant_tensor() == nullptr) all_known = false;
  if (!all_known) return outputs;
  auto folded = take(ops::fold(*op, opset_, kMaxFolded));
  if (!folded) return outputs;
  std::vector<V> constants;
  blocks_.back()->ops.pop_back();
  for (Tensor& tensor : *folded) constants.push_back(constant(std::move(tensor)));
  return constants;
}

V Lower::op(std::string_view kind, std::vector<Input> inputs) { return ops(kind, std::move(inputs))[0]; }

V Lower::constant(Tensor tensor, std::string_view name) { return builders_.back().constant(std::move(tensor), name); }

V Lower::bools(const std::vector<bool>& values) {
  Tensor tensor = Tensor::uninitialized(DType::kBool, {static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i) tensor.mutable_data<bool>()[i] = values[i];
  return constant(std::move(tensor));
}

V Lower::scalar_like(V like, double value) {
  if (dtype(like) == DType::kI32) return i32(static_cast<int64_t>(value));
  return constant(convert(Tensor::scalar(static_cast<float>(value)), dtype(like)));
}

std::optional<std::vector<int64_t>> Lower::partial_ints(V value) const {
  if (value == nullptr || value->type.rank() > 1) return std::nullopt;
  if (const Tensor* tensor = known(value))
    return is_integer(tensor->dtype()) ? std::optional(to_ints(*tensor)) : std::nullopt;
  auto it = partial_.find(value);
  return it == partial_.end() ? std::nullopt : std::optional(it->second);
}

std::optional<std::vector<int64_t>> Lower::known_ints(V value) const {
  auto ints = partial_ints(value);
  if (!ints) return std::nullopt;
  if (known(value) == nullptr && std::find(ints->begin(), ints->end(), ir::kUnknown) != ints->end())
    return std::nullopt;
  return ints;
}

void Lower::set_partial(V value, std::vector<int64_t> ints) { partial_[value] = std::move(ints); }

int64_t Lower::axis_of(int64_t axis, int64_t rank) { return take(ops::normalize_axis(axis, rank)); }

V Lower::cast(V x, DType to) {
  if (dtype(x) == to) return x;
  V y = op("cast", {{"x", x}, {"dtype", str(dtype_name(to))}});
  if (auto ints = partial_ints(x); ints && known(y) == nullptr && to == DType::kI32) set_partial(y, *ints);
  return y;
}

V Lower::binary(std::string_view kind, V x, V y) {
  if (dtype(x) != dtype(y)) {
    if (is_float(dtype(x)))
      y = cast(y, dtype(x));
    else if (is_float(dtype(y)))
      x = cast(x, dtype(y));
    else {
      x = cast(x, DType::kI32);
      y = cast(y, DType::kI32);
    }
  }
  return op(kind, {{"x", x}, {"y", y}});
}

V Lower::reshape(V x, const std::vector<int64_t>& shape) {
  if (is_static(x) && dims(x) == shape) return x;
  return op("reshape", {{"x", x}, {"shape", ints(shape)}});
}

V Lower::transpose(V x, const std::vector<int64_t>& perm) {
  bool identity = true;
  for (size_t i = 0; i < perm.size(); ++i) identity = identity && perm[i] == static_cast<int64_t>(i);
  return identity ? x : op("transpose", {{"x", x}, {"perm", ints(perm)}});
}

V Lower::expand_dims(V x, const std::vector<int64_t>& axes) {
  return axes.empty() ? x : op("expand_dims", {{"x", x}, {"axes", ints(axes)}});
}

V Lower::squeeze(V x, const std::vector<int64_t>& axes) {
  return axes.empty() ? x : op("squeeze", {{"x", x}, {"axes", ints(axes)}});
}

V Lower::concat(const std::vector<V>& values, int64_t axis) {
  if (values.size() == 1) return values[0];
  return op("concat", {Input("values", values), {"axis", i32(axis)}, {"interleave", boolean(false)}});
}

V Lower::stack(const std::vector<V>& values, int64_t axis) {
  if (values.size() == 1) return expand_dims(values[0], {axis});
  return op("stack", {Input("values", values), {"axis", i32(axis)}});
}

V Lower::reduce(std::string_view kind, V x, std::vector<int64_t> axes, bool keep_dims) {
  return op(kind, {{"x", x}, {"axes", ints(axes)}, {"keep_dims", boolean(keep_dims)}});
}

V Lower::matmul(V x, V y, bool transpose_x, bool transpose_y) {
  return op(
      "matmul",
      {{"x", x}, {"y", y}, {"transpose_x", boolean(transpose_x)}, {"transpose_y", boolean(transpose_y)}});
}

V Lower::clip(V x, double low, double high) {
  if (dtype(x) == DType::kI32)
    return binary("minimum", binary("maximum", x, i32(static_cast<int64_t>(low))),
                  i32(static_cast<int64_t>(high)));
  return op("clip", {{"x", x}, {"alpha", scalar_like(x, low)}, {"beta", scalar_like(x, high)}});
}

V Lower::gather(V x, V indices, int64_t axis) {
  return through_int(x, [&](V t) {
    return op("gather", {{"x", t}, {"indices", indices}, {"axis", i32(axis)}});
  });
}

V Lower::slice(V x, int64_t axis, int64_t begin, int64_t end, int64_t step) {
  size_t n = static_cast<size_t>(rank(x)), a = static_cast<size_t>(axis);
  std::vector<int64_t> b(n, 0), e(n, 0), s(n, 1);
  std::vector<bool> bm(n, true), em(n, true);
  b[a] = begin;
  e[a] = end;
  s[a] = step;
  bm[a] = false;
  em[a] = false;
  for (size_t i = 0; i < n; ++i)
    if (i != a && dims(x)[i] > 0) e[i] = dims(x)[i];
  return op("slice_by_index", {{"x", x},
                               {"begin", ints(b)},
                               {"end", ints(e)},
                               {"stride", ints(s)},
                               {"begin_mask", bools(bm)},
                               {"end_mask", bools(em)}});
}

V Lower::shape_of(V x) {
  if (is_static(x)) return ints(dims(x));
  V shape = op("shape", {{"x", x}});
  if (x->type.ranked) set_partial(shape, dims(x));
  return shape;
}

void Lower::check_constant(const Dims& extents) {
  int64_t count = take(element_count(extents));
  if (count > (int64_t{1} << 28))
    throw LowerError{resource_error("a constant of " + std::to_string(count) + " elements")};
}

V Lower::index_vector(int64_t count) {
  check_constant({count});
  std::vector<int64_t> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int64_t>(i);
  return ints(values);
}

V Lower::filled(const Dims& extents, DType type, double value) {
  check_constant(extents);
  int64_t count = take(element_count(extents));
  Tensor tensor = Tensor::uninitialized(type == DType::kF16 ? DType::kF32 : type, extents);
  if (type == DType::kI32)
    std::fill_n(tensor.mutable_data<int32_t>(), count, static_cast<int32_t>(value));
  else if (type == DType::kBool)
    std::fill_n(tensor.mutable_data<uint8_t>(), count, static_cast<uint8_t>(value != 0));
  else
    std::fill_n(tensor.mutable_data<float>(), count, static_cast<float>(value));
  return constant(convert(tensor, type));
}

V Lower::zeros(const Dims& extents, DType type) { return filled(extents, type, 0); }

V Lower::broadcast_to(V x, const Dims& extents) {
  Dims own = dims(x);
  if (own == extents) return x;
  int64_t added = static_cast<int64_t>(extents.size()) - rank(x);
  if (added > 0) {
    std::vector<int64_t> axes;
    for (int64_t i = 0; i < added; ++i) axes.push_back(i);
    x = expand_dims(x, axes);
    own = dims(x);
  }
  std::vector<int64_t> reps(extents.size(), 1);
  bool any = false;
  for (size_t i = 0; i < extents.size(); ++i) {
    if (own[i] == extents[i]) continue;
    if (own[i] != 1) bad_input("shape " + dims_text(own) + " does not broadcast to " + dims_text(extents));
    reps[i] = extents[i];
    any = true;
  }
  return any ? op("tile", {{"x", x}, {"reps", ints(reps)}}) : x;
}

}  // namespace mlt::foreign
