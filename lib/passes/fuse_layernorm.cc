// (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) [* gamma] [+ beta] -> layer_norm, over the last axes.
#include <algorithm>

#include "lib/passes/pattern.h"

namespace mlt::passes {
namespace {

struct Mean {
  V x = nullptr;
  std::vector<int64_t> axes;
};

std::optional<Mean> match_mean(V v) {
  ir::Op* op = producer(v, "reduce_mean");
  if (op == nullptr || op->input("x") == nullptr || constant_flag(*op, "keep_dims", false) != true) return std::nullopt;
  auto axes = constant_ints(*op, "axes");
  if (!axes) return std::nullopt;
  int64_t rank = op->input("x")->type.rank();
  for (int64_t& a : *axes) a = a < 0 ? a + rank : a;
  std::sort(axes->begin(), axes->end());
  return Mean{op->input("x"), *axes};
}

bool is_square_of(V v, V d) {
  if (ir::Op* s = producer(v, "square")) return s->input("x") == d;
  if (ir::Op* p = producer(v, "pow")) return p->input("x") == d && uniform(*p, "y") == 2.0f;
  ir::Op* m = producer(v, "mul");
  return m && m->input("x") == d && m->input("y") == d;
}

// sqrt(var + epsilon): gives var.
V match_deviation(V v, float* epsilon) {
  ir::Op* root = producer(v, "sqrt");
  ir::Op* add = root ? producer(root->input("x"), "add") : nullptr;
  V var = nullptr;
  const Tensor* e = nullptr;
  if (add == nullptr || !split_constant(*add, &var, &e) || e->size() != 1) return nullptr;
  *epsilon = to_floats(*e)[0];
  return var;
}

}  // namespace

Result<size_t> fuse_layernorm(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    // d / deviation, or d * (1 / deviation)
    V d = nullptr, deviation = nullptr;
    if (op.kind == "real_div") {
      d = op.input("x");
      deviation = op.input("y");
    } else if (op.kind == "mul") {
      for (const char* side : {"x", "y"}) {
        ir::Op* inverse = producer(op.input(side), "real_div");
        if (inverse && uniform(*inverse, "x") == 1.0f) {
          deviation = inverse->input("y");
          d = other_operand(op, op.input(side));
        }
      }
    }
    ir::Op* sub = producer(d, "sub");
    if (sub == nullptr || deviation == nullptr) return {};
    auto mean = match_mean(sub->input("y"));
    float epsilon = 0;
    V var = match_deviation(deviation, &epsilon);
    auto square_mean = var ? match_mean(var) : std::nullopt;
    if (!mean || !square_mean || mean->x != sub->input("x") || mean->axes != square_mean->axes || !is_square_of(square_mean->x, d)) return {};
    int64_t rank = mean->x->type.rank();
    for (size_t i = 0; i < mean->axes.size(); ++i)
      if (mean->axes[i] != rank - static_cast<int64_t>(mean->axes.size()) + static_cast<int64_t>(i)) return {};
    if (mean->axes.empty() || !r.free({&op, sub})) return {};
    Dims tail(mean->x->type.dims.end() - static_cast<ptrdiff_t>(mean->axes.size()), mean->x->type.dims.end());
    // gamma and beta, when the next op applies them in the normalized shape.
    ir::Op* last = &op;
    V gamma = nullptr, beta = nullptr;
    auto next = [&](std::string_view kind) -> V {
      const auto& users = r.users().of(last->output());
      if (!r.only_user(last->output()) || users.size() != 1 || users[0]->kind != kind || !r.free({users[0]})) return nullptr;
      V value = nullptr;
      const Tensor* t = nullptr;
      if (!split_constant(*users[0], &value, &t) || t->dims() != tail || users[0]->output()->type != op.output()->type) return nullptr;
      V c = other_operand(*users[0], value);
      if (c != nullptr) last = users[0];
      return c;
    };
    gamma = next("mul");
    beta = next("add");
    ops::OpBuilder b = r.before(*last);
    std::vector<ops::Input> inputs = {{"x", mean->x}, {"axes", b.ints(mean->axes)}, {"epsilon", b.scalar(mean->x->type.dtype, epsilon)}};
    if (gamma) inputs.push_back({"gamma", gamma});
    if (beta) inputs.push_back({"beta", beta});
    V fresh = b.op("layer_norm", inputs);
    MLT_TRY(b.status());
    if (fresh->type != last->output()->type) return {};
    r.replace(last->output(), fresh, {&op, sub, last});
    return {};
  });
}

}  // namespace mlt::passes
