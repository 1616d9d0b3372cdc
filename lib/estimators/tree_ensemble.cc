#include "lib/estimators/tree_ensemble.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_map>

namespace mlt {
namespace {

using Branch = TreeEnsembleParams::Branch;
using Transform = TreeEnsembleParams::Transform;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::string place(const TreeEnsembleParams::Node& node) {
  return "tree " + std::to_string(node.tree) + " node " + std::to_string(node.id);
}

}  // namespace

Result<TreeEnsemble> TreeEnsemble::build(const TreeEnsembleParams& params) {
  constexpr uint64_t kMax = 1u << 30;
  if (params.outputs < 1 || params.outputs > kMax) return input_error("tree ensemble: bad number of prediction dimensions");
  if (params.base.size() > 1 && params.base.size() != params.outputs)
    return input_error("tree ensemble: " + std::to_string(params.base.size()) + " base values for " + std::to_string(params.outputs) + " outputs");
  if (params.nodes.size() > kMax) return input_error("tree ensemble: too many nodes");
  // Each output must be named by some node or base value; a number far above that is no model.
  if (params.outputs > 1 && params.base.empty() && params.outputs > params.nodes.size() * 64 + 1024)
    return input_error("tree ensemble: bad number of prediction dimensions");

  TreeEnsemble out;
  out.transform_ = params.transform;
  out.base_.assign(params.outputs, params.base.size() == 1 ? params.base[0] : 0.0);
  if (params.base.size() > 1) out.base_ = params.base;

  // Trees in order of first appearance; nodes of a tree may be interleaved with others'.
  std::vector<std::vector<size_t>> trees;
  std::unordered_map<uint64_t, size_t> tree_index;
  for (size_t i = 0; i < params.nodes.size(); ++i) {
    auto [it, fresh] = tree_index.try_emplace(params.nodes[i].tree, trees.size());
    if (fresh) trees.emplace_back();
    trees[it->second].push_back(i);
  }
  out.nodes_.reserve(params.nodes.size());
  for (const std::vector<size_t>& members : trees) {
    std::unordered_map<uint64_t, size_t> by_id;
    for (size_t i : members)
      if (!by_id.try_emplace(params.nodes[i].id, i).second) return input_error(place(params.nodes[i]) + " is given twice");
    std::unordered_map<size_t, int> parents;
    for (size_t i : members) {
      const auto& node = params.nodes[i];
      if (node.branch == Branch::kLeaf) continue;
      for (uint64_t child : {node.true_child, node.false_child}) {
        auto it = by_id.find(child);
        if (it == by_id.end()) return input_error(place(node) + ": child " + std::to_string(child) + " does not exist");
        if (++parents[it->second] > 1) return input_error(place(params.nodes[it->second]) + " has two parents");
      }
    }
    size_t root = members.size(), roots = 0;
    for (size_t i : members)
      if (!parents.count(i)) {
        root = i;
        ++roots;
      }
    if (roots != 1) return input_error("tree " + std::to_string(params.nodes[members[0]].tree) + " has " + std::to_string(roots) + " roots");
    // Breadth first: with one root and one parent each, whatever is reached is a tree; the rest would be a cycle.
    std::vector<std::pair<size_t, int32_t>> queue{{root, static_cast<int32_t>(out.nodes_.size())}};
    out.roots_.push_back(static_cast<int32_t>(out.nodes_.size()));
    out.nodes_.emplace_back();
    for (size_t q = 0; q < queue.size(); ++q) {
      auto [source, at] = queue[q];
      const auto& from = params.nodes[source];
      FlatNode node;
      if (from.branch == Branch::kLeaf) {
        node.child[0] = static_cast<int32_t>(out.leaf_values_.size());
        for (auto [index, value] : from.leaf) {
          if (index >= params.outputs) return input_error(place(from) + ": evaluation index " + std::to_string(index) + " is out of range");
          out.leaf_values_.emplace_back(static_cast<int32_t>(index), value);
        }
        node.child[1] = static_cast<int32_t>(out.leaf_values_.size());
      } else {
        if (from.feature >= (1u << 24)) return input_error(place(from) + ": bad feature index");
        if (std::isnan(from.value)) return input_error(place(from) + ": the branch value is not a number");
        node.feature = static_cast<int32_t>(from.feature);
        out.features_ = std::max(out.features_, static_cast<int64_t>(from.feature) + 1);
        // a <= v is a < next(v); a > v and a >= v are the opposite tests with the children exchanged.
        bool swap = from.branch == Branch::kGreater || from.branch == Branch::kGreaterEqual || from.branch == Branch::kNotEqual;
        bool inclusive = from.branch == Branch::kLessEqual || from.branch == Branch::kGreater;
        node.equal = from.branch == Branch::kEqual || from.branch == Branch::kNotEqual;
        node.threshold = inclusive ? std::nextafter(from.value, kInfinity) : from.value;
        if (inclusive && from.value == kInfinity) node.threshold = std::numeric_limits<double>::quiet_NaN();  // always true, see evaluate
        bool missing = from.missing_is_true;
        auto first = static_cast<int32_t>(out.nodes_.size());
        node.child[1] = first;
        node.child[0] = first + 1;
        size_t true_source = by_id[from.true_child], false_source = by_id[from.false_child];
        if (swap) {
          std::swap(node.child[0], node.child[1]);
          missing = !missing;
        }
        node.missing_is_true = missing;
        queue.emplace_back(true_source, first);
        queue.emplace_back(false_source, first + 1);
        out.nodes_.emplace_back();
        out.nodes_.emplace_back();
      }
      out.nodes_[static_cast<size_t>(at)] = node;
    }
    if (queue.size() != members.size()) return input_error("tree " + std::to_string(params.nodes[members[0]].tree) + " has a cycle");
  }
  return out;
}

void TreeEnsemble::evaluate(const double* row, double* out) const {
  std::copy(base_.begin(), base_.end(), out);
  for (int32_t root : roots_) {
    const FlatNode* node = &nodes_[static_cast<size_t>(root)];
    while (node->feature >= 0) node = &nodes_[static_cast<size_t>(next_node(*node, row))];
    for (int32_t i = node->child[0]; i < node->child[1]; ++i) out[leaf_values_[static_cast<size_t>(i)].first] += leaf_values_[static_cast<size_t>(i)].second;
  }
}

void TreeEnsemble::evaluate_rows(const Rows& rows, FunctionRef<void(int64_t, int64_t, const double*)> done) const {
  std::call_once(lazy_->once, [&] { lazy_->batch = TreeBatch(nodes_, roots_, leaf_values_); });
  parallel_for((rows.count + kTreeTile - 1) / kTreeTile, 1, [&](int64_t begin, int64_t end) {
    TreeBatch::Scratch scratch;
    std::vector<double> sums(base_.size() * kTreeTile);
    for (int64_t tile = begin; tile < end; ++tile) {
      int64_t first = tile * kTreeTile, count = std::min(kTreeTile, rows.count - first);
      for (size_t o = 0; o < base_.size(); ++o) std::fill_n(sums.begin() + static_cast<std::ptrdiff_t>(o) * kTreeTile, kTreeTile, base_[o]);
      if (rows.f32 != nullptr) lazy_->batch.add(nodes_, leaf_values_, rows.f32 + first * rows.stride, count, rows.stride, sums.data(), scratch);
      else lazy_->batch.add(nodes_, leaf_values_, rows.f64 + first * rows.stride, count, rows.stride, sums.data(), scratch);
      done(first, count, sums.data());
    }
  });
}

namespace {

// One row of a tile's sums.
void pick_row(const double* sums, int64_t r, std::vector<double>& out, size_t outputs) {
  out.resize(outputs);
  for (size_t o = 0; o < outputs; ++o) out[o] = sums[static_cast<int64_t>(o) * kTreeTile + r];
}

class TreeRegressor : public Estimator {
 public:
  TreeRegressor(Interface interface, TreeEnsemble trees) : interface_(std::move(interface)), trees_(std::move(trees)) {
    columns_ = regressor_columns(interface_, trees_.outputs());
  }
  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    MLT_ASSIGN(std::vector<double> row, gather_numbers(interface_, inputs, trees_.features()));
    std::vector<double> out(trees_.outputs());
    trees_.evaluate(row.data(), out.data());
    transform(out);
    return regressor_outputs(interface_, out);
  }
  bool takes_rows(int64_t width) const override { return columns_ && width >= trees_.features(); }
  Result<FeatureBatch> predict_rows(const Rows& rows) const override {
    FeatureBatch batch = *columns_;
    make_room(batch, rows.count);
    trees_.evaluate_rows(rows, [&](int64_t first, int64_t count, const double* sums) {
      std::vector<double> out;
      for (int64_t r = 0; r < count; ++r) {
        pick_row(sums, r, out, trees_.outputs());
        transform(out);
        set_regressor_row(batch, first + r, out);
      }
    });
    return batch;
  }

