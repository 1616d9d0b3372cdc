#include "lib/coreml/nn_lift.h"

#include <algorithm>

#include "lib/coreml/nn_layers.h"
#include "lib/coreml/nn_lifter.h"

namespace mlt::coreml {
namespace {

using Layer = spec::NeuralNetworkLayer;
constexpr int kMaxNesting = 32;

std::string_view kind_of(const Layer& layer);

// Layers that no lift exists for, at any depth.
void collect_unsupported(const google::protobuf::RepeatedPtrField<Layer>& layers, std::vector<std::string>& reasons, int depth, bool in_loop = false) {
  if (depth > kMaxNesting) {
    reasons.push_back("networks nest more than " + std::to_string(kMaxNesting) + " deep");
    return;
  }
  for (const Layer& layer : layers) {
    std::string place = "layer \"" + layer.name() + "\": ";
    switch (layer.layer_case()) {
      case Layer::LAYER_NOT_SET: reasons.push_back(place + "has no type, or one that is not known here"); break;
      case Layer::kCustom: reasons.push_back(place + "custom layer of class " + layer.custom().classname() + ", implemented by the app that ships it"); break;
      case Layer::kBranch:
        collect_unsupported(layer.branch().ifbranch().layers(), reasons, depth + 1, in_loop);
        collect_unsupported(layer.branch().elsebranch().layers(), reasons, depth + 1, in_loop);
        break;
      case Layer::kLoop:
        collect_unsupported(layer.loop().conditionnetwork().layers(), reasons, depth + 1);
        collect_unsupported(layer.loop().bodynetwork().layers(), reasons, depth + 1, true);
        break;
      case Layer::kLoopBreak: case Layer::kLoopContinue:
        if (!in_loop) reasons.push_back(place + std::string(kind_of(layer)) + " outside of a loop's body");
        break;
      default: break;
    }
  }
}

std::string_view kind_of(const Layer& layer) {
  return nn_layer_kind_name(static_cast<int>(layer.layer_case()));
}

}  // namespace

Result<LiftedNetwork> lift_neural_network(const Model& model, const LiftOptions& options) {
  if (!is_neural_network(model.kind())) return usage_error("a " + model.kind_name() + " is no neural network");
  return Lifter(model, options).run();
}

Result<LiftedNetwork> Lifter::run() {
  std::vector<std::string> reasons;
  collect_unsupported(*layers_, reasons, 0);
  if (!reasons.empty()) {
    std::string message;
    for (const std::string& reason : reasons) message += (message.empty() ? "" : "; ") + reason;
    return unsupported_error(std::move(message));
  }
  LiftedNetwork net;
  MLT_TRY(inputs(net));
  MLT_TRY(layers(*layers_));
  MLT_TRY(outputs(net));
  MLT_TRY(b_.status());
  function_->erase_dead_ops();
  for (const auto& [name, blob] : blobs_) net.blobs.emplace(name, blob.dims);
  net.program = program_;
  return net;
}

Result<Dims> Lifter::blob_dims(const FeatureDescription& feature, const Dims& given) const {
  auto wrong = [&] { return input_error("input \"" + feature.name + "\": shape " + dims_text(given) + " fits neither the description nor the network"); };
  if (exact_arrays_) return given.empty() ? Result<Dims>(wrong()) : Result<Dims>(given);
  size_t declared = feature.type.array.shape.size();
  switch (given.size()) {
    case 1: return Dims{1, 1, given[0], 1, 1};
    case 2: return Dims{1, given[0], given[1], 1, 1};
    case 3:
      if (declared == 1) return Dims{given[0], given[1], given[2], 1, 1};
      return Dims{1, 1, given[0], given[1], given[2]};
    case 4: return Dims{1, given[0], given[1], given[2], given[3]};
    case 5: return given;
    default: return wrong();
  }
}

Status Lifter::inputs(LiftedNetwork& net) {
  for (const FeatureDescription& feature : model_.description().inputs) {
    LiftedInput input;
    input.feature = feature.name;
    input.optional = feature.type.optional;
    auto given = options_.input_dims.find(feature.name);
    Blob blob;
    if (feature.type.kind == FeatureKind::kImage) {
      const ImageType& image = feature.type.image;
      input.image = true;
      input.color_space = image.color_space;
      bool gray = image.color_space == ColorSpace::kGrayscale || image.color_space == ColorSpace::kGrayscaleFloat16;
      int64_t height = image.height, width = image.width;
      if (given != options_.input_dims.end()) {
        const Dims& d = given->second;
        if (d.size() < 2) return input_error("input \"" + feature.name + "\": an image needs height and width");
        height = d[d.size() - 2], width = d[d.size() - 1];
      }
      input.dims = {1, gray ? 1 : 3, height, width};
      blob.dims = rank4_images_ ? input.dims : Dims{1, 1, gray ? 1 : 3, height, width};
    } else if (feature.type.kind == FeatureKind::kMultiArray) {
      input.dims = given != options_.input_dims.end() ? given->second : feature.type.array.shape;
      if (input.dims.empty()) return input_error("input \"" + feature.name + "\": the description states no shape; one must be given");
      MLT_ASSIGN(blob.dims, blob_dims(feature, input.dims));
    } else if (feature.type.kind == FeatureKind::kInt64 || feature.type.kind == FeatureKind::kDouble) {
      input.dims = {1};
      blob.dims = exact_arrays_ ? Dims{1} : Dims{1, 1, 1, 1, 1};
    } else {
      return unsupported_error("input \"" + feature.name + "\": a neural network takes images and multi-arrays, not a " + std::string(feature_kind_name(feature.type.kind)));
    }
    for (int64_t d : input.dims)
      if (d < 1) return input_error("input \"" + feature.name + "\": bad shape " + dims_text(input.dims));
    auto count = element_count(input.dims);
    if (!count) return std::move(count).error().in_path("input \"" + feature.name + "\"");
    input.value = function_->unique_name(feature.name);
    blob.value = function_->add_input(input.value, ir::Type::tensor(DType::kF32, input.dims));
    MLT_TRY(preprocess(feature, blob));
    blobs_[feature.name] = blob;
    net.inputs.push_back(std::move(input));
  }
  return {};
}

// The network's own scaling of an image; part of the program, in the order given.
Status Lifter::preprocess(const FeatureDescription& feature, Blob& blob) {
  bool image = feature.type.kind == FeatureKind::kImage;
  for (const auto& p : *preprocessing_) {
    if (p.featurename() != feature.name && !(p.featurename().empty() && image)) continue;
    if (p.preprocessor_case() == spec::NeuralNetworkPreprocessing::kScaler) {
      if (!image) return input_error("input \"" + feature.name + "\": image scaling of something that is no image");
      const auto& scaler = p.scaler();
      std::vector<float> bias;
      switch (feature.type.image.color_space) {
        case ColorSpace::kRgb: bias = {scaler.redbias(), scaler.greenbias(), scaler.bluebias()}; break;
        case ColorSpace::kBgr: bias = {scaler.bluebias(), scaler.greenbias(), scaler.redbias()}; break;
        default: bias = {scaler.graybias()};
      }
      // proto3 cannot tell 0 from absent; a scale of 0 would erase the picture, so it stands for the default.
      float scale = scaler.channelscale() == 0 ? 1.0f : scaler.channelscale();
      if (scale != 1) blob.value = op("mul", {{"x", blob.value}, {"y", b_.f32(scale)}});
      bool zero = std::all_of(bias.begin(), bias.end(), [](float v) { return v == 0; });
      if (!zero) blob.value = op("add", {{"x", blob.value}, {"y", b_.constant(Tensor::from<float>({1, static_cast<int64_t>(bias.size()), 1, 1}, bias))}});
    } else if (p.preprocessor_case() == spec::NeuralNetworkPreprocessing::kMeanImage) {
      const auto& mean = p.meanimage().meanimage();
      const Dims& dims = blob.value->type.dims;
      auto count = element_count(dims);
      if (!count.ok() || *count != mean.size())
        return input_error("input \"" + feature.name + "\": the mean image has " + std::to_string(mean.size()) + " values for " + dims_text(dims));
      blob.value = op("sub", {{"x", blob.value}, {"y", b_.constant(Tensor::from<float>(dims, std::vector<float>(mean.begin(), mean.end())), "mean_image")}});
    }
    if (blob.value == nullptr) return failed();
  }
  return {};
}


Status Lifter::layer(const Layer& l) {
  // What follows a branch that leaves a loop is lifted twice; that must not go on for ever.
  if (--*budget_ < 0) return unsupported_error("the network's branches and loops are too many");
  const Layer* outer = layer_;
  layer_ = &l;
  Status status = dispatch(l);
  layer_ = outer;
  if (!status.ok()) return std::move(status).in("layer \"" + l.name() + "\" (" + std::string(kind_of(l)) + ")");
  return {};
}

Status Lifter::dispatch(const Layer& l) {
  switch (l.layer_case()) {
    case Layer::kConvolution: return convolution(l.convolution());
    case Layer::kPooling: return pooling(l.pooling());
    case Layer::kActivation: return activation(l.activation());
    case Layer::kInnerProduct: return inner_product(l.innerproduct());
    case Layer::kEmbedding: return embedding(l.embedding());
    case Layer::kBatchnorm: return batchnorm(l.batchnorm());
    case Layer::kMvn: return mvn(l.mvn());
    case Layer::kL2Normalize: return l2normalize(l.l2normalize());
    case Layer::kSoftmax: return softmax();
    case Layer::kLrn: return lrn(l.lrn());
    case Layer::kCrop: return crop(l.crop());
    case Layer::kPadding: return padding(l.padding());
    case Layer::kUpsample: return upsample(l.upsample());
    case Layer::kResizeBilinear: return resize_bilinear(l.resizebilinear());
    case Layer::kCropResize: return crop_resize(l.cropresize());
    case Layer::kUnary: return unary_function(l.unary());
    case Layer::kAdd: return elementwise("add", l.add().alpha());
    case Layer::kMultiply: return elementwise("mul", l.multiply().alpha());
    case Layer::kAverage: return elementwise("add", 0, true);
    case Layer::kMax: return elementwise("maximum", 0);
    case Layer::kMin: return elementwise("minimum", 0);
    case Layer::kScale: return scale(l.scale());
    case Layer::kBias: return bias(l.bias());
    case Layer::kDot: return dot(l.dot());
    case Layer::kReduce: return reduce(l.reduce());
    case Layer::kLoadConstant: return load_constant(l.loadconstant().shape(), l.loadconstant().data(), true);
    case Layer::kLoadConstantND: return load_constant(l.loadconstantnd().shape(), l.loadconstantnd().data(), false);
    case Layer::kReshape: return reshape(l.reshape());
    case Layer::kFlatten: return flatten(l.flatten());
    case Layer::kPermute: return permute(l.permute());
    case Layer::kConcat: return concat(l.concat());
    case Layer::kSplit: return split(l.split());
    case Layer::kSequenceRepeat: return sequence_repeat(l.sequencerepeat());
    case Layer::kReorganizeData: return reorganize(l.reorganizedata());
    case Layer::kSlice: return slice(l.slice());
    case Layer::kSimpleRecurrent: return simple_recurrent(l.simplerecurrent());
    case Layer::kGru: return gru(l.gru());
    case Layer::kUniDirectionalLSTM: return lstm(l.unidirectionallstm());
    case Layer::kBiDirectionalLSTM: return bi_lstm(l.bidirectionallstm());
    case Layer::kBranch: return branch(l.branch());
    case Layer::kLoop: return loop(l.loop());
    case Layer::kPooling3D: return pooling3d(l.pooling3d());
    case Layer::kGlobalPooling3D: return global_pooling3d(l.globalpooling3d());
    case Layer::kConvolution3D: return convolution3d(l.convolution3d());
    case Layer::kCopy: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      return out(x.value, x.dims);
    }
    default: {
      bool known = true;
      MLT_TRY(nd_layer(l, known));
      if (known) return {};
      known = true;
      MLT_TRY(shape_layer(l, known));
      if (known) return {};
      return unsupported_error("this layer is not supported");
    }
  }
}

