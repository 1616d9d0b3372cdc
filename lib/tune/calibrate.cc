#include "lib/tune/calibrate.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/container/program.h"
#include "lib/runtime/predictor.h"

namespace mlt::tune {
namespace {

constexpr size_t kBins = 2048;
constexpr double kOutside = 1e-4;

struct Stats {
  double low = 0, high = 0;
  bool any = false, finite = true;
  std::vector<double> bins;  // over [low, high]
};

void extend(Stats& stats, const std::vector<float>& values) {
  for (float v : values) {
    if (!std::isfinite(v)) {
      stats.finite = false;
      continue;
    }
    stats.low = stats.any ? std::min(stats.low, static_cast<double>(v)) : static_cast<double>(v);
    stats.high = stats.any ? std::max(stats.high, static_cast<double>(v)) : static_cast<double>(v);
    stats.any = true;
  }
}

void count(Stats& stats, const std::vector<float>& values) {
  stats.bins.resize(kBins);
  double width = (stats.high - stats.low) / kBins;
  for (float v : values)
    if (std::isfinite(v)) stats.bins[width > 0 ? std::min(kBins - 1, static_cast<size_t>(std::max(0.0, (static_cast<double>(v) - stats.low) / width))) : 0] += 1;
}

compress::ActivationRange choose(const Stats& stats, const compress::ActivationPlan& plan, Observer observer) {
  compress::ActivationRange whole{static_cast<float>(stats.low), static_cast<float>(stats.high)};
  if (observer == Observer::kMinMax || stats.high <= stats.low || stats.bins.empty()) return whole;
  double width = (stats.high - stats.low) / kBins, total = 0;
  for (double n : stats.bins) total += n;
  if (observer == Observer::kPercentile) {
    auto cut = [&](bool from_below) {
      double sum = 0;
      for (size_t i = 0; i < kBins; ++i) {
        sum += stats.bins[from_below ? i : kBins - 1 - i];
        if (sum > total * kOutside / 2) return i;
      }
      return size_t{0};
    };
    return {static_cast<float>(stats.low + static_cast<double>(cut(true)) * width), static_cast<float>(stats.high - static_cast<double>(cut(false)) * width)};
  }
  // Ranges that shrink by a hundredth at a time; what is outside gets the nearest code.
  double best = -1;
  compress::ActivationRange out = whole;
  for (int step = 0; step < 95; ++step) {
    double share = 1 - step / 100.0, low = std::min(0.0, stats.low * share), high = std::max(0.0, stats.high * share);
    if (plan.symmetric) {
      high = std::max(high, -low);
      low = -high;
    }
    double scale = (high - low) / (plan.symmetric ? 254 : 255), error = 0;
    if (scale <= 0) continue;
    for (size_t i = 0; i < kBins; ++i) {
      if (stats.bins[i] == 0) continue;
      double v = stats.low + (static_cast<double>(i) + 0.5) * width;
      double inside = std::clamp(v, low, high);
      double d = std::abs(v - inside) > 0 ? v - inside : scale / std::sqrt(12.0);
      error += stats.bins[i] * d * d;
    }
    if (best < 0 || error < best) {
      best = error;
      out = {static_cast<float>(std::max(stats.low, low)), static_cast<float>(std::min(stats.high, high))};
    }
  }
  return out;
}

// Values that meet in a concat, directly or through another.
std::vector<std::vector<std::string>> concats(const ir::Program& program) {
  std::map<std::string, std::string> parent;
  std::function<std::string(const std::string&)> root = [&](const std::string& name) {
    std::string at = name;
    while (parent.contains(at) && parent[at] != at) at = parent[at];
    return at;
  };
  for (const auto& function : program.functions)
    function->for_each_op([&](const ir::Op& op) {
      if (op.kind != "concat") return;
      std::vector<std::string> names{op.output()->name};
      if (const ir::Arg* arg = op.find("values"))
        for (const ir::Operand& operand : arg->operands)
          if (operand.value != nullptr) names.push_back(operand.value->name);
      for (const std::string& name : names) {
        if (!parent.contains(name)) parent[name] = name;
        std::string a = root(names[0]), b = root(name);
        if (a != b) parent[b] = a;
      }
    });
  std::map<std::string, std::vector<std::string>> groups;
  for (const auto& [name, unused] : parent) groups[root(name)].push_back(name);
  std::vector<std::vector<std::string>> out;
  for (auto& [name, members] : groups) out.push_back(std::move(members));
  return out;
}

}  // namespace

std::optional<Observer> observer_from_name(const std::string& name) {
  if (name == "minmax" || name == "min-max") return Observer::kMinMax;
  if (name == "percentile") return Observer::kPercentile;
  if (name == "mse") return Observer::kMse;
  return std::nullopt;
}

Result<compress::ActivationPlan> calibrate(const OpenedModel& original, const std::vector<FeatureMap>& records, compress::ActivationPlan plan, Observer observer) {
  if (original.model.kind() != coreml::ModelKind::kMlProgram) return unsupported_error(fmt::format("activations of a model of type {} are not quantized", original.model.kind_name()), "mlconvert makes an ML program of a neural network");
  if (records.empty()) return input_error("there are no records to calibrate with");
  MLT_ASSIGN(auto program, load_program(original));
  std::map<std::string, Stats> wanted;
  for (const std::string& name : compress::activations_of(*program, plan)) wanted[name];
  auto groups = concats(*program);
  for (const auto& group : groups)
    for (const std::string& name : group) wanted[name];
  PredictOptions options;
  options.exec.keep_all = true;
  MLT_ASSIGN(auto predictor, Predictor::create(original, options));
  std::set<std::string> inputs;
  for (const auto& function : program->functions)
    for (const auto& input : function->inputs) inputs.insert(input->name);
  for (int pass = 0; pass < (observer == Observer::kMinMax ? 1 : 2); ++pass) {
    auto take = [&](const std::string& name, const std::vector<float>& values) {
      auto it = wanted.find(name);
      if (it == wanted.end()) return;
      if (pass == 0) extend(it->second, values);
      else count(it->second, values);
    };
    predictor->set_observer([&](const StepInfo& info, const std::vector<const Tensor*>& outputs, double) {
      for (size_t i = 0; i < outputs.size() && i < info.output_names.size(); ++i)
        if (outputs[i]->valid() && outputs[i]->dtype() != DType::kString && wanted.contains(info.output_names[i])) take(info.output_names[i], to_floats(*outputs[i]));
    });
    for (size_t i = 0; i < records.size(); ++i) {
      for (const std::string& name : inputs) {
        auto it = records[i].find(name);
        if (it == records[i].end()) continue;
        if (const auto* tensor = std::get_if<Tensor>(&it->second)) take(name, to_floats(*tensor));
        else if (const auto* image = std::get_if<Image>(&it->second)) take(name, to_floats(image->pixels));
      }
      MLT_ASSIGN(StateTensors state, predictor->initial_state());
      MLT_TRY(predictor->predict(records[i], state.empty() ? nullptr : &state).in(fmt::format("record {}", i)));
    }
  }
  for (const auto& [name, stats] : wanted) {
    if (!stats.any) continue;
    if (!stats.finite) return input_error(fmt::format("value {} is infinite or not a number on some record", name));
    plan.ranges[name] = choose(stats, plan, observer);
  }
  for (const auto& group : groups) {
    compress::ActivationRange joint{INFINITY, -INFINITY};
    for (const std::string& name : group)
      if (auto it = plan.ranges.find(name); it != plan.ranges.end()) joint = {std::min(joint.low, it->second.low), std::max(joint.high, it->second.high)};
    for (const std::string& name : group)
      if (auto it = plan.ranges.find(name); it != plan.ranges.end()) it->second = joint;
  }
  return plan;
}

std::string to_json(const compress::ActivationPlan& plan) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& [name, range] : plan.ranges) list.push_back({{"name", name}, {"low", range.low}, {"high", range.high}});
  return list.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace mlt::tune
