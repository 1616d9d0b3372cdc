#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "lib/estimators/glm.h"
#include "lib/estimators/knn.h"
#include "lib/estimators/nms.h"
#include "lib/estimators/pipeline.h"
#include "lib/estimators/svm.h"
#include "lib/estimators/tree_ensemble.h"

using namespace mlt;
using Branch = TreeEnsembleParams::Branch;
using Transform = TreeEnsembleParams::Transform;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

Port port(std::string name, PortType type) {
  Port p;
  p.name = std::move(name);
  p.type = type;
  return p;
}

Interface array_to(PortType type) {
  Interface i;
  i.inputs = {port("x", PortType::kArray)};
  i.outputs = {port("y", type)};
  i.predicted_feature = "y";
  return i;
}

Interface classifier(PortType dict) {
  Interface i = array_to(dict == PortType::kIntDict ? PortType::kInt : PortType::kString);
  i.outputs.push_back(port("p", dict));
  i.predicted_probabilities = "p";
  return i;
}

Labels ints(std::vector<int64_t> values) {
  Labels labels;
  labels.integers = true;
  labels.ints = std::move(values);
  return labels;
}

FeatureMap row(std::vector<double> values) {
  return {{"x", Tensor::from<double>({static_cast<int64_t>(values.size())}, values)}};
}

TreeEnsembleParams::Node branch(uint64_t tree, uint64_t id, Branch b, uint64_t feature, double value, uint64_t yes, uint64_t no, bool missing = false) {
  TreeEnsembleParams::Node n;
  n.tree = tree, n.id = id, n.branch = b, n.feature = feature, n.value = value, n.true_child = yes, n.false_child = no, n.missing_is_true = missing;
  return n;
}
TreeEnsembleParams::Node leaf(uint64_t tree, uint64_t id, double value, uint64_t index = 0) {
  TreeEnsembleParams::Node n;
  n.tree = tree, n.id = id, n.leaf = {{index, value}};
  return n;
}

double stump(Branch b, double threshold, double x, bool missing = false) {
  TreeEnsembleParams p;
  p.nodes = {branch(0, 0, b, 0, threshold, 1, 2, missing), leaf(0, 1, 1), leaf(0, 2, 0)};
  auto trees = TreeEnsemble::build(p);
  REQUIRE(trees.ok());
  double out = -1;
  trees->evaluate(&x, &out);
  return out;
}

}  // namespace

TEST_CASE("trees: every branch test on both sides of its threshold") {
  const double up = std::nextafter(2.0, 3.0), down = std::nextafter(2.0, 1.0);
  CHECK(stump(Branch::kLess, 2, down) == 1);
  CHECK(stump(Branch::kLess, 2, 2) == 0);
  CHECK(stump(Branch::kLessEqual, 2, 2) == 1);
  CHECK(stump(Branch::kLessEqual, 2, up) == 0);
  CHECK(stump(Branch::kGreater, 2, up) == 1);
  CHECK(stump(Branch::kGreater, 2, 2) == 0);
  CHECK(stump(Branch::kGreaterEqual, 2, 2) == 1);
  CHECK(stump(Branch::kGreaterEqual, 2, down) == 0);
  CHECK(stump(Branch::kEqual, 2, 2) == 1);
  CHECK(stump(Branch::kEqual, 2, up) == 0);
  CHECK(stump(Branch::kNotEqual, 2, 2) == 0);
  CHECK(stump(Branch::kNotEqual, 2, up) == 1);
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(stump(Branch::kLessEqual, inf, inf) == 1);
  CHECK(stump(Branch::kGreater, inf, inf) == 0);
}

TEST_CASE("trees: a missing value goes where the node says") {
  for (Branch b : {Branch::kLess, Branch::kLessEqual, Branch::kGreater, Branch::kGreaterEqual, Branch::kEqual, Branch::kNotEqual}) {
    CHECK(stump(b, 2, kNan, true) == 1);
    CHECK(stump(b, 2, kNan, false) == 0);
  }
}

