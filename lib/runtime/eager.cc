// Evaluation of one op with the shapes of the moment, and the interpretation of nested blocks. The plan uses it for
// what has no shape before run time: lists, data-dependent extents, control flow. State ops live here too.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include "lib/base/float16.h"
#include "lib/base/threads.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

using ir::Type;
using ops::RtValue;

class Scope {
 public:
  Scope(const EagerContext& context, const Scope* parent) : context_(context), parent_(parent) {}
  void set(const ir::Value* value, RtValue rt) { values_[value] = std::move(rt); }
  RtValue get(const ir::Value& value) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent_) {
      auto it = scope->values_.find(&value);
      if (it != scope->values_.end()) return it->second;
    }
    if (const ir::Literal* literal = value.constant()) {
      RtValue rt;
      rt.tensor = literal->tensor;
      return rt;
    }
    return context_.value_of(value);
  }

 private:
  const EagerContext& context_;
  const Scope* parent_;
  std::unordered_map<const ir::Value*, RtValue> values_;
};

Result<std::vector<RtValue>> run_op(const ir::Op& op, const EagerContext& context, const Scope& scope);

Result<std::vector<RtValue>> run_block(const ir::Block& block, const EagerContext& context, Scope& scope) {
  for (const auto& op : block.ops) {
    if (op->is_const()) {
      if (op->output()->constant_tensor() == nullptr) return input_error("the weights of constant \"" + op->output()->name + "\" are missing");
      continue;
    }
    auto results = run_op(*op, context, scope);
    if (!results) return std::move(results).in("op " + std::string(op->name()) + " (" + op->kind + ")");
    for (size_t i = 0; i < op->outputs.size() && i < results->size(); ++i) scope.set(op->outputs[i].get(), std::move((*results)[i]));
  }
  std::vector<RtValue> outputs;
  for (const ir::Value* output : block.outputs) outputs.push_back(scope.get(*output));
  return outputs;
}

Result<bool> as_bool(const RtValue& value) {
  if (!value.tensor.valid() || value.tensor.dtype() == DType::kString || value.tensor.size() != 1) return input_error("the condition is not one bool");
  return to_ints(value.tensor)[0] != 0;
}

// Loop variables change hands by copy: an evaluation may write where its input lay.
Result<std::vector<RtValue>> run_while(const ir::Op& op, const EagerContext& context, const Scope& scope) {
  if (op.blocks.size() != 2) return input_error("while_loop needs two blocks");
  const ir::Block &condition = *op.blocks[0], &body = *op.blocks[1];
  std::vector<RtValue> variables;
  const ir::Arg* given = op.find("loop_vars");
  if (given == nullptr) return input_error("while_loop without loop_vars");
  for (const ir::Operand& operand : given->operands) {
    RtValue value;
    if (operand.value != nullptr) {
      value = scope.get(*operand.value);
    } else {
      value.tensor = to_compute(operand.literal->tensor);
    }
    variables.push_back(std::move(value));
  }
  if (condition.inputs.size() != variables.size() || body.inputs.size() != variables.size() || body.outputs.size() != variables.size() ||
      condition.outputs.size() != 1)
    return input_error("while_loop: blocks and loop_vars do not agree in number");
  for (int64_t iteration = 0;; ++iteration) {
    if (iteration == context.max_iterations) return resource_error("while_loop did not end after " + std::to_string(iteration) + " iterations");
    Scope test(context, &scope);
    for (size_t i = 0; i < variables.size(); ++i) test.set(condition.inputs[i].get(), variables[i]);
    MLT_ASSIGN(std::vector<RtValue> verdict, run_block(condition, context, test));
    MLT_ASSIGN(bool go_on, as_bool(verdict[0]));
    if (!go_on) return variables;
    Scope inner(context, &scope);
    for (size_t i = 0; i < variables.size(); ++i) inner.set(body.inputs[i].get(), variables[i]);
    MLT_ASSIGN(variables, run_block(body, context, inner));
  }
}

