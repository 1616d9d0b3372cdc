#include "lib/runtime/predictor.h"

#include "lib/coreml/mil_read.h"
#include "lib/ir/text.h"
#include "lib/runtime/program_predictor.h"

namespace mlt {
namespace {

// The interface that a bare program (MIL text) shows: arrays in, arrays out.
Result<coreml::FunctionDescription> describe(const ir::Function& function) {
  coreml::FunctionDescription description;
  description.name = function.name;
  auto feature = [](const ir::Value& value) {
    coreml::FeatureDescription f;
    f.name = value.name;
    const ir::Type& type = value.type.held();
    if (type.is_tensor()) {
      bool fixed = type.is_static();
      f.type = coreml::FeatureType::multi_array(coreml::to_array_data_type(type.dtype).value_or(coreml::ArrayDataType::kFloat32), fixed ? type.dims : Dims{});
      if (type.dtype == DType::kBool) f.type.array.data_type = coreml::ArrayDataType::kInt32;
    }
    return f;
  };
  for (const auto& input : function.inputs) (input->type.is_state() ? description.states : description.inputs).push_back(feature(*input));
  for (const ir::Value* output : function.body->outputs) description.outputs.push_back(feature(*output));
  return description;
}

Result<std::unique_ptr<Predictor>> from_program(std::shared_ptr<const ir::Program> program, coreml::FunctionDescription description,
                                                const std::string& name, const PredictOptions& options) {
  ProgramInterface interface;
  interface.function = program->find(name);
  if (interface.function == nullptr && program->functions.size() == 1) interface.function = program->functions[0].get();
  if (interface.function == nullptr) {
    std::string names;
    for (const auto& f : program->functions) names += (names.empty() ? "" : ", ") + f->name;
    return usage_error("the model has no function \"" + name + "\"", "its functions are: " + names);
  }
  if (description.inputs.empty() && description.outputs.empty()) {
    MLT_ASSIGN(description, describe(*interface.function));
  }
  interface.program = std::move(program);
  interface.description = std::move(description);
  return make_program_predictor(std::move(interface), options);
}

Result<std::unique_ptr<Predictor>> create_for(const coreml::Model& model, const std::shared_ptr<coreml::WeightSource>& weights, const PredictOptions& options) {
  using coreml::ModelKind;
  if (model.kind() == ModelKind::kMlProgram) {
    auto description = model.description().function(options.function);
    if (!description) {
      std::string names;
      for (const std::string& n : model.description().function_names()) names += (names.empty() ? "" : ", ") + n;
      return usage_error("the model has no function \"" + options.function + "\"", "its functions are: " + names);
    }
    MLT_ASSIGN(std::shared_ptr<const ir::Program> program, coreml::load_program(model, weights.get()));
    std::string name = description->name;
    return from_program(std::move(program), std::move(*description), name, options);
  }
  return unsupported_error("models of kind " + model.kind_name() + " cannot be run");
}

}  // namespace

Result<std::unique_ptr<Predictor>> Predictor::create(const OpenedModel& model, const PredictOptions& options) {
  auto create = [&]() -> Result<std::unique_ptr<Predictor>> {
    if (model.mil_text && (model.kind == FileKind::kMilText || model.kind == FileKind::kCompiled)) {
      MLT_ASSIGN(std::shared_ptr<const ir::Program> program, ir::parse(model.mil_text->text(), coreml::blob_resolver(model.weights.get())));
      coreml::FunctionDescription description;
      const coreml::Model& described = model.compiled ? model.compiled->model : model.model;
      std::string name = options.function;
      if (model.kind == FileKind::kCompiled) {
        auto found = described.description().function(options.function);
        if (!found) return usage_error("the model has no function \"" + options.function + "\"");
        description = std::move(*found);
        name = description.name;
      } else if (name.empty()) {
        name = "main";
      }
      return from_program(std::move(program), std::move(description), name, options);
    }
    const coreml::Model& described = model.compiled ? model.compiled->model : model.model;
    return create_for(described, model.weights, options);
  };
  auto made = create();
  if (!made) return std::move(made).error().in_path(model.origin);
  return made;
}

}  // namespace mlt
