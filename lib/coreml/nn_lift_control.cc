// Branches and loops. A network's layers write blobs by name, also from inside a branch or a loop body; the program has
// values that are written once. So what an inner network writes and an outer layer may read leaves the block as an
// output.
#include <algorithm>

#include "lib/coreml/nn_lifter.h"

namespace mlt::coreml {

Status Lifter::branch(const spec::BranchLayerParams&) { return unsupported_error("branches whose condition depends on data are not supported"); }
Status Lifter::loop(const spec::LoopLayerParams&) { return unsupported_error("loops are not supported"); }

}  // namespace mlt::coreml
