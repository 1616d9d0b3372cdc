// What a neural network is made of: its layers and its weights, listed. For tools that show or count; the meaning of
// layers is nn_lift.h's. Works on plain networks, classifiers and regressors; other kinds have no layers.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/coreml/model.h"
#include "lib/tensor/tensor.h"

namespace mlt::coreml {

// Member of NeuralNetworkLayer.layer by field number: "convolution"; empty when unknown.
std::string_view nn_layer_kind_name(int number);

struct NnLayer {
  std::string name;
  int kind = 0;           // field number; 0 when the layer has no type, or one newer than this library
  std::string kind_name;  // "convolution", "activation"; "unknown"
  // As compiled models' metadata counts it: "Convolution", "ActivationReLU", "PoolingMax", "UnaryExp".
  std::string histogram_name;
  std::vector<std::string> inputs, outputs;
  int depth = 0;  // > 0: inside a branch or loop
};
// Execution order, depth first.
std::vector<NnLayer> nn_layers(const Model& model);

// The blob behind a neural network classifier's probabilities, as its message names it; empty: not named.
std::string label_probability_layer(const Model& model);

struct NnWeight {
  std::string name;   // "conv1.weights", "lstm.weightParams.inputGateWeightMatrix": unique when layer names are
  std::string layer;  // "conv1"
  std::string storage;  // "float32", "float16", "int8", "linear 8-bit", "palette 4-bit", "raw"
  DType dtype = DType::kF32;  // of one stored element
  Dims dims;          // as the layer uses it where that is known, else one axis
  uint64_t bytes = 0;
  // Where the output channels lie, for scales by channel: this axis of dims, once in each of the groups that divide the
  // first axis (grouped deconvolutions).
  int channel_axis = 0;
  int64_t groups = 1;
};
// Every weight that is not empty.
std::vector<NnWeight> nn_weights(const Model& model);
// Values of the index-th of them, dequantized: fp16 for float16, else fp32.
Result<Tensor> nn_weight_values(const Model& model, size_t index);

}  // namespace mlt::coreml
