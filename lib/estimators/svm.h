// Support vector machines as LIBSVM evaluates them: one-against-one votes, Platt probabilities by pairwise coupling
// (sources: SVM.proto; Chang and Lin, LIBSVM; Wu, Lin, Weng 2004, second method).
#pragma once
#include <vector>

#include "lib/estimators/estimator.h"

namespace mlt {

struct SvmKernel {
  enum class Kind : uint8_t { kLinear, kRbf, kPoly, kSigmoid };
  Kind kind = Kind::kLinear;
  double gamma = 0, c = 0;
  int degree = 0;
};

struct SvmVectors {
  // Dense rows, or sparse ones: (index, value) pairs whose indices count from 1 as in LIBSVM's files.
  bool sparse = false;
  std::vector<std::vector<double>> dense;
  std::vector<std::vector<std::pair<int32_t, double>>> nodes;
  size_t size() const { return sparse ? nodes.size() : dense.size(); }
};

struct SvmParams {
  SvmKernel kernel;
  SvmVectors vectors;
  std::vector<std::vector<double>> coefficients;  // regression: one row; classification: classes - 1 rows
  std::vector<double> rho;                        // one, or one per pair of classes
  std::vector<int64_t> vectors_per_class;
  std::vector<double> prob_a, prob_b;             // empty, or one per pair
};

Result<std::unique_ptr<Estimator>> make_svm_regressor(Interface interface, SvmParams params);
Result<std::unique_ptr<Estimator>> make_svm_classifier(Interface interface, SvmParams params, Labels labels);

}  // namespace mlt
