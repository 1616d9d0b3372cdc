#include "lib/runtime/predictor.h"

#include "lib/coreml/classic.h"
#include "lib/coreml/mil_read.h"
#include "lib/ir/text.h"
#include "lib/runtime/network.h"
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
                                                const std::string& name, const PredictOptions& options, const Predictor* parent = nullptr) {
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
  return make_program_predictor(std::move(interface), options, parent);
}

Result<std::unique_ptr<Predictor>> create_for(const coreml::Model& model, const std::shared_ptr<coreml::WeightSource>& weights, const PredictOptions& options,
                                              const Predictor* parent = nullptr);

// A stage of a pipeline that runs on the executor.
class StageAdapter : public Estimator {
 public:
  explicit StageAdapter(std::unique_ptr<Predictor> predictor) : predictor_(std::move(predictor)) {}
  Result<FeatureMap> predict(const FeatureMap& inputs) const override { return predictor_->predict(inputs); }
  Predictor* predictor() const { return predictor_.get(); }

 private:
  std::unique_ptr<Predictor> predictor_;
};

// Trees, linear models, feature engineering and pipelines; stages that are networks or programs are predictors again.
class ClassicPredictor : public Predictor {
 public:
  ClassicPredictor(const PredictOptions& options, const Predictor* parent) : options_(options), parent_(parent) {}

  Status prepare(const coreml::Model& model, const std::shared_ptr<coreml::WeightSource>& weights) {
    description_ = *model.description().function();
    auto factory = [&](const coreml::Model& stage) -> Result<std::unique_ptr<Estimator>> {
      MLT_ASSIGN(auto predictor, create_for(stage, weights, options_, this));
      auto adapter = std::make_unique<StageAdapter>(std::move(predictor));
      stages_.push_back(adapter->predictor());
      return std::unique_ptr<Estimator>(std::move(adapter));
    };
    MLT_ASSIGN(estimator_, coreml::make_estimator(model, factory));
    return {};
  }

  Result<FeatureMap> predict(const FeatureMap& given, StateTensors*) override {
    FeatureMap inputs = options_.stage_features;
    for (const auto& feature : description_.inputs) {
      auto it = given.find(feature.name);
      if (it != given.end() && !std::holds_alternative<std::monostate>(it->second)) {
        MLT_ASSIGN(inputs[feature.name], conform_feature(it->second, feature, options_.fit));
        continue;
      }
      // With a stage's features supplied, what only that stage reads may be left out; a stage that does need the
      // feature says so.
      if (!options_.stage_features.empty()) continue;
      MLT_ASSIGN(std::optional<FeatureValue> fallback, missing_feature(feature));
      if (fallback) inputs[feature.name] = std::move(*fallback);
    }
    return estimator_->predict(inputs);
  }

  std::vector<Executor*> executors() override {
    std::vector<Executor*> all;
    for (Predictor* stage : stages_)
      for (Executor* executor : stage->executors()) all.push_back(executor);
    return all;
  }
  const StepObserver* observer() const override { return observer_ ? &observer_ : parent_ ? parent_->observer() : nullptr; }

 private:
  PredictOptions options_;
  const Predictor* parent_;
  std::vector<Predictor*> stages_;
  std::unique_ptr<Estimator> estimator_;
};

Result<std::unique_ptr<Predictor>> create_for(const coreml::Model& model, const std::shared_ptr<coreml::WeightSource>& weights, const PredictOptions& options,
                                              const Predictor* parent) {
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
    return from_program(std::move(program), std::move(*description), name, options, parent);
  }
  if (coreml::is_neural_network(model.kind())) return make_network_predictor(model, options, parent);
  auto predictor = std::make_unique<ClassicPredictor>(options, parent);
  MLT_TRY(predictor->prepare(model, weights));
  return std::unique_ptr<Predictor>(std::move(predictor));
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
