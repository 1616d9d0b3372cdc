#include "lib/convert/network.h"

#include <algorithm>

#include "lib/ops/builder.h"
#include "lib/ops/call.h"

namespace mlt::foreign {
namespace {

// Whether every op exists in the opset with the parameters and types it is used with; if not, why.
std::vector<Unsupported> misfits(const ir::Function& function, ops::Opset opset) {
  std::vector<Unsupported> list;
  function.for_each_op([&](const ir::Op& op) {
    if (op.is_const()) return;
    std::string reason;
    const ops::OpInfo* info = ops::find_op(op.kind, opset);
    if (info == nullptr) {
      reason = "not in " + std::string(ops::opset_token(opset));
    } else if (!info->def->core) {
      reason = "ML programs have no such operation";
    } else if (auto call = ops::bind_call(op, opset, {}); !call) {
      reason = call.error().message;
    } else if (Status fits = call->check_bindings(); !fits) {
      reason = fits.error().message;
    }
    if (!reason.empty()) list.push_back({op.kind, reason, {std::string(op.name())}, true});
  });
  return list;
}

void rename(ir::Function& main, ir::Value* value, const std::string& name) {
  if (value->name == name) return;
  main.for_each_op([&](ir::Op& op) {
    for (auto& v : op.outputs)
      if (v->name == name && v.get() != value) v->name = main.unique_name(name + "_inner");
  });
  value->name = name;
  if (value->producer && value->producer->outputs.size() == 1) value->producer->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(name));
}

}  // namespace

Result<std::map<std::string, Dims>> network_dims(const Request& request) {
  std::map<std::string, Dims> all;
  for (const InputOption& option : request.inputs) {
    if (!option.shape || option.image || option.dtype || option.value) return usage_error("--input " + option.name + ": a network's input takes shape= only");
    Dims dims;
    for (const Extent& e : *option.shape) {
      if (!e.fixed()) return usage_error("--input " + option.name + ": one extent for each axis of a network's input");
      dims.push_back(e.lower);
    }
    all[option.name] = std::move(dims);
  }
  return all;
}

Result<coreml::LiftedNetwork> lifted_network(const coreml::Model& model, const std::map<std::string, Dims>& dims) {
  auto net = coreml::lift_neural_network(model, {dims});
  if (net || net.error().code != Code::kInput || !dims.empty()) return net;
  for (const coreml::FeatureDescription& f : model.description().inputs) {
    if (f.type.kind != coreml::FeatureKind::kMultiArray || f.type.optional || f.type.array.shape.size() != 1) continue;
    Error error = std::move(net.error());
    error.code = Code::kUnsupported;
    error.hint = "input \"" + f.name + "\" may be a sequence: name its extents, as --input " + f.name + ",shape=40x1x" + std::to_string(f.type.array.shape[0]);
    return error;
  }
  return net;
}

