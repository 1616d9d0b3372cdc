// Damaged copies of a small input: every truncation, every single-bit flip of the first bytes. Readers must answer each
// with a value or an error.
#pragma once
#include <algorithm>

#include "lib/base/file.h"

namespace mlt::test {

template <typename Visit>
void for_each_damage(ByteSpan good, Visit&& visit, size_t flips_below = 2048, size_t max_truncations = 4096) {
  size_t step = std::max<size_t>(1, good.size() / max_truncations);
  for (size_t size = 0; size < good.size(); size += step) visit(Blob(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size))));
  for (size_t bit = 0; bit < std::min(good.size(), flips_below) * 8; bit++) {
    Bytes bytes(good.begin(), good.end());
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    visit(Blob(std::move(bytes)));
  }
}

inline bool same(ByteSpan a, ByteSpan b) { return as_text(a) == as_text(b); }
inline Blob text_blob(std::string_view text) {
  ByteSpan bytes = as_bytes(text);
  return Blob(Bytes(bytes.begin(), bytes.end()));
}

}  // namespace mlt::test
