// Tree ensembles of ai.onnx.ml as tensor arithmetic: all trees of an ensemble step down together. Node tables are constants; a
// row's position is one node number per tree, and each step gathers the node's feature and threshold, compares, and picks a
// child. Leaves point at themselves, so the number of steps is the greatest depth. What reaches the end gathers the leaves'
// weights.
#include <algorithm>
#include <cmath>
#include <map>

#include "lib/convert/onnx/classic.h"

namespace mlt::foreign::onnx {
namespace {

struct Trees {
  std::vector<int64_t> feature, yes, no;  // per node; leaves: yes == no == itself
  std::vector<float> threshold;
  std::vector<std::string> mode;
  std::vector<uint8_t> missing_true;
  std::vector<int64_t> roots;
  std::vector<int> leaf_rank;  // unused for inner nodes
  int64_t depth = 0;
  std::string rule;           // the one comparison used, or "mixed"
  std::vector<int64_t> code;  // when mixed: of each node's comparison
  bool any_missing = false;
};

// Bits of a comparison: true when less (1), equal (2), greater (4), unordered (8).
int64_t rule_code(const std::string& rule) {
  return rule == "BRANCH_LEQ" ? 3 : rule == "BRANCH_LT" ? 1 : rule == "BRANCH_GTE" ? 6 : rule == "BRANCH_GT" ? 4 : rule == "BRANCH_EQ" ? 2 : rule == "BRANCH_NEQ" ? 13 : 0;
}

Trees read_trees(Ctx& c) {
  Trees t;
  auto ids = c.ints("nodes_nodeids"), trees = c.ints("nodes_treeids"), features = c.ints("nodes_featureids"), yes = c.ints("nodes_truenodeids"), no = c.ints("nodes_falsenodeids");
  auto modes = c.strings("nodes_modes");
  auto values = c.floats("nodes_values");
  auto missing = c.ints("nodes_missing_value_tracks_true").value_or(std::vector<int64_t>{});
  c.ignore({"nodes_hitrates"});
  if (c.has_attr("nodes_values_as_tensor") || c.has_attr("base_values_as_tensor")) unsupported("double precision trees");
  if (!ids || !trees || !features || !yes || !no || !modes || !values) bad_input("incomplete tree tables");
  size_t n = ids->size();
  if (trees->size() != n || features->size() != n || yes->size() != n || no->size() != n || modes->size() != n || values->size() != n || (!missing.empty() && missing.size() != n)) bad_input("tree tables differ in length");
  std::map<std::pair<int64_t, int64_t>, int64_t> index;
  for (size_t i = 0; i < n; ++i)
    if (!index.emplace(std::make_pair((*trees)[i], (*ids)[i]), static_cast<int64_t>(i)).second) bad_input("a tree node is given twice");
  std::vector<bool> child(n, false);
  for (size_t i = 0; i < n; ++i) {
    bool leaf = (*modes)[i] == "LEAF";
    auto find = [&](int64_t id) {
      auto it = index.find({(*trees)[i], id});
      if (it == index.end()) bad_input("a tree node's child is missing");
      child[static_cast<size_t>(it->second)] = true;
      return it->second;
    };
    t.feature.push_back(leaf ? 0 : (*features)[i]);
    t.threshold.push_back(leaf ? 0 : (*values)[i]);
    t.yes.push_back(leaf ? static_cast<int64_t>(i) : find((*yes)[i]));
    t.no.push_back(leaf ? static_cast<int64_t>(i) : find((*no)[i]));
    bool track = !missing.empty() && missing[i] != 0;
    t.missing_true.push_back(track);
    int64_t code = 0;
    if (!leaf) {
      if ((*features)[i] < 0) bad_input("a negative feature number");
      t.any_missing = t.any_missing || track;
      if (t.rule.empty()) t.rule = (*modes)[i];
      if (t.rule != (*modes)[i]) t.rule = "mixed";
      code = rule_code((*modes)[i]);
    }
    t.code.push_back(code);
  }
  // Depths from the roots; a cycle never reaches a fixed point within n steps.
  std::vector<std::pair<int64_t, int64_t>> stack;
  std::vector<bool> seen(n, false);
  for (size_t i = 0; i < n; ++i)
    if (!child[i]) {
      t.roots.push_back(static_cast<int64_t>(i));
      stack.emplace_back(static_cast<int64_t>(i), 0);
    }
  while (!stack.empty()) {
    auto [node, depth] = stack.back();
    stack.pop_back();
    size_t at = static_cast<size_t>(node);
    if (seen[at]) bad_input("a tree node has two parents");
    seen[at] = true;
    t.depth = std::max(t.depth, depth);
    if (t.yes[at] == node) continue;
    stack.emplace_back(t.yes[at], depth + 1);
    stack.emplace_back(t.no[at], depth + 1);
  }
  if (std::find(seen.begin(), seen.end(), false) != seen.end()) bad_input("the tree tables hold a cycle");
  if (t.depth > 256) unsupported("trees deeper than 256");
  return t;
}

// [B, trees] leaf numbers.
V descend(Ctx& c, const Trees& t, V x) {
  Lower& l = c.l;
  int64_t batch = Lower::dims(x)[0], width = Lower::dims(x)[1];
  for (int64_t f : t.feature)
    if (width >= 0 && f >= width) bad_input("a tree uses feature " + std::to_string(f) + " of " + std::to_string(width));
  if (batch < 0) unsupported("a batch of unknown extent", "give fixed input shapes with --input NAME,shape=...");
  auto table = [&](const std::vector<int64_t>& values) { return l.ints(values); };
  Lower::check_constant({batch, static_cast<int64_t>(t.roots.size())});
  std::vector<int64_t> start;
  for (int64_t b = 0; b < batch; ++b) start.insert(start.end(), t.roots.begin(), t.roots.end());
  V node = l.constant(Tensor::ints(start).reshaped({batch, static_cast<int64_t>(t.roots.size())}));
  V features = table(t.feature), yes = table(t.yes), no = table(t.no), thresholds = l.floats(t.threshold);
  V codes = t.rule == "mixed" ? table(t.code) : nullptr;
  std::string op = codes ? "less" : t.rule == "BRANCH_LEQ" ? "less_equal" : t.rule == "BRANCH_LT" ? "less" : t.rule == "BRANCH_GTE" ? "greater_equal" : t.rule == "BRANCH_GT" ? "greater" : t.rule == "BRANCH_EQ" ? "equal" : t.rule == "BRANCH_NEQ" ? "not_equal" : "";
  if (t.depth > 0 && op.empty()) unsupported("tree comparison " + t.rule);
  V missing_to = nullptr;
  if (t.any_missing) {
    std::vector<int64_t> flags(t.missing_true.begin(), t.missing_true.end());
    missing_to = table(flags);
  }
  for (int64_t step = 0; step < t.depth; ++step) {
    V f = l.gather(features, node, 0);
    V value = l.op("gather_along_axis", {{"x", x}, {"indices", f}, {"axis", l.i32(1)}});
    V threshold = l.gather(thresholds, node, 0), go = nullptr;
    if (codes) {  // bits: goes on when less, when equal, when greater, when there is no order
      V code = l.gather(codes, node, 0);
      V rank = l.add(l.add(l.cast(l.binary("less", value, threshold), DType::kI32), l.mul(l.cast(l.binary("equal", value, threshold), DType::kI32), 2)),
                     l.mul(l.cast(l.binary("greater", value, threshold), DType::kI32), 4));
      rank = l.add(rank, l.mul(l.cast(l.binary("equal", rank, l.i32(0)), DType::kI32), 8));
      go = l.binary("equal", l.binary("mod", l.binary("floor_div", code, rank), l.i32(2)), l.i32(1));
    } else {
      go = l.binary(op, value, threshold);
    }
    if (missing_to) {
      V lost = l.op("logical_and", {{"x", l.binary("not_equal", value, value)}, {"y", l.cast(l.gather(missing_to, node, 0), DType::kBool)}});
      go = l.op("logical_or", {{"x", go}, {"y", lost}});
    }
    node = l.select(go, l.gather(yes, node, 0), l.gather(no, node, 0));
  }
  return node;
}

// Leaf weights of every target or class: [B, outputs].
V leaf_scores(Ctx& c, const Trees& t, V leaves, const std::string& prefix, int64_t outputs, const std::string& aggregate) {
  Lower& l = c.l;
  auto trees = c.ints(prefix + "_treeids"), nodes = c.ints(prefix + "_nodeids"), ids = c.ints(prefix + "_ids");
  auto weights = c.floats(prefix + "_weights");
  auto node_trees = c.ints("nodes_treeids"), node_ids = c.ints("nodes_nodeids");
  if (!trees || !nodes || !ids || !weights || trees->size() != weights->size() || nodes->size() != weights->size() || ids->size() != weights->size()) bad_input("incomplete leaf tables");
  std::map<std::pair<int64_t, int64_t>, int64_t> index;
  for (size_t i = 0; i < node_ids->size(); ++i) index[{(*node_trees)[i], (*node_ids)[i]}] = static_cast<int64_t>(i);
  int64_t n = static_cast<int64_t>(t.feature.size());
  if (outputs <= 0 || outputs > (1 << 20) || n * outputs > (1 << 28)) unsupported("a leaf table of " + std::to_string(n) + " x " + std::to_string(outputs));
  Tensor table = Tensor::zeros(DType::kF32, {n, outputs});
  for (size_t i = 0; i < weights->size(); ++i) {
    auto it = index.find({(*trees)[i], (*nodes)[i]});
    if (it == index.end() || (*ids)[i] < 0 || (*ids)[i] >= outputs) bad_input("a leaf weight names no node or output");
    table.mutable_data<float>()[it->second * outputs + (*ids)[i]] += (*weights)[i];
  }
  V picked = l.gather(l.constant(std::move(table)), leaves, 0);  // [B, trees, outputs]
  if (aggregate == "SUM") return l.reduce("reduce_sum", picked, {1}, false);
  if (aggregate == "AVERAGE") return l.reduce("reduce_mean", picked, {1}, false);
  if (aggregate == "MIN") return l.reduce("reduce_min", picked, {1}, false);
  if (aggregate == "MAX") return l.reduce("reduce_max", picked, {1}, false);
  bad_input("unknown aggregate_function \"" + aggregate + "\"");
}

V add_base(Ctx& c, V scores, int64_t outputs) {
  auto base = c.floats("base_values");
  if (!base || base->empty()) return scores;
  if (base->size() == 1 || static_cast<int64_t>(base->size()) == outputs) return c.l.add(scores, base->size() == 1 ? c.l.f32((*base)[0]) : c.l.floats(*base));
  bad_input("base_values do not fit the outputs");
}

// ai.onnx.ml 5: nodes and leaves in tables of their own, roots named.

}  // namespace

void classic_rows::tree_regressor(Ctx& c) {
  V x = matrix(c, 0);
  Trees t = read_trees(c);
  c.driver().keep_float32("tree thresholds need full precision");
  int64_t targets = c.i64("n_targets", 1);
  V scores = leaf_scores(c, t, descend(c, t, x), "target", targets, c.str("aggregate_function", "SUM"));
  c.out(0, post_transform(c, add_base(c, scores, targets), c.str("post_transform", "NONE"), false), DType::kF32);
}

void classic_rows::tree_classifier(Ctx& c) {
  V x = matrix(c, 0);
  Trees t = read_trees(c);
  c.driver().keep_float32("tree thresholds need full precision");
  auto ids = c.ints("class_ids");
  if (!ids || ids->empty()) bad_input("incomplete leaf tables");
  size_t classes = class_count(c);
  std::string how = c.str("post_transform", "NONE");
  bool single = classes == 2 && std::all_of(ids->begin(), ids->end(), [&](int64_t i) { return i == (*ids)[0]; });
  V leaves = descend(c, t, x);
  V scores;
  if (single) {  // weights for one class only: the score of the positive one
    if ((*ids)[0] != 0 && (*ids)[0] != 1) bad_input("class_ids out of range");
    V all = leaf_scores(c, t, leaves, "class", 2, "SUM");
    V s = c.l.slice(all, 1, (*ids)[0], (*ids)[0] + 1);
    auto base = c.floats("base_values");
    if (base && base->size() == 1) s = c.l.add(s, (*base)[0]);
    else if (base && base->size() == 2) s = c.l.add(s, (*base)[1]);
    auto weights = c.floats("class_weights");
    bool positive = std::all_of(weights->begin(), weights->end(), [](float w) { return w >= 0; });
    V p = how == "LOGISTIC" ? c.l.unary("sigmoid", s) : s;
    // All weights positive: they are probabilities; else scores on either side of zero.
    V other = how == "LOGISTIC" || positive ? c.l.sub(c.l.f32(1), p) : c.l.mul(p, -1);
    if (how != "LOGISTIC" && how != "NONE") unsupported("post_transform " + how + " of one score");
    scores = c.l.concat({other, p}, 1);
  } else {
    scores = post_transform(c, add_base(c, leaf_scores(c, t, leaves, "class", static_cast<int64_t>(classes), "SUM"), static_cast<int64_t>(classes)), how, false);
  }
  if (c.wants(0)) label_output(c, arg_max(c, scores), classes);
  if (c.wants(1)) c.out(1, scores, DType::kF32);
}

void classic_rows::tree_ensemble(Ctx& c) {
  Lower& l = c.l;
  V x = matrix(c, 0);
  auto features = c.ints("nodes_featureids"), yes = c.ints("nodes_truenodeids"), no = c.ints("nodes_falsenodeids"), yes_leaf = c.ints("nodes_trueleafs"),
       no_leaf = c.ints("nodes_falseleafs"), roots = c.ints("tree_roots"), targets = c.ints("leaf_targetids");
  auto missing = c.ints("nodes_missing_value_tracks_true").value_or(std::vector<int64_t>{});
  const Tensor *splits = c.tensor("nodes_splits"), *modes = c.tensor("nodes_modes"), *weights = c.tensor("leaf_weights");
  c.ignore({"nodes_hitrates"});
  if (!features || !yes || !no || !yes_leaf || !no_leaf || !roots || !targets || !splits || !modes || !weights) bad_input("incomplete tree tables");
  int64_t n = static_cast<int64_t>(features->size()), m = static_cast<int64_t>(targets->size()), outputs = c.i64("n_targets", 1);
  auto long_enough = [&](size_t size) { return static_cast<int64_t>(size) == n; };
  if (!long_enough(yes->size()) || !long_enough(no->size()) || !long_enough(yes_leaf->size()) || !long_enough(no_leaf->size()) || splits->size() != n || modes->size() != n ||
      weights->size() != m || outputs < 1 || (!missing.empty() && !long_enough(missing.size())))
    bad_input("tree tables differ in length");
  constexpr const char* kModes[] = {"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"};
  std::vector<int64_t> mode = to_ints(*modes);
  std::vector<float> split = to_floats(*splits), weight = to_floats(*weights);
  Trees t;
  auto child = [&](int64_t id, int64_t leaf) {
    if (id < 0 || id >= (leaf ? m : n)) bad_input("a tree node's child is missing");
    return leaf ? n + id : id;
  };
  for (int64_t i = 0; i < n + m; ++i) {
    size_t at = static_cast<size_t>(i);
    bool leaf = i >= n;
    t.feature.push_back(leaf ? 0 : (*features)[at]);
    t.threshold.push_back(leaf ? 0 : split[at]);
    t.yes.push_back(leaf ? i : child((*yes)[at], (*yes_leaf)[at]));
    t.no.push_back(leaf ? i : child((*no)[at], (*no_leaf)[at]));
    t.missing_true.push_back(!leaf && !missing.empty() && missing[at] != 0);
    t.code.push_back(0);
    if (leaf) continue;
    if ((*features)[at] < 0) bad_input("a negative feature number");
    t.any_missing = t.any_missing || t.missing_true.back();
    if (mode[at] < 0 || mode[at] > 6) bad_input("an unknown comparison");
    // A node whose children are one leaf stands for a tree of that leaf alone.
    if (t.yes.back() == t.no.back()) {
      t.code[at] = 3;
      continue;
    }
    std::string rule = kModes[mode[at] == 6 ? 4 : mode[at]];
    t.code[at] = rule_code(rule);
    if (t.rule.empty()) t.rule = rule;
    if (t.rule != rule) t.rule = "mixed";
  }
  // Membership is a chain of equalities: the first stays in place, the others are appended.
  std::vector<float> members;
  if (const Tensor* all = c.tensor("membership_values")) members = to_floats(*all);
  size_t next = 0;
  for (int64_t i = 0; i < n; ++i) {
    size_t at = static_cast<size_t>(i);
    if (mode[at] != 6) continue;
    size_t end = next;
    while (end < members.size() && !std::isnan(members[end])) ++end;
    if (end == next) bad_input("a test of membership without members");
    if (static_cast<int64_t>(t.feature.size()) + static_cast<int64_t>(end - next) > (1 << 24)) unsupported("too many members");
    size_t node = at;
    for (size_t k = next; k < end; ++k) {
      t.threshold[node] = members[k];
      if (k + 1 == end) break;
      t.feature.push_back(t.feature[at]);
      t.threshold.push_back(0);
      t.yes.push_back(t.yes[at]);
      t.no.push_back(t.no[node]);
      t.missing_true.push_back(t.missing_true[at]);
      t.code.push_back(2);
      t.no[node] = static_cast<int64_t>(t.feature.size()) - 1;
      node = t.feature.size() - 1;
    }
    next = end + 1;
  }
  int64_t total = static_cast<int64_t>(t.feature.size());
  if (t.rule.empty()) t.rule = kModes[0];
  for (int64_t root : *roots) {
    if (root < 0 || root >= n) bad_input("a root is no node");
    t.roots.push_back(root);
  }
  // Children come after their parents in no particular order: depth by relaxation, bounded by the number of nodes.
  std::vector<std::pair<int64_t, int64_t>> stack;
  for (int64_t root : t.roots) stack.emplace_back(root, 0);
  int64_t visited = 0;
  while (!stack.empty()) {
    auto [node, depth] = stack.back();
    stack.pop_back();
    if (++visited > 4 * total + 16 || depth > total) bad_input("the tree tables hold a cycle");
    t.depth = std::max(t.depth, depth);
    if (node >= n && node < n + m) continue;
    stack.emplace_back(t.yes[static_cast<size_t>(node)], depth + 1);
    if (t.no[static_cast<size_t>(node)] != t.yes[static_cast<size_t>(node)]) stack.emplace_back(t.no[static_cast<size_t>(node)], depth + 1);
  }
  if (t.depth > 256) unsupported("trees deeper than 256");
  c.driver().keep_float32("tree thresholds need full precision");
  Lower::check_constant({total, outputs});
  Tensor table = Tensor::zeros(DType::kF32, {total, outputs});
  for (int64_t i = 0; i < m; ++i) {
    int64_t target = (*targets)[static_cast<size_t>(i)];
    if (target < 0 || target >= outputs) bad_input("a leaf of target " + std::to_string(target));
    table.mutable_data<float>()[(n + i) * outputs + target] = weight[static_cast<size_t>(i)];
  }
  V each = l.gather(l.constant(std::move(table)), descend(c, t, x), 0);  // [B, trees, targets]
  int64_t aggregate = c.i64("aggregate_function", 1), post = c.i64("post_transform", 0);
  if (aggregate > 1 && outputs > 1) unsupported("extremes over several targets");
  V y = l.reduce(aggregate == 0 ? "reduce_mean" : aggregate == 1 ? "reduce_sum" : aggregate == 2 ? "reduce_min" : "reduce_max", each, {1}, false);
  constexpr const char* kPost[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
  if (post < 0 || post > 4) bad_input("post_transform " + std::to_string(post));
  c.out(0, post_transform(c, y, kPost[post], false), c.type(0));
}

}  // namespace mlt::foreign::onnx
