#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> conv_ops() { return {}; }

}  // namespace mlt::ops
