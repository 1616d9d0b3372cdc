// Bayesian probit regression as AdPredictor does it (source: BayesianProbitRegressor.proto; Graepel et al., "Web-Scale
// Bayesian Click-Through Rate Prediction", 2010): every value of every discrete feature has a Gaussian weight, and so
// has the bias. With the sum's mean m and variance v, the probability is Phi(m / sqrt(1 + v)). The format has no field
// for the scale of the link; 1 is the standard probit's.
#pragma once
#include <map>
#include <vector>

#include "lib/estimators/estimator.h"

namespace mlt {

struct ProbitParams {
  struct Gaussian {
    double mean = 0, precision = 0;
  };
  int64_t features = 0;
  Gaussian bias;
  std::map<std::pair<int64_t, int64_t>, Gaussian> weights;  // by feature and value
  // All but the first may be empty. optimism: standard deviations by which the mean is moved for the pessimistic output.
  std::string input, optimism_input, mean_output, variance_output, pessimistic_output;
};

// The input is an array: value of feature i at index i; or [n, 2], pairs of feature and value. A value without a weight
// is an error.
Result<std::unique_ptr<Estimator>> make_probit_regressor(Interface interface, ProbitParams params);

}  // namespace mlt
