#include <algorithm>
#include <cmath>

#include "lib/ir/text.h"
#include "lib/ops/builder.h"
#include "tests/unit/ops/op_case.h"

namespace mlt::test {
namespace {

using ops::RtValue;
using Types = std::vector<ir::Type>;

// Narrowed to the declared element type, as an executor hands outputs out.
Result<std::vector<CaseValue>> declared_outputs(const Types& types, const std::vector<RtValue>& values) {
  std::vector<CaseValue> outputs;
  for (size_t i = 0; i < types.size(); ++i) {
    CaseValue output{types[i], {}};
    if (i < values.size()) {
      if (values[i].tensor.valid()) {
        output.value.tensor = convert(values[i].tensor, types[i].dtype);
        output.type.dims = values[i].tensor.dims();
        output.type.ranked = true;
        if (!compatible(types[i], output.type))
          return input_error("inferred " + types[i].to_string() + " but evaluated to " + output.type.to_string());
      }
      if (values[i].list) {
        output.value.list = std::make_shared<std::vector<Tensor>>();
        for (const Tensor& t : *values[i].list)
          output.value.list->push_back(t.valid() ? convert(t, types[i].params[0].dtype) : t);
      }
    }
    outputs.push_back(std::move(output));
  }
  return outputs;
}

Result<std::vector<CaseValue>> run_reference(const OpCase& op_case) {
  if (!op_case.mil.empty()) return unsupported_error("a program");
  const ops::OpInfo* info = ops::find_op(op_case.op, op_case.opset);
  if (info == nullptr) return input_error("no op \"" + op_case.op + "\" in this opset");
  ops::Call call(*info, nullptr);
  bool values = true;
  for (const auto& input : op_case.inputs) {
    std::vector<ops::Item> items;
    for (const CaseValue& one : input.values) {
      values = values && one.value.known();
      items.push_back({one.type, one.value});
    }
    call.bind(input.param, std::move(items));
  }
  MLT_TRY(ops::infer(call));
  Types types = call.out_types();
  if (!values || info->def->eval == nullptr) return declared_outputs(types, {});
  MLT_TRY(ops::evaluate(call));
  return declared_outputs(types, call.outputs());
}

// Op by op over a block; values by pointer. A plain oracle, not an executor: nothing is planned or freed.
struct Interpreter {
  ops::Opset opset;
  std::map<const ir::Value*, RtValue> values;
  int steps = 0;

  Status run(const ir::Block& block) {
    for (const auto& op : block.ops) MLT_TRY(run(*op).in("op " + std::string(op->name())));
    return {};
  }

  RtValue of(const ir::Value* value) {
    if (const ir::Literal* literal = value->constant()) {
      RtValue constant;
      constant.tensor = literal->tensor;
      if (!literal->items.empty()) {
        constant.list = std::make_shared<std::vector<Tensor>>();
        for (const ir::Literal& item : literal->items) constant.list->push_back(item.tensor);
      }
      return constant;
    }
    auto it = values.find(value);
    return it == values.end() ? RtValue{} : it->second;
  }

