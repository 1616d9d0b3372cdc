// mlprofile: where the time, memory and arithmetic of a model go; fail a CI job when they get worse.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>

#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/profile/measure.h"
#include "lib/runtime/records.h"

using namespace mlt;

namespace {

struct Options {
  std::string model;
  std::vector<std::string> values, fail_if;
  std::optional<std::string> baseline, function, csv;
  MeasureOptions measure;
  std::optional<int> top;
  bool explain = false;
  cli::KeyOptions keys;
};

std::string milliseconds(double seconds) { return fmt::format("{:10.3f} ms", seconds * 1e3); }
std::string mebibytes(size_t bytes) { return fmt::format("{:10.1f} MiB", static_cast<double>(bytes) / (1 << 20)); }

std::string fused_text(const StepInfo& step) {
  std::string text;
  for (const std::string& kind : step.fused) text += (text.empty() ? "" : "+") + kind;
  return text;
}

std::string table(const Profile& p, const Options& o) {
  std::string out;
  out += fmt::format("open       {}\nload       {}\nfirst      {}\n", milliseconds(p.open), milliseconds(p.load), milliseconds(p.first));
  out += fmt::format("predict    {}  p90 {:.3f}  p99 {:.3f}  min {:.3f}  ({} runs, {} threads, {})\n", milliseconds(p.predict.p50), p.predict.p90 * 1e3,
                     p.predict.p99 * 1e3, p.predict.min * 1e3, p.runs, p.threads, p.cpu);
  if (p.flops > 0)
    out += fmt::format("arithmetic {:10.3f} GFLOP, {:.1f} GFLOP/s; {:.1f} MB moved\n", p.flops / 1e9, p.flops / p.predict.p50 / 1e9, p.bytes / 1e6);
  out += fmt::format("memory     {} activations, {:.1f} MiB packed constants, {:.1f} MiB peak resident\n", mebibytes(p.arena_bytes),
                     static_cast<double>(p.packed_bytes) / (1 << 20), static_cast<double>(p.peak_resident_bytes) / (1 << 20));
  if (p.ops.empty()) return out;

  std::vector<const OpProfile*> order;
  for (const OpProfile& op : p.ops)
    if (op.step.kernel != "view") order.push_back(&op);
  if (!o.explain) {
    std::stable_sort(order.begin(), order.end(), [](const OpProfile* a, const OpProfile* b) { return a->seconds > b->seconds; });
    if (order.size() > static_cast<size_t>(o.top.value_or(20))) order.resize(static_cast<size_t>(o.top.value_or(20)));
  }
  out += fmt::format("\n{:>9} {:>6} {:>9} {:>8}  {:<24} {:<26} {}\n", "ms", "%", "GFLOP/s", "GB/s", "kernel", "op", "name");
  for (const OpProfile* op : order) {
    double s = std::max(op->seconds, 1e-12);
    out += fmt::format("{:9.3f} {:6.2f} {:9.1f} {:8.1f}  {:<24} {:<26} {}\n", op->seconds * 1e3, op->percent, op->cost.flops / s / 1e9, op->cost.bytes / s / 1e9,
                       op->step.kernel, fused_text(op->step), cli::printable(op->step.name));
    if (o.explain)
      for (const std::string& refused : op->step.refused) out += fmt::format("{:>37}  not {}\n", "", refused);
  }
  return out;
}

std::string csv(const Profile& p) {
  std::string out = "name,kind,fused,kernel,ms,percent,flops,bytes\n";
  for (const OpProfile& op : p.ops) {
    std::string name = op.step.name;
    std::replace(name.begin(), name.end(), '"', '\'');
    out += fmt::format("\"{}\",{},{},\"{}\",{:.6f},{:.3f},{:.0f},{:.0f}\n", name, op.step.kind, fused_text(op.step), op.step.kernel, op.seconds * 1e3, op.percent,
                       op.cost.flops, op.cost.bytes);
  }
  return out;
}

Result<int> profile(const Options& o, bool json) {
  // What cannot work is said before anything is measured.
  if (json && (o.top || o.explain)) return usage_error("--top and --explain shape the table; --json has every op and every reason");
  std::optional<cli::Output> csv_file;
  if (o.csv) {
    if (cli::is_standard(*o.csv) && (json || o.top || o.explain)) return usage_error("with \"--csv -\" nothing else is printed", "give --csv a file");
    MLT_ASSIGN(cli::Output planned, cli::Output::plan(o.csv, cli::Content::kText, {o.model}));
    csv_file.emplace(std::move(planned));
  }
  std::vector<FailRule> rules;
  for (const std::string& text : o.fail_if) {
    MLT_ASSIGN(FailRule rule, parse_fail_rule(text));
    rules.push_back(std::move(rule));
  }
  if (o.baseline && rules.empty()) return usage_error("--baseline needs a rule to compare by", "add --fail-if 'predict.p50>+5%'");
  std::optional<std::string> baseline;
  if (o.baseline) {
    MLT_ASSIGN(Blob file, map_file(*o.baseline));
    baseline = std::string(file.text());
  }

  auto start = std::chrono::steady_clock::now();
  MLT_ASSIGN(OpenedModel model, cli::read_model(o.model, o.keys));
  double open_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  PredictOptions options;
  options.function = o.function.value_or("");
  auto inputs_of = [&](const coreml::FunctionDescription& description) { return parse_record(o.values, description.inputs, cli::read_input); };
  MLT_ASSIGN(Profile p, measure(model, options, inputs_of, open_seconds, o.measure));
  std::string machine = profile_json(p, model.name);
  MLT_ASSIGN(std::vector<std::string> failures, check_rules(rules, machine, baseline ? &*baseline : nullptr));
  if (csv_file) {
    MLT_TRY(csv_file->write(csv(p)));
    MLT_TRY(csv_file->finish());
  }
  if (!o.csv || !cli::is_standard(*o.csv)) MLT_TRY(write_fd(1, as_bytes(json ? machine + "\n" : table(p, o)), "stdout"));
  for (const std::string& failure : failures) cli::print_error(failure);
  return failures.empty() ? 0 : exit_status(Code::kNegative);
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
  app.option("--top", o.top, "N", "ops in the table (20)").range(0, 1e6);
  app.flag("--explain", o.explain, "every op in order, with the kernels that refused and why");
  app.option("--csv", o.csv, "FILE", "write all ops as CSV; '-' is stdout").file();
  app.option("--baseline", o.baseline, "FILE", "profile (--json) to compare with").file();
  app.option("--fail-if", o.fail_if, "RULE", "exit 1 when RULE holds: 'predict.p50>+5%', 'first>200'");
  app.not_yet("--trace", true);
  app.not_yet("--html", true);
  app.json_flag("the profile as JSON");
  app.threads_option();
  add_key_options(app, o.keys);
  app.examples("mlprofile model.mlpackage --json > base.json\nmlprofile model.mlpackage --baseline base.json --fail-if 'predict.p50>+5%'");
  return app.run(argc, argv, [&] { return profile(o, app.json()); });
}
