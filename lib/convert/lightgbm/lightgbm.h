// LightGBM models: the text of Booster.save_model and the JSON of Booster.dump_model.
#pragma once
#include "lib/convert/learners/learner.h"

namespace mlt::foreign::lightgbm {

bool looks_like_lightgbm(ByteSpan bytes);
Result<LearnedModel> convert_lightgbm(const Blob& bytes, const LearnerOptions& options);
void add_coverage(std::vector<LearnerCoverage>& list);

}  // namespace mlt::foreign::lightgbm
