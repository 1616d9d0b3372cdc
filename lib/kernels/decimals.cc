#include "lib/kernels/decimals.h"

#include "lib/kernels/decimals_target.h"
#include "lib/kernels/dispatch.h"

namespace mlt {

int64_t read_decimals(const char* p, const char* end, int64_t count, double* values, const char** stop) noexcept {
  const DecimalsTarget target = use_reference() ? nullptr : decimals_simd();
  return target == nullptr ? 0 : target(p, end, count, values, stop);
}

}  // namespace mlt
