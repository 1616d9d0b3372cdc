#include "lib/convert/onnx/helpers.h"

#include <algorithm>

#include "lib/ops/infer_util.h"

namespace mlt::foreign::onnx {

// A uniform constant of more elements is written as an op that makes it.
constexpr int64_t kLargeConstant = 4096;

V natural_log(Lower& l, V x) { return l.op("log", {{"x", x}, {"epsilon", l.scalar_like(x, 0)}}); }

V select_broadcast(Lower& l, V cond, V a, V b) {
  if (Lower::dtype(a) != Lower::dtype(b)) {
    DType common = is_float(Lower::dtype(a)) ? Lower::dtype(a) : Lower::dtype(b);
    a = l.cast(a, common);
    b = l.cast(b, common);
  }
  int64_t rank = std::max({Lower::rank(cond), Lower::rank(a), Lower::rank(b)});
  auto raise = [&](V v) {
    std::vector<int64_t> axes;
    for (int64_t i = Lower::rank(v); i < rank; ++i) axes.push_back(i - Lower::rank(v));
    return l.expand_dims(v, axes);
  };
  cond = raise(cond);
  a = raise(a);
  b = raise(b);
  // Core ML takes the result's extents from a and b, so all three are brought to the same.
  if (Lower::is_static(cond) && Lower::is_static(a) && Lower::is_static(b)) {
    Dims dims = take(ops::broadcast(take(ops::broadcast(Lower::dims(cond), Lower::dims(a))), Lower::dims(b)));
    auto full = [&](V v) {
      if (Lower::dims(v) == dims) return v;
      const Tensor* known = Lower::known(v);
      if (known && known->size() == 1 && product(dims, 0, dims.size()) > kLargeConstant && known->dtype() != DType::kBool)
        return l.fill(dims, Lower::dtype(v), to_doubles(*known)[0]);
      return l.broadcast_to(v, dims);
    };
    cond = full(cond);
    a = full(a);
    b = full(b);
  }
  return l.select(cond, a, b);
}

V wrap_to(Ctx& c, V x, DType t) {
  Lower& l = c.l;
  if (!is_integer(t) || dtype_bits(t) > 16 || Lower::dtype(x) != DType::kI32) return x;
  int64_t range = int64_t{1} << dtype_bits(t);
  if (!is_signed_integer(t)) return l.binary("mod", x, l.i32(range));
  V shifted = l.binary("mod", l.add(x, l.i32(range / 2)), l.i32(range));
  return l.sub(shifted, l.i32(range / 2));
}

V cast_to(Ctx& c, V x, DType from, DType to) {
  Lower& l = c.l;
  if (from == to) return x;
  if (to == DType::kString || from == DType::kString) unsupported("casts to or from strings");
  if (is_float(to)) {
    V y = l.cast(x, DType::kF32);
    bool narrows = dtype_bits(to) < 32 && !(is_float(from) && dtype_bits(from) <= dtype_bits(to) && to != DType::kF16) && !(from == DType::kF16 && to == DType::kF16);
    if (!narrows) return y;
    if (const Tensor* tensor = Lower::known(y)) return l.constant(convert(convert(*tensor, to), DType::kF32));
    if (dtype_bits(to) < 16) unsupported("rounding to " + std::string(dtype_name(to)));
    // Rounded as the source does; under float16 precision the pair of casts vanishes.
    if (to == DType::kF16 && from != DType::kBool) return l.cast(l.cast(y, DType::kF16), DType::kF32);
    return y;
  }
  if (to == DType::kBool) return Lower::dtype(x) == DType::kBool ? x : l.binary("not_equal", x, l.scalar_like(x, 0));
  V y = l.cast(x, DType::kI32);
  if (is_integer(from) && dtype_bits(from) <= dtype_bits(to) && is_signed_integer(from) == is_signed_integer(to)) return y;
  if (from == DType::kBool) return y;
  return wrap_to(c, y, to);
}

int64_t product(const Dims& dims, size_t begin, size_t end) {
  int64_t p = 1;
  for (size_t i = begin; i < end; ++i) {
    if (dims[i] < 0) return ir::kUnknown;
    p *= dims[i];
  }
  return p;
}

V along_axis(Lower& l, V parameter, int64_t axis, int64_t rank) {
  if (Lower::rank(parameter) == 0) return parameter;
  if (Lower::rank(parameter) == 1 && Lower::dims(parameter)[0] == 1) return l.squeeze(parameter, {0});
  if (Lower::rank(parameter) != 1) return parameter;
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < rank; ++i)
    if (i != axis) axes.push_back(i);
  return l.expand_dims(parameter, axes);
}

V quantize(Lower& l, V x, V scale, V zero_point, DType type) {
  double low = 0, high = 255;
  switch (type) {
    case DType::kU8: break;
    case DType::kI8: low = -128; high = 127; break;
    case DType::kU16: high = 65535; break;
    case DType::kI16: low = -32768; high = 32767; break;
    case DType::kU4: high = 15; break;
    case DType::kI4: low = -8; high = 7; break;
    case DType::kU2: high = 3; break;
    default: unsupported("quantization to " + std::string(dtype_name(type)));
  }
  V y = l.unary("round", l.div(x, scale));
  if (zero_point) y = l.add(y, l.cast(zero_point, DType::kF32));
  return l.cast(l.clip(y, low, high), DType::kI32);
}

