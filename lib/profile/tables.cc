#include "lib/profile/tables.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "lib/profile/variants.h"

namespace mlt {

std::string fused_text(const StepInfo& step) {
  std::string text;
  for (const std::string& kind : step.fused) text += (text.empty() ? "" : "+") + kind;
  return text;
}

std::string milliseconds(double seconds) { return fmt::format("{:.3f}", seconds * 1e3); }

std::vector<KindTime> by_kind(const Profile& p) {
  std::map<std::string, KindTime> table;
  for (const OpProfile& op : p.ops) {
    KindTime& row = table[op.step.kind];
    row.kind = op.step.kind;
    ++row.count;
    row.seconds += op.seconds;
    row.flops += op.cost.flops;
    row.bytes += op.cost.bytes;
    if (p.peaks) row.least += least_seconds(op, *p.peaks);
  }
  std::vector<KindTime> out;
  for (auto& [kind, row] : table) out.push_back(std::move(row));
  std::stable_sort(out.begin(), out.end(), [](const KindTime& a, const KindTime& b) { return a.seconds > b.seconds; });
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

const char* verdict(const RuleOutcome& o) {
  return o.state == RuleOutcome::State::kFails       ? "fails"
         : o.state == RuleOutcome::State::kUndecided ? "undecided"
                                                     : "holds off";
}

}  // namespace mlt
