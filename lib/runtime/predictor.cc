#include "lib/runtime/predictor.h"

#include <algorithm>
#include <deque>

#include "lib/container/program.h"
#include "lib/coreml/classic.h"
#include "lib/runtime/network.h"
#include "lib/runtime/packed_file.h"
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

// What the stages of a model are made from beside their messages.
struct Sources {
  std::deque<std::shared_ptr<const ir::Program>> programs;  // of stages that are ML programs, in order; each is taken once
  const OpenedModel* opened = nullptr;                      // where linked models are looked for
  int links = 0;                                            // linked models that led here
};

Result<std::unique_ptr<Predictor>> create_from(const OpenedModel& model, const PredictOptions& options, int links, const Predictor* parent);

Result<std::unique_ptr<Predictor>> create_for(const coreml::Model& model, Sources& sources, const PredictOptions& options,
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
  std::vector<std::string> missing_features() const override { return predictor_->missing_features(); }
  Predictor* predictor() const { return predictor_.get(); }

 private:
  std::unique_ptr<Predictor> predictor_;
  StateTensors* const* state_;
};

// Trees, linear models, feature engineering and pipelines; stages that are networks or programs are predictors again.
class ClassicPredictor : public Predictor {
 public:
  ClassicPredictor(const PredictOptions& options, const Predictor* parent) : options_(options), parent_(parent) {}

