#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> control_flow_ops() { return {}; }

}  // namespace mlt::ops
