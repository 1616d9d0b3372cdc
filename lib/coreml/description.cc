#include "lib/coreml/description.h"

#include <fmt/core.h>

namespace mlt::coreml {

std::optional<DType> to_dtype(ArrayDataType type) {
  switch (type) {
    case ArrayDataType::kInt8: return DType::kI8;
    case ArrayDataType::kFloat16: return DType::kF16;
    case ArrayDataType::kFloat32: return DType::kF32;
    case ArrayDataType::kInvalid:
    case ArrayDataType::kDouble: return DType::kF64;
    case ArrayDataType::kInt32: return DType::kI32;
  }
  return std::nullopt;
}

std::optional<ArrayDataType> to_array_data_type(DType type) {
  switch (type) {
    case DType::kI8: return ArrayDataType::kInt8;
    case DType::kF16: return ArrayDataType::kFloat16;
    case DType::kF32: return ArrayDataType::kFloat32;
    case DType::kF64: return ArrayDataType::kDouble;
    case DType::kI32: return ArrayDataType::kInt32;
    default: return std::nullopt;
  }
}

std::string_view feature_kind_name(FeatureKind kind) {
  switch (kind) {
    case FeatureKind::kNone: break;
    case FeatureKind::kInt64: return "int64";
    case FeatureKind::kDouble: return "double";
    case FeatureKind::kString: return "string";
    case FeatureKind::kImage: return "image";
    case FeatureKind::kMultiArray: return "multiArray";
    case FeatureKind::kDictionary: return "dictionary";
    case FeatureKind::kSequence: return "sequence";
    case FeatureKind::kState: return "state";
  }
  return "none";
}

FeatureType FeatureType::multi_array(ArrayDataType data_type, std::vector<int64_t> shape) {
  FeatureType type = of(FeatureKind::kMultiArray);
  type.array.data_type = data_type;
  type.array.shape = std::move(shape);
  return type;
}

FeatureType FeatureType::image_of(int64_t width, int64_t height, ColorSpace color_space) {
  FeatureType type = of(FeatureKind::kImage);
  type.image.width = width;
  type.image.height = height;
  type.image.color_space = color_space;
  return type;
}

FeatureType FeatureType::dictionary(FeatureKind key) {
  FeatureType type = of(FeatureKind::kDictionary);
  type.element = key;
  return type;
}

FeatureType FeatureType::sequence(FeatureKind element, SizeRange range) {
  FeatureType type = of(FeatureKind::kSequence);
  type.element = element;
  type.size_range = range;
  type.has_size_range = true;
  return type;
}

FeatureType FeatureType::state(ArrayDataType data_type, std::vector<int64_t> shape) {
  FeatureType type = multi_array(data_type, std::move(shape));
  type.kind = FeatureKind::kState;
  return type;
}

const std::string* Metadata::find(std::string_view key) const {
  for (const auto& [name, value] : user_defined)
    if (name == key) return &value;
  return nullptr;
}

void Metadata::set(std::string_view key, std::string value) {
  for (auto& [name, old] : user_defined) {
    if (name != key) continue;
    old = std::move(value);
    return;
  }
  user_defined.emplace_back(key, std::move(value));
}

std::optional<FunctionDescription> Description::function(std::string_view name) const {
  if (functions.empty()) {
    if (!name.empty() && name != "main") return std::nullopt;
    return FunctionDescription{"main", inputs, outputs, states, predicted_feature_name, predicted_probabilities_name};
  }
  if (name.empty()) name = default_function_name;
  for (const FunctionDescription& function : functions)
    if (function.name == name) return function;
  return std::nullopt;
}

std::vector<std::string> Description::function_names() const {
  if (functions.empty()) return {"main"};
  std::vector<std::string> names;
  for (const FunctionDescription& function : functions) names.push_back(function.name);
  return names;
}

const FeatureDescription* find_feature(const std::vector<FeatureDescription>& features, std::string_view name) {
  for (const FeatureDescription& feature : features)
    if (feature.name == name) return &feature;
  return nullptr;
}

namespace {

std::string array_type_name(ArrayDataType type) {
  switch (type) {
    case ArrayDataType::kInt8: return "Int8";
    case ArrayDataType::kFloat16: return "Float16";
    case ArrayDataType::kFloat32: return "Float32";
    case ArrayDataType::kInvalid:
    case ArrayDataType::kDouble: return "Double";
    case ArrayDataType::kInt32: return "Int32";
  }
  return fmt::format("Type{}", static_cast<int>(type));
}

std::string array_text(const ArrayType& array) {
  std::string text = array_type_name(array.data_type);
  for (size_t i = 0; i < array.shape.size(); i++) text += fmt::format("{}{}", i ? " × " : " ", array.shape[i]);
  return text;
}

}  // namespace

std::string format_type(const FeatureType& type) {
  switch (type.kind) {
    case FeatureKind::kNone: break;
    case FeatureKind::kInt64: return "Int64";
    case FeatureKind::kDouble: return "Double";
    case FeatureKind::kString: return "String";
    case FeatureKind::kImage: {
      const ImageType& image = type.image;
      std::string_view color = "Color";
      if (image.color_space == ColorSpace::kGrayscale) color = "Grayscale";
      if (image.color_space == ColorSpace::kGrayscaleFloat16) color = "GrayscaleFloat16";
      return fmt::format("Image ({} {} × {})", color, image.width, image.height);
    }
    case FeatureKind::kMultiArray: return fmt::format("MultiArray ({})", array_text(type.array));
    case FeatureKind::kDictionary:
      return fmt::format("Dictionary ({} → Double)", type.element == FeatureKind::kInt64 ? "Int64" : "String");
    case FeatureKind::kSequence:
      return fmt::format("Sequence ({})", type.element == FeatureKind::kInt64 ? "Int64" : "String");
    case FeatureKind::kState: return fmt::format("State ({})", array_text(type.array));
  }
  return "None";
}

}  // namespace mlt::coreml
