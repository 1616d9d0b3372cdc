#include "lib/compress/config.h"

#include <fmt/core.h>
#include <regex.h>

#include <algorithm>

namespace mlt::compress {

// regcomp rather than std::regex: the latter recurses once per character, and names in a model may be long.
struct Pattern::Compiled {
  regex_t regex{};
  bool valid = false;
  ~Compiled() {
    if (valid) regfree(&regex);
  }
};

Result<Pattern> Pattern::compile(const std::string& text) {
  auto compiled = std::make_shared<Compiled>();
  int code = regcomp(&compiled->regex, text.c_str(), REG_EXTENDED | REG_NOSUB);
  if (code != 0) {
    char message[256];
    regerror(code, &compiled->regex, message, sizeof message);
    return usage_error("\"" + text + "\" is no regular expression: " + message);
  }
  compiled->valid = true;
  Pattern pattern;
  pattern.compiled_ = std::move(compiled);
  return pattern;
}

Pattern Pattern::exactly(std::string text) {
  Pattern pattern;
  pattern.exact_ = std::move(text);
  return pattern;
}

bool Pattern::matches(std::string_view text) const {
  if (compiled_ == nullptr) return text == exact_;
  return regexec(&compiled_->regex, std::string(text).c_str(), 0, nullptr, 0) == 0;
}

bool Config::selects(const std::vector<std::string>& names) const {
  auto any = [&](const std::vector<Pattern>& patterns) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const Pattern& pattern) {
      return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return pattern.matches(name); });
    });
  };
  return (only.empty() || any(only)) && !any(skip);
}

const Recipe* Config::recipe_for(const std::vector<std::string>& names, const std::vector<User>& users) const {
  auto by_name = [&](std::string_view name) -> const Recipe* {
    for (const Rule& rule : rules)
      if (rule.name && rule.name->matches(name)) return &rule.recipe;
    return nullptr;
  };
  for (const std::string& name : names)
    if (const Recipe* found = by_name(name)) return found;
  const Recipe* chosen = nullptr;
  for (const User& user : users) {
    const Recipe* found = by_name(user.name);
    for (size_t i = 0; found == nullptr && i < rules.size(); ++i)
      if (!rules[i].name && rules[i].op_kind == user.kind) found = &rules[i].recipe;
    if (found == nullptr) found = &recipe;
    if (chosen != nullptr && !(*found == *chosen)) return nullptr;
    chosen = found;
  }
  return chosen != nullptr ? chosen : &recipe;
}

namespace {

std::string describe(const Linear& linear) {
  std::string per = linear.per == Linear::Per::kTensor ? "tensor" : "channel";
  if (linear.per == Linear::Per::kBlock) {
    per = "block of ";
    for (size_t i = 0; i < linear.block.size(); ++i) per += (i == 0 ? "" : "x") + std::to_string(linear.block[i]);
  }
  if (linear.dynamic) return "linear int8 with activations";
  return fmt::format("linear {}int{} {} per {}", linear.is_signed ? "" : "u", linear.bits, linear.symmetric ? "symmetric" : "asymmetric", per);
}

std::string describe(const Palette& palette) {
  std::string text = palette.mode == Palette::Mode::kUnique ? "palette of the distinct values"
                     : palette.mode == Palette::Mode::kCustom ? "given palette"
                     : fmt::format("palette of {} bits, {}", palette.bits, palette.mode == Palette::Mode::kKMeans ? "k-means" : "uniform");
  if (palette.group > 0) text += fmt::format(", per {} channels", palette.group);
  if (palette.vector > 1) text += fmt::format(", vectors of {}", palette.vector);
  if (palette.channel_scale) text += ", channels scaled";
  return text;
}

std::string describe(const Prune& prune) {
  if (prune.kind == Prune::Kind::kThreshold) return fmt::format("pruned up to {:g}", prune.threshold);
  if (prune.kind == Prune::Kind::kPattern) return fmt::format("pruned {} of {}", prune.n, prune.m);
  return fmt::format("pruned to {:g} zeros", prune.sparsity) + (prune.block > 1 ? fmt::format(" in blocks of {}", prune.block) : "");
}

}  // namespace

std::string describe(const Recipe& recipe) {
  std::string text;
  auto add = [&](const std::string& part) { text += (text.empty() ? "" : "; ") + part; };
  if (recipe.float16) add("float16");
  if (recipe.prune) add(describe(*recipe.prune));
  if (recipe.palette) add(describe(*recipe.palette));
  if (recipe.linear) add(describe(*recipe.linear));
  return text.empty() ? "nothing" : text;
}

std::string describe(const Config& config) {
  if (config.decompress) return "decompress";
  return describe(config.recipe) + (config.rules.empty() ? "" : fmt::format("; {} exception{}", config.rules.size(), config.rules.size() == 1 ? "" : "s"));
}

}  // namespace mlt::compress
