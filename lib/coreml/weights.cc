#include "lib/coreml/weights.h"

#include <fmt/core.h>

#include <cstring>

#include "lib/base/float16.h"
#include "lib/coreml/model_proto.h"
#include "lib/coreml/nn_weights.h"
#include "lib/coreml/validate/nn_rules.h"

namespace mlt::coreml {
namespace {

using Layers = google::protobuf::RepeatedPtrField<spec::NeuralNetworkLayer>;

const Layers* layers_of(const spec::Model& model) {
  switch (model.Type_case()) {
    case spec::Model::kNeuralNetwork: return &model.neuralnetwork().layers();
    case spec::Model::kNeuralNetworkClassifier: return &model.neuralnetworkclassifier().layers();
    case spec::Model::kNeuralNetworkRegressor: return &model.neuralnetworkregressor().layers();
    default: return nullptr;
  }
}

template <typename Visit>
Status each_layer(const Layers& layers, const Visit& visit) {
  for (const spec::NeuralNetworkLayer& layer : layers) {
    MLT_TRY(visit(layer));
    for (const auto* network : {&layer.branch().ifbranch(), &layer.branch().elsebranch(), &layer.loop().conditionnetwork(),
                                &layer.loop().bodynetwork()})
      MLT_TRY(each_layer(network->layers(), visit));
  }
  return {};
}

// Elements stored; -1 when codes are narrower than a byte, so that bytes alone do not tell.
int64_t stored_count(const spec::WeightParams& params) {
  if (params.floatvalue_size() > 0) return params.floatvalue_size();
  if (!params.float16value().empty()) return static_cast<int64_t>(params.float16value().size() / 2);
  if (!params.int8rawvalue().empty()) return static_cast<int64_t>(params.int8rawvalue().size());
  if (params.quantization().numberofbits() == 8 || !params.has_quantization())
    return static_cast<int64_t>(params.rawvalue().size());
  return -1;
}

void describe(const spec::WeightParams& params, NetworkWeight* out) {
  if (params.floatvalue_size() > 0) {
    out->bytes = uint64_t{4} * static_cast<uint64_t>(params.floatvalue_size());
  } else if (!params.float16value().empty()) {
    out->storage = WeightStorage::kFloat16;
    out->bits = 16;
    out->bytes = params.float16value().size();
  } else {
    out->bits = static_cast<int>(std::min<uint64_t>(params.quantization().numberofbits(), 64));
    out->bytes = params.rawvalue().size() + params.int8rawvalue().size();
    if (!params.has_quantization()) out->storage = WeightStorage::kOpaque;
    else if (!params.int8rawvalue().empty()) out->storage = WeightStorage::kDynamicInt8;
    else if (params.quantization().has_lookuptablequantization()) out->storage = WeightStorage::kPalette;
    else out->storage = WeightStorage::kLinear;
  }
}

// Most significant bit first, as coremltools' quantization_utils packs.
std::string packed(std::span<const uint8_t> codes, int bits) {
  std::string out((codes.size() * static_cast<size_t>(bits) + 7) / 8, '\0');
  for (size_t i = 0; i < codes.size(); i++) {
    for (int b = 0; b < bits; b++) {
      size_t bit = i * static_cast<size_t>(bits) + static_cast<size_t>(b);
      if (codes[i] >> (bits - 1 - b) & 1) out[bit / 8] = static_cast<char>(out[bit / 8] | 0x80 >> (bit % 8));
    }
  }
  return out;
}

void clear_values(spec::WeightParams* params) {
  params->clear_floatvalue();
  params->clear_float16value();
  params->clear_rawvalue();
  params->clear_int8rawvalue();
  params->clear_quantization();
}

}  // namespace

int64_t NetworkWeight::size() const {
  int64_t count = 1;
  for (int64_t extent : dims) count *= extent;  // checked when the list was made
  return count;
}

Result<NetworkWeights> NetworkWeights::of(Model& model) {
  NetworkWeights out;
  out.model_ = &model;
  MLT_TRY(out.add(model, ""));
  return out;
}

Status NetworkWeights::add(const Model& model, const std::string& stage) {
  for (size_t i = 0; i < model.child_count(); i++) MLT_TRY(add(model.child(i), fmt::format("{}stage {}/", stage, i)));
  const Layers* layers = layers_of(model.proto());
  if (!layers) return {};
  return each_layer(*layers, [&](const spec::NeuralNetworkLayer& layer) -> Status {
    const NnRule* rule = find_nn_rule(layer.layer_case());
    for (const WeightSlot& slot : weight_slots(layer)) {
      NetworkWeight weight;
      describe(*slot.params, &weight);
      if (weight.bytes == 0) continue;
      weight.stage = stage;
      weight.layer = layer.name();
      weight.layer_kind = rule ? rule->name : "unknown";
      weight.name = slot.name;
      std::string place = fmt::format("{}layer \"{}\": {}", stage, layer.name(), slot.name);
      int64_t stored = stored_count(*slot.params);
      if (slot.shape.empty()) {
        if (stored < 0) return unsupported_error("number of values is not known").in_path(place);
        weight.dims = {stored};
      } else {
        for (uint64_t extent : slot.shape) weight.dims.push_back(extent > INT64_MAX ? -1 : static_cast<int64_t>(extent));
        MLT_ASSIGN(int64_t count, element_count(weight.dims).in(place));
        bool fits = stored >= 0 ? stored == count
                                : (static_cast<uint64_t>(count) * static_cast<uint64_t>(weight.bits) + 7) / 8 == weight.bytes;
        if (!fits) return input_error(fmt::format("has not the {} values its layer needs", count)).in_path(place);
        // Deconvolutions and matrix products are stored with the input channels first.
        bool second = (layer.convolution().isdeconvolution() || layer.convolution3d().isdeconvolution() || layer.has_batchedmatmul()) &&
                      weight.dims.size() > 1;
        weight.channel_axis = second ? 1 : 0;
        // Not so in a deconvolution with groups, whose second axis is only a group's share.
        if (slot.shape[static_cast<size_t>(weight.channel_axis)] == slot.channels) weight.channels = static_cast<int64_t>(slot.channels);
      }
      weights_.push_back(std::move(weight));
      // The message belongs to the model's storage; only this view of it is const.
      params_.push_back(const_cast<spec::WeightParams*>(slot.params));
      layers_.push_back(const_cast<spec::NeuralNetworkLayer*>(&layer));
    }
    return {};
  });
}

Result<Tensor> NetworkWeights::values(size_t i) const {
  const NetworkWeight& weight = weights_[i];
  if (weight.storage == WeightStorage::kOpaque) return unsupported_error("values of this weight are not described");
  return weight_tensor(*params_[i], weight.dims, weight.channel_axis);
}

Status NetworkWeights::check(size_t i, size_t count) const {
  if (static_cast<int64_t>(count) != weights_[i].size())
    return usage_error(fmt::format("{} values for a weight of {}", count, weights_[i].size()));
  return {};
}

Status NetworkWeights::set_float32(size_t i, std::span<const float> values) {
  MLT_TRY(check(i, values.size()));
  model_->mutable_proto();
  spec::WeightParams* params = params_[i];
  clear_values(params);
  params->mutable_floatvalue()->Add(values.begin(), values.end());
  weights_[i].storage = WeightStorage::kFloat32;
  weights_[i].bits = 32;
  weights_[i].bytes = values.size() * 4;
  return {};
}

Status NetworkWeights::set_float16(size_t i, std::span<const float> values) {
  MLT_TRY(check(i, values.size()));
  model_->mutable_proto();
  std::string bytes(values.size() * 2, '\0');
  for (size_t k = 0; k < values.size(); k++) {
    uint16_t half = float_to_half(values[k]);
    std::memcpy(bytes.data() + 2 * k, &half, 2);
  }
  spec::WeightParams* params = params_[i];
  clear_values(params);
  params->set_float16value(std::move(bytes));
  weights_[i].storage = WeightStorage::kFloat16;
  weights_[i].bits = 16;
  weights_[i].bytes = values.size() * 2;
  return {};
}

Status NetworkWeights::set_linear(size_t i, int bits, std::span<const uint8_t> codes, std::span<const float> scales,
                                  std::span<const float> biases) {
  MLT_TRY(check(i, codes.size()));
  const NetworkWeight& weight = weights_[i];
  auto channels = static_cast<size_t>(weight.channels);
  if (bits < 1 || bits > 8) return usage_error(fmt::format("{} bits; 1 to 8 are possible", bits));
  if (scales.size() != 1 && scales.size() != channels)
    return usage_error(fmt::format("{} scales for {} channels", scales.size(), channels));
  if (!biases.empty() && biases.size() != scales.size())
    return usage_error(fmt::format("{} scales but {} biases", scales.size(), biases.size()));
  model_->mutable_proto();
  spec::WeightParams* params = params_[i];
  clear_values(params);
  params->set_rawvalue(packed(codes, bits));
  params->mutable_quantization()->set_numberofbits(static_cast<uint64_t>(bits));
  auto* linear = params->mutable_quantization()->mutable_linearquantization();
  linear->mutable_scale()->Add(scales.begin(), scales.end());
  linear->mutable_bias()->Add(biases.begin(), biases.end());
  weights_[i].storage = WeightStorage::kLinear;
  weights_[i].bits = bits;
  weights_[i].bytes = params->rawvalue().size();
  return {};
}

Status NetworkWeights::set_dynamic(size_t i, std::span<const uint8_t> codes, float scale) {
  MLT_TRY(check(i, codes.size()));
  spec::NeuralNetworkLayer* layer = layers_[i];
  if (weights_[i].name != "weights" || !(layer->has_innerproduct() || layer->has_batchedmatmul())) return usage_error("only matrix products have int8 with activations");
  model_->mutable_proto();
  spec::WeightParams* params = params_[i];
  clear_values(params);
  params->set_int8rawvalue(std::string(codes.begin(), codes.end()));
  params->mutable_quantization()->set_numberofbits(8);
  params->mutable_quantization()->mutable_linearquantization()->add_scale(scale);
  if (layer->has_innerproduct()) layer->mutable_innerproduct()->set_int8dynamicquantize(true);
  else layer->mutable_batchedmatmul()->set_int8dynamicquantize(true);
  weights_[i].storage = WeightStorage::kDynamicInt8;
  weights_[i].bits = 8;
  weights_[i].bytes = codes.size();
  return {};
}

Status NetworkWeights::set_palette(size_t i, int bits, std::span<const uint8_t> codes, std::span<const float> table) {
  MLT_TRY(check(i, codes.size()));
  if (bits < 1 || bits > 8) return usage_error(fmt::format("{} bits; 1 to 8 are possible", bits));
  if (table.size() != size_t{1} << bits) return usage_error(fmt::format("table of {} entries for {} bits", table.size(), bits));
  model_->mutable_proto();
  spec::WeightParams* params = params_[i];
  clear_values(params);
  params->set_rawvalue(packed(codes, bits));
  params->mutable_quantization()->set_numberofbits(static_cast<uint64_t>(bits));
  params->mutable_quantization()->mutable_lookuptablequantization()->mutable_floatvalue()->Add(table.begin(), table.end());
  weights_[i].storage = WeightStorage::kPalette;
  weights_[i].bits = bits;
  weights_[i].bytes = params->rawvalue().size();
  return {};
}

}  // namespace mlt::coreml
