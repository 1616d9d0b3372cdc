// .npy arrays: what reads must write, and read back to the same bytes.
#include <cstdint>
#include <cstdlib>

#include "lib/tensor/npy.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  auto tensor = read_npy(Blob(Bytes(bytes, bytes + size)));
  if (!tensor.ok()) return 0;
  auto once = write_npy(*tensor);
  if (!once.ok()) return 0;
  auto again = read_npy(Blob(*once));
  if (!again.ok() || again->dims() != tensor->dims() || *write_npy(*again) != *once) std::abort();
  return 0;
}
