// Universal Binary JSON as XGBoost writes it (draft 12; big-endian, typed arrays with counts). Internal.
#pragma once
#include <nlohmann/json.hpp>

#include "lib/base/result.h"
#include "lib/base/bytes.h"

namespace mlt::foreign::xgboost {

// kInput when damaged. Memory is bounded by a small multiple of the bytes.
Result<nlohmann::json> read_ubjson(ByteSpan bytes);

}  // namespace mlt::foreign::xgboost
