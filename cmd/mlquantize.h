// What mlquantize's command line says. Internal to cmd/mlquantize*.cc.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lib/cli/model_input.h"
#include "lib/cli/seal.h"
#include "lib/compress/settings.h"
#include "lib/estimators/feature.h"
#include "lib/tune/calibrate.h"

namespace mlt {

struct QuantizeArguments {
  std::string model, output;
  cli::SealOptions to;
  bool decompress = false;
  compress::Settings settings;
  std::optional<std::string> table, config, target, report;
  std::vector<std::string> only, skip, rules;
  std::optional<std::string> verify, max_drop, target_size, activations, calibrate, observer;
  bool batch = false;
  cli::KeyOptions keys;

  // The result is made and run before it is written.
  bool tried() const { return verify || target_size || max_drop || activations; }
};

Result<compress::Config> read_config(const QuantizeArguments& arguments);
// "1%" or "0.01" as a share.
Result<std::optional<double>> read_drop(const QuantizeArguments& arguments);
// "12MB", "800kB", "3000000" in bytes.
Result<std::optional<uint64_t>> read_size(const QuantizeArguments& arguments);
// Of --activations; absent: not asked for.
struct ActivationChoice {
  compress::ActivationPlan plan;
  tune::Observer observer = tune::Observer::kMinMax;
};
Result<std::optional<ActivationChoice>> read_activations(const QuantizeArguments& arguments, const compress::Config& config);
// All records of a file, with the expected label where it has one.
Result<std::vector<FeatureMap>> read_data(const std::string& path, const OpenedModel& model, bool batch);

}  // namespace mlt
