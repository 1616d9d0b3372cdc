#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> quantization_ops() { return {}; }

}  // namespace mlt::ops
