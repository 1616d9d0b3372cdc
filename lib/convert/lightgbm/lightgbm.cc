#include "lib/convert/lightgbm/lightgbm.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>

#include "lib/convert/lightgbm/booster.h"

namespace mlt::foreign::lightgbm {
namespace {

using Branch = TreeEnsembleParams::Branch;
using Transform = TreeEnsembleParams::Transform;

// LightGBM takes numbers this close to zero for zero (kZeroThreshold, a float32).
constexpr double kZero = static_cast<double>(1e-35F);

// What an objective does to the sum (source: src/objective of LightGBM, ConvertOutput).
enum class Answer { kValue, kSquare, kExp, kLogistic, kLogOnePlusExp, kBinary, kSoftmax, kOneVsAll };
struct Objective {
  std::string_view name;
  Answer answer;
};
constexpr Objective kObjectives[] = {
    {"regression", Answer::kValue}, {"regression_l2", Answer::kValue}, {"regression_l1", Answer::kValue}, {"huber", Answer::kValue}, {"fair", Answer::kValue},
    {"quantile", Answer::kValue}, {"mape", Answer::kValue}, {"poisson", Answer::kExp}, {"gamma", Answer::kExp}, {"tweedie", Answer::kExp},
    {"binary", Answer::kBinary}, {"multiclass", Answer::kSoftmax}, {"multiclassova", Answer::kOneVsAll}, {"cross_entropy", Answer::kLogistic},
    {"xentropy", Answer::kLogistic}, {"cross_entropy_lambda", Answer::kLogOnePlusExp}, {"xentlambda", Answer::kLogOnePlusExp}, {"lambdarank", Answer::kValue}, {"rank_xendcg", Answer::kValue},
    {"custom", Answer::kValue}, {"none", Answer::kValue}, {"", Answer::kValue},
};

struct Writer {
  const Booster& b;
  double scale;
  TreeEnsembleParams params;
  IntervalSets sets;

  // Left when the column of a set is 1.
  void by_set(TreeAdder& add, uint64_t id, uint64_t column, uint64_t left, uint64_t right) {
    add.branch(id, Branch::kGreater, static_cast<uint64_t>(b.features) + column, 0.5, left, right, false);
  }

  void branch(TreeAdder& add, uint64_t id, const Tree::Node& n, uint64_t left, uint64_t right) {
    auto feature = static_cast<uint64_t>(n.feature);
    if (n.categorical) {
      IntervalSets::Categories c;
      c.feature = feature;
      c.members = n.left_categories;
      c.zero_from_below = true;
      by_set(add, id, sets.add(c), left, right);
      return;
    }
    bool zero_left = 0 <= n.threshold;
    switch (n.missing) {
      case Missing::kNone: add.branch(id, Branch::kLessEqual, feature, n.threshold, left, right, zero_left); return;
      case Missing::kNan: add.branch(id, Branch::kLessEqual, feature, n.threshold, left, right, n.default_left); return;
      case Missing::kZero: break;
    }
    bool near = std::abs(n.threshold) <= kZero;
    if (n.default_left == zero_left && !near) {  // zero goes there anyway
      add.branch(id, Branch::kLessEqual, feature, n.threshold, left, right, n.default_left);
      return;
    }
    // All of zero's neighbourhood goes one way: x < -z, -z <= x <= z, z < x.
    constexpr double inf = std::numeric_limits<double>::infinity();
    IntervalSets::Set set;
    set.feature = feature;
    set.missing = n.default_left;
    std::vector<std::pair<double, uint8_t>> steps;  // from here on: inside?
    auto below = static_cast<uint8_t>(true), at_zero = static_cast<uint8_t>(n.default_left);
    double after = std::nextafter(n.threshold, inf), up = std::nextafter(kZero, inf);
    if (after < -kZero) steps.emplace_back(after, static_cast<uint8_t>(false));
    steps.emplace_back(-kZero, at_zero);
    if (n.threshold > kZero) {
      steps.emplace_back(up, static_cast<uint8_t>(true));
      steps.emplace_back(after, static_cast<uint8_t>(false));
    } else {
      steps.emplace_back(up, static_cast<uint8_t>(false));
    }
    set.inside = {below};
    for (auto [bound, inside] : steps) {
      if (inside == set.inside.back()) continue;
      set.bounds.push_back(bound);
      set.inside.push_back(inside);
    }
    by_set(add, id, sets.add(std::move(set)), left, right);
  }

