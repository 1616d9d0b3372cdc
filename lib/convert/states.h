// Pairs of an input and an output that hold the same thing before and after: a cache becomes a state.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "lib/convert/frontend.h"

namespace mlt::foreign {

// For each pair (input, output): the input becomes a state of the same name and extents in float16 (Core ML knows no other),
// and the output is written to it at the end instead of being handed out. kUsage when a name is no such input or output,
// kUnsupported when extents are open or differ: a state keeps its size.
Status make_states(Converted& converted, const std::vector<std::pair<std::string, std::string>>& pairs, ops::Opset opset);

}  // namespace mlt::foreign
