// Generalised linear models (sources: GLMRegressor.proto, GLMClassifier.proto, scikit-learn's one-vs-rest rule).
#pragma once
#include <vector>

#include "lib/estimators/estimator.h"

namespace mlt {

enum class Link : uint8_t { kNone, kLogit, kProbit };

struct LinearParams {
  std::vector<std::vector<double>> weights;  // one row per output
  std::vector<double> offset;                // one per row, or empty
  Link link = Link::kNone;
  // Classifiers: one row per class, probabilities normalised to sum 1; else one row per class but the first, whose
  // score is 0. Two classes have one row either way.
  bool one_vs_rest = false;
};

// kInput when rows differ in length or counts do not fit.
Result<std::unique_ptr<Estimator>> make_glm_regressor(Interface interface, LinearParams params);
Result<std::unique_ptr<Estimator>> make_glm_classifier(Interface interface, LinearParams params, Labels labels);

}  // namespace mlt
