// transpose(transpose(x, p), q) -> transpose(x, p[q]); pairs that cancel vanish.
#include "lib/passes/pattern.h"

namespace mlt::passes {

Result<size_t> merge_consecutive_transposes(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "transpose") return {};
    ir::Op* inner = producer(op.input("x"), "transpose");
    if (inner == nullptr || inner->input("x") == nullptr || !r.free({&op, inner})) return {};
    auto outer_perm = constant_ints(op, "perm"), inner_perm = constant_ints(*inner, "perm");
    if (!outer_perm || !inner_perm || outer_perm->size() != inner_perm->size()) return {};
    int64_t rank = static_cast<int64_t>(outer_perm->size());
    std::vector<int64_t> perm;
    bool identity = true;
    for (int64_t& p : *inner_perm) p = p < 0 ? p + rank : p;
    for (int64_t p : *outer_perm) {
      perm.push_back((*inner_perm)[static_cast<size_t>(p < 0 ? p + rank : p)]);
      identity = identity && perm.back() == static_cast<int64_t>(perm.size()) - 1;
    }
    if (identity && r.bypass(op.output(), inner->input("x"), {&op, inner})) return {};
    ops::OpBuilder b = r.before(op);
    V fresh = b.op("transpose", {{"x", inner->input("x")}, {"perm", b.ints(perm)}});
    MLT_TRY(b.status());
    r.replace(op.output(), fresh, {&op, inner});
    return {};
  });
}

}  // namespace mlt::passes
