// Internal: decimals.h for one instruction set.
#pragma once
#include "lib/kernels/decimals.h"

namespace mlt {

using DecimalsTarget = int64_t (*)(const char* p, const char* end, int64_t count, double* values, const char** stop) noexcept;
DecimalsTarget decimals_simd();  // may be nullptr

}  // namespace mlt
