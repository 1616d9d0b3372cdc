// matmul of a transpose of the last two axes -> matmul with transpose_x or transpose_y.
#include "lib/passes/pattern.h"

namespace mlt::passes {
namespace {

// The input of a transpose that swaps the last two axes and nothing else.
V swapped(V v) {
  ir::Op* op = producer(v, "transpose");
  auto perm = op ? constant_ints(*op, "perm") : std::nullopt;
  if (!perm || op->input("x") == nullptr || perm->size() < 2) return nullptr;
  int64_t rank = static_cast<int64_t>(perm->size());
  for (int64_t i = 0; i < rank; ++i) {
    int64_t p = (*perm)[static_cast<size_t>(i)], want = i == rank - 1 ? rank - 2 : i == rank - 2 ? rank - 1 : i;
    if ((p < 0 ? p + rank : p) != want) return nullptr;
  }
  return op->input("x");
}

}  // namespace

Result<size_t> fuse_transpose_matmul(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "matmul" || op.input("x") == nullptr || op.input("y") == nullptr) return {};
    auto flag_x = constant_flag(op, "transpose_x", false), flag_y = constant_flag(op, "transpose_y", false);
    V x = swapped(op.input("x")), y = swapped(op.input("y"));
    if (!flag_x || !flag_y || (x == nullptr && y == nullptr)) return {};
    if (!r.free({&op}) || (x && !r.free({op.input("x")->producer})) || (y && !r.free({op.input("y")->producer}))) return {};
    ops::OpBuilder b = r.before(op);
    V fresh = b.op("matmul", {{"x", x ? x : op.input("x")}, {"y", y ? y : op.input("y")}, {"transpose_x", b.boolean(*flag_x != (x != nullptr))}, {"transpose_y", b.boolean(*flag_y != (y != nullptr))}});
    MLT_TRY(b.status());
    if (fresh->type != op.output()->type) return {};
    r.replace(op.output(), fresh, {&op});
    return {};
  });
}

}  // namespace mlt::passes
