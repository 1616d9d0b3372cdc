// Linear models, discriminant analysis with a shared covariance, nearest centroids.
#include <fmt/core.h>

#include <cmath>

#include "lib/convert/sklearn/context.h"

namespace mlt::foreign::sklearn {
namespace {

LinearParams weights_of(const Node& e, const Matrix& coef) {
  LinearParams p;
  for (int64_t i = 0; i < coef.rows; ++i) p.weights.push_back(coef.row(i));
  Node intercept = e.attr("intercept_");
  if (!intercept) p.offset.assign(p.weights.size(), 0.0);
  else if (intercept.is_number()) p.offset.assign(p.weights.size(), intercept.number());
  else p.offset = intercept.numbers();
  if (p.weights.empty() || p.weights[0].empty() || p.offset.size() != p.weights.size()) e.fail("coef_ and intercept_ do not fit together");
  return p;
}

LinearParams fitted(const Node& e, const Vec& x) {
  LinearParams p = weights_of(e, matrix_of(e.need("coef_")));
  if (static_cast<int64_t>(p.weights[0].size()) != x.width) e.fail("coef_ does not fit the features");
  return p;
}

Vec linear_regressor(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  return c.a.linear(x, fitted(e, x));
}

// Generalised linear models with a log link.
Vec log_link_regressor(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  Vec y = c.a.linear(x, fitted(e, x));
  bool log = true;
  if (e.short_class() == "TweedieRegressor") {
    std::string link = param(e, "link", "auto");
    log = link == "log" || (link == "auto" && e.need("power").number() > 0);
  }
  return log ? c.a.network(y, y.width, [](coreml::NetworkWriter& n, const std::string& v) { n.unary("exp", v); }) : y;
}

Vec ransac(Context& c, const Node& e, const Data& x) { return regress(c, e.need("estimator_"), x); }

// The shape of coef_ and where the scale went changed in 1.1 and 1.3.
Vec pls_regressor(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  Matrix coef = matrix_of(e.need("coef_"));
  auto mean = e.first_of({"_x_mean", "x_mean_"}).numbers();
  auto offset = e.first_of({"intercept_", "_y_mean", "y_mean_"}).numbers();
  int version = version_of(e);
  LinearParams p;
  bool rows_are_targets = version >= 10300;
  int64_t targets = rows_are_targets ? coef.rows : coef.columns, features = rows_are_targets ? coef.columns : coef.rows;
  if (features != x.width || static_cast<int64_t>(mean.size()) != features || static_cast<int64_t>(offset.size()) != targets) e.fail("coef_ does not fit the features");
  std::vector<double> scale(mean.size(), 1.0);
  if (!rows_are_targets) scale = e.first_of({"_x_std", "x_std_"}).numbers();
  if (scale.size() != mean.size()) e.fail("_x_std does not fit the features");
  for (int64_t t = 0; t < targets; ++t) {
    std::vector<double> row;
    double sum = offset[static_cast<size_t>(t)];
    for (int64_t f = 0; f < features; ++f) {
      double w = (rows_are_targets ? coef.at(t, f) : coef.at(f, t)) / scale[static_cast<size_t>(f)];
      row.push_back(w);
      sum -= w * mean[static_cast<size_t>(f)];
    }
    p.weights.push_back(std::move(row));
    p.offset.push_back(sum);
  }
  return c.a.linear(x, p);
}

void scored(Context& c, const Node& e, const Data& data, Scores how, double factor = 1) {
  Vec x = c.vec(data);
  LinearParams p = fitted(e, x);
  for (auto& row : p.weights)
    for (double& w : row) w *= factor;
  for (double& b : p.offset) b *= factor;
  linear_classifier(c, x, p.weights, p.offset, labels_of(classes_of(e)), how);
}

// Source of the rule: LogisticRegression.predict_proba.
void logistic_regression(Context& c, const Node& e, const Data& x) {
  size_t classes = labels_of(classes_of(e)).size();
  std::string multi = param(e, "multi_class", "auto"), solver = param(e, "solver", "lbfgs");
  bool one_vs_rest = multi == "ovr" || multi == "warn" || ((multi == "auto" || multi == "deprecated") && (classes <= 2 || solver == "liblinear"));
  bool two_rows = !one_vs_rest && classes == 2;  // softmax of (-z, z)
  scored(c, e, x, one_vs_rest || classes == 2 ? Scores::kOneVsRest : Scores::kSoftmax, two_rows ? 2 : 1);
}

void labels_only(Context& c, const Node& e, const Data& x) { scored(c, e, x, Scores::kLabels); }

void sgd_classifier(Context& c, const Node& e, const Data& x) {
  std::string loss = param(e, "loss", "hinge");
  bool logistic = loss == "log" || loss == "log_loss";
  if (loss == "modified_huber") c.a.warn("SGDClassifier(loss=\"modified_huber\"): labels only, its probabilities cannot be expressed");
  scored(c, e, x, logistic ? Scores::kOneVsRest : Scores::kLabels);
}

void discriminant_analysis(Context& c, const Node& e, const Data& x) {
  int version = version_of(e);
  scored(c, e, x, version != 0 && version < 2200 ? Scores::kOneVsRest : Scores::kSoftmax);
}

// argmin |x - c|^2 = argmax 2 c.x - |c|^2
void nearest_centroid(Context& c, const Node& e, const Data& data) {
  if (param(e, "metric", "euclidean") != "euclidean") refuse("NearestCentroid with another metric than euclidean");
  if (Node shrink = e.attr("shrink_threshold"); shrink) refuse("NearestCentroid with shrink_threshold");
  int version = version_of(e);
  if (version >= 10600 && param(e, "priors", "uniform") != "uniform") refuse("NearestCentroid with priors");
  Vec x = c.vec(data);
  Matrix centroids = matrix_of(e.need("centroids_"));
  if (centroids.columns != x.width) e.fail("centroids_ does not fit the features");
  std::vector<std::vector<double>> weights;
  std::vector<double> offset;
  for (int64_t k = 0; k < centroids.rows; ++k) {
    std::vector<double> row = centroids.row(k);
    double square = 0;
    for (double& v : row) {
      square += v * v;
      v *= 2;
    }
    weights.push_back(std::move(row));
    offset.push_back(-square);
  }
  linear_classifier(c, x, weights, offset, labels_of(classes_of(e)), Scores::kLabels);
}

constexpr Row kRows[] = {
    {"LinearRegression", nullptr, linear_regressor}, {"Ridge", nullptr, linear_regressor}, {"RidgeCV", nullptr, linear_regressor},
    {"Lasso", nullptr, linear_regressor}, {"LassoCV", nullptr, linear_regressor}, {"ElasticNet", nullptr, linear_regressor},
    {"ElasticNetCV", nullptr, linear_regressor}, {"Lars", nullptr, linear_regressor}, {"LarsCV", nullptr, linear_regressor},
    {"LassoLars", nullptr, linear_regressor}, {"LassoLarsCV", nullptr, linear_regressor}, {"LassoLarsIC", nullptr, linear_regressor},
    {"OrthogonalMatchingPursuit", nullptr, linear_regressor}, {"OrthogonalMatchingPursuitCV", nullptr, linear_regressor},
    {"BayesianRidge", nullptr, linear_regressor}, {"ARDRegression", nullptr, linear_regressor}, {"HuberRegressor", nullptr, linear_regressor},
    {"SGDRegressor", nullptr, linear_regressor}, {"PassiveAggressiveRegressor", nullptr, linear_regressor}, {"TheilSenRegressor", nullptr, linear_regressor},
    {"QuantileRegressor", nullptr, linear_regressor}, {"MultiTaskLasso", nullptr, linear_regressor}, {"MultiTaskLassoCV", nullptr, linear_regressor},
    {"MultiTaskElasticNet", nullptr, linear_regressor}, {"MultiTaskElasticNetCV", nullptr, linear_regressor}, {"LinearSVR", nullptr, linear_regressor},
    {"PoissonRegressor", nullptr, log_link_regressor}, {"GammaRegressor", nullptr, log_link_regressor}, {"TweedieRegressor", nullptr, log_link_regressor},
    {"RANSACRegressor", nullptr, ransac}, {"PLSRegression", nullptr, pls_regressor},
    {"LogisticRegression", nullptr, nullptr, logistic_regression}, {"LogisticRegressionCV", nullptr, nullptr, logistic_regression},
    {"LinearSVC", nullptr, nullptr, labels_only, "labels only"}, {"RidgeClassifier", nullptr, nullptr, labels_only, "labels only"},
    {"RidgeClassifierCV", nullptr, nullptr, labels_only, "labels only"}, {"Perceptron", nullptr, nullptr, labels_only, "labels only"},
    {"PassiveAggressiveClassifier", nullptr, nullptr, labels_only, "labels only"}, {"SGDClassifier", nullptr, nullptr, sgd_classifier, "probabilities of the logistic loss"},
    {"LinearDiscriminantAnalysis", nullptr, nullptr, discriminant_analysis}, {"NearestCentroid", nullptr, nullptr, nearest_centroid, "euclidean; labels only"},
};

}  // namespace

void linear_classifier(Context& c, Vec x, const std::vector<std::vector<double>>& weights, const std::vector<double>& offset, const mlt::Labels& labels, Scores how) {
  LinearParams p;
  p.link = Link::kLogit;
  size_t rows = weights.size(), classes = labels.size();
  bool probabilities = how != Scores::kLabels;
  if (rows == 1 && classes == 2) {
    p.weights = weights;
    p.offset = offset;
    p.one_vs_rest = true;
  } else if (rows != classes || classes < 2) {
    damaged(fmt::format("{} rows of coefficients for {} classes", rows, classes));
  } else if (how == Scores::kOneVsRest && classes > 2) {
    p.weights = weights;
    p.offset = offset;
    p.one_vs_rest = true;
  } else {  // differences from the first class: the same softmax, the same best class
    for (size_t k = 1; k < rows; ++k) {
      std::vector<double> row;
      for (size_t i = 0; i < weights[k].size(); ++i) row.push_back(weights[k][i] - weights[0][i]);
      p.weights.push_back(std::move(row));
      p.offset.push_back(offset[k] - offset[0]);
    }
    p.one_vs_rest = classes == 2;
  }
  c.a.glm_classifier(x, p, labels, probabilities);
}

std::span<const Row> families::linear() { return kRows; }

}  // namespace mlt::foreign::sklearn
