// matmul(x * a, y * b) -> matmul(x * (a * b), y), for numbers a and b: attention written with half of its scale at either side.
#include <cmath>

#include "lib/passes/pattern.h"

namespace mlt::passes {
namespace {

// v = *input * factor, used once.
ir::Op* scaled(const Rewriter& r, V v, V* input, double* factor) {
  ir::Op* op = producer(v, "mul");
  const Tensor* c = nullptr;
  if (op == nullptr || !r.only_user(v) || !split_constant(*op, input, &c) || c->size() != 1 || !is_float(c->dtype()) || (*input)->type != v->type) return nullptr;
  *factor = to_doubles(*c)[0];
  return std::isfinite(*factor) ? op : nullptr;
}

}  // namespace

Result<size_t> merge_matmul_scales(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "matmul") return {};
    V x = nullptr, y = nullptr;
    double a = 1, b = 1;
    ir::Op *left = scaled(r, op.input("x"), &x, &a), *right = scaled(r, op.input("y"), &y, &b);
    if (left == nullptr || right == nullptr || left == right || !r.free({&op, left, right})) return {};
    float product = static_cast<float>(a * b);
    if (!std::isnormal(product)) return {};
    ops::OpBuilder build = r.before(op);
    V once = build.op("mul", {{"x", x}, {"y", build.scalar(x->type.dtype, product)}});
    std::vector<ops::Input> inputs = {{"x", once}, {"y", y}};
    for (const char* flag : {"transpose_x", "transpose_y"})
      if (op.find(flag)) {
        auto value = constant_flag(op, flag, false);
        if (!value) return {};
        inputs.push_back({flag, build.boolean(*value)});
      }
    V fresh = build.op("matmul", inputs);
    MLT_TRY(build.status());
    if (fresh->type != op.output()->type) return {};
    r.replace(op.output(), fresh, {&op, left, right});
    return {};
  });
}

}  // namespace mlt::passes
