#include "lib/ops/cost.h"

#include <algorithm>

namespace mlt::ops {
namespace {

double elements(const ir::Type& type) {
  if (!type.is_static()) return 0;
  double n = 1;
  for (int64_t d : type.dims) n *= static_cast<double>(d);
  return n;
}

double bytes(const ir::Type& type) { return type.is_tensor() ? elements(type) * dtype_bits(type.dtype) / 8 : 0; }

// Type of the op's parameter, as declared in the program (extents may be unknown there) or in the step.
const ir::Type* operand_type(const CostQuery& step, std::string_view param) {
  if (step.op == nullptr) return nullptr;
  const ir::Operand* operand = step.op->operand(param);
  return operand != nullptr ? &operand->type() : nullptr;
}

double extent(const ir::Type* type, int axis) {
  if (type == nullptr || !type->is_tensor() || !type->ranked) return 0;
  int at = axis < 0 ? type->rank() + axis : axis;
  return at >= 0 && at < type->rank() && type->dims[static_cast<size_t>(at)] > 0 ? static_cast<double>(type->dims[static_cast<size_t>(at)]) : 0;
}

bool flag(const CostQuery& step, std::string_view param) {
  const ir::Operand* operand = step.op != nullptr ? step.op->operand(param) : nullptr;
  const Tensor* value = operand != nullptr ? operand->constant_tensor() : nullptr;
  return value != nullptr && value->size() == 1 && value->dtype() == DType::kBool && *value->data<bool>();
}

// Ops that only rename or move bytes do no arithmetic.
bool moves_only(std::string_view kind) {
  static constexpr std::string_view kMoves[] = {"reshape", "transpose", "concat", "split", "slice_by_index", "slice_by_size", "expand_dims", "squeeze",
                                                "identity", "pad", "tile", "gather", "gather_along_axis", "gather_nd", "stack", "cast", "reverse",
                                                "depth_to_space", "space_to_depth", "pixel_shuffle", "flatten2d", "read_state", "write_state",
                                                "upsample_nearest_neighbor", "shape", "fill", "const"};
  return std::find(std::begin(kMoves), std::end(kMoves), kind) != std::end(kMoves);
}

}  // namespace

Cost op_cost(const CostQuery& step) {
  Cost cost;
  double out = 0;
  for (const ir::Type& type : step.output_types) {
    out += elements(type);
    cost.bytes += bytes(type);
  }
  for (const ir::Type& type : step.input_types) cost.bytes += bytes(type);
  const std::string& kind = step.kind;
  double fused = static_cast<double>(step.fused_ops) * out;
  if (kind == "conv") {
    const ir::Type* weight = operand_type(step, "weight");
    double per_output = weight != nullptr && extent(weight, 0) > 0 ? elements(*weight) / extent(weight, 0) : 0;
    cost.flops = 2 * out * per_output + fused;
  } else if (kind == "conv_transpose") {
    const ir::Type* weight = operand_type(step, "weight");
    const ir::Type* x = operand_type(step, "x");
    double in = 0;
    for (const ir::Type& type : step.input_types)
      if (x != nullptr && type.is_tensor() && type.rank() == x->rank() && type.dtype == x->dtype) in = std::max(in, 0.0) == 0 ? elements(type) : in;
    double per_input = weight != nullptr && extent(weight, 0) > 0 ? elements(*weight) / extent(weight, 0) : 0;
    cost.flops = 2 * in * per_input + fused;
  } else if (kind == "linear") {
    cost.flops = 2 * out * extent(operand_type(step, "weight"), 1) + fused;
  } else if (kind == "matmul") {
    double k = 0;
    for (const ir::Type& type : step.input_types)
      if (type.is_static() && type.rank() >= 2) {
        k = extent(&type, flag(step, "transpose_x") ? -2 : -1);
        break;
      }
    cost.flops = 2 * out * k + fused;
  } else if (kind == "max_pool" || kind == "avg_pool" || kind == "l2_pool") {
    const ir::Operand* kernel = step.op != nullptr ? step.op->operand("kernel_sizes") : nullptr;
    double window = 1;
    if (kernel != nullptr && kernel->constant_tensor() != nullptr)
      for (int64_t k : to_ints(*kernel->constant_tensor())) window *= static_cast<double>(k);
    cost.flops = out * window;
  } else if (kind == "lstm" || kind == "gru" || kind == "rnn") {
    double steps = extent(step.input_types.empty() ? nullptr : &step.input_types[0], 0), batch = 1, weights = 0;
    for (std::string_view param : {"weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back"}) {
      const ir::Type* type = operand_type(step, param);
      if (type != nullptr) weights += elements(*type);
    }
    const ir::Type* x = operand_type(step, "x");
    for (const ir::Type& type : step.input_types)
      if (x != nullptr && type.is_tensor() && type.rank() == 3) {
        steps = extent(&type, 0);
        batch = std::max(1.0, extent(&type, 1));
        break;
      }
    cost.flops = 2 * weights * steps * batch;
  } else if (kind == "scaled_dot_product_attention") {
    const auto& in = step.input_types;
    double q = 0, keys = 0;
    if (in.size() >= 2) q = elements(in[0]), keys = extent(&in[1], -2);
    cost.flops = 4 * q * keys;
  } else if (kind == "softmax" || kind == "layer_norm" || kind == "instance_norm" || kind == "l2_norm") {
    cost.flops = 5 * out;
  } else if (kind.rfind("reduce_", 0) == 0) {
    for (const ir::Type& type : step.input_types) cost.flops = std::max(cost.flops, elements(type));
  } else if (!moves_only(kind)) {
    cost.flops = out + fused;
  }
  return cost;
}

}  // namespace mlt::ops
