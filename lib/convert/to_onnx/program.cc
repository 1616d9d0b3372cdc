// Programs to nodes, op by op; all that cannot be expressed is gathered.
#include <algorithm>

#include "lib/convert/to_onnx/emit.h"

namespace mlt::foreign::to_onnx {

const Row* find_row(std::string_view op) {
  static const std::map<std::string_view, Row> table = [] {
    std::map<std::string_view, Row> all;
    for (auto rows : {families::elementwise(), families::network(), families::recurrent(), families::shape(), families::gather(), families::image(), families::other()})
      for (const Row& row : rows) all.emplace(row.op, row);
    return all;
  }();
  auto it = table.find(op);
  return it == table.end() ? nullptr : &it->second;
}

S Ctx::in(std::string_view param, size_t i) {
  const ir::Arg* arg = op.find(param);
  if (arg != nullptr && i < arg->operands.size()) return exporter_.operand(arg->operands[i]);
  if (const Tensor* t = known(param, i)) return g.constant(convert(*t, exporter_.dtype(t->dtype())));
  bad_input("parameter \"" + std::string(param) + "\" is missing");
}
const ir::Type& Ctx::type(std::string_view param, size_t i) { return call.type(param, i); }
DType Ctx::dtype(std::string_view param, size_t i) { return exporter_.dtype(call.type(param, i).dtype); }
DType Ctx::out_dtype(size_t i) { return exporter_.dtype(op.output(i)->type.dtype); }

const Tensor* Ctx::known(std::string_view param, size_t i) const {
  const ir::Arg* arg = op.find(param);
  if (arg == nullptr) {
    auto it = op.attributes.find(param);
    return it != op.attributes.end() && it->second->tensor.valid() && i == 0 ? &it->second->tensor : nullptr;
  }
  if (i >= arg->operands.size()) return nullptr;
  const ir::Operand& operand = arg->operands[i];
  if (operand.value != nullptr)
    if (const Tensor* t = exporter_.kept(operand.value)) return t;
  return operand.constant_tensor();
}
const Tensor& Ctx::tensor(std::string_view param, size_t i) {
  const Tensor* t = known(param, i);
  if (t == nullptr) unsupported("parameter \"" + std::string(param) + "\" that is not constant");
  return *t;
}
std::vector<int64_t> Ctx::axes(std::string_view param, int64_t rank) {
  std::vector<int64_t> list;
  if (has(param)) {
    for (int64_t a : call.ints(param)) list.push_back(Lower::axis_of(a, rank));
  } else {
    for (int64_t i = 0; i < rank; ++i) list.push_back(i);
  }
  return list;
}
S Ctx::i64(std::string_view param) {
  if (const Tensor* t = known(param)) {
    std::vector<int64_t> values = to_ints(*t);
    return g.constant(Tensor::from<int64_t>(t->dims(), values));
  }
  return g.cast(in(param), DType::kI64);
}
void Ctx::out(size_t i, const S& value) {
  if (i >= op.outputs.size()) return;
  const ir::Value* v = op.output(i);
  exporter_.bind(v, g.named(value, exporter_.wish(v), exporter_.exact(v) && !g.nested()));
}

S Exporter::wish(const ir::Value* value) const {
  auto it = wanted_.find(value);
  return it == wanted_.end() ? value->name : it->second;
}

S Exporter::value(const ir::Value* value) {
  auto it = values_.find(value);
  if (it != values_.end()) return it->second;
  if (const Tensor* t = kept(value)) return values_[value] = g_.constant(convert(*t, dtype(t->dtype())), value->name);
  if (const ir::Literal* literal = value->constant()) {
    if (!literal->type.is_tensor()) unsupported("a constant that is no tensor");
    if (!literal->tensor.valid()) bad_input("constant \"" + value->name + "\" lies in a weight file that is missing");
    return values_[value] = g_.constant(convert(literal->tensor, dtype(literal->tensor.dtype())), value->name);
  }
  bad_input("value \"" + value->name + "\" is used but never computed");
}
S Exporter::operand(const ir::Operand& operand) {
  if (operand.value != nullptr) return value(operand.value);
  if (!operand.literal->type.is_tensor() || !operand.literal->tensor.valid()) unsupported("a constant that is no tensor");
  return g_.constant(convert(operand.literal->tensor, dtype(operand.literal->tensor.dtype())));
}

std::vector<Tensor> Exporter::evaluate(const ir::Op& op) {
  ops::Call call = take(ops::bind_call(op, opset_, [&](const ir::Value& v) {
    ops::RtValue value;
    if (const Tensor* t = kept(&v)) value.tensor = *t;
    return value;
  }));
  Status status = ops::evaluate(call);
  if (!status) throw LowerError{std::move(status.error())};
  std::vector<Tensor> values;
  for (size_t i = 0; i < op.outputs.size(); ++i) values.push_back(convert(call.out(i), op.output(i)->type.dtype));
  return values;
}

void Exporter::report(const ir::Op& op, const Error& error) {
  if (error.code == Code::kInput && !damage) damage = Error(error).in_path("op " + std::string(op.name()) + " (" + op.kind + ")");
  std::string reason = error.message + (error.hint.empty() ? "" : " (" + error.hint + ")"), label(op.name());
  for (Unsupported& u : problems_)
    if (u.op == op.kind && u.reason == reason) {
      u.nodes.push_back(label);
      return;
    }
  problems_.push_back({op.kind, reason, {label}, false});
}

void Exporter::one(const ir::Op& op) {
  if (op.is_const()) return;
  try {
    if (op.kind == "classify") return;  // the interface's, see to_onnx.cc
    const Row* row = find_row(op.kind);
    if (row == nullptr) unsupported("ONNX has no such operator, and none here spells it in others");
    ops::Call call = take(ops::bind_call(op, opset_, [&](const ir::Value& v) {
      ops::RtValue value;
      if (const Tensor* t = kept(&v)) value.tensor = *t;
      return value;
    }));
    Ctx ctx(*this, g_, op, call);
    row->emit(ctx);
    if (call.failed()) throw LowerError{*call.error()};
  } catch (const LowerError& failure) {
    report(op, failure.error);
    // A stand-in, so that what follows is looked at too; nothing is written when there are problems.
    for (const auto& output : op.outputs) values_.emplace(output.get(), "");
  }
}

std::vector<S> Exporter::block(const ir::Block& block, const std::vector<S>& inputs) {
  if (block.inputs.size() != inputs.size()) bad_input("a block has " + std::to_string(block.inputs.size()) + " inputs, " + std::to_string(inputs.size()) + " values given");
  for (size_t i = 0; i < inputs.size(); ++i) values_[block.inputs[i].get()] = inputs[i];
  for (const auto& op : block.ops) one(*op);
  std::vector<S> outputs;
  for (const ir::Value* v : block.outputs) outputs.push_back(value(v));
  return outputs;
}

std::vector<S> Exporter::function(const ir::Function& function, const std::vector<S>& inputs, const std::vector<std::string>& names) {
  opset_ = ops::opset_from_token(function.opset).value_or(ops::Opset::kCoreML8);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ir::Value* v = function.inputs[i].get();
    if (v->type.is_state()) states[v] = inputs[i];
    else values_[v] = inputs[i];
  }
  for (size_t i = 0; i < names.size() && i < function.body->outputs.size(); ++i)
    if (!names[i].empty()) wanted_.emplace(function.body->outputs[i], names[i]);
  for (const auto& op : function.body->ops) one(*op);
  std::vector<S> outputs;
  for (const ir::Value* v : function.body->outputs) {
    if (v->producer != nullptr && v->producer->kind == "classify") outputs.emplace_back();
    else outputs.push_back(value(v));
  }
  return outputs;
}

}  // namespace mlt::foreign::to_onnx