V dequantize(Lower& l, V x, V scale, V zero_point) {
  V y = l.cast(x, DType::kF32);
  if (zero_point) {
    const Tensor* known = Lower::known(zero_point);
    std::vector<float> values = known ? to_floats(*known) : std::vector<float>{1};
    if (std::any_of(values.begin(), values.end(), [](float v) { return v != 0; })) y = l.sub(y, l.cast(zero_point, DType::kF32));
  }
  return l.mul(y, scale);
}

V non_negative(Lower& l, V indices, V data, int64_t axis) {
  int64_t extent = Lower::dims(data)[static_cast<size_t>(axis)];
  if (const Tensor* known = Lower::known(indices)) {
    std::vector<int64_t> values = to_ints(*known);
    if (std::all_of(values.begin(), values.end(), [](int64_t v) { return v >= 0; })) return indices;
    if (extent < 0) return indices;
    Tensor fixed = Tensor::uninitialized(DType::kI32, known->dims());
    for (size_t i = 0; i < values.size(); ++i) fixed.mutable_data<int32_t>()[i] = static_cast<int32_t>(values[i] < 0 ? values[i] + extent : values[i]);
    return l.constant(std::move(fixed));
  }
  // Up to CoreML6 the op itself counts negative indices from the end.
  if (!l.at_least(ops::Opset::kCoreML7)) return indices;
  V size = extent >= 0 ? l.i32(extent) : l.squeeze(l.slice(l.shape_of(data), 0, axis, axis + 1), {0});
  return l.select(l.binary("less", indices, l.i32(0)), l.add(indices, size), indices);
}

V softmax(Lower& l, V x, int64_t axis) { return l.op("softmax", {{"x", x}, {"axis", l.i32(axis)}}); }

V log_softmax(Lower& l, V x, int64_t axis) {
  V shifted = l.sub(x, l.reduce("reduce_max", x, {axis}, true));
  return l.sub(shifted, natural_log(l, l.reduce("reduce_sum", l.unary("exp", shifted), {axis}, true)));
}

V reshape_like(Ctx& c, V x, V like) {
  const Dims& dims = Lower::dims(like);
  if (std::count(dims.begin(), dims.end(), ir::kUnknown) <= 1) return c.l.reshape(x, dims);
  return c.l.op("reshape", {{"x", x}, {"shape", c.l.shape_of(like)}});
}

Tensor permuted(const Tensor& tensor, const std::vector<int64_t>& perm) {
  Tensor source = convert(tensor, DType::kF32);
  size_t rank = perm.size();
  Dims dims(rank), from = row_major_strides(source.dims()), strides(rank);
  for (size_t i = 0; i < rank; ++i) {
    dims[i] = source.dims()[static_cast<size_t>(perm[i])];
    strides[i] = from[static_cast<size_t>(perm[i])];
  }
  Tensor out = Tensor::uninitialized(DType::kF32, dims);
  const float* in = source.data<float>();
  float* to = out.mutable_data<float>();
  Dims index(rank, 0);
  int64_t at = 0;
  for (int64_t i = 0; i < out.size(); ++i) {
    to[i] = in[at];
    for (size_t d = rank; d-- > 0;) {
      at += strides[d];
      if (++index[d] < dims[d]) break;
      at -= strides[d] * dims[d];
      index[d] = 0;
    }
  }
  return out;
}

Spatial spatial_attributes(Ctx& c, V x, const std::vector<int64_t>& kernel) {
  size_t n = kernel.size();
  if (Lower::rank(x) != static_cast<int64_t>(n) + 2) bad_input("the kernel has " + std::to_string(n) + " axes, the input rank " + std::to_string(Lower::rank(x)));
  Spatial s;
  s.kernel = kernel;
  s.strides = c.ints("strides").value_or(std::vector<int64_t>(n, 1));
  s.dilations = c.ints("dilations").value_or(std::vector<int64_t>(n, 1));
  if (s.strides.empty()) s.strides.assign(n, 1);
  if (s.dilations.empty()) s.dilations.assign(n, 1);
  std::vector<int64_t> pads = c.ints("pads").value_or(std::vector<int64_t>(2 * n, 0));
  if (pads.empty()) pads.assign(2 * n, 0);
  if (s.strides.size() != n || s.dilations.size() != n || pads.size() != 2 * n) bad_input("strides, dilations or pads do not fit the kernel");
  for (size_t i = 0; i < n; ++i)
    if (s.strides[i] <= 0 || s.dilations[i] <= 0 || kernel[i] <= 0) bad_input("strides, dilations and kernel must be positive");
  std::string mode = c.str("auto_pad", "NOTSET");
  s.pads.resize(2 * n);
  for (size_t i = 0; i < n; ++i) {
    int64_t before = pads[i], after = pads[i + n];
    if (mode == "VALID") before = after = 0;
    if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
      int64_t extent = Lower::dims(x)[i + 2];
      if (extent < 0) unsupported("auto_pad " + mode + " needs known extents", "give fixed input shapes with --input NAME,shape=...");
      int64_t out = (extent + s.strides[i] - 1) / s.strides[i];
      int64_t total = std::max<int64_t>(0, (out - 1) * s.strides[i] + (kernel[i] - 1) * s.dilations[i] + 1 - extent);
      before = mode == "SAME_UPPER" ? total / 2 : total - total / 2;
      after = total - before;
    } else if (mode != "NOTSET" && mode != "VALID") {
      bad_input("unknown auto_pad \"" + mode + "\"");
    }
    s.pads[2 * i] = before;
    s.pads[2 * i + 1] = after;
  }
  return s;
}

}  // namespace mlt::foreign::onnx
