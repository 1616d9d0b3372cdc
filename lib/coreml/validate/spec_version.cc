// The least specification version by the features a model uses: coremltools' Utils.cpp, where has...Features() say the
// same, and the table "Specification version rules" of the format reference.
#include <algorithm>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate.h"
#include "lib/coreml/validate/nn_rules.h"

namespace mlt::coreml {
namespace {

int of_feature(const FeatureDescription& feature, bool nms) {
  const FeatureType& type = feature.type;
  int version = 1;
  auto at_least = [&](int needed) { version = std::max(version, needed); };
  switch (type.kind) {
    case FeatureKind::kMultiArray:
      if (type.array.flexibility != Flexibility::kFixed) at_least(3);
      if (type.optional && !std::holds_alternative<std::monostate>(type.array.default_value)) at_least(5);
      if (nms && type.array.data_type == ArrayDataType::kFloat32) at_least(5);
      if (type.array.data_type == ArrayDataType::kFloat16) at_least(7);
      if (type.array.data_type == ArrayDataType::kInt8) at_least(10);
      break;
    case FeatureKind::kImage:
      if (type.image.flexibility != Flexibility::kFixed) at_least(3);
      if (type.image.color_space == ColorSpace::kGrayscaleFloat16) at_least(7);
      break;
    case FeatureKind::kSequence: at_least(3); break;
    case FeatureKind::kState: at_least(9); break;
    default: break;
  }
  return version;
}

template <typename Network>
int of_network(const Network& network) {
  int version = network.arrayinputshapemapping() != 0 || network.imageinputshapemapping() != 0 ? 4 : 1;
  for (const auto& layer : network.layers()) version = std::max(version, nn_layer_spec_version(layer));
  return version;
}

int of_body(const Model& model) {
  const spec::Model& proto = model.proto();
  switch (model.kind()) {
    case ModelKind::kNeuralNetwork: return of_network(proto.neuralnetwork());
    case ModelKind::kNeuralNetworkClassifier: return of_network(proto.neuralnetworkclassifier());
    case ModelKind::kNeuralNetworkRegressor: return of_network(proto.neuralnetworkregressor());
    case ModelKind::kCustomModel:
    case ModelKind::kNonMaximumSuppression:
    case ModelKind::kBayesianProbitRegressor: return 3;
    case ModelKind::kKNearestNeighborsClassifier:
    case ModelKind::kLinkedModel:
    case ModelKind::kItemSimilarityRecommender:
    case ModelKind::kSoundAnalysisPreprocessing:
    case ModelKind::kGazetteer:
    case ModelKind::kWordEmbedding: return 4;
    case ModelKind::kTextClassifier:
      switch (proto.textclassifier().revision()) {
        case 2: return 4;
        case 4: return 8;
        case 5: return 9;
        default: return 3;
      }
    case ModelKind::kWordTagger:
      switch (proto.wordtagger().revision()) {
        case 2: return 4;
        case 3: return 5;
        case 4: return 8;
        case 5: return 9;
        default: return 3;
      }
    case ModelKind::kVisionFeaturePrint:
      if (proto.visionfeatureprint().has_objects()) return 5;
      return proto.visionfeatureprint().scene().version() == 2 ? 8 : 3;
    case ModelKind::kSerializedModel: return 5;
    case ModelKind::kAudioFeaturePrint: return 6;
    case ModelKind::kClassConfidenceThresholding: return 8;
    case ModelKind::kMlProgram: {
      int version = 6;
      for (const auto& [name, function] : proto.mlprogram().functions()) {
        const std::string& opset = function.opset();
        if (opset == "CoreML6") version = std::max(version, 7);
        if (opset == "CoreML7") version = std::max(version, 8);
        if (opset == "CoreML8") version = std::max(version, 9);
        if (opset == "CoreML9") version = std::max(version, 10);
      }
      return version;
    }
    default: return 1;
  }
}

}  // namespace

int required_spec_version(const Model& model) {
  const Description& description = model.description();
  int version = of_body(model);
  bool nms = model.kind() == ModelKind::kNonMaximumSuppression;
  auto features = [&](const std::vector<FeatureDescription>& list) {
    for (const FeatureDescription& feature : list) version = std::max(version, of_feature(feature, nms));
  };
  for (const auto* list : {&description.inputs, &description.outputs, &description.states}) features(*list);
  for (const FunctionDescription& function : description.functions)
    for (const auto* list : {&function.inputs, &function.outputs, &function.states}) features(*list);
  if (!description.functions.empty() || !description.default_function_name.empty()) version = std::max(version, 9);
  else if (description.inputs.empty()) version = std::max(version, 9);
  if (model.updatable()) version = std::max(version, 4);
  for (size_t i = 0; i < model.child_count(); i++) version = std::max(version, required_spec_version(model.child(i)));
  return version;
}

}  // namespace mlt::coreml
