#include "lib/ops/builder.h"

#include "lib/ops/call.h"

namespace mlt::ops {

OpBuilder::OpBuilder(ir::Function& function, Opset opset, ir::Block* block)
    : function_(function), opset_(opset), block_(block ? block : function.body.get()) {}

ir::Op* OpBuilder::place(std::string kind) {
  if (position_ == static_cast<size_t>(-1)) return block_->append(std::move(kind));
  return block_->insert(position_++, std::move(kind));
}

std::vector<ir::Value*> OpBuilder::ops(std::string_view kind, std::vector<Input> inputs, std::string_view name) {
  std::string base(name.empty() ? kind : name);
  auto failed = [&](Error error) {
    if (!error_) {
      error.context.insert(error.context.begin(), "op " + base + " (" + std::string(kind) + ")");
      error_ = std::move(error);
    }
    return std::vector<ir::Value*>{nullptr};
  };
  if (error_) return {nullptr};
  const OpInfo* info = find_op(kind, opset_);
  if (info == nullptr)
    return failed(unsupported_error("not available in opset " + std::string(opset_token(opset_)), "choose a newer --target"));

  ir::Op* op = place(std::string(kind));
  for (Input& input : inputs) {
    std::vector<ir::Operand> operands;
    for (ir::Value* value : input.values) {
      if (value == nullptr && !input.tuple) continue;  // optional parameter not given
      if (value == nullptr) return failed(input_error("a value of \"" + std::string(input.param) + "\" is missing"));
      operands.emplace_back(value);
    }
    if (!operands.empty()) op->set(input.param, std::move(operands));
  }
  auto types = infer_types(*op, opset_);
  if (!types) return failed(std::move(types).error());
  std::vector<ir::Value*> outputs;
  for (size_t i = 0; i < types->size(); ++i) {
    std::string wish = types->size() == 1 ? base : base + "_" + std::to_string(i);
    outputs.push_back(op->add_output(function_.unique_name(wish), std::move((*types)[i])));
  }
  op->attributes["name"] = std::make_shared<ir::Literal>(
      ir::Literal::string(outputs.size() == 1 ? outputs[0]->name : ir::sanitized_identifier(base)));
  return outputs;
}

ir::Value* OpBuilder::op(std::string_view kind, std::vector<Input> inputs, std::string_view name) {
  return ops(kind, std::move(inputs), name)[0];
}

ir::Value* OpBuilder::constant(Tensor tensor, std::string_view name) {
  bool shareable = name.empty() && tensor.size() <= 16;
  if (shareable)
    for (ir::Value* value : shared_constants_) {
      const Tensor* other = value->constant_tensor();
      if (other != nullptr && same_bytes(*other, tensor)) return value;
    }
  ir::Op* op = place("const");
  ir::Literal literal = ir::Literal::of(std::move(tensor));
  ir::Value* value = op->add_output(function_.unique_name(name.empty() ? "const" : name), literal.type);
  op->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(value->name));
  op->attributes["val"] = std::make_shared<ir::Literal>(std::move(literal));
  if (shareable) shared_constants_.push_back(value);
  return value;
}

ir::Value* OpBuilder::i32(int64_t value) { return constant(Tensor::scalar(static_cast<int32_t>(value))); }
ir::Value* OpBuilder::ints(const std::vector<int64_t>& values) { return constant(Tensor::ints(values)); }
ir::Value* OpBuilder::f32(double value) { return constant(Tensor::scalar(static_cast<float>(value))); }
ir::Value* OpBuilder::floats(const std::vector<float>& values) {
  return constant(Tensor::from<float>({static_cast<int64_t>(values.size())}, values));
}
ir::Value* OpBuilder::scalar(DType dtype, double value) { return constant(convert(Tensor::scalar(value), dtype)); }
ir::Value* OpBuilder::boolean(bool value) { return constant(Tensor::scalar(value)); }
ir::Value* OpBuilder::bools(const std::vector<bool>& values) {
  Tensor tensor = Tensor::uninitialized(DType::kBool, {static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i) tensor.mutable_data<bool>()[i] = values[i];
  return constant(std::move(tensor));
}
ir::Value* OpBuilder::string(std::string_view value) { return constant(Tensor::string(std::string(value))); }

Status OpBuilder::status() const { return error_ ? Status(*error_) : Status(); }

}  // namespace mlt::ops
