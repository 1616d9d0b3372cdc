// Blob storage files of both versions.
#include <cstdint>
#include <cstdlib>

#include "lib/container/weight_blob.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSpan bytes(reinterpret_cast<const std::byte*>(data), size);
  Blob file(Bytes(bytes.begin(), bytes.end()));
  auto inside = [&](const Blob& part) {
    if (part.size() == 0) return;
    if (part.bytes().data() < file.bytes().data() ||
        part.bytes().data() + part.size() > file.bytes().data() + file.size())
      std::abort();
  };
  if (auto blobs = BlobFile::open(file); blobs.ok()) {
    (void)blobs->records();
    for (uint64_t offset = 0; offset < size + 128; offset += 32) {
      auto blob = blobs->read(offset);
      if (!blob.ok()) continue;
      inside(blob->data);
      if ((blob->elements * static_cast<uint64_t>(dtype_bits(blob->dtype)) + 7) / 8 != blob->data.size()) std::abort();
    }
  }
  if (auto weights = EspressoWeights::open(file); weights.ok())
    for (uint64_t id = 0; id < 8; id++)
      if (auto blob = weights->read(id); blob.ok()) inside(*blob);
  return 0;
}
