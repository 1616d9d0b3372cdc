#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "lib/estimators/preprocess.h"
#include "lib/estimators/recommender.h"

using namespace mlt;

namespace {

const double kNan = std::numeric_limits<double>::quiet_NaN();

Interface from_to(PortType in, PortType out) {
  Interface i;
  i.inputs.resize(1);
  i.outputs.resize(1);
  i.inputs[0].name = "x", i.inputs[0].type = in;
  i.outputs[0].name = "y", i.outputs[0].type = out;
  return i;
}

Tensor array(std::vector<double> values) { return Tensor::from<double>({static_cast<int64_t>(values.size())}, values); }

Labels words(std::vector<std::string> values) {
  Labels labels;
  labels.strings = std::move(values);
  return labels;
}

std::vector<double> vector_of(Result<FeatureMap> out) {
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().to_string()));
  return to_doubles(std::get<Tensor>((*out)["y"]));
}

}  // namespace

TEST_CASE("vectorizer: numbers, arrays and sparse dictionaries in order") {
  Interface i = from_to(PortType::kDouble, PortType::kArray);
  auto model = make_feature_vectorizer(i, {{"n", 1}, {"a", 2}, {"d", 3}});
  REQUIRE(model.ok());
  CHECK(vector_of((*model)->predict({{"n", int64_t{7}}, {"a", array({1, 2})}, {"d", IntDict{{1, 5.0}}}})) == std::vector<double>{7, 1, 2, 0, 5, 0});
  CHECK_FALSE((*model)->predict({{"n", 1.0}, {"a", array({1})}, {"d", IntDict{}}}).ok());
  CHECK_FALSE((*model)->predict({{"n", 1.0}, {"a", array({1, 2})}, {"d", IntDict{{3, 1.0}}}}).ok());
  CHECK_FALSE((*model)->predict({{"n", std::string("a")}, {"a", array({1, 2})}, {"d", IntDict{}}}).ok());
  CHECK_FALSE(make_feature_vectorizer(i, {{"n", uint64_t{1} << 60}}).ok());
}

TEST_CASE("one-hot: dense, sparse, unknown") {
  auto dense = make_one_hot_encoder(from_to(PortType::kString, PortType::kArray), words({"a", "b"}), false, true);
  CHECK(vector_of((*dense)->predict({{"x", std::string("b")}})) == std::vector<double>{0, 1});
  CHECK(vector_of((*dense)->predict({{"x", std::string("z")}})) == std::vector<double>{0, 0});
  auto strict = make_one_hot_encoder(from_to(PortType::kString, PortType::kIntDict), words({"a", "b"}), true, false);
  auto out = (*strict)->predict({{"x", std::string("b")}});
  CHECK(std::get<IntDict>((*out)["y"]) == IntDict{{1, 1.0}});
  CHECK_FALSE((*strict)->predict({{"x", std::string("z")}}).ok());
  CHECK_FALSE((*strict)->predict({{"x", 1.0}}).ok());
}

TEST_CASE("imputer: scalars, arrays, strings") {
  auto array_model = make_imputer(from_to(PortType::kArray, PortType::kArray), {array({9, 8, 7}), FeatureValue(-1.0)});
  CHECK(vector_of((*array_model)->predict({{"x", array({-1, 2, -1})}})) == std::vector<double>{9, 2, 7});
  CHECK_FALSE((*array_model)->predict({{"x", array({1, 2})}}).ok());
  auto number = make_imputer(from_to(PortType::kDouble, PortType::kDouble), {FeatureValue(3.0), std::nullopt});
  CHECK(std::get<double>((*(*number)->predict({{"x", kNan}}))["y"]) == 3);
  CHECK(std::get<double>((*(*number)->predict({{"x", 4.0}}))["y"]) == 4);
  auto text = make_imputer(from_to(PortType::kString, PortType::kString), {FeatureValue(std::string("none")), FeatureValue(std::string(""))});
  CHECK(std::get<std::string>((*(*text)->predict({{"x", std::string("")}}))["y"]) == "none");
}

