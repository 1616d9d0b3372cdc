// Predictions of any model: features in, features out, by the model's own description. Behind the one class stand ML
// programs and neural networks (through the executor), classic models (estimators), and pipelines of all of them.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/container/open.h"
#include "lib/coreml/description.h"
#include "lib/estimators/feature.h"
#include "lib/estimators/rows.h"
#include "lib/runtime/executor.h"
#include "lib/runtime/image.h"
#include "lib/runtime/row_plan.h"

namespace mlt {

struct PredictOptions {
  std::string function;        // of a multi-function model; empty: the default one
  Fit fit = Fit::kStretch;     // pictures of another size than the model's
  ExecOptions exec;
  // Outputs of a stage that cannot run here (weights that only Apple's systems have), given by the caller for every
  // prediction; the stage is then skipped.
  FeatureMap stage_features;
};

// Arrays of the caller's, for predictions again and again without making or looking up anything. Tensors are windows on
// memory that must outlive the binding; that of inputs may change between runs.
using ArrayMap = std::map<std::string, Tensor>;
class Binding {
 public:
  virtual ~Binding() = default;
  // Reads the inputs, computes, writes the outputs.
  virtual Status run(StateTensors* state = nullptr) = 0;
};

class Predictor {
 public:
  // kUnsupported with all reasons when something in the model cannot be run.
  static Result<std::unique_ptr<Predictor>> create(const OpenedModel& model, const PredictOptions& options = {});
  virtual ~Predictor() = default;

  const coreml::FunctionDescription& description() const { return description_; }
  // `state` holds what the model keeps between predictions of one sequence; null for models without states.
  virtual Result<FeatureMap> predict(const FeatureMap& inputs, StateTensors* state = nullptr) = 0;
  // The model's states, zero-filled; empty for models without.
  virtual Result<StateTensors> initial_state() const { return StateTensors{}; }

  // What PredictOptions::stage_features may name.
  virtual std::vector<std::string> missing_features() const { return {}; }

  // How the inputs make a row, for models that predict many rows at once (trees, linear models); null for others.
  virtual const RowPlan* row_plan() const { return nullptr; }
  // What predict() gives for each row, bit for bit. Rows have row_plan()->width numbers, rounded as it says.
  virtual Result<FeatureBatch> predict_rows(const Rows&) { return unsupported_error("this model predicts record by record"); }

  // The predictor must outlive the binding. Outputs that are not named are not handed out. kUnsupported for models that are
  // not one program or network, and for features that are no arrays.
  virtual Result<std::unique_ptr<Binding>> bind(const ArrayMap& inputs, const ArrayMap& outputs) {
    (void)inputs, (void)outputs;
    return unsupported_error("arrays can be bound to ML programs and neural networks only");
  }

  // Makes the plan of a prediction at the default shapes ahead of the first. kUnsupported for models that are not one
  // program or network, or have no default shapes.
  virtual Status prepare() { return unsupported_error("only ML programs and neural networks have weights to prepare"); }

  // For profilers and dumps. Null for models that are not run op by op; pipelines give the executors of their stages.
  virtual std::vector<Executor*> executors() { return {}; }
  void set_observer(StepObserver observer) { observer_ = std::move(observer); }
  // Observer of this predictor or, for a stage, of the pipeline.
  virtual const StepObserver* observer() const { return observer_ ? &observer_ : nullptr; }

 protected:
  coreml::FunctionDescription description_;
  StepObserver observer_;
};

// Checks a value against a feature's description and brings it to that form: numbers to the described element type
// and shape, pictures to the described size and colour. Messages name the feature.
Result<FeatureValue> conform_feature(const FeatureValue& value, const coreml::FeatureDescription& feature, Fit fit);

// The value of an input that was not given: the described default of an optional array, or nullopt (an error names the
// feature when it is not optional).
Result<std::optional<FeatureValue>> missing_feature(const coreml::FeatureDescription& feature);

}  // namespace mlt
