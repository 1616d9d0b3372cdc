// Element types and value types of ML programs on both sides of the protobuf boundary. For lib/coreml alone.
#pragma once
#include <optional>

#include "lib/base/result.h"
#include "lib/coreml/proto/MIL.pb.h"
#include "lib/ir/type.h"

namespace mlt::coreml {

std::optional<DType> from_mil(CoreML::Specification::MILSpec::DataType type);
CoreML::Specification::MILSpec::DataType to_mil(DType type);

Result<ir::Type> decode_type(const CoreML::Specification::MILSpec::ValueType& proto);
void encode_type(const ir::Type& type, CoreML::Specification::MILSpec::ValueType* proto);

}  // namespace mlt::coreml
