#include "lib/runtime/plan.h"

namespace mlt {

std::span<const LowerRow> reduction_lowerings() { return {}; }

}  // namespace mlt
