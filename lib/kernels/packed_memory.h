// Memory for packed weights, one buffer behind another in huge pages: of matrices smaller than such a page each would
// otherwise lie in thousands of small ones, and streaming through them would miss the TLB at every one.
#pragma once
#include <cstddef>
#include <memory>

namespace mlt {

// For one maker at a time; what it gave may outlive it.
class PackedMemory {
 public:
  // `bytes` of memory, not initialised, aligned to kAlignment and with kSlack bytes behind them, alive as long as `owner`.
  // Null when memory runs out, and for what is little in all: the caller then takes memory of its own.
  std::byte* take(size_t bytes, std::shared_ptr<const void>* owner);
  // Undoes the last take(), of so many bytes, which gave memory.
  void give_back(size_t bytes);

 private:
  std::shared_ptr<std::byte> chunk_;
  size_t left_ = 0, used_ = 0, total_ = 0;
};

}  // namespace mlt
