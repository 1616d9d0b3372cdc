// Weights that a constexpr op stores in few bits, as the kernels take them. Internal to lib/runtime.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "lib/kernels/lowbit.h"
#include "lib/ops/call.h"

namespace mlt {

// Keeps what its matrix points to.
struct CompressedWeight {
  LowBitMatrix matrix;
  Tensor codes;
  std::vector<float> scale, offset, table;
};

// Constexpr ops whose expansion can wait until somebody asks for it.
bool is_deferrable(std::string_view kind);
// The bound op's result as a low-bit matrix; null when it is none, or its parts do not fit one another (evaluation says
// what is wrong then).
std::shared_ptr<const CompressedWeight> compressed_weight(ops::Call& call);

}  // namespace mlt
