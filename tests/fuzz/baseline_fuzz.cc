// mlprofile's baselines: a profile from a file that anyone may have written, and rules. The first line is the rule.
#include <cstdint>
#include <string>

#include "lib/profile/measure.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  size_t line = text.find('\n');
  if (line == std::string::npos) return 0;
  auto rule = parse_fail_rule(text.substr(0, line));
  std::string baseline = text.substr(line + 1);
  const std::string profile = R"({"schema": "mlprofile", "schema_version": 1, "first": 3.5, "predict": {"p50": 1.5, "p90": 2, "p99": 2, "samples": [1, 1.5, 2, 1.25]}})";
  if (rule.ok()) (void)check_rules({*rule}, profile, &baseline);
  auto fixed = parse_fail_rule("predict.p50>+5%");
  (void)check_rules({*fixed}, profile, &baseline);
  (void)check_rules({*fixed}, baseline, &baseline);
  return 0;
}
