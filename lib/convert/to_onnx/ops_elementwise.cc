// Arithmetic, comparisons, activations. Constants of an operation take the element type of its operand: ONNX converts
// nothing by itself.
#include <cmath>
#include <numbers>

#include "lib/convert/to_onnx/emit.h"

namespace mlt::foreign::to_onnx {
namespace {

// One ONNX operator of the same meaning.
void same(Ctx& c, std::string_view op) { c.out(c.g.node(op, {c.in("x")})); }
template <const char* kOp>
void unary(Ctx& c) {
  same(c, kOp);
}
template <const char* kOp>
void binary(Ctx& c) {
  c.out(c.g.node(kOp, {c.in("x"), c.in("y")}));
}
#define MLT_NAME(id, text) constexpr char id[] = text
MLT_NAME(kAbs, "Abs"); MLT_NAME(kAcos, "Acos"); MLT_NAME(kAsin, "Asin"); MLT_NAME(kAtan, "Atan"); MLT_NAME(kAtanh, "Atanh");
MLT_NAME(kCos, "Cos"); MLT_NAME(kCosh, "Cosh"); MLT_NAME(kSin, "Sin"); MLT_NAME(kSinh, "Sinh"); MLT_NAME(kTan, "Tan");
MLT_NAME(kTanh, "Tanh"); MLT_NAME(kErf, "Erf"); MLT_NAME(kExp, "Exp"); MLT_NAME(kSqrt, "Sqrt"); MLT_NAME(kSign, "Sign");
MLT_NAME(kNot, "Not"); MLT_NAME(kSigmoid, "Sigmoid"); MLT_NAME(kRelu, "Relu"); MLT_NAME(kSoftplus, "Softplus");
MLT_NAME(kSoftsign, "Softsign"); MLT_NAME(kAdd, "Add"); MLT_NAME(kSub, "Sub"); MLT_NAME(kMul, "Mul"); MLT_NAME(kPow, "Pow");
MLT_NAME(kDiv, "Div"); MLT_NAME(kMax, "Max"); MLT_NAME(kMin, "Min"); MLT_NAME(kEqual, "Equal"); MLT_NAME(kGreater, "Greater");
MLT_NAME(kGreaterEqual, "GreaterOrEqual"); MLT_NAME(kLess, "Less"); MLT_NAME(kLessEqual, "LessOrEqual"); MLT_NAME(kAnd, "And");
MLT_NAME(kOr, "Or"); MLT_NAME(kXor, "Xor"); MLT_NAME(kCeil, "Ceil"); MLT_NAME(kFloor, "Floor"); MLT_NAME(kRound, "Round");
MLT_NAME(kIdentity, "Identity");

template <const char* kOp>
void rounding(Ctx& c) {
  same(c, c.is_float() ? kOp : kIdentity);
}

// f(x + epsilon): MIL guards these against zero.
S guarded(Ctx& c) {
  double epsilon = c.call.f64("epsilon");
  return epsilon == 0 ? c.in("x") : c.g.node("Add", {c.in("x"), c.number(epsilon)});
}
void log(Ctx& c) { c.out(c.g.node("Log", {guarded(c)})); }
void inverse(Ctx& c) { c.out(c.g.node("Reciprocal", {guarded(c)})); }
void rsqrt(Ctx& c) { c.out(c.g.node("Reciprocal", {c.g.node("Sqrt", {guarded(c)})})); }
void exp2(Ctx& c) { c.out(c.g.node("Pow", {c.number(2), c.in("x")})); }
void square(Ctx& c) { c.out(c.g.node("Mul", {c.in("x"), c.in("x")})); }
void threshold(Ctx& c) { c.out(c.g.node("Max", {c.in("x"), c.scalar("alpha")})); }
void clip(Ctx& c) { c.out(c.g.node("Clip", {c.in("x"), c.scalar("alpha"), c.scalar("beta")})); }
void relu6(Ctx& c) { c.out(c.g.node("Clip", {c.in("x"), c.number(0), c.number(6)})); }
void not_equal(Ctx& c) { c.out(c.g.node("Not", {c.g.node("Equal", {c.in("x"), c.in("y")})})); }
void cast(Ctx& c) {
  DType to = c.out_dtype(), from = c.dtype();
  if (to == from) return c.out(c.g.node("Identity", {c.in("x")}));
  c.out(c.g.cast(c.in("x"), to));
}
void select(Ctx& c) { c.out(c.g.node("Where", {c.in("cond"), c.in("a"), c.in("b")})); }

// ONNX's Mod takes the sign of the divisor for integers, as MIL's does; for floats it is C's fmod.
void mod(Ctx& c) {
  S x = c.in("x"), y = c.in("y");
  if (!c.is_float()) return c.out(c.g.node("Mod", {x, y}));
  // Products carry the sign of zeros, which ONNX Runtime's Where loses.
  S r = c.g.node("Mod", {x, y}, {{"fmod", 1}}), sign = c.g.node("Sign", {y}), across = c.g.node("Less", {c.g.node("Mul", {c.g.node("Sign", {r}), sign}), c.number(0)});
  S turned = c.g.node("Where", {across, c.g.node("Add", {r, y}), r});
  c.out(c.g.node("Mul", {sign, c.g.node("Abs", {turned})}));
}
void floor_div(Ctx& c) {
  S x = c.in("x"), y = c.in("y");
  if (c.is_float()) return c.out(c.g.node("Floor", {c.g.node("Div", {x, y})}));
  c.out(c.g.node("Div", {c.g.node("Sub", {x, c.g.node("Mod", {x, y})}), y}));
}
// Integer extremes and powers exist in ONNX; comparisons of booleans only as Equal.

void leaky_relu(Ctx& c) { c.out(c.g.node("LeakyRelu", {c.in("x")}, {{"alpha", c.call.f64("alpha")}})); }
void elu(Ctx& c) { c.out(c.g.node("Elu", {c.in("x")}, {{"alpha", c.call.f64("alpha")}})); }
void clamped_relu(Ctx& c) {
  c.out(c.g.node("Min", {c.g.node("LeakyRelu", {c.in("x")}, {{"alpha", c.call.f64("alpha")}}), c.scalar("beta")}));
}
void linear_activation(Ctx& c) {
  c.out(c.g.node("Add", {c.g.node("Mul", {c.in("x"), c.scalar("alpha")}), c.scalar("beta")}));
}
void scaled_tanh(Ctx& c) {
  c.out(c.g.node("Mul", {c.g.node("Tanh", {c.g.node("Mul", {c.in("x"), c.scalar("beta")})}), c.scalar("alpha")}));
}
void sigmoid_hard(Ctx& c) {
  c.out(c.g.node("HardSigmoid", {c.in("x")}, {{"alpha", c.call.f64("alpha")}, {"beta", c.call.f64("beta")}}));
}
void silu(Ctx& c) {
  S x = c.in("x");
  c.out(c.g.node("Mul", {x, c.g.node("Sigmoid", {x})}));
}
// x where x >= alpha, else 0; ONNX's ThresholdedRelu leaves out x == alpha.
void thresholded_relu(Ctx& c) {
  S x = c.in("x");
  c.out(c.g.node("Where", {c.g.node("GreaterOrEqual", {x, c.scalar("alpha")}), x, c.number(0)}));
}
void gelu(Ctx& c) {
  std::string mode = c.call.str("mode");
  S x = c.in("x");
  if (mode == "SIGMOID_APPROXIMATION") return c.out(c.g.node("Mul", {x, c.g.node("Sigmoid", {c.g.node("Mul", {x, c.number(1.702)})})}));
  bool exact = mode == "EXACT";
  if (c.g.at_least(20)) return c.out(c.g.node("Gelu", {x}, {{"approximate", exact ? "none" : "tanh"}}));
  S inner;
  if (exact) {
    inner = c.g.node("Erf", {c.g.node("Mul", {x, c.number(std::numbers::sqrt2 / 2)})});
  } else {
    S cube = c.g.node("Mul", {c.g.node("Mul", {x, x}), x});
    S sum = c.g.node("Add", {x, c.g.node("Mul", {cube, c.number(0.044715)})});
    inner = c.g.node("Tanh", {c.g.node("Mul", {sum, c.number(std::sqrt(2 / std::numbers::pi))})});
  }
  c.out(c.g.node("Mul", {c.g.node("Mul", {x, c.number(0.5)}), c.g.node("Add", {inner, c.number(1)})}));
}
// A parameter per channel (axis 1), or one for all, to be combined with x.
S per_channel(Ctx& c, std::string_view param) {
  const Tensor& t = c.tensor(param);
  Tensor values = convert(t, c.dtype());
  Dims dims(static_cast<size_t>(std::max<int64_t>(c.rank("x") - 1, 1)), 1);
  if (c.rank("x") >= 2) dims[0] = t.size();
  else dims = {t.size()};
  return c.g.constant(values.reshaped(dims));
}
void prelu(Ctx& c) { c.out(c.g.node("PRelu", {c.in("x"), per_channel(c, "alpha")})); }
void softplus_parametric(Ctx& c) {
  S inner = c.g.node("Softplus", {c.g.node("Mul", {c.in("x"), per_channel(c, "beta")})});
  c.out(c.g.node("Mul", {inner, per_channel(c, "alpha")}));
}
void softmax(Ctx& c) { c.out(c.g.node("Softmax", {c.in("x")}, {{"axis", c.axis("axis", c.rank("x"))}})); }

// --- reductions ---

template <const char* kOp>
void reduction(Ctx& c) {
  S x = c.in("x");
  // Over all of an image: what runtimes know as a pool.
  std::string_view op = kOp;
  if (c.rank("x") == 4 && c.is_float() && c.call.flag("keep_dims") && c.axes("axes", 4) == std::vector<int64_t>{2, 3} && (op == "ReduceMean" || op == "ReduceMax"))
    return c.out(c.g.node(op == "ReduceMean" ? "GlobalAveragePool" : "GlobalMaxPool", {x}));
  c.out(c.g.reduce(kOp, x, c.axes("axes", c.rank("x")), c.call.flag("keep_dims")));
}
MLT_NAME(kReduceL1, "ReduceL1"); MLT_NAME(kReduceL2, "ReduceL2"); MLT_NAME(kReduceLogSum, "ReduceLogSum");
MLT_NAME(kReduceLogSumExp, "ReduceLogSumExp"); MLT_NAME(kReduceMax, "ReduceMax"); MLT_NAME(kReduceMean, "ReduceMean");
MLT_NAME(kReduceMin, "ReduceMin"); MLT_NAME(kReduceProd, "ReduceProd"); MLT_NAME(kReduceSum, "ReduceSum");
MLT_NAME(kReduceSumSquare, "ReduceSumSquare"); MLT_NAME(kArgMax, "ArgMax"); MLT_NAME(kArgMin, "ArgMin");
#undef MLT_NAME
template <const char* kOp>
void arg(Ctx& c) {
  S y = c.g.node(kOp, {c.in("x")}, {{"axis", c.axis("axis", c.rank("x"))}, {"keepdims", c.call.flag("keep_dims")}});
  c.out(c.g.cast(y, c.out_dtype()));
}

constexpr Row kRows[] = {
    {"abs", unary<kAbs>}, {"acos", unary<kAcos>}, {"asin", unary<kAsin>}, {"atan", unary<kAtan>}, {"atanh", unary<kAtanh>},
    {"cos", unary<kCos>}, {"cosh", unary<kCosh>}, {"sin", unary<kSin>}, {"sinh", unary<kSinh>}, {"tan", unary<kTan>},
    {"tanh", unary<kTanh>}, {"erf", unary<kErf>}, {"exp", unary<kExp>}, {"sqrt", unary<kSqrt>}, {"sign", unary<kSign>},
    {"logical_not", unary<kNot>}, {"sigmoid", unary<kSigmoid>}, {"relu", unary<kRelu>}, {"softplus", unary<kSoftplus>},
    {"softsign", unary<kSoftsign>}, {"ceil", rounding<kCeil>}, {"floor", rounding<kFloor>}, {"round", rounding<kRound>},
    {"add", binary<kAdd>}, {"sub", binary<kSub>}, {"mul", binary<kMul>}, {"real_div", binary<kDiv>}, {"pow", binary<kPow>},
    {"maximum", binary<kMax>}, {"minimum", binary<kMin>}, {"equal", binary<kEqual>}, {"greater", binary<kGreater>},
    {"greater_equal", binary<kGreaterEqual>}, {"less", binary<kLess>}, {"less_equal", binary<kLessEqual>},
    {"logical_and", binary<kAnd>}, {"logical_or", binary<kOr>}, {"logical_xor", binary<kXor>}, {"not_equal", not_equal},
    {"mod", mod}, {"floor_div", floor_div}, {"log", log}, {"inverse", inverse}, {"rsqrt", rsqrt}, {"exp2", exp2},
    {"square", square}, {"threshold", threshold}, {"clip", clip}, {"relu6", relu6}, {"cast", cast}, {"select", select},
    {"leaky_relu", leaky_relu}, {"elu", elu}, {"clamped_relu", clamped_relu}, {"linear_activation", linear_activation},
    {"scaled_tanh", scaled_tanh}, {"sigmoid_hard", sigmoid_hard}, {"silu", silu}, {"thresholded_relu", thresholded_relu},
    {"gelu", gelu}, {"prelu", prelu}, {"softplus_parametric", softplus_parametric}, {"softmax", softmax},
    {"reduce_l1_norm", reduction<kReduceL1>}, {"reduce_l2_norm", reduction<kReduceL2>}, {"reduce_log_sum", reduction<kReduceLogSum>},
    {"reduce_log_sum_exp", reduction<kReduceLogSumExp>}, {"reduce_max", reduction<kReduceMax>}, {"reduce_mean", reduction<kReduceMean>},
    {"reduce_min", reduction<kReduceMin>}, {"reduce_prod", reduction<kReduceProd>}, {"reduce_sum", reduction<kReduceSum>},
    {"reduce_sum_square", reduction<kReduceSumSquare>}, {"reduce_argmax", arg<kArgMax>}, {"reduce_argmin", arg<kArgMin>},
};

}  // namespace

std::span<const Row> families::elementwise() { return kRows; }

}  // namespace mlt::foreign::to_onnx
