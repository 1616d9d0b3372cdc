// LIBSVM model files, as svm-train writes them: every SVM type and kernel but precomputed.
#pragma once
#include "lib/convert/learners/learner.h"

namespace mlt::foreign::libsvm {

bool looks_like_libsvm(ByteSpan bytes);
Result<LearnedModel> convert_libsvm(const Blob& bytes, const LearnerOptions& options);
void add_coverage(std::vector<LearnerCoverage>& list);

}  // namespace mlt::foreign::libsvm
