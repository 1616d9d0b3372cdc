#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> normalization_ops() { return {}; }

}  // namespace mlt::ops
