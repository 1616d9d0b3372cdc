// The one shape of a classic model: features in, features out. Trees, linear models, SVMs, nearest neighbours,
// feature engineering and pipelines of them are each an Estimator over plain structs; lib/coreml/classic.h makes them
// from a model.
#pragma once
#include <memory>

#include "lib/estimators/feature.h"

namespace mlt {

class Estimator {
 public:
  virtual ~Estimator() = default;
  // Outputs only. Features that the model does not name are ignored. Safe from several threads at once unless a stage
  // says otherwise.
  virtual Result<FeatureMap> predict(const FeatureMap& inputs) const = 0;
};

}  // namespace mlt