  Status run(const ir::Op& op) {
    if (op.is_const()) return {};
    if (++steps > 100000) return input_error("the program does not end");
    if (op.kind == "cond") {
      const ir::Operand* pred = op.operand("pred");
      bool taken = to_ints(pred->value ? of(pred->value).tensor : *pred->constant_tensor())[0] != 0;
      const ir::Block& block = *op.blocks[taken ? 0 : 1];
      MLT_TRY(run(block));
      for (size_t i = 0; i < op.outputs.size(); ++i) values[op.output(i)] = of(block.outputs[i]);
      return {};
    }
    if (op.kind == "while_loop") {
      std::vector<RtValue> state;
      for (const ir::Operand& operand : op.find("loop_vars")->operands) state.push_back(of(operand.value));
      for (;;) {
        for (const auto& block : op.blocks)
          for (size_t i = 0; i < state.size(); ++i) values[block->inputs[i].get()] = state[i];
        MLT_TRY(run(*op.blocks[0]));
        if (to_ints(of(op.blocks[0]->outputs[0]).tensor)[0] == 0) break;
        MLT_TRY(run(*op.blocks[1]));
        for (size_t i = 0; i < state.size(); ++i) state[i] = of(op.blocks[1]->outputs[i]);
      }
      for (size_t i = 0; i < state.size(); ++i) values[op.output(i)] = state[i];
      return {};
    }
    // Types as they turned out, not as they were declared: what inference refuses for these extents is refused here.
    auto type_of = [&](const ir::Value& value) {
      RtValue known = of(&value);
      return value.type.is_tensor() && known.tensor.valid() ? ir::Type::tensor(value.type.dtype, known.tensor.dims()) : value.type;
    };
    MLT_ASSIGN(ops::Call call, ops::bind_call(op, opset, [&](const ir::Value& value) { return of(&value); }, type_of));
    MLT_TRY(ops::evaluate(call));
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      RtValue value = call.outputs()[i];
      const ir::Type& type = op.output(i)->type;
      if (value.tensor.valid()) value.tensor = convert(value.tensor, type.dtype);
      values[op.output(i)] = std::move(value);
    }
    return {};
  }
};

Result<std::vector<CaseValue>> run_program(const OpCase& op_case, const Trip& trip, Open open) {
  MLT_ASSIGN(CaseProgram made, program_of(op_case, open));
  if (trip) {
    MLT_ASSIGN(made.program, trip(*made.program));
  }
  const ir::Function& main = *made.program->find("main");
  Interpreter interpreter;
  interpreter.opset = op_case.opset;
  bool complete = true;
  for (const auto& input : main.inputs) {
    RtValue value = made.inputs[input->name];
    complete = complete && value.known();
    interpreter.values[input.get()] = value;
  }
  // What the program declares must be what inference says.
  std::string disagreement;
  main.for_each_op([&](const ir::Op& op) {
    if (op.is_const() || !disagreement.empty()) return;
    auto inferred = ops::infer_types(op, op_case.opset);
    if (!inferred) {
      disagreement = "op " + std::string(op.name()) + ": " + inferred.error().to_string();
      return;
    }
    for (size_t i = 0; i < inferred->size() && i < op.outputs.size(); ++i)
      if (!compatible(op.output(i)->type, (*inferred)[i]))
        disagreement = "op " + std::string(op.name()) + " is declared " + op.output(i)->type.to_string() + " and inferred " + (*inferred)[i].to_string();
  });
  if (!disagreement.empty()) return input_error(disagreement);
  Types types;
  std::vector<RtValue> outputs;
  for (const ir::Value* output : main.body->outputs) types.push_back(output->type);
  for (const auto& op : main.body->ops) {
    const ops::OpInfo* info = ops::find_op(op->kind, op_case.opset);
    complete = complete && (op->is_const() || !op->blocks.empty() || (info != nullptr && info->def->eval != nullptr));
  }
  if (!complete) return declared_outputs(types, {});
  MLT_TRY(interpreter.run(*main.body));
  for (const ir::Value* output : main.body->outputs) outputs.push_back(interpreter.of(output));
  return declared_outputs(types, outputs);
}

// Whether every element of `actual` is near enough to `expected`; otherwise the first that is not.
std::string difference(const Tensor& actual, const Tensor& expected, double tolerance) {
  if (actual.dtype() != expected.dtype() || actual.dims() != expected.dims())
    return "got " + ir::Type::of(actual).to_string() + ", expected " + ir::Type::of(expected).to_string();
  if (expected.dtype() == DType::kString) return actual.strings() == expected.strings() ? "" : "strings differ";
  std::vector<double> a = to_doubles(actual), e = to_doubles(expected);
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == e[i] || (std::isnan(a[i]) && std::isnan(e[i]))) continue;
    if (std::abs(a[i] - e[i]) <= tolerance * (1 + std::abs(e[i]))) continue;
    return "element " + std::to_string(i) + " is " + std::to_string(a[i]) + ", expected " + std::to_string(e[i]);
  }
  return {};
}

ir::Type opened(ir::Type type, Open open) {
  if (!type.is_tensor() || type.dims.empty()) return type;
  if (open == Open::kFirst || open == Open::kAll) type.dims.front() = ir::kUnknown;
  if (open == Open::kLast || open == Open::kAll) type.dims.back() = ir::kUnknown;
  if (open == Open::kAll) std::fill(type.dims.begin(), type.dims.end(), ir::kUnknown);
  return type;
}

double default_tolerance(const OpCase& op_case, DType dtype) {
  if (!is_float(dtype)) return 0;
  const ops::OpInfo* info = ops::find_op(op_case.op, op_case.opset);
  bool exact = info != nullptr && info->def->exactness == ops::Exactness::kExact;
  if (exact) return 0;
  return dtype == DType::kF16 ? 1e-3 : 2e-6;
}

}  // namespace

std::string open_name(Open open) {
  switch (open) {
    case Open::kNothing: return "extents given";
    case Open::kFirst: return "first extent open";
    case Open::kLast: return "last extent open";
    case Open::kAll: return "all extents open";
  }
  return {};
}

Trip text_trip(const std::string& version) {
  return [version](const ir::Program& program) -> Result<std::unique_ptr<ir::Program>> {
    ir::PrintOptions options;
    options.version = version;
    std::string text = ir::print(program, options);
    MLT_ASSIGN(auto copy, ir::parse(text, {}));
    std::string again = ir::print(*copy, options);
    if (again != text) return input_error("prints differently after parsing:\n" + text + "\n" + again);
    return copy;
  };
}

