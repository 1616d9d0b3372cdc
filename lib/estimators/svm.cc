#include "lib/estimators/svm.h"

#include <algorithm>
#include <cmath>

namespace mlt {
namespace {

double power(double base, int exponent) {
  double result = 1;
  for (int n = exponent; n > 0; n /= 2) {
    if (n % 2) result *= base;
    base *= base;
  }
  return result;
}

class Svm : public Estimator {
 public:
  Svm(Interface interface, SvmParams params, Labels labels, bool classifier)
      : interface_(std::move(interface)), p_(std::move(params)), labels_(std::move(labels)), classifier_(classifier) {
    if (!p_.vectors.sparse) width_ = p_.vectors.dense.empty() ? 0 : static_cast<int64_t>(p_.vectors.dense[0].size());
  }

  Result<FeatureMap> predict(const FeatureMap& inputs) const override {
    MLT_ASSIGN(std::vector<double> row, gather_numbers(interface_, inputs, width_));
    if (!p_.vectors.sparse && static_cast<int64_t>(row.size()) != width_)
      return input_error("expected " + std::to_string(width_) + " input values, got " + std::to_string(row.size()));
    std::vector<double> k(p_.vectors.size());
    for (size_t i = 0; i < k.size(); ++i) k[i] = kernel(row, i);
    if (!classifier_) {
      double sum = -p_.rho[0];
      for (size_t i = 0; i < k.size(); ++i) sum += p_.coefficients[0][i] * k[i];
      return regressor_outputs(interface_, std::vector<double>{sum});
    }
    return classify(k);
  }

 private:
  double kernel(const std::vector<double>& x, size_t sv) const {
    double dot = 0, distance = 0;
    bool rbf = p_.kernel.kind == SvmKernel::Kind::kRbf;
    if (!p_.vectors.sparse) {
      const std::vector<double>& v = p_.vectors.dense[sv];
      for (size_t i = 0; i < x.size(); ++i) {
        dot += x[i] * v[i];
        distance += (x[i] - v[i]) * (x[i] - v[i]);
      }
    } else {
      const auto& nodes = p_.vectors.nodes[sv];
      size_t at = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        double v = 0;
        if (at < nodes.size() && nodes[at].first == static_cast<int64_t>(i) + 1) v = nodes[at++].second;
        dot += x[i] * v;
        distance += (x[i] - v) * (x[i] - v);
      }
      for (; at < nodes.size(); ++at) distance += nodes[at].second * nodes[at].second;  // beyond the input: zeros
    }
    if (rbf) return std::exp(-p_.kernel.gamma * distance);
    switch (p_.kernel.kind) {
      case SvmKernel::Kind::kPoly: return power(p_.kernel.gamma * dot + p_.kernel.c, p_.kernel.degree);
      case SvmKernel::Kind::kSigmoid: return std::tanh(p_.kernel.gamma * dot + p_.kernel.c);
      default: return dot;
    }
  }

  Result<FeatureMap> classify(const std::vector<double>& k) const {
    size_t classes = labels_.size();
    std::vector<size_t> start(classes + 1, 0);
    for (size_t i = 0; i < classes; ++i) start[i + 1] = start[i] + static_cast<size_t>(p_.vectors_per_class[i]);
    std::vector<double> votes(classes, 0);
    std::vector<std::vector<double>> pairwise(classes, std::vector<double>(classes, 0));
    bool probability = !p_.prob_a.empty();
    size_t pair = 0;
    for (size_t i = 0; i < classes; ++i) {
      for (size_t j = i + 1; j < classes; ++j, ++pair) {
        double sum = -p_.rho[pair];
        for (size_t s = start[i]; s < start[i + 1]; ++s) sum += p_.coefficients[j - 1][s] * k[s];
        for (size_t s = start[j]; s < start[j + 1]; ++s) sum += p_.coefficients[i][s] * k[s];
        votes[sum > 0 ? i : j] += 1;
        if (probability) {
          // As LIBSVM limits it: a sum that is no number (degenerate nu-SVMs have such coefficients) becomes the least.
          double p = std::min(std::max(1e-7, logistic(-(sum * p_.prob_a[pair] + p_.prob_b[pair]))), 1 - 1e-7);
          pairwise[i][j] = p;
          pairwise[j][i] = 1 - p;
        }
      }
    }
    if (!probability) return classifier_outputs(interface_, labels_, arg_max(votes), {});
    std::vector<double> probabilities = couple(pairwise);
    return classifier_outputs(interface_, labels_, arg_max(probabilities), probabilities);
  }

