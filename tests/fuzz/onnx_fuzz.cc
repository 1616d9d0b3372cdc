// Any bytes as an ONNX model: read, lowered, run through the passes. Large results are refused by the library itself.
#include "lib/convert/convert.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mlt::foreign::Request request;
  request.from = "onnx";
  auto bytes = std::as_bytes(std::span(data, size));
  (void)mlt::foreign::convert_source(mlt::Blob(mlt::Bytes(bytes.begin(), bytes.end())), "", request).ok();
  return 0;
}
