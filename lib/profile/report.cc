#include "lib/profile/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/inspect/drawing.h"
#include "lib/inspect/text_util.h"

namespace mlt {
namespace {

using inspect::clean;
using inspect::escaped;
using nlohmann::ordered_json;

std::string fused_text(const StepInfo& step) {
  std::string text;
  for (const std::string& kind : step.fused) text += (text.empty() ? "" : "+") + kind;
  return text;
}

std::string dumped(const ordered_json& value) {
  return value.dump(1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string ms(double seconds) { return fmt::format("{:.3f}", seconds * 1e3); }

struct KindTime {
  std::string kind;
  int64_t count = 0;
  double seconds = 0;
};
std::vector<KindTime> by_kind(const Profile& p) {
  std::map<std::string, KindTime> table;
  for (const OpProfile& op : p.ops) {
    KindTime& row = table[op.step.kind];
    row.kind = op.step.kind;
    ++row.count;
    row.seconds += op.seconds;
  }
  std::vector<KindTime> out;
  for (auto& [kind, row] : table) out.push_back(std::move(row));
  std::stable_sort(out.begin(), out.end(),
                   [](const KindTime& a, const KindTime& b) { return a.seconds > b.seconds; });
  return out;
}

std::vector<const OpProfile*> slowest(const Profile& p, size_t most) {
  std::vector<const OpProfile*> order;
  for (const OpProfile& op : p.ops) order.push_back(&op);
  std::stable_sort(order.begin(), order.end(),
                   [](const OpProfile* a, const OpProfile* b) { return a->seconds > b->seconds; });
  if (order.size() > most) order.resize(most);
  return order;
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

const char* verdict(const RuleOutcome& o) {
  return o.state == RuleOutcome::State::kFails       ? "fails"
         : o.state == RuleOutcome::State::kUndecided ? "undecided"
                                                     : "holds off";
}

// Every run as a dot, with the median and its interval.
std::string runs_plot(const Profile& p) {
  constexpr double kWidth = 900, kHeight = 220, kLeft = 60, kBottom = 24;
  if (p.samples.empty()) return "";
  double top = *std::max_element(p.samples.begin(), p.samples.end()) * 1.08;
  if (!(top > 0)) return "";
  auto y = [&](double seconds) { return 8 + (kHeight - kBottom - 8) * (1 - seconds / top); };
  std::string out = fmt::format(
      "<svg viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" font-size=\"11\" "
      "font-family=\"sans-serif\">",
      kWidth, kHeight);
  for (int k = 0; k <= 4; ++k)
    out += fmt::format(
        "<line x1=\"{0:.0f}\" x2=\"{1:.0f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#d9dee3\"/><text "
        "x=\"{3:.0f}\" y=\"{4:.1f}\" text-anchor=\"end\" fill=\"#56606b\">{5:.3g} ms</text>",
        kLeft, kWidth, y(top * k / 4), kLeft - 6, y(top * k / 4) + 4, top * k / 4 * 1e3);
  out += fmt::format("<rect x=\"{:.0f}\" y=\"{:.1f}\" width=\"{:.0f}\" height=\"{:.1f}\" fill=\"#cfe3fb\"/>",
                     kLeft, y(p.intervals[0].high), kWidth - kLeft,
                     std::max(1.0, y(p.intervals[0].low) - y(p.intervals[0].high)));
  out += fmt::format("<line x1=\"{0:.0f}\" x2=\"{1:.0f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#1f5fa8\"/>",
                     kLeft, kWidth, y(p.predict.p50));
  size_t step = p.samples.size() / 2000 + 1;
  for (size_t i = 0; i < p.samples.size(); i += step)
    out += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2\" fill=\"#34536f\"/>",
        kLeft + (kWidth - kLeft) * (static_cast<double>(i) + 0.5) / static_cast<double>(p.samples.size()),
        y(p.samples[i]));
  return out + fmt::format(
                   "<text x=\"{:.0f}\" y=\"{:.0f}\" fill=\"#56606b\">runs, in order; line: median, band: its "
                   "95 % interval</text></svg>\n",
                   kLeft, kHeight - 6);
}

// Sweeps, cold starts and other models, each a table with bars of its medians.
void variants_html(const Profile& p, std::string& out) {
  auto row = [&](const std::string& label, double seconds, const Interval& interval, double most,
                 const std::string& rest) {
    out += fmt::format(
        "<tr><td>{}</td><td class=\"n\">{}</td><td>{} to {}</td><td><span class=\"bar\" "
        "style=\"width:{:.0f}px\"></span> {}</td></tr>\n",
        escaped(clean(label, 80)), ms(seconds), ms(interval.low), ms(interval.high),
        most > 0 ? 300 * seconds / most : 0, rest);
  };
  const char* head = "<table><tr><th></th><th class=\"n\">ms</th><th>95 % interval</th><th></th></tr>\n";
  if (p.cold) {
    out += std::string("<h2>Cold against warm</h2>") + head;
    row("cold: open, load, first", p.cold->total.p50, p.cold->total_p50, p.cold->total.p50,
        p.cold->evicted ? "" : "file still in memory");
    row("warm: predict", p.predict.p50, p.intervals[0], p.cold->total.p50, "");
    out += "</table>\n";
  }
  if (!p.sweeps.empty()) {
    out += std::string("<h2>Sweeps</h2>") + head;
    double most = 0;
    for (const SweepPoint& s : p.sweeps) most = std::max(most, s.predict.p50);
    for (const SweepPoint& s : p.sweeps) {
      if (s.refused)
        out += fmt::format("<tr><td>{}</td><td colspan=\"3\">{}</td></tr>\n",
                           escaped(clean(s.axis + " " + s.value, 80)), escaped(clean(*s.refused)));
      else
        row(s.axis + " " + s.value, s.predict.p50, s.p50, most,
            fmt::format("{:.1f} per second", s.per_second));
    }
    out += "</table>\n";
  }
  if (!p.compared.empty()) {
    out += std::string("<h2>Side by side</h2>") + head;
    double most = 0;
    for (const Contender& c : p.compared) most = std::max(most, c.predict.p50);
    for (const Contender& c : p.compared)
      row(c.name, c.predict.p50, c.p50, most,
          fmt::format("{:.3f} ({:.3f} to {:.3f})", c.ratio, c.ratio_interval.low, c.ratio_interval.high));
    out += "</table>\n";
  }
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
    out += fmt::format("| predict {} | {} | {} to {} |\n", names[k], ms(values[k]), ms(p.intervals[k].low),
                       ms(p.intervals[k].high));
  out += fmt::format("| first | {} | |\n| load | {} | |\n| open | {} | |\n\n", ms(p.first), ms(p.load),
                     ms(p.open));
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
      out += fmt::format("| {} | {:.1f} | {} | {} {} |\n", ms(op->seconds), op->percent,
                         cell(op->step.kernel), cell(op->step.kind), cell(op->step.name));
    out += '\n';
  }
  for (const std::string& warning : p.warnings) out += fmt::format("> {}\n", cell(warning));
  return out +
         fmt::format("\n{} runs, {} threads, {}, {}\n", p.runs, p.threads, p.cpu, cell(p.machine.model));
}

std::string profile_html(const Profile& p, const std::string& model,
                         const std::vector<RuleOutcome>& outcomes) {
  std::string title = escaped(clean(model));
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
      "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\"><title>{0}: profile</title>\n"
      "<style>body{{font:14px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1100px;padding:16px "
      "24px;color:#20262c;background:#fff}}h2{{font-size:17px;border-bottom:1px solid #d9dee3}}"
      "table{{border-collapse:collapse}}th,td{{text-align:left;padding:3px 14px 3px 0;border-bottom:1px "
      "solid #eceff1}}th{{color:#56606b}}.n{{text-align:right;font-variant-numeric:tabular-nums}}"
      ".bar{{display:inline-block;height:10px;background:#8fb5e3}}.bad{{color:#a81f1f}}td{{overflow-wrap:"
      "anywhere}}</style></head><body>\n<h1>{0}</h1>\n",
      title);
  for (const std::string& warning : p.warnings)
    out += fmt::format("<p class=\"bad\">{}</p>\n", escaped(warning));
  out += "<h2>Times</h2><table><tr><th>Phase</th><th class=\"n\">ms</th><th>95 % interval</th></tr>\n";
  for (const auto& [name, seconds] : {std::pair{"open", p.open}, {"load", p.load}, {"first", p.first}})
    out += fmt::format("<tr><td>{}</td><td class=\"n\">{}</td><td></td></tr>\n", name, ms(seconds));
  const char* names[] = {"p50", "p90", "p99"};
  double values[] = {p.predict.p50, p.predict.p90, p.predict.p99};
  for (int k = 0; k < 3; ++k)
    out += fmt::format("<tr><td>predict {}</td><td class=\"n\">{}</td><td>{} to {}</td></tr>\n", names[k],
                       ms(values[k]), ms(p.intervals[k].low), ms(p.intervals[k].high));
  out += "</table>\n" + runs_plot(p);
  if (!outcomes.empty()) {
    out += "<h2>Rules</h2><table>\n";
    for (const RuleOutcome& o : outcomes)
      out += fmt::format("<tr><td>{}</td><td{}>{}</td><td>{}</td></tr>\n", escaped(o.rule),
                         o.state == RuleOutcome::State::kFails ? " class=\"bad\"" : "", verdict(o),
                         escaped(clean(o.text)));
    out += "</table>\n";
  }
  variants_html(p, out);
  out += fmt::format(
      "<h2>Memory</h2><table><tr><th>Weights as stored</th><td "
      "class=\"n\">{}</td></tr><tr><th>Activations</th><td class=\"n\">{}</td></tr><tr><th>Packed "
      "constants</th><td class=\"n\">{}</td></tr><tr><th>Peak of the process</th><td "
      "class=\"n\">{}</td></tr></table>\n",
      inspect::size_text(p.weight_bytes), inspect::size_text(p.arena_bytes),
      inspect::size_text(p.packed_bytes), inspect::size_text(p.peak_resident_bytes));
  if (!p.ops.empty()) {
    double total = 1e-12;
    for (const OpProfile& op : p.ops) total += op.seconds;
    out +=
        "<h2>Kinds</h2><table><tr><th>Kind</th><th class=\"n\">Count</th><th "
        "class=\"n\">ms</th><th></th></tr>\n";
    for (const KindTime& k : by_kind(p))
      out += fmt::format(
          "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td><span class=\"bar\" "
          "style=\"width:{:.0f}px\"></span> {:.1f} %</td></tr>\n",
          escaped(k.kind), k.count, ms(k.seconds), 400 * k.seconds / total, 100 * k.seconds / total);
    out +=
        "</table>\n<h2>Operations</h2><table><tr><th class=\"n\">ms</th><th class=\"n\">%</th><th "
        "class=\"n\">GFLOP/s</th><th "
        "class=\"n\">GB/s</th><th>Kernel</th><th>Operation</th><th>Name</th></tr>\n";
    for (const OpProfile* op : slowest(p, 2000)) {
      double s = std::max(op->seconds, 1e-12);
      out += fmt::format(
          "<tr><td class=\"n\">{}</td><td class=\"n\">{:.2f}</td><td class=\"n\">{:.1f}</td><td "
          "class=\"n\">{:.1f}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
          ms(op->seconds), op->percent, op->cost.flops / s / 1e9, op->cost.bytes / s / 1e9,
          escaped(op->step.kernel), escaped(fused_text(op->step)), escaped(clean(op->step.name)));
    }
    out += "</table>\n";
  }
  out += fmt::format(
      "<h2>Machine</h2><p>{}, {} of {} processors, {} memory, {}{}; {} threads, {} kernels, {} "
      "runs</p>\n</body></html>\n",
      escaped(p.machine.model), p.machine.cores, p.machine.processors, inspect::size_text(p.machine.memory),
      escaped(p.machine.system),
      p.machine.governor.empty() ? "" : ", governor " + escaped(p.machine.governor), p.threads,
      escaped(p.cpu), p.runs);
  return out;
}

}  // namespace mlt