TEST_CASE("trees: sums over trees, base values and transforms") {
  TreeEnsembleParams p;
  p.outputs = 3;
  p.base = {1, 2, 3};
  p.nodes = {branch(7, 5, Branch::kLess, 1, 0.5, 6, 9), leaf(7, 6, 10, 0), leaf(7, 9, 20, 1), leaf(8, 0, -1, 2)};
  auto model = make_tree_regressor(array_to(PortType::kArray), p);
  REQUIRE(model.ok());
  auto out = (*model)->predict(row({0, 0}));
  REQUIRE(out.ok());
  CHECK(to_doubles(std::get<Tensor>((*out)["y"])) == std::vector<double>{11, 2, 2});
  out = (*model)->predict(row({0, 1}));
  CHECK(to_doubles(std::get<Tensor>((*out)["y"])) == std::vector<double>{1, 22, 2});
  CHECK_FALSE((*model)->predict(row({0})).ok());

  p.transform = Transform::kSoftmax;
  auto classes = make_tree_classifier(classifier(PortType::kIntDict), p, ints({4, 5, 6}));
  REQUIRE(classes.ok());
  out = (*classes)->predict(row({0, 1}));
  CHECK(std::get<int64_t>((*out)["y"]) == 5);
  CHECK(std::get<IntDict>((*out)["p"])[5] == doctest::Approx(1.0).epsilon(1e-6));

  TreeEnsembleParams two;
  two.base = {0.5};
  two.nodes = {leaf(0, 0, 0.25)};
  two.transform = Transform::kLogistic;
  auto binary = make_tree_classifier(classifier(PortType::kIntDict), two, ints({0, 1}));
  out = (*binary)->predict(row({}));
  CHECK(std::get<IntDict>((*out)["p"])[1] == doctest::Approx(1 / (1 + std::exp(-0.75))));
  CHECK(std::get<int64_t>((*out)["y"]) == 1);
  CHECK_FALSE(make_tree_classifier(classifier(PortType::kIntDict), two, ints({0, 1, 2})).ok());
}

TEST_CASE("trees: damaged ensembles are refused") {
  auto refused = [](std::vector<TreeEnsembleParams::Node> nodes) {
    TreeEnsembleParams p;
    p.nodes = std::move(nodes);
    return !TreeEnsemble::build(p).ok();
  };
  CHECK(refused({branch(0, 0, Branch::kLess, 0, 1, 1, 2), leaf(0, 1, 1)}));                                       // child missing
  CHECK(refused({branch(0, 0, Branch::kLess, 0, 1, 1, 1), leaf(0, 1, 1)}));                                       // shared child
  CHECK(refused({branch(0, 0, Branch::kLess, 0, 1, 0, 1), leaf(0, 1, 1)}));                                       // points at itself
  CHECK(refused({branch(0, 0, Branch::kLess, 0, 1, 2, 3), branch(0, 1, Branch::kLess, 0, 1, 0, 4), leaf(0, 2, 1), leaf(0, 3, 1), leaf(0, 4, 1),
                 branch(0, 5, Branch::kLess, 0, 1, 6, 7), branch(0, 6, Branch::kLess, 0, 1, 5, 8), leaf(0, 7, 1), leaf(0, 8, 1)}));  // a cycle beside the tree
  CHECK(refused({leaf(0, 0, 1), leaf(0, 0, 2)}));                                                                 // id twice
  CHECK(refused({leaf(0, 0, 1, 3)}));                                                                             // output out of range
  CHECK(refused({branch(0, 0, Branch::kLess, uint64_t{1} << 40, 1, 1, 2), leaf(0, 1, 1), leaf(0, 2, 1)}));        // feature index
}

