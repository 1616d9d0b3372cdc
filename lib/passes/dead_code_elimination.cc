// Removes ops whose results nobody uses.
#include "lib/passes/pass.h"

namespace mlt::passes {

Result<size_t> dead_code_elimination(ir::Function& function, Context&) { return function.erase_dead_ops(); }

}  // namespace mlt::passes
