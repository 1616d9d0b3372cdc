// Gradient boosting, and its histogram variant (sources: sklearn/ensemble/_gb.py, _gb_losses.py of before 1.4,
// _hist_gradient_boosting/_predictor.pyx).
#include <fmt/core.h>

#include <cmath>
#include <limits>

#include "lib/convert/sklearn/context.h"

namespace mlt::foreign::sklearn {
namespace {

using Branch = TreeEnsembleParams::Branch;
using Transform = TreeEnsembleParams::Transform;

double logit(double p) { return std::log(p / (1 - p)); }

// Where boosting starts, one value an output.
std::vector<double> start_of(const Node& e, size_t outputs, bool classifier) {
  Node init = e.attr("init_");
  if (init.is_text() && init.text() == "zero") return std::vector<double>(outputs, 0.0);
  std::string cls = init.short_class();
  if (Node parameter = e.attr("init"); parameter && parameter.is_text() && parameter.text() == "zero") return std::vector<double>(outputs, 0.0);
  if (cls == "ZeroEstimator" || cls == "ZeroInitEstimator") return std::vector<double>(outputs, 0.0);
  if (cls == "LogOddsEstimator" || cls == "ScaledLogOddsEstimator") return {init.need("prior").number()};
  if (cls == "PriorProbabilityEstimator") return init.need("priors").numbers();
  if (cls == "MeanEstimator") return {init.need("mean").number()};
  if (cls == "QuantileEstimator") return {init.need("quantile").number()};
  if (cls == "DummyRegressor") {
    auto values = init.need("constant_").numbers();
    if (values.empty()) init.fail("has no constant_");
    return {values[0]};
  }
  if (cls == "DummyClassifier" && classifier) {
    if (param(init, "strategy", "prior") != "prior") refuse("a gradient boosting whose init is a DummyClassifier of another strategy than prior");
    auto priors = init.need("class_prior_").numbers();
    constexpr double eps = static_cast<double>(std::numeric_limits<float>::epsilon());
    auto clipped = [&](double p) { return std::min(std::max(p, eps), 1 - eps); };
    if (outputs == 1 && priors.size() == 2) {
      double start = logit(clipped(priors[1]));
      return {param(e, "loss", "log_loss") == "exponential" ? start / 2 : start};
    }
    std::vector<double> out;
    for (double p : priors) out.push_back(std::log(clipped(p)));
    return out;
  }
  refuse("a gradient boosting that starts from " + (cls.empty() ? "something unknown" : cls));
}

TreeEnsembleParams boosted(const Node& e, const Vec& x, bool classifier) {
  Node estimators = e.need("estimators_");
  Dims shape = estimators.shape();
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1) estimators.fail("is no table of trees");
  auto outputs = static_cast<size_t>(shape[1]);
  double rate = e.need("learning_rate").number();
  TreeEnsembleParams params;
  params.outputs = outputs;
  params.base = start_of(e, outputs, classifier);
  if (params.base.size() != outputs) e.fail("init_ does not fit the outputs");
  uint64_t id = 0;
  for (const Node& member : estimators.list()) {
    Tree t = read_tree(member);
    if (t.features != x.width || t.outputs != 1 || t.classes != 1) e.fail("a tree does not fit the features");
    uint64_t output = id % outputs;
    add_tree(params, id++, t, [&](size_t n) { return std::vector<std::pair<uint64_t, double>>{{output, rate * t.values[n]}}; });
  }
  return params;
}

Vec gradient_boosting_regressor(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  return c.a.trees(x, boosted(e, x, false));
}

void gradient_boosting_classifier(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  TreeEnsembleParams params = boosted(e, x, true);
  mlt::Labels labels = labels_of(classes_of(e));
  std::string loss = param(e, "loss", "log_loss");
  if (loss != "deviance" && loss != "log_loss" && loss != "exponential") refuse("gradient boosting with the loss " + loss);
  if (params.outputs == 1) {
    params.transform = Transform::kLogistic;
    if (loss == "exponential") {
      for (auto& node : params.nodes)
        for (auto& [index, value] : node.leaf) value *= 2;
      for (double& b : params.base) b *= 2;
    }
  } else {
    params.transform = Transform::kSoftmax;
  }
  if (labels.size() != (params.outputs == 1 ? 2 : params.outputs)) e.fail("classes_ does not fit the trees");
  c.a.tree_classifier(x, params, labels);
}

std::vector<uint8_t> bitset(const std::vector<double>& words, size_t row) {
  std::vector<uint8_t> out(256, 0);
  for (size_t i = 0; i < 256; ++i) out[i] = static_cast<uint32_t>(words.at(row * 8 + i / 32)) >> (i % 32) & 1;
  return out;
}

// Trees over raw values. Unknown categories and negative ones go where missing values go.
TreeEnsembleParams histogram_trees(const Node& e, const Vec& x, IntervalSets& sets) {
  std::vector<double> baseline = e.need("_baseline_prediction").numbers();
  TreeEnsembleParams params;
  Node mapper = e.attr("_bin_mapper");
  uint64_t id = 0;
  for (const Node& iteration : e.need("_predictors").list()) {
    auto trees = iteration.list();
    if (id == 0) params.outputs = trees.size();
    if (trees.size() != params.outputs || trees.empty()) e.fail("_predictors is damaged");
    for (size_t k = 0; k < trees.size(); ++k, ++id) {
      Node nodes = trees[k].need("nodes");
      auto value = nodes.column("value"), feature = nodes.column("feature_idx"), missing = nodes.column("missing_go_to_left"), left = nodes.column("left"), right = nodes.column("right"),
           leaf = nodes.column("is_leaf");
      auto threshold = nodes.column(nodes.has_column("num_threshold") ? "num_threshold" : "threshold");
      std::vector<double> categorical(value.size(), 0.0), row(value.size(), 0.0), words;
      if (nodes.has_column("is_categorical")) {
        categorical = nodes.column("is_categorical");
        row = nodes.column("bitset_idx");
        if (Node bits = trees[k].attr("raw_left_cat_bitsets"); bits && bits.size() > 0) words = bits.numbers();
      }
      size_t n = value.size();
      TreeAdder add{params, id};
      std::vector<uint8_t> seen(n, 0);
      std::vector<size_t> stack{0};
      if (n == 0) e.fail("a tree without nodes");
      while (!stack.empty()) {
        size_t at = stack.back();
        stack.pop_back();
        if (seen[at]) damaged(fmt::format("tree {}: node {} has two parents", id, at));
        seen[at] = 1;
        if (leaf[at] != 0) {
          add.leaf(at, {{k, value[at]}});
          continue;
        }
        if (!(left[at] < static_cast<double>(n)) || !(right[at] < static_cast<double>(n)) || !(feature[at] >= 0 && feature[at] < static_cast<double>(x.width))) damaged(fmt::format("tree {}: node {} is damaged", id, at));
        auto l = static_cast<size_t>(left[at]), r = static_cast<size_t>(right[at]);
        auto f = static_cast<uint64_t>(feature[at]);
        bool missing_left = missing[at] != 0;
        if (categorical[at] == 0) {
          if (std::isnan(threshold[at])) damaged(fmt::format("tree {}: a threshold is no number", id));
          add.branch(at, Branch::kLessEqual, f, threshold[at], l, r, missing_left);
        } else {
          if (words.size() / 8 <= static_cast<size_t>(row[at])) damaged(fmt::format("tree {}: node {} has no categories", id, at));
          IntervalSets::Categories set;
          set.feature = f;
          set.members = bitset(words, static_cast<size_t>(row[at]));
          set.negative = set.beyond = set.missing = missing_left;
          if (missing_left) {  // known categories outside the set go right, the others left
            std::vector<Node> bins = mapper.need("bin_thresholds_").list();
            if (f >= bins.size()) mapper.fail("bin_thresholds_ does not fit the features");
            std::vector<uint8_t> known(256, 0);
            for (double category : bins[f].numbers())
              if (category >= 0 && category < 256) known[static_cast<size_t>(category)] = 1;
            for (size_t i = 0; i < 256; ++i)
              if (!known[i]) set.members[i] = 1;
          }
          uint64_t column = sets.add(set);
          add.branch(at, Branch::kGreater, static_cast<uint64_t>(x.width) + column, 0.5, l, r, false);
        }
        stack.push_back(r);
        stack.push_back(l);
      }
    }
  }
  if (params.nodes.empty()) {
    params.outputs = baseline.size();
    TreeAdder{params, 0}.leaf(0, {});
  }
  params.base = baseline;
  if (params.base.size() != params.outputs) e.fail("_baseline_prediction does not fit the trees");
  return params;
}

Vec preprocessed(Context& c, const Node& e, const Data& data) {
  Node inner = e.attr("_preprocessor");
  return c.vec(inner ? transform(c, inner, data) : data);
}

Vec histogram_regressor(Context& c, const Node& e, const Data& data) {
  Vec x = preprocessed(c, e, data);
  IntervalSets sets;
  TreeEnsembleParams params = histogram_trees(e, x, sets);
  Vec y = c.a.trees(sets.append(c.a, x), params);
  std::string loss = param(e, "loss", "squared_error");
  if (loss == "?") refuse("a loss of your own");
  bool log = loss == "poisson" || loss == "gamma";
  return log ? c.a.network(y, y.width, [](coreml::NetworkWriter& n, const std::string& v) { n.unary("exp", v); }) : y;
}

void histogram_classifier(Context& c, const Node& e, const Data& data) {
  Vec x = preprocessed(c, e, data);
  IntervalSets sets;
  TreeEnsembleParams params = histogram_trees(e, x, sets);
  params.transform = params.outputs == 1 ? Transform::kLogistic : Transform::kSoftmax;
  mlt::Labels labels = labels_of(classes_of(e));
  if (labels.size() != (params.outputs == 1 ? 2 : params.outputs)) e.fail("classes_ does not fit the trees");
  c.a.tree_classifier(sets.append(c.a, x), params, labels);
}

constexpr Row kRows[] = {
    {"GradientBoostingClassifier", nullptr, nullptr, gradient_boosting_classifier, "not with an init of another estimator"},
    {"GradientBoostingRegressor", nullptr, gradient_boosting_regressor, nullptr, "not with an init of another estimator"},
    {"HistGradientBoostingClassifier", nullptr, nullptr, histogram_classifier},
    {"HistGradientBoostingRegressor", nullptr, histogram_regressor},
};

}  // namespace

std::span<const Row> families::boosting() { return kRows; }

}  // namespace mlt::foreign::sklearn
