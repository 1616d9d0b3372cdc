#include "lib/coreml/espresso_reader.h"

namespace mlt::coreml {

using Layer = spec::NeuralNetworkLayer;

Status EspressoReader::one() {
  if (in_->tops.empty()) return input_error("has no output");
  using Handler = Status (EspressoReader::*)();
  static const std::map<std::string_view, Handler> kHandlers = {
      {"convolution", &EspressoReader::convolution}, {"deconvolution", &EspressoReader::convolution}, {"pool", &EspressoReader::pool},
      {"inner_product", &EspressoReader::inner_product}, {"activation", &EspressoReader::activation}, {"elementwise", &EspressoReader::elementwise},
      {"softmax", &EspressoReader::softmax}, {"softmax_nd", &EspressoReader::softmax_nd}, {"flatten", &EspressoReader::flatten},
      {"reshape", &EspressoReader::reshape}, {"transpose", &EspressoReader::transpose}, {"concat", &EspressoReader::concat},
      {"sequence_concat", &EspressoReader::sequence_concat}, {"slice", &EspressoReader::slice}, {"reduce", &EspressoReader::reduce},
      {"general_padding", &EspressoReader::padding}, {"l2_normalize", &EspressoReader::normalize}, {"load_constant", &EspressoReader::load_constant},
      {"expand_dims", &EspressoReader::expand_dims}, {"squeeze", &EspressoReader::expand_dims}, {"batch_matmul", &EspressoReader::batch_matmul},
      {"batchnorm", &EspressoReader::batchnorm}, {"upsample", &EspressoReader::upsample}, {"split_nd", &EspressoReader::split_nd},
  };
  auto it = kHandlers.find(in_->type);
  if (it == kHandlers.end()) return unsupported_error("layers of this type are not known");
  return (this->*it->second)();
}

Status read_espresso(const EspressoNetwork& network, const EspressoBlobs& blobs, Model& model) {
  spec::Model& proto = model.mutable_proto();
  auto fill = [&](auto* body) -> Status {
    body->clear_layers();
    body->clear_preprocessing();
    for (const auto& [input, image] : network.images) {
      auto* p = body->add_preprocessing();
      p->set_featurename(input);
      auto* scaler = p->mutable_scaler();
      scaler->set_channelscale(image.scale);
      scaler->set_redbias(image.red);
      scaler->set_greenbias(image.green);
      scaler->set_bluebias(image.blue);
      scaler->set_graybias(image.gray);
    }
    body->set_arrayinputshapemapping(network.exact_arrays ? spec::EXACT_ARRAY_MAPPING : spec::RANK5_ARRAY_MAPPING);
    body->set_imageinputshapemapping(network.exact_arrays ? spec::RANK4_IMAGE_MAPPING : spec::RANK5_IMAGE_MAPPING);
    Status status = EspressoReader(network, blobs, body->mutable_layers()).run();
    if (!status.ok()) body->clear_layers();
    if (status.ok() && network.update_parameters) {
      const Bytes& bytes = *network.update_parameters;
      if (bytes.size() > INT_MAX || !body->mutable_updateparams()->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
        return input_error("the update parameters are damaged");
      for (const auto& [name, output] : network.updatable_layers)
        for (Layer& layer : *body->mutable_layers()) {
          if (layer.name() != name) continue;
          layer.set_isupdatable(true);
          if (layer.has_innerproduct()) {
            layer.mutable_innerproduct()->mutable_weights()->set_isupdatable(true);
            if (layer.innerproduct().hasbias()) layer.mutable_innerproduct()->mutable_bias()->set_isupdatable(true);
          } else if (layer.has_convolution()) {
            layer.mutable_convolution()->mutable_weights()->set_isupdatable(true);
            if (layer.convolution().hasbias()) layer.mutable_convolution()->mutable_bias()->set_isupdatable(true);
          }
        }
      proto.set_isupdatable(true);
    }
    return status;
  };
  switch (model.kind()) {
    case ModelKind::kNeuralNetwork: return fill(proto.mutable_neuralnetwork());
    case ModelKind::kNeuralNetworkClassifier: return fill(proto.mutable_neuralnetworkclassifier());
    case ModelKind::kNeuralNetworkRegressor: return fill(proto.mutable_neuralnetworkregressor());
    default: return usage_error("a " + model.kind_name() + " is no neural network");
  }
}

}  // namespace mlt::coreml
