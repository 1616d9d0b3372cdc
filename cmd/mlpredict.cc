// mlpredict: run any Core ML model on this machine; records in, records out.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>

#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/cli/model_input.h"
#include "lib/runtime/predictor.h"
#include "lib/runtime/present.h"
#include "lib/runtime/records.h"
#include "lib/tensor/npy.h"

using namespace mlt;

namespace {

struct Options {
  std::string model;
  std::vector<std::string> values, features;
  std::optional<std::string> inputs, outputs, expect, dump, function, shard;
  std::string fit = "stretch", on_error = "stop";
  std::optional<int> top_k;
  double rtol = 1e-3, atol = 1e-5;
  bool batch = false, strict = false, reference = false;
  cli::KeyOptions keys;
};

// The records to predict: the command line's one, a file's, or a pipe's.
class OneRecord : public RecordReader {
 public:
  explicit OneRecord(FeatureMap record) : record_(std::move(record)) {}
  Result<std::optional<FeatureMap>> next() override { return std::exchange(record_, std::nullopt); }

 private:
  std::optional<FeatureMap> record_;
};

Result<std::unique_ptr<RecordReader>> open_records(const Options& o, const Predictor& predictor) {
  const auto& features = predictor.description().inputs;
  if (!o.inputs) {
    if (o.batch) return usage_error("--batch splits arrays of --inputs");
    MLT_ASSIGN(FeatureMap record, parse_record(o.values, features, cli::read_input));
    return std::unique_ptr<RecordReader>(std::make_unique<OneRecord>(std::move(record)));
  }
  if (!o.values.empty()) return usage_error("name=value arguments and --inputs exclude each other");
  Blob file;
  if (cli::is_standard(*o.inputs)) {
    // JSON lines are answered as they come; anything else in a pipe is read whole first.
    MLT_TRY(cli::claim_stdin());
    char first = 0;
    if (::read(0, &first, 1) != 1) return input_error("no records on stdin");
    if (first == '{') return stream_records(0, RecordFormat::kJsonl, features, "{");
    MLT_ASSIGN(Bytes rest, read_fd(0, "stdin"));
    rest.insert(rest.begin(), static_cast<std::byte>(first));
    file = Blob(std::move(rest));
  } else {
    MLT_ASSIGN(file, map_file(*o.inputs));
  }
  auto format = record_format(*o.inputs, file.bytes());
  if (!format) return std::move(format).error().in_path(cli::input_name(*o.inputs));
  auto reader = read_records(file, *format, features, o.batch);
  if (!reader) return std::move(reader).error().in_path(cli::input_name(*o.inputs));
  return reader;
}

Result<std::pair<int64_t, int64_t>> parse_shard(const std::string& text) {
  size_t slash = text.find('/');
  if (slash != std::string::npos) {
    auto i = cli::parse_integer(text.substr(0, slash)), n = cli::parse_integer(text.substr(slash + 1));
    if (i && n && *n > 0 && *i >= 0 && *i < *n) return std::pair{*i, *n};
  }
  return usage_error("--shard takes i/n with 0 <= i < n, for example 0/4");
}

Status dump_step(const std::string& dir, const StepInfo& info, const std::vector<const Tensor*>& outputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i]->valid()) continue;
    std::string name = info.output_names[i];
    std::replace(name.begin(), name.end(), '/', '_');
    MLT_ASSIGN(Bytes npy, write_npy(*outputs[i]));
    MLT_TRY(write_file(dir + "/" + name + ".npy", npy));
  }
  return {};
}

