#include <fmt/core.h>

#include <algorithm>

#include "lib/container/metadata_json.h"
#include "lib/inspect/inspect.h"
#include "lib/inspect/text_util.h"

namespace mlt::inspect {
namespace {

class Text {
 public:
  std::string take() { return std::move(out_); }

  void report(const Report& r, const std::string& indent) {
    indent_ = indent;
    row("kind", kind(r));
    if (indent.empty() && !r.container.empty()) row("container", r.container + (r.sealed ? ", sealed" : ""));
    if (!r.available.empty()) row("runs on", r.available + " and later");
    if (r.updatable) row("updatable", "yes");
    if (r.training) training(*r.training);
    const coreml::Metadata& metadata = r.description.metadata;
    optional("about", metadata.short_description);
    optional("author", metadata.author);
    optional("license", metadata.license);
    optional("version", metadata.version);
    auto interface = r.description.function();
    if (interface) {
      features("inputs", interface->inputs);
      features("outputs", interface->outputs);
      features("states", interface->states);
    }
    features("training", r.description.training_inputs);
    functions(r);
    counts("operations", r.operations);
    counts("layers", r.layers);
    weights(r);
    if (!r.labels.empty()) {
      std::string text = plural(static_cast<int64_t>(r.labels.size()), "label") + ": ";
      for (size_t i = 0; i < std::min<size_t>(r.labels.size(), 4); ++i) text += (i ? ", " : "") + clean(r.labels[i], 40);
      row("classes", text + (r.labels.size() > 4 ? ", ..." : ""));
    }
    std::vector<std::string> user;
    for (const auto& [key, value] : metadata.user_defined) user.push_back(clean(key, 100) + " = " + clean(value, 100));
    list("metadata", user);
    std::vector<std::string> needs;
    for (const std::string& need : r.needs) needs.push_back(clean(need));
    list("needs", needs);
    for (size_t i = 0; i < r.stages.size(); ++i) {
      out_ += fmt::format("{}  stage {}: {}\n", indent, i, clean(r.stages[i].name, 80));
      report(r.stages[i], indent + "    ");
      indent_ = indent;
    }
  }

 private:
  static std::string kind(const Report& r) {
    std::string text = r.kind == "none" ? "no type" : r.kind;
    return fmt::format("{}, specification {}", text, r.spec_version);
  }
  void row(std::string_view label, std::string_view value) { out_ += fmt::format("{}  {:<11} {}\n", indent_, label, value); }
  void optional(const char* label, const std::string& value) {
    if (!value.empty()) row(label, clean(value));
  }
  void list(std::string_view label, const std::vector<std::string>& lines) {
    for (size_t i = 0; i < lines.size(); ++i) row(i == 0 ? label : "", lines[i]);
  }

  void features(const char* label, const std::vector<coreml::FeatureDescription>& features) {
    std::vector<std::string> lines;
    for (const auto& feature : features) {
      std::string text = fmt::format("{}: {}", clean(feature.name, 80), coreml::format_type(feature.type));
      std::string flexible = feature.type.kind == coreml::FeatureKind::kMultiArray ? shape_flexibility(feature.type.array) : "";
      if (!flexible.empty()) text += ", " + clean(flexible, 100);
      if (feature.type.kind == coreml::FeatureKind::kImage && feature.type.image.flexibility != coreml::Flexibility::kFixed) text += ", other sizes too";
      if (feature.type.optional) text += ", optional";
      if (!feature.doc.empty()) text += " - " + clean(feature.doc, 100);
      lines.push_back(std::move(text));
    }
    list(label, lines);
  }

  // 0.001 in 0...1; 16 of 16, 32
  static std::string parameter(const coreml::TrainingParameter& p) {
    using Kind = coreml::TrainingParameter::Kind;
    auto value = [&](double v) { return p.kind == Kind::kBool ? std::string(v != 0 ? "true" : "false") : p.kind == Kind::kInt64 ? fmt::format("{:.0f}", v) : fmt::format("{:.6g}", v); };
    std::string text = fmt::format("{} {}", p.name, value(p.preset));
    if (p.range) text += fmt::format(" in {}...{}", value(p.range->first), value(p.range->second));
    for (size_t i = 0; i < p.allowed.size() && i < 8; ++i) text += (i == 0 ? " of " : ", ") + value(p.allowed[i]);
    return text + (p.allowed.size() > 8 ? ", ..." : "");
  }
  void training(const coreml::Training& t) {
    std::vector<std::string> lines;
    if (!t.layers.empty()) {
      std::string text = plural(static_cast<int64_t>(t.layers.size()), "layer") + ": ";
      for (size_t i = 0; i < t.layers.size() && i < 6; ++i) text += (i ? ", " : "") + clean(t.layers[i], 60);
      lines.push_back(text + (t.layers.size() > 6 ? ", ..." : ""));
    }
    if (t.dimensions > 0) lines.push_back(fmt::format("{} of {} numbers", plural(t.samples, "sample"), t.dimensions));
    for (const auto& loss : t.losses) lines.push_back(fmt::format("loss {}: {} of {} against {}", clean(loss.name, 60), loss.kind, clean(loss.input, 60), clean(loss.target, 60)));
    if (!t.optimizer.empty()) lines.push_back("optimizer " + t.optimizer);
    for (const auto& p : t.parameters) lines.push_back(parameter(p));
    list("trains", lines);
  }

