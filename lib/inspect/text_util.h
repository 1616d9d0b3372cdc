// Small helpers of the text reports.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace mlt::inspect {

std::string size_text(uint64_t bytes);  // "14.1 MB"
std::string plural(int64_t count, const char* word);
// Control characters of a model's text must not reach a terminal, nor break the layout.
std::string clean(std::string_view text, size_t limit = 400);

}  // namespace mlt::inspect
