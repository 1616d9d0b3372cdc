#include "lib/base/bytes.h"

#include <string>

namespace mlt {

Result<ByteSpan> ByteReader::take(uint64_t size) {
  if (size > remaining())
    return input_error("truncated: " + std::to_string(size) + " bytes expected at offset " + std::to_string(offset_) +
                       ", " + std::to_string(remaining()) + " left");
  ByteSpan part = data_.subspan(offset_, size);
  offset_ += size;
  return part;
}

Result<std::string> ByteReader::read_string64() {
  MLT_ASSIGN(uint64_t size, read<uint64_t>());
  MLT_ASSIGN(ByteSpan raw, take(size));
  return std::string(as_text(raw));
}

Status ByteReader::seek(uint64_t offset) {
  if (offset > data_.size())
    return input_error("truncated: offset " + std::to_string(offset) + " lies beyond the end at " +
                       std::to_string(data_.size()));
  offset_ = offset;
  return {};
}

}  // namespace mlt
