#include <fmt/core.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "lib/profile/measure.h"
#include "lib/profile/statistics.h"

namespace mlt {

Result<FailRule> parse_fail_rule(const std::string& text) {
  FailRule rule;
  rule.text = text;
  size_t at = text.find_first_of("<>");
  auto bad = [&] { return usage_error("cannot read the rule \"" + text + "\"", "write it as 'predict.p50>+5%' or 'predict.p50>12.5'"); };
  if (at == 0 || at == std::string::npos) return bad();
  rule.metric = text.substr(0, at);
  rule.greater = text[at] == '>';
  std::string rest = text.substr(at + 1);
  if (rest.starts_with("=")) {
    rule.or_equal = true;
    rest.erase(0, 1);
  }
  bool plus = rest.starts_with("+") || rest.starts_with("-");
  if (rest.ends_with("%")) {
    if (!plus) return bad();
    rule.relative = true;
    rest.pop_back();
  }
  char* end = nullptr;
  rule.limit = std::strtod(rest.c_str(), &end);
  if (rest.empty() || *end != '\0' || !std::isfinite(rule.limit)) return bad();
  if (rule.relative) rule.limit /= 100;
  return rule;
}

namespace {

std::optional<double> metric(const nlohmann::json& profile, const std::string& path) {
  const nlohmann::json* node = &profile;
  for (size_t start = 0;;) {
    size_t dot = path.find('.', start);
    std::string key = path.substr(start, dot == std::string::npos ? dot : dot - start);
    if (!node->is_object() || !node->contains(key)) return std::nullopt;
    node = &(*node)[key];
    if (dot == std::string::npos) break;
    start = dot + 1;
  }
  if (!node->is_number()) return std::nullopt;
  return node->get<double>();
}

std::vector<double> sample_of(const nlohmann::json& profile) {
  std::vector<double> out;
  auto predict = profile.find("predict");
  if (predict == profile.end() || !predict->is_object() || !predict->contains("samples") || !(*predict)["samples"].is_array()) return out;
  for (const auto& value : (*predict)["samples"])
    if (value.is_number() && out.size() < 100000) out.push_back(value.get<double>());
  return out;
}

}  // namespace

Result<std::vector<RuleOutcome>> check_rules(const std::vector<FailRule>& rules, const std::string& profile, const std::string* baseline) {
  nlohmann::json now = nlohmann::json::parse(profile, nullptr, false), then;
  if (baseline != nullptr) {
    then = nlohmann::json::parse(*baseline, nullptr, false);
    if (then.is_discarded() || !then.is_object() || !then.contains("schema") || then["schema"] != "mlprofile" || !then.contains("schema_version") || then["schema_version"] != 1)
      return input_error("the baseline is no profile written by mlprofile --json");
  }
  using State = RuleOutcome::State;
  std::vector<RuleOutcome> out;
  for (const FailRule& rule : rules) {
    auto value = metric(now, rule.metric);
    if (!value) return usage_error("rule \"" + rule.text + "\": the profile has no number \"" + rule.metric + "\"");
    double limit = rule.limit;
    std::string against;
    auto beyond = [&](double x, double bound) { return rule.greater ? (rule.or_equal ? x >= bound : x > bound) : (rule.or_equal ? x <= bound : x < bound); };
    RuleOutcome outcome{rule.text, "", State::kHolds};
    if (rule.relative) {
      if (baseline == nullptr) return usage_error("rule \"" + rule.text + "\" compares with a baseline, and none is given", "add --baseline FILE");
      auto base = metric(then, rule.metric);
      if (!base) return usage_error("rule \"" + rule.text + "\": the baseline has no number \"" + rule.metric + "\"");
      limit = *base * (1 + rule.limit);
      against = fmt::format(", baseline {}", *base);
      double q = rule.metric == "predict.p50" ? 0.5 : rule.metric == "predict.p90" ? 0.9 : rule.metric == "predict.p99" ? 0.99 : 0;
      std::vector<double> a = sample_of(now), b = sample_of(then);
      if (q > 0 && a.size() >= 3 && b.size() >= 3) {
        Interval ratio = bootstrap_ratio(a, b, q);
        bool low = beyond(ratio.low, 1 + rule.limit), high = beyond(ratio.high, 1 + rule.limit);
        outcome.state = low && high ? State::kFails : low || high ? State::kUndecided : State::kHolds;
        outcome.text = fmt::format("{} is {}{}: {:+.1f} % (95 % interval {:+.1f} to {:+.1f} %)", rule.metric, *value, against, (*value / *base - 1) * 100, (ratio.low - 1) * 100, (ratio.high - 1) * 100);
        if (outcome.state == State::kUndecided) outcome.text += ", which does not decide; more --runs may";
        out.push_back(std::move(outcome));
        continue;
      }
    }
    if (beyond(*value, limit)) outcome.state = State::kFails;
    outcome.text = fmt::format("{} is {}{}", rule.metric, *value, against);
    out.push_back(std::move(outcome));
  }
  return out;
}

}  // namespace mlt
