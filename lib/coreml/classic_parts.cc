#include "lib/coreml/classic_parts.h"

#include "lib/coreml/classic.h"
#include "lib/coreml/model_proto.h"
#include "lib/estimators/glm.h"
#include "lib/estimators/knn.h"
#include "lib/estimators/nms.h"
#include "lib/estimators/preprocess.h"
#include "lib/estimators/probit.h"
#include "lib/estimators/recommender.h"
#include "lib/estimators/sound.h"
#include "lib/estimators/svm.h"
#include "lib/estimators/tree_ensemble.h"

namespace mlt::coreml::classic {
namespace {

using Made = Result<std::unique_ptr<Estimator>>;

template <typename Message>
Labels labels_of(const Message& message) {
  Labels labels;
  if (message.ClassLabels_case() == Message::kInt64ClassLabels) {
    labels.integers = true;
    labels.ints.assign(message.int64classlabels().vector().begin(), message.int64classlabels().vector().end());
  } else {
    labels.strings.assign(message.stringclasslabels().vector().begin(), message.stringclasslabels().vector().end());
  }
  return labels;
}

Labels labels_of(const spec::StringVector& strings) {
  Labels labels;
  labels.strings.assign(strings.vector().begin(), strings.vector().end());
  return labels;
}
Labels labels_of(const spec::Int64Vector& ints) {
  Labels labels;
  labels.integers = true;
  labels.ints.assign(ints.vector().begin(), ints.vector().end());
  return labels;
}

Result<TreeEnsembleParams> tree_params(const spec::TreeEnsembleParameters& trees, int transform) {
  TreeEnsembleParams out;
  if (transform < 0 || transform > 3) return unsupported_error("tree ensemble: post-evaluation transform " + std::to_string(transform));
  out.transform = static_cast<TreeEnsembleParams::Transform>(transform);
  out.outputs = trees.numpredictiondimensions() == 0 ? 1 : trees.numpredictiondimensions();
  out.base.assign(trees.basepredictionvalue().begin(), trees.basepredictionvalue().end());
  out.nodes.reserve(static_cast<size_t>(trees.nodes_size()));
  for (const auto& node : trees.nodes()) {
    if (node.nodebehavior() < 0 || node.nodebehavior() > 6) return unsupported_error("tree ensemble: node behaviour " + std::to_string(node.nodebehavior()));
    TreeEnsembleParams::Node n;
    n.tree = node.treeid();
    n.id = node.nodeid();
    n.branch = static_cast<TreeEnsembleParams::Branch>(node.nodebehavior());
    n.feature = node.branchfeatureindex();
    n.value = node.branchfeaturevalue();
    n.true_child = node.truechildnodeid();
    n.false_child = node.falsechildnodeid();
    n.missing_is_true = node.missingvaluetrackstruechild();
    for (const auto& info : node.evaluationinfo()) n.leaf.emplace_back(info.evaluationindex(), info.evaluationvalue());
    out.nodes.push_back(std::move(n));
  }
  return out;
}

template <typename Message>
LinearParams linear_params(const Message& glm) {
  LinearParams out;
  for (const auto& row : glm.weights()) out.weights.emplace_back(row.value().begin(), row.value().end());
  out.offset.assign(glm.offset().begin(), glm.offset().end());
  return out;
}

template <typename Message>
Result<SvmParams> svm_params(const Message& svm) {
  SvmParams out;
  switch (svm.kernel().kernel_case()) {
    case spec::Kernel::kRbfKernel: out.kernel = {SvmKernel::Kind::kRbf, svm.kernel().rbfkernel().gamma(), 0, 0}; break;
    case spec::Kernel::kPolyKernel:
      out.kernel = {SvmKernel::Kind::kPoly, svm.kernel().polykernel().gamma(), svm.kernel().polykernel().c(), svm.kernel().polykernel().degree()};
      break;
    case spec::Kernel::kSigmoidKernel: out.kernel = {SvmKernel::Kind::kSigmoid, svm.kernel().sigmoidkernel().gamma(), svm.kernel().sigmoidkernel().c(), 0}; break;
    case spec::Kernel::kLinearKernel: break;
    default: return input_error("support vector machine: no kernel");
  }
  if (svm.has_densesupportvectors()) {
    for (const auto& v : svm.densesupportvectors().vectors()) out.vectors.dense.emplace_back(v.values().begin(), v.values().end());
  } else {
    out.vectors.sparse = true;
    for (const auto& v : svm.sparsesupportvectors().vectors()) {
      auto& nodes = out.vectors.nodes.emplace_back();
      for (const auto& node : v.nodes()) nodes.emplace_back(node.index(), node.value());
    }
  }
  return out;
}

Made svm_regressor(const spec::SupportVectorRegressor& svm, Interface interface) {
  MLT_ASSIGN(SvmParams params, svm_params(svm));
  params.coefficients.emplace_back(svm.coefficients().alpha().begin(), svm.coefficients().alpha().end());
  params.rho = {svm.rho()};
  return make_svm_regressor(std::move(interface), std::move(params));
}

Made svm_classifier(const spec::SupportVectorClassifier& svm, Interface interface) {
  MLT_ASSIGN(SvmParams params, svm_params(svm));
  for (const auto& row : svm.coefficients()) params.coefficients.emplace_back(row.alpha().begin(), row.alpha().end());
  params.rho.assign(svm.rho().begin(), svm.rho().end());
  params.vectors_per_class.assign(svm.numberofsupportvectorsperclass().begin(), svm.numberofsupportvectorsperclass().end());
  params.prob_a.assign(svm.proba().begin(), svm.proba().end());
  params.prob_b.assign(svm.probb().begin(), svm.probb().end());
  return make_svm_classifier(std::move(interface), std::move(params), labels_of(svm));
}

Made knn(const spec::KNearestNeighborsClassifier& knn, Interface interface) {
  using Message = spec::KNearestNeighborsClassifier;
  const auto& index = knn.nearestneighborsindex();
  KnnParams params;
  params.dimensions = index.numberofdimensions();
  if (params.dimensions < 1) return input_error("nearest neighbours: no dimensions");
  for (const auto& sample : index.floatsamples()) {
    if (sample.vector_size() != params.dimensions)
      return input_error("nearest neighbours: a sample has " + std::to_string(sample.vector_size()) + " values instead of " + std::to_string(params.dimensions));
    params.samples.insert(params.samples.end(), sample.vector().begin(), sample.vector().end());
  }
  if (knn.has_numberofneighbors()) params.neighbors = knn.numberofneighbors().defaultvalue();
  params.inverse_distance = knn.WeightingScheme_case() == Message::kInverseDistanceWeighting;
  if (knn.DefaultClassLabel_case() == Message::kDefaultStringLabel) params.default_label = FeatureValue(knn.defaultstringlabel());
  if (knn.DefaultClassLabel_case() == Message::kDefaultInt64Label) params.default_label = FeatureValue(static_cast<int64_t>(knn.defaultint64label()));
  return make_knn_classifier(std::move(interface), std::move(params), labels_of(knn));
}

Made imputer(const spec::Imputer& imputer, Interface interface) {
  using Message = spec::Imputer;
  ImputerParams params;
  switch (imputer.ImputedValue_case()) {
    case Message::kImputedDoubleValue: params.imputed = imputer.imputeddoublevalue(); break;
    case Message::kImputedInt64Value: params.imputed = static_cast<int64_t>(imputer.imputedint64value()); break;
    case Message::kImputedStringValue: params.imputed = imputer.imputedstringvalue(); break;
    case Message::kImputedDoubleArray: {
      const auto& list = imputer.imputeddoublearray().vector();
      params.imputed = Tensor::from<double>({list.size()}, std::vector<double>(list.begin(), list.end()));
      break;
    }
    case Message::kImputedInt64Array: {
      const auto& list = imputer.imputedint64array().vector();
      params.imputed = Tensor::from<double>({list.size()}, std::vector<double>(list.begin(), list.end()));
      break;
    }
    case Message::kImputedStringDictionary: {
      const auto& map = imputer.imputedstringdictionary().map();
      params.imputed = StringDict(map.begin(), map.end());
      break;
    }
    case Message::kImputedInt64Dictionary: {
      IntDict dict;
      for (const auto& [key, value] : imputer.imputedint64dictionary().map()) dict[key] = value;
      params.imputed = std::move(dict);
      break;
    }
    default: return input_error("imputer: no imputed value");
  }
  switch (imputer.ReplaceValue_case()) {
    case Message::kReplaceDoubleValue: params.missing = FeatureValue(imputer.replacedoublevalue()); break;
    case Message::kReplaceInt64Value: params.missing = FeatureValue(static_cast<int64_t>(imputer.replaceint64value())); break;
    case Message::kReplaceStringValue: params.missing = FeatureValue(imputer.replacestringvalue()); break;
    default: break;
  }
  return make_imputer(std::move(interface), std::move(params));
}

Made categorical(const spec::CategoricalMapping& mapping, Interface interface) {
  using Message = spec::CategoricalMapping;
  CategoricalParams params;
  params.from_string = mapping.MappingType_case() != Message::kInt64ToStringMap;
  for (const auto& [key, value] : mapping.stringtoint64map().map()) params.to_int[key] = value;
  for (const auto& [key, value] : mapping.int64tostringmap().map()) params.to_string[key] = value;
  if (mapping.ValueOnUnknown_case() == Message::kStrValue) params.unknown = FeatureValue(mapping.strvalue());
  if (mapping.ValueOnUnknown_case() == Message::kInt64Value) params.unknown = FeatureValue(static_cast<int64_t>(mapping.int64value()));
  return make_categorical_mapping(std::move(interface), std::move(params));
}

Made nms(const spec::NonMaximumSuppression& nms, Interface interface) {
  NmsParams params;
  params.per_class = nms.picktop().perclass();
  params.iou_threshold = nms.iouthreshold();
  params.confidence_threshold = nms.confidencethreshold();
  params.confidence_input = nms.confidenceinputfeaturename();
  params.coordinates_input = nms.coordinatesinputfeaturename();
  params.iou_input = nms.iouthresholdinputfeaturename();
  params.threshold_input = nms.confidencethresholdinputfeaturename();
  params.confidence_output = nms.confidenceoutputfeaturename();
  params.coordinates_output = nms.coordinatesoutputfeaturename();
  return make_nms(std::move(interface), std::move(params));
}

Made recommender(const spec::ItemSimilarityRecommender& r, Interface interface) {
  RecommenderParams params;
  for (const auto& item : r.itemitemsimilarities()) {
    RecommenderParams::Item out;
    out.id = item.itemid();
    out.adjustment = item.itemscoreadjustment();
    for (const auto& other : item.similaritemlist()) out.similar.emplace_back(other.itemid(), other.similarityscore());
    params.items.push_back(std::move(out));
  }
  if (r.itemstringids().vector_size() > 0) params.ids = labels_of(r.itemstringids());
  else if (r.itemint64ids().vector_size() > 0) params.ids = labels_of(r.itemint64ids());
  params.items_input = r.iteminputfeaturename();
  params.count_input = r.numrecommendationsinputfeaturename();
  params.restriction_input = r.itemrestrictioninputfeaturename();
  params.exclusion_input = r.itemexclusioninputfeaturename();
  params.list_output = r.recommendeditemlistoutputfeaturename();
  params.score_output = r.recommendeditemscoreoutputfeaturename();
  return make_recommender(std::move(interface), std::move(params));
}

Made probit(const spec::BayesianProbitRegressor& probit, Interface interface) {
  // Drawn at random: the same input would not give the same answer.
  if (!probit.sampledprobabilityoutputfeaturename().empty() && interface.output(probit.sampledprobabilityoutputfeaturename()) != nullptr)
    return unsupported_error("Bayesian probit regressor: the output \"" + probit.sampledprobabilityoutputfeaturename() + "\" is a random sample, which is not drawn here");
  ProbitParams params;
  params.features = probit.numberoffeatures();
  params.bias = {probit.bias().mean(), probit.bias().precision()};
  for (const auto& feature : probit.features())
    for (const auto& weight : feature.weights())
      if (!params.weights.try_emplace({feature.featureid(), weight.featurevalue()}, ProbitParams::Gaussian{weight.featureweight().mean(), weight.featureweight().precision()}).second)
        return input_error("Bayesian probit regressor: two weights for value " + std::to_string(weight.featurevalue()) + " of feature " + std::to_string(feature.featureid()));
  params.input = probit.regressioninputfeaturename();
  if (params.input.empty() && !interface.inputs.empty()) params.input = interface.inputs[0].name;
  params.optimism_input = probit.optimisminputfeaturename();
  params.mean_output = probit.meanoutputfeaturename();
  params.variance_output = probit.varianceoutputfeaturename();
  params.pessimistic_output = probit.pessimisticprobabilityoutputfeaturename();
  return make_probit_regressor(std::move(interface), std::move(params));
}

Made feature_engineering(const Model& model, Interface interface) {
  const spec::Model& m = model.proto();
  switch (model.kind()) {
    case ModelKind::kFeatureVectorizer: {
      std::vector<VectorizerColumn> columns;
      for (const auto& column : m.featurevectorizer().inputlist()) columns.push_back({column.inputcolumn(), column.inputdimensions()});
      return make_feature_vectorizer(std::move(interface), std::move(columns));
    }
    case ModelKind::kOneHotEncoder: {
      const auto& encoder = m.onehotencoder();
      Labels categories = encoder.has_int64categories() ? labels_of(encoder.int64categories()) : labels_of(encoder.stringcategories());
      return make_one_hot_encoder(std::move(interface), std::move(categories), encoder.outputsparse(), encoder.handleunknown() == spec::OneHotEncoder::IgnoreUnknown);
    }
    case ModelKind::kImputer: return imputer(m.imputer(), std::move(interface));
    case ModelKind::kDictVectorizer:
      return make_dict_vectorizer(std::move(interface), m.dictvectorizer().has_int64toindex() ? labels_of(m.dictvectorizer().int64toindex())
                                                                                                : labels_of(m.dictvectorizer().stringtoindex()));
    case ModelKind::kScaler: {
      const auto& s = m.scaler();
      return make_scaler(std::move(interface), {s.shiftvalue().begin(), s.shiftvalue().end()}, {s.scalevalue().begin(), s.scalevalue().end()});
    }
    case ModelKind::kCategoricalMapping: return categorical(m.categoricalmapping(), std::move(interface));
    case ModelKind::kNormalizer: {
      int norm = m.normalizer().normtype();
      if (norm < 0 || norm > 2) return unsupported_error("normalizer: norm " + std::to_string(norm));
      return make_normalizer(std::move(interface), static_cast<Norm>(norm));
    }
    case ModelKind::kArrayFeatureExtractor: {
      const auto& indices = m.arrayfeatureextractor().extractindex();
      return make_array_feature_extractor(std::move(interface), {indices.begin(), indices.end()});
    }
    case ModelKind::kIdentity: return make_identity(std::move(interface));
    case ModelKind::kClassConfidenceThresholding: return make_class_confidence_thresholding(std::move(interface));
    default: return missing_stage_error(model);
  }
}

}  // namespace

Result<std::unique_ptr<Estimator>> make_leaf(const Model& model, Interface interface) {
  const spec::Model& m = model.proto();
  switch (model.kind()) {
    case ModelKind::kTreeEnsembleRegressor: {
      MLT_ASSIGN(auto params, tree_params(m.treeensembleregressor().treeensemble(), m.treeensembleregressor().postevaluationtransform()));
      return make_tree_regressor(std::move(interface), params);
    }
    case ModelKind::kTreeEnsembleClassifier: {
      MLT_ASSIGN(auto params, tree_params(m.treeensembleclassifier().treeensemble(), m.treeensembleclassifier().postevaluationtransform()));
      return make_tree_classifier(std::move(interface), params, labels_of(m.treeensembleclassifier()));
    }
    case ModelKind::kGlmRegressor: {
      LinearParams params = linear_params(m.glmregressor());
      switch (m.glmregressor().postevaluationtransform()) {
        case spec::GLMRegressor::NoTransform: break;
        case spec::GLMRegressor::Logit: params.link = Link::kLogit; break;
        case spec::GLMRegressor::Probit: params.link = Link::kProbit; break;
        default: return unsupported_error("linear regressor: unknown post-evaluation transform");
      }
      return make_glm_regressor(std::move(interface), std::move(params));
    }
    case ModelKind::kGlmClassifier: {
      LinearParams params = linear_params(m.glmclassifier());
      switch (m.glmclassifier().postevaluationtransform()) {
        case spec::GLMClassifier::Logit: params.link = Link::kLogit; break;
        case spec::GLMClassifier::Probit: params.link = Link::kProbit; break;
        default: return unsupported_error("linear classifier: unknown post-evaluation transform");
      }
      params.one_vs_rest = m.glmclassifier().classencoding() == spec::GLMClassifier::OneVsRest;
      return make_glm_classifier(std::move(interface), std::move(params), labels_of(m.glmclassifier()));
    }
    case ModelKind::kSupportVectorRegressor: return svm_regressor(m.supportvectorregressor(), std::move(interface));
    case ModelKind::kSupportVectorClassifier: return svm_classifier(m.supportvectorclassifier(), std::move(interface));
    case ModelKind::kKNearestNeighborsClassifier: return knn(m.knearestneighborsclassifier(), std::move(interface));
    case ModelKind::kNonMaximumSuppression: return nms(m.nonmaximumsuppression(), std::move(interface));
    case ModelKind::kBayesianProbitRegressor: return probit(m.bayesianprobitregressor(), std::move(interface));
    case ModelKind::kSoundAnalysisPreprocessing:
      if (!m.soundanalysispreprocessing().has_vggish()) return unsupported_error("sound preprocessing of a kind that is not known here (known: VGGish)");
      return make_sound_preprocessing(std::move(interface));
    case ModelKind::kItemSimilarityRecommender: return recommender(m.itemsimilarityrecommender(), std::move(interface));
    case ModelKind::kNone: return input_error("the model has no type");
    default: return feature_engineering(model, std::move(interface));
  }
}

std::string custom_class(const Model& model) {
  const std::string& name = model.proto().custommodel().classname();
  return name.empty() ? "" : " (class " + name + ")";
}

std::string serialized_identifier(const Model& model) {
  const std::string& name = model.proto().serializedmodel().identifier();
  return name.empty() ? "" : " (identifier " + name + ")";
}

}  // namespace mlt::coreml::classic

namespace mlt::coreml {

Result<LinkedFile> linked_file(const Model& model) {
  const spec::LinkedModelFile& link = model.proto().linkedmodel().linkedmodelfile();
  LinkedFile out;
  out.name = link.linkedmodelfilename().defaultvalue();
  if (!is_safe_relative_path(out.name)) return input_error("linked model: \"" + out.name + "\" is no file name");
  std::string_view rest = link.linkedmodelsearchpath().defaultvalue();
  for (;;) {
    size_t colon = rest.find(':');
    out.directories.emplace_back(rest.substr(0, colon));
    if (out.directories.back().empty()) out.directories.back() = ".";
    if (colon == rest.npos) return out;
    rest.remove_prefix(colon + 1);
  }
}

}  // namespace mlt::coreml
