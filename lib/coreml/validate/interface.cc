// Rules of the interface that hold for every kind: coremltools' InterfaceValidators.
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "lib/coreml/validate/checker.h"

namespace mlt::coreml {
namespace {

// kProgramInput: of an ML program, where an array without axes is a scalar.
enum class Role { kInput, kProgramInput, kOutput, kState, kTraining };

void check_range(const SizeRange& range, const std::string& what, Checker& check) {
  if (range.upper > 0 && range.lower > static_cast<uint64_t>(range.upper))
    check.error(fmt::format("{} range {}..{} is empty", what, range.lower, range.upper));
}

void check_array(const ArrayType& array, Role role, int version, Checker& check) {
  bool flexible = array.flexibility != Flexibility::kFixed;
  if (array.flexibility == Flexibility::kEnumerated) {
    check.require(!array.enumerated_shapes.empty(), "no shape is allowed: the list of shapes is empty");
    for (const auto& shape : array.enumerated_shapes) check.require(!shape.empty(), "an enumerated shape has no axes");
    if (!array.shape.empty() && !array.enumerated_shapes.empty() &&
        std::find(array.enumerated_shapes.begin(), array.enumerated_shapes.end(), array.shape) == array.enumerated_shapes.end())
      check.error("default shape is not one of the enumerated shapes");
  } else if (array.flexibility == Flexibility::kRange) {
    for (size_t i = 0; i < array.shape_range.size(); i++)
      check_range(array.shape_range[i], "axis " + std::to_string(i), check);
    if (!array.shape.empty() && array.shape.size() != array.shape_range.size()) {
      check.error(fmt::format("default shape has {} axes, the shape range {}", array.shape.size(), array.shape_range.size()));
    } else {
      for (size_t i = 0; i < array.shape.size(); i++)
        if (!array.shape_range[i].contains(array.shape[i]))
          check.error(fmt::format("default extent {} of axis {} is outside its range", array.shape[i], i));
    }
  }
  // Core ML goes by the default shape then; Create ML wrote such pipelines.
  if (flexible && version < 3) check.warning("flexible shapes are ignored before specification version 3");
  if (role == Role::kInput && array.shape.empty() && !flexible) check.error("has no shape");
  for (int64_t extent : array.shape)
    if (extent < 0) check.error(fmt::format("extent {} is negative", extent));
  switch (array.data_type) {
    case ArrayDataType::kDouble:
    case ArrayDataType::kFloat32:
    case ArrayDataType::kInt32: break;
    case ArrayDataType::kFloat16:
      if (version < 7) check.error("float16 arrays need specification version 7");
      break;
    case ArrayDataType::kInt8:
      if (version < 10) check.error("int8 arrays need specification version 10");
      break;
    // Found in published models, where it means double (ArrayType::dtype()).
    case ArrayDataType::kInvalid: check.warning("element type is not stated; double is meant"); break;
    default: check.error(fmt::format("unknown element type {}", static_cast<int>(array.data_type)));
  }
  bool matches = true;
  if (std::holds_alternative<double>(array.default_value)) {
    matches = array.data_type == ArrayDataType::kDouble;
  } else if (std::holds_alternative<float>(array.default_value)) {
    matches = array.data_type == ArrayDataType::kFloat32 || array.data_type == ArrayDataType::kFloat16;
  } else if (const int32_t* value = std::get_if<int32_t>(&array.default_value)) {
    matches = array.data_type == ArrayDataType::kInt32 || array.data_type == ArrayDataType::kInt8;
    if (array.data_type == ArrayDataType::kInt8 && (*value < -128 || *value > 127))
      check.error(fmt::format("default value {} does not fit int8", *value));
  }
  check.require(matches, "default value is of another type than the elements");
}

void check_image(const ImageType& image, int version, Checker& check) {
  int64_t width = image.width, height = image.height;
  bool stated = width > 0 && height > 0;
  if (image.flexibility == Flexibility::kEnumerated) {
    if (image.enumerated_sizes.empty()) {
      check.error("no size is allowed: the list of sizes is empty");
    } else if (!stated) {
      width = static_cast<int64_t>(image.enumerated_sizes[0].width);
      height = static_cast<int64_t>(image.enumerated_sizes[0].height);
    } else {
      ImageSize size{static_cast<uint64_t>(width), static_cast<uint64_t>(height)};
      if (std::find(image.enumerated_sizes.begin(), image.enumerated_sizes.end(), size) == image.enumerated_sizes.end())
        check.error("default size is not one of the enumerated sizes");
    }
  } else if (image.flexibility == Flexibility::kRange) {
    check_range(image.width_range, "width", check);
    check_range(image.height_range, "height", check);
    if (!stated) {
      width = static_cast<int64_t>(image.width_range.lower);
      height = static_cast<int64_t>(image.height_range.lower);
    } else {
      check.require(image.width_range.contains(width), "default width is outside its range");
      check.require(image.height_range.contains(height), "default height is outside its range");
    }
  }
  if (image.flexibility != Flexibility::kFixed && version < 3)
    check.warning("flexible sizes are ignored before specification version 3");
  if (width <= 0 || height <= 0) check.error(fmt::format("size {}x{} is not positive", width, height));
  switch (image.color_space) {
    case ColorSpace::kGrayscale:
    case ColorSpace::kRgb:
    case ColorSpace::kBgr: break;
    case ColorSpace::kGrayscaleFloat16:
      if (version < 7) check.error("float16 images need specification version 7");
      break;
    default: check.error("colour space is not stated or unknown");
  }
}

void check_state(const FeatureType& type, int version, Checker& check) {
  if (version < 9) check.error("states need specification version 9");
  check.require(!type.optional, "a state cannot be optional");
  check.require(!type.array.shape.empty(), "has no shape");
  for (int64_t extent : type.array.shape)
    if (extent < 0) check.error(fmt::format("extent {} is negative", extent));
  check.require(type.array.data_type == ArrayDataType::kFloat16 || type.array.data_type == ArrayDataType::kInt8,
                "element type of a state must be float16");
  check.require(type.array.flexibility == Flexibility::kFixed, "a state cannot have a flexible shape");
  check.require(std::holds_alternative<std::monostate>(type.array.default_value), "a state cannot have a default value");
}

void check_feature(const FeatureDescription& feature, Role role, int version, Checker& check) {
  const FeatureType& type = feature.type;
  check.require(!feature.name.empty(), "has no name");
  if (type.kind == FeatureKind::kState) {
    if (role == Role::kOutput || role == Role::kTraining) check.error("a state must be declared among the states");
  } else if (role == Role::kState) {
    check.error("only states may be declared among the states");
  }
  switch (type.kind) {
    case FeatureKind::kNone: check.error("has no type"); break;
    case FeatureKind::kInt64:
    case FeatureKind::kDouble:
    case FeatureKind::kString: break;
    case FeatureKind::kMultiArray: check_array(type.array, role, version, check); break;
    case FeatureKind::kImage: check_image(type.image, version, check); break;
    case FeatureKind::kDictionary:
      check.require(type.element != FeatureKind::kNone, "key type of a dictionary must be int64 or string");
      break;
    case FeatureKind::kSequence:
      if (version < 3) check.error("sequences need specification version 3");
      check_range(type.size_range, "size", check);
      check.require(type.element != FeatureKind::kNone, "elements of a sequence must be int64 or string");
      break;
    case FeatureKind::kState: check_state(type, version, check); break;
  }
}

void check_features(const char* what, const std::vector<FeatureDescription>& features, Role role, int version,
                    Checker& check) {
  std::set<std::string> names;
  for (const FeatureDescription& feature : features) {
    Checker::Place place(check, fmt::format("{} \"{}\"", what, feature.name));
    check_feature(feature, role, version, check);
    if (!names.insert(feature.name).second) check.error("a second feature has this name");
    if (check.full()) return;
  }
}

bool allows_no_inputs(ModelKind kind) {
  return is_pipeline(kind) || is_neural_network(kind) || kind == ModelKind::kMlProgram;
}

void check_function(const FunctionDescription& function, const Model& model, Checker& check) {
  int version = model.spec_version();
  if (function.inputs.empty() && !allows_no_inputs(model.kind())) check.error("model has no inputs");
  if (function.inputs.empty() && allows_no_inputs(model.kind()) && version < 9)
    check.error("models without inputs need specification version 9");
  check.require(!function.outputs.empty(), "model has no outputs");
  if (!function.states.empty() && model.kind() != ModelKind::kMlProgram)
    check.error("only ML programs may have states");
  check_features("input", function.inputs, model.kind() == ModelKind::kMlProgram ? Role::kProgramInput : Role::kInput, version, check);
  check_features("output", function.outputs, Role::kOutput, version, check);
  check_features("state", function.states, Role::kState, version, check);
}

void check_optional(const Model& model, Checker& check) {
  const Description& description = model.description();
  ModelKind kind = model.kind();
  bool network = is_neural_network(kind) || kind == ModelKind::kMlProgram || kind == ModelKind::kSerializedModel;
  for (const FeatureDescription& input : description.inputs) {
    if (!input.type.optional || input.type.kind != FeatureKind::kMultiArray ||
        std::holds_alternative<std::monostate>(input.type.array.default_value))
      continue;
    Checker::Place place(check, fmt::format("input \"{}\"", input.name));
    check.require(network, "only neural networks and ML programs may have default values");
    if (model.spec_version() < 5) check.error("default values need specification version 5");
  }
  for (const FeatureDescription& output : description.outputs)
    if (output.type.optional) check.error(fmt::format("output \"{}\" cannot be optional", output.name));
  if (network) {
    bool required = description.inputs.empty();
    for (const FeatureDescription& input : description.inputs)
      required |= !input.type.optional || input.type.kind == FeatureKind::kState;
    check.require(required, "at least one input must not be optional");
    return;
  }
  switch (kind) {
    case ModelKind::kTreeEnsembleRegressor:
    case ModelKind::kTreeEnsembleClassifier:
    case ModelKind::kItemSimilarityRecommender:
    case ModelKind::kImputer:
    case ModelKind::kIdentity: return;
    default: break;
  }
  if (is_pipeline(kind)) return;  // its stages decide
  for (const FeatureDescription& input : description.inputs)
    if (input.type.optional) check.error(fmt::format("input \"{}\" cannot be optional in a {}", input.name, model.kind_name()));
}

}  // namespace

void check_interface(const Model& model, Checker& check) {
  const Description& description = model.description();
  int version = model.spec_version();
  if (version <= 0) check.error("specification version is missing");
  if (version > kNewestSpecVersion)
    check.error(fmt::format("specification version {} is newer than {}", version, kNewestSpecVersion));

  if (description.functions.empty() && description.default_function_name.empty()) {
    check_function(*description.function(), model, check);
  } else {
    check.require(model.kind() == ModelKind::kMlProgram, "only ML programs may have several functions");
    if (version < 9) check.error("several functions need specification version 9");
    check.require(description.inputs.empty() && description.outputs.empty() && description.states.empty() &&
                      description.predicted_feature_name.empty() && description.predicted_probabilities_name.empty() &&
                      description.training_inputs.empty(),
                  "a model with functions must not use the model-level features");
    std::set<std::string> names;
    for (const FunctionDescription& function : description.functions) {
      Checker::Place place(check, fmt::format("function \"{}\"", function.name));
      if (!names.insert(function.name).second) check.error("a second function has this name");
      check_function(function, model, check);
      if (check.full()) return;
    }
    if (!names.count(description.default_function_name))
      check.error(fmt::format("default function \"{}\" does not exist", description.default_function_name));
  }
  check_features("training input", description.training_inputs, Role::kTraining, version, check);

  if (model.updatable()) {
    if (version < 4) check.error("updatable models need specification version 4");
    if (!is_neural_network(model.kind()) && !is_pipeline(model.kind()) &&
        model.kind() != ModelKind::kKNearestNeighborsClassifier)
      check.error("a " + model.kind_name() + " cannot be updatable");
  }
  check_optional(model, check);
}

void check_regressor_interface(const Description& description, Checker& check) {
  if (!check.require(!description.predicted_feature_name.empty(), "name of the predicted feature is missing")) return;
  check.feature("predicted feature", description.outputs, description.predicted_feature_name,
                {FeatureKind::kDouble, FeatureKind::kMultiArray});
}

void check_classifier_interface(const Description& description, const Model::ClassLabels& labels, bool labels_optional,
                                bool default_is_integer, Checker& check) {
  if (!labels_optional) {
    if (!labels.present) check.error("class labels are missing");
    else if (labels.size() == 0) check.error("list of class labels is empty");
  }
  if (labels.integers) {
    std::set<int64_t> unique(labels.ints.begin(), labels.ints.end());
    if (!labels_optional && unique.size() != labels.size()) check.warning("two classes have the same label");
  } else {
    std::set<std::string> unique(labels.strings.begin(), labels.strings.end());
    if (!labels_optional && unique.size() != labels.size()) check.warning("two classes have the same label");
  }
  bool integers = labels.present ? labels.integers : default_is_integer;
  if (check.require(!description.predicted_feature_name.empty(), "name of the predicted feature is missing"))
    check.feature("predicted feature", description.outputs, description.predicted_feature_name,
                  {integers ? FeatureKind::kInt64 : FeatureKind::kString});
  if (!description.predicted_probabilities_name.empty())
    check.feature("predicted probabilities", description.outputs, description.predicted_probabilities_name,
                  {FeatureKind::kDictionary, FeatureKind::kMultiArray});
}

}  // namespace mlt::coreml
