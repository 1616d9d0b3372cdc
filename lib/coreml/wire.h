// The protobuf wire format without a schema: fields one by one. For what the generated code cannot tell: the order of
// map entries, what an unknown file holds, which unknown type a model has.
#pragma once
#include <cstdint>

#include "lib/base/bytes.h"
#include "lib/base/result.h"

namespace mlt::coreml {

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kGroup = 3, kEndGroup = 4, kFixed32 = 5 };

struct WireField {
  uint32_t number = 0;
  WireType type = WireType::kVarint;
  uint64_t value = 0;  // varint, fixed
  ByteSpan bytes;      // kBytes
};

class WireReader {
 public:
  explicit WireReader(ByteSpan data) : data_(data) {}
  // false at the end. kInput when the bytes are no message. Groups, which Core ML does not use, are refused.
  Result<bool> next(WireField* field);
  size_t offset() const { return offset_; }

 private:
  bool varint(uint64_t* value);

  ByteSpan data_;
  size_t offset_ = 0;
};

// Appends one field.
void put_varint(Bytes* out, uint64_t value);
void put_bytes_field(Bytes* out, uint32_t number, ByteSpan bytes);

}  // namespace mlt::coreml
