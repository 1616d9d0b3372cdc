#include <fmt/core.h>

#include <algorithm>

#include "lib/inspect/text_util.h"
#include "lib/profile/tables.h"
#include "lib/profile/variants.h"

namespace mlt {
namespace {

using inspect::clean;

std::string padded_ms(double seconds) { return fmt::format("{:10.3f} ms", seconds * 1e3); }
double mebibytes(double bytes) { return bytes / (1 << 20); }

void operations(const Profile& p, size_t top, bool explain, std::string& out) {
  std::vector<const OpProfile*> order;
  for (const OpProfile& op : p.ops)
    if (op.step.kernel != "view") order.push_back(&op);
  if (!explain) {
    std::stable_sort(order.begin(), order.end(),
                     [](const OpProfile* a, const OpProfile* b) { return a->seconds > b->seconds; });
    if (order.size() > top) order.resize(top);
  }
  out += fmt::format("\n{:>9} {:>6} {:>9} {:>8} {}{:<24} {:<26} {}\n", "ms", "%", "GFLOP/s", "GB/s",
                     p.peaks ? " roof%  " : " ", "kernel", "op", "name");
  for (const OpProfile* op : order) {
    double s = std::max(op->seconds, 1e-12);
    std::string roof = p.peaks ? fmt::format("{:6.1f}  ", roofline_percent(*op, *p.peaks)) : " ";
    out += fmt::format("{:9.3f} {:6.2f} {:9.1f} {:8.1f} {}{:<24} {:<26} {}\n", op->seconds * 1e3, op->percent,
                       op->cost.flops / s / 1e9, op->cost.bytes / s / 1e9, roof, op->step.kernel,
                       fused_text(op->step), clean(op->step.name));
    if (explain)
      for (const std::string& refused : op->step.refused) out += fmt::format("{:>37}  not {}\n", "", refused);
  }
}

void kinds(const Profile& p, size_t top, std::string& out) {
  std::vector<KindTime> table = by_kind(p);
  if (table.size() > top) table.resize(top);
  out += fmt::format("\n{:>9} {:>6} {:>9} {:>8} {}{:<24} {}\n", "ms", "%", "GFLOP/s", "GB/s", p.peaks ? " roof%  " : " ", "kind", "count");
  double total = 1e-12;
  for (const OpProfile& op : p.ops) total += op.seconds;
  for (const KindTime& k : table) {
    double s = std::max(k.seconds, 1e-12);
    out += fmt::format("{:9.3f} {:6.2f} {:9.1f} {:8.1f} {}{:<24} {}\n", k.seconds * 1e3, 100 * k.seconds / total, k.flops / s / 1e9, k.bytes / s / 1e9,
                       p.peaks ? fmt::format("{:6.1f}  ", 100 * k.least / s) : " ", k.kind, k.count);
  }
}

void variants(const Profile& p, std::string& out) {
  if (p.cold)
    out += fmt::format(
        "cold       {}  ({:.3f} to {:.3f}): open {:.3f}, load {:.3f}, first {:.3f}; {:.1f} times a warm "
        "prediction  ({} starts{})\n",
        padded_ms(p.cold->total.p50), p.cold->total_p50.low * 1e3, p.cold->total_p50.high * 1e3,
        p.cold->open * 1e3, p.cold->load * 1e3, p.cold->first * 1e3,
        p.predict.p50 > 0 ? p.cold->total.p50 / p.predict.p50 : 0, p.cold->runs,
        p.cold->evicted ? "" : ", file still in memory");
  if (!p.sweeps.empty())
    out += fmt::format("\n{:<24} {:>10} {:>22} {:>10} {:>12}\n", "sweep", "p50 ms", "95 %", "p90 ms",
                       "per second");
  for (const SweepPoint& s : p.sweeps) {
    std::string label = fmt::format("{} {}", clean(s.axis, 40), s.value);
    if (s.refused)
      out += fmt::format("{:<24} {}\n", label, clean(*s.refused));
    else
      out += fmt::format("{:<24} {:>10.3f} {:>22} {:>10.3f} {:>12.1f}\n", label, s.predict.p50 * 1e3,
                         fmt::format("{:.3f} to {:.3f}", s.p50.low * 1e3, s.p50.high * 1e3),
                         s.predict.p90 * 1e3, s.per_second);
  }
  if (!p.compared.empty())
    out += fmt::format("\n{:<32} {:>10} {:>22} {:>10} {:>8} {:>18}\n", "model", "p50 ms", "95 %", "first ms",
                       "ratio", "95 %");
  for (const Contender& c : p.compared)
    out += fmt::format("{:<32} {:>10.3f} {:>22} {:>10.3f} {:>8.3f} {:>18}\n", clean(c.name, 32),
                       c.predict.p50 * 1e3,
                       fmt::format("{:.3f} to {:.3f}", c.p50.low * 1e3, c.p50.high * 1e3), c.first * 1e3,
                       c.ratio, fmt::format("{:.3f} to {:.3f}", c.ratio_interval.low, c.ratio_interval.high));
}

}  // namespace

double least_seconds(const OpProfile& op, const Peaks& peaks) {
  double bandwidth = op.cost.bytes < peaks.cache_size ? peaks.cache_bytes : peaks.bytes;
  return std::max(peaks.flops > 0 ? op.cost.flops / peaks.flops : 0, bandwidth > 0 ? op.cost.bytes / bandwidth : 0);
}

double roofline_percent(const OpProfile& op, const Peaks& peaks) {
  return op.seconds > 0 ? 100 * least_seconds(op, peaks) / op.seconds : 0;
}

double roofline_percent(const Profile& p) {
  if (!p.peaks || !(p.predict.p50 > 0)) return 0;
  double least = 0;
  for (const OpProfile& op : p.ops) least += least_seconds(op, *p.peaks);
  return 100 * least / p.predict.p50;
}

std::string profile_text(const Profile& p, size_t top, bool explain) {
  std::string out = fmt::format("open       {}\nload       {}\nfirst      {}\n", padded_ms(p.open),
                                padded_ms(p.load), padded_ms(p.first));
  out += fmt::format("predict    {}  p90 {:.3f}  p99 {:.3f}  min {:.3f}  ({} runs, {} threads, {})\n",
                     padded_ms(p.predict.p50), p.predict.p90 * 1e3, p.predict.p99 * 1e3,
                     p.predict.min * 1e3, p.runs, p.threads, p.cpu);
  out += fmt::format("  95 %     {:10.3f} to {:.3f} ms; p90 {:.3f} to {:.3f}; p99 {:.3f} to {:.3f}\n",
                     p.intervals[0].low * 1e3, p.intervals[0].high * 1e3, p.intervals[1].low * 1e3,
                     p.intervals[1].high * 1e3, p.intervals[2].low * 1e3, p.intervals[2].high * 1e3);
  if (p.flops > 0)
    out += fmt::format("arithmetic {:10.3f} GFLOP, {:.1f} GFLOP/s; {:.1f} MB moved\n", p.flops / 1e9,
                       p.flops / p.predict.p50 / 1e9, p.bytes / 1e6);
  if (p.peaks)
    out += fmt::format("peak       {:10.1f} GFLOP/s, {:.1f} GB/s from memory, {:.1f} GB/s from caches; {:.0f} % of them used\n",
                       p.peaks->flops / 1e9, p.peaks->bytes / 1e9, p.peaks->cache_bytes / 1e9, roofline_percent(p));
  out += fmt::format(
      "memory     {:10.1f} MiB activations, {:.1f} MiB weights, {:.1f} MiB packed constants, {:.1f} MiB peak "
      "resident\n",
      mebibytes(static_cast<double>(p.arena_bytes)), mebibytes(static_cast<double>(p.weight_bytes)),
      mebibytes(static_cast<double>(p.packed_bytes)), mebibytes(static_cast<double>(p.peak_resident_bytes)));
  out += fmt::format("each time  {:>10} allocations, {:.1f} page faults, {:.1f} waits{}\n",
                     p.taken.allocations ? fmt::format("{:.1f}", *p.taken.allocations) : "?", p.taken.page_faults, p.taken.waits,
                     p.taken.bound ? ", with bound arrays" : "");
  variants(p, out);
  if (p.ops.empty()) return out;
  kinds(p, top, out);
  operations(p, top, explain, out);
  return out;
}

}  // namespace mlt
