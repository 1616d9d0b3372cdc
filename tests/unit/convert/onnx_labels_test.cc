// Strings of ai.onnx.ml that a classifier's label can say.
#include <doctest/doctest.h>

#include <algorithm>

#include "lib/convert/convert.h"
#include "lib/ir/verify.h"
#include "tests/conformance/reference.h"
#include "tests/unit/convert/onnx_builder.h"

using namespace mlt;
namespace ob = onnx_builder;

namespace {

ob::Message ml(const std::string& op, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs, const std::vector<ob::Message>& attributes) {
  return ob::node(op, inputs, outputs, attributes).text(7, "ai.onnx.ml");
}

Result<foreign::Conversion> converted(const ob::Graph& g, foreign::Request request = {}) {
  request.float16 = false;
  return foreign::convert_source(Blob(ob::model(g, 17)), "", request);
}

// The label for a row.
std::string label(const ob::Graph& g, const Tensor& x) {
  auto made = converted(g);
  REQUIRE_MESSAGE(made.ok(), made.error().to_string());
  CHECK(ir::verify(*made->converted.program).empty());
  // What `classify` looks at; it says the greatest's name.
  ir::Function& main = *made->converted.program->functions[0];
  std::vector<std::string> names;
  ir::Value* scores = nullptr;
  main.for_each_op([&](ir::Op& op) {
    if (op.kind != "classify") return;
    scores = op.input("probabilities");
    for (const ir::Literal& item : op.input("classes")->constant()->items) names.emplace_back(item.text());
  });
  REQUIRE(scores != nullptr);
  main.body->outputs = {scores};
  main.erase_dead_ops();
  auto out = reference::run(main, {x});
  REQUIRE_MESSAGE(out.ok(), out.error().to_string());
  std::vector<float> values = to_floats((*out)[0].tensor);
  REQUIRE(values.size() == names.size());
  return names[static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin())];
}

ob::Graph one(const ob::Message& node, int dtype, const std::vector<int64_t>& dims) {
  ob::Graph g;
  g.nodes = {node};
  g.inputs = {ob::value("x", dtype, dims)};
  g.outputs = {ob::value("out", 8, {1})};
  return g;
}

ob::Graph linear(bool zipped) {
  ob::Graph g;
  g.nodes = {ml("LinearClassifier", {"x"}, {"label", "scores"},
                {ob::attribute_floats("coefficients", {1, 0, 0, 1, -1, -1}), ob::attribute_floats("intercepts", {0, 0, 0}), ob::attribute_strings("classlabels_strings", {"red", "green", "blue"})}),
             ml("Normalizer", {"scores"}, {"p"}, {ob::attribute_string("norm", "L1")})};
  g.inputs = {ob::value("x", 1, {-1, 2})};
  g.outputs = {ob::value("label", 8, {-1})};
  if (zipped) {
    g.nodes.push_back(ml("ZipMap", {"p"}, {"probability"}, {ob::attribute_strings("classlabels_strings", {"red", "green", "blue"})}));
    g.outputs.push_back(ob::value("probability", 1, {}));
  } else {
    g.outputs.push_back(ob::value("p", 1, {-1, 3}));
  }
  return g;
}

}  // namespace

TEST_CASE("onnx: labels of strings make a classifier") {
  for (bool zipped : {true, false}) {
    ob::Graph g = linear(zipped);
    CHECK(label(g, Tensor::from<float>({1, 2}, {3, 1})) == "red");
    CHECK(label(g, Tensor::from<float>({1, 2}, {1, 3})) == "green");
    CHECK(label(g, Tensor::from<float>({1, 2}, {-2, -1})) == "blue");
    auto made = converted(g);
    REQUIRE(made.ok());
    foreign::Request request;
    auto model = foreign::make_model(*made, request);
    REQUIRE(model.ok());
    CHECK(model->description().predicted_feature_name == "label");
    CHECK(model->description().predicted_probabilities_name == (zipped ? "probability" : "label_probs"));
    CHECK(model->description().outputs.size() == (zipped ? 2 : 3));
  }
  foreign::Request request;
  request.output_names = {{"label", "colour"}, {"probability", "shares"}};
  auto named = converted(linear(true), request);
  REQUIRE_MESSAGE(named.ok(), named.error().to_string());
  auto model = foreign::make_model(*named, request);
  REQUIRE(model.ok());
  CHECK(model->description().predicted_feature_name == "colour");
  CHECK(model->description().predicted_probabilities_name == "shares");
  request.labels = foreign::Labels{{"a", "b", "c"}, {}, "", "", ""};
  CHECK(converted(linear(true), request).error().code == Code::kUsage);
  ob::Graph many = linear(true);
  many.inputs = {ob::value("x", 1, {4, 2})};
  CHECK(converted(many).error().code == Code::kUnsupported);
}

TEST_CASE("onnx: numbers become strings and strings numbers by tables") {
  ob::Message keys = ob::attribute_ints("keys_int64s", {7, 8}), values = ob::attribute_strings("values_strings", {"seven", "eight"}), other = ob::attribute_string("default_string", "none");
  ob::Graph g = one(ml("LabelEncoder", {"x"}, {"out"}, {keys, values, other}), 6, {1});
  for (auto [number, word] : {std::pair<int64_t, const char*>{7, "seven"}, {8, "eight"}, {9, "none"}}) CHECK(label(g, Tensor::ints({number})) == word);
  g = one(ml("CategoryMapper", {"x"}, {"out"}, {ob::attribute_ints("cats_int64s", {3, 4}), ob::attribute_strings("cats_strings", {"c", "d"})}), 6, {1});
  for (auto [number, word] : {std::pair<int64_t, const char*>{3, "c"}, {4, "d"}, {5, "_Unused"}}) CHECK(label(g, Tensor::ints({number})) == word);
  // There and back, and to other numbers.
  g = one(ml("LabelEncoder", {"x"}, {"s"}, {keys, values, other}), 6, {2});
  g.nodes.push_back(ml("CategoryMapper", {"s"}, {"n"}, {ob::attribute_ints("cats_int64s", {70, 90}), ob::attribute_strings("cats_strings", {"seven", "none"}), ob::attribute_int("default_int64", -5)}));
  g.nodes.push_back(ob::node("Cast", {"n"}, {"out"}, {ob::attribute_int("to", 1)}));
  g.outputs = {ob::value("out", 1, {2})};
  auto made = converted(g);
  REQUIRE_MESSAGE(made.ok(), made.error().to_string());
  auto out = reference::run(*made->converted.program->functions[0], {Tensor::ints({8, 7})});
  REQUIRE_MESSAGE(out.ok(), out.error().to_string());
  CHECK(to_floats((*out)[0].tensor) == std::vector<float>{-5, 70});
}
