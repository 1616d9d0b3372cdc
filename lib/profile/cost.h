// Cost of executed steps.
#pragma once
#include "lib/ops/cost.h"
#include "lib/runtime/executor.h"

namespace mlt {

// Of one executed step; fused elementwise ops count one operation for each output element, views nothing.
Cost step_cost(const StepInfo& step);
// Of an op by itself, from its declared types; unknown extents count as nothing.
Cost op_cost(const ir::Op& op);

}  // namespace mlt
