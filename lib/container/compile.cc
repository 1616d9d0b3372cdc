#include "lib/container/compile.h"

#include <fmt/core.h>
#include <sodium.h>

#include <algorithm>
#include <map>

#include "lib/container/crc32.h"
#include "lib/container/espresso.h"
#include "lib/container/metadata_json.h"
#include "lib/container/mlmodelc.h"
#include "lib/container/program.h"
#include "lib/coreml/espresso.h"
#include "lib/coreml/limits.h"
#include "lib/coreml/mil_read.h"
#include "lib/coreml/nn_layers.h"
#include "lib/ir/text.h"

namespace mlt {
namespace {

using coreml::ModelKind;

Blob blob_of(std::string_view text) {
  ByteSpan bytes = as_bytes(text);
  return Blob(Bytes(bytes.begin(), bytes.end()));
}

std::string sha256_base64(ByteSpan bytes) {
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(digest, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  char text[sodium_base64_ENCODED_LEN(sizeof(digest), sodium_base64_VARIANT_ORIGINAL)];
  sodium_bin2base64(text, sizeof(text), digest, sizeof(digest), sodium_base64_VARIANT_ORIGINAL);
  return text;
}

// ---- flexible shapes (section 2.5)

ir::Literal pair(std::string name, ir::Literal value) {
  ir::Literal out;
  out.items.push_back(ir::Literal::string(std::move(name)));
  out.items.push_back(std::move(value));
  out.type = ir::Type::tuple({out.items[0].type, out.items[1].type});
  return out;
}
ir::Literal dict_of(const ir::Type& value_type, std::vector<std::pair<std::string, ir::Literal>> entries) {
  ir::Literal out;
  out.type = ir::Type::dict(ir::Type::tensor(DType::kString), value_type);
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [key, value] : entries) {
    out.items.push_back(ir::Literal::string(key));
    out.items.push_back(std::move(value));
  }
  return out;
}
ir::Literal shape_literal(const std::vector<int64_t>& shape) {
  ir::Literal out = ir::Literal::ints(shape);
  out.type.dims = {ir::kUnknown};
  return out;
}

// The attribute of one function, or null when none of its array inputs is flexible.
ir::LiteralPtr flexible_shapes(const coreml::FunctionDescription& interface) {
  const ir::Type shape_type = ir::Type::tensor(DType::kI32, {ir::kUnknown});
  const ir::Type range_type = ir::Type::list(ir::Type::tensor(DType::kI32, {2}));
  std::vector<std::pair<std::string, ir::Literal>> defaults, ranges;
  std::vector<const coreml::FeatureDescription*> enumerated;
  for (const auto& input : interface.inputs) {
    if (input.type.kind != coreml::FeatureKind::kMultiArray) continue;
    const coreml::ArrayType& array = input.type.array;
    if (array.flexibility == coreml::Flexibility::kFixed) continue;
    defaults.emplace_back(input.name, shape_literal(array.shape));
    if (array.flexibility == coreml::Flexibility::kEnumerated) {
      enumerated.push_back(&input);
      continue;
    }
    ir::Literal list;
    list.type = range_type;
    // No bound has not been seen compiled; the wire format's own mark for it, -1, is kept.
    for (const coreml::SizeRange& range : array.shape_range)
      list.items.push_back(ir::Literal::ints({static_cast<int64_t>(range.lower), range.upper}));
    ranges.emplace_back(input.name, std::move(list));
  }
  if (defaults.empty()) return nullptr;
  std::vector<ir::Literal> members;
  members.push_back(pair("DefaultShapes", dict_of(shape_type, std::move(defaults))));
  if (!ranges.empty()) members.push_back(pair("RangeDims", dict_of(range_type, std::move(ranges))));
  if (!enumerated.empty()) {
    // The i-th shapes of all inputs belong together. How Apple names a set (8 hexadecimal digits) is not known.
    std::map<std::string, ir::Literal> sets;
    size_t count = 0;
    for (const auto* input : enumerated) count = std::max(count, input->type.array.enumerated_shapes.size());
    for (size_t i = 0; i < count; ++i) {
      std::vector<std::pair<std::string, ir::Literal>> shapes;
      std::string spelled;
      for (const auto* input : enumerated) {
        const auto& all = input->type.array.enumerated_shapes;
        if (all.empty()) continue;
        const auto& shape = all[std::min(i, all.size() - 1)];
        spelled += fmt::format("{}:{};", input->name, dims_text(shape));
        shapes.emplace_back(input->name, shape_literal(shape));
      }
      sets.emplace(fmt::format("{:08x}", crc32(as_bytes(spelled))), dict_of(shape_type, std::move(shapes)));
    }
    members.push_back(pair("EnumeratedShapes", dict_of(ir::Type::dict(ir::Type::tensor(DType::kString), shape_type), {sets.begin(), sets.end()})));
  }
  auto out = std::make_shared<ir::Literal>();
  std::vector<ir::Type> types;
  for (const ir::Literal& member : members) types.push_back(member.type);
  out->type = ir::Type::tuple(std::move(types));
  out->items = std::move(members);
  return out;
}

// ---- program text

void add_build_info(ir::Program& program, const CompileOptions& options) {
  std::map<std::string, ir::Literal> entries;
  auto old = program.attributes.find("buildInfo");
  if (old != program.attributes.end() && old->second->type.kind == ir::Type::Kind::kDict)
    for (size_t i = 0; i + 1 < old->second->items.size(); i += 2)
      entries.emplace(old->second->items[i].text(), old->second->items[i + 1]);
  entries["coremlc-component-MIL"] = ir::Literal::string(options.component_version);
  entries["coremlc-version"] = ir::Literal::string(options.compiler_version);
  auto info = std::make_shared<ir::Literal>();
  info->type = ir::Type::dict(ir::Type::tensor(DType::kString), ir::Type::tensor(DType::kString));
  for (auto& [key, value] : entries) {
    info->items.push_back(ir::Literal::string(key));
    info->items.push_back(std::move(value));
  }
  program.attributes["buildInfo"] = std::move(info);
}

std::string program_text(const coreml::Model& model, ir::Program& program, const CompileOptions& options) {
  add_build_info(program, options);
  const coreml::Description& description = model.description();
  for (const auto& function : program.functions) {
    std::optional<coreml::FunctionDescription> interface = description.function(description.functions.empty() ? "" : function->name);
    if (!interface) continue;
    if (ir::LiteralPtr shapes = flexible_shapes(*interface)) function->attributes["FlexibleShapeInformation"] = shapes;
  }
  return ir::print(program, {.version = model.spec_version() >= 9 ? "1.3" : "1.0"});
}

// ---- coremldata.bin (section 4)

std::array<uint32_t, 3> program_format(int spec_version) {
  // Seen for 7, 8 and 9; 6 and 10 follow the pattern.
  return {spec_version <= 7 ? 5u : static_cast<uint32_t>(spec_version), 0, 0};
}

// The first triples seen are those of 1, 2 and 4; the others are a guess.
void set_network_format(int spec_version, CoremlData* data) {
  switch (spec_version) {
    case 1:
      data->format_version = {1, 0, 2};
      data->second_version = {0, 1, 0};
      return;
    case 2: data->format_version = {1, 0, 3}; return;
    case 3: data->format_version = {2, 0, 0}; return;
    case 4: data->format_version = {3, 0, 0}; return;
    case 5: data->format_version = {4, 0, 0}; return;
    default: data->format_version = {5, 0, 0};
  }
}

class Compiler {
 public:
  Compiler(const OpenedModel& source, const CompileOptions& options) : source_(source), options_(options) {}

