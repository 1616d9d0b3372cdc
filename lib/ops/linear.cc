#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> linear_ops() { return {}; }

}  // namespace mlt::ops
