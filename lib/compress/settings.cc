#include "lib/compress/settings.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <cstdlib>

namespace mlt::compress {
namespace {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> number(std::string_view text) {
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

Error no_choice(const std::string& option, const std::string& value, const std::string& choices) {
  return usage_error(fmt::format("option --{}: \"{}\" is not one of {}", option, value, choices));
}

Result<Linear> make_linear(const Settings& s) {
  Linear linear;
  std::string_view type = *s.linear;
  linear.is_signed = !type.starts_with("u");
  if (!linear.is_signed) type.remove_prefix(1);
  std::optional<int64_t> bits = type.starts_with("int") ? whole_number(type.substr(3)) : std::nullopt;
  if (!bits || *bits < 1 || *bits > 8 || (linear.is_signed && *bits == 1)) return no_choice("linear", *s.linear, "int8, uint8, int4, uint4 (networks: 1 to 8 bits)");
  linear.bits = static_cast<int>(*bits);
  if (s.palettize) linear.per = Linear::Per::kTensor;
  if (!s.granularity) return linear;
  const std::string& per = *s.granularity;
  if (s.palettize && per != "tensor" && per != "per_tensor") return usage_error("the values of palettes are quantized per tensor", "leave --granularity away");
  if (per == "channel" || per == "per_channel") linear.per = Linear::Per::kChannel;
  else if (per == "tensor" || per == "per_tensor") linear.per = Linear::Per::kTensor;
  else if (per == "block" || per == "per_block") linear.per = Linear::Per::kBlock;
  else if (per.starts_with("block:")) {
    linear.per = Linear::Per::kBlock;
    linear.block.clear();
    for (const std::string& part : split(std::string_view(per).substr(6), 'x')) {
      std::optional<int64_t> extent = whole_number(part);
      if (!extent || *extent < 0) return no_choice("granularity", per, "tensor, channel, block:N, block:NxMx...");
      linear.block.push_back(*extent);
    }
  } else {
    return no_choice("granularity", per, "tensor, channel, block:N, block:NxMx...");
  }
  return linear;
}

Result<Palette> make_palette(const Settings& s) {
  Palette palette;
  const std::string& bits = *s.palettize;
  if (bits == "unique") {
    palette.mode = Palette::Mode::kUnique;
  } else if (bits == "custom") {
    palette.mode = Palette::Mode::kCustom;
    if (s.table.empty()) return usage_error("--palettize custom needs a table", "give --table FILE.npy");
    palette.table = s.table;
  } else {
    std::optional<int64_t> count = whole_number(bits);
    if (!count || *count < 1 || *count > 8) return no_choice("palettize", bits, "1, 2, 3, 4, 6, 8 (networks: also 5 and 7), unique, custom");
    palette.bits = static_cast<int>(*count);
  }
  if (palette.mode != Palette::Mode::kCustom && !s.table.empty()) return usage_error("--table belongs to --palettize custom");
  if (s.group) {
    if (*s.group < 1) return no_choice("group", std::to_string(*s.group), "1, 2, ...");
    palette.group = *s.group;
  }
  if (s.vector) {
    if (*s.vector < 1 || *s.vector > 64) return no_choice("vector", std::to_string(*s.vector), "1, 2, ... 64");
    palette.vector = static_cast<int>(*s.vector);
  }
  palette.channel_scale = s.channel_scale;
  if (palette.mode == Palette::Mode::kCustom) {
    size_t entries = palette.table.size() / static_cast<size_t>(palette.vector);
    bool whole = palette.table.size() % static_cast<size_t>(palette.vector) == 0;
    if (!whole || !(entries == 2 || entries == 4 || entries == 8 || entries == 16 || entries == 64 || entries == 256))
      return usage_error(fmt::format("a table of {} entries; 2, 4, 8, 16, 64 and 256 are possible", entries));
    for (float v : palette.table)
      if (!std::isfinite(v)) return usage_error("the table holds a number that is not finite");
  }
  return palette;
}

Result<Prune> make_prune(const std::string& text) {
  auto wrong = [&] { return no_choice("prune", text, "SPARSITY (0 to 1), N:M, threshold=T, followed by ,block=N ,dim=0|1 ,min=SPARSITY"); };
  Prune prune;
  bool first = true, dim_given = false;
  for (const std::string& part : split(text, ',')) {
    size_t equals = part.find('='), colon = part.find(':');
    std::string key = part.substr(0, equals), value = equals == std::string::npos ? "" : part.substr(equals + 1);
    std::optional<double> share = number(value);
    std::optional<int64_t> count = whole_number(value);
    if (first && key == "threshold") {
      if (!share || *share < 0) return wrong();
      prune.kind = Prune::Kind::kThreshold;
      prune.threshold = *share;
    } else if (first && colon != std::string::npos) {
      std::optional<int64_t> n = whole_number(part.substr(0, colon)), m = whole_number(part.substr(colon + 1));
      if (!n || !m || *n < 1 || *n > *m || *m > 4096) return wrong();
      prune.kind = Prune::Kind::kPattern;
      prune.n = static_cast<int>(*n);
      prune.m = static_cast<int>(*m);
    } else if (first) {
      share = number(part);
      if (!share || *share < 0 || *share > 1) return wrong();
      prune.sparsity = *share;
    } else if (key == "block" && prune.kind == Prune::Kind::kSparsity) {
      if (!count || *count < 2) return wrong();
      prune.block = *count;
    } else if (key == "dim") {
      if (!count || (*count != 0 && *count != 1)) return wrong();
      prune.dim = static_cast<int>(*count);
      dim_given = true;
    } else if (key == "min" && prune.kind == Prune::Kind::kThreshold) {
      if (!share || *share < 0 || *share > 1) return wrong();
      prune.minimum_sparsity = *share;
    } else {
      return wrong();
    }
    first = false;
  }
  bool structured = prune.kind == Prune::Kind::kPattern || prune.block > 1;
  if (dim_given && !structured) return usage_error("--prune: dim belongs to block and N:M");
  if (prune.kind == Prune::Kind::kPattern && !dim_given) prune.dim = 1;
  return prune;
}

}  // namespace

Result<Recipe> make_recipe(const Settings& s) {
  Recipe recipe;
  recipe.threshold = s.threshold;
  recipe.float16 = s.float16;
  if (s.float16 && (s.linear || s.palettize || s.prune)) return usage_error("--float16 cannot be joined with other methods");
  if (s.granularity && !s.linear) return usage_error("--granularity belongs to --linear");
  if ((s.group || s.vector || s.channel_scale || !s.table.empty()) && !s.palettize)
    return usage_error(fmt::format("--{} belongs to --palettize", s.group ? "group" : s.vector ? "vector" : s.channel_scale ? "channel-scale" : "table"));
  if (s.linear) { MLT_ASSIGN(recipe.linear, make_linear(s)); }
  if (s.palettize) { MLT_ASSIGN(recipe.palette, make_palette(s)); }
  if (s.prune) { MLT_ASSIGN(recipe.prune, make_prune(*s.prune)); }
  if (!s.mode) return recipe;
  if (!s.linear && !s.palettize) return usage_error("--mode belongs to --linear and --palettize");
  for (const std::string& word : split(*s.mode, ',')) {
    bool counted = recipe.palette && (recipe.palette->mode == Palette::Mode::kKMeans || recipe.palette->mode == Palette::Mode::kUniform);
    if (recipe.linear && (word == "symmetric" || word == "linear_symmetric")) recipe.linear->symmetric = true;
    else if (recipe.linear && (word == "asymmetric" || word == "linear")) recipe.linear->symmetric = false;
    else if (recipe.linear && word == "dynamic" && recipe.linear->is_signed && recipe.linear->bits == 8) recipe.linear->dynamic = true;
    else if (counted && word == "kmeans") recipe.palette->mode = Palette::Mode::kKMeans;
    else if (counted && word == "uniform") recipe.palette->mode = Palette::Mode::kUniform;
    else {
      std::string choices = recipe.linear ? "symmetric, asymmetric, linear_symmetric, linear" : "";
      if (recipe.linear && recipe.linear->is_signed && recipe.linear->bits == 8) choices += ", dynamic";
      if (counted) choices += std::string(choices.empty() ? "" : ", ") + "kmeans, uniform";
      if (choices.empty()) return usage_error("--mode belongs to --linear and to --palettize BITS");
      return no_choice("mode", word, choices);
    }
  }
  if (recipe.palette && recipe.palette->mode == Palette::Mode::kUniform && recipe.palette->vector > 1) return usage_error("--mode uniform has no vectors");
  return recipe;
}

Result<Rule> parse_rule(const std::string& text) {
  size_t at = text.find('@');
  if (at == std::string::npos) return usage_error(fmt::format("option --rule: \"{}\" is not SETTINGS@REGEX", text), "for example linear=int4,granularity=block:32@^decoder, or none@head");
  Rule rule;
  MLT_ASSIGN(rule.name, Pattern::compile(text.substr(at + 1)).in("option --rule"));
  Settings s;
  for (const std::string& part : split(std::string_view(text).substr(0, at), ',')) {
    size_t equals = part.find('=');
    std::string key = part.substr(0, equals), value = equals == std::string::npos ? "" : part.substr(equals + 1);
    for (char& c : value)
      if (c == ';') c = ',';
    std::optional<int64_t> count = whole_number(value);
    auto counted = [&](std::optional<int64_t>& to) {
      to = count;
      return count.has_value();
    };
    bool good = true;
    if (key == "none" && equals == std::string::npos) continue;
    if (key == "float16" && equals == std::string::npos) s.float16 = true;
    else if (key == "channel-scale" && equals == std::string::npos) s.channel_scale = true;
    else if (key == "linear") s.linear = value;
    else if (key == "palettize") s.palettize = value;
    else if (key == "prune") s.prune = value;
    else if (key == "mode") s.mode = value;
    else if (key == "granularity") s.granularity = value;
    else if (key == "group") good = counted(s.group);
    else if (key == "vector") good = counted(s.vector);
    else if (key == "min-elements") good = counted(s.threshold) && *count >= 0;
    else good = false;
    if (!good) return usage_error(fmt::format("option --rule: \"{}\" in \"{}\" is no setting", part, text));
  }
  MLT_ASSIGN(rule.recipe, make_recipe(s).in("option --rule"));
  return rule;
}

}  // namespace mlt::compress
