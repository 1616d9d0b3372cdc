#include "lib/coreml/nn_layers.h"

#include <algorithm>
#include <cstring>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/validate/nn_rules.h"

namespace mlt::coreml {
namespace {

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

// Calls visit(field, weights, dims) for each weight of one layer (the table of them: weight_slots); empty dims: not known.
template <typename Visit>
void layer_weights(const Layer& layer, const Visit& visit) {
  std::vector<WeightSlot> slots = weight_slots(layer);
  // Layers with several messages of weights name them: "weightParams1." is the backward half of a bidirectional LSTM.
  size_t sets = layer.has_bidirectionallstm() ? static_cast<size_t>(layer.bidirectionallstm().weightparams_size()) : 1;
  size_t per_set = sets == 0 ? 1 : std::max<size_t>(slots.size() / sets, 1);
  for (size_t i = 0; i < slots.size(); ++i) {
    std::string name = slots[i].name;
    if (layer.has_unidirectionallstm()) name = "weightParams." + name;
    if (layer.has_bidirectionallstm()) name = "weightParams" + std::to_string(i / per_set) + "." + name;
    if (layer.has_custom()) name += std::to_string(i);
    Dims dims;
    for (uint64_t extent : slots[i].shape) dims.push_back(extent > (uint64_t{1} << 40) ? -1 : static_cast<int64_t>(extent));
    visit(name, *slots[i].params, std::move(dims));
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
      bool deconvolution = layer.convolution().isdeconvolution() || layer.convolution3d().isdeconvolution();
      if (fits && field == "weights" && (deconvolution || layer.has_batchedmatmul())) info.channel_axis = 1;
      if (fits && field == "weights" && deconvolution)
        info.groups = std::max<int64_t>(layer.has_convolution() ? static_cast<int64_t>(layer.convolution().ngroups()) : layer.convolution3d().ngroups(), 1);
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
  const NnRule* rule = find_nn_rule(number);
  return rule != nullptr ? rule->name : std::string_view();
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
