// Extents that no one knows yet may still be known to be the same: where an axis, or a number computed from shapes, comes
// from.
#pragma once
#include "lib/convert/lower.h"

namespace mlt::foreign::onnx {

struct Extent {
  V value = nullptr;  // the extent of this value's axis `at`; or, when null, the number `at`
  int64_t at = 0;
  bool known = false;  // an origin was found
  bool operator==(const Extent&) const = default;
};

// Where the extent of an axis comes from, as far back as it can be followed.
Extent extent_of(V x, int64_t axis);
// The same for element i of a vector (or scalar, i = 0) of integers computed from shapes; not `known` when it is something else.
Extent element_of(V integers, int64_t i);

}  // namespace mlt::foreign::onnx
