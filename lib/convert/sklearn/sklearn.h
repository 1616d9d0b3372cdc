// scikit-learn estimators and pipelines from pickles and joblib files, of versions 0.19 to today.
#pragma once
#include "lib/convert/learners/learner.h"

namespace mlt::foreign::sklearn {

bool looks_like_sklearn(ByteSpan bytes);
Result<LearnedModel> convert_sklearn(const Blob& bytes, const LearnerOptions& options);
void add_coverage(std::vector<LearnerCoverage>& list);

}  // namespace mlt::foreign::sklearn