TEST_CASE("linear models: links, reference class, one against the rest") {
  LinearParams p;
  p.weights = {{1, 2}};
  p.offset = {-1};
  auto number = [](Result<FeatureMap> out) { return std::get<double>((*out)["y"]); };
  CHECK(number((*make_glm_regressor(array_to(PortType::kDouble), p))->predict(row({3, 4}))) == 10);
  p.link = Link::kLogit;
  CHECK(number((*make_glm_regressor(array_to(PortType::kDouble), p))->predict(row({1, 0}))) == doctest::Approx(0.5));
  p.link = Link::kProbit;
  CHECK(number((*make_glm_regressor(array_to(PortType::kDouble), p))->predict(row({2.96, 0}))) == doctest::Approx(0.975).epsilon(1e-4));
  p.link = Link::kLogit;
  auto binary = (*make_glm_classifier(classifier(PortType::kIntDict), p, ints({3, 7})))->predict(row({2, 0}));
  CHECK(std::get<int64_t>((*binary)["y"]) == 7);
  CHECK(std::get<IntDict>((*binary)["p"])[3] == doctest::Approx(1 - logistic(1)));

  LinearParams three;
  three.weights = {{1}, {2}};
  three.link = Link::kLogit;
  auto reference = (*make_glm_classifier(classifier(PortType::kIntDict), three, ints({0, 1, 2})))->predict(row({1}));
  double sum = 1 + std::exp(1) + std::exp(2);
  CHECK(std::get<IntDict>((*reference)["p"])[0] == doctest::Approx(1 / sum));
  CHECK(std::get<IntDict>((*reference)["p"])[2] == doctest::Approx(std::exp(2) / sum));
  three.one_vs_rest = true;
  auto rest = (*make_glm_classifier(classifier(PortType::kIntDict), [&] { auto q = three; q.weights.push_back({-1}); return q; }(), ints({0, 1, 2})))->predict(row({1}));
  double total = logistic(1) + logistic(2) + logistic(-1);
  CHECK(std::get<IntDict>((*rest)["p"])[1] == doctest::Approx(logistic(2) / total));
  CHECK_FALSE(make_glm_classifier(classifier(PortType::kIntDict), three, ints({0, 1, 2})).ok());
  three.weights = {{1}, {2, 3}};
  CHECK_FALSE(make_glm_regressor(array_to(PortType::kDouble), three).ok());
}

TEST_CASE("support vectors: kernels by hand, votes and Platt probabilities") {
  SvmParams p;
  p.vectors.dense = {{1, 2}, {0, -1}};
  p.coefficients = {{2, -3}};
  p.rho = {0.5};
  auto value = [&](std::vector<double> x) { return std::get<double>((*(*make_svm_regressor(array_to(PortType::kDouble), p))->predict(row(std::move(x))))["y"]); };
  CHECK(value({1, 1}) == doctest::Approx(2 * 3 + 3 * 1 - 0.5));
  p.kernel = {SvmKernel::Kind::kRbf, 0.5, 0, 0};
  CHECK(value({1, 1}) == doctest::Approx(2 * std::exp(-0.5) - 3 * std::exp(-2.5) - 0.5));
  p.kernel = {SvmKernel::Kind::kPoly, 2, 1, 3};
  CHECK(value({1, 1}) == doctest::Approx(2 * 343.0 - 3 * -1.0 - 0.5));
  p.kernel = {SvmKernel::Kind::kSigmoid, 0.1, 0.2, 0};
  CHECK(value({1, 1}) == doctest::Approx(2 * std::tanh(0.5) - 3 * std::tanh(0.1) - 0.5));
  // Sparse vectors count from 1; what they leave out is 0.
  p.kernel = {SvmKernel::Kind::kRbf, 0.5, 0, 0};
  p.vectors = {};
  p.vectors.sparse = true;
  p.vectors.nodes = {{{1, 1}, {2, 2}}, {{2, -1}}};
  CHECK(value({1, 1}) == doctest::Approx(2 * std::exp(-0.5) - 3 * std::exp(-2.5) - 0.5));
  p.vectors.nodes = {{{2, 1}, {1, 2}}, {{2, -1}}};
  CHECK_FALSE(make_svm_regressor(array_to(PortType::kDouble), p).ok());

  SvmParams c;
  c.vectors.dense = {{1}, {-1}};
  c.vectors_per_class = {1, 1};
  c.coefficients = {{1, -1}};
  c.rho = {0};
  c.prob_a = {-1};
  c.prob_b = {0.25};
  auto out = (*make_svm_classifier(classifier(PortType::kIntDict), c, ints({1, 2})))->predict(row({0.5}));
  CHECK(std::get<int64_t>((*out)["y"]) == 1);
  CHECK(std::get<IntDict>((*out)["p"])[1] == doctest::Approx(1 / (1 + std::exp(-0.75))));
  c.rho = {std::nan("")};  // what training of a degenerate kernel leaves
  out = (*make_svm_classifier(classifier(PortType::kIntDict), c, ints({1, 2})))->predict(row({0.5}));
  CHECK(std::get<IntDict>((*out)["p"])[1] == doctest::Approx(1e-7));
  c.vectors_per_class = {1, 2};
  CHECK_FALSE(make_svm_classifier(classifier(PortType::kIntDict), c, ints({1, 2})).ok());
}

