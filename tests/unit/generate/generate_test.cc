#include "lib/generate/generate.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "lib/container/open.h"

using namespace mlt;

namespace {

std::unique_ptr<Predictor> predictor_of(const OpenedModel& model) {
  auto made = Predictor::create(model);
  REQUIRE_MESSAGE(made.ok(), (made.ok() ? "" : made.error().to_string()));
  return std::move(*made);
}

std::unique_ptr<Predictor> predictor_of(const std::string& mil) {
  auto model = open_memory(Blob(Bytes(as_bytes(mil).begin(), as_bytes(mil).end())), "m.mil");
  REQUIRE_MESSAGE(model.ok(), (model.ok() ? "" : model.error().to_string()));
  return predictor_of(*model);
}

Result<Generation> generate(Predictor& predictor, GenerateOptions options, const std::vector<int64_t>& prompt) {
  MLT_ASSIGN(Generator generator, Generator::create(predictor, std::move(options)));
  std::vector<int64_t> seen;
  auto result = generator.run(prompt, [&](int64_t id) {
    seen.push_back(id);
    return Status();
  });
  if (result.ok()) CHECK(seen == result->ids);
  return result;
}

// The sum of all tokens so far, mod 7, as one-hot logits. `sum` computes it as int32 [1].
std::string one_hot_of_sum(const std::string& inputs, const std::string& sum, const std::string& more_outputs = "") {
  return R"(program(1.3)
{
    func main<ios18>()" + inputs + R"() {
)" + sum + R"(
            int32 seven = const()[val = int32(7)];
            tensor<int32, [1]> r = mod(x = sum, y = seven)[name = string("r")];
            tensor<fp32, [1, 7]> logits = one_hot(indices = r, one_hot_vector_size = seven, axis = int32(-1), on_value = fp32(1), off_value = fp32(0))[name = string("logits")];
        } -> (logits)" + more_outputs + R"();
}
)";
}

const std::vector<int64_t> kSums{6, 5, 3, 6, 5};  // of 1 2 3, then of what was generated

}  // namespace

TEST_CASE("a model with states generates what PyTorch does") {
  std::string folder = MLT_SOURCE_DIR "/testdata/language-model/";
  auto file = map_file(folder + "tiny-state.json");
  REQUIRE(file.ok());
  auto expected = nlohmann::json::parse(as_text(file->bytes()));
  auto model = open_model(folder + "tiny-state.mlpackage");
  REQUIRE(model.ok());
  auto predictor = predictor_of(*model);
  auto prompt = expected["prompt_ids"].get<std::vector<int64_t>>(), want = expected["ids"].get<std::vector<int64_t>>();
  auto result = generate(*predictor, {.max_tokens = static_cast<int64_t>(want.size()), .stop = {}, .context = {}, .sampling = {}, .roles = {}}, prompt);
  REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().to_string()));
  CHECK(result->ids == want);
  CHECK(result->end == Generation::End::kLength);

  GenerateOptions stops;
  stops.max_tokens = 20;
  stops.stop = {want[4]};
  auto stopped = generate(*predictor, stops, prompt);
  REQUIRE(stopped.ok());
  CHECK(stopped->end == Generation::End::kStop);
  CHECK(stopped->ids == std::vector<int64_t>(want.begin(), want.begin() + 4));

  // 32 positions: 32 tokens are fed, and one more is chosen.
  GenerateOptions longer;
  longer.max_tokens = 100;
  auto full = generate(*predictor, longer, prompt);
  REQUIRE(full.ok());
  CHECK(full->end == Generation::End::kContext);
  CHECK(full->ids.size() == 32 - prompt.size() + 1);
  auto too_long = generate(*predictor, longer, std::vector<int64_t>(33, 1));
  REQUIRE(!too_long.ok());
  CHECK(too_long.error().message == "the prompt has 33 tokens, the model's context 32");
  CHECK(!generate(*predictor, longer, {}).ok());
  CHECK(!generate(*predictor, longer, {1000}).ok());
}

TEST_CASE("sampling: a seed decides, and the limits hold") {
  std::vector<float> scores{0, 1, 2, 3, NAN, -INFINITY};
  CHECK(Sampler({}).choose(scores) == 3);
  CHECK(Sampler({}).choose(std::vector<float>{NAN}) == -1);
  Sampler a({.temperature = 1, .top_k = 0, .top_p = 1, .seed = 5}), b({.temperature = 1, .top_k = 0, .top_p = 1, .seed = 5}), c({.temperature = 1, .top_k = 0, .top_p = 1, .seed = 6});
  std::vector<int64_t> x, y, z;
  std::array<int, 4> counts{};
  for (int i = 0; i < 10000; ++i) {
    x.push_back(a.choose(scores));
    y.push_back(b.choose(scores));
    z.push_back(c.choose(scores));
    REQUIRE(x.back() >= 0);
    REQUIRE(x.back() <= 3);
    ++counts[static_cast<size_t>(x.back())];
  }
  CHECK(x == y);
  CHECK(x != z);
  // e^3 / (1 + e + e^2 + e^3) and so on
  CHECK(counts[3] == doctest::Approx(6439).epsilon(0.03));
  CHECK(counts[2] == doctest::Approx(2369).epsilon(0.06));
  CHECK(counts[0] == doctest::Approx(321).epsilon(0.25));
  Sampler two({.temperature = 1, .top_k = 2, .top_p = 1, .seed = 1}), half({.temperature = 1, .top_k = 0, .top_p = 0.6, .seed = 1}), most({.temperature = 1, .top_k = 0, .top_p = 0.7, .seed = 1});
  bool second = false;
  for (int i = 0; i < 1000; ++i) {
    CHECK(two.choose(scores) >= 2);
    CHECK(half.choose(scores) == 3);
    int64_t id = most.choose(scores);
    CHECK(id >= 2);
    second = second || id == 2;
  }
  CHECK(second);
}

