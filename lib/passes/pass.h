// Rewrites of one function of a program. A pass's name is its file and its flag; pipeline.cc lists them in order.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ir/graph.h"
#include "lib/ops/op_def.h"

namespace mlt::passes {

struct Context {
  ops::Opset opset = ops::Opset::kCoreML5;
  std::vector<std::string> warnings;  // passes append
  // add_fp16_cast leaves these operations in float32; null: none.
  std::function<bool(const ir::Op&)> keep_float32 = {};
};

struct Pass {
  std::string_view name;
  // Returns how many places changed. A pass leaves a function that ir::verify accepts, with the same inputs, outputs and
  // names of both. It never reorders float arithmetic so that answers change by more than rounding.
  Result<size_t> (*run)(ir::Function&, Context&);
  std::string_view doc;
};

std::span<const Pass> all_passes();  // sorted by name
const Pass* find_pass(std::string_view name);

Result<size_t> add_fp16_cast(ir::Function&, Context&);
Result<size_t> cast_optimization(ir::Function&, Context&);
Result<size_t> const_deduplication(ir::Function&, Context&);
Result<size_t> const_elimination(ir::Function&, Context&);
Result<size_t> dead_code_elimination(ir::Function&, Context&);
Result<size_t> fuse_conv_batchnorm(ir::Function&, Context&);
Result<size_t> fuse_conv_bias(ir::Function&, Context&);
Result<size_t> fuse_conv_scale(ir::Function&, Context&);
Result<size_t> fuse_gelu_exact(ir::Function&, Context&);
Result<size_t> fuse_gelu_tanh_approximation(ir::Function&, Context&);
Result<size_t> fuse_layernorm(ir::Function&, Context&);
Result<size_t> fuse_linear_bias(ir::Function&, Context&);
Result<size_t> fuse_matmul_weight_bias(ir::Function&, Context&);
Result<size_t> fuse_relu6(ir::Function&, Context&);
Result<size_t> fuse_scaled_dot_product_attention(ir::Function&, Context&);
Result<size_t> fuse_silu(ir::Function&, Context&);
Result<size_t> fuse_transpose_matmul(ir::Function&, Context&);
Result<size_t> merge_consecutive_reshapes(ir::Function&, Context&);
Result<size_t> merge_consecutive_transposes(ir::Function&, Context&);
Result<size_t> merge_matmul_scales(ir::Function&, Context&);
Result<size_t> merge_reshapes_around_linear(ir::Function&, Context&);
Result<size_t> noop_elimination(ir::Function&, Context&);
Result<size_t> remove_redundant_ops(ir::Function&, Context&);
Result<size_t> transpose_to_reshape(ir::Function&, Context&);

}  // namespace mlt::passes
