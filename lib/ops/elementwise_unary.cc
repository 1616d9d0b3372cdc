// One operand, element by element; casts and clips.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

// F has operator()(float), and operator()(int32_t) where the row allows int32.
template <typename F>
Status eval_float(Call& call) {
  const Tensor& x = call.tensor("x");
  Tensor& y = output(call, 0, x.dims());
  if (!call.failed()) map_unary<float, float>(x, y, F{});
  return {};
}
template <typename F>
Status eval_number(Call& call) {
  const Tensor& x = call.tensor("x");
  if (x.dtype() != DType::kI32) return eval_float<F>(call);
  Tensor& y = output(call, 0, x.dims());
  if (!call.failed()) map_unary<int32_t, int32_t>(x, y, F{});
  return {};
}
template <typename F>
Status eval_epsilon(Call& call) {
  const Tensor& x = call.tensor("x");
  float epsilon = scalar_f32(call, "epsilon", "x");
  Tensor& y = output(call, 0, x.dims());
  if (!call.failed()) map_unary<float, float>(x, y, [epsilon](float v) { return F{}(v + epsilon); });
  return {};
}

struct Abs {
  float operator()(float x) const { return std::abs(x); }
  int32_t operator()(int32_t x) const { return x < 0 ? static_cast<int32_t>(0u - static_cast<uint32_t>(x)) : x; }
};
struct Exp2 {
  float operator()(float x) const { return std::exp2(x); }
  int32_t operator()(int32_t x) const { return x < 0 ? 0 : x > 30 ? std::numeric_limits<int32_t>::max() : int32_t{1} << x; }
};
struct Sign {
  float operator()(float x) const { return x > 0 ? 1 : x < 0 ? -1 : x; }
  int32_t operator()(int32_t x) const { return (x > 0) - (x < 0); }
};
struct Square {
  float operator()(float x) const { return x * x; }
  int32_t operator()(int32_t x) const { return static_cast<int32_t>(static_cast<uint32_t>(x) * static_cast<uint32_t>(x)); }
};
#define MLT_FLOAT_FUNCTION(NAME, EXPRESSION) \
  struct NAME {                              \
    float operator()(float x) const { return EXPRESSION; } \
  }
MLT_FLOAT_FUNCTION(Acos, std::acos(x));
MLT_FLOAT_FUNCTION(Asin, std::asin(x));
MLT_FLOAT_FUNCTION(Atan, std::atan(x));
MLT_FLOAT_FUNCTION(Atanh, std::atanh(x));
MLT_FLOAT_FUNCTION(Ceil, std::ceil(x));
MLT_FLOAT_FUNCTION(Cos, std::cos(x));
MLT_FLOAT_FUNCTION(Cosh, std::cosh(x));
MLT_FLOAT_FUNCTION(Erf, std::erf(x));
MLT_FLOAT_FUNCTION(Exp, std::exp(x));
MLT_FLOAT_FUNCTION(Floor, std::floor(x));
MLT_FLOAT_FUNCTION(Inverse, 1 / x);
MLT_FLOAT_FUNCTION(Log, std::log(x));
MLT_FLOAT_FUNCTION(Round, std::nearbyint(x));  // halves to even: 0.5 becomes 0
MLT_FLOAT_FUNCTION(Rsqrt, 1 / std::sqrt(x));
MLT_FLOAT_FUNCTION(Sin, std::sin(x));
MLT_FLOAT_FUNCTION(Sinh, std::sinh(x));
MLT_FLOAT_FUNCTION(Sqrt, std::sqrt(x));
MLT_FLOAT_FUNCTION(Tan, std::tan(x));
MLT_FLOAT_FUNCTION(Tanh, std::tanh(x));
#undef MLT_FLOAT_FUNCTION

Status eval_logical_not(Call& call) {
  const Tensor& x = call.tensor("x");
  Tensor& y = output(call, 0, x.dims());
  if (!call.failed()) map_unary<uint8_t, uint8_t>(x, y, [](uint8_t v) { return static_cast<uint8_t>(v == 0); });
  return {};
}

