// Prepared weights beside a compiled model: what an index claims lies within the file, with room behind it.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "lib/kernels/target.h"
#include "lib/runtime/packed_file.h"
#include "lib/runtime/packed_revision.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // The list of forms is the input's; the rest, without which no list is read, is made here.
  const XXH128_hash_t nothing = XXH3_128bits("", 0);
  const std::string index = std::string("{\"revision\": \"") + kPackedRevision + "\", \"target\": \"" + kernel_target() + "\", \"contents\": \"" + std::to_string(nothing.high64) + " " +
                            std::to_string(nothing.low64) + "\", \"forms\": " + std::string(reinterpret_cast<const char*>(data), size) + "}";
  constexpr size_t kIndexAt = 4096;
  auto owner = std::make_shared<AlignedBuffer>();
  const size_t total = kIndexAt + index.size();
  if (!owner->reset(total)) return 0;
  auto* bytes = owner->data<std::byte>();
  std::memset(bytes, 0, kIndexAt);
  std::memcpy(bytes, "mltpack2", 8);
  auto put = [&](size_t at, uint64_t value) {
    for (size_t i = 0; i < 8; ++i) bytes[at + i] = static_cast<std::byte>(value >> (8 * i));
  };
  put(8, kIndexAt);
  put(16, index.size());
  put(24, XXH3_64bits_withSeed(index.data(), index.size(), XXH3_64bits(bytes, 24)));
  std::memcpy(bytes + kIndexAt, index.data(), index.size());
  Blob blob(owner, ByteSpan(bytes, total));
  auto forms = open_packed(FileTree::from_blobs({{std::string(kPackedPrefix) + kernel_target(), blob}}));
  if (forms == nullptr) return 0;
  for (const char* name : {"a", "w1", ""})
    for (size_t want : {size_t{0}, size_t{1}, size_t{64}, size_t{1024}}) {
      std::shared_ptr<const void> keeper;
      const std::byte* found = forms->find(name, want, &keeper);
      if (found == nullptr) continue;
      auto at = static_cast<size_t>(found - bytes);
      if (at < 64 || at % kAlignment != 0 || at + want + kSlack > kIndexAt) std::abort();
    }
  return 0;
}
