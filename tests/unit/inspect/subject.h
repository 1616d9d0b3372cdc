// Models for the tests of lib/inspect.
#pragma once
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "lib/inspect/inspect.h"

namespace mlt::inspect {

inline Subject subject_of(std::string_view text, const char* name = "m.mil") {
  ByteSpan bytes = as_bytes(text);
  auto opened = open_memory(Blob(Bytes(bytes.begin(), bytes.end())), name);
  REQUIRE_MESSAGE(opened.ok(), opened.error().to_string());
  auto subject = prepare(std::move(*opened));
  REQUIRE_MESSAGE(subject.ok(), subject.error().to_string());
  return std::move(*subject);
}
inline Subject subject_at(const std::string& path) {
  auto opened = open_model(path);
  REQUIRE_MESSAGE(opened.ok(), opened.error().to_string());
  auto subject = prepare(std::move(*opened));
  REQUIRE_MESSAGE(subject.ok(), subject.error().to_string());
  return std::move(*subject);
}
// A packed field of doubles; number < 16, less than 16 values.
inline void coreml_put(Bytes& out, uint32_t number, const std::vector<double>& values) {
  out.push_back(static_cast<std::byte>(number << 3 | 2));
  out.push_back(static_cast<std::byte>(values.size() * 8));
  for (double value : values) {
    std::byte raw[8];
    std::memcpy(raw, &value, 8);
    out.insert(out.end(), raw, raw + 8);
  }
}

}  // namespace mlt::inspect
