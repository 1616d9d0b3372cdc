// Classic learners in mlconvert: what is asked for, and writing the model.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/cli/seal.h"
#include "lib/convert/convert.h"
#include "lib/convert/learners/learner.h"

namespace mlt {

struct LearnerRequest {
  std::string source, to;             // "mlmodel", "mlpackage"
  std::optional<std::string> output;  // nothing: only a check
  std::optional<std::string> feature_names, target;
  foreign::Request common;            // names of outputs, labels, metadata
  cli::SealOptions seal;
};

// Converts bytes and writes the model. Warnings go to standard error.
Status convert_learner(const foreign::Learner& learner, const Blob& bytes, const LearnerRequest& request);

}  // namespace mlt
