// The payload of a sealed file: a 16 byte nonce, then the content in chunks of 64 KiB, each sealed with
// ChaCha20-Poly1305 under one payload key. The nonce of a chunk is its number (11 bytes, big endian) and a
// byte that is 1 for the last chunk, so that chunks cannot be reordered, dropped or appended. Only an empty
// content has an empty last chunk. Chunks are independent: they are worked on in parallel, a bounded number
// at a time.
#pragma once
#include <array>

#include "lib/base/file.h"
#include "lib/base/random_access.h"
#include "lib/base/result.h"
#include "lib/crypt/primitives.h"
#include "lib/crypt/source.h"

namespace mlt::crypt {

constexpr size_t kChunkSize = 64 << 10;
constexpr size_t kSealedChunkSize = kChunkSize + kTagSize;
constexpr size_t kPayloadNonceSize = 16;

class PayloadSealer {
 public:
  PayloadSealer(const FileKey& file_key, Sink sink);
  Status write(ByteSpan plain);
  Status finish();

 private:
  Status flush(bool last);
  Sink sink_;
  std::array<std::byte, kPayloadNonceSize> nonce_;
  Key key_;
  Bytes in_, out_;
  size_t held_ = 0;  // bytes of in_
  uint64_t number_ = 0;
  bool started_ = false;
};
// Everything handed to the sink is authentic; the content is complete only when this returns ok.
Status open_payload(const FileKey& file_key, Buffered& sealed, const Sink& sink);
// A whole payload at once into memory that is left out of core dumps.
Result<Blob> open_payload_bytes(const FileKey& file_key, ByteSpan sealed);

// The content of a payload, opened where it is read. The last chunk is authenticated first, so that a file that was cut
// is noticed before anything is believed; every other chunk when it is read.
Result<std::shared_ptr<const RandomAccess>> open_payload_random(const FileKey& file_key, Blob sealed);

// Size of the content of a payload of this many bytes; kInput when no content has such a payload.
Result<uint64_t> content_size(uint64_t payload_size);

}  // namespace mlt::crypt
