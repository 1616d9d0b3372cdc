#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> pool_ops() { return {}; }

}  // namespace mlt::ops
