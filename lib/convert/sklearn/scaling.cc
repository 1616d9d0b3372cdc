// Transformers of numbers: scalers, imputers, bins, polynomials, selections.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "lib/convert/sklearn/context.h"

namespace mlt::foreign::sklearn {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Values of an attribute, one a column; empty when it is None or absent.
std::vector<double> per_column(const Node& e, std::initializer_list<std::string_view> names, const Vec& x) {
  Node n = e.first_of(names);
  if (!n) return {};
  auto values = n.numbers();
  if (static_cast<int64_t>(values.size()) != x.width) n.fail("does not fit the features");
  return values;
}

std::vector<double> inverse(std::vector<double> values) {
  for (double& v : values) v = 1 / v;
  return values;
}
std::vector<double> negative(std::vector<double> values) {
  for (double& v : values) v = -v;
  return values;
}

Data standard_scaler(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  std::vector<double> mean, scale;
  if (e.attr("with_mean").boolean(true)) mean = per_column(e, {"mean_"}, x);
  if (e.attr("with_std").boolean(true)) scale = per_column(e, {"scale_", "std_"}, x);
  return c.of(c.a.scale(x, negative(mean), inverse(scale)));
}

Data robust_scaler(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  std::vector<double> center, scale;
  if (e.attr("with_centering").boolean(true)) center = per_column(e, {"center_"}, x);
  if (e.attr("with_scaling").boolean(true)) scale = per_column(e, {"scale_"}, x);
  return c.of(c.a.scale(x, negative(center), inverse(scale)));
}

Data max_abs_scaler(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  Vec y = c.a.scale(x, {}, inverse(per_column(e, {"scale_"}, x)));
  if (e.attr("clip").boolean(false)) y = c.a.network(y, y.width, [](coreml::NetworkWriter& n, const std::string& v) { n.clip(v, -1, 1); });
  return c.of(y);
}

// X * scale + min
Data min_max_scaler(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  auto scale = per_column(e, {"scale_"}, x), low = per_column(e, {"min_"}, x);
  if (scale.empty() || low.empty()) e.fail("is not fitted");
  std::vector<double> shift;
  for (size_t i = 0; i < scale.size(); ++i) shift.push_back(low[i] / scale[i]);
  Vec y = c.a.scale(x, shift, scale);
  if (e.attr("clip").boolean(false)) {
    auto range = e.need("feature_range").numbers();
    if (range.size() != 2) e.fail("feature_range is damaged");
    y = c.a.network(y, y.width, [&](coreml::NetworkWriter& n, const std::string& v) { n.clip(v, static_cast<float>(range[0]), static_cast<float>(range[1])); });
  }
  return c.of(y);
}

Data normalizer(Context& c, const Node& e, const Data& data) {
  std::string norm = param(e, "norm", "l2");
  if (norm != "l1" && norm != "l2" && norm != "max") refuse("Normalizer with the norm " + norm);
  return c.of(c.a.normalize(c.vec(data), norm == "l1" ? Norm::kL1 : norm == "l2" ? Norm::kL2 : Norm::kMax));
}

Data binarizer(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  double threshold = e.need("threshold").number();
  TreeEnsembleParams steps;
  steps.outputs = static_cast<uint64_t>(x.width);
  for (uint64_t f = 0; f < steps.outputs; ++f) add_steps(steps, f, f, {threshold}, {{}, {{f, 1.0}}}, {}, true);
  return c.of(c.a.trees(x, steps));
}

bool is_nan(const Node& n) { return n.is_number() && std::isnan(n.number()); }

// Text columns: an empty string stands for what is missing, as Core ML's strings cannot be.
Data impute_text(Context& c, const Node& e, const Data& data, const Node& statistics) {
  if (e.attr("add_indicator").boolean(false)) refuse("SimpleImputer of text with add_indicator");
  Node missing = e.attr("missing_values");
  std::string lost = missing.is_text() && missing.text() != "NaN" ? missing.text() : "";
  if (lost.empty()) c.a.warn("an empty string stands for a missing value");
  auto values = statistics.list();
  if (static_cast<int64_t>(values.size()) != data.width() || !data.raw) statistics.fail("does not fit the features");
  for (size_t i = 0; i < values.size(); ++i) {
    std::string from = c.text_column(data, i);
    c.feature[data.columns[i]] = c.a.impute_string(from, values[i].text(), lost);
  }
  return data;
}

Data imputer(Context& c, const Node& e, const Data& data) {
  Node statistics = e.need("statistics_");
  if (strings(statistics)) return impute_text(c, e, data, statistics);
  Vec x = c.vec(data);
  auto values = statistics.numbers();
  if (static_cast<int64_t>(values.size()) != x.width) statistics.fail("does not fit the features");
  if (Node axis = e.attr("axis"); axis && axis.integer() != 0) refuse("Imputer along rows");
  Node missing = e.attr("missing_values");
  double lost = !missing || missing.is_text() || is_nan(missing) ? kNaN : missing.number();
  // Columns without any value were dropped, or are kept and filled with zero.
  std::vector<uint64_t> kept;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isnan(values[i])) kept.push_back(i);
    else if (e.attr("keep_empty_features").boolean(false)) refuse("SimpleImputer with keep_empty_features and an empty column");
  }
  if (kept.empty()) refuse("SimpleImputer of nothing but empty columns");
  std::vector<double> fill;
  for (uint64_t i : kept) fill.push_back(values[i]);
  Vec y = c.a.impute(c.a.extract(x, kept), fill, lost);
  if (!e.attr("add_indicator").boolean(false)) return c.of(y);
  auto columns = e.need("indicator_").need("features_").integers();
  if (columns.empty()) return c.of(y);
  TreeEnsembleParams flags;
  flags.outputs = columns.size();
  for (uint64_t i = 0; i < columns.size(); ++i) {
    if (columns[i] < 0 || columns[i] >= x.width) e.fail("indicator_ does not fit the features");
    auto f = static_cast<uint64_t>(columns[i]);
    if (std::isnan(lost)) add_steps(flags, i, f, {}, {{}}, {{i, 1.0}});
    else add_steps(flags, i, f, {lost, std::nextafter(lost, HUGE_VAL)}, {{}, {{i, 1.0}}, {}}, {});
  }
  return c.of(c.a.concat({y, c.a.trees(x, flags)}));
}

