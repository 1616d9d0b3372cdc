// Naive Bayes, and discriminant analysis with a covariance per class (sources: sklearn/naive_bayes.py,
// sklearn/discriminant_analysis.py). Sums of log probabilities are linear scores where features enter linearly, else
// networks.
#include <cmath>

#include "lib/convert/sklearn/context.h"

namespace mlt::foreign::sklearn {
namespace {

std::vector<std::vector<double>> rows_of(const Matrix& m) {
  std::vector<std::vector<double>> out;
  for (int64_t i = 0; i < m.rows; ++i) out.push_back(m.row(i));
  return out;
}

// Log probabilities of counts: linear.
void counts(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  Matrix logs = matrix_of(e.need("feature_log_prob_"));
  mlt::Labels labels = labels_of(classes_of(e));
  auto prior = e.need("class_log_prior_").numbers();
  std::string cls = e.short_class();
  auto classes = static_cast<int64_t>(labels.size());
  if (logs.columns != x.width || logs.rows != classes || static_cast<int64_t>(prior.size()) != classes) e.fail("feature_log_prob_ does not fit the features");
  auto weights = rows_of(logs);
  std::vector<double> offset = prior;
  if (cls == "ComplementNB") offset.assign(prior.size(), 0.0);
  if (cls == "BernoulliNB") {
    if (Node threshold = e.attr("binarize"); threshold) {
      double at = threshold.number();
      TreeEnsembleParams steps;
      steps.outputs = static_cast<uint64_t>(x.width);
      for (uint64_t f = 0; f < steps.outputs; ++f) add_steps(steps, f, f, {at}, {{}, {{f, 1.0}}}, {}, true);
      x = c.a.trees(x, steps);
    }
    for (size_t k = 0; k < weights.size(); ++k)
      for (double& w : weights[k]) {
        double absent = std::log1p(-std::exp(w));
        offset[k] += absent;
        w -= absent;
      }
  }
  linear_classifier(c, x, weights, offset, labels, Scores::kSoftmax);
}

// Categories are indices: a table a feature.
void categories(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  mlt::Labels labels = labels_of(classes_of(e));
  auto tables = e.need("feature_log_prob_").list();
  auto prior = e.need("class_log_prior_").numbers();
  if (static_cast<int64_t>(tables.size()) != x.width || prior.size() != labels.size()) e.fail("feature_log_prob_ does not fit the features");
  TreeEnsembleParams params;
  params.outputs = labels.size();
  params.base = prior;
  params.transform = TreeEnsembleParams::Transform::kSoftmax;
  for (size_t f = 0; f < tables.size(); ++f) {
    Matrix logs = matrix_of(tables[f]);
    if (logs.rows != static_cast<int64_t>(labels.size()) || logs.columns < 1) tables[f].fail("does not fit the classes");
    std::vector<double> bounds;
    std::vector<std::vector<std::pair<uint64_t, double>>> values;
    for (int64_t category = 0; category < logs.columns; ++category) {
      if (category) bounds.push_back(static_cast<double>(category));
      auto& row = values.emplace_back();
      for (int64_t k = 0; k < logs.rows; ++k) row.emplace_back(static_cast<uint64_t>(k), logs.at(k, category));
    }
    add_steps(params, f, f, bounds, values, values.front());
  }
  c.a.tree_classifier(x, params, labels);
}

// -1/2 sum log(2 pi v) - 1/2 sum (x - m)^2 / v + log prior
void gaussian(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  mlt::Labels labels = labels_of(classes_of(e));
  Matrix mean = matrix_of(e.need("theta_"));
  Matrix variance = matrix_of(e.attr("var_") ? e.need("var_") : e.need("sigma_"));
  auto prior = e.need("class_prior_").numbers();
  auto classes = static_cast<int64_t>(labels.size());
  if (mean.columns != x.width || mean.rows != classes || variance.rows != classes || variance.columns != x.width || static_cast<int64_t>(prior.size()) != classes) e.fail("theta_ does not fit the features");
  std::vector<float> shift, scale, constant;
  for (int64_t k = 0; k < classes; ++k) {
    double sum = std::log(prior[static_cast<size_t>(k)]);
    for (int64_t f = 0; f < x.width; ++f) {
      double v = variance.at(k, f);
      if (!(v > 0)) e.fail("a variance is not positive");
      sum -= 0.5 * std::log(2 * 3.14159265358979323846 * v);
      shift.push_back(static_cast<float>(mean.at(k, f)));
      scale.push_back(static_cast<float>(std::sqrt(0.5 / v)));
    }
    constant.push_back(static_cast<float>(sum));
  }
  c.a.network_classifier(x, [&](coreml::NetworkWriter& w, const std::string& in) {
    auto z = w.binary("multiply", w.binary("subtract", in, w.constant({classes, x.width}, shift)), w.constant({classes, x.width}, scale));
    auto squares = w.sum(w.unary("square", z), 1, false);
    w.softmax(w.binary("subtract", w.constant({classes}, constant), squares));
  }, labels);
}

void quadratic(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  mlt::Labels labels = labels_of(classes_of(e));
  Matrix means = matrix_of(e.need("means_"));
  auto rotations = e.need("rotations_").list();
  auto scalings = e.need("scalings_").list();
  auto prior = e.need("priors_").numbers();
  size_t classes = labels.size();
  if (means.columns != x.width || means.rows != static_cast<int64_t>(classes) || rotations.size() != classes || scalings.size() != classes || prior.size() != classes) e.fail("means_ does not fit the features");
  // |(x - mean) R / sqrt(s)|^2 for every class at once.
  std::vector<float> weights, bias, pick, constant;
  std::vector<size_t> owner;
  for (size_t k = 0; k < classes; ++k) {
    Matrix r = matrix_of(rotations[k]);
    auto s = scalings[k].numbers();
    if (r.rows != x.width || r.columns != static_cast<int64_t>(s.size())) e.fail("rotations_ does not fit the features");
    double sum = std::log(prior[k]);
    for (size_t j = 0; j < s.size(); ++j) {
      if (!(s[j] > 0)) e.fail("a scaling is not positive");
      sum -= 0.5 * std::log(s[j]);
      double b = 0;
      for (int64_t f = 0; f < x.width; ++f) {
        double w = r.at(f, static_cast<int64_t>(j)) / std::sqrt(s[j]);
        weights.push_back(static_cast<float>(w));
        b -= w * means.at(static_cast<int64_t>(k), f);
      }
      bias.push_back(static_cast<float>(b));
      owner.push_back(k);
    }
    constant.push_back(static_cast<float>(sum));
  }
  auto total = static_cast<int64_t>(owner.size());
  if (total * static_cast<int64_t>(classes) > (1 << 26)) refuse("QuadraticDiscriminantAnalysis of that size");
  for (size_t k = 0; k < classes; ++k)
    for (size_t o : owner) pick.push_back(o == k ? -0.5F : 0.0F);
  c.a.network_classifier(x, [&](coreml::NetworkWriter& w, const std::string& in) {
    auto squares = w.unary("square", w.inner_product(in, x.width, total, weights, bias));
    w.softmax(w.inner_product(squares, total, static_cast<int64_t>(classes), pick, constant));
  }, labels);
}

constexpr Row kRows[] = {
    {"MultinomialNB", nullptr, nullptr, counts}, {"ComplementNB", nullptr, nullptr, counts}, {"BernoulliNB", nullptr, nullptr, counts},
    {"CategoricalNB", nullptr, nullptr, categories}, {"GaussianNB", nullptr, nullptr, gaussian}, {"QuadraticDiscriminantAnalysis", nullptr, nullptr, quadratic},
};

}  // namespace

std::span<const Row> families::bayes() { return kRows; }

}  // namespace mlt::foreign::sklearn
