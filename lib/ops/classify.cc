#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> classify_ops() { return {}; }

}  // namespace mlt::ops
