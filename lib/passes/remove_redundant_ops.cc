// Ops of equal kind and operands, in one block, become one (common subexpressions). Randomness, states, control flow and
// constants are left alone: equal constants are const_deduplication's.
#include <unordered_map>

#include "lib/passes/pattern.h"

namespace mlt::passes {
namespace {

// What the result depends on; empty when the op must stay. Constants count by their bytes, so that two ops with axes of
// their own are equal.
std::string key_of(const ir::Op& op, ops::Opset opset) {
  const ops::OpInfo* info = ops::find_op(op.kind, opset);
  if (info == nullptr || op.is_const() || !op.blocks.empty() || op.outputs.empty() || info->def->exactness == ops::Exactness::kRandom) return {};
  if (info->def->eval == nullptr || op.kind.starts_with("constexpr_")) return {};
  std::string key = op.kind;
  for (const ir::Arg& arg : op.args) {
    key += "|" + arg.name;
    for (const ir::Operand& operand : arg.operands) {
      if (operand.type().is_state()) return {};
      const Tensor* t = operand.constant_tensor();
      if (t != nullptr && t->dtype() == DType::kString) {
        key += ":\"";
        for (const std::string& s : t->strings()) key += s + "\"";
      } else if (t != nullptr && t->nbytes() <= 256) {
        key += ":" + std::string(dtype_name(t->dtype())) + dims_text(t->dims()) + "=" + std::string(reinterpret_cast<const char*>(t->bytes().data()), t->bytes().size());
      } else if (operand.value != nullptr) {
        key += ":%" + operand.value->name;
      } else {
        return {};
      }
    }
  }
  return key;
}

}  // namespace

Result<size_t> remove_redundant_ops(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  std::unordered_map<std::string, ir::Op*> seen;
  const ir::Block* block = nullptr;
  return r.run([&](ir::Op& op) -> Status {
    if (op.parent != block || (!op.parent->ops.empty() && op.parent->ops.front().get() == &op)) {
      seen.clear();
      block = op.parent;
    }
    std::string key = key_of(op, context.opset);
    if (key.empty()) return {};
    auto [it, fresh] = seen.emplace(std::move(key), &op);
    ir::Op* first = it->second;
    if (fresh || first == &op || !r.free({&op, first}) || first->outputs.size() != 1 || op.outputs.size() != 1) return {};
    if (first->output()->type != op.output()->type || r.users().is_block_output(op.output())) return {};
    r.bypass(op.output(), first->output(), {&op});
    return {};
  });
}

}  // namespace mlt::passes
