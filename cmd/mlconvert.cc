// mlconvert: a model trained elsewhere becomes a Core ML model.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include <charconv>

#include "cmd/mlconvert_learner.h"
#include "cmd/mlconvert_model.h"
#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/container/detect.h"
#include "lib/container/file_tree.h"
#include "lib/container/program.h"
#include "lib/convert/convert.h"
#include "lib/ir/text.h"

using namespace mlt;

namespace {

struct Options {
  std::string source, from, to, io_precision = "float32", stop_after;
  std::optional<std::string> output, precision, target, passes, labels, probabilities, function, feature_names;
  std::optional<int> opset;
  std::vector<std::string> inputs, outputs, metadata;
  bool check = false, list_ops = false;
  cli::KeyOptions keys;
};

// One label a line; all decimal integers make an integer classifier.
Result<foreign::Labels> read_labels(const std::string& path) {
  MLT_ASSIGN(Blob blob, cli::read_input(path));
  foreign::Labels labels;
  std::string_view text = blob.text();
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    labels.strings.emplace_back(line);
  }
  while (!labels.strings.empty() && labels.strings.back().empty()) labels.strings.pop_back();
  if (labels.strings.empty()) return input_error("no class labels").in_path(cli::input_name(path));
  std::vector<int64_t> ints;
  for (const std::string& s : labels.strings) {
    int64_t value = 0;
    auto [end, code] = std::from_chars(s.data(), s.data() + s.size(), value);
    if (s.empty()) return input_error("an empty class label").in_path(cli::input_name(path));
    if (code != std::errc() || end != s.data() + s.size()) break;
    ints.push_back(value);
  }
  if (ints.size() == labels.strings.size()) {
    labels.ints = std::move(ints);
    labels.strings.clear();
  }
  return labels;
}

Status add_metadata(const std::vector<std::string>& pairs, coreml::Metadata* metadata) {
  for (const std::string& pair : pairs) {
    size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) return usage_error("--metadata \"" + pair + "\" is no key=value");
    std::string key = pair.substr(0, equals), value = pair.substr(equals + 1);
    if (key == "author") metadata->author = value;
    else if (key == "license") metadata->license = value;
    else if (key == "description") metadata->short_description = value;
    else if (key == "version") metadata->version = value;
    else metadata->set(key, value);
  }
  return {};
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    size_t comma = std::min(text.find(',', at), text.size());
    if (comma > at) parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

Result<foreign::Request> make_request(const Options& o) {
  foreign::Request r;
  r.from = o.from;
  r.float16 = o.precision.value_or("float16") == "float16";
  r.float16_io = o.io_precision == "float16";
  r.stop_after = o.stop_after;
  if (o.target) {
    MLT_ASSIGN(r.target, foreign::target_from_text(*o.target));
  }
  if (o.passes) r.passes = split(*o.passes);
  for (const std::string& text : o.inputs) {
    MLT_ASSIGN(foreign::InputOption input, foreign::parse_input_option(text));
    for (const auto& other : r.inputs)
      if (other.name == input.name) return usage_error("--input names \"" + input.name + "\" twice");
    r.inputs.push_back(std::move(input));
  }
  for (const std::string& text : o.outputs) {
    size_t equals = text.find('=');
    r.output_names.emplace_back(equals == std::string::npos ? "" : text.substr(0, equals), equals == std::string::npos ? text : text.substr(equals + 1));
  }
  if (o.labels) {
    MLT_ASSIGN(r.labels, read_labels(*o.labels));
    if (o.probabilities) r.labels->probabilities = *o.probabilities;
  } else if (o.probabilities) {
    return usage_error("--probabilities needs --class-labels");
  }
  MLT_TRY(add_metadata(o.metadata, &r.metadata));
  return r;
}

Status list_ops(bool json) {
  MLT_ASSIGN(cli::Output out, cli::Output::plan(std::nullopt, cli::Content::kText, {}));
  if (json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const foreign::Coverage& c : foreign::coverage()) list.push_back({{"format", c.frontend}, {"operator", c.op}, {"limits", c.note}});
    for (const foreign::LearnerCoverage& c : foreign::learner_coverage()) list.push_back({{"format", c.format}, {"operator", c.name}, {"limits", c.note}});
    MLT_TRY(out.write(nlohmann::ordered_json{{"schema", "mlconvert-operators"}, {"schema_version", 1}, {"operators", list}}.dump(2) + "\n"));
    return out.finish();
  }
  for (const foreign::Coverage& c : foreign::coverage()) MLT_TRY(out.write(c.frontend + "\t" + c.op + "\t" + c.note + "\n"));
  for (const foreign::LearnerCoverage& c : foreign::learner_coverage()) MLT_TRY(out.write(fmt::format("{}\t{}\t{}\n", c.format, c.name, c.note)));
  return out.finish();
}

