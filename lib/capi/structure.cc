#include "lib/capi/structure.h"

#include <nlohmann/json.hpp>

#include <algorithm>

#include "lib/container/program.h"
#include "lib/coreml/nn_layers.h"
#include "lib/profile/cost.h"

namespace mlt {
namespace {

using Json = nlohmann::ordered_json;

Json names(const std::vector<std::unique_ptr<ir::Value>>& values) {
  Json list = Json::array();
  for (const auto& value : values) list.push_back(value->name);
  return list;
}

// How long an op may take: an estimate that needs no run. Rates of one core of an ordinary machine, and what starting a
// kernel costs; only ratios of it are given out.
double estimated_seconds(const ir::Op& op) {
  constexpr double kFlopsPerSecond = 5e10, kBytesPerSecond = 1e10, kStart = 5e-7;
  if (op.is_const()) return 0;
  const Cost cost = op_cost(op);
  return kStart + std::max(cost.flops / kFlopsPerSecond, cost.bytes / kBytesPerSecond);
}

double estimated_seconds(const ir::Block& block) {
  double sum = 0;
  for (const auto& op : block.ops) {
    sum += estimated_seconds(*op);
    for (const auto& inner : op->blocks) sum += estimated_seconds(*inner);
  }
  return sum;
}

// Readers limit how deep blocks nest. `whole` is the estimate for the function.
Json block_json(const ir::Block& block, double whole) {
  Json operations = Json::array(), outputs = Json::array();
  for (const auto& op : block.ops) {
    Json inputs = Json::object(), blocks = Json::array();
    for (const ir::Arg& arg : op->args) {
      Json& bindings = inputs[arg.name] = Json::array();
      for (const ir::Operand& operand : arg.operands) bindings.push_back(operand.value != nullptr ? Json(operand.value->name) : Json());
    }
    for (const auto& inner : op->blocks) blocks.push_back(block_json(*inner, whole));
    operations.push_back({{"operator", op->kind}, {"inputs", std::move(inputs)}, {"outputs", names(op->outputs)}, {"blocks", std::move(blocks)}});
    if (!op->is_const() && whole > 0) operations.back()["cost"] = estimated_seconds(*op) / whole;
  }
  for (const ir::Value* output : block.outputs) outputs.push_back(output->name);
  return {{"inputs", names(block.inputs)}, {"operations", std::move(operations)}, {"outputs", std::move(outputs)}};
}

}  // namespace

Result<std::string> structure_json(const OpenedModel& model) {
  auto dump = [](const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); };
  if (coreml::is_neural_network(model.model.kind())) {
    Json layers = Json::array();
    for (const coreml::NnLayer& layer : coreml::nn_layers(model.model))
      layers.push_back({{"name", layer.name}, {"type", layer.kind_name}, {"inputs", layer.inputs}, {"outputs", layer.outputs}});
    return dump({{"neuralNetwork", {{"layers", std::move(layers)}}}});
  }
  auto program = load_program(model);
  if (!program) {
    if (program.error().code != Code::kUsage) return std::move(program).error();
    return unsupported_error("the structure of a " + std::string(model.model.kind_name()) + " is not available, only that of ML programs and neural networks");
  }
  Json functions = Json::object();
  for (const auto& function : (*program)->functions)
    functions[function->name] = {{"inputs", names(function->inputs)}, {"block", block_json(*function->body, estimated_seconds(*function->body))}};
  return dump({{"program", {{"functions", std::move(functions)}}}});
}

}  // namespace mlt
