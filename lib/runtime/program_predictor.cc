#include "lib/runtime/program_predictor.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "lib/passes/pass.h"

namespace mlt {
namespace {

using coreml::FeatureDescription;
using coreml::FeatureKind;

// A `classify` op at the end of a program, taken apart: the executor delivers the probabilities, and the label and the
// dictionary are made here.
struct Classify {
  const ir::Value* label = nullptr;
  const ir::Value* dictionary = nullptr;
  ProgramInterface::Labels labels;
};

Result<Classify> read_classify(const ir::Op& op) {
  Classify c;
  const ir::Operand* classes = op.operand("classes");
  if (op.outputs.empty() || op.input("probabilities") == nullptr || classes == nullptr || classes->constant() == nullptr)
    return input_error("op classify: probabilities and constant classes expected");
  c.label = op.output(0);
  if (op.outputs.size() > 1) c.dictionary = op.output(1);
  const ir::Literal& literal = *classes->constant();
  auto add = [&](const Tensor& tensor) {
    if (!tensor.valid()) return;
    if (tensor.dtype() == DType::kString) {
      c.labels.strings.insert(c.labels.strings.end(), tensor.strings().begin(), tensor.strings().end());
    } else {
      for (int64_t label : to_ints(tensor)) c.labels.ints.push_back(label);
    }
  };
  add(literal.tensor);
  for (const ir::Literal& item : literal.items) add(item.tensor);
  if (c.labels.size() == 0) return input_error("op classify: no classes");
  return c;
}

// Writers declare the length that a list is made with even where it may grow (dynamic_length), so that a declared length
// binds only where no list of the function grows.
void open_growing_lists(ir::Function& function) {
  bool grows = false;
  function.for_each_op([&](const ir::Op& op) {
    if (op.kind != "make_list") return;
    const ir::Operand* dynamic = op.operand("dynamic_length");
    const Tensor* flag = dynamic != nullptr ? dynamic->constant_tensor() : nullptr;
    grows = grows || dynamic == nullptr || (flag != nullptr && flag->valid() && to_ints(*flag) != std::vector<int64_t>{0});
  });
  if (!grows) return;
  auto open = [](const std::unique_ptr<ir::Value>& value) {
    if (value->type.kind == ir::Type::Kind::kList) value->type.length = ir::kUnknown;
  };
  function.for_each_op([&](ir::Op& op) {
    for (auto& output : op.outputs) open(output);
    for (auto& block : op.blocks)
      for (auto& input : block->inputs) open(input);
  });
}

class ProgramPredictor : public Predictor {
 public:
  ProgramPredictor(ProgramInterface interface, const PredictOptions& options, const Predictor* parent)
      : interface_(std::move(interface)), options_(options), parent_(parent) {
    description_ = interface_.description;
  }

  Status set_up() {
    // The function that really runs: its outputs are what features need, `classify` replaced by its probabilities.
    running_ = ir::clone(*interface_.function);
    open_growing_lists(*running_);
    std::vector<ir::Value*> outputs;
    for (ir::Value* output : running_->body->outputs) {
      if (output->producer != nullptr && output->producer->kind == "classify") {
        if (classify_) continue;
        MLT_ASSIGN(classify_, read_classify(*output->producer));
        labels_ = classify_->labels;
        probabilities_ = outputs.size();
        outputs.push_back(output->producer->input("probabilities"));
        output_names_.push_back("");
        continue;
      }
      output_names_.push_back(output->name);
      outputs.push_back(output);
    }
    running_->body->outputs = std::move(outputs);
    running_->erase_dead_ops();
    if (interface_.labels) {
      labels_ = interface_.labels;
      auto it = std::find(output_names_.begin(), output_names_.end(), interface_.labels->probabilities);
      if (it == output_names_.end()) return input_error("the value \"" + interface_.labels->probabilities + "\" that holds the probabilities does not exist");
      probabilities_ = static_cast<size_t>(it - output_names_.begin());
    }
    MLT_TRY(simplify());
    MLT_ASSIGN(executor_, Executor::create(*running_, interface_.program, options_.exec));
    for (const auto& input : running_->inputs) {
      if (input->type.is_state()) continue;
      std::string feature_name = input->name;
      for (const auto& [name, value] : interface_.input_values)
        if (value == input->name) feature_name = name;
      const FeatureDescription* feature = coreml::find_feature(description_.inputs, feature_name);
      if (feature == nullptr) return input_error("function " + running_->name + ": input \"" + input->name + "\" has no description");
      inputs_.push_back({input.get(), feature});
    }
    return {};
  }

