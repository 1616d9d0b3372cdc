// Internal: the conversions worth vector instructions.
#pragma once
#include <cstdint>

namespace mlt {
struct ConvertTarget {
  void (*half_to_float)(const uint16_t* in, float* out, int64_t count) noexcept;
  void (*float_to_half)(const float* in, uint16_t* out, int64_t count) noexcept;
  void (*constants_to_half)(const float* in, uint16_t* out, int64_t count) noexcept;
  bool (*any_magnitude)(const float* in, int64_t count, float low, float high) noexcept;
  void (*dequantize_signed)(const int8_t* in, float* out, int64_t count, float scale, float zero_point) noexcept;
  void (*dequantize_unsigned)(const uint8_t* in, float* out, int64_t count, float scale, float zero_point) noexcept;
  void (*int32_to_float)(const int32_t* in, float* out, int64_t count) noexcept;
  void (*float_to_int32)(const float* in, int32_t* out, int64_t count) noexcept;
  void (*bool_to_float)(const uint8_t* in, float* out, int64_t count) noexcept;
  void (*bool_to_int32)(const uint8_t* in, int32_t* out, int64_t count) noexcept;
};
// Toward zero, saturating; NaN gives 0.
inline int32_t truncated(float v) { return v != v ? 0 : v >= 0x1p31f ? INT32_MAX : v < -0x1p31f ? INT32_MIN : static_cast<int32_t>(v); }
const ConvertTarget* convert_simd();
}  // namespace mlt
