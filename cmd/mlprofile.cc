// mlprofile: where the time, memory and arithmetic of a model go; fail a CI job when they get worse.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>

#include "cmd/mlprofile_allocations.h"
#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/profile/measure.h"
#include "lib/profile/report.h"
#include "lib/profile/variants.h"
#include "lib/runtime/records.h"

using namespace mlt;

namespace {

struct Options {
  std::string model, bf16 = "never";
  std::vector<std::string> values, fail_if, sweeps, compare;
  std::optional<std::string> baseline, function, csv, trace, html, speedscope, junit, github;
  MeasureOptions measure;
  std::optional<int> top;
  int cold = 0;
  bool explain = false, roofline = false;
  cli::KeyOptions keys;
};

// A report that goes to a file of its own.
struct FileReport {
  const std::optional<std::string>* path;
  std::string (*make)(const Profile&, const std::string& model, const std::vector<RuleOutcome>&);
};

Result<int> profile(const Options& o, bool json) {
  // What cannot work is said before anything is measured.
  if (json && (o.top || o.explain)) return usage_error("--top and --explain shape the table; --json has every op and every reason");
  const FileReport reports[] = {
      {&o.csv, [](const Profile& p, const std::string&, const auto&) { return profile_csv(p); }},
      {&o.trace, [](const Profile& p, const std::string& m, const auto&) { return profile_trace(p, m); }},
      {&o.speedscope, [](const Profile& p, const std::string& m, const auto&) { return profile_speedscope(p, m); }},
      {&o.html, profile_html},
      {&o.junit, profile_junit},
      {&o.github, profile_markdown},
  };
  std::vector<std::pair<const FileReport*, cli::Output>> files;
  int to_stdout = 0;
  for (const FileReport& report : reports) {
    if (!*report.path) continue;
    to_stdout += cli::is_standard(**report.path);
    MLT_ASSIGN(cli::Output planned, cli::Output::plan(*report.path, cli::Content::kText, {o.model}));
    files.emplace_back(&report, std::move(planned));
  }
  if (to_stdout > 1 || (to_stdout == 1 && (json || o.top || o.explain))) return usage_error("with a report on stdout nothing else is printed there", "give a file instead of \"-\"");
  std::vector<FailRule> rules;
  for (const std::string& text : o.fail_if) {
    MLT_ASSIGN(FailRule rule, parse_fail_rule(text));
    rules.push_back(std::move(rule));
  }
  std::vector<SweepAxis> axes;
  for (const std::string& text : o.sweeps) {
    MLT_ASSIGN(SweepAxis axis, parse_sweep(text));
    axes.push_back(std::move(axis));
  }
  if (o.cold > 0 && cli::is_standard(o.model)) return usage_error("--cold opens the model again and again, and stdin can be read once");
  if (o.baseline && rules.empty()) return usage_error("--baseline needs a rule to compare by", "add --fail-if 'predict.p50>+5%'");
  std::optional<std::string> baseline;
  if (o.baseline) {
    MLT_ASSIGN(Blob file, map_file(*o.baseline));
    baseline = std::string(file.text());
  }

  PredictOptions options;
  options.function = o.function.value_or("");
  options.exec.bf16 = *bf16_from_name(o.bf16);  // one of the option's choices
  auto inputs_of = [&](const coreml::FunctionDescription& description) { return parse_record(o.values, description.inputs, cli::read_input); };
  std::optional<ColdStart> cold;
  if (o.cold > 0) {
    MLT_ASSIGN(cold, measure_cold([&] { return cli::read_model(o.model, o.keys); }, [&] { return evict_page_cache(o.model); }, options, inputs_of, o.cold));
  }
  auto start = std::chrono::steady_clock::now();
  MLT_ASSIGN(OpenedModel model, cli::read_model(o.model, o.keys));
  double open_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  MeasureOptions measured = o.measure;
  measured.allocations = allocation_count;
  MLT_ASSIGN(Profile p, measure(model, options, inputs_of, open_seconds, measured));
  p.cold = std::move(cold);
  if (o.roofline) p.peaks = measure_peaks();
  MLT_ASSIGN(p.sweeps, sweep(model, options, inputs_of, axes, o.measure));
  if (!o.compare.empty()) {
    std::vector<OpenedModel> others;
    for (const std::string& path : o.compare) {
      MLT_ASSIGN(OpenedModel other, cli::read_model(path, o.keys));
      others.push_back(std::move(other));
    }
    std::vector<const OpenedModel*> all{&model};
    for (const OpenedModel& other : others) all.push_back(&other);
    MLT_ASSIGN(p.compared, compare_models(all, options, inputs_of, o.measure));
  }
  std::string machine = profile_json(p, model.name);
  MLT_ASSIGN(std::vector<RuleOutcome> outcomes, check_rules(rules, machine, baseline ? &*baseline : nullptr));
  for (auto& [report, file] : files) {
    MLT_TRY(file.write(report->make(p, model.name, outcomes)));
    MLT_TRY(file.finish());
  }
  if (to_stdout == 0) MLT_TRY(write_fd(1, as_bytes(json ? machine + "\n" : profile_text(p, static_cast<size_t>(o.top.value_or(20)), o.explain)), "stdout"));
  for (const std::string& warning : p.warnings) cli::print_warning(warning);
  bool fails = false;
  for (const RuleOutcome& outcome : outcomes) {
    if (outcome.state == RuleOutcome::State::kFails) cli::print_error(outcome.rule + ": " + outcome.text);
    if (outcome.state == RuleOutcome::State::kUndecided) cli::print_warning(outcome.rule + ": " + outcome.text);
    fails |= outcome.state == RuleOutcome::State::kFails;
  }
  return fails ? exit_status(Code::kNegative) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  cli::App app("mlprofile", "where a model's time, memory and arithmetic go");
  Options o;
  app.usage("[options] MODEL [NAME=VALUE ...]");
  app.positional(o.model, "MODEL", "model to profile; '-' is stdin").file();
  app.positional(o.values, "NAME=VALUE", "inputs as mlpredict takes them; others are made up").optional();
  app.option("--runs", o.measure.runs, "N", "measured predictions (30)").range(1, 1e6);
  app.option("--max-seconds", o.measure.max_seconds, "S", "stop measuring after S seconds (60)").range(0, 1e6);
  app.option("--function", o.function, "NAME", "function of a multi-function model");
  app.option("--bf16", o.bf16, "WHEN", "multiply in bfloat16: never, fast, always").choices({"never", "fast", "always"});
  app.option("--top", o.top, "N", "ops in the table (20)").range(0, 1e6);
  app.flag("--explain", o.explain, "every op in order, with the kernels that refused and why");
  app.option("--sweep", o.sweeps, "AXIS=A,B", "measure at threads=1,2, batch=1,8 or INPUT=1x3x64x64,...");
  app.option("--compare", o.compare, "MODEL", "measure MODEL in turn with the first").file();
  app.option("--cold", o.cold, "N", "start N times from the file, forgotten by the system").range(1, 1e4);
  app.flag("--roofline", o.roofline, "measure the machine's peaks; operations in percent of them");
  app.option("--csv", o.csv, "FILE", "write all ops as CSV; of all reports, '-' is stdout").file();
  app.option("--baseline", o.baseline, "FILE", "profile (--json) to compare with").file();
  app.option("--fail-if", o.fail_if, "RULE", "exit 1 when RULE holds: 'predict.p50>+5%', 'first>200'");
  app.option("--trace", o.trace, "FILE", "write trace events, for Perfetto and Chrome").file();
  app.option("--speedscope", o.speedscope, "FILE", "write a flame graph, for speedscope").file();
  app.option("--html", o.html, "FILE", "write a page with plots").file();
  app.option("--junit", o.junit, "FILE", "write the rules as test cases").file();
  app.option("--github", o.github, "FILE", "write a summary in Markdown").file();
  app.json_flag("the profile as JSON");
  app.threads_option();
  add_key_options(app, o.keys);
  app.examples("mlprofile model.mlpackage --json > base.json\nmlprofile model.mlpackage --baseline base.json --fail-if 'predict.p50>+5%'");
  return app.run(argc, argv, [&] { return profile(o, app.json()); });
}
