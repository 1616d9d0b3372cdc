// ASCII armor of sealed files: strict PEM (RFC 7468, figure 3) with the label "AGE ENCRYPTED FILE". White
// space is allowed before and after the block, lines end in LF or CRLF, and every other deviation is refused,
// because an armored file should have one spelling.
#pragma once
#include <memory>
#include <string>

#include "lib/crypt/source.h"

namespace mlt::crypt {

constexpr std::string_view kArmorBegin = "-----BEGIN AGE ENCRYPTED FILE-----";
constexpr std::string_view kArmorEnd = "-----END AGE ENCRYPTED FILE-----";
// White space tolerated on either side of the block, in bytes.
constexpr size_t kArmorSlack = 1024;

// The decoded content; errors are kInput with the context "armor".
std::unique_ptr<Source> armor_source(std::unique_ptr<Source> inner);

class ArmorWriter {
 public:
  explicit ArmorWriter(Sink sink) : sink_(std::move(sink)) {}
  Status write(ByteSpan bytes);
  Status finish();

 private:
  Sink sink_;
  bool begun_ = false;
  Bytes pending_;  // less than a line's worth between calls
};

}  // namespace mlt::crypt
