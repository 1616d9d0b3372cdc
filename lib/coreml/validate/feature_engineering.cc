#include <fmt/core.h>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate/checker.h"

namespace mlt::coreml {
namespace {

using Kind = FeatureKind;

bool one_each(const Description& description, Checker& check) {
  bool ok = check.require(description.inputs.size() == 1, "must have exactly one input");
  return check.require(description.outputs.size() == 1, "must have exactly one output") && ok;
}

// Both one-dimensional, of the same length; returns that, or -1.
int64_t same_vector(const Description& description, Checker& check) {
  const auto& in = description.inputs[0].type.array.shape;
  const auto& out = description.outputs[0].type.array.shape;
  if (!check.require(in.size() == 1, "input array must have one axis")) return -1;
  return check.require(in == out, "output array must have the shape of the input") ? in[0] : -1;
}

void check_one_hot(const spec::OneHotEncoder& encoder, const Description& description, Checker& check) {
  check.features("input", description.inputs, 1, {Kind::kInt64, Kind::kString});
  check.features("output", description.outputs, 1, {encoder.outputsparse() ? Kind::kDictionary : Kind::kMultiArray});
  if (encoder.CategoryType_case() == spec::OneHotEncoder::CATEGORYTYPE_NOT_SET) {
    check.error("has no categories");
  } else if (one_each(description, check)) {
    Kind expected = encoder.has_stringcategories() ? Kind::kString : Kind::kInt64;
    check.require(description.inputs[0].type.kind == expected, "categories are not of the input's type");
  }
  check.require(encoder.handleunknown() == 0 || encoder.handleunknown() == 1, "unknown way to handle unknown categories");
}

void check_imputer(const spec::Imputer& imputer, const Description& description, Checker& check) {
  auto kinds = {Kind::kInt64, Kind::kDouble, Kind::kMultiArray, Kind::kString, Kind::kDictionary};
  check.features("input", description.inputs, 1, kinds);
  check.features("output", description.outputs, 1, kinds);
  if (!one_each(description, check)) return;
  Kind kind = description.inputs[0].type.kind;
  check.require(kind == description.outputs[0].type.kind, "input and output are of different types");
  int64_t length = kind == Kind::kMultiArray ? same_vector(description, check) : -1;

  using Imputer = spec::Imputer;
  auto replaces = imputer.ReplaceValue_case();
  // What stands in must suit the input, and what it replaces must be of that type.
  auto expect = [&](bool suits, Imputer::ReplaceValueCase replace) {
    check.require(suits, "imputed value does not suit the input's type");
    if (replaces != Imputer::REPLACEVALUE_NOT_SET && replaces != replace)
      check.error("value to replace does not suit the input's type");
  };
  switch (imputer.ImputedValue_case()) {
    case Imputer::kImputedDoubleValue:
      expect(kind == Kind::kDouble || kind == Kind::kMultiArray, Imputer::kReplaceDoubleValue);
      break;
    case Imputer::kImputedInt64Value: expect(kind == Kind::kInt64, Imputer::kReplaceInt64Value); break;
    case Imputer::kImputedStringValue: expect(kind == Kind::kString, Imputer::kReplaceStringValue); break;
    case Imputer::kImputedDoubleArray:
      expect(kind == Kind::kMultiArray, Imputer::kReplaceDoubleValue);
      if (length >= 0 && length != imputer.imputeddoublearray().vector_size())
        check.error(fmt::format("imputed array has {} values, the input {}", imputer.imputeddoublearray().vector_size(), length));
      break;
    case Imputer::kImputedInt64Array:
      expect(kind == Kind::kMultiArray, Imputer::kReplaceInt64Value);
      if (length >= 0 && length != imputer.imputedint64array().vector_size())
        check.error(fmt::format("imputed array has {} values, the input {}", imputer.imputedint64array().vector_size(), length));
      break;
    case Imputer::kImputedStringDictionary:
    case Imputer::kImputedInt64Dictionary: expect(kind == Kind::kDictionary, Imputer::REPLACEVALUE_NOT_SET); break;
    case Imputer::IMPUTEDVALUE_NOT_SET: check.error("has no imputed value"); break;
  }
}

void check_scaler(const spec::Scaler& scaler, const Description& description, Checker& check) {
  auto kinds = {Kind::kInt64, Kind::kDouble, Kind::kMultiArray};
  check.features("input", description.inputs, 1, kinds);
  check.features("output", description.outputs, 1, kinds);
  if (!one_each(description, check)) return;
  Kind in = description.inputs[0].type.kind, out = description.outputs[0].type.kind;
  check.require(in == out || (in == Kind::kInt64 && out == Kind::kDouble), "output type does not suit the input's");
  int64_t length = in == Kind::kMultiArray && out == Kind::kMultiArray ? same_vector(description, check) : 1;
  auto size = [&](const char* what, int count) {
    if (count > 1 && length >= 0 && count != length)
      check.error(fmt::format("has {} {}, the input {} values", count, what, length));
  };
  size("shifts", scaler.shiftvalue_size());
  size("scales", scaler.scalevalue_size());
}

void check_mapping(const spec::CategoricalMapping& mapping, const Description& description, Checker& check) {
  if (!check.require(mapping.MappingType_case() != spec::CategoricalMapping::MAPPINGTYPE_NOT_SET, "has no mapping")) return;
  bool from_string = mapping.has_stringtoint64map();
  Kind in = from_string ? Kind::kString : Kind::kInt64, out = from_string ? Kind::kInt64 : Kind::kString;
  auto unknown = mapping.ValueOnUnknown_case();
  if (unknown != spec::CategoricalMapping::VALUEONUNKNOWN_NOT_SET)
    check.require((unknown == spec::CategoricalMapping::kInt64Value) == from_string,
                  "value for unknown keys is not of the output's type");
  check.features("input", description.inputs, 1, {in, Kind::kSequence});
  check.features("output", description.outputs, 1, {out, Kind::kSequence});
  if (!one_each(description, check)) return;
  const FeatureType& input = description.inputs[0].type;
  const FeatureType& output = description.outputs[0].type;
  if (input.kind != Kind::kSequence) return;
  check.require(input.element == in, "input sequence is not of the mapping's keys");
  if (check.require(output.kind == Kind::kSequence, "a sequence must map to a sequence"))
    check.require(output.element == out, "output sequence is not of the mapping's values");
}

void check_vectorizer(const spec::FeatureVectorizer& vectorizer, const Description& description, Checker& check) {
  check.features("input", description.inputs, 0, {Kind::kInt64, Kind::kDouble, Kind::kMultiArray, Kind::kDictionary});
  check.features("output", description.outputs, 1, {Kind::kMultiArray});
  uint64_t total = 0;
  for (const auto& column : vectorizer.inputlist()) {
    if (column.inputdimensions() == 0)
      check.error(fmt::format("column \"{}\" has no dimensions", column.inputcolumn()));
    if (!find_feature(description.inputs, column.inputcolumn()))
      check.error(fmt::format("column \"{}\" is not an input", column.inputcolumn()));
    total += std::min<uint64_t>(column.inputdimensions(), uint64_t{1} << 40);
  }
  if (description.outputs.size() == 1 && description.outputs[0].type.array.shape.size() == 1 &&
      static_cast<uint64_t>(description.outputs[0].type.array.shape[0]) != total)
    check.error(fmt::format("columns sum to {} values, the output has {}", total, description.outputs[0].type.array.shape[0]));
}

void check_dictionary(const spec::DictVectorizer& vectorizer, const Description& description, Checker& check) {
  check.features("input", description.inputs, 1, {Kind::kDictionary});
  check.features("output", description.outputs, 1, {Kind::kDictionary, Kind::kMultiArray});
  if (vectorizer.Map_case() == spec::DictVectorizer::MAP_NOT_SET) {
    check.error("has no keys");
  } else if (one_each(description, check)) {
    Kind expected = vectorizer.has_stringtoindex() ? Kind::kString : Kind::kInt64;
    check.require(description.inputs[0].type.element == expected, "keys are not of the input's type");
  }
}

void check_extractor(const spec::ArrayFeatureExtractor& extractor, const Description& description, Checker& check) {
  check.features("input", description.inputs, 1, {Kind::kMultiArray});
  check.features("output", description.outputs, 1, {Kind::kDouble, Kind::kInt64, Kind::kMultiArray});
  if (!one_each(description, check)) return;
  if (description.outputs[0].type.kind != Kind::kMultiArray && extractor.extractindex_size() != 1)
    check.error(fmt::format("a scalar output needs one index, found {}", extractor.extractindex_size()));
  const ArrayType& array = description.inputs[0].type.array;
  if (array.flexibility != Flexibility::kFixed || array.shape.empty()) return;
  uint64_t elements = 1;
  for (int64_t extent : array.shape)
    if (extent < 0 || !checked_mul(elements, static_cast<uint64_t>(extent), &elements)) return;
  for (uint64_t index : extractor.extractindex()) {
    if (index < elements) continue;
    check.error(fmt::format("index {} is outside the input of {} values", index, elements));
    break;
  }
}

}  // namespace

void check_feature_engineering(const Model& model, Checker& check) {
  const spec::Model& proto = model.proto();
  const Description& description = model.description();
  switch (model.kind()) {
    case ModelKind::kOneHotEncoder: return check_one_hot(proto.onehotencoder(), description, check);
    case ModelKind::kImputer: return check_imputer(proto.imputer(), description, check);
    case ModelKind::kScaler: return check_scaler(proto.scaler(), description, check);
    case ModelKind::kCategoricalMapping: return check_mapping(proto.categoricalmapping(), description, check);
    case ModelKind::kFeatureVectorizer: return check_vectorizer(proto.featurevectorizer(), description, check);
    case ModelKind::kDictVectorizer: return check_dictionary(proto.dictvectorizer(), description, check);
    case ModelKind::kArrayFeatureExtractor: return check_extractor(proto.arrayfeatureextractor(), description, check);
    case ModelKind::kNormalizer:
      check.features("input", description.inputs, 1, {Kind::kMultiArray});
      check.features("output", description.outputs, 1, {Kind::kMultiArray});
      check.require(proto.normalizer().normtype() >= 0 && proto.normalizer().normtype() <= 2, "unknown norm");
      return;
    default: return;
  }
}

}  // namespace mlt::coreml
