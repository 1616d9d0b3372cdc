// The header of a sealed file (age-encryption.org/v1): one stanza per recipient, each wrapping the same file
// key, and a MAC over all of it.
//
//   age-encryption.org/v1
//   -> X25519 <ephemeral share>      "-> ", arguments of visible ASCII separated by single spaces
//   <body>                           base64 without padding, lines of 64 columns, the last one shorter (may
//   be empty)
//   --- <MAC>                        HMAC-SHA-256 of everything up to and including "---"
#pragma once
#include <array>
#include <string>
#include <vector>

#include "lib/base/bytes.h"
#include "lib/base/result.h"
#include "lib/crypt/primitives.h"
#include "lib/crypt/source.h"

namespace mlt::crypt {

struct Stanza {
  std::vector<std::string> arguments;  // never empty; the first is the type
  Bytes body;
};

struct Header {
  std::vector<Stanza> stanzas;
  std::string mac_input;  // the header's text up to "---"
  std::array<std::byte, 32> mac{};
  size_t size = 0;  // bytes, the last line feed included
};

// A header larger than this is refused: no real list of recipients comes near it, and it bounds memory.
constexpr size_t kMaxHeaderSize = 4 << 20;
constexpr std::string_view kVersionLine = "age-encryption.org/v1\n";

// Leaves the source at the first byte of the payload. kInput when malformed, kUnsupported for another
// version.
Result<Header> read_header(Buffered& in);

// The whole header for these stanzas, MAC included.
std::string write_header(const std::vector<Stanza>& stanzas, const FileKey& file_key);

bool mac_matches(const Header& header, const FileKey& file_key);

}  // namespace mlt::crypt
