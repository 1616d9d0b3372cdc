// mlinspect: everything one can know of a model without running it.
#include <algorithm>

#include "lib/cli/app.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/container/collection.h"
#include "lib/container/compile.h"
#include "lib/inspect/diff.h"
#include "lib/inspect/drawing.h"
#include "lib/inspect/html.h"
#include "lib/inspect/inspect.h"
#include "lib/inspect/lint.h"
#include "lib/tensor/npy.h"

using namespace mlt;

namespace {

struct Options {
  std::string model;
  bool metadata = false, mil = false, ops = false, weights = false, validate = false, textconv = false, lint = false, json = false;
  std::optional<std::string> weight, diff, graph, html, format, fail_on, output;
  std::vector<std::string> ignore, device;
  std::optional<int> max_nodes;
  cli::KeyOptions keys;
};

// Operations or layers of the model; of a pipeline, those of all its stages.
inspect::Counts all_counts(const inspect::Report& report) {
  inspect::Counts counts = report.operations;
  counts.insert(counts.end(), report.layers.begin(), report.layers.end());
  for (const inspect::Report& stage : report.stages)
    for (const auto& [kind, count] : all_counts(stage)) {
      auto it = std::find_if(counts.begin(), counts.end(), [&, &wanted = kind](const auto& row) { return row.first == wanted; });
      if (it == counts.end()) counts.emplace_back(kind, count);
      else it->second += count;
    }
  std::stable_sort(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return counts;
}

Status check_usage(const Options& o) {
  int views = o.metadata + o.mil + o.ops + o.weights + o.validate + o.textconv + o.lint + o.weight.has_value() + o.diff.has_value() + o.graph.has_value() + o.html.has_value();
  if (views > 1) return usage_error("give one of --metadata, --mil, --ops, --weights, --weight, --validate, --diff, --lint, --graph, --html and --textconv");
  if (o.json && (o.metadata || o.mil || o.weight || o.textconv || o.graph || o.html))
    return usage_error("--json goes with the summary, --ops, --weights, --validate, --diff and --lint", o.metadata ? "--metadata is JSON already" : "");
  if (!o.lint && (o.format || o.fail_on || !o.ignore.empty())) return usage_error("--format, --fail-on and --ignore go with --lint");
  if (o.html && o.output) return usage_error("--html takes the name of its file itself", "--html FILE, or --html - for stdout");
  if (o.max_nodes && !o.graph) return usage_error("--max-nodes goes with --graph");
  if (o.json && o.format && *o.format != "json") return usage_error("give one of --json and --format");
  if (o.weight && !o.output) return usage_error("--weight needs -o", "-o FILE.npy, or -o - for stdout");
  return {};
}

// 1 when a finding is at least as grave as --fail-on says.
int lint_status(const Options& o, const std::vector<inspect::LintFinding>& findings) {
  std::string fail_on = o.fail_on.value_or("error");
  auto least = fail_on == "note" ? inspect::Level::kNote : fail_on == "warning" ? inspect::Level::kWarning : inspect::Level::kError;
  bool fails = fail_on != "never" && std::any_of(findings.begin(), findings.end(), [&](const auto& f) { return f.level >= least; });
  return fails ? exit_status(Code::kNegative) : 0;
}

std::string lint_output(const Options& o, const inspect::Subject& subject, const std::vector<inspect::LintFinding>& findings) {
  const std::string& file = subject.opened.origin;
  std::string format = o.json ? "json" : o.format.value_or("text");
  if (format == "json") return inspect::lint_json(findings, file);
  if (format == "sarif") return inspect::lint_sarif(findings, file);
  if (format == "github") return inspect::lint_github(findings, file);
  return inspect::lint_text(findings, subject.opened.name);
}

// What a model collection is, which of its archives a device gets (exit 1 when there is a model without one), whether the
// archives are whole.
Result<int> inspect_collection(const Options& o, const Collection& collection) {
  if (o.metadata || o.mil || o.ops || o.weights || o.textconv || o.lint || o.weight || o.diff || o.graph || o.html)
    return usage_error("is a collection of models: --device and --validate look at it; the other views take one of its archives").in_path(o.model);
  MLT_ASSIGN(cli::Output out, cli::Output::plan(o.output, cli::Content::kText, {o.model}));
  if (o.validate) {
    MLT_ASSIGN(auto problems, check_archives(collection, o.model));
    std::string text;
    for (const std::string& problem : problems) text += problem + "\n";
    MLT_TRY(out.write(problems.empty() ? "valid\n" : text));
    MLT_TRY(out.finish());
    return problems.empty() ? 0 : exit_status(Code::kNegative);
  }
  DeviceFacts device;
  for (const std::string& fact : o.device) {
    size_t equals = fact.find('=');
    if (equals == fact.npos) return usage_error("--device: \"" + fact + "\" is no KEY=VALUE");
    MLT_TRY(set_fact(device, fact.substr(0, equals), fact.substr(equals + 1)));
  }
  bool all = true;
  std::string text = o.json ? collection_manifest(collection) : collection_text(collection);
  if (!o.device.empty()) {
    text = o.json ? selection_json(collection, o.model, device) : selection_text(collection, device);
    for (const CollectionModel& model : collection.models) all = all && variant_for(model, device);
  }
  MLT_TRY(out.write(text));
  MLT_TRY(out.finish());
  return all ? 0 : exit_status(Code::kNegative);
}

Result<int> inspect_one_side(const Options& o, cli::Output& out) {
  bool added = *o.diff == "/dev/null";
  if (added && o.model == "/dev/null") {
    MLT_TRY(out.write(o.json ? inspect::absence_json("", "") : "no model on either side\n"));
    MLT_TRY(out.finish());
    return 0;
  }
  const std::string& path = added ? o.model : *o.diff;
  MLT_ASSIGN(OpenedModel opened, cli::read_model(path, o.keys));
  MLT_ASSIGN(inspect::Subject subject, inspect::prepare(std::move(opened)));
  inspect::Report report = inspect::examine(subject);
  MLT_TRY(out.write(o.json ? inspect::absence_json(added ? "" : path, added ? path : "") : (added ? "model added\n" : "model removed\n") + inspect::report_text(report)));
  MLT_TRY(out.finish());
  return exit_status(Code::kNegative);
}

Result<int> inspect_model(const Options& o) {
  MLT_TRY(check_usage(o));
  MLT_ASSIGN(auto collection, open_collection(o.model));
  if (collection) return inspect_collection(o, *collection);
  if (!o.device.empty()) return usage_error("--device goes with a model collection, and this is none").in_path(o.model);
  auto content = o.weight ? cli::Content::kBinary : cli::Content::kText;
  MLT_ASSIGN(cli::Output out, cli::Output::plan(o.html ? o.html : o.output, content, o.diff ? std::vector<std::string>{o.model, *o.diff} : std::vector<std::string>{o.model}));
  std::optional<inspect::Subject> before;
  // How git names the side that is not there, of a model that was added or removed.
  if (o.diff && (*o.diff == "/dev/null" || o.model == "/dev/null")) return inspect_one_side(o, out);
  if (o.diff) {
    MLT_ASSIGN(OpenedModel first, cli::read_model(*o.diff, o.keys));
    MLT_ASSIGN(before.emplace(), inspect::prepare(std::move(first)));
  }
  MLT_ASSIGN(OpenedModel opened, cli::read_model(o.model, o.keys));
  auto finish = [&](std::string_view text) -> Status {
    MLT_TRY(out.write(text));
    return out.finish();
  };
  if (o.metadata) {
    MLT_ASSIGN(std::string json, compiled_metadata_json(opened));
    MLT_TRY(finish(json + "\n"));
    return 0;
  }
  MLT_ASSIGN(inspect::Subject subject, inspect::prepare(std::move(opened)));
  if (o.weight) {
    MLT_ASSIGN(Tensor values, inspect::weight_values(subject, *o.weight));
    MLT_ASSIGN(Bytes npy, write_npy(values));
    MLT_TRY(finish(as_text(npy)));
  } else if (before) {
    MLT_ASSIGN(inspect::Comparison comparison, inspect::compare(*before, subject));
    MLT_TRY(finish(o.json ? inspect::comparison_json(comparison) : inspect::comparison_text(comparison)));
    return comparison.same() ? 0 : exit_status(Code::kNegative);
  } else if (o.lint) {
    inspect::LintOptions options;
    options.ignore = o.ignore;
    MLT_ASSIGN(auto findings, inspect::lint(subject, options));
    MLT_TRY(finish(lint_output(o, subject, findings)));
    return lint_status(o, findings);
  } else if (o.graph) {
    auto drawings = inspect::drawings_of(inspect::units_of(subject, true), inspect::examine(subject), static_cast<size_t>(o.max_nodes.value_or(150)));
    MLT_TRY(finish(*o.graph == "svg" ? inspect::svg_text(drawings, subject.opened.name) : inspect::dot_text(drawings, subject.opened.name)));
  } else if (o.html) {
    MLT_TRY(finish(inspect::html_page(subject)));
  } else if (o.textconv) {
    MLT_TRY(finish(inspect::lines_text(subject)));
  } else if (o.mil) {
    MLT_ASSIGN(std::string text, inspect::mil_text(subject));
    MLT_TRY(finish(text));
  } else if (o.weights) {
    std::vector<inspect::Weight> list = inspect::list_weights(subject, true);
    MLT_TRY(finish(o.json ? inspect::weights_json(subject.opened.origin, list) : inspect::weights_text(list)));
  } else {
    inspect::Report report = inspect::examine(subject);
    if (o.validate) {
      auto findings = inspect::check(subject);
      MLT_TRY(finish(o.json ? inspect::findings_json(report, findings) : inspect::findings_text(report, findings)));
      return coreml::has_errors(findings) ? exit_status(Code::kNegative) : 0;
    }
    if (o.ops) MLT_TRY(finish(o.json ? inspect::counts_json(report) : inspect::counts_text(all_counts(report))));
    else MLT_TRY(finish(o.json ? inspect::report_json(report) : inspect::report_text(report)));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  cli::App app("mlinspect", "say what a Core ML model is, without running it");
  Options o;
  app.usage("[--json] [--ops|--weights|--validate] [-o OUT] MODEL\n--metadata|--mil [-o OUT] MODEL\n--weight NAME -o OUT.npy MODEL\n--diff BEFORE [--json] MODEL\n--lint [--format FORM] [--fail-on LEVEL] MODEL\n--graph dot|svg [-o OUT] MODEL\n--html FILE MODEL");
  app.positional(o.model, "MODEL", "model to look at; '-' is stdin").file();
  app.flag("--ops", o.ops, "count operations or layers by kind");
  app.flag("--weights", o.weights, "list the stored tensors, with the range of their values");
  app.option("--weight", o.weight, "NAME", "write one of them as .npy");
  app.flag("--mil", o.mil, "print the ML program as MIL text");
  app.flag("--metadata", o.metadata, "print the metadata.json of the compiled model");
  app.flag("--validate", o.validate, "check it against the format's rules; exit 1 on errors");
  app.option("--diff", o.diff, "BEFORE", "what differs between model BEFORE and MODEL; exit 1 when something does").file();
  app.flag("--lint", o.lint, "advice: what is legal and still slow, large or likely wrong");
  app.option("--format", o.format, "FORM", "of --lint (text)").choices({"text", "json", "sarif", "github"});
  app.option("--fail-on", o.fail_on, "LEVEL", "of --lint, exit 1 at this level (error)").choices({"error", "warning", "note", "never"});
  app.option("--ignore", o.ignore, "RULE", "of --lint, leave out a rule");
  app.option("--graph", o.graph, "FORM", "draw the graph").choices({"dot", "svg"});
  app.option("--max-nodes", o.max_nodes, "N", "of --graph, join operations beyond N boxes (150); 0: never").range(0, 1e6);
  app.option("--html", o.html, "FILE", "write a page with everything, graph and weights too").file();
  app.flag("--textconv", o.textconv, "the model in lines, for git diff");
  app.option("-o,--output", o.output, "OUT", "write to OUT instead of stdout; '-' is stdout").file();
  app.option("--device", o.device, "KEY=VALUE", "of a collection, which archives a device gets; may be repeated");
  cli::add_key_options(app, o.keys);
  app.json_flag();
  app.examples(
      "mlinspect MobileNet.mlpackage\n"
      "mlinspect --diff old.mlpackage new.mlpackage\n"
      "mlinspect --weights --json m.mlmodel | jq '.weights[].bytes'\n"
      "mlconvert m.onnx -o - | mlinspect --mil -");
  return app.run(argc, argv, [&]() -> Result<int> {
    o.json = app.json();
    return inspect_model(o);
  });
}
