// Parts that the forms of a profile share.
#pragma once
#include <string>
#include <vector>

#include "lib/profile/report.h"

namespace mlt {

struct KindTime {
  std::string kind;
  int64_t count = 0;
  double seconds = 0, flops = 0, bytes = 0;
  double least = 0;  // seconds that the machine's peaks would allow; 0 without peaks
};
// Operations by kind, the slowest kind first.
std::vector<KindTime> by_kind(const Profile& p);

// At most `most` operations, the slowest first.
std::vector<const OpProfile*> slowest(const Profile& p, size_t most);

std::string fused_text(const StepInfo& step);  // "conv+relu"
std::string milliseconds(double seconds);  // "1.234"
const char* verdict(const RuleOutcome& o);

}  // namespace mlt
