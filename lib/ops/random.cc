#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> random_ops() { return {}; }

}  // namespace mlt::ops
