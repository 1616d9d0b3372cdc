#include "lib/container/crc32.h"

#include <zlib.h>

#include <algorithm>
#include <vector>

#include "lib/base/threads.h"

namespace mlt {

uint32_t crc32(ByteSpan bytes) {
  constexpr size_t kPart = size_t{1} << 22;
  auto part = [&](size_t i) {
    ByteSpan some = bytes.subspan(i * kPart, std::min(kPart, bytes.size() - i * kPart));
    return crc32_z(0, reinterpret_cast<const Bytef*>(some.data()), some.size());
  };
  if (bytes.size() <= kPart) return static_cast<uint32_t>(part(0));
  std::vector<uLong> parts((bytes.size() + kPart - 1) / kPart);
  parallel_for(static_cast<int64_t>(parts.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) parts[static_cast<size_t>(i)] = part(static_cast<size_t>(i));
  });
  uLong all = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) all = crc32_combine(all, parts[i], static_cast<z_off_t>(std::min(kPart, bytes.size() - i * kPart)));
  return static_cast<uint32_t>(all);
}

}  // namespace mlt
