// Internal: transposition of one small rectangle of 32-bit elements: out[c * out_row + r] = in[r * in_row + c].
#pragma once
#include <cstdint>

namespace mlt {
using TransposeTile = void (*)(const uint32_t* in, int64_t in_row, uint32_t* out, int64_t out_row, int64_t rows,
                               int64_t columns) noexcept;
TransposeTile transpose_tile_simd();
}  // namespace mlt
