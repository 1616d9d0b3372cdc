#include "lib/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>

#include "lib/base/mapped.h"

namespace mlt {
namespace {

namespace fs = std::filesystem;

std::string why(int error) { return std::strerror(error); }

// Temporary paths that a signal handler must remove. Fixed slots, because a handler may not allocate.
constexpr int kSlots = 8;
struct Slot {
  std::atomic<bool> used{false};
  char path[4096];
};
Slot slots[kSlots];

void remember(const std::string& path) {
  if (path.size() >= sizeof slots[0].path) return;
  for (Slot& slot : slots) {
    if (slot.used.load()) continue;
    std::memcpy(slot.path, path.c_str(), path.size() + 1);
    slot.used.store(true);
    return;
  }
}
void forget(const std::string& path) {
  for (Slot& slot : slots)
    if (slot.used.load() && path == slot.path) slot.used.store(false);
}

void on_signal(int number) {
  // The process ends here in any case, so removing trees (which allocates) is worth its small risk.
  for (Slot& slot : slots) {
    if (!slot.used.load()) continue;
    if (::unlink(slot.path) != 0) {
      std::error_code ignored;
      fs::remove_all(slot.path, ignored);
    }
  }
  std::signal(number, SIG_DFL);
  std::raise(number);
}

std::string temp_name(const std::string& path) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  fs::path target(trimmed);
  return (target.parent_path() / ("." + target.filename().string() + ".XXXXXX")).string();
}

// Live mappings, so that a part of one can be told from other memory.
struct Mappings {
  std::mutex mutex;
  std::map<const std::byte*, FileStamp> files;
  // The one that all of these bytes are in, or the end.
  auto holder(ByteSpan bytes) const {
    auto after = files.upper_bound(bytes.data());
    if (after == files.begin()) return files.end();
    auto before = std::prev(after);
    return bytes.data() + bytes.size() <= before->first + before->second.size ? before : files.end();
  }
};
Mappings& mappings() {
  static auto* all = new Mappings;
  return *all;
}

struct Mapping {
  void* address = MAP_FAILED;
  size_t size = 0;
  ~Mapping() {
    if (address == MAP_FAILED) return;
    {
      std::lock_guard lock(mappings().mutex);
      mappings().files.erase(static_cast<const std::byte*>(address));
    }
    ::munmap(address, size);
  }
};

}  // namespace

Blob::Blob(Bytes bytes) {
  auto owned = std::make_shared<Bytes>(std::move(bytes));
  bytes_ = *owned;
  owner_ = std::move(owned);
}

PathKind path_kind(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return PathKind::kMissing;
  if (S_ISREG(info.st_mode)) return PathKind::kFile;
  if (S_ISDIR(info.st_mode)) return PathKind::kDirectory;
  return PathKind::kOther;
}

bool is_mapped(ByteSpan bytes) { return stamp_of_mapped(bytes).has_value(); }

ByteSpan mapped_around(ByteSpan bytes) {
  std::lock_guard lock(mappings().mutex);
  auto found = mappings().holder(bytes);
  return found == mappings().files.end() ? ByteSpan() : ByteSpan(found->first, found->second.size);
}

std::optional<FileStamp> stamp_of_mapped(ByteSpan bytes) {
  std::lock_guard lock(mappings().mutex);
  auto found = mappings().holder(bytes);
  return found == mappings().files.end() ? std::nullopt : std::optional(found->second);
}

void forget_mapped(ByteSpan bytes) {
  constexpr uintptr_t kPage = 4096;
  if (!is_mapped(bytes)) return;
  uintptr_t begin = (reinterpret_cast<uintptr_t>(bytes.data()) + kPage - 1) / kPage * kPage, end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size()) / kPage * kPage;
  // The mapping is private and was never written to: what is dropped comes from the file again.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

Result<Blob> map_file(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return input_error("cannot open: " + why(errno)).in_path(path);
  struct stat info;
  if (::fstat(fd, &info) != 0) {
    int error = errno;
    ::close(fd);
    return input_error("cannot stat: " + why(error)).in_path(path);
  }
  if (S_ISDIR(info.st_mode)) {
    ::close(fd);
    return input_error("is a directory").in_path(path);
  }
  if (!S_ISREG(info.st_mode)) {
    auto bytes = read_fd(fd, path);
    ::close(fd);
    if (!bytes) return std::move(bytes).error();
    return Blob(std::move(*bytes));
  }
  if (info.st_size == 0) {
    ::close(fd);
    return Blob(Bytes{});
  }
  auto mapping = std::make_shared<Mapping>();
  mapping->size = static_cast<size_t>(info.st_size);
  mapping->address = ::mmap(nullptr, mapping->size, PROT_READ, MAP_PRIVATE, fd, 0);
  int error = errno;
  ::close(fd);
  if (mapping->address == MAP_FAILED) return input_error("cannot map: " + why(error)).in_path(path);
  ByteSpan bytes(static_cast<const std::byte*>(mapping->address), mapping->size);
  auto nanoseconds = [](const struct timespec& time) { return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec; };
  {
    std::lock_guard lock(mappings().mutex);
    mappings().files.emplace(bytes.data(), FileStamp{mapping->size, nanoseconds(info.st_mtim), nanoseconds(info.st_ctim)});
  }
  return Blob(std::move(mapping), bytes);
}

