#include "lib/kernels/packed_memory.h"

#include <algorithm>

#include "lib/kernels/aligned.h"

namespace mlt {
namespace {

constexpr size_t kChunk = size_t{16} << 20;  // of which only pages that are written to take memory

}  // namespace

std::byte* PackedMemory::take(size_t bytes, std::shared_ptr<const void>* owner) {
  if (bytes > static_cast<size_t>(-1) / 2) return nullptr;
  // A small model should not take a huge page.
  total_ += std::min(bytes, kHugePage);
  if (total_ < kHugePage) return nullptr;
  const size_t size = align_up(bytes + kSlack);
  if (size > left_) {
    const size_t whole = std::max(kChunk, (size + kHugePage - 1) / kHugePage * kHugePage);
    auto chunk = std::make_shared<AlignedBuffer>();
    if (!chunk->reset(whole)) return nullptr;
    chunk_ = std::shared_ptr<std::byte>(chunk, chunk->data<std::byte>());
    left_ = whole;
    used_ = 0;
  }
  std::byte* at = chunk_.get() + used_;
  used_ += size;
  left_ -= size;
  *owner = chunk_;
  return at;
}

void PackedMemory::give_back(size_t bytes) {
  const size_t size = align_up(bytes + kSlack);
  used_ -= size;
  left_ += size;
}

}  // namespace mlt
