// What an op's inference and evaluation functions see of one invocation.
//
// Parameters are read by name; defaults of the row's signature apply. Constant parameters come as plain values
// (axis = call.i64("axis")); when one is missing or not known yet, the call records an error, the getter returns a
// harmless value (0, {}, ""), and the wrapper reports the error after the function returns. Infer functions should
// therefore check failed() before they use such a value as a divisor or an index.
//
// Values are in the compute type (fp32 for floats, int32 for integers, bool, string) unless the row says raw_inputs;
// types are the declared ones. Evaluation writes into out(i), already allocated in the compute type with the inferred
// extents; ops whose extents depend on data infer kUnknown there and call set_out.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/ops/op_def.h"

namespace mlt::ops {

// A run-time value: a tensor, or the elements of a MIL list.
using ListValue = std::shared_ptr<std::vector<Tensor>>;
struct RtValue {
  Tensor tensor;
  ListValue list;
  bool known() const { return tensor.valid() || list != nullptr; }
};

// One bound operand: its type, and its value when it is known. The value may be bound in its stored element type; the
// Call converts it to the compute type when it is first asked for.
struct Item {
  ir::Type type;
  mutable RtValue value;
};
struct Binding {
  const Param* param = nullptr;
  std::vector<Item> items;
};

class Call {
 public:
  Call(const OpInfo& info, const ir::Op* op) : info_(info), op_(op) {}

  const OpInfo& info() const { return info_; }
  const OpDef& def() const { return *info_.def; }
  const ir::Op* op() const { return op_; }  // null when a builder asks before the op exists

  bool has(std::string_view param) const { return find(param) != nullptr; }
  size_t count(std::string_view param) const;
  // Type of an operand; a scalar fp32 with an error recorded when the parameter is absent.
  const ir::Type& type(std::string_view param, size_t i = 0);
  // Value of an operand, or null when absent or not known (inference).
  const Tensor* value(std::string_view param, size_t i = 0) const;
  // Value of an operand that must be there (evaluation); an empty tensor with an error recorded otherwise.
  const Tensor& tensor(std::string_view param, size_t i = 0);
  ListValue list(std::string_view param) const;

  // Constant parameters, from the operand or the signature's default.
  int64_t i64(std::string_view param);
  double f64(std::string_view param);
  bool flag(std::string_view param);
  std::string str(std::string_view param);
  std::vector<int64_t> ints(std::string_view param);
  std::vector<float> floats(std::string_view param);
  // True when the parameter has a known value or a default.
  bool known(std::string_view param) const;

  // Evaluation only.
  Tensor& out(size_t i = 0) { return outputs_[i].tensor; }
  size_t out_count() const { return outputs_.size(); }
  const ir::Type& out_type(size_t i = 0) const { return out_types_[i]; }
  void set_out(size_t i, Tensor tensor) { outputs_[i].tensor = std::move(tensor); }
  void set_out_list(size_t i, ListValue list) { outputs_[i].list = std::move(list); }

  void fail(std::string message);  // records the first error
  bool failed() const { return error_.has_value(); }

  // For wrappers (evaluate.h, builder.h, the executor).
  void bind(std::string_view param, std::vector<Item> items);
  Status check_bindings();  // required parameters, arities, element types, domains
  std::vector<RtValue>& outputs() { return outputs_; }
  std::vector<ir::Type>& out_types() { return out_types_; }
  std::vector<Binding>& bindings() { return bindings_; }
  const std::optional<Error>& error() const { return error_; }
  // After inference: allocates outputs whose type is static; keeps a given tensor whose dtype and extents fit.
  void allocate_outputs();

 private:
  const Binding* find(std::string_view param) const;
  const Tensor* item_value(const Item& item) const;
  const Tensor* single(std::string_view param);
  std::string_view default_text(std::string_view param) const;

  const OpInfo& info_;
  const ir::Op* op_;
  std::vector<Binding> bindings_;
  std::vector<RtValue> outputs_;
  std::vector<ir::Type> out_types_;
  std::optional<Error> error_;
};

// Runs the row's inference on a bound call (checks bindings first), fills out_types.
Status infer(Call& call);
// Runs inference (unless out_types are set), allocates, evaluates. Outputs are in compute type.
Status evaluate(Call& call);

// Binds a call from an op of the IR. `value_of` gives an operand's run-time value, or one that is not known();
// literals bound in place, "const" producers and attributes (constexpr parameters before CoreML8) are found here.
// With `type_of`, operand types come from there instead of the IR (concrete shapes of a plan).
using ValueOf = std::function<RtValue(const ir::Value&)>;
using TypeOf = std::function<ir::Type(const ir::Value&)>;
Result<Call> bind_call(const ir::Op& op, Opset opset, const ValueOf& value_of, const TypeOf& type_of = {});

// Inference for an op of the IR with nothing known but constants.
Result<std::vector<ir::Type>> infer_types(const ir::Op& op, Opset opset);
// Constant evaluation for an op of the IR: outputs in their declared element types, or nothing when an input is not
// constant, the op has no evaluation, or an output would exceed max_elements.
Result<std::optional<std::vector<Tensor>>> fold(const ir::Op& op, Opset opset, int64_t max_elements = int64_t{1} << 26);

}  // namespace mlt::ops
