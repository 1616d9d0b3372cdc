// mlconvert: a model trained elsewhere becomes a Core ML model.
#include <fmt/core.h>

#include "cmd/mlconvert_check.h"
#include "cmd/mlconvert_learner.h"
#include "cmd/mlconvert_model.h"
#include "cmd/mlconvert_options.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/container/detect.h"
#include "lib/container/program.h"
#include "lib/ir/text.h"

using namespace mlt;

namespace {

// The name that says the format: without .age when the output is sealed.
std::string_view content_name(std::string_view output, const cli::SealOptions& seal) {
  while (output.size() > 1 && output.ends_with('/')) output.remove_suffix(1);
  if (seal.given() && output.ends_with(".age")) output.remove_suffix(4);
  return output;
}

// Trees, linear models and the like: no program, so no precision, passes or shapes.
Result<int> convert_classic(const foreign::Learner& learner, const Blob& bytes, const ConvertOptions& o, bool json) {
  for (const auto& [given, option] : {std::pair{o.precision.has_value(), "--precision"}, {o.io_precision != "float32", "--io-precision"}, {!o.keep_float32.empty(), "--keep-float32"}, {o.passes.has_value(), "--passes"},
                                      {!o.stop_after.empty(), "--stop-after"}, {!o.inputs.empty(), "--input"}, {o.probabilities.has_value(), "--probabilities"}, {o.function.has_value(), "--function"}, {!o.states.empty(), "--state"}, {o.opset.has_value(), "--opset"}})
    if (given) return usage_error(fmt::format("{} is for networks, not for a model of {}", option, learner.name));
  LearnerRequest r{o.source, o.to, o.check ? std::nullopt : o.output, o.feature_names, o.target, {}, o.to_seal};
  if (r.to.empty()) r.to = o.output && content_name(*o.output, o.to_seal).ends_with(".mlpackage") ? "mlpackage" : "mlmodel";
  if (r.to != "mlmodel" && r.to != "mlpackage") return unsupported_error(fmt::format("--to {} of a model of {}", r.to, learner.name), "convert it to .mlmodel first");
  if (!o.check && o.to_seal.given()) {
    if (o.output->ends_with(".mlpackage") || o.output->ends_with(".mlpackage/")) return usage_error("a sealed model is one file, and .mlpackage is a directory", "name it .mlpackage.age");
    MLT_TRY(cli::check_output(o.output, cli::Content::kBinary, {o.source}));
  } else if (!o.check && !cli::is_standard(*o.output)) {
    std::string_view name = *o.output;
    while (name.ends_with('/')) name.remove_suffix(1);
    if (!name.ends_with("." + r.to)) return usage_error(fmt::format("output \"{}\" is not named .{}", *o.output, r.to), "\"-\" is standard output");
    if (r.to == "mlpackage") MLT_TRY(check_package(*o.output));
    else MLT_TRY(cli::check_output(o.output, cli::Content::kBinary, {o.source}));
  }
  ConvertOptions common = o;
  common.target.reset();
  MLT_ASSIGN(r.common, make_request(common));
  auto done = convert_learner(learner, bytes, r);
  if (!o.check) {
    MLT_TRY(std::move(done));
    return 0;
  }
  if (!done && done.error().code != Code::kUnsupported) return std::move(done.error());
  return print_check(std::string(learner.name), done ? std::nullopt : std::optional(done.error().message), json);
}

// A Core ML model as source: by --from, or by content. Zips may be another format's.
Result<std::optional<OpenedModel>> core_ml_source(const ConvertOptions& o) {
  bool wanted = o.from == "coreml";
  if (!o.from.empty() && !wanted) return std::optional<OpenedModel>();
  if (!wanted && !cli::is_standard(o.source) && path_kind(o.source) == PathKind::kDirectory) wanted = detect_path(o.source) != FileKind::kUnknown;
  if (wanted && !cli::is_standard(o.source)) {
    MLT_ASSIGN(OpenedModel opened, cli::read_model(o.source, o.keys));
    return std::optional(std::move(opened));
  }
  return std::optional<OpenedModel>();
}

Result<int> convert(ConvertOptions o, bool json) {
  // 1. What is wanted.
  if (o.list_ops) {
    MLT_TRY(print_operators(json));
    return 0;
  }
  if (o.source.empty()) return usage_error("no SRC given");
  if (o.check && o.to_seal.given()) return usage_error("--check writes no model, so there is nothing to seal");
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
    std::string_view name = o.output ? content_name(*o.output, o.to_seal) : "";
    if (name.ends_with(".mil") || (name == "-" && !o.stop_after.empty())) o.to = "mil";
    if (name.ends_with(".onnx")) o.to = "onnx";
    if (name.ends_with(".mlmodel")) o.to = "mlmodel";
  }
  if (!o.check && o.to_seal.given()) {
    if (o.output->ends_with(".mlpackage") || o.output->ends_with(".mlpackage/")) return usage_error("a sealed model is one file, and .mlpackage is a directory", "name it .mlpackage.age");
    MLT_TRY(cli::check_output(o.output, cli::Content::kBinary, {o.source}));
  }
  if (!o.check && o.to == "mlpackage" && !cli::is_standard(*o.output) && !o.to_seal.given()) {
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
  Target target{o.source, o.to, o.output.value_or(""), o.precision, o.function, o.opset.value_or(17), o.to_seal};
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
    if (!o.metadata.empty()) {
      coreml::Metadata metadata = opened->model.metadata();
      MLT_TRY(edit_metadata(o.metadata, &metadata));
      opened->model.set_metadata(std::move(metadata));
    }
    MLT_TRY(convert_model(*opened, request, target).in(cli::input_name(o.source)));
    return 0;
  }
  if (o.to == "mlmodel") return unsupported_error("an ML program needs a package: .mlmodel files hold no weights beside them", "use --to mlpackage; --from onnx-ml makes classic models of trees, linear models and encoders");
  if (o.to == "onnx") return unsupported_error("--to onnx starts from a Core ML model", "convert to a package first");
  if (o.function) return usage_error("--function is for --to onnx");
  std::vector<foreign::Unsupported> problems;
  auto result = foreign::convert_source(bytes, o.source, request, o.check ? &problems : nullptr).in(cli::input_name(o.source));
  if (!result) return std::move(result.error());
  foreign::Conversion conversion = std::move(*result);
  for (const std::string& warning : conversion.converted.warnings) cli::print_warning(cli::printable(warning));
  if (o.check) return print_check(conversion, problems, json);

  // 3. Write.
  if (o.to == "mil") {
    MLT_TRY(write_text(target, *conversion.converted.program, foreign::spec_version(conversion.opset)));
    return 0;
  }
  MLT_TRY(write_package(conversion, request, target));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  cli::App app("mlconvert", "convert a model trained elsewhere to Core ML");
  ConvertOptions o;
  app.usage("[--precision P] [--target T] [--input SPEC]... -o OUT SRC\n--check SRC\n--list-ops");
  std::optional<std::string> source;
  app.positional(source, "SRC", "ONNX, scikit-learn, XGBoost, LightGBM, LIBSVM or Core ML model; '-' is stdin").file();
  add_options(app, o);
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
