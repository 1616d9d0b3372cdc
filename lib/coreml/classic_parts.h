// Messages of single classic models to estimators; a part of classic.h. Internal to lib/coreml.
#pragma once
#include <memory>
#include <string>

#include "lib/coreml/model.h"
#include "lib/estimators/estimator.h"

namespace mlt::coreml::classic {

// Any kind but pipelines, neural networks and ML programs; kUnsupported with missing_stage_error() when it cannot run.
Result<std::unique_ptr<Estimator>> make_leaf(const Model& model, Interface interface);

std::string serialized_identifier(const Model& model);  // " (identifier foo)" or empty
std::string custom_class(const Model& model);  // " (class Foo)" or empty

}  // namespace mlt::coreml::classic