Result<CaseProgram> program_of(const OpCase& op_case) { return program_of(op_case, Open::kNothing); }

Result<CaseProgram> program_of(const OpCase& op_case, Open open) {
  CaseProgram made;
  if (!op_case.mil.empty()) {
    MLT_ASSIGN(made.program, ir::parse(op_case.mil, {}));
    for (const auto& input : op_case.inputs) made.inputs[input.param] = input.values[0].value;
    if (made.program->find("main") == nullptr) return input_error("the program has no function \"main\"");
    return made;
  }
  const ops::OpInfo* info = ops::find_op(op_case.op, op_case.opset);
  if (info == nullptr) return input_error("no op \"" + op_case.op + "\" in this opset");
  made.program = std::make_unique<ir::Program>();
  ir::Function* main = made.program->add_function("main", std::string(ops::opset_token(op_case.opset)));
  ops::OpBuilder builder(*main, op_case.opset);
  std::vector<ops::Input> inputs;
  for (const auto& input : op_case.inputs) {
    const ops::Param* param = info->param(input.param);
    std::vector<ir::Value*> values;
    for (size_t i = 0; i < input.values.size(); ++i) {
      const CaseValue& one = input.values[i];
      if ((input.constant || (param != nullptr && param->is_const)) && one.value.tensor.valid()) {
        values.push_back(builder.constant(one.value.tensor, input.param));
        continue;
      }
      std::string name = input.values.size() == 1 ? input.param : input.param + "_" + std::to_string(i);
      values.push_back(main->add_input(name, opened(one.type, open)));
      made.inputs[name] = one.value;
    }
    if (values.size() == 1 && (param == nullptr || !param->variadic)) inputs.emplace_back(input.param, values[0]);
    else inputs.emplace_back(input.param, values);
  }
  std::vector<ir::Value*> outputs = builder.ops(op_case.op, std::move(inputs), "result");
  MLT_TRY(builder.status());
  main->body->outputs = outputs;
  return made;
}

CaseBackend reference_backend() { return {"reference", run_reference}; }
CaseBackend program_backend(Open open) { return program_backend("program, " + open_name(open), {}, open); }
CaseBackend program_backend(const std::string& name, Trip trip, Open open) {
  return {name, [trip = std::move(trip), open](const OpCase& op_case) { return run_program(op_case, trip, open); }};
}

std::string check_case(const OpCase& op_case, const CaseBackend& backend) {
  auto result = backend.run(op_case);
  if (!result) {
    std::string message = result.error().to_string();
    if (!op_case.error) return "failed: " + message;
    return message.find(*op_case.error) != std::string::npos ? "" : "failed otherwise: " + message;
  }
  if (op_case.error) return "expected the error \"" + *op_case.error + "\"";
  if (result->size() != op_case.outputs.size())
    return std::to_string(result->size()) + " outputs, expected " + std::to_string(op_case.outputs.size());
  for (size_t i = 0; i < result->size(); ++i) {
    const CaseValue &got = (*result)[i], &want = op_case.outputs[i];
    std::string which = "output " + std::to_string(i) + ": ";
    // Without values the whole type must be as written, unknown extents too; with values it must have become them.
    if (!want.value.known() && !got.value.known() && !(got.type == want.type))
      return which + "type " + got.type.to_string() + ", expected " + want.type.to_string();
    if (!compatible(want.type, got.type)) return which + "type " + got.type.to_string() + ", expected " + want.type.to_string();
    if (!want.value.known()) continue;
    bool nothing = want.value.tensor.valid() && want.value.tensor.size() == 0;  // "fp32[0]" may be meant as a type
    if (!got.value.known() && nothing && got.type == want.type) continue;
    if (!got.value.known()) return which + "no value";
    double tolerance = op_case.tolerance.value_or(
        default_tolerance(op_case, want.type.is_tensor() ? want.type.dtype : want.type.params[0].dtype));
    if (want.value.tensor.valid()) {
      if (!got.value.tensor.valid()) return which + "not a tensor";
      std::string wrong = difference(got.value.tensor, want.value.tensor, tolerance);
      if (!wrong.empty()) return which + wrong;
      continue;
    }
    if (!got.value.list || got.value.list->size() != want.value.list->size()) return which + "list of another length";
    for (size_t k = 0; k < want.value.list->size(); ++k) {
      const Tensor& element = (*got.value.list)[k];
      std::string wrong = element.valid() ? difference(element, (*want.value.list)[k], tolerance) : "never written";
      if (!wrong.empty()) return which + "list element " + std::to_string(k) + ": " + wrong;
    }
  }
  return {};
}

}  // namespace mlt::test
