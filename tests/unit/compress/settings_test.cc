// Recipes from text: options, rules, and coremltools' configuration files.
#include "lib/compress/settings.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "lib/compress/yaml.h"

namespace {

using namespace mlt;
using namespace mlt::compress;

std::string said(const Settings& s) {
  auto recipe = make_recipe(s);
  return recipe.ok() ? describe(*recipe) : recipe.error().to_string();
}

TEST_CASE("settings") {
  CHECK(said({.linear = "int4", .granularity = "block:32"}) == "linear int4 symmetric per block of 32");
  CHECK(said({.linear = "uint8", .mode = "asymmetric", .granularity = "tensor"}) == "linear uint8 asymmetric per tensor");
  CHECK(said({.palettize = "3", .mode = "uniform", .group = 8}) == "palette of 3 bits, uniform, per 8 channels");
  CHECK(said({.linear = "int8", .palettize = "4", .prune = "0.5", .mode = "kmeans,asymmetric"}) == "pruned to 0.5 zeros; palette of 4 bits, k-means; linear int8 asymmetric per tensor");
  CHECK(said({.prune = "2:4"}) == "pruned 2 of 4");
  CHECK(make_recipe({.prune = "2:4"})->prune->dim == 1);
  CHECK(make_recipe({.prune = "0.5,block=4,dim=1"})->prune->dim == 1);
  CHECK(said({.prune = "0.5,block=4"}) == "pruned to 0.5 zeros in blocks of 4");
  CHECK(make_recipe({.prune = "threshold=0.01,min=0.1"})->prune->minimum_sparsity == 0.1);
  for (const Settings& s : {Settings{.linear = "int9"}, Settings{.linear = "float"}, Settings{.linear = "int1"}, Settings{.palettize = "9"}, Settings{.palettize = "custom"}, Settings{.prune = "1.5"},
                            Settings{.prune = "4:2"}, Settings{.prune = "0.5,dim=1"}, Settings{.prune = "0:4"}, Settings{.prune = "x"}, Settings{.linear = "int8", .palettize = "4", .granularity = "channel"},
                            Settings{.float16 = true, .linear = "int8"}, Settings{.linear = "int8", .group = 4}, Settings{.palettize = "4", .granularity = "tensor"}, Settings{.palettize = "unique", .mode = "kmeans"},
                            Settings{.linear = "uint8", .mode = "dynamic"}, Settings{.palettize = "4", .mode = "uniform", .vector = 2}, Settings{.linear = "int8", .granularity = "block:-1"},
                            Settings{.palettize = "custom", .table = {1, 2, 3}}, Settings{.prune = "0.5", .mode = "symmetric"}}) {
    auto recipe = make_recipe(s);
    REQUIRE_FALSE(recipe.ok());
    CHECK(recipe.error().code == Code::kUsage);
  }
}

TEST_CASE("rules: by name before kind before the rest, and conflicts") {
  Config config;
  config.recipe = *make_recipe({.linear = "int8"});
  config.rules.push_back(*parse_rule("palettize=4,group=8@^attention"));
  config.rules.push_back(*parse_rule("none@head$"));
  config.rules.push_back({.op_kind = "conv", .name = {}, .recipe = *make_recipe({.prune = "0.5"})});
  auto of = [&](const std::vector<std::string>& names, const std::vector<Config::User>& users) {
    const Recipe* recipe = config.recipe_for(names, users);
    return recipe == nullptr ? "conflict" : describe(*recipe);
  };
  CHECK(of({"w"}, {{"x", "linear"}}) == "linear int8 symmetric per channel");
  CHECK(of({"w"}, {{"x", "conv"}}) == "pruned to 0.5 zeros");
  CHECK(of({"w"}, {{"attention_q", "conv"}}) == "palette of 4 bits, k-means, per 8 channels");
  CHECK(of({"w"}, {{"x", "conv"}, {"y", "linear"}}) == "conflict");
  CHECK(of({"the_head"}, {{"x", "conv"}, {"y", "linear"}}) == "nothing");
  CHECK_FALSE(parse_rule("linear=int8").ok());
  CHECK_FALSE(parse_rule("linear=int8@(").ok());
  CHECK_FALSE(parse_rule("speed=9@x").ok());
  CHECK(parse_rule("prune=0.5;block=2,linear=int4,granularity=block:16@x")->recipe.prune->block == 2);
}

const char* const kYaml = R"(# a comment
config_type: OpLinearQuantizerConfig
global_config:
  mode: "linear"     # asymmetric
  dtype: int4
  granularity: per_block
  block_size: [1, 16]
  weight_threshold: 100
op_type_configs:
  conv: {mode: linear_symmetric, dtype: uint8}
  gather: null
op_name_configs:
  'head':
    config_type: OpPalettizerConfig
    nbits: 6
    granularity: per_grouped_channel
    enable_per_channel_scale: true
)";

