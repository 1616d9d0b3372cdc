#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "lib/inspect/drawing.h"
#include "lib/inspect/text_util.h"
#include "lib/profile/report.h"
#include "lib/profile/tables.h"
#include "lib/profile/variants.h"

namespace mlt {
namespace {

using inspect::clean;
using inspect::escaped;

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
        escaped(clean(label, 80)), milliseconds(seconds), milliseconds(interval.low), milliseconds(interval.high),
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

// Every operation that computes as a dot, as large as its share of the time, below what memory and arithmetic allow.
std::string roofline_plot(const Profile& p) {
  if (!p.peaks || p.ops.empty() || !(p.peaks->flops > 0) || !(p.peaks->bytes > 0)) return "";
  constexpr double kWidth = 900, kHeight = 380, kLeft = 66, kBottom = 40, kTop = 10;
  double total = 1e-12, least_y = p.peaks->flops, most_y = p.peaks->flops, least_x = 1, most_x = 2 * p.peaks->flops / p.peaks->bytes;
  auto shown = [](const OpProfile& op) { return op.cost.flops > 0 && op.cost.bytes > 0 && op.seconds > 0; };
  for (const OpProfile& op : p.ops) {
    total += op.seconds;
    if (!shown(op)) continue;
    double x = op.cost.flops / op.cost.bytes, y = op.cost.flops / op.seconds;
    least_x = std::min(least_x, x), most_x = std::max(most_x, x), least_y = std::min(least_y, y), most_y = std::max(most_y, y);
  }
  // Whole decades, four of them at most downwards: what is slower lies on the edge.
  double x0 = std::floor(std::log10(std::max(least_x, 1e-3))), x1 = std::ceil(std::log10(most_x)), y1 = std::ceil(std::log10(most_y)), y0 = std::max(std::floor(std::log10(least_y)), y1 - 4);
  if (!(x1 > x0) || !(y1 > y0)) return "";
  auto px = [&](double x) { return kLeft + (kWidth - kLeft - 10) * std::clamp((std::log10(x) - x0) / (x1 - x0), 0.0, 1.0); };
  auto py = [&](double y) { return kTop + (kHeight - kTop - kBottom) * (1 - std::clamp((std::log10(y) - y0) / (y1 - y0), 0.0, 1.0)); };
  std::string out = fmt::format("<h2>Roofline</h2><svg viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" font-size=\"11\" font-family=\"sans-serif\">\n", kWidth, kHeight);
  for (double e = x0; e <= x1; ++e)
    out += fmt::format("<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.0f}\" y2=\"{2:.0f}\" stroke=\"#e3e7eb\"/><text x=\"{0:.1f}\" y=\"{3:.0f}\" text-anchor=\"middle\" fill=\"#56606b\">{4:g}</text>", px(std::pow(10, e)), kTop, kHeight - kBottom, kHeight - kBottom + 15, std::pow(10, e));
  for (double e = y0; e <= y1; ++e)
    out += fmt::format("<line x1=\"{0:.0f}\" x2=\"{1:.0f}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#e3e7eb\"/><text x=\"{3:.0f}\" y=\"{4:.1f}\" text-anchor=\"end\" fill=\"#56606b\">{5:g}</text>", kLeft, kWidth - 10, py(std::pow(10, e)), kLeft - 6, py(std::pow(10, e)) + 4, std::pow(10, e - 9));
  out += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"middle\" fill=\"#56606b\">FLOP per byte moved</text><text transform=\"translate(12 {:.0f}) rotate(-90)\" text-anchor=\"middle\" fill=\"#56606b\">GFLOP/s</text>\n", (kLeft + kWidth) / 2, kHeight - 8, kHeight / 2);
  auto roof = [&](double bandwidth, const char* style) {
    std::string d;
    for (int k = 0; k <= 64; ++k) {
      double x = std::pow(10, x0 + (x1 - x0) * k / 64), y = std::min(p.peaks->flops, bandwidth * x);
      if (std::log10(y) >= y0) d += fmt::format("{}{:.1f} {:.1f}", d.empty() ? "M" : " L", px(x), py(y));
    }
    if (!d.empty()) out += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"#1f5fa8\" {}/>\n", d, style);
  };
  roof(p.peaks->bytes, "stroke-width=\"2\"");
  roof(p.peaks->cache_bytes, "stroke-dasharray=\"5 4\"");
  for (const OpProfile& op : p.ops) {
    if (!shown(op)) continue;
    out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" fill=\"#d9662a\" fill-opacity=\"0.5\" stroke=\"#8a3b12\" stroke-width=\"0.5\"><title>{} {}: {} ms, {:.0f} % of its roof</title></circle>\n", px(op.cost.flops / op.cost.bytes),
                       py(op.cost.flops / op.seconds), 1.5 + 26 * std::sqrt(op.seconds / total), escaped(fused_text(op.step)), escaped(clean(op.step.name, 80)), milliseconds(op.seconds), roofline_percent(op, *p.peaks));
  }
  return out + fmt::format("</svg>\n<p class=\"small\">Peaks of this machine with {} threads: {:.1f} GFLOP/s, {:.1f} GB/s from memory (line), {:.1f} GB/s from caches (dashed). The network reaches {:.0f} % of what they allow. Convolutions are counted as the plain sum of products; fast algorithms can lie above the line.</p>\n", p.threads, p.peaks->flops / 1e9, p.peaks->bytes / 1e9, p.peaks->cache_bytes / 1e9, roofline_percent(p));
}

}  // namespace

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
      ".bar{{display:inline-block;height:10px;background:#8fb5e3}}.bad{{color:#a81f1f}}.small{{color:#56606b;font-size:12px}}td{{overflow-wrap:"
      "anywhere}}</style></head><body>\n<h1>{0}</h1>\n",
      title);
  for (const std::string& warning : p.warnings)
    out += fmt::format("<p class=\"bad\">{}</p>\n", escaped(warning));
  out += "<h2>Times</h2><table><tr><th>Phase</th><th class=\"n\">ms</th><th>95 % interval</th></tr>\n";
  for (const auto& [name, seconds] : {std::pair{"open", p.open}, {"load", p.load}, {"first", p.first}})
    out += fmt::format("<tr><td>{}</td><td class=\"n\">{}</td><td></td></tr>\n", name, milliseconds(seconds));
  const char* names[] = {"p50", "p90", "p99"};
  double values[] = {p.predict.p50, p.predict.p90, p.predict.p99};
  for (int k = 0; k < 3; ++k)
    out += fmt::format("<tr><td>predict {}</td><td class=\"n\">{}</td><td>{} to {}</td></tr>\n", names[k],
                       milliseconds(values[k]), milliseconds(p.intervals[k].low), milliseconds(p.intervals[k].high));
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
  out += roofline_plot(p);
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
        "class=\"n\">ms</th><th class=\"n\">GFLOP/s</th><th class=\"n\">GB/s</th>";
    out += p.peaks ? "<th class=\"n\">roof %</th>" : "";
    out += "<th></th></tr>\n";
    auto rates = [&](double flops, double bytes, double seconds, double least) {
      double s = std::max(seconds, 1e-12);
      std::string text = fmt::format("<td class=\"n\">{:.1f}</td><td class=\"n\">{:.1f}</td>", flops / s / 1e9, bytes / s / 1e9);
      return p.peaks ? text + fmt::format("<td class=\"n\">{:.0f}</td>", 100 * least / s) : text;
    };
    for (const KindTime& k : by_kind(p))
      out += fmt::format(
          "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>{}<td><span class=\"bar\" "
          "style=\"width:{:.0f}px\"></span> {:.1f} %</td></tr>\n",
          escaped(k.kind), k.count, milliseconds(k.seconds), rates(k.flops, k.bytes, k.seconds, k.least), 320 * k.seconds / total, 100 * k.seconds / total);
    out +=
        "</table>\n<h2>Operations</h2><table><tr><th class=\"n\">ms</th><th class=\"n\">%</th><th "
        "class=\"n\">GFLOP/s</th><th class=\"n\">GB/s</th>";
    out += p.peaks ? "<th class=\"n\">roof %</th>" : "";
    out += "<th>Kernel</th><th>Operation</th><th>Name</th></tr>\n";
    for (const OpProfile* op : slowest(p, 2000))
      out += fmt::format(
          "<tr><td class=\"n\">{}</td><td class=\"n\">{:.2f}</td>{}<td>{}</td><td>{}</td><td>{}</td></tr>\n", milliseconds(op->seconds),
          op->percent, rates(op->cost.flops, op->cost.bytes, op->seconds, p.peaks ? least_seconds(*op, *p.peaks) : 0),
          escaped(op->step.kernel), escaped(fused_text(op->step)), escaped(clean(op->step.name)));
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
