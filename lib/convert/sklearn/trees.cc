// Decision trees and averages of them (source: sklearn/tree/_tree.pyx). Features are rounded to float32 before they are
// compared with a double threshold: le_float() finds the double threshold that decides alike.
#include <fmt/core.h>

#include <cmath>
#include <functional>

#include "lib/convert/sklearn/context.h"

namespace mlt::foreign::sklearn {

using Branch = TreeEnsembleParams::Branch;
using Values = std::vector<std::pair<uint64_t, double>>;

Tree read_tree(const Node& estimator) {
  Node tree = estimator.need("tree_");
  Tree t;
  t.features = tree.argument(0).integer();
  t.outputs = tree.argument(2).integer();
  Node nodes = tree.need("nodes"), values = tree.need("values");
  auto column = [&](std::string_view name) {
    std::vector<int64_t> out;
    for (double d : nodes.column(name)) {
      if (!(std::abs(d) < 1e9)) nodes.fail("is damaged");
      out.push_back(static_cast<int64_t>(d));
    }
    return out;
  };
  t.left = column("left_child");
  t.right = column("right_child");
  t.feature = column("feature");
  t.threshold = nodes.column("threshold");
  t.missing_left.assign(t.left.size(), 0);
  if (nodes.has_column("missing_go_to_left")) {
    auto flags = nodes.column("missing_go_to_left");
    for (size_t i = 0; i < flags.size(); ++i) t.missing_left[i] = flags[i] != 0;
  }
  Dims shape = values.shape();
  t.values = values.numbers();
  if (shape.size() != 3 || static_cast<size_t>(shape[0]) != t.left.size() || shape[1] != t.outputs || t.left.empty()) values.fail("does not fit the tree");
  t.classes = shape[2];
  return t;
}

void add_tree(TreeEnsembleParams& params, uint64_t id, const Tree& t, const std::function<Values(size_t)>& leaf, const std::vector<uint64_t>& columns) {
  TreeAdder add{params, id};
  std::vector<uint8_t> seen(t.size(), 0);
  std::vector<size_t> stack{0};
  while (!stack.empty()) {
    size_t n = stack.back();
    stack.pop_back();
    if (seen[n]) damaged(fmt::format("tree {}: node {} has two parents", id, n));
    seen[n] = 1;
    if (t.left[n] < 0) {
      add.leaf(n, leaf(n));
      continue;
    }
    auto left = static_cast<size_t>(t.left[n]), right = static_cast<size_t>(t.right[n]);
    if (t.right[n] < 0 || left >= t.size() || right >= t.size()) damaged(fmt::format("tree {}: node {} has a child that is not there", id, n));
    if (t.feature[n] < 0 || t.feature[n] >= t.features) damaged(fmt::format("tree {}: node {} reads feature {} of {}", id, n, t.feature[n], t.features));
    if (std::isnan(t.threshold[n])) damaged(fmt::format("tree {}: a threshold is no number", id));
    auto feature = static_cast<uint64_t>(t.feature[n]);
    if (!columns.empty()) feature = columns.at(feature);
    add.branch(n, Branch::kLessEqual, feature, le_float(t.threshold[n]), left, right, t.missing_left[n] != 0);
    stack.push_back(right);
    stack.push_back(left);
  }
}

namespace {

// Class weights of a node, summing to 1 (before 1.3 files hold counts).
std::vector<double> shares(const Tree& t, size_t node) {
  std::vector<double> out(t.values.begin() + static_cast<std::ptrdiff_t>(node * static_cast<size_t>(t.classes)), t.values.begin() + static_cast<std::ptrdiff_t>((node + 1) * static_cast<size_t>(t.classes)));
  double sum = 0;
  for (double v : out) sum += v;
  if (sum == 0) sum = 1;
  for (double& v : out) v /= sum;
  return out;
}

void check_width(const Node& e, const Tree& t, const Vec& x) {
  if (t.features != x.width) e.fail("a tree does not fit the features");
}

// Estimators with their columns (bagging), or all of them.
struct Member {
  Node estimator;
  std::vector<uint64_t> columns;
};

std::vector<Member> members(const Node& e, const Vec& x) {
  if (e.attr("tree_")) return {{e, {}}};
  std::vector<Member> out;
  std::vector<Node> columns;
  if (Node list = e.attr("estimators_features_"); list && list.is_sequence()) {
    if (list.kind() == pickle::Kind::kArray && list.element_kind() != 'O') {  // a matrix: a row each
      Matrix m = matrix_of(list);
      size_t i = 0;
      for (const Node& part : e.need("estimators_").list()) {
        if (static_cast<int64_t>(i) >= m.rows) list.fail("does not fit estimators_");
        Member member{part, {}};
        for (double d : m.row(static_cast<int64_t>(i++))) member.columns.push_back(static_cast<uint64_t>(std::max(0.0, std::min(d, 1e9))));
        out.push_back(std::move(member));
      }
      columns.clear();
    } else {
      columns = list.list();
    }
  }
  if (out.empty()) {
    size_t i = 0;
    for (const Node& part : e.need("estimators_").list()) {
      Member member{part, {}};
      if (!columns.empty()) {
        if (i >= columns.size()) e.fail("estimators_features_ does not fit estimators_");
        for (int64_t f : columns[i].integers()) member.columns.push_back(static_cast<uint64_t>(f));
      }
      ++i;
      out.push_back(std::move(member));
    }
  }
  for (const Member& m : out)
    for (uint64_t f : m.columns)
      if (f >= static_cast<uint64_t>(x.width)) e.fail("estimators_features_ does not fit the features");
  if (out.empty()) e.fail("has no estimators");
  return out;
}

Tree member_tree(const Node& e, const Member& m, const Vec& x) {
  std::string cls = m.estimator.short_class();
  if (!m.estimator.attr("tree_")) refuse(e.short_class() + " of " + (cls.empty() ? "something that is no tree" : cls), "of decision trees it can be converted");
  Tree t = read_tree(m.estimator);
  if (m.columns.empty()) check_width(e, t, x);
  else if (t.features != static_cast<int64_t>(m.columns.size())) e.fail("a tree does not fit its features");
  return t;
}

void tree_classifier(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  mlt::Labels labels = labels_of(classes_of(e));
  TreeEnsembleParams params;
  params.outputs = labels.size();
  auto list = members(e, x);
  double scale = 1.0 / static_cast<double>(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    Tree t = member_tree(e, list[i], x);
    if (t.outputs != 1) refuse("a classifier with several outputs (multi-label)");
    // Trees of a bagging classifier know the classes of their own samples: numbers of the ensemble's.
    std::vector<uint64_t> place(static_cast<size_t>(t.classes));
    for (size_t k = 0; k < place.size(); ++k) place[k] = k;
    if (e.short_class().starts_with("Bagging")) {
      auto own = list[i].estimator.need("classes_").integers();
      if (own.size() != place.size()) e.fail("a tree does not fit the classes");
      for (size_t k = 0; k < own.size(); ++k) place[k] = static_cast<uint64_t>(own[k]);
    }
    for (uint64_t p : place)
      if (p >= labels.size()) e.fail("a tree does not fit the classes");
    if (place.size() != labels.size() && !e.short_class().starts_with("Bagging")) e.fail("a tree does not fit the classes");
    add_tree(params, i, t, [&](size_t n) {
      Values values;
      auto p = shares(t, n);
      for (size_t k = 0; k < p.size(); ++k)
        if (p[k] != 0) values.emplace_back(place[k], p[k] * scale);
      return values;
    }, list[i].columns);
  }
  if (labels.size() == 1) refuse("a classifier of one class");
  c.a.tree_classifier(x, params, labels);
}

Vec tree_regressor(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  TreeEnsembleParams params;
  auto list = members(e, x);
  double scale = 1.0 / static_cast<double>(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    Tree t = member_tree(e, list[i], x);
    if (t.classes != 1 || t.outputs < 1 || (i > 0 && params.outputs != static_cast<uint64_t>(t.outputs))) e.fail("a tree does not fit the outputs");
    params.outputs = static_cast<uint64_t>(t.outputs);
    add_tree(params, i, t, [&](size_t n) {
      Values values;
      for (uint64_t o = 0; o < params.outputs; ++o) values.emplace_back(o, t.values[n * params.outputs + o] * scale);
      return values;
    }, list[i].columns);
  }
  return c.a.trees(x, params);
}

// Votes of trees (source: sklearn/ensemble/_weight_boosting.py, decision_function and predict_proba).
void ada_boost(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  mlt::Labels labels = labels_of(classes_of(e));
  size_t k = labels.size();
  if (k < 2) refuse("a classifier of one class");
  bool real = param(e, "algorithm", "SAMME") == "SAMME.R";
  int version = version_of(e);
  bool symmetric = version >= 10301;
  auto weights = e.need("estimator_weights_").numbers();
  auto list = members(e, x);
  if (weights.size() < list.size()) e.fail("estimator_weights_ does not fit estimators_");
  double total = 0;
  for (size_t i = 0; i < list.size(); ++i) total += weights[i];
  if (total == 0) refuse("AdaBoost without weight");
  TreeEnsembleParams params;
  params.outputs = k;
  params.transform = TreeEnsembleParams::Transform::kSoftmax;
  auto classes = static_cast<double>(k);
  // The softmax is over decision / (classes - 1), or over (-d, d) / 2 where d is the difference of two scores.
  for (size_t i = 0; i < list.size(); ++i) {
    Tree t = member_tree(e, list[i], x);
    if (t.outputs != 1 || t.classes != static_cast<int64_t>(k)) refuse("AdaBoost of trees that do not know all classes");
    add_tree(params, i, t, [&](size_t n) {
      auto p = shares(t, n);
      std::vector<double> score(k);
      if (real) {
        double mean = 0;
        for (double& v : p) mean += (v = std::log(std::max(v, std::numeric_limits<double>::epsilon()))) / classes;
        for (size_t j = 0; j < k; ++j) score[j] = (classes - 1) * (p[j] - mean) / total;
      } else {
        size_t best = arg_max(p);
        for (size_t j = 0; j < k; ++j) score[j] = (j == best ? weights[i] : symmetric ? -weights[i] / (classes - 1) : 0.0) / total;
      }
      Values values;
      if (k == 2) {
        double d = (score[1] - score[0]) / 2;
        values = {{0, -d}, {1, d}};
      } else {
        for (size_t j = 0; j < k; ++j) values.emplace_back(j, score[j] / (classes - 1));
      }
      return values;
    }, list[i].columns);
  }
  c.a.tree_classifier(x, params, labels);
}

constexpr Row kRows[] = {
    {"DecisionTreeClassifier", nullptr, nullptr, tree_classifier, "one output"}, {"DecisionTreeRegressor", nullptr, tree_regressor},
    {"ExtraTreeClassifier", nullptr, nullptr, tree_classifier, "one output"}, {"ExtraTreeRegressor", nullptr, tree_regressor},
    {"RandomForestClassifier", nullptr, nullptr, tree_classifier, "one output"}, {"RandomForestRegressor", nullptr, tree_regressor},
    {"ExtraTreesClassifier", nullptr, nullptr, tree_classifier, "one output"}, {"ExtraTreesRegressor", nullptr, tree_regressor},
    {"BaggingClassifier", nullptr, nullptr, tree_classifier, "of decision trees"}, {"BaggingRegressor", nullptr, tree_regressor, nullptr, "of decision trees"},
    {"AdaBoostClassifier", nullptr, nullptr, ada_boost, "of decision trees"},
};

}  // namespace

std::span<const Row> families::trees() { return kRows; }

}  // namespace mlt::foreign::sklearn
