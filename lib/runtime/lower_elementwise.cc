// Elementwise functions of one and two operands, comparisons, select, casts, batch norm.
#include <array>
#include <cmath>
#include <cstring>

#include "lib/kernels/convert.h"
#include "lib/kernels/elementwise.h"
#include "lib/kernels/nhwc.h"
#include "lib/runtime/fuse.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

std::optional<Lowered> lower_unary(Lowering& l) {
  int x = l.in("x"), out = l.out();
  if (!l.is_float(x)) return l.refuse("not float");
  auto act = activation_of(l.node());
  if (!act) return l.refuse("parameters are not constant");
  int64_t count = *element_count(l.dims(out));
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.in_place = {x};
  lowered.run = [f = *act, x, out, count](RunContext& c) {
    unary(f, c.f32(x), c.f32_out(out), count);
    return Status();
  };
  return lowered;
}

struct CompareKind {
  std::string_view kind;
  Compare op;
};
constexpr CompareKind kCompare[] = {
    {"equal", Compare::kEqual}, {"not_equal", Compare::kNotEqual}, {"less", Compare::kLess},
    {"less_equal", Compare::kLessEqual}, {"greater", Compare::kGreater}, {"greater_equal", Compare::kGreaterEqual},
};

bool same_dims(Lowering& l, int a, int b) { return l.dims(a) == l.dims(b); }

std::optional<Lowered> lower_binary(Lowering& l) {
  int x = l.in("x"), y = l.in("y"), out = l.out();
  bool floats = l.is_float(x) && l.is_float(y);
  bool ints = is_integer(l.type(x).dtype) && is_integer(l.type(y).dtype);
  if (!floats && !(ints && l.type(x).dtype == DType::kI32)) return l.refuse("element type");
  Broadcast shape;
  if (!make_broadcast(l.dims(x), l.dims(y), &shape)) return l.refuse("rank");
  const Binary op = binary_of(l.node().op->kind).value_or(Binary::kAdd);
  if (ints && op == Binary::kDiv) return l.refuse("integer division");
  Lowered lowered;
  const auto pitched = [&](int id) { return l.plan().values[static_cast<size_t>(id)].pitch > 0; };
  if (pitched(x) || pitched(y) || pitched(out)) {
    // Whole images all three: see layout.cc.
    const Dims& d = l.type(out).dims;
    lowered.kernel = "nhwc simd";
    lowered.run = [=, xp = l.pitch(x), yp = l.pitch(y), to = l.pitch(out), pixels = d[0] * d[2] * d[3], channels = d[1]](RunContext& c) {
      binary_nhwc(op, c.f32(x), xp, c.f32(y), yp, c.f32_out(out), to, pixels, channels);
      return Status();
    };
    return lowered;
  }
  l.keep_constant(y);
  lowered.kernel = "simd";
  if (same_dims(l, x, out)) lowered.in_place.push_back(x);
  if (same_dims(l, y, out)) lowered.in_place.push_back(y);
  if (floats) {
    lowered.run = [=](RunContext& c) {
      binary(op, shape, c.f32(x), c.f32(y), c.f32_out(out));
      return Status();
    };
  } else {
    lowered.run = [=](RunContext& c) {
      binary(op, shape, c.tensor(x).data<int32_t>(), c.tensor(y).data<int32_t>(), c.out(out).mutable_data<int32_t>());
      return Status();
    };
  }
  return lowered;
}

std::optional<Lowered> lower_compare(Lowering& l) {
  int x = l.in("x"), y = l.in("y"), out = l.out();
  DType xt = compute_dtype(l.type(x).dtype), yt = compute_dtype(l.type(y).dtype);
  if (xt != yt || (xt != DType::kF32 && xt != DType::kI32)) return l.refuse("element type");
  Broadcast shape;
  if (!make_broadcast(l.dims(x), l.dims(y), &shape)) return l.refuse("rank");
  Compare op = Compare::kEqual;
  for (const CompareKind& row : kCompare)
    if (row.kind == l.node().op->kind) op = row.op;
  l.keep_constant(y);
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.run = [=](RunContext& c) {
    uint8_t* to = c.out(out).mutable_data<uint8_t>();
    if (xt == DType::kF32) {
      compare(op, shape, c.f32(x), c.f32(y), to);
    } else {
      compare(op, shape, c.tensor(x).data<int32_t>(), c.tensor(y).data<int32_t>(), to);
    }
    return Status();
  };
  return lowered;
}

struct LogicalKind {
  std::string_view kind;
  Logical op;
};
constexpr LogicalKind kLogical[] = {{"logical_and", Logical::kAnd}, {"logical_or", Logical::kOr}, {"logical_xor", Logical::kXor}};

