#include "lib/coreml/validate.h"

#include <fmt/core.h>

#include "lib/coreml/validate/checker.h"

namespace mlt::coreml {

void Checker::add(Severity severity, std::string message) {
  if (full()) return;
  std::string place;
  for (const std::string& part : places_) place += (place.empty() ? "" : ": ") + part;
  findings_->push_back({severity, std::move(place), std::move(message)});
  if (full()) findings_->push_back({Severity::kWarning, "", "more findings are left out"});
}

namespace {

bool among(FeatureKind kind, std::initializer_list<FeatureKind> kinds) {
  for (FeatureKind allowed : kinds)
    if (kind == allowed) return true;
  return false;
}

std::string names_of(std::initializer_list<FeatureKind> kinds) {
  std::string text;
  for (FeatureKind kind : kinds) text += (text.empty() ? "" : ", ") + std::string(feature_kind_name(kind));
  return text;
}

}  // namespace

void Checker::features(const char* what, const std::vector<FeatureDescription>& all, size_t most,
                       std::initializer_list<FeatureKind> kinds) {
  if (most != 0 && all.size() > most) error(fmt::format("has {} {}s, at most {} expected", all.size(), what, most));
  for (const FeatureDescription& feature : all)
    if (!among(feature.type.kind, kinds))
      error(fmt::format("{} \"{}\" is of type {}, expected {}", what, feature.name, feature_kind_name(feature.type.kind),
                        names_of(kinds)));
}

void Checker::feature(const char* what, const std::vector<FeatureDescription>& all, const std::string& name,
                      std::initializer_list<FeatureKind> kinds) {
  const FeatureDescription* found = find_feature(all, name);
  if (!found) {
    error(fmt::format("{} \"{}\" is not in the description", what, name));
  } else if (!among(found->type.kind, kinds)) {
    error(fmt::format("{} \"{}\" is of type {}, expected {}", what, name, feature_kind_name(found->type.kind),
                      names_of(kinds)));
  }
}

void check_model(const Model& model, Checker& check, int depth) {
  check_interface(model, check);
  switch (model.kind()) {
    case ModelKind::kNone: check.error("model has no type: it is only a description"); break;
    case ModelKind::kPipelineClassifier:
    case ModelKind::kPipelineRegressor:
    case ModelKind::kPipeline: check_pipeline(model, check, depth); break;
    case ModelKind::kGlmRegressor:
    case ModelKind::kGlmClassifier: check_glm(model, check); break;
    case ModelKind::kSupportVectorRegressor:
    case ModelKind::kSupportVectorClassifier: check_svm(model, check); break;
    case ModelKind::kTreeEnsembleRegressor:
    case ModelKind::kTreeEnsembleClassifier: check_tree_ensemble(model, check); break;
    case ModelKind::kKNearestNeighborsClassifier: check_knn(model, check); break;
    case ModelKind::kNeuralNetwork:
    case ModelKind::kNeuralNetworkRegressor:
    case ModelKind::kNeuralNetworkClassifier: check_neural_network(model, check); break;
    case ModelKind::kMlProgram: check_ml_program(model, check); break;
    case ModelKind::kOneHotEncoder:
    case ModelKind::kImputer:
    case ModelKind::kFeatureVectorizer:
    case ModelKind::kDictVectorizer:
    case ModelKind::kScaler:
    case ModelKind::kCategoricalMapping:
    case ModelKind::kNormalizer:
    case ModelKind::kArrayFeatureExtractor: check_feature_engineering(model, check); break;
    case ModelKind::kTextClassifier:
    case ModelKind::kWordTagger:
    case ModelKind::kVisionFeaturePrint:
    case ModelKind::kSoundAnalysisPreprocessing:
    case ModelKind::kGazetteer:
    case ModelKind::kWordEmbedding:
    case ModelKind::kAudioFeaturePrint: check_apple_model(model, check); break;
    case ModelKind::kBayesianProbitRegressor:
    case ModelKind::kItemSimilarityRecommender:
    case ModelKind::kCustomModel:
    case ModelKind::kLinkedModel:
    case ModelKind::kClassConfidenceThresholding:
    case ModelKind::kNonMaximumSuppression:
    case ModelKind::kIdentity:
    case ModelKind::kSerializedModel: check_other(model, check); break;
    default: check.warning("model type " + model.kind_name() + " is newer than this program and was not checked");
  }
  int needed = required_spec_version(model);
  // Core ML checks the version of single features only (those are errors above); older systems refuse such a model.
  if (needed > model.spec_version() && model.spec_version() > 0)
    check.warning(fmt::format("uses features of specification version {}, but says it is version {}", needed, model.spec_version()));
}

std::vector<Finding> validate(const Model& model, const WeightSource* weights) {
  std::vector<Finding> findings;
  Checker check(&findings, weights);
  check_model(model, check, 0);
  return findings;
}

bool has_errors(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings)
    if (finding.severity == Severity::kError) return true;
  return false;
}

}  // namespace mlt::coreml