  // Minimises sum over pairs of (r_ji p_i - r_ij p_j)^2 with sum p = 1, by the fixed-point iteration of Wu, Lin and Weng.
  static std::vector<double> couple(const std::vector<std::vector<double>>& r) {
    size_t n = r.size();
    std::vector<double> p(n, 1.0 / static_cast<double>(n)), qp(n);
    if (n == 2) return {r[0][1], r[1][0]};
    std::vector<std::vector<double>> q(n, std::vector<double>(n, 0));
    for (size_t t = 0; t < n; ++t)
      for (size_t j = 0; j < n; ++j) {
        if (j == t) continue;
        q[t][t] += r[j][t] * r[j][t];
        q[t][j] = -r[j][t] * r[t][j];
      }
    double tolerance = 0.005 / static_cast<double>(n);
    for (size_t round = 0; round < std::max<size_t>(100, n); ++round) {
      double pqp = 0;
      for (size_t t = 0; t < n; ++t) {
        qp[t] = 0;
        for (size_t j = 0; j < n; ++j) qp[t] += q[t][j] * p[j];
        pqp += p[t] * qp[t];
      }
      double worst = 0;
      for (size_t t = 0; t < n; ++t) worst = std::max(worst, std::abs(qp[t] - pqp));
      if (worst < tolerance) break;
      for (size_t t = 0; t < n; ++t) {
        double step = (pqp - qp[t]) / q[t][t];
        p[t] += step;
        pqp = (pqp + step * (step * q[t][t] + 2 * qp[t])) / (1 + step) / (1 + step);
        for (size_t j = 0; j < n; ++j) {
          qp[j] = (qp[j] + step * q[t][j]) / (1 + step);
          p[j] /= 1 + step;
        }
      }
    }
    return p;
  }

  Interface interface_;
  SvmParams p_;
  Labels labels_;
  bool classifier_;
  int64_t width_ = 0;
};

Status check_vectors(const SvmParams& params) {
  size_t count = params.vectors.size();
  for (const auto& v : params.vectors.dense)
    if (v.size() != params.vectors.dense[0].size()) return input_error("support vectors differ in length");
  for (const auto& nodes : params.vectors.nodes)
    for (size_t i = 0; i < nodes.size(); ++i)
      if (nodes[i].first < 1 || (i > 0 && nodes[i].first <= nodes[i - 1].first)) return input_error("sparse support vector: indices do not ascend from 1");
  for (const auto& row : params.coefficients)
    if (row.size() != count) return input_error("support vector machine: " + std::to_string(row.size()) + " coefficients for " + std::to_string(count) + " vectors");
  if (params.kernel.kind == SvmKernel::Kind::kPoly && params.kernel.degree < 0) return input_error("polynomial kernel: negative degree");
  return {};
}

}  // namespace

Result<std::unique_ptr<Estimator>> make_svm_regressor(Interface interface, SvmParams params) {
  MLT_TRY(check_vectors(params));
  if (params.coefficients.size() != 1 || params.rho.size() != 1) return input_error("support vector regressor: needs one row of coefficients");
  return std::unique_ptr<Estimator>(std::make_unique<Svm>(std::move(interface), std::move(params), Labels(), false));
}

Result<std::unique_ptr<Estimator>> make_svm_classifier(Interface interface, SvmParams params, Labels labels) {
  MLT_TRY(check_vectors(params));
  size_t classes = labels.size();
  if (classes < 2 || classes > 65536) return input_error("support vector classifier: needs at least two class labels");
  size_t pairs = classes * (classes - 1) / 2;
  uint64_t total = 0;
  for (int64_t n : params.vectors_per_class) {
    if (n < 0) return input_error("support vector classifier: negative number of vectors");
    total += static_cast<uint64_t>(n);
  }
  if (params.vectors_per_class.size() != classes || total != params.vectors.size() || params.coefficients.size() != classes - 1 ||
      params.rho.size() != pairs || params.prob_a.size() != params.prob_b.size() || (!params.prob_a.empty() && params.prob_a.size() != pairs))
    return input_error("support vector classifier: counts of classes, vectors, coefficients and constants do not fit together");
  if (params.prob_a.empty()) {
    bool wanted = !interface.predicted_probabilities.empty();
    for (const Port& port : interface.outputs) wanted |= port.type == PortType::kIntDict || port.type == PortType::kStringDict;
    if (wanted) return unsupported_error("support vector classifier: class probabilities are declared, but the model has no probA and probB");
  }
  return std::unique_ptr<Estimator>(std::make_unique<Svm>(std::move(interface), std::move(params), std::move(labels), true));
}

}  // namespace mlt