Status eval_clip(Call& call) {
  const Tensor& x = call.tensor("x");
  float low = scalar_f32(call, "alpha"), high = scalar_f32(call, "beta");
  Tensor& y = output(call, 0, x.dims());
  if (call.failed()) return {};
  map_unary<float, float>(x, y, [low, high](float v) {
    float raised = v < low ? low : v;  // NaN passes both comparisons
    return raised > high ? high : raised;
  });
  return {};
}

Result<Types> infer_clip_strict(Call& call) {
  if (call.known("alpha") && call.known("beta")) {
    float low = scalar_f32(call, "alpha"), high = scalar_f32(call, "beta");
    if (low >= high) return input_error("alpha (" + std::to_string(low) + ") must be smaller than beta (" + std::to_string(high) + ")");
  }
  return infer_with_scalars(call);
}

Status eval_threshold(Call& call) {
  const Tensor &x = call.tensor("x"), &alpha = call.tensor("alpha");
  if (alpha.size() != 1) return input_error("parameter \"alpha\" must be a single number");
  Tensor& y = output(call, 0, x.dims());
  if (call.failed()) return {};
  if (x.dtype() == DType::kI32) {
    int32_t low = alpha.data<int32_t>()[0];
    map_unary<int32_t, int32_t>(x, y, [low](int32_t v) { return std::max(v, low); });
  } else {
    float low = alpha.data<float>()[0];
    map_unary<float, float>(x, y, [low](float v) { return v < low ? low : v; });
  }
  return {};
}

Result<Types> infer_cast(Call& call) {
  std::string name = call.str("dtype");
  if (call.failed()) return Types{};
  auto dtype = dtype_from_name(name);
  // The targets are the source types of the same version.
  const std::vector<DType>& allowed = call.info().param("x")->dtypes;
  if (!dtype || std::find(allowed.begin(), allowed.end(), *dtype) == allowed.end())
    return input_error("cannot cast to \"" + name + "\" in opset " + std::string(opset_token(call.def().since)));
  ir::Type type = call.type("x");
  type.dtype = *dtype;
  return Types{std::move(type)};
}

// Floats truncate toward zero and saturate at the target's range; integers that do not fit wrap around.
Status eval_cast(Call& call) {
  const Tensor& x = call.tensor("x");
  DType to = call.out_type().dtype;
  Tensor& y = output(call, 0, x.dims());
  if (call.failed()) return {};
  Tensor result = is_float(to) ? convert(x, DType::kF32) : to_compute(convert(x, to));
  return copy_to_output(call, 0, result, y.dims());
}

constexpr OpDef on_floats(std::string_view name, EvalFn eval, std::string_view doc, Exactness exactness = Exactness::kRounding) {
  return {.name = name, .signature = "x: T -> output", .domains = "T: fp16 fp32", .infer = infer_same_as_x, .eval = eval,
          .exactness = exactness, .doc = doc};
}
constexpr OpDef on_numbers(std::string_view name, EvalFn eval, std::string_view doc, Exactness exactness = Exactness::kRounding) {
  return {.name = name, .signature = "x: T -> output", .domains = "T: fp16 fp32 int32", .infer = infer_same_as_x, .eval = eval,
          .exactness = exactness, .doc = doc};
}
#define MLT_EPSILON(NAME, DEFAULT, EVAL, DOC)                                                                            \
  {.name = NAME, .signature = "x: T, epsilon: const T = " DEFAULT " -> output", .domains = "T: fp16 fp32",                          \
   .infer = infer_with_scalars, .eval = EVAL, .doc = DOC},                                                                  \
  {.name = NAME, .since = Opset::kCoreML7, .signature = "x: T, epsilon: const U = " DEFAULT " -> output",                           \
   .domains = "T: fp16 fp32; U: fp16 fp32", .infer = infer_with_scalars, .eval = EVAL, .doc = DOC}

