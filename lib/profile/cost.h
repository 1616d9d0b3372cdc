// What an op costs in principle: floating-point operations and bytes moved, from its kind and shapes alone.
#pragma once
#include <cstdint>

#include "lib/runtime/executor.h"

namespace mlt {

struct Cost {
  double flops = 0;  // a multiply-add counts as two
  double bytes = 0;  // inputs and outputs once each, in the declared element types
};

// Of one executed step; fused elementwise ops count one operation for each output element.
Cost step_cost(const StepInfo& step);

}  // namespace mlt
