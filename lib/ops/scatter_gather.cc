#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> scatter_gather_ops() { return {}; }

}  // namespace mlt::ops
