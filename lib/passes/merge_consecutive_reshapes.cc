// reshape(reshape(x, a), b) -> reshape(x, b), for extents b that are all known. squeeze and expand_dims of a static
// result count as reshapes.
#include "lib/passes/pattern.h"

namespace mlt::passes {

Result<size_t> merge_consecutive_reshapes(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    auto rearranges = [](const ir::Op& o) { return o.kind == "reshape" || o.kind == "squeeze" || o.kind == "expand_dims"; };
    if (!rearranges(op) || !op.output()->type.is_static()) return {};
    V x = op.input("x");
    if (x == nullptr || x->producer == nullptr) return {};
    ir::Op* inner = x->producer;
    if (!rearranges(*inner) || inner->input("x") == nullptr || !r.free({&op, inner})) return {};
    V source = inner->input("x");
    if (source->type.dims == op.output()->type.dims && r.bypass(op.output(), source, {&op, inner})) return {};
    ops::OpBuilder b = r.before(op);
    V fresh = b.op("reshape", {{"x", source}, {"shape", b.ints(op.output()->type.dims)}});
    MLT_TRY(b.status());
    r.replace(op.output(), fresh, {&op, inner});
    return {};
  });
}

}  // namespace mlt::passes