Result<Bytes> read_fd(int fd, const std::string& name, uint64_t limit) {
  Bytes data;
  size_t used = 0;
  for (;;) {
    if (used == data.size()) data.resize(std::max<size_t>(data.size() * 2, 1 << 16));
    ssize_t n = ::read(fd, data.data() + used, data.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return input_error("cannot read: " + why(errno)).in_path(name);
    if (n == 0) break;
    used += static_cast<size_t>(n);
    if (used > limit) return resource_error("input is larger than " + std::to_string(limit) + " bytes").in_path(name);
  }
  data.resize(used);
  return data;
}

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  if (path_kind(path) == PathKind::kDirectory) return resource_error("is a directory").in_path(path);
  AtomicFile file;
  file.path_ = path;
  if (path_kind(path) == PathKind::kOther) {  // /dev/full, a named pipe: no rename possible or wanted
    file.fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (file.fd_ < 0) return resource_error("cannot open for writing: " + why(errno)).in_path(path);
    return file;
  }
  std::string temp = temp_name(path);
  file.fd_ = ::mkostemp(temp.data(), O_CLOEXEC);
  if (file.fd_ < 0) return resource_error("cannot create: " + why(errno)).in_path(path);
  file.temp_ = temp;
  remember(temp);
  mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(file.fd_, 0666 & ~mask);
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)), temp_(std::move(other.temp_)), fd_(std::exchange(other.fd_, -1)) {
  other.temp_.clear();
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temp_.empty()) {
    ::unlink(temp_.c_str());
    forget(temp_);
  }
}

Status AtomicFile::write(ByteSpan bytes) { return write_fd(fd_, bytes, path_); }

Status AtomicFile::write_at(uint64_t offset, ByteSpan bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return resource_error("cannot write: " + why(errno)).in_path(path_);
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status AtomicFile::commit() {
  int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) return resource_error("cannot write: " + why(errno)).in_path(path_);
  if (temp_.empty()) return {};
  if (::rename(temp_.c_str(), path_.c_str()) != 0)
    return resource_error("cannot rename into place: " + why(errno)).in_path(path_);
  forget(temp_);
  temp_.clear();
  return {};
}

Result<AtomicDirectory> AtomicDirectory::create(const std::string& path, bool replace) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  PathKind kind = path_kind(trimmed);
  if (kind == PathKind::kFile || kind == PathKind::kOther)
    return resource_error("exists and is not a directory").in_path(trimmed);
  if (kind == PathKind::kDirectory && !replace) return resource_error("exists already").in_path(trimmed);
  AtomicDirectory directory;
  std::string temp = temp_name(trimmed);
  if (::mkdtemp(temp.data()) == nullptr) return resource_error("cannot create: " + why(errno)).in_path(trimmed);
  mode_t mask = ::umask(0);
  ::umask(mask);
  ::chmod(temp.c_str(), 0777 & ~mask);
  directory.path_ = trimmed;
  directory.temp_ = temp;
  directory.replace_ = replace;
  remember(temp);
  return directory;
}

AtomicDirectory::AtomicDirectory(AtomicDirectory&& other) noexcept
    : path_(std::move(other.path_)), temp_(std::move(other.temp_)), replace_(other.replace_) {
  other.temp_.clear();
}

AtomicDirectory::~AtomicDirectory() {
  if (temp_.empty()) return;
  remove_tree(temp_);
  forget(temp_);
}

Status AtomicDirectory::commit() {
  std::string aside;
  if (path_kind(path_) == PathKind::kDirectory) {
    if (!replace_) return resource_error("exists already").in_path(path_);
    aside = temp_ + ".old";
    if (::rename(path_.c_str(), aside.c_str()) != 0)
      return resource_error("cannot replace: " + why(errno)).in_path(path_);
  }
  if (::rename(temp_.c_str(), path_.c_str()) != 0) {
    int error = errno;
    if (!aside.empty()) (void)::rename(aside.c_str(), path_.c_str());
    return resource_error("cannot rename into place: " + why(error)).in_path(path_);
  }
  forget(temp_);
  temp_.clear();
  if (!aside.empty()) remove_tree(aside);
  return {};
}

Status write_fd(int fd, ByteSpan bytes, const std::string& name) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EPIPE) return resource_error("closed pipe").in_path(name);
    if (n < 0) return resource_error("cannot write: " + why(errno)).in_path(name);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status write_file(const std::string& path, ByteSpan bytes) {
  MLT_ASSIGN(AtomicFile file, AtomicFile::create(path));
  MLT_TRY(file.write(bytes));
  return file.commit();
}

Status make_directories(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return resource_error("cannot create directory: " + error.message()).in_path(path);
  return {};
}

void remove_tree(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

void install_cleanup_signal_handlers() {
  for (int number : {SIGINT, SIGTERM, SIGHUP}) std::signal(number, on_signal);
  std::signal(SIGPIPE, SIG_IGN);  // writes report EPIPE instead
}

bool is_safe_relative_path(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.find('\\') != path.npos || path.find('\0') != path.npos) return false;
  while (true) {
    size_t slash = path.find('/');
    std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
}

}  // namespace mlt
