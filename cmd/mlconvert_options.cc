#include "cmd/mlconvert_options.h"

#include <charconv>

#include "lib/cli/io.h"
#include "lib/container/detect.h"
#include "lib/container/file_tree.h"

namespace mlt {
namespace {

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

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    size_t comma = std::min(text.find(',', at), text.size());
    if (comma > at) parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

}  // namespace

void add_options(cli::App& app, ConvertOptions& o) {
  app.option("-o,--output", o.output, "OUT", ".mlpackage, .mil, .onnx, .mlmodel, or '-' for stdout").file();
  app.option("--from", o.from, "FORMAT", "format of SRC (default: by its content)").choices({"onnx", "sklearn", "xgboost", "lightgbm", "libsvm", "onnx-ml", "coreml"});
  app.option("--to", o.to, "FORMAT", "mlpackage, mil, onnx, mlmodel (default: by OUT's name)").choices({"mlpackage", "mil", "mlmodel", "onnx"});
  app.option("--precision", o.precision, "P", "compute in float16 (default) or float32; to ONNX: as it is").choices({"float16", "float32"});
  app.option("--keep-float32", o.keep_float32, "REGEX", "with float16: operations, by kind or name, that stay in float32");
  app.option("--io-precision", o.io_precision, "P", "type of float inputs and outputs (default: float32)").choices({"float16", "float32"});
  app.option("--target", o.target, "T", "iOS15 to iOS26, or a specification version (default: the oldest that works)");
  app.option("--opset", o.opset, "N", "with --to onnx: version of the operators, 13 to 24 (default: 17)");
  app.option("--function", o.function, "NAME", "with --to onnx: the function of a model with several");
  app.option("--input", o.inputs, "SPEC", "NAME,shape=1x3x224x224,type=image,color=RGB,scale=..,bias=..");
  app.option("--output-name", o.outputs, "[OLD=]NEW", "name an output");
  app.option("--state", o.states, "IN=OUT", "an input and the output that replaces it become a state, as caches do");
  app.option("--class-labels", o.labels, "FILE", "make a classifier; one label a line").file();
  app.option("--feature-names", o.feature_names, "LIST", "one input per feature of a classic learner: A,B,.. or @FILE, or 'model' for the names in SRC");
  app.option("--probabilities", o.probabilities, "NAME", "the output that --class-labels is about");
  app.option("--metadata", o.metadata, "KEY=VALUE", "author, license, description, version, or a key of your own");
  app.flag("--check", o.check, "list everything in SRC that cannot be converted; write nothing");
  app.flag("--list-ops", o.list_ops, "list the source operators that are understood");
  app.option("--passes", o.passes, "LIST", "run these passes only, separated by commas");
  cli::add_seal_options(app, o.to_seal);
  app.option("--stop-after", o.stop_after, "STAGE", "lower, passes, or a pass; shows MIL text");
}

Result<foreign::Request> make_request(const ConvertOptions& o) {
  foreign::Request r;
  r.from = o.from;
  r.float16 = o.precision.value_or("float16") == "float16";
  r.float16_io = o.io_precision == "float16";
  r.keep_float32 = o.keep_float32;
  if (!o.keep_float32.empty() && !r.float16) return usage_error("--keep-float32 is for --precision float16");
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
  for (const std::string& text : o.states) {
    size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) return usage_error("--state \"" + text + "\" is no INPUT=OUTPUT");
    r.states.emplace_back(text.substr(0, equals), text.substr(equals + 1));
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
  MLT_TRY(edit_metadata(o.metadata, &r.metadata));
  return r;
}

Status edit_metadata(const std::vector<std::string>& pairs, coreml::Metadata* metadata) {
  for (const std::string& pair : pairs) {
    size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) return usage_error("--metadata \"" + pair + "\" is no key=value");
    std::string key = pair.substr(0, equals), value = pair.substr(equals + 1);
    if (key == "author") metadata->author = value;
    else if (key == "license") metadata->license = value;
    else if (key == "description") metadata->short_description = value;
    else if (key == "version") metadata->version = value;
    else if (value.empty()) std::erase_if(metadata->user_defined, [&](const auto& entry) { return entry.first == key; });
    else metadata->set(key, value);
  }
  return {};
}

Status check_package(const std::string& path) {
  PathKind kind = path_kind(path);
  if (kind == PathKind::kFile || kind == PathKind::kOther) return resource_error("exists, and is not a package").in_path(path);
  if (kind == PathKind::kDirectory && detect_path(path) != FileKind::kPackage) {
    MLT_ASSIGN(auto names, FileTree::from_directory(path).names());
    if (!names.empty()) return resource_error("exists, and is not a package", "remove it first").in_path(path);
  }
  return {};
}

Status options_for_model(const ConvertOptions& o, coreml::ModelKind kind) {
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
    refuse(!o.states.empty(), "--state");
    refuse(!o.metadata.empty() && (o.to == "onnx" || o.to == "mil"), "--metadata");
    refuse(o.target.has_value(), "--target");
    refuse(!o.keep_float32.empty(), "--keep-float32");
    refuse(o.passes.has_value(), "--passes");
    refuse(!o.stop_after.empty(), "--stop-after");
    refuse(o.io_precision != "float32", "--io-precision");
  }
  if (!extra.empty()) return usage_error("no effect on a Core ML model that becomes " + o.to + ": " + extra);
  return {};
}

}  // namespace mlt
