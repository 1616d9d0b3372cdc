// Stands in for the C library's allocator, as its manual describes ("Replacing malloc"), and passes everything on.
#include "cmd/mlprofile_allocations.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define MLT_OWN_ALLOCATOR 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MLT_OWN_ALLOCATOR 1
#endif

#if defined(__GLIBC__) && !defined(MLT_OWN_ALLOCATOR)
namespace {
std::atomic<uint64_t> count{0};
uint64_t counted() { return count.load(std::memory_order_relaxed); }
void note() { count.fetch_add(1, std::memory_order_relaxed); }
}  // namespace

uint64_t (*const allocation_count)() = counted;

extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

void* malloc(size_t size) {
  note();
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  note();
  return __libc_calloc(count, size);
}
void* realloc(void* old, size_t size) {
  note();
  return __libc_realloc(old, size);
}
void* memalign(size_t alignment, size_t size) {
  note();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void** place, size_t alignment, size_t size) {
  void* made = memalign(alignment, size);
  if (made == nullptr) return ENOMEM;
  *place = made;
  return 0;
}
}
#else
uint64_t (*const allocation_count)() = nullptr;
#endif
