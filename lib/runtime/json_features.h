// Features from JSON text. Internal to lib/runtime.
#pragma once
#include <string_view>
#include <vector>

#include "lib/coreml/description.h"
#include "lib/estimators/feature.h"

namespace mlt {

Result<FeatureMap> record_from_json(std::string_view text, const std::vector<coreml::FeatureDescription>& features);
// `feature` may be null.
Result<FeatureValue> value_from_json(std::string_view text, const coreml::FeatureDescription* feature);

}  // namespace mlt