  Result<CompiledFiles> run() {
    if (source_.compiled) return usage_error("is compiled already", "compile its source, or copy it").in_path(source_.origin);
    if (source_.mil_text) {
      MLT_ASSIGN(auto program, load_program(source_));
      MLT_ASSIGN(coreml::Model model, model_of_program(*program, mil_text_version(source_.mil_text->text())).in(source_.origin));
      return finish(model, source_.mil_text->bytes());
    }
    Bytes serialized;
    ByteSpan bytes = source_.model.source().bytes();
    if (source_.model.modified() || bytes.empty()) {
      MLT_ASSIGN(serialized, source_.model.serialize());
      bytes = serialized;
    }
    return finish(source_.model, bytes);
  }

 private:
  Result<CompiledFiles> finish(const coreml::Model& model, ByteSpan source_bytes) {
    std::string refused;
    refuse(model, "", "", refused);
    if (!refused.empty())
      return unsupported_error("cannot be compiled: " + refused, "mlconvert makes an ML program of it, which compiles (iOS 15 and later); --keep-source stores it as it is, for these tools alone").in_path(source_.origin);
    MLT_TRY(one(model, "", source_bytes));

    // Only the model as a whole has metadata and analytics, its stages have none.
    std::vector<const ir::Program*> programs;
    for (const auto& program : programs_) programs.push_back(program.get());
    put("metadata.json", blob_of(metadata_json(model, programs, source_.name)));
    std::vector<AnalyticsSection> analytics;
    if (model.kind() == ModelKind::kMlProgram)
      analytics.push_back({"NeuralNetworkModelDetails", {{"containsCustomLayer", "0"}, {"modelDimension", "0"}}});
    if (coreml::is_neural_network(model.kind()) && files_.contains("model.espresso.net")) {
      auto hash = [&](const char* name) { return sha256_base64(files_[name].bytes()); };
      analytics.push_back({"NeuralNetworkModelDetails",
                           {{"modelDimension", std::to_string(coreml::nn_layers(model).size())}, {"nnModelNetHash", hash("model.espresso.net")},
                            {"nnModelShapeHash", hash("model.espresso.shape")}, {"nnModelWeightsHash", hash("model.espresso.weights")}}});
    }
    if (coreml::is_pipeline(model.kind()))
      analytics.push_back({"PipelineModelDetails", {{"modelDimension", std::to_string(model.child_count())}}});
    // Apple's hash of a package is not the model file's; its recipe is not known.
    std::string name = source_.kind == FileKind::kPackage ? "model" : source_.name;
    analytics.push_back({"SpecificationDetails", {{"modelHash", sha256_base64(source_bytes)}, {"modelName", std::move(name)}}});
    put("analytics/coremldata.bin", Blob(write_analytics(analytics)));

    CompiledFiles out;
    add_source_files();
    out.inputs = std::move(inputs_);
    out.missing_weights = std::move(missing_);
    out.kept_sources = std::move(kept_);
    out.tree = FileTree::from_blobs(std::move(files_), source_.name + ".mlmodelc");
    return out;
  }