  void functions(const Report& r) {
    std::vector<std::string> lines;
    for (const FunctionInfo& f : r.functions) {
      std::string text = fmt::format("{}: {}, opset {}", clean(f.name, 80), plural(f.operations, "operation"), clean(f.opset, 40));
      if (r.functions.size() > 1 && f.name == r.description.default_function_name) text += " (default)";
      lines.push_back(std::move(text));
    }
    list("functions", lines);
  }

  void counts(const char* label, const Counts& counts) {
    if (counts.empty()) return;
    int64_t total = 0;
    for (const auto& [name, count] : counts) total += count;
    std::string text = fmt::format("{}:", total);
    size_t shown = counts.size() <= 7 ? counts.size() : 6;
    for (size_t i = 0; i < shown; ++i) text += fmt::format("{} {} {}", i ? "," : "", counts[i].second, clean(counts[i].first, 40));
    if (counts.size() > shown) text += fmt::format(", {} other kinds", counts.size() - shown);
    row(label, text);
  }

  void weights(const Report& r) {
    if (r.weights.empty()) return;
    std::string text = fmt::format("{} in {}", size_text(r.weight_bytes), plural(r.weight_tensors, "tensor"));
    if (r.weights.size() == 1) {
      text += ", " + r.weights[0].storage;
    } else {
      for (size_t i = 0; i < r.weights.size(); ++i) text += fmt::format("{} {} {}", i ? "," : ":", r.weights[i].storage, size_text(r.weights[i].bytes));
    }
    row("weights", text);
  }

  std::string indent_, out_;
};

std::string dims_column(const Dims& dims) { return dims_text(dims); }

}  // namespace

std::string report_text(const Report& report) {
  Text text;
  text.report(report, "");
  return clean(report.name) + "\n" + text.take();
}

std::string counts_text(const Counts& counts) {
  std::string out;
  for (const auto& [name, count] : counts) out += fmt::format("{:>8}  {}\n", count, clean(name, 200));
  return out;
}

std::string weights_text(const std::vector<Weight>& weights) {
  size_t name_width = 4, dims_width = 5, storage_width = 4;
  for (const Weight& weight : weights) {
    name_width = std::min<size_t>(std::max(name_width, weight.name.size()), 60);
    dims_width = std::max(dims_width, dims_column(weight.dims).size());
    storage_width = std::max(storage_width, weight.storage.size());
  }
  std::string out = fmt::format("{:<{}}  {:<{}}  {:<{}}  {:>12}  {:>12}  {:>12}  {:>12}  {:>12}  {:>7}  {}\n", "NAME", name_width, "TYPE", storage_width, "SHAPE", dims_width, "BYTES", "MIN",
                                "MAX", "MEAN", "DEVIATION", "ZEROS", "PLACE");
  for (const Weight& weight : weights) {
    std::string statistics_columns = fmt::format("{:>12}  {:>12}  {:>12}  {:>12}  {:>7}", "-", "-", "-", "-", "-");
    if (const auto& s = weight.statistics) {
      statistics_columns = fmt::format("{:>12.5g}  {:>12.5g}  {:>12.5g}  {:>12.5g}  {:>6.1f}%", s->min, s->max, s->mean, s->deviation, 100.0 * static_cast<double>(s->zeros) / static_cast<double>(std::max<int64_t>(weight.elements, 1)));
      if (s->not_finite > 0) statistics_columns += fmt::format("  ({} not finite)", s->not_finite);
    }
    out += fmt::format("{:<{}}  {:<{}}  {:<{}}  {:>12}  {}  {}{}\n", clean(weight.name, 200), name_width, weight.storage, storage_width, dims_column(weight.dims), dims_width,
                       weight.bytes, statistics_columns, clean(weight.place, 200), weight.missing ? " (missing)" : "");
  }
  return out;
}

}  // namespace mlt::inspect
