// k nearest neighbours (source: NearestNeighbors.proto). Both index types give the same answer, so samples are searched
// one after the other.
#pragma once
#include <optional>
#include <vector>

#include "lib/estimators/estimator.h"

namespace mlt {

struct KnnParams {
  int64_t dimensions = 0;
  std::vector<float> samples;  // [count, dimensions]
  int64_t neighbors = 1;
  bool inverse_distance = false;  // votes weigh 1 / Euclidean distance, as in scikit-learn; else 1
  std::optional<FeatureValue> default_label;  // answer of an empty model
};

// labels: one per sample. Equal votes: the smaller label wins, as in scikit-learn. Equal distances: the earlier sample.
Result<std::unique_ptr<Estimator>> make_knn_classifier(Interface interface, KnnParams params, Labels labels);

}  // namespace mlt
