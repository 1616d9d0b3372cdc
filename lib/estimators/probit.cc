#include "lib/estimators/probit.h"

#include <cmath>

namespace mlt {
namespace {

class Probit : public Estimator {
 public:
  Probit(Interface interface, ProbitParams params) : interface_(std::move(interface)), p_(std::move(params)) {}

  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    MLT_ASSIGN(const FeatureValue* value, require_feature(inputs, p_.input));
    MLT_ASSIGN(std::vector<double> numbers, feature_numbers(inputs, p_.input));
    const auto* tensor = std::get_if<Tensor>(value);
    bool pairs = tensor != nullptr && tensor->rank() == 2 && tensor->dims()[1] == 2;
    double mean = p_.bias.mean, variance = 1 / p_.bias.precision;
    size_t count = pairs ? numbers.size() / 2 : numbers.size();
    if (!pairs && static_cast<int64_t>(count) != p_.features)
      return input_error("feature \"" + p_.input + "\": expected " + std::to_string(p_.features) + " values, got " + std::to_string(count));
    for (size_t i = 0; i < count; ++i) {
      double feature = pairs ? numbers[2 * i] : static_cast<double>(i), state = pairs ? numbers[2 * i + 1] : numbers[i];
      for (double number : {feature, state})
        if (number != std::floor(number) || !(number >= 0 && number < 4294967296.0))
          return input_error("feature \"" + p_.input + "\": features and their values are whole numbers from 0 on");
      auto weight = p_.weights.find({static_cast<int64_t>(feature), static_cast<int64_t>(state)});
      if (weight == p_.weights.end())
        return input_error("feature \"" + p_.input + "\": the model has no weight for value " + std::to_string(static_cast<int64_t>(state)) + " of feature " +
                           std::to_string(static_cast<int64_t>(feature)));
      mean += weight->second.mean;
      variance += 1 / weight->second.precision;
    }
    double optimism = 0;
    if (!p_.optimism_input.empty() && inputs.count(p_.optimism_input)) {
      MLT_ASSIGN(optimism, feature_number(inputs, p_.optimism_input));
    }
    FeatureMap out;
    for (const Port& port : interface_.outputs) {
      double answer = normal_cdf(mean / std::sqrt(1 + variance));
      if (port.name == p_.mean_output) answer = mean;
      else if (port.name == p_.variance_output) answer = variance;
      else if (port.name == p_.pessimistic_output) answer = normal_cdf((mean + optimism * std::sqrt(variance)) / std::sqrt(1 + variance));
      MLT_ASSIGN(out[port.name], shaped_numbers(port, std::vector<double>{answer}));
    }
    return out;
  }

 private:
  Interface interface_;
  ProbitParams p_;
};

}  // namespace

Result<std::unique_ptr<Estimator>> make_probit_regressor(Interface interface, ProbitParams params) {
  if (params.input.empty()) return input_error("Bayesian probit regressor: no regression input");
  auto good = [](const ProbitParams::Gaussian& g) { return std::isfinite(g.mean) && g.precision > 0; };
  bool all = good(params.bias);
  for (const auto& [key, weight] : params.weights) {
    all = all && good(weight);
    if (key.first >= params.features) return input_error("Bayesian probit regressor: weights for feature " + std::to_string(key.first) + " of " + std::to_string(params.features));
  }
  if (!all) return input_error("Bayesian probit regressor: a weight's mean is not finite, or its precision not positive");
  size_t named = 0;
  for (const Port& port : interface.outputs)
    named += port.name == params.mean_output || port.name == params.variance_output || port.name == params.pessimistic_output;
  if (interface.outputs.size() > named + 1) return input_error("Bayesian probit regressor: outputs that nothing computes");
  return std::unique_ptr<Estimator>(std::make_unique<Probit>(std::move(interface), std::move(params)));
}

}  // namespace mlt
