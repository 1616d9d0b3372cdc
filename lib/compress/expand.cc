// Decompression: constexpr ops become the constants they stand for.
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "lib/compress/parts.h"
#include "lib/ops/call.h"

namespace mlt::compress {
namespace {

bool is_constexpr(const ir::Op& op) { return op.kind.starts_with("constexpr_"); }

uint64_t stored_bytes(const ir::Op& op) {
  uint64_t bytes = 0;
  auto add = [&](const ir::Literal* literal) {
    if (literal != nullptr && literal->type.is_tensor() && literal->type.dtype != DType::kString && literal->tensor.valid()) bytes += static_cast<uint64_t>(literal->tensor.nbytes());
  };
  for (const auto& [key, literal] : op.attributes) add(literal.get());
  for (const ir::Arg& arg : op.args)
    for (const ir::Operand& operand : arg.operands) {
      if (operand.literal) add(operand.literal.get());
      else if (operand.value->producer != nullptr) bytes += stored_bytes(*operand.value->producer);
    }
  return bytes;
}

}  // namespace

Result<Expanded> expand_function(ir::Function& function, ops::Opset opset, const Config& config) {
  ir::Users users(function);
  auto used_directly = [&](const ir::Value& value) {
    if (users.is_block_output(&value)) return true;
    const auto& list = users.of(&value);
    return std::any_of(list.begin(), list.end(), [](const ir::Op* op) { return !is_constexpr(*op); });
  };
  // What is selected, and everything it is made of.
  std::set<const ir::Op*> chosen;
  std::vector<ir::Op*> all;
  function.for_each_op([&](ir::Op& op) {
    if (is_constexpr(op)) all.push_back(&op);
  });
  for (ir::Op* op : all)
    for (const auto& output : op->outputs)
      if (used_directly(*output) && config.selects(weight_names(*output, users.of(output.get())))) chosen.insert(op);
  for (size_t i = all.size(); i-- > 0;) {
    if (!chosen.contains(all[i])) continue;
    for (const ir::Arg& arg : all[i]->args)
      for (const ir::Operand& operand : arg.operands)
        if (operand.value != nullptr && operand.value->producer != nullptr && is_constexpr(*operand.value->producer)) chosen.insert(operand.value->producer);
  }

  Expanded changed;
  std::set<const ir::Op*> leftovers;
  for (ir::Op* op : all) {
    if (!chosen.contains(op)) continue;
    std::string place = fmt::format("op {} ({})", op->name(), op->kind);
    // A bit of the file becomes an element at most, so the file's size bounds this.
    MLT_ASSIGN(auto folded, ops::fold(*op, opset, int64_t{1} << 40).in(place));
    if (!folded || folded->size() != op->outputs.size()) return input_error("its weights are missing").in_path(place);
    uint64_t before = stored_bytes(*op);
    for (const ir::Arg& arg : op->args)
      for (const ir::Operand& operand : arg.operands)
        if (operand.value != nullptr && operand.value->producer != nullptr && operand.value->producer->is_const()) leftovers.insert(operand.value->producer);
    std::string kind = op->kind;
    ir::Block& block = *op->parent;
    auto at = static_cast<size_t>(std::find_if(block.ops.begin(), block.ops.end(), [&](const auto& o) { return o.get() == op; }) - block.ops.begin());
    // One constant per output; the values stay, so their users need no change.
    std::vector<std::unique_ptr<ir::Value>> outputs = std::move(op->outputs);
    op->outputs.clear();
    op->args.clear();
    for (size_t i = 0; i < outputs.size(); ++i) {
      ir::Op* constant = i == 0 ? op : block.insert(at + i, "const");
      ir::Value* value = outputs[i].get();
      value->producer = constant;
      constant->kind = "const";
      constant->attributes.clear();
      constant->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(value->name));
      auto literal = std::make_shared<ir::Literal>(ir::Literal::of((*folded)[i]));
      value->type = literal->type;
      constant->attributes["val"] = literal;
      constant->outputs.push_back(std::move(outputs[i]));
      if (!used_directly(*value)) {
        leftovers.insert(constant);
        continue;
      }
      WeightReport report;
      report.name = value->name;
      report.used_by = kind;
      report.form = std::string(dtype_name(literal->type.dtype));
      report.dims = literal->type.dims;
      report.elements = (*folded)[i].size();
      report.bytes_before = before;
      report.bytes_after = static_cast<uint64_t>((*folded)[i].nbytes());
      report.changed = true;
      changed.emplace(constant, std::move(report));
    }
  }
  // Constants that only fed what was replaced.
  ir::Users now(function);
  std::set<ir::Block*> blocks;
  for (const ir::Op* op : leftovers)
    if (now.count(op->output()) == 0) blocks.insert(op->parent);
  for (ir::Block* block : blocks)
    std::erase_if(block->ops, [&](const auto& op) { return leftovers.contains(op.get()) && now.count(op->output()) == 0; });
  return changed;
}

}  // namespace mlt::compress
