#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> elementwise_binary_ops() { return {}; }

}  // namespace mlt::ops
