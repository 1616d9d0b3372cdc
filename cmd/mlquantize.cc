// mlquantize: smaller weights for a Core ML model.
#include <fmt/core.h>

#include <algorithm>

#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/cli/seal.h"
#include "lib/compress/compress.h"
#include "lib/compress/settings.h"
#include "lib/container/program.h"
#include "lib/container/save.h"
#include "lib/tensor/npy.h"

using namespace mlt;

namespace {

struct Options {
  std::string model, output;
  cli::SealOptions to;
  bool decompress = false;
  compress::Settings settings;
  std::optional<std::string> table, config, target, report;
  std::vector<std::string> only, skip, rules;
  cli::KeyOptions keys;
};

Result<std::vector<float>> read_table(const std::string& path) {
  MLT_ASSIGN(Blob bytes, cli::read_input(path));
  MLT_ASSIGN(Tensor tensor, read_npy(bytes).in(path));
  if (tensor.dtype() == DType::kString || tensor.size() > 1 << 16) return input_error("is no table of numbers").in_path(path);
  return to_floats(tensor);
}

Result<compress::Config> read_config(const Options& o) {
  compress::Config config;
  compress::Settings settings = o.settings;
  bool method = settings.float16 || settings.linear || settings.palettize || settings.prune;
  if (!method && !o.decompress && !o.config && o.rules.empty()) return usage_error("what is to be done?", "give --float16, --linear, --palettize, --prune, --config, --rule or --decompress");
  if (o.decompress && (method || o.config || !o.rules.empty())) return usage_error("--decompress excludes the other methods");
  if (o.decompress && settings.threshold) return usage_error("--min-elements is for compressing");
  config.decompress = o.decompress;
  for (const std::string& text : o.rules) {
    MLT_ASSIGN(compress::Rule rule, compress::parse_rule(text));
    config.rules.push_back(std::move(rule));
  }
  if (o.config) {
    if (method || settings.mode || settings.granularity) return usage_error("--config excludes methods and their settings", "exceptions are given by --rule");
    if (settings.threshold) return usage_error("--min-elements and --config exclude each other", "weight_threshold is in the file");
    MLT_ASSIGN(Blob bytes, cli::read_input(*o.config));
    MLT_TRY(compress::read_optimization_config({reinterpret_cast<const char*>(bytes.bytes().data()), bytes.size()}, &config).in(*o.config));
  }
  if (o.table) { MLT_ASSIGN(settings.table, read_table(*o.table)); }
  if (!o.config && !o.decompress) { MLT_ASSIGN(config.recipe, compress::make_recipe(settings)); }
  for (const auto& [option, from, to] : {std::tuple("--only", &o.only, &config.only), std::tuple("--skip", &o.skip, &config.skip)})
    for (const std::string& text : *from) {
      MLT_ASSIGN(compress::Pattern pattern, compress::Pattern::compile(text).in(fmt::format("option {}", option)));
      to->push_back(std::move(pattern));
    }
  if (o.target) {
    std::string token = *o.target;
    std::transform(token.begin(), token.end(), token.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    config.target = ops::opset_from_token(token);
    if (!config.target) return usage_error(fmt::format("option --target: \"{}\" is not one of iOS15, iOS16, iOS17, iOS18, iOS26", *o.target));
  }
  return config;
}

// A directory is replaced as a whole, so only a package (or nothing yet) may be in the way.
Status check_directory(const std::string& path) {
  if (path_kind(path) == PathKind::kMissing || detect_path(path) == FileKind::kPackage) return {};
  if (path_kind(path) == PathKind::kDirectory) {
    MLT_ASSIGN(auto names, FileTree::from_directory(path).names());
    if (names.empty()) return {};
  }
  return resource_error("exists, and is not a package", "remove it first").in_path(path);
}

void tell(const compress::Report& report, const compress::Config& config) {
  for (const std::string& note : report.notes) cli::print_info(cli::printable(note));
  for (const std::string& warning : report.warnings) cli::print_warning(cli::printable(warning));
  for (const compress::WeightReport& w : report.weights)
    cli::print_info(cli::printable(fmt::format("{}{}{}: {}{}, {} -> {} bytes", w.stage, w.stage.empty() ? "" : ": ", w.name, w.changed ? "" : "unchanged, ", w.form, w.bytes_before, w.bytes_after)));
  cli::print_info(fmt::format("{} of {} weights changed, {} -> {} bytes", report.changed(), report.weights.size(), report.bytes_before(), report.bytes_after()));
  if (report.changed() > 0) return;
  cli::print_warning(config.decompress ? "no weight was decompressed" : "no weight was compressed");
}

Status quantize(const Options& o) {
  // 1. What, and where to.
  MLT_ASSIGN(compress::Config config, read_config(o));
  std::optional<SaveFormat> named;
  bool streamed = cli::is_standard(o.output) || o.to.given();
  if (!streamed) {
    MLT_ASSIGN(named, save_format(o.output));
  } else if (cli::is_standard(o.output) && o.report && cli::is_standard(*o.report)) {
    return usage_error("the model and the report cannot both go to stdout");
  }
  MLT_TRY(cli::check_output(o.output, cli::Content::kBinary, {o.model}));
  if (named == SaveFormat::kPackage) MLT_TRY(check_directory(o.output));
  std::optional<cli::Output> report_output;
  if (o.report) {
    MLT_ASSIGN(cli::Output planned, cli::Output::plan(*o.report, cli::Content::kText, {o.model}));
    report_output.emplace(std::move(planned));
  }

  // 2. Open.
  MLT_ASSIGN(OpenedModel model, cli::read_model(o.model, o.keys));
  MLT_TRY(complete_mil_text(model));
  MLT_ASSIGN(auto programs, load_programs(model));
  bool has_program = std::any_of(programs.begin(), programs.end(), [](const auto& program) { return program != nullptr; });
  if (model.kind == FileKind::kCompiled && !has_program)
    return unsupported_error("compiled models other than ML programs cannot be turned back", "compress the model and compile it again").in_path(model.origin);
  if (has_program && named == SaveFormat::kModelFile) return usage_error("an ML program is stored as a package", "name the output .mlpackage");
  bool package = named ? named == SaveFormat::kPackage : has_program || model.kind == FileKind::kPackage;

  // 3. Compress into the output.
  std::optional<cli::SealedOutput> stream;
  if (streamed) {
    MLT_ASSIGN(auto planned, cli::SealedOutput::plan(o.output, {o.model}, o.to));
    stream.emplace(std::move(planned));
  }
  std::unique_ptr<PackageWriter> writer;
  coreml::WeightSink* sink = nullptr;
  if (package) {
    if (stream) {
      MLT_ASSIGN(writer, PackageWriter::to_zip([&](ByteSpan bytes) { return stream->write(bytes); }));
    } else {
      MLT_ASSIGN(writer, PackageWriter::to_directory(o.output));
    }
    if (has_program) {
      MLT_ASSIGN(sink, writer->weights());
    }
  }
  MLT_ASSIGN(compress::Report report, compress::compress(model.model, programs, config, sink).in(model.origin));
  if (writer) {
    MLT_TRY(writer->finish(model.model));
  } else if (stream) {
    MLT_ASSIGN(Bytes bytes, model.model.serialize());
    MLT_TRY(stream->write(bytes));
  } else {
    MLT_TRY(save_model_file(model.model, o.output));
  }
  if (stream) MLT_TRY(stream->finish());

  // 4. Report.
  tell(report, config);
  if (!report_output) return {};
  MLT_TRY(report_output->write(report.json()));
  return report_output->finish();
}

}  // namespace

int main(int argc, char** argv) {
  cli::App app("mlquantize", "make the weights of a Core ML model smaller");
  Options o;
  app.usage("METHOD [options] -o OUT MODEL");
  app.positional(o.model, "MODEL", "model to compress; '-' is stdin").file();
  app.option("-o,--output", o.output, "OUT", ".mlpackage directory, .mlmodel file, or '-' for stdout").file().required();
  compress::Settings& to = o.settings;
  app.flag("--float16", to.float16, "method: half-precision weights");
  app.option("--linear", to.linear, "TYPE", "method: linear quantization to int8, uint8, int4 or uint4");
  app.option("--palettize", to.palettize, "BITS", "method: tables of 2^BITS values (1, 2, 3, 4, 6, 8), unique or custom");
  app.option("--prune", to.prune, "HOW", "method: zeros; SPARSITY[,block=N], N:M or threshold=T");
  app.flag("--decompress", o.decompress, "method: undo; plain weights again");
  app.option("--config", o.config, "FILE", "methods by op, as coremltools' OptimizationConfig; YAML or JSON").file();
  app.option("--rule", o.rules, "SETTINGS@REGEX", "another method for these weights, e.g. linear=int4@head; repeatable");
  app.option("--mode", to.mode, "MODE", "symmetric (default), asymmetric; kmeans (default), uniform");
  app.option("--granularity", to.granularity, "PER", "of --linear: a scale per channel (default), tensor or block:N");
  app.option("--group", to.group, "N", "of --palettize: a table for every N channels").range(1, 9e15);
  app.option("--vector", to.vector, "N", "of --palettize: N neighbouring channels share a code").range(1, 64);
  app.flag("--channel-scale", to.channel_scale, "of --palettize: bring channels to one range before");
  app.option("--table", o.table, "FILE", "of --palettize custom: the values, as .npy").file();
  app.option("--only", o.only, "REGEX", "only weights whose name, or whose op's name, matches");
  app.option("--skip", o.skip, "REGEX", "not those that match");
  app.option("--min-elements", to.threshold, "N", "leave weights of N elements or fewer alone (2048)").range(0, 9e15);
  app.option("--target", o.target, "T", "raise an ML program's opset: iOS16, iOS17, iOS18, iOS26");
  app.option("--report", o.report, "FILE", "write what was done, as JSON; '-' is stdout").file();
  for (const char* option : {"--activations", "--calibrate", "--verify", "--target-size", "--max-drop"})
    app.not_yet(option, true);
  app.threads_option();
  cli::add_seal_options(app, o.to);
  cli::add_key_options(app, o.keys);
  app.examples(
      "mlquantize --linear int8 -o small.mlpackage MobileNet.mlpackage\n"
      "mlconvert m.onnx -o - | mlquantize --palettize 4 -o - - | mlcompile -o m.mlmodelc -");
  return app.run(argc, argv, [&] { return quantize(o); });
}
