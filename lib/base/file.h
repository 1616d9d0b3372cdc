// Files: whole reads, mappings, and writes that appear complete or not at all. Errors carry the path.
#pragma once
#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "lib/base/bytes.h"
#include "lib/base/result.h"

namespace mlt {

// Bytes that somebody keeps alive: a mapping, an owned vector, a part of either. Copies share.
class Blob {
 public:
  Blob() = default;
  Blob(std::shared_ptr<const void> owner, ByteSpan bytes) : owner_(std::move(owner)), bytes_(bytes) {}
  explicit Blob(Bytes bytes);
  ByteSpan bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  std::string_view text() const { return as_text(bytes_); }
  const std::shared_ptr<const void>& owner() const { return owner_; }
  // The caller checks the range.
  Blob sub(size_t offset, size_t size) const { return {owner_, bytes_.subspan(offset, size)}; }

 private:
  std::shared_ptr<const void> owner_;
  ByteSpan bytes_;
};

enum class PathKind { kMissing, kFile, kDirectory, kOther };
PathKind path_kind(const std::string& path);

// Maps a regular file read-only; the mapping lives as long as a Blob refers to it. Pipes and devices are read.
Result<Blob> map_file(const std::string& path);
// Everything up to end of file from a descriptor; kResource when larger than limit bytes.
Result<Bytes> read_fd(int fd, const std::string& name, uint64_t limit = uint64_t{64} << 30);

// A file that appears under its name only when commit() is called: written beside the target under a temporary name,
// then renamed. Destroyed without commit, it leaves nothing. Also removed on SIGINT, SIGTERM and SIGHUP
// when install_cleanup_signal_handlers() was called.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();
  Status write(ByteSpan bytes);
  Status write_at(uint64_t offset, ByteSpan bytes);
  Status commit();
  int fd() const { return fd_; }

 private:
  AtomicFile() = default;
  std::string path_, temp_;
  int fd_ = -1;
};

// A directory tree that appears under its name only when commit() is called. A directory already there is replaced
// when `replace` is set (moved aside, then removed), otherwise commit fails.
class AtomicDirectory {
 public:
  static Result<AtomicDirectory> create(const std::string& path, bool replace);
  AtomicDirectory(AtomicDirectory&& other) noexcept;
  AtomicDirectory& operator=(AtomicDirectory&&) = delete;
  ~AtomicDirectory();
  // Where to put files meanwhile.
  const std::string& temp_path() const { return temp_; }
  Status commit();

 private:
  AtomicDirectory() = default;
  std::string path_, temp_;
  bool replace_ = false;
};

// Writes all bytes to a descriptor (stdout, a pipe); kResource on failure, with EPIPE named "closed pipe".
Status write_fd(int fd, ByteSpan bytes, const std::string& name);
Status write_file(const std::string& path, ByteSpan bytes);  // through AtomicFile
Status make_directories(const std::string& path);
void remove_tree(const std::string& path);
void install_cleanup_signal_handlers();

// "a/b" style relative path that stays below its root: no empty, ".", ".." parts, no leading slash, no NUL, no
// backslash.
bool is_safe_relative_path(std::string_view path);

}  // namespace mlt
