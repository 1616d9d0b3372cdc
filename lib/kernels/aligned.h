// Memory for packed weights and scratch: aligned for every vector width, with slack so that kernels may read (never
// use) a little past the end.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace mlt {

inline constexpr size_t kAlignment = 64;
inline constexpr size_t kSlack = 256;
inline constexpr size_t kHugePage = size_t{2} << 20;

inline constexpr size_t align_up(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // False, and left empty, when memory runs out. The contents are not initialised.
  bool reset(size_t bytes) {
    clear();
    if (bytes > static_cast<size_t>(-1) - 2 * (kSlack + kAlignment)) return false;
#if defined(__linux__)
    // Weights that are streamed through once per run would otherwise miss the TLB at every page.
    if (bytes >= kHugePage) {
      data_.reset(allocated(kHugePage, align_up(bytes) + kSlack));
      if (data_) madvise(data_.get(), bytes, MADV_HUGEPAGE);  // advice only: failure changes nothing
      return taken(bytes);
    }
#endif
    data_.reset(allocated(kAlignment, align_up(bytes) + kSlack));
    return taken(bytes);
  }
  // Takes memory of somebody else's, which must be aligned and have its slack. What is const there is only read.
  void adopt(const std::byte* data, size_t bytes, std::shared_ptr<const void> owner) {
    clear();
    at_ = const_cast<std::byte*>(data);
    bytes_ = bytes;
    owner_ = std::move(owner);
  }
  template <typename T = float>
  T* data() const { return static_cast<T*>(at_); }
  size_t bytes() const { return bytes_; }

 private:
  // Not aligned_alloc, which wants sizes that are multiples of the alignment.
  static void* allocated(size_t alignment, size_t bytes) {
    void* at = nullptr;
    return posix_memalign(&at, alignment, bytes) == 0 ? at : nullptr;
  }
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  void clear() {
    data_.reset();
    owner_.reset();
    at_ = nullptr;
    bytes_ = 0;
  }
  bool taken(size_t bytes) {
    at_ = data_.get();
    if (at_ != nullptr) bytes_ = bytes;
    return at_ != nullptr;
  }
  std::unique_ptr<void, Free> data_;
  std::shared_ptr<const void> owner_;
  void* at_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace mlt
