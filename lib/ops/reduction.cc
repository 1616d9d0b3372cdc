#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> reduction_ops() { return {}; }

}  // namespace mlt::ops
