// Collections of models: what a person writes, the manifest of a packed one, and what devices get of it.
#include <cstdint>
#include <cstdlib>

#include "lib/container/collection.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  for (bool packed : {false, true}) {
    auto collection = parse_collection(text, packed);
    if (!collection.ok()) continue;
    DeviceFacts device;
    if (!set_fact(device, "deviceClass", "ipad").ok() || !set_fact(device, "osVersion", "17.2").ok() || !set_fact(device, "region", "DE").ok()) std::abort();
    (void)collection_text(*collection);
    (void)selection_text(*collection, device);
    (void)selection_json(*collection, ".", device);
    for (const CollectionModel& model : collection->models) {
      auto chosen = variant_for(model, device);
      if (chosen && (*chosen >= model.variants.size() || !mismatches(model.variants[*chosen].rule, device).empty())) std::abort();
      for (size_t i = 0; i < model.variants.size(); ++i)
        if (archive_name(model, i).find('/') != std::string::npos) std::abort();
    }
    if (!packed) continue;
    // What is written reads as what was read.
    std::string written = collection_manifest(*collection);
    auto again = parse_collection(written, true);
    if (!again.ok() || collection_manifest(*again) != written) std::abort();
  }
  return 0;
}
