#include "lib/convert/states.h"

#include <algorithm>

#include "lib/ops/builder.h"

namespace mlt::foreign {
namespace {

bool same_name(const std::string& name, const std::string& given) { return name == given || name == ir::sanitized_identifier(given); }

template <typename List, typename Name>
std::string names_of(const List& list, Name name) {
  std::string text;
  for (const auto& v : list) text += (text.empty() ? "" : ", ") + name(v);
  return text;
}

}  // namespace

Status make_states(Converted& c, const std::vector<std::pair<std::string, std::string>>& pairs, ops::Opset opset) {
  if (pairs.empty()) return {};
  if (opset < ops::Opset::kCoreML8) return usage_error("states need iOS18", "use --target iOS18 or newer");
  ir::Function& main = *c.program->functions[0];
  ir::Block& body = *main.body;
  for (const auto& [input_name, output_name] : pairs) {
    auto in = std::find_if(main.inputs.begin(), main.inputs.end(), [&, &wanted = input_name](const auto& v) { return same_name(v->name, wanted); });
    if (in == main.inputs.end()) return usage_error("the model has no input \"" + input_name + "\"", "its inputs are: " + names_of(main.inputs, [](const auto& v) { return v->name; }));
    auto out = std::find_if(body.outputs.begin(), body.outputs.end(), [&, &wanted = output_name](const ir::Value* v) { return same_name(v->name, wanted); });
    if (out == body.outputs.end()) return usage_error("the model has no output \"" + output_name + "\"", "its outputs are: " + names_of(body.outputs, [](const ir::Value* v) { return v->name; }));
    ir::Value *past = in->get(), *present = *out;
    const ir::Type type = past->type;
    std::string pair = "state \"" + past->name + "\"";
    if (type.is_state()) return usage_error(pair + " is given twice");
    if (!type.is_tensor() || !is_float(type.dtype) || !is_float(present->type.dtype)) return unsupported_error(pair + ": only arrays of floats can be states");
    if (!type.is_static() || !present->type.is_static())
      return unsupported_error(pair + ": its extents " + dims_text(type.dims) + " are open, and a state keeps its size", "fix them with --input " + input_name + ",shape=...");
    if (type.dims != present->type.dims)
      return unsupported_error(pair + " has extents " + dims_text(type.dims) + ", output \"" + present->name + "\" " + dims_text(present->type.dims) + ": a state keeps its size",
                               "export the model with a cache of fixed length");
    auto input_feature = std::find_if(c.inputs.begin(), c.inputs.end(), [&](const auto& f) { return f.name == past->name; });
    auto output_feature = std::find_if(c.outputs.begin(), c.outputs.end(), [&](const auto& f) { return f.name == present->name; });
    if (input_feature == c.inputs.end() || output_feature == c.outputs.end() || input_feature->type.kind != coreml::FeatureKind::kMultiArray) return unsupported_error(pair + ": only arrays can be states");
    // Reads once at the beginning.
    ops::OpBuilder begin(main, opset);
    begin.set_position(0);
    past->type = ir::Type::state(ir::Type::tensor(DType::kF16, type.dims));
    ir::Value* held = begin.op("read_state", {{"input", past}}, past->name + "_read");
    MLT_TRY(begin.status());
    ir::Value* full = type.dtype == DType::kF16 ? held : begin.op("cast", {{"x", held}, {"dtype", begin.string(dtype_name(type.dtype))}}, past->name + "_full");
    MLT_TRY(begin.status());
    ir::Op* read = held->producer;
    main.replace_all_uses({{past, full}});
    read->set("input", past);
    if (present == past) present = full;
    // Writes once at the end.
    ops::OpBuilder end(main, opset, &body);
    ir::Value* half = present->type.dtype == DType::kF16 ? present : end.op("cast", {{"x", present}, {"dtype", end.string("fp16")}}, present->name + "_half");
    MLT_TRY(end.status());
    end.ops("write_state", {{"input", past}, {"data", half}});
    MLT_TRY(end.status());
    coreml::FeatureDescription state = *input_feature;
    state.type = coreml::FeatureType::state(coreml::ArrayDataType::kFloat16, type.dims);
    c.states.push_back(std::move(state));
    c.inputs.erase(input_feature);
    c.outputs.erase(output_feature);
    body.outputs.erase(std::find_if(body.outputs.begin(), body.outputs.end(), [&, &wanted = output_name](const ir::Value* v) { return v == present || same_name(v->name, wanted); }));
  }
  if (body.outputs.empty()) return unsupported_error("a model without outputs beside its states", "leave one of them an output");
  return {};
}

}  // namespace mlt::foreign
