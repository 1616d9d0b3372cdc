#include "lib/profile/measure.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/base/cpu.h"
#include "lib/base/threads.h"
#include "lib/kernels/target.h"

namespace mlt {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Result<FeatureValue> neutral_value(const coreml::FeatureDescription& feature) {
  using coreml::FeatureKind;
  switch (feature.type.kind) {
    case FeatureKind::kInt64: return FeatureValue(int64_t{0});
    case FeatureKind::kDouble: return FeatureValue(0.0);
    case FeatureKind::kString: return FeatureValue(std::string());
    case FeatureKind::kDictionary:
      return feature.type.element == FeatureKind::kInt64 ? FeatureValue(IntDict{}) : FeatureValue(StringDict{});
    case FeatureKind::kSequence:
      return feature.type.element == FeatureKind::kInt64 ? FeatureValue(IntList{}) : FeatureValue(StringList{});
    case FeatureKind::kImage: {
      const auto& type = feature.type.image;
      if (type.width <= 0 || type.height <= 0 || type.width * type.height > (int64_t{1} << 26)) return input_error("input \"" + feature.name + "\" has no usable size");
      Image image;
      image.order = pixel_order(type.color_space).value_or(PixelOrder::kRgb);
      image.channels = image.order == PixelOrder::kGray ? 1 : 3;
      image.width = static_cast<int>(type.width);
      image.height = static_cast<int>(type.height);
      image.pixels = Tensor::uninitialized(DType::kU8, {type.height, type.width, image.channels});
      std::fill_n(image.pixels.mutable_data<uint8_t>(), image.pixels.size(), uint8_t{128});
      return FeatureValue(std::move(image));
    }
    case FeatureKind::kMultiArray: {
      const auto& array = feature.type.array;
      Dims dims = array.shape;
      if (dims.empty() && !array.enumerated_shapes.empty()) dims = array.enumerated_shapes[0];
      if (dims.empty())
        for (const auto& range : array.shape_range) dims.push_back(static_cast<int64_t>(std::max<uint64_t>(range.lower, 1)));
      MLT_ASSIGN(int64_t count, element_count(dims));
      if (count > (int64_t{1} << 30)) return input_error("input \"" + feature.name + "\" is too large to make up");
      return FeatureValue(Tensor::zeros(array.dtype().value_or(DType::kF64), dims));
    }
    default: return unsupported_error("input \"" + feature.name + "\" of this kind cannot be made up", "give it as " + feature.name + "=...");
  }
}

}  // namespace

Percentiles percentiles(std::vector<double> seconds) {
  Percentiles p;
  if (seconds.empty()) return p;
  std::sort(seconds.begin(), seconds.end());
  auto rank = [&](double q) {
    auto n = static_cast<double>(seconds.size());
    auto i = static_cast<size_t>(std::ceil(q * n));
    return seconds[std::clamp<size_t>(i, 1, seconds.size()) - 1];
  };
  p.min = seconds.front();
  p.max = seconds.back();
  p.p50 = rank(0.5);
  p.p90 = rank(0.9);
  p.p99 = rank(0.99);
  for (double s : seconds) p.mean += s / static_cast<double>(seconds.size());
  return p;
}

Result<FeatureMap> complete_inputs(const coreml::FunctionDescription& description, FeatureMap given) {
  for (const auto& [name, value] : given)
    if (coreml::find_feature(description.inputs, name) == nullptr) {
      std::string names;
      for (const auto& f : description.inputs) names += (names.empty() ? "" : ", ") + f.name;
      return usage_error("the model has no input \"" + name + "\"", "its inputs are: " + names);
    }
  for (const auto& feature : description.inputs) {
    if (given.contains(feature.name) || feature.type.optional) continue;
    MLT_ASSIGN(given[feature.name], neutral_value(feature));
  }
  return given;
}

