// metadata.json of a compiled model, read back: the interface when coremldata.bin is missing.
#pragma once
#include <cstdint>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/coreml/description.h"

namespace mlt {

struct CompiledMetadata {
  uint32_t type = 0;  // number of the Model.Type member; 0 when the file does not say
  int32_t spec_version = 0;
  coreml::Description description;
};
Result<CompiledMetadata> parse_compiled_metadata(ByteSpan json);

}  // namespace mlt
