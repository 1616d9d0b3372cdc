// Nearest neighbours. Classifiers by Euclidean distance are Core ML's own kind; the rest is a small network.
#include <cmath>

#include "lib/convert/sklearn/context.h"

namespace mlt::foreign::sklearn {
namespace {

struct Neighbors {
  Matrix samples;
  int64_t count = 5;
  bool by_distance = false, manhattan = false;
};

Neighbors read(const Node& e, const Vec& x) {
  Neighbors n;
  n.samples = matrix_of(e.need("_fit_X"));
  n.count = e.need("n_neighbors").integer();
  if (n.samples.columns != x.width || n.samples.rows < 1) e.fail("_fit_X does not fit the features");
  if (n.count < 1 || n.count > n.samples.rows) e.fail("n_neighbors is out of range");
  std::string weights = param(e, "weights", "uniform");
  if (weights != "uniform" && weights != "distance") refuse(e.short_class() + " with weights of your own");
  n.by_distance = weights == "distance";
  std::string metric = param(e, "effective_metric_", param(e, "metric", "minkowski"));
  double p = e.attr("p") && e.attr("p").is_number() ? e.attr("p").number() : 2;
  if (metric == "minkowski") metric = p == 1 ? "manhattan" : p == 2 ? "euclidean" : "minkowski of another order";
  if (metric == "sqeuclidean" && !n.by_distance) metric = "euclidean";
  if (metric != "euclidean" && metric != "manhattan" && metric != "cityblock" && metric != "l1" && metric != "l2") refuse(e.short_class() + " with the metric " + metric);
  n.manhattan = metric == "manhattan" || metric == "cityblock" || metric == "l1";
  if (Node more = e.attr("effective_metric_params_"); more && more.get("w")) refuse(e.short_class() + " with weights of features");
  return n;
}

std::vector<float> floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

// Mean of the neighbours' rows of `table` [samples, width], each weighing 1 or 1 / distance.
std::string mean_of_neighbors(coreml::NetworkWriter& w, const std::string& x, const Neighbors& n, const std::vector<float>& table, int64_t width) {
  auto samples = w.constant({n.samples.rows, n.samples.columns}, floats(n.samples.data));
  auto difference = w.binary("subtract", samples, x);
  auto distance = w.sum(w.unary(n.manhattan ? "abs" : "square", difference), 1, false);
  auto [nearest, indices] = w.smallest(distance, n.count);
  auto rows = w.gather(w.constant({n.samples.rows, width}, table), indices);  // [count, width]
  if (!n.by_distance) return w.binary("multiply", w.sum(rows, 0, false), w.constant({1}, {1.0F / static_cast<float>(n.count)}));
  // A neighbour at distance 0 outweighs all others: 1e-30 squared distance weighs 1e15.
  auto safe = n.manhattan ? w.binary("divide", w.constant({1}, {1.0F}), w.clip(nearest, 1e-15F, 3e38F)) : w.unary("rsqrt", w.clip(nearest, 1e-30F, 3e38F));
  auto weighted = w.sum(w.binary("multiply", rows, w.expand(safe, 1)), 0, false);
  return w.binary("divide", weighted, w.sum(safe, 0, true));
}

void check_size(const Neighbors& n) {
  if (n.samples.rows * n.samples.columns > (1 << 26)) refuse("nearest neighbours among more than 64 M values");
}

void classifier(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  Neighbors n = read(e, x);
  check_size(n);
  mlt::Labels labels = labels_of(classes_of(e));
  Node y = e.need("_y");
  if (y.shape().size() > 1 && y.shape()[1] != 1) refuse("a classifier with several outputs (multi-label)");
  auto codes = y.integers();
  if (static_cast<int64_t>(codes.size()) != n.samples.rows) e.fail("_y does not fit _fit_X");
  for (int64_t code : codes)
    if (code < 0 || static_cast<size_t>(code) >= labels.size()) e.fail("_y does not fit classes_");
  if (n.manhattan) {
    auto width = static_cast<int64_t>(labels.size());
    std::vector<float> table(codes.size() * labels.size(), 0.0F);
    for (size_t i = 0; i < codes.size(); ++i) table[i * labels.size() + static_cast<size_t>(codes[i])] = 1;
    c.a.network_classifier(x, [&](coreml::NetworkWriter& w, const std::string& in) { mean_of_neighbors(w, in, n, table, width); }, labels);
    return;
  }
  KnnParams p;
  p.dimensions = x.width;
  p.samples = floats(n.samples.data);
  p.neighbors = n.count;
  p.inverse_distance = n.by_distance;
  labels = c.a.chosen(labels);
  mlt::Labels each;
  each.integers = labels.integers;
  for (int64_t code : codes) {
    if (each.integers) each.ints.push_back(labels.ints[static_cast<size_t>(code)]);
    else each.strings.push_back(labels.strings[static_cast<size_t>(code)]);
  }
  c.a.knn_classifier(x, p, each);
}

Vec regressor(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  Neighbors n = read(e, x);
  check_size(n);
  Node y = e.need("_y");
  int64_t width = y.shape().size() > 1 ? y.shape()[1] : 1;
  std::vector<double> table = y.numbers();
  if (static_cast<int64_t>(table.size()) != n.samples.rows * width || width < 1) e.fail("_y does not fit _fit_X");
  return c.a.network(x, width, [&](coreml::NetworkWriter& w, const std::string& in) { mean_of_neighbors(w, in, n, floats(table), width); });
}

constexpr Row kRows[] = {
    {"KNeighborsClassifier", nullptr, nullptr, classifier, "euclidean and manhattan distances"},
    {"KNeighborsRegressor", nullptr, regressor, nullptr, "euclidean and manhattan distances"},
};

}  // namespace

std::span<const Row> families::neighbors() { return kRows; }

}  // namespace mlt::foreign::sklearn
