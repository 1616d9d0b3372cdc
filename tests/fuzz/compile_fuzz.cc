// A model's message, through the program reader, the compiler, and the reader of compiled models.
#include <cstdlib>

#include "lib/container/compile.h"
#include "lib/container/open.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  auto model = mlt::open_memory(mlt::Blob(mlt::Bytes(bytes, bytes + size)), "fuzz");
  if (!model.ok() || model->compiled) return 0;
  auto files = mlt::compile_model(*model, {});
  if (!files.ok()) return 0;
  auto again = mlt::open_tree(files->tree, "again");
  // What is written can be read, networks with all their layers.
  if (!again.ok() || mlt::first_network_error(*again->compiled) != nullptr) std::abort();
  return 0;
}
