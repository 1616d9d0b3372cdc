#include <algorithm>

#include "tests/differential/additions.h"

namespace mlt::differential {
namespace {

using ir::Value;

Value* unary(ProgramMaker& m, Value* x, std::string_view kind) { return m.op(kind, {{"x", x}}); }

bool function(ProgramMaker& m) {
  const Live x = m.pick();
  return x.value != nullptr && m.keep(activated(m, x.value));
}

bool rare_function(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr) return false;
  auto b = m.b();
  Value* v = x.value;
  switch (m.random.range(0, 17)) {
    case 0: return m.keep(unary(m, v, "abs"), x.exact);
    case 1: return m.keep(unary(m, v, "square"));
    case 2: return m.keep(unary(m, v, "sin"));
    case 3: return m.keep(unary(m, v, "cos"));
    case 4: return m.keep(unary(m, v, "atan"));
    case 5: return m.keep(unary(m, v, "sinh"));
    case 6: return m.keep(unary(m, unary(m, v, "tanh"), "exp"));
    case 7: return m.keep(m.op("sqrt", {{"x", m.op("add", {{"x", unary(m, v, "square")}, {"y", b.f32(0.1)}})}}));
    case 8: return m.keep(m.op("rsqrt", {{"x", unary(m, v, "square")}, {"epsilon", b.f32(0.1)}}));
    case 9: return m.keep(m.op("log", {{"x", unary(m, v, "abs")}, {"epsilon", b.f32(0.1)}}));
    case 10: return m.keep(m.op("inverse", {{"x", unary(m, v, "square")}, {"epsilon", b.f32(0.3)}}));
    case 11: return m.keep(m.op("threshold", {{"x", v}, {"alpha", b.f32(0.1)}}), x.exact);
    case 12: return m.keep(m.op("linear_activation", {{"x", v}, {"alpha", b.f32(0.7)}, {"beta", b.f32(0.1)}}));
    case 13: return m.keep(m.op("scaled_tanh", {{"x", v}, {"alpha", b.f32(1.7)}, {"beta", b.f32(0.6)}}));
    case 14: return x.exact && m.keep(m.op(m.random.of<std::string>({"floor", "ceil", "round", "sign"}), {{"x", v}}), true);
    case 15: return m.keep(unary(m, v, "exp2"));
    case 16: return m.keep(m.op("pow", {{"x", m.op("add", {{"x", unary(m, v, "abs")}, {"y", b.f32(0.1)}})}, {"y", b.f32(1.5)}}));
    default: return m.keep(m.op("clip", {{"x", v}, {"alpha", b.f32(m.random.uniform(-1, 0))}, {"beta", b.f32(m.random.uniform(0, 1))}}), x.exact);
  }
}

// A shape that broadcasts to `dims`: extents dropped from the left or made 1.
Dims broadcastable(Random& r, Dims dims) {
  if (r.chance(0.3)) dims.erase(dims.begin(), dims.begin() + static_cast<long>(r.range(0, static_cast<int64_t>(dims.size()))));
  for (int64_t& d : dims)
    if (r.chance(0.5)) d = 1;
  return dims;
}

bool with_constant(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr) return false;
  const std::string kind = m.random.of<std::string>({"add", "add", "mul", "mul", "sub", "real_div", "maximum", "minimum"});
  const float lo = kind == "real_div" ? 0.5f : -1;
  Value* c = nullptr;
  if (m.random.chance(0.3)) {
    c = m.b().f32(m.random.uniform(lo, 1.5f));
  } else if (x.rank() >= 3 && m.random.chance(0.4)) {
    Dims channels(x.rank(), 1);
    channels[1] = x.dims()[1];
    c = m.noise(channels, lo, 1.5f);
  } else {
    c = m.noise(m.random.chance(0.3) ? x.dims() : broadcastable(m.random, x.dims()), lo, 1.5f);
  }
  const bool swap = kind != "real_div" && m.random.chance(0.4);
  Value* y = swap ? m.op(kind, {{"x", c}, {"y", x.value}}) : m.op(kind, {{"x", x.value}, {"y", c}});
  return m.keep(y, x.exact && (kind == "maximum" || kind == "minimum"));
}

bool with_value(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr) return false;
  Live y = m.pick_same(x);
  if (y.value == nullptr || m.random.chance(0.3)) {  // any that broadcasts
    y = m.pick(m.random.chance(0.5) ? x.rank() : 0);
    if (y.value == nullptr) return false;
  }
  const std::string kind = m.random.of<std::string>({"add", "add", "add", "mul", "mul", "sub", "maximum", "minimum"});
  Value* z = m.op(kind, {{"x", x.value}, {"y", y.value}});
  if (z != nullptr && kind != "maximum" && m.random.chance(0.3)) z = activated(m, z);
  return m.keep(z);
}

std::vector<int64_t> some_axes(Random& r, size_t rank) {
  std::vector<int64_t> axes;
  for (size_t i = 0; i < rank; ++i)
    if (r.chance(0.4)) axes.push_back(static_cast<int64_t>(i) - (r.chance(0.3) ? static_cast<int64_t>(rank) : 0));
  if (axes.empty()) axes.push_back(-1);
  return axes;
}

