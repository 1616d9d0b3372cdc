// Internal: where the loops of trees.h come from.
#pragma once
#include "lib/kernels/trees.h"

namespace mlt {

const TreeKernels* tree_simd();

// Descending two levels by tables of bytes (trees_pairs.cc); false on machines without AVX-512 VBMI, where the rest must not
// be called.
bool have_tree_pairs() noexcept;
void tree_pair_rows(const int8_t* bins, int8_t* rows) noexcept;
void tree_pairs(const uint64_t* pairs, int64_t count, const int8_t* rows, uint8_t* paths) noexcept;

}  // namespace mlt
