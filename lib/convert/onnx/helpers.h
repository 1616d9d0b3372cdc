// Small pieces that several families share.
#pragma once
#include "lib/convert/onnx/lowering.h"

namespace mlt::foreign::onnx {

V legacy_broadcast(Ctx& c, V a, V b);
V trunc(Lower& l, V x);
V recip(Lower& l, V x);
V int_divide(Lower& l, V x, V y, bool is_unsigned);
// ln(x) without MIL's guard against zero: log adds an epsilon that is zero here.
V natural_log(Lower& l, V x);
// MIL's select with operands that may need broadcasting.
V select_broadcast(Lower& l, V cond, V a, V b);
// What a value of narrow source type `t` holds after an operation that may have left its range: it wraps.
V wrap_to(Ctx& c, V x, DType t);
// ONNX Cast from a source type to another.
V cast_to(Ctx& c, V x, DType from, DType to);
// x / scale rounded, shifted and saturated to the integers of `type`; scale and zero point broadcast already.
V quantize(Lower& l, V x, V scale, V zero_point, DType type);
V dequantize(Lower& l, V x, V scale, V zero_point);
// Constants that stay small in the program (compressed.cc). data: 8- or 4-bit integers; scale and zero point (may be null)
// scalars, vectors along axis, or by blocks. Null when data is no constant of such a type, is small enough to be written as
// floats, or the target is too old.
V compressed(Ctx& c, const Tensor* data, const Tensor* scale, const Tensor* zero_point, int64_t axis, int64_t block = 0);
// The constants behind inputs of the node, for compressed(): x at i, its scale at s, its zero point at z.
V compressed_input(Ctx& c, size_t i, size_t s, size_t z, int64_t axis, int64_t block = 0);
bool is_compressed(V x);
// The transpose of a compressed matrix.
V compressed_transpose(Lower& l, V x);
// quantize() and dequantize() as operations of the program where scale and zero point are single constants and the target
// has them.
V quantize_op(Ctx& c, V x, V scale, V zero_point, DType type);
V dequantize_op(Ctx& c, V x, V scale, V zero_point);
// Per-axis parameter [n] as [1, n, 1 ...] for operand of rank `rank`; scalars stay.
V along_axis(Lower& l, V parameter, int64_t axis, int64_t rank);
// Indices into an axis of `extent`, negative ones counted from the end.
V non_negative(Lower& l, V indices, V data, int64_t axis);
// softmax(x) and log(softmax(x)) along one axis.
V softmax(Lower& l, V x, int64_t axis);
V log_softmax(Lower& l, V x, int64_t axis);
// The product of extents in [begin, end); ir::kUnknown when one is not known.
int64_t product(const Dims& dims, size_t begin, size_t end);
// x reshaped to the extents of `like` (a value, perhaps of unknown extents).
V reshape_like(Ctx& c, V x, V like);
// Sum of products over named axes, in MIL's matmul.
V einsum(Lower& l, const std::string& equation, const std::vector<V>& operands);
// A const tensor's float values permuted to `perm` (host side).
Tensor permuted(const Tensor& tensor, const std::vector<int64_t>& perm);
// Conv family arithmetic: [begin..., end...] of ONNX to pairs, from pads or auto_pad.
struct Spatial {
  std::vector<int64_t> kernel, strides, dilations, pads;  // pads in MIL order: before, after per axis
};
// Resizing along one axis whose extent is not known. Null when the mode is none of nearest and linear, or the coordinates are
// not those of half pixels, aligned corners or asymmetric ones.
struct OpenResize {
  int64_t axis = 0;
  V out = nullptr;                          // the extent asked for; or a scale:
  int64_t numerator = 0, denominator = 1;
  std::string mode, coordinates, nearest;
};
V resize_open_axis(Ctx& c, V x, const OpenResize& r);
Spatial spatial_attributes(Ctx& c, V x, const std::vector<int64_t>& kernel);

}  // namespace mlt::foreign::onnx
