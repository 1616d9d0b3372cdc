// Neural networks as programs: the lift's result as an interface for the program predictor. Internal to lib/runtime.
#pragma once
#include "lib/runtime/program_predictor.h"

namespace mlt {

Result<ProgramInterface> lift_network(const coreml::Model& model);

}  // namespace mlt
