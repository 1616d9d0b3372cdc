#include "lib/container/program.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "lib/coreml/mil_read.h"
#include "lib/coreml/mil_write.h"
#include "lib/ir/text.h"

namespace mlt {
namespace {

using coreml::FeatureDescription;
using coreml::FeatureType;

int spec_version_of(const ir::Program& program, std::string_view text_version) {
  constexpr std::pair<std::string_view, int> kOpsets[] = {{"CoreML5", 6}, {"CoreML6", 7}, {"CoreML7", 8}, {"CoreML8", 9}, {"CoreML9", 10}};
  int version = text_version == "1.3" ? 9 : 6;
  for (const auto& function : program.functions)
    for (const auto& [opset, spec] : kOpsets)
      if (function->opset == opset) version = std::max(version, spec);
  return version;
}

// The value of a key in FlexibleShapeInformation's member `name` ("RangeDims"), or null.
const ir::Literal* flexible(const ir::Function& function, std::string_view name, std::string_view key) {
  auto it = function.attributes.find("FlexibleShapeInformation");
  if (it == function.attributes.end()) return nullptr;
  for (const ir::Literal& member : it->second->items) {
    if (member.items.size() != 2 || member.items[0].text() != name) continue;
    const auto& entries = member.items[1].items;
    for (size_t i = 0; i + 1 < entries.size(); i += 2)
      if (entries[i].text() == key) return &entries[i + 1];
  }
  return nullptr;
}

// Shape and flexibility of one value. Extents that nothing describes range from 1 up, without a bound.
void describe_shape(const ir::Function& function, const ir::Value& value, coreml::ArrayType& array) {
  const ir::Type& type = value.type.held();
  if (const ir::Literal* shape = flexible(function, "DefaultShapes", value.name); shape != nullptr && shape->tensor.valid())
    array.shape = to_ints(shape->tensor);
  else
    for (int64_t d : type.dims) array.shape.push_back(d < 0 ? 1 : d);
  if (type.is_static()) return;
  array.flexibility = coreml::Flexibility::kRange;
  if (const ir::Literal* ranges = flexible(function, "RangeDims", value.name)) {
    for (const ir::Literal& range : ranges->items) {
      if (!range.tensor.valid() || range.tensor.size() != 2) continue;
      std::vector<int64_t> bounds = to_ints(range.tensor);
      array.shape_range.push_back({static_cast<uint64_t>(std::max<int64_t>(bounds[0], 0)), bounds[1]});
    }
    if (array.shape_range.size() == type.dims.size()) return;
    array.shape_range.clear();
  }
  for (int64_t d : type.dims) array.shape_range.push_back({static_cast<uint64_t>(d < 0 ? 1 : d), d < 0 ? -1 : d});
}

std::optional<FeatureDescription> feature_of(const ir::Function& function, const ir::Value& value, bool output) {
  FeatureDescription feature;
  feature.name = value.name;
  using Kind = ir::Type::Kind;
  const ir::Type& type = value.type.held();
  if (type.kind == Kind::kDict && type.params[0].is_tensor()) {
    feature.type = FeatureType::dictionary(type.params[0].dtype == DType::kString ? coreml::FeatureKind::kString : coreml::FeatureKind::kInt64);
    return feature;
  }
  if (!type.is_tensor()) return std::nullopt;
  if (type.dtype == DType::kString && type.dims.empty()) {
    feature.type = FeatureType::string();
    return feature;
  }
  if (type.dtype == DType::kI64 && type.dims.empty()) {
    feature.type = FeatureType::int64();
    return feature;
  }
  auto element = coreml::to_array_data_type(type.dtype);
  if (!element) return std::nullopt;
  feature.type = FeatureType::multi_array(*element, {});
  // An output of open shape states none.
  if (!output || type.is_static()) describe_shape(function, value, feature.type.array);
  if (value.type.is_state()) feature.type.kind = coreml::FeatureKind::kState;
  return feature;
}

coreml::FunctionDescription interface_of(const ir::Function& function, std::string* refused) {
  coreml::FunctionDescription out;
  out.name = function.name;
  auto refuse = [&](const ir::Value& value) {
    std::string text = fmt::format("'{}' ({})", value.name, value.type.to_string());
    if (refused->find(text) == refused->npos) *refused += (refused->empty() ? "" : ", ") + text;
  };
  for (const auto& input : function.inputs) {
    auto feature = feature_of(function, *input, false);
    if (!feature) refuse(*input);
    else (input->type.is_state() ? out.states : out.inputs).push_back(std::move(*feature));
  }
  for (const ir::Value* output : function.body->outputs) {
    auto feature = feature_of(function, *output, true);
    if (!feature) refuse(*output);
    else out.outputs.push_back(std::move(*feature));
  }
  return out;
}

}  // namespace

std::string_view mil_text_version(std::string_view text) {
  size_t open = text.find("program(");
  if (open == text.npos) return {};
  text.remove_prefix(open + 8);
  return text.substr(0, std::min(text.find(')'), text.size()));
}

Result<std::unique_ptr<ir::Program>> load_program(const OpenedModel& opened) {
  if (opened.mil_text) return ir::parse(opened.mil_text->text(), coreml::blob_resolver(opened.weights.get())).in(opened.origin);
  if (opened.model.kind() == coreml::ModelKind::kMlProgram && opened.compiled)
    return input_error("the compiled model has no model.mil").in_path(opened.origin);
  return coreml::load_program(opened.model, opened.weights.get()).in(opened.origin);
}

Result<std::vector<std::unique_ptr<ir::Program>>> load_programs(const OpenedModel& opened) {
  std::vector<std::unique_ptr<ir::Program>> out;
  if (opened.compiled && !opened.compiled->children.empty()) {
    for (size_t i = 0; i < opened.compiled->children.size(); ++i) {
      const CompiledModel& child = opened.compiled->children[i];
      out.emplace_back();
      if (!child.mil_text) continue;
      TreeWeights weights(child.tree);
      MLT_ASSIGN(out.back(), ir::parse(child.mil_text->text(), coreml::blob_resolver(&weights)).in(fmt::format("stage {}", i)).in(opened.origin));
    }
    return out;
  }
  if (!opened.mil_text && coreml::is_pipeline(opened.model.kind())) {
    for (size_t i = 0; i < opened.model.child_count(); ++i) {
      coreml::Model child = opened.model.child(i);
      out.emplace_back();
      if (child.kind() != coreml::ModelKind::kMlProgram) continue;
      MLT_ASSIGN(out.back(), coreml::load_program(child, opened.weights.get()).in(fmt::format("stage {}", i)).in(opened.origin));
    }
    return out;
  }
  out.emplace_back();
  if (opened.mil_text || (opened.model.kind() == coreml::ModelKind::kMlProgram && !opened.compiled)) {
    MLT_ASSIGN(out.back(), load_program(opened));
  }
  return out;
}

Result<coreml::Model> model_of_program(const ir::Program& program, std::string_view text_version) {
  if (program.functions.empty()) return input_error("a program without a function");
  const ir::Function* main = program.find("main");
  if (main == nullptr) main = program.functions[0].get();
  std::string refused;
  coreml::Description description;
  if (program.functions.size() == 1) {
    coreml::FunctionDescription interface = interface_of(*main, &refused);
    description.inputs = std::move(interface.inputs);
    description.outputs = std::move(interface.outputs);
    description.states = std::move(interface.states);
  } else {
    for (const auto& function : program.functions) description.functions.push_back(interface_of(*function, &refused));
    description.default_function_name = main->name;
  }
  if (!refused.empty()) return unsupported_error("no feature type can hold " + refused);
  coreml::Model model;
  model.set_spec_version(spec_version_of(program, text_version));
  model.set_description(std::move(description));
  MLT_TRY(coreml::store_program(model, program, nullptr, {.keep_file_references = true}));
  return model;
}

Status complete_mil_text(OpenedModel& opened) {
  if (opened.kind != FileKind::kMilText || !opened.mil_text) return {};
  MLT_ASSIGN(auto program, load_program(opened));
  MLT_ASSIGN(opened.model, model_of_program(*program, mil_text_version(opened.mil_text->text())).in(opened.origin));
  return {};
}

std::vector<std::string> weight_files(const ir::Program& program) {
  std::set<std::string> files;
  auto add = [&](const ir::Literal* literal) {
    if (literal != nullptr && literal->blob) files.insert(literal->blob->file);
  };
  for (const auto& function : program.functions)
    function->for_each_op([&](const ir::Op& op) {
      for (const auto& [key, value] : op.attributes) add(value.get());
      for (const ir::Arg& arg : op.args)
        for (const ir::Operand& operand : arg.operands) add(operand.literal.get());
    });
  return {files.begin(), files.end()};
}

}  // namespace mlt
