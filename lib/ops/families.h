// The families of the op table, one file each, named as in MIL's own documentation. registry.cc lists them; nothing
// registers itself.
#pragma once
#include <span>

#include "lib/ops/op_def.h"

namespace mlt::ops {

std::span<const OpDef> activation_ops();
std::span<const OpDef> classify_ops();
std::span<const OpDef> compression_ops();
std::span<const OpDef> control_flow_ops();
std::span<const OpDef> conv_ops();
std::span<const OpDef> elementwise_binary_ops();
std::span<const OpDef> elementwise_unary_ops();
std::span<const OpDef> image_resizing_ops();
std::span<const OpDef> image_sampling_ops();
std::span<const OpDef> linear_ops();
std::span<const OpDef> normalization_ops();
std::span<const OpDef> pool_ops();
std::span<const OpDef> quantization_ops();
std::span<const OpDef> random_ops();
std::span<const OpDef> recurrent_ops();
std::span<const OpDef> reduction_ops();
std::span<const OpDef> scatter_gather_ops();
std::span<const OpDef> state_ops();
std::span<const OpDef> tensor_operation_ops();
std::span<const OpDef> tensor_transformation_ops();
std::span<const OpDef> transformer_ops();
std::span<const OpDef> legacy_nn_ops();  // layers of NeuralNetwork that MIL has no word for

}  // namespace mlt::ops
