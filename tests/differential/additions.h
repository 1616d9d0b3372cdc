// What additions of several kinds use.
#pragma once
#include "lib/ops/eval_util.h"
#include "tests/differential/random_program.h"

namespace mlt::differential {

// Elements of a shape from axis `from` on.
inline int64_t elements(const Dims& dims, size_t from = 0) { return ops::product(dims, from, dims.size()); }

// A batch norm with random statistics; of null, null (as all of these).
ir::Value* normalized(ProgramMaker& m, ir::Value* x);
// One of the functions that networks put behind their products, or a pattern of ops that stands for one.
ir::Value* activated(ProgramMaker& m, ir::Value* x);
// x scaled by channel, by what two small convolutions make of its means.
ir::Value* squeezed_and_excited(ProgramMaker& m, ir::Value* x);

// Weights in a form of few bits (or in float16), about evenly spread below `size`.
ir::Value* compressed_weights(ProgramMaker& m, const Dims& dims, float size);

}  // namespace mlt::differential
