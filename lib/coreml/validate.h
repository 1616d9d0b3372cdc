// Checks of a model against the rules of its kind and specification version. Sources of the rules: coremltools'
// mlmodel/src/Validation and the format tables.
#pragma once
#include <string>
#include <vector>

#include "lib/coreml/model.h"
#include "lib/coreml/weight_source.h"

namespace mlt::coreml {

enum class Severity { kWarning, kError };

struct Finding {
  Severity severity = Severity::kError;
  std::string place;    // "interface", "input \"image\"", "layer \"conv1\" (convolution)", "stage 2 (glmClassifier)"
  std::string message;  // lower case, no final period
};

// All findings, not the first; at most about a thousand. An error means that Core ML refuses the model or computes
// something else than the author meant. With `weights`, the records that an ML program names are checked too; files
// that are missing are warnings.
std::vector<Finding> validate(const Model& model, const WeightSource* weights = nullptr);
bool has_errors(const std::vector<Finding>& findings);

// The least specification version that the model's features allow.
int required_spec_version(const Model& model);

}  // namespace mlt::coreml
