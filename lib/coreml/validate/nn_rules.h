// Facts about the layer types of neural networks, and the sizes their weights must have.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace CoreML::Specification {
class NeuralNetworkLayer;
class WeightParams;
}  // namespace CoreML::Specification

namespace mlt::coreml {

struct NnRule {
  int number;  // of the member of NeuralNetworkLayer.layer
  const char* name;
  int spec_version;  // least
  int inputs_min, inputs_max, outputs_min, outputs_max;  // -1: no bound
};
const NnRule* find_nn_rule(int number);  // nullptr: not known

// Least specification version that a layer's type and options need: the rule's, or more.
int nn_layer_spec_version(const CoreML::Specification::NeuralNetworkLayer& layer);

// A weight a layer has or must have.
struct WeightSlot {
  const char* name;                                    // "weights", "inputGateWeightMatrix", "forward inputGateBiasVector"
  const CoreML::Specification::WeightParams* params;   // never null; the empty message when absent
  std::vector<uint64_t> shape;                         // expected extents; empty: any size
  uint64_t channels = 1;                               // a quantization scale may have this many entries, or one
};
std::vector<WeightSlot> weight_slots(const CoreML::Specification::NeuralNetworkLayer& layer);

}  // namespace mlt::coreml
