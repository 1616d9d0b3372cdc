// A transpose that moves only axes of extent 1 is a reshape, which can join its neighbours.
#include "lib/passes/pattern.h"

namespace mlt::passes {

Result<size_t> transpose_to_reshape(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "transpose" || op.input("x") == nullptr || !r.free({&op})) return {};
    auto perm = constant_ints(op, "perm");
    const ir::Type& type = op.input("x")->type;
    if (!perm || !type.is_static() || static_cast<int64_t>(perm->size()) != type.rank()) return {};
    int64_t last = -1;
    for (int64_t p : *perm) {
      int64_t axis = p < 0 ? p + type.rank() : p;
      if (type.dims[static_cast<size_t>(axis)] == 1) continue;
      if (axis < last) return {};
      last = axis;
    }
    ops::OpBuilder b = r.before(op);
    V fresh = b.op("reshape", {{"x", op.input("x")}, {"shape", b.ints(op.output()->type.dims)}});
    MLT_TRY(b.status());
    r.replace(op.output(), fresh, {&op});
    return {};
  });
}

}  // namespace mlt::passes
