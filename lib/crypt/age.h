// Sealed files: the age format, version 1 (https://age-encryption.org/v1, man/mlcrypt.5). Interoperable both
// ways with the age program. Streaming in constant memory; no choice of cipher.
//
//   MLT_ASSIGN(Sealer sealer, Sealer::start(recipients, Form::kBinary, sink));
//   MLT_TRY(sealer.write(bytes)); ... MLT_TRY(sealer.finish());
//
//   MLT_ASSIGN(Opener opener, Opener::start(fd_source(0, "stdin")));
//   if (opener.needs_passphrase()) ...
//   MLT_TRY(opener.open(identities, sink));
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/random_access.h"
#include "lib/base/result.h"
#include "lib/crypt/armor.h"
#include "lib/crypt/header.h"
#include "lib/crypt/key.h"
#include "lib/crypt/source.h"
#include "lib/crypt/stream.h"

namespace mlt::crypt {

enum class Form { kBinary, kArmored };

// Whether these first bytes of a file (kSniffSize of them, or all there are) begin a sealed file, armored or
// not, of any version.
constexpr size_t kSniffSize = 1200;
bool looks_sealed(ByteSpan head);

// Seals what is written to it. The file is whole only after finish().
class Sealer {
 public:
  // kUsage when there is no recipient, or a passphrase is not alone.
  static Result<Sealer> start(const std::vector<Recipient>& recipients, Form form, Sink sink);
  Status write(ByteSpan plain) { return payload_->write(plain); }
  Status finish();

 private:
  Sealer() = default;
  std::unique_ptr<ArmorWriter> armor_;  // when armored
  std::unique_ptr<PayloadSealer> payload_;
};

// Seals all that `plain` gives.
Status seal(Source& plain, const std::vector<Recipient>& recipients, Form form, const Sink& sink);

class Opener {
 public:
  // Reads the header; armor is recognised. kInput when malformed, kUnsupported for another version.
  static Result<Opener> start(std::unique_ptr<Source> sealed);

  const Header& header() const { return header_; }
  Form form() const { return form_; }
  // The file was sealed with a passphrase: only an Identity::passphrase can open it.
  bool needs_passphrase() const;

  // Authenticates and hands out the content. kKey when no identity fits or the passphrase is wrong; kInput
  // when the file is malformed, truncated or was changed. The sink gets authentic bytes only, but the content
  // is whole only when this returns ok.
  Status open(const std::vector<Identity>& identities, const Sink& sink);
  // Writes a header for other recipients in front of the same payload, whose bytes are copied and not looked at. The
  // file key stays: whoever could open the file before can still open copies of either. Instead of open().
  Status rewrap(const std::vector<Identity>& identities, const std::vector<Recipient>& recipients, Form form, const Sink& sink);
  // Bytes that follow the header, counted to the end of the input (and not kept). Once, instead of open().
  Result<uint64_t> payload_size();

 private:
  Opener() = default;
  std::unique_ptr<Buffered> in_;
  Header header_;
  Form form_ = Form::kBinary;
};

// The content of a sealed file that is in memory (or mapped), into memory that core dumps leave out.
Result<Blob> open_bytes(const Blob& sealed, const std::vector<Identity>& identities);
// The same, opened where it is read (an armored file at once). What is read is authentic, and a file that was cut is
// refused here; a chunk that was changed is refused when it is read.
Result<std::shared_ptr<const RandomAccess>> open_random(const Blob& sealed, const std::vector<Identity>& identities);
// Whether open_bytes() will want an Identity::passphrase.
Result<bool> needs_passphrase(const Blob& sealed);

}  // namespace mlt::crypt
