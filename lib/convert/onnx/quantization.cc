// Quantized values travel as int32 holding the integers of their narrow type; the arithmetic is done in float.
#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

// Scale or zero point placed for an operand of `dims`: scalar, per axis, or by blocks along the axis.
V place(Ctx& c, V parameter, const Dims& dims, int64_t axis, int64_t block) {
  if (parameter == nullptr) return nullptr;
  int64_t rank = static_cast<int64_t>(dims.size());
  if (Lower::rank(parameter) == rank && rank > 1) {
    const Dims own = Lower::dims(parameter);
    size_t a = static_cast<size_t>(axis);
    if (own[a] == dims[a]) return parameter;
    if (dims[a] < 0 || own[a] <= 0) unsupported("blocks along an axis of unknown extent");
    if (block == 0) block = (dims[a] + own[a] - 1) / own[a];
    Lower::check_constant({dims[a]});
    if (block < 1) bad_input("block_size must be positive");
    std::vector<int64_t> index;
    for (int64_t i = 0; i < dims[a]; ++i) index.push_back(i / block);
    return c.l.gather(parameter, c.l.ints(index), axis);
  }
  return along_axis(c.l, parameter, axis, rank);
}

void quantize_linear(Ctx& c) {
  c.ignore({"saturate", "precision"});
  V x = c.in(0);
  int64_t rank = Lower::rank(x), axis = rank == 0 ? 0 : c.i64("axis", 1);
  if (rank > 0 && Lower::rank(c.in(1)) > 0 && Lower::dims(c.in(1)) != Dims{1}) axis = Lower::axis_of(axis, rank);
  int64_t block = c.i64("block_size", 0);
  DType type = DType::kU8;
  if (c.opt(2)) type = c.type(2);
  else if (int64_t given = c.i64("output_dtype", 0)) {
    auto parsed = dtype_from_onnx(given);
    if (!parsed) unsupported("quantization to ONNX element type " + std::to_string(given));
    type = *parsed;
  }
  if (c.opt(2)) c.ignore({"output_dtype"});
  const Dims dims = Lower::dims(x);
  V y = quantize_op(c, c.l.cast(x, DType::kF32), place(c, c.fin(1), dims, axis, block), place(c, c.opt(2), dims, axis, block), type);
  c.out(0, y, type);
}

void dequantize_linear(Ctx& c) {
  c.ignore({"output_dtype"});
  if (const Tensor* data = c.raw(0)) {
    int64_t n = data->rank(), along = c.i64("axis", 1);
    if (V y = compressed_input(c, 0, 1, 2, along < 0 ? along + n : along, c.i64("block_size", 0))) return c.out(0, y, c.type(1));
  }
  V x = c.in(0);
  int64_t rank = Lower::rank(x), axis = rank == 0 ? 0 : c.i64("axis", 1);
  if (rank > 0 && Lower::rank(c.in(1)) > 0 && Lower::dims(c.in(1)) != Dims{1}) axis = Lower::axis_of(axis, rank);
  int64_t block = c.i64("block_size", 0);
  const Dims dims = Lower::dims(x);
  V y = dequantize_op(c, x, place(c, c.fin(1), dims, axis, block), place(c, c.opt(2), dims, axis, block));
  c.out(0, y, c.type(1));
}

// Scale and zero point from the range of the values, zero included.
void dynamic_quantize(Ctx& c) {
  Lower& l = c.l;
  V x = c.fin(0);
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < Lower::rank(x); ++i) axes.push_back(i);
  V zero = l.f32(0);
  V high = l.binary("maximum", l.reduce("reduce_max", x, axes, false), zero), low = l.binary("minimum", l.reduce("reduce_min", x, axes, false), zero);
  V scale = l.div(l.sub(high, low), l.f32(255));
  V zp = l.unary("round", l.clip(l.div(l.mul(low, -1), scale), 0, 255));
  c.out(0, quantize(l, x, scale, zp, DType::kU8), DType::kU8);
  c.out(1, scale, DType::kF32);
  c.out(2, l.cast(zp, DType::kI32), DType::kU8);
}

constexpr Row kRows[] = {
    {"DequantizeLinear", dequantize_linear, "", "integer types"}, {"DynamicQuantizeLinear", dynamic_quantize},
    {"QuantizeLinear", quantize_linear, "", "integer types"},
};

}  // namespace

std::span<const Row> families::quantization() { return kRows; }

}  // namespace mlt::foreign::onnx
