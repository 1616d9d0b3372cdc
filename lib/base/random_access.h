// Bytes that are read in parts.
#pragma once
#include <cstdint>
#include <memory>

#include "lib/base/file.h"

namespace mlt {

// Bytes that are fetched where they are asked for: of a mapping, or of a sealed file that is opened piece by piece.
// Safe from several threads.
class RandomAccess {
 public:
  virtual ~RandomAccess() = default;
  virtual uint64_t size() const = 0;
  // kInput beyond the end.
  virtual Result<Blob> read(uint64_t offset, uint64_t size) const = 0;
};
std::shared_ptr<const RandomAccess> random_access(Blob blob);

}  // namespace mlt