TEST_CASE("scaler and normalizer") {
  auto scaler = make_scaler(from_to(PortType::kArray, PortType::kArray), {1, 2}, {10});
  CHECK(vector_of((*scaler)->predict({{"x", array({1, 1})}})) == std::vector<double>{20, 30});
  CHECK_FALSE((*scaler)->predict({{"x", array({1, 1, 1})}}).ok());
  auto whole = make_scaler(from_to(PortType::kInt, PortType::kInt), {}, {0.5});
  CHECK(std::get<int64_t>((*(*whole)->predict({{"x", int64_t{4}}}))["y"]) == 2);
  CHECK_FALSE((*whole)->predict({{"x", int64_t{3}}}).ok());
  auto norm = [](Norm n) { return vector_of((*make_normalizer(from_to(PortType::kArray, PortType::kArray), n))->predict({{"x", array({3, -4})}})); };
  CHECK(norm(Norm::kMax) == std::vector<double>{0.75, -1});
  CHECK(norm(Norm::kL1)[0] == doctest::Approx(3.0 / 7));
  CHECK(norm(Norm::kL2)[1] == doctest::Approx(-0.8));
}

TEST_CASE("dictionaries, mappings, extraction, thresholds") {
  auto dict = make_dict_vectorizer(from_to(PortType::kStringDict, PortType::kArray), words({"a", "c", "b", "z"}));
  CHECK(vector_of((*dict)->predict({{"x", StringDict{{"a", 4}, {"c", 8}, {"unknown", 1}}}})) == std::vector<double>{4, 8, 0, 0});
  CHECK_FALSE((*dict)->predict({{"x", IntDict{{1, 4}}}}).ok());
  Labels ints;
  ints.integers = true;
  ints.ints = {7, -2};
  auto by_int = make_dict_vectorizer(from_to(PortType::kStringDict, PortType::kArray), ints);
  CHECK(vector_of((*by_int)->predict({{"x", IntDict{{7, 4}, {9, 1}}}})) == std::vector<double>{4, 0});
  CHECK(vector_of((*by_int)->predict({{"x", StringDict{{"-2", 3}}}})) == std::vector<double>{0, 3});
  CHECK_FALSE((*by_int)->predict({{"x", StringDict{{"two", 3}}}}).ok());
  CategoricalParams params;
  params.to_int = {{"yes", 1}};
  auto strict = make_categorical_mapping(from_to(PortType::kString, PortType::kInt), params);
  CHECK(std::get<int64_t>((*(*strict)->predict({{"x", std::string("yes")}}))["y"]) == 1);
  CHECK_FALSE((*strict)->predict({{"x", std::string("no")}}).ok());
  params.unknown = FeatureValue(int64_t{-1});
  auto lax = make_categorical_mapping(from_to(PortType::kString, PortType::kInt), params);
  CHECK(std::get<int64_t>((*(*lax)->predict({{"x", std::string("no")}}))["y"]) == -1);
  auto pick = make_array_feature_extractor(from_to(PortType::kArray, PortType::kDouble), {2});
  CHECK(std::get<double>((*(*pick)->predict({{"x", array({5, 6, 7})}}))["y"]) == 7);
  CHECK_FALSE((*pick)->predict({{"x", array({5, 6})}}).ok());
  auto threshold = make_class_confidence_thresholding(from_to(PortType::kArray, PortType::kArray));
  CHECK(vector_of((*threshold)->predict({{"x", array({0.2, 0.8})}})) == std::vector<double>{0.2, 0.8, 1, 1});
}

TEST_CASE("recommender: similarities, exclusion, number of answers") {
  RecommenderParams p;
  p.items = {{0, {{1, 0.5}, {2, 0.25}}, 0}, {1, {{2, 1.0}}, 0}, {2, {}, 0.5}};
  p.ids = words({"a", "b", "c"});
  p.items_input = "items", p.count_input = "k", p.exclusion_input = "not";
  p.list_output = "list", p.score_output = "scores";
  auto model = make_recommender({}, p);
  REQUIRE(model.ok());
  auto out = (*model)->predict({{"items", StringDict{{"a", 2.0}, {"b", 1.0}}}});
  REQUIRE(out.ok());
  CHECK(std::get<StringList>((*out)["list"]) == StringList{"c"});
  CHECK(std::get<StringDict>((*out)["scores"])["c"] == doctest::Approx(0.25 * 1.5 + 1.0 * 0.5));
  out = (*model)->predict({{"items", StringDict{{"a", 2.0}}}, {"not", StringList{}}, {"k", int64_t{1}}});
  CHECK(std::get<StringList>((*out)["list"]) == StringList{"b"});
  p.items[0].similar[0].first = 99;
  CHECK_FALSE(make_recommender({}, p).ok());
}