TEST_CASE("without a cache the whole sequence is fed, longer windows are filled up") {
  const char* sum = R"(
            tensor<int32, [1]> sum = reduce_sum(x = ids, axes = tensor<int32, [1]>([1]), keep_dims = bool(false))[name = string("sum")];)";
  for (const char* shape : {"?", "9"}) {
    CAPTURE(shape);
    auto predictor = predictor_of(one_hot_of_sum("tensor<int32, [1, " + std::string(shape) + "]> ids", sum));
    auto result = generate(*predictor, {.max_tokens = 5, .stop = {}, .context = {}, .sampling = {}, .roles = {}}, {1, 2, 3});
    if (shape[0] == '9') {
      // One row of scores says nothing of a token that is followed by filling.
      REQUIRE(!result.ok());
      CHECK(result.error().code == Code::kUnsupported);
      continue;
    }
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().to_string()));
    CHECK(result->ids == kSums);
  }
}

TEST_CASE("caches that go in and out") {
  // Every form keeps all tokens in a cache of floats [1, 1, tokens, 1] and sums it.
  const std::string from_all = R"(
            tensor<fp32, [1]> total = reduce_sum(x = %s, axes = tensor<int32, [3]>([1, 2, 3]), keep_dims = bool(false))[name = string("total")];
            tensor<int32, [1]> sum = cast(x = total, dtype = string("int32"))[name = string("sum")];)";
  auto sum_of = [&](const std::string& value) {
    std::string text = from_all;
    return text.replace(text.find("%s"), 2, value);
  };
  const std::string grow = R"(
            tensor<fp32, [1, ?]> f = cast(x = ids, dtype = string("fp32"))[name = string("f")];
            tensor<fp32, [1, 1, ?, 1]> e = expand_dims(x = f, axes = tensor<int32, [2]>([1, 3]))[name = string("e")];
            tensor<fp32, [1, 1, ?, 1]> present = concat(values = (past, e), axis = int32(2), interleave = bool(false))[name = string("present")];)";
  // MIL text allows extents from 1 on: the first entry of a cache stands for nothing, and the mask leaves it out.
  auto masked = [](const std::string& value) {
    return R"(
            tensor<fp32, [1, ?]> m = cast(x = attention_mask, dtype = string("fp32"))[name = string("m")];
            tensor<fp32, [1, 1, ?, 1]> mm = expand_dims(x = m, axes = tensor<int32, [2]>([1, 3]))[name = string("mm")];
            tensor<fp32, [1, 1, ?, 1]> seen = mul(x = mm, y = )" + value + R"()[name = string("seen")];)";
  };
  const std::string mask_input = ", tensor<int32, [1, ?]> attention_mask";
  SUBCASE("a cache that cannot be empty needs a mask") {
    auto predictor = predictor_of(one_hot_of_sum("tensor<int32, [1, ?]> ids, tensor<fp32, [1, 1, ?, 1]> past", grow + sum_of("present"), ", present"));
    auto result = generate(*predictor, {.max_tokens = 5, .stop = {}, .context = {}, .sampling = {}, .roles = {}}, {1, 2, 3});
    REQUIRE(!result.ok());
    CHECK(result.error().code == Code::kUnsupported);
  }
  SUBCASE("growing, any number of tokens") {
    auto predictor = predictor_of(one_hot_of_sum("tensor<int32, [1, ?]> ids, tensor<fp32, [1, 1, ?, 1]> past" + mask_input, grow + masked("present") + sum_of("seen"), ", present"));
    auto result = generate(*predictor, {.max_tokens = 5, .stop = {}, .context = {}, .sampling = {}, .roles = {}}, {1, 2, 3});
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().to_string()));
    CHECK(result->ids == kSums);
  }
  SUBCASE("the new entries alone come out") {
    auto predictor = predictor_of(one_hot_of_sum("tensor<int32, [1, ?]> ids, tensor<fp32, [1, 1, ?, 1]> kv_in" + mask_input, R"(
            tensor<fp32, [1, ?]> f = cast(x = ids, dtype = string("fp32"))[name = string("f")];
            tensor<fp32, [1, 1, ?, 1]> kv_out = expand_dims(x = f, axes = tensor<int32, [2]>([1, 3]))[name = string("kv_out")];
            tensor<fp32, [1, 1, ?, 1]> all = concat(values = (kv_in, kv_out), axis = int32(2), interleave = bool(false))[name = string("all")];)" + masked("all") + sum_of("seen"), ", kv_out"));
    auto result = generate(*predictor, {.max_tokens = 5, .stop = {}, .context = {}, .sampling = {}, .roles = {}}, {1, 2, 3});
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().to_string()));
    CHECK(result->ids == kSums);
  }
  SUBCASE("a fixed cache that slides, one token at a time, paired by hand") {
    GenerateOptions options{.max_tokens = 5, .stop = {}, .context = {}, .sampling = {}, .roles = {}};
    auto predictor = predictor_of(one_hot_of_sum("tensor<int32, [1, 1]> ids, tensor<fp32, [1, 1, 8, 1]> k", R"(
            tensor<fp32, [1, 1]> f = cast(x = ids, dtype = string("fp32"))[name = string("f")];
            tensor<fp32, [1, 1, 1, 1]> e = expand_dims(x = f, axes = tensor<int32, [2]>([1, 3]))[name = string("e")];
            tensor<fp32, [1, 1, 9, 1]> q = concat(values = (k, e), axis = int32(2), interleave = bool(false))[name = string("q")];)" + sum_of("q"), ", q"));
    auto unpaired = generate(*predictor, options, {1, 2, 3});
    REQUIRE(!unpaired.ok());
    CHECK(unpaired.error().code == Code::kUnsupported);
    CHECK(unpaired.error().message.find("\"k\"") != std::string::npos);
    options.roles.caches = {{"k", "q"}};
    auto result = generate(*predictor, options, {1, 2, 3});
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().to_string()));
    CHECK(result->ids == kSums);
    options.max_tokens = 50;
    auto full = generate(*predictor, options, {1, 2, 3});
    REQUIRE(full.ok());
    CHECK(full->end == Generation::End::kContext);
    CHECK(full->ids.size() == 7);
    options.roles.caches = {{"k", "nothing"}};
    CHECK(generate(*predictor, options, {1, 2, 3}).error().code == Code::kUsage);
  }
}

