#include "lib/runtime/predictor.h"

#include <deque>

#include "lib/container/program.h"
#include "lib/coreml/classic.h"
#include "lib/runtime/network.h"
#include "lib/runtime/program_predictor.h"

namespace mlt {
namespace {

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
  interface.program = std::move(program);
  interface.description = std::move(description);
  return make_program_predictor(std::move(interface), options, parent);
}

// Programs of a pipeline's stages that are ML programs, in order; each is taken once.
using StagePrograms = std::deque<std::shared_ptr<const ir::Program>>;

Result<std::unique_ptr<Predictor>> create_for(const coreml::Model& model, StagePrograms& programs, const PredictOptions& options,
                                              const Predictor* parent = nullptr);

Result<coreml::FunctionDescription> described_function(const coreml::Model& model, const std::string& name) {
  if (auto description = model.description().function(name)) return std::move(*description);
  std::string names;
  for (const std::string& n : model.description().function_names()) names += (names.empty() ? "" : ", ") + n;
  return usage_error("the model has no function \"" + name + "\"", "its functions are: " + names);
}

// A stage of a pipeline that runs on the executor. `state` is the pipeline's during a prediction: every stage finds its
// own in it, by name.
class StageAdapter : public Estimator {
 public:
  StageAdapter(std::unique_ptr<Predictor> predictor, StateTensors* const* state) : predictor_(std::move(predictor)), state_(state) {}
  Result<FeatureMap> predict(const FeatureMap& inputs) const override { return predictor_->predict(inputs, *state_); }
  Predictor* predictor() const { return predictor_.get(); }

 private:
  std::unique_ptr<Predictor> predictor_;
  StateTensors* const* state_;
};

// Trees, linear models, feature engineering and pipelines; stages that are networks or programs are predictors again.
class ClassicPredictor : public Predictor {
 public:
  ClassicPredictor(const PredictOptions& options, const Predictor* parent) : options_(options), parent_(parent) {}

  Status prepare(const coreml::Model& model, StagePrograms& programs) {
    description_ = *model.description().function();
    auto factory = [&](const coreml::Model& stage) -> Result<std::unique_ptr<Estimator>> {
      MLT_ASSIGN(auto predictor, create_for(stage, programs, options_, this));
      auto adapter = std::make_unique<StageAdapter>(std::move(predictor), &state_);
      stages_.push_back(adapter->predictor());
      return std::unique_ptr<Estimator>(std::move(adapter));
    };
    MLT_ASSIGN(estimator_, coreml::make_estimator(model, factory));
    std::map<std::string, int> names;
    for (Executor* executor : executors())
      for (const auto& [name, type] : executor->state_types())
        if (++names[name] == 2) return unsupported_error("two stages of the pipeline keep a state \"" + name + "\"");
    if (options_.stage_features.empty()) rows_ = plan_rows(description_.inputs);
    if (!estimator_->takes_rows(rows_.width)) rows_ = {};
    return {};
  }

  const RowPlan* row_plan() const override { return rows_.width > 0 ? &rows_ : nullptr; }
  Result<FeatureBatch> predict_rows(const Rows& rows) override { return estimator_->predict_rows(rows); }

  Result<StateTensors> initial_state() const override {
    StateTensors all;
    for (const Predictor* stage : stages_) {
      MLT_ASSIGN(StateTensors states, stage->initial_state());
      all.merge(states);
    }
    return all;
  }

  Result<FeatureMap> predict(const FeatureMap& given, StateTensors* state) override {
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
    state_ = state;
    auto result = estimator_->predict(inputs);
    state_ = nullptr;
    return result;
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
  StateTensors* state_ = nullptr;  // during predict()
  std::unique_ptr<Estimator> estimator_;
  RowPlan rows_;  // width 0: record by record
};

Result<std::unique_ptr<Predictor>> create_for(const coreml::Model& model, StagePrograms& programs, const PredictOptions& options,
                                              const Predictor* parent) {
  if (model.kind() == coreml::ModelKind::kMlProgram) {
    if (programs.empty() || programs.front() == nullptr) return input_error("a stage is an ML program without a program");
    std::shared_ptr<const ir::Program> program = std::move(programs.front());
    programs.pop_front();
    MLT_ASSIGN(coreml::FunctionDescription description, described_function(model, options.function));
    std::string name = description.name;
    return from_program(std::move(program), std::move(description), name, options, parent);
  }
  if (coreml::is_neural_network(model.kind())) return make_network_predictor(model, options, parent);
  auto predictor = std::make_unique<ClassicPredictor>(options, parent);
  MLT_TRY(predictor->prepare(model, programs));
  return std::unique_ptr<Predictor>(std::move(predictor));
}

Result<std::unique_ptr<Predictor>> create_from(const OpenedModel& model, const PredictOptions& options) {
  StagePrograms programs;
  if (model.kind == FileKind::kMilText) {
    MLT_ASSIGN(std::shared_ptr<const ir::Program> program, load_program(model));
    MLT_ASSIGN(coreml::Model described, model_of_program(*program, mil_text_version(model.mil_text->text())));
    programs.push_back(std::move(program));
    return create_for(described, programs, options);
  }
  if (model.compiled)
    if (const Error* error = first_network_error(*model.compiled)) return Error(*error);
  if (model.model.kind() == coreml::ModelKind::kMlProgram || coreml::is_pipeline(model.model.kind())) {
    MLT_ASSIGN(auto loaded, load_programs(model));
    for (auto& program : loaded)
      if (program != nullptr) programs.push_back(std::move(program));
  }
  return create_for(model.model, programs, options);
}

}  // namespace

Result<std::unique_ptr<Predictor>> Predictor::create(const OpenedModel& model, const PredictOptions& options) {
  auto made = create_from(model, options);
  if (!made) return std::move(made).error().in_path(model.origin);
  return made;
}

}  // namespace mlt
