// coremldata.bin of compiled models and its small relatives.
#include <cstdint>
#include <cstdlib>

#include "lib/container/mlmodelc.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSpan bytes(reinterpret_cast<const std::byte*>(data), size);
  Blob file(Bytes(bytes.begin(), bytes.end()));
  (void)parse_compiled_preprocessing(file);
  (void)parse_model_names(file);
  if (auto sections = parse_analytics(file); sections.ok() && as_text(write_analytics(*sections)) != file.text()) std::abort();
  if (auto parsed = parse_coremldata(file); parsed.ok()) {
    auto again = parse_coremldata(Blob(write_coremldata(*parsed)));
    if (!again.ok() || again->labels != parsed->labels || again->outputs != parsed->outputs) std::abort();
  }
  (void)open_compiled(FileTree::from_blobs({{"coremldata.bin", file}}));
  return 0;
}
