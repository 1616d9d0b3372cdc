// Decision tree ensembles (sources: TreeEnsemble.proto; xgboost's and scikit-learn's converters in coremltools for what
// the post-evaluation transforms mean). Nodes are flattened at load: every child lies after its parent, so evaluation
// always ends, and all branch tests become "x < threshold" or "x == threshold".
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "lib/base/threads.h"
#include "lib/estimators/estimator.h"
#include "lib/estimators/tree_batch.h"

namespace mlt {

struct TreeEnsembleParams {
  enum class Branch : uint8_t { kLessEqual, kLess, kGreaterEqual, kGreater, kEqual, kNotEqual, kLeaf };
  enum class Transform : uint8_t { kNone, kSoftmax, kLogistic, kSoftmaxWithZeroReference };
  struct Node {
    uint64_t tree = 0, id = 0;
    Branch branch = Branch::kLeaf;
    uint64_t feature = 0;
    double value = 0;
    uint64_t true_child = 0, false_child = 0;
    bool missing_is_true = false;
    std::vector<std::pair<uint64_t, double>> leaf;  // output index, value
  };
  std::vector<Node> nodes;
  uint64_t outputs = 1;
  std::vector<double> base;
  Transform transform = Transform::kNone;
};

class TreeEnsemble {
 public:
  // kInput when ids repeat, children are missing, shared or form a cycle, or indices are out of range.
  static Result<TreeEnsemble> build(const TreeEnsembleParams& params);

  int64_t features() const { return features_; }  // one more than the largest feature index
  size_t outputs() const { return base_.size(); }
  TreeEnsembleParams::Transform transform() const { return transform_; }
  // Raw sums of one row of at least features() values; NaN is a missing value. out: outputs() values.
  void evaluate(const double* row, double* out) const;
  // The same for many rows, in parallel and tile by tile: done(first, count, sums) gets the sums of `count` rows from
  // `first` on, sums[output * kTreeTile + row]; it is called from several threads. Bit for bit what evaluate() gives.
  void evaluate_rows(const Rows& rows, FunctionRef<void(int64_t, int64_t, const double*)> done) const;

 private:
  std::vector<FlatNode> nodes_;
  std::vector<int32_t> roots_;
  std::vector<LeafValue> leaf_values_;
  std::vector<double> base_;
  TreeEnsembleParams::Transform transform_ = TreeEnsembleParams::Transform::kNone;
  int64_t features_ = 0;
  // Made when rows come for the first time: a single record does not need it.
  struct Lazy {
    std::once_flag once;
    TreeBatch batch;
  };
  std::shared_ptr<Lazy> lazy_ = std::make_shared<Lazy>();
};

Result<std::unique_ptr<Estimator>> make_tree_regressor(Interface interface, const TreeEnsembleParams& params);
Result<std::unique_ptr<Estimator>> make_tree_classifier(Interface interface, const TreeEnsembleParams& params, Labels labels);

}  // namespace mlt
