#include "lib/coreml/training.h"

#include "lib/coreml/model_proto.h"

namespace mlt::coreml {
namespace {

using Kind = TrainingParameter::Kind;

void add(const char* name, const spec::DoubleParameter& p, std::vector<TrainingParameter>* out) {
  TrainingParameter parameter{name, Kind::kDouble, p.defaultvalue(), std::nullopt, {}};
  if (p.has_range()) parameter.range.emplace(p.range().minvalue(), p.range().maxvalue());
  out->push_back(std::move(parameter));
}
void add(const char* name, const spec::Int64Parameter& p, std::vector<TrainingParameter>* out) {
  TrainingParameter parameter{name, Kind::kInt64, static_cast<double>(p.defaultvalue()), std::nullopt, {}};
  if (p.has_range()) parameter.range.emplace(static_cast<double>(p.range().minvalue()), static_cast<double>(p.range().maxvalue()));
  for (int64_t value : p.set().values()) parameter.allowed.push_back(static_cast<double>(value));
  out->push_back(std::move(parameter));
}

void add_network(const google::protobuf::RepeatedPtrField<spec::NeuralNetworkLayer>& layers, const spec::NetworkUpdateParameters& update, Training* out) {
  for (const auto& layer : layers)
    if (layer.isupdatable()) out->layers.push_back(layer.name());
  for (const auto& loss : update.losslayers()) {
    if (loss.has_categoricalcrossentropylosslayer()) {
      const auto& p = loss.categoricalcrossentropylosslayer();
      out->losses.push_back({loss.name(), "categoricalCrossEntropy", p.input(), p.target()});
    } else if (loss.has_meansquarederrorlosslayer()) {
      const auto& p = loss.meansquarederrorlosslayer();
      out->losses.push_back({loss.name(), "meanSquaredError", p.input(), p.target()});
    } else {
      out->losses.push_back({loss.name(), "unknown", "", ""});
    }
  }
  auto& parameters = out->parameters;
  if (update.optimizer().has_sgdoptimizer()) {
    const auto& p = update.optimizer().sgdoptimizer();
    out->optimizer = "sgd";
    add("learningRate", p.learningrate(), &parameters);
    add("miniBatchSize", p.minibatchsize(), &parameters);
    add("momentum", p.momentum(), &parameters);
  } else if (update.optimizer().has_adamoptimizer()) {
    const auto& p = update.optimizer().adamoptimizer();
    out->optimizer = "adam";
    add("learningRate", p.learningrate(), &parameters);
    add("miniBatchSize", p.minibatchsize(), &parameters);
    add("beta1", p.beta1(), &parameters);
    add("beta2", p.beta2(), &parameters);
    add("eps", p.eps(), &parameters);
  }
  if (update.has_epochs()) add("epochs", update.epochs(), &parameters);
  if (update.has_shuffle()) parameters.push_back({"shuffle", Kind::kBool, update.shuffle().defaultvalue() ? 1.0 : 0.0, std::nullopt, {}});
  if (update.has_seed()) add("seed", update.seed(), &parameters);
}

}  // namespace

std::optional<Training> training_of(const Model& model) {
  if (!model.updatable() || is_pipeline(model.kind())) return std::nullopt;
  Training out;
  const spec::Model& proto = model.proto();
  switch (model.kind()) {
    case ModelKind::kNeuralNetwork: add_network(proto.neuralnetwork().layers(), proto.neuralnetwork().updateparams(), &out); break;
    case ModelKind::kNeuralNetworkClassifier: add_network(proto.neuralnetworkclassifier().layers(), proto.neuralnetworkclassifier().updateparams(), &out); break;
    case ModelKind::kNeuralNetworkRegressor: add_network(proto.neuralnetworkregressor().layers(), proto.neuralnetworkregressor().updateparams(), &out); break;
    case ModelKind::kKNearestNeighborsClassifier: {
      const auto& knn = proto.knearestneighborsclassifier();
      out.samples = knn.nearestneighborsindex().floatsamples_size();
      out.dimensions = knn.nearestneighborsindex().numberofdimensions();
      add("numberOfNeighbors", knn.numberofneighbors(), &out.parameters);
      break;
    }
    default: break;
  }
  return out;
}

}  // namespace mlt::coreml