Result<Profile> measure(const OpenedModel& model, const PredictOptions& options, const InputsOf& inputs_of, double open_seconds,
                        const MeasureOptions& measure_options) {
  Profile profile;
  profile.open = open_seconds;
  profile.threads = thread_count();
  profile.cpu = kernel_target();

  auto start = Clock::now();
  MLT_ASSIGN(auto predictor, Predictor::create(model, options));
  profile.load = since(start);
  MLT_ASSIGN(FeatureMap given, inputs_of(predictor->description()));
  MLT_ASSIGN(FeatureMap inputs, complete_inputs(predictor->description(), std::move(given)));
  MLT_ASSIGN(StateTensors state, predictor->initial_state());

  start = Clock::now();
  MLT_TRY(predictor->predict(inputs, &state));
  profile.first = since(start);

  std::vector<double> times;
  auto begin = Clock::now();
  while (static_cast<int>(times.size()) < measure_options.runs && (times.size() < 3 || since(begin) < measure_options.max_seconds)) {
    start = Clock::now();
    MLT_TRY(predictor->predict(inputs, &state));
    times.push_back(since(start));
  }
  profile.predict = percentiles(times);
  profile.runs = static_cast<int>(times.size());

  if (measure_options.ops && !predictor->executors().empty()) {
    // A second round with a clock around every step; the first one is not disturbed by it.
    std::vector<StepInfo> steps;
    std::vector<std::vector<double>> seconds;
    size_t at = 0;
    int round = 0;
    predictor->set_observer([&](const StepInfo& info, const std::vector<const Tensor*>&, double s) {
      if (round == 0) {
        steps.push_back(info);
        seconds.emplace_back();
      }
      if (at < seconds.size()) seconds[at++].push_back(s);
    });
    int rounds = std::clamp(profile.runs / 2, 3, 30);
    for (; round < rounds; ++round) {
      at = 0;
      MLT_TRY(predictor->predict(inputs, &state));
    }
    predictor->set_observer({});
    double total = 0;
    for (size_t i = 0; i < steps.size(); ++i) {
      OpProfile op;
      op.cost = step_cost(steps[i]);
      op.step = std::move(steps[i]);
      op.seconds = percentiles(seconds[i]).p50;
      total += op.seconds;
      profile.flops += op.cost.flops;
      profile.bytes += op.cost.bytes;
      profile.ops.push_back(std::move(op));
    }
    for (OpProfile& op : profile.ops) op.percent = total > 0 ? 100 * op.seconds / total : 0;
    profile.op_overhead = std::max(0.0, profile.predict.p50 - total);
  }
  for (Executor* executor : predictor->executors()) {
    const PlanInfo* info = executor->last_plan();
    if (info == nullptr) continue;
    profile.arena_bytes += info->arena_bytes + info->scratch_bytes;
    profile.packed_bytes += info->packed_bytes;
  }
  profile.peak_resident_bytes = peak_resident_bytes();
  return profile;
}

std::string profile_json(const Profile& p, const std::string& model) {
  auto ms = [](double seconds) { return std::round(seconds * 1e9) / 1e6; };
  ordered_json out;
  out["schema"] = "mlprofile";
  out["schema_version"] = 1;
  out["model"] = model;
  out["threads"] = p.threads;
  out["cpu"] = p.cpu;
  out["open"] = ms(p.open);
  out["load"] = ms(p.load);
  out["first"] = ms(p.first);
  out["predict"] = {{"runs", p.runs},         {"min", ms(p.predict.min)}, {"p50", ms(p.predict.p50)}, {"p90", ms(p.predict.p90)},
                    {"p99", ms(p.predict.p99)}, {"max", ms(p.predict.max)}, {"mean", ms(p.predict.mean)}};
  out["flops"] = p.flops;
  out["bytes"] = p.bytes;
  out["gflops_per_second"] = p.predict.p50 > 0 ? std::round(p.flops / p.predict.p50 / 1e6) / 1e3 : 0;
  out["memory"] = {{"arena", p.arena_bytes}, {"packed", p.packed_bytes}, {"peak_resident", p.peak_resident_bytes}};
  out["overhead"] = ms(p.op_overhead);
  out["ops"] = ordered_json::array();
  for (const OpProfile& op : p.ops)
    out["ops"].push_back({{"name", op.step.name}, {"kind", op.step.kind}, {"fused", op.step.fused}, {"kernel", op.step.kernel}, {"refused", op.step.refused},
                          {"ms", ms(op.seconds)}, {"percent", std::round(op.percent * 100) / 100}, {"flops", op.cost.flops}, {"bytes", op.cost.bytes}});
  return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

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

}  // namespace

Result<std::vector<std::string>> check_rules(const std::vector<FailRule>& rules, const std::string& profile, const std::string* baseline) {
  nlohmann::json now = nlohmann::json::parse(profile, nullptr, false), then;
  if (baseline != nullptr) {
    then = nlohmann::json::parse(*baseline, nullptr, false);
    if (then.is_discarded() || !then.is_object() || !then.contains("schema") || then["schema"] != "mlprofile" || !then.contains("schema_version") || then["schema_version"] != 1)
      return input_error("the baseline is no profile written by mlprofile --json");
  }
  std::vector<std::string> failures;
  for (const FailRule& rule : rules) {
    auto value = metric(now, rule.metric);
    if (!value) return usage_error("rule \"" + rule.text + "\": the profile has no number \"" + rule.metric + "\"");
    double limit = rule.limit;
    std::string against;
    if (rule.relative) {
      if (baseline == nullptr) return usage_error("rule \"" + rule.text + "\" compares with a baseline, and none is given", "add --baseline FILE");
      auto base = metric(then, rule.metric);
      if (!base) return usage_error("rule \"" + rule.text + "\": the baseline has no number \"" + rule.metric + "\"");
      limit = *base * (1 + rule.limit);
      against = fmt::format(", baseline {}", *base);
    }
    bool fails = rule.greater ? (rule.or_equal ? *value >= limit : *value > limit) : (rule.or_equal ? *value <= limit : *value < limit);
    if (fails) failures.push_back(fmt::format("{}: {} is {}{}", rule.text, rule.metric, *value, against));
  }
  return failures;
}

}  // namespace mlt
