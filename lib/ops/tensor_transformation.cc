#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> tensor_transformation_ops() { return {}; }

}  // namespace mlt::ops
