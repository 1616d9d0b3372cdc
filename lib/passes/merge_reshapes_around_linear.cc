// reshape(linear(reshape(x))) -> linear(reshape(x)): exporters flatten batches to a matrix and back, linear takes up to three
// axes itself. The second reshape is made before linear, where it may cancel with the first.
#include "lib/passes/pattern.h"

namespace mlt::passes {

Result<size_t> merge_reshapes_around_linear(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "reshape" || !op.output()->type.is_static()) return {};
    ir::Op* linear = producer(op.input("x"), "linear");
    ir::Op* first = linear ? producer(linear->input("x"), "reshape") : nullptr;
    if (first == nullptr || first->input("x") == nullptr || !r.only_user(linear->output()) || !r.only_user(first->output()) || !r.free({&op, linear, first})) return {};
    const Dims &in = first->output()->type.dims, &out = linear->output()->type.dims, &wanted = op.output()->type.dims;
    if (!first->output()->type.is_static() || wanted.size() > 3 || wanted.size() < 2 || wanted.back() != out.back()) return {};
    Dims dims = wanted;
    dims.back() = in.back();
    ops::OpBuilder b = r.before(op);
    V x = first->input("x");
    if (x->type.dims != dims) x = b.op("reshape", {{"x", x}, {"shape", b.ints(dims)}});
    std::vector<ops::Input> inputs;
    for (const ir::Arg& arg : linear->args) {
      if (arg.operands.size() != 1 || arg.operands[0].value == nullptr) return {};
      inputs.push_back({arg.name, arg.name == "x" ? x : arg.operands[0].value});
    }
    V fresh = b.op("linear", inputs);
    MLT_TRY(b.status());
    if (fresh->type != op.output()->type) return {};
    r.replace(op.output(), fresh, {&op, linear, first});
    return {};
  });
}

}  // namespace mlt::passes