TEST_CASE("roles by name and shape") {
  auto array = [](const char* name, coreml::ArrayDataType type, std::vector<int64_t> shape) {
    return coreml::FeatureDescription{name, "", coreml::FeatureType::multi_array(type, std::move(shape))};
  };
  auto i32 = coreml::ArrayDataType::kInt32;
  auto f16 = coreml::ArrayDataType::kFloat16;
  coreml::FunctionDescription f;
  f.inputs = {array("causalMask", f16, {1, 1, 1, 8}), array("attention_mask", i32, {1, 8}), array("cache_position", i32, {1}), array("past_key_values.0.key", f16, {1, 2, 8, 4}),
              array("past_key_values.0.value", f16, {1, 2, 8, 4}), array("inputIds", i32, {1, 1}), array("update_mask", f16, {1, 1, 8, 1})};
  f.outputs = {array("present.0.value", f16, {1, 2, 8, 4}), array("present.0.key", f16, {1, 2, 8, 4}), array("lm_logits", f16, {1, 1, 50})};
  auto roles = find_roles(f, {});
  REQUIRE_MESSAGE(roles.ok(), (roles.ok() ? "" : roles.error().to_string()));
  CHECK(roles->logits == "lm_logits");
  std::map<std::string, TokenRole> by_name;
  for (const RoleInput& input : roles->inputs) by_name[input.feature.name] = input.role;
  CHECK(roles->inputs[0].feature.name == "inputIds");
  CHECK(by_name["causalMask"] == TokenRole::kCausalMask);
  CHECK(by_name["attention_mask"] == TokenRole::kAttentionMask);
  CHECK(by_name["cache_position"] == TokenRole::kPositions);
  CHECK(by_name["update_mask"] == TokenRole::kUpdateMask);
  REQUIRE(roles->caches.size() == 2);
  CHECK(roles->caches[0].output == "present.0.key");
  CHECK(roles->caches[1].output == "present.0.value");
  f.inputs.push_back(array("strange", f16, {3}));
  auto unknown = find_roles(f, {});
  REQUIRE(!unknown.ok());
  CHECK(unknown.error().code == Code::kUnsupported);
  RoleOptions given;
  given.constants["strange"] = Tensor::zeros(DType::kF32, {3});
  CHECK(find_roles(f, given).ok());
  given.tokens = "nothing";
  CHECK(find_roles(f, given).error().code == Code::kUsage);
  f.inputs = {array("image", f16, {1, 3, 4, 4})};
  f.outputs = {array("a", f16, {1}), array("b", f16, {1})};
  auto none = find_roles(f, {});
  REQUIRE(!none.ok());
  CHECK(none.error().message.find("tokens") != std::string::npos);
  CHECK(none.error().message.find("logits") != std::string::npos);
  CHECK(none.error().message.find("image") != std::string::npos);
}
