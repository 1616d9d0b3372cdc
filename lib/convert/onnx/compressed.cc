// Quantized weights and activations as Core ML has them: constexpr ops, quantize and dequantize.
//
// 8-bit weights with one scale or one per channel are constexpr_affine_dequantize (iOS16), everything else is
// constexpr_blockwise_shift_scale (iOS18). Activations are quantize and dequantize (iOS17); between operators they stay
// int32 values, and a dequantize finds the quantize behind the cast.
#include <algorithm>
#include <cmath>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

constexpr int64_t kSmall = 64;  // elements; fewer are not worth an op

bool is_weight_type(DType t) { return t == DType::kI8 || t == DType::kU8 || t == DType::kI4 || t == DType::kU4; }

// Every stored integer through f, in a tensor of other extents.
Tensor permuted_ints(const Tensor& t) {
  int64_t rows = t.dims()[0], cols = t.dims()[1];
  if (dtype_bits(t.dtype()) == 8) {
    Tensor out = Tensor::uninitialized(t.dtype(), {cols, rows});
    const uint8_t* from = reinterpret_cast<const uint8_t*>(t.bytes().data());
    uint8_t* to = reinterpret_cast<uint8_t*>(out.mutable_bytes());
    constexpr int64_t kTile = 64;
    for (int64_t r0 = 0; r0 < rows; r0 += kTile)
      for (int64_t c0 = 0; c0 < cols; c0 += kTile)
        for (int64_t r = r0; r < std::min(rows, r0 + kTile); ++r)
          for (int64_t c = c0; c < std::min(cols, c0 + kTile); ++c) to[c * rows + r] = from[r * cols + c];
    return out;
  }
  DType wide = is_float(t.dtype()) ? DType::kF32 : t.dtype() == DType::kI4 ? DType::kI8 : DType::kU8;
  Tensor from = convert(t, wide), out = Tensor::uninitialized(wide, {cols, rows});
  size_t size = wide == DType::kF32 ? 4 : 1;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      std::copy_n(from.bytes().data() + static_cast<size_t>(r * cols + c) * size, size, out.mutable_bytes() + static_cast<size_t>(c * rows + r) * size);
  return convert(out, t.dtype());
}

// The number of a single constant.
bool single(V v) {
  const Tensor* t = v ? Lower::known(v) : nullptr;
  return t && t->size() == 1;
}

}  // namespace

V compressed(Ctx& c, const Tensor* data, const Tensor* scale, const Tensor* zero, int64_t axis, int64_t block) {
  if (data == nullptr || scale == nullptr || !is_weight_type(data->dtype()) || data->size() < kSmall) return nullptr;
  if (zero && zero->dtype() != data->dtype() && !is_float(zero->dtype())) return nullptr;
  const Dims& dims = data->dims();
  size_t a = static_cast<size_t>(axis);
  bool wide = dtype_bits(data->dtype()) == 8, one = scale->size() == 1, blocks = false;
  if (!one && (axis < 0 || a >= dims.size())) return nullptr;
  if (!one && scale->rank() == 1 && scale->size() != dims[a]) bad_input("a scale for each element along the axis is needed");
  if (!one && scale->rank() > 1) {
    if (scale->rank() != data->rank()) return nullptr;
    blocks = true;
    for (size_t i = 0; i < dims.size(); ++i) {
      if (i != a && scale->dims()[i] != dims[i]) return nullptr;
      if (scale->dims()[i] <= 0 || dims[i] % scale->dims()[i] || (i == a && block != 0 && dims[i] / scale->dims()[i] != block)) return nullptr;
    }
  }
  if (zero && zero->size() != scale->size()) return nullptr;
  if (wide && !blocks && (!zero || !is_float(zero->dtype()))) {
    if (!c.driver().may_use(ops::Opset::kCoreML6)) return nullptr;
    Dims shape = one ? Dims{} : Dims{dims[a]};
    Tensor zeros = zero ? *zero : Tensor::zeros(data->dtype(), {});
    return c.l.kept("constexpr_affine_dequantize", {{"quantized_data", c.l.constant(*data, "weight")}, {"zero_point", c.l.constant(zero ? zeros.reshaped(shape) : zeros)},
                                                    {"scale", c.l.constant(convert(*scale, DType::kF32).reshaped(shape))}, {"axis", c.l.i32(one ? 0 : axis)}});
  }
  if (!c.driver().may_use(ops::Opset::kCoreML8)) return nullptr;
  Dims shape = blocks ? scale->dims() : Dims(dims.size(), 1);
  if (!one && !blocks) shape[a] = dims[a];
  std::vector<Input> inputs = {{"data", c.l.constant(*data, "weight")}, {"scale", c.l.constant(convert(*scale, DType::kF32).reshaped(shape))}};
  if (zero) inputs.push_back({"offset", c.l.constant((is_float(zero->dtype()) ? convert(*zero, DType::kF32) : *zero).reshaped(shape))});
  return c.l.kept("constexpr_blockwise_shift_scale", inputs);
}

