// Measuring, searching and calibrating on a small program.
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <cmath>

#include "lib/compress/settings.h"
#include "lib/container/program.h"
#include "lib/tune/calibrate.h"
#include "lib/tune/search.h"

namespace {

using namespace mlt;
using namespace mlt::tune;

// Numbers between -1 and 1 without a pattern.
float scattered(int i) {
  auto n = static_cast<uint32_t>(i + 1) * 2654435761u;
  n = (n ^ n >> 15) * 2246822519u;
  return static_cast<float>((n ^ n >> 13) >> 8) / 8388608.0f - 1;
}

// y = relu(x u) v, and a concat of both products.
OpenedModel model_of(const std::string& opset) {
  auto weight = [](const std::string& name, int rows, int columns, int seed) {
    std::string type = fmt::format("tensor<fp32, [{}, {}]>", rows, columns), text = fmt::format("{} {} = const()[name = string(\"{}\"), val = {}([", type, name, name, type);
    for (int r = 0; r < rows; ++r) {
      text += r == 0 ? "[" : ", [";
      for (int c = 0; c < columns; ++c) text += fmt::format("{}{}", c == 0 ? "" : ", ", scattered(seed * 10000 + r * 64 + c));
      text += "]";
    }
    return text + "])];\n";
  };
  std::string text = "program(1.3) { func main<" + opset + ">(tensor<fp32, [1, 64]> x) {\n" + weight("u", 64, 64, 1) + weight("v", 64, 64, 2) +
                     "int32 axis = const()[name = string(\"axis\"), val = int32(1)];\nbool no = const()[name = string(\"no\"), val = bool(false)];\n"
                     "tensor<fp32, [1, 64]> a = linear(weight = u, x = x)[name = string(\"first\")];\n"
                     "tensor<fp32, [1, 64]> b = relu(x = a)[name = string(\"second\")];\n"
                     "tensor<fp32, [1, 64]> c = linear(weight = v, x = b)[name = string(\"third\")];\n"
                     "tensor<fp32, [1, 128]> y = concat(axis = axis, interleave = no, values = (a, c))[name = string(\"last\")];\n"
                     "} -> (y); }";
  OpenedModel model = *open_memory(Blob(Bytes(std::as_bytes(std::span(text)).begin(), std::as_bytes(std::span(text)).end())), "test");
  REQUIRE(complete_mil_text(model).ok());
  return model;
}

std::vector<FeatureMap> records() {
  std::vector<FeatureMap> list;
  for (int i = 0; i < 6; ++i) {
    std::vector<float> x;
    for (int k = 0; k < 64; ++k) x.push_back(scattered(50000 + i * 64 + k));
    FeatureMap record;
    record["x"] = Tensor::from(Dims{1, 64}, x);
    list.push_back(std::move(record));
  }
  return list;
}

TEST_CASE("fidelity: nothing changed, eight bits, one bit") {
  OpenedModel model = model_of("ios18");
  Reference reference = *Reference::create(model, records());
  Candidate same = *make_candidate(model, {});
  CHECK(reference.compare(same.model)->drop == 0);
  double before = 0;
  for (const char* bits : {"8", "4", "1"}) {
    Candidate candidate = *make_candidate(model, {.recipe = *compress::make_recipe({.palettize = bits})});
    CHECK(candidate.bytes < same.bytes);
    Fidelity fidelity = *reference.compare(candidate.model);
    CHECK(fidelity.records == 6);
    CHECK(fidelity.drop_of == "relative error");
    CHECK(fidelity.drop > before);
    CHECK(fidelity.outputs.at(0).values == 6 * 128);
    before = fidelity.drop;
    auto worst = *reference.worst_layers(model, candidate.model, 2);
    REQUIRE(worst.size() == 2);
    CHECK(worst[0].relative >= worst[1].relative);
  }
  CHECK(before > 0.1);
}

TEST_CASE("search: within the size, the same at any number of threads, and refusals") {
  OpenedModel model = model_of("ios18");
  Reference reference = *Reference::create(model, records());
  uint64_t whole = make_candidate(model, {})->bytes;
  std::string first;
  for (int threads : {1, 3}) {
    set_thread_count(threads);
    SearchOptions options{whole / 4, std::nullopt, {}};
    SearchResult result = *search(model, &reference, options);
    CHECK(result.candidate.bytes <= whole / 4);
    CHECK_FALSE(result.refused.has_value());
    CHECK(result.fidelity->drop < 0.2);
    CHECK(result.weights.size() == 2);
    CHECK(result.weights[0].sensitivity > 0);
    for (size_t i = 1; i < result.points.size(); ++i) CHECK(result.points[i].bytes <= result.points[i - 1].bytes);
    std::string json = to_json(result, options);
    if (threads == 1) first = json;
    else CHECK(first == json);
  }
  set_thread_count(0);
  SearchOptions tiny{1000, std::nullopt, {}};
  CHECK(search(model, nullptr, tiny)->refused->code == Code::kNegative);
  SearchOptions both{whole / 16, 0.001, {}};
  CHECK(search(model, &reference, both)->refused.has_value());
  SearchOptions drop{std::nullopt, 0.05, {}};
  SearchResult small = *search(model, &reference, drop);
  CHECK(small.fidelity->drop <= 0.05);
  CHECK(small.candidate.bytes < whole / 3);
  CHECK_FALSE(search(model, nullptr, {}).ok());
}

TEST_CASE("calibration: ranges, concats that share one, and pairs that run") {
  OpenedModel model = model_of("ios17");
  std::vector<FeatureMap> data = records();
  auto range = [&](Observer observer, const char* name) { return calibrate(model, data, {}, observer)->ranges.at(name); };
  CHECK(range(Observer::kMinMax, "x").high == doctest::Approx(1).epsilon(0.02));
  CHECK(range(Observer::kMinMax, "b").low == 0);
  auto plan = *calibrate(model, data, {}, Observer::kMinMax);
  CHECK(plan.ranges.at("a").low == plan.ranges.at("y").low);
  CHECK(plan.ranges.at("c").high == plan.ranges.at("y").high);
  for (Observer observer : {Observer::kPercentile, Observer::kMse}) {
    auto narrow = range(observer, "b"), wide = range(Observer::kMinMax, "b");
    CHECK(narrow.high <= wide.high * 1.001f);
    CHECK(narrow.high > wide.high * 0.5f);
  }
  Reference reference = *Reference::create(model, data);
  for (bool is_signed : {true, false})
    for (bool symmetric : {true, false}) {
      compress::ActivationPlan how = plan;
      how.is_signed = is_signed;
      how.symmetric = symmetric;
      Candidate candidate = *make_candidate(model, {.recipe = *compress::make_recipe({.linear = "int8"})}, &how);
      Fidelity fidelity = *reference.compare(candidate.model);
      CHECK(fidelity.drop > 0);
      CHECK(fidelity.drop < 0.02);
    }
  CHECK_FALSE(calibrate(model, {}, {}, Observer::kMinMax).ok());
  OpenedModel old = model_of("ios16");
  CHECK_FALSE(make_candidate(old, {}, &plan).ok());
  data[2]["x"] = Tensor::from(Dims{1, 64}, std::vector<float>(64, INFINITY));
  CHECK_FALSE(calibrate(model, data, {}, Observer::kMinMax).ok());
}

}  // namespace
