// Decimal numbers out of text, many at once.
#pragma once
#include <cstdint>

namespace mlt {

// Reads up to `count` numbers that commas separate, from p on: "-12.345" or "7", at most 15 characters with the sign,
// eight of them before the point. Stops at anything else, and 32 characters
// before `end`. The values are those of strtod. Returns how many were read; *stop is then at the character behind the last
// of them: a comma, or, of the count-th, perhaps the end of a line. None where the machine has no instructions for it.
int64_t read_decimals(const char* p, const char* end, int64_t count, double* values, const char** stop) noexcept;

}  // namespace mlt
