// Runs a function op by op with the op table's reference evaluation. For tests: no plan, no kernels, no fusion.
#pragma once
#include <unordered_map>

#include "lib/ir/graph.h"
#include "lib/ops/call.h"

namespace mlt::reference {

using Values = std::unordered_map<const ir::Value*, ops::RtValue>;

inline Status run_block(const ir::Block& block, ops::Opset opset, Values& values);

inline Result<ops::RtValue> value_of(const ir::Operand& operand, const Values& values) {
  if (operand.value) {
    auto it = values.find(operand.value);
    if (it != values.end()) return it->second;
  }
  if (const Tensor* t = operand.constant_tensor()) return ops::RtValue{to_compute(*t), nullptr};
  return input_error("a value is not there");
}

inline Status run_op(const ir::Op& op, ops::Opset opset, Values& values) {
  if (op.kind == "const") return {};
  if (op.kind == "cond") {
    MLT_ASSIGN(ops::RtValue pred, value_of(*op.operand("pred"), values));
    const ir::Block& block = *op.blocks[pred.tensor.data<bool>()[0] ? 0 : 1];
    MLT_TRY(run_block(block, opset, values));
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      MLT_ASSIGN(values[op.output(i)], value_of(ir::Operand(block.outputs[i]), values));
    }
    return {};
  }
  if (op.kind == "while_loop") {
    std::vector<ops::RtValue> state;
    for (const ir::Operand& operand : op.find("loop_vars")->operands) {
      MLT_ASSIGN(ops::RtValue v, value_of(operand, values));
      state.push_back(std::move(v));
    }
    for (int64_t round = 0; round < 100000; ++round) {
      for (size_t b = 0; b < 2; ++b) {
        const ir::Block& block = *op.blocks[b];
        for (size_t i = 0; i < state.size(); ++i) values[block.inputs[i].get()] = state[i];
        MLT_TRY(run_block(block, opset, values));
        std::vector<ops::RtValue> out;
        for (ir::Value* v : block.outputs) {
          MLT_ASSIGN(ops::RtValue value, value_of(ir::Operand(v), values));
          out.push_back(std::move(value));
        }
        if (b == 0 && !out[0].tensor.data<bool>()[0]) {
          for (size_t i = 0; i < op.outputs.size(); ++i) values[op.output(i)] = state[i];
          return {};
        }
        if (b == 1) state = std::move(out);
      }
    }
    return input_error("the loop does not end");
  }
  auto known = [&](const ir::Value& v) {
    auto it = values.find(&v);
    return it == values.end() ? ops::RtValue{} : it->second;
  };
  auto type = [&](const ir::Value& v) {
    auto it = values.find(&v);
    ir::Type t = v.type;
    if (it != values.end() && it->second.tensor.valid() && t.is_tensor()) {
      t.dims = it->second.tensor.dims();
      t.ranked = true;
    }
    return t;
  };
  MLT_ASSIGN(ops::Call call, ops::bind_call(op, opset, known, type));
  MLT_TRY(ops::evaluate(call));
  for (size_t i = 0; i < op.outputs.size(); ++i) {
    ops::RtValue out = call.outputs()[i];
    // The declared element type's rounding and range.
    if (out.tensor.valid() && op.output(i)->type.is_tensor() && out.tensor.dtype() != DType::kString) out.tensor = to_compute(convert(out.tensor, op.output(i)->type.dtype));
    values[op.output(i)] = std::move(out);
  }
  return {};
}

inline Status run_block(const ir::Block& block, ops::Opset opset, Values& values) {
  for (const auto& op : block.ops) {
    Status status = run_op(*op, opset, values);
    if (!status) return std::move(status.error()).in_path("op " + std::string(op->name()) + " (" + op->kind + ")");
  }
  return {};
}

// inputs in the function's order; outputs in the body's.
inline Result<std::vector<ops::RtValue>> run(const ir::Function& function, const std::vector<Tensor>& inputs) {
  auto opset = ops::opset_from_token(function.opset);
  if (!opset || inputs.size() != function.inputs.size()) return input_error("inputs do not fit the function");
  // Values are dropped after their last use in the body; what nested blocks use stays.
  std::unordered_map<const ir::Value*, const ir::Op*> last;
  for (const auto& op : function.body->ops) {
    for (const ir::Arg& arg : op->args)
      for (const ir::Operand& operand : arg.operands) last[operand.value] = op.get();
    for (const auto& v : op->outputs) last[v.get()] = op.get();
  }
  for (const auto& op : function.body->ops)
    if (!op->blocks.empty()) last.clear();
  for (const ir::Value* v : function.body->outputs) last.erase(v);
  std::unordered_map<const ir::Op*, std::vector<const ir::Value*>> dies;
  for (const auto& [value, op] : last) dies[op].push_back(value);
  Values values;
  for (size_t i = 0; i < inputs.size(); ++i) values[function.inputs[i].get()].tensor = to_compute(convert(inputs[i], function.inputs[i]->type.dtype));
  for (const auto& op : function.body->ops) {
    Status status = run_op(*op, *opset, values);
    if (!status) return std::move(status.error()).in_path("op " + std::string(op->name()) + " (" + op->kind + ")");
    for (const ir::Value* v : dies[op.get()]) values.erase(v);
  }
  std::vector<ops::RtValue> outputs;
  for (ir::Value* v : function.body->outputs) {
    MLT_ASSIGN(ops::RtValue value, value_of(ir::Operand(v), values));
    outputs.push_back(std::move(value));
  }
  return outputs;
}

}  // namespace mlt::reference
