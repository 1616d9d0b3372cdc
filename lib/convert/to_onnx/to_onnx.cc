// The interface of a model: features to ONNX inputs and outputs, stages of pipelines in a row.
#include "lib/convert/to_onnx/to_onnx.h"

#include <nlohmann/json.hpp>

#include <algorithm>

#include "lib/convert/to_onnx/emit.h"
#include "lib/convert/network.h"

namespace mlt::foreign::to_onnx {
namespace {

using coreml::FeatureDescription;
using coreml::FeatureKind;
using coreml::ModelKind;

constexpr int kMaxNesting = 16;

std::string color_name(coreml::ColorSpace space) {
  switch (space) {
    case coreml::ColorSpace::kGrayscale: return "grayscale";
    case coreml::ColorSpace::kGrayscaleFloat16: return "grayscale float16";
    case coreml::ColorSpace::kBgr: return "BGR";
    default: return "RGB";
  }
}

class Model {
 public:
  Model(Emit& g, std::vector<Unsupported>& problems) : g_(g), problems_(problems) {}

  // One model; `features` holds what is there to read and takes the outputs. top: its outputs are the model's own and may
  // carry their names.
  Status stage(const coreml::Model& model, const ir::Program* program, const std::vector<std::unique_ptr<ir::Program>>* stages, bool top, int depth) {
    if (depth > kMaxNesting) return input_error("pipelines nest more than " + std::to_string(kMaxNesting) + " deep");
    if (coreml::is_pipeline(model.kind())) {
      for (size_t i = 0; i < model.child_count(); ++i) {
        const ir::Program* own = stages && i < stages->size() ? (*stages)[i].get() : nullptr;
        coreml::Model child = model.child(i);
        MLT_TRY(stage(child, own, nullptr, false, depth + 1));
      }
      return {};
    }
    if (model.kind() == ModelKind::kMlProgram) {
      if (program == nullptr) return unsupported_error("an ML program inside a pipeline of pipelines");
      return run_program(model, *program, top);
    }
    if (coreml::is_neural_network(model.kind())) return network(model, top);
    if (!exports_classic(model.kind())) {
      problems_.push_back({model.kind_name(), "a model of this kind has no ONNX twin", {model.kind_name()}, false});
      return {};
    }
    try {
      export_classic(g_, model, features, problems_);
    } catch (const LowerError& failure) {
      problems_.push_back({model.kind_name(), failure.error.message, {model.kind_name()}, false});
      for (const auto& out : model.description().outputs) features.emplace(out.name, FeatureValue{});
    }
    return {};
  }

  // A value for each input of the function, cast and shaped as it wants.
  S adapted(const std::string& feature, DType dtype, const Dims& dims) {
    auto it = features.find(feature);
    if (it == features.end()) bad_input("no stage makes feature \"" + feature + "\"");
    S v = it->second.name;
    if (it->second.rank != static_cast<int64_t>(dims.size()) || !exact_.contains(feature)) {
      std::vector<int64_t> shape;
      int open = 0;
      for (int64_t d : dims) shape.push_back(d < 0 ? -1 : d), open += d < 0;
      if (open > 1) unsupported("feature \"" + feature + "\" between stages, of extents that are not known");
      v = g_.reshape(v, shape);
    }
    if (it->second.dtype != dtype) v = g_.cast(v, dtype);
    return v;
  }

  Status run_program(const coreml::Model& model, const ir::Program& program, bool top) {
    const std::string& wanted = g_.options().function;
    auto interface = model.description().function(wanted);
    const ir::Function* function = program.find(interface ? interface->name : wanted.empty() ? "main" : wanted);
    if (function == nullptr && wanted.empty() && !program.functions.empty()) function = program.functions[0].get();
    if (function == nullptr || !interface) return usage_error("the model has no function \"" + wanted + "\"");
    Exporter e(g_, problems_);
    std::vector<S> inputs;
    std::vector<std::string> names;
    for (const auto& v : function->inputs) {
      if (v->type.is_state()) {
        S name = g_.fresh(v->name);
        g_.add_input(name, e.elem_type(v->type), text(v->type.held().dims, v->name));
        inputs.push_back(name);
        continue;
      }
      if (!v->type.is_tensor()) return unsupported_error("input \"" + v->name + "\" is no tensor");
      inputs.push_back(adapted(v->name, e.dtype(v->type.dtype), v->type.dims));
    }
    for (const ir::Value* v : function->body->outputs) names.push_back(top ? v->name : "");
    std::vector<S> outputs = e.function(*function, inputs, names);
    if (e.damage) return *e.damage;
    if (!problems_.empty()) return {};
    for (size_t i = 0; i < outputs.size(); ++i) {
      const ir::Value* v = function->body->outputs[i];
      if (outputs[i].empty()) {
        if (v == v->producer->output(0)) classify(e, *v->producer, *interface);
        continue;
      }
      features[v->name] = {outputs[i], e.dtype(v->type.dtype), v->type.rank()};
      exact_.insert(v->name);
      dims_[v->name] = v->type.dims;
    }
    for (const auto& v : function->inputs) {
      if (!v->type.is_state()) continue;
      S name = g_.fresh(v->name + "_out");
      g_.alias(e.states.at(v.get()), name);
      g_.add_output(name, e.elem_type(v->type), text(v->type.held().dims, v->name));
    }
    return {};
  }

