#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/container/metadata_json.h"
#include "lib/inspect/diff.h"
#include "lib/inspect/text_util.h"

namespace mlt::inspect {
namespace {

using nlohmann::ordered_json;
using Kind = Change::Kind;

constexpr size_t kMostLines = 60;  // of one section; --json has everything

char sign(Kind kind) { return kind == Kind::kAdded ? '+' : kind == Kind::kRemoved ? '-' : '~'; }
const char* word(Kind kind) {
  return kind == Kind::kAdded ? "added" : kind == Kind::kRemoved ? "removed" : "changed";
}

std::string more(size_t count) {
  return count > kMostLines ? fmt::format("  ... and {} more (--json has all)\n", count - kMostLines) : "";
}

void section(const char* title, const std::vector<Change>& changes, std::string& out) {
  if (changes.empty()) return;
  out += fmt::format("{}\n", title);
  for (size_t i = 0; i < std::min(changes.size(), kMostLines); ++i) {
    const Change& c = changes[i];
    out += fmt::format("  {} {}", sign(c.kind), clean(c.what, 120));
    if (c.kind == Kind::kChanged)
      out += fmt::format(": {} -> {}", clean(c.before, 200), clean(c.after, 200));
    else if (!c.before.empty() || !c.after.empty())
      out += ": " + clean(c.before + c.after, 200);
    out += '\n';
  }
  out += more(changes.size());
}

// "output: fp32[1, 4] -> fp16[1, 4]" without the shape where that is the same on both sides; other details as
// they are.
std::string without_shape(const std::string& detail) {
  size_t arrow = detail.find(" -> "), open = detail.find('[');
  if (!detail.starts_with("output") || arrow == std::string::npos || open == std::string::npos ||
      open > arrow)
    return detail;
  std::string shape = detail.substr(open, arrow - open);
  return detail.ends_with(shape)
             ? detail.substr(0, open) + detail.substr(arrow, detail.size() - arrow - shape.size())
             : detail;
}
// What two changes must have in common to be told together.
std::string shape_of(const Change& change) {
  std::string text = change.place + '\n';
  for (const std::string& detail : change.details) text += without_shape(detail) + '\n';
  return text;
}

void graph(const Comparison& c, std::string& out) {
  if (c.graph.empty()) return;
  int64_t counts[3] = {};
  for (const Change& change : c.graph) ++counts[static_cast<int>(change.kind)];
  out += fmt::format("graph: {} added, {} removed, {} changed, {} the same", counts[0], counts[1], counts[2],
                     c.same_nodes);
  if (c.renamed > 0) out += fmt::format(" ({} under another name)", c.renamed);
  out += '\n';
  // A change of precision touches everything: what changed in the same way is told once.
  std::map<std::string, std::vector<const Change*>> alike;
  for (const Change& change : c.graph)
    if (change.kind == Kind::kChanged) alike[shape_of(change)].push_back(&change);
  size_t lines = 0, hidden = 0;
  for (const Change& change : c.graph) {
    const std::vector<const Change*>* group =
        change.kind == Kind::kChanged ? &alike[shape_of(change)] : nullptr;
    bool many = group != nullptr && group->size() > 3;
    if (many && group->front() != &change) continue;
    if (++lines > kMostLines) {
      ++hidden;
      continue;
    }
    if (many) {
      out += fmt::format("  ~ {} operations, {} ... {}\n", group->size(),
                         clean(change.what + " " + change.name, 80),
                         clean(group->back()->what + " " + group->back()->name, 80));
      for (const std::string& detail : change.details)
        out += fmt::format("      {}\n", clean(without_shape(detail), 200));
      continue;
    }
    out += fmt::format("  {} {}{}{}", sign(change.kind),
                       change.place.empty() ? "" : clean(change.place, 60) + ": ", clean(change.what, 60),
                       change.name.empty() ? "" : " " + clean(change.name, 120));
    if (change.kind != Kind::kChanged) out += fmt::format(": {}", clean(change.before + change.after, 160));
    out += '\n';
    for (const std::string& detail : change.details) out += fmt::format("      {}\n", clean(detail, 200));
  }
  if (hidden > 0) out += fmt::format("  ... and {} more (--json has all)\n", hidden);
}

std::string form(const std::string& storage, const Dims& dims) {
  return fmt::format("{}[{}]", storage, dims_text(dims));
}

std::string number(double value) {
  return std::isnan(value) ? "none" : std::isinf(value) ? "infinite" : fmt::format("{:.4g}", value);
}

void weights(const Comparison& c, std::string& out) {
  if (c.weights.empty()) return;
  // The farthest first.
  std::vector<const WeightChange*> order;
  for (const WeightChange& w : c.weights) order.push_back(&w);
  auto rank = [](const WeightChange* w) {
    return w->distance ? w->distance->relative : std::numeric_limits<double>::infinity();
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](const WeightChange* a, const WeightChange* b) { return rank(a) > rank(b); });
  out += fmt::format("weights: {} of {} differ\n", c.weights.size(), c.weight_pairs);
  for (size_t i = 0; i < std::min(order.size(), kMostLines); ++i) {
    const WeightChange& w = *order[i];
    std::string before = form(w.storage, w.dims), after = form(w.storage_after, w.dims_after);
    out += fmt::format("  ~ {}{}  {}", w.place.empty() ? "" : clean(w.place, 60) + ": ", clean(w.name, 120),
                       before);
    if (before != after) out += " -> " + after;
    if (w.distance) {
      const Distance& d = *w.distance;
      if (d.changed == 0)
        out += "  same values";
      else
        out +=
            fmt::format("  {} of {} changed, max {}, mean {}, relative {}, cosine {}", d.changed, d.elements,
                        number(d.max), number(d.mean), number(d.relative), fmt::format("{:.6f}", d.cosine));
      if (d.not_finite > 0) out += fmt::format(" ({} not finite)", d.not_finite);
    }
    if (!w.note.empty()) out += "  " + clean(w.note, 200);
    out += '\n';
  }
  out += more(order.size());
}

std::string percent(double before, double after) {
  if (before <= 0) return "";
  return fmt::format(" ({:+.1f} %)", (after / before - 1) * 100);
}

ordered_json changes_json(const std::vector<Change>& changes) {
  ordered_json list = ordered_json::array();
  for (const Change& c : changes) {
    ordered_json one = {{"change", word(c.kind)}, {"what", c.what}};
    one["before"] = c.kind == Kind::kAdded ? ordered_json(nullptr) : ordered_json(c.before);
    one["after"] = c.kind == Kind::kRemoved ? ordered_json(nullptr) : ordered_json(c.after);
    list.push_back(std::move(one));
  }
  return list;
}

ordered_json finite(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr);
}

}  // namespace

