// Ranges of activations, from data.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lib/compress/activations.h"
#include "lib/container/open.h"
#include "lib/estimators/feature.h"

namespace mlt::tune {

enum class Observer {
  kMinMax,      // from the smallest to the largest value
  kPercentile,  // what lies outside is one value in ten thousand
  kMse,         // the range whose eight-bit codes have the least squared error, by a histogram
};
std::optional<Observer> observer_from_name(const std::string& name);  // "minmax", "percentile", "mse"

// Runs the model on the records and measures the values that quantize_activations() would quantize. Inputs and outputs of
// the same concat get one range, as coremltools' calibration gives them.
Result<compress::ActivationPlan> calibrate(const OpenedModel& original, const std::vector<FeatureMap>& records, compress::ActivationPlan plan, Observer observer);

// [{"name": ..., "low": ..., "high": ...}, ...]
std::string to_json(const compress::ActivationPlan& plan);

}  // namespace mlt::tune
