// The weights of neural networks, to read and to replace: what a quantizer walks over. Networks nested in branches,
// loops and pipelines are included. ML programs keep their weights in constants of the IR instead.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/coreml/model.h"
#include "lib/tensor/tensor.h"

namespace CoreML::Specification {
class NeuralNetworkLayer;
class WeightParams;
}

namespace mlt::coreml {

enum class WeightStorage {
  kFloat32,
  kFloat16,
  kLinear,       // codes of 1 to 8 bits, value = code * scale + bias
  kPalette,      // codes of 1 to 8 bits into a table
  kDynamicInt8,  // int8 with one scale, activations quantized at run time
  kOpaque,       // bytes without a description (custom layers)
};

struct NetworkWeight {
  std::string stage;       // "stage 1/" inside a pipeline, else empty
  std::string layer;       // layer's name
  std::string layer_kind;  // "convolution"
  std::string name;        // "weights", "bias", "inputGateWeightMatrix"
  Dims dims;               // as the layer uses it; one axis where it does not say
  int channel_axis = 0;    // a scale may vary along this axis ...
  int64_t channels = 1;    // ... and then has this many entries; 1: only one scale is possible
  WeightStorage storage = WeightStorage::kFloat32;
  int bits = 32;
  uint64_t bytes = 0;
  int64_t size() const;  // elements
};

class NetworkWeights {
 public:
  // Every weight that has values. kInput when a size does not suit its layer (validate() says which and why).
  // The model must outlive this and not be changed otherwise meanwhile.
  static Result<NetworkWeights> of(Model& model);

  size_t size() const { return weights_.size(); }
  const NetworkWeight& operator[](size_t i) const { return weights_[i]; }
  // Dequantized, float32. kUnsupported for kOpaque.
  Result<Tensor> values(size_t i) const;

  // Each replaces the stored form; kUsage when counts do not suit. Scales: one, or `channels`;
  // biases: none, or as many. Codes: one per element, below 1 << bits. Table: 1 << bits entries.
  Status set_float32(size_t i, std::span<const float> values);
  Status set_float16(size_t i, std::span<const float> values);  // rounds to nearest even
  Status set_linear(size_t i, int bits, std::span<const uint8_t> codes, std::span<const float> scales,
                    std::span<const float> biases);
  // Signed codes with one scale; the layer then quantizes its input, too. Weights of innerProduct and batchedMatmul.
  Status set_dynamic(size_t i, std::span<const uint8_t> codes, float scale);
  Status set_palette(size_t i, int bits, std::span<const uint8_t> codes, std::span<const float> table);

 private:
  Status add(const Model& model, const std::string& stage);
  Status check(size_t i, size_t count) const;

  Model* model_ = nullptr;
  std::vector<NetworkWeight> weights_;
  std::vector<CoreML::Specification::WeightParams*> params_;
  std::vector<CoreML::Specification::NeuralNetworkLayer*> layers_;
};

}  // namespace mlt::coreml