Data discretizer(Context& c, const Node& e, const Data& data) {
  if (int version = version_of(e); version < 10100) refuse("KBinsDiscretizer of a version before 1.1", "its bins have tolerances");
  Vec x = c.vec(data);
  auto edges = e.need("bin_edges_").list();
  std::string encode = param(e, "encode", "onehot");
  if (static_cast<int64_t>(edges.size()) != x.width) e.fail("bin_edges_ does not fit the features");
  TreeEnsembleParams steps;
  uint64_t next = 0;
  for (uint64_t f = 0; f < edges.size(); ++f) {
    auto bounds = edges[f].numbers();
    if (bounds.size() < 2 || !std::is_sorted(bounds.begin(), bounds.end())) edges[f].fail("is damaged");
    bounds.pop_back();
    bounds.erase(bounds.begin());
    std::vector<std::vector<std::pair<uint64_t, double>>> values;
    for (size_t i = 0; i <= bounds.size(); ++i) {
      if (encode == "ordinal") values.push_back({{f, static_cast<double>(i)}});
      else values.push_back({{next + i, 1.0}});
    }
    next += bounds.size() + 1;
    add_steps(steps, f, f, bounds, values, values.back());
  }
  steps.outputs = encode == "ordinal" ? edges.size() : next;
  return c.of(c.a.trees(x, steps));
}

