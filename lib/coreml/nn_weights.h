// Weights of neural network layers as tensors (source: NeuralNetwork.proto WeightParams). Internal to lib/coreml.
#pragma once
#include "lib/coreml/model_proto.h"
#include "lib/tensor/tensor.h"

namespace mlt::coreml {

// Number of elements stored, or an error when two kinds of storage are used at once or a size does not fit.
Result<int64_t> weight_count(const spec::WeightParams& weights, int64_t expected);

// Values as float32 of the given extents. Quantized: 1 to 8 bits, packed from each byte's high bit down; linear
// (value * scale + bias, scale of one value or one per extent of `channel_axis`) or looked up in a table.
// kInput when the stored size is not that of dims.
Result<Tensor> weight_tensor(const spec::WeightParams& weights, const Dims& dims, int channel_axis = 0);

}  // namespace mlt::coreml
