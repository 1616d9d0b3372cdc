#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> elementwise_unary_ops() { return {}; }

}  // namespace mlt::ops
