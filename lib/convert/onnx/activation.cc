// Activations and softmax.
#include <algorithm>
#include <cmath>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

void same(Ctx& c, V y) {
  c.ignore({"consumed_inputs"});
  c.out(0, y, c.type(0));
}

V with_alpha(Ctx& c, std::string_view op, V x, double alpha) { return c.l.op(op, {{"x", x}, {"alpha", c.l.scalar_like(x, alpha)}}); }

void relu(Ctx& c) {
  V x = c.in(0);
  same(c, Lower::dtype(x) == DType::kI32 ? c.l.binary("maximum", x, c.l.i32(0)) : c.l.unary("relu", x));
}
void sigmoid(Ctx& c) { same(c, c.l.unary("sigmoid", c.fin(0))); }
void softplus(Ctx& c) { same(c, c.l.unary("softplus", c.fin(0))); }
void softsign(Ctx& c) { same(c, c.l.unary("softsign", c.fin(0))); }
void leaky_relu(Ctx& c) { same(c, with_alpha(c, "leaky_relu", c.fin(0), c.f32("alpha", 0.01f))); }
void elu(Ctx& c) { same(c, with_alpha(c, "elu", c.fin(0), c.f32("alpha", 1))); }
void selu(Ctx& c) {
  double alpha = c.f32("alpha", 1.67326319217681884765625f), gamma = c.f32("gamma", 1.05070102214813232421875f);
  same(c, c.l.mul(with_alpha(c, "elu", c.fin(0), alpha), gamma));
}
void celu(Ctx& c) {
  double alpha = c.f32("alpha", 1);
  same(c, c.l.mul(with_alpha(c, "elu", c.l.div(c.fin(0), c.l.f32(alpha)), 1), alpha));
}
V hard_sigmoid_of(Ctx& c, V x, double alpha, double beta) {
  return c.l.op("sigmoid_hard", {{"x", x}, {"alpha", c.l.scalar_like(x, alpha)}, {"beta", c.l.scalar_like(x, beta)}});
}
void hard_sigmoid(Ctx& c) { same(c, hard_sigmoid_of(c, c.fin(0), c.f32("alpha", 0.2f), c.f32("beta", 0.5f))); }
void hard_swish(Ctx& c) {
  V x = c.fin(0);
  same(c, c.l.mul(x, hard_sigmoid_of(c, x, 1.0 / 6, 0.5)));
}
void mish(Ctx& c) {
  V x = c.fin(0);
  same(c, c.l.mul(x, c.l.unary("tanh", c.l.unary("softplus", x))));
}
void swish(Ctx& c) {
  V x = c.fin(0);
  float alpha = c.f32("alpha", 1);
  same(c, alpha == 1 ? c.l.unary("silu", x) : c.l.mul(x, c.l.unary("sigmoid", c.l.mul(x, alpha))));
}
void swiglu(Ctx& c) {
  V a = c.fin(0);
  float alpha = c.f32("alpha", 1);
  V gate = alpha == 1 ? c.l.unary("silu", a) : c.l.mul(a, c.l.unary("sigmoid", c.l.mul(a, alpha)));
  same(c, c.l.mul(gate, c.fin(1)));
}
void gelu(Ctx& c) {
  std::string mode = c.str("approximate", "none");
  if (mode != "none" && mode != "tanh") bad_input("unknown approximation \"" + mode + "\"");
  same(c, c.l.op("gelu", {{"x", c.fin(0)}, {"mode", c.l.str(mode == "none" ? "EXACT" : "TANH_APPROXIMATION")}}));
}
void thresholded_relu(Ctx& c) {
  V x = c.fin(0);
  // MIL's op keeps x where it equals alpha; this one does not.
  V above = c.l.binary("greater", x, c.l.f32(c.f32("alpha", 1)));
  same(c, select_broadcast(c.l, above, x, c.l.f32(0)));
}
void shrink(Ctx& c) {
  V x = c.in(0);
  bool ints = Lower::dtype(x) == DType::kI32;
  if (ints) x = c.l.cast(x, DType::kF32);
  double lambda = c.f32("lambd", 0.5f), bias = c.f32("bias", 0);
  V low = select_broadcast(c.l, c.l.binary("less", x, c.l.f32(-lambda)), c.l.add(x, bias), c.l.f32(0));
  V y = select_broadcast(c.l, c.l.binary("greater", x, c.l.f32(lambda)), c.l.add(x, -bias), low);
  same(c, ints ? c.l.cast(y, DType::kI32) : y);
}

