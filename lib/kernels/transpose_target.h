// Internal: transposition of one small rectangle: out[c * out_row + r] = in[r * in_row + c].
#pragma once
#include <cstddef>
#include <cstdint>

namespace mlt {
template <typename T>
using TransposeTile = void (*)(const T* in, int64_t in_row, T* out, int64_t out_row, int64_t rows, int64_t columns) noexcept;
struct TransposeTiles {
  TransposeTile<uint32_t> words = nullptr;
  TransposeTile<uint8_t> bytes = nullptr;
};
TransposeTiles transpose_tiles_simd();
// Copies bytes past the caches; with no bytes, makes sure that other threads see what was copied so. Null: memcpy does as well.
using StreamBytes = void (*)(const std::byte* in, std::byte* out, size_t bytes) noexcept;
StreamBytes stream_bytes_simd();
}  // namespace mlt