  Result<FeatureMap> predict(const FeatureMap& given, StateTensors* state) override {
    std::vector<Tensor> tensors;
    for (const auto& [value, feature] : inputs_) {
      MLT_ASSIGN(Tensor tensor, input_tensor(given, *value, *feature));
      tensors.push_back(std::move(tensor));
    }
    const StepObserver* watcher = observer();
    MLT_ASSIGN(std::vector<ops::RtValue> results, executor_->run(tensors, state, watcher));
    FeatureMap out;
    for (const FeatureDescription& feature : description_.outputs) {
      MLT_ASSIGN(FeatureValue value, output_feature(feature, results));
      out.emplace(feature.name, std::move(value));
    }
    return out;
  }

  Status prepare() override {
    std::vector<Dims> dims;
    for (const auto& [value, feature] : inputs_) {
      if (value->type.is_static()) {
        dims.push_back(value->type.dims);
        continue;
      }
      const Dims& shape = feature->type.array.shape;
      if (feature->type.kind != FeatureKind::kMultiArray || shape.empty()) return unsupported_error("input \"" + feature->name + "\" has no default shape");
      MLT_TRY(element_count(shape));
      MLT_ASSIGN(Tensor tensor, as_declared(Tensor::window(DType::kF32, shape, nullptr, nullptr), value->type, *feature));
      dims.push_back(tensor.dims());
    }
    auto plan = executor_->plan(dims);
    return plan ? Status() : Status(std::move(plan).error());
  }

  class ProgramBinding : public Binding {
   public:
    explicit ProgramBinding(Executor& executor) : executor_(executor) {}
    Status run(StateTensors* state) override { return executor_.run_into(inputs, outputs, state); }
    std::vector<Tensor> inputs, outputs;

   private:
    Executor& executor_;
  };

  Result<std::unique_ptr<Binding>> bind(const ArrayMap& given, const ArrayMap& wanted) override {
    for (const auto& [name, tensor] : given) {
      const FeatureDescription* feature = coreml::find_feature(description_.inputs, name);
      if (feature == nullptr) return usage_error("the model has no input \"" + name + "\"");
      if (feature->type.kind != FeatureKind::kMultiArray) return unsupported_error("input \"" + name + "\" is no array, and cannot be bound");
    }
    auto binding = std::make_unique<ProgramBinding>(*executor_);
    for (const auto& [value, feature] : inputs_) {
      auto it = given.find(feature->name);
      if (it == given.end()) {
        MLT_ASSIGN(Tensor tensor, input_tensor({}, *value, *feature));
        binding->inputs.push_back(std::move(tensor));
        continue;
      }
      // The memory stays the caller's; only the extents may come out otherwise.
      MLT_ASSIGN(FeatureValue conformed, conform_feature(it->second, *feature, options_.fit));
      const auto* array = std::get_if<Tensor>(&conformed);
      if (array == nullptr || array->size() != it->second.size()) return unsupported_error("input \"" + feature->name + "\" cannot be bound to this array");
      MLT_ASSIGN(Tensor tensor, as_declared(it->second.reshaped(array->dims()), value->type, *feature));
      binding->inputs.push_back(std::move(tensor));
    }
    binding->outputs.resize(output_names_.size());
    for (const auto& [name, tensor] : wanted) {
      const FeatureDescription* feature = coreml::find_feature(description_.outputs, name);
      if (feature == nullptr) return usage_error("the model has no output \"" + name + "\"");
      auto renamed = interface_.output_values.find(name);
      auto it = std::find(output_names_.begin(), output_names_.end(), renamed == interface_.output_values.end() ? name : renamed->second);
      if (feature->type.kind != FeatureKind::kMultiArray || it == output_names_.end())
        return unsupported_error("output \"" + name + "\" is no array, and cannot be bound");
      binding->outputs[static_cast<size_t>(it - output_names_.begin())] = tensor;
    }
    return std::unique_ptr<Binding>(std::move(binding));
  }

