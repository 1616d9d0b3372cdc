#include <algorithm>
#include <cmath>

#include "lib/runtime/predictor.h"

namespace mlt {
namespace {

using coreml::ArrayType;
using coreml::FeatureDescription;
using coreml::FeatureKind;
using coreml::Flexibility;

std::string place(const FeatureDescription& feature) { return "input \"" + feature.name + "\""; }

Error wrong(const FeatureDescription& feature, const std::string& expected, const FeatureValue& value) {
  return input_error(place(feature) + ": expected " + expected + ", got " + feature_text(value));
}

std::string allowed_shapes(const ArrayType& array) {
  if (array.flexibility == Flexibility::kEnumerated) {
    std::string text;
    for (const auto& shape : array.enumerated_shapes) text += (text.empty() ? "" : " or ") + dims_text(shape);
    return text;
  }
  if (array.flexibility == Flexibility::kRange) {
    std::string text;
    for (const auto& range : array.shape_range) {
      if (!text.empty()) text += "x";
      text += std::to_string(range.lower);
      if (range.upper < 0) text += "..";
      else if (static_cast<uint64_t>(range.upper) != range.lower) text += ".." + std::to_string(range.upper);
    }
    return text;
  }
  return dims_text(array.shape);
}

bool shape_allowed(const ArrayType& array, const Dims& dims) {
  if (dims == array.shape) return true;
  if (array.flexibility == Flexibility::kEnumerated)
    return std::find(array.enumerated_shapes.begin(), array.enumerated_shapes.end(), dims) != array.enumerated_shapes.end();
  if (array.flexibility == Flexibility::kRange) {
    if (array.shape_range.size() != dims.size()) return false;
    for (size_t i = 0; i < dims.size(); ++i)
      if (!array.shape_range[i].contains(dims[i])) return false;
    return true;
  }
  return array.shape.empty();  // the description leaves the shape open
}

Result<FeatureValue> conform_array(const FeatureValue& value, const FeatureDescription& feature) {
  const ArrayType& array = feature.type.array;
  Tensor tensor;
  if (const auto* t = std::get_if<Tensor>(&value)) tensor = *t;
  if (const auto* d = std::get_if<double>(&value)) tensor = Tensor::scalar(*d);
  if (const auto* i = std::get_if<int64_t>(&value)) tensor = Tensor::scalar(*i);
  if (!tensor.valid() || tensor.dtype() == DType::kString) return wrong(feature, "a multi-array " + allowed_shapes(array), value);
  if (!shape_allowed(array, tensor.dims())) {
    // Where a single fixed shape is described, extents of 1 more or less are a matter of taste.
    auto squeezed = [](const Dims& dims) {
      Dims out;
      for (int64_t d : dims)
        if (d != 1) out.push_back(d);
      return out;
    };
    if (array.flexibility != Flexibility::kFixed || squeezed(tensor.dims()) != squeezed(array.shape) )
      return input_error(place(feature) + ": expected " + allowed_shapes(array) + ", got " + dims_text(tensor.dims()));
    tensor = tensor.reshaped(array.shape);
  }
  // INVALID_ARRAY_DATA_TYPE is found in real models and means double.
  return FeatureValue(convert(tensor, array.dtype().value_or(DType::kF64)));
}

// Pictures may come as arrays, too: [H, W, C], [C, H, W] or [1, C, H, W] of uint8 or 0..255 floats.
std::optional<Image> image_from_tensor(const Tensor& tensor, PixelOrder order) {
  if (tensor.dtype() == DType::kString) return std::nullopt;
  Dims dims = tensor.dims();
  while (dims.size() > 3 && dims[0] == 1) dims.erase(dims.begin());
  int64_t channels = order == PixelOrder::kGray ? 1 : 3;
  if (dims.size() == 2 && channels == 1) dims.insert(dims.begin(), 1);
  if (dims.size() != 3) return std::nullopt;
  Image image;
  image.order = order;
  image.channels = static_cast<int>(channels);
  Tensor floats = convert(tensor, DType::kF32);
  if (dims[0] == channels) {
    auto planar = planar_to_image(floats.reshaped(dims), order == PixelOrder::kGray ? coreml::ColorSpace::kGrayscale
                                                         : order == PixelOrder::kRgb ? coreml::ColorSpace::kRgb : coreml::ColorSpace::kBgr);
    return planar ? std::optional<Image>(*planar) : std::nullopt;
  }
  if (dims[2] != channels) return std::nullopt;
  image.height = static_cast<int>(dims[0]);
  image.width = static_cast<int>(dims[1]);
  image.pixels = Tensor::uninitialized(DType::kU8, dims);
  for (int64_t i = 0; i < floats.size(); ++i)
    image.pixels.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(std::clamp(std::nearbyint(floats.data<float>()[i]), 0.0f, 255.0f));
  return image;
}

Result<FeatureValue> conform_image(const FeatureValue& value, const FeatureDescription& feature, Fit fit) {
  const coreml::ImageType& type = feature.type.image;
  auto order = pixel_order(type.color_space);
  std::string expected = "an image " + std::to_string(type.width) + "x" + std::to_string(type.height);
  if (!order) return input_error(place(feature) + ": the model does not state the image's colour space");
  Image image;
  if (const auto* given = std::get_if<Image>(&value)) {
    image = *given;
  } else if (const auto* tensor = std::get_if<Tensor>(&value)) {
    auto made = image_from_tensor(*tensor, *order);
    if (!made) return wrong(feature, expected, value);
    image = *made;
  } else {
    return wrong(feature, expected, value);
  }
  bool fits = image.width == type.width && image.height == type.height;
  if (type.flexibility == Flexibility::kEnumerated)
    for (const auto& size : type.enumerated_sizes)
      fits = fits || (static_cast<uint64_t>(image.width) == size.width && static_cast<uint64_t>(image.height) == size.height);
  if (type.flexibility == Flexibility::kRange) fits = fits || (type.width_range.contains(image.width) && type.height_range.contains(image.height));
  if (!fits) {
    auto fitted = fit_image(image, static_cast<int>(type.width), static_cast<int>(type.height), fit);
    if (!fitted) return std::move(fitted).error().in_path(place(feature));
    image = std::move(*fitted);
  }
  return FeatureValue(with_order(image, *order));
}

// A number from whatever holds exactly one.
std::optional<double> single_number(const FeatureValue& value) {
  if (const auto* d = std::get_if<double>(&value)) return *d;
  if (const auto* i = std::get_if<int64_t>(&value)) return static_cast<double>(*i);
  const auto* tensor = std::get_if<Tensor>(&value);
  if (tensor != nullptr && tensor->dtype() != DType::kString && tensor->size() == 1) return to_doubles(*tensor)[0];
  return std::nullopt;
}

}  // namespace

Result<FeatureValue> conform_feature(const FeatureValue& value, const FeatureDescription& feature, Fit fit) {
  switch (feature.type.kind) {
    case FeatureKind::kMultiArray: return conform_array(value, feature);
    case FeatureKind::kImage: return conform_image(value, feature, fit);
    case FeatureKind::kDouble: {
      auto number = single_number(value);
      if (!number) return wrong(feature, "a number", value);
      return FeatureValue(*number);
    }
    case FeatureKind::kInt64: {
      if (const auto* i = std::get_if<int64_t>(&value)) return FeatureValue(*i);
      auto number = single_number(value);
      if (!number || *number != std::floor(*number) || std::abs(*number) > 9e18) return wrong(feature, "an integer", value);
      return FeatureValue(static_cast<int64_t>(*number));
    }
    case FeatureKind::kString: {
      if (std::holds_alternative<std::string>(value)) return value;
      if (const auto* i = std::get_if<int64_t>(&value)) return FeatureValue(std::to_string(*i));
      return wrong(feature, "a string", value);
    }
    case FeatureKind::kDictionary: {
      if (feature.type.element == FeatureKind::kInt64) {
        if (std::holds_alternative<IntDict>(value)) return value;
        // JSON knows only string keys.
        if (const auto* dict = std::get_if<StringDict>(&value)) {
          IntDict ints;
          for (const auto& [key, number] : *dict) {
            char* end = nullptr;
            long long parsed = std::strtoll(key.c_str(), &end, 10);
            if (key.empty() || *end != '\0') return wrong(feature, "a dictionary with integer keys", value);
            ints[parsed] = number;
          }
          return FeatureValue(std::move(ints));
        }
        return wrong(feature, "a dictionary with integer keys", value);
      }
      // Integer keys are the model's to judge: vectorizers of such are described with string keys.
      if (std::holds_alternative<StringDict>(value) || std::holds_alternative<IntDict>(value)) return value;
      return wrong(feature, "a dictionary", value);
    }
    case FeatureKind::kSequence: {
      bool ints = feature.type.element == FeatureKind::kInt64;
      if (ints ? std::holds_alternative<IntList>(value) : std::holds_alternative<StringList>(value)) return value;
      const auto* tensor = std::get_if<Tensor>(&value);
      if (tensor != nullptr && ints && tensor->dtype() != DType::kString) return FeatureValue(to_ints(*tensor));
      if (tensor != nullptr && !ints && tensor->dtype() == DType::kString) return FeatureValue(tensor->strings());
      return wrong(feature, ints ? "a sequence of integers" : "a sequence of strings", value);
    }
    case FeatureKind::kState:
    case FeatureKind::kNone: break;
  }
  return unsupported_error(place(feature) + ": a feature of this kind cannot be given a value");
}

Result<std::optional<FeatureValue>> missing_feature(const FeatureDescription& feature) {
  using Value = std::optional<FeatureValue>;
  if (!feature.type.optional)
    return input_error(place(feature) + " is missing", "the model takes " + coreml::format_type(feature.type) + " \"" + feature.name + "\"");
  const ArrayType& array = feature.type.array;
  if (feature.type.kind != FeatureKind::kMultiArray || std::holds_alternative<std::monostate>(array.default_value)) return Value{};
  double fill = std::visit(
      [](auto v) -> double {
        if constexpr (std::is_same_v<decltype(v), std::monostate>) return 0;
        else return static_cast<double>(v);
      },
      array.default_value);
  MLT_ASSIGN(int64_t count, element_count(array.shape));
  std::vector<double> values(static_cast<size_t>(count), fill);
  return Value{FeatureValue(convert(Tensor::from<double>(array.shape, values), array.dtype().value_or(DType::kF64)))};
}

}  // namespace mlt
