// Bulk conversions between stored and computed forms of numbers.
#pragma once
#include <cstdint>

namespace mlt {

void half_to_float(const uint16_t* in, float* out, int64_t count) noexcept;
// Round to nearest even; beyond the largest half is infinity.
void float_to_half(const float* in, uint16_t* out, int64_t count) noexcept;
// Constants for a float16 program: finite values beyond the largest half become it, what is smaller than the smallest one
// becomes zero of its sign; infinities and NaN stay. In order on the calling thread.
void constants_to_half(const float* in, uint16_t* out, int64_t count) noexcept;
// Whether some low < |x| <= high. On the calling thread.
bool any_magnitude(const float* in, int64_t count, float low, float high) noexcept;
// x as float16 would hold it; in place allowed.
void round_to_half(const float* in, float* out, int64_t count) noexcept;

// (q - zero_point) * scale.
void dequantize(const int8_t* in, float* out, int64_t count, float scale, int32_t zero_point) noexcept;
void dequantize(const uint8_t* in, float* out, int64_t count, float scale, int32_t zero_point) noexcept;
// clamp(round_half_even(x / scale) + zero_point); NaN gives the zero point.
void quantize(const float* in, int8_t* out, int64_t count, float scale, int32_t zero_point) noexcept;
void quantize(const float* in, uint8_t* out, int64_t count, float scale, int32_t zero_point) noexcept;

// out[i] = table[index[i]] for one byte per index; every index is below table_size (masked by the caller's packing:
// table_size is a power of two up to 256 and higher bits of an index are ignored).
void palette_lookup(const uint8_t* index, const float* table, int table_size, float* out, int64_t count) noexcept;
// Unsigned fields of `bits` (1, 2, 4, 8; also 3 and 6), the first in the lowest bits of the first byte.
void palette_lookup_packed(const uint8_t* packed, int bits, const float* table, float* out, int64_t count) noexcept;

void int32_to_float(const int32_t* in, float* out, int64_t count) noexcept;
// Toward zero, saturating; NaN gives 0.
void float_to_int32(const float* in, int32_t* out, int64_t count) noexcept;
// 1 where a byte is not 0.
void bool_to_float(const uint8_t* in, float* out, int64_t count) noexcept;
void bool_to_int32(const uint8_t* in, int32_t* out, int64_t count) noexcept;

}  // namespace mlt