TEST_CASE("configuration files of coremltools") {
  Config config;
  auto status = read_optimization_config(kYaml, &config);
  if (!status.ok()) MESSAGE(status.error().to_string());
  REQUIRE(status.ok());
  CHECK(describe(config.recipe) == "linear int4 asymmetric per block of 1x16");
  CHECK(config.recipe.threshold == 100);
  REQUIRE(config.rules.size() == 3);
  CHECK(config.rules[0].name->matches("head"));
  CHECK_FALSE(config.rules[0].name->matches("heads"));
  CHECK(describe(config.rules[0].recipe) == "palette of 6 bits, k-means, per 32 channels, channels scaled");
  CHECK(config.rules[1].op_kind == "conv");
  CHECK(describe(config.rules[1].recipe) == "linear uint8 symmetric per channel");
  CHECK(config.rules[2].recipe.none());
  Config json;
  REQUIRE(read_optimization_config(R"({"config_type": "OpMagnitudePrunerConfig", "global_config": {"n_m_ratio": [2, 4], "weight_threshold": null}})", &json).ok());
  CHECK(describe(json.recipe) == "pruned 2 of 4");
  CHECK(json.recipe.threshold == 0);
  Config threshold;
  REQUIRE(read_optimization_config("config_type: OpThresholdPrunerConfig\nglobal_config: {threshold: 0.01}", &threshold).ok());
  CHECK(threshold.recipe.prune->minimum_sparsity == 0.5);
}

TEST_CASE("configuration files that are refused, with what is wrong") {
  auto refused = [](const char* text) {
    Config config;
    auto status = read_optimization_config(text, &config);
    REQUIRE_FALSE(status.ok());
    return status.error().to_string();
  };
  auto holds = [&](const char* text, const char* part) {
    std::string message = refused(text);
    CAPTURE(message);
    CHECK(message.find(part) != std::string::npos);
  };
  holds("", "no mapping");
  holds("global_config: {}", "config_type");
  holds("config_type: X\nglobal_config: {}", "config_type \"X\"");
  holds("config_type: OpLinearQuantizerConfig\nextra: 1", "extra");
  holds("config_type: OpLinearQuantizerConfig\nglobal_config: {speed: 1}", "speed");
  holds("config_type: OpLinearQuantizerConfig\nglobal_config: {dtype: int2}", "int2");
  holds("config_type: OpLinearQuantizerConfig\nglobal_config: {granularity: per_grouped_channel}", "per_grouped_channel");
  holds("config_type: OpPalettizerConfig\nglobal_config: {mode: kmeans}", "nbits");
  holds("config_type: OpPalettizerConfig\nglobal_config: {mode: unique, nbits: 2}", "nbits");
  holds("config_type: OpPalettizerConfig\nglobal_config: {mode: custom}", "function");
  holds("config_type: OpMagnitudePrunerConfig\nglobal_config: {}", "target_sparsity");
  holds("config_type: OpMagnitudePrunerConfig\nglobal_config: {target_sparsity: 0.5, dim: 1}", "dim");
  holds("config_type: OpMagnitudePrunerConfig\nop_type_configs:\n  matmul: {n_m_ratio: [2, 4]}", "conv and linear");
  holds("a: 1\na: 2", "line 2");
  holds("a:\n\t- b", "line 2");
  holds("a: &x 1", "anchors");
  holds("a: [1, 2", "line 1");
  holds("a: \"b", "line 1");
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "[";
  holds(deep.c_str(), "deep");
}

TEST_CASE("YAML") {
  auto json = [](const char* text) {
    auto value = read_yaml(text);
    return value.ok() ? value->dump() : std::string("error");
  };
  CHECK(json("a: 1\nb:\n  - x\n  - y: 2\n    z: ~\n  -\n    - 1.5\nc: 'it''s'\nd: \"q\\\"\"") == R"({"a":1,"b":["x",{"y":2,"z":null},[1.5]],"c":"it's","d":"q\""})");
  CHECK(json("a:\n- 1\n- 2\nb: true") == R"({"a":[1,2],"b":true})");
  CHECK(json("{a: [1, {b: c d}], \"e\": -2e-3}") == R"({"a":[1,{"b":"c d"}],"e":-0.002})");
  CHECK(json("---\nurl: a:b # c\nx: a#b") == R"({"url":"a:b","x":"a#b"})");
  CHECK(json("a:\n   b: 1\n  c: 2") == "error");
  CHECK(json("a: 1\n  b: 2") == "error");
  CHECK(json("- a\nb: 1") == "error");
}

}  // namespace
