#include "lib/container/compiled_metadata.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/coreml/model.h"

namespace mlt {
namespace {

using coreml::ArrayDataType;
using coreml::FeatureDescription;
using coreml::FeatureKind;
using coreml::FeatureType;
using coreml::Flexibility;
using nlohmann::json;

// Every value of a schema object is a string; anything else counts as absent.
std::string text(const json& object, const char* key) {
  auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

int64_t number(const std::string& digits) {
  int64_t value = 0;
  for (char c : digits) {
    if (c < '0' || c > '9' || value > INT64_MAX / 10 - 1) return 0;
    value = value * 10 + (c - '0');
  }
  return value;
}

// "[1, 2]" or "[[1, 1], [1, 32000]]": lists of integers inside strings.
json list(const std::string& source) {
  json parsed = json::parse(source, nullptr, false);
  return parsed.is_array() ? parsed : json::array();
}
std::vector<int64_t> ints(const json& array) {
  std::vector<int64_t> out;
  if (array.is_array())
    for (const json& entry : array)
      if (entry.is_number_integer()) out.push_back(entry.get<int64_t>());
  return out;
}

ArrayDataType data_type(const std::string& name) {
  if (name == "Float16") return ArrayDataType::kFloat16;
  if (name == "Float32") return ArrayDataType::kFloat32;
  if (name == "Int32") return ArrayDataType::kInt32;
  if (name == "Int8") return ArrayDataType::kInt8;
  return name == "Double" ? ArrayDataType::kDouble : ArrayDataType::kInvalid;
}

FeatureDescription feature(const json& object) {
  FeatureDescription out;
  out.name = text(object, "name");
  out.doc = text(object, "shortDescription");
  std::string kind = text(object, "type");
  if (kind == "MultiArray" || kind == "State") {
    out.type = FeatureType::multi_array(data_type(text(object, "dataType")), ints(list(text(object, "shape"))));
    if (kind == "State") out.type.kind = FeatureKind::kState;
    for (const json& range : list(text(object, "shapeRange"))) {
      std::vector<int64_t> bounds = ints(range);
      if (bounds.size() != 2) continue;
      out.type.array.flexibility = Flexibility::kRange;
      out.type.array.shape_range.push_back({static_cast<uint64_t>(bounds[0]), bounds[1]});
    }
    for (const json& shape : list(text(object, "enumeratedShapes"))) {
      out.type.array.flexibility = Flexibility::kEnumerated;
      out.type.array.enumerated_shapes.push_back(ints(shape));
    }
  } else if (kind == "Image") {
    coreml::ColorSpace space = coreml::ColorSpace::kRgb;
    std::string name = text(object, "colorspace");
    if (name == "BGR") space = coreml::ColorSpace::kBgr;
    if (text(object, "isColor") == "0") space = coreml::ColorSpace::kGrayscale;
    out.type = FeatureType::image_of(number(text(object, "width")), number(text(object, "height")), space);
  } else if (kind == "Dictionary") {
    out.type = FeatureType::dictionary(text(object, "keyType") == "Int64" ? FeatureKind::kInt64 : FeatureKind::kString);
  } else if (kind == "Int64") {
    out.type = FeatureType::int64();
  } else if (kind == "Double") {
    out.type = FeatureType::float64();
  } else if (kind == "String") {
    out.type = FeatureType::string();
  }
  out.type.optional = text(object, "isOptional") == "1";
  return out;
}

std::vector<FeatureDescription> features(const json& object, const char* key) {
  std::vector<FeatureDescription> out;
  auto it = object.find(key);
  if (it == object.end() || !it->is_array()) return out;
  for (const json& entry : *it)
    if (entry.is_object()) out.push_back(feature(entry));
  return out;
}

}  // namespace

Result<CompiledMetadata> parse_compiled_metadata(ByteSpan bytes) {
  if (bytes.size() > 16u << 20) return input_error("is larger than 16 MiB");
  std::string_view source = as_text(bytes);
  json root = json::parse(source.begin(), source.end(), nullptr, false);
  if (root.is_discarded()) return input_error("is not valid JSON");
  if (!root.is_array() || root.empty() || !root[0].is_object()) return input_error("is not a list of one model");
  const json& model = root[0];
  CompiledMetadata out;
  if (auto it = model.find("specificationVersion"); it != model.end() && it->is_number_integer())
    out.spec_version = static_cast<int32_t>(std::clamp<int64_t>(it->get<int64_t>(), 0, 1'000'000));
  if (auto it = model.find("modelType"); it != model.end() && it->is_object()) {
    std::string name = text(*it, "name");
    constexpr std::string_view kPrefix = "MLModelType_";
    for (uint32_t type = 200; type <= 3000 && name.starts_with(kPrefix); type++)
      if (coreml::model_kind_name(static_cast<coreml::ModelKind>(type)) == name.substr(kPrefix.size())) out.type = type;
  }
  coreml::Description& description = out.description;
  description.inputs = features(model, "inputSchema");
  description.outputs = features(model, "outputSchema");
  description.states = features(model, "stateSchema");
  description.default_function_name = text(model, "defaultFunctionName");
  if (auto it = model.find("functions"); it != model.end() && it->is_array())
    for (const json& function : *it)
      if (function.is_object())
        description.functions.push_back({text(function, "name"), features(function, "inputSchema"),
                                         features(function, "outputSchema"), features(function, "stateSchema"), "", ""});
  description.metadata.short_description = text(model, "shortDescription");
  description.metadata.author = text(model, "author");
  description.metadata.license = text(model, "license");
  description.metadata.version = text(model, "version");
  if (auto it = model.find("userDefinedMetadata"); it != model.end() && it->is_object())
    for (const auto& [key, value] : it->items())
      if (value.is_string()) description.metadata.user_defined.emplace_back(key, value.get<std::string>());
  description.has_metadata = !(description.metadata == coreml::Metadata{});
  return out;
}

}  // namespace mlt
