#include "lib/runtime/network.h"

#include <list>

#include "lib/coreml/nn_lift.h"
#include "lib/runtime/program_predictor.h"

namespace mlt {
namespace {

using coreml::FeatureKind;
using InputDims = std::map<std::string, Dims>;

// Programs kept for different input extents.
constexpr size_t kMaxLifts = 8;

class NetworkPredictor : public Predictor {
 public:
  NetworkPredictor(const coreml::Model& model, const PredictOptions& options, const Predictor* parent)
      : model_(model.clone()), options_(options), parent_(parent) {
    description_ = *model_.description().function();
  }

  Status prepare() {
    auto lifted = lifted_for({});
    if (lifted) return {};
    // A described extent of one step may be too short for the network's own windows: Keras models of sequences are
    // described as [channels] and take [sequence, batch, channels], or as [C, H, W] and take [S, B, C, H, W]. So may the default of a flexible extent, which
    // writers set to 1. They are lifted when the values come.
    if (lifted.error().code == Code::kInput)
      for (const auto& feature : description_.inputs) {
        const auto& array = feature.type.array;
        if (feature.type.kind != FeatureKind::kMultiArray || feature.type.optional) continue;
        if (array.shape.size() == 1 || array.shape.size() == 3 || array.flexibility != coreml::Flexibility::kFixed) return {};
      }
    return Status(std::move(lifted).error());
  }

  Result<FeatureMap> predict(const FeatureMap& inputs, StateTensors* state) override {
    MLT_ASSIGN(Predictor * program, lifted_for(unusual_dims(inputs)));
    return program->predict(inputs, state);
  }
  std::vector<Executor*> executors() override { return lifts_.empty() ? std::vector<Executor*>() : lifts_.front().second->executors(); }
  const StepObserver* observer() const override { return observer_ ? &observer_ : parent_ ? parent_->observer() : nullptr; }

 private:
  // Extents of the given values that differ from the described ones. The network's own rules say which are possible.
  InputDims unusual_dims(const FeatureMap& inputs) const {
    InputDims dims;
    for (const auto& feature : description_.inputs) {
      auto it = inputs.find(feature.name);
      if (it == inputs.end()) continue;
      if (const auto* tensor = std::get_if<Tensor>(&it->second); tensor != nullptr && feature.type.kind == FeatureKind::kMultiArray) {
        const auto& array = feature.type.array;
        bool flexible = array.flexibility != coreml::Flexibility::kFixed || array.shape.empty();
        bool batched = tensor->rank() > static_cast<int>(array.shape.size()) && tensor->size() != product(array.shape);
        if (tensor->dims() != array.shape && (flexible || batched)) dims[feature.name] = tensor->dims();
      } else if (const auto* image = std::get_if<Image>(&it->second); image != nullptr && feature.type.kind == FeatureKind::kImage) {
        const auto& type = feature.type.image;
        if (type.flexibility != coreml::Flexibility::kFixed && (image->width != type.width || image->height != type.height)) {
          // A size that is not allowed is fitted to the default one later.
          auto conformed = conform_feature(it->second, feature, Fit::kRefuse);
          if (conformed) dims[feature.name] = {image->height, image->width};
        }
      }
    }
    return dims;
  }
  static int64_t product(const std::vector<int64_t>& shape) {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }

  Result<Predictor*> lifted_for(const InputDims& dims) {
    for (auto it = lifts_.begin(); it != lifts_.end(); ++it)
      if (it->first == dims) {
        lifts_.splice(lifts_.begin(), lifts_, it);
        return lifts_.front().second.get();
      }
    coreml::LiftOptions options;
    options.input_dims = dims;
    MLT_ASSIGN(coreml::LiftedNetwork lifted, coreml::lift_neural_network(model_, options));
    ProgramInterface interface;
    interface.program = lifted.program;
    interface.function = lifted.program->find("main");
    interface.description = description_;
    for (auto& feature : interface.description.inputs) {
      auto it = dims.find(feature.name);
      if (it == dims.end() || feature.type.kind != FeatureKind::kMultiArray) continue;
      feature.type.array.shape = it->second;
      feature.type.array.flexibility = coreml::Flexibility::kFixed;
    }
    // With other extents going in, the described extents of what comes out are no longer right.
    if (!dims.empty())
      for (auto& feature : interface.description.outputs) feature.type.array.shape.clear();
    for (const auto& input : lifted.inputs) interface.input_values[input.feature] = input.value;
    for (const auto& output : lifted.outputs) interface.output_values[output.feature] = output.value;
    if (lifted.labels.present) interface.labels = ProgramInterface::Labels{lifted.labels.strings, lifted.labels.ints, lifted.probabilities};
    MLT_ASSIGN(auto program, make_program_predictor(std::move(interface), options_, this));
    lifts_.emplace_front(dims, std::move(program));
    if (lifts_.size() > kMaxLifts) lifts_.pop_back();
    return lifts_.front().second.get();
  }

  coreml::Model model_;
  PredictOptions options_;
  const Predictor* parent_;
  std::list<std::pair<InputDims, std::unique_ptr<Predictor>>> lifts_;  // most recently used first
};

}  // namespace

Result<std::unique_ptr<Predictor>> make_network_predictor(const coreml::Model& model, const PredictOptions& options, const Predictor* parent) {
  auto predictor = std::make_unique<NetworkPredictor>(model, options, parent);
  MLT_TRY(predictor->prepare());
  return std::unique_ptr<Predictor>(std::move(predictor));
}

}  // namespace mlt
