#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> tensor_operation_ops() { return {}; }

}  // namespace mlt::ops
