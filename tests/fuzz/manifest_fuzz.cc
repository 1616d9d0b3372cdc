// Manifest.json of packages, metadata.json of compiled models.
#include <cstdint>
#include <cstdlib>

#include "lib/container/compiled_metadata.h"
#include "lib/container/mlpackage.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSpan bytes(reinterpret_cast<const std::byte*>(data), size);
  (void)parse_compiled_metadata(bytes);
  auto manifest = parse_manifest(bytes);
  if (!manifest.ok()) return 0;
  for (const PackageItem& item : manifest->items)
    if (!is_safe_relative_path(item.path)) std::abort();
  std::string text = write_manifest(*manifest);
  auto again = parse_manifest(as_bytes(text));
  if (!again.ok() || again->items.size() != manifest->items.size()) std::abort();
  return 0;
}
