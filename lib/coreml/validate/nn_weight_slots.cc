// Which weights a layer has and how large they are. From the layers' definitions and coremltools'
// NeuralNetworkLayerValidator.
#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate/nn_rules.h"

namespace mlt::coreml {
namespace {

using Params = spec::WeightParams;
using Slots = std::vector<WeightSlot>;
using Shape = std::vector<uint64_t>;

template <typename Field>
Shape shape_of(const Field& field) {
  return Shape(field.begin(), field.end());
}

void convolution(const spec::ConvolutionLayerParams& p, int inputs, Slots* out) {
  if (inputs > 1) return;  // weights are an input
  uint64_t groups = p.ngroups() ? p.ngroups() : 1;
  uint64_t height = p.kernelsize_size() > 0 ? p.kernelsize(0) : 3, width = p.kernelsize_size() > 1 ? p.kernelsize(1) : 3;
  Shape shape = p.isdeconvolution() ? Shape{p.kernelchannels(), p.outputchannels() / groups, height, width}
                                    : Shape{p.outputchannels(), p.kernelchannels(), height, width};
  out->push_back({"weights", &p.weights(), shape, p.outputchannels()});
  if (p.hasbias()) out->push_back({"bias", &p.bias(), {p.outputchannels()}, 1});
}

uint64_t extent(int64_t value) { return value < 0 ? 0 : static_cast<uint64_t>(value); }

void convolution3d(const spec::Convolution3DLayerParams& p, Slots* out) {
  uint64_t groups = p.ngroups() > 0 ? extent(p.ngroups()) : 1, outputs = extent(p.outputchannels()), inputs = extent(p.inputchannels());
  Shape shape = p.isdeconvolution() ? Shape{inputs, outputs / groups} : Shape{outputs, inputs / groups};
  for (int32_t kernel : {p.kerneldepth(), p.kernelheight(), p.kernelwidth()}) shape.push_back(extent(kernel));
  out->push_back({"weights", &p.weights(), shape, outputs});
  if (p.hasbias()) out->push_back({"bias", &p.bias(), {outputs}, 1});
}

// shape is [C], or [C, H, W] with one scale per channel.
void shaped(const char* name, const Params& params, Shape shape, Slots* out) {
  uint64_t channels = shape.size() == 3 && shape[0] > 1 ? shape[0] : 1;
  if (shape.empty()) shape = {1};
  out->push_back({name, &params, std::move(shape), channels});
}

void lstm(const spec::LSTMWeightParams& w, const spec::LSTMParams& p, uint64_t x, uint64_t h, Slots* out) {
  out->push_back({"inputGateWeightMatrix", &w.inputgateweightmatrix(), {h, x}, h});
  out->push_back({"forgetGateWeightMatrix", &w.forgetgateweightmatrix(), {h, x}, h});
  out->push_back({"blockInputWeightMatrix", &w.blockinputweightmatrix(), {h, x}, h});
  out->push_back({"outputGateWeightMatrix", &w.outputgateweightmatrix(), {h, x}, h});
  out->push_back({"inputGateRecursionMatrix", &w.inputgaterecursionmatrix(), {h, h}, h});
  out->push_back({"forgetGateRecursionMatrix", &w.forgetgaterecursionmatrix(), {h, h}, h});
  out->push_back({"blockInputRecursionMatrix", &w.blockinputrecursionmatrix(), {h, h}, h});
  out->push_back({"outputGateRecursionMatrix", &w.outputgaterecursionmatrix(), {h, h}, h});
  if (p.hasbiasvectors()) {
    out->push_back({"inputGateBiasVector", &w.inputgatebiasvector(), {h}, 1});
    out->push_back({"forgetGateBiasVector", &w.forgetgatebiasvector(), {h}, 1});
    out->push_back({"blockInputBiasVector", &w.blockinputbiasvector(), {h}, 1});
    out->push_back({"outputGateBiasVector", &w.outputgatebiasvector(), {h}, 1});
  }
  if (p.haspeepholevectors()) {
    out->push_back({"inputGatePeepholeVector", &w.inputgatepeepholevector(), {h}, 1});
    out->push_back({"forgetGatePeepholeVector", &w.forgetgatepeepholevector(), {h}, 1});
    out->push_back({"outputGatePeepholeVector", &w.outputgatepeepholevector(), {h}, 1});
  }
}

void gru(const spec::GRULayerParams& p, Slots* out) {
  uint64_t x = p.inputvectorsize(), h = p.outputvectorsize();
  out->push_back({"updateGateWeightMatrix", &p.updategateweightmatrix(), {h, x}, h});
  out->push_back({"resetGateWeightMatrix", &p.resetgateweightmatrix(), {h, x}, h});
  out->push_back({"outputGateWeightMatrix", &p.outputgateweightmatrix(), {h, x}, h});
  out->push_back({"updateGateRecursionMatrix", &p.updategaterecursionmatrix(), {h, h}, h});
  out->push_back({"resetGateRecursionMatrix", &p.resetgaterecursionmatrix(), {h, h}, h});
  out->push_back({"outputGateRecursionMatrix", &p.outputgaterecursionmatrix(), {h, h}, h});
  if (!p.hasbiasvectors()) return;
  out->push_back({"updateGateBiasVector", &p.updategatebiasvector(), {h}, 1});
  out->push_back({"resetGateBiasVector", &p.resetgatebiasvector(), {h}, 1});
  out->push_back({"outputGateBiasVector", &p.outputgatebiasvector(), {h}, 1});
}

}  // namespace

std::vector<WeightSlot> weight_slots(const spec::NeuralNetworkLayer& layer) {
  using Layer = spec::NeuralNetworkLayer;
  Slots out;
  switch (layer.layer_case()) {
    case Layer::kConvolution: convolution(layer.convolution(), layer.input_size(), &out); break;
    case Layer::kConvolution3D: convolution3d(layer.convolution3d(), &out); break;
    case Layer::kInnerProduct: {
      const auto& p = layer.innerproduct();
      out.push_back({"weights", &p.weights(), {p.outputchannels(), p.inputchannels()}, p.outputchannels()});
      if (p.hasbias()) out.push_back({"bias", &p.bias(), {p.outputchannels()}, 1});
      break;
    }
    case Layer::kEmbedding: {
      const auto& p = layer.embedding();
      out.push_back({"weights", &p.weights(), {p.outputchannels(), p.inputdim()}, p.outputchannels()});
      if (p.hasbias()) out.push_back({"bias", &p.bias(), {p.outputchannels()}, 1});
      break;
    }
    case Layer::kEmbeddingND: {
      const auto& p = layer.embeddingnd();
      out.push_back({"weights", &p.weights(), {p.embeddingsize(), p.vocabsize()}, p.embeddingsize()});
      if (p.hasbias()) out.push_back({"bias", &p.bias(), {p.embeddingsize()}, 1});
      break;
    }
    case Layer::kBatchedMatmul: {
      const auto& p = layer.batchedmatmul();
      if (layer.input_size() > 1) break;
      uint64_t rows = p.weightmatrixfirstdimension(), columns = p.weightmatrixseconddimension();
      // Stored column by column: one scale per output.
      out.push_back({"weights", &p.weights(), {rows, columns}, columns});
      if (p.hasbias()) out.push_back({"bias", &p.bias(), {columns}, 1});
      break;
    }
    case Layer::kBatchnorm: {
      const auto& p = layer.batchnorm();
      out.push_back({"gamma", &p.gamma(), {p.channels()}, 1});
      out.push_back({"beta", &p.beta(), {p.channels()}, 1});
      if (p.computemeanvar()) break;
      out.push_back({"mean", &p.mean(), {p.channels()}, 1});
      out.push_back({"variance", &p.variance(), {p.channels()}, 1});
      break;
    }
    case Layer::kScale:
      shaped("scale", layer.scale().scale(), shape_of(layer.scale().shapescale()), &out);
      if (layer.scale().hasbias()) shaped("bias", layer.scale().bias(), shape_of(layer.scale().shapebias()), &out);
      break;
    case Layer::kBias: shaped("bias", layer.bias().bias(), shape_of(layer.bias().shape()), &out); break;
    case Layer::kLoadConstant: shaped("data", layer.loadconstant().data(), shape_of(layer.loadconstant().shape()), &out); break;
    case Layer::kLoadConstantND:
      out.push_back({"data", &layer.loadconstantnd().data(), shape_of(layer.loadconstantnd().shape()), 1});
      break;
    case Layer::kLayerNormalization: {
      Shape shape;
      for (int64_t value : layer.layernormalization().normalizedshape()) shape.push_back(extent(value));
      out.push_back({"gamma", &layer.layernormalization().gamma(), shape, 1});
      out.push_back({"beta", &layer.layernormalization().beta(), shape, 1});
      break;
    }
    case Layer::kSimpleRecurrent: {
      const auto& p = layer.simplerecurrent();
      uint64_t x = p.inputvectorsize(), h = p.outputvectorsize();
      out.push_back({"weightMatrix", &p.weightmatrix(), {h, x}, h});
      out.push_back({"recursionMatrix", &p.recursionmatrix(), {h, h}, h});
      if (p.hasbiasvector()) out.push_back({"biasVector", &p.biasvector(), {h}, 1});
      break;
    }
    case Layer::kGru: gru(layer.gru(), &out); break;
    case Layer::kUniDirectionalLSTM: {
      const auto& p = layer.unidirectionallstm();
      lstm(p.weightparams(), p.params(), p.inputvectorsize(), p.outputvectorsize(), &out);
      break;
    }
    case Layer::kBiDirectionalLSTM: {
      const auto& p = layer.bidirectionallstm();
      for (const auto& weights : p.weightparams())
        lstm(weights, p.params(), p.inputvectorsize(), p.outputvectorsize(), &out);
      break;
    }
    case Layer::kActivation: {
      const auto& p = layer.activation();
      if (p.has_prelu()) out.push_back({"alpha", &p.prelu().alpha(), {}, 1});
      if (p.has_parametricsoftplus()) {
        out.push_back({"alpha", &p.parametricsoftplus().alpha(), {}, 1});
        out.push_back({"beta", &p.parametricsoftplus().beta(), {}, 1});
      }
      break;
    }
    case Layer::kCustom:
      for (const Params& weights : layer.custom().weights()) out.push_back({"weights", &weights, {}, 1});
      break;
    default: break;
  }
  return out;
}

int nn_layer_spec_version(const spec::NeuralNetworkLayer& layer) {
  using Layer = spec::NeuralNetworkLayer;
  const NnRule* rule = find_nn_rule(layer.layer_case());
  int version = rule ? rule->spec_version : 1;
  auto at_least = [&](int needed) { version = std::max(version, needed); };
  switch (layer.layer_case()) {
    case Layer::kConvolution:
      if (layer.input_size() != 1) at_least(4);
      break;
    case Layer::kUpsample:
      if (layer.upsample().linearupsamplemode() != 0 || layer.upsample().fractionalscalingfactor_size() > 0) at_least(5);
      break;
    case Layer::kReorganizeData:
      if (layer.reorganizedata().mode() == spec::ReorganizeDataLayerParams::PIXEL_SHUFFLE) at_least(5);
      break;
    case Layer::kInnerProduct:
      if (layer.innerproduct().int8dynamicquantize()) at_least(5);
      break;
    case Layer::kBatchedMatmul:
      if (layer.batchedmatmul().int8dynamicquantize()) at_least(5);
      break;
    case Layer::kConcatND:
      if (layer.concatnd().interleave()) at_least(5);
      break;
    case Layer::kSliceDynamic:
      if (layer.input_size() == 7 || layer.slicedynamic().squeezemasks_size() > 0) at_least(5);
      break;
    case Layer::kBranch:
      for (const auto* network : {&layer.branch().ifbranch(), &layer.branch().elsebranch()})
        for (const auto& inner : network->layers()) at_least(nn_layer_spec_version(inner));
      break;
    case Layer::kLoop:
      for (const auto* network : {&layer.loop().conditionnetwork(), &layer.loop().bodynetwork()})
        for (const auto& inner : network->layers()) at_least(nn_layer_spec_version(inner));
      break;
    default: break;
  }
  for (const WeightSlot& slot : weight_slots(layer)) {
    if (!slot.params->float16value().empty()) at_least(2);
    if (!slot.params->rawvalue().empty()) at_least(3);
    if (!slot.params->int8rawvalue().empty()) at_least(5);
  }
  return version;
}

}  // namespace mlt::coreml
