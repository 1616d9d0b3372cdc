#include "lib/convert/sklearn/sklearn.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "lib/convert/lightgbm/booster.h"
#include "lib/convert/sklearn/context.h"
#include "lib/convert/xgboost/convert.h"

namespace mlt::foreign::sklearn {
namespace {

std::vector<Row> all_rows() {
  std::vector<Row> rows;
  for (auto family : {families::linear, families::trees, families::boosting, families::svm, families::neighbors, families::bayes, families::neural, families::scaling, families::encoding,
                      families::decomposition, families::compose})
    for (const Row& row : family()) rows.push_back(row);
  return rows;
}

const std::vector<Row>& table() {
  static const std::vector<Row> rows = all_rows();
  return rows;
}

// Number of columns that an estimator reads; 0 when nothing tells.
int64_t width_of(const Node& e, int depth = 0) {
  if (depth > 32) refuse("steps that nest more than 32 deep");
  for (std::string_view name : {"n_features_in_", "n_features_", "n_features", "_n_features"})
    if (Node n = e.attr(name); n && n.is_number()) return n.integer();
  for (std::string_view name : {"coef_", "support_vectors_", "_fit_X", "theta_", "feature_log_prob_", "components_", "centroids_", "means_"})
    if (Node n = e.attr(name); n && (n.kind() == pickle::Kind::kArray || n.kind() == pickle::Kind::kObject) && n.element_kind() != 'O') return matrix_of(n).columns;
  for (std::string_view name : {"scale_", "mean_", "statistics_", "center_", "categories_"})
    if (Node n = e.attr(name); n && n.is_sequence()) return static_cast<int64_t>(n.size());
  if (Node tree = e.attr("tree_"); tree) return tree.argument(0).integer();
  for (const Node& part : parts_of(e))
    if (int64_t n = width_of(part, depth + 1); n > 0) return n;
  return 0;
}

Node names_of(const Node& e, int depth = 0) {
  if (depth > 32) return {};
  if (Node n = e.attr("feature_names_in_"); n) return n;
  if (e.short_class() == "Pipeline")
    for (const auto& [name, step] : steps_of(e)) return names_of(step, depth + 1);
  return {};
}

// Steps that read text make every column an input of its own. All classes that are not known are listed at once.
void look_through(const Node& e, bool* text, std::set<std::string>* missing, int depth) {
  if (depth > 32) refuse("steps that nest more than 32 deep");
  if (e.is_text() || !e) return;  // "passthrough", "drop"
  if (find_row(e) == nullptr) {
    missing->insert(e.class_name().empty() ? "a value that is no estimator" : e.class_name());
    return;
  }
  for (std::string_view name : {"categories_", "statistics_", "classes_"}) {
    std::string cls = e.short_class();
    if (cls != "OneHotEncoder" && cls != "OrdinalEncoder" && cls != "SimpleImputer" && cls != "LabelEncoder") break;
    Node list = e.attr(name);
    if (!list || !list.is_sequence()) continue;
    if (name != "categories_") {
      *text = *text || strings(list);
      continue;
    }
    for (const Node& categories : list.list()) *text = *text || strings(categories);
  }
  if (Node inner = e.attr("_preprocessor"); inner) look_through(inner, text, missing, depth + 1);
  for (const Node& part : parts_of(e)) look_through(part, text, missing, depth + 1);
}

// Estimators of other libraries with scikit-learn's interface hold the library's own model.
std::optional<LearnedModel> wrapped(const Node& e, const LearnerOptions& options) {
  std::string cls = e.class_name();
  bool xgb = cls.starts_with("xgboost."), lgb = cls.starts_with("lightgbm.");
  if (!xgb && !lgb) return std::nullopt;
  Node booster = e.short_class() == "Booster" ? e : e.attr("_Booster");
  if (!booster) e.fail("it is not fitted");
  std::optional<mlt::Labels> labels;
  bool classifier = e.short_class().find("Classifier") != std::string::npos;
  Node classes = e.first_of({"classes_", "_classes"});
  if (classifier && classes && classes.is_sequence()) labels = labels_of(classes);
  if (xgb) {
    Node handle = booster.need("handle");
    if (!handle.is_text()) refuse("an xgboost booster without its model in the pickle");
    return xgboost::convert_booster(xgboost::read_booster(as_bytes(handle.value().text)), options, labels);
  }
  Node handle = booster.first_of({"handle", "_handle"});
  if (!handle || !handle.is_text()) refuse("a lightgbm booster without its model in the pickle");
  return lightgbm::convert_booster(lightgbm::read_text(handle.value().text), options, labels);
}

LearnedModel convert(const pickle::Document& document, const LearnerOptions& options) {
  Node e(document, document.root());
  // Results of searches: the best estimator.
  for (int i = 0; i < 4 && e.attr("best_estimator_"); ++i) e = e.attr("best_estimator_");
  if (e.kind() == pickle::Kind::kDict || e.kind() == pickle::Kind::kList || e.kind() == pickle::Kind::kTuple)
    refuse("a pickle of several values", "pickle one estimator or pipeline by itself");
  if (e.kind() != pickle::Kind::kObject) refuse("a pickle that holds no estimator");
  if (auto done = wrapped(e, options)) return std::move(*done);

  bool text = false;
  std::set<std::string> missing;
  look_through(e, &text, &missing, 0);
  if (!missing.empty()) {
    std::string list;
    for (const std::string& name : missing) list += (list.empty() ? "" : ", ") + name;
    refuse((missing.size() == 1 ? "unknown class: " : "unknown classes: ") + list, "mlconvert --list-ops names the classes that can be converted");
  }

  // HistGradientBoosting reads NaN as missing; so do trees since 1.3.
  Assembly a(options, true);
  Context c{a, {}, false, {}, {}};
  Node first = e;
  while (first.short_class() == "Pipeline" && !steps_of(first).empty()) first = steps_of(first)[0].second;
  if (first.short_class() == "DictVectorizer") {
    c.by_column = true;
    c.names = {"input"};
    c.feature = {""};
  } else {
    int64_t width = width_of(e);
    if (width <= 0 || width > (1 << 24)) refuse("an estimator that does not say how many features it reads");
    Node found = names_of(e);
    std::vector<std::string> names = found && found.is_sequence() ? found.texts() : std::vector<std::string>{};
    if (!names.empty() && static_cast<int64_t>(names.size()) != width) found.fail("it does not fit the number of features");
    c.by_column = text;
    if (!text) {
      c.whole = a.numbers(width, names);
      c.names = names;
    } else {
      c.names = !options.feature_names.empty() ? options.feature_names : names;
      if (c.names.empty())
        for (int64_t i = 0; i < width; ++i) c.names.push_back(fmt::format("f{}", i));
      if (static_cast<int64_t>(c.names.size()) != width) throw LearnError{usage_error(fmt::format("{} feature names, but the model has {} features", c.names.size(), width))};
      if (options.feature_names.empty()) a.warn("some columns are strings: each column is an input of its own, by name");
      c.feature.assign(static_cast<size_t>(width), "");
    }
    c.names.resize(static_cast<size_t>(width));
  }
  Data x;
  x.raw = true;
  for (size_t i = 0; i < c.names.size(); ++i) x.columns.push_back(i);

  // A pipeline's last step decides; nested pipelines count as one.
  Node last = e;
  while (last.short_class() == "Pipeline") {
    auto steps = steps_of(last);
    if (steps.empty()) last.fail("a pipeline without steps");
    for (size_t i = 0; i + 1 < steps.size(); ++i) x = transform(c, steps[i].second, x);
    last = steps.back().second;
  }
  const Row* row = find_row(last);
  if (row && row->classify) classify(c, last, x);
  else if (row && row->regress) a.regression(regress(c, last, x));
  else a.transformation(c.vec(transform(c, last, x)));
  if (c.by_column) a.order_inputs(c.names);
  int version = version_of(e);
  std::string text_version = version ? fmt::format(" (scikit-learn {}.{}.{})", version / 10000, version / 100 % 100, version % 100) : "";
  return a.finish("scikit-learn " + (e.short_class() == "Pipeline" && last.short_class() != "" ? "Pipeline with " + last.short_class() : e.short_class()) + text_version);
}

}  // namespace

bool looks_like_sklearn(ByteSpan bytes) { return pickle::looks_like_pickle(bytes); }

Result<LearnedModel> convert_sklearn(const Blob& bytes, const LearnerOptions& options) {
  MLT_ASSIGN(pickle::Document document, pickle::Document::read(bytes));
  return run_learner([&] { return convert(document, options); });
}

void add_coverage(std::vector<LearnerCoverage>& list) {
  for (const Row& row : table())
    if (row.name != "Booster") list.push_back({"sklearn", row.name, row.note});
  list.push_back({"sklearn", "XGBClassifier, XGBRegressor, XGBRanker", "as the booster inside"});
  list.push_back({"sklearn", "LGBMClassifier, LGBMRegressor, LGBMRanker", "as the booster inside"});
}

const Row* find_row(const Node& e) {
  std::string cls = e.class_name();
  if (!cls.starts_with("sklearn.") && !cls.starts_with("sklearn_")) return nullptr;
  std::string name = e.short_class();
  for (const Row& row : table())
    if (row.name == name) return &row;
  return nullptr;
}

void unknown(const Node& e) {
  std::string name = e.class_name();
  refuse("unknown class: " + (name.empty() ? std::string("a value that is no estimator") : name), "mlconvert --list-ops names the classes that can be converted");
}

Data transform(Context& c, const Node& e, const Data& x) {
  if (!e || (e.is_text() && e.text() == "passthrough")) return x;
  const Row* row = find_row(e);
  if (row == nullptr) unknown(e);
  if (row->transform == nullptr) refuse(std::string(row->name) + " as a step before the last");
  return row->transform(c, e, x);
}

Vec regress(Context& c, const Node& e, const Data& x) {
  const Row* row = find_row(e);
  if (row == nullptr) unknown(e);
  if (row->regress == nullptr) refuse(std::string(row->name) + " where a regressor is needed");
  return row->regress(c, e, x);
}

void classify(Context& c, const Node& e, const Data& x) {
  const Row* row = find_row(e);
  if (row == nullptr) unknown(e);
  if (row->classify == nullptr) refuse(std::string(row->name) + " where a classifier is needed");
  row->classify(c, e, x);
}

Vec Context::vec(const Data& x) {
  if (!x.raw) return x.vec;
  std::vector<uint64_t> indices(x.columns.begin(), x.columns.end());
  if (!by_column) {
    bool all = indices.size() == static_cast<size_t>(whole.width);
    for (size_t i = 0; i < indices.size(); ++i) all = all && indices[i] == i;
    return all ? whole : a.extract(whole, indices);
  }
  std::vector<std::string> features;
  for (size_t i : x.columns) {
    if (!feature[i].empty()) refuse("the column \"" + names[i] + "\" as text and as a number");
    features.push_back(a.input(names[i], coreml::FeatureType::float64()));
  }
  return a.vectorize(features);
}

std::string Context::text_column(const Data& x, size_t i) {
  if (!x.raw || !by_column) refuse("text from an earlier step");
  size_t column = x.columns.at(i);
  if (!feature[column].empty()) return feature[column];
  return a.input(names[column], coreml::FeatureType::string());
}

Data Context::select(const Data& x, const std::vector<uint64_t>& wanted) {
  if (!x.raw) return of(a.extract(x.vec, wanted));
  Data out;
  out.raw = true;
  for (uint64_t i : wanted) {
    if (i >= x.columns.size()) damaged(fmt::format("a step reads column {} of {}", i, x.columns.size()));
    out.columns.push_back(x.columns[i]);
  }
  return out;
}

int version_of(const Node& e) {
  Node v = e.attr("_sklearn_version");
  if (!v || !v.is_text()) return 0;
  std::string text = v.text();
  int parts[3] = {0, 0, 0};
  const char* at = text.data();
  const char* end = at + text.size();
  for (int& part : parts) {
    auto [next, code] = std::from_chars(at, end, part);
    if (code != std::errc() || part < 0 || part > 99) break;
    at = next;
    if (at == end || *at != '.') break;
    ++at;
  }
  return parts[0] * 10000 + parts[1] * 100 + parts[2];
}

bool strings(const Node& list) {
  char kind = list.element_kind();
  if (kind == 'U' || kind == 'S') return true;
  if (kind != 'O') return false;
  for (const Node& item : list.list())
    if (item.is_text()) return true;
  return false;
}

Node classes_of(const Node& e) {
  if (Node own = e.attr("classes_"); own) return own;
  for (std::string_view name : {"_label_binarizer", "label_binarizer_", "_le"})
    if (Node inner = e.attr(name); inner && inner.attr("classes_")) return inner.attr("classes_");
  return e.need("classes_");
}

mlt::Labels labels_of(const Node& classes) {
  mlt::Labels labels;
  if (classes.kind() == pickle::Kind::kList || (classes.kind() == pickle::Kind::kArray && classes.shape().size() > 1)) {
    if (classes.kind() != pickle::Kind::kList || (classes.size() > 0 && classes.at(0).is_sequence() && !classes.at(0).is_text() && !classes.at(0).is_number()))
      refuse("a classifier with several outputs (multi-label)");
  }
  if (strings(classes)) {
    labels.strings = classes.texts();
    return labels;
  }
  std::vector<double> numbers = classes.numbers();
  bool whole = std::all_of(numbers.begin(), numbers.end(), [](double d) { return d == std::floor(d) && std::abs(d) < 9e15; });
  if (whole) {
    labels.integers = true;
    labels.ints = classes.element_kind() == 'i' ? classes.integers() : std::vector<int64_t>(numbers.begin(), numbers.end());
  } else {
    for (double d : numbers) labels.strings.push_back(fmt::format("{}", d));
  }
  return labels;
}

std::string param(const Node& e, std::string_view name, std::string_view otherwise) {
  Node n = e.attr(name);
  if (!n.present()) return std::string(otherwise);
  if (!n) return "None";
  return n.is_text() ? n.text() : std::string("?");
}

Matrix matrix_of(const Node& node) {
  Matrix m;
  std::string cls = node.short_class();
  if (node.kind() == pickle::Kind::kObject && (cls.starts_with("csr") || cls.starts_with("csc"))) {
    auto shape = node.first_of({"_shape", "shape"}).integers();
    auto data = node.need("data").numbers();
    auto indices = node.need("indices").integers(), pointers = node.need("indptr").integers();
    if (shape.size() != 2 || shape[0] < 0 || shape[1] < 0 || shape[0] > (1 << 26) || shape[1] > (1 << 26) || shape[0] * shape[1] > (int64_t{1} << 27)) node.fail("a sparse matrix that is too large");
    m.rows = shape[0];
    m.columns = shape[1];
    m.data.assign(static_cast<size_t>(m.rows * m.columns), 0.0);
    bool by_row = cls.starts_with("csr");
    int64_t major = by_row ? m.rows : m.columns, minor = by_row ? m.columns : m.rows;
    if (static_cast<int64_t>(pointers.size()) != major + 1 || indices.size() != data.size()) node.fail("a sparse matrix that is damaged");
    for (int64_t i = 0; i < major; ++i)
      for (int64_t at = pointers[static_cast<size_t>(i)]; at < pointers[static_cast<size_t>(i) + 1]; ++at) {
        if (at < 0 || at >= static_cast<int64_t>(data.size()) || indices[static_cast<size_t>(at)] < 0 || indices[static_cast<size_t>(at)] >= minor) node.fail("a sparse matrix that is damaged");
        int64_t j = indices[static_cast<size_t>(at)];
        m.data[static_cast<size_t>(by_row ? i * m.columns + j : j * m.columns + i)] += data[static_cast<size_t>(at)];
      }
    return m;
  }
  Dims shape = node.shape();
  m.data = node.numbers();
  if (shape.size() == 2) {
    m.rows = shape[0];
    m.columns = shape[1];
  } else if (shape.size() == 1) {
    m.rows = 1;
    m.columns = shape[0];
  } else if (shape.empty()) {
    m.rows = m.columns = 1;
  } else {
    node.fail("has more than two axes");
  }
  if (static_cast<uint64_t>(m.rows) * static_cast<uint64_t>(m.columns) != m.data.size()) node.fail("is damaged");
  return m;
}

std::vector<std::pair<std::string, Node>> steps_of(const Node& pipeline) {
  std::vector<std::pair<std::string, Node>> out;
  for (const Node& step : pipeline.need("steps").list()) {
    if (!step.is_sequence() || step.size() < 2) step.fail("a step is damaged");
    out.emplace_back(step.at(0).is_text() ? step.at(0).text() : "", step.at(1));
  }
  return out;
}

std::vector<Node> parts_of(const Node& e) {
  std::vector<Node> out;
  std::string cls = e.short_class();
  if (cls == "Pipeline") {
    for (auto& [name, step] : steps_of(e)) out.push_back(step);
  } else if (cls == "ColumnTransformer") {
    for (const Node& item : e.need("transformers_").list()) {
      if (!item.is_sequence() || item.size() < 3) item.fail("a transformer is damaged");
      if (item.at(2).is_sequence() && !item.at(2).is_text() && item.at(2).size() == 0) continue;  // of no columns: not fitted
      out.push_back(item.at(1));
    }
  } else if (cls == "FeatureUnion") {
    for (const Node& item : e.need("transformer_list").list()) {
      if (!item.is_sequence() || item.size() < 2) item.fail("a transformer is damaged");
      out.push_back(item.at(1));
    }
  } else if (cls == "MultiOutputRegressor" || cls == "VotingRegressor" || cls == "StackingRegressor" || cls.starts_with("Bagging") || cls.starts_with("AdaBoost")) {
    for (const Node& part : e.need("estimators_").list()) out.push_back(part);
    if (Node final = e.attr("final_estimator_"); final) out.push_back(final);
  } else if (cls == "RANSACRegressor") {
    out.push_back(e.need("estimator_"));
  } else if (cls == "TransformedTargetRegressor") {
    out.push_back(e.need("regressor_"));
  }
  return out;
}

}  // namespace mlt::foreign::sklearn