Result<int> predict(const Options& o, bool json) {
  MLT_ASSIGN(OpenedModel model, cli::read_model(o.model, o.keys));
  PredictOptions options;
  options.function = o.function.value_or("");
  options.fit = *fit_from_name(o.fit);  // one of the option's choices
  options.exec.strict_fp16 = o.strict;
  options.exec.fast_kernels = !o.reference;
  options.exec.keep_all = o.dump.has_value();
  for (const std::string& text : o.features) {
    size_t equals = text.find('=');
    if (equals == std::string::npos) return usage_error("--feature takes name=value");
    coreml::FeatureDescription any;
    any.name = text.substr(0, equals);
    any.type.kind = coreml::FeatureKind::kMultiArray;
    MLT_ASSIGN(options.stage_features[any.name], parse_feature(text.substr(equals + 1), any, cli::read_input));
  }
  MLT_ASSIGN(auto predictor, Predictor::create(model, options));

  std::optional<Error> dump_error;
  if (o.dump) {
    if (predictor->executors().empty()) return unsupported_error("this model has no intermediate values");
    MLT_TRY(make_directories(*o.dump));
    predictor->set_observer([&](const StepInfo& info, const std::vector<const Tensor*>& outputs, double) {
      Status status = dump_step(*o.dump, info, outputs);
      if (!status.ok() && !dump_error) dump_error = std::move(status).error();
    });
  }
  MLT_ASSIGN(auto shard, parse_shard(o.shard.value_or("0/1")));

  std::vector<std::string> sources{o.model};
  if (o.inputs) sources.push_back(*o.inputs);
  MLT_ASSIGN(auto records, open_records(o, *predictor));
  std::unique_ptr<RecordReader> expected;
  if (o.expect) {
    MLT_ASSIGN(Blob file, map_file(*o.expect));
    auto format = record_format(*o.expect, file.bytes());
    if (!format) return std::move(format).error().in_path(*o.expect);
    MLT_ASSIGN(expected, read_records(file, *format, predictor->description().outputs, o.batch));
  }

  RecordFormat format = RecordFormat::kJsonl;
  bool text = !o.outputs && !json;
  if (o.outputs && !cli::is_standard(*o.outputs)) {
    auto named = record_format_from_name(*o.outputs);
    if (!named) return usage_error("cannot tell the format of --outputs \"" + *o.outputs + "\"", "name it .npz, .safetensors, .jsonl, .csv or .png");
    format = *named;
  }
  if (o.on_error == "record" && (text || format != RecordFormat::kJsonl)) return usage_error("--on-error record writes JSON lines", "use --json or --outputs FILE.jsonl");
  auto content = format == RecordFormat::kNpz || format == RecordFormat::kSafetensors || format == RecordFormat::kPng ? cli::Content::kBinary : cli::Content::kText;
  MLT_ASSIGN(cli::Output output, cli::Output::plan(o.outputs, content, sources));
  auto writer = write_records(format, [&](ByteSpan bytes) { return output.write(bytes); });

  MLT_ASSIGN(StateTensors state, predictor->initial_state());
  int64_t index = -1, failed = 0;
  RecordDifference worst;
  bool differs = false;
  for (;;) {
    auto record = records->next();
    if (!record) {
      if (o.inputs) record = std::move(record).error().in_path(cli::input_name(*o.inputs));
      if (o.on_error == "stop" || !records->can_go_on()) return std::move(record).error();
    } else if (!*record) {
      if (expected) {
        auto more = expected->next();
        if (!more) return std::move(more).error().in_path(*o.expect);
        if (*more) return input_error("--expect holds more records than there are inputs");
      }
      break;
    }
    std::optional<FeatureMap> wanted;
    if (expected) {
      auto next = expected->next();
      if (!next) return std::move(next).error().in_path(*o.expect);
      wanted = std::move(*next);
      if (!wanted) return input_error("--expect holds fewer records than there are inputs", "arrays that hold one record per index need --batch");
      // A file that holds inputs and outputs together can be given for both.
      for (const auto& input : predictor->description().inputs)
        if (!coreml::find_feature(predictor->description().outputs, input.name)) wanted->erase(input.name);
    }
    if (++index % shard.second != shard.first) continue;
    Result<FeatureMap> result = record ? predictor->predict(**record, &state) : Result<FeatureMap>(std::move(record).error());
    if (!result) {
      Error error = std::move(result).error();
      if (o.inputs) error.context.push_back("record " + std::to_string(index));
      if (o.on_error == "stop") return error;
      ++failed;
      MLT_TRY(writer->write({{"error", FeatureValue(error.to_string())}}));
      continue;
    }
    if (dump_error) return *dump_error;
    for (Executor* executor : predictor->executors())
      for (const std::string& finding : executor->precision_findings()) cli::print_warning(finding);
    if (wanted) {
      RecordDifference d = compare_records(*result, *wanted, o.rtol, o.atol);
      worst.max_abs = std::max(worst.max_abs, d.max_abs);
      worst.max_rel = std::max(worst.max_rel, d.max_rel);
      worst.values += d.values;
      worst.outside += d.outside;
      differs = differs || !d.agree();
      for (const std::string& finding : d.findings) cli::print_error("record " + std::to_string(index) + ": " + finding);
      if (!o.outputs && !json) continue;
    }
    FeatureMap shown = o.top_k ? top_k(*result, *o.top_k) : std::move(*result);
    if (text) {
      MLT_TRY(output.write(present(shown, predictor->description().outputs)));
    } else {
      MLT_TRY(writer->write(shown));
    }
  }
  if (!text) MLT_TRY(writer->finish());
  MLT_TRY(output.finish());
  if (expected) {
    std::string summary = fmt::format("{} values, {} outside tolerance, max error {:.3g} absolute, {:.3g} relative", worst.values, worst.outside, worst.max_abs, worst.max_rel);
    if (text) {
      MLT_TRY(write_fd(1, as_bytes((differs ? "differs: " : "agrees: ") + summary + "\n"), "stdout"));
    } else {
      cli::print_info(summary);
    }
    if (differs) return exit_status(Code::kNegative);
  }
  if (failed > 0) {
    cli::print_warning(fmt::format("{} of {} records failed", failed, index + 1));
    return exit_status(Code::kInput);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  cli::App app("mlpredict", "run a Core ML model");
  Options o;
  app.usage("[options] MODEL [NAME=VALUE ...]");
  app.positional(o.model, "MODEL", "model to run; '-' is stdin").file();
  app.positional(o.values, "NAME=VALUE", "inputs: number, text, JSON, or @FILE (npy, image, json, txt)").optional();
  app.option("--inputs", o.inputs, "FILE", "records from FILE: npz, safetensors, jsonl, csv; '-' is stdin").file();
  app.flag("--batch", o.batch, "split the first axis of --inputs arrays into records");
  app.option("--outputs", o.outputs, "FILE", "write records to FILE, by its extension; '-' is JSON lines on stdout").file();
  app.option("--top-k", o.top_k, "K", "only the K largest entries of class scores").range(1, 1e9);
  app.option("--function", o.function, "NAME", "function of a multi-function model");
  app.option("--feature", o.features, "NAME=VALUE", "outputs of a stage that cannot run here");
  app.option("--fit", o.fit, "HOW", "pictures of another size: stretch, crop, pad, none").choices({"stretch", "crop", "pad", "none"});
  app.option("--expect", o.expect, "FILE", "compare with these outputs; exit 1 when they differ").file();
  app.option("--rtol", o.rtol, "R", "relative tolerance of --expect (0.001)").range(0, 1e9);
  app.option("--atol", o.atol, "A", "absolute tolerance of --expect (0.00001)").range(0, 1e300);
  app.option("--dump-intermediates", o.dump, "DIR", "write every op's outputs to DIR/NAME.npy").directory();
  app.flag("--strict-fp16", o.strict, "round after every float16 op; warn of overflow and NaN");
  app.flag("--reference", o.reference, "use the reference evaluation, no fast kernels");
  app.option("--on-error", o.on_error, "HOW", "a record that fails: stop, or record the error").choices({"stop", "record"});
  app.option("--shard", o.shard, "I/N", "only records I, I+N, I+2N ... (from 0)");
  app.not_yet("--compare-with", true);
  app.not_yet("--generate", true);
  app.not_yet("--state-in", true);
  app.not_yet("--state-out", true);
  app.json_flag("outputs as JSON lines on stdout");
  app.threads_option();
  add_key_options(app, o.keys);
  app.examples("mlpredict model.mlpackage image=@cat.jpg --top-k 3\nmlpredict house.mlmodel --inputs rows.csv --outputs prices.csv");
  return app.run(argc, argv, [&] { return predict(o, app.json()); });
}
