// mlquantize's configuration files (YAML and JSON), rules and settings.
#include <cstdint>
#include <string>

#include "lib/compress/settings.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  compress::Config config;
  if (compress::read_optimization_config(text, &config).ok()) (void)config.selects({"conv_1", "weight"});
  if (size < 4096) (void)compress::parse_rule(std::string(text));  // a command line's
  return 0;
}
