// Whether a model and its compiled form, or two models, answer alike.
//
//   compiled_check MODEL [--with OTHER] [--feature NAME=LENGTH] [NAME=VALUE...]
//
// Without --with the model is compiled in memory first; networks that have no compiled form that is known are kept as
// they are. Inputs are drawn from a fixed seed, except for those given. Prints one line; exit status 0: alike, 1: not
// alike, else the refusal's.
#include <fmt/core.h>

#include <random>

#include "lib/container/compile.h"
#include "lib/container/open.h"
#include "lib/profile/measure.h"
#include "lib/runtime/json_features.h"
#include "lib/runtime/predictor.h"
#include "lib/runtime/records.h"

using namespace mlt;

namespace {

// Folded weights are rounded to float16 once more: of 26 convolutions in a row (FindFour) that shows as 3e-3.
constexpr double kRelative = 2e-3, kAbsolute = 5e-3;

void draw(FeatureMap& inputs, std::mt19937& rng) {
  std::uniform_real_distribution<double> number(0, 1);
  for (auto& [name, value] : inputs) {
    if (std::holds_alternative<double>(value)) value = number(rng);
    if (auto* image = std::get_if<Image>(&value)) {
      image->pixels = image->pixels.clone();
      if (image->pixels.dtype() == DType::kU8)
        for (int64_t i = 0; i < image->pixels.size(); ++i) image->pixels.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(rng() % 256);
    }
    if (auto* tensor = std::get_if<Tensor>(&value); tensor != nullptr && is_float(tensor->dtype())) {
      std::vector<double> numbers(static_cast<size_t>(tensor->size()));
      for (double& v : numbers) v = number(rng);
      value = convert(Tensor::from<double>(tensor->dims(), numbers), tensor->dtype());
    }
  }
}

struct Options {
  std::string model, other;
  PredictOptions predict;
  std::vector<std::pair<std::string, std::string>> given;
};

Result<int> check(const Options& options) {
  MLT_ASSIGN(OpenedModel model, open_model(options.model));
  OpenedModel other;
  std::string note;
  if (!options.other.empty()) {
    MLT_ASSIGN(other, open_model(options.other));
  } else {
    CompileOptions how;
    auto files = compile_model(model, how);
    if (!files && files.error().code == Code::kUnsupported) {
      how.keep_source = true;
      files = compile_model(model, how);
      note = ", source kept";
    }
    if (!files) return std::move(files).error();
    MLT_ASSIGN(other, open_tree(files->tree, model.name + ".mlmodelc"));
  }
  MLT_ASSIGN(auto a, Predictor::create(model, options.predict));
  MLT_ASSIGN(auto b, Predictor::create(other, options.predict));
  double worst_absolute = 0, worst_relative = 0;
  int64_t values = 0, outside = 0;
  int rounds = a->executors().empty() ? 5 : 1;
  for (int round = 0; round < rounds; ++round) {
    FeatureMap given;
    for (const auto& [name, text] : options.given) {
      const auto* feature = coreml::find_feature(a->description().inputs, name);
      if (feature == nullptr) return usage_error("no input \"" + name + "\"");
      MLT_ASSIGN(given[name], parse_feature(text, *feature, [](const std::string& path) { return map_file(path); }));
    }
    MLT_ASSIGN(FeatureMap inputs, complete_inputs(a->description(), {}));
    std::mt19937 rng(static_cast<unsigned>(round + 1));
    draw(inputs, rng);
    for (auto& [name, value] : given) inputs[name] = value;
    MLT_ASSIGN(StateTensors first, a->initial_state());
    MLT_ASSIGN(StateTensors second, b->initial_state());
    MLT_ASSIGN(FeatureMap wanted, a->predict(inputs, &first));
    MLT_ASSIGN(FeatureMap got, b->predict(inputs, &second));
    RecordDifference d = compare_records(got, wanted, kRelative, kAbsolute);
    for (const std::string& finding : d.findings) fmt::print("{}; ", finding);
    worst_absolute = std::max(worst_absolute, d.max_abs);
    worst_relative = std::max(worst_relative, d.max_rel);
    values += d.values;
    outside += d.outside + (d.findings.empty() ? 0 : 1);
  }
  if (values == 0) return input_error("nothing to compare");
  if (outside > 0) fmt::print("differs{}: {} values\n", note, values);
  else if (worst_absolute == 0) fmt::print("equal{}: {} values\n", note, values);
  else fmt::print("within rounding{}: {} values, {:.2g} absolute, {:.2g} relative\n", note, values, worst_absolute, worst_relative);
  return outside > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    size_t equal = argument.find('=');
    if (argument == "--with" && i + 1 < argc) {
      options.other = argv[++i];
    } else if (argument == "--feature" && i + 1 < argc) {
      std::string text = argv[++i];
      equal = text.find('=');
      if (equal == text.npos) return 2;
      std::mt19937 rng(9);
      std::vector<double> numbers(std::strtoul(text.c_str() + equal + 1, nullptr, 10));
      for (double& v : numbers) v = std::uniform_real_distribution<double>(0, 1)(rng);
      options.predict.stage_features[text.substr(0, equal)] = Tensor::from<double>({static_cast<int64_t>(numbers.size())}, numbers);
    } else if (options.model.empty()) {
      options.model = argument;
    } else if (equal != argument.npos) {
      options.given.emplace_back(argument.substr(0, equal), argument.substr(equal + 1));
    } else {
      return 2;
    }
  }
  if (options.model.empty()) return 2;
  auto status = check(options);
  if (status.ok()) return *status;
  fmt::print(stderr, "compiled_check: error: {}\n", status.error().to_string());
  return exit_status(status.error().code);
}