void prelu(Ctx& c) {
  V x = c.in(0), slope = c.in(1);
  int64_t rank = Lower::rank(x);
  const Dims dims = Lower::dims(slope);
  const Tensor* known = Lower::known(slope);
  int64_t channels = rank >= 3 ? Lower::dims(x)[1] : -1;
  bool legacy = c.version() < 7 && dims.size() == 1;
  bool per_channel = legacy;
  if (!legacy && rank >= 3 && static_cast<int64_t>(dims.size()) >= rank - 1) {
    Dims tail = dims;
    if (static_cast<int64_t>(tail.size()) == rank && tail[0] == 1) tail.erase(tail.begin());
    per_channel = static_cast<int64_t>(tail.size()) == rank - 1 && (tail[0] == channels) && product(tail, 1, tail.size()) == 1;
  }
  if (known && rank >= 3 && channels > 0 && Lower::dtype(x) == DType::kF32 && (per_channel || known->size() == 1)) {
    std::vector<float> alpha = to_floats(*known);
    if (alpha.size() == 1) alpha.resize(static_cast<size_t>(channels), alpha[0]);
    return same(c, c.l.op("prelu", {{"x", x}, {"alpha", c.l.floats(alpha)}}));
  }
  if (legacy && known && known->size() > 1) slope = along_axis(c.l, slope, 1, rank);
  V zero = c.l.scalar_like(x, 0);
  same(c, c.l.add(c.l.binary("maximum", x, zero), c.l.mul(c.l.binary("minimum", x, zero), slope)));
}

// Up to opset 12 these flatten the input to two axes at `axis` first.
template <typename F>
void softmax_like(Ctx& c, F apply) {
  V x = c.fin(0);
  int64_t rank = Lower::rank(x);
  if (c.version() >= 13) return same(c, apply(x, c.axis("axis", -1, rank)));
  int64_t axis = c.axis("axis", 1, rank);
  const Dims dims = Lower::dims(x);
  if (product(dims, static_cast<size_t>(axis) + 1, dims.size()) == 1) return same(c, apply(x, axis));
  int64_t inner = product(dims, static_cast<size_t>(axis), dims.size());
  if (inner < 0) unsupported("softmax over several axes of unknown extents", "give fixed input shapes with --input NAME,shape=...");
  same(c, reshape_like(c, apply(c.l.reshape(x, {-1, inner}), 1), x));
}
void softmax_op(Ctx& c) {
  softmax_like(c, [&](V x, int64_t axis) { return softmax(c.l, x, axis); });
}
void log_softmax_op(Ctx& c) {
  softmax_like(c, [&](V x, int64_t axis) { return log_softmax(c.l, x, axis); });
}
void hardmax(Ctx& c) {
  softmax_like(c, [&](V x, int64_t axis) {
    int64_t n = Lower::dims(x)[static_cast<size_t>(axis)];
    if (n < 0) unsupported("an axis of unknown extent");
    V best = c.l.op("reduce_argmax", {{"x", x}, {"axis", c.l.i32(axis)}, {"keep_dims", c.l.boolean(true)}});
    V steps = along_axis(c.l, c.l.index_vector(n), axis, Lower::rank(x));
    return c.l.cast(c.l.binary("equal", best, steps), DType::kF32);
  });
}

constexpr Row kRows[] = {
    {"Celu", celu}, {"Elu", elu}, {"Gelu", gelu}, {"HardSigmoid", hard_sigmoid}, {"HardSwish", hard_swish},
    {"Hardmax", hardmax}, {"LeakyRelu", leaky_relu}, {"LogSoftmax", log_softmax_op}, {"Mish", mish}, {"PRelu", prelu},
    {"Relu", relu}, {"Selu", selu}, {"Shrink", shrink}, {"Sigmoid", sigmoid}, {"Softmax", softmax_op},
    {"Softplus", softplus}, {"Softsign", softsign}, {"SwiGLU", swiglu}, {"Swish", swish}, {"ThresholdedRelu", thresholded_relu},
    {"Gelu", gelu, "com.microsoft"}, {"QuickGelu", [](Ctx& c) {
       V x = c.fin(0);
       same(c, c.l.mul(x, c.l.unary("sigmoid", c.l.mul(x, c.f32("alpha", 1.702f)))));
     }, "com.microsoft"},
};

}  // namespace

std::span<const Row> families::activation() { return kRows; }

}  // namespace mlt::foreign::onnx
