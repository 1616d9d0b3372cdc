// Where sealed and plain bytes come from and go to, so that sealing and opening run in constant memory over
// files, pipes, memory and armor alike.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "lib/base/bytes.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace mlt::crypt {

class Source {
 public:
  virtual ~Source() = default;
  // Up to buffer.size() bytes (at least one); 0 only at the end.
  virtual Result<size_t> read(std::span<std::byte> buffer) = 0;
};

using Sink = std::function<Status(ByteSpan)>;

// Reads a descriptor, which stays the caller's. name is for messages.
std::unique_ptr<Source> fd_source(int fd, std::string name);
std::unique_ptr<Source> blob_source(Blob blob);
// Opens a file, closes it at the end; kInput when missing, unreadable or a directory.
Result<std::unique_ptr<Source>> file_source(const std::string& path);

// A Source that can be looked into without consuming, and read by lines.
class Buffered : public Source {
 public:
  explicit Buffered(std::unique_ptr<Source> inner) : inner_(std::move(inner)) {}
  Result<size_t> read(std::span<std::byte> buffer) override;
  // As many bytes as there are up to `size`; valid until the next call.
  Result<ByteSpan> peek(size_t size);
  void skip(size_t size) { start_ += size; }  // at most what peek showed
  // Up to and including the next line feed; without one at the end of the input. Empty at the end. kInput
  // when longer than `limit` bytes.
  Result<std::string> line(size_t limit);
  // Fills the buffer as far as the input goes; returns how much.
  Result<size_t> read_full(std::span<std::byte> buffer);

 private:
  std::unique_ptr<Source> inner_;
  Bytes buffer_;
  size_t start_ = 0;
  bool ended_ = false;
};

}  // namespace mlt::crypt
