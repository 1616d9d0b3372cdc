// Classic learners: the small models of testdata/learners and those of the corpus against what their libraries predicted.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/convert/learners/assembly.h"
#include "lib/convert/pickle/pickle.h"
#include "lib/convert/xgboost/ubjson.h"
#include "lib/coreml/validate.h"
#include "lib/runtime/predictor.h"
#include "tests/unit/corpus.h"

using namespace mlt;

namespace {

using Row = std::vector<double>;
using Table = std::vector<Row>;

std::string testdata(const std::string& name) { return std::string(MLT_SOURCE_DIR) + "/testdata/learners/" + name; }

Result<foreign::LearnedModel> convert_bytes(const Blob& bytes, const foreign::LearnerOptions& options = {}) {
  const foreign::Learner* learner = foreign::find_learner("", bytes.bytes());
  if (learner == nullptr) return input_error("no format");
  return learner->convert(bytes, options);
}

struct Running {
  std::unique_ptr<Predictor> predictor;
  coreml::Description description;
};

Running load(const std::string& path) {
  auto bytes = map_file(path);
  REQUIRE_MESSAGE(bytes.ok(), path);
  auto learned = convert_bytes(*bytes);
  REQUIRE_MESSAGE(learned.ok(), path << ": " << learned.error().to_string());
  for (const auto& finding : coreml::validate(learned->model)) CHECK_MESSAGE(finding.severity != coreml::Severity::kError, path << ": " << finding.message);
  Running r;
  r.description = learned->model.description();
  auto file = learned->model.serialize();
  REQUIRE(file.ok());
  auto opened = open_memory(Blob(std::move(*file)), "m.mlmodel");
  REQUIRE(opened.ok());
  auto predictor = Predictor::create(*opened);
  REQUIRE_MESSAGE(predictor.ok(), path << ": " << predictor.error().to_string());
  r.predictor = std::move(*predictor);
  return r;
}

FeatureMap predict(Running& r, const Row& row) {
  FeatureMap in{{"input", Tensor::from<double>({static_cast<int64_t>(row.size())}, row)}};
  auto out = r.predictor->predict(in);
  REQUIRE_MESSAGE(out.ok(), out.error().to_string());
  return *out;
}

// All numbers of a prediction: of the array or number, or the probabilities in the order of their labels.
Row numbers(const FeatureMap& out) {
  Row values;
  for (const auto& [name, value] : out) {
    if (const auto* dict = std::get_if<StringDict>(&value))
      for (const auto& [key, p] : *dict) values.push_back(p);
    if (const auto* dict = std::get_if<IntDict>(&value))
      for (const auto& [key, p] : *dict) values.push_back(p);
    if (const auto* d = std::get_if<double>(&value)) values.push_back(*d);
    if (const auto* t = std::get_if<Tensor>(&value)) values = to_doubles(*t);
  }
  return values;
}

void check_close(const Row& got, const Row& want, double tolerance, const std::string& where) {
  REQUIRE_MESSAGE(got.size() == want.size(), where);
  for (size_t i = 0; i < got.size(); ++i) CHECK_MESSAGE(std::abs(got[i] - want[i]) <= tolerance * std::max(1.0, std::abs(want[i])), where << ": " << got[i] << " instead of " << want[i]);
}

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) lines.push_back(line);
  return lines;
}

Row split(std::string line) {
  for (char& c : line)
    if (c == ',' || c == '\t') c = ' ';
  std::istringstream in(line);
  Row row;
  for (std::string word; in >> word;) row.push_back(std::stod(word));
  return row;
}

