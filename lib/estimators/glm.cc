#include "lib/estimators/glm.h"

#include <algorithm>

#include "lib/base/threads.h"
#include "lib/kernels/trees.h"

namespace mlt {
namespace {

Status check(const LinearParams& params) {
  if (params.weights.empty()) return input_error("linear model: no weights");
  if (!params.offset.empty() && params.offset.size() != params.weights.size())
    return input_error("linear model: " + std::to_string(params.offset.size()) + " offsets for " + std::to_string(params.weights.size()) + " rows");
  for (const auto& row : params.weights)
    if (row.size() != params.weights[0].size()) return input_error("linear model: rows of weights differ in length");
  return {};
}

double link(Link kind, double z) {
  switch (kind) {
    case Link::kNone: return z;
    case Link::kLogit: return logistic(z);
    case Link::kProbit: return normal_cdf(z);
  }
  return z;
}

class Glm : public Estimator {
 public:
  Glm(Interface interface, LinearParams params, Labels labels, bool classifier)
      : interface_(std::move(interface)), params_(std::move(params)), labels_(std::move(labels)), classifier_(classifier) {
    batch_ = classifier_ ? classifier_columns(interface_, labels_) : regressor_columns(interface_, params_.weights.size());
  }

  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    auto width = static_cast<int64_t>(params_.weights[0].size());
    MLT_ASSIGN(std::vector<double> row, gather_numbers(interface_, inputs, width));
    if (static_cast<int64_t>(row.size()) != width)
      return input_error("expected " + std::to_string(width) + " input values, got " + std::to_string(row.size()));
    std::vector<double> z(params_.weights.size());
    for (size_t i = 0; i < z.size(); ++i) {
      double sum = params_.offset.empty() ? 0.0 : params_.offset[i];
      for (size_t j = 0; j < row.size(); ++j) sum += params_.weights[i][j] * row[j];
      z[i] = sum;
    }
    if (!classifier_) {
      for (double& v : z) v = link(params_.link, v);
      return regressor_outputs(interface_, z);
    }
    size_t best = probabilities(z);
    return classifier_outputs(interface_, labels_, best, z);
  }

  bool takes_rows(int64_t width) const override {
    return batch_ && width == static_cast<int64_t>(params_.weights[0].size());
  }

  Result<FeatureBatch> predict_rows(const Rows& rows) const override {
    FeatureBatch batch = *batch_;
    make_room(batch, rows.count);
    int64_t tiles = (rows.count + kTreeTile - 1) / kTreeTile;
    parallel_for(tiles, 1, [&](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; ++tile) {
        int64_t from = tile * kTreeTile, n = std::min(kTreeTile, rows.count - from);
        if (rows.f32 != nullptr) predict_tile(rows.f32 + from * rows.stride, n, rows.stride, from, batch);
        else predict_tile(rows.f64 + from * rows.stride, n, rows.stride, from, batch);
      }
    });
    return batch;
  }

 private:
  // Sums of a tile's rows, in the order of predict(): the offset, then one weight after the other.
  template <typename T>
  void predict_tile(const T* rows, int64_t n, int64_t stride, int64_t from, FeatureBatch& batch) const {
    size_t outputs = params_.weights.size(), width = params_.weights[0].size();
    std::vector<double> sums(outputs * kTreeTile), z(outputs);
    for (size_t i = 0; i < outputs; ++i)
      std::fill_n(sums.begin() + static_cast<std::ptrdiff_t>(i) * kTreeTile, kTreeTile, params_.offset.empty() ? 0.0 : params_.offset[i]);
    alignas(64) T columns[kTreeBlock * kTreeTile];
    for (size_t first = 0; first < width; first += kTreeBlock) {
      size_t some = std::min<size_t>(kTreeBlock, width - first);
      tree_columns(rows + first, n, stride, static_cast<int64_t>(some), columns);
      for (size_t j = 0; j < some; ++j)
        for (size_t i = 0; i < outputs; ++i) rows_add(columns + j * kTreeTile, params_.weights[i][first + j], sums.data() + i * kTreeTile);
    }
    for (int64_t r = 0; r < n; ++r) {
      z.resize(outputs);
      for (size_t i = 0; i < outputs; ++i) z[i] = sums[i * kTreeTile + static_cast<size_t>(r)];
      if (classifier_) {
        size_t best = probabilities(z);
        set_classifier_row(batch, from + r, best, z);
      } else {
        for (double& v : z) v = link(params_.link, v);
        set_regressor_row(batch, from + r, z);
      }
    }
  }

  // Scores of the rows of weights in, probabilities of all classes out; the index of the answer.
  size_t probabilities(std::vector<double>& z) const {
    if (z.size() == 1 && labels_.size() == 2) {
      double p = link(params_.link, z[0]);
      z = {1.0 - p, p};
      return p > 0.5 ? 1 : 0;
    }
    if (!params_.one_vs_rest) {
      z.insert(z.begin(), 0.0);
      softmax_in_place(z);
      return arg_max(z);
    }
    size_t best = arg_max(z);  // before the link saturates
    double sum = 0;
    for (double& v : z) sum += v = link(params_.link, v);
    for (double& v : z) v = sum > 0 ? v / sum : 1.0 / static_cast<double>(z.size());
    return best;
  }

  Interface interface_;
  LinearParams params_;
  Labels labels_;
  bool classifier_;
  std::optional<FeatureBatch> batch_;  // columns without rows
};

}  // namespace

Result<std::unique_ptr<Estimator>> make_glm_regressor(Interface interface, LinearParams params) {
  MLT_TRY(check(params));
  return std::unique_ptr<Estimator>(std::make_unique<Glm>(std::move(interface), std::move(params), Labels(), false));
}

Result<std::unique_ptr<Estimator>> make_glm_classifier(Interface interface, LinearParams params, Labels labels) {
  MLT_TRY(check(params));
  size_t rows = params.weights.size();
  if (!(labels.size() == 2 && rows == 1) && labels.size() != (params.one_vs_rest ? rows : rows + 1))
    return input_error("linear classifier: " + std::to_string(labels.size()) + " class labels for " + std::to_string(rows) + " rows of weights");
  if (!params.one_vs_rest && rows > 1 && params.link == Link::kProbit)
    return unsupported_error("linear classifier: probit with several classes and a reference class");
  return std::unique_ptr<Estimator>(std::make_unique<Glm>(std::move(interface), std::move(params), std::move(labels), true));
}

}  // namespace mlt
