// Constant folding: an op all of whose inputs are constants becomes a constant.
#include <algorithm>

#include "lib/ops/call.h"
#include "lib/passes/pass.h"

namespace mlt::passes {
namespace {

// An op that makes much out of little (fill, tile) stays: the model would grow.
constexpr int64_t kSmall = 1 << 12;

bool grows(const ir::Op& op) {
  int64_t in = 0, out = 0;
  for (const ir::Arg& arg : op.args)
    for (const ir::Operand& operand : arg.operands)
      if (const Tensor* t = operand.constant_tensor()) in += t->size();
  for (const auto& value : op.outputs) {
    if (!value->type.is_static()) continue;
    auto count = element_count(value->type.dims);
    out += count ? *count : 0;
  }
  return out > kSmall && out > 2 * in;
}

Status fold_block(ir::Block& block, Context& context, size_t* changes, ir::Function& function) {
  for (size_t i = 0; i < block.ops.size(); ++i) {
    ir::Op& op = *block.ops[i];
    for (auto& nested : op.blocks) MLT_TRY(fold_block(*nested, context, changes, function));
    if (op.is_const() || op.args.empty() || op.kind.starts_with("constexpr_")) continue;
    bool known = true;
    for (const ir::Arg& arg : op.args)
      for (const ir::Operand& operand : arg.operands) known = known && operand.constant_tensor() != nullptr;
    if (!known || grows(op)) continue;
    MLT_ASSIGN(auto folded, ops::fold(op, context.opset));
    if (!folded) continue;
    // The op's own values live on in const ops, so that uses and names stay.
    std::vector<std::unique_ptr<ir::Value>> outputs = std::move(op.outputs);
    block.ops.erase(block.ops.begin() + static_cast<ptrdiff_t>(i));
    for (size_t k = 0; k < outputs.size(); ++k) {
      ir::Op* made = block.insert(i + k, "const");
      ir::Literal literal = ir::Literal::of(std::move((*folded)[k]));
      outputs[k]->type = literal.type;
      outputs[k]->producer = made;
      made->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(outputs[k]->name));
      made->attributes["val"] = std::make_shared<ir::Literal>(std::move(literal));
      made->outputs.push_back(std::move(outputs[k]));
    }
    i += outputs.size() - 1;
    ++*changes;
  }
  return {};
}

}  // namespace

Result<size_t> const_elimination(ir::Function& function, Context& context) {
  size_t changes = 0;
  MLT_TRY(fold_block(*function.body, context, &changes, function));
  return changes;
}

}  // namespace mlt::passes
