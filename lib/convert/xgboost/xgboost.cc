#include "lib/convert/xgboost/xgboost.h"

#include <fmt/core.h>

#include <cmath>

#include "lib/convert/xgboost/convert.h"

namespace mlt::foreign::xgboost {
namespace {

using Branch = TreeEnsembleParams::Branch;
using Transform = TreeEnsembleParams::Transform;

// What an objective does to the sum (source: src/objective of xgboost).
enum class Answer { kValue, kLogistic, kExp, kBinary, kHinge, kClasses };
struct Objective {
  std::string_view name;
  Answer answer;
  enum Base { kSame, kLogit, kLog } base;  // from base_score to the margin
};
constexpr Objective kObjectives[] = {
    {"reg:squarederror", Answer::kValue, Objective::kSame},      {"reg:linear", Answer::kValue, Objective::kSame},
    {"reg:squaredlogerror", Answer::kValue, Objective::kSame},   {"reg:absoluteerror", Answer::kValue, Objective::kSame},
    {"reg:pseudohubererror", Answer::kValue, Objective::kSame},  {"reg:quantileerror", Answer::kValue, Objective::kSame},
    {"reg:expectileerror", Answer::kValue, Objective::kSame},
    {"reg:logistic", Answer::kLogistic, Objective::kLogit},      {"binary:logistic", Answer::kBinary, Objective::kLogit},
    {"binary:logitraw", Answer::kValue, Objective::kLogit}, {"binary:hinge", Answer::kHinge, Objective::kSame},
    {"multi:softmax", Answer::kClasses, Objective::kSame},       {"multi:softprob", Answer::kClasses, Objective::kSame},
    {"count:poisson", Answer::kExp, Objective::kLog},            {"reg:gamma", Answer::kExp, Objective::kLog},
    {"reg:tweedie", Answer::kExp, Objective::kLog},              {"survival:cox", Answer::kExp, Objective::kLog},
    {"survival:aft", Answer::kExp, Objective::kLog},             {"rank:pairwise", Answer::kValue, Objective::kSame},
    {"rank:ndcg", Answer::kValue, Objective::kSame},             {"rank:map", Answer::kValue, Objective::kSame},
};

const Objective& objective_of(const std::string& name) {
  for (const Objective& o : kObjectives)
    if (o.name == name) return o;
  refuse("xgboost objective \"" + name + "\"", "the transform of a custom objective is not in the file");
}

double margin(const Objective& o, double base, const Booster& b) {
  // Since 3.1, when base_score became a list, binary:logitraw takes it as it is.
  if (b.base_is_margin || (b.base_is_vector && o.name == "binary:logitraw")) return base;
  switch (o.base) {
    case Objective::kLogit:
      if (!(base > 0 && base < 1)) damaged(fmt::format("base_score {} is no probability", base));
      return -std::log(1.0 / base - 1.0);
    case Objective::kLog:
      if (!(base > 0)) damaged(fmt::format("base_score {} is not positive", base));
      return std::log(base);
    default: return base;
  }
}

struct Writer {
  const Booster& b;
  TreeEnsembleParams params;
  IntervalSets sets;

  // One node's test. Categories that go right are a set; a single one is compared directly.
  void branch(TreeAdder& add, const Tree& t, size_t n, uint64_t left, uint64_t right) {
    uint64_t feature = t.feature[n];
    bool missing_left = t.default_left[n] != 0;
    if (!t.categorical[n]) {
      add.branch(n, Branch::kLess, feature, lt_float(t.value[n]), left, right, missing_left);
      return;
    }
    IntervalSets::Categories c;
    c.feature = feature;
    c.rounds_to_float = true;
    c.missing = !missing_left;
    for (int32_t category : t.right_categories[n]) {
      auto at = static_cast<size_t>(category);
      if (c.members.size() <= at) c.members.resize(at + 1, 0);
      c.members[at] = 1;
    }
    uint64_t column = sets.add(c);
    add.branch(n, Branch::kGreater, static_cast<uint64_t>(b.features) + column, 0.5, right, left, false);
  }

