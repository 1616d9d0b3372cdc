// Activations spelled out in arithmetic:
//   x * 0.5 * (1 + erf(x / sqrt 2))                                -> gelu, EXACT               fuse_gelu_exact
//   x * 0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))      -> gelu, TANH_APPROXIMATION  fuse_gelu_tanh_approximation
//   x * sigmoid(x)                                                 -> silu                      fuse_silu
//   clip(x, 0, 6)                                                  -> relu6                     fuse_relu6
// Factors and terms may stand in any order.
#include "lib/passes/pattern.h"

namespace mlt::passes {
namespace {

constexpr double kRootHalf = 0.70710678118654752, kRootTwoOverPi = 0.79788456080286536;

// The factors of a product of single-use muls; muls passed through are appended to `inner`.
void factors(const Rewriter& r, ir::Op& mul, std::vector<V>* out, std::vector<ir::Op*>* inner, int depth = 0) {
  for (const char* side : {"x", "y"}) {
    V v = mul.input(side);
    ir::Op* below = producer(v, "mul");
    if (below && r.only_user(v) && depth < 4) {
      inner->push_back(below);
      factors(r, *below, out, inner, depth + 1);
    } else {
      out->push_back(v);
    }
  }
}

// 1 + f(u): the op f, with constants of the sum checked.
ir::Op* one_plus(const Rewriter& r, V v, std::string_view f) {
  ir::Op* add = producer(v, "add");
  if (add == nullptr || !r.only_user(v)) return nullptr;
  V inner = nullptr;
  const Tensor* one = nullptr;
  if (!split_constant(*add, &inner, &one) || one->size() != 1 || to_floats(*one)[0] != 1) return nullptr;
  return r.only_user(inner) ? producer(inner, f) : nullptr;
}

// v == scale * u: returns u.
V scaled_by(V v, double scale) {
  ir::Op* op = v ? v->producer : nullptr;
  V u = nullptr;
  const Tensor* c = nullptr;
  if (op == nullptr || (op->kind != "mul" && op->kind != "real_div") || !split_constant(*op, &u, &c) || c->size() != 1) return nullptr;
  float value = to_floats(*c)[0];
  if (op->kind == "real_div" && (op->input("x") != u || value == 0)) return nullptr;
  return near(op->kind == "mul" ? value : 1 / value, scale) ? u : nullptr;
}

bool is_cube(V v, V x) {
  if (ir::Op* pow = producer(v, "pow")) return pow->input("x") == x && uniform(*pow, "y") == 3.0f;
  ir::Op* mul = producer(v, "mul");
  V square = mul ? other_operand(*mul, x) : nullptr;
  if (square == nullptr) return false;
  if (ir::Op* s = producer(square, "square")) return s->input("x") == x;
  if (ir::Op* p = producer(square, "pow")) return p->input("x") == x && uniform(*p, "y") == 2.0f;
  ir::Op* m = producer(square, "mul");
  return m && m->input("x") == x && m->input("y") == x;
}

// sqrt(2 / pi) * (x + 0.044715 x^3)
bool is_tanh_argument(V v, V x) {
  V sum = scaled_by(v, kRootTwoOverPi);
  ir::Op* add = producer(sum, "add");
  V cubic = add ? other_operand(*add, x) : nullptr;
  V cube = cubic ? scaled_by(cubic, 0.044715) : nullptr;
  return cube && is_cube(cube, x);
}

Result<size_t> fuse_gelu(ir::Function& function, Context& context, bool exact) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "mul") return {};
    // Only the outermost mul of a product.
    std::vector<V> list;
    std::vector<ir::Op*> inner;
    factors(r, op, &list, &inner);
    if (list.size() != 3) return {};
    ir::Op* f = nullptr;
    V x = nullptr;
    bool half = false;
    for (V v : list) {
      if (v == nullptr) return {};
      if (uniform(v) == 0.5f) half = true;
      else if (ir::Op* found = one_plus(r, v, exact ? "erf" : "tanh")) f = found;
      else x = v;
    }
    if (f == nullptr || x == nullptr || !half || !r.free({&op, f})) return {};
    for (ir::Op* m : inner)
      if (!r.free({m})) return {};
    V u = f->input("x");
    if (exact ? scaled_by(u, kRootHalf) != x : !is_tanh_argument(u, x)) return {};
    ops::OpBuilder b = r.before(op);
    V fresh = b.op("gelu", {{"x", x}, {"mode", b.string(exact ? "EXACT" : "TANH_APPROXIMATION")}});
    MLT_TRY(b.status());
    if (fresh->type != op.output()->type) return {};
    r.replace(op.output(), fresh, {&op, f});
    return {};
  });
}

}  // namespace

Result<size_t> fuse_gelu_exact(ir::Function& function, Context& context) { return fuse_gelu(function, context, true); }
Result<size_t> fuse_gelu_tanh_approximation(ir::Function& function, Context& context) { return fuse_gelu(function, context, false); }

Result<size_t> fuse_silu(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "mul") return {};
    for (const char* side : {"x", "y"}) {
      V gate = op.input(side);
      ir::Op* sigmoid = producer(gate, "sigmoid");
      if (sigmoid == nullptr || !r.only_user(gate) || other_operand(op, gate) != sigmoid->input("x") || !r.free({&op, sigmoid})) continue;
      ops::OpBuilder b = r.before(op);
      V fresh = b.op("silu", {{"x", sigmoid->input("x")}});
      MLT_TRY(b.status());
      r.replace(op.output(), fresh, {&op, sigmoid});
      return {};
    }
    return {};
  });
}

Result<size_t> fuse_relu6(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "clip" || uniform(op, "alpha") != 0.0f || uniform(op, "beta") != 6.0f || op.input("x") == nullptr || !r.free({&op})) return {};
    ops::OpBuilder b = r.before(op);
    V fresh = b.op("relu6", {{"x", op.input("x")}});
    MLT_TRY(b.status());
    r.replace(op.output(), fresh, {&op});
    return {};
  });
}

}  // namespace mlt::passes
