// Features as JSON text, both ways, and values given on a command line.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/runtime/image.h"
#include "lib/runtime/json_features.h"
#include "lib/runtime/records.h"
#include "lib/tensor/npy.h"

namespace mlt {
namespace {

using nlohmann::json;
using coreml::FeatureDescription;
using coreml::FeatureKind;

void append_number(std::string& out, double value) { out += std::isfinite(value) ? fmt::format("{}", value) : "null"; }
void append_number(std::string& out, float value) { out += std::isfinite(value) ? fmt::format("{}", value) : "null"; }
std::string quoted(const std::string& text) { return json(text).dump(-1, ' ', false, json::error_handler_t::replace); }

template <typename F>
void append_nested(std::string& out, const Dims& dims, size_t axis, int64_t& index, const F& element) {
  if (axis == dims.size()) {
    element(out, index++);
    return;
  }
  out += '[';
  for (int64_t i = 0; i < dims[axis]; ++i) {
    if (i) out += ", ";
    append_nested(out, dims, axis + 1, index, element);
  }
  out += ']';
}

void append_tensor(std::string& out, const Tensor& tensor) {
  int64_t index = 0;
  if (tensor.dtype() == DType::kString) {
    append_nested(out, tensor.dims(), 0, index, [&](std::string& o, int64_t i) { o += quoted(tensor.strings()[static_cast<size_t>(i)]); });
  } else if (tensor.dtype() == DType::kF64) {
    append_nested(out, tensor.dims(), 0, index, [&](std::string& o, int64_t i) { append_number(o, tensor.data<double>()[i]); });
  } else if (is_float(tensor.dtype())) {
    Tensor floats = convert(tensor, DType::kF32);
    append_nested(out, tensor.dims(), 0, index, [&](std::string& o, int64_t i) { append_number(o, floats.data<float>()[i]); });
  } else {
    Tensor ints = convert(tensor, DType::kI64);
    append_nested(out, tensor.dims(), 0, index, [&](std::string& o, int64_t i) { o += std::to_string(ints.data<int64_t>()[i]); });
  }
}

template <typename Map, typename Key>
void append_dict(std::string& out, const Map& dict, const Key& key) {
  out += '{';
  bool first = true;
  for (const auto& [k, v] : dict) {
    if (!first) out += ", ";
    first = false;
    out += key(k) + ": ";
    append_number(out, v);
  }
  out += '}';
}

void append_value(std::string& out, const FeatureValue& value) {
  std::visit(
      [&](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::monostate>) out += "null";
        else if constexpr (std::is_same_v<T, int64_t>) out += std::to_string(v);
        else if constexpr (std::is_same_v<T, double>) append_number(out, v);
        else if constexpr (std::is_same_v<T, std::string>) out += quoted(v);
        else if constexpr (std::is_same_v<T, Tensor>) append_tensor(out, v);
        else if constexpr (std::is_same_v<T, Image>) append_tensor(out, v.pixels);
        else if constexpr (std::is_same_v<T, StringDict>) append_dict(out, v, [](const std::string& k) { return quoted(k); });
        else if constexpr (std::is_same_v<T, IntDict>) append_dict(out, v, [](int64_t k) { return "\"" + std::to_string(k) + "\""; });
        else if constexpr (std::is_same_v<T, IntList>) append_tensor(out, Tensor::from<int64_t>({static_cast<int64_t>(v.size())}, v));
        else append_tensor(out, Tensor::of_strings({static_cast<int64_t>(v.size())}, v));
      },
      value);
}

// Nested arrays of equal lengths, all numbers (or null: NaN, or booleans), or all strings.
Status flatten(const json& node, Dims* dims, size_t depth, std::vector<double>* numbers, std::vector<std::string>* strings) {
  if (node.is_array()) {
    if (depth == 16) return input_error("arrays are nested too deep");
    auto size = static_cast<int64_t>(node.size());
    if (dims->size() == depth && !(numbers->empty() && strings->empty())) return input_error("array rows differ in depth");
    if (dims->size() == depth) dims->push_back(size);
    else if (dims->size() < depth || (*dims)[depth] != size) return input_error("array rows differ in length");
    for (const json& item : node) {
      if (!item.is_array() && dims->size() != depth + 1) return input_error("array rows differ in depth");
      MLT_TRY(flatten(item, dims, depth + 1, numbers, strings));
    }
    return {};
  }
  if (depth != dims->size()) return input_error("array rows differ in depth");
  if (node.is_number()) numbers->push_back(node.get<double>());
  else if (node.is_null()) numbers->push_back(std::nan(""));
  else if (node.is_boolean()) numbers->push_back(node.get<bool>() ? 1 : 0);
  else if (node.is_string()) strings->push_back(node.get<std::string>());
  else return input_error("an array of numbers or strings expected");
  return {};
}

Result<FeatureValue> from_json(const json& node, const FeatureDescription* feature) {
  FeatureKind kind = feature ? feature->type.kind : FeatureKind::kNone;
  if (node.is_null()) return FeatureValue(std::monostate{});
  if (node.is_boolean()) return FeatureValue(static_cast<int64_t>(node.get<bool>()));
  if (node.is_number_integer()) {
    if (kind == FeatureKind::kDouble) return FeatureValue(node.get<double>());
    if (node.is_number_unsigned() && node.get<uint64_t>() > uint64_t{1} << 62) return FeatureValue(node.get<double>());
    return FeatureValue(node.get<int64_t>());
  }
  if (node.is_number()) return FeatureValue(node.get<double>());
  if (node.is_string()) return FeatureValue(node.get<std::string>());
  if (node.is_object()) {
    StringDict dict;
    for (const auto& [key, item] : node.items()) {
      if (item.is_null()) dict[key] = std::nan("");
      else if (item.is_number()) dict[key] = item.get<double>();
      else return input_error("dictionary entry \"" + key + "\" is not a number");
    }
    return FeatureValue(std::move(dict));
  }
  Dims dims;
  std::vector<double> numbers;
  std::vector<std::string> strings;
  MLT_TRY(flatten(node, &dims, 0, &numbers, &strings));
  if (!strings.empty() && !numbers.empty()) return input_error("an array mixes numbers and strings");
  if (!strings.empty()) {
    if (kind == FeatureKind::kSequence || dims.size() == 1) return FeatureValue(std::move(strings));
    return FeatureValue(Tensor::of_strings(dims, std::move(strings)));
  }
  if (kind == FeatureKind::kSequence && feature->type.element == FeatureKind::kString && numbers.empty()) return FeatureValue(StringList{});
  return FeatureValue(Tensor::from<double>(dims, numbers));
}

}  // namespace

