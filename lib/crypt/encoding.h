// The two text encodings of the age format: base64 and Bech32. Both are canonical: every value has one
// spelling, and any other spelling is refused.
#pragma once
#include <string>
#include <string_view>

#include "lib/base/bytes.h"
#include "lib/base/result.h"

namespace mlt::crypt {

enum class Padding { kNone, kRequired };

// RFC 4648 section 4; no line breaks.
std::string base64_encode(ByteSpan bytes, Padding padding);
// Refuses characters outside the alphabet, wrong or unwanted padding, and non-zero trailing bits.
Result<Bytes> base64_decode(std::string_view text, Padding padding);

// BIP 173 without its limit on length. `prefix` is lower case; upper gives an all upper case string.
std::string bech32_encode(std::string_view prefix, ByteSpan bytes, bool upper);
struct Bech32 {
  std::string prefix;  // in lower case
  Bytes bytes;
  bool upper = false;
};
Result<Bech32> bech32_decode(std::string_view text);

}  // namespace mlt::crypt
