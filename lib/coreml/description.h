// What a model says about itself: features in and out, functions, metadata. Plain structs, no protobuf. Numbers that
// this library does not know (a later data type, colour space) are kept as they are, so that they can be shown.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "lib/tensor/dtype.h"

namespace mlt::coreml {

// One axis of a flexible shape: lower <= extent <= upper.
struct SizeRange {
  uint64_t lower = 0;
  int64_t upper = 0;  // negative: unbounded
  bool operator==(const SizeRange&) const = default;
  bool contains(int64_t extent) const {
    return extent >= 0 && static_cast<uint64_t>(extent) >= lower && (upper < 0 || extent <= upper);
  }
};

enum class Flexibility { kFixed, kEnumerated, kRange };

enum class ColorSpace : int { kInvalid = 0, kGrayscale = 10, kRgb = 20, kBgr = 30, kGrayscaleFloat16 = 40 };

struct ImageSize {
  uint64_t width = 0, height = 0;
  bool operator==(const ImageSize&) const = default;
};

struct ImageType {
  int64_t width = 0, height = 0;  // default size, pixels
  ColorSpace color_space = ColorSpace::kInvalid;
  Flexibility flexibility = Flexibility::kFixed;
  std::vector<ImageSize> enumerated_sizes;  // kEnumerated
  SizeRange width_range, height_range;      // kRange
  bool operator==(const ImageType&) const = default;
};

// ArrayFeatureType.ArrayDataType of the wire format.
enum class ArrayDataType : int {
  kInvalid = 0,
  kInt8 = 0x20008,
  kFloat16 = 0x10010,
  kFloat32 = 0x10020,
  kDouble = 0x10040,
  kInt32 = 0x20020,
};
std::optional<DType> to_dtype(ArrayDataType type);
// Float16, float32, float64, int8 and int32 have a number; other types none.
std::optional<ArrayDataType> to_array_data_type(DType type);

struct ArrayType {
  std::vector<int64_t> shape;  // default shape; may be empty (not stated)
  ArrayDataType data_type = ArrayDataType::kInvalid;
  Flexibility flexibility = Flexibility::kFixed;
  std::vector<std::vector<int64_t>> enumerated_shapes;  // kEnumerated
  std::vector<SizeRange> shape_range;                   // kRange, one per axis
  // What an omitted optional input is filled with.
  std::variant<std::monostate, int32_t, float, double> default_value;
  bool operator==(const ArrayType&) const = default;
  // INVALID_ARRAY_DATA_TYPE is found in real models and means double.
  std::optional<DType> dtype() const { return to_dtype(data_type); }
};

enum class FeatureKind { kNone, kInt64, kDouble, kString, kImage, kMultiArray, kDictionary, kSequence, kState };
// "int64", "double", "string", "image", "multiArray", "dictionary", "sequence", "state", "none".
std::string_view feature_kind_name(FeatureKind kind);

struct FeatureType {
  FeatureKind kind = FeatureKind::kNone;
  bool optional = false;
  ImageType image;  // kImage
  ArrayType array;  // kMultiArray, and the array inside a kState
  // kDictionary: kInt64 or kString keys (values are doubles); kSequence: kInt64 or kString elements; else kNone.
  FeatureKind element = FeatureKind::kNone;
  SizeRange size_range;  // kSequence
  bool has_size_range = false;
  bool operator==(const FeatureType&) const = default;

  static FeatureType int64() { return of(FeatureKind::kInt64); }
  static FeatureType float64() { return of(FeatureKind::kDouble); }
  static FeatureType string() { return of(FeatureKind::kString); }
  static FeatureType multi_array(ArrayDataType type, std::vector<int64_t> shape);
  static FeatureType image_of(int64_t width, int64_t height, ColorSpace color_space);
  static FeatureType dictionary(FeatureKind key);
  static FeatureType sequence(FeatureKind element, SizeRange range);
  static FeatureType state(ArrayDataType type, std::vector<int64_t> shape);

 private:
  static FeatureType of(FeatureKind kind) {
    FeatureType type;
    type.kind = kind;
    return type;
  }
};

struct FeatureDescription {
  std::string name;
  std::string doc;  // shortDescription
  FeatureType type;
  bool operator==(const FeatureDescription&) const = default;
};

struct FunctionDescription {
  std::string name;
  std::vector<FeatureDescription> inputs, outputs, states;
  std::string predicted_feature_name, predicted_probabilities_name;
  bool operator==(const FunctionDescription&) const = default;
};

struct Metadata {
  std::string short_description, version, author, license;
  // In file order: the order matters to compiled models. Keys are unique.
  std::vector<std::pair<std::string, std::string>> user_defined;
  bool operator==(const Metadata&) const = default;
  const std::string* find(std::string_view key) const;
  // Replaces the value of a key or appends it.
  void set(std::string_view key, std::string value);
};

struct Description {
  // Of the default function when `functions` is used (then these are usually empty; see function()).
  std::vector<FeatureDescription> inputs, outputs, states;
  std::string predicted_feature_name, predicted_probabilities_name;
  std::vector<FeatureDescription> training_inputs;
  std::vector<FunctionDescription> functions;  // multi-function models only (specification 9)
  std::string default_function_name;
  Metadata metadata;
  bool has_metadata = false;  // the message is present, perhaps empty
  bool operator==(const Description&) const = default;

  // The interface of a function. Empty name: the default one. Models without `functions` have one, named "main".
  // nullopt when there is no such function.
  std::optional<FunctionDescription> function(std::string_view name = {}) const;
  std::vector<std::string> function_names() const;
};

const FeatureDescription* find_feature(const std::vector<FeatureDescription>& features, std::string_view name);

// "MultiArray (Float32 1 x 2)", "Image (Color 600 x 375)", ... with the signs Apple's metadata.json uses.
std::string format_type(const FeatureType& type);

}  // namespace mlt::coreml
