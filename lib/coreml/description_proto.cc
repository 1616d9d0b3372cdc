#include "lib/coreml/description_proto.h"

#include <algorithm>
#include <map>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/wire.h"

namespace mlt::coreml {
namespace {

SizeRange decode(const spec::SizeRange& proto) { return {proto.lowerbound(), proto.upperbound()}; }
void encode(const SizeRange& range, spec::SizeRange* proto) {
  proto->set_lowerbound(range.lower);
  proto->set_upperbound(range.upper);
}

ImageType decode(const spec::ImageFeatureType& proto) {
  ImageType image;
  image.width = proto.width();
  image.height = proto.height();
  image.color_space = static_cast<ColorSpace>(proto.colorspace());
  if (proto.has_enumeratedsizes()) {
    image.flexibility = Flexibility::kEnumerated;
    for (const auto& size : proto.enumeratedsizes().sizes()) image.enumerated_sizes.push_back({size.width(), size.height()});
  } else if (proto.has_imagesizerange()) {
    image.flexibility = Flexibility::kRange;
    image.width_range = decode(proto.imagesizerange().widthrange());
    image.height_range = decode(proto.imagesizerange().heightrange());
  }
  return image;
}

void encode(const ImageType& image, spec::ImageFeatureType* proto) {
  proto->set_width(image.width);
  proto->set_height(image.height);
  proto->set_colorspace(static_cast<spec::ImageFeatureType_ColorSpace>(image.color_space));
  if (image.flexibility == Flexibility::kEnumerated) {
    auto* sizes = proto->mutable_enumeratedsizes();
    for (const ImageSize& size : image.enumerated_sizes) {
      auto* entry = sizes->add_sizes();
      entry->set_width(size.width);
      entry->set_height(size.height);
    }
  } else if (image.flexibility == Flexibility::kRange) {
    encode(image.width_range, proto->mutable_imagesizerange()->mutable_widthrange());
    encode(image.height_range, proto->mutable_imagesizerange()->mutable_heightrange());
  }
}

ArrayType decode(const spec::ArrayFeatureType& proto) {
  ArrayType array;
  array.shape.assign(proto.shape().begin(), proto.shape().end());
  array.data_type = static_cast<ArrayDataType>(proto.datatype());
  if (proto.has_enumeratedshapes()) {
    array.flexibility = Flexibility::kEnumerated;
    for (const auto& shape : proto.enumeratedshapes().shapes())
      array.enumerated_shapes.emplace_back(shape.shape().begin(), shape.shape().end());
  } else if (proto.has_shaperange()) {
    array.flexibility = Flexibility::kRange;
    for (const auto& range : proto.shaperange().sizeranges()) array.shape_range.push_back(decode(range));
  }
  switch (proto.defaultOptionalValue_case()) {
    case spec::ArrayFeatureType::kIntDefaultValue: array.default_value = proto.intdefaultvalue(); break;
    case spec::ArrayFeatureType::kFloatDefaultValue: array.default_value = proto.floatdefaultvalue(); break;
    case spec::ArrayFeatureType::kDoubleDefaultValue: array.default_value = proto.doubledefaultvalue(); break;
    case spec::ArrayFeatureType::DEFAULTOPTIONALVALUE_NOT_SET: break;
  }
  return array;
}

void encode(const ArrayType& array, spec::ArrayFeatureType* proto) {
  proto->mutable_shape()->Add(array.shape.begin(), array.shape.end());
  proto->set_datatype(static_cast<spec::ArrayFeatureType_ArrayDataType>(array.data_type));
  if (array.flexibility == Flexibility::kEnumerated) {
    auto* shapes = proto->mutable_enumeratedshapes();
    for (const auto& shape : array.enumerated_shapes)
      shapes->add_shapes()->mutable_shape()->Add(shape.begin(), shape.end());
  } else if (array.flexibility == Flexibility::kRange) {
    auto* ranges = proto->mutable_shaperange();
    for (const SizeRange& range : array.shape_range) encode(range, ranges->add_sizeranges());
  }
  if (auto* value = std::get_if<int32_t>(&array.default_value)) proto->set_intdefaultvalue(*value);
  if (auto* value = std::get_if<float>(&array.default_value)) proto->set_floatdefaultvalue(*value);
  if (auto* value = std::get_if<double>(&array.default_value)) proto->set_doubledefaultvalue(*value);
}

FeatureType decode(const spec::FeatureType& proto) {
  FeatureType type;
  type.optional = proto.isoptional();
  switch (proto.Type_case()) {
    case spec::FeatureType::kInt64Type: type.kind = FeatureKind::kInt64; break;
    case spec::FeatureType::kDoubleType: type.kind = FeatureKind::kDouble; break;
    case spec::FeatureType::kStringType: type.kind = FeatureKind::kString; break;
    case spec::FeatureType::kImageType:
      type.kind = FeatureKind::kImage;
      type.image = decode(proto.imagetype());
      break;
    case spec::FeatureType::kMultiArrayType:
      type.kind = FeatureKind::kMultiArray;
      type.array = decode(proto.multiarraytype());
      break;
    case spec::FeatureType::kDictionaryType:
      type.kind = FeatureKind::kDictionary;
      if (proto.dictionarytype().has_int64keytype()) type.element = FeatureKind::kInt64;
      if (proto.dictionarytype().has_stringkeytype()) type.element = FeatureKind::kString;
      break;
    case spec::FeatureType::kSequenceType: {
      const spec::SequenceFeatureType& sequence = proto.sequencetype();
      type.kind = FeatureKind::kSequence;
      if (sequence.has_int64type()) type.element = FeatureKind::kInt64;
      if (sequence.has_stringtype()) type.element = FeatureKind::kString;
      type.has_size_range = sequence.has_sizerange();
      if (type.has_size_range) type.size_range = decode(sequence.sizerange());
      break;
    }
    case spec::FeatureType::kStateType:
      type.kind = FeatureKind::kState;
      type.array = decode(proto.statetype().arraytype());
      break;
    case spec::FeatureType::TYPE_NOT_SET: break;
  }
  return type;
}

void encode(const FeatureType& type, spec::FeatureType* proto) {
  proto->set_isoptional(type.optional);
  switch (type.kind) {
    case FeatureKind::kNone: break;
    case FeatureKind::kInt64: proto->mutable_int64type(); break;
    case FeatureKind::kDouble: proto->mutable_doubletype(); break;
    case FeatureKind::kString: proto->mutable_stringtype(); break;
    case FeatureKind::kImage: encode(type.image, proto->mutable_imagetype()); break;
    case FeatureKind::kMultiArray: encode(type.array, proto->mutable_multiarraytype()); break;
    case FeatureKind::kDictionary: {
      auto* dictionary = proto->mutable_dictionarytype();
      if (type.element == FeatureKind::kInt64) dictionary->mutable_int64keytype();
      if (type.element == FeatureKind::kString) dictionary->mutable_stringkeytype();
      break;
    }
    case FeatureKind::kSequence: {
      auto* sequence = proto->mutable_sequencetype();
      if (type.element == FeatureKind::kInt64) sequence->mutable_int64type();
      if (type.element == FeatureKind::kString) sequence->mutable_stringtype();
      if (type.has_size_range) encode(type.size_range, sequence->mutable_sizerange());
      break;
    }
    case FeatureKind::kState: encode(type.array, proto->mutable_statetype()->mutable_arraytype()); break;
  }
}

using ProtoFeatures = google::protobuf::RepeatedPtrField<spec::FeatureDescription>;

std::vector<FeatureDescription> decode(const ProtoFeatures& proto) {
  std::vector<FeatureDescription> features;
  features.reserve(static_cast<size_t>(proto.size()));
  for (const auto& feature : proto)
    features.push_back({feature.name(), feature.shortdescription(), decode(feature.type())});
  return features;
}

void encode(const std::vector<FeatureDescription>& features, ProtoFeatures* proto) {
  proto->Clear();
  for (const FeatureDescription& feature : features) {
    auto* entry = proto->Add();
    entry->set_name(feature.name);
    entry->set_shortdescription(feature.doc);
    encode(feature.type, entry->mutable_type());
  }
}

}  // namespace

Description decode_description(const spec::ModelDescription& proto) {
  Description out;
  out.inputs = decode(proto.input());
  out.outputs = decode(proto.output());
  out.states = decode(proto.state());
  out.training_inputs = decode(proto.traininginput());
  out.predicted_feature_name = proto.predictedfeaturename();
  out.predicted_probabilities_name = proto.predictedprobabilitiesname();
  out.default_function_name = proto.defaultfunctionname();
  for (const auto& function : proto.functions()) {
    out.functions.push_back({function.name(), decode(function.input()), decode(function.output()),
                             decode(function.state()), function.predictedfeaturename(),
                             function.predictedprobabilitiesname()});
  }
  out.has_metadata = proto.has_metadata();
  const spec::Metadata& metadata = proto.metadata();
  out.metadata.short_description = metadata.shortdescription();
  out.metadata.version = metadata.versionstring();
  out.metadata.author = metadata.author();
  out.metadata.license = metadata.license();
  for (const auto& [key, value] : metadata.userdefined()) out.metadata.user_defined.emplace_back(key, value);
  std::sort(out.metadata.user_defined.begin(), out.metadata.user_defined.end());
  return out;
}

void encode_description(const Description& description, spec::ModelDescription* proto) {
  encode(description.inputs, proto->mutable_input());
  encode(description.outputs, proto->mutable_output());
  encode(description.states, proto->mutable_state());
  encode(description.training_inputs, proto->mutable_traininginput());
  proto->set_predictedfeaturename(description.predicted_feature_name);
  proto->set_predictedprobabilitiesname(description.predicted_probabilities_name);
  proto->set_defaultfunctionname(description.default_function_name);
  proto->clear_functions();
  for (const FunctionDescription& function : description.functions) {
    auto* entry = proto->add_functions();
    entry->set_name(function.name);
    encode(function.inputs, entry->mutable_input());
    encode(function.outputs, entry->mutable_output());
    encode(function.states, entry->mutable_state());
    entry->set_predictedfeaturename(function.predicted_feature_name);
    entry->set_predictedprobabilitiesname(function.predicted_probabilities_name);
  }
  if (!description.has_metadata && description.metadata == Metadata{})
    proto->clear_metadata();
  else
    encode_metadata(description.metadata, proto->mutable_metadata());
}

void encode_metadata(const Metadata& metadata, spec::Metadata* proto) {
  proto->set_shortdescription(metadata.short_description);
  proto->set_versionstring(metadata.version);
  proto->set_author(metadata.author);
  proto->set_license(metadata.license);
  proto->clear_userdefined();
  for (const auto& [key, value] : metadata.user_defined) (*proto->mutable_userdefined())[key] = value;
}

void restore_user_order(ByteSpan description_bytes, Metadata* metadata) {
  // ModelDescription.metadata = 100, Metadata.userDefined = 100, entry key = 1.
  std::map<std::string_view, size_t> rank;
  auto each = [](ByteSpan message, uint32_t number, auto&& visit) {
    WireReader reader(message);
    WireField field;
    while (true) {
      auto more = reader.next(&field);
      if (!more.ok() || !*more) return;
      if (field.number == number && field.type == WireType::kBytes) visit(field.bytes);
    }
  };
  each(description_bytes, 100, [&](ByteSpan message) {
    each(message, 100, [&](ByteSpan entry) {
      std::string_view key;
      each(entry, 1, [&](ByteSpan text) { key = as_text(text); });
      rank.emplace(key, rank.size());
    });
  });
  auto place = [&](const std::string& key) {
    auto it = rank.find(key);
    return it == rank.end() ? rank.size() : it->second;
  };
  std::stable_sort(metadata->user_defined.begin(), metadata->user_defined.end(),
                   [&](const auto& a, const auto& b) { return place(a.first) < place(b.first); });
}

}  // namespace mlt::coreml
