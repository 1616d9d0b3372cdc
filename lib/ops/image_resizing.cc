#include "lib/ops/families.h"

namespace mlt::ops {

std::span<const OpDef> image_resizing_ops() { return {}; }

}  // namespace mlt::ops
