// Archives, and everything that opens from memory: zips of packages, zstd, MIL text, models.
#include <cstdint>
#include <cstdlib>

#include "lib/container/open.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ByteSpan bytes(reinterpret_cast<const std::byte*>(data), size);
  Blob file(Bytes(bytes.begin(), bytes.end()));
  ZipLimits limits;
  limits.max_unpacked = 16 << 20;
  if (auto tree = read_zip(file, "fuzz.zip", limits); tree.ok()) {
    auto names = tree->names();
    if (names.ok()) {
      bool readable = true;
      for (const std::string& name : *names) {
        if (!is_safe_relative_path(name)) std::abort();
        readable &= tree->open(name).ok();
      }
      // What could be read can be written, and read again.
      if (readable) {
        Bytes out;
        Status status = write_zip(*tree, [&](ByteSpan part) {
          out.insert(out.end(), part.begin(), part.end());
          return Status{};
        });
        if (!status.ok()) std::abort();
        auto again = read_zip(Blob(std::move(out)), "again.zip");
        if (!again.ok() || *again->names() != *names) std::abort();
      }
    }
  }
  OpenOptions options;
  options.zip = limits;
  options.max_decompressed = 16 << 20;
  (void)open_memory(file, "fuzz", options);
  return 0;
}