  Status prepare(const coreml::Model& model, Sources& sources) {
    description_ = *model.description().function();
    auto factory = [&](const coreml::Model& stage) -> Result<std::unique_ptr<Estimator>> {
      MLT_ASSIGN(auto predictor, create_for(stage, sources, options_, this));
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

  std::vector<std::string> missing_features() const override { return estimator_->missing_features(); }
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

// A model that stands for another file. The description is the linking model's own.
class LinkedPredictor : public Predictor {
 public:
  LinkedPredictor(coreml::FunctionDescription description, OpenedModel opened, const Predictor* parent) : opened_(std::move(opened)), parent_(parent) {
    description_ = std::move(description);
  }
  Status prepare(const PredictOptions& options, int links) {
    MLT_ASSIGN(inner_, create_from(opened_, options, links, this));
    return {};
  }
  Result<FeatureMap> predict(const FeatureMap& inputs, StateTensors* state) override { return inner_->predict(inputs, state); }
  Result<StateTensors> initial_state() const override { return inner_->initial_state(); }
  std::vector<std::string> missing_features() const override { return inner_->missing_features(); }
  std::vector<Executor*> executors() override { return inner_->executors(); }
  const StepObserver* observer() const override { return observer_ ? &observer_ : parent_ ? parent_->observer() : nullptr; }

 private:
  OpenedModel opened_;
  std::unique_ptr<Predictor> inner_;
  const Predictor* parent_;
};

// Linked models are looked for beside the linking one and below that: in the same directory, package or archive. Other
// places of the search path (absolute ones, app bundles, parents) are not looked at.
Result<OpenedModel> open_linked(const coreml::Model& model, const OpenedModel& from) {
  MLT_ASSIGN(coreml::LinkedFile link, coreml::linked_file(model));
  FileTree tree = from.files;
  if (from.kind == FileKind::kModel && path_kind(from.origin) == PathKind::kFile) {
    size_t slash = from.origin.rfind('/');
    tree = FileTree::from_directory(slash == std::string::npos ? "." : from.origin.substr(0, slash + 1));
  }
  std::string elsewhere;
  for (const std::string& directory : link.directories) {
    if (directory != "." && !is_safe_relative_path(directory)) {
      elsewhere += (elsewhere.empty() ? "" : ", ") + directory;
      continue;
    }
    std::string path = directory == "." ? link.name : directory + "/" + link.name;
    Result<OpenedModel> opened = input_error("");
    if (tree.has(path)) {
      MLT_ASSIGN(Blob file, tree.open(path));
      opened = open_memory(file, path);
    } else {
      FileTree below = tree.subtree(path);
      if (!below.has("coremldata.bin") && !below.has("Manifest.json")) continue;
      opened = open_tree(below, path);
    }
    if (!opened) return std::move(opened).error().in_path("linked model " + path);
    if (opened->kind == FileKind::kModel) {
      // Its own links are looked for where it lies, which is not known from its bytes.
      size_t slash = path.rfind('/');
      opened->files = slash == std::string::npos ? tree : tree.subtree(path.substr(0, slash));
      opened->origin = tree.disk_path(path).value_or("linked model " + path);
    }
    return opened;
  }
  std::string what = "the linked model \"" + link.name + "\" is not beside this one";
  if (!elsewhere.empty()) return unsupported_error(what + ", and other places are not looked at: " + elsewhere, "put it there");
  return input_error(what);
}

Result<std::unique_ptr<Predictor>> create_linked(const coreml::Model& model, Sources& sources, const PredictOptions& options, const Predictor* parent) {
  constexpr int kMaxLinks = 8;
  if (sources.links >= kMaxLinks) return input_error("linked models refer to one another more than " + std::to_string(kMaxLinks) + " deep");
  MLT_ASSIGN(OpenedModel opened, open_linked(model, *sources.opened));
  MLT_ASSIGN(coreml::FunctionDescription description, described_function(model, options.function));
  auto predictor = std::make_unique<LinkedPredictor>(std::move(description), std::move(opened), parent);
  MLT_TRY(predictor->prepare(options, sources.links + 1));
  return std::unique_ptr<Predictor>(std::move(predictor));
}

Result<std::unique_ptr<Predictor>> create_for(const coreml::Model& model, Sources& sources, const PredictOptions& options,
                                              const Predictor* parent) {
  if (model.kind() == coreml::ModelKind::kLinkedModel) return create_linked(model, sources, options, parent);
  if (model.kind() == coreml::ModelKind::kMlProgram) {
    if (sources.programs.empty() || sources.programs.front() == nullptr) return input_error("a stage is an ML program without a program");
    std::shared_ptr<const ir::Program> program = std::move(sources.programs.front());
    sources.programs.pop_front();
    MLT_ASSIGN(coreml::FunctionDescription description, described_function(model, options.function));
    std::string name = description.name;
    return from_program(std::move(program), std::move(description), name, options, parent);
  }
  if (coreml::is_neural_network(model.kind())) return make_network_predictor(model, options, parent);
  auto predictor = std::make_unique<ClassicPredictor>(options, parent);
  MLT_TRY(predictor->prepare(model, sources));
  return std::unique_ptr<Predictor>(std::move(predictor));
}

Result<std::unique_ptr<Predictor>> create_from(const OpenedModel& model, const PredictOptions& options, int links, const Predictor* parent) {
  Sources sources;
  sources.opened = &model;
  sources.links = links;
  if (model.kind == FileKind::kMilText) {
    MLT_ASSIGN(std::shared_ptr<const ir::Program> program, load_program(model));
    MLT_ASSIGN(coreml::Model described, model_of_program(*program, mil_text_version(model.mil_text->text())));
    sources.programs.push_back(std::move(program));
    return create_for(described, sources, options, parent);
  }
  if (model.compiled)
    if (const Error* error = first_network_error(*model.compiled)) return Error(*error);
  if (model.model.kind() == coreml::ModelKind::kMlProgram || coreml::is_pipeline(model.model.kind())) {
    MLT_ASSIGN(auto loaded, load_programs(model));
    for (auto& program : loaded)
      if (program != nullptr) sources.programs.push_back(std::move(program));
  }
  return create_for(model.model, sources, options, parent);
}

}  // namespace

Result<std::unique_ptr<Predictor>> Predictor::create(const OpenedModel& model, const PredictOptions& options) {
  PredictOptions with = options;
  if (with.exec.packed == nullptr && model.kind == FileKind::kCompiled) with.exec.packed = open_packed(model.files);
  auto made = create_from(model, with, 0, nullptr);
  if (!made) return std::move(made).error().in_path(model.origin);
  std::vector<std::string> names = (*made)->missing_features();
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  for (const auto& [name, value] : options.stage_features)
    if (std::find(names.begin(), names.end(), name) == names.end())
      return usage_error("no stage that cannot run here gives a feature \"" + name + "\"", known.empty() ? "the whole model runs" : "what is missing is: " + known).in_path(model.origin);
  return made;
}

}  // namespace mlt
