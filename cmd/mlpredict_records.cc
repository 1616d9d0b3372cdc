// Records through one model: in, out, and compared with what is expected.
#include <fmt/core.h>

#include <algorithm>

#include "cmd/mlpredict.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"
#include "lib/runtime/present.h"
#include "lib/runtime/state_file.h"
#include "lib/tensor/npy.h"

namespace mlt {
namespace {

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

}  // namespace

Result<int> run_records(const PredictArguments& o, bool json) {
  MLT_ASSIGN(OpenedModel model, cli::read_model(o.model, o.keys));
  if (o.allow_plaintext && !o.dump) return usage_error("--allow-plaintext is for --dump-intermediates");
  if (o.dump && model.sealed && !o.allow_plaintext)
    return usage_error("the model is sealed, and its intermediate values and weights would be written in the clear",
                       "--allow-plaintext does it all the same").in_path(model.origin);
  MLT_ASSIGN(PredictOptions options, predict_options(o));
  options.exec.keep_all = o.dump.has_value();
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
  MLT_ASSIGN(auto shard, parse_shard(o));

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
  if (o.state_in) {
    MLT_ASSIGN(Blob file, cli::read_input(*o.state_in));
    auto states = read_states(file, *predictor);
    if (!states) return std::move(states).error().in_path(cli::input_name(*o.state_in));
    state = std::move(*states);
  }
  std::optional<cli::Output> state_output;
  RecordFormat state_format = RecordFormat::kNpz;
  if (o.state_out) {
    auto named = record_format_from_name(*o.state_out);
    if (named) state_format = *named;
    if (!cli::is_standard(*o.state_out) && state_format != RecordFormat::kSafetensors && (!named || *named != RecordFormat::kNpz))
      return usage_error("--state-out writes .npz or .safetensors, not \"" + *o.state_out + "\"");
    if (state_types(*predictor).empty()) return usage_error("the model keeps no state between predictions");
    if (cli::is_standard(*o.state_out) && (!o.outputs || cli::is_standard(*o.outputs))) return usage_error("the states and the outputs cannot both go to stdout");
    MLT_ASSIGN(auto planned, cli::Output::plan(o.state_out, cli::Content::kBinary, sources));
    state_output.emplace(std::move(planned));
  }
  int64_t index = -1, failed = 0;
  RecordDifference worst;
  bool differs = false;
  // Models that predict many rows at once do, wherever the records are to be had as rows and nobody looks at single ones.
  const RowPlan* plan = text || expected || o.top_k || shard.second > 1 || o.reference ? nullptr : predictor->row_plan();
  for (;;) {
    if (plan != nullptr) {
      MLT_ASSIGN(Rows rows, records->next_rows(*plan));
      if (rows.count > 0) {
        MLT_ASSIGN(FeatureBatch batch, predictor->predict_rows(rows));
        MLT_TRY(writer->write_rows(batch));
        index += rows.count;
        continue;
      }
    }
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
    warn_of_precision(*predictor);
    if (wanted) {
      RecordDifference d = compare_records(*result, *wanted, o.rtol.value_or(1e-3), o.atol.value_or(1e-5));
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
  if (state_output) {
    MLT_TRY(write_states(state, *predictor, state_format, [&](ByteSpan bytes) { return state_output->write(bytes); }));
    MLT_TRY(state_output->finish());
  }
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

}  // namespace mlt
