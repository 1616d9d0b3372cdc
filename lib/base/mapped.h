// Memory of mapped files.
#pragma once
#include "lib/base/bytes.h"

namespace mlt {

// Says that these bytes, a part of a file that map_file() mapped, are not needed soon: they stop counting as this process's
// memory, and are read again when somebody looks. Nothing happens to other bytes.
void forget_mapped(ByteSpan bytes);
// Whether they are such bytes.
bool is_mapped(ByteSpan bytes);

}  // namespace mlt
