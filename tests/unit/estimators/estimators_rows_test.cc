#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>

#include "lib/base/threads.h"
#include "lib/estimators/glm.h"
#include "lib/estimators/tree_ensemble.h"
#include "lib/kernels/target.h"

using namespace mlt;
using Branch = TreeEnsembleParams::Branch;

namespace {

Interface interface(PortType label) {
  Interface i;
  i.inputs.resize(1);
  i.inputs[0].name = "x", i.inputs[0].type = PortType::kArray;
  i.outputs.resize(1);
  i.outputs[0].name = "y", i.outputs[0].type = label;
  i.predicted_feature = "y";
  if (label == PortType::kString) {
    i.outputs.resize(2);
    i.outputs[1].name = "p", i.outputs[1].type = PortType::kStringDict;
    i.predicted_probabilities = "p";
  }
  return i;
}

Labels words(size_t count) {
  Labels labels;
  for (size_t i = 0; i < count; ++i) labels.strings.push_back("c" + std::to_string(9 - i));  // not in order
  return labels;
}

struct Forest {
  int trees = 20, depth = 6, features = 12, outputs = 1;
  bool full = true, equality = false, many_values = false;
  int thresholds = 40;  // different ones
};

TreeEnsembleParams grow(const Forest& f, unsigned seed) {
  std::mt19937 rng(seed);
  TreeEnsembleParams p;
  p.outputs = static_cast<uint64_t>(f.outputs);
  p.base.assign(p.outputs, 0.1);
  for (int t = 0; t < f.trees; ++t) {
    uint64_t next = 1;
    std::function<void(uint64_t, int)> node = [&](uint64_t id, int depth) {
      TreeEnsembleParams::Node n;
      n.tree = static_cast<uint64_t>(t), n.id = id;
      if (depth == f.depth || (!f.full && rng() % 3 == 0)) {
        int values = f.many_values ? 3 : 1;
        for (int v = 0; v < values; ++v)
          n.leaf.emplace_back(f.many_values ? static_cast<uint64_t>(v) % p.outputs : static_cast<uint64_t>(t) % p.outputs, static_cast<double>(rng()) / 3e9 - 0.7);
        p.nodes.push_back(n);
        return;
      }
      int kinds = f.equality ? 6 : 4;
      n.branch = static_cast<Branch>(rng() % static_cast<unsigned>(kinds));
      n.feature = rng() % static_cast<unsigned>(f.features);
      n.value = (static_cast<double>(rng() % static_cast<unsigned>(f.thresholds)) + 0.1) / f.thresholds;
      if (rng() % 40 == 0) n.value = std::numeric_limits<double>::infinity();
      n.missing_is_true = rng() % 2;
      n.true_child = next++;
      n.false_child = next++;
      p.nodes.push_back(n);
      node(n.true_child, depth + 1);
      node(n.false_child, depth + 1);
    };
    node(0, 0);
  }
  return p;
}

std::vector<double> sample(int rows, int width, int steps, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<double> x(static_cast<size_t>(rows * width));
  for (double& v : x) {
    v = (static_cast<double>(rng() % static_cast<unsigned>(steps)) + 0.1 * static_cast<double>(rng() % 3)) / steps;  // many are thresholds
    if (rng() % 30 == 0) v = std::numeric_limits<double>::quiet_NaN();
    if (rng() % 50 == 0) v = rng() % 2 ? std::numeric_limits<double>::infinity() : -1e300;
  }
  return x;
}

bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

bool same(const FeatureValue& a, const FeatureValue& b) {
  if (a.index() != b.index()) return false;
  if (const auto* d = std::get_if<double>(&a)) return same_bits(*d, std::get<double>(b));
  if (const auto* s = std::get_if<std::string>(&a)) return *s == std::get<std::string>(b);
  if (const auto* t = std::get_if<Tensor>(&a)) return same_bytes(*t, std::get<Tensor>(b));
  const auto &da = std::get<StringDict>(a), &db = std::get<StringDict>(b);
  if (da.size() != db.size()) return false;
  for (auto i = da.begin(), j = db.begin(); i != da.end(); ++i, ++j)
    if (i->first != j->first || !same_bits(i->second, j->second)) return false;
  return true;
}

// predict() of each row against predict_rows(), for doubles and floats, every target, and one and three threads.
void check_rows(const Estimator& model, const std::vector<double>& x, int width) {
  auto count = static_cast<int64_t>(x.size()) / width;
  std::vector<float> xf(x.begin(), x.end());
  std::vector<FeatureMap> expected[2];
  for (int single : {0, 1})
    for (int64_t i = 0; i < count; ++i) {
      std::vector<double> row(static_cast<size_t>(width));
      for (int j = 0; j < width; ++j) row[static_cast<size_t>(j)] = single ? xf[static_cast<size_t>(i * width + j)] : x[static_cast<size_t>(i * width + j)];
      auto out = model.predict({{"x", Tensor::from<double>({width}, row)}});
      REQUIRE(out.ok());
      expected[single].push_back(std::move(*out));
    }
  REQUIRE(model.takes_rows(width));
  for (const std::string& target : kernel_targets())
    for (int threads : {1, 3})
      for (int single : {0, 1}) {
        INFO(target << " " << threads << " " << single);
        REQUIRE(select_kernel_target(target));
        set_thread_count(threads);
        Rows rows;
        rows.count = count, rows.stride = width;
        if (single) rows.f32 = xf.data();
        else rows.f64 = x.data();
        auto batch = model.predict_rows(rows);
        REQUIRE(batch.ok());
        int wrong = 0;
        for (int64_t i = 0; i < count; ++i) {
          FeatureMap record = batch->record(i);
          const FeatureMap& want = expected[single][static_cast<size_t>(i)];
          bool good = record.size() == want.size();
          for (const auto& [name, value] : want) good = good && record.count(name) && same(record[name], value);
          wrong += !good;
        }
        CHECK(wrong == 0);
      }
  set_thread_count(0);
  select_kernel_target("");
}

}  // namespace

