#include "lib/profile/cost.h"

namespace mlt {

Cost step_cost(const StepInfo& step) {
  if (step.kernel == "view") return {};
  if (!step.parts.empty()) {
    // All of the arithmetic; of the bytes those that come and go outside.
    Cost cost = ops::op_cost({step.kind, nullptr, step.input_types, step.output_types});
    cost.flops = 0;
    for (const StepInfo& part : step.parts) cost.flops += step_cost(part).flops;
    return cost;
  }
  return ops::op_cost({step.kind, step.op, step.input_types, step.output_types,
                       step.fused.empty() ? 0 : step.fused.size() - 1});
}

Cost op_cost(const ir::Op& op) {
  StepInfo step;
  step.kind = op.kind;
  step.op = &op;
  for (const ir::Arg& arg : op.args)
    for (const ir::Operand& operand : arg.operands)
      if (operand.constant() == nullptr || operand.value != nullptr)
        step.input_types.push_back(operand.type());
  for (const auto& output : op.outputs) step.output_types.push_back(output->type);
  return step_cost(step);
}

}  // namespace mlt
