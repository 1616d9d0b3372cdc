// Two operands, element by element, with NumPy broadcasting.
#include <cmath>
#include <cstdint>
#include <limits>

#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

Result<ir::Type> broadcast_type(Call& call, DType dtype) {
  if (!is_ranked(call, "x") || !is_ranked(call, "y")) return ir::Type::unranked(dtype);
  MLT_ASSIGN(Dims dims, broadcast(dims_of(call, "x"), dims_of(call, "y")));
  return ir::Type::tensor(dtype, std::move(dims));
}
Result<Types> infer_arithmetic(Call& call) {
  MLT_ASSIGN(ir::Type type, broadcast_type(call, call.type("x").dtype));
  return Types{std::move(type)};
}
Result<Types> infer_comparison(Call& call) {
  MLT_ASSIGN(ir::Type type, broadcast_type(call, DType::kBool));
  return Types{std::move(type)};
}

Result<Tensor*> broadcast_output(Call& call) {
  MLT_ASSIGN(Dims dims, broadcast(call.tensor("x").dims(), call.tensor("y").dims()));
  return &output(call, 0, dims);
}

// F has operator()(float, float) and operator()(int32_t, int32_t).
template <typename F>
Status eval_arithmetic(Call& call) {
  const Tensor &x = call.tensor("x"), &y = call.tensor("y");
  MLT_ASSIGN(Tensor* out, broadcast_output(call));
  if (call.failed()) return {};
  if (x.dtype() == DType::kI32) map_binary<int32_t, int32_t>(x, y, *out, F{});
  else map_binary<float, float>(x, y, *out, F{});
  return {};
}
template <typename F>
Status eval_comparison(Call& call) {
  const Tensor &x = call.tensor("x"), &y = call.tensor("y");
  MLT_ASSIGN(Tensor* out, broadcast_output(call));
  if (call.failed()) return {};
  if (x.dtype() == DType::kI32) map_binary<int32_t, uint8_t>(x, y, *out, F{});
  else map_binary<float, uint8_t>(x, y, *out, F{});
  return {};
}
template <typename F>
Status eval_logical(Call& call) {
  MLT_ASSIGN(Tensor* out, broadcast_output(call));
  if (!call.failed()) map_binary<uint8_t, uint8_t>(call.tensor("x"), call.tensor("y"), *out, F{});
  return {};
}

// Integers wrap around, as on every device; unsigned arithmetic says so without undefined behaviour.
int32_t wrap(uint32_t value) { return static_cast<int32_t>(value); }

struct Add {
  float operator()(float x, float y) const { return x + y; }
  int32_t operator()(int32_t x, int32_t y) const { return wrap(static_cast<uint32_t>(x) + static_cast<uint32_t>(y)); }
};
struct Sub {
  float operator()(float x, float y) const { return x - y; }
  int32_t operator()(int32_t x, int32_t y) const { return wrap(static_cast<uint32_t>(x) - static_cast<uint32_t>(y)); }
};
struct Mul {
  float operator()(float x, float y) const { return x * y; }
  int32_t operator()(int32_t x, int32_t y) const { return wrap(static_cast<uint32_t>(x) * static_cast<uint32_t>(y)); }
};
// Integer division by zero gives 0, as NumPy and the arm64 instruction do: a graph may compute it and select it away.
struct RealDiv {
  float operator()(float x, float y) const { return x / y; }
  int32_t operator()(int32_t x, int32_t y) const { return y == 0 ? 0 : y == -1 ? Sub{}(0, x) : x / y; }
};
// The remainder has the divisor's sign, as in Python.
struct Mod {
  float operator()(float x, float y) const {
    if (y == 0) return std::numeric_limits<float>::quiet_NaN();
    float r = std::fmod(x, y);
    if (r == 0) return std::copysign(0.0f, y);
    return (r < 0) != (y < 0) ? r + y : r;
  }
  int32_t operator()(int32_t x, int32_t y) const {
    if (y == 0 || y == -1) return 0;
    int32_t r = x % y;
    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
  }
};
struct FloorDiv {
  float operator()(float x, float y) const {
    if (y == 0) return x / y;
    // Through the remainder, so that the quotient of two floats is floored before and not after it is rounded.
    float r = std::fmod(x, y), quotient = (x - r) / y;
    if (r != 0 && (r < 0) != (y < 0)) quotient -= 1;
    if (quotient == 0) return std::copysign(0.0f, x / y);
    float floored = std::floor(quotient);
    return quotient - floored > 0.5f ? floored + 1 : floored;
  }
  int32_t operator()(int32_t x, int32_t y) const {
    if (y == 0) return 0;
    if (y == -1) return Sub{}(0, x);
    int32_t q = x / y;
    return x % y != 0 && (x < 0) != (y < 0) ? q - 1 : q;
  }
};
struct Pow {
  float operator()(float x, float y) const { return std::pow(x, y); }
  // Negative exponents truncate the real result: 1 / x^n is 0 unless x is 1 or -1.
  int32_t operator()(int32_t x, int32_t y) const {
    if (y < 0) return x == 1 ? 1 : x == -1 ? (y % 2 ? -1 : 1) : 0;
    uint32_t result = 1, base = static_cast<uint32_t>(x);
    for (uint32_t e = static_cast<uint32_t>(y); e != 0; e >>= 1, base *= base)
      if (e & 1) result *= base;
    return wrap(result);
  }
};
// NaN wins, from either side.
struct Maximum {
  float operator()(float x, float y) const { return x > y || std::isnan(x) ? x : y; }
  int32_t operator()(int32_t x, int32_t y) const { return x > y ? x : y; }
};
struct Minimum {
  float operator()(float x, float y) const { return x < y || std::isnan(x) ? x : y; }
  int32_t operator()(int32_t x, int32_t y) const { return x < y ? x : y; }
};

