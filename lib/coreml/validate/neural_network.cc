// Networks: data flow between layers, interface, and every weight's size. Rules from coremltools' NeuralNetworkValidator
// and NeuralNetworkLayerValidator.
#include <fmt/core.h>

#include <set>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate/checker.h"
#include "lib/coreml/validate/nn_rules.h"

namespace mlt::coreml {
namespace {

using Layer = spec::NeuralNetworkLayer;
using Layers = google::protobuf::RepeatedPtrField<Layer>;
using Names = std::set<std::string>;

void check_quantized(const WeightSlot& slot, uint64_t expected, bool sized, Checker& check) {
  const spec::WeightParams& params = *slot.params;
  const spec::QuantizationParams& quantization = params.quantization();
  uint64_t bits = quantization.numberofbits();
  uint64_t bytes = params.rawvalue().size() + params.int8rawvalue().size();
  if (bits < 1 || bits > 8) return check.error(fmt::format("{}: {} bits per value", slot.name, bits));
  uint64_t total = 0;
  if (sized && (!checked_mul(expected, bits, &total) || (total + 7) / 8 > bytes))
    check.error(fmt::format("{}: {} values of {} bits do not fit {} bytes", slot.name, expected, bits, bytes));
  if (quantization.has_linearquantization()) {
    auto scales = static_cast<uint64_t>(quantization.linearquantization().scale_size());
    auto biases = static_cast<uint64_t>(quantization.linearquantization().bias_size());
    if (scales != 1 && !(sized && scales == slot.channels))
      check.error(fmt::format("{}: {} quantization scales, expected 1 or {}", slot.name, scales, slot.channels));
    if (biases != 0 && biases != scales)
      check.error(fmt::format("{}: {} quantization scales but {} biases", slot.name, scales, biases));
  } else if (quantization.has_lookuptablequantization()) {
    int entries = quantization.lookuptablequantization().floatvalue_size();
    if (entries != 1 << bits) check.error(fmt::format("{}: lookup table of {} entries for {} bits", slot.name, entries, bits));
  } else {
    check.error(fmt::format("{}: kind of quantization is not stated", slot.name));
  }
}

void check_weight(const WeightSlot& slot, Checker& check) {
  const spec::WeightParams& params = *slot.params;
  bool sized = !slot.shape.empty();
  uint64_t expected = 1;
  for (uint64_t extent : slot.shape)
    if (!checked_mul(expected, extent, &expected)) return check.error(fmt::format("{}: size overflows", slot.name));
  int kinds = (params.floatvalue_size() > 0) + !params.float16value().empty() + !params.rawvalue().empty() + !params.int8rawvalue().empty();
  if (kinds == 0) {
    if (!sized || expected > 0) check.error(fmt::format("{}: has no values", slot.name));
    return;
  }
  if (kinds > 1) return check.error(fmt::format("{}: has values of several kinds", slot.name));
  if (!params.rawvalue().empty() || !params.int8rawvalue().empty()) return check_quantized(slot, expected, sized, check);
  uint64_t count = params.floatvalue_size() > 0 ? static_cast<uint64_t>(params.floatvalue_size()) : params.float16value().size() / 2;
  if (params.float16value().size() % 2 != 0) check.error(fmt::format("{}: float16 values have an odd number of bytes", slot.name));
  if (sized && count != expected) check.error(fmt::format("{}: {} values, expected {}", slot.name, count, expected));
}

void check_weights(const Layer& layer, Checker& check) {
  bool half = false, full = false;
  for (const WeightSlot& slot : weight_slots(layer)) {
    check_weight(slot, check);
    half |= !slot.params->float16value().empty();
    full |= slot.params->floatvalue_size() > 0;
    if (check.full()) return;
  }
  if (half && full && layer.layer_case() != Layer::kCustom) check.error("weights are partly float16, partly float32");
  bool dynamic = layer.innerproduct().int8dynamicquantize() || layer.batchedmatmul().int8dynamicquantize();
  if (!dynamic) return;
  const spec::WeightParams& weights = layer.has_innerproduct() ? layer.innerproduct().weights() : layer.batchedmatmul().weights();
  const auto& quantization = weights.quantization();
  if (weights.int8rawvalue().empty() || quantization.numberofbits() != 8 ||
      quantization.linearquantization().scale_size() != 1 || quantization.linearquantization().bias_size() != 0)
    check.error("dynamic quantization needs int8 weights with one scale and no bias");
}

bool recurrent_activation(const spec::ActivationParams& params) {
  switch (params.NonlinearityType_case()) {
    case spec::ActivationParams::kLinear:
    case spec::ActivationParams::kSigmoid:
    case spec::ActivationParams::kTanh:
    case spec::ActivationParams::kScaledTanh:
    case spec::ActivationParams::kSigmoidHard:
    case spec::ActivationParams::kReLU: return true;
    default: return false;
  }
}

template <typename Activations>
void check_activations(const Activations& activations, int count, Checker& check) {
  if (activations.size() != count) check.error(fmt::format("{} activations, expected {}", activations.size(), count));
  for (const spec::ActivationParams& activation : activations)
    if (!recurrent_activation(activation)) return check.error("an activation is not one a recurrent layer may have");
}

uint64_t product(const google::protobuf::RepeatedField<uint64_t>& values) {
  uint64_t total = 1;
  for (uint64_t value : values)
    if (!checked_mul(total, value, &total)) return UINT64_MAX;
  return total;
}

// Options of single layer types that would leave their meaning open.
void check_options(const Layer& layer, Checker& check) {
  switch (layer.layer_case()) {
    case Layer::kConvolution: {
      const auto& p = layer.convolution();
      check.require(p.ConvolutionPaddingType_case() != 0, "padding is not stated");
      uint64_t groups = p.ngroups() ? p.ngroups() : 1;
      if (p.outputchannels() % groups != 0 || (p.isdeconvolution() && p.kernelchannels() % groups != 0))
        check.error(fmt::format("{} groups do not divide the channels", groups));
      check.require(product(p.kernelsize()) > 0, "kernel is empty");
      check.require(product(p.stride()) > 0, "stride is zero");
      check.require(product(p.dilationfactor()) > 0, "dilation is zero");
      if (layer.input_size() > 1) {
        check.require(!p.isdeconvolution(), "a deconvolution cannot take its weights as an input");
        check.require(!p.hasbias(), "a convolution that takes its weights as an input cannot have a bias");
      }
      break;
    }
    case Layer::kConvolution3D: {
      const auto& p = layer.convolution3d();
      bool positive = true;
      for (int32_t value : {p.inputchannels(), p.outputchannels(), p.ngroups(), p.kerneldepth(), p.kernelheight(), p.kernelwidth(),
                            p.stridedepth(), p.strideheight(), p.stridewidth(), p.dilationdepth(), p.dilationheight(), p.dilationwidth()})
        positive &= value > 0;
      check.require(positive, "channels, groups, kernel, strides and dilations must be positive");
      break;
    }
    case Layer::kPooling:
      check.require(layer.pooling().PoolingPaddingType_case() != 0, "padding is not stated");
      break;
    case Layer::kPadding:
      check.require(layer.padding().PaddingType_case() != 0, "kind of padding is not stated");
      if (int count = layer.padding().paddingamounts().borderamounts_size(); count != 0 && count != 2)
        check.error(fmt::format("{} padding amounts, expected 2", count));
      break;
    case Layer::kActivation:
      check.require(layer.activation().NonlinearityType_case() != 0, "activation is not stated or unknown");
      break;
    case Layer::kUpsample: {
      int whole = layer.upsample().scalingfactor_size(), fractional = layer.upsample().fractionalscalingfactor_size();
      check.require((whole == 0 || whole == 2) && (fractional == 0 || fractional == 2) && !(whole && fractional),
                    "must have two scaling factors, whole or fractional");
      break;
    }
    case Layer::kBias:
    case Layer::kScale: {
      int rank = layer.has_bias() ? layer.bias().shape_size() : layer.scale().shapescale_size();
      if (rank != 1 && rank != 3) check.error(fmt::format("shape has {} axes, expected 1 or 3", rank));
      break;
    }
    case Layer::kLoadConstant:
      if (layer.loadconstant().shape_size() != 3)
        check.error(fmt::format("shape has {} axes, expected 3", layer.loadconstant().shape_size()));
      break;
    case Layer::kLoadConstantND:
      if (int rank = layer.loadconstantnd().shape_size(); rank < 1 || rank > 5)
        check.error(fmt::format("shape has {} axes, expected 1 to 5", rank));
      break;
    case Layer::kReshape:
      if (int rank = layer.reshape().targetshape_size(); rank != 3 && rank != 4)
        check.error(fmt::format("target shape has {} axes, expected 3 or 4", rank));
      break;
    case Layer::kPermute:
      if (layer.permute().axis_size() != 4) check.error(fmt::format("{} axes, expected 4", layer.permute().axis_size()));
      break;
    case Layer::kLrn: check.require(layer.lrn().k() >= 0, "k is negative"); break;
    case Layer::kSimpleRecurrent:
      check.require(recurrent_activation(layer.simplerecurrent().activation()), "activation is not one a recurrent layer may have");
      break;
    case Layer::kGru: check_activations(layer.gru().activations(), 2, check); break;
    case Layer::kUniDirectionalLSTM: check_activations(layer.unidirectionallstm().activations(), 3, check); break;
    case Layer::kBiDirectionalLSTM:
      check_activations(layer.bidirectionallstm().activationsforwardlstm(), 3, check);
      check_activations(layer.bidirectionallstm().activationsbackwardlstm(), 3, check);
      if (int sets = layer.bidirectionallstm().weightparams_size(); sets != 2)
        check.error(fmt::format("{} sets of weights, expected 2", sets));
      break;
    case Layer::kBatchedMatmul:
      if (layer.input_size() > 1) check.require(!layer.batchedmatmul().hasbias(), "a product of two inputs cannot have a bias");
      break;
    case Layer::kCustom: check.require(!layer.custom().classname().empty(), "name of the class is missing"); break;
    default: break;
  }
}

void check_count(const char* what, int count, int least, int most, Checker& check) {
  if (count < least || (most >= 0 && count > most))
    check.error(least == most ? fmt::format("{} {}s, expected {}", count, what, least)
                              : fmt::format("{} {}s, expected {} to {}", count, what, least, most < 0 ? "any" : std::to_string(most)));
}

void check_layers(const Layers& layers, Names* known, bool in_loop, Checker& check);

void check_branch(const Layer& layer, Names* known, bool in_loop, Checker& check) {
  const spec::BranchLayerParams& branch = layer.branch();
  check.require(branch.ifbranch().layers_size() > 0, "branch is empty");
  Names taken = *known, other = *known;
  check_layers(branch.ifbranch().layers(), &taken, in_loop, check);
  if (branch.elsebranch().layers_size() == 0) return;
  check_layers(branch.elsebranch().layers(), &other, in_loop, check);
  // Only what both make is there afterwards.
  for (const std::string& name : taken)
    if (other.count(name)) known->insert(name);
}

void check_loop(const Layer& layer, Names* known, Checker& check) {
  const spec::LoopLayerParams& loop = layer.loop();
  bool conditional = loop.conditionnetwork().layers_size() > 0;
  check.require(loop.bodynetwork().layers_size() > 0, "body of the loop is empty");
  check.require(conditional == !loop.conditionvar().empty(), "condition network and condition variable go together");
  check.require(conditional || loop.maxloopiterations() > 0 || layer.input_size() > 0, "loop has no end");
  if (conditional) {
    check_layers(loop.conditionnetwork().layers(), known, false, check);
    if (!known->count(loop.conditionvar()))
      check.error(fmt::format("condition variable \"{}\" is not made by the condition network", loop.conditionvar()));
  }
  Names body = *known;
  check_layers(loop.bodynetwork().layers(), &body, true, check);
  if (!conditional) *known = std::move(body);
}

void check_layers(const Layers& layers, Names* known, bool in_loop, Checker& check) {
  for (const Layer& layer : layers) {
    if (check.full()) return;
    const NnRule* rule = find_nn_rule(layer.layer_case());
    Checker::Place place(check, fmt::format("layer \"{}\" ({})", layer.name(), rule ? rule->name : "unknown"));
    if (!rule) {
      check.error("layer has no type, or one newer than this program");
    } else {
      check_count("input", layer.input_size(), rule->inputs_min, rule->inputs_max, check);
      check_count("output", layer.output_size(), rule->outputs_min, rule->outputs_max, check);
      check_options(layer, check);
      check_weights(layer, check);
    }
    for (const std::string& input : layer.input())
      if (!known->count(input)) check.error(fmt::format("input \"{}\" is not made by an earlier layer", input));
    if (layer.inputtensor_size() != 0 && layer.inputtensor_size() != layer.input_size()) check.error("ranks are given for some inputs only");
    if (layer.outputtensor_size() != 0 && layer.outputtensor_size() != layer.output_size())
      check.error("ranks are given for some outputs only");
    if (layer.has_branch()) check_branch(layer, known, in_loop, check);
    if (layer.has_loop()) check_loop(layer, known, check);
    if ((layer.has_loopbreak() || layer.has_loopcontinue()) && !in_loop) check.error("is not inside a loop");
    for (const std::string& output : layer.output())
      if (!known->insert(output).second && !layer.has_copy())
        check.error(fmt::format("output \"{}\" is made a second time", output));
  }
}

void check_array_input(const FeatureDescription& input, bool exact, Checker& check) {
  const ArrayType& array = input.type.array;
  Checker::Place place(check, fmt::format("input \"{}\"", input.name));
  if (exact) {
    check.require(!array.shape.empty(), "array of a network needs a default shape");
    return;
  }
  auto suits = [](size_t rank) { return rank == 1 || rank == 3; };
  bool ok = array.shape.empty() || suits(array.shape.size());
  bool found = !array.shape.empty();
  if (array.flexibility == Flexibility::kEnumerated)
    for (const auto& shape : array.enumerated_shapes) found |= suits(shape.size());
  if (array.flexibility == Flexibility::kRange) found |= suits(array.shape_range.size());
  check.require(ok && found, "array of a network with the rank-5 mapping must have 1 or 3 axes");
}

template <typename Network>
void check_network(const Model& model, const Network& network, Checker& check) {
  const Description& description = model.description();
  check.require(network.layers_size() > 0, "network has no layers");
  bool arrays = false, new_layers = false;
  for (const Layer& layer : network.layers()) new_layers |= nn_layer_spec_version(layer) > 3;
  bool exact_arrays = network.arrayinputshapemapping() != 0, exact_images = network.imageinputshapemapping() != 0;
  check.require(network.arrayinputshapemapping() >= 0 && network.arrayinputshapemapping() <= 1 &&
                    network.imageinputshapemapping() >= 0 && network.imageinputshapemapping() <= 1,
                "unknown shape mapping");
  bool exact = new_layers || exact_arrays || exact_images;
  Names known;
  check.features("input", description.inputs, 0, {FeatureKind::kImage, FeatureKind::kMultiArray, FeatureKind::kState});
  for (const FeatureDescription& input : description.inputs) {
    known.insert(input.name);
    if (input.type.kind != FeatureKind::kMultiArray) continue;
    arrays = true;
    check_array_input(input, exact, check);
  }
  if (arrays && !exact_arrays && (new_layers || exact_images))
    check.error("layers of specification version 4 or later need the exact array mapping");
  check_layers(network.layers(), &known, false, check);
  for (const spec::NeuralNetworkPreprocessing& step : network.preprocessing()) {
    // Without a name it is for the first image.
    if (step.featurename().empty()) continue;
    const FeatureDescription* input = find_feature(description.inputs, step.featurename());
    if (!input || input->type.kind != FeatureKind::kImage)
      check.error(fmt::format("preprocessing is for \"{}\", which is no image input", step.featurename()));
    if (step.has_meanimage() && input && input->type.kind == FeatureKind::kImage) {
      int64_t channels = input->type.image.color_space == ColorSpace::kGrayscale ? 1 : 3, given = step.meanimage().meanimage_size();
      if (given != channels * input->type.image.width * input->type.image.height)
        check.warning(fmt::format("mean image of \"{}\" has {} values", step.featurename(), given));
    }
  }
  for (const FeatureDescription& output : description.outputs) {
    if (known.count(output.name)) continue;
    bool derived = model.kind() == ModelKind::kNeuralNetworkClassifier && (output.name == description.predicted_feature_name ||
                                                                            output.name == description.predicted_probabilities_name);
    if (!derived) check.error(fmt::format("output \"{}\" is not made by any layer", output.name));
  }
  if constexpr (requires { network.labelprobabilitylayername(); }) {
    const std::string& name = network.labelprobabilitylayername();
    if (!name.empty() && !known.count(name)) check.error(fmt::format("probabilities \"{}\" are not made by any layer", name));
  }
  if (model.updatable() && !network.has_updateparams()) check.error("network is updatable but has no update parameters");
}

}  // namespace

void check_neural_network(const Model& model, Checker& check) {
  const spec::Model& proto = model.proto();
  if (model.kind() == ModelKind::kNeuralNetworkClassifier) {
    check_classifier_interface(model.description(), model.class_labels(), false, false, check);
    check_network(model, proto.neuralnetworkclassifier(), check);
  } else if (model.kind() == ModelKind::kNeuralNetworkRegressor) {
    check_regressor_interface(model.description(), check);
    check_network(model, proto.neuralnetworkregressor(), check);
  } else {
    check.features("output", model.description().outputs, 0, {FeatureKind::kImage, FeatureKind::kMultiArray, FeatureKind::kState});
    check_network(model, proto.neuralnetwork(), check);
  }
}

}  // namespace mlt::coreml
