// ONNX models of ai.onnx.ml as Core ML's classic models: what takes strings or dictionaries cannot be a program.
#pragma once
#include "lib/convert/learners/learner.h"

namespace mlt::foreign::onnx {

// An ONNX model with an input of strings or a dictionary.
bool needs_pipeline(ByteSpan bytes);
// A single classic model or a pipeline of these.
Result<LearnedModel> convert_pipeline(const Blob& bytes, const LearnerOptions& options);
void add_coverage(std::vector<LearnerCoverage>& list);

}  // namespace mlt::foreign::onnx