  // Every reason, not the first. Networks are written here, to find theirs. `prefix`: of the model's files.
  void refuse(const coreml::Model& model, const std::string& place, const std::string& prefix, std::string& refused) {
    auto add = [&](const std::string& reason) { refused += (refused.empty() ? "" : "; ") + place + reason; };
    if (coreml::is_neural_network(model.kind())) {
      auto written = coreml::write_espresso(model);
      if (written.ok()) networks_.emplace(prefix, std::move(*written));
      else if (!options_.keep_source) add(written.error().to_string());
      else kept_.push_back(place + written.error().to_string());
    } else if (model.kind() == ModelKind::kNone) {
      add("a model without a type");
    } else if (coreml::model_kind_name(model.kind()).empty()) {
      add(model.kind_name() + " (unknown)");
    }
    for (size_t i = 0; i < model.child_count(); ++i)
      refuse(model.child(i), fmt::format("{}stage {}: ", place, i), fmt::format("{}model{}/", prefix, i), refused);
  }

  void put(const std::string& name, Blob content) { files_.emplace(name, std::move(content)); }

  CoremlData header(const coreml::Model& model) {
    CoremlData data;
    data.model_type = static_cast<uint32_t>(model.kind());
    data.spec_version = model.spec_version();
    return data;
  }

  // Writes one model below `prefix` ("" or "model0/"). `bytes`: its message.
  Status one(const coreml::Model& model, const std::string& prefix, ByteSpan bytes) {
    if (coreml::is_pipeline(model.kind())) return pipeline(model, prefix);
    CoremlData data = header(model);
    if (model.kind() == ModelKind::kMlProgram) {
      MLT_ASSIGN(auto program, coreml::load_program(model, source_.weights.get()).in(source_.origin));
      data.format_version = program_format(model.spec_version());
      data.backend = "generic";
      data.description = Blob(model.serialize_description(true));
      for (size_t i = 0; i < std::max<size_t>(program->functions.size(), 1); ++i) data.program_tail.insert(data.program_tail.end(), {502, 0});
      MLT_TRY(weights(*program, prefix));
      put(prefix + "model.mil", blob_of(program_text(model, *program, options_)));
      programs_.push_back(std::move(program));
    } else if (coreml::is_neural_network(model.kind())) {
      network(model, prefix, bytes, &data);
      if (!prefix.empty()) programs_.emplace_back();
    } else {
      data.format_version = {1, 0, 0};
      data.backend = "spec";
      data.spec = Blob(Bytes(bytes.begin(), bytes.end()));
      if (!prefix.empty()) programs_.emplace_back();
    }
    put(prefix + "coremldata.bin", Blob(write_coremldata(data)));
    backends_[prefix] = fmt::format("v{}.{}.{}{}", data.format_version[0], data.format_version[1], data.format_version[2], data.backend);
    return {};
  }

  void network(const coreml::Model& model, const std::string& prefix, ByteSpan bytes, CoremlData* data) {
    set_network_format(model.spec_version(), data);
    data->backend = "generic";
    data->description = Blob(model.serialize_description(false));
    auto labels = model.class_labels();
    data->has_labels = model.kind() == ModelKind::kNeuralNetworkClassifier;
    data->integer_labels = labels.integers;
    data->labels = labels.strings;
    data->int_labels = labels.ints;
    data->probabilities_name = coreml::label_probability_layer(model);
    auto written = networks_.find(prefix);
    if (written == networks_.end()) {
      put(prefix + kKeptSource, Blob(Bytes(bytes.begin(), bytes.end())));
    } else {
      for (auto& [name, content] : espresso_files(written->second, model)) put(prefix + name, content);
      // In reverse, as in all files with several; of classifiers without the label.
      const auto& outputs = model.description().outputs;
      for (auto output = outputs.rbegin(); output != outputs.rend(); ++output)
        if (written->second.network.shapes.contains(output->name)) data->outputs.push_back(output->name);
      networks_.erase(written);
    }
  }

