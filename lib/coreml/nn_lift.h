// Neural networks as programs: every layer of a NeuralNetwork, NeuralNetworkClassifier or NeuralNetworkRegressor becomes
// ops of one float32 function, for given extents of the inputs (source of the layers' meaning: NeuralNetwork.proto).
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/coreml/model.h"
#include "lib/ir/graph.h"

namespace mlt::coreml {

// How a feature enters the network. The function takes float32 values of exactly `dims`.
struct LiftedInput {
  std::string feature;
  std::string value;  // name of the function's input
  Dims dims;          // multi-arrays: as the caller gives them; images: [1, channels, height, width]
  bool image = false;
  ColorSpace color_space = ColorSpace::kInvalid;  // channel order of an image: the caller converts pixels, 0..255, to it
  bool optional = false;                          // recurrent states: zeros when not given
};

struct LiftedOutput {
  std::string feature;
  std::string value;  // name of the function's output
  bool image = false;
  ColorSpace color_space = ColorSpace::kInvalid;  // images: [1, channels, height, width], 0..255
};

struct LiftedNetwork {
  std::shared_ptr<ir::Program> program;  // one function, "main", opset CoreML8; image preprocessing is part of it
  std::vector<LiftedInput> inputs;       // in the order of the function's inputs
  std::vector<LiftedOutput> outputs;     // multi-array and image features; extents follow Core ML's rules
  // Classifiers only: the labels, and the value (an output of the function, one score per label) behind the predicted
  // label and the dictionary of probabilities.
  Model::ClassLabels labels;
  std::string probabilities;
  // Extents of every blob as the layers see them: [sequence, batch, channel, height, width] in the legacy mapping.
  std::map<std::string, Dims> blobs;
};

struct LiftOptions {
  // Extents of multi-array inputs ([..]) and images ([height, width] or [.., height, width]) by feature; the
  // description's default where absent. In the legacy mapping an array described by rank 1 may also come as [batch,
  // channels], [sequence, batch, channels] or rank 5, one described by rank 3 as [batch, channels, height, width] or
  // rank 5.
  std::map<std::string, Dims> input_dims;
};

// kUnsupported names every layer that is not supported, with its type; kInput: the network is damaged or its layers do
// not fit the extents.
Result<LiftedNetwork> lift_neural_network(const Model& model, const LiftOptions& options = {});

}  // namespace mlt::coreml
