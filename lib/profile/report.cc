#include "lib/profile/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/inspect/drawing.h"
#include "lib/inspect/text_util.h"
#include "lib/profile/tables.h"

namespace mlt {
namespace {

using inspect::clean;
using inspect::escaped;
using nlohmann::ordered_json;

std::string dumped(const ordered_json& value) {
  return value.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

// A cell of a Markdown table: nothing that could end it or become markup.
std::string cell(const std::string& text) {
  std::string out;
  for (char c : escaped(clean(text, 200))) {
    if (c == '|' || c == '\\' || c == '`' || c == '*' || c == '_' || c == '[' || c == ']' || c == '!' ||
        c == '#')
      out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

std::string profile_csv(const Profile& p) {
  std::string out = "name,kind,fused,kernel,ms,percent,flops,bytes\n";
  for (const OpProfile& op : p.ops) {
    std::string name = op.step.name;
    std::replace(name.begin(), name.end(), '"', '\'');
    out += fmt::format("\"{}\",{},{},\"{}\",{:.6f},{:.3f},{:.0f},{:.0f}\n", name, op.step.kind,
                       fused_text(op.step), op.step.kernel, op.seconds * 1e3, op.percent, op.cost.flops,
                       op.cost.bytes);
  }
  return out;
}

std::string profile_trace(const Profile& p, const std::string& model) {
  ordered_json events = ordered_json::array();
  auto meta = [&](const char* what, int tid, const std::string& name) {
    events.push_back({{"name", what}, {"ph", "M"}, {"pid", 1}, {"tid", tid}, {"args", {{"name", name}}}});
  };
  meta("process_name", 0, "mlprofile " + model);
  meta("thread_name", 1, "phases");
  meta("thread_name", 2, "operations");
  double at = 0;  // microseconds
  auto slice = [&](int tid, const std::string& name, const char* category, double start, double seconds,
                   ordered_json args) {
    ordered_json event = {{"name", name},         {"cat", category}, {"ph", "X"}, {"ts", start},
                          {"dur", seconds * 1e6}, {"pid", 1},        {"tid", tid}};
    if (!args.empty()) event["args"] = std::move(args);
    events.push_back(std::move(event));
  };
  for (const auto& [name, seconds] : {std::pair{"open", p.open}, {"load", p.load}, {"first", p.first}}) {
    slice(1, name, "phase", at, seconds, {});
    at += seconds * 1e6;
  }
  double total = 0;
  for (const OpProfile& op : p.ops) total += op.seconds;
  slice(1, "predict", "phase", at, std::max(p.predict.p50, total),
        {{"p50_ms", p.predict.p50 * 1e3}, {"p90_ms", p.predict.p90 * 1e3}, {"p99_ms", p.predict.p99 * 1e3}});
  for (const OpProfile& op : p.ops) {
    slice(2, op.step.name, op.step.kind.c_str(), at, op.seconds,
          {{"kind", op.step.kind},
           {"fused", op.step.fused},
           {"kernel", op.step.kernel},
           {"flops", op.cost.flops},
           {"bytes", op.cost.bytes}});
    at += op.seconds * 1e6;
  }
  return dumped({{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}});
}

std::string profile_speedscope(const Profile& p, const std::string& model) {
  ordered_json frames = ordered_json::array(), events = ordered_json::array();
  std::map<std::string, size_t> index;
  auto frame = [&](const std::string& name) {
    auto [it, fresh] = index.try_emplace(name, frames.size());
    if (fresh) frames.push_back({{"name", name}});
    return it->second;
  };
  double at = 0;
  auto span = [&](size_t f, double seconds, const auto& inside) {
    events.push_back({{"type", "O"}, {"frame", f}, {"at", at}});
    double start = at;
    inside();
    at = std::max(at, start + seconds * 1e3);
    events.push_back({{"type", "C"}, {"frame", f}, {"at", at}});
  };
  auto nothing = [] {};
  span(frame("open"), p.open, nothing);
  span(frame("load"), p.load, nothing);
  span(frame("first"), p.first, nothing);
  span(frame("predict"), p.predict.p50, [&] {
    for (const OpProfile& op : p.ops)
      span(frame(op.step.kind), op.seconds,
           [&] { span(frame(op.step.name + " (" + op.step.kernel + ")"), op.seconds, nothing); });
  });
  ordered_json one = {{"type", "evented"}, {"name", model},  {"unit", "milliseconds"},
                      {"startValue", 0},   {"endValue", at}, {"events", std::move(events)}};
  return dumped({{"$schema", "https://www.speedscope.app/file-format-schema.json"},
                 {"shared", {{"frames", std::move(frames)}}},
                 {"profiles", ordered_json::array({std::move(one)})},
                 {"name", model},
                 {"activeProfileIndex", 0},
                 {"exporter", "mlprofile"}});
}

std::string profile_junit(const Profile& p, const std::string& model,
                          const std::vector<RuleOutcome>& outcomes) {
  size_t failures = 0, undecided = 0;
  std::string cases;
  std::string time = fmt::format("{:.6f}", p.predict.p50), suite = escaped(clean(model));
  for (const RuleOutcome& o : outcomes) {
    cases +=
        fmt::format("  <testcase classname=\"{}\" name=\"{}\" time=\"{}\"", suite, escaped(o.rule), time);
    if (o.state == RuleOutcome::State::kHolds) {
      cases += "/>\n";
      continue;
    }
    bool fails = o.state == RuleOutcome::State::kFails;
    ++(fails ? failures : undecided);
    cases += fmt::format(">\n    <{0} message=\"{1}\"/>\n  </testcase>\n", fails ? "failure" : "skipped",
                         escaped(clean(o.text)));
  }
  if (outcomes.empty())
    cases = fmt::format("  <testcase classname=\"{}\" name=\"predict\" time=\"{}\"/>\n", suite, time);
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"mlprofile\" tests=\"{}\" "
      "failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{}\">\n{}</testsuite>\n",
      std::max<size_t>(outcomes.size(), 1), failures, undecided, time, cases);
}

std::string profile_markdown(const Profile& p, const std::string& model,
                             const std::vector<RuleOutcome>& outcomes) {
  std::string out = fmt::format("### {}\n\n| | ms | 95 % interval |\n|---|---:|---|\n", cell(model));
  const char* names[] = {"p50", "p90", "p99"};
  double values[] = {p.predict.p50, p.predict.p90, p.predict.p99};
  for (int k = 0; k < 3; ++k)
    out += fmt::format("| predict {} | {} | {} to {} |\n", names[k], milliseconds(values[k]), milliseconds(p.intervals[k].low),
                       milliseconds(p.intervals[k].high));
  out += fmt::format("| first | {} | |\n| load | {} | |\n| open | {} | |\n\n", milliseconds(p.first), milliseconds(p.load),
                     milliseconds(p.open));
  if (!outcomes.empty()) {
    out += "| rule | | |\n|---|---|---|\n";
    for (const RuleOutcome& o : outcomes)
      out += fmt::format("| {} | {} | {} |\n", cell(o.rule),
                         o.state == RuleOutcome::State::kFails ? "**fails**" : verdict(o), cell(o.text));
    out += '\n';
  }
  if (!p.ops.empty()) {
    out += "| ms | % | kernel | operation |\n|---:|---:|---|---|\n";
    for (const OpProfile* op : slowest(p, 10))
      out += fmt::format("| {} | {:.1f} | {} | {} {} |\n", milliseconds(op->seconds), op->percent,
                         cell(op->step.kernel), cell(op->step.kind), cell(op->step.name));
    out += '\n';
  }
  for (const std::string& warning : p.warnings) out += fmt::format("> {}\n", cell(warning));
  return out +
         fmt::format("\n{} runs, {} threads, {}, {}\n", p.runs, p.threads, p.cpu, cell(p.machine.model));
}

}  // namespace mlt
