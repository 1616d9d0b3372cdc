// matmul with a constant matrix -> linear (fuse_matmul_weight_bias), and linear -> add | sub const into the bias
// (fuse_linear_bias).
#include <algorithm>

#include "lib/passes/pattern.h"
#include "lib/tensor/deferred.h"
#include "lib/tensor/spill.h"

namespace mlt::passes {
Result<size_t> fuse_matmul_weight_bias(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  int64_t made = 0;
  // Beyond the first 64 MB, transposed weights that are no deferred ones wait in a file.
  auto turned = [&](const Tensor& t) {
    bool direct = t.dtype() == DType::kF32 || t.dtype() == DType::kF16 || t.dtype() == DType::kBF16;
    Tensor out = direct ? transposed_matrix(t) : convert(transposed_matrix(convert(t, DType::kF32)), t.dtype());
    if (out.deferred()) return out;
    release_pages(t);
    if (made + out.nbytes() > (int64_t{64} << 20)) return spilled(out);
    made += out.nbytes();
    return out;
  };
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "matmul" || !r.free({&op})) return {};
    V x = op.input("x");
    const Tensor* w = constant(op, "y");
    auto tx = constant_flag(op, "transpose_x", false), ty = constant_flag(op, "transpose_y", false);
    // linear takes inputs of rank 1 to 3.
    if (x == nullptr || x->constant() || w == nullptr || w->rank() != 2 || !is_float(w->dtype()) || !tx || !ty || *tx || x->type.rank() < 2 || x->type.rank() > 3) return {};
    ops::OpBuilder b = r.before(op);
    V given = op.input("y");
    V weight = *ty && given ? given : b.constant(*ty ? *w : turned(*w), given ? given->name : "weight");
    V fresh = b.op("linear", {{"x", x}, {"weight", weight}});
    MLT_TRY(b.status());
    if (fresh->type != op.output()->type) return {};
    r.replace(op.output(), fresh, {&op});
    return {};
  });
}

Result<size_t> fuse_linear_bias(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "add" && op.kind != "sub") return {};
    V x = nullptr;
    const Tensor* value = nullptr;
    if (!split_constant(op, &x, &value) || !is_float(value->dtype())) return {};
    ir::Op* linear = producer(x, "linear");
    if (linear == nullptr || !r.only_user(x) || !r.free({&op, linear}) || op.output()->type != x->type) return {};
    V weight = linear->input("weight");  // perhaps compressed
    const Tensor* bias = constant(*linear, "bias");
    if (weight == nullptr || weight->type.rank() != 2 || weight->type.dims[0] < 0 || (linear->find("bias") && bias == nullptr)) return {};
    int64_t n = weight->type.dims[0];
    if (value->size() != 1 && (value->size() != n || value->dims().back() != n)) return {};
    std::vector<float> sum = bias ? to_floats(*bias) : std::vector<float>(static_cast<size_t>(n), 0), add = to_floats(*value);
    bool minus = op.kind == "sub", flipped = minus && op.input("x") != x;
    if (flipped) return {};  // constant - linear would negate the weights
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += (minus ? -1.0f : 1.0f) * add[add.size() == 1 ? 0 : i];
    ops::OpBuilder b = r.before(op);
    V fresh = b.op("linear", {{"x", linear->input("x")}, {"weight", weight},
                              {"bias", b.constant(convert(Tensor::from<float>({n}, sum), weight->type.dtype), op.output()->name + "_bias")}});
    MLT_TRY(b.status());
    r.replace(op.output(), fresh, {&op, linear});
    return {};
  });
}

}  // namespace mlt::passes
