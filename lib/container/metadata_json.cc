#include "lib/container/metadata_json.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "lib/container/bucket_order.h"
#include "lib/container/json_text.h"

namespace mlt {

std::string shape_flexibility(const coreml::ArrayType& array) {
  std::string out;
  if (array.flexibility == coreml::Flexibility::kRange) {
    for (const coreml::SizeRange& range : array.shape_range) {
      if (!out.empty()) out += " × ";
      bool fixed = range.upper >= 0 && static_cast<uint64_t>(range.upper) == range.lower;
      out += fixed ? std::to_string(range.lower) : fmt::format("{}...{}", range.lower, range.upper < 0 ? "inf" : std::to_string(range.upper));
    }
  } else {
    for (const auto& shape : array.enumerated_shapes) {
      if (!out.empty()) out += " | ";
      for (size_t i = 0; i < shape.size(); ++i) out += (i ? " × " : "") + std::to_string(shape[i]);
    }
  }
  return out;
}

namespace {

using coreml::ArrayType;
using coreml::FeatureDescription;
using coreml::FeatureKind;
using coreml::Flexibility;

JsonText text(std::string value) { return JsonText::string(std::move(value)); }
JsonText flag(bool value) { return JsonText::string(value ? "1" : "0"); }

// Members in bucket order; `value` was filled in order of insertion.
JsonText bucketed(const JsonText& value, TableGrowth growth) {
  std::vector<std::string_view> keys;
  for (const auto& [key, item] : value.members()) keys.push_back(key);
  JsonText out = JsonText::object();
  for (size_t i : bucket_order(keys, growth)) out.set(value.members()[i].first, value.members()[i].second);
  return out;
}

std::string bracketed(const std::vector<int64_t>& values) {
  std::string out = "[";
  for (size_t i = 0; i < values.size(); ++i) out += (i ? ", " : "") + std::to_string(values[i]);
  return out + "]";
}

std::string array_type(const ArrayType& array) {
  switch (array.data_type) {
    case coreml::ArrayDataType::kFloat16: return "Float16";
    case coreml::ArrayDataType::kFloat32: return "Float32";
    case coreml::ArrayDataType::kInt8: return "Int8";
    case coreml::ArrayDataType::kInt32: return "Int32";
    default: return "Double";
  }
}

JsonText array_schema(const FeatureDescription& feature, std::string kind) {
  const ArrayType& array = feature.type.array;
  JsonText out = JsonText::object();
  std::string formatted = coreml::format_type(feature.type), shape = bracketed(array.shape);
  switch (array.flexibility) {
    case Flexibility::kFixed:
      out.set("hasShapeFlexibility", flag(false)).set("isOptional", flag(feature.type.optional));
      out.set("dataType", text(array_type(array))).set("formattedType", text(formatted));
      out.set("shortDescription", text(feature.doc)).set("shape", text(shape));
      return out.set("name", text(feature.name)).set("type", text(std::move(kind)));
    case Flexibility::kRange: {
      std::string ranges;
      for (const coreml::SizeRange& range : array.shape_range)
        ranges += (ranges.empty() ? "" : ", ") + bracketed({static_cast<int64_t>(range.lower), range.upper});
      out.set("dataType", text(array_type(array))).set("hasShapeFlexibility", flag(true));
      out.set("isOptional", flag(feature.type.optional)).set("shapeFlexibility", text(shape_flexibility(array)));
      out.set("shapeRange", text("[" + ranges + "]")).set("formattedType", text(formatted));
      out.set("type", text(std::move(kind))).set("shape", text(shape));
      return out.set("name", text(feature.name)).set("shortDescription", text(feature.doc));
    }
    case Flexibility::kEnumerated: {
      std::string shapes;
      for (const auto& one : array.enumerated_shapes) shapes += (shapes.empty() ? "" : ", ") + bracketed(one);
      out.set("shortDescription", text(feature.doc)).set("dataType", text(array_type(array)));
      out.set("hasShapeFlexibility", flag(true)).set("isOptional", flag(feature.type.optional));
      out.set("shapeFlexibility", text(shape_flexibility(array))).set("formattedType", text(formatted));
      out.set("type", text(std::move(kind))).set("shape", text(shape)).set("name", text(feature.name));
      return out.set("enumeratedShapes", text("[" + shapes + "]"));
    }
  }
  return out;
}

JsonText image_schema(const FeatureDescription& feature) {
  const coreml::ImageType& image = feature.type.image;
  bool gray = image.color_space == coreml::ColorSpace::kGrayscale || image.color_space == coreml::ColorSpace::kGrayscaleFloat16;
  const char* space = image.color_space == coreml::ColorSpace::kBgr                ? "BGR"
                      : image.color_space == coreml::ColorSpace::kGrayscale        ? "Grayscale"
                      : image.color_space == coreml::ColorSpace::kGrayscaleFloat16 ? "GrayscaleFloat16"
                                                                                   : "RGB";
  JsonText out = JsonText::object();
  out.set("height", text(std::to_string(image.height))).set("colorspace", text(space));
  out.set("isOptional", flag(feature.type.optional)).set("width", text(std::to_string(image.width)));
  out.set("isColor", flag(!gray)).set("formattedType", text(coreml::format_type(feature.type)));
  out.set("hasSizeFlexibility", flag(image.flexibility != Flexibility::kFixed));
  return out.set("type", text("Image")).set("shortDescription", text(feature.doc)).set("name", text(feature.name));
}

JsonText schema(const FeatureDescription& feature) {
  JsonText out = JsonText::object();
  const char* kind = "";
  switch (feature.type.kind) {
    case FeatureKind::kMultiArray: return array_schema(feature, "MultiArray");
    case FeatureKind::kState: return array_schema(feature, "State");
    case FeatureKind::kImage: return image_schema(feature);
    case FeatureKind::kDictionary:
      out.set("isOptional", flag(feature.type.optional));
      out.set("keyType", text(feature.type.element == FeatureKind::kInt64 ? "Int64" : "String"));
      out.set("formattedType", text(coreml::format_type(feature.type))).set("type", text("Dictionary"));
      return out.set("name", text(feature.name)).set("shortDescription", text(feature.doc));
    case FeatureKind::kInt64: kind = "Int64"; break;
    case FeatureKind::kDouble: kind = "Double"; break;
    case FeatureKind::kString: kind = "String"; break;
    case FeatureKind::kSequence: kind = "Sequence"; break;
    case FeatureKind::kNone: break;
  }
  out.set("isOptional", flag(feature.type.optional)).set("formattedType", text(coreml::format_type(feature.type)));
  return out.set("type", text(kind)).set("name", text(feature.name)).set("shortDescription", text(feature.doc));
}

JsonText schemas(const std::vector<FeatureDescription>& features) {
  JsonText out = JsonText::array();
  for (const FeatureDescription& feature : features) out.add(schema(feature));
  return out;
}

constexpr Availability kAvailability[] = {
    {1, "10.13", "11.0", "4.0", ""},    {2, "10.13.2", "11.2", "4.2", ""}, {3, "10.14", "12.0", "5.0", ""},
    {4, "10.15", "13.0", "6.0", ""},    {5, "11.0", "14.0", "7.0", ""},    {6, "12.0", "15.0", "8.0", ""},
    {7, "13.0", "16.0", "9.0", "1.0"},  {8, "14.0", "17.0", "10.0", "1.0"}, {9, "15.0", "18.0", "11.0", "2.0"},
    {10, "26.0", "26.0", "26.0", "26.0"},
};

JsonText availability(int spec_version) {
  JsonText out = JsonText::object();
  if (const Availability* row = availability_of(spec_version)) {
    out.set("macOS", text(row->macos)).set("tvOS", text(row->ios)).set("iOS", text(row->ios)).set("macCatalyst", text(row->ios));
    if (*row->visionos) out.set("visionOS", text(row->visionos));
    out.set("watchOS", text(row->watchos));
  }
  return bucketed(out, TableGrowth::kGrowing);
}

JsonText model_type(const coreml::Model& model) {
  JsonText out = JsonText::object();
  out.set("name", text("MLModelType_" + model.kind_name()));
  if (coreml::is_pipeline(model.kind())) {
    JsonText structure = JsonText::array();
    for (const coreml::Model& child : model.children()) structure.add(model_type(child));
    out.set("structure", std::move(structure));
  }
  return out;
}

JsonText histogram(const Histogram& rows, TableGrowth growth) {
  JsonText out = JsonText::object();
  for (const auto& [name, count] : rows) out.set(name, JsonText::number(count));
  return bucketed(out, growth);
}

void merge(Histogram& into, const Histogram& from) {
  for (const auto& [name, count] : from) {
    auto it = std::find_if(into.begin(), into.end(), [&, &key = name](const auto& row) { return row.first == key; });
    if (it == into.end()) into.emplace_back(name, count);
    else it->second += count;
  }
}

// "Mixed (A, B)" and "B" -> the labels.
void split_labels(std::string_view joined, std::set<std::string>& labels) {
  if (joined.starts_with("Mixed (") && joined.ends_with(")")) joined = joined.substr(7, joined.size() - 8);
  while (!joined.empty()) {
    size_t comma = joined.find(", ");
    labels.emplace(joined.substr(0, comma));
    joined = comma == joined.npos ? std::string_view() : joined.substr(comma + 2);
  }
}
void merge_labels(std::string& into, const std::string& from) {
  std::set<std::string> labels;
  split_labels(into, labels);
  split_labels(from, labels);
  into.clear();
  for (const std::string& label : labels) into += (into.empty() ? "" : ", ") + label;
  if (labels.size() > 1) into = "Mixed (" + into + ")";
}

void add_stage(const coreml::Model& stage, const ir::Program* program, BodySummary& total) {
  BodySummary own;
  if (program != nullptr) own = summarize(*program);
  else if (coreml::is_neural_network(stage.kind())) own = summarize_network(stage);
  merge(total.operations, own.operations);
  merge(total.layers, own.layers);
  merge_labels(total.compute_precision, own.compute_precision);
  merge_labels(total.storage_precision, own.storage_precision);
}

}  // namespace

const Availability* availability_of(int spec_version) {
  for (const Availability& row : kAvailability)
    if (row.spec == spec_version) return &row;
  return nullptr;
}

std::string metadata_json(const coreml::Model& model, const std::vector<const ir::Program*>& programs, const std::string& class_name) {
  const coreml::Description& description = model.description();
  const coreml::Metadata& metadata = model.metadata();
  bool program_keys = model.kind() == coreml::ModelKind::kMlProgram;
  bool network_keys = coreml::is_neural_network(model.kind());

  // 1. What the body is made of. A multi-function model speaks of its default function.
  BodySummary body;
  const ir::Program* main = programs.empty() ? nullptr : programs[0];
  JsonText functions = JsonText::array();
  if (coreml::is_pipeline(model.kind())) {
    std::vector<coreml::Model> stages = model.children();
    for (size_t i = 0; i < stages.size(); ++i) {
      const ir::Program* program = i < programs.size() ? programs[i] : nullptr;
      program_keys |= program != nullptr;
      network_keys |= coreml::is_neural_network(stages[i].kind());
      add_stage(stages[i], program, body);
    }
  } else if (network_keys) {
    body = summarize_network(model);
  } else if (main != nullptr && description.functions.empty()) {
    body = summarize(*main);
  } else if (main != nullptr) {
    for (const coreml::FunctionDescription& function : description.functions) {
      const ir::Function* found = main->find(function.name);
      BodySummary own = found != nullptr ? summarize(*found) : BodySummary();
      JsonText object = JsonText::object();
      object.set("outputSchema", schemas(function.outputs)).set("name", text(function.name));
      object.set("mlProgramOperationTypeHistogram", histogram(own.operations, TableGrowth::kGrowing));
      object.set("stateSchema", schemas(function.states)).set("inputSchema", schemas(function.inputs));
      if (!own.compute_precision.empty()) object.set("computePrecision", text(own.compute_precision));
      if (!own.storage_precision.empty()) object.set("storagePrecision", text(own.storage_precision));
      functions.add(bucketed(object, TableGrowth::kGrowing));
      if (function.name == description.default_function_name) body = std::move(own);
    }
  }

  // 2. The object, in order of insertion.
  auto interface = description.function();
  if (!interface) interface = coreml::FunctionDescription{"", description.inputs, description.outputs, description.states, "", ""};
  JsonText top = JsonText::object();
  auto set_text = [&](const char* key, const std::string& value) {
    if (!value.empty()) top.set(key, text(value));
  };
  top.set("outputSchema", schemas(interface->outputs));
  set_text("license", metadata.license);
  top.set("metadataOutputVersion", text("3.0")).set("modelType", model_type(model)).set("method", text("predict"));
  top.set("inputSchema", schemas(interface->inputs)).set("stateSchema", schemas(interface->states));
  if (!functions.empty()) top.set("functions", std::move(functions));
  set_text("version", metadata.version);
  top.set("availability", availability(model.spec_version()));
  if (!description.functions.empty()) set_text("defaultFunctionName", description.default_function_name);
  set_text("author", metadata.author);
  set_text("shortDescription", metadata.short_description);
  top.set("generatedClassName", text(class_name)).set("isUpdatable", flag(model.updatable()));
  if (program_keys) top.set("mlProgramOperationTypeHistogram", histogram(body.operations, TableGrowth::kGrowing));
  std::vector<std::string> labels = model.class_labels().as_text();
  if (labels.empty() && main != nullptr) labels = program_class_labels(*main);
  if (!labels.empty()) {
    JsonText list = JsonText::array();
    for (std::string& label : labels) list.add(text(std::move(label)));
    top.set("classLabels", std::move(list));
  }
  // Apple's order here varies from run to run; sorted insertion gives the most frequent one for coremltools' three keys.
  auto entries = metadata.user_defined;
  std::sort(entries.begin(), entries.end());
  JsonText user = JsonText::object();
  for (const auto& [key, value] : entries) user.set(key, text(value));
  top.set("userDefinedMetadata", bucketed(user, TableGrowth::kGrowing));
  if (network_keys) {
    std::sort(body.layers.begin(), body.layers.end());
    top.set("neuralNetworkLayerTypeHistogram", histogram(body.layers, TableGrowth::kFinal));
  }
  set_text("computePrecision", body.compute_precision);
  set_text("storagePrecision", body.storage_precision);
  top.set("specificationVersion", JsonText::number(model.spec_version())).set("modelParameters", JsonText::array());

  return JsonText::array().add(bucketed(top, TableGrowth::kGrowing)).to_string();
}

}  // namespace mlt
