// ONNX models of strings and dictionaries as Core ML's classic models, run.
#include <doctest/doctest.h>

#include <cmath>

#include "lib/convert/learners/learner.h"
#include "lib/coreml/validate.h"
#include "lib/runtime/predictor.h"
#include "tests/unit/convert/onnx_builder.h"

using namespace mlt;
namespace ob = onnx_builder;

namespace {

ob::Message ml(const std::string& op, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs, const std::vector<ob::Message>& attributes) {
  return ob::node(op, inputs, outputs, attributes).text(7, "ai.onnx.ml");
}

Result<foreign::LearnedModel> learned(const ob::Graph& g, const foreign::LearnerOptions& options = {}) {
  Blob bytes(ob::model(g, 17));
  const foreign::Learner* learner = foreign::find_learner("", bytes.bytes());
  REQUIRE(learner != nullptr);
  REQUIRE(learner->name == "onnx-ml");
  return learner->convert(bytes, options);
}

FeatureMap predict(const ob::Graph& g, const FeatureMap& in, const foreign::LearnerOptions& options = {}) {
  auto made = learned(g, options);
  REQUIRE_MESSAGE(made.ok(), made.error().to_string());
  for (const auto& finding : coreml::validate(made->model)) CHECK_MESSAGE(finding.severity != coreml::Severity::kError, finding.message);
  auto file = made->model.serialize();
  REQUIRE(file.ok());
  auto opened = open_memory(Blob(std::move(*file)), "m.mlmodel");
  REQUIRE(opened.ok());
  auto predictor = Predictor::create(*opened);
  REQUIRE_MESSAGE(predictor.ok(), predictor.error().to_string());
  auto out = (*predictor)->predict(in);
  REQUIRE_MESSAGE(out.ok(), out.error().to_string());
  return *out;
}

double number(const FeatureMap& out, const std::string& name) {
  const FeatureValue& value = out.at(name);
  if (const auto* d = std::get_if<double>(&value)) return *d;
  return to_doubles(std::get<Tensor>(value))[0];
}

// A dictionary input, which ob::value has no form for: TypeProto.map_type 5, key_type 1, value_type 2.
ob::Message dictionary(const std::string& name) {
  ob::Message element = ob::Message().message(1, ob::Message().varint(1, 1));
  return ob::Message().text(1, name).message(2, ob::Message().message(5, ob::Message().varint(1, 8).message(2, element)));
}

ob::Graph table(const std::string& op, const std::vector<ob::Message>& attributes) {
  ob::Graph g;
  g.nodes = {ml(op, {"word"}, {"code"}, attributes)};
  g.inputs = {ob::value("word", 8, {-1, 1})};
  g.outputs = {ob::value("code", 7, {-1, 1})};
  return g;
}

ob::Graph colours() {
  ob::Graph g;
  g.initializers = {ob::ints("second", {1}, {1})};
  g.nodes = {ob::node("Gather", {"words", "second"}, {"colour"}, {ob::attribute_int("axis", 1)}),
             ml("OneHotEncoder", {"colour"}, {"hot"}, {ob::attribute_strings("cats_strings", {"red", "green"}), ob::attribute_int("zeros", 1)}),
             ob::node("Reshape", {"hot", "flat"}, {"row"}),
             ml("Scaler", {"size"}, {"scaled"}, {ob::attribute_floats("offset", {10}), ob::attribute_floats("scale", {0.5f})}),
             ob::node("Concat", {"row", "scaled"}, {"x"}, {ob::attribute_int("axis", 1)})};
  g.initializers.push_back(ob::ints("flat", {2}, {-1, 2}));
  g.inputs = {ob::value("words", 8, {-1, 2}), ob::value("size", 1, {-1, 1})};
  return g;
}

}  // namespace

TEST_CASE("onnx-ml: strings become numbers by tables") {
  ob::Graph mapper = table("CategoryMapper", {ob::attribute_ints("cats_int64s", {7, 9}), ob::attribute_strings("cats_strings", {"a", "b"}), ob::attribute_int("default_int64", -3)});
  ob::Graph encoder = table("LabelEncoder", {ob::attribute_strings("keys_strings", {"a", "b"}), ob::attribute_floats("values_floats", {7, 9}), ob::attribute_float("default_float", -3)});
  for (const ob::Graph& g : {mapper, encoder})
    for (auto [word, code] : {std::pair<const char*, double>{"a", 7}, {"b", 9}, {"c", -3}}) CHECK(number(predict(g, {{"word", std::string(word)}}), "code") == code);
  CHECK(learned(table("LabelEncoder", {ob::attribute_strings("keys_strings", {"a"}), ob::attribute_floats("values_floats", {0.5f})})).error().code == Code::kUnsupported);
  CHECK(learned(table("LabelEncoder", {ob::attribute_strings("keys_strings", {"a", "b"}), ob::attribute_ints("values_int64s", {1})})).error().code == Code::kUnsupported);
}

TEST_CASE("onnx-ml: a dictionary by its keys") {
  ob::Graph g;
  g.nodes = {ml("DictVectorizer", {"d"}, {"row"}, {ob::attribute_strings("string_vocabulary", {"x", "y", "z"})})};
  g.inputs = {dictionary("d")};
  g.outputs = {ob::value("row", 1, {1, 3})};
  auto out = predict(g, {{"d", StringDict{{"z", 2.0}, {"x", 5.0}, {"else", 1.0}}}});
  CHECK(to_doubles(std::get<Tensor>(out.at("row"))) == std::vector<double>{5, 0, 2});
}

