#include "lib/coreml/classic_write.h"

#include <algorithm>

#include "lib/coreml/model_proto.h"

namespace mlt::coreml {
namespace {

template <typename Message>
void put_labels(Message* message, const Labels& labels) {
  if (labels.integers) {
    auto* list = message->mutable_int64classlabels();
    for (int64_t label : labels.ints) list->add_vector(label);
  } else {
    auto* list = message->mutable_stringclasslabels();
    for (const std::string& label : labels.strings) list->add_vector(label);
  }
}

void put_trees(spec::TreeEnsembleParameters* trees, const TreeEnsembleParams& params) {
  trees->set_numpredictiondimensions(params.outputs);
  std::vector<double> base = params.base;
  if (base.empty()) base.assign(params.outputs, 0.0);
  if (base.size() == 1) base.assign(params.outputs, base[0]);
  for (double value : base) trees->add_basepredictionvalue(value);
  trees->mutable_nodes()->Reserve(static_cast<int>(params.nodes.size()));
  for (const TreeEnsembleParams::Node& node : params.nodes) {
    auto* out = trees->add_nodes();
    out->set_treeid(node.tree);
    out->set_nodeid(node.id);
    out->set_nodebehavior(static_cast<spec::TreeEnsembleParameters::TreeNode::TreeNodeBehavior>(node.branch));
    if (node.branch == TreeEnsembleParams::Branch::kLeaf) {
      for (auto [index, value] : node.leaf) {
        auto* info = out->add_evaluationinfo();
        info->set_evaluationindex(index);
        info->set_evaluationvalue(value);
      }
      continue;
    }
    out->set_branchfeatureindex(node.feature);
    out->set_branchfeaturevalue(node.value);
    out->set_truechildnodeid(node.true_child);
    out->set_falsechildnodeid(node.false_child);
    out->set_missingvaluetrackstruechild(node.missing_is_true);
  }
}

template <typename Message>
void put_linear(Message* glm, const LinearParams& params) {
  for (const auto& row : params.weights) {
    auto* list = glm->add_weights();
    for (double value : row) list->add_value(value);
  }
  for (size_t i = 0; i < params.weights.size(); ++i) glm->add_offset(i < params.offset.size() ? params.offset[i] : 0.0);
}

template <typename Message>
void put_svm(Message* svm, const SvmParams& params) {
  spec::Kernel* kernel = svm->mutable_kernel();
  switch (params.kernel.kind) {
    case SvmKernel::Kind::kLinear: kernel->mutable_linearkernel(); break;
    case SvmKernel::Kind::kRbf: kernel->mutable_rbfkernel()->set_gamma(params.kernel.gamma); break;
    case SvmKernel::Kind::kPoly:
      kernel->mutable_polykernel()->set_gamma(params.kernel.gamma);
      kernel->mutable_polykernel()->set_c(params.kernel.c);
      kernel->mutable_polykernel()->set_degree(params.kernel.degree);
      break;
    case SvmKernel::Kind::kSigmoid:
      kernel->mutable_sigmoidkernel()->set_gamma(params.kernel.gamma);
      kernel->mutable_sigmoidkernel()->set_c(params.kernel.c);
      break;
  }
  if (params.vectors.sparse) {
    auto* list = svm->mutable_sparsesupportvectors();
    for (const auto& nodes : params.vectors.nodes) {
      auto* vector = list->add_vectors();
      for (auto [index, value] : nodes) {
        auto* node = vector->add_nodes();
        node->set_index(index);
        node->set_value(value);
      }
    }
  } else {
    auto* list = svm->mutable_densesupportvectors();
    for (const auto& values : params.vectors.dense) {
      auto* vector = list->add_vectors();
      for (double value : values) vector->add_values(value);
    }
  }
}

}  // namespace

void write_tree_regressor(Model& model, const TreeEnsembleParams& params) {
  auto* body = model.mutable_proto().mutable_treeensembleregressor();
  put_trees(body->mutable_treeensemble(), params);
  body->set_postevaluationtransform(static_cast<spec::TreeEnsemblePostEvaluationTransform>(params.transform));
}

void write_tree_classifier(Model& model, const TreeEnsembleParams& params, const Labels& labels) {
  auto* body = model.mutable_proto().mutable_treeensembleclassifier();
  put_trees(body->mutable_treeensemble(), params);
  body->set_postevaluationtransform(static_cast<spec::TreeEnsemblePostEvaluationTransform>(params.transform));
  put_labels(body, labels);
}

void write_glm_regressor(Model& model, const LinearParams& params) {
  auto* body = model.mutable_proto().mutable_glmregressor();
  put_linear(body, params);
  body->set_postevaluationtransform(params.link == Link::kLogit    ? spec::GLMRegressor::Logit
                                    : params.link == Link::kProbit ? spec::GLMRegressor::Probit
                                                                   : spec::GLMRegressor::NoTransform);
}

void write_glm_classifier(Model& model, const LinearParams& params, const Labels& labels) {
  auto* body = model.mutable_proto().mutable_glmclassifier();
  put_linear(body, params);
  body->set_postevaluationtransform(params.link == Link::kProbit ? spec::GLMClassifier::Probit : spec::GLMClassifier::Logit);
  body->set_classencoding(params.one_vs_rest ? spec::GLMClassifier::OneVsRest : spec::GLMClassifier::ReferenceClass);
  put_labels(body, labels);
}

void write_svm_regressor(Model& model, const SvmParams& params) {
  auto* body = model.mutable_proto().mutable_supportvectorregressor();
  put_svm(body, params);
  for (double value : params.coefficients.at(0)) body->mutable_coefficients()->add_alpha(value);
  body->set_rho(params.rho.at(0));
}

void write_svm_classifier(Model& model, const SvmParams& params, const Labels& labels) {
  auto* body = model.mutable_proto().mutable_supportvectorclassifier();
  put_svm(body, params);
  for (const auto& row : params.coefficients) {
    auto* list = body->add_coefficients();
    for (double value : row) list->add_alpha(value);
  }
  for (double value : params.rho) body->add_rho(value);
  for (double value : params.prob_a) body->add_proba(value);
  for (double value : params.prob_b) body->add_probb(value);
  for (int64_t count : params.vectors_per_class) body->add_numberofsupportvectorsperclass(static_cast<int>(count));
  put_labels(body, labels);
}

void write_knn_classifier(Model& model, const KnnParams& params, const Labels& labels) {
  auto* body = model.mutable_proto().mutable_knearestneighborsclassifier();
  auto* index = body->mutable_nearestneighborsindex();
  index->set_numberofdimensions(static_cast<int>(params.dimensions));
  auto width = static_cast<size_t>(params.dimensions);
  for (size_t at = 0; at + width <= params.samples.size(); at += width) {
    auto* sample = index->add_floatsamples();
    for (size_t i = 0; i < width; ++i) sample->add_vector(params.samples[at + i]);
  }
  index->mutable_linearindex();
  index->mutable_squaredeuclideandistance();
  body->mutable_numberofneighbors()->set_defaultvalue(params.neighbors);
  body->mutable_numberofneighbors()->mutable_range()->set_minvalue(1);
  body->mutable_numberofneighbors()->mutable_range()->set_maxvalue(std::max<int64_t>(params.neighbors, static_cast<int64_t>(labels.size())));
  if (params.inverse_distance) body->mutable_inversedistanceweighting();
  else body->mutable_uniformweighting();
  put_labels(body, labels);
}

void write_feature_vectorizer(Model& model, const std::vector<VectorizerColumn>& columns) {
  auto* body = model.mutable_proto().mutable_featurevectorizer();
  for (const VectorizerColumn& column : columns) {
    auto* out = body->add_inputlist();
    out->set_inputcolumn(column.input);
    out->set_inputdimensions(column.dimensions);
  }
}

void write_one_hot_encoder(Model& model, const Labels& categories, bool ignore_unknown) {
  auto* body = model.mutable_proto().mutable_onehotencoder();
  if (categories.integers) {
    for (int64_t value : categories.ints) body->mutable_int64categories()->add_vector(value);
  } else {
    for (const std::string& value : categories.strings) body->mutable_stringcategories()->add_vector(value);
  }
  body->set_handleunknown(ignore_unknown ? spec::OneHotEncoder::IgnoreUnknown : spec::OneHotEncoder::ErrorOnUnknown);
}

void write_dict_vectorizer(Model& model, const std::vector<std::string>& keys) {
  auto* list = model.mutable_proto().mutable_dictvectorizer()->mutable_stringtoindex();
  for (const std::string& key : keys) list->add_vector(key);
}

void write_imputer(Model& model, const std::vector<double>& values, double missing) {
  auto* body = model.mutable_proto().mutable_imputer();
  for (double value : values) body->mutable_imputeddoublearray()->add_vector(value);
  body->set_replacedoublevalue(missing);
}

void write_string_imputer(Model& model, const std::string& value, const std::string& missing) {
  auto* body = model.mutable_proto().mutable_imputer();
  body->set_imputedstringvalue(value);
  body->set_replacestringvalue(missing);
}

void write_scaler(Model& model, const std::vector<double>& shift, const std::vector<double>& scale) {
  auto* body = model.mutable_proto().mutable_scaler();
  for (double value : shift) body->add_shiftvalue(value);
  for (double value : scale) body->add_scalevalue(value);
}

void write_normalizer(Model& model, Norm norm) {
  model.mutable_proto().mutable_normalizer()->set_normtype(norm == Norm::kL1 ? spec::Normalizer::L1 : norm == Norm::kL2 ? spec::Normalizer::L2 : spec::Normalizer::LMax);
}

void write_array_feature_extractor(Model& model, const std::vector<uint64_t>& indices) {
  auto* body = model.mutable_proto().mutable_arrayfeatureextractor();
  for (uint64_t index : indices) body->add_extractindex(index);
}

void write_string_mapping(Model& model, const std::vector<std::pair<std::string, int64_t>>& to_int, std::optional<int64_t> unknown) {
  auto* body = model.mutable_proto().mutable_categoricalmapping();
  auto* map = body->mutable_stringtoint64map()->mutable_map();
  for (const auto& [key, value] : to_int) (*map)[key] = value;
  if (unknown) body->set_int64value(*unknown);
}

struct NetworkWriter::State {
  std::vector<spec::NeuralNetworkLayer> layers;
  size_t next = 0;