Result<std::vector<RtValue>> run_op(const ir::Op& op, const EagerContext& context, const Scope& scope) {
  if (op.kind == "while_loop") return run_while(op, context, scope);
  if (op.kind == "cond") {
    if (op.blocks.size() != 2 || op.input("pred") == nullptr) return input_error("cond needs a predicate and two blocks");
    MLT_ASSIGN(bool taken, as_bool(scope.get(*op.input("pred"))));
    Scope inner(context, &scope);
    return run_block(*op.blocks[taken ? 0 : 1], context, inner);
  }
  if (op.kind == "read_state") {
    MLT_ASSIGN(std::string name, state_name(op, "input"));
    RtValue value;
    MLT_ASSIGN(const Tensor* kept, find_state(context.state, name));
    value.tensor = kept->clone();
    return std::vector<RtValue>{std::move(value)};
  }
  if (op.kind == "write_state" || op.kind == "coreml_update_state") {
    bool serialized = op.kind == "write_state";
    std::string_view state_param = serialized ? "input" : "state", data_param = serialized ? "data" : "value";
    MLT_ASSIGN(std::string name, state_name(op, state_param));
    const ir::Operand* data = op.operand(data_param);
    if (data == nullptr) return input_error("parameter \"" + std::string(data_param) + "\" is missing");
    RtValue value;
    if (data->value != nullptr) {
      value = scope.get(*data->value);
    } else {
      value.tensor = data->literal->tensor;
    }
    if (!value.tensor.valid()) return input_error("the new state has no value");
    value.tensor = to_compute(value.tensor);
    MLT_TRY(write_state_tensor(context.state, name, op.input(state_param)->type.held(), value.tensor));
    if (op.outputs.empty()) return std::vector<RtValue>{};
    MLT_ASSIGN(const Tensor* kept, find_state(context.state, name));
    value.tensor = kept->clone();
    return std::vector<RtValue>{std::move(value)};
  }
  auto type_of = [&](const ir::Value& value) {
    RtValue rt = scope.get(value);
    return rt.tensor.valid() ? Type::tensor(value.type.dtype, rt.tensor.dims()) : value.type;
  };
  MLT_ASSIGN(ops::Call call, ops::bind_call(op, context.opset, [&](const ir::Value& value) { return scope.get(value); }, type_of));
  MLT_TRY(ops::infer(call));
  MLT_TRY(check_bytes(call.out_types(), context.max_bytes));
  MLT_TRY(ops::evaluate(call));
  if (context.strict_fp16)
    for (size_t i = 0; i < call.outputs().size(); ++i)
      if (call.out_types()[i].is_tensor() && call.out_types()[i].dtype == DType::kF16 && call.outputs()[i].tensor.valid())
        round_and_note(call.outputs()[i].tensor, op.name(), op.kind, *context.findings);
  return std::move(call.outputs());
}

}  // namespace

Result<std::vector<RtValue>> run_eagerly(const ir::Op& op, const EagerContext& context) {
  Scope scope(context, nullptr);
  return run_op(op, context, scope);
}

Result<std::string> state_name(const ir::Op& op, std::string_view param) {
  const ir::Value* value = op.input(param);
  if (value == nullptr || !value->type.is_state() || value->producer != nullptr) return input_error("\"" + std::string(param) + "\" must be a state of the function");
  return value->name;
}

Result<Tensor*> find_state(StateTensors* state, const std::string& name) {
  if (state == nullptr) return input_error("this model keeps a state, and none was given");
  auto it = state->find(name);
  if (it == state->end()) return input_error("state \"" + name + "\" is missing");
  return &it->second;
}

Status write_state_tensor(StateTensors* state, const std::string& name, const Type& held, const Tensor& value) {
  MLT_ASSIGN(Tensor * kept, find_state(state, name));
  if (kept->dims() != value.dims() || kept->dtype() != value.dtype())
    return input_error("state \"" + name + "\" is " + dims_text(kept->dims()) + ", " + dims_text(value.dims()) + " written");
  // Caches are written whole and changed in a few places: what is the same was rounded when it came.
  constexpr size_t kBlock = 4096;
  std::byte* to = kept->mutable_bytes();
  const std::byte* from = value.bytes().data();
  const bool rounds = held.dtype == DType::kF16 && value.dtype() == DType::kF32;
  const size_t size = value.bytes().size();
  parallel_for(static_cast<int64_t>((size + kBlock - 1) / kBlock), 64, [&](int64_t begin, int64_t end) {
    for (size_t at = static_cast<size_t>(begin) * kBlock; at < std::min(size, static_cast<size_t>(end) * kBlock); at += kBlock) {
      const size_t n = std::min(kBlock, size - at);
      if (std::memcmp(to + at, from + at, n) == 0) continue;
      std::memcpy(to + at, from + at, n);
      auto* floats = reinterpret_cast<float*>(to + at);
      for (size_t i = 0; rounds && i < n / sizeof(float); ++i) floats[i] = round_to_half(floats[i]);
    }
  });
  return {};
}

int64_t round_to_half_precision(Tensor& tensor) {
  if (tensor.dtype() != DType::kF32) return 0;
  float* data = tensor.mutable_data<float>();
  int64_t overflows = 0;
  for (int64_t i = 0; i < tensor.size(); ++i) {
    float rounded = round_to_half(data[i]);
    overflows += std::isinf(rounded) && !std::isinf(data[i]);
    data[i] = rounded;
  }
  return overflows;
}

void round_and_note(Tensor& tensor, std::string_view op, std::string_view kind, std::vector<PrecisionFinding>& findings) {
  constexpr size_t kMaxFindings = 100;
  if (!tensor.valid() || tensor.dtype() != DType::kF32) return;
  int64_t overflows = round_to_half_precision(tensor), nans = 0;
  for (float f : tensor.span<float>()) nans += std::isnan(f);
  if ((overflows == 0 && nans == 0) || findings.size() >= kMaxFindings) return;
  for (const PrecisionFinding& known : findings)
    if (known.op == op) return;
  std::string text = "op " + std::string(op) + " (" + std::string(kind) + "): ";
  std::string of = " of " + std::to_string(tensor.size()) + (tensor.size() == 1 ? " value" : " values");
  if (overflows > 0) text += std::to_string(overflows) + of + (overflows == 1 ? " overflows float16" : " overflow float16");
  if (nans > 0) text += (overflows > 0 ? ", " : "") + std::to_string(nans) + of + (nans == 1 ? " is not a number" : " are not a number");
  findings.push_back({std::string(op), std::move(text)});
}

}  // namespace mlt
