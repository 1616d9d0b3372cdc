#include "lib/estimators/knn.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace mlt {
namespace {

class Knn : public Estimator {
 public:
  Knn(Interface interface, KnnParams params, Labels labels)
      : interface_(std::move(interface)), p_(std::move(params)), labels_(std::move(labels)) {
    // Distinct labels, ascending; class_of_ maps each sample to one.
    std::vector<size_t> order(labels_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return labels_.compare(a, b) < 0; });
    class_of_.resize(order.size());
    classes_.integers = labels_.integers;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i == 0 || labels_.compare(order[i], order[i - 1]) != 0) {
        if (labels_.integers) classes_.ints.push_back(labels_.ints[order[i]]);
        else classes_.strings.push_back(labels_.strings[order[i]]);
      }
      class_of_[order[i]] = classes_.size() - 1;
    }
  }

  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    MLT_ASSIGN(std::vector<double> row, gather_numbers(interface_, inputs, p_.dimensions));
    if (static_cast<int64_t>(row.size()) != p_.dimensions)
      return input_error("expected " + std::to_string(p_.dimensions) + " input values, got " + std::to_string(row.size()));
    if (class_of_.empty()) return empty_answer();
    size_t count = class_of_.size(), width = row.size(), k = std::min<size_t>(static_cast<size_t>(p_.neighbors), count);
    std::vector<std::pair<double, size_t>> nearest(count);
    for (size_t i = 0; i < count; ++i) {
      const float* sample = p_.samples.data() + i * width;
      double sum = 0;
      for (size_t j = 0; j < width; ++j) sum += (row[j] - sample[j]) * (row[j] - sample[j]);
      if (std::isnan(sum)) return input_error("an input value or a stored sample is not a number");
      nearest[i] = {sum, i};
    }
    std::partial_sort(nearest.begin(), nearest.begin() + static_cast<std::ptrdiff_t>(k), nearest.end());
    std::vector<double> votes(classes_.size(), 0);
    bool exact = p_.inverse_distance && nearest[0].first == 0;  // only neighbours at distance 0 count then
    double total = 0;
    for (size_t i = 0; i < k; ++i) {
      double weight = 1;
      if (exact) weight = nearest[i].first == 0 ? 1 : 0;
      else if (p_.inverse_distance) weight = 1 / std::sqrt(nearest[i].first);
      votes[class_of_[nearest[i].second]] += weight;
      total += weight;
    }
    size_t best = arg_max(votes);
    for (double& v : votes) v /= total;
    return classifier_outputs(interface_, classes_, best, votes);
  }

 private:
  Result<FeatureMap> empty_answer() const {
    if (!p_.default_label) return input_error("the model has no samples and no default label");
    Labels one;
    if (const auto* i = std::get_if<int64_t>(&*p_.default_label)) {
      one.integers = true;
      one.ints = {*i};
    } else if (const auto* s = std::get_if<std::string>(&*p_.default_label)) {
      one.strings = {*s};
    }
    return classifier_outputs(interface_, one, 0, std::vector<double>{1.0});
  }

  Interface interface_;
  KnnParams p_;
  Labels labels_, classes_;
  std::vector<size_t> class_of_;
};

}  // namespace

Result<std::unique_ptr<Estimator>> make_knn_classifier(Interface interface, KnnParams params, Labels labels) {
  if (params.dimensions < 1 || params.neighbors < 1) return input_error("nearest neighbours: dimensions and number of neighbours must be positive");
  if (params.samples.size() % static_cast<size_t>(params.dimensions) != 0 ||
      params.samples.size() / static_cast<size_t>(params.dimensions) != labels.size())
    return input_error("nearest neighbours: " + std::to_string(labels.size()) + " labels for " + std::to_string(params.samples.size()) + " sample values");
  return std::unique_ptr<Estimator>(std::make_unique<Knn>(std::move(interface), std::move(params), std::move(labels)));
}

}  // namespace mlt
