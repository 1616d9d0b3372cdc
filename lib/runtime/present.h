// Outputs for people: one line for each feature, arrays shortened, dictionaries sorted by value.
#pragma once
#include <string>
#include <vector>

#include "lib/coreml/description.h"
#include "lib/estimators/feature.h"

namespace mlt {

// Dictionaries reduced to their k largest entries; a float array with one axis longer than 1 becomes a dictionary from
// index to value, reduced likewise. Ties go to the earlier key.
FeatureMap top_k(const FeatureMap& record, int k);

// In the order of `features`; features not in it follow by name.
std::string present(const FeatureMap& record, const std::vector<coreml::FeatureDescription>& features);

}  // namespace mlt