TEST_CASE("rows of trees: the bits of single records") {
  std::vector<Forest> forests(9);
  forests[1].depth = 8, forests[1].trees = 40, forests[1].thresholds = 3000;  // several groups
  forests[2].full = false, forests[2].depth = 12;                            // deep and ragged
  forests[3].equality = true;
  forests[4].outputs = 3;
  forests[5].outputs = 3, forests[5].many_values = true;
  forests[6].outputs = 2, forests[6].many_values = true, forests[6].full = false;  // an output twice in a leaf
  forests[7].depth = 0;
  forests[8].depth = 1, forests[8].trees = 300, forests[8].features = 2;
  for (size_t i = 0; i < forests.size(); ++i) {
    INFO(i);
    const Forest& f = forests[i];
    TreeEnsembleParams params = grow(f, static_cast<unsigned>(i));
    auto x = sample(i == 0 ? 700 : 300, f.features, f.thresholds, 5);
    auto regressor = make_tree_regressor(interface(f.outputs == 1 ? PortType::kDouble : PortType::kArray), params);
    REQUIRE(regressor.ok());
    check_rows(**regressor, x, f.features);
    params.transform = f.outputs == 2 ? TreeEnsembleParams::Transform::kSoftmaxWithZeroReference
                       : f.outputs == 1 ? TreeEnsembleParams::Transform::kLogistic : TreeEnsembleParams::Transform::kSoftmax;
    auto classifier = make_tree_classifier(interface(PortType::kString), params, words(f.outputs == 1 ? 2 : 3));
    REQUIRE(classifier.ok());
    check_rows(**classifier, x, f.features);
  }
}

TEST_CASE("rows of linear models: the bits of single records") {
  std::mt19937 rng(4);
  for (int outputs : {1, 3})
    for (Link link : {Link::kNone, Link::kLogit, Link::kProbit}) {
      LinearParams p;
      p.link = link;
      for (int i = 0; i < outputs; ++i) {
        p.weights.emplace_back();
        for (int j = 0; j < 7; ++j) p.weights.back().push_back(static_cast<double>(rng()) / 1e9 - 2);
        p.offset.push_back(0.3 * i);
      }
      std::vector<double> x = sample(300, 7, 1000, 6);
      for (double& v : x)
        if (!std::isfinite(v) || v < -10) v = 0.25;
      auto regressor = make_glm_regressor(interface(outputs == 1 ? PortType::kDouble : PortType::kArray), p);
      REQUIRE(regressor.ok());
      check_rows(**regressor, x, 7);
      if (link == Link::kNone) continue;
      for (bool rest : {false, true}) {
        p.one_vs_rest = rest;
        if (link == Link::kProbit && outputs > 1 && !rest) continue;
        size_t classes = outputs == 1 ? 2 : rest ? 3 : 4;
        auto classifier = make_glm_classifier(interface(PortType::kString), p, words(classes));
        REQUIRE(classifier.ok());
        check_rows(**classifier, x, 7);
      }
    }
}

TEST_CASE("rows are refused where a record would be") {
  auto trees = make_tree_regressor(interface(PortType::kDouble), grow({}, 1));
  REQUIRE(trees.ok());
  CHECK_FALSE((*trees)->takes_rows(3));
  // A label of another type than declared, and labels that repeat, go record by record.
  Interface odd = interface(PortType::kString);
  odd.outputs[0].type = PortType::kInt;
  TreeEnsembleParams p = grow({}, 1);
  p.transform = TreeEnsembleParams::Transform::kLogistic;
  CHECK_FALSE((*make_tree_classifier(odd, p, words(2)))->takes_rows(12));
  Labels twice;
  twice.strings = {"a", "a"};
  CHECK_FALSE((*make_tree_classifier(interface(PortType::kString), p, twice))->takes_rows(12));
}
