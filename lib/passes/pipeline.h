// The order of passes.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/passes/pass.h"

namespace mlt::passes {

// Names of passes, in order, for a program that a converter just made.
std::vector<std::string> conversion_pipeline(bool float16);

// Runs the named passes on every function; kUsage for a name there is none of. `after` sees each pass's result (changes
// over all functions). In debug builds the program is verified after every pass.
Status run(ir::Program& program, const std::vector<std::string>& names, Context& context, const std::function<void(const Pass&, size_t changes)>& after = {});

}  // namespace mlt::passes
