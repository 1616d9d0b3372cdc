// Version numbers in dotted form: "15", "17.4.1".
#pragma once
#include <optional>
#include <string_view>

namespace mlt {

// -1, 0, 1; parts that are not there are zero (15 is 15.0). nullopt when one of them is no version.
std::optional<int> compare_versions(std::string_view a, std::string_view b);

}  // namespace mlt