constexpr OpDef kOps[] = {
    on_numbers("abs", eval_number<Abs>, "The absolute value of x.", Exactness::kExact),
    on_floats("acos", eval_float<Acos>, "The inverse cosine of x."),
    on_floats("asin", eval_float<Asin>, "The inverse sine of x."),
    on_floats("atan", eval_float<Atan>, "The inverse tangent of x."),
    on_floats("atanh", eval_float<Atanh>, "The inverse hyperbolic tangent of x."),
    {.name = "cast", .signature = "x: T, dtype: const string -> output", .domains = "T: fp16 fp32 int32 bool", .infer = infer_cast,
     .eval = eval_cast, .exactness = Exactness::kExact, .doc = "x in another element type."},
    {.name = "cast", .since = Opset::kCoreML7, .signature = "x: T, dtype: const string -> output",
     .domains = "T: fp16 fp32 int8 uint8 int16 uint16 int32 bool", .infer = infer_cast, .eval = eval_cast,
     .exactness = Exactness::kExact, .doc = "x in another element type."},
    on_floats("ceil", eval_float<Ceil>, "The smallest integer not below x.", Exactness::kExact),
    {.name = "clip", .signature = "x: T, alpha: const T, beta: const T -> output", .domains = "T: fp16 fp32", .infer = infer_with_scalars,
     .eval = eval_clip, .exactness = Exactness::kExact, .doc = "min(max(x, alpha), beta)."},
    {.name = "clip", .since = Opset::kCoreML7, .signature = "x: T, alpha: const T, beta: const T -> output", .domains = "T: fp16 fp32",
     .infer = infer_clip_strict, .eval = eval_clip, .exactness = Exactness::kExact, .doc = "min(max(x, alpha), beta) with alpha < beta."},
    on_floats("cos", eval_float<Cos>, "The cosine of x."),
    on_floats("cosh", eval_float<Cosh>, "The hyperbolic cosine of x."),
    on_floats("erf", eval_float<Erf>, "The Gauss error function of x."),
    on_floats("exp", eval_float<Exp>, "e^x."),
    on_numbers("exp2", eval_number<Exp2>, "2^x; for integers 0 where x is negative, the largest int32 where it overflows."),
    on_floats("floor", eval_float<Floor>, "The largest integer not above x.", Exactness::kExact),
    MLT_EPSILON("inverse", "1e-4", eval_epsilon<Inverse>, "1 / (x + epsilon)."),
    MLT_EPSILON("log", "1e-45", eval_epsilon<Log>, "The natural logarithm of x + epsilon."),
    {.name = "logical_not", .signature = "x: bool -> output", .infer = infer_same_as_x, .eval = eval_logical_not,
     .exactness = Exactness::kExact, .doc = "Not x."},
    on_floats("round", eval_float<Round>, "The nearest integer, halves to the even one.", Exactness::kExact),
    MLT_EPSILON("rsqrt", "1e-12", eval_epsilon<Rsqrt>, "1 / sqrt(x + epsilon)."),
    on_numbers("sign", eval_number<Sign>, "-1, 0 or 1 by the sign of x.", Exactness::kExact),
    on_floats("sin", eval_float<Sin>, "The sine of x."),
    on_floats("sinh", eval_float<Sinh>, "The hyperbolic sine of x."),
    on_floats("sqrt", eval_float<Sqrt>, "The square root of x."),
    on_numbers("square", eval_number<Square>, "x * x; integers wrap around."),
    on_floats("tan", eval_float<Tan>, "The tangent of x."),
    on_floats("tanh", eval_float<Tanh>, "The hyperbolic tangent of x."),
    {.name = "threshold", .signature = "x: T, alpha: const T -> output", .domains = "T: fp16 fp32 int32", .infer = infer_with_scalars,
     .eval = eval_threshold, .exactness = Exactness::kExact, .doc = "max(x, alpha)."},
};

#undef MLT_EPSILON

}  // namespace

std::span<const OpDef> elementwise_unary_ops() { return kOps; }

}  // namespace mlt::ops