// What is there already may be replaced when it is a package.
Status check_package(const std::string& path) {
  PathKind kind = path_kind(path);
  if (kind == PathKind::kFile || kind == PathKind::kOther) return resource_error("exists, and is not a package").in_path(path);
  if (kind == PathKind::kDirectory && detect_path(path) != FileKind::kPackage) {
    MLT_ASSIGN(auto names, FileTree::from_directory(path).names());
    if (!names.empty()) return resource_error("exists, and is not a package", "remove it first").in_path(path);
  }
  return {};
}

// Trees, linear models and the like: no program, so no precision, passes or shapes.
Result<int> convert_classic(const foreign::Learner& learner, const Blob& bytes, const Options& o, bool json) {
  for (const auto& [given, option] : {std::pair{o.precision.has_value(), "--precision"}, {o.io_precision != "float32", "--io-precision"}, {o.passes.has_value(), "--passes"},
                                      {!o.stop_after.empty(), "--stop-after"}, {!o.inputs.empty(), "--input"}, {o.probabilities.has_value(), "--probabilities"}, {o.function.has_value(), "--function"}, {o.opset.has_value(), "--opset"}})
    if (given) return usage_error(fmt::format("{} is for networks, not for a model of {}", option, learner.name));
  LearnerRequest r{o.source, o.to, o.check ? std::nullopt : o.output, o.feature_names, o.target, {}};
  if (r.to.empty()) r.to = o.output && o.output->ends_with(".mlpackage") ? "mlpackage" : "mlmodel";
  if (r.to != "mlmodel" && r.to != "mlpackage") return unsupported_error(fmt::format("--to {} of a model of {}", r.to, learner.name), "convert it to .mlmodel first");
  if (!o.check && !cli::is_standard(*o.output)) {
    std::string_view name = *o.output;
    while (name.ends_with('/')) name.remove_suffix(1);
    if (!name.ends_with("." + r.to)) return usage_error(fmt::format("output \"{}\" is not named .{}", *o.output, r.to), "\"-\" is standard output");
    if (r.to == "mlpackage") MLT_TRY(check_package(*o.output));
    else MLT_TRY(cli::check_output(o.output, cli::Content::kBinary, {o.source}));
  }
  Options common = o;
  common.target.reset();
  MLT_ASSIGN(r.common, make_request(common));
  auto done = convert_learner(learner, bytes, r);
  if (!o.check) {
    MLT_TRY(std::move(done));
    return 0;
  }
  if (!done && done.error().code != Code::kUnsupported) return std::move(done.error());
  std::string reason = done ? "" : done.error().message;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  if (!done) list.push_back({{"operator", learner.name}, {"count", 1}, {"nodes", nlohmann::ordered_json::array()}, {"reason", reason}});
  nlohmann::ordered_json report = {{"schema", "mlconvert-check"}, {"schema_version", 1}, {"convertible", done.ok()}, {"unsupported", list}, {"warnings", nlohmann::ordered_json::array()}};
  MLT_ASSIGN(cli::Output out, cli::Output::plan(std::nullopt, cli::Content::kText, {}));
  MLT_TRY(out.write(json ? report.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n" : done ? "convertible\n" : cli::printable(reason) + "\n"));
  MLT_TRY(out.finish());
  return done ? 0 : exit_status(Code::kUnsupported);
}

std::string check_json(const foreign::Conversion& conversion, const std::vector<foreign::Unsupported>& problems) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array(), warnings = nlohmann::ordered_json::array();
  for (const foreign::Unsupported& u : problems) list.push_back({{"operator", u.op}, {"count", u.nodes.size()}, {"nodes", u.nodes}, {"reason", u.reason}});
  for (const std::string& w : conversion.converted.warnings) warnings.push_back(w);
  nlohmann::ordered_json out = {{"schema", "mlconvert-check"}, {"schema_version", 1}, {"convertible", problems.empty()}};
  if (problems.empty()) out["target"] = ops::opset_token(conversion.opset);
  out["unsupported"] = list;
  out["warnings"] = warnings;
  // Names in a file need not be UTF-8.
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

// A Core ML model as source: by --from, or by content. Zips may be another format's.
Result<std::optional<OpenedModel>> core_ml_source(const Options& o) {
  bool wanted = o.from == "coreml";
  if (!o.from.empty() && !wanted) return std::optional<OpenedModel>();
  if (!wanted && !cli::is_standard(o.source) && path_kind(o.source) == PathKind::kDirectory) wanted = detect_path(o.source) != FileKind::kUnknown;
  if (wanted && !cli::is_standard(o.source)) {
    MLT_ASSIGN(OpenedModel opened, cli::read_model(o.source, o.keys));
    return std::optional(std::move(opened));
  }
  return std::optional<OpenedModel>();
}

// Nothing is accepted and ignored.
Status options_for_model(const Options& o, coreml::ModelKind kind) {
  bool program = coreml::is_neural_network(kind) && (o.to == "mlpackage" || o.to == "mil");
  std::string extra;
  auto refuse = [&](bool given, const char* name) {
    if (given) extra += (extra.empty() ? "" : ", ") + std::string(name);
  };
  refuse(!o.inputs.empty() && !coreml::is_neural_network(kind), "--input");
  refuse(o.labels.has_value(), "--class-labels");
  refuse(o.function && o.to != "onnx", "--function");
  refuse(o.precision && !program && o.to != "onnx", "--precision");
  if (!program) {
    refuse(!o.outputs.empty(), "--output-name");
    refuse(!o.metadata.empty(), "--metadata");
    refuse(o.target.has_value(), "--target");
    refuse(o.passes.has_value(), "--passes");
    refuse(!o.stop_after.empty(), "--stop-after");
    refuse(o.io_precision != "float32", "--io-precision");
  }
  if (!extra.empty()) return usage_error("no effect on a Core ML model that becomes " + o.to + ": " + extra);
  return {};
}

Result<int> convert(Options o, bool json) {
  // 1. What is wanted.
  if (o.list_ops) {
    MLT_TRY(list_ops(json));
    return 0;
  }
  if (o.source.empty()) return usage_error("no SRC given");
  if (json && !o.check) return usage_error("--json is for --check and --list-ops");
  if (!o.check && !o.output) return usage_error("no output given", "name it with -o; '-' is stdout");
  MLT_ASSIGN(std::optional<OpenedModel> opened, core_ml_source(o));
  Blob bytes;
  if (!opened) {
    MLT_ASSIGN(bytes, cli::read_plain(o.source, o.keys));
    if (const foreign::Learner* learner = foreign::find_learner(o.from, bytes.bytes())) return convert_classic(*learner, bytes, o, json);
  }
  if (o.feature_names) return usage_error("--feature-names is for classic learners (scikit-learn, XGBoost, LightGBM, LIBSVM)");
  if (o.to.empty()) {
    o.to = "mlpackage";
    if (o.output && (o.output->ends_with(".mil") || (cli::is_standard(*o.output) && !o.stop_after.empty()))) o.to = "mil";
    if (o.output && o.output->ends_with(".onnx")) o.to = "onnx";
    if (o.output && o.output->ends_with(".mlmodel")) o.to = "mlmodel";
  }
  if (!o.check && o.to == "mlpackage" && !cli::is_standard(*o.output)) {
    std::string_view name = *o.output;
    while (name.ends_with('/')) name.remove_suffix(1);
    if (name.ends_with(".mlmodel")) return usage_error("a package is named .mlpackage");
    if (!name.ends_with(".mlpackage")) return usage_error("output \"" + *o.output + "\" is not named .mlpackage", "or .mil for text; \"-\" is a package as a zip on stdout");
    MLT_TRY(check_package(*o.output));
  }
  if (!o.check && o.to == "mil") MLT_TRY(cli::check_output(o.output, cli::Content::kText, {o.source}));
  if (o.opset && o.to != "onnx") return usage_error("--opset is for --to onnx");
  MLT_ASSIGN(foreign::Request request, make_request(o));
  if (request.stop_after.size() && o.to != "mil") return usage_error("--stop-after shows a program: use --to mil");
  request.after_pass = [](const passes::Pass& pass, size_t changes) {
    if (changes) cli::print_info(fmt::format("{}: {} changes", pass.name, changes));
  };

  // 2. Convert.
  Target target{o.source, o.to, o.output.value_or(""), o.precision, o.function, o.opset.value_or(17)};
  if (!opened) {
    FileKind kind = detect_bytes(bytes.bytes());
    bool model = kind == FileKind::kModel || kind == FileKind::kMilText || (kind == FileKind::kZip && !foreign::find_frontend("", bytes.bytes()));
    if (o.from == "coreml" || (o.from.empty() && model)) {
      MLT_ASSIGN(opened, cli::is_standard(o.source) ? open_memory(bytes, "stdin") : cli::read_model(o.source, o.keys));
    }
  }
  if (opened) {
    if (o.check) return usage_error("--check is for models of other frameworks");
    MLT_TRY(complete_mil_text(*opened));
    MLT_TRY(options_for_model(o, opened->model.kind()));
    MLT_TRY(convert_model(*opened, request, target).in(cli::input_name(o.source)));
    return 0;
  }
  if (o.to == "mlmodel") return unsupported_error("an ML program needs a package: .mlmodel files hold no weights beside them", "use --to mlpackage");
  if (o.to == "onnx") return unsupported_error("--to onnx starts from a Core ML model", "convert to a package first");
  if (o.function) return usage_error("--function is for --to onnx");
  std::vector<foreign::Unsupported> problems;
  auto result = foreign::convert_source(bytes, o.source, request, o.check ? &problems : nullptr).in(cli::input_name(o.source));
  if (!result) return std::move(result.error());
  foreign::Conversion conversion = std::move(*result);
  for (const std::string& warning : conversion.converted.warnings) cli::print_warning(cli::printable(warning));
  if (o.check) {
    MLT_ASSIGN(cli::Output out, cli::Output::plan(std::nullopt, cli::Content::kText, {}));
    MLT_TRY(out.write(json ? check_json(conversion, problems) : problems.empty() ? fmt::format("convertible, target {}\n", ops::opset_token(conversion.opset)) : cli::printable(foreign::describe(problems))));
    MLT_TRY(out.finish());
    return problems.empty() ? 0 : exit_status(Code::kUnsupported);
  }

  // 3. Write.
  if (o.to == "mil") {
    MLT_ASSIGN(cli::Output out, cli::Output::plan(o.output, cli::Content::kText, {o.source}));
    MLT_TRY(out.write(ir::print(*conversion.converted.program, {.version = foreign::spec_version(conversion.opset) >= 9 ? "1.3" : "1.0"})));
    MLT_TRY(out.finish());
    return 0;
  }
  MLT_TRY(write_package(conversion, request, target));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  cli::App app("mlconvert", "convert a model trained elsewhere to Core ML");
  Options o;
  app.usage("[--precision P] [--target T] [--input SPEC]... -o OUT SRC\n--check SRC\n--list-ops");
  std::optional<std::string> source;
  app.positional(source, "SRC", "ONNX, scikit-learn, XGBoost, LightGBM, LIBSVM or Core ML model; '-' is stdin").file();
  app.option("-o,--output", o.output, "OUT", ".mlpackage, .mil, .onnx, .mlmodel, or '-' for stdout").file();
  app.option("--from", o.from, "FORMAT", "format of SRC (default: by its content)").choices({"onnx", "sklearn", "xgboost", "lightgbm", "libsvm", "coreml"});
  app.option("--to", o.to, "FORMAT", "mlpackage, mil, onnx, mlmodel (default: by OUT's name)").choices({"mlpackage", "mil", "mlmodel", "onnx"});
  app.option("--precision", o.precision, "P", "compute in float16 (default) or float32; to ONNX: as it is").choices({"float16", "float32"});
  app.option("--io-precision", o.io_precision, "P", "type of float inputs and outputs (default: float32)").choices({"float16", "float32"});
  app.option("--target", o.target, "T", "iOS15 to iOS26, or a specification version (default: the oldest that works)");
  app.option("--opset", o.opset, "N", "with --to onnx: version of the operators, 13 to 24 (default: 17)");
  app.option("--function", o.function, "NAME", "with --to onnx: the function of a model with several");
  app.option("--input", o.inputs, "SPEC", "NAME,shape=1x3x224x224,type=image,color=RGB,scale=..,bias=..");
  app.option("--output-name", o.outputs, "[OLD=]NEW", "name an output");
  app.option("--class-labels", o.labels, "FILE", "make a classifier; one label a line").file();
  app.option("--feature-names", o.feature_names, "LIST", "one input per feature of a classic learner: A,B,.. or @FILE, or 'model' for the names in SRC");
  app.option("--probabilities", o.probabilities, "NAME", "the output that --class-labels is about");
  app.option("--metadata", o.metadata, "KEY=VALUE", "author, license, description, version, or a key of your own");
  app.flag("--check", o.check, "list everything in SRC that cannot be converted; write nothing");
  app.flag("--list-ops", o.list_ops, "list the source operators that are understood");
  app.option("--passes", o.passes, "LIST", "run these passes only, separated by commas");
  app.option("--stop-after", o.stop_after, "STAGE", "lower, passes, or a pass; shows MIL text");
  app.json_flag("--check and --list-ops as JSON");
  add_key_options(app, o.keys);
  app.examples(
      "mlconvert -o MobileNet.mlpackage mobilenet.onnx\n"
      "mlconvert --input image,type=image,scale=0.00392 --class-labels l.txt -o C.mlpackage c.onnx\n"
      "mlconvert --feature-names age,height -o Forest.mlmodel forest.joblib\n"
      "mlconvert -o - m.onnx | mlcompile -o m.mlarchive -\n"
      "mlconvert -o Back.onnx Model.mlpackage");
  return app.run(argc, argv, [&]() -> Result<int> {
    o.source = source.value_or("");
    return convert(o, app.json());
  });
}