TEST_CASE("nearest neighbours: votes, ties, weights, an empty model") {
  KnnParams p;
  p.dimensions = 1;
  p.samples = {0, 1, 2, 10};
  p.neighbors = 3;
  auto label = [&](double x) { return std::get<int64_t>((*(*make_knn_classifier(classifier(PortType::kIntDict), p, ints({5, 3, 5, 9})))->predict(row({x})))["y"]); };
  CHECK(label(0.9) == 5);
  p.neighbors = 2;
  CHECK(label(0.4) == 3);  // one vote each: the smaller label
  p.inverse_distance = true;
  CHECK(label(0.4) == 5);
  CHECK(label(1) == 3);  // an exact hit decides alone
  p.neighbors = 100;
  p.inverse_distance = false;
  auto out = (*make_knn_classifier(classifier(PortType::kIntDict), p, ints({5, 3, 5, 9})))->predict(row({0}));
  CHECK(std::get<IntDict>((*out)["p"])[5] == 0.5);
  p.samples.clear();
  p.default_label = FeatureValue(int64_t{42});
  out = (*make_knn_classifier(classifier(PortType::kIntDict), p, ints({})))->predict(row({0}));
  CHECK(std::get<int64_t>((*out)["y"]) == 42);
  CHECK_FALSE(make_knn_classifier(classifier(PortType::kIntDict), p, ints({1})).ok());
}

TEST_CASE("boxes: suppression by overlap, by class, by score") {
  std::vector<float> boxes{0, 0, 2, 2, 0.1f, 0, 2, 2, 5, 5, 1, 1}, scores{0.6f, 0.1f, 0.2f, 0.8f, 0.3f, 0.1f};
  CHECK(suppress(scores.data(), boxes.data(), 3, 2, 0.5, 0.0, false) == std::vector<int64_t>{1, 2});
  CHECK(suppress(scores.data(), boxes.data(), 3, 2, 0.5, 0.0, true) == std::vector<int64_t>{1, 0, 2});
  CHECK(suppress(scores.data(), boxes.data(), 3, 2, 0.5, 0.5, true) == std::vector<int64_t>{1, 0});
  CHECK(suppress(scores.data(), boxes.data(), 3, 2, 1.0, 0.0, false, 2) == std::vector<int64_t>{1, 0});
}

TEST_CASE("pipelines: stages feed each other; a stage that cannot run is skipped when its outputs are given") {
  LinearParams p;
  p.weights = {{2}};
  auto stage = [&](const char* in, const char* out) {
    PipelineStage s;
    s.name = out;
    s.interface.inputs = {port(in, PortType::kDouble)};
    s.interface.outputs = {port(out, PortType::kDouble)};
    s.model = std::move(*make_glm_regressor(s.interface, p));
    return s;
  };
  auto build = [&](bool missing) {
    std::vector<PipelineStage> stages;
    stages.push_back(stage("a", "b"));
    if (missing) {
      stages[0].model = nullptr;
      stages[0].missing = unsupported_error("not here");
    }
    stages.push_back(stage("b", "c"));
    Interface i;
    i.inputs = {port("a", PortType::kDouble)};
    i.outputs = {port("c", PortType::kDouble)};
    return Pipeline(i, std::move(stages));
  };
  auto out = build(false).predict({{"a", 3.0}});
  REQUIRE(out.ok());
  CHECK(std::get<double>((*out)["c"]) == 12);
  CHECK(out->size() == 1);
  Pipeline partial = build(true);
  CHECK(partial.predict({{"a", 3.0}}).error().code == Code::kUnsupported);
  out = partial.predict({{"b", 5.0}});
  REQUIRE(out.ok());
  CHECK(std::get<double>((*out)["c"]) == 10);
  CHECK(partial.needed_inputs({"b"}).empty());
  CHECK(partial.needed_inputs({}) == std::vector<std::string>{"a"});
}

TEST_CASE("records run in parallel and stay in order") {
  LinearParams p;
  p.weights = {{1}};
  auto model = make_glm_regressor(array_to(PortType::kDouble), p);
  std::vector<FeatureMap> records;
  for (int i = 0; i < 100; ++i) records.push_back(row({static_cast<double>(i)}));
  records[50] = {};
  auto results = (*model)->predict_many(records);
  for (int i = 0; i < 100; ++i) {
    if (i == 50) CHECK_FALSE(results[50].ok());
    else CHECK(std::get<double>((*results[static_cast<size_t>(i)])["y"]) == i);
  }
}
