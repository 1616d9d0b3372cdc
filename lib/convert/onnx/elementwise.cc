// Elementwise arithmetic, comparison, logic, selection and casts.
#include <cctype>
#include <limits>

#include "lib/convert/onnx/extents.h"
#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {

// Before opset 7, B was aligned to A at an axis that an attribute names, and only when "broadcast" was set.
V legacy_broadcast(Ctx& c, V a, V b) {
  if (c.version() >= 7) return b;
  c.ignore({"consumed_inputs"});
  bool on = c.i64("broadcast", 0) != 0;
  if (!c.has_attr("axis") || !on) return b;
  int64_t rank = Lower::rank(a), axis = Lower::axis_of(c.i64("axis", 0), rank), own = Lower::rank(b);
  std::vector<int64_t> axes;
  for (int64_t i = own; i < rank - axis; ++i) axes.push_back(i);
  return c.l.expand_dims(b, axes);
}

V trunc(Lower& l, V x) { return l.mul(l.unary("sign", x), l.unary("floor", l.unary("abs", x))); }

V recip(Lower& l, V x) { return l.div(l.scalar_like(x, 1), x); }

// Integer division as C does it: toward zero. MIL's floor_div rounds down.
V int_divide(Lower& l, V x, V y, bool is_unsigned) {
  V q = l.binary("floor_div", x, y);
  if (is_unsigned) return q;
  V remainder = l.sub(x, l.mul(q, y)), zero = l.i32(0);
  V inexact = l.binary("not_equal", remainder, zero);
  V differ = l.op("logical_xor", {{"x", l.binary("less", x, zero)}, {"y", l.binary("less", y, zero)}});
  return l.add(q, l.cast(l.op("logical_and", {{"x", inexact}, {"y", differ}}), DType::kI32));
}

