// Trees, linear models, support vector machines, nearest neighbours, feature engineering. Every value is [N, n], N records.
//
// Trees are emitted as sums (TreeEnsembleRegressor); what turns sums into probabilities and labels is spelled in standard
// operators, whose meaning does not depend on the runtime. Core ML compares doubles, ONNX floats: thresholds are rounded
// so that a float falls on the same side.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "lib/convert/to_onnx/emit.h"
#include "lib/coreml/model_proto.h"

namespace mlt::foreign::to_onnx {
namespace {

using coreml::FeatureKind;
using coreml::ModelKind;
namespace spec = CoreML::Specification;
using Features = std::map<std::string, FeatureValue>;

const FeatureValue& find(const Features& features, const std::string& name) {
  auto it = features.find(name);
  if (it == features.end()) bad_input("no stage makes feature \"" + name + "\"");
  return it->second;
}

// A value as [N, n] floats.
S matrix(Emit& g, const FeatureValue& v, const coreml::FeatureDescription& f) {
  if (v.map) unsupported("dictionary \"" + f.name + "\" as numbers");
  if (v.dtype == DType::kString) bad_input("feature \"" + f.name + "\" holds strings where numbers are needed");
  S x = v.name;
  if (v.dtype != DType::kF32) x = g.cast(x, DType::kF32);
  int64_t n = 1;
  for (int64_t d : f.type.array.shape) n *= d;
  if (v.rank != 2 || (f.type.kind == FeatureKind::kMultiArray && f.type.array.shape.size() > 1)) x = g.reshape(x, {-1, std::max<int64_t>(n, 1)});
  return x;
}
// All inputs side by side.
S row_of(Emit& g, const coreml::Model& model, const Features& features) {
  std::vector<S> parts;
  for (const auto& f : model.description().inputs) parts.push_back(matrix(g, find(features, f.name), f));
  if (parts.empty()) bad_input("a model without inputs");
  return g.concat(parts, 1);
}

coreml::Model::ClassLabels labels_of(const coreml::Model& model) {
  auto labels = model.class_labels();
  if (!labels.present || labels.size() == 0) bad_input("a classifier without class labels");
  return labels;
}
const coreml::FeatureDescription& only_output(const coreml::Model& model) {
  if (model.description().outputs.empty()) bad_input("a model without outputs");
  return model.description().outputs[0];
}
void regression(Emit& g, const coreml::Model& model, S y, Features& features) {
  const auto& f = only_output(model);
  FeatureValue out{y, DType::kF32, 2};
  if (f.type.kind == FeatureKind::kInt64) out = {g.cast(y, DType::kI64), DType::kI64, 2};
  features[f.name] = out;
}
S sigmoid(Emit& g, const S& x) { return g.node("Sigmoid", {x}); }
S normal_cdf(Emit& g, const S& x) {
  S e = g.node("Erf", {g.node("Mul", {x, g.scalar(DType::kF32, std::numbers::sqrt2 / 2)})});
  return g.node("Mul", {g.node("Add", {e, g.scalar(DType::kF32, 1)}), g.scalar(DType::kF32, 0.5)});
}
// [1 - p, p]
S both(Emit& g, const S& p) { return g.concat({g.node("Sub", {g.scalar(DType::kF32, 1), p}), p}, 1); }
S with_zero(Emit& g, const S& x) { return g.node("Pad", {x, g.ints({0, 1, 0, 0})}); }
S softmax(Emit& g, const S& x) { return g.node("Softmax", {x}, {{"axis", 1}}); }
// ArgMax takes the first of equals; a tie of two must go to the second.
S second_wins(Emit& g, const S& p) {
  S ge = g.cast(g.node("GreaterOrEqual", {p, g.scalar(DType::kF32, 0.5)}), DType::kF32);
  return both(g, ge);
}

// --- trees ---

float down(double v) {
  float f = static_cast<float>(v);
  return static_cast<double>(f) > v ? std::nextafter(f, -INFINITY) : f;
}
float up(double v) {
  float f = static_cast<float>(v);
  return static_cast<double>(f) < v ? std::nextafter(f, INFINITY) : f;
}

S trees(Emit& g, const spec::TreeEnsembleParameters& p, const S& x) {
  using Node = spec::TreeEnsembleParameters::TreeNode;
  std::vector<int64_t> tree_ids, node_ids, feature_ids, true_ids, false_ids, missing, target_trees, target_nodes, target_ids;
  std::vector<float> values, weights;
  std::vector<std::string> modes;
  // A tree's root comes first.
  std::map<uint64_t, std::vector<const Node*>> by_tree;
  for (const auto& node : p.nodes()) by_tree[node.treeid()].push_back(&node);
  for (auto& [tree, nodes] : by_tree) {
    std::set<uint64_t> children;
    for (const Node* n : nodes)
      if (n->nodebehavior() != Node::LeafNode) children.insert({n->truechildnodeid(), n->falsechildnodeid()});
    std::stable_partition(nodes.begin(), nodes.end(), [&](const Node* n) { return !children.contains(n->nodeid()); });
    for (const Node* n : nodes) {
      bool leaf = n->nodebehavior() == Node::LeafNode;
      tree_ids.push_back(static_cast<int64_t>(tree));
      node_ids.push_back(static_cast<int64_t>(n->nodeid()));
      feature_ids.push_back(leaf ? 0 : static_cast<int64_t>(n->branchfeatureindex()));
      true_ids.push_back(leaf ? 0 : static_cast<int64_t>(n->truechildnodeid()));
      false_ids.push_back(leaf ? 0 : static_cast<int64_t>(n->falsechildnodeid()));
      missing.push_back(!leaf && n->missingvaluetrackstruechild());
      double v = n->branchfeaturevalue();
      switch (n->nodebehavior()) {
        case Node::BranchOnValueLessThanEqual: modes.emplace_back("BRANCH_LEQ"), values.push_back(down(v)); break;
        case Node::BranchOnValueLessThan: modes.emplace_back("BRANCH_LT"), values.push_back(up(v)); break;
        case Node::BranchOnValueGreaterThanEqual: modes.emplace_back("BRANCH_GTE"), values.push_back(up(v)); break;
        case Node::BranchOnValueGreaterThan: modes.emplace_back("BRANCH_GT"), values.push_back(down(v)); break;
        case Node::BranchOnValueEqual: modes.emplace_back("BRANCH_EQ"), values.push_back(static_cast<float>(v)); break;
        case Node::BranchOnValueNotEqual: modes.emplace_back("BRANCH_NEQ"), values.push_back(static_cast<float>(v)); break;
        default: modes.emplace_back("LEAF"), values.push_back(0);
      }
      for (const auto& e : n->evaluationinfo()) {
        if (!leaf) continue;
        target_trees.push_back(static_cast<int64_t>(tree));
        target_nodes.push_back(static_cast<int64_t>(n->nodeid()));
        target_ids.push_back(static_cast<int64_t>(e.evaluationindex()));
        weights.push_back(static_cast<float>(e.evaluationvalue()));
      }
    }
  }
  int64_t targets = std::max<int64_t>(1, static_cast<int64_t>(p.numpredictiondimensions()));
  std::vector<float> base(static_cast<size_t>(targets), 0.0f);
  for (int i = 0; i < p.basepredictionvalue_size(); ++i) base[std::min(static_cast<size_t>(i), base.size() - 1)] = static_cast<float>(p.basepredictionvalue(i));
  if (p.basepredictionvalue_size() == 1) std::fill(base.begin(), base.end(), base[0]);
  if (p.nodes_size() == 0) unsupported("an ensemble without trees");
  return g.ml("TreeEnsembleRegressor", {x},
              {{"nodes_treeids", tree_ids}, {"nodes_nodeids", node_ids}, {"nodes_featureids", feature_ids}, {"nodes_values", values}, {"nodes_modes", modes},
               {"nodes_truenodeids", true_ids}, {"nodes_falsenodeids", false_ids}, {"nodes_missing_value_tracks_true", missing}, {"target_treeids", target_trees},
               {"target_nodeids", target_nodes}, {"target_ids", target_ids}, {"target_weights", weights}, {"n_targets", targets}, {"base_values", base},
               {"aggregate_function", "SUM"}, {"post_transform", "NONE"}});
}

void tree_regressor(Emit& g, const coreml::Model& model, Features& features) {
  const auto& t = model.proto().treeensembleregressor();
  S y = trees(g, t.treeensemble(), row_of(g, model, features));
  if (t.postevaluationtransform() == spec::Regression_Logistic) y = sigmoid(g, y);
  else if (t.postevaluationtransform() != spec::NoTransform) y = softmax(g, y);
  regression(g, model, y, features);
}
void tree_classifier(Emit& g, const coreml::Model& model, Features& features) {
  const auto& t = model.proto().treeensembleclassifier();
  int64_t outputs = std::max<int64_t>(1, static_cast<int64_t>(t.treeensemble().numpredictiondimensions()));
  S y = trees(g, t.treeensemble(), row_of(g, model, features)), scores;
  switch (t.postevaluationtransform()) {
    case spec::Classification_SoftMaxWithZeroClassReference: y = softmax(g, with_zero(g, y)); ++outputs; break;
    case spec::Classification_SoftMax: y = outputs > 1 ? softmax(g, y) : sigmoid(g, y); break;
    case spec::Regression_Logistic: y = sigmoid(g, y); break;
    default: break;
  }
  if (outputs == 1) {
    scores = second_wins(g, y);
    y = both(g, y);
  }
  classifier_outputs(g, model.description(), labels_of(model), scores.empty() ? y : scores, y, features);
}

// --- linear models ---

// x W^T + b
template <typename Glm>
S linear(Emit& g, const Glm& glm, const S& x) {
  int64_t rows = glm.weights_size();
  if (rows == 0) bad_input("a linear model without weights");
  int64_t width = glm.weights(0).value_size();
  std::vector<float> w, b;
  for (const auto& row : glm.weights()) {
    if (row.value_size() != width) bad_input("rows of weights differ in length");
    for (double v : row.value()) w.push_back(static_cast<float>(v));
  }
  for (double v : glm.offset()) b.push_back(static_cast<float>(v));
  b.resize(static_cast<size_t>(rows), 0.0f);
  return g.node("Gemm", {x, g.floats(w, {rows, width}), g.floats(b)}, {{"transB", 1}});
}
void glm_regressor(Emit& g, const coreml::Model& model, Features& features) {
  const auto& glm = model.proto().glmregressor();
  S y = linear(g, glm, row_of(g, model, features));
  if (glm.postevaluationtransform() == spec::GLMRegressor::Logit) y = sigmoid(g, y);
  if (glm.postevaluationtransform() == spec::GLMRegressor::Probit) y = normal_cdf(g, y);
  regression(g, model, y, features);
}
void glm_classifier(Emit& g, const coreml::Model& model, Features& features) {
  const auto& glm = model.proto().glmclassifier();
  auto labels = labels_of(model);
  S z = linear(g, glm, row_of(g, model, features)), scores, p;
  auto link = [&](const S& x) { return glm.postevaluationtransform() == spec::GLMClassifier::Probit ? normal_cdf(g, x) : sigmoid(g, x); };
  if (glm.weights_size() == 1 && labels.size() == 2) {
    p = scores = both(g, link(z));
  } else if (glm.classencoding() == spec::GLMClassifier::ReferenceClass) {
    if (glm.postevaluationtransform() == spec::GLMClassifier::Probit) unsupported("probit with several classes and a reference class");
    p = scores = softmax(g, with_zero(g, z));
  } else {
    scores = z;
    S each = link(z), sum = g.reduce("ReduceSum", each, {1}, true);
    // All zeros: evenly.
    S some = g.node("Greater", {sum, g.scalar(DType::kF32, 0)});
    p = g.node("Where", {some, g.node("Div", {each, g.node("Where", {some, sum, g.scalar(DType::kF32, 1)})}), g.scalar(DType::kF32, 1.0 / static_cast<double>(labels.size()))});
  }
  classifier_outputs(g, model.description(), labels, scores, p, features);
}

// --- support vector machines, in double: distances are small differences of large numbers ---

S doubles(Emit& g, const std::vector<double>& v, Dims dims) { return g.constant(Tensor::from<double>(std::move(dims), v)); }

// [N, vectors]
template <typename Svm>
S kernel(Emit& g, const Svm& svm, const S& x, int64_t width) {
  std::vector<double> v;
  int64_t count = 0;
  if (svm.has_sparsesupportvectors()) {
    for (const auto& vector : svm.sparsesupportvectors().vectors()) {
      std::vector<double> row(static_cast<size_t>(width), 0.0);
      for (const auto& node : vector.nodes()) {
        if (node.index() < 1 || node.index() > width) unsupported("support vectors with more features than the inputs");
        row[static_cast<size_t>(node.index() - 1)] = node.value();
      }
      v.insert(v.end(), row.begin(), row.end());
      ++count;
    }
  } else {
    for (const auto& vector : svm.densesupportvectors().vectors()) {
      if (vector.values_size() != width) bad_input("support vectors of " + std::to_string(vector.values_size()) + " values for " + std::to_string(width) + " inputs");
      v.insert(v.end(), vector.values().begin(), vector.values().end());
      ++count;
    }
  }
  std::vector<double> t(v.size()), norms(static_cast<size_t>(count), 0.0);
  for (int64_t i = 0; i < count; ++i)
    for (int64_t k = 0; k < width; ++k) {
      double e = v[static_cast<size_t>(i * width + k)];
      t[static_cast<size_t>(k * count + i)] = e;
      norms[static_cast<size_t>(i)] += e * e;
    }
  S d = g.cast(x, DType::kF64), dot = g.node("MatMul", {d, doubles(g, t, {width, count})});
  auto number = [&](double value) { return doubles(g, {value}, {}); };
  auto affine = [&](double gamma, double c) { return g.node("Add", {g.node("Mul", {dot, number(gamma)}), number(c)}); };
  const auto& k = svm.kernel();
  switch (k.kernel_case()) {
    case spec::Kernel::kRbfKernel: {
      S own = g.reduce("ReduceSum", g.node("Mul", {d, d}), {1}, true);
      S distance = g.node("Sub", {g.node("Add", {own, doubles(g, norms, {1, count})}), g.node("Mul", {dot, number(2)})});
      return g.node("Exp", {g.node("Mul", {distance, number(-k.rbfkernel().gamma())})});
    }
    case spec::Kernel::kPolyKernel: return g.node("Pow", {affine(k.polykernel().gamma(), k.polykernel().c()), number(k.polykernel().degree())});
    case spec::Kernel::kSigmoidKernel: return g.node("Tanh", {affine(k.sigmoidkernel().gamma(), k.sigmoidkernel().c())});
    default: return dot;
  }
}
int64_t width_of(const coreml::Model& model) {
  int64_t width = 0;
  for (const auto& f : model.description().inputs) {
    int64_t n = 1;
    if (f.type.kind == FeatureKind::kMultiArray)
      for (int64_t d : f.type.array.shape) n *= d;
    width += n;
  }
  return width;
}
void svm_regressor(Emit& g, const coreml::Model& model, Features& features) {
  const auto& svm = model.proto().supportvectorregressor();
  S k = kernel(g, svm, row_of(g, model, features), width_of(model));
  std::vector<double> alpha(svm.coefficients().alpha().begin(), svm.coefficients().alpha().end());
  int64_t n = static_cast<int64_t>(alpha.size());
  S y = g.node("Sub", {g.node("MatMul", {k, doubles(g, alpha, {n, 1})}), doubles(g, {svm.rho()}, {})});
  regression(g, model, g.cast(y, DType::kF32), features);
}
void svm_classifier(Emit& g, const coreml::Model& model, Features& features) {
  const auto& svm = model.proto().supportvectorclassifier();
  auto labels = labels_of(model);
  int64_t classes = static_cast<int64_t>(labels.size()), pairs = classes * (classes - 1) / 2, vectors = 0;
  std::vector<int64_t> start = {0};
  for (int32_t n : svm.numberofsupportvectorsperclass()) start.push_back(start.back() + n);
  vectors = start.back();
  if (static_cast<int64_t>(start.size()) != classes + 1 || svm.coefficients_size() != classes - 1 || svm.rho_size() != pairs) bad_input("counts of a support vector machine disagree");
  for (const auto& row : svm.coefficients())
    if (row.alpha_size() != vectors) bad_input("counts of a support vector machine disagree");
  S k = kernel(g, svm, row_of(g, model, features), width_of(model));
  std::vector<double> coefficients(static_cast<size_t>(vectors * pairs), 0.0);
  std::vector<float> votes(static_cast<size_t>(pairs * classes), 0.0f), offset(static_cast<size_t>(classes), 0.0f);
  int64_t pair = 0;
  for (int64_t i = 0; i < classes; ++i)
    for (int64_t j = i + 1; j < classes; ++j, ++pair) {
      auto put = [&](int64_t of, int64_t row) {
        for (int64_t s = start[static_cast<size_t>(of)]; s < start[static_cast<size_t>(of) + 1]; ++s)
          coefficients[static_cast<size_t>(s * pairs + pair)] = svm.coefficients(static_cast<int>(row)).alpha(static_cast<int>(s));
      };
      put(i, j - 1);
      put(j, i);
      votes[static_cast<size_t>(pair * classes + i)] = 1;
      votes[static_cast<size_t>(pair * classes + j)] = -1;
      offset[static_cast<size_t>(j)] += 1;
    }
  std::vector<double> rho(svm.rho().begin(), svm.rho().end());
  S sums = g.node("Sub", {g.node("MatMul", {k, doubles(g, coefficients, {vectors, pairs})}), doubles(g, rho, {1, pairs})});
  if (svm.proba_size() == 0) {
    S won = g.cast(g.node("Greater", {sums, doubles(g, {0}, {})}), DType::kF32);
    S score = g.node("Add", {g.node("MatMul", {won, g.floats(votes, {pairs, classes})}), g.floats(offset, {1, classes})});
    coreml::Description d = model.description();
    return classifier_outputs(g, d, labels, score, score, features);
  }
  if (svm.proba_size() != pairs || svm.probb_size() != pairs) bad_input("counts of a support vector machine disagree");
  if (classes != 2) unsupported("probabilities of more than two classes from pairs of them");
  S z = g.node("Add", {g.node("Mul", {sums, doubles(g, {svm.proba(0)}, {})}), doubles(g, {svm.probb(0)}, {})});
  S p = g.cast(g.node("Sigmoid", {g.node("Neg", {z})}), DType::kF32);
  p = g.node("Clip", {p, g.scalar(DType::kF32, 1e-7), g.scalar(DType::kF32, 1 - 1e-7)});
  p = g.concat({p, g.node("Sub", {g.scalar(DType::kF32, 1), p})}, 1);
  classifier_outputs(g, model.description(), labels, p, p, features);
}

// --- nearest neighbours, in double as well ---

void nearest_neighbours(Emit& g, const coreml::Model& model, Features& features) {
  const auto& p = model.proto().knearestneighborsclassifier();
  const auto& index = p.nearestneighborsindex();
  coreml::Model::ClassLabels own = model.class_labels(), classes;
  int64_t count = index.floatsamples_size(), width = index.numberofdimensions();
  if (count == 0) unsupported("a classifier without samples");
  if (width < 1 || static_cast<int64_t>(own.size()) != count) bad_input("samples and labels do not fit");
  std::vector<double> samples;
  for (const auto& sample : index.floatsamples()) {
    if (sample.vector_size() != width) bad_input("a sample has " + std::to_string(sample.vector_size()) + " values instead of " + std::to_string(width));
    samples.insert(samples.end(), sample.vector().begin(), sample.vector().end());
  }
  // Distinct labels, ascending: of equal votes the first wins.
  std::vector<size_t> order(own.size()), class_of(own.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  auto less = [&](size_t a, size_t b) { return own.integers ? own.ints[a] < own.ints[b] : own.strings[a] < own.strings[b]; };
  std::stable_sort(order.begin(), order.end(), less);
  classes.present = true;
  classes.integers = own.integers;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || less(order[i - 1], order[i])) {
      if (own.integers) classes.ints.push_back(own.ints[order[i]]);
      else classes.strings.push_back(own.strings[order[i]]);
    }
    class_of[order[i]] = classes.size() - 1;
  }
  int64_t outputs = static_cast<int64_t>(classes.size()), k = p.has_numberofneighbors() ? p.numberofneighbors().defaultvalue() : 1;
  if (k < 1) bad_input("the number of neighbours must be positive");
  std::vector<double> votes(static_cast<size_t>(count * outputs), 0.0);
  for (size_t i = 0; i < class_of.size(); ++i) votes[i * static_cast<size_t>(outputs) + class_of[i]] = 1;
  S x = g.unsqueeze(g.cast(row_of(g, model, features), DType::kF64), {1});
  S apart = g.node("Sub", {x, doubles(g, samples, {1, count, width})});
  S distance = g.reduce("ReduceSum", g.node("Mul", {apart, apart}), {2}, false);
  std::vector<S> nearest = g.nodes("TopK", {distance, g.ints({std::min(k, count)})}, 2, {{"axis", 1}, {"largest", 0}, {"sorted", 1}});
  S each = g.node("Gather", {doubles(g, votes, {count, outputs}), nearest[1]}, {{"axis", 0}}), sum;  // [N, k, classes]
  if (p.WeightingScheme_case() == spec::KNearestNeighborsClassifier::kInverseDistanceWeighting) {
    // Only those at no distance count, when there are any.
    S zero = doubles(g, {0}, {}), hit = g.cast(g.node("Equal", {nearest[0], zero}), DType::kF64), any = g.reduce("ReduceMax", hit, {1}, true);
    S weight = g.node("Where", {g.node("Greater", {any, zero}), hit, g.node("Reciprocal", {g.node("Sqrt", {nearest[0]})})});
    sum = g.squeeze(g.node("MatMul", {g.unsqueeze(weight, {1}), each}), {1});
  } else {
    sum = g.reduce("ReduceSum", each, {1}, false);
  }
  S probability = g.cast(g.node("Div", {sum, g.reduce("ReduceSum", sum, {1}, true)}), DType::kF32);
  classifier_outputs(g, model.description(), classes, sum, probability, features);
}

// --- feature engineering ---

const coreml::FeatureDescription& only_input(const coreml::Model& model) {
  if (model.description().inputs.empty()) bad_input("a model without inputs");
  return model.description().inputs[0];
}
std::vector<float> to_float(const google::protobuf::RepeatedField<double>& v) { return {v.begin(), v.end()}; }

void feature_vectorizer(Emit& g, const coreml::Model& model, Features& features) {
  std::vector<S> parts;
  for (const auto& column : model.proto().featurevectorizer().inputlist()) {
    const auto* f = coreml::find_feature(model.description().inputs, column.inputcolumn());
    if (f == nullptr) bad_input("column \"" + column.inputcolumn() + "\" is no input");
    parts.push_back(matrix(g, find(features, f->name), *f));
  }
  if (parts.empty()) bad_input("a vectorizer without columns");
  regression(g, model, g.concat(parts, 1), features);
}
void scaler(Emit& g, const coreml::Model& model, Features& features) {
  const auto& s = model.proto().scaler();
  S x = matrix(g, find(features, only_input(model).name), only_input(model));
  if (s.shiftvalue_size()) x = g.node("Add", {x, g.floats(to_float(s.shiftvalue()))});
  if (s.scalevalue_size()) x = g.node("Mul", {x, g.floats(to_float(s.scalevalue()))});
  regression(g, model, x, features);
}
void normalizer(Emit& g, const coreml::Model& model, Features& features) {
  S x = matrix(g, find(features, only_input(model).name), only_input(model));
  int norm = model.proto().normalizer().normtype();
  S size = norm == spec::Normalizer::LMax ? g.reduce("ReduceMax", g.node("Abs", {x}), {1}, true) : g.reduce(norm == spec::Normalizer::L1 ? "ReduceL1" : "ReduceL2", x, {1}, true);
  size = g.node("Where", {g.node("Equal", {size, g.scalar(DType::kF32, 0)}), g.scalar(DType::kF32, 1), size});
  regression(g, model, g.node("Div", {x, size}), features);
}
void imputer(Emit& g, const coreml::Model& model, Features& features) {
  const auto& p = model.proto().imputer();
  const auto& f = only_input(model);
  const FeatureValue& v = find(features, f.name);
  if (v.map || v.dtype == DType::kString) unsupported("imputing strings or dictionaries");
  S x = matrix(g, v, f);
  std::vector<float> fill;
  switch (p.ImputedValue_case()) {
    case spec::Imputer::kImputedDoubleValue: fill = {static_cast<float>(p.imputeddoublevalue())}; break;
    case spec::Imputer::kImputedInt64Value: fill = {static_cast<float>(p.imputedint64value())}; break;
    case spec::Imputer::kImputedDoubleArray: fill = to_float(p.imputeddoublearray().vector()); break;
    case spec::Imputer::kImputedInt64Array: fill.assign(p.imputedint64array().vector().begin(), p.imputedint64array().vector().end()); break;
    default: unsupported("imputing strings or dictionaries");
  }
  double missing = p.ReplaceValue_case() == spec::Imputer::kReplaceDoubleValue ? p.replacedoublevalue()
                   : p.ReplaceValue_case() == spec::Imputer::kReplaceInt64Value ? static_cast<double>(p.replaceint64value())
                                                                                 : std::nan("");
  S absent = std::isnan(missing) ? g.node("IsNaN", {x}) : g.node("Equal", {x, g.scalar(DType::kF32, missing)});
  regression(g, model, g.node("Where", {absent, g.floats(fill), x}), features);
}
void one_hot(Emit& g, const coreml::Model& model, Features& features) {
  const auto& p = model.proto().onehotencoder();
  const auto& f = only_input(model);
  const FeatureValue& v = find(features, f.name);
  bool strict = p.handleunknown() == spec::OneHotEncoder::ErrorOnUnknown;
  S x = v.rank == 2 ? v.name : g.reshape(v.name, {-1, 1});
  if (strict) {  // only the operator of ai.onnx.ml fails when it does not know a category
    std::vector<Attr> attributes = {{"zeros", 0}};
    if (p.CategoryType_case() == spec::OneHotEncoder::kStringCategories) {
      if (v.dtype != DType::kString) bad_input("categories are strings, feature \"" + f.name + "\" is not");
      attributes.emplace_back("cats_strings", std::vector<std::string>(p.stringcategories().vector().begin(), p.stringcategories().vector().end()));
    } else {
      if (v.dtype == DType::kString) bad_input("categories are integers, feature \"" + f.name + "\" is not");
      attributes.emplace_back("cats_int64s", std::vector<int64_t>(p.int64categories().vector().begin(), p.int64categories().vector().end()));
      if (v.dtype != DType::kI64) x = g.cast(x, DType::kI64);
    }
    features[only_output(model).name] = {g.squeeze(g.ml("OneHotEncoder", {x}, attributes), {1}), DType::kF32, 2};
    return;
  }
  S y;
  if (p.CategoryType_case() == spec::OneHotEncoder::kStringCategories) {
    if (v.dtype != DType::kString) bad_input("categories are strings, feature \"" + f.name + "\" is not");
    std::vector<std::string> c(p.stringcategories().vector().begin(), p.stringcategories().vector().end());
    y = g.node("Equal", {g.ml("LabelEncoder", {x}, {{"keys_strings", c}, {"values_int64s", [&] {
                                                      std::vector<int64_t> index;
                                                      for (size_t i = 0; i < c.size(); ++i) index.push_back(static_cast<int64_t>(i));
                                                      return index;
                                                    }()}, {"default_int64", -1}}),
                         g.ints([&] {
                           std::vector<int64_t> index;
                           for (size_t i = 0; i < c.size(); ++i) index.push_back(static_cast<int64_t>(i));
                           return index;
                         }())});
  } else {
    if (v.dtype == DType::kString) bad_input("categories are integers, feature \"" + f.name + "\" is not");
    std::vector<int64_t> c(p.int64categories().vector().begin(), p.int64categories().vector().end());
    y = g.node("Equal", {v.dtype == DType::kI64 ? x : g.cast(x, DType::kI64), g.ints(c)});
  }
  features[only_output(model).name] = {g.cast(y, DType::kF32), DType::kF32, 2};
}
void dict_vectorizer(Emit& g, const coreml::Model& model, Features& features) {
  const auto& p = model.proto().dictvectorizer();
  const FeatureValue& v = find(features, only_input(model).name);
  if (!v.map) unsupported("a dictionary that another stage makes");
  std::vector<Attr> attributes;
  if (p.has_stringtoindex()) attributes.emplace_back("string_vocabulary", std::vector<std::string>(p.stringtoindex().vector().begin(), p.stringtoindex().vector().end()));
  else attributes.emplace_back("int64_vocabulary", std::vector<int64_t>(p.int64toindex().vector().begin(), p.int64toindex().vector().end()));
  features[only_output(model).name] = {g.ml("DictVectorizer", {v.name}, attributes), DType::kF32, 2};
}
void categorical_mapping(Emit& g, const coreml::Model& model, Features& features) {
  const auto& p = model.proto().categoricalmapping();
  const FeatureValue& v = find(features, only_input(model).name);
  std::vector<std::string> strings;
  std::vector<int64_t> ints;
  bool from_string = p.MappingType_case() == spec::CategoricalMapping::kStringToInt64Map;
  std::map<std::string, int64_t> to_int(p.stringtoint64map().map().begin(), p.stringtoint64map().map().end());
  std::map<int64_t, std::string> to_string(p.int64tostringmap().map().begin(), p.int64tostringmap().map().end());
  for (const auto& [s, i] : to_int) strings.push_back(s), ints.push_back(i);
  for (const auto& [i, s] : to_string) strings.push_back(s), ints.push_back(i);
  if (p.ValueOnUnknown_case() == spec::CategoricalMapping::VALUEONUNKNOWN_NOT_SET) unsupported("an error for values that the mapping does not hold: ONNX needs a default");
  if (from_string)
    features[only_output(model).name] = {g.ml("LabelEncoder", {v.name}, {{"keys_strings", strings}, {"values_int64s", ints}, {"default_int64", p.int64value()}}), DType::kI64, v.rank};
  else
    features[only_output(model).name] = {g.ml("LabelEncoder", {v.dtype == DType::kI64 ? v.name : g.cast(v.name, DType::kI64)},
                                              {{"keys_int64s", ints}, {"values_strings", strings}, {"default_string", std::string(p.strvalue())}}),
                                         DType::kString, v.rank};
}
void array_feature_extractor(Emit& g, const coreml::Model& model, Features& features) {
  const auto& p = model.proto().arrayfeatureextractor();
  std::vector<int64_t> index(p.extractindex().begin(), p.extractindex().end());
  S x = matrix(g, find(features, only_input(model).name), only_input(model));
  regression(g, model, g.node("Gather", {x, g.ints(index)}, {{"axis", 1}}), features);
}
void identity(Emit&, const coreml::Model& model, Features& features) {
  const auto& d = model.description();
  for (size_t i = 0; i < d.outputs.size(); ++i) {
    bool own = features.contains(d.outputs[i].name);
    if (!own && d.inputs.size() != d.outputs.size()) bad_input("feature \"" + d.outputs[i].name + "\" is missing");
    FeatureValue v = find(features, own ? d.outputs[i].name : d.inputs[i].name);
    features[d.outputs[i].name] = v;
  }
}

using Fn = void (*)(Emit&, const coreml::Model&, Features&);
Fn find(ModelKind kind) {
  switch (kind) {
    case ModelKind::kTreeEnsembleRegressor: return tree_regressor;
    case ModelKind::kTreeEnsembleClassifier: return tree_classifier;
    case ModelKind::kGlmRegressor: return glm_regressor;
    case ModelKind::kGlmClassifier: return glm_classifier;
    case ModelKind::kSupportVectorRegressor: return svm_regressor;
    case ModelKind::kSupportVectorClassifier: return svm_classifier;
    case ModelKind::kKNearestNeighborsClassifier: return nearest_neighbours;
    case ModelKind::kFeatureVectorizer: return feature_vectorizer;
    case ModelKind::kScaler: return scaler;
    case ModelKind::kNormalizer: return normalizer;
    case ModelKind::kImputer: return imputer;
    case ModelKind::kOneHotEncoder: return one_hot;
    case ModelKind::kDictVectorizer: return dict_vectorizer;
    case ModelKind::kCategoricalMapping: return categorical_mapping;
    case ModelKind::kArrayFeatureExtractor: return array_feature_extractor;
    case ModelKind::kIdentity: return identity;
    default: return nullptr;
  }
}

}  // namespace

bool exports_classic(ModelKind kind) { return find(kind) != nullptr; }

void export_classic(Emit& g, const coreml::Model& model, std::map<std::string, FeatureValue>& features, std::vector<Unsupported>&) { find(model.kind())(g, model, features); }

}  // namespace mlt::foreign::to_onnx