  Status pipeline(const coreml::Model& model, const std::string& prefix) {
    if (std::count(prefix.begin(), prefix.end(), '/') >= coreml::kMaxPipelineNesting) return input_error("pipelines nest too deep");
    CoremlData data = header(model);
    data.format_version = {1, 0, 0};
    data.second_version = {0, 1, 0};
    data.backend = "generic";
    data.description = Blob(model.serialize_description(true));
    data.child_count = model.child_count();
    std::vector<std::string> names;
    for (size_t i = 0; i < model.child_count(); ++i) {
      coreml::Model child = model.child(i);
      // Reported for pipelines of specification 9.
      if (child.kind() == ModelKind::kMlProgram && child.spec_version() >= 9) data.second_version = {1, 0, 0};
      MLT_ASSIGN(Bytes bytes, child.serialize());
      std::string below = fmt::format("{}model{}/", prefix, i);
      MLT_TRY(one(child, below, bytes));
      data.backend += fmt::format(".model{}{}", i, backends_[below]);
      names.push_back(model.child_name(i));
    }
    put(prefix + "modelNames/coremldata.bin", Blob(write_model_names(names)));
    put(prefix + "coremldata.bin", Blob(write_coremldata(data)));
    backends_[prefix] = "v1.0.0" + data.backend;
    return {};
  }

  // Blob files are copied whole, under their own names.
  Status weights(const ir::Program& program, const std::string& prefix) {
    for (const std::string& name : weight_files(program)) {
      MLT_ASSIGN(std::string path, resolve_weight_path(name).in(source_.origin));
      if (!source_.files.has(path)) {
        if (std::find(missing_.begin(), missing_.end(), name) == missing_.end()) missing_.push_back(name);
        continue;
      }
      MLT_ASSIGN(Blob content, source_.files.open(path).in(source_.origin));
      put(prefix + path, std::move(content));
      note_input(source_.files, path);
    }
    return {};
  }

  void note_input(const FileTree& tree, const std::string& name) {
    auto disk = tree.disk_path(name);
    if (disk && std::find(inputs_.begin(), inputs_.end(), *disk) == inputs_.end()) inputs_.push_back(*disk);
  }
  void add_source_files() {
    std::vector<std::string> weights = std::move(inputs_);
    inputs_ = source_files(source_);
    inputs_.insert(inputs_.end(), weights.begin(), weights.end());
  }

  const OpenedModel& source_;
  const CompileOptions& options_;
  std::map<std::string, Blob> files_;
  std::map<std::string, std::string> backends_;  // by prefix: what a pipeline says of its stage
  std::vector<std::unique_ptr<ir::Program>> programs_;
  std::map<std::string, coreml::WrittenEspresso> networks_;  // by prefix
  std::vector<std::string> inputs_, missing_, kept_;
};

}  // namespace

Result<CompiledFiles> compile_model(const OpenedModel& source, const CompileOptions& options) { return Compiler(source, options).run(); }

std::vector<std::string> source_files(const OpenedModel& source) {
  std::vector<std::string> out;
  if (source.package)
    for (const std::string& name : {std::string("Manifest.json"), source.package->model_path})
      if (auto disk = source.package->tree.disk_path(name)) out.push_back(*disk);
  // An archive or a single file is its own only input.
  if (out.empty()) out.push_back(source.origin);
  return out;
}

std::string depfile_text(const std::string& target, const std::vector<std::string>& inputs) {
  auto escaped = [](const std::string& name) {
    std::string out;
    for (char c : name) {
      if (c == ' ' || c == '\t' || c == '#') out += '\\';
      if (c == '$') out += '$';
      out += c;
    }
    return out;
  };
  std::string out = escaped(target) + ":";
  for (const std::string& input : inputs) out += " \\\n  " + escaped(input);
  return out + "\n";
}

Result<std::string> compiled_metadata_json(const OpenedModel& source) {
  MLT_ASSIGN(auto programs, load_programs(source));
  std::vector<const ir::Program*> pointers;
  for (const auto& program : programs) pointers.push_back(program.get());
  if (source.kind != FileKind::kMilText) return metadata_json(source.model, pointers, source.name);
  MLT_ASSIGN(coreml::Model model, model_of_program(*programs[0], mil_text_version(source.mil_text->text())).in(source.origin));
  return metadata_json(model, pointers, source.name);
}

}  // namespace mlt
