#include "lib/tensor/spill.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "lib/base/mapped.h"
#include "lib/tensor/deferred.h"

namespace mlt {
namespace {

constexpr int64_t kSmall = int64_t{1} << 20, kFew = int64_t{256} << 10;  // bytes

struct Mapping {
  void* address = nullptr;
  size_t size = 0;
  ~Mapping() {
    if (address) ::munmap(address, size);
  }
};

}  // namespace

Tensor spilled(const Tensor& t) {
  if (t.dtype() == DType::kString || t.nbytes() < kSmall) return t;
  const char* folder = std::getenv("TMPDIR");
  std::string path = std::string(folder && *folder ? folder : "/tmp") + "/mltools.XXXXXX";
  int fd = ::mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) return t;
  ::unlink(path.c_str());
  ByteSpan bytes = t.bytes();
  bool whole = true;
  for (size_t at = 0; at < bytes.size() && whole;) {
    ssize_t n = ::write(fd, bytes.data() + at, std::min<size_t>(bytes.size() - at, size_t{1} << 30));
    if (n <= 0) whole = false;
    else at += static_cast<size_t>(n);
  }
  auto mapping = std::make_shared<Mapping>();
  mapping->size = bytes.size();
  void* address = whole ? ::mmap(nullptr, mapping->size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  ::close(fd);
  if (address == MAP_FAILED) return t;
  mapping->address = address;
  Blob blob(mapping, ByteSpan(static_cast<const std::byte*>(address), bytes.size()));
  auto out = Tensor::from_blob(t.dtype(), t.dims(), blob);
  return out ? *out : t;
}

void release_pages(const Tensor& t) {
  if (t.dtype() == DType::kString || t.nbytes() < kFew) return;
  if (t.deferred()) return t.deferred()->release();
  if (is_mapped(t.bytes())) return forget_mapped(t.bytes());
#ifdef MADV_PAGEOUT
  ByteSpan bytes = t.bytes();
  uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE)), begin = reinterpret_cast<uintptr_t>(bytes.data()), end = begin + bytes.size();
  begin = (begin + page - 1) / page * page;
  end = end / page * page;
  // Nothing is lost: what no file holds stays, or goes to swap.
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_PAGEOUT);
#endif
}

}  // namespace mlt
