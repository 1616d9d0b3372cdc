#include <fmt/core.h>

#include "lib/compress/parts.h"
#include "lib/ops/call.h"

namespace mlt::compress {

std::string opset_name(ops::Opset opset) {
  std::string text(ops::opset_text_token(opset));  // "ios16"
  return fmt::format("{} (iOS{})", ops::opset_token(opset), text.substr(3));
}

Status raise_opset(ir::Program& program, ops::Opset target, Report* report) {
  std::vector<std::string> reasons;
  for (auto& function : program.functions) {
    auto opset = ops::opset_from_token(function->opset);
    if (!opset) {
      reasons.push_back(fmt::format("function {}: unknown opset {}", function->name, function->opset));
      continue;
    }
    if (*opset >= target) continue;
    function->for_each_op([&](const ir::Op& op) {
      if (op.is_const()) return;
      auto fail = [&](const std::string& why) { reasons.push_back(fmt::format("function {}: op {} ({}): {}", function->name, op.name(), op.kind, why)); };
      // Their parameters change from attributes to inputs.
      if (op.kind.starts_with("constexpr_") && *opset < ops::Opset::kCoreML8 && target >= ops::Opset::kCoreML8)
        return fail("is stored in another way from CoreML8 on; decompress first");
      const ops::OpInfo *before = ops::find_op(op.kind, *opset), *after = ops::find_op(op.kind, target);
      if (after == nullptr || !after->def->core) return fail("is not known");
      if (before == after) return;
      // Another version of the op: it must take these inputs and give the same types.
      if (!ops::infer_types(op, *opset)) return;  // what it means cannot be told before, either
      auto types = ops::infer_types(op, target);
      if (!types) return fail(types.error().to_string());
      for (size_t i = 0; i < types->size() && i < op.outputs.size(); ++i)
        if (!ir::compatible(op.outputs[i]->type, (*types)[i])) return fail("gives " + (*types)[i].to_string() + " instead of " + op.outputs[i]->type.to_string());
    });
  }
  if (!reasons.empty())
    return unsupported_error(fmt::format("the opset cannot become {}: {}", opset_name(target), joined(reasons)));
  for (auto& function : program.functions) {
    auto opset = ops::opset_from_token(function->opset);
    if (*opset >= target) continue;
    report->notes.push_back(fmt::format("function {}: opset {} becomes {}", function->name, opset_name(*opset), opset_name(target)));
    function->opset = ops::opset_token(target);
  }
  return {};
}

}  // namespace mlt::compress
