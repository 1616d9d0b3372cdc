// Recipes from text: the words of mlquantize(1), and configuration files of coremltools' OptimizationConfig.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "lib/compress/config.h"

namespace mlt::compress {

// What the options of mlquantize say; absent: not given.
struct Settings {
  bool float16 = false;
  std::optional<std::string> linear = {};       // "int8", "uint4"
  std::optional<std::string> palettize = {};    // "4", "unique", "custom"
  std::optional<std::string> prune = {};        // "0.5", "2:4", "threshold=1e-3", each with ",block=4", ",dim=1" ...
  std::optional<std::string> mode = {};         // "symmetric", "uniform,asymmetric", "dynamic"
  std::optional<std::string> granularity = {};  // of linear: "tensor", "channel", "block:32", "block:1x32"
  std::optional<int64_t> group = {}, vector = {};
  bool channel_scale = false;
  std::vector<float> table = {};                // of palettize custom
  std::optional<int64_t> threshold = {};
};

// kUsage names the option at fault.
Result<Recipe> make_recipe(const Settings& settings);

// "SETTINGS@REGEX" or "none@REGEX"; settings as "linear=int4,granularity=block:32" (commas within a value: ";").
Result<Rule> parse_rule(const std::string& text);

// The keys of coremltools' OptimizationConfig.from_dict / from_yaml: config_type, global_config, op_type_configs,
// op_name_configs, and those of its four kinds of configuration; JSON or YAML (block and flow mappings and lists, scalars,
// comments; no anchors, tags or multi-line texts). Sets recipe and rules. kInput says where the text goes wrong, kUsage
// what cannot be meant.
Status read_optimization_config(std::string_view text, Config* config);

}  // namespace mlt::compress
