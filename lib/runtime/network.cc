#include "lib/runtime/network.h"

namespace mlt {

Result<ProgramInterface> lift_network(const coreml::Model& model) {
  return unsupported_error("models of kind " + model.kind_name() + " cannot be run yet");
}

}  // namespace mlt
