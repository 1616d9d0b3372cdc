#include "lib/coreml/classic.h"

#include <algorithm>

#include "lib/coreml/classic_parts.h"
#include "lib/coreml/limits.h"
#include "lib/estimators/pipeline.h"

namespace mlt::coreml {
namespace {

Result<std::unique_ptr<Estimator>> make(const Model& model, const StageFactory& other_kinds, int depth);

Result<std::unique_ptr<Estimator>> make_pipeline(const Model& model, const StageFactory& other_kinds, int depth) {
  if (depth > kMaxPipelineNesting) return input_error("pipelines nest more than " + std::to_string(kMaxPipelineNesting) + " deep");
  std::vector<PipelineStage> stages;
  for (size_t i = 0; i < model.child_count(); ++i) {
    Model child = model.child(i);
    PipelineStage stage;
    stage.name = model.child_name(i);
    stage.interface = to_interface(child.description());
    auto made = make(child, other_kinds, depth + 1);
    if (made.ok()) {
      stage.model = std::move(made).value();
    } else if (made.error().code == Code::kUnsupported) {
      stage.missing = std::move(made).error();
    } else {
      return std::move(made).error().in_path("pipeline stage " + std::to_string(i) + " (" + stage.name + ")");
    }
    stages.push_back(std::move(stage));
  }
  return std::unique_ptr<Estimator>(std::make_unique<Pipeline>(to_interface(model.description()), std::move(stages)));
}

Result<std::unique_ptr<Estimator>> make(const Model& model, const StageFactory& other_kinds, int depth) {
  ModelKind kind = model.kind();
  if (is_pipeline(kind)) return make_pipeline(model, other_kinds, depth);
  if (is_neural_network(kind) || kind == ModelKind::kMlProgram || kind == ModelKind::kLinkedModel) {
    if (other_kinds) return other_kinds(model);
    if (kind == ModelKind::kLinkedModel) return missing_stage_error(model);
    return unsupported_error("a " + model.kind_name() + " is no classic model");
  }
  return classic::make_leaf(model, to_interface(model.description()));
}

}  // namespace

bool is_classic(ModelKind kind) {
  return kind != ModelKind::kNone && kind != ModelKind::kMlProgram && !is_neural_network(kind);
}

Result<std::unique_ptr<Estimator>> make_estimator(const Model& model, const StageFactory& other_kinds) { return make(model, other_kinds, 0); }

Port to_port(const FeatureDescription& feature) {
  Port port;
  port.name = feature.name;
  port.optional = feature.type.optional;
  bool ints = feature.type.element == FeatureKind::kInt64;
  switch (feature.type.kind) {
    case FeatureKind::kInt64: port.type = PortType::kInt; break;
    case FeatureKind::kDouble: port.type = PortType::kDouble; break;
    case FeatureKind::kString: port.type = PortType::kString; break;
    case FeatureKind::kDictionary: port.type = ints ? PortType::kIntDict : PortType::kStringDict; break;
    case FeatureKind::kSequence: port.type = ints ? PortType::kIntList : PortType::kStringList; break;
    case FeatureKind::kImage:
      port.type = PortType::kImage;
      port.shape = {feature.type.image.height, feature.type.image.width};
      break;
    case FeatureKind::kMultiArray: {
      const ArrayType& array = feature.type.array;
      port.type = PortType::kArray;
      port.dtype = array.dtype().value_or(DType::kF64);
      if (array.flexibility == Flexibility::kFixed || array.flexibility == Flexibility::kEnumerated) port.shape = array.shape;
      if (array.flexibility == Flexibility::kFixed && !array.shape.empty()) port.min_rows = port.max_rows = array.shape[0];
      if (array.flexibility == Flexibility::kRange && !array.shape_range.empty()) {
        port.min_rows = static_cast<int64_t>(std::min<uint64_t>(array.shape_range[0].lower, uint64_t{1} << 62));
        port.max_rows = array.shape_range[0].upper;
      }
      if (array.flexibility == Flexibility::kEnumerated && !array.enumerated_shapes.empty()) {
        port.min_rows = int64_t{1} << 62;
        port.max_rows = 0;
        for (const auto& shape : array.enumerated_shapes) {
          if (shape.empty()) continue;
          port.min_rows = std::min(port.min_rows, shape[0]);
          port.max_rows = std::max(port.max_rows, shape[0]);
        }
        port.min_rows = std::min(port.min_rows, port.max_rows);
      }
      break;
    }
    default: port.type = PortType::kOther;
  }
  return port;
}

Interface to_interface(const Description& description) {
  Interface out;
  for (const auto& feature : description.inputs) out.inputs.push_back(to_port(feature));
  for (const auto& feature : description.outputs) out.outputs.push_back(to_port(feature));
  out.predicted_feature = description.predicted_feature_name;
  out.predicted_probabilities = description.predicted_probabilities_name;
  return out;
}

Error missing_stage_error(const Model& model) {
  std::string what = "is a kind of model that is not known here";
  switch (model.kind()) {
    case ModelKind::kVisionFeaturePrint: what = "needs Apple's VisionFeaturePrint network, which is part of Apple's systems"; break;
    case ModelKind::kAudioFeaturePrint: what = "needs Apple's AudioFeaturePrint network, which is part of Apple's systems"; break;
    case ModelKind::kTextClassifier: what = "holds a model of Apple's Natural Language framework (private format), which only Apple's systems run"; break;
    case ModelKind::kWordTagger: what = "holds a model of Apple's Natural Language framework (private format), which only Apple's systems run"; break;
    case ModelKind::kGazetteer: what = "holds a gazetteer of Apple's Natural Language framework (private format), which only Apple's systems run"; break;
    case ModelKind::kWordEmbedding: what = "holds a word embedding of Apple's Natural Language framework (private format), which only Apple's systems run"; break;
    case ModelKind::kCustomModel: what = "is implemented by the app that ships it" + classic::custom_class(model); break;
    case ModelKind::kLinkedModel: what = "refers to another model file, which must be opened with it"; break;
    case ModelKind::kSerializedModel: what = "is a serialized model" + classic::serialized_identifier(model) + ", whose format is private to the framework that wrote it"; break;
    default: break;
  }
  std::string hint;
  for (const auto& output : model.description().outputs)
    if (output.type.kind == FeatureKind::kMultiArray) hint += (hint.empty() ? "" : " ") + ("--feature " + output.name + "=@" + output.name + ".npy");
  if (!hint.empty()) hint = "compute its output elsewhere and supply it: " + hint;
  return unsupported_error("this " + model.kind_name() + " " + what, std::move(hint));
}

}  // namespace mlt::coreml
