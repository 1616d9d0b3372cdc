// mlquantize: smaller weights for a Core ML model.
#include <fmt/core.h>

#include <algorithm>

#include "cmd/mlquantize.h"
#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/compress/compress.h"
#include "lib/container/program.h"
#include "lib/container/save.h"
#include "lib/tune/search.h"

using namespace mlt;

namespace {

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
  if (report.changed() > 0 || (config.recipe.none() && config.rules.empty() && !config.decompress)) return;
  cli::print_warning(config.decompress ? "no weight was decompressed" : "no weight was compressed");
}

Status write_report(const std::optional<std::string>& path, std::optional<cli::Output>& output, const compress::Report& report) {
  if (!output) return {};
  MLT_TRY(output->write(path->ends_with(".html") ? report.html() : report.json()));
  return output->finish();
}

// A result that has been run, and what is to be said about it.
struct Tried {
  tune::Candidate candidate;
  std::optional<Error> refused;
};

// Makes the result without writing it; measures, and searches when asked to.
Result<Tried> try_it(const QuantizeArguments& o, const OpenedModel& model, compress::Config config) {
  Tried out;
  MLT_ASSIGN(std::optional<double> max_drop, read_drop(o));
  MLT_ASSIGN(std::optional<uint64_t> target, read_size(o));
  MLT_ASSIGN(std::optional<ActivationChoice> activations, read_activations(o, config));
  bool searches = target || (max_drop && config.recipe.none() && config.rules.empty() && !activations && !config.decompress);
  if (searches && activations) return usage_error("--target-size and --activations exclude each other");
  std::optional<tune::Reference> reference;
  if (o.verify) {
    MLT_ASSIGN(auto records, read_data(*o.verify, model, o.batch));
    MLT_ASSIGN(auto made, tune::Reference::create(model, std::move(records)));
    reference.emplace(std::move(made));
  }
  if (searches) {
    tune::SearchOptions options{target, max_drop, config, [](const std::string& text) { cli::print_info(cli::printable(text)); }};
    MLT_ASSIGN(tune::SearchResult result, tune::search(model, reference ? &*reference : nullptr, options));
    out.candidate = std::move(result.candidate);
    out.refused = result.refused;
    for (const std::string& line : tune::to_text(result)) cli::print_info(line);
    out.candidate.report.method = target ? fmt::format("the best for {} bytes", *target) : fmt::format("the smallest that loses at most {:g}%", 100 * *max_drop);
    out.candidate.report.sections.emplace_back("search", tune::to_json(result, options));
  } else {
    std::optional<compress::ActivationPlan> plan;
    if (activations) {
      MLT_ASSIGN(auto records, read_data(*o.calibrate, model, o.batch));
      activations->plan.target = config.target;
      MLT_ASSIGN(plan, tune::calibrate(model, records, activations->plan, activations->observer));
    }
    MLT_ASSIGN(out.candidate, tune::make_candidate(model, config, plan ? &*plan : nullptr));
    if (plan) out.candidate.report.sections.emplace_back("activations", tune::to_json(*plan));
  }
  if (!reference) return out;
  MLT_ASSIGN(tune::Fidelity fidelity, reference->compare(out.candidate.model));
  auto worst = reference->worst_layers(model, out.candidate.model, 5);
  if (worst) fidelity.worst = std::move(*worst);
  else if (worst.error().code != Code::kUnsupported) return std::move(worst).error();
  for (const std::string& line : tune::to_text(fidelity)) cli::print_info(cli::printable(line));
  out.candidate.report.sections.emplace_back("verify", tune::to_json(fidelity));
  if (max_drop && !(fidelity.drop <= *max_drop) && !out.refused)
    out.refused = Error{Code::kNegative, fmt::format("{}, {:.3g}% are allowed", tune::drop_text(fidelity), 100 * *max_drop), {}, "nothing was written; --report says which weights suffer most"};
  return out;
}