  spec::NeuralNetworkLayer& add(const std::vector<Ref>& inputs, size_t outputs = 1) {
    spec::NeuralNetworkLayer& layer = layers.emplace_back();
    layer.set_name("layer_" + std::to_string(layers.size() - 1));
    for (const Ref& input : inputs) layer.add_input(input);
    for (size_t i = 0; i < outputs; ++i) layer.add_output("t" + std::to_string(next++));
    return layer;
  }
};

namespace {
void put_floats(spec::WeightParams* params, const std::vector<float>& values) {
  params->mutable_floatvalue()->Add(values.begin(), values.end());
}
}  // namespace

NetworkWriter::NetworkWriter() : state_(std::make_unique<State>()) {}
NetworkWriter::~NetworkWriter() = default;

NetworkWriter::Ref NetworkWriter::inner_product(const Ref& x, int64_t inputs, int64_t outputs, const std::vector<float>& weights, const std::vector<float>& bias) {
  auto& layer = state_->add({x});
  auto* p = layer.mutable_innerproduct();
  p->set_inputchannels(static_cast<uint64_t>(inputs));
  p->set_outputchannels(static_cast<uint64_t>(outputs));
  put_floats(p->mutable_weights(), weights);
  p->set_hasbias(!bias.empty());
  if (!bias.empty()) put_floats(p->mutable_bias(), bias);
  return layer.output(0);
}

NetworkWriter::Ref NetworkWriter::constant(const std::vector<int64_t>& dims, const std::vector<float>& values) {
  auto& layer = state_->add({});
  auto* p = layer.mutable_loadconstantnd();
  for (int64_t d : dims) p->add_shape(static_cast<uint64_t>(d));
  put_floats(p->mutable_data(), values);
  return layer.output(0);
}

NetworkWriter::Ref NetworkWriter::unary(const std::string& kind, const Ref& x) {
  auto& layer = state_->add({x});
  auto function = [&](spec::UnaryFunctionLayerParams::Operation operation, float alpha) {
    auto* p = layer.mutable_unary();
    p->set_type(operation);
    p->set_alpha(alpha);
    p->set_epsilon(0);
    p->set_shift(0);
    p->set_scale(1);
  };
  if (kind == "relu") layer.mutable_activation()->mutable_relu();
  else if (kind == "tanh") layer.mutable_activation()->mutable_tanh();
  else if (kind == "sigmoid") layer.mutable_activation()->mutable_sigmoid();
  else if (kind == "softplus") layer.mutable_activation()->mutable_softplus();
  else if (kind == "exp") function(spec::UnaryFunctionLayerParams::EXP, 0);
  else if (kind == "log") function(spec::UnaryFunctionLayerParams::LOG, 0);
  else if (kind == "abs") function(spec::UnaryFunctionLayerParams::ABS, 0);
  else if (kind == "rsqrt") function(spec::UnaryFunctionLayerParams::RSQRT, 0);
  else function(spec::UnaryFunctionLayerParams::POWER, 2);
  return layer.output(0);
}

NetworkWriter::Ref NetworkWriter::clip(const Ref& x, float low, float high) {
  auto& layer = state_->add({x});
  layer.mutable_clip()->set_minval(low);
  layer.mutable_clip()->set_maxval(high);
  return layer.output(0);
}

NetworkWriter::Ref NetworkWriter::binary(const std::string& kind, const Ref& x, const Ref& y) {
  auto& layer = state_->add({x, y});
  if (kind == "add") layer.mutable_addbroadcastable();
  else if (kind == "subtract") layer.mutable_subtractbroadcastable();
  else if (kind == "multiply") layer.mutable_multiplybroadcastable();
  else layer.mutable_dividebroadcastable();
  return layer.output(0);
}

NetworkWriter::Ref NetworkWriter::softmax(const Ref& x) {
  auto& layer = state_->add({x});
  layer.mutable_softmaxnd()->set_axis(-1);
  return layer.output(0);
}

NetworkWriter::Ref NetworkWriter::sum(const Ref& x, int64_t axis, bool keep) {
  auto& layer = state_->add({x});
  layer.mutable_reducesum()->add_axes(axis);
  layer.mutable_reducesum()->set_keepdims(keep);
  return layer.output(0);
}

NetworkWriter::Ref NetworkWriter::expand(const Ref& x, int64_t axis) {
  auto& layer = state_->add({x});
  layer.mutable_expanddims()->add_axes(axis);
  return layer.output(0);
}

std::pair<NetworkWriter::Ref, NetworkWriter::Ref> NetworkWriter::smallest(const Ref& x, int64_t count) {
  auto& layer = state_->add({x}, 2);
  layer.mutable_topk()->set_axis(-1);
  layer.mutable_topk()->set_k(static_cast<uint64_t>(count));
  layer.mutable_topk()->set_usebottomk(true);
  return {layer.output(0), layer.output(1)};
}

NetworkWriter::Ref NetworkWriter::gather(const Ref& x, const Ref& indices) {
  auto& layer = state_->add({x, indices});
  layer.mutable_gather()->set_axis(0);
  return layer.output(0);
}

void NetworkWriter::finish(Model& model, const std::string& output, const Labels* labels) {
  state_->layers.back().set_output(0, output);
  auto fill = [&](auto* network) {
    for (auto& layer : state_->layers) network->add_layers()->Swap(&layer);
    network->set_arrayinputshapemapping(spec::EXACT_ARRAY_MAPPING);
  };
  if (labels == nullptr) {
    fill(model.mutable_proto().mutable_neuralnetwork());
    return;
  }
  auto* network = model.mutable_proto().mutable_neuralnetworkclassifier();
  fill(network);
  put_labels(network, *labels);
  network->set_labelprobabilitylayername(output);
}

}  // namespace mlt::coreml