  // classify(probabilities, classes) of a program.
  void classify(Exporter& e, const ir::Op& op, const coreml::FunctionDescription& interface) {
    const ir::Operand* list = op.operand("classes");
    const ir::Literal* literal = list ? list->constant() : nullptr;
    if (literal == nullptr) unsupported("class labels that are not constant");
    coreml::Model::ClassLabels labels;
    labels.present = true;
    for (const ir::Literal& item : literal->items) {
      if (item.tensor.valid() && item.tensor.dtype() == DType::kString) labels.strings.emplace_back(item.text());
      else if (item.tensor.valid() && item.tensor.size() == 1) labels.ints.push_back(to_ints(item.tensor)[0]);
    }
    if (literal->items.empty() && literal->tensor.valid()) {
      if (literal->tensor.dtype() == DType::kString) labels.strings = literal->tensor.strings();
      else labels.ints = to_ints(literal->tensor);
    }
    labels.integers = labels.strings.empty();
    const ir::Operand* p = op.operand("probabilities");
    S scores = g_.reshape(e.operand(*p), {1, -1});
    if (e.dtype(p->type().dtype) != DType::kF32) scores = g_.cast(scores, DType::kF32);
    coreml::Description d;
    d.outputs = interface.outputs;
    d.predicted_feature_name = op.output(0)->name;
    d.predicted_probabilities_name = op.outputs.size() > 1 ? op.output(1)->name : "";
    classifier_outputs(g_, d, labels, scores, scores, features);
  }

  Status network(const coreml::Model& model, bool top) {
    MLT_ASSIGN(coreml::LiftedNetwork net, lifted_network(model, top ? g_.options().input_dims : std::map<std::string, Dims>()));
    const ir::Function& function = *net.program->functions[0];
    Exporter e(g_, problems_);
    std::vector<S> inputs;
    std::vector<std::string> names(function.body->outputs.size());
    for (const auto& in : net.inputs) {
      const ir::Value* v = function.find_input(in.value);
      if (v == nullptr) return input_error("a lifted network lacks input " + in.value);
      // Inputs of the whole model take the extents that the lift chose.
      if (top && !features.contains(in.feature)) {
        S name = in.feature;
        g_.reserve(name);
        g_.add_input(name, 1, text(in.dims, name));
        if (in.image) g_.metadata("coreml.input." + name, "image " + color_name(in.color_space));
        features[name] = {name, DType::kF32, static_cast<int64_t>(in.dims.size())};
        exact_.insert(name);
      }
    }
    for (const auto& v : function.inputs) {
      auto in = std::find_if(net.inputs.begin(), net.inputs.end(), [&](const auto& i) { return i.value == v->name; });
      if (in == net.inputs.end()) return input_error("a lifted network has an unknown input " + v->name);
      if (in->optional && !features.contains(in->feature)) inputs.push_back(g_.constant(Tensor::zeros(DType::kF32, in->dims)));
      else inputs.push_back(adapted(in->feature, DType::kF32, in->dims));
    }
    auto output_index = [&](const std::string& value) {
      for (size_t i = 0; i < function.body->outputs.size(); ++i)
        if (function.body->outputs[i]->name == value) return i;
      return function.body->outputs.size();
    };
    for (const auto& out : net.outputs) {
      size_t i = output_index(out.value);
      if (i < names.size() && top && names[i].empty()) {
        g_.reserve(out.feature);
        names[i] = out.feature;
      }
    }
    std::vector<S> outputs = e.function(function, inputs, names);
    if (e.damage) return *e.damage;
    if (!problems_.empty()) return {};
    for (const auto& out : net.outputs) {
      size_t i = output_index(out.value);
      if (i == outputs.size()) return input_error("a lifted network lacks output " + out.value);
      const ir::Type& type = function.body->outputs[i]->type;
      features[out.feature] = {outputs[i], e.dtype(type.dtype), type.rank()};
      exact_.insert(out.feature);
      dims_[out.feature] = type.dims;
      if (out.image) g_.metadata("coreml.output." + out.feature, "image " + color_name(out.color_space));
    }
    if (net.labels.present && !net.probabilities.empty()) {
      size_t i = output_index(net.probabilities);
      if (i == outputs.size()) return input_error("a lifted network lacks its probabilities");
      S scores = g_.reshape(outputs[i], {1, -1});
      classifier_outputs(g_, model.description(), net.labels, scores, scores, features);
    }
    return {};
  }

