#include "lib/container/mlmodelc.h"

#include <fmt/core.h>

#include "lib/base/bytes.h"
#include "lib/container/compiled_metadata.h"
#include "lib/container/espresso.h"
#include "lib/coreml/limits.h"
#include "lib/coreml/wire.h"

namespace mlt {
namespace {

constexpr int kMaxChildren = 1000;

using coreml::ModelKind;
using coreml::put_bytes_field;
using coreml::put_varint;

Result<std::vector<std::string>> read_strings(ByteReader& in) {
  MLT_ASSIGN(uint64_t count, in.read<uint64_t>());
  if (count > in.remaining() / 8) return input_error(fmt::format("{} strings do not fit the file", count));
  std::vector<std::string> all;
  for (uint64_t i = 0; i < count; i++) {
    MLT_ASSIGN(std::string text, in.read_string64());
    all.push_back(std::move(text));
  }
  return all;
}

void write_strings(ByteWriter& out, const std::vector<std::string>& all) {
  out.write<uint64_t>(all.size());
  for (const std::string& text : all) out.write_string64(text);
}

bool is_pipeline(uint32_t type) { return coreml::is_pipeline(static_cast<ModelKind>(type)); }

// Tails that do not fit what is known stay in `rest`: the format is only observed, and showing part is better than
// refusing all.
Status parse_tail(CoremlData* data, ByteReader& in) {
  if (in.done()) return {};
  MLT_ASSIGN(uint64_t first, in.read<uint64_t>());
  switch (data->model_type) {
    case 502: {
      data->program_tail.push_back(first);
      while (in.remaining() >= 8) data->program_tail.push_back(*in.read<uint64_t>());
      return {};
    }
    case 500: {
      if (first != data->model_type) return input_error("unknown tail");
      MLT_ASSIGN(data->outputs, read_strings(in));
      return {};
    }
    case 403: {
      if (first != data->model_type) return input_error("unknown tail");
      MLT_ASSIGN(uint64_t kind, in.read<uint64_t>());
      data->has_labels = true;
      data->integer_labels = kind == 101;
      if (kind == 100) {
        MLT_ASSIGN(data->labels, read_strings(in));
      } else if (kind == 101) {
        MLT_ASSIGN(uint64_t count, in.read<uint64_t>());
        if (count > in.remaining() / 8) return input_error(fmt::format("{} labels do not fit the file", count));
        for (uint64_t i = 0; i < count; i++) data->int_labels.push_back(*in.read<int64_t>());
      } else {
        return input_error(fmt::format("unknown kind of class labels {}", kind));
      }
      MLT_ASSIGN(data->probabilities_name, in.read_string64());
      MLT_ASSIGN(data->outputs, read_strings(in));
      return {};
    }
    case 200: case 201: case 202: {
      data->child_count = first;
      MLT_ASSIGN(uint64_t type, in.read<uint64_t>());
      if (type != data->model_type) return input_error("unknown tail");
      return {};
    }
    default: return input_error("unknown tail");
  }
}

void write_tail(const CoremlData& data, ByteWriter& out) {
  switch (data.model_type) {
    case 502:
      for (uint64_t word : data.program_tail) out.write(word);
      return;
    case 500:
      out.write<uint64_t>(500);
      write_strings(out, data.outputs);
      return;
    case 403:
      out.write<uint64_t>(403);
      out.write<uint64_t>(data.integer_labels ? 101 : 100);
      if (data.integer_labels) {
        out.write<uint64_t>(data.int_labels.size());
        for (int64_t label : data.int_labels) out.write(label);
      } else {
        write_strings(out, data.labels);
      }
      out.write_string64(data.probabilities_name);
      write_strings(out, data.outputs);
      return;
    case 200: case 201: case 202:
      out.write(data.child_count);
      out.write<uint64_t>(data.model_type);
      return;
    default: return;
  }
}

}  // namespace

Result<CoremlData> parse_coremldata(const Blob& bytes) {
  ByteReader in(bytes.bytes());
  CoremlData data;
  MLT_ASSIGN(data.model_type, in.read<uint32_t>());
  using Triple = std::array<uint32_t, 3>;
  MLT_ASSIGN(data.format_version, in.read<Triple>());
  MLT_ASSIGN(data.second_version, in.read<Triple>());
  MLT_ASSIGN(data.backend, in.read_string64());
  MLT_ASSIGN(data.spec_version, in.read<int32_t>());
  MLT_TRY(in.take(28));  // zero
  auto part = [&](uint64_t size) -> Result<Blob> {
    size_t start = in.offset();
    MLT_TRY(in.take(size));
    return bytes.sub(start, size);
  };
  if (data.backend == "spec") {
    MLT_ASSIGN(data.spec, part(in.remaining()));
    return data;
  }
  if (!data.backend.starts_with("generic")) return unsupported_error("unknown back end \"" + data.backend + "\"");
  MLT_ASSIGN(uint64_t size, in.read<uint64_t>());
  MLT_ASSIGN(data.description, part(size));
  size_t tail = in.offset();
  if (!parse_tail(&data, in).ok()) {
    // Forget what was understood: all of the tail is in `rest`.
    data.program_tail.clear();
    data.outputs.clear();
    data.has_labels = data.integer_labels = false;
    data.labels.clear();
    data.int_labels.clear();
    data.probabilities_name.clear();
    data.child_count = 0;
    (void)in.seek(tail);
  }
  MLT_ASSIGN(data.rest, part(in.remaining()));
  return data;
}

Bytes write_coremldata(const CoremlData& data) {
  ByteWriter out;
  out.write(data.model_type);
  out.write(data.format_version);
  out.write(data.second_version);
  out.write_string64(data.backend);
  out.write(data.spec_version);
  out.append(Bytes(28));
  if (data.backend == "spec") {
    out.append(data.spec.bytes());
    return out.release();
  }
  out.write<uint64_t>(data.description.size());
  out.append(data.description.bytes());
  write_tail(data, out);
  out.append(data.rest.bytes());
  return out.release();
}

Result<std::vector<AnalyticsSection>> parse_analytics(const Blob& bytes) {
  ByteReader in(bytes.bytes());
  std::vector<AnalyticsSection> sections;
  while (!in.done()) {
    AnalyticsSection section;
    MLT_ASSIGN(section.name, in.read_string64());
    MLT_ASSIGN(uint64_t count, in.read<uint64_t>());
    if (count > in.remaining() / 16) return input_error(fmt::format("{} pairs do not fit the file", count));
    for (uint64_t i = 0; i < count; i++) {
      MLT_ASSIGN(std::string key, in.read_string64());
      MLT_ASSIGN(std::string value, in.read_string64());
      section.pairs.emplace_back(std::move(key), std::move(value));
    }
    sections.push_back(std::move(section));
  }
  return sections;
}

Bytes write_analytics(const std::vector<AnalyticsSection>& sections) {
  ByteWriter out;
  for (const AnalyticsSection& section : sections) {
    out.write_string64(section.name);
    out.write<uint64_t>(section.pairs.size());
    for (const auto& [key, value] : section.pairs) {
      out.write_string64(key);
      out.write_string64(value);
    }
  }
  return out.release();
}

Result<CompiledPreprocessing> parse_compiled_preprocessing(const Blob& bytes) {
  ByteReader in(bytes.bytes());
  CompiledPreprocessing out;
  for (auto* map : {&out.is_image, &out.is_bgr, &out.is_grayscale, &out.blue_bias, &out.green_bias, &out.red_bias,
                    &out.gray_bias, &out.channel_scale}) {
    MLT_ASSIGN(uint64_t count, in.read<uint64_t>());
    if (count > in.remaining() / 12) return input_error(fmt::format("{} entries do not fit the file", count));
    for (uint64_t i = 0; i < count; i++) {
      MLT_ASSIGN(std::string name, in.read_string64());
      MLT_ASSIGN(float value, in.read<float>());
      (*map)[name] = value;
    }
  }
  return out;
}

Bytes write_compiled_preprocessing(const CompiledPreprocessing& maps) {
  ByteWriter out;
  for (const auto* map : {&maps.is_image, &maps.is_bgr, &maps.is_grayscale, &maps.blue_bias, &maps.green_bias, &maps.red_bias,
                          &maps.gray_bias, &maps.channel_scale}) {
    out.write<uint64_t>(map->size());
    for (const auto& [name, value] : *map) {
      out.write_string64(name);
      out.write(value);
    }
  }
  return out.release();
}

Result<std::vector<std::pair<std::string, std::string>>> parse_updatable_layers(const Blob& bytes) {
  ByteReader in(bytes.bytes());
  std::vector<std::pair<std::string, std::string>> layers;
  MLT_ASSIGN(uint64_t count, in.read<uint64_t>());
  if (count > in.remaining() / 16) return input_error(fmt::format("{} layers do not fit the file", count));
  for (uint64_t i = 0; i < count; i++) {
    MLT_ASSIGN(std::string layer, in.read_string64());
    MLT_ASSIGN(std::string output, in.read_string64());
    layers.emplace_back(std::move(layer), std::move(output));
  }
  return layers;
}

Bytes write_updatable_layers(const std::vector<std::pair<std::string, std::string>>& layers) {
  ByteWriter out;
  out.write<uint64_t>(layers.size());
  for (const auto& [layer, output] : layers) {
    out.write_string64(layer);
    out.write_string64(output);
  }
  return out.release();
}

Result<std::vector<std::string>> parse_model_names(const Blob& bytes) {
  ByteReader in(bytes.bytes());
  return read_strings(in);
}

Bytes write_model_names(const std::vector<std::string>& names) {
  ByteWriter out;
  write_strings(out, names);
  return out.release();
}

namespace {

// The Model message that says what coremldata.bin says: type, description, labels; stages of a pipeline inside.
Result<Bytes> shell_of(uint32_t type, int32_t spec_version, ByteSpan description, const CoremlData* data,
                       const std::vector<CompiledModel>& children, const std::vector<std::string>& names) {
  Bytes body;
  if (data && data->has_labels) {
    Bytes labels;
    for (const std::string& label : data->labels) put_bytes_field(&labels, 1, as_bytes(label));
    if (data->integer_labels) {
      Bytes packed;
      for (int64_t label : data->int_labels) put_varint(&packed, static_cast<uint64_t>(label));
      put_bytes_field(&labels, 1, packed);
    }
    put_bytes_field(&body, data->integer_labels ? 101 : 100, labels);
    put_bytes_field(&body, 200, as_bytes(data->probabilities_name));  // labelProbabilityLayerName
  }
  if (is_pipeline(type)) {
    Bytes pipeline;
    for (const CompiledModel& child : children) {
      MLT_ASSIGN(Bytes bytes, child.model.serialize());
      put_bytes_field(&pipeline, 1, bytes);
    }
    for (const std::string& name : names) put_bytes_field(&pipeline, 2, as_bytes(name));
    if (type == 202) body = std::move(pipeline);
    else put_bytes_field(&body, 1, pipeline);
  }
  Bytes model;
  put_varint(&model, 1 << 3);
  put_varint(&model, static_cast<uint64_t>(int64_t{spec_version}));
  put_bytes_field(&model, 2, description);
  put_bytes_field(&model, type, body);
  return model;
}

Status load_network(CompiledModel& compiled) {
  if (!coreml::is_neural_network(compiled.model.kind())) return {};
  if (!compiled.espresso_net && compiled.tree.has(kKeptSource)) {
    MLT_ASSIGN(Blob source, compiled.tree.open(kKeptSource));
    MLT_ASSIGN(coreml::Model model, coreml::Model::parse(source).in(kKeptSource));
    if (model.kind() != compiled.model.kind()) return input_error("is another kind of model than coremldata.bin says").in_path(kKeptSource);
    compiled.model = std::move(model);
    return {};
  }
  Status status = compiled.espresso_net ? load_espresso(compiled.tree, compiled.model) : Status(input_error("is missing").in_path("model.espresso.net"));
  if (!status.ok()) compiled.network_error = status.error();
  return {};
}

Result<CompiledModel> open_nested(const FileTree& tree, int depth) {
  if (depth > coreml::kMaxPipelineNesting) return input_error("compiled pipelines nest too deep");
  CompiledModel out;
  out.tree = tree;
  auto optional_file = [&](const char* name, std::optional<Blob>* blob) -> Status {
    if (!tree.has(name)) return {};
    MLT_ASSIGN(*blob, tree.open(name));
    return {};
  };
  MLT_TRY(optional_file("metadata.json", &out.metadata_json));
  MLT_TRY(optional_file("model.mil", &out.mil_text));
  MLT_TRY(optional_file("model.espresso.net", &out.espresso_net));
  MLT_TRY(optional_file("model.espresso.shape", &out.espresso_shape));
  if (tree.has("analytics/coremldata.bin")) {
    MLT_ASSIGN(Blob blob, tree.open("analytics/coremldata.bin"));
    MLT_ASSIGN(out.analytics, parse_analytics(blob).in("analytics/coremldata.bin"));
  }
  if (tree.has("coremldata.bin")) {
    MLT_ASSIGN(Blob blob, tree.open("coremldata.bin"));
    if (blob.text().starts_with("version https://git-lfs")) {
      // A checkout without its large files: go on with metadata.json.
    } else {
      MLT_ASSIGN(out.data, parse_coremldata(blob).in("coremldata.bin"));
    }
  }
  for (int i = 0; i < kMaxChildren; i++) {
    std::string name = "model" + std::to_string(i);
    FileTree child = tree.subtree(name);
    if (detect_compiled(child)) {
      MLT_ASSIGN(CompiledModel opened, open_nested(child, depth + 1).in(name));
      out.children.push_back(std::move(opened));
    } else {
      break;
    }
  }
  if (tree.has("modelNames/coremldata.bin")) {
    MLT_ASSIGN(Blob blob, tree.open("modelNames/coremldata.bin"));
    MLT_ASSIGN(out.child_names, parse_model_names(blob).in("modelNames/coremldata.bin"));
  }
  out.child_names.resize(std::min(out.child_names.size(), out.children.size()));
  for (size_t i = out.child_names.size(); i < out.children.size(); i++)
    out.child_names.push_back("model" + std::to_string(i));

  if (out.data && out.data->backend == "spec") {
    MLT_ASSIGN(out.model, coreml::Model::parse(out.data->spec).in("coremldata.bin"));
    return out;
  }
  if (out.data) {
    if (is_pipeline(out.data->model_type) && out.data->child_count != out.children.size())
      return input_error(fmt::format("pipeline of {} models has {} below it", out.data->child_count, out.children.size()));
    if (out.data->model_type < 200 || out.data->model_type > 100'000)
      return input_error(fmt::format("model type {}", out.data->model_type)).in_path("coremldata.bin");
    MLT_ASSIGN(Bytes shell, shell_of(out.data->model_type, out.data->spec_version, out.data->description.bytes(), &*out.data,
                                           out.children, out.child_names));
    MLT_ASSIGN(out.model, coreml::Model::parse(Blob(std::move(shell))).in("coremldata.bin"));
    MLT_TRY(load_network(out));
    return out;
  }
  if (out.metadata_json) {
    MLT_ASSIGN(CompiledMetadata said, parse_compiled_metadata(out.metadata_json->bytes()).in("metadata.json"));
    if (said.type == 0 && out.mil_text) said.type = static_cast<uint32_t>(ModelKind::kMlProgram);
    if (said.type == 0) return input_error("model type is not known").in_path("metadata.json");
    MLT_ASSIGN(Bytes shell, shell_of(said.type, said.spec_version, {}, nullptr, out.children, out.child_names));
    MLT_ASSIGN(out.model, coreml::Model::parse(Blob(std::move(shell))));
    out.model.set_description(std::move(said.description));
    MLT_TRY(load_network(out));
    return out;
  }
  if (out.mil_text) {
    MLT_ASSIGN(Bytes shell, shell_of(static_cast<uint32_t>(ModelKind::kMlProgram), 0, {}, nullptr, {}, {}));
    MLT_ASSIGN(out.model, coreml::Model::parse(Blob(std::move(shell))));
    return out;
  }
  return input_error("neither coremldata.bin nor metadata.json is there").in_path(tree.origin());
}

}  // namespace

bool detect_compiled(const FileTree& tree) {
  for (const char* name : {"coremldata.bin", "model.mil", "model.espresso.net", "metadata.json"})
    if (tree.has(name)) return true;
  return false;
}

const Error* first_network_error(const CompiledModel& compiled) {
  if (compiled.network_error) return &*compiled.network_error;
  for (const CompiledModel& child : compiled.children)
    if (const Error* error = first_network_error(child)) return error;
  return nullptr;
}

Result<CompiledModel> open_compiled(const FileTree& tree) { return open_nested(tree, 0); }

}  // namespace mlt
