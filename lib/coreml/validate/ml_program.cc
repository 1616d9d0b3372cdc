// ML programs: the program is well-formed by itself, its ops exist in its opset with the types they say, and its
// functions take and give what the description promises.
#include <fmt/core.h>

#include <set>

#include "lib/coreml/mil_read.h"
#include "lib/coreml/validate/checker.h"
#include "lib/ir/verify.h"
#include "lib/ops/call.h"
#include "lib/ops/op_def.h"

namespace mlt::coreml {
namespace {

void check_ops(const ir::Function& function, ops::Opset opset, std::set<std::string>* missing, Checker& check) {
  function.for_each_op([&](const ir::Op& op) {
    if (check.full()) return;
    if (op.is_const()) {
      const ir::Literal* literal = op.outputs.empty() ? nullptr : op.output()->constant();
      if (check.weights() && literal && literal->blob && !literal->tensor.valid()) missing->insert(literal->blob->file);
      return;
    }
    Checker::Place place(check, fmt::format("op \"{}\" ({})", op.name(), op.kind));
    if (!ops::find_op(op.kind, opset)) {
      check.error(fmt::format("opset {} has no such operation", ops::opset_token(opset)));
      return;
    }
    auto types = ops::infer_types(op, opset);
    if (!types.ok()) {
      check.error(types.error().message);
      return;
    }
    if (types->size() != op.outputs.size()) {
      check.error(fmt::format("has {} outputs, {} expected", op.outputs.size(), types->size()));
      return;
    }
    for (size_t i = 0; i < types->size(); i++)
      if (!ir::compatible(op.outputs[i]->type, (*types)[i]))
        check.error(fmt::format("output \"{}\" says {}, but is {}", op.outputs[i]->name, op.outputs[i]->type.to_string(),
                                (*types)[i].to_string()));
  });
}

void check_interface_of(const ir::Function& function, const FunctionDescription& described, Checker& check) {
  auto names = [&](const std::vector<FeatureDescription>& features, const char* what, bool state) {
    for (const FeatureDescription& feature : features) {
      const ir::Value* value = function.find_input(feature.name);
      if (!value) check.error(fmt::format("{} \"{}\" of the description is no parameter of the function", what, feature.name));
      else if (value->type.is_state() != (state || feature.type.kind == FeatureKind::kState))
        check.error(fmt::format("{} \"{}\" is {} in the function", what, feature.name, value->type.to_string()));
    }
  };
  names(described.inputs, "input", false);
  names(described.states, "state", true);
  for (const auto& input : function.inputs)
    if (!find_feature(described.inputs, input->name) && !find_feature(described.states, input->name))
      check.error(fmt::format("parameter \"{}\" of the function is not in the description", input->name));
  for (const FeatureDescription& output : described.outputs) {
    bool made = output.name == described.predicted_feature_name || output.name == described.predicted_probabilities_name;
    for (const ir::Value* value : function.body->outputs) made |= value->name == output.name;
    if (!made) check.error(fmt::format("output \"{}\" of the description is not returned by the function", output.name));
  }
}

}  // namespace

void check_ml_program(const Model& model, Checker& check) {
  auto program = load_program(model, check.weights());
  if (!program.ok()) {
    check.error(program.error().to_string());
    return;
  }
  for (const Error& error : ir::verify(**program)) check.error(error.to_string());
  const Description& description = model.description();
  for (const std::string& name : description.function_names()) {
    Checker::Place place(check, fmt::format("function \"{}\"", name));
    const ir::Function* function = (*program)->find(name);
    if (!function) {
      check.error("is not in the program");
      continue;
    }
    check_interface_of(*function, *description.function(name), check);
  }
  std::set<std::string> missing;
  for (const auto& function : (*program)->functions) {
    Checker::Place place(check, fmt::format("function \"{}\"", function->name));
    auto opset = ops::opset_from_token(function->opset);
    if (!opset) {
      check.error(fmt::format("unknown opset \"{}\"", function->opset));
      continue;
    }
    if (static_cast<int>(*opset) > model.spec_version())
      check.error(fmt::format("opset {} needs specification version {}", function->opset, static_cast<int>(*opset)));
    check_ops(*function, *opset, &missing, check);
  }
  for (const std::string& file : missing) check.warning(fmt::format("weight file \"{}\" is missing", file));
}

}  // namespace mlt::coreml