TEST_CASE("onnx-ml: words and numbers into a classifier of words") {
  ob::Graph g = colours();  // x: red, green, (size - 10) / 2
  g.nodes.push_back(ml("LinearClassifier", {"x"}, {"label", "scores"},
                       {ob::attribute_floats("coefficients", {1, 0, 0, 0, 1, 0, 0, 0, 1}), ob::attribute_floats("intercepts", {0, 0, 0}), ob::attribute_strings("classlabels_strings", {"rose", "leaf", "big"}), ob::attribute_string("post_transform", "SOFTMAX")}));
  g.nodes.push_back(ml("ZipMap", {"scores"}, {"p"}, {ob::attribute_strings("classlabels_strings", {"rose", "leaf", "big"})}));
  g.outputs = {ob::value("label", 8, {-1}), ob::value("p", 1, {})};
  auto classify = [&](const std::string& word, double size) { return predict(g, {{"words_0", std::string("any")}, {"words_1", word}, {"size", size}}); };
  CHECK(std::get<std::string>(classify("red", 10).at("label")) == "rose");
  CHECK(std::get<std::string>(classify("green", 10).at("label")) == "leaf");
  CHECK(std::get<std::string>(classify("blue", 14).at("label")) == "big");
  auto shares = std::get<StringDict>(classify("red", 10).at("p"));
  double e = std::exp(1.0);
  CHECK(shares.at("rose") == doctest::Approx(e / (e + 2)).epsilon(1e-6));
  CHECK(shares.at("big") == doctest::Approx(1 / (e + 2)).epsilon(1e-6));
  foreign::LearnerOptions renamed;
  renamed.output_names = {{"label", "what"}};
  auto out = predict(g, {{"words_0", std::string("any")}, {"words_1", std::string("red")}, {"size", 10.0}}, renamed);
  CHECK(out.contains("what"));
  CHECK(out.contains("p"));
}

TEST_CASE("onnx-ml: words and numbers into trees") {
  using ob::attribute_ints;
  std::vector<ob::Message> nodes = {attribute_ints("nodes_treeids", {0, 0, 0}), attribute_ints("nodes_nodeids", {0, 1, 2}), attribute_ints("nodes_featureids", {2, 0, 0}),
                                    attribute_ints("nodes_truenodeids", {1, 0, 0}), attribute_ints("nodes_falsenodeids", {2, 0, 0})};
  nodes.push_back(ob::attribute_floats("nodes_values", {0.5f, 0, 0}));
  for (const char* mode : {"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"}) {
    ob::Graph g = colours();
    std::vector<ob::Message> all = nodes;
    all.push_back(ob::attribute_strings("nodes_modes", {mode, "LEAF", "LEAF"}));
    std::vector<ob::Message> regressor = all, classifier = all;
    for (auto* list : {&regressor, &classifier}) {
      std::string prefix = list == &regressor ? "target" : "class";
      list->push_back(attribute_ints(prefix + "_treeids", {0, 0}));
      list->push_back(attribute_ints(prefix + "_nodeids", {1, 2}));
      list->push_back(attribute_ints(prefix + "_ids", list == &regressor ? std::vector<int64_t>{0, 0} : std::vector<int64_t>{1, 1}));
      list->push_back(ob::attribute_floats(prefix + "_weights", list == &regressor ? std::vector<float>{4, 8} : std::vector<float>{0.75f, 0.25f}));
    }
    regressor.push_back(ob::attribute_int("n_targets", 1));
    classifier.push_back(attribute_ints("classlabels_int64s", {30, 40}));
    g.nodes.push_back(ml("TreeEnsembleRegressor", {"x"}, {"y"}, regressor));
    g.outputs = {ob::value("y", 1, {-1, 1})};
    ob::Graph h = colours();
    h.nodes.push_back(ml("TreeEnsembleClassifier", {"x"}, {"label", "p"}, classifier));
    h.outputs = {ob::value("label", 7, {-1}), ob::value("p", 1, {-1, 2})};
    std::string m = mode;
    for (double size : {10.0, 11.0, 12.0}) {  // 0, 0.5, 1
      double at = (size - 10) / 2;
      bool yes = m == "BRANCH_LEQ" ? at <= 0.5 : m == "BRANCH_LT" ? at < 0.5 : m == "BRANCH_GTE" ? at >= 0.5 : at > 0.5;
      FeatureMap in{{"words_0", std::string("any")}, {"words_1", std::string("red")}, {"size", size}};
      CAPTURE(mode);
      CAPTURE(size);
      CHECK(number(predict(g, in), "y") == (yes ? 4 : 8));
      auto out = predict(h, in);
      CHECK(std::get<int64_t>(out.at("label")) == (yes ? 40 : 30));
      CHECK(std::get<IntDict>(out.at("p")).at(40) == doctest::Approx(yes ? 0.75 : 0.25));
    }
  }
}

TEST_CASE("onnx-ml: what classic models cannot say is refused") {
  ob::Graph g = colours();
  g.nodes.push_back(ob::node("Sin", {"x"}, {"y"}));
  g.outputs = {ob::value("y", 1, {-1, 3})};
  CHECK(learned(g).error().code == Code::kUnsupported);
  g = colours();
  g.nodes[0] = ob::node("Gather", {"words", "second"}, {"colour"}, {ob::attribute_int("axis", 0)});
  g.outputs = {ob::value("x", 1, {-1, 3})};
  CHECK(learned(g).error().code == Code::kUnsupported);
  g = colours();
  g.initializers[0] = ob::ints("second", {1}, {2});
  g.outputs = {ob::value("x", 1, {-1, 3})};
  CHECK(learned(g).error().code == Code::kInput);
  for (const char* missing : {"nowhere", "second"}) {  // made by no node; a constant
    g = colours();
    g.outputs = {ob::value(missing, 1, {-1, 3})};
    CHECK(learned(g).error().code == (missing == std::string("nowhere") ? Code::kInput : Code::kUnsupported));
  }
}
