// The part of YAML in which configurations are written, as JSON: block and flow mappings and sequences, plain and quoted
// scalars, comments. Anchors, tags, multi-line scalars and several documents are refused by name.
#pragma once
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "lib/base/result.h"

namespace mlt::compress {

// kInput names the line.
Result<nlohmann::ordered_json> read_yaml(std::string_view text);

}  // namespace mlt::compress