  std::vector<std::string> text(const Dims& dims, const std::string& name) {
    std::vector<std::string> out;
    for (size_t i = 0; i < dims.size(); ++i) out.push_back(dims[i] >= 0 ? std::to_string(dims[i]) : name + "_" + std::to_string(i));
    return out;
  }

  std::map<std::string, FeatureValue> features;
  std::set<std::string> exact_;       // features that have the extents of their description
  std::map<std::string, Dims> dims_;  // of computed features
  Emit& g_;
  std::vector<Unsupported>& problems_;
};

DType feature_dtype(const coreml::ArrayType& array) {
  DType t = array.dtype().value_or(DType::kF32);
  return t == DType::kF64 ? DType::kF32 : t;
}

// An input of the whole model.
void declare_input(Model& m, const FeatureDescription& f, const ir::Function* function, bool classic) {
  Emit& g = m.g_;
  g.reserve(f.name);
  Exporter e(g, m.problems_);
  FeatureValue v;
  v.name = f.name;
  const ir::Value* parameter = function ? function->find_input(f.name) : nullptr;
  switch (f.type.kind) {
    case FeatureKind::kInt64: case FeatureKind::kDouble: case FeatureKind::kString:
      v.dtype = f.type.kind == FeatureKind::kInt64 ? DType::kI64 : f.type.kind == FeatureKind::kString ? DType::kString : DType::kF32;
      g.add_input(f.name, onnx_dtype(v.dtype), {classic ? "N" : "1", "1"});
      break;
    case FeatureKind::kImage:
      v.rank = 4;
      v.dtype = DType::kF32;
      g.add_input(f.name, 1, {"1", f.type.image.color_space == coreml::ColorSpace::kGrayscale || f.type.image.color_space == coreml::ColorSpace::kGrayscaleFloat16 ? "1" : "3",
                              std::to_string(f.type.image.height), std::to_string(f.type.image.width)});
      g.metadata("coreml.input." + f.name, "image " + color_name(f.type.image.color_space));
      m.exact_.insert(f.name);
      break;
    case FeatureKind::kMultiArray: {
      v.dtype = e.dtype(parameter ? parameter->type.dtype : feature_dtype(f.type.array));
      Dims dims = parameter ? parameter->type.dims : f.type.array.shape;
      if (classic) {
        int64_t n = 1;
        for (int64_t d : dims) n *= d;
        g.add_input(f.name, onnx_dtype(v.dtype), {"N", f.type.array.shape.empty() ? "" : std::to_string(n)});
      } else {
        v.rank = static_cast<int64_t>(dims.size());
        g.add_input(f.name, onnx_dtype(v.dtype), m.text(dims, f.name));
        m.exact_.insert(f.name);
      }
      break;
    }
    case FeatureKind::kDictionary:
      v.map = true;
      g.add_input(f.name, 1, {}, f.type.element != FeatureKind::kInt64, f.type.element == FeatureKind::kInt64);
      break;
    default:
      m.problems_.push_back({"input", "a feature of kind " + std::string(coreml::feature_kind_name(f.type.kind)), {f.name}, false});
  }
  m.features[f.name] = v;
}

bool all_classic(const coreml::Model& model, int depth = 0) {
  if (!coreml::is_pipeline(model.kind())) return exports_classic(model.kind());
  for (size_t i = 0; depth < kMaxNesting && i < model.child_count(); ++i)
    if (!all_classic(model.child(i), depth + 1)) return false;
  return true;
}

}  // namespace

void classifier_outputs(Emit& g, const coreml::Description& d, const coreml::Model::ClassLabels& labels, const S& scores, const S& probabilities,
                        std::map<std::string, FeatureValue>& features) {
  std::string label = d.predicted_feature_name, dictionary = d.predicted_probabilities_name;
  for (const auto& f : d.outputs) {
    if (label.empty() && (f.type.kind == FeatureKind::kInt64 || f.type.kind == FeatureKind::kString)) label = f.name;
    if (dictionary.empty() && f.type.kind == FeatureKind::kDictionary) dictionary = f.name;
  }
  S best = g.node("ArgMax", {scores}, {{"axis", 1}, {"keepdims", 0}});
  DType t = labels.integers ? DType::kI64 : DType::kString;
  S list = labels.integers ? g.ints(labels.ints) : g.strings(labels.strings);
  if (!label.empty()) features[label] = {g.node("Gather", {list, best}), t, 1};
  if (dictionary.empty()) return;
  features[dictionary] = {probabilities, DType::kF32, 2};
  nlohmann::json names = nlohmann::json::array();
  for (const std::string& s : labels.strings) names.push_back(s);
  for (int64_t i : labels.ints) names.push_back(i);
  g.metadata("coreml.classes." + dictionary, names.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

Result<Exported> export_onnx(const coreml::Model& model, const ir::Program* program, const std::vector<std::unique_ptr<ir::Program>>& stages, const Options& options) {
  if (options.opset < 13 || options.opset > 24) return usage_error("opset " + std::to_string(options.opset) + " is not between 13 and 24");
  std::vector<Unsupported> problems;
  std::vector<std::string> warnings;
  try {
    Emit g(options);
    Model m(g, problems);
    const coreml::Description& d = model.description();
    auto interface = d.function(options.function);
    if (!interface) return usage_error("the model has no function \"" + options.function + "\"");
    bool classic = all_classic(model), lone_network = coreml::is_neural_network(model.kind());
    const ir::Function* function = nullptr;
    if (program) {
      function = program->find(interface->name);
      if (function == nullptr && !program->functions.empty()) function = program->functions[0].get();
    }
    for (const auto& f : interface->inputs) {
      if (lone_network) continue;  // with the lift's extents
      declare_input(m, f, function, classic);
    }
    for (const auto& f : interface->outputs) g.reserve(f.name);
    Status status = m.stage(model, program, &stages, true, 0);
    if (!status) {
      if (status.error().code != Code::kUnsupported) return std::move(status.error());
      problems.push_back({model.kind_name(), status.error().message, {model.kind_name()}, false});
    }
    if (problems.empty()) {
      for (const auto& f : interface->outputs) {
        auto it = m.features.find(f.name);
        if (it == m.features.end()) {
          problems.push_back({"output", "nothing computes it", {f.name}, false});
          continue;
        }
        const FeatureValue& v = it->second;
        g.alias(v.name, f.name);
        std::vector<std::string> dims(static_cast<size_t>(v.rank));
        if (auto known = m.dims_.find(f.name); known != m.dims_.end()) dims = m.text(known->second, f.name);
        g.add_output(f.name, onnx_dtype(v.dtype), dims);
      }
    }
    if (problems.empty()) {
      std::vector<std::pair<std::string, std::string>> meta;
      const coreml::Metadata& own = model.metadata();
      if (!own.author.empty()) meta.emplace_back("author", own.author);
      if (!own.license.empty()) meta.emplace_back("license", own.license);
      if (!own.version.empty()) meta.emplace_back("version", own.version);
      for (const auto& [key, value] : own.user_defined) meta.emplace_back(key, value);
      MLT_ASSIGN(Exported out, g.finish("model", own.short_description, meta));
      out.warnings = std::move(warnings);
      return out;
    }
  } catch (const LowerError& failure) {
    if (failure.error.code != Code::kUnsupported) return failure.error;
    problems.push_back({model.kind_name(), failure.error.message, {model.kind_name()}, false});
  }
  std::string list = describe(problems);
  if (!list.empty()) list.pop_back();
  return unsupported_error("the model cannot be written as ONNX:\n" + list);
}

}  // namespace mlt::foreign::to_onnx
