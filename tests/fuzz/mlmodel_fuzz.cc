// Model messages: parse, describe, check, write. Seeds: small .mlmodel files, testdata/bad-model.
#include <cstdint>
#include <cstdlib>

#include "lib/coreml/model.h"
#include "lib/coreml/nn_layers.h"
#include "lib/coreml/validate.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSpan bytes(reinterpret_cast<const std::byte*>(data), size);
  auto model = coreml::Model::parse(Blob(Bytes(bytes.begin(), bytes.end())));
  if (!model.ok()) return 0;
  (void)model->class_labels();
  (void)model->kind_name();
  (void)model->serialize_description(true);
  (void)coreml::nn_layers(*model);
  (void)coreml::validate(*model);
  auto once = model->serialize();
  if (!once.ok() || once->empty()) return 0;  // a message of defaults has no bytes
  // Writing is a fixed point after one round, and loses no bytes of meaning: it parses again.
  auto again = coreml::Model::parse(Blob(*once));
  if (!again.ok() || as_text(*again->serialize()) != as_text(*once)) std::abort();
  coreml::Model copy = model->clone();
  copy.set_description(model->description());
  if (!(copy.description() == model->description())) std::abort();
  return 0;
}
