// mlconvert --list-ops and --check.
#pragma once
#include <vector>

#include "lib/convert/convert.h"

namespace mlt {

Status print_operators(bool json);
// Prints what cannot be converted; the exit status.
Result<int> print_check(const foreign::Conversion& conversion, const std::vector<foreign::Unsupported>& problems, bool json);
// The same for a classic learner, which is convertible or is not, for one reason.
Result<int> print_check(const std::string& learner, const std::optional<std::string>& reason, bool json);

}  // namespace mlt
