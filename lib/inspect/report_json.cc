// Machine form of the reports. The fields are a contract: man/mlinspect.1 lists them; a change of meaning needs a new
// schema_version.
#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/inspect/inspect.h"

namespace mlt::inspect {
namespace {

using nlohmann::ordered_json;
using coreml::FeatureKind;
using coreml::Flexibility;

std::string dumped(const ordered_json& value) { return value.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n"; }

ordered_json head(const char* schema, const std::string& file) { return {{"schema", schema}, {"schema_version", 1}, {"file", file}}; }

ordered_json range(const coreml::SizeRange& r) {
  ordered_json out = ordered_json::array({r.lower});
  out.push_back(r.upper < 0 ? ordered_json(nullptr) : ordered_json(r.upper));
  return out;
}

void add_array(const coreml::ArrayType& array, ordered_json& out) {
  auto dtype = array.dtype();
  out["data_type"] = dtype ? ordered_json(std::string(dtype_name(*dtype))) : ordered_json(nullptr);
  out["shape"] = array.shape;
  if (array.flexibility == Flexibility::kRange) {
    ordered_json ranges = ordered_json::array();
    for (const auto& r : array.shape_range) ranges.push_back(range(r));
    out["shape_range"] = std::move(ranges);
  }
  if (array.flexibility == Flexibility::kEnumerated) out["shapes"] = array.enumerated_shapes;
}

ordered_json feature(const coreml::FeatureDescription& f) {
  ordered_json out = {{"name", f.name}, {"type", std::string(feature_kind_name(f.type.kind))}, {"optional", f.type.optional}, {"description", f.doc}};
  switch (f.type.kind) {
    case FeatureKind::kMultiArray:
    case FeatureKind::kState: add_array(f.type.array, out); break;
    case FeatureKind::kImage: {
      const coreml::ImageType& image = f.type.image;
      out["width"] = image.width;
      out["height"] = image.height;
      const char* space = nullptr;
      switch (image.color_space) {
        case coreml::ColorSpace::kGrayscale: space = "grayscale"; break;
        case coreml::ColorSpace::kRgb: space = "rgb"; break;
        case coreml::ColorSpace::kBgr: space = "bgr"; break;
        case coreml::ColorSpace::kGrayscaleFloat16: space = "grayscale_float16"; break;
        case coreml::ColorSpace::kInvalid: break;
      }
      out["color_space"] = space != nullptr ? ordered_json(space) : ordered_json(nullptr);
      if (image.flexibility == Flexibility::kRange) {
        out["width_range"] = range(image.width_range);
        out["height_range"] = range(image.height_range);
      }
      if (image.flexibility == Flexibility::kEnumerated) {
        ordered_json sizes = ordered_json::array();
        for (const auto& size : image.enumerated_sizes) sizes.push_back({size.width, size.height});
        out["sizes"] = std::move(sizes);
      }
      break;
    }
    case FeatureKind::kDictionary: out["key_type"] = std::string(feature_kind_name(f.type.element)); break;
    case FeatureKind::kSequence:
      out["element_type"] = std::string(feature_kind_name(f.type.element));
      if (f.type.has_size_range) out["size_range"] = range(f.type.size_range);
      break;
    default: break;
  }
  return out;
}

ordered_json features(const std::vector<coreml::FeatureDescription>& list) {
  ordered_json out = ordered_json::array();
  for (const auto& f : list) out.push_back(feature(f));
  return out;
}

ordered_json counts(const Counts& list) {
  ordered_json out = ordered_json::object();
  for (const auto& [name, count] : list) out[name] = count;
  return out;
}

ordered_json training(const coreml::Training& t) {
  using Kind = coreml::TrainingParameter::Kind;
  ordered_json losses = ordered_json::array(), parameters = ordered_json::array();
  for (const auto& loss : t.losses) losses.push_back({{"name", loss.name}, {"kind", loss.kind}, {"input", loss.input}, {"target", loss.target}});
  for (const auto& p : t.parameters) {
    auto value = [&](double v) { return p.kind == Kind::kBool ? ordered_json(v != 0) : p.kind == Kind::kInt64 && std::fabs(v) < 9e18 ? ordered_json(static_cast<int64_t>(v)) : ordered_json(v); };
    ordered_json one = {{"name", p.name}, {"default", value(p.preset)}};
    if (p.range) one["range"] = {value(p.range->first), value(p.range->second)};
    if (!p.allowed.empty()) {
      one["values"] = ordered_json::array();
      for (double v : p.allowed) one["values"].push_back(value(v));
    }
    parameters.push_back(std::move(one));
  }
  return {{"layers", t.layers}, {"losses", std::move(losses)}, {"optimizer", t.optimizer.empty() ? ordered_json(nullptr) : ordered_json(t.optimizer)},
          {"parameters", std::move(parameters)}, {"samples", t.samples}, {"dimensions", t.dimensions}};
}

void body(const Report& r, ordered_json& out) {
  out["kind"] = r.kind;
  out["kind_number"] = r.kind_number;
  out["specification_version"] = r.spec_version;
  out["available"] = r.available.empty() ? ordered_json(nullptr) : ordered_json(r.available);
  out["updatable"] = r.updatable;
  out["training"] = r.training ? training(*r.training) : ordered_json(nullptr);
  const coreml::Metadata& m = r.description.metadata;
  ordered_json user = ordered_json::object();
  for (const auto& [key, value] : m.user_defined) user[key] = value;
  out["metadata"] = {{"description", m.short_description}, {"author", m.author}, {"license", m.license}, {"version", m.version}, {"user_defined", std::move(user)}};
  auto interface = r.description.function();
  if (!interface) interface = coreml::FunctionDescription{};
  out["inputs"] = features(interface->inputs);
  out["outputs"] = features(interface->outputs);
  out["states"] = features(interface->states);
  out["training_inputs"] = features(r.description.training_inputs);
  out["predicted_feature"] = interface->predicted_feature_name;
  out["predicted_probabilities"] = interface->predicted_probabilities_name;
  ordered_json functions = ordered_json::array();
  for (const FunctionInfo& f : r.functions) {
    ordered_json one = {{"name", f.name}, {"opset", f.opset}, {"operations", f.operations}};
    if (auto own = r.description.functions.empty() ? std::nullopt : r.description.function(f.name)) {
      one["inputs"] = features(own->inputs);
      one["outputs"] = features(own->outputs);
      one["states"] = features(own->states);
    }
    functions.push_back(std::move(one));
  }
  out["functions"] = std::move(functions);
  out["default_function"] = r.description.default_function_name;
  out["operations"] = counts(r.operations);
  out["layers"] = counts(r.layers);
  ordered_json by_storage = ordered_json::array();
  for (const WeightTotal& total : r.weights) by_storage.push_back({{"storage", total.storage}, {"tensors", total.tensors}, {"bytes", total.bytes}});
  out["weights"] = {{"tensors", r.weight_tensors}, {"bytes", r.weight_bytes}, {"by_storage", std::move(by_storage)}, {"missing_files", r.missing_files}};
  out["class_labels"] = r.labels;
  out["needs"] = r.needs;
  ordered_json stages = ordered_json::array();
  for (const Report& stage : r.stages) {
    ordered_json one = {{"name", stage.name}};
    body(stage, one);
    stages.push_back(std::move(one));
  }
  out["stages"] = std::move(stages);
}

}  // namespace

std::string report_json(const Report& report) {
  ordered_json out = head("mlinspect", report.file);
  out["name"] = report.name;
  out["container"] = report.container;
  out["sealed"] = report.sealed;
  body(report, out);
  return dumped(out);
}

std::string counts_json(const Report& report) {
  ordered_json out = head("mlinspect-ops", report.file);
  out["operations"] = counts(report.operations);
  out["layers"] = counts(report.layers);
  ordered_json stages = ordered_json::array();
  for (const Report& stage : report.stages)
    stages.push_back({{"name", stage.name}, {"operations", counts(stage.operations)}, {"layers", counts(stage.layers)}});
  out["stages"] = std::move(stages);
  return dumped(out);
}

std::string weights_json(const std::string& file, const std::vector<Weight>& weights) {
  ordered_json out = head("mlinspect-weights", file);
  ordered_json list = ordered_json::array();
  for (const Weight& weight : weights) {
    ordered_json one = {{"name", weight.name}, {"storage", weight.storage}, {"shape", weight.dims}, {"elements", weight.elements},
                        {"bytes", weight.bytes}, {"place", weight.place}, {"missing", weight.missing}, {"shared", weight.shares}};
    if (const auto& s = weight.statistics) {
      one["min"] = s->min;
      one["max"] = s->max;
      one["mean"] = s->mean;
      one["deviation"] = s->deviation;
      one["zeros"] = s->zeros;
      one["not_finite"] = s->not_finite;
    }
    list.push_back(std::move(one));
  }
  out["weights"] = std::move(list);
  return dumped(out);
}

}  // namespace mlt::inspect
