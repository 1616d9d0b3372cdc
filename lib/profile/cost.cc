#include "lib/profile/cost.h"

namespace mlt {

Cost step_cost(const StepInfo& step) {
  if (step.kernel == "view") return {};
  return ops::op_cost({step.kind, step.op, step.input_types, step.output_types, step.fused.empty() ? 0 : step.fused.size() - 1});
}

}  // namespace mlt
