// A page about a model: one file without references to anything else, so that it can be mailed or kept.
#pragma once
#include <string>

#include "lib/inspect/inspect.h"

namespace mlt::inspect {

// Summary, interface, class labels, histogram of operations, graph, operations with shapes and cost, weights
// with the histogram of their values. Nothing of the model is ever part of a script, and all of it is
// escaped.
std::string html_page(const Subject& subject);

}  // namespace mlt::inspect
