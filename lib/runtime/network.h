// Neural networks: lifted into a program for the extents at hand, and run as one. Internal to lib/runtime.
#pragma once
#include <memory>

#include "lib/runtime/predictor.h"

namespace mlt {

Result<std::unique_ptr<Predictor>> make_network_predictor(const coreml::Model& model, const PredictOptions& options, const Predictor* parent);

}  // namespace mlt
