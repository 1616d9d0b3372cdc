// From the command line to records and options, whatever is then done with them.
#include <unistd.h>

#include "cmd/mlpredict.h"
#include "lib/cli/app.h"
#include "lib/cli/diag.h"
#include "lib/cli/io.h"

namespace mlt {
namespace {

// The command line's one record.
class OneRecord : public RecordReader {
 public:
  explicit OneRecord(FeatureMap record) : record_(std::move(record)) {}
  Result<std::optional<FeatureMap>> next() override { return std::exchange(record_, std::nullopt); }

 private:
  std::optional<FeatureMap> record_;
};

}  // namespace

Result<std::unique_ptr<RecordReader>> open_records(const PredictArguments& o, const Predictor& predictor) {
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

Result<std::pair<int64_t, int64_t>> parse_shard(const PredictArguments& o) {
  const std::string text = o.shard.value_or("0/1");
  size_t slash = text.find('/');
  if (slash != std::string::npos) {
    auto i = cli::parse_integer(text.substr(0, slash)), n = cli::parse_integer(text.substr(slash + 1));
    if (i && n && *n > 0 && *i >= 0 && *i < *n) return std::pair{*i, *n};
  }
  return usage_error("--shard takes i/n with 0 <= i < n, for example 0/4");
}

Result<PredictOptions> predict_options(const PredictArguments& o) {
  PredictOptions options;
  options.function = o.function.value_or("");
  options.fit = *fit_from_name(o.fit);  // one of the option's choices
  options.exec.strict_fp16 = o.strict;
  options.exec.fast_kernels = !o.reference;
  options.exec.bf16 = *bf16_from_name(o.bf16);  // one of the option's choices
  if (o.reference && options.exec.bf16 != Bf16::kNever) return usage_error("--bf16 chooses among the fast kernels, and --reference uses none");
  for (const std::string& text : o.features) {
    size_t equals = text.find('=');
    if (equals == std::string::npos) return usage_error("--feature takes name=value");
    coreml::FeatureDescription any;
    any.name = text.substr(0, equals);
    // What the stage would give is not looked up: numbers and files are arrays, the rest is text.
    std::string value = text.substr(equals + 1);
    any.type.kind = value.find_first_of("@[-+.0123456789") == 0 ? coreml::FeatureKind::kMultiArray : coreml::FeatureKind::kString;
    MLT_ASSIGN(options.stage_features[any.name], parse_feature(value, any, cli::read_input));
  }
  return options;
}

void warn_of_precision(Predictor& predictor) {
  size_t later = 0;
  for (Executor* executor : predictor.executors())
    for (const std::string& finding : executor->precision_findings()) {
      if (later++ == 0) cli::print_warning(finding);
      else cli::print_info(finding);
    }
  if (later > 1 && !cli::diag().verbose) cli::print_hint(std::to_string(later - 1) + (later == 2 ? " later op" : " later ops") + " overflow or are not a number, too; -v names them");
}

}  // namespace mlt