Result<Conversion> convert_network(const coreml::Model& model, Request& request) {
  const coreml::Description& d = model.description();
  MLT_ASSIGN(auto dims, network_dims(request));
  MLT_ASSIGN(coreml::LiftedNetwork net, lifted_network(model, dims));
  Conversion out;
  Converted& c = out.converted;
  c.program = ir::clone(*net.program);
  c.source.format = "coreml";
  ir::Function& main = *c.program->functions[0];
  main.erase_dead_ops();
  // The oldest opset that has all of it.
  constexpr ops::Opset kOpsets[] = {ops::Opset::kCoreML5, ops::Opset::kCoreML6, ops::Opset::kCoreML7, ops::Opset::kCoreML8, ops::Opset::kCoreML9};
  for (ops::Opset opset : kOpsets) {
    if (request.target && *request.target != opset) continue;
    if (!request.target && request.float16_io && opset < ops::Opset::kCoreML6) continue;
    out.opset = opset;
    c.unsupported = misfits(main, opset);
    if (c.unsupported.empty()) break;
  }
  if (!c.unsupported.empty()) {
    std::string list = describe(c.unsupported);
    list.pop_back();
    return unsupported_error("the network has no ML program:\n" + list);
  }
  main.opset = std::string(ops::opset_token(out.opset));

  auto legal = [&](const std::string& name, const char* what) {
    std::string clean = ir::sanitized_identifier(name);
    if (clean != name) c.warnings.push_back(std::string(what) + " \"" + name + "\" is called \"" + clean + "\" now");
    return clean;
  };
  for (const coreml::LiftedInput& in : net.inputs) {
    ir::Value* value = main.find_input(in.value);
    const coreml::FeatureDescription* own = coreml::find_feature(d.inputs, in.feature);
    if (value == nullptr || own == nullptr) return input_error("the network has an unknown input \"" + in.feature + "\"");
    coreml::FeatureDescription f;
    f.name = legal(in.feature, "input");
    f.doc = own->doc;
    rename(main, value, f.name);
    if (in.image) {
      f.type = coreml::FeatureType::image_of(in.dims[3], in.dims[2], in.color_space);
      if (own->type.image.flexibility != coreml::Flexibility::kFixed) c.warnings.push_back("input \"" + f.name + "\" takes images of its default size only");
    } else {
      f.type = coreml::FeatureType::multi_array(coreml::ArrayDataType::kFloat32, in.dims);
      if (own->type.array.flexibility != coreml::Flexibility::kFixed) c.warnings.push_back("input \"" + f.name + "\" takes its default extents only");
    }
    if (in.optional) c.warnings.push_back("input \"" + f.name + "\" is no longer optional: give zeros");
    if (in.dims.empty()) return unsupported_error("input \"" + f.name + "\" is a scalar, which ML programs do not take");
    c.inputs.push_back(std::move(f));
  }
  // Outputs that are features stay, in the order of the description; the probabilities of a classifier too.
  std::vector<ir::Value*> outputs;
  auto find_output = [&](const std::string& name) -> ir::Value* {
    for (ir::Value* v : main.body->outputs)
      if (v->name == name) return v;
    return nullptr;
  };
  ir::Value* probabilities = net.labels.present ? find_output(net.probabilities) : nullptr;
  ops::OpBuilder b(main, out.opset);
  for (const coreml::LiftedOutput& o : net.outputs) {
    ir::Value* value = find_output(o.value);
    const coreml::FeatureDescription* own = coreml::find_feature(d.outputs, o.feature);
    if (value == nullptr || own == nullptr) return input_error("the network has an unknown output \"" + o.feature + "\"");
    // A value can be one output only, and an input none.
    if (value->producer == nullptr || std::find(outputs.begin(), outputs.end(), value) != outputs.end() || value == probabilities || value->producer->is_const()) {
      value = b.op("identity", {{"x", value}});
      MLT_TRY(b.status());
    }
    coreml::FeatureDescription f;
    f.name = legal(o.feature, "output");
    f.doc = own->doc;
    rename(main, value, f.name);
    f.type = o.image ? coreml::FeatureType::image_of(value->type.dims.at(3), value->type.dims.at(2), o.color_space)
                     : coreml::FeatureType::multi_array(coreml::ArrayDataType::kFloat32, value->type.dims);
    outputs.push_back(value);
    c.outputs.push_back(std::move(f));
  }
  if (probabilities != nullptr) {
    if (request.labels) return usage_error("the network has class labels of its own");
    if (probabilities->producer == nullptr) return unsupported_error("a classifier whose probabilities are an input");
    rename(main, probabilities, main.unique_name("probabilities"));
    outputs.push_back(probabilities);
    Labels labels;
    labels.strings = net.labels.strings;
    labels.ints = net.labels.ints;
    labels.probabilities = probabilities->name;
    auto named = [&](const std::string& wanted, coreml::FeatureKind kind) {
      if (!wanted.empty()) return wanted;
      for (const auto& f : d.outputs)
        if (f.type.kind == kind || (kind == coreml::FeatureKind::kString && f.type.kind == coreml::FeatureKind::kInt64)) return f.name;
      return std::string();
    };
    labels.label_name = legal(named(d.predicted_feature_name, coreml::FeatureKind::kString), "output");
    labels.dictionary_name = legal(named(d.predicted_probabilities_name, coreml::FeatureKind::kDictionary), "output");
    request.labels = std::move(labels);
  }
  main.body->outputs = outputs;
  main.erase_dead_ops();
  coreml::Metadata own = d.metadata;
  for (const auto& [key, value] : request.metadata.user_defined) own.set(key, value);
  if (!request.metadata.author.empty()) own.author = request.metadata.author;
  if (!request.metadata.license.empty()) own.license = request.metadata.license;
  if (!request.metadata.version.empty()) own.version = request.metadata.version;
  if (!request.metadata.short_description.empty()) own.short_description = request.metadata.short_description;
  request.metadata = std::move(own);
  MLT_TRY(finish_conversion(out, request));
  return out;
}

}  // namespace mlt::foreign
