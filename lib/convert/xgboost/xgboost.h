// XGBoost models: the old binary format, JSON and UBJSON; gbtree, dart and gblinear.
#pragma once
#include "lib/convert/learners/learner.h"

namespace mlt::foreign::xgboost {

bool looks_like_xgboost(ByteSpan bytes);
Result<LearnedModel> convert_xgboost(const Blob& bytes, const LearnerOptions& options);
void add_coverage(std::vector<LearnerCoverage>& list);

}  // namespace mlt::foreign::xgboost