V compressed_input(Ctx& c, size_t i, size_t s, size_t z, int64_t axis, int64_t block) {
  const Tensor *data = c.raw(i), *scale = c.raw(s), *zero = c.has(z) ? c.raw(z) : nullptr;
  if (c.has(z) && zero == nullptr) return nullptr;
  if (scale == nullptr && c.has(s)) scale = Lower::known(c.fin(s));
  return compressed(c, data, scale, zero, axis, block);
}

bool is_compressed(V x) { return x && x->producer && x->producer->kind.starts_with("constexpr_"); }

V compressed_transpose(Lower& l, V x) {
  const ir::Op& op = *x->producer;
  auto constant = [&](std::string_view name) { return l.constant(permuted_ints(*op.find(name)->operands[0].constant_tensor()), "weight"); };
  if (op.kind == "constexpr_affine_dequantize") {
    const Tensor& scale = *op.find("scale")->operands[0].constant_tensor();
    int64_t axis = to_ints(*op.find("axis")->operands[0].constant_tensor())[0];
    return l.kept(op.kind, {{"quantized_data", constant("quantized_data")}, {"zero_point", op.input("zero_point")}, {"scale", op.input("scale")},
                            {"axis", l.i32(scale.size() == 1 ? 0 : 1 - axis)}});
  }
  std::vector<Input> inputs = {{"data", constant("data")}, {"scale", constant("scale")}};
  if (op.find("offset")) inputs.push_back({"offset", constant("offset")});
  return l.kept(op.kind, inputs);
}

V quantize_op(Ctx& c, V x, V scale, V zero_point, DType type) {
  Lower& l = c.l;
  bool fits = (type == DType::kI8 || type == DType::kU8) && single(scale) && (zero_point == nullptr || single(zero_point)) && !Lower::known(x);
  if (!fits || !c.driver().may_use(ops::Opset::kCoreML7)) return quantize(l, x, scale, zero_point, type);
  float s = to_floats(*Lower::known(scale))[0];
  if (!(s > 0) || !std::isfinite(s)) return quantize(l, x, scale, zero_point, type);
  std::vector<Input> inputs = {{"input", x}, {"scale", l.f32(s)}, {"output_dtype", l.str(dtype_name(type))}};
  if (zero_point) inputs.push_back({"zero_point", l.constant(convert(Lower::known(zero_point)->reshaped({}), type))});
  return l.cast(l.op("quantize", inputs), DType::kI32);
}

V dequantize_op(Ctx& c, V x, V scale, V zero_point) {
  Lower& l = c.l;
  ir::Op* cast = x->producer;
  V narrow = cast && cast->kind == "cast" ? cast->input("x") : nullptr;
  if (narrow == nullptr || narrow->producer == nullptr || narrow->producer->kind != "quantize" || !single(scale) || (zero_point && !single(zero_point))) return dequantize(l, x, scale, zero_point);
  std::vector<Input> inputs = {{"input", narrow}, {"scale", l.f32(to_floats(*Lower::known(scale))[0])}};
  if (zero_point) inputs.push_back({"zero_point", l.constant(convert(Lower::known(zero_point)->reshaped({}), Lower::dtype(narrow)))});
  return l.op("dequantize", inputs);
}

}  // namespace mlt::foreign::onnx
