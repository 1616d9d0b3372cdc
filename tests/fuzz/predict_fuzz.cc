// Any model message with a predictor (ML programs, neural networks, classic models, pipelines): made, and run once, on
// zeros, within the limits of predict_once.
#include "tests/fuzz/predict_once.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  auto model = mlt::open_memory(mlt::Blob(mlt::Bytes(bytes, bytes + size)), "fuzz");
  if (model.ok()) predict_once(*model);
  return 0;
}
