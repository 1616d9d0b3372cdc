// What lowering functions of every frontend build with: ops that fold when all their inputs are constants, and the small
// idioms that MIL needs several ops for.
//
// Errors: inside a frontend, functions that lower one source node throw LowerError; the frontend's driver catches it per
// node, so that all problems of a model are reported and not the first. No exception leaves lib/convert.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/ir/graph.h"
#include "lib/ops/builder.h"

namespace mlt::foreign {

using V = ir::Value*;
using ops::Input;

struct LowerError {
  Error error;
};
[[noreturn]] void unsupported(std::string reason, std::string hint = {});
[[noreturn]] void bad_input(std::string reason);
// The value of a Result, or a LowerError thrown.
template <typename T>
T take(Result<T> result) {
  if (!result) throw LowerError{std::move(result).error()};
  return std::move(*result);
}

class Lower {
 public:
  Lower(ir::Function& function, ops::Opset opset);

  // An op of constants that must stay one: what it stands for is larger than what it says.
  V kept(std::string_view kind, std::vector<Input> inputs) { return place(kind, std::move(inputs))[0]; }
  // Appends an op and returns its outputs; when every input is constant, the result is a constant instead.
  V op(std::string_view kind, std::vector<Input> inputs);
  std::vector<V> ops(std::string_view kind, std::vector<Input> inputs);
  // An op the table knows nothing of types for beforehand (control flow): placed as is.
  ir::Block* block() const { return blocks_.back(); }
  // Ops go to `block` until pop_block().
  void push_block(ir::Block* block);
  void pop_block();
  ops::Opset opset() const { return opset_; }
  bool at_least(ops::Opset opset) const { return opset_ >= opset; }
  ir::Function& function() { return function_; }

  // Element types: fp16, fp32, int32, bool, string. Small ones without a name are shared.
  V constant(Tensor tensor, std::string_view name = {});
  V i32(int64_t value) { return constant(Tensor::scalar(static_cast<int32_t>(value))); }
  V ints(const std::vector<int64_t>& values) { return constant(Tensor::ints(values)); }
  V f32(double value) { return constant(Tensor::scalar(static_cast<float>(value))); }
  V floats(const std::vector<float>& values) { return constant(Tensor::from<float>({static_cast<int64_t>(values.size())}, values)); }
  V boolean(bool value) { return constant(Tensor::scalar(value)); }
  V bools(const std::vector<bool>& values);
  V str(std::string_view value) { return constant(Tensor::string(std::string(value))); }
  // A scalar in the element type of `like`.
  V scalar_like(V like, double value);

  // What is known of a value.
  static const Tensor* known(V value) { return value->constant_tensor(); }
  static const Dims& dims(V value) { return value->type.dims; }
  static int64_t rank(V value) { return value->type.rank(); }
  static DType dtype(V value) { return value->type.dtype; }
  static bool is_static(V value) { return value->type.is_static(); }
  // Integer vector or scalar whose value is known, with ir::kUnknown for the elements that are not (shape arithmetic).
  std::optional<std::vector<int64_t>> partial_ints(V value) const;
  // The same, only when every element is known.
  std::optional<std::vector<int64_t>> known_ints(V value) const;
  void set_partial(V value, std::vector<int64_t> ints);
  // The axis in [0, rank); a LowerError when out of range.
  static int64_t axis_of(int64_t axis, int64_t rank);

  V cast(V x, DType dtype);
  V binary(std::string_view kind, V x, V y);  // casts a lone int32 side to the other's float type
  V add(V x, V y) { return binary("add", x, y); }
  V sub(V x, V y) { return binary("sub", x, y); }
  V mul(V x, V y) { return binary("mul", x, y); }
  V div(V x, V y) { return binary("real_div", x, y); }
  V add(V x, double y) { return add(x, scalar_like(x, y)); }
  V mul(V x, double y) { return mul(x, scalar_like(x, y)); }
  V unary(std::string_view kind, V x) { return op(kind, {{"x", x}}); }
  V select(V cond, V a, V b) { return op("select", {{"cond", cond}, {"a", a}, {"b", b}}); }
  V reshape(V x, const std::vector<int64_t>& shape);  // at most one -1
  V transpose(V x, const std::vector<int64_t>& perm);
  V expand_dims(V x, const std::vector<int64_t>& axes);
  V squeeze(V x, const std::vector<int64_t>& axes);
  V concat(const std::vector<V>& values, int64_t axis);  // works for bool too
  V stack(const std::vector<V>& values, int64_t axis);
  V reduce(std::string_view kind, V x, std::vector<int64_t> axes, bool keep_dims);
  V matmul(V x, V y, bool transpose_x = false, bool transpose_y = false);
  V clip(V x, double low, double high);
  V gather(V x, V indices, int64_t axis);
  // x[..., begin:end:step, ...] along one axis, extents static there.
  V slice(V x, int64_t axis, int64_t begin, int64_t end, int64_t step = 1);
  V shape_of(V x);  // constant when static
  V index_vector(int64_t count);  // 0, 1, ... count - 1
  // A LowerError when a constant of these extents would be unreasonably large: extents come from files.
  static void check_constant(const Dims& dims);
  // Runs `body` on an int32 image of a bool tensor and casts the result back; other types go through unchanged.
  template <typename F>
  V through_int(V x, F body) {
    if (dtype(x) != DType::kBool) return body(x);
    return cast(body(cast(x, DType::kI32)), DType::kBool);
  }
  V zeros(const Dims& dims, DType dtype);
  V filled(const Dims& dims, DType dtype, double value);
  // The op that makes such a tensor at run time; not folded.
  V fill(const Dims& dims, DType dtype, double value);
  // Broadcasts x to static extents by tiling.
  V broadcast_to(V x, const Dims& dims);

 private:
  std::vector<V> place(std::string_view kind, std::vector<Input> inputs);
  std::vector<V> fold(ir::Op* op, std::vector<V> outputs);

  ir::Function& function_;
  ops::Opset opset_;
  std::vector<ir::Block*> blocks_;
  std::vector<ops::OpBuilder> builders_;
  std::unordered_map<const ir::Value*, std::vector<int64_t>> partial_;
};

}  // namespace mlt::foreign