namespace {

bool unsigned_type(DType t) { return t == DType::kU8 || t == DType::kU16 || t == DType::kU32 || t == DType::kU64 || t == DType::kU4 || t == DType::kU2; }

void same(Ctx& c, V y) { c.out(0, y, c.type(0)); }

template <size_t N>
struct Text {
  char text[N];
  consteval Text(const char (&from)[N]) {  // NOLINT(google-explicit-constructor)
    for (size_t i = 0; i < N; ++i) text[i] = from[i];
  }
};

// One MIL op of the same meaning, float inputs.
template <Text kOp>
void float_unary(Ctx& c) {
  c.ignore({"consumed_inputs"});
  same(c, c.l.unary(kOp.text, c.fin(0)));
}
// One that integers may go through as well.
template <Text kOp>
void any_unary(Ctx& c) {
  c.ignore({"consumed_inputs"});
  same(c, c.l.unary(kOp.text, c.in(0)));
}

void log_op(Ctx& c) {
  c.ignore({"consumed_inputs"});
  same(c, natural_log(c.l, c.fin(0)));
}

void neg(Ctx& c) {
  c.ignore({"consumed_inputs"});
  same(c, c.l.mul(c.in(0), -1));
}

void reciprocal(Ctx& c) {
  c.ignore({"consumed_inputs"});
  same(c, recip(c.l, c.fin(0)));
}

void asinh_op(Ctx& c) {  // odd, so computed on |x|, where no digits cancel
  V x = c.fin(0), a = c.l.unary("abs", x);
  V root = c.l.unary("sqrt", c.l.add(c.l.unary("square", x), 1));
  same(c, c.l.mul(c.l.unary("sign", x), natural_log(c.l, c.l.add(a, root))));
}

void acosh_op(Ctx& c) {
  V x = c.fin(0);
  V root = c.l.unary("sqrt", c.l.add(c.l.unary("square", x), -1));
  same(c, natural_log(c.l, c.l.add(x, root)));
}

void is_nan(Ctx& c) {
  V x = c.fin(0);
  c.out(0, c.l.binary("not_equal", x, x), DType::kBool);
}

void is_inf(Ctx& c) {
  bool negative = c.i64("detect_negative", 1) != 0, positive = c.i64("detect_positive", 1) != 0;
  V x = c.fin(0);
  constexpr double kInf = std::numeric_limits<double>::infinity();
  V y;
  if (negative && positive) y = c.l.binary("equal", c.l.unary("abs", x), c.l.f32(kInf));
  else if (positive) y = c.l.binary("equal", x, c.l.f32(kInf));
  else if (negative) y = c.l.binary("equal", x, c.l.f32(-kInf));
  else y = c.l.binary("less", x, x);
  c.out(0, y, DType::kBool);
}

void not_op(Ctx& c) { c.out(0, c.l.unary("logical_not", c.in(0)), DType::kBool); }

template <Text kOp>
void arithmetic(Ctx& c) {
  c.ignore({"consumed_inputs", "axis", "broadcast"});
  V a = c.in(0), b = legacy_broadcast(c, a, c.in(1));
  same(c, wrap_to(c, c.l.binary(kOp.text, a, b), c.type(0)));
}

void div_op(Ctx& c) {
  c.ignore({"consumed_inputs", "axis", "broadcast"});
  V a = c.in(0), b = legacy_broadcast(c, a, c.in(1));
  same(c, Lower::dtype(a) == DType::kI32 ? int_divide(c.l, a, b, unsigned_type(c.type(0))) : c.l.div(a, b));
}

void pow_op(Ctx& c) {
  c.ignore({"axis", "broadcast"});
  V a = c.in(0), b = legacy_broadcast(c, a, c.in(1));
  DType base = Lower::dtype(a);
  if (base == DType::kI32 && Lower::dtype(b) == DType::kF32) {
    same(c, c.l.cast(c.l.binary("pow", c.l.cast(a, DType::kF32), b), DType::kI32));
    return;
  }
  same(c, c.l.binary("pow", a, base == DType::kF32 ? c.l.cast(b, DType::kF32) : b));
}

void mod_op(Ctx& c) {
  V a = c.in(0), b = c.in(1);
  if (c.i64("fmod", 0) == 0) return same(c, c.l.binary("mod", a, b));
  if (Lower::dtype(a) == DType::kI32) return same(c, c.l.sub(a, c.l.mul(int_divide(c.l, a, b, unsigned_type(c.type(0))), b)));
  same(c, c.l.sub(a, c.l.mul(trunc(c.l, c.l.div(a, b)), b)));
}

template <Text kOp>
V fold_all(Ctx& c) {
  c.ignore({"consumed_inputs"});
  V y = c.in(0);
  for (size_t i = 1; i < c.inputs(); ++i) y = c.l.binary(kOp.text, y, c.in(i));
  return y;
}
template <Text kOp>
void variadic(Ctx& c) {
  same(c, fold_all<kOp>(c));
}
void mean_op(Ctx& c) { same(c, c.l.mul(fold_all<"add">(c), c.l.f32(1.0 / static_cast<double>(c.inputs())))); }

template <Text kOp>
void comparison(Ctx& c) {
  c.ignore({"axis", "broadcast"});
  V a = c.in(0), b = legacy_broadcast(c, a, c.in(1));
  if (Lower::dtype(a) == DType::kString) unsupported("strings");
  if (Lower::dtype(a) == DType::kBool) a = c.l.cast(a, DType::kI32);
  if (Lower::dtype(b) == DType::kBool) b = c.l.cast(b, DType::kI32);
  V y = c.l.binary(kOp.text, a, b);
  if (std::string_view(kOp.text) == "equal" && Lower::known(y) == nullptr && Lower::dtype(a) == DType::kI32 && Lower::is_static(y) && product(Lower::dims(y), 0, Lower::dims(y).size()) == 1) {
    Extent left = element_of(a, 0), right = element_of(b, 0);  // what exporters ask before they choose a branch
    if (left.known && left == right) y = c.l.broadcast_to(c.l.boolean(true), Lower::dims(y));
  }
  c.out(0, y, DType::kBool);
}

template <Text kOp>
void logical(Ctx& c) {
  V a = c.in(0), b = legacy_broadcast(c, a, c.in(1));
  c.out(0, c.l.op(kOp.text, {{"x", a}, {"y", b}}), DType::kBool);
}

void where(Ctx& c) {
  V cond = c.in(0), a = c.in(1), b = c.in(2);
  bool flag = Lower::dtype(a) == DType::kBool;
  if (flag) {
    a = c.l.cast(a, DType::kI32);
    b = c.l.cast(b, DType::kI32);
  }
  V y = select_broadcast(c.l, cond, a, b);
  c.out(0, flag ? c.l.cast(y, DType::kBool) : y, c.type(1));
}

void clip(Ctx& c) {
  c.ignore({"consumed_inputs"});
  V x = c.in(0), low = nullptr, high = nullptr;
  if (c.version() < 11) {
    if (c.has_attr("min")) low = c.l.scalar_like(x, c.f32("min", 0));
    if (c.has_attr("max")) high = c.l.scalar_like(x, c.f32("max", 0));
  } else {
    low = c.opt(1);
    high = c.opt(2);
  }
  auto scalar = [](V v) { return v && Lower::known(v) && Lower::known(v)->size() == 1; };
  if (low && high && scalar(low) && scalar(high) && Lower::dtype(x) == DType::kF32) {
    double a = to_doubles(*Lower::known(low))[0], b = to_doubles(*Lower::known(high))[0];
    if (a <= b) return same(c, c.l.clip(x, a, b));
  }
  if (low) x = c.l.binary("maximum", x, low);
  if (high) x = c.l.binary("minimum", x, high);
  same(c, x == c.in(0) ? c.l.unary("identity", x) : x);
}

void cast_op(Ctx& c) {
  c.ignore({"saturate", "round_mode"});
  DType to;
  if (c.version() < 6) {
    std::string name = c.str("to", "");
    for (char& ch : name) ch = static_cast<char>(std::tolower(ch));
    auto parsed = dtype_from_name(name == "float" ? "fp32" : name == "float16" ? "fp16" : name == "double" ? "fp64" : name);
    if (!parsed) unsupported("a cast to " + name);
    to = *parsed;
  } else {
    auto parsed = dtype_from_onnx(c.i64("to", 0));
    if (!parsed) unsupported("a cast to ONNX element type " + std::to_string(c.i64("to", 0)));
    to = *parsed;
  }
  c.out(0, cast_to(c, c.in(0), c.type(0), to), to);
}

void cast_like(Ctx& c) {
  c.ignore({"saturate", "round_mode"});
  c.out(0, cast_to(c, c.in(0), c.type(0), c.type(1)), c.type(1));
}

// A power of two by multiplying or dividing; a shift by the width or more, or by less than nothing, leaves zeros or signs.
void bit_shift(Ctx& c) {
  Lower& l = c.l;
  std::string direction = c.str("direction", "");
  if (direction != "LEFT" && direction != "RIGHT") bad_input("direction must be LEFT or RIGHT");
  V x = c.in(0), n = c.in(1);
  DType t = c.type(0);
  int64_t width = t == DType::kI8 || t == DType::kU8 ? 8 : t == DType::kI16 || t == DType::kU16 ? 16 : 32;
  int64_t most = direction == "LEFT" || unsigned_type(t) ? 31 : 30;
  V power = l.binary("pow", l.i32(2), l.binary("maximum", l.i32(0), l.binary("minimum", n, l.i32(most))));
  V far = l.op("logical_or", {{"x", l.binary("less", n, l.i32(0))}, {"y", l.binary("greater", n, l.i32(std::min(most, width - 1)))}});
  if (direction == "LEFT") return same(c, select_broadcast(l, far, l.i32(0), wrap_to(c, l.mul(x, power), t)));
  V rest = l.mul(l.cast(l.binary("less", x, l.i32(0)), DType::kI32), -1);
  same(c, select_broadcast(l, far, rest, l.binary("floor_div", x, power)));
}

void bitwise_not(Ctx& c) {
  V x = c.in(0);
  DType t = c.type(0);
  if (t == DType::kU8 || t == DType::kU16) return same(c, c.l.sub(c.l.i32(t == DType::kU8 ? 255 : 65535), x));
  if (unsigned_type(t)) unsupported("wide unsigned integers");
  same(c, c.l.sub(c.l.mul(x, -1), c.l.i32(1)));
}

constexpr Row kRows[] = {
    {"Abs", any_unary<"abs">}, {"Acos", float_unary<"acos">}, {"Acosh", acosh_op}, {"Add", arithmetic<"add">},
    {"And", logical<"logical_and">}, {"Asin", float_unary<"asin">}, {"Asinh", asinh_op}, {"Atan", float_unary<"atan">},
    {"Atanh", float_unary<"atanh">}, {"BitShift", bit_shift}, {"BitwiseNot", bitwise_not},
    {"Cast", cast_op, "", "not to strings, complex or 4-bit floats"}, {"CastLike", cast_like}, {"Ceil", float_unary<"ceil">},
    {"Clip", clip}, {"Cos", float_unary<"cos">}, {"Cosh", float_unary<"cosh">}, {"Div", div_op},
    {"Equal", comparison<"equal">, "", "not strings"}, {"Erf", float_unary<"erf">}, {"Exp", float_unary<"exp">},
    {"Floor", float_unary<"floor">}, {"Greater", comparison<"greater">}, {"GreaterOrEqual", comparison<"greater_equal">},
    {"IsInf", is_inf}, {"IsNaN", is_nan}, {"Less", comparison<"less">}, {"LessOrEqual", comparison<"less_equal">},
    {"Log", log_op}, {"Max", variadic<"maximum">}, {"Mean", mean_op}, {"Min", variadic<"minimum">}, {"Mod", mod_op},
    {"Mul", arithmetic<"mul">}, {"Neg", neg}, {"Not", not_op}, {"Or", logical<"logical_or">}, {"Pow", pow_op},
    {"Reciprocal", reciprocal}, {"Round", float_unary<"round">}, {"Sign", any_unary<"sign">}, {"Sin", float_unary<"sin">},
    {"Sinh", float_unary<"sinh">}, {"Sqrt", float_unary<"sqrt">}, {"Sub", arithmetic<"sub">}, {"Sum", variadic<"add">},
    {"Tan", float_unary<"tan">}, {"Tanh", float_unary<"tanh">}, {"Where", where}, {"Xor", logical<"logical_xor">},
};

}  // namespace

std::span<const Row> families::elementwise() { return kRows; }

}  // namespace mlt::foreign::onnx
