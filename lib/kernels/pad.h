// Borders around arrays of 32-bit elements.
#pragma once
#include <array>
#include <cstdint>

#include "lib/kernels/elementwise.h"

namespace mlt {

enum class PadMode : uint8_t { kConstant, kReflect, kReplicate };

// in[i] elements along axis i become before[i] + in[i] + after[i]. Rank <= kMaxRank. Reflection does not repeat the edge:
// at most in[i] - 1 on either side; replication needs at least one element.
struct PadShape {
  int rank = 0;
  std::array<int64_t, kMaxRank> in{}, before{}, after{};
  PadMode mode = PadMode::kConstant;
};

// Not in place.
void pad(const PadShape& p, const float* in, float value, float* out) noexcept;

}  // namespace mlt
