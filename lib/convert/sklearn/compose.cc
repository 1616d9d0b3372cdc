// Estimators made of estimators.
#include <cmath>

#include "lib/convert/sklearn/context.h"

namespace mlt::foreign::sklearn {
namespace {

Data pipeline(Context& c, const Node& e, const Data& data) {
  Data x = data;
  for (const auto& [name, step] : steps_of(e)) x = transform(c, step, x);
  return x;
}

Vec pipeline_regressor(Context& c, const Node& e, const Data& data) {
  Data x = data;
  auto steps = steps_of(e);
  if (steps.empty()) e.fail("a pipeline without steps");
  for (size_t i = 0; i + 1 < steps.size(); ++i) x = transform(c, steps[i].second, x);
  return regress(c, steps.back().second, x);
}

// Columns of a ColumnTransformer's part: numbers, names, a mask or a slice.
std::vector<uint64_t> columns_of(const Context& c, const Node& e, const std::string& name, Node columns, int64_t width) {
  if (Node known = e.attr("_transformer_to_input_indices").get(name); known && known.is_sequence()) columns = known;
  if (columns.kind() == pickle::Kind::kObject && columns.attr("data")) columns = columns.attr("data");  // a list subclass
  std::vector<uint64_t> out;
  auto by_name = [&](const std::string& wanted) {
    for (size_t i = 0; i < c.names.size(); ++i)
      if (c.names[i] == wanted) return static_cast<uint64_t>(i);
    columns.fail("no column \"" + wanted + "\"");
  };
  auto by_number = [&](int64_t i) {
    if (i < 0) i += width;
    if (i < 0 || i >= width) columns.fail("a column that is not there");
    return static_cast<uint64_t>(i);
  };
  if (columns.is_text()) return {by_name(columns.text())};
  if (columns.kind() == pickle::Kind::kObject && columns.short_class() == "slice") {
    Node from = columns.argument(0), to = columns.argument(1), step = columns.argument(2);
    if (step && step.integer() != 1) refuse("ColumnTransformer with a slice of steps");
    if ((from && from.is_text()) || (to && to.is_text())) {
      uint64_t last = to ? by_name(to.text()) : static_cast<uint64_t>(width - 1);
      for (uint64_t i = from ? by_name(from.text()) : 0; i <= last; ++i) out.push_back(i);
      return out;
    }
    int64_t begin = from ? from.integer() : 0, end = to ? to.integer() : width;
    if (begin < 0) begin += width;
    if (end < 0) end += width;
    for (int64_t i = std::max<int64_t>(begin, 0); i < std::min(end, width); ++i) out.push_back(static_cast<uint64_t>(i));
    return out;
  }
  if (columns.is_number() && columns.kind() != pickle::Kind::kArray) return {by_number(columns.integer())};
  if (!columns.is_sequence()) refuse("ColumnTransformer with columns chosen by a function");
  if (strings(columns) || (columns.kind() != pickle::Kind::kArray && columns.size() > 0 && columns.at(0).is_text())) {
    for (const std::string& text : columns.texts()) out.push_back(by_name(text));
    return out;
  }
  bool mask = columns.element_kind() == 'b' || (columns.kind() == pickle::Kind::kList && columns.size() > 0 && columns.at(0).kind() == pickle::Kind::kBool);
  auto numbers = columns.integers();
  if (mask) {
    for (size_t i = 0; i < numbers.size(); ++i)
      if (numbers[i]) out.push_back(by_number(static_cast<int64_t>(i)));
    return out;
  }
  for (int64_t i : numbers) out.push_back(by_number(i));
  return out;
}

Vec weighted(Context& c, const Node& e, const std::string& name, Vec v) {
  Node weights = e.attr("transformer_weights");
  if (!weights) return v;
  Node weight = weights.get(name);
  return weight ? c.a.scale(v, {}, {weight.number()}) : v;
}

Data column_transformer(Context& c, const Node& e, const Data& data) {
  std::vector<Vec> parts;
  for (const Node& item : e.need("transformers_").list()) {
    if (!item.is_sequence() || item.size() < 3) item.fail("a transformer is damaged");
    std::string name = item.at(0).text();
    Node part = item.at(1);
    if (part.is_text() && part.text() == "drop") continue;
    auto columns = columns_of(c, e, name, item.at(2), data.width());
    if (columns.empty()) continue;
    parts.push_back(weighted(c, e, name, c.vec(transform(c, part, c.select(data, columns)))));
  }
  if (parts.empty()) refuse("ColumnTransformer that keeps nothing");
  return c.of(c.a.concat(parts));
}

Data feature_union(Context& c, const Node& e, const Data& data) {
  std::vector<Vec> parts;
  for (const Node& item : e.need("transformer_list").list()) {
    if (!item.is_sequence() || item.size() < 2) item.fail("a transformer is damaged");
    Node part = item.at(1);
    if (!part || (part.is_text() && part.text() == "drop")) continue;
    parts.push_back(weighted(c, e, item.at(0).text(), c.vec(transform(c, part, data))));
  }
  if (parts.empty()) refuse("FeatureUnion that keeps nothing");
  return c.of(c.a.concat(parts));
}

// NumPy's functions by their names.
Vec apply_function(Context& c, const Node& function, Vec x) {
  std::string name;
  if (function.kind() == pickle::Kind::kClass) name = function.short_class();
  else if (function.short_class() == "_ufunc_reconstruct") name = function.argument(1).text();
  bool numpy = function.class_name().starts_with("numpy");
  if (!numpy) refuse("FunctionTransformer with a function of your own" + (function.class_name().empty() ? std::string() : " (" + function.class_name() + ")"));
  auto unary = [&](const std::string& kind) { return c.a.network(x, x.width, [&](coreml::NetworkWriter& n, const std::string& v) { n.unary(kind, v); }); };
  if (name == "exp" || name == "log" || name == "abs" || name == "tanh") return unary(name);
  if (name == "absolute") return unary("abs");
  if (name == "square") return unary("square");
  if (name == "log1p") {
    x = c.a.scale(x, {1.0}, {});
    return unary("log");
  }
  if (name == "expm1") return c.a.scale(unary("exp"), {-1.0}, {});
  refuse("FunctionTransformer with numpy." + name);
}

Data function_transformer(Context& c, const Node& e, const Data& data) {
  Node function = e.attr("func");
  if (!function) return data;
  // The one that HistGradientBoosting puts before its numeric columns.
  if (function.short_class() == "partial" && function.argument(0).short_class() == "check_array") return data;
  return c.of(apply_function(c, function, c.vec(data)));
}

Vec multi_output(Context& c, const Node& e, const Data& data) {
  std::vector<Vec> parts;
  Data x = c.of(c.vec(data));
  for (const Node& part : e.need("estimators_").list()) parts.push_back(regress(c, part, x));
  return c.a.concat(parts);
}

Vec voting_regressor(Context& c, const Node& e, const Data& data) {
  std::vector<Vec> parts;
  Data x = c.of(c.vec(data));
  for (const Node& part : e.need("estimators_").list()) {
    parts.push_back(regress(c, part, x));
    if (parts.back().width != 1) refuse("VotingRegressor with several targets");
  }
  if (parts.empty()) e.fail("has no estimators");
  std::vector<double> weights(parts.size(), 1.0);
  if (Node given = e.attr("weights"); given) {
    weights.clear();
    auto all = given.numbers();
    auto names = e.need("estimators").list();  // some may have been dropped
    for (size_t i = 0; i < names.size() && i < all.size(); ++i)
      if (!names[i].at(1).is_text()) weights.push_back(all[i]);
  }
  if (weights.size() != parts.size()) e.fail("weights do not fit the estimators");
  double sum = 0;
  for (double w : weights) sum += w;
  LinearParams p;
  for (double& w : weights) w /= sum;
  p.weights = {weights};
  p.offset = {0};
  return c.a.linear(c.a.concat(parts), p);
}

Vec stacking_regressor(Context& c, const Node& e, const Data& data) {
  std::vector<Vec> parts;
  Data x = c.of(c.vec(data));
  for (const Node& part : e.need("estimators_").list()) parts.push_back(regress(c, part, x));
  if (e.attr("passthrough").boolean(false)) parts.push_back(x.vec);
  return regress(c, e.need("final_estimator_"), c.of(c.a.concat(parts)));
}

Vec transformed_target(Context& c, const Node& e, const Data& data) {
  Vec y = regress(c, e.need("regressor_"), data);
  Node t = e.need("transformer_");
  std::string cls = t.short_class();
  if (cls == "FunctionTransformer") {
    Node back = t.attr("inverse_func");
    return back ? apply_function(c, back, y) : y;
  }
  auto column = [&](std::string_view name, double otherwise) {
    Node n = t.attr(name);
    if (!n) return otherwise;
    auto values = n.numbers();
    if (values.size() != 1 || y.width != 1) refuse("TransformedTargetRegressor with several targets");
    return values[0];
  };
  if (cls == "StandardScaler" || cls == "RobustScaler") {
    double scale = column("scale_", 1), mean = column(cls == "StandardScaler" ? "mean_" : "center_", 0);
    return c.a.scale(y, {mean / scale}, {scale});
  }
  if (cls == "MinMaxScaler") return c.a.scale(y, {-column("min_", 0)}, {1 / column("scale_", 1)});
  refuse("TransformedTargetRegressor with " + cls);
}

constexpr Row kRows[] = {
    {"Pipeline", pipeline, pipeline_regressor}, {"ColumnTransformer", column_transformer}, {"FeatureUnion", feature_union},
    {"FunctionTransformer", function_transformer, nullptr, nullptr, "without a function, or numpy's abs, exp, expm1, log, log1p, square, tanh"},
    {"MultiOutputRegressor", nullptr, multi_output}, {"VotingRegressor", nullptr, voting_regressor, nullptr, "one target"},
    {"StackingRegressor", nullptr, stacking_regressor}, {"TransformedTargetRegressor", nullptr, transformed_target, nullptr, "standard, robust and min-max scalers, numpy's functions"},
};

}  // namespace

std::span<const Row> families::compose() { return kRows; }

}  // namespace mlt::foreign::sklearn