  void tree(size_t index) {
    const Tree& t = b.trees[index];
    TreeAdder add{params, index};
    double weight = b.tree_weight.empty() ? 1.0 : static_cast<double>(b.tree_weight[index]);
    std::vector<uint8_t> seen(t.left.size(), 0);
    std::vector<size_t> stack{0};
    while (!stack.empty()) {
      size_t n = stack.back();
      stack.pop_back();
      if (seen[n]) damaged(fmt::format("tree {}: node {} has two parents", index, n));
      seen[n] = 1;
      if (t.left[n] < 0) {
        if (!std::isfinite(t.value[n])) damaged(fmt::format("tree {}: a leaf is not finite", index));
        add.leaf(n, {{static_cast<uint64_t>(b.group[index]), static_cast<double>(t.value[n]) * weight}});
        continue;
      }
      auto left = static_cast<size_t>(t.left[n]), right = static_cast<size_t>(t.right[n]);
      if (t.right[n] < 0 || left >= t.left.size() || right >= t.left.size()) damaged(fmt::format("tree {}: node {} has a child that is not there", index, n));
      if (t.feature[n] >= static_cast<uint64_t>(b.features)) damaged(fmt::format("tree {} uses feature {} of {}", index, t.feature[n], b.features));
      if (std::isnan(t.value[n])) damaged(fmt::format("tree {}: a threshold is no number", index));
      branch(add, t, n, left, right);
      stack.push_back(right);
      stack.push_back(left);
    }
  }
};

mlt::Labels numbered(int64_t classes) {
  mlt::Labels labels;
  labels.integers = true;
  for (int64_t i = 0; i < classes; ++i) labels.ints.push_back(i);
  return labels;
}

void exponential(Assembly& a, Vec y) {
  a.regression(a.network(y, y.width, [](coreml::NetworkWriter& n, const std::string& x) { n.unary("exp", x); }));
}

}  // namespace

LearnedModel convert_booster(const Booster& b, const LearnerOptions& options, std::optional<mlt::Labels> known) {
  const Objective& o = objective_of(b.objective);
  int64_t outputs = b.outputs();
  if (outputs > (1 << 20)) damaged("the number of outputs is damaged");
  bool classes = o.answer == Answer::kClasses;
  if (classes && outputs < 2) damaged("a classifier of one class");
  bool binary = (o.answer == Answer::kBinary || o.answer == Answer::kHinge) && outputs == 1;
  if (o.answer == Answer::kHinge && outputs > 1) refuse("binary:hinge with several targets");
  std::vector<double> base;
  if (b.base.empty() || (b.base.size() != 1 && b.base.size() != static_cast<size_t>(outputs))) damaged("base_score does not fit the outputs");
  for (double v : b.base) base.push_back(margin(o, v, b));
  mlt::Labels labels = known ? *known : numbered(classes ? outputs : 2);
  if ((classes || binary) && labels.size() != static_cast<size_t>(classes ? outputs : 2)) damaged("the class labels do not fit the classes");

  // Files of before 1.0 do not always count trailing features.
  int64_t width = std::max<int64_t>(b.features, 1);
  Assembly a(options, true);
  Vec x = a.numbers(width, b.names);
  if (!b.best_iteration.empty())
    a.warn("the file names iteration " + b.best_iteration + " as the best; all trees are kept, as Booster.predict does");

  if (b.kind == Booster::Kind::kLinear) {
    if (b.linear.size() != static_cast<size_t>((b.features + 1) * outputs) || b.features < 1) damaged("the weights do not fit the features");
    LinearParams p;
    for (int64_t k = 0; k < outputs; ++k) {
      std::vector<double> row;
      for (int64_t f = 0; f < b.features; ++f) row.push_back(static_cast<double>(b.linear[static_cast<size_t>(f * outputs + k)]));
      p.weights.push_back(std::move(row));
      p.offset.push_back(static_cast<double>(b.linear[static_cast<size_t>(b.features * outputs + k)]) + base[0]);  // of all outputs, as GBLinear::PredictBatch does
    }
    x = a.impute(x, std::vector<double>(static_cast<size_t>(width), 0.0), std::nan(""));  // what is missing adds nothing
    if (binary) {
      p.one_vs_rest = true;
      p.link = Link::kLogit;
      a.glm_classifier(x, p, labels, o.answer == Answer::kBinary);
    } else if (classes) {  // softmax against the first class
      LinearParams d;
      d.link = Link::kLogit;
      for (size_t k = 1; k < p.weights.size(); ++k) {
        std::vector<double> row;
        for (size_t f = 0; f < p.weights[k].size(); ++f) row.push_back(p.weights[k][f] - p.weights[0][f]);
        d.weights.push_back(std::move(row));
        d.offset.push_back(p.offset[k] - p.offset[0]);
      }
      d.one_vs_rest = d.weights.size() == 1;
      a.glm_classifier(x, d, labels, true);
    } else {
      if (o.answer == Answer::kLogistic || o.answer == Answer::kBinary) p.link = Link::kLogit;
      Vec y = a.linear(x, p);
      if (o.answer == Answer::kExp) exponential(a, y);
      else a.regression(y);
    }
    return a.finish("XGBoost gblinear, " + b.objective);
  }

  if (!b.tree_weight.empty() && b.tree_weight.size() != b.trees.size()) damaged("the weights of trees do not fit the trees");
  Writer w{b, {}, {}};
  w.params.outputs = static_cast<uint64_t>(outputs);
  w.params.base = base;
  for (size_t i = 0; i < b.trees.size(); ++i) {
    if (b.group[i] >= outputs) damaged(fmt::format("tree {} is for output {} of {}", i, b.group[i], outputs));
    w.tree(i);
  }
  if (b.trees.empty()) TreeAdder{w.params, 0}.leaf(0, {});  // trees are required
  x = w.sets.append(a, x);
  if (binary) {
    w.params.transform = Transform::kLogistic;
    a.tree_classifier(x, w.params, labels, o.answer == Answer::kBinary);
  } else if (classes) {
    w.params.transform = Transform::kSoftmax;
    a.tree_classifier(x, w.params, labels);
  } else {
    if (o.answer == Answer::kLogistic || o.answer == Answer::kBinary) w.params.transform = Transform::kLogistic;
    Vec y = a.trees(x, w.params);
    if (o.answer == Answer::kExp) exponential(a, y);
    else a.regression(y);
  }
  return a.finish(fmt::format("XGBoost {}, {} trees, {}", b.tree_weight.empty() ? "gbtree" : "dart", b.trees.size(), b.objective));
}

bool looks_like_xgboost(ByteSpan bytes) {
  std::string_view text = as_text(bytes);
  if (text.starts_with("binf")) return true;
  if (text.starts_with("{L") || text.starts_with("{i") || text.starts_with("{U")) return text.substr(0, 64).find("learner") != std::string_view::npos || text.substr(0, 64).find("Config") != std::string_view::npos;
  if (text.starts_with('{')) return text.find("\"learner\"") != std::string_view::npos && text.find("\"gradient_booster\"") != std::string_view::npos;
  // 136 bytes of parameters, then the objective's name with its length.
  if (bytes.size() < 160) return false;
  uint64_t length = 0;
  std::memcpy(&length, bytes.data() + 136, 8);
  if (length < 4 || length > 64 || bytes.size() < 144 + length) return false;
  std::string_view name = text.substr(144, length);
  for (const Objective& o : kObjectives)
    if (o.name == name) return true;
  return name.find(':') != std::string_view::npos && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz:_") == std::string_view::npos;
}

Result<LearnedModel> convert_xgboost(const Blob& bytes, const LearnerOptions& options) {
  return run_learner([&] { return convert_booster(read_booster(bytes.bytes()), options, {}); });
}

void add_coverage(std::vector<LearnerCoverage>& list) {
  for (const Objective& o : kObjectives) list.push_back({"xgboost", o.name, o.answer == Answer::kHinge ? "labels only, no probabilities" : "not with vectors in leaves (multi_output_tree)"});
}

}  // namespace mlt::foreign::xgboost