 private:
  void transform(std::vector<double>& out) const {
    switch (trees_.transform()) {
      case Transform::kNone: break;
      case Transform::kLogistic:
        for (double& v : out) v = logistic(v);
        break;
      default: softmax_in_place(out);
    }
  }

  Interface interface_;
  TreeEnsemble trees_;
  std::optional<FeatureBatch> columns_;  // without rows
};

// One output and two classes: the output is the second class's probability (after the transform). coremltools keeps
// scikit-learn's ties from reaching 0.5 exactly, which tells that 0.5 counts as the second class.
class TreeClassifier : public Estimator {
 public:
  TreeClassifier(Interface interface, TreeEnsemble trees, Labels labels)
      : interface_(std::move(interface)), trees_(std::move(trees)), labels_(std::move(labels)) {
    columns_ = classifier_columns(interface_, labels_);
  }
  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    MLT_ASSIGN(std::vector<double> row, gather_numbers(interface_, inputs, trees_.features()));
    std::vector<double> out(trees_.outputs());
    trees_.evaluate(row.data(), out.data());
    size_t best = probabilities(out);
    return classifier_outputs(interface_, labels_, best, out);
  }
  bool takes_rows(int64_t width) const override { return columns_ && width >= trees_.features(); }
  Result<FeatureBatch> predict_rows(const Rows& rows) const override {
    FeatureBatch batch = *columns_;
    make_room(batch, rows.count);
    trees_.evaluate_rows(rows, [&](int64_t first, int64_t count, const double* sums) {
      std::vector<double> out;
      for (int64_t r = 0; r < count; ++r) {
        pick_row(sums, r, out, trees_.outputs());
        size_t best = probabilities(out);
        set_classifier_row(batch, first + r, best, out);
      }
    });
    return batch;
  }