Status quantize(const QuantizeArguments& o, bool json) {
  // 1. What, and where to.
  MLT_ASSIGN(compress::Config config, read_config(o));
  MLT_ASSIGN([[maybe_unused]] auto drop, read_drop(o));
  MLT_ASSIGN([[maybe_unused]] auto size, read_size(o));
  MLT_ASSIGN([[maybe_unused]] auto choice, read_activations(o, config));
  bool streamed = cli::is_standard(o.output) || o.to.given();
  std::optional<SaveFormat> named;
  if (!streamed) {
    MLT_ASSIGN(named, save_format(o.output));
  } else if (cli::is_standard(o.output) && o.report && cli::is_standard(*o.report)) {
    return usage_error("the model and the report cannot both go to stdout");
  }
  if (json && cli::is_standard(o.output)) return usage_error("--json and the model cannot both go to stdout", "use --report FILE");
  if (json && o.report && cli::is_standard(*o.report)) return usage_error("--json is --report - already");
  std::vector<std::string> sources{o.model};
  for (const auto& data : {o.verify, o.calibrate, o.config, o.table})
    if (data) sources.push_back(*data);
  MLT_TRY(cli::check_output(o.output, cli::Content::kBinary, sources));
  if (named == SaveFormat::kPackage) MLT_TRY(check_directory(o.output));
  std::optional<cli::Output> report_output;
  if (o.report) {
    MLT_ASSIGN(cli::Output planned, cli::Output::plan(*o.report, cli::Content::kText, sources));
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

  // 3. Try, when there is something to try on.
  std::optional<Tried> tried;
  if (o.tried()) {
    MLT_ASSIGN(tried, try_it(o, model, config));
    if (tried->refused) {
      MLT_TRY(write_report(o.report, report_output, tried->candidate.report));
      if (json) MLT_TRY(write_fd(1, as_bytes(tried->candidate.report.json()), "stdout"));
      return std::move(*tried->refused).in_path(model.origin);
    }
  }

  // 4. Compress into the output.
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
    if (has_program && !tried) {
      MLT_ASSIGN(sink, writer->weights());
    }
  }
  compress::Report report;
  coreml::Model& result = tried ? tried->candidate.model.model : model.model;
  if (tried) {
    report = std::move(tried->candidate.report);
    if (writer && tried->candidate.weights.size() > 64) MLT_TRY(writer->add_file("weights/weight.bin", tried->candidate.weights));
  } else {
    MLT_ASSIGN(report, compress::compress(model.model, programs, config, sink).in(model.origin));
  }
  if (writer) {
    MLT_TRY(writer->finish(result));
  } else if (stream) {
    MLT_ASSIGN(Bytes bytes, result.serialize());
    MLT_TRY(stream->write(bytes));
  } else {
    MLT_TRY(save_model_file(result, o.output));
  }
  if (stream) MLT_TRY(stream->finish());

  // 5. Report.
  tell(report, config);
  MLT_TRY(write_report(o.report, report_output, report));
  return json ? write_fd(1, as_bytes(report.json()), "stdout") : Status();
}

}  // namespace

int main(int argc, char** argv) {
  cli::App app("mlquantize", "make the weights of a Core ML model smaller");
  QuantizeArguments o;
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
  app.option("--report", o.report, "FILE", "write what was done, as JSON, or a page for .html; '-' is stdout").file();
  app.option("--activations", o.activations, "TYPE", "activations, too: int8 or uint8[,asymmetric]; needs --calibrate");
  app.option("--calibrate", o.calibrate, "DATA", "records from which the ranges of activations come").file();
  app.option("--observer", o.observer, "HOW", "of --calibrate: minmax (default), percentile, mse");
  app.option("--verify", o.verify, "DATA", "run both models on these records, and compare").file();
  app.flag("--batch", o.batch, "DATA's arrays hold a record at each index of their first axis");
  app.option("--max-drop", o.max_drop, "SHARE", "of --verify: write nothing when more is lost, e.g. 1%");
  app.option("--target-size", o.target_size, "SIZE", "find the best methods, weight by weight, for this size, e.g. 12MB");
  app.json_flag("print the report to stdout");
  app.threads_option();
  cli::add_seal_options(app, o.to);
  cli::add_key_options(app, o.keys);
  app.examples(
      "mlquantize --target-size 2MB --verify val.npz --batch --max-drop 1% -o small.mlpackage m.mlpackage\n"
      "mlquantize --linear int8 -o small.mlpackage MobileNet.mlpackage\n"
      "mlconvert m.onnx -o - | mlquantize --palettize 4 -o - - | mlcompile -o m.mlmodelc -");
  return app.run(argc, argv, [&] { return quantize(o, app.json()); });
}
