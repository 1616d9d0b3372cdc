#include "lib/base/random_access.h"

namespace mlt {

std::shared_ptr<const RandomAccess> random_access(Blob blob) {
  class InMemory : public RandomAccess {
   public:
    explicit InMemory(Blob blob) : blob_(std::move(blob)) {}
    uint64_t size() const override { return blob_.size(); }
    Result<Blob> read(uint64_t offset, uint64_t size) const override {
      if (offset > blob_.size() || size > blob_.size() - offset) return input_error("file ends early");
      return blob_.sub(offset, size);
    }

   private:
    Blob blob_;
  };
  return std::make_shared<InMemory>(std::move(blob));
}

}  // namespace mlt