 private:
  // Sums in, probabilities of all classes out; the index of the answer.
  size_t probabilities(std::vector<double>& out) const {
    if (trees_.transform() == Transform::kSoftmaxWithZeroReference) {
      out.insert(out.begin(), 0.0);
      softmax_in_place(out);
    } else if (trees_.transform() == Transform::kSoftmax && out.size() > 1) {
      softmax_in_place(out);
    } else if (trees_.transform() != Transform::kNone) {
      for (double& v : out) v = logistic(v);
    }
    size_t best = arg_max(out);
    if (out.size() == 1) {
      out = {1.0 - out[0], out[0]};
      best = out[1] >= 0.5 ? 1 : 0;
    }
    return best;
  }

  Interface interface_;
  TreeEnsemble trees_;
  Labels labels_;
  std::optional<FeatureBatch> columns_;  // without rows
};

}  // namespace

Result<std::unique_ptr<Estimator>> make_tree_regressor(Interface interface, const TreeEnsembleParams& params) {
  if (params.transform == Transform::kSoftmaxWithZeroReference) return input_error("tree ensemble regressor: a class transform");
  MLT_ASSIGN(TreeEnsemble trees, TreeEnsemble::build(params));
  return std::unique_ptr<Estimator>(std::make_unique<TreeRegressor>(std::move(interface), std::move(trees)));
}

Result<std::unique_ptr<Estimator>> make_tree_classifier(Interface interface, const TreeEnsembleParams& params, Labels labels) {
  MLT_ASSIGN(TreeEnsemble trees, TreeEnsemble::build(params));
  size_t classes = trees.outputs();
  if (params.transform == Transform::kSoftmaxWithZeroReference) ++classes;
  else if (classes == 1) classes = 2;
  if (labels.size() != classes)
    return input_error("tree ensemble classifier: " + std::to_string(labels.size()) + " class labels for " + std::to_string(classes) + " classes");
  return std::unique_ptr<Estimator>(std::make_unique<TreeClassifier>(std::move(interface), std::move(trees), std::move(labels)));
}

}  // namespace mlt
