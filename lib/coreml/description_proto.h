// Description <-> ModelDescription message, for lib/coreml alone.
#pragma once
#include "lib/base/file.h"
#include "lib/coreml/description.h"

namespace CoreML::Specification {
class Metadata;
class ModelDescription;
}

namespace mlt::coreml {

// Total: every message has a Description. The order of user-defined metadata is lost in the message; user_order()
// restores it from the bytes it was parsed from.
Description decode_description(const CoreML::Specification::ModelDescription& proto);
// Replaces what Description knows and keeps the rest of `proto`.
void encode_description(const Description& description, CoreML::Specification::ModelDescription* proto);

void encode_metadata(const Metadata& metadata, CoreML::Specification::Metadata* proto);

// Sorts user-defined metadata as it stands in a serialized ModelDescription.
void restore_user_order(ByteSpan description_bytes, Metadata* metadata);

}  // namespace mlt::coreml