  Result<StateTensors> initial_state() const override { return executor_->initial_state(); }
  std::vector<Executor*> executors() override { return {executor_.get()}; }
  const StepObserver* observer() const override { return observer_ ? &observer_ : parent_ ? parent_->observer() : nullptr; }

 private:
  // Rewrites that make the program cheaper and change answers by rounding at most; names of what remains are kept.
  Status simplify() {
    const ExecOptions& exec = options_.exec;
    auto opset = ops::opset_from_token(running_->opset);
    if (!exec.fuse || exec.strict_fp16 || exec.keep_all || !exec.fast_kernels || !opset) return {};
    passes::Context context;
    context.opset = *opset;
    for (auto pass : {passes::noop_elimination, passes::merge_consecutive_transposes, passes::merge_consecutive_reshapes, passes::fuse_conv_batchnorm,
                      passes::fuse_conv_scale, passes::fuse_conv_bias, passes::fuse_matmul_weight_bias, passes::fuse_linear_bias, passes::fuse_layernorm,
                      passes::fuse_gelu_exact, passes::fuse_gelu_tanh_approximation, passes::fuse_silu, passes::fuse_relu6, passes::dead_code_elimination}) {
      auto changed = pass(*running_, context);
      if (!changed) return std::move(changed).error();
    }
    return {};
  }

  Result<Tensor> input_tensor(const FeatureMap& given, const ir::Value& value, const FeatureDescription& feature) {
    FeatureValue conformed;
    auto it = given.find(feature.name);
    if (it == given.end() || std::holds_alternative<std::monostate>(it->second)) {
      MLT_ASSIGN(std::optional<FeatureValue> fallback, missing_feature(feature));
      if (fallback) {
        conformed = *fallback;
      } else {  // an optional input without a default is zero (recurrent states)
        Dims dims = value.type.is_static() ? value.type.dims : feature.type.array.shape;
        MLT_TRY(element_count(dims));
        return Tensor::zeros(DType::kF32, dims);
      }
    } else {
      MLT_ASSIGN(conformed, conform_feature(it->second, feature, options_.fit));
    }
    Tensor tensor;
    if (const auto* image = std::get_if<Image>(&conformed)) {
      tensor = image_to_planar(*image);
    } else if (const auto* array = std::get_if<Tensor>(&conformed)) {
      tensor = *array;
    } else if (const auto* number = std::get_if<double>(&conformed)) {
      tensor = Tensor::scalar(*number);
    } else if (const auto* integer = std::get_if<int64_t>(&conformed)) {
      tensor = Tensor::scalar(*integer);
    } else if (const auto* text = std::get_if<std::string>(&conformed)) {
      tensor = Tensor::string(*text);
    } else {
      return unsupported_error("input \"" + feature.name + "\": " + feature_text(conformed) + " cannot go into a program");
    }
    return as_declared(std::move(tensor), value.type, feature);
  }

  // The description and the function may write the same elements with other extents.
  static Result<Tensor> as_declared(Tensor tensor, const ir::Type& type, const FeatureDescription& feature) {
    if (type.is_static() && tensor.dims() != type.dims) {
      MLT_ASSIGN(int64_t count, element_count(type.dims));
      if (count != tensor.size())
        return input_error("input \"" + feature.name + "\": expected " + dims_text(type.dims) + ", got " + dims_text(tensor.dims()));
      tensor = tensor.reshaped(type.dims);
    } else if (type.is_tensor() && type.ranked && type.rank() > tensor.rank()) {
      Dims dims = tensor.dims();
      dims.insert(dims.begin(), static_cast<size_t>(type.rank() - tensor.rank()), 1);
      tensor = tensor.reshaped(dims);
    }
    return tensor;
  }

