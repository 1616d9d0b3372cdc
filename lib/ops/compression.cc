#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> compression_ops() { return {}; }

}  // namespace mlt::ops
