#include "lib/container/espresso.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "lib/base/bytes.h"
#include "lib/container/mlmodelc.h"
#include "lib/container/weight_blob.h"

namespace mlt {
namespace {

using nlohmann::json;
using coreml::EspressoLayer;
using coreml::EspressoNetwork;
using coreml::EspressoShape;

constexpr size_t kMaxText = size_t{256} << 20;

Result<json> parsed(ByteSpan bytes, const char* file) {
  if (bytes.size() > kMaxText) return resource_error("is too large").in_path(file);
  std::string_view text = as_text(bytes);
  json value = json::parse(text.begin(), text.end(), nullptr, false);
  if (!value.is_object()) return input_error("is no JSON object").in_path(file);
  return value;
}

std::vector<std::string> split(const std::string& names) {
  std::vector<std::string> out;
  if (names.empty()) return out;
  for (size_t from = 0; from <= names.size();) {
    size_t comma = std::min(names.find(',', from), names.size());
    out.push_back(names.substr(from, comma - from));
    from = comma + 1;
  }
  return out;
}

int64_t whole(const json& value, int64_t preset) {
  if (value.is_number_unsigned()) return static_cast<int64_t>(std::min<uint64_t>(value.get<uint64_t>(), uint64_t{1} << 62));
  if (value.is_number_integer()) return value.get<int64_t>();
  return preset;
}

Result<EspressoLayer> layer_of(const json& value) {
  if (!value.is_object()) return input_error("a layer is no object");
  EspressoLayer layer;
  for (const auto& [key, field] : value.items()) {
    if (field.is_string()) {
      const auto& text = field.get_ref<const std::string&>();
      if (key == "type") layer.type = text;
      else if (key == "name") layer.name = text;
      else if (key == "bottom") layer.bottoms = split(text);
      else if (key == "top") layer.tops = split(text);
      else layer.fields[key] = text;
    } else if (field.is_boolean()) {
      layer.fields[key] = field.get<bool>();
    } else if (field.is_number()) {
      layer.fields[key] = field.get<double>();
    } else if (key == "weights" && field.is_object()) {
      for (const auto& [name, id] : field.items())
        layer.weights[name] = static_cast<uint64_t>(std::max<int64_t>(whole(id, 0), 0));
    } else if (key == "attributes" && field.is_object()) {
      layer.is_output = field.contains("is_output") && whole(field["is_output"], 0) != 0;
    } else if (!field.empty()) {
      layer.fields[key] = std::string("?");  // a form that is not known: refused by its name
    }
  }
  if (layer.type.empty()) return input_error("a layer has no type");
  return layer;
}

float real(const json& object, const char* key, float preset) {
  auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<float>() : preset;
}

}  // namespace

Result<EspressoNetwork> parse_espresso(ByteSpan net, ByteSpan shape) {
  EspressoNetwork out;
  MLT_ASSIGN(json value, parsed(net, "model.espresso.net"));
  if (auto version = value.find("format_version"); version != value.end() && whole(*version, 0) != 200)
    return unsupported_error(fmt::format("format version {} is not known", whole(*version, 0))).in_path("model.espresso.net");
  auto layers = value.find("layers");
  if (layers == value.end() || !layers->is_array()) return input_error("lists no layers").in_path("model.espresso.net");
  for (const json& one : *layers) {
    MLT_ASSIGN(EspressoLayer layer, layer_of(one).in("model.espresso.net"));
    out.layers.push_back(std::move(layer));
  }
  if (auto transforms = value.find("transform_params"); transforms != value.end() && transforms->is_object())
    for (const auto& [input, t] : transforms->items()) {
      if (!t.is_object()) continue;
      coreml::EspressoImage image{real(t, "scale", 1), real(t, "bias_r", 0), real(t, "bias_g", 0), real(t, "bias_b", 0), 0};
      image.gray = image.red;  // model/coremldata.bin has the right one
      out.images[input] = image;
    }
  if (!shape.empty()) {
    MLT_ASSIGN(json shapes, parsed(shape, "model.espresso.shape"));
    auto all = shapes.find("layer_shapes");
    if (all != shapes.end() && all->is_object())
      for (const auto& [blob, entry] : all->items()) {
        const nlohmann::json& s = entry;  // clang 14 captures no structured bindings
        if (!s.is_object()) continue;
        auto part = [&](const char* key, int64_t preset) { return s.contains(key) ? whole(s[key], preset) : preset; };
        EspressoShape extents{part("n", 1), part("k", 1), part("h", 1), part("w", 1), part("seq", 1), 0};
        extents.rank = static_cast<int>(std::clamp<int64_t>(part("_rank", 0), 0, 5));
        out.exact_arrays = out.exact_arrays || extents.rank > 0;
        out.shapes.emplace(blob, extents);
      }
  }
  return out;
}

Status load_espresso(const FileTree& tree, coreml::Model& model) {
  MLT_ASSIGN(Blob net, tree.open("model.espresso.net"));
  Blob shape;
  if (tree.has("model.espresso.shape")) {
    MLT_ASSIGN(shape, tree.open("model.espresso.shape"));
  }
  MLT_ASSIGN(EspressoNetwork network, parse_espresso(net.bytes(), shape.bytes()));
  // Word 2 is 1 in networks with exactly mapped arrays.
  if (tree.has("neural_network_optionals/coremldata.bin")) {
    MLT_ASSIGN(Blob optionals, tree.open("neural_network_optionals/coremldata.bin"));
    ByteReader in(optionals.bytes());
    if (optionals.size() >= 24) {
      MLT_TRY(in.seek(16));
      MLT_ASSIGN(uint64_t mapping, in.read<uint64_t>());
      network.exact_arrays = network.exact_arrays || mapping == 1;
    }
  }
  if (tree.has("model/coremldata.bin")) {
    MLT_ASSIGN(Blob file, tree.open("model/coremldata.bin"));
    MLT_ASSIGN(CompiledPreprocessing said, parse_compiled_preprocessing(file).in("model/coremldata.bin"));
    network.images.clear();
    for (const auto& [input, is_image] : said.is_image) {
      if (is_image == 0) continue;
      auto of = [&input = input](const std::map<std::string, float>& map, float preset) {
        auto it = map.find(input);
        return it == map.end() ? preset : it->second;
      };
      network.images[input] = {of(said.channel_scale, 1), of(said.red_bias, 0), of(said.green_bias, 0), of(said.blue_bias, 0), of(said.gray_bias, 0)};
    }
  }
  constexpr const char* kUpdate = "updateParameters/NetworkUpdateParameters/coremldata.bin";
  if (tree.has(kUpdate)) {
    MLT_ASSIGN(Blob parameters, tree.open(kUpdate));
    network.update_parameters.emplace(parameters.bytes().begin(), parameters.bytes().end());
    if (tree.has("updateParameters/coremldata.bin")) {
      MLT_ASSIGN(Blob layers, tree.open("updateParameters/coremldata.bin"));
      MLT_ASSIGN(network.updatable_layers, parse_updatable_layers(layers).in("updateParameters/coremldata.bin"));
    }
  }
  EspressoWeights weights;
  bool missing = !tree.has("model.espresso.weights");
  if (!missing) {
    MLT_ASSIGN(Blob file, tree.open("model.espresso.weights"));
    if (file.text().starts_with("version https://git-lfs")) missing = true;
    else {
      MLT_ASSIGN(weights, EspressoWeights::open(std::move(file)).in("model.espresso.weights"));
    }
  }
  bool needed = false;
  Status status = coreml::read_espresso(network, [&](uint64_t id) -> Result<Blob> {
    needed = true;
    return weights.read(id);
  }, model);
  if (status.ok() || !missing || !needed || status.error().code == Code::kUnsupported) return status;
  return input_error("is missing, and the network needs it").in_path("model.espresso.weights");
}

}  // namespace mlt
