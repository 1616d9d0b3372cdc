// Profiles of a model: phases, op times, percentiles, memory. Everything here is wall-clock time; nothing is printed.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/profile/cost.h"
#include "lib/profile/statistics.h"
#include "lib/runtime/predictor.h"

namespace mlt {

struct OpProfile {
  StepInfo step;
  Cost cost;
  double seconds = 0;  // median over the measured runs
  double percent = 0;  // of all ops
};

struct Percentiles {
  double min = 0, p50 = 0, p90 = 0, p99 = 0, max = 0, mean = 0;  // seconds
};
// Nearest-rank percentiles; all zero for an empty list.
Percentiles percentiles(std::vector<double> seconds);

// One measurement of a sweep (variants.h).
struct SweepPoint {
  std::string axis, value;  // "threads", "4"
  Percentiles predict;
  Interval p50;
  double first = 0, per_second = 0;  // per_second: predictions, or items of the batch
  std::optional<std::string> refused;  // why the model does not take the value
};
// From nothing to an answer; medians, seconds.
struct ColdStart {
  int runs = 0;
  bool evicted = false;  // the system was asked to drop the file from its cache, each time
  double open = 0, load = 0, first = 0;
  Percentiles total;
  Interval total_p50;
};
// A model measured side by side with others.
struct Contender {
  std::string name;
  double load = 0, first = 0;
  Percentiles predict;
  Interval p50;
  double ratio = 1;  // of its median to the first model's
  Interval ratio_interval;
};
// What the machine does at most, with our kernels and threads.
struct Peaks {
  double flops = 0;        // a second
  double bytes = 0, cache_bytes = 0;  // read a second, from memory and from the cores' own caches
  double cache_size = 1 << 20;         // bytes that these hold together
};

// What a prediction that repeats the last one takes from the system, on average.
struct Taken {
  bool bound = false;  // with arrays bound to inputs and outputs; otherwise results are made each time
  int runs = 0;
  std::optional<double> allocations;  // when the program counts them
  double page_faults = 0;             // new pages; those already in memory and those from disk
  double waits = 0;                   // times a thread gave its core up
};

struct Profile {
  double open = 0;    // reading and parsing the model, seconds
  double load = 0;    // program, constants
  double first = 0;   // first prediction: shapes, kernels, packing, and the prediction
  Percentiles predict;  // steady state
  std::vector<double> samples;  // of the steady state, seconds, in order
  Interval intervals[3];        // of p50, p90, p99
  Noise noise;
  std::vector<std::string> warnings;  // why not to trust the numbers
  Machine machine;
  int runs = 0, threads = 0;
  std::vector<OpProfile> ops;  // in execution order; empty for models that are not run op by op
  double op_overhead = 0;      // seconds of a median prediction that no op accounts for
  double flops = 0, bytes = 0;
  uint64_t weight_bytes = 0;  // as stored
  size_t arena_bytes = 0, packed_bytes = 0, peak_resident_bytes = 0;
  Taken taken;
  std::string cpu;  // instruction set in use
  // When asked for.
  std::vector<SweepPoint> sweeps;
  std::optional<ColdStart> cold;
  std::vector<Contender> compared;  // this model first
  std::optional<Peaks> peaks;
};
// The least time the operation could take, by its arithmetic or its bytes, in percent of what it took. What fits the
// cores' own caches is taken to lie there.
double roofline_percent(const OpProfile& op, const Peaks& peaks);
// Seconds that the operation would take at the machine's peaks.
double least_seconds(const OpProfile& op, const Peaks& peaks);
// All operations' least seconds in percent of the median prediction; 0 when peaks were not measured.
double roofline_percent(const Profile& p);

struct MeasureOptions {
  int runs = 30;
  double max_seconds = 60;  // stops early, with at least three runs
  bool ops = true;
  uint64_t (*allocations)() = nullptr;  // how many the program has made until now, if it counts
};

// Makes a zero or constant value for every input that `given` leaves out: zeros, mid-gray pictures, the default shape.
Result<FeatureMap> complete_inputs(const coreml::FunctionDescription& description, FeatureMap given);

// `open_seconds` is what opening took before; loading and predicting are measured here. `inputs_of` gives the caller's
// inputs once the interface is known; what it leaves out is made up.
using InputsOf = std::function<Result<FeatureMap>(const coreml::FunctionDescription&)>;
Result<Profile> measure(const OpenedModel& model, const PredictOptions& options, const InputsOf& inputs_of, double open_seconds,
                        const MeasureOptions& measure_options);

// {"schema": "mlprofile", "schema_version": 1, ...}; fields in the man page mlprofile(1). Times in milliseconds.
std::string profile_json(const Profile& profile, const std::string& model);

// "predict.p50>+5%" (against a baseline) or "predict.p50>10" (milliseconds, bytes or counts): a metric's path in the
// JSON, a comparison (> >= < <=), and a limit.
struct FailRule {
  std::string metric;
  bool greater = true, or_equal = false, relative = false;
  double limit = 0;  // fraction when relative
  std::string text;
};
Result<FailRule> parse_fail_rule(const std::string& text);
struct RuleOutcome {
  enum class State { kHolds, kFails, kUndecided };  // kHolds: the model is as it should be
  std::string rule, text;
  State state = State::kHolds;
};
// Relative rules on predict.p50, p90 and p99 are decided by the 95 % interval of the ratio: it fails when the whole
// interval lies beyond the limit, and is undecided when the limit lies within it. Other rules compare numbers. kUsage
// when a metric is not in the profile, or a relative rule has no baseline.
Result<std::vector<RuleOutcome>> check_rules(const std::vector<FailRule>& rules, const std::string& profile, const std::string* baseline);

}  // namespace mlt
