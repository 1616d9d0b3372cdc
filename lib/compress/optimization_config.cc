// coremltools' OptimizationConfig (optimize/coreml/_config.py): the same keys, defaults and refusals.
#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/compress/settings.h"
#include "lib/compress/yaml.h"

namespace mlt::compress {
namespace {

using Json = nlohmann::ordered_json;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// The members of one configuration; every one must be asked for.
class Members {
 public:
  explicit Members(const Json& object) : object_(object) {}

  Result<std::optional<std::string>> text(const char* key) {
    const Json* value = take(key);
    if (value == nullptr) return std::optional<std::string>();
    if (!value->is_string()) return wrong(key, "a text");
    return std::optional(value->get<std::string>());
  }
  Result<std::optional<int64_t>> count(const char* key) {
    const Json* value = take(key);
    if (value == nullptr) return std::optional<int64_t>();
    if (!value->is_number_integer()) return wrong(key, "a whole number");
    return std::optional(value->get<int64_t>());
  }
  Result<std::optional<double>> real(const char* key) {
    const Json* value = take(key);
    if (value == nullptr) return std::optional<double>();
    if (!value->is_number()) return wrong(key, "a number");
    return std::optional(value->get<double>());
  }
  Result<bool> flag(const char* key) {
    const Json* value = take(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) return wrong(key, "true or false");
    return value->get<bool>();
  }
  // A whole number, or a list of them.
  Result<std::vector<int64_t>> counts(const char* key) {
    const Json* value = take(key);
    std::vector<int64_t> out;
    if (value == nullptr) return out;
    if (value->is_number_integer()) return std::vector<int64_t>{value->get<int64_t>()};
    if (!value->is_array() || value->empty()) return wrong(key, "a whole number or a list of them");
    for (const Json& item : *value) {
      if (!item.is_number_integer()) return wrong(key, "a whole number or a list of them");
      out.push_back(item.get<int64_t>());
    }
    return out;
  }
  bool is_null(const char* key) const { return object_.contains(key) && object_[key].is_null(); }
  Status finish(const std::string& type) const {
    for (const auto& [key, value] : object_.items())
      if (std::find(taken_.begin(), taken_.end(), key) == taken_.end()) return usage_error(fmt::format("{} has no member \"{}\"", type, key));
    return {};
  }

