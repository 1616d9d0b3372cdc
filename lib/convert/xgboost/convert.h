// A booster as a Core ML model. Internal; also for pickled wrappers of scikit-learn's interface.
#pragma once
#include <optional>

#include "lib/convert/learners/assembly.h"
#include "lib/convert/xgboost/booster.h"

namespace mlt::foreign::xgboost {

// labels: of a classifier, when the file around the booster knows them. Throws LearnError.
LearnedModel convert_booster(const Booster& booster, const LearnerOptions& options, std::optional<mlt::Labels> labels);

}  // namespace mlt::foreign::xgboost
