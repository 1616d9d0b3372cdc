#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> legacy_nn_ops() { return {}; }

}  // namespace mlt::ops