 private:
  const Json* take(const char* key) {
    taken_.emplace_back(key);
    auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  static Error wrong(const char* key, const char* what) { return usage_error(fmt::format("\"{}\" is not {}", key, what)); }

  const Json& object_;
  std::vector<std::string> taken_;
};

Result<Recipe> read_recipe(std::string type, const Json& value) {
  Recipe recipe;
  if (value.is_null()) return recipe;
  if (!value.is_object()) return usage_error("is neither a mapping nor null");
  Members members(value);
  MLT_ASSIGN(auto own_type, members.text("config_type"));
  if (own_type) type = *own_type;
  Settings s;
  MLT_ASSIGN(s.threshold, members.count("weight_threshold"));
  if (s.threshold && *s.threshold < 0) return usage_error("\"weight_threshold\" is negative");
  if (members.is_null("weight_threshold")) s.threshold = 0;
  if (type == "OpLinearQuantizerConfig") {
    MLT_ASSIGN(auto mode, members.text("mode"));
    if (mode) s.mode = lower(*mode);
    if (s.mode && *s.mode != "linear" && *s.mode != "linear_symmetric") return usage_error(fmt::format("mode \"{}\" is neither linear_symmetric nor linear", *mode));
    MLT_ASSIGN(s.linear, members.text("dtype"));
    if (!s.linear) s.linear = "int8";
    if (*s.linear != "int8" && *s.linear != "uint8" && *s.linear != "int4" && *s.linear != "uint4") return usage_error(fmt::format("dtype \"{}\" is not int8, uint8, int4 or uint4", *s.linear));
    MLT_ASSIGN(s.granularity, members.text("granularity"));
    if (s.granularity && *s.granularity != "per_tensor" && *s.granularity != "per_channel" && *s.granularity != "per_block")
      return usage_error(fmt::format("granularity \"{}\" is not per_tensor, per_channel or per_block", *s.granularity));
    MLT_ASSIGN(auto block, members.counts("block_size"));
    if (std::any_of(block.begin(), block.end(), [](int64_t n) { return n < 0; })) return usage_error("\"block_size\" is negative");
    MLT_TRY(members.finish(type));
    MLT_ASSIGN(recipe, make_recipe(s));
    if (!block.empty()) recipe.linear->block = std::move(block);
    return recipe;
  }
  if (type == "OpPalettizerConfig") {
    MLT_ASSIGN(auto mode, members.text("mode"));
    MLT_ASSIGN(auto bits, members.count("nbits"));
    std::string how = lower(mode.value_or("kmeans"));
    if (how == "custom") return unsupported_error("mode custom needs a function, which a file cannot hold", "--palettize custom --table takes a table");
    if (how == "unique") {
      if (bits) return usage_error("\"nbits\" is not for mode unique");
      s.palettize = "unique";
    } else if (how == "kmeans" || how == "uniform") {
      if (!bits) return usage_error("\"nbits\" must be given for mode " + how);
      s.palettize = std::to_string(*bits);
      s.mode = how;
    } else {
      return usage_error(fmt::format("mode \"{}\" is not kmeans, uniform, unique or custom", *mode));
    }
    MLT_ASSIGN(auto granularity, members.text("granularity"));
    MLT_ASSIGN(auto group, members.count("group_size"));
    if (granularity.value_or("per_tensor") == "per_grouped_channel") s.group = group.value_or(32);
    else if (granularity.value_or("per_tensor") != "per_tensor") return usage_error(fmt::format("granularity \"{}\" is not per_tensor or per_grouped_channel", *granularity));
    MLT_ASSIGN(s.vector, members.count("cluster_dim"));
    MLT_ASSIGN(s.channel_scale, members.flag("enable_per_channel_scale"));
    MLT_ASSIGN(auto axis, members.count("channel_axis"));
    MLT_ASSIGN(auto workers, members.count("num_kmeans_workers"));
    (void)workers;  // --threads decides; the result is the same
    MLT_TRY(members.finish(type));
    MLT_ASSIGN(recipe, make_recipe(s));
    // It is for groups only there, too.
    if (axis && s.group) recipe.palette->axis = static_cast<int>(std::clamp<int64_t>(*axis, -100, 100));
    return recipe;
  }
  Prune prune;
  if (type == "OpThresholdPrunerConfig") {
    prune.kind = Prune::Kind::kThreshold;
    MLT_ASSIGN(auto threshold, members.real("threshold"));
    MLT_ASSIGN(auto least, members.real("minimum_sparsity_percentile"));
    prune.threshold = threshold.value_or(1e-12);
    prune.minimum_sparsity = least.value_or(0.5);
    if (prune.threshold < 0) return usage_error("\"threshold\" is negative");
    if (prune.minimum_sparsity < 0 || prune.minimum_sparsity > 1) return usage_error("\"minimum_sparsity_percentile\" is not between 0 and 1");
  } else if (type == "OpMagnitudePrunerConfig") {
    MLT_ASSIGN(auto sparsity, members.real("target_sparsity"));
    MLT_ASSIGN(auto block, members.count("block_size"));
    MLT_ASSIGN(auto ratio, members.counts("n_m_ratio"));
    MLT_ASSIGN(auto dim, members.count("dim"));
    if (sparsity.has_value() == !ratio.empty()) return usage_error("one of \"target_sparsity\" and \"n_m_ratio\" must be given, and not both");
    if (block && !ratio.empty()) return usage_error("\"block_size\" and \"n_m_ratio\" exclude each other");
    if (dim && !block && ratio.empty()) return usage_error("\"dim\" belongs to \"block_size\" and \"n_m_ratio\"");
    if (dim && *dim != 0 && *dim != 1) return usage_error("\"dim\" is neither 0 nor 1");
    if (block && *block < 2) return usage_error("\"block_size\" is less than 2");
    if (sparsity && (*sparsity < 0 || *sparsity > 1)) return usage_error("\"target_sparsity\" is not between 0 and 1");
    if (!ratio.empty()) {
      if (ratio.size() != 2 || ratio[0] < 1 || ratio[0] > ratio[1] || ratio[1] > 4096) return usage_error("\"n_m_ratio\" is not two numbers n, m with n <= m");
      prune.kind = Prune::Kind::kPattern;
      prune.n = static_cast<int>(ratio[0]);
      prune.m = static_cast<int>(ratio[1]);
    }
    prune.sparsity = sparsity.value_or(0);
    prune.block = block.value_or(1);
    prune.dim = static_cast<int>(dim.value_or(ratio.empty() ? 0 : 1));
  } else {
    return usage_error(fmt::format("config_type \"{}\" is not OpLinearQuantizerConfig, OpPalettizerConfig, OpMagnitudePrunerConfig or OpThresholdPrunerConfig", type));
  }
  MLT_TRY(members.finish(type));
  recipe.prune = prune;
  recipe.threshold = s.threshold;
  return recipe;
}

}  // namespace

Status read_optimization_config(std::string_view text, Config* config) {
  Json root = Json::parse(text, nullptr, false);
  if (root.is_discarded()) {
    MLT_ASSIGN(root, read_yaml(text));
  }
  if (!root.is_object()) return usage_error("is no mapping");
  for (const auto& [key, value] : root.items())
    if (key != "config_type" && key != "global_config" && key != "op_type_configs" && key != "op_name_configs")
      return usage_error(fmt::format("\"{}\" is not config_type, global_config, op_type_configs or op_name_configs", key));
  if (!root.contains("config_type") || !root["config_type"].is_string()) return usage_error("config_type is missing");
  auto type = root["config_type"].get<std::string>();
  if (root.contains("global_config")) {
    MLT_ASSIGN(config->recipe, read_recipe(type, root["global_config"]).in("global_config"));
  }
  for (bool by_name : {true, false}) {
    const char* key = by_name ? "op_name_configs" : "op_type_configs";
    if (!root.contains(key) || root[key].is_null()) continue;
    if (!root[key].is_object()) return usage_error(fmt::format("{} is no mapping", key));
    for (const auto& [name, value] : root[key].items()) {
      Rule rule;
      MLT_ASSIGN(rule.recipe, read_recipe(type, value).in(fmt::format("{}: {}", key, name)));
      bool structured = rule.recipe.prune && (rule.recipe.prune->kind == Prune::Kind::kPattern || rule.recipe.prune->block > 1);
      if (!by_name && structured && name != "conv" && name != "linear") return usage_error(fmt::format("{}: {}: blocks and patterns are for conv and linear", key, name));
      if (by_name) rule.name = Pattern::exactly(name);
      else rule.op_kind = name;
      config->rules.push_back(std::move(rule));
    }
  }
  return {};
}

}  // namespace mlt::compress
