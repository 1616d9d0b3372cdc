// A model's message, through the program reader, the compiler, and the reader of compiled models.
#include <cstdlib>

#include "lib/container/compile.h"
#include "lib/container/open.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  auto model = mlt::open_memory(mlt::Blob(mlt::Bytes(bytes, bytes + size)), "fuzz");
  if (!model.ok() || model->compiled) return 0;
  auto files = mlt::compile_model(*model, {});
  if (files.ok() && !mlt::open_tree(files->tree, "again").ok()) std::abort();
  return 0;
}
