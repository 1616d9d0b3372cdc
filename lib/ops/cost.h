// What an op costs in principle: floating-point operations and bytes moved, from its kind and shapes alone.
#pragma once
#include <string>
#include <vector>

#include "lib/ir/graph.h"

namespace mlt {

struct Cost {
  double flops = 0;  // a multiply-add counts as two
  double bytes = 0;  // inputs and outputs once each, in the declared element types
};

namespace ops {

struct CostQuery {
  const std::string& kind;
  const ir::Op* op;  // parameters; null: not known
  const std::vector<ir::Type>&
      input_types;  // of operands, in order of their names; extents concrete where known
  const std::vector<ir::Type>& output_types;
  size_t fused_ops = 0;  // further elementwise ops merged into it: one operation for each output element
};
// Extents that are not known cost nothing.
Cost op_cost(const CostQuery& query);

}  // namespace ops
}  // namespace mlt