// Products of columns, as products of linear maps that pick one column each (or 1).
Data polynomial(Context& c, const Node& e, const Data& data) {
  Vec x = c.vec(data);
  Node degree = e.need("degree");
  int64_t low = 0, high = 0;
  if (degree.is_sequence() && !degree.is_number()) {
    auto range = degree.integers();
    if (range.size() != 2) e.fail("degree is damaged");
    low = range[0];
    high = range[1];
  } else {
    high = degree.integer();
  }
  if (high < 1 || high > 6 || low < 0 || low > high) refuse("PolynomialFeatures of that degree");
  bool single = e.attr("interaction_only").boolean(false), bias = e.attr("include_bias").boolean(true);
  std::vector<std::vector<int64_t>> terms;
  if (bias) terms.push_back({});
  for (int64_t d = std::max<int64_t>(1, low); d <= high; ++d) {
    std::vector<int64_t> term;
    std::function<void(int64_t)> extend = [&](int64_t from) {
      if (static_cast<int64_t>(term.size()) == d) {
        terms.push_back(term);
        if (terms.size() > 100000) refuse("PolynomialFeatures with more than 100000 terms");
        return;
      }
      for (int64_t f = from; f < x.width; ++f) {
        term.push_back(f);
        extend(single ? f + 1 : f);
        term.pop_back();
      }
    };
    extend(0);
  }
  auto count = static_cast<int64_t>(terms.size());
  if (count * x.width > (1 << 26)) refuse("PolynomialFeatures of that size");
  if (count == 0) refuse("PolynomialFeatures of nothing");
  return c.of(c.a.network(x, count, [&](coreml::NetworkWriter& w, const std::string& in) {
    std::string y;
    for (int64_t factor = 0; factor < high; ++factor) {
      std::vector<float> weights(static_cast<size_t>(count * x.width), 0.0F), ones(static_cast<size_t>(count), 1.0F);
      for (size_t t = 0; t < terms.size(); ++t)
        if (factor < static_cast<int64_t>(terms[t].size())) {
          weights[t * static_cast<size_t>(x.width) + static_cast<size_t>(terms[t][static_cast<size_t>(factor)])] = 1;
          ones[t] = 0;
        }
      auto part = w.inner_product(in, x.width, count, weights, ones);
      y = y.empty() ? part : w.binary("multiply", y, part);
    }
  }));
}

Data pick(Context& c, const Data& data, const std::vector<bool>& mask) {
  std::vector<uint64_t> columns;
  for (size_t i = 0; i < mask.size(); ++i)
    if (mask[i]) columns.push_back(i);
  if (static_cast<int64_t>(mask.size()) != data.width() || columns.empty()) damaged("a selection of features does not fit them");
  return c.select(data, columns);
}

Data variance_threshold(Context& c, const Node& e, const Data& data) {
  double threshold = e.need("threshold").number();
  std::vector<bool> mask;
  for (double v : e.need("variances_").numbers()) mask.push_back(v > threshold);
  return pick(c, data, mask);
}

Data select_best(Context& c, const Node& e, const Data& data) {
  auto scores = e.need("scores_").numbers();
  std::vector<bool> mask(scores.size(), true);
  if (Node k = e.attr("k"); k && !k.is_text()) {
    for (double& s : scores)
      if (std::isnan(s)) s = std::numeric_limits<double>::lowest();
    std::vector<size_t> order(scores.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
    auto count = static_cast<size_t>(std::clamp<int64_t>(k.integer(), 0, static_cast<int64_t>(scores.size())));
    mask.assign(scores.size(), false);
    for (size_t i = scores.size() - count; i < scores.size(); ++i) mask[order[i]] = true;
  }
  return pick(c, data, mask);
}

Data by_support(Context& c, const Node& e, const Data& data) {
  std::vector<bool> mask;
  for (double v : e.need("support_").numbers()) mask.push_back(v != 0);
  return pick(c, data, mask);
}

constexpr Row kRows[] = {
    {"StandardScaler", standard_scaler}, {"RobustScaler", robust_scaler}, {"MaxAbsScaler", max_abs_scaler}, {"MinMaxScaler", min_max_scaler},
    {"Normalizer", normalizer}, {"Binarizer", binarizer}, {"SimpleImputer", imputer}, {"Imputer", imputer, nullptr, nullptr, "along columns"},
    {"KBinsDiscretizer", discretizer, nullptr, nullptr, "of 1.1 and newer"}, {"PolynomialFeatures", polynomial}, {"VarianceThreshold", variance_threshold},
    {"SelectKBest", select_best}, {"RFE", by_support}, {"RFECV", by_support},
};

}  // namespace

std::span<const Row> families::scaling() { return kRows; }

}  // namespace mlt::foreign::sklearn
