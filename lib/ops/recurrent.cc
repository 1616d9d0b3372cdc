#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> recurrent_ops() { return {}; }

}  // namespace mlt::ops