  Result<FeatureValue> output_feature(const FeatureDescription& feature, const std::vector<ops::RtValue>& results) {
    bool is_label = labels_ && (feature.name == description_.predicted_feature_name ||
                                (classify_ && classify_->label->name == feature.name));
    bool is_dictionary = labels_ && (feature.type.kind == FeatureKind::kDictionary ||
                                     (classify_ && classify_->dictionary != nullptr && classify_->dictionary->name == feature.name));
    if (is_label || is_dictionary) {
      std::vector<float> scores = to_floats(results[probabilities_].tensor);
      if (scores.size() != labels_->size())
        return input_error("the classifier has " + std::to_string(labels_->size()) + " labels and " + std::to_string(scores.size()) + " probabilities");
      if (is_label) {
        // The first of equals wins; a NaN never does.
        size_t best = 0;
        for (size_t i = 1; i < scores.size(); ++i)
          if (scores[i] > scores[best] || std::isnan(scores[best])) best = i;
        if (!labels_->ints.empty()) return FeatureValue(labels_->ints[best]);
        return FeatureValue(labels_->strings[best]);
      }
      if (!labels_->ints.empty()) {
        IntDict dict;
        for (size_t i = 0; i < scores.size(); ++i) dict[labels_->ints[i]] = static_cast<double>(scores[i]);
        return FeatureValue(std::move(dict));
      }
      StringDict dict;
      for (size_t i = 0; i < scores.size(); ++i) dict[labels_->strings[i]] = static_cast<double>(scores[i]);
      return FeatureValue(std::move(dict));
    }
    auto renamed = interface_.output_values.find(feature.name);
    const std::string& wanted = renamed == interface_.output_values.end() ? feature.name : renamed->second;
    auto it = std::find(output_names_.begin(), output_names_.end(), wanted);
    if (it == output_names_.end()) return input_error("output \"" + feature.name + "\" is not computed by function " + running_->name);
    Tensor tensor = results[static_cast<size_t>(it - output_names_.begin())].tensor;
    if (!tensor.valid()) return input_error("output \"" + feature.name + "\" has no value");
    switch (feature.type.kind) {
      case FeatureKind::kImage: {
        auto image = planar_to_image(tensor, feature.type.image.color_space);
        if (!image) return std::move(image).error().in_path("output \"" + feature.name + "\"");
        return FeatureValue(std::move(*image));
      }
      case FeatureKind::kDouble:
        if (tensor.size() != 1 || tensor.dtype() == DType::kString) break;
        return FeatureValue(to_doubles(tensor)[0]);
      case FeatureKind::kInt64:
        if (tensor.size() != 1 || tensor.dtype() == DType::kString) break;
        return FeatureValue(to_ints(tensor)[0]);
      case FeatureKind::kString:
        if (tensor.dtype() != DType::kString || tensor.size() != 1) break;
        return FeatureValue(tensor.strings()[0]);
      default: {
        if (tensor.dtype() == DType::kString) return FeatureValue(tensor.strings());
        const coreml::ArrayType& array = feature.type.array;
        // A described shape with the same elements is how the author sees them.
        auto described = element_count(array.shape);
        if (array.flexibility == coreml::Flexibility::kFixed && !array.shape.empty() && described && *described == tensor.size())
          tensor = tensor.reshaped(array.shape);
        return FeatureValue(convert(tensor, array.dtype().value_or(feature.type.kind == FeatureKind::kMultiArray ? DType::kF64 : tensor.dtype())));
      }
    }
    return input_error("output \"" + feature.name + "\": " + std::string(feature_kind_name(feature.type.kind)) + " is described, the program gives " +
                       ir::Type::of(tensor).to_string());
  }

  ProgramInterface interface_;
  PredictOptions options_;
  const Predictor* parent_;
  std::unique_ptr<ir::Function> running_;
  std::unique_ptr<Executor> executor_;
  std::vector<std::pair<const ir::Value*, const FeatureDescription*>> inputs_;
  std::vector<std::string> output_names_;
  std::optional<Classify> classify_;
  std::optional<ProgramInterface::Labels> labels_;
  size_t probabilities_ = 0;
};

}  // namespace

Result<std::unique_ptr<Predictor>> make_program_predictor(ProgramInterface interface, const PredictOptions& options, const Predictor* parent) {
  auto predictor = std::make_unique<ProgramPredictor>(std::move(interface), options, parent);
  MLT_TRY(predictor->set_up());
  return std::unique_ptr<Predictor>(std::move(predictor));
}

}  // namespace mlt
