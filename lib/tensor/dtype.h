// Element types: every one of MIL's, plus strings. Names are those of MIL text (reference: MIL.proto DataType).
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace mlt {

enum class DType : uint8_t {
  kBool, kString,
  kF16, kF32, kF64, kBF16, kF8E4M3FN, kF8E5M2,
  kI4, kI8, kI16, kI32, kI64,
  kU1, kU2, kU3, kU4, kU6, kU8, kU16, kU32, kU64,
};

int dtype_bits(DType dtype);               // bool is stored as one byte: 8; string: 0
std::string_view dtype_name(DType dtype);  // "fp16", "int32", "uint4", "bool", "string"
std::optional<DType> dtype_from_name(std::string_view name);  // also float16, float32, float64, double, str
bool is_float(DType dtype);
bool is_integer(DType dtype);              // signed or unsigned, without bool
bool is_signed_integer(DType dtype);
bool is_sub_byte(DType dtype);             // packed storage: int4, uint1, 2, 3, 4, 6
// The type in which this library computes values of `dtype`: fp32 for all floats, int32 for all integers, bool, string.
DType compute_dtype(DType dtype);

}  // namespace mlt