std::string comparison_text(const Comparison& c) {
  std::string out = fmt::format("{} -> {}\n", clean(c.before), clean(c.after));
  section("interface", c.interface, out);
  section("metadata", c.metadata, out);
  graph(c, out);
  weights(c, out);
  const Totals &a = c.totals[0], &b = c.totals[1];
  if (c.same()) {
    out += fmt::format("the same: interface, metadata, {}, {}", plural(b.nodes, "node"),
                       plural(c.weight_pairs, "weight"));
    out += c.renamed > 0 ? fmt::format(" ({} under another name)\n", plural(c.renamed, "node")) : "\n";
  } else {
    if (a.weight_bytes != b.weight_bytes)
      out += fmt::format("size: {} -> {}{}\n", size_text(a.weight_bytes), size_text(b.weight_bytes),
                         percent(static_cast<double>(a.weight_bytes), static_cast<double>(b.weight_bytes)));
    if (a.flops != b.flops)
      out += fmt::format("cost: {:.4g} -> {:.4g} MFLOP{}\n", a.flops / 1e6, b.flops / 1e6,
                         percent(a.flops, b.flops));
  }
  for (const std::string& note : c.notes) out += fmt::format("note: {}\n", clean(note));
  return out;
}

std::string absence_json(const std::string& before, const std::string& after) {
  auto name = [](const std::string& path) { return path.empty() ? ordered_json() : ordered_json(path); };
  ordered_json out = {{"schema", "mlinspect-diff"}, {"schema_version", 1}, {"before", name(before)}, {"after", name(after)}, {"same", before.empty() && after.empty()}};
  return out.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string comparison_json(const Comparison& c) {
  ordered_json out = {{"schema", "mlinspect-diff"},
                      {"schema_version", 1},
                      {"before", c.before},
                      {"after", c.after},
                      {"same", c.same()}};
  out["interface"] = changes_json(c.interface);
  out["metadata"] = changes_json(c.metadata);
  ordered_json nodes = ordered_json::array();
  for (const Change& g : c.graph) {
    ordered_json one = {
        {"change", word(g.kind)}, {"operation", g.what}, {"name", g.name}, {"place", g.place}};
    if (g.kind == Kind::kChanged)
      one["details"] = g.details;
    else
      one["text"] = g.before + g.after;
    nodes.push_back(std::move(one));
  }
  out["graph"] = {{"same", c.same_nodes}, {"renamed", c.renamed}, {"changes", std::move(nodes)}};
  ordered_json list = ordered_json::array();
  for (const WeightChange& w : c.weights) {
    ordered_json one = {{"name", w.name},       {"name_after", w.name_after},
                        {"used_by", w.used_by}, {"place", w.place},
                        {"storage", w.storage}, {"storage_after", w.storage_after},
                        {"shape", w.dims},      {"shape_after", w.dims_after},
                        {"bytes", w.bytes},     {"bytes_after", w.bytes_after}};
    if (w.distance) {
      const Distance& d = *w.distance;
      one["elements"] = d.elements;
      one["changed"] = d.changed;
      one["not_finite"] = d.not_finite;
      one["max"] = d.max;
      one["mean"] = d.mean;
      one["relative"] = finite(d.relative);
      one["cosine"] = finite(d.cosine);
    }
    if (!w.note.empty()) one["note"] = w.note;
    list.push_back(std::move(one));
  }
  out["weights"] = {{"compared", c.weight_pairs}, {"changes", std::move(list)}};
  auto totals = [](const Totals& t) {
    return ordered_json{{"nodes", t.nodes}, {"weights", t.weights}, {"weight_bytes", t.weight_bytes},
                        {"flops", t.flops}, {"bytes", t.bytes},     {"unknown_cost", t.unknown}};
  };
  out["totals"] = {{"before", totals(c.totals[0])}, {"after", totals(c.totals[1])}};
  out["notes"] = c.notes;
  return out.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

std::string lines_text(const Subject& subject) {
  Report report = examine(subject);
  report.name = "model";  // git gives the file a name of its own
  report.container.clear();
  std::string out = report_text(report);
  for (const Unit& unit : units_of(subject, false)) {
    if (!unit.place.empty())
      out += fmt::format("\n{}:\n", unit.place);
    else
      out += '\n';
    if (!unit.unread.empty()) out += "  not read: " + clean(unit.unread) + "\n";
    for (const auto& [name, type] : unit.inputs)
      out += fmt::format("  input {}: {}\n", clean(name, 200), clean(type, 200));
    std::vector<int> depth(unit.nodes.size(), 0);
    for (size_t i = 0; i < unit.nodes.size(); ++i) {
      const Node& node = unit.nodes[i];
      if (node.parent >= 0) depth[i] = depth[static_cast<size_t>(node.parent)] + 1;
      std::string line;
      for (const Output& output : node.outputs)
        line += (line.empty() ? "" : ", ") + output.name + (output.type.empty() ? "" : ": " + output.type);
      line += fmt::format("{}{}(", line.empty() ? "" : " = ", node.kind);
      bool first = true;
      auto item = [&](const std::string& key, const std::string& value) {
        line += (first ? "" : ", ") + key + " = " + value;
        first = false;
      };
      for (const Input& input : node.inputs)
        item(input.param,
             input.constant >= 0 ? unit.constants[static_cast<size_t>(input.constant)].name : input.name);
      for (const auto& [key, value] : node.fields) item(key, value);
      out += std::string(2 + 2 * static_cast<size_t>(std::min(depth[i], 20)), ' ') + clean(line + ")", 2000) +
             "\n";
    }
    for (const Input& output : unit.outputs) out += fmt::format("  output {}\n", clean(output.name, 200));
    for (const Constant& c : unit.constants) {
      out += fmt::format("  weight {}: {}[{}]", clean(c.name, 200), c.storage, dims_text(c.dims));
      auto values = c.missing ? Result<Tensor>(input_error("missing")) : c.values();
      if (!values.ok()) {
        out += c.missing ? " (missing)" : " (cannot be read)";
      } else if (values->dtype() == DType::kString) {
        uint64_t hash = 0xcbf29ce484222325ull;
        for (const std::string& text : values->strings())
          for (char letter : text + '\n')
            hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3ull;
        out += fmt::format(" #{:016x}", hash);
      } else {
        uint64_t hash = 0xcbf29ce484222325ull;
        for (std::byte byte : values->bytes()) hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001b3ull;
        if (auto s = statistics(*values))
          out += fmt::format(" min {:.5g} max {:.5g} mean {:.5g}", s->min, s->max, s->mean);
        out += fmt::format(" #{:016x}", hash);
      }
      out += '\n';
    }
  }
  return out;
}

}  // namespace mlt::inspect
