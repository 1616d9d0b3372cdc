#include "lib/runtime/plan.h"

namespace mlt {

std::span<const LowerRow> recurrent_lowerings() { return {}; }

}  // namespace mlt
