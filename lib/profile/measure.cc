#include "lib/profile/measure.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/cpu.h"
#include "lib/base/threads.h"
#include "lib/container/program.h"
#include "lib/coreml/nn_layers.h"
#include "lib/kernels/target.h"
#include "lib/profile/tables.h"

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

// As examine() counts them. The description is read again: predictors keep nothing of it.
Result<uint64_t> stored_weight_bytes(const OpenedModel& model) {
  MLT_ASSIGN(auto programs, load_programs(model));
  uint64_t bytes = 0;
  for (const auto& program : programs) {
    if (program == nullptr) continue;
    std::set<std::pair<std::string, uint64_t>> seen;
    for (const auto& function : program->functions)
      function->for_each_op([&](const ir::Op& op) {
        auto add = [&](const ir::Literal* literal) {
          if (literal == nullptr || !literal->tensor.valid() || literal->type.dtype == DType::kString) return;
          if (literal->blob && !seen.emplace(literal->blob->file, literal->blob->offset).second) return;
          bytes += static_cast<uint64_t>(literal->tensor.nbytes());
        };
        for (const auto& [key, value] : op.attributes)
          if (key != "name") add(value.get());
        for (const ir::Arg& arg : op.args)
          for (const ir::Operand& operand : arg.operands) add(operand.literal.get());
      });
  }
  std::function<void(const coreml::Model&)> networks = [&](const coreml::Model& one) {
    for (const coreml::NnWeight& weight : coreml::nn_weights(one)) bytes += weight.bytes;
    for (size_t i = 0; i < one.child_count(); ++i) networks(one.child(i));
  };
  networks(model.model);
  return bytes;
}

}  // namespace

namespace {

// Bound arrays where the model allows it, so that what is counted is the engine's own.
Result<Taken> count_taken(Predictor& predictor, const FeatureMap& inputs, StateTensors& state, const MeasureOptions& options) {
  Taken taken;
  ArrayMap given, wanted;
  for (const auto& [name, value] : inputs)
    if (const auto* array = std::get_if<Tensor>(&value)) given.emplace(name, *array);
  MLT_ASSIGN(FeatureMap outputs, predictor.predict(inputs, &state));
  for (const auto& [name, value] : outputs)
    if (const auto* array = std::get_if<Tensor>(&value)) wanted.emplace(name, array->clone());
  std::unique_ptr<Binding> binding;
  if (given.size() == inputs.size() && wanted.size() == outputs.size())
    if (auto bound = predictor.bind(given, wanted)) binding = std::move(*bound);
  taken.bound = binding != nullptr;
  auto once = [&]() -> Status {
    if (binding != nullptr) return binding->run(&state);
    auto result = predictor.predict(inputs, &state);
    return result ? Status() : Status(std::move(result).error());
  };
  MLT_TRY(once());
  taken.runs = std::clamp(options.runs, 3, 30);
  const uint64_t allocations = options.allocations != nullptr ? options.allocations() : 0;
  const Usage before = usage();
  for (int i = 0; i < taken.runs; ++i) MLT_TRY(once());
  const Usage after = usage();
  const auto mean = [&](double n) { return n / taken.runs; };
  if (options.allocations != nullptr) taken.allocations = mean(static_cast<double>(options.allocations() - allocations));
  taken.page_faults = mean(static_cast<double>(after.page_faults - before.page_faults));
  taken.waits = mean(static_cast<double>(after.waits - before.waits));
  return taken;
}

}  // namespace

Percentiles percentiles(std::vector<double> seconds) {
  Percentiles p;
  if (seconds.empty()) return p;
  std::sort(seconds.begin(), seconds.end());
  auto rank = [&](double q) { return quantile(seconds, q); };
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

  std::vector<double>& times = profile.samples;
  profile.noise.load = load_average();
  const long switches = usage().preempted;
  auto begin = Clock::now();
  while (static_cast<int>(times.size()) < measure_options.runs && (times.size() < 3 || since(begin) < measure_options.max_seconds)) {
    start = Clock::now();
    MLT_TRY(predictor->predict(inputs, &state));
    times.push_back(since(start));
  }
  profile.predict = percentiles(times);
  profile.runs = static_cast<int>(times.size());
  profile.noise.preempted = usage().preempted - switches;
  std::vector<Interval> intervals = bootstrap(times, {0.5, 0.9, 0.99});
  std::copy(intervals.begin(), intervals.end(), profile.intervals);
  if (profile.predict.p50 > 0) profile.noise.spread = profile.predict.p90 / profile.predict.p50 - 1;
  auto half = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  double early = percentiles({times.begin(), half}).p50, late = percentiles({half, times.end()}).p50;
  if (early > 0) profile.noise.drift = late / early - 1;
  profile.machine = machine_facts();
  MLT_ASSIGN(profile.taken, count_taken(*predictor, inputs, state, measure_options));
  profile.warnings = noise_warnings(profile.noise, profile.runs, profile.machine.cores);

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
  if (auto weights = stored_weight_bytes(model); weights.ok()) profile.weight_bytes = *weights;
  profile.peak_resident_bytes = peak_resident_bytes();
  return profile;
}

