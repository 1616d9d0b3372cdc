#include "lib/base/versions.h"

#include <charconv>
#include <cstdint>

namespace mlt {

std::optional<int> compare_versions(std::string_view a, std::string_view b) {
  // Parts beyond the end are zero: 15 is 15.0.
  auto next = [](std::string_view& text, uint32_t& number) {
    number = 0;
    if (text.empty()) return true;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end == text.data()) return false;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (text.empty()) return true;
    if (text[0] != '.' || text.size() == 1) return false;
    text.remove_prefix(1);
    return true;
  };
  if (a.empty() || b.empty()) return std::nullopt;
  int order = 0;
  while (!a.empty() || !b.empty()) {
    uint32_t left, right;
    if (!next(a, left) || !next(b, right)) return std::nullopt;
    if (order == 0 && left != right) order = left < right ? -1 : 1;
  }
  return order;
}

}  // namespace mlt