  void tree(size_t index, uint64_t output) {
    const Tree& t = b.trees[index];
    TreeAdder add{params, index};
    auto leaf = [&](uint64_t id, size_t i) { add.leaf(id, {{output, t.leaves[i] * scale}}); };
    if (t.nodes.empty()) return leaf(0, 0);
    size_t n = t.nodes.size();
    std::vector<uint8_t> seen(n + t.leaves.size(), 0);
    auto id_of = [&](int32_t child) { return child >= 0 ? static_cast<uint64_t>(child) : n + static_cast<uint64_t>(~child); };
    std::vector<int32_t> stack{0};
    while (!stack.empty()) {
      int32_t at = stack.back();
      stack.pop_back();
      uint64_t id = id_of(at);
      if (seen[id]) damaged(fmt::format("tree {}: node {} has two parents", index, id));
      seen[id] = 1;
      if (at < 0) {
        leaf(id, static_cast<size_t>(~at));
        continue;
      }
      const Tree::Node& node = t.nodes[static_cast<size_t>(at)];
      if (node.feature < 0 || node.feature >= b.features) damaged(fmt::format("tree {} uses feature {} of {}", index, node.feature, b.features));
      branch(add, id, node, id_of(node.left), id_of(node.right));
      stack.push_back(node.right);
      stack.push_back(node.left);
    }
  }
};

double sigmoid_of(const Booster& b) {
  for (const std::string& p : b.parameters)
    if (p.starts_with("sigmoid:")) {
      double value = 0;
      auto [end, code] = std::from_chars(p.data() + 8, p.data() + p.size(), value);
      if (code != std::errc() || end != p.data() + p.size() || !(value > 0)) damaged("the objective's sigmoid is damaged");
      return value;
    }
  return 1;
}

mlt::Labels numbered(int64_t classes) {
  mlt::Labels labels;
  labels.integers = true;
  for (int64_t i = 0; i < classes; ++i) labels.ints.push_back(i);
  return labels;
}

}  // namespace

LearnedModel convert_booster(const Booster& b, const LearnerOptions& options, std::optional<mlt::Labels> known) {
  const Objective* o = nullptr;
  for (const Objective& row : kObjectives)
    if (row.name == b.objective) o = &row;
  if (o == nullptr) refuse("lightgbm objective \"" + b.objective + "\"");
  Answer answer = o->answer;
  for (const std::string& p : b.parameters)
    if (p == "sqrt" && answer == Answer::kValue) answer = Answer::kSquare;
  int64_t outputs = b.trees_per_iteration;
  bool classes = answer == Answer::kSoftmax || answer == Answer::kOneVsAll;
  if (classes && (outputs != b.classes || outputs < 2)) damaged("the classes do not fit the trees");
  if (answer == Answer::kBinary && outputs != 1) damaged("the classes do not fit the trees");
  if (b.trees.empty() || b.trees.size() % static_cast<size_t>(outputs) != 0) damaged("the number of trees is no multiple of the trees of an iteration");
  double scale = 1;
  if (answer == Answer::kBinary || answer == Answer::kOneVsAll) scale = sigmoid_of(b);
  if (b.average) scale /= static_cast<double>(b.trees.size() / static_cast<size_t>(outputs));
  int64_t label_count = answer == Answer::kBinary ? 2 : outputs;
  mlt::Labels labels = known ? *known : numbered(label_count);
  if ((classes || answer == Answer::kBinary) && labels.size() != static_cast<size_t>(label_count)) damaged("the class labels do not fit the classes");

  Assembly a(options, true);
  Vec x = a.numbers(b.features, b.names.size() == static_cast<size_t>(b.features) ? b.names : std::vector<std::string>{});
  if (b.pandas_categories) a.warn("the model was trained on a data frame with categories: the model takes their codes (positions in the training data's categories), NaN for none");
  Writer w{b, scale, {}, {}};
  w.params.outputs = static_cast<uint64_t>(outputs);
  for (size_t i = 0; i < b.trees.size(); ++i) w.tree(i, i % static_cast<size_t>(outputs));
  x = w.sets.append(a, x);
  std::string text = fmt::format("LightGBM, {} trees, {}", b.trees.size(), b.objective.empty() ? "no objective" : b.objective);
  switch (answer) {
    case Answer::kBinary:
    case Answer::kOneVsAll: w.params.transform = Transform::kLogistic; break;
    case Answer::kSoftmax: w.params.transform = Transform::kSoftmax; break;
    case Answer::kLogistic: w.params.transform = Transform::kLogistic; break;
    default: break;
  }
  if (classes || answer == Answer::kBinary) {
    a.tree_classifier(x, w.params, labels);
    return a.finish(text);
  }
  Vec y = a.trees(x, w.params);
  if (answer == Answer::kExp) y = a.network(y, y.width, [](coreml::NetworkWriter& n, const std::string& v) { n.unary("exp", v); });
  if (answer == Answer::kLogOnePlusExp) y = a.network(y, y.width, [](coreml::NetworkWriter& n, const std::string& v) { n.unary("softplus", v); });
  if (answer == Answer::kSquare) y = a.network(y, y.width, [](coreml::NetworkWriter& n, const std::string& v) { n.binary("multiply", v, n.unary("abs", v)); });
  a.regression(y);
  return a.finish(text);
}

bool looks_like_lightgbm(ByteSpan bytes) {
  std::string_view text = as_text(bytes);
  if (text.starts_with("tree\nversion=") || text.starts_with("tree\r\nversion=") || text.starts_with("tree\nnum_class=")) return true;
  return text.starts_with('{') && text.find("\"tree_info\"") != std::string_view::npos && text.find("\"num_tree_per_iteration\"") != std::string_view::npos;
}

Result<LearnedModel> convert_lightgbm(const Blob& bytes, const LearnerOptions& options) {
  return run_learner([&] { return convert_booster(bytes.text().starts_with('{') ? read_json(bytes.text()) : read_text(bytes.text()), options, {}); });
}

void add_coverage(std::vector<LearnerCoverage>& list) {
  for (const Objective& o : kObjectives)
    if (!o.name.empty()) list.push_back({"lightgbm", o.name, "not with linear trees"});
}

}  // namespace mlt::foreign::lightgbm
