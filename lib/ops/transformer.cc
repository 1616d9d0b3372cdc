#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> transformer_ops() { return {}; }

}  // namespace mlt::ops
