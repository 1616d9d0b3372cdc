#include "lib/crypt/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace mlt::crypt {
namespace {

class FdSource : public Source {
 public:
  FdSource(int fd, std::string name, bool owned) : fd_(fd), owned_(owned), name_(std::move(name)) {}
  ~FdSource() override {
    if (owned_) ::close(fd_);
  }
  Result<size_t> read(std::span<std::byte> buffer) override {
    for (;;) {
      ssize_t n = ::read(fd_, buffer.data(), buffer.size());
      if (n >= 0) return static_cast<size_t>(n);
      if (errno != EINTR)
        return input_error(std::string("cannot read: ") + std::strerror(errno)).in_path(name_);
    }
  }

 private:
  int fd_;
  bool owned_;
  std::string name_;
};

class BlobSource : public Source {
 public:
  explicit BlobSource(Blob blob) : blob_(std::move(blob)) {}
  Result<size_t> read(std::span<std::byte> buffer) override {
    size_t n = std::min(buffer.size(), blob_.size() - offset_);
    if (n != 0) std::memcpy(buffer.data(), blob_.bytes().data() + offset_, n);
    offset_ += n;
    return n;
  }

 private:
  Blob blob_;
  size_t offset_ = 0;
};

constexpr size_t kReadSize = 1 << 16;

}  // namespace

std::unique_ptr<Source> fd_source(int fd, std::string name) {
  return std::make_unique<FdSource>(fd, std::move(name), false);
}
std::unique_ptr<Source> blob_source(Blob blob) { return std::make_unique<BlobSource>(std::move(blob)); }

Result<std::unique_ptr<Source>> file_source(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return input_error(std::string("cannot open: ") + std::strerror(errno)).in_path(path);
  std::unique_ptr<Source> source = std::make_unique<FdSource>(fd, path, true);
  struct stat info;
  if (::fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) return input_error("is a directory").in_path(path);
  return source;
}

Result<ByteSpan> Buffered::peek(size_t size) {
  if (start_ > 0 && buffer_.size() - start_ < size) {
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(start_));
    start_ = 0;
  }
  while (!ended_ && buffer_.size() - start_ < size) {
    size_t used = buffer_.size();
    buffer_.resize(used + std::max(kReadSize, size - used));
    auto n = inner_->read(std::span(buffer_).subspan(used));
    buffer_.resize(used + (n.ok() ? *n : 0));
    if (!n.ok()) return std::move(n).error();
    if (*n == 0) ended_ = true;
  }
  return ByteSpan(buffer_).subspan(start_, std::min(size, buffer_.size() - start_));
}

Result<std::string> Buffered::line(size_t limit) {
  MLT_ASSIGN(ByteSpan ahead, peek(std::min<size_t>(limit, 256)));
  if (as_text(ahead).find('\n') == std::string_view::npos && ahead.size() < limit) {
    MLT_ASSIGN(ahead, peek(limit));
  }
  std::string_view text = as_text(ahead);
  size_t end = text.find('\n');
  if (end == text.npos && text.size() == limit) return input_error("line is too long");
  std::string out(text.substr(0, end == text.npos ? text.size() : end + 1));
  skip(out.size());
  return out;
}

Result<size_t> Buffered::read(std::span<std::byte> buffer) {
  if (start_ == buffer_.size() && !ended_) return inner_->read(buffer);
  size_t n = std::min(buffer.size(), buffer_.size() - start_);
  if (n != 0) std::memcpy(buffer.data(), buffer_.data() + start_, n);
  start_ += n;
  return n;
}

Result<size_t> Buffered::read_full(std::span<std::byte> buffer) {
  size_t used = 0;
  while (used < buffer.size()) {
    MLT_ASSIGN(size_t n, read(buffer.subspan(used)));
    if (n == 0) break;
    used += n;
  }
  return used;
}

}  // namespace mlt::crypt
