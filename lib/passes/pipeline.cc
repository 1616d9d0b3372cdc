#include "lib/passes/pipeline.h"

#include <algorithm>

#include "lib/ir/verify.h"

namespace mlt::passes {
namespace {

constexpr Pass kPasses[] = {
    {"add_fp16_cast", add_fp16_cast, "compute in float16 between the interface's float32"},
    {"cast_optimization", cast_optimization, "merge chains of casts that lose nothing"},
    {"const_deduplication", const_deduplication, "share constants of equal bytes"},
    {"const_elimination", const_elimination, "fold ops of constants"},
    {"dead_code_elimination", dead_code_elimination, "remove ops whose results nobody uses"},
    {"fuse_conv_batchnorm", fuse_conv_batchnorm, "batch_norm into the convolution before it"},
    {"fuse_conv_bias", fuse_conv_bias, "a constant added per channel into the convolution's bias"},
    {"fuse_conv_scale", fuse_conv_scale, "a constant factor per channel into the convolution's weights"},
    {"fuse_gelu_exact", fuse_gelu_exact, "the erf form of GELU"},
    {"fuse_gelu_tanh_approximation", fuse_gelu_tanh_approximation, "the tanh form of GELU"},
    {"fuse_layernorm", fuse_layernorm, "layer normalization spelled out in arithmetic"},
    {"fuse_linear_bias", fuse_linear_bias, "a constant added after linear into its bias"},
    {"fuse_matmul_weight_bias", fuse_matmul_weight_bias, "matmul with a constant matrix becomes linear"},
    {"fuse_relu6", fuse_relu6, "clip to 0 and 6 becomes relu6"},
    {"fuse_scaled_dot_product_attention", fuse_scaled_dot_product_attention, "attention spelled out in products and softmax (from iOS 18)"},
    {"fuse_silu", fuse_silu, "x * sigmoid(x) becomes silu"},
    {"fuse_transpose_matmul", fuse_transpose_matmul, "a transpose of the last two axes into matmul"},
    {"merge_consecutive_reshapes", merge_consecutive_reshapes, "a reshape of a reshape"},
    {"merge_consecutive_transposes", merge_consecutive_transposes, "a transpose of a transpose"},
    {"merge_matmul_scales", merge_matmul_scales, "a factor at either side of matmul becomes one"},
    {"merge_reshapes_around_linear", merge_reshapes_around_linear, "a batch flattened to a matrix for linear and back"},
    {"noop_elimination", noop_elimination, "remove ops whose result is their input"},
    {"remove_redundant_ops", remove_redundant_ops, "compute equal things once"},
    {"transpose_to_reshape", transpose_to_reshape, "a transpose that moves axes of extent 1 only"},
};

}  // namespace

std::span<const Pass> all_passes() { return kPasses; }

const Pass* find_pass(std::string_view name) {
  for (const Pass& pass : kPasses)
    if (pass.name == name) return &pass;
  return nullptr;
}

std::vector<std::string> conversion_pipeline(bool float16) {
  std::vector<std::string> names = {
      "dead_code_elimination",
      "const_elimination",
      // Less between the ops that fusions look for.
      "noop_elimination",
      "cast_optimization",
      "merge_consecutive_transposes",
      "transpose_to_reshape",
      "merge_consecutive_reshapes",
      // Exporters repeat shape arithmetic and casts at every use.
      "remove_redundant_ops",
      // Composite forms before their parts are taken by others.
      "fuse_layernorm",
      "fuse_gelu_exact",
      "fuse_gelu_tanh_approximation",
      "fuse_silu",
      "fuse_relu6",
      // matmul becomes linear before a bias can join it.
      "fuse_matmul_weight_bias",
      "fuse_linear_bias",
      // Between linear and what follows it, and then between what that leaves.
      "merge_reshapes_around_linear",
      "merge_consecutive_reshapes",
      // The bias of an exporter that keeps it apart comes before its batch_norm; scale and bias may follow one.
      "fuse_conv_bias",
      "fuse_conv_batchnorm",
      "fuse_conv_scale",
      "fuse_conv_bias",
      // A factor between transpose and matmul moves to the other side.
      "merge_matmul_scales",
      "fuse_transpose_matmul",
      "fuse_scaled_dot_product_attention",
  };
  if (float16) {
    // After all folding, so that weights are rounded once.
    names.insert(names.end(), {"add_fp16_cast", "cast_optimization"});
  }
  names.insert(names.end(), {"noop_elimination", "const_deduplication", "dead_code_elimination"});
  return names;
}

Status run(ir::Program& program, const std::vector<std::string>& names, Context& context, const std::function<void(const Pass&, size_t)>& after) {
  for (const std::string& name : names)
    if (find_pass(name) == nullptr) {
      std::string known;
      for (const Pass& pass : kPasses) known += (known.empty() ? "" : ", ") + std::string(pass.name);
      return usage_error("there is no pass \"" + name + "\"", "passes: " + known);
    }
  for (const std::string& name : names) {
    const Pass& pass = *find_pass(name);
    size_t changes = 0;
    for (auto& function : program.functions) {
      if (auto opset = ops::opset_from_token(function->opset)) context.opset = *opset;
      auto result = pass.run(*function, context);
      if (!result) return std::move(result.error()).in_path("pass " + name).in_path("function " + function->name);
      changes += *result;
    }
#ifndef NDEBUG
    auto problems = ir::verify(program);
    if (!problems.empty()) return std::move(problems[0]).in_path("after pass " + name);
#endif
    if (after) after(pass, changes);
  }
  return {};
}

}  // namespace mlt::passes
