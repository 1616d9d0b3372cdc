// The weights of an ONNX file left where they are.
#pragma once
#include <optional>
#include <vector>

#include "lib/base/bytes.h"

namespace mlt::foreign::onnx {

struct Stripped {
  Bytes message;               // the ModelProto without the raw data of large initializers of its graph
  std::vector<ByteSpan> raw;   // of each initializer, in the file's order: what was taken out; empty when nothing was
};

// Nothing when the bytes are no sound sequence of fields: parsing them whole then says what is wrong.
std::optional<Stripped> strip_weights(ByteSpan model);

}  // namespace mlt::foreign::onnx