std::optional<Lowered> lower_logical(Lowering& l) {
  const int x = l.in("x"), y = l.in("y"), out = l.out();
  if (l.type(x).dtype != DType::kBool || l.type(y).dtype != DType::kBool) return l.refuse("element type");
  Broadcast shape;
  if (!make_broadcast(l.dims(x), l.dims(y), &shape)) return l.refuse("rank");
  Logical op = Logical::kAnd;
  for (const LogicalKind& row : kLogical)
    if (row.kind == l.node().op->kind) op = row.op;
  l.keep_constant(y);
  Lowered lowered;
  lowered.kernel = "simd";
  if (same_dims(l, x, out)) lowered.in_place.push_back(x);
  if (same_dims(l, y, out)) lowered.in_place.push_back(y);
  lowered.run = [=](RunContext& c) {
    logical(op, shape, c.tensor(x).data<uint8_t>(), c.tensor(y).data<uint8_t>(), c.out(out).mutable_data<uint8_t>());
    return Status();
  };
  return lowered;
}

// `count` elements, each against one.
Broadcast against_one(int64_t count) {
  Broadcast shape;
  shape.rank = 1;
  shape.shape[0] = count;
  shape.a[0] = 1;
  return shape;
}

// Whether each element is not 0.
template <typename T>
Lowered truth_of(int x, int out, int64_t count) {
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.run = [=](RunContext& c) {
    constexpr T kZero = 0;
    compare(Compare::kNotEqual, against_one(count), c.tensor(x).data<T>(), &kZero, c.out(out).mutable_data<uint8_t>());
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_logical_not(Lowering& l) {
  const int x = l.in("x"), out = l.out();
  if (l.type(x).dtype != DType::kBool || l.is_constant(x)) return l.refuse("element type");
  const int64_t count = *element_count(l.dims(out));
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.in_place = {x};
  lowered.run = [=](RunContext& c) {
    constexpr uint8_t kTrue = 1;
    logical(Logical::kXor, against_one(count), c.tensor(x).data<uint8_t>(), &kTrue, c.out(out).mutable_data<uint8_t>());
    return Status();
  };
  return lowered;
}

template <auto convert, typename From, typename To>
Lowered each_converted(int x, int out, int64_t count) {
  Lowered lowered;
  lowered.kernel = "convert";
  lowered.run = [=](RunContext& c) {
    convert(c.tensor(x).data<From>(), c.out(out).mutable_data<To>(), count);
    return Status();
  };
  return lowered;
}

// Between types that are computed alike a cast only changes the declared type.
std::optional<Lowered> lower_cast(Lowering& l) {
  int x = l.in("x"), out = l.out();
  DType from = l.type(x).dtype, to = l.type(out).dtype;
  if (l.is_constant(x)) return l.refuse("constant");
  const int64_t count = *element_count(l.dims(out));
  if (is_integer(from) && is_float(to)) return each_converted<int32_to_float, int32_t, float>(x, out, count);
  if (is_float(from) && to == DType::kI32) return each_converted<float_to_int32, float, int32_t>(x, out, count);
  if (from == DType::kBool && is_float(to)) return each_converted<bool_to_float, uint8_t, float>(x, out, count);
  if (from == DType::kBool && is_integer(to)) return each_converted<bool_to_int32, uint8_t, int32_t>(x, out, count);
  if (is_float(from) && to == DType::kBool) return truth_of<float>(x, out, count);
  if (is_integer(from) && to == DType::kBool) return truth_of<int32_t>(x, out, count);
  bool widening = is_integer(from) && is_integer(to) && to == DType::kI32;
  if (from != to && !(is_float(from) && is_float(to)) && !widening) return l.refuse("values change");
  Lowered lowered;
  lowered.kernel = "view";
  lowered.in_place = {x};
  lowered.is_view = true;
  return lowered;
}

// y = x * scale + bias per channel, from the four statistics.
std::optional<Lowered> lower_batch_norm(Lowering& l) {
  int x = l.in("x"), out = l.out();
  if (!l.is_float(x) || l.dims(x).size() < 2) return l.refuse("not a float tensor of rank 2 or more");
  const Dims& dims = l.dims(x);
  int64_t channels = dims[1], outer = dims[0], inner = 1;
  for (size_t i = 2; i < dims.size(); ++i) inner *= dims[i];
  auto folded = folded_batch_norm(l, channels);
  if (!folded) return std::nullopt;
  Lowered lowered;
  lowered.kernel = "scale and bias";
  lowered.in_place = {x};
  lowered.run = [=, folded = std::move(*folded)](RunContext& c) {
    scale_bias(c.f32(x), c.f32_out(out), outer, channels, inner, folded.scale.data(), folded.bias.data());
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_prelu(Lowering& l) {
  int x = l.in("x"), alpha = l.in("alpha"), out = l.out();
  if (!l.is_float(x) || l.dims(x).size() < 2 || !l.is_constant(alpha)) return l.refuse("shape or parameters");
  const Dims& dims = l.dims(x);
  int64_t channels = dims[1], outer = dims[0], inner = 1;
  for (size_t i = 2; i < dims.size(); ++i) inner *= dims[i];
  Tensor slopes = l.constant(alpha);
  if (slopes.size() != channels) return l.refuse("one slope for each channel expected");
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.in_place = {x};
  lowered.run = [=](RunContext& c) {
    prelu(c.f32(x), c.f32_out(out), outer, channels, inner, slopes.data<float>());
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_select(Lowering& l) {
  int cond = l.in("cond"), a = l.in("a"), b = l.in("b"), out = l.out();
  DType type = compute_dtype(l.type(out).dtype);
  if (type == DType::kString || compute_dtype(l.type(a).dtype) != type || compute_dtype(l.type(b).dtype) != type || l.type(cond).dtype != DType::kBool)
    return l.refuse("element type");
  const Dims& od = l.dims(out);
  if (od.size() > static_cast<size_t>(kMaxRank)) return l.refuse("rank");
  Broadcast shape, cond_shape;
  if (!make_broadcast(od, l.dims(a), &shape)) return l.refuse("shape");
  Broadcast with_b;
  if (!make_broadcast(od, l.dims(b), &with_b) || !make_broadcast(od, l.dims(cond), &cond_shape)) return l.refuse("shape");
  if (shape.rank != static_cast<int>(od.size()) || with_b.rank != shape.rank || cond_shape.rank != shape.rank) return l.refuse("shape");
  shape.a = shape.b;
  shape.b = with_b.b;
  std::array<int64_t, kMaxRank> cond_strides = cond_shape.b;
  int element = dtype_bits(type) / 8;
  for (int id : {cond, a, b}) l.keep_constant(id);
  Lowered lowered;
  lowered.kernel = "simd";
  lowered.run = [=](RunContext& c) {
    select(shape, cond_strides, c.tensor(cond).data<uint8_t>(), c.tensor(a).bytes().data(), c.tensor(b).bytes().data(),
           c.out(out).mutable_bytes(), element);
    return Status();
  };
  return lowered;
}

const std::vector<LowerRow>& rows() {
  static const std::vector<LowerRow> table = [] {
    std::vector<LowerRow> list;
    for (std::string_view kind :
         {"relu", "relu6", "sigmoid", "tanh", "silu", "softplus", "softsign", "abs", "exp", "exp2", "sqrt", "square", "sin", "cos", "tan", "asin",
          "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "ceil", "floor", "round", "sign", "clip", "threshold", "thresholded_relu",
          "leaky_relu", "clamped_relu", "linear_activation", "sigmoid_hard", "elu", "scaled_tanh", "rsqrt", "inverse", "log", "gelu"})
      list.push_back({kind, "simd", lower_unary});
    for (const BinaryKind& row : binary_kinds()) list.push_back({row.kind, "simd", lower_binary});
    for (const CompareKind& row : kCompare) list.push_back({row.kind, "simd", lower_compare});
    for (const LogicalKind& row : kLogical) list.push_back({row.kind, "simd", lower_logical});
    list.push_back({"logical_not", "simd", lower_logical_not});
    list.push_back({"cast", "view", lower_cast});
    list.push_back({"batch_norm", "scale and bias", lower_batch_norm});
    list.push_back({"prelu", "simd", lower_prelu});
    list.push_back({"select", "simd", lower_select});
    return list;
  }();
  return table;
}

}  // namespace

std::optional<ScaleBias> folded_batch_norm(Lowering& l, int64_t channels) {
  for (std::string_view param : {"mean", "variance", "gamma", "beta"})
    if (l.in(param) >= 0 && !l.is_constant(l.in(param))) return l.refuse("statistics are not constant");
  Tensor mean = l.constant(l.in("mean")), variance = l.constant(l.in("variance"));
  Tensor gamma = l.constant(l.in("gamma")), beta = l.constant(l.in("beta"));
  if (!mean.valid() || !variance.valid() || mean.size() != channels || variance.size() != channels || (gamma.valid() && gamma.size() != channels) ||
      (beta.valid() && beta.size() != channels))
    return l.refuse("statistics do not fit");
  double epsilon = l.call.f64("epsilon");
  ScaleBias out{std::vector<float>(static_cast<size_t>(channels)), std::vector<float>(static_cast<size_t>(channels))};
  for (int64_t i = 0; i < channels; ++i) {
    double s = (gamma.valid() ? gamma.data<float>()[i] : 1.0) / std::sqrt(variance.data<float>()[i] + epsilon);
    out.scale[static_cast<size_t>(i)] = static_cast<float>(s);
    out.bias[static_cast<size_t>(i)] = static_cast<float>((beta.valid() ? beta.data<float>()[i] : 0.0) - mean.data<float>()[i] * s);
  }
  return out;
}

std::span<const LowerRow> elementwise_lowerings() { return rows(); }

}  // namespace mlt
