// From mlquantize's command line to configurations and data.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <tuple>

#include "cmd/mlquantize.h"
#include "lib/cli/io.h"
#include "lib/runtime/predictor.h"
#include "lib/runtime/records.h"
#include "lib/tensor/npy.h"

namespace mlt {
namespace {

Result<std::vector<float>> read_table(const std::string& path) {
  MLT_ASSIGN(Blob bytes, cli::read_input(path));
  MLT_ASSIGN(Tensor tensor, read_npy(bytes).in(path));
  if (tensor.dtype() == DType::kString || tensor.size() > 1 << 16) return input_error("is no table of numbers").in_path(path);
  return to_floats(tensor);
}

}  // namespace

Result<compress::Config> read_config(const QuantizeArguments& o) {
  compress::Config config;
  compress::Settings settings = o.settings;
  bool method = settings.float16 || settings.linear || settings.palettize || settings.prune;
  if (o.target_size && (method || o.config || !o.rules.empty() || o.decompress)) return usage_error("--target-size chooses the methods itself", "leave the others away");
  bool searches = o.target_size || (o.max_drop && !method && !o.config && o.rules.empty());
  if (o.decompress && (o.activations || searches)) return usage_error("--decompress excludes the other methods");
  if (!method && !o.decompress && !o.config && o.rules.empty() && !searches && !o.activations) return usage_error("what is to be done?", "give --float16, --linear, --palettize, --prune, --config, --rule, --target-size or --decompress");
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
  if (!o.config && !o.decompress && !searches) { MLT_ASSIGN(config.recipe, compress::make_recipe(settings)); }
  if (searches) config.recipe.threshold = settings.threshold;
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

Result<std::optional<double>> read_drop(const QuantizeArguments& o) {
  if (!o.max_drop) return std::optional<double>();
  if (!o.verify) return usage_error("--max-drop needs data", "give --verify DATA");
  std::string_view text = *o.max_drop;
  bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= 0) || value > (percent ? 100 : 1))
    return usage_error(fmt::format("option --max-drop: \"{}\" is not a share such as 1% or 0.01", *o.max_drop));
  return std::optional(percent ? value / 100 : value);
}

Result<std::optional<uint64_t>> read_size(const QuantizeArguments& o) {
  if (!o.target_size) return std::optional<uint64_t>();
  std::string text = *o.target_size;
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  double factor = unit.empty() || unit == "b" ? 1 : unit == "k" || unit == "kb" ? 1e3 : unit == "m" || unit == "mb" ? 1e6 : unit == "g" || unit == "gb" ? 1e9 : unit == "kib" ? 1024.0 : unit == "mib" ? 1048576.0 : unit == "gib" ? 1073741824.0 : 0;
  if (error != std::errc() || factor == 0 || !(value > 0) || value * factor > 9e15) return usage_error(fmt::format("option --target-size: \"{}\" is not a size such as 12MB or 800kB", *o.target_size));
  return std::optional(static_cast<uint64_t>(value * factor));
}

Result<std::optional<ActivationChoice>> read_activations(const QuantizeArguments& o, const compress::Config& config) {
  if (!o.activations) {
    if (o.calibrate || o.observer) return usage_error(fmt::format("{} belongs to --activations", o.calibrate ? "--calibrate" : "--observer"));
    return std::optional<ActivationChoice>();
  }
  if (!o.calibrate) return usage_error("--activations needs data", "give --calibrate DATA");
  ActivationChoice choice;
  std::string_view type = *o.activations;
  size_t comma = type.find(',');
  std::string_view mode = comma == std::string_view::npos ? "symmetric" : type.substr(comma + 1);
  type = type.substr(0, comma);
  if ((type != "int8" && type != "uint8") || (mode != "symmetric" && mode != "asymmetric"))
    return usage_error(fmt::format("option --activations: \"{}\" is not one of int8, uint8, followed by ,symmetric or ,asymmetric", *o.activations));
  choice.plan.is_signed = type == "int8";
  choice.plan.symmetric = mode == "symmetric";
  choice.plan.only = config.only;
  choice.plan.skip = config.skip;
  if (o.observer) {
    auto observer = tune::observer_from_name(*o.observer);
    if (!observer) return usage_error(fmt::format("option --observer: \"{}\" is not one of minmax, percentile, mse", *o.observer));
    choice.observer = *observer;
  }
  return std::optional(std::move(choice));
}

Result<std::vector<FeatureMap>> read_data(const std::string& path, const OpenedModel& model, bool batch) {
  MLT_ASSIGN(auto predictor, Predictor::create(model));
  std::vector<coreml::FeatureDescription> features = predictor->description().inputs;
  for (coreml::FeatureDescription output : predictor->description().outputs)
    if (output.name == predictor->description().predicted_feature_name) {
      output.type.optional = true;
      features.push_back(std::move(output));
    }
  MLT_ASSIGN(Blob file, cli::read_input(path));
  auto format = record_format(path, file.bytes());
  if (!format) return std::move(format).error().in_path(cli::input_name(path));
  auto reader = read_records(file, *format, features, batch);
  if (!reader) return std::move(reader).error().in_path(cli::input_name(path));
  std::vector<FeatureMap> records;
  for (;;) {
    auto record = (*reader)->next();
    if (!record) return std::move(record).error().in_path(cli::input_name(path));
    if (!*record) break;
    records.push_back(std::move(**record));
  }
  if (records.empty()) return input_error("there are no records").in_path(cli::input_name(path));
  return records;
}

}  // namespace mlt
