// Checks of extents that may be unknown.
#pragma once
#include "lib/base/result.h"
#include "lib/tensor/tensor.h"

namespace mlt::ops {

// Known extents must be small enough that window arithmetic cannot overflow.
inline Status check_extents(const Dims& dims) {
  for (int64_t d : dims)
    if (d > (int64_t{1} << 40)) return input_error("shape " + dims_text(dims) + " is too large");
  return {};
}

// An extent known on both sides must agree.
inline bool extents_agree(int64_t a, int64_t b) { return a < 0 || b < 0 || a == b; }

}  // namespace mlt::ops
