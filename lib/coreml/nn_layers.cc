#include "lib/coreml/nn_layers.h"

#include <algorithm>
#include <cstring>

#include "lib/coreml/model_proto.h"

namespace mlt::coreml {
namespace {

struct Row {
  int number;
  const char* name;
};
// The members of NeuralNetworkLayer.layer, by field number.
constexpr Row kRows[] = {
    {100, "convolution"}, {120, "pooling"}, {130, "activation"}, {140, "innerProduct"}, {150, "embedding"},
    {160, "batchnorm"}, {165, "mvn"}, {170, "l2normalize"}, {175, "softmax"}, {180, "lrn"}, {190, "crop"},
    {200, "padding"}, {210, "upsample"}, {211, "resizeBilinear"}, {212, "cropResize"}, {220, "unary"}, {230, "add"},
    {231, "multiply"}, {240, "average"}, {245, "scale"}, {250, "bias"}, {260, "max"}, {261, "min"}, {270, "dot"},
    {280, "reduce"}, {290, "loadConstant"}, {300, "reshape"}, {301, "flatten"}, {310, "permute"}, {320, "concat"},
    {330, "split"}, {340, "sequenceRepeat"}, {345, "reorganizeData"}, {350, "slice"}, {400, "simpleRecurrent"},
    {410, "gru"}, {420, "uniDirectionalLSTM"}, {430, "biDirectionalLSTM"}, {500, "custom"}, {600, "copy"},
    {605, "branch"}, {615, "loop"}, {620, "loopBreak"}, {625, "loopContinue"}, {635, "rangeStatic"},
    {640, "rangeDynamic"}, {660, "clip"}, {665, "ceil"}, {670, "floor"}, {680, "sign"}, {685, "round"}, {700, "exp2"},
    {710, "sin"}, {715, "cos"}, {720, "tan"}, {730, "asin"}, {735, "acos"}, {740, "atan"}, {750, "sinh"},
    {755, "cosh"}, {760, "tanh"}, {770, "asinh"}, {775, "acosh"}, {780, "atanh"}, {790, "erf"}, {795, "gelu"},
    {815, "equal"}, {820, "notEqual"}, {825, "lessThan"}, {827, "lessEqual"}, {830, "greaterThan"},
    {832, "greaterEqual"}, {840, "logicalOr"}, {845, "logicalXor"}, {850, "logicalNot"}, {855, "logicalAnd"},
    {865, "modBroadcastable"}, {870, "minBroadcastable"}, {875, "maxBroadcastable"}, {880, "addBroadcastable"},
    {885, "powBroadcastable"}, {890, "divideBroadcastable"}, {895, "floorDivBroadcastable"},
    {900, "multiplyBroadcastable"}, {905, "subtractBroadcastable"}, {920, "tile"}, {925, "stack"}, {930, "gather"},
    {935, "scatter"}, {940, "gatherND"}, {945, "scatterND"}, {950, "softmaxND"}, {952, "gatherAlongAxis"},
    {954, "scatterAlongAxis"}, {960, "reverse"}, {965, "reverseSeq"}, {975, "splitND"}, {980, "concatND"},
    {985, "transpose"}, {995, "sliceStatic"}, {1000, "sliceDynamic"}, {1005, "slidingWindows"}, {1015, "topK"},
    {1020, "argMin"}, {1025, "argMax"}, {1040, "embeddingND"}, {1045, "batchedMatmul"}, {1065, "getShape"},
    {1070, "loadConstantND"}, {1080, "fillLike"}, {1085, "fillStatic"}, {1090, "fillDynamic"},
    {1100, "broadcastToLike"}, {1105, "broadcastToStatic"}, {1110, "broadcastToDynamic"}, {1120, "squeeze"},
    {1125, "expandDims"}, {1130, "flattenTo2D"}, {1135, "reshapeLike"}, {1140, "reshapeStatic"},
    {1145, "reshapeDynamic"}, {1150, "rankPreservingReshape"}, {1155, "constantPad"}, {1170, "randomNormalLike"},
    {1175, "randomNormalStatic"}, {1180, "randomNormalDynamic"}, {1190, "randomUniformLike"},
    {1195, "randomUniformStatic"}, {1200, "randomUniformDynamic"}, {1210, "randomBernoulliLike"},
    {1215, "randomBernoulliStatic"}, {1220, "randomBernoulliDynamic"}, {1230, "categoricalDistribution"},
    {1250, "reduceL1"}, {1255, "reduceL2"}, {1260, "reduceMax"}, {1265, "reduceMin"}, {1270, "reduceSum"},
    {1275, "reduceProd"}, {1280, "reduceMean"}, {1285, "reduceLogSum"}, {1290, "reduceSumSquare"},
    {1295, "reduceLogSumExp"}, {1313, "whereNonZero"}, {1315, "matrixBandPart"}, {1320, "lowerTriangular"},
    {1325, "upperTriangular"}, {1330, "whereBroadcastable"}, {1350, "layerNormalization"},
    {1400, "NonMaximumSuppression"}, {1450, "oneHot"}, {1455, "cumSum"}, {1460, "clampedReLU"}, {1461, "argSort"},
    {1465, "pooling3d"}, {1466, "globalPooling3d"}, {1470, "sliceBySize"}, {1471, "convolution3d"},
};
using Layer = spec::NeuralNetworkLayer;

const google::protobuf::RepeatedPtrField<Layer>* layers_of(const spec::Model& model) {
  switch (model.Type_case()) {
    case spec::Model::kNeuralNetwork: return &model.neuralnetwork().layers();
    case spec::Model::kNeuralNetworkClassifier: return &model.neuralnetworkclassifier().layers();
    case spec::Model::kNeuralNetworkRegressor: return &model.neuralnetworkregressor().layers();
    default: return nullptr;
  }
}

// Calls visit(layer, depth) for each layer and those of nested networks. Nesting is bounded by the message parser.
template <typename Visit>
void walk(const google::protobuf::RepeatedPtrField<Layer>& layers, int depth, const Visit& visit) {
  for (const Layer& layer : layers) {
    visit(layer, depth);
    if (layer.has_branch()) {
      walk(layer.branch().ifbranch().layers(), depth + 1, visit);
      walk(layer.branch().elsebranch().layers(), depth + 1, visit);
    } else if (layer.has_loop()) {
      walk(layer.loop().conditionnetwork().layers(), depth + 1, visit);
      walk(layer.loop().bodynetwork().layers(), depth + 1, visit);
    }
  }
}

const char* activation_name(const spec::ActivationParams& params) {
  switch (params.NonlinearityType_case()) {
    case spec::ActivationParams::kLinear: return "Linear";
    case spec::ActivationParams::kReLU: return "ReLU";
    case spec::ActivationParams::kLeakyReLU: return "LeakyReLU";
    case spec::ActivationParams::kThresholdedReLU: return "ThresholdedReLU";
    case spec::ActivationParams::kPReLU: return "PReLU";
    case spec::ActivationParams::kTanh: return "Tanh";
    case spec::ActivationParams::kScaledTanh: return "ScaledTanh";
    case spec::ActivationParams::kSigmoid: return "Sigmoid";
    case spec::ActivationParams::kSigmoidHard: return "SigmoidHard";
    case spec::ActivationParams::kELU: return "ELU";
    case spec::ActivationParams::kSoftsign: return "Softsign";
    case spec::ActivationParams::kSoftplus: return "Softplus";
    case spec::ActivationParams::kParametricSoftplus: return "ParametricSoftplus";
    case spec::ActivationParams::NONLINEARITYTYPE_NOT_SET: break;
  }
  return "";
}

// One of `names`, or nothing when the number is beyond them.
template <size_t N>
const char* pick(const char* const (&names)[N], int number) {
  return number >= 0 && number < static_cast<int>(N) ? names[number] : "";
}

// Spelling of the compiled metadata (reference mlmodelc.md section 3.5): the member's name with a capital letter, plus
// the kind within it for four of them.
std::string histogram_name(const Layer& layer, std::string_view kind) {
  if (kind.empty()) return "Unknown";
  if (kind == "batchnorm") return "BatchNorm";
  std::string name(kind);
  if (name[0] >= 'a' && name[0] <= 'z') name[0] = static_cast<char>(name[0] - 'a' + 'A');
  constexpr const char* kPooling[] = {"Max", "Average", "L2"};
  constexpr const char* kUnary[] = {"Sqrt", "Rsqrt", "Inverse", "Power", "Exp", "Log", "Abs", "Threshold"};
  constexpr const char* kReduce[] = {"Sum", "Avg", "Prod", "LogSum", "SumSquare", "L1", "L2", "Max", "Min", "ArgMax"};
  if (layer.has_activation()) name += activation_name(layer.activation());
  if (layer.has_pooling()) name += pick(kPooling, layer.pooling().type());
  if (layer.has_unary()) name += pick(kUnary, layer.unary().type());
  if (layer.has_reduce()) name += pick(kReduce, layer.reduce().mode());
  return name;
}

Dims dims_of(std::initializer_list<uint64_t> extents) {
  Dims dims;
  for (uint64_t e : extents) dims.push_back(e > (uint64_t{1} << 40) ? -1 : static_cast<int64_t>(e));
  return dims;
}
template <typename Shape>
Dims dims_from(const Shape& shape) {
  Dims dims;
  for (auto e : shape) dims.push_back(static_cast<uint64_t>(e) > (uint64_t{1} << 40) ? -1 : static_cast<int64_t>(e));
  return dims;
}

// Calls visit(field, weights, dims) for each weight of one layer; empty dims: not known.
template <typename Visit>
void layer_weights(const Layer& layer, const Visit& visit) {
  auto lstm = [&](const std::string& prefix, const spec::LSTMWeightParams& w, uint64_t in, uint64_t out) {
    visit(prefix + "inputGateWeightMatrix", w.inputgateweightmatrix(), dims_of({out, in}));
    visit(prefix + "forgetGateWeightMatrix", w.forgetgateweightmatrix(), dims_of({out, in}));
    visit(prefix + "blockInputWeightMatrix", w.blockinputweightmatrix(), dims_of({out, in}));
    visit(prefix + "outputGateWeightMatrix", w.outputgateweightmatrix(), dims_of({out, in}));
    visit(prefix + "inputGateRecursionMatrix", w.inputgaterecursionmatrix(), dims_of({out, out}));
    visit(prefix + "forgetGateRecursionMatrix", w.forgetgaterecursionmatrix(), dims_of({out, out}));
    visit(prefix + "blockInputRecursionMatrix", w.blockinputrecursionmatrix(), dims_of({out, out}));
    visit(prefix + "outputGateRecursionMatrix", w.outputgaterecursionmatrix(), dims_of({out, out}));
    visit(prefix + "inputGateBiasVector", w.inputgatebiasvector(), Dims{});
    visit(prefix + "forgetGateBiasVector", w.forgetgatebiasvector(), Dims{});
    visit(prefix + "blockInputBiasVector", w.blockinputbiasvector(), Dims{});
    visit(prefix + "outputGateBiasVector", w.outputgatebiasvector(), Dims{});
    visit(prefix + "inputGatePeepholeVector", w.inputgatepeepholevector(), Dims{});
    visit(prefix + "forgetGatePeepholeVector", w.forgetgatepeepholevector(), Dims{});
    visit(prefix + "outputGatePeepholeVector", w.outputgatepeepholevector(), Dims{});
  };
  switch (layer.layer_case()) {
    case Layer::kConvolution: {
      const auto& p = layer.convolution();
      uint64_t kh = p.kernelsize_size() > 0 ? p.kernelsize(0) : 3, kw = p.kernelsize_size() > 1 ? p.kernelsize(1) : 3;
      uint64_t groups = p.ngroups() == 0 ? 1 : p.ngroups();
      visit("weights", p.weights(),
            p.isdeconvolution() ? dims_of({p.kernelchannels(), p.outputchannels() / groups, kh, kw})
                                : dims_of({p.outputchannels(), p.kernelchannels(), kh, kw}));
      visit("bias", p.bias(), Dims{});
      return;
    }
    case Layer::kConvolution3D: {
      const auto& p = layer.convolution3d();
      uint64_t groups = p.ngroups() <= 0 ? 1 : static_cast<uint64_t>(p.ngroups());
      auto u = [](auto value) { return static_cast<uint64_t>(value); };
      visit("weights", p.weights(),
            p.isdeconvolution() ? Dims{} : dims_of({u(p.outputchannels()), u(p.inputchannels()) / groups, u(p.kerneldepth()), u(p.kernelheight()), u(p.kernelwidth())}));
      visit("bias", p.bias(), Dims{});
      return;
    }
    case Layer::kInnerProduct: {
      const auto& p = layer.innerproduct();
      visit("weights", p.weights(), dims_of({p.outputchannels(), p.inputchannels()}));
      visit("bias", p.bias(), Dims{});
      return;
    }
    case Layer::kEmbedding: {
      const auto& p = layer.embedding();
      visit("weights", p.weights(), dims_of({p.outputchannels(), p.inputdim()}));
      visit("bias", p.bias(), Dims{});
      return;
    }
    case Layer::kEmbeddingND: {
      const auto& p = layer.embeddingnd();
      visit("weights", p.weights(), dims_of({p.embeddingsize(), p.vocabsize()}));
      visit("bias", p.bias(), Dims{});
      return;
    }
    case Layer::kBatchedMatmul: {
      const auto& p = layer.batchedmatmul();
      visit("weights", p.weights(), dims_of({p.weightmatrixfirstdimension(), p.weightmatrixseconddimension()}));
      visit("bias", p.bias(), Dims{});
      return;
    }
    case Layer::kBatchnorm: {
      const auto& p = layer.batchnorm();
      visit("gamma", p.gamma(), Dims{});
      visit("beta", p.beta(), Dims{});
      visit("mean", p.mean(), Dims{});
      visit("variance", p.variance(), Dims{});
      return;
    }
    case Layer::kLayerNormalization: {
      const auto& p = layer.layernormalization();
      visit("gamma", p.gamma(), dims_from(p.normalizedshape()));
      visit("beta", p.beta(), dims_from(p.normalizedshape()));
      return;
    }
    case Layer::kScale: {
      const auto& p = layer.scale();
      visit("scale", p.scale(), dims_from(p.shapescale()));
      visit("bias", p.bias(), dims_from(p.shapebias()));
      return;
    }
    case Layer::kBias: return visit("bias", layer.bias().bias(), dims_from(layer.bias().shape()));
    case Layer::kLoadConstant: return visit("data", layer.loadconstant().data(), dims_from(layer.loadconstant().shape()));
    case Layer::kLoadConstantND: return visit("data", layer.loadconstantnd().data(), dims_from(layer.loadconstantnd().shape()));
    case Layer::kActivation: {
      const auto& p = layer.activation();
      if (p.has_prelu()) visit("alpha", p.prelu().alpha(), Dims{});
      if (p.has_parametricsoftplus()) {
        visit("alpha", p.parametricsoftplus().alpha(), Dims{});
        visit("beta", p.parametricsoftplus().beta(), Dims{});
      }
      return;
    }
    case Layer::kSimpleRecurrent: {
      const auto& p = layer.simplerecurrent();
      visit("weightMatrix", p.weightmatrix(), dims_of({p.outputvectorsize(), p.inputvectorsize()}));
      visit("recursionMatrix", p.recursionmatrix(), dims_of({p.outputvectorsize(), p.outputvectorsize()}));
      visit("biasVector", p.biasvector(), Dims{});
      return;
    }
    case Layer::kGru: {
      const auto& p = layer.gru();
      Dims in = dims_of({p.outputvectorsize(), p.inputvectorsize()}), own = dims_of({p.outputvectorsize(), p.outputvectorsize()});
      visit("updateGateWeightMatrix", p.updategateweightmatrix(), in);
      visit("resetGateWeightMatrix", p.resetgateweightmatrix(), in);
      visit("outputGateWeightMatrix", p.outputgateweightmatrix(), in);
      visit("updateGateRecursionMatrix", p.updategaterecursionmatrix(), own);
      visit("resetGateRecursionMatrix", p.resetgaterecursionmatrix(), own);
      visit("outputGateRecursionMatrix", p.outputgaterecursionmatrix(), own);
      visit("updateGateBiasVector", p.updategatebiasvector(), Dims{});
      visit("resetGateBiasVector", p.resetgatebiasvector(), Dims{});
      visit("outputGateBiasVector", p.outputgatebiasvector(), Dims{});
      return;
    }
    case Layer::kUniDirectionalLSTM: {
      const auto& p = layer.unidirectionallstm();
      return lstm("weightParams.", p.weightparams(), p.inputvectorsize(), p.outputvectorsize());
    }
    case Layer::kBiDirectionalLSTM: {
      const auto& p = layer.bidirectionallstm();
      for (int i = 0; i < p.weightparams_size(); ++i)
        lstm("weightParams" + std::to_string(i) + ".", p.weightparams(i), p.inputvectorsize(), p.outputvectorsize());
      return;
    }
    case Layer::kCustom:
      for (int i = 0; i < layer.custom().weights_size(); ++i) visit("weights" + std::to_string(i), layer.custom().weights(i), Dims{});
      return;
    default: return;
  }
}

// How one WeightParams stores its numbers.
struct Stored {
  std::string storage;
  DType dtype = DType::kF32;
  uint64_t elements = 0, bytes = 0;
  int bits = 0;  // quantized: width of one code
};
Stored stored(const spec::WeightParams& w) {
  if (w.has_quantization()) {
    // Codes of up to 8 bits, most significant bit first (coremltools quantization_utils); dynamic int8 has its own field.
    const std::string& raw = w.rawvalue().empty() ? w.int8rawvalue() : w.rawvalue();
    uint64_t bits = w.quantization().numberofbits();
    if (bits >= 1 && bits <= 8) {
      constexpr DType kCodes[] = {DType::kU8, DType::kU1, DType::kU2, DType::kU3, DType::kU4, DType::kU8, DType::kU6, DType::kU8, DType::kU8};
      const char* scheme = w.quantization().has_lookuptablequantization() ? "palette" : "linear";
      return {std::string(scheme) + " " + std::to_string(bits) + "-bit", kCodes[bits], raw.size() * 8 / bits, raw.size(), static_cast<int>(bits)};
    }
    return {"raw", DType::kU8, raw.size(), raw.size(), 0};
  }
  if (w.floatvalue_size() > 0) return {"float32", DType::kF32, static_cast<uint64_t>(w.floatvalue_size()), uint64_t{4} * static_cast<uint64_t>(w.floatvalue_size()), 0};
  if (!w.float16value().empty()) return {"float16", DType::kF16, w.float16value().size() / 2, w.float16value().size(), 0};
  if (!w.int8rawvalue().empty()) return {"int8", DType::kI8, w.int8rawvalue().size(), w.int8rawvalue().size(), 0};
  return {"raw", DType::kU8, w.rawvalue().size(), w.rawvalue().size(), 0};
}

int64_t product(const Dims& dims) {
  auto count = element_count(dims);
  return count.ok() ? *count : -1;
}

// Calls visit(info, proto) for each weight that is not empty.
template <typename Visit>
void each_weight(const Model& model, const Visit& visit) {
  const auto* layers = layers_of(model.proto());
  if (layers == nullptr) return;
  walk(*layers, 0, [&](const Layer& layer, int) {
    layer_weights(layer, [&](const std::string& field, const spec::WeightParams& w, Dims dims) {
      Stored s = stored(w);
      if (s.bytes == 0) return;
      // The last byte of narrow codes may be padded: the layer's own shape says how many there are.
      int64_t count = dims.empty() ? -1 : product(dims);
      bool fits = count >= 0 && (s.bits > 0 ? static_cast<uint64_t>(count) <= s.elements && s.elements - static_cast<uint64_t>(count) < 8
                                            : static_cast<uint64_t>(count) == s.elements);
      if (!fits) dims = {static_cast<int64_t>(s.elements)};
      NnWeight info{layer.name() + "." + field, layer.name(), s.storage, s.dtype, std::move(dims), s.bytes};
      bool deconvolution = layer.has_convolution() && layer.convolution().isdeconvolution();
      if (fits && field == "weights" && (deconvolution || layer.has_batchedmatmul())) info.channel_axis = 1;
      if (fits && field == "weights" && deconvolution && layer.convolution().ngroups() > 1) info.groups = static_cast<int64_t>(layer.convolution().ngroups());
      visit(std::move(info), w);
    });
  });
}

Result<Tensor> values(const spec::WeightParams& w, const NnWeight& info) {
  MLT_ASSIGN(int64_t count, element_count(info.dims));
  Stored s = stored(w);
  if (s.storage == "float16") {
    Tensor out = Tensor::uninitialized(DType::kF16, info.dims);
    std::memcpy(out.mutable_bytes(), w.float16value().data(), static_cast<size_t>(count) * 2);
    return out;
  }
  Tensor out = Tensor::uninitialized(DType::kF32, info.dims);
  float* data = out.mutable_data<float>();
  if (s.storage == "float32") {
    std::copy(w.floatvalue().begin(), w.floatvalue().end(), data);
    return out;
  }
  if (s.bits == 0) {
    if (s.storage != "int8") return unsupported_error("weights in a form of their own cannot be read").in_path(info.name);
    for (int64_t i = 0; i < count; ++i) data[i] = static_cast<int8_t>(w.int8rawvalue()[static_cast<size_t>(i)]);
    return out;
  }
  const std::string& raw = w.rawvalue().empty() ? w.int8rawvalue() : w.rawvalue();
  const auto& q = w.quantization();
  bool is_signed = w.rawvalue().empty();
  // Elements of one channel, channels along the axis, elements of a group.
  auto axis = static_cast<size_t>(info.channel_axis);
  int64_t inner = 1, channels = axis < info.dims.size() ? info.dims[axis] : 1;
  for (size_t d = axis + 1; d < info.dims.size(); ++d) inner *= info.dims[d];
  int64_t per_group = std::max<int64_t>(count / std::max<int64_t>(info.groups, 1), 1);
  for (int64_t i = 0; i < count; ++i) {
    unsigned code = 0;
    for (int b = 0; b < s.bits; ++b) {
      size_t bit = static_cast<size_t>(i) * static_cast<size_t>(s.bits) + static_cast<size_t>(b);
      code = code << 1 | (static_cast<unsigned char>(raw[bit / 8]) >> (7 - bit % 8) & 1u);
    }
    if (q.has_lookuptablequantization()) {
      if (code >= static_cast<unsigned>(q.lookuptablequantization().floatvalue_size())) return input_error("a palette code without an entry").in_path(info.name);
      data[i] = q.lookuptablequantization().floatvalue(static_cast<int>(code));
      continue;
    }
    const auto& linear = q.linearquantization();
    int64_t channel = i / inner % channels + (info.groups > 1 ? i / per_group * channels : 0);
    // One value for all, or one per output channel.
    auto of = [&](const auto& list, float none) {
      if (list.size() == 0) return none;
      return list.Get(list.size() == 1 ? 0 : static_cast<int>(std::min<int64_t>(channel, list.size() - 1)));
    };
    float number = is_signed ? static_cast<float>(static_cast<int8_t>(code)) : static_cast<float>(code);
    data[i] = number * of(linear.scale(), 1) + of(linear.bias(), 0);
  }
  return out;
}

}  // namespace

std::string_view nn_layer_kind_name(int number) {
  for (const Row& row : kRows)
    if (row.number == number) return row.name;
  return {};
}

std::vector<NnLayer> nn_layers(const Model& model) {
  std::vector<NnLayer> out;
  const auto* layers = layers_of(model.proto());
  if (layers == nullptr) return out;
  walk(*layers, 0, [&](const Layer& layer, int depth) {
    NnLayer row;
    row.name = layer.name();
    row.kind = layer.layer_case();
    std::string_view kind = nn_layer_kind_name(row.kind);
    row.kind_name = kind.empty() ? "unknown" : std::string(kind);
    row.histogram_name = histogram_name(layer, kind);
    row.inputs.assign(layer.input().begin(), layer.input().end());
    row.outputs.assign(layer.output().begin(), layer.output().end());
    row.depth = depth;
    out.push_back(std::move(row));
  });
  return out;
}

std::string label_probability_layer(const Model& model) { return model.proto().neuralnetworkclassifier().labelprobabilitylayername(); }

std::vector<NnWeight> nn_weights(const Model& model) {
  std::vector<NnWeight> out;
  each_weight(model, [&](NnWeight info, const spec::WeightParams&) { out.push_back(std::move(info)); });
  return out;
}

Result<Tensor> nn_weight_values(const Model& model, size_t index) {
  Result<Tensor> out = input_error("no such weight");
  size_t i = 0;
  each_weight(model, [&](const NnWeight& info, const spec::WeightParams& w) {
    if (i++ == index) out = values(w, info);
  });
  return out;
}

}  // namespace mlt::coreml
