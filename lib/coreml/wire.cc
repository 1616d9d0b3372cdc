#include "lib/coreml/wire.h"

#include <cstring>
#include <string>

namespace mlt::coreml {

bool WireReader::varint(uint64_t* value) {
  uint64_t result = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (offset_ == data_.size()) return false;
    auto byte = std::to_integer<uint64_t>(data_[offset_++]);
    result |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = result;
      return true;
    }
  }
  return false;
}

Result<bool> WireReader::next(WireField* field) {
  if (offset_ == data_.size()) return false;
  auto damaged = [&](const char* what) {
    return input_error(std::string(what) + " at byte " + std::to_string(offset_) + " of a message");
  };
  uint64_t tag = 0;
  if (!varint(&tag) || tag >> 32 != 0 || tag >> 3 == 0) return damaged("bad field tag");
  field->number = static_cast<uint32_t>(tag >> 3);
  field->type = static_cast<WireType>(tag & 7);
  field->value = 0;
  field->bytes = {};
  switch (field->type) {
    case WireType::kVarint:
      if (!varint(&field->value)) return damaged("bad number");
      return true;
    case WireType::kFixed64:
    case WireType::kFixed32: {
      size_t size = field->type == WireType::kFixed64 ? 8 : 4;
      if (data_.size() - offset_ < size) return damaged("truncated number");
      std::memcpy(&field->value, data_.data() + offset_, size);
      offset_ += size;
      return true;
    }
    case WireType::kBytes: {
      uint64_t size = 0;
      if (!varint(&size)) return damaged("bad length");
      if (size > data_.size() - offset_) return damaged("truncated field");
      field->bytes = data_.subspan(offset_, size);
      offset_ += size;
      return true;
    }
    default: return damaged("bad wire type");
  }
}

void put_varint(Bytes* out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<std::byte>(value | 0x80));
  out->push_back(static_cast<std::byte>(value));
}

void put_bytes_field(Bytes* out, uint32_t number, ByteSpan bytes) {
  put_varint(out, uint64_t{number} << 3 | 2);
  put_varint(out, bytes.size());
  out->insert(out->end(), bytes.begin(), bytes.end());
}

}  // namespace mlt::coreml
