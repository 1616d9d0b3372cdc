#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> activation_ops() { return {}; }

}  // namespace mlt::ops