std::string to_json(const FeatureValue& value) {
  std::string out;
  append_value(out, value);
  return out;
}

std::string to_json(const FeatureMap& record) {
  std::string out = "{";
  for (const auto& [name, value] : record) {
    if (out.size() > 1) out += ", ";
    out += quoted(name) + ": ";
    append_value(out, value);
  }
  return out + "}";
}

Result<FeatureMap> record_from_json(std::string_view text, const std::vector<FeatureDescription>& features) {
  json node = json::parse(text, nullptr, false);
  if (node.is_discarded()) return input_error("not valid JSON");
  if (!node.is_object()) return input_error("a JSON object expected");
  FeatureMap record;
  for (const auto& [name, item] : node.items()) {
    auto value = from_json(item, coreml::find_feature(features, name));
    if (!value) return std::move(value).error().in_path("\"" + name + "\"");
    record[name] = std::move(*value);
  }
  return record;
}

Result<FeatureValue> value_from_json(std::string_view text, const FeatureDescription* feature) {
  json node = json::parse(text, nullptr, false);
  if (node.is_discarded()) return input_error("not valid JSON");
  return from_json(node, feature);
}

Result<FeatureValue> parse_feature(const std::string& text, const FeatureDescription& feature,
                                   const std::function<Result<Blob>(const std::string&)>& read_file) {
  if (text.size() > 1 && text[0] == '@') {
    std::string path = text.substr(1);
    MLT_ASSIGN(Blob file, read_file(path));
    auto wrap = [&](auto result) -> Result<FeatureValue> {
      if (!result) return std::move(result).error().in_path(path);
      return FeatureValue(std::move(*result));
    };
    if (file.text().starts_with("\x93NUMPY")) return wrap(read_npy(file));
    if (looks_like_image(file.bytes())) return wrap(decode_image(file.bytes()));
    // Text: JSON unless the feature is a string, which takes the file as it is (one final newline aside).
    std::string_view body = file.text();
    if (feature.type.kind == FeatureKind::kString) {
      if (body.ends_with('\n')) body.remove_suffix(1);
      if (body.ends_with('\r')) body.remove_suffix(1);
      return FeatureValue(std::string(body));
    }
    if (feature.type.kind == FeatureKind::kImage) return input_error("not an image (PNG, JPEG, BMP, GIF, PNM) or .npy file").in_path(path);
    auto value = value_from_json(body, &feature);
    if (value) return value;
    // Numbers separated by white space or commas, as text tools write them.
    std::string copy(body);
    std::replace(copy.begin(), copy.end(), ',', ' ');
    std::vector<double> numbers;
    const char* at = copy.c_str();
    for (char* end = nullptr;; at = end) {
      double number = std::strtod(at, &end);
      if (end == at) break;
      numbers.push_back(number);
    }
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r') ++at;
    if (*at != '\0' || numbers.empty()) return input_error("neither .npy, an image, JSON nor numbers").in_path(path);
    return FeatureValue(Tensor::from<double>({static_cast<int64_t>(numbers.size())}, numbers));
  }
  if (feature.type.kind == FeatureKind::kString) return FeatureValue(text);
  if (feature.type.kind == FeatureKind::kImage)
    return input_error("input \"" + feature.name + "\" is an image", "give it as " + feature.name + "=@picture.png");
  auto value = value_from_json(text, &feature);
  if (!value) return usage_error("input \"" + feature.name + "\": cannot read \"" + text + "\"", "numbers, JSON arrays and objects are understood, and @FILE");
  return value;
}

Result<FeatureMap> parse_record(const std::vector<std::string>& arguments, const std::vector<FeatureDescription>& features,
                                const std::function<Result<Blob>(const std::string&)>& read_file) {
  FeatureMap record;
  for (const std::string& text : arguments) {
    // A feature's name may itself contain "="; the longest name that fits wins.
    const FeatureDescription* best = nullptr;
    for (const FeatureDescription& f : features)
      if (text.size() > f.name.size() && text.starts_with(f.name) && text[f.name.size()] == '=' && (best == nullptr || f.name.size() > best->name.size())) best = &f;
    if (best == nullptr) {
      size_t equals = text.find('=');
      if (equals == std::string::npos) return usage_error("\"" + text + "\" is not of the form name=value");
      std::string names;
      for (const FeatureDescription& f : features) names += (names.empty() ? "" : ", ") + f.name;
      return usage_error("the model has no input \"" + text.substr(0, equals) + "\"", "its inputs are: " + names);
    }
    if (record.contains(best->name)) return usage_error("input \"" + best->name + "\" is given twice");
    MLT_ASSIGN(record[best->name], parse_feature(text.substr(best->name.size() + 1), *best, read_file));
  }
  return record;
}

}  // namespace mlt