// LIBSVM's sparse rows; what is absent is `absent`.
Table sparse_rows(const std::string& path, size_t width, size_t first, double absent) {
  Table rows;
  for (const std::string& line : lines_of(path)) {
    std::istringstream in(line);
    std::string word;
    in >> word;
    Row row(width, absent);
    while (in >> word) {
      size_t colon = word.find(':'), at = std::stoul(word.substr(0, colon)) - first;
      if (at < width) row[at] = std::stod(word.substr(colon + 1));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Table dense_rows(const std::string& path, size_t skip) {
  Table rows;
  for (const std::string& line : lines_of(path)) {
    Row row = split(line);
    row.erase(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(skip));
    rows.push_back(std::move(row));
  }
  return rows;
}

size_t width_of(const Running& r) { return static_cast<size_t>(r.description.inputs.at(0).type.array.shape.at(0)); }

}  // namespace

TEST_CASE("learners: small models give what their libraries give") {
  std::ifstream in(testdata("rows.json"));
  auto expected = nlohmann::json::parse(in);
  auto rows = expected["rows"].get<Table>();
  for (const auto& model : expected["models"].items()) {
    const auto& name = model.key();
    const auto& want = model.value();
    CAPTURE(name);
    Running r = load(testdata(name));
    for (size_t i = 0; i < rows.size(); ++i) {
      FeatureMap out = predict(r, rows[i]);
      if (want.contains("label")) {
        const auto& label = want["label"][i];
        if (label.is_string()) CHECK(std::get<std::string>(out.at("classLabel")) == label.get<std::string>());
        else CHECK(std::get<int64_t>(out.at("classLabel")) == label.get<int64_t>());
      }
      if (want.contains("probabilities")) check_close(numbers(out), want["probabilities"][i].get<Row>(), 1e-5, name);
      if (want.contains("value")) check_close(numbers(out), want["value"][i].get<Row>(), 1e-5, name);
    }
  }
}

TEST_CASE("learners: what runs code is refused by name") {
  auto bytes = map_file(testdata("runs.pickle"));
  REQUIRE(bytes.ok());
  auto result = convert_bytes(*bytes);
  REQUIRE(!result.ok());
  CHECK(result.error().code == Code::kInput);
  CHECK(result.error().message == "refused: the pickle would run os.system");
  auto text = [](std::string_view s) { return convert_bytes(Blob(Bytes(as_bytes(s).begin(), as_bytes(s).end()))); };
  auto evaluated = text("c__builtin__\neval\n(S'1+1'\ntR.");
  REQUIRE(!evaluated.ok());
  CHECK(evaluated.error().message == "refused: the pickle would run __builtin__.eval");
  auto own = text("cmine\nfunction\n(I1\ntR.");  // not known to be harmful, not known to be data
  REQUIRE(!own.ok());
  CHECK(own.error().message == "refused: the pickle would run mine.function");
  auto unknown = text("ccopy_reg\n_reconstructor\n(cmine\nEstimator\nc__builtin__\nobject\nNtR.");
  REQUIRE(!unknown.ok());
  CHECK(unknown.error().code == Code::kUnsupported);
  CHECK(unknown.error().message == "unknown class: mine.Estimator");
}

TEST_CASE("learners: every truncation is an error, none a crash") {
  for (const char* name : {"tree.pickle0", "logistic.pickle2", "histogram.pickle5", "forest.joblib", "pipeline.zlib.joblib", "xgboost.ubj", "xgboost.json", "lightgbm.txt", "lightgbm.json", "libsvm.model"}) {
    CAPTURE(name);
    auto bytes = map_file(testdata(name));
    REQUIRE(bytes.ok());
    size_t converted = 0;
    for (size_t size = 0; size + 2 < bytes->size(); size += 7) {
      auto result = convert_bytes(bytes->sub(0, size));
      if (result.ok()) ++converted;
      else CHECK(result.error().code != Code::kUsage);
    }
    // Of text, the last number may be cut, or what follows the trees.
    std::string format = name;
    if (format != "libsvm.model" && format != "lightgbm.txt") CHECK(converted == 0);
    else CHECK(converted < bytes->size() / 14);
  }
}

TEST_CASE("learners: names of features and outputs, labels") {
  auto bytes = map_file(testdata("logistic.pickle2"));
  REQUIRE(bytes.ok());
  foreign::LearnerOptions options;
  options.feature_names = {"u", "v", "w"};
  options.output_names = {{"classLabel", "kind"}, {"", "shares"}};
  options.labels.emplace();
  options.labels->strings = {"x", "y", "z"};
  auto learned = convert_bytes(*bytes, options);
  REQUIRE_MESSAGE(learned.ok(), learned.error().to_string());
  const coreml::Description& d = learned->model.description();
  REQUIRE(d.inputs.size() == 3);
  CHECK(d.inputs[1].name == "v");
  CHECK(d.inputs[1].type.kind == coreml::FeatureKind::kDouble);
  CHECK(d.predicted_feature_name == "kind");
  CHECK(d.predicted_probabilities_name == "shares");
  CHECK(learned->model.class_labels().strings == std::vector<std::string>{"x", "y", "z"});
  options.feature_names.pop_back();
  CHECK(convert_bytes(*bytes, options).error().code == Code::kUsage);
  options.feature_names.clear();
  options.output_names = {{"nothing", "x"}};
  CHECK(convert_bytes(*bytes, options).error().code == Code::kUsage);
}

TEST_CASE("learners: thresholds decide as float32 does") {
  auto check = [](double x, float t) {
    CHECK((x <= foreign::le_float(static_cast<double>(t))) == (static_cast<float>(x) <= t));
    CHECK((x < foreign::lt_float(t)) == (static_cast<float>(x) < t));
  };
  for (float t : {0.0F, -0.0F, 1.0F, -1.0F, 0.1F, 3.3333333F, 1e-45F, -1e-45F, 1.17549435e-38F, 1e30F, -1e30F, 3.4028234e38F, -3.4028234e38F})
    for (float neighbour : {std::nextafter(t, -INFINITY), t, std::nextafter(t, INFINITY)})
      for (double toward : {-INFINITY, INFINITY}) {
        float other = std::nextafter(neighbour, static_cast<float>(toward));
        double middle = (static_cast<double>(neighbour) + static_cast<double>(other)) / 2;
        if (!std::isfinite(middle)) continue;
        for (double x : {static_cast<double>(neighbour), middle, std::nextafter(middle, -HUGE_VAL), std::nextafter(middle, HUGE_VAL)}) check(x, t);
      }
  // Thresholds that no float32 is: those of scikit-learn.
  for (double t : {0.1, 1.0 / 3, -2.7, 16777217.0})
    for (float x : {static_cast<float>(t), std::nextafter(static_cast<float>(t), -INFINITY), std::nextafter(static_cast<float>(t), INFINITY)})
      CHECK((static_cast<double>(x) <= foreign::le_float(t)) == (static_cast<double>(x) <= t));
}

TEST_CASE("learners: UBJSON does not promise memory that is not there") {
  using namespace std::literals;
  for (std::string_view text : {"[$Z#l\x7f\xff\xff\xff"sv, "[$U#l\x7f\xff\xff\xff"sv, "[#l\x7f\xff\xff\xff"sv, "{#L\x7f\xff\xff\xff\xff\xff\xff\xff"sv, "[[[["sv, "{i"sv, ""sv})
    CHECK(!foreign::xgboost::read_ubjson(as_bytes(text)).ok());
  CHECK(!foreign::xgboost::read_ubjson(as_bytes(std::string(100000, '['))).ok());
}

TEST_CASE("learners: recorded predictions of the corpus") {
  std::string root = test::corpus_dir();
  if (root.empty()) {
    MESSAGE("skipped: no corpus (set MLT_CORPUS)");
    return;
  }
  const double nan = std::nan("");
  auto probability = [](const FeatureMap& out, int64_t label) { return std::get<IntDict>(out.at("classProbability")).at(label); };
  auto expected = [&](const std::string& name) { return dense_rows(root + "/" + name, 0); };
  {
    Running r = load(root + "/xgboost/dmitryikh__xgagaricus.model");
    auto rows = sparse_rows(root + "/xgboost/dmitryikh__agaricus_test.libsvm", width_of(r), 0, nan);
    auto want = expected("xgboost/dmitryikh__xgagaricus_true_predictions.txt");
    REQUIRE(rows.size() == want.size());
    for (size_t i = 0; i < rows.size(); ++i) check_close({probability(predict(r, rows[i]), 1)}, want[i], 1e-5, "xgagaricus");
  }
  {
    Running r = load(root + "/xgboost/dmitryikh__xgblin_agaricus.model");
    auto rows = sparse_rows(root + "/xgboost/dmitryikh__agaricus_test.libsvm", width_of(r), 0, nan);
    auto want = expected("xgboost/dmitryikh__xgblin_agaricus_true_predictions.txt");
    REQUIRE(rows.size() == want.size());
    for (size_t i = 0; i < rows.size(); ++i) check_close({probability(predict(r, rows[i]), 1)}, want[i], 1e-5, "xgblin_agaricus");
  }
  for (std::string name : {"gbtree_v47_binary-logistic", "gbtree_v47_multi-softprob", "gblinear_v47_multi-softprob"}) {
    Running r = load(root + "/xgboost/komiya-atsushi__xp_" + name + ".model");
    auto rows = sparse_rows(root + "/xgboost/komiya-atsushi__agaricus.txt.0.test", width_of(r), 0, nan);
    auto want = expected("xgboost/komiya-atsushi__xp_" + name + ".predict");
    REQUIRE(rows.size() == want.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      Row got = numbers(predict(r, rows[i]));
      if (want[i].size() == 1) got.erase(got.begin());
      check_close(got, want[i], 1e-5, name);
    }
  }
  {
    Running r = load(root + "/lightgbm/dmitryikh__lgmulticlass.model");
    auto rows = dense_rows(root + "/lightgbm/dmitryikh__multiclass_test.tsv", 1);
    auto want = expected("lightgbm/dmitryikh__lgmulticlass_true_predictions.txt");
    REQUIRE(rows.size() == want.size());
    for (size_t i = 0; i < rows.size(); ++i) check_close(numbers(predict(r, rows[i])), want[i], 1e-9, "lgmulticlass");
  }
  {
    Running r = load(root + "/lightgbm/dmitryikh__genlin_fmtp_poisson_Frequency.model");
    auto rows = dense_rows(root + "/lightgbm/dmitryikh__genlin_fmtp_poisson_Frequency_features.tsv", 0);
    auto want = expected("lightgbm/dmitryikh__genlin_fmtp_poisson_Frequency_true_predictions.txt");
    REQUIRE(rows.size() == want.size());
    for (size_t i = 0; i < rows.size(); ++i) check_close(numbers(predict(r, rows[i])), want[i], 1e-5, "poisson");
  }
  {
    Running r = load(root + "/lightgbm/dmlc__toy_categorical_model.txt");
    auto rows = sparse_rows(root + "/lightgbm/dmlc__toy_categorical.test", width_of(r), 0, nan);
    auto want = expected("lightgbm/dmlc__toy_categorical.test.pred");
    REQUIRE(rows.size() == want.size());
    for (size_t i = 0; i < rows.size(); ++i) check_close(numbers(predict(r, rows[i])), want[i], 1e-9, "toy_categorical");
  }
  {
    Running r = load(root + "/sklearn/dmitryikh__sk_gradient_boosting_classifier.model");
    auto rows = sparse_rows(root + "/sklearn/dmitryikh__sk_gradient_boosting_classifier_test.libsvm", width_of(r), 0, 0.0);
    auto want = expected("sklearn/dmitryikh__sk_gradient_boosting_classifier_true_predictions.txt");
    REQUIRE(rows.size() == want.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      Row p = numbers(predict(r, rows[i]));
      check_close({std::log(p.at(1) / p.at(0))}, want[i], 1e-6, "sk_gradient_boosting_classifier");
    }
  }
  for (std::string name : {"csvc_linear_prob", "csvc_rbf", "csvc_poly", "epssvr_rbf"}) {
    Running r = load(root + "/libsvm/libsvm__" + name + ".model");
    auto rows = sparse_rows(root + "/libsvm/cjlin1__heart_scale", width_of(r), 1, 0.0);
    auto lines = lines_of(root + "/libsvm/libsvm__" + name + ".predict");
    if (lines.at(0).starts_with("labels")) lines.erase(lines.begin());
    REQUIRE(rows.size() == lines.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      Row want = split(lines[i]);
      FeatureMap out = predict(r, rows[i]);
      if (name == "epssvr_rbf") {
        check_close(numbers(out), want, 1e-5, name);
        continue;
      }
      CHECK(std::get<int64_t>(out.at("classLabel")) == static_cast<int64_t>(want[0]));
      if (want.size() == 3) check_close({probability(out, 1)}, {want[1]}, 1e-5, name);
    }
  }
  for (const char* name : {"sklearn/dmitryikh__decision_tree_regressor.pickle0", "sklearn/heoblitz__RSSI_knn.pkl", "sklearn/microsoft__scikit_LinearRegression_sklearn_load_boston.pkl",
                           "sklearn/olmaditekrar__iris.pkl", "xgboost/dmlc__mushroom.model", "xgboost/improve-ai__dummy_v6.xgb", "xgboost/improve-ai__syn_a_z.xgb", "lightgbm/dmitryikh__lg_1tree.json",
                           "lightgbm/dmitryikh__lg_breast_cancer.txt", "lightgbm/dmitryikh__model_simple.txt"})
    load(root + "/" + name);
}
