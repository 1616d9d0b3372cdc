// mlquantize: smaller weights for a Core ML model.
#include <fmt/core.h>

#include <algorithm>

#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/cli/seal.h"
#include "lib/compress/compress.h"
#include "lib/container/program.h"
#include "lib/container/save.h"

using namespace mlt;

namespace {

struct Options {
  std::string model, output;
  cli::SealOptions to;
  bool float16 = false, decompress = false;
  std::optional<std::string> linear, palettize, mode, granularity, target, report;
  std::optional<int64_t> min_elements;
  std::vector<std::string> only, skip;
  cli::KeyOptions keys;
};

Error no_choice(const std::string& option, const std::string& value, const std::string& choices) {
  return usage_error(fmt::format("option {}: \"{}\" is not one of {}", option, value, choices));
}

Status read_linear(const Options& o, compress::Config* config) {
  const std::string& dtype = *o.linear;
  if (dtype == "int4" || dtype == "uint4") return unsupported_error("--linear " + dtype + " is not in this version", "int8 and uint8 are");
  if (dtype != "int8" && dtype != "uint8") return no_choice("--linear", dtype, "int8, uint8");
  config->is_signed = dtype == "int8";
  std::string mode = o.mode.value_or("symmetric"), granularity = o.granularity.value_or("channel");
  if (mode == "symmetric" || mode == "linear_symmetric") config->symmetric = true;
  else if (mode == "asymmetric" || mode == "linear") config->symmetric = false;
  else return no_choice("--mode", mode, "symmetric, asymmetric, linear_symmetric, linear");
  if (granularity == "channel" || granularity == "per_channel") config->per_channel = true;
  else if (granularity == "tensor" || granularity == "per_tensor") config->per_channel = false;
  else if (granularity.starts_with("block") || granularity == "per_block") return unsupported_error("--granularity " + granularity + " is not in this version", "tensor and channel are");
  else return no_choice("--granularity", granularity, "tensor, channel");
  return {};
}

Result<compress::Config> read_config(const Options& o) {
  compress::Config config;
  int methods = (o.float16 ? 1 : 0) + (o.linear ? 1 : 0) + (o.palettize ? 1 : 0);
  if (methods + (o.decompress ? 1 : 0) == 0) return usage_error("what is to be done?", "give one of --float16, --linear, --palettize, --decompress");
  if (o.decompress && methods > 0) return usage_error("--decompress excludes the other methods");
  if (methods > 1) return unsupported_error("joint compression is not in this version", "give one of --float16, --linear, --palettize");
  if (!o.linear && (o.mode || o.granularity)) return usage_error(fmt::format("{} belongs to --linear", o.mode ? "--mode" : "--granularity"));
  if (o.linear) {
    config.method = compress::Method::kLinear;
    MLT_TRY(read_linear(o, &config));
  } else if (o.palettize) {
    config.method = compress::Method::kPalette;
    const std::string& bits = *o.palettize;
    if (bits.size() != 1 || std::string("123468").find(bits) == std::string::npos) return no_choice("--palettize", bits, "1, 2, 3, 4, 6, 8");
    config.bits = bits[0] - '0';
  } else {
    config.method = o.float16 ? compress::Method::kFloat16 : compress::Method::kDecompress;
  }
  if (o.min_elements && o.decompress) return usage_error("--min-elements is for compressing");
  // Half precision loses little, so all weights are worth it.
  config.threshold = o.min_elements.value_or(o.float16 ? 0 : 2048);
  for (const auto& [option, from, to] : {std::tuple("--only", &o.only, &config.only), std::tuple("--skip", &o.skip, &config.skip)})
    for (const std::string& text : *from) {
      MLT_ASSIGN(compress::Pattern pattern, compress::Pattern::compile(text).in(fmt::format("option {}", option)));
      to->push_back(std::move(pattern));
    }
  if (o.target) {
    std::string token = *o.target;
    std::transform(token.begin(), token.end(), token.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    config.target = ops::opset_from_token(token);
    if (!config.target) return no_choice("--target", *o.target, "iOS15, iOS16, iOS17, iOS18, iOS26");
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
  cli::print_warning(config.method == compress::Method::kDecompress ? "no weight was decompressed" : "no weight was compressed");
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
  app.flag("--float16", o.float16, "method: half-precision weights");
  app.option("--linear", o.linear, "TYPE", "method: linear quantization to int8 or uint8");
  app.option("--palettize", o.palettize, "BITS", "method: tables of 2^BITS values (1, 2, 3, 4, 6, 8), by k-means");
  app.flag("--decompress", o.decompress, "method: undo; plain weights again");
  app.option("--mode", o.mode, "MODE", "of --linear: symmetric (default) or asymmetric");
  app.option("--granularity", o.granularity, "PER", "of --linear: a scale per channel (default) or per tensor");
  app.option("--only", o.only, "REGEX", "only weights whose name, or whose op's name, matches");
  app.option("--skip", o.skip, "REGEX", "not those that match");
  app.option("--min-elements", o.min_elements, "N", "leave weights of N elements or fewer alone (2048)").range(0, 9e15);
  app.option("--target", o.target, "T", "raise an ML program's opset: iOS16, iOS17, iOS18, iOS26");
  app.option("--report", o.report, "FILE", "write what was done, as JSON; '-' is stdout").file();
  for (const char* option : {"--group", "--vector", "--prune", "--activations", "--calibrate", "--config", "--verify", "--target-size", "--max-drop"})
    app.not_yet(option, true);
  app.threads_option();
  cli::add_seal_options(app, o.to);
  cli::add_key_options(app, o.keys);
  app.examples(
      "mlquantize --linear int8 -o small.mlpackage MobileNet.mlpackage\n"
      "mlconvert m.onnx -o - | mlquantize --palettize 4 -o - - | mlcompile -o m.mlmodelc -");
  return app.run(argc, argv, [&] { return quantize(o); });
}
