// Multi-layer perceptrons (source: sklearn/neural_network/_multilayer_perceptron.py).
#include "lib/convert/sklearn/context.h"

namespace mlt::foreign::sklearn {
namespace {

struct Layer {
  int64_t inputs = 0, outputs = 0;
  std::vector<float> weights, bias;
};

std::vector<Layer> layers_of(const Node& e, const Vec& x) {
  auto coefs = e.need("coefs_").list(), intercepts = e.need("intercepts_").list();
  if (coefs.empty() || coefs.size() != intercepts.size()) e.fail("coefs_ and intercepts_ do not fit together");
  std::vector<Layer> out;
  int64_t width = x.width;
  for (size_t i = 0; i < coefs.size(); ++i) {
    Matrix m = matrix_of(coefs[i]);  // [inputs, outputs]
    auto bias = intercepts[i].numbers();
    if (m.rows != width || m.columns != static_cast<int64_t>(bias.size()) || m.columns < 1) e.fail("coefs_ does not fit the layers");
    Layer layer{m.rows, m.columns, {}, {bias.begin(), bias.end()}};
    layer.weights.reserve(m.data.size());
    for (int64_t o = 0; o < m.columns; ++o)
      for (int64_t in = 0; in < m.rows; ++in) layer.weights.push_back(static_cast<float>(m.at(in, o)));
    out.push_back(std::move(layer));
    width = m.columns;
  }
  return out;
}

std::string activate(coreml::NetworkWriter& w, const std::string& x, const std::string& kind) {
  if (kind == "identity") return x;
  if (kind == "relu" || kind == "tanh") return w.unary(kind, x);
  if (kind == "logistic") return w.unary("sigmoid", x);
  if (kind == "softmax") return w.softmax(x);
  refuse("a perceptron with the activation " + kind);
}

Vec regressor(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  auto layers = layers_of(e, x);
  std::string hidden = param(e, "activation", "relu"), last = param(e, "out_activation_", "identity");
  if (param(e, "loss", "squared_error") == "poisson" && last == "identity") refuse("MLPRegressor with the poisson loss");
  return c.a.network(x, layers.back().outputs, [&](coreml::NetworkWriter& w, const std::string& in) {
    std::string y = in;
    for (size_t i = 0; i < layers.size(); ++i) {
      y = w.inner_product(y, layers[i].inputs, layers[i].outputs, layers[i].weights, layers[i].bias);
      if (i + 1 < layers.size()) y = activate(w, y, hidden);
      else if (last == "exp") y = w.unary("exp", y);
      else y = activate(w, y, last);
    }
  });
}

void classifier(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  auto layers = layers_of(e, x);
  mlt::Labels labels = labels_of(classes_of(e));
  std::string hidden = param(e, "activation", "relu"), last = param(e, "out_activation_", "softmax");
  Layer& end = layers.back();
  bool binary = labels.size() == 2 && end.outputs == 1;
  if (!binary && (last != "softmax" || end.outputs != static_cast<int64_t>(labels.size()))) refuse("MLPClassifier with several outputs (multi-label)");
  if (binary) {  // (0, z) through a softmax is (1 - p, p)
    end.weights.insert(end.weights.begin(), static_cast<size_t>(end.inputs), 0.0F);
    end.bias.insert(end.bias.begin(), 0.0F);
    end.outputs = 2;
  }
  c.a.network_classifier(x, [&](coreml::NetworkWriter& w, const std::string& in) {
    std::string y = in;
    for (size_t i = 0; i < layers.size(); ++i) {
      y = w.inner_product(y, layers[i].inputs, layers[i].outputs, layers[i].weights, layers[i].bias);
      y = i + 1 < layers.size() ? activate(w, y, hidden) : w.softmax(y);
    }
  }, labels);
}

constexpr Row kRows[] = {{"MLPClassifier", nullptr, nullptr, classifier, "one label a sample"}, {"MLPRegressor", nullptr, regressor}};

}  // namespace

std::span<const Row> families::neural() { return kRows; }

}  // namespace mlt::foreign::sklearn