bool reduction(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr || x.rank() == 0) return false;
  const std::string kind = m.random.of<std::string>({"reduce_mean", "reduce_mean", "reduce_sum", "reduce_max", "reduce_min", "reduce_sum_square",
                                                     "reduce_l1_norm", "reduce_log_sum_exp"});
  auto b = m.b();
  Value* y = m.op(kind, {{"x", x.value}, {"axes", b.ints(some_axes(m.random, x.rank()))}, {"keep_dims", b.boolean(m.random.chance(0.6))}});
  return m.keep(y, x.exact && (kind == "reduce_max" || kind == "reduce_min"));
}

bool selection(ProgramMaker& m) {  // conditions only of exact values: elsewhere the last bit may decide
  const Live x = m.pick();
  if (x.value == nullptr || !x.exact) return false;
  const Live other = m.pick_same(x);
  auto b = m.b();
  Value* bound = b.f32(m.random.uniform(-0.5f, 0.5f));
  Value* condition = m.op(m.random.of<std::string>({"greater", "less", "greater_equal", "less_equal", "equal", "not_equal"}), {{"x", x.value}, {"y", bound}});
  if (condition == nullptr) return false;
  if (m.random.chance(0.2)) condition = m.op("logical_not", {{"x", condition}});
  if (m.random.chance(0.3)) return m.keep(m.op("mul", {{"x", m.op("cast", {{"x", condition}, {"dtype", b.string("fp32")}})}, {"y", x.value}}), true);
  Value* otherwise = other.value != nullptr && m.random.chance(0.6) ? other.value : b.f32(m.random.uniform(-1, 1));
  Value* y = m.random.chance(0.5) ? m.op("select", {{"cond", condition}, {"a", x.value}, {"b", otherwise}})
                                  : m.op("select", {{"cond", condition}, {"a", otherwise}, {"b", x.value}});
  return m.keep(y, other.value == nullptr || otherwise != other.value || other.exact);
}

}  // namespace

Value* activated(ProgramMaker& m, Value* x) {
  if (x == nullptr) return nullptr;
  auto b = m.b();
  const Dims& dims = x->type.dims;
  switch (m.random.range(0, 20)) {
    case 0: case 1: case 2: return unary(m, x, "relu");
    case 3: return unary(m, x, "relu6");
    case 4: case 5: return unary(m, x, "silu");
    case 6: return m.op("gelu", {{"x", x}, {"mode", b.string(m.random.of<std::string>({"EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"}))}});
    case 7: return unary(m, x, "sigmoid");
    case 8: return unary(m, x, "tanh");
    case 9: return m.op("leaky_relu", {{"x", x}, {"alpha", b.f32(m.random.of<double>({0.01, 0.2, 1.5}))}});
    case 10: return m.op("elu", {{"x", x}, {"alpha", b.f32(1)}});
    case 11: return m.op("clip", {{"x", x}, {"alpha", b.f32(-0.5)}, {"beta", b.f32(1)}});
    case 12: return dims.size() >= 3 ? m.op("prelu", {{"x", x}, {"alpha", m.noise({dims[1]}, 0.05f, 0.5f)}}) : unary(m, x, "softsign");
    case 13: return unary(m, x, "softplus");
    case 14: return m.op("sigmoid_hard", {{"x", x}, {"alpha", b.f32(0.2)}, {"beta", b.f32(0.5)}});
    case 15: return m.op("mul", {{"x", x}, {"y", unary(m, x, "sigmoid")}});
    case 16: {  // hard swish
      Value* t = m.op("clip", {{"x", m.op("add", {{"x", x}, {"y", b.f32(3)}})}, {"alpha", b.f32(0)}, {"beta", b.f32(6)}});
      return m.op("mul", {{"x", m.op("mul", {{"x", x}, {"y", t}})}, {"y", b.f32(1.0 / 6)}});
    }
    case 17: return m.op("mul", {{"x", x}, {"y", m.op("sigmoid_hard", {{"x", x}, {"alpha", b.f32(1.0 / 6)}, {"beta", b.f32(0.5)}})}});
    case 18: {  // GELU by erf
      Value* t = unary(m, m.op("mul", {{"x", x}, {"y", b.f32(0.70710678)}}), "erf");
      t = m.op("add", {{"x", t}, {"y", b.f32(1)}});
      return m.op("mul", {{"x", m.op("mul", {{"x", x}, {"y", b.f32(0.5)}})}, {"y", t}});
    }
    case 19: return m.op("mul", {{"x", x}, {"y", unary(m, unary(m, x, "softplus"), "tanh")}});  // mish
    default: return m.op("maximum", {{"x", x}, {"y", b.f32(0)}});
  }
}

std::vector<Addition> pointwise_additions() {
  return {{"function", 4, function}, {"rare_function", 2, rare_function}, {"with_constant", 4, with_constant}, {"with_value", 5, with_value},
          {"reduction", 2, reduction}, {"selection", 1, selection}};
}

}  // namespace mlt::differential
