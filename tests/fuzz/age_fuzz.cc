// Sealed files, identity and recipient files. Seeds: testdata/crypt.
#include <cstdint>
#include <cstdlib>

#include "lib/crypt/age.h"

using namespace mlt;
using namespace mlt::crypt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Identity identity =
      *Identity::parse("AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX");
  ByteSpan bytes(reinterpret_cast<const std::byte*>(data), size);
  Blob file(Bytes(bytes.begin(), bytes.end()));
  auto whole = open_bytes(file, {identity});

  Bytes content;
  auto opener = Opener::start(blob_source(file));
  bool streamed = false;
  if (opener.ok()) {
    streamed = opener
                   ->open({identity},
                          [&](ByteSpan part) -> Status {
                            content.insert(content.end(), part.begin(), part.end());
                            return {};
                          })
                   .ok();
  }
  // Both ways of opening agree.
  if (whole.ok() != streamed || (streamed && whole->text() != as_text(content))) std::abort();
  (void)parse_identities(as_text(bytes)).ok();
  (void)parse_recipients(as_text(bytes)).ok();
  return 0;
}
