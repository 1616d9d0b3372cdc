#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/container/metadata_json.h"
#include "lib/container/program.h"
#include "lib/coreml/nn_layers.h"
#include "lib/inspect/inspect.h"
#include "lib/ir/text.h"

namespace mlt::inspect {
namespace {

using coreml::ModelKind;

Counts sorted_counts(const std::map<std::string, int64_t>& counts) {
  Counts out(counts.begin(), counts.end());
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

std::string availability(int spec_version) {
  constexpr const char* kNames[] = {"",
                                    "iOS 11.0, macOS 10.13",
                                    "iOS 11.2, macOS 10.13.2",
                                    "iOS 12.0, macOS 10.14",
                                    "iOS 13.0, macOS 10.15",
                                    "iOS 14.0, macOS 11.0",
                                    "iOS 15.0, macOS 12.0",
                                    "iOS 16.0, macOS 13.0",
                                    "iOS 17.0, macOS 14.0",
                                    "iOS 18.0, macOS 15.0",
                                    "iOS 26.0, macOS 26.0"};
  return spec_version >= 1 && spec_version < static_cast<int>(std::size(kNames)) ? kNames[spec_version] : "";
}

// Layers of a compiled network, as its compiler left them; where it cannot be read they are all there is.
std::map<std::string, int64_t> espresso_layers(const Blob& net) {
  std::map<std::string, int64_t> counts;
  std::string_view text = net.text();
  if (text.size() > 256u << 20) return counts;
  // Events rather than a tree: hostile nesting costs nothing. Depth 3 is a member of a layer: {layers: [ {type: ..} ]}.
  struct Events : nlohmann::json_sax<nlohmann::json> {
    std::map<std::string, int64_t>* counts = nullptr;
    int depth = 0;
    bool in_layers = false;
    std::string last;
    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, const string_t&) override { return true; }
    bool string(string_t& value) override {
      if (in_layers && depth == 3 && last == "type") ++(*counts)[value];
      return true;
    }
    bool binary(binary_t&) override { return true; }
    bool start_object(size_t) override { return ++depth < 1000; }
    bool end_object() override { return --depth, true; }
    bool start_array(size_t) override {
      if (depth == 1 && last == "layers") in_layers = true;
      return ++depth < 1000;
    }
    bool end_array() override {
      if (--depth == 1) in_layers = false;
      return true;
    }
    bool key(string_t& value) override {
      last = value;
      return true;
    }
    bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }
  } events;
  events.counts = &counts;
  nlohmann::json::sax_parse(text.begin(), text.end(), &events);
  return counts;
}

// What only Apple, or the app's author, can supply.
void add_needs(const coreml::Model& model, Report& report) {
  switch (model.kind()) {
    case ModelKind::kVisionFeaturePrint: report.needs.emplace_back("weights of VisionFeaturePrint, which only Apple's systems have"); break;
    case ModelKind::kAudioFeaturePrint: report.needs.emplace_back("weights of AudioFeaturePrint, which only Apple's systems have"); break;
    case ModelKind::kTextClassifier: case ModelKind::kWordTagger: case ModelKind::kGazetteer: case ModelKind::kWordEmbedding:
      report.needs.emplace_back("Apple's Natural Language framework, which made the model");
      break;
    case ModelKind::kCustomModel: report.needs.emplace_back("the app's own implementation of the custom model"); break;
    case ModelKind::kLinkedModel: report.needs.emplace_back("the model it links to"); break;
    default: break;
  }
  std::set<std::string> custom;
  for (const coreml::NnLayer& layer : coreml::nn_layers(model))
    if (layer.kind_name == "custom") custom.insert(layer.name);
  for (const std::string& name : custom) report.needs.push_back("the app's own implementation of layer " + name);
}

void add_program(const ir::Program& program, Report& report) {
  std::map<std::string, int64_t> counts;
  for (const auto& function : program.functions) {
    FunctionInfo info{function->name, function->opset, 0};
    function->for_each_op([&](const ir::Op& op) {
      if (op.is_const()) return;
      ++info.operations;
      ++counts[op.kind];
    });
    report.functions.push_back(std::move(info));
  }
  report.operations = sorted_counts(counts);
  if (report.labels.empty()) report.labels = program_class_labels(program);
}

Report describe(const coreml::Model& model, const ir::Program* program, const CompiledModel* compiled) {
  Report report;
  report.kind = model.kind_name();
  report.kind_number = static_cast<int>(model.kind());
  report.spec_version = model.spec_version();
  report.available = availability(model.spec_version());
  report.updatable = model.updatable();
  report.training = coreml::training_of(model);
  report.description = model.description();
  report.labels = model.class_labels().as_text();
  if (compiled != nullptr && compiled->data && compiled->data->has_labels) {
    report.labels = compiled->data->labels;
    for (int64_t label : compiled->data->int_labels) report.labels.push_back(std::to_string(label));
  }
  if (program != nullptr) add_program(*program, report);
  std::map<std::string, int64_t> layers;
  for (const coreml::NnLayer& layer : coreml::nn_layers(model)) ++layers[layer.kind_name];
  if (compiled != nullptr && compiled->espresso_net) layers = espresso_layers(*compiled->espresso_net);
  report.layers = sorted_counts(layers);
  add_needs(model, report);
  return report;
}

void add_weights(const std::vector<Weight>& weights, const std::string& prefix, Report& report) {
  std::map<std::string, WeightTotal> totals;
  std::set<std::string> missing;
  for (const Weight& weight : weights) {
    if (!weight.name.starts_with(prefix)) continue;
    if (weight.missing) missing.insert(weight.place.substr(0, weight.place.rfind(':')));
    if (weight.shares) continue;
    WeightTotal& total = totals[weight.storage];
    total.storage = weight.storage;
    ++total.tensors;
    total.bytes += weight.bytes;
    ++report.weight_tensors;
    report.weight_bytes += weight.bytes;
  }
  for (auto& [storage, total] : totals) report.weights.push_back(std::move(total));
  std::stable_sort(report.weights.begin(), report.weights.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  report.missing_files.assign(missing.begin(), missing.end());
  for (const std::string& file : missing) report.needs.push_back("weight file " + file + ", which is missing");
}

// A compiled network that cannot be read: why, and its weight file counted as a whole.
void add_unread_network(const CompiledModel& compiled, Report& report) {
  report.needs.push_back("a reader of its compiled network: " + compiled.network_error->to_string());
  auto file = compiled.tree.open("model.espresso.weights");
  if (!file.ok()) return;
  auto weights = EspressoWeights::open(*file);
  if (!weights.ok()) return;
  WeightTotal total{"espresso", 0, 0};
  for (uint64_t id = 1;; id += 2) {
    auto blob = weights->read(id);
    if (!blob.ok()) break;
    ++total.tensors;
    total.bytes += blob->size();
  }
  report.weight_tensors += total.tensors;
  report.weight_bytes += total.bytes;
  report.weights.push_back(std::move(total));
}

}  // namespace

Result<Subject> prepare(OpenedModel opened) {
  Subject subject;
  MLT_TRY(complete_mil_text(opened));
  MLT_ASSIGN(subject.programs, load_programs(opened));
  subject.opened = std::move(opened);
  return subject;
}

Report examine(const Subject& subject) {
  const OpenedModel& opened = subject.opened;
  const CompiledModel* compiled = opened.compiled ? &*opened.compiled : nullptr;
  bool pipeline = coreml::is_pipeline(opened.model.kind());
  Report report = describe(opened.model, pipeline || subject.programs.empty() ? nullptr : subject.programs[0].get(), compiled);
  report.name = opened.name;
  report.file = opened.origin;
  report.container = file_kind_name(opened.kind);
  report.sealed = opened.sealed;
  std::vector<Weight> weights = list_weights(subject);
  add_weights(weights, "", report);
  if (compiled != nullptr && compiled->network_error) add_unread_network(*compiled, report);

  auto program = [&](size_t i) { return i < subject.programs.size() ? subject.programs[i].get() : nullptr; };
  auto add_stage = [&](const coreml::Model& child, size_t i, std::string name, const CompiledModel* part) {
    Report stage = describe(child, program(i), part);
    stage.name = std::move(name);
    add_weights(weights, fmt::format("{}/", i), stage);
    if (part != nullptr && part->network_error) add_unread_network(*part, stage);
    for (const std::string& need : stage.needs)
      if (std::find(report.needs.begin(), report.needs.end(), need) == report.needs.end()) report.needs.push_back(need);
    report.stages.push_back(std::move(stage));
  };
  if (compiled != nullptr && !compiled->children.empty()) {
    for (size_t i = 0; i < compiled->children.size(); ++i) {
      std::string name = i < compiled->child_names.size() ? compiled->child_names[i] : fmt::format("model{}", i);
      add_stage(compiled->children[i].model, i, std::move(name), &compiled->children[i]);
    }
  } else {
    for (size_t i = 0; i < opened.model.child_count(); ++i) add_stage(opened.model.child(i), i, opened.model.child_name(i), nullptr);
  }
  return report;
}

Result<std::string> mil_text(const Subject& subject) {
  std::string out;
  bool pipeline = coreml::is_pipeline(subject.opened.model.kind());
  for (size_t i = 0; i < subject.programs.size(); ++i) {
    if (subject.programs[i] == nullptr) continue;
    int spec_version = subject.opened.model.spec_version();
    if (pipeline) {
      if (i < subject.opened.model.child_count()) spec_version = subject.opened.model.child(i).spec_version();
      out += fmt::format("// stage {}\n", i);
    }
    ir::PrintOptions options;
    options.version = spec_version >= 9 ? "1.3" : "1.0";
    // What is text already says itself which version it is.
    if (subject.opened.mil_text) options.version = mil_text_version(subject.opened.mil_text->text());
    if (options.version != "1.0") options.version = "1.3";
    out += ir::print(*subject.programs[i], options) + "\n";
  }
  if (out.empty()) return unsupported_error(fmt::format("a model of kind {} has no MIL program", subject.opened.model.kind_name())).in_path(subject.opened.origin);
  return out;
}

}  // namespace mlt::inspect
