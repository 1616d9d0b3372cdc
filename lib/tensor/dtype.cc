#include "lib/tensor/dtype.h"

namespace mlt {
namespace {

struct Row {
  std::string_view name;
  int bits;
};
// Indexed by DType.
constexpr Row kRows[] = {
    {"bool", 8},  {"string", 0}, {"fp16", 16}, {"fp32", 32}, {"fp64", 64}, {"bf16", 16}, {"fp8e4m3fn", 8}, {"fp8e5m2", 8},
    {"int4", 4},  {"int8", 8},   {"int16", 16}, {"int32", 32}, {"int64", 64},
    {"uint1", 1}, {"uint2", 2},  {"uint3", 3},  {"uint4", 4},  {"uint6", 6},  {"uint8", 8}, {"uint16", 16}, {"uint32", 32}, {"uint64", 64},
};

}  // namespace

int dtype_bits(DType dtype) { return kRows[static_cast<int>(dtype)].bits; }
std::string_view dtype_name(DType dtype) { return kRows[static_cast<int>(dtype)].name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (int i = 0; i < static_cast<int>(std::size(kRows)); ++i)
    if (kRows[i].name == name) return static_cast<DType>(i);
  if (name == "float16") return DType::kF16;
  if (name == "float32" || name == "float") return DType::kF32;
  if (name == "float64" || name == "double") return DType::kF64;
  if (name == "str") return DType::kString;
  return std::nullopt;
}

bool is_float(DType dtype) { return dtype >= DType::kF16 && dtype <= DType::kF8E5M2; }
bool is_integer(DType dtype) { return dtype >= DType::kI4; }
bool is_signed_integer(DType dtype) { return dtype >= DType::kI4 && dtype <= DType::kI64; }
bool is_sub_byte(DType dtype) {
  int bits = dtype_bits(dtype);
  return bits > 0 && bits < 8;
}

DType compute_dtype(DType dtype) {
  if (is_float(dtype)) return DType::kF32;
  if (is_integer(dtype)) return DType::kI32;
  return dtype;
}

}  // namespace mlt
