// MIL text: what parses must print, and print to itself.
#include <cstdlib>

#include "lib/ir/text.h"
#include "lib/ir/verify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto program = mlt::ir::parse({reinterpret_cast<const char*>(data), size}, {});
  if (!program.ok()) return 0;
  (void)mlt::ir::verify(**program);
  std::string printed = mlt::ir::print(**program, {});
  auto again = mlt::ir::parse(printed, {});
  if (!again.ok() || mlt::ir::print(**again, {}) != printed) std::abort();
  return 0;
}
