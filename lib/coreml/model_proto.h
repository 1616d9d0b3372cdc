// The protobuf side of Model, for lib/coreml alone. All generated headers; `spec` and `milspec` are short names.
#pragma once
#include "lib/coreml/model.h"
#include "lib/coreml/proto/Model.pb.h"

namespace mlt::coreml {

namespace spec = CoreML::Specification;
namespace milspec = CoreML::Specification::MILSpec;

// Model::proto() and Model::mutable_proto() give the message. Change the description only through
// Model::set_description(): it is decoded once, when the model is made.

}  // namespace mlt::coreml
