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
  LowBitMatrix matrix;  // of blocks without scales and offsets, which are many: kernels that keep a form of their own need none
  Tensor codes;
  Tensor block_scales, block_offsets{};  // as stored; none of other weights
  std::vector<float> scale, offset, table;
  // Makes the matrix whole.
  const LowBitMatrix& whole();
  // Row `row` of it, whole or not; `room` for row_room() floats.
  void row(int64_t row, float* room, float* out) const;
  int64_t row_room() const { return 2 * (matrix.k / matrix.col_block); }
};

// Constexpr ops whose expansion can wait until somebody asks for it.
bool is_deferrable(std::string_view kind);
// The bound op's result as a low-bit matrix; null when it is none, or its parts do not fit one another (evaluation says
// what is wrong then).
std::shared_ptr<CompressedWeight> compressed_weight(ops::Call& call);

}  // namespace mlt
