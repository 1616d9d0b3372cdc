// Memory of mapped files.
#pragma once
#include <cstdint>
#include <optional>

#include "lib/base/bytes.h"

namespace mlt {

// Says that these bytes, a part of a file that map_file() mapped, are not needed soon: they stop counting as this process's
// memory, and are read again when somebody looks. Nothing happens to other bytes.
void forget_mapped(ByteSpan bytes);
// Whether they are such bytes.
bool is_mapped(ByteSpan bytes);
// All of the file that they are a part of; nothing when they are not such bytes.
ByteSpan mapped_around(ByteSpan bytes);

// What a file system knows of a file, as it was when the file was mapped; times in nanoseconds since 1970.
struct FileStamp {
  uint64_t size = 0;
  int64_t modified = 0, changed = 0;  // the contents; the contents or anything else that is kept of the file
};
// Of the file that these bytes are a part of; nothing when they are not such bytes.
std::optional<FileStamp> stamp_of_mapped(ByteSpan bytes);

}  // namespace mlt
