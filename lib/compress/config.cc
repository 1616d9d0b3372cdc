#include "lib/compress/config.h"

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

bool Pattern::matches(std::string_view text) const {
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

}  // namespace mlt::compress
