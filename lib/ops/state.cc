#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> state_ops() { return {}; }

}  // namespace mlt::ops
