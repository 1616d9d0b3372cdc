// Checks that hold for every well-formed program, independent of what the ops mean: SSA (defined before use, in
// scope), unique names, operands present, block arities, types that are complete.
#pragma once
#include <vector>

#include "lib/base/error.h"
#include "lib/ir/graph.h"

namespace mlt::ir {

// All problems found, each with op and function in its context; empty when the program is well-formed.
std::vector<Error> verify(const Program& program);

}  // namespace mlt::ir