struct Equal {
  template <typename T>
  uint8_t operator()(T x, T y) const { return x == y; }
};
struct NotEqual {
  template <typename T>
  uint8_t operator()(T x, T y) const { return x != y; }
};
struct Greater {
  template <typename T>
  uint8_t operator()(T x, T y) const { return x > y; }
};
struct GreaterEqual {
  template <typename T>
  uint8_t operator()(T x, T y) const { return x >= y; }
};
struct Less {
  template <typename T>
  uint8_t operator()(T x, T y) const { return x < y; }
};
struct LessEqual {
  template <typename T>
  uint8_t operator()(T x, T y) const { return x <= y; }
};
struct And {
  uint8_t operator()(uint8_t x, uint8_t y) const { return x && y; }
};
struct Or {
  uint8_t operator()(uint8_t x, uint8_t y) const { return x || y; }
};
struct Xor {
  uint8_t operator()(uint8_t x, uint8_t y) const { return (x != 0) != (y != 0); }
};

constexpr OpDef arithmetic(std::string_view name, EvalFn eval, std::string_view doc, Exactness exactness = Exactness::kRounding) {
  return {.name = name, .signature = "x: T, y: T -> output", .domains = "T: fp16 fp32 int32", .infer = infer_arithmetic, .eval = eval,
          .exactness = exactness, .doc = doc};
}
constexpr OpDef comparison(std::string_view name, EvalFn eval, std::string_view doc) {
  return {.name = name, .signature = "x: T, y: T -> output", .domains = "T: fp16 fp32 int32", .infer = infer_comparison, .eval = eval,
          .exactness = Exactness::kExact, .doc = doc};
}
constexpr OpDef logical(std::string_view name, EvalFn eval, std::string_view doc) {
  return {.name = name, .signature = "x: bool, y: bool -> output", .infer = infer_comparison, .eval = eval,
          .exactness = Exactness::kExact, .doc = doc};
}

constexpr OpDef kOps[] = {
    arithmetic("add", eval_arithmetic<Add>, "x + y; integers wrap around."),
    comparison("equal", eval_comparison<Equal>, "x == y."),
    arithmetic("floor_div", eval_arithmetic<FloorDiv>, "The largest integer not above x / y; for integers 0 where y is 0."),
    comparison("greater", eval_comparison<Greater>, "x > y."),
    comparison("greater_equal", eval_comparison<GreaterEqual>, "x >= y."),
    comparison("less", eval_comparison<Less>, "x < y."),
    comparison("less_equal", eval_comparison<LessEqual>, "x <= y."),
    logical("logical_and", eval_logical<And>, "x and y."),
    logical("logical_or", eval_logical<Or>, "x or y."),
    logical("logical_xor", eval_logical<Xor>, "Either x or y, not both."),
    arithmetic("maximum", eval_arithmetic<Maximum>, "The larger of x and y; NaN if either is.", Exactness::kExact),
    arithmetic("minimum", eval_arithmetic<Minimum>, "The smaller of x and y; NaN if either is.", Exactness::kExact),
    arithmetic("mod", eval_arithmetic<Mod>, "The remainder of x / y, with y's sign; for integers 0 where y is 0."),
    arithmetic("mul", eval_arithmetic<Mul>, "x * y; integers wrap around."),
    comparison("not_equal", eval_comparison<NotEqual>, "x != y."),
    arithmetic("pow", eval_arithmetic<Pow>, "x to the power of y."),
    arithmetic("real_div", eval_arithmetic<RealDiv>, "x / y; integers truncate toward zero and give 0 where y is 0."),
    arithmetic("sub", eval_arithmetic<Sub>, "x - y; integers wrap around."),
};

}  // namespace

std::span<const OpDef> elementwise_binary_ops() { return kOps; }

}  // namespace mlt::ops