namespace {

double ms(double seconds) { return std::round(seconds * 1e9) / 1e6; }
ordered_json both(const Interval& interval) { return {ms(interval.low), ms(interval.high)}; }

void add_variants(const Profile& p, ordered_json& out) {
  if (p.peaks) out["peak"] = {{"gflops_per_second", p.peaks->flops / 1e9}, {"gbytes_per_second", p.peaks->bytes / 1e9}, {"cache_gbytes_per_second", p.peaks->cache_bytes / 1e9}, {"roofline_percent", std::round(roofline_percent(p) * 100) / 100}};
  if (p.cold)
    out["cold"] = {{"runs", p.cold->runs}, {"evicted", p.cold->evicted}, {"open", ms(p.cold->open)}, {"load", ms(p.cold->load)}, {"first", ms(p.cold->first)}, {"p50", ms(p.cold->total.p50)}, {"p50_interval", both(p.cold->total_p50)},
                   {"p90", ms(p.cold->total.p90)}};
  for (const SweepPoint& s : p.sweeps) {
    ordered_json one = {{"axis", s.axis}, {"value", s.value}};
    if (s.refused) one["refused"] = *s.refused;
    else
      for (const auto& [key, value] : {std::pair{"p50", ordered_json(ms(s.predict.p50))}, {"p50_interval", both(s.p50)}, {"p90", ordered_json(ms(s.predict.p90))}, {"p99", ordered_json(ms(s.predict.p99))},
                                       {"first", ordered_json(ms(s.first))}, {"per_second", ordered_json(s.per_second)}})
        one[key] = value;
    out["sweeps"].push_back(std::move(one));
  }
  for (const Contender& c : p.compared)
    out["compared"].push_back({{"model", c.name}, {"load", ms(c.load)}, {"first", ms(c.first)}, {"p50", ms(c.predict.p50)}, {"p50_interval", both(c.p50)}, {"p90", ms(c.predict.p90)}, {"p99", ms(c.predict.p99)}, {"ratio", c.ratio},
                               {"ratio_interval", {c.ratio_interval.low, c.ratio_interval.high}}});
}

}  // namespace

std::string profile_json(const Profile& p, const std::string& model) {
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
  const char* names[] = {"p50_interval", "p90_interval", "p99_interval"};
  for (int k = 0; k < 3; ++k) out["predict"][names[k]] = {ms(p.intervals[k].low), ms(p.intervals[k].high)};
  // Enough of the runs to compare with later: at most 1000, evenly taken.
  ordered_json samples = ordered_json::array();
  size_t step = (p.samples.size() + 999) / 1000;
  for (size_t i = 0; i < p.samples.size(); i += step) samples.push_back(ms(p.samples[i]));
  out["predict"]["samples"] = std::move(samples);
  out["noise"] = {{"spread", p.noise.spread}, {"drift", p.noise.drift}, {"preempted", p.noise.preempted}, {"load", p.noise.load}};
  out["warnings"] = p.warnings;
  out["machine"] = {{"system", p.machine.system}, {"cpu_model", p.machine.model}, {"governor", p.machine.governor}, {"cores", p.machine.cores}, {"processors", p.machine.processors}, {"memory", p.machine.memory}};
  out["flops"] = p.flops;
  out["bytes"] = p.bytes;
  out["gflops_per_second"] = p.predict.p50 > 0 ? std::round(p.flops / p.predict.p50 / 1e6) / 1e3 : 0;
  out["memory"] = {{"weights", p.weight_bytes}, {"arena", p.arena_bytes}, {"packed", p.packed_bytes}, {"peak_resident", p.peak_resident_bytes}};
  out["steady"] = {{"bound", p.taken.bound}, {"runs", p.taken.runs}, {"page_faults", p.taken.page_faults}, {"waits", p.taken.waits}};
  out["steady"]["allocations"] = p.taken.allocations ? ordered_json(*p.taken.allocations) : ordered_json();
  out["overhead"] = ms(p.op_overhead);
  add_variants(p, out);
  out["kinds"] = ordered_json::array();
  for (const KindTime& k : by_kind(p)) {
    out["kinds"].push_back({{"kind", k.kind}, {"count", k.count}, {"ms", ms(k.seconds)}, {"flops", k.flops}, {"bytes", k.bytes}});
    if (p.peaks) out["kinds"].back()["roofline_percent"] = k.seconds > 0 ? std::round(1e4 * k.least / k.seconds) / 100 : 0;
  }
  out["ops"] = ordered_json::array();
  for (const OpProfile& op : p.ops) {
    ordered_json one = {{"name", op.step.name}, {"kind", op.step.kind}, {"fused", op.step.fused}, {"kernel", op.step.kernel}, {"refused", op.step.refused},
                        {"ms", ms(op.seconds)}, {"percent", std::round(op.percent * 100) / 100}, {"flops", op.cost.flops}, {"bytes", op.cost.bytes}};
    if (p.peaks) one["roofline_percent"] = std::round(roofline_percent(op, *p.peaks) * 100) / 100;
    out["ops"].push_back(std::move(one));
  }
  return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace mlt