Status Lifter::outputs(LiftedNetwork& net) {
  std::set<V> used;
  // A value that leaves the function needs its own name, and extents as the caller expects them.
  auto leave = [&](V value) -> Result<std::string> {
    if (value == nullptr) return failed().error();
    if (value->producer == nullptr || !used.insert(value).second || value->producer->is_const()) {
      value = b_.op("identity", {{"x", value}});
      if (value == nullptr) return failed().error();
      used.insert(value);
    }
    function_->body->outputs.push_back(value);
    return value->name;
  };
  for (const FeatureDescription& feature : model_.description().outputs) {
    bool image = feature.type.kind == FeatureKind::kImage;
    if (!image && feature.type.kind != FeatureKind::kMultiArray && feature.type.kind != FeatureKind::kDouble && feature.type.kind != FeatureKind::kInt64) continue;
    auto it = blobs_.find(feature.name);
    if (it == blobs_.end()) {
      if (model_.kind() == ModelKind::kNeuralNetworkClassifier && feature.type.kind != FeatureKind::kMultiArray && !image) continue;  // the label
      return input_error("output \"" + feature.name + "\" is produced by no layer");
    }
    const Blob& blob = it->second;
    Dims dims = blob.dims;
    if (image) {
      MLT_ASSIGN(dims, fixed(blob));
      if (dims.size() < 3) return input_error("output \"" + feature.name + "\": shape " + dims_text(dims) + " is no image");
      int64_t batch = 1;
      for (int64_t d : lead(dims, 3)) batch *= d;
      if (batch != 1) return input_error("output \"" + feature.name + "\": shape " + dims_text(dims) + " is no single image");
      dims = {1, dims[dims.size() - 3], dims[dims.size() - 2], dims[dims.size() - 1]};
    } else if (!exact_arrays_ && dims.size() == 5) {
      // Legacy outputs: the described extents when they hold as many elements, else [C, H, W] or [C] of a single item.
      const Dims& declared = feature.type.array.shape;
      MLT_ASSIGN(int64_t count, element_count(dims));
      auto described = element_count(declared);
      if (!declared.empty() && described.ok() && *described == count) dims = declared;
      else if (dims[0] == 1 && dims[1] == 1) dims = dims[3] == 1 && dims[4] == 1 ? Dims{dims[2]} : Dims{dims[2], dims[3], dims[4]};
    }
    V value = blob.value;
    if (std::none_of(dims.begin(), dims.end(), [](int64_t d) { return d < 0; })) value = view(value, dims);
    LiftedOutput output;
    output.feature = feature.name;
    output.image = image;
    output.color_space = feature.type.image.color_space;
    MLT_ASSIGN(output.value, leave(value));
    net.outputs.push_back(std::move(output));
  }
  if (model_.kind() == ModelKind::kNeuralNetworkClassifier) {
    net.labels = model_.class_labels();
    std::string name = model_.proto().neuralnetworkclassifier().labelprobabilitylayername();
    if (name.empty()) name = last_output_;
    auto it = blobs_.find(name);
    if (it == blobs_.end()) return input_error("the layer of label probabilities, \"" + name + "\", does not exist");
    MLT_ASSIGN(Dims dims, fixed(it->second));
    MLT_ASSIGN(int64_t count, element_count(dims));
    auto labels = static_cast<int64_t>(net.labels.size());
    if (labels == 0 || count != labels)
      return input_error("the network gives " + std::to_string(count) + " scores for " + std::to_string(labels) + " class labels");
    MLT_ASSIGN(net.probabilities, leave(view(it->second.value, {count})));
  }
  if (function_->body->outputs.empty()) return input_error("the network has no outputs");
  return {};
}

}  // namespace mlt::coreml
