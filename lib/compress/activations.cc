#include "lib/compress/activations.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "lib/base/float16.h"
#include "lib/compress/linear.h"
#include "lib/compress/parts.h"
#include "lib/ops/call.h"

namespace mlt::compress {
namespace {

bool takes_pairs(const ir::Op& op) { return op.kind == "conv" || op.kind == "linear" || op.kind == "avg_pool" || op.kind == "max_pool" || op.kind == "add"; }

// The parameters of an op before which pairs go; none when one of them is a constant, or no float.
std::vector<const char*> places(const ir::Op& op, const ActivationPlan& plan) {
  if (!takes_pairs(op)) return {};
  std::vector<std::string> names{std::string(op.name())};
  for (const auto& output : op.outputs) names.push_back(output->name);
  Config filter;
  filter.only = plan.only;
  filter.skip = plan.skip;
  if (!filter.selects(names)) return {};
  std::vector<const char*> found = op.kind == "add" ? std::vector<const char*>{"x", "y"} : std::vector<const char*>{"x"};
  for (const char* parameter : found) {
    const ir::Value* value = op.input(parameter);
    if (value == nullptr || !value->type.is_tensor() || (value->type.dtype != DType::kF16 && value->type.dtype != DType::kF32)) return {};
    if (value->producer != nullptr && (value->producer->is_const() || value->producer->kind.starts_with("constexpr_") || value->producer->kind == "dequantize")) return {};
  }
  return found;
}

struct Scale {
  float scale = 1;
  std::optional<int> zero_point;
};

// coremltools takes the two ends of the range for a weight of two float16 values.
Scale scale_of(const ActivationRange& range, const ActivationPlan& plan, bool half) {
  std::vector<float> ends = {round_to_half(std::clamp(range.low, -65504.0f, 65504.0f)), round_to_half(std::clamp(range.high, -65504.0f, 65504.0f))};
  LinearCodes codes = quantize_linear(ends, Grid({2}, {}), {.is_signed = plan.is_signed, .symmetric = plan.symmetric, .half = true});
  (void)half;
  Scale out;
  out.scale = codes.scale[0];
  if (codes.has_zero_point) out.zero_point = plan.is_signed ? static_cast<int>(static_cast<int8_t>(codes.zero_point[0])) : static_cast<int>(codes.zero_point[0]);
  return out;
}

ir::LiteralPtr literal(Tensor tensor) { return std::make_shared<const ir::Literal>(ir::Literal::of(std::move(tensor))); }

}  // namespace

std::vector<std::string> activations_of(const ir::Program& program, const ActivationPlan& plan) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const auto& function : program.functions)
    function->for_each_op([&](const ir::Op& op) {
      for (const char* parameter : places(op, plan))
        if (seen.insert(op.input(parameter)->name).second) names.push_back(op.input(parameter)->name);
    });
  return names;
}

Status quantize_activations(ir::Program& program, const ActivationPlan& plan, Report* report) {
  if (plan.target) MLT_TRY(raise_opset(program, *plan.target, report));
  std::vector<std::string> reasons;
  for (const auto& function : program.functions) {
    auto opset = ops::opset_from_token(function->opset);
    if (!opset) reasons.push_back(fmt::format("function {}: unknown opset {}", function->name, function->opset));
    else if (*opset < ops::Opset::kCoreML7) reasons.push_back(fmt::format("activations in eight bits need opset {}, and function {} has {}", opset_name(ops::Opset::kCoreML7), function->name, opset_name(*opset)));
  }
  if (!reasons.empty()) return unsupported_error(joined(reasons), "--target iOS17 raises it");
  for (const auto& function : program.functions) {
    size_t pairs = 0;
    std::function<void(ir::Block&)> walk = [&](ir::Block& block) {
      for (size_t i = 0; i < block.ops.size(); ++i) {
        ir::Op* op = block.ops[i].get();
        for (auto& inner : op->blocks) walk(*inner);
        std::vector<const char*> parameters = places(*op, plan);
        if (std::any_of(parameters.begin(), parameters.end(), [&](const char* p) { return !plan.ranges.contains(op->input(p)->name); })) continue;
        for (const char* parameter : parameters) {
          ir::Value* value = op->input(parameter);
          bool half = value->type.dtype == DType::kF16;
          Scale scale = scale_of(plan.ranges.at(value->name), plan, half);
          DType codes = plan.is_signed ? DType::kI8 : DType::kU8;
          ir::LiteralPtr factor = literal(convert(Tensor::scalar(scale.scale), value->type.dtype));
          ir::LiteralPtr zero = scale.zero_point ? literal(convert(Tensor::scalar<int32_t>(*scale.zero_point), codes)) : nullptr;
          auto make = [&](const char* kind, ir::Value* input, DType dtype) {
            ir::Op* made = block.insert(i++, kind);
            std::string name = function->unique_name(value->name + "_" + kind);
            made->attributes["name"] = std::make_shared<const ir::Literal>(ir::Literal::string(name));
            made->set("input", ir::Operand(input));
            made->set("scale", ir::Operand(factor));
            if (zero) made->set("zero_point", ir::Operand(zero));
            return std::pair(made, made->add_output(name, ir::Type::tensor(dtype, value->type.dims)));
          };
          auto [quantize, narrow] = make("quantize", value, codes);
          quantize->set("output_dtype", ir::Operand(std::make_shared<const ir::Literal>(ir::Literal::string(plan.is_signed ? "int8" : "uint8"))));
          auto [dequantize, wide] = make("dequantize", narrow, value->type.dtype);
          op->set(parameter, ir::Operand(wide));
          ++pairs;
        }
      }
    };
    walk(*function->body);
    report->notes.push_back(fmt::format("function {}: {} activations in {}int8, {}", function->name, pairs, plan.is_signed ? "" : "u", plan.symmetric ? "symmetric" : "asymmetric"));
  }
  return {};
}

}  // namespace mlt::compress
