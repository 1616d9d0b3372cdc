// Internal: what espresso_write.cc and espresso_write_layers.cc share.
#pragma once
#include <fmt/core.h>

#include <array>
#include <cmath>
#include <cstring>
#include <set>

#include "lib/base/float16.h"
#include "lib/coreml/espresso.h"
#include "lib/coreml/model_proto.h"
#include "lib/coreml/nn_layers.h"
#include "lib/coreml/nn_lift.h"
#include "lib/coreml/nn_weights.h"

namespace mlt::coreml {

// Layers that have no known compiled form of their own are said with those that have: a hyperbolic tangent is a sigmoid
// between two linear functions. What that cannot reach is refused. Names of blobs in between derive from the output's.
class EspressoWriter {
 public:
  using Layer = spec::NeuralNetworkLayer;
  using Names = std::vector<std::string>;

  EspressoWriter(const Model& model, const LiftedNetwork& lifted) : model_(model), blobs_(lifted.blobs) {}

  template <typename Network>
  Result<WrittenEspresso> run(const Network& network) {
    out_.network.exact_arrays = network.arrayinputshapemapping() == spec::EXACT_ARRAY_MAPPING;
    for (const auto& output : model_.description().outputs) outputs_.insert(output.name);
    for (const Layer& layer : network.layers()) {
      for (const std::string& input : layer.input()) readers_[input].push_back(&layer);
      for (const std::string& output : layer.output())
        if (!names_.insert(output).second) refuse(layer, "writes \"" + output + "\", which another layer writes too");
    }
    for (const auto& p : network.preprocessing()) preprocessing(p);
    for (const auto& input : model_.description().inputs) {
      names_.insert(input.name);
      describe(input.name);
      if (input.type.kind == FeatureKind::kImage) out_.network.images.try_emplace(input.name);
    }
    for (const Layer& layer : network.layers()) {
      if (done_.contains(&layer)) continue;
      layer_ = &layer;
      Status status = one(layer);
      if (status.ok()) continue;
      if (status.error().code != Code::kUnsupported) return std::move(status).error().in_path("layer \"" + layer.name() + "\"");
      refuse(layer, status.error().message);
    }
    if (!refused_.empty()) return unsupported_error(refused_);
    if (model_.updatable()) {
      std::string bytes;
      if (!network.updateparams().SerializeToString(&bytes)) return resource_error("the update parameters are too large");
      ByteSpan span = as_bytes(bytes);
      out_.network.update_parameters.emplace(span.begin(), span.end());
      for (const Layer& layer : network.layers())
        if (layer.isupdatable() && layer.output_size() > 0) out_.network.updatable_layers.emplace_back(layer.name(), layer.output(0));
    }
    for (EspressoLayer& layer : out_.network.layers)
      for (const std::string& top : layer.tops) layer.is_output = layer.is_output || outputs_.contains(top);
    return std::move(out_);
  }

 private:
  void refuse(const Layer& layer, const std::string& reason) {
    refused_ += fmt::format("{}layer \"{}\" ({}): {}", refused_.empty() ? "" : "; ", layer.name(), nn_layer_kind_name(layer.layer_case()), reason);
  }
  static Error unknown(std::string reason = "how it is compiled is not known") { return unsupported_error(std::move(reason)); }

  void preprocessing(const spec::NeuralNetworkPreprocessing& p) {
    if (!p.has_scaler()) {
      refused_ += fmt::format("{}input \"{}\": how a mean image is compiled is not known", refused_.empty() ? "" : "; ", p.featurename());
      return;
    }
    // Without a name it is that of every image.
    for (const auto& input : model_.description().inputs) {
      if (p.featurename() != input.name && !(p.featurename().empty() && input.type.kind == FeatureKind::kImage)) continue;
      const auto& s = p.scaler();
      out_.network.images[input.name] = {s.channelscale() == 0 ? 1.0f : s.channelscale(), s.redbias(), s.greenbias(), s.bluebias(), s.graybias()};
    }
  }

  // ---- blobs

  Dims dims(const std::string& blob) const {
    auto it = blobs_.find(blob);
    return it == blobs_.end() ? Dims{} : it->second;
  }
  void describe(const std::string& blob) { describe(blob, dims(blob)); }
  void describe(const std::string& blob, const Dims& dims) {
    EspressoShape shape;
    int64_t* const places[] = {&shape.w, &shape.h, &shape.k, &shape.n, &shape.seq};
    for (size_t i = 0; i < dims.size() && i < 5; ++i) *places[i] = dims[dims.size() - 1 - i];
    if (out_.network.exact_arrays) shape.rank = static_cast<int>(std::min<size_t>(dims.size(), 5));
    out_.network.shapes[blob] = shape;
  }
  std::string fresh(std::string name) {
    while (!names_.insert(name).second) name += "_";
    return name;
  }

  EspressoLayer& emit(std::string type, std::string name, Names bottoms, Names tops) {
    EspressoLayer layer;
    layer.type = std::move(type);
    layer.fields["debug_info"] = layer_->name();
    layer.name = std::move(name);
    layer.bottoms = std::move(bottoms);
    layer.tops = std::move(tops);
    for (const std::string& top : layer.tops)
      if (blobs_.contains(top)) describe(top);
    out_.network.layers.push_back(std::move(layer));
    return out_.network.layers.back();
  }
  struct Number {
    template <typename T>
    Number(T from) : value(static_cast<double>(from)) {}  // NOLINT: for lists of fields
    double value;
  };
  static void set(EspressoLayer& layer, std::initializer_list<std::pair<const char*, Number>> fields) {
    for (const auto& [key, number] : fields) layer.fields[key] = number.value;
  }
  static Status done(const std::string&) { return {}; }

  // Steps of a layer that becomes several: each gives the name of its output, `to` when it is the last.
  std::string step(const std::string& to, const char* suffix, const std::string& like) {
    if (!to.empty()) return to;
    std::string blob = fresh(layer_->output(0) + "__" + suffix);
    describe(blob, dims(like).empty() ? shape_dims(like) : dims(like));
    return blob;
  }
  Dims shape_dims(const std::string& blob) const {
    auto it = out_.network.shapes.find(blob);
    if (it == out_.network.shapes.end()) return {};
    const EspressoShape& s = it->second;
    Dims all{s.seq, s.n, s.k, s.h, s.w};
    if (s.rank > 0) all.erase(all.begin(), all.end() - s.rank);
    return all;
  }
  std::string step_name(const std::string& blob, const std::string& to) const { return to.empty() ? blob : layer_->name(); }

  std::string activate(int mode, const std::string& from, const std::string& to, const char* suffix) {
    std::string blob = step(to, suffix, from);
    set(emit("activation", step_name(blob, to), {from}, {blob}), {{"mode", mode}});
    return blob;
  }
  std::string relu(const std::string& from, const std::string& to = "") { return activate(0, from, to, "relu"); }
  std::string linear(const std::string& from, float alpha, float beta, const std::string& to = "") {
    std::string blob = activate(6, from, to, "linear");
    if (alpha != 1) out_.network.layers.back().fields["alpha"] = double{alpha};
    out_.network.layers.back().fields["beta"] = double{beta};
    return blob;
  }
  std::string elementwise(int operation, Names from, float alpha, const std::string& to, const std::string& like) {
    std::string blob = step(to, operation == 0 ? "sum" : operation == 1 ? "product" : "unary", like);
    set(emit("elementwise", step_name(blob, to), std::move(from), {blob}), {{"operation", operation}, {"alpha", alpha}, {"beta", 0}, {"fused_relu", 0}});
    return blob;
  }
  std::string sum(const std::string& a, const std::string& b, const std::string& to = "") { return elementwise(0, {a, b}, 1, to, larger(a, b)); }
  std::string product(const std::string& a, const std::string& b, const std::string& to = "") { return elementwise(1, {a, b}, 1, to, larger(a, b)); }
  std::string larger(const std::string& a, const std::string& b) const {
    auto count = [&](const std::string& blob) {
      int64_t n = 1;
      Dims d = dims(blob).empty() ? shape_dims(blob) : dims(blob);
      for (int64_t e : d) n = n > (int64_t{1} << 40) ? n : n * std::max<int64_t>(e, 1);
      return n;
    };
    return count(b) > count(a) ? b : a;
  }
  std::string threshold(const std::string& from, float alpha, const std::string& to = "") { return elementwise(25, {from}, alpha, to, from); }

  // ---- weights

  uint64_t add_blob(Bytes bytes, uint64_t padded = 0) {
    out_.blobs.push_back({std::move(bytes), padded});
    return 2 * out_.blobs.size() - 1;
  }
  uint64_t add_floats(const std::vector<float>& values, size_t repeat = 1) {
    Bytes bytes(values.size() * 4);
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    return add_blob(std::move(bytes), bytes.size() * repeat);
  }
  void add_weights(EspressoLayer& layer, const std::vector<float>& values, bool f16) {
    if (!f16) {
      layer.fields["blob_weights"] = static_cast<double>(add_floats(values));
      return;
    }
    Bytes bytes(values.size() * 2);
    for (size_t i = 0; i < values.size(); ++i) {
      uint16_t half = float_to_half(values[i]);
      std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
    layer.fields["blob_weights_f16"] = static_cast<double>(add_blob(std::move(bytes)));
  }
  static Result<std::vector<float>> values(const spec::WeightParams& params, const Dims& dims, int axis = 0) {
    MLT_ASSIGN(Tensor tensor, weight_tensor(params, dims, axis));
    return std::vector<float>(tensor.data<float>(), tensor.data<float>() + tensor.size());
  }
  static bool is_f16(const spec::WeightParams& params) { return !params.float16value().empty(); }
  // A constant as a layer of its own; `shape` has 1 to 4 extents. Gives its blob.
  Result<std::string> constant(const spec::WeightParams& params, const Dims& shape, const std::string& name, bool ranked, const std::string& to = "") {
    if (shape.empty() || shape.size() > 4) return unknown("constants of rank " + std::to_string(shape.size()) + " are not known");
    MLT_ASSIGN(std::vector<float> data, values(params, shape));
    std::string blob = to.empty() ? fresh(name) : to;
    EspressoLayer& layer = emit("load_constant", to.empty() ? blob : layer_->name(), {}, {blob});
    constexpr const char* kKeys[] = {"w", "h", "k", "n"};
    for (size_t i = 0; i < 4; ++i) layer.fields[kKeys[i]] = static_cast<double>(i < shape.size() ? shape[shape.size() - 1 - i] : 1);
    if (ranked) layer.fields["nd_rank"] = static_cast<double>(shape.size());
    layer.fields["constant_blob"] = static_cast<double>(add_floats(data));
    describe(blob, shape);
    if (!ranked) out_.network.shapes[blob].rank = 0;
    return blob;
  }
  // [C], [1] or [C, H, W] of a legacy weight as it broadcasts over channels.
  template <typename Shape>
  Result<std::string> channel_constant(const spec::WeightParams& params, const Shape& shape, const char* suffix) {
    Dims extents(shape.begin(), shape.end());
    if (extents.empty()) extents = {1};
    if (extents.size() == 1) extents = {extents[0], 1, 1};
    if (extents.size() != 3) return unknown("weights of this shape are not known");
    return constant(params, extents, layer_->name() + suffix, false);
  }

  // The only layer that reads a blob, when it is of the given type and the blob is no output.
  const Layer* follower(const std::string& blob, Layer::LayerCase kind) const {
    auto it = readers_.find(blob);
    if (outputs_.contains(blob) || it == readers_.end() || it->second.size() != 1 || it->second[0]->layer_case() != kind) return nullptr;
    return it->second[0]->output_size() == 1 && it->second[0]->input_size() == 1 ? it->second[0] : nullptr;
  }

  // ---- layers

  Status one(const Layer& l);
  Status convolution(const Layer& l);
  Status pooling(const spec::PoolingLayerParams& p, const std::string& x, const std::string& y);
  Status activation(const spec::ActivationParams& p, const std::string& x, const std::string& y);
  Status inner_product(const Layer& l);
  Status affine(std::vector<float> scale, std::vector<float> offset, const std::string& x, const std::string& y);
  Status batchnorm(const spec::BatchnormLayerParams& p, const std::string& x, const std::string& y);
  Status unary(const spec::UnaryFunctionLayerParams& p, const std::string& x, const std::string& y);
  Status chain(const Layer& l, int operation, const std::string& y);
  Status reduce(const spec::ReduceLayerParams& p, const std::string& x, const std::string& y);
  Status reshape(const spec::ReshapeLayerParams& p, const std::string& x, const std::string& y);
  Status slice(const std::string& x, const std::string& y, int axis, int64_t start, int64_t end);
  Status crop(const Layer& l);
  Status split(const Layer& l);
  Status upsample(const spec::UpsampleLayerParams& p, const std::string& x, const std::string& y);
  Status matmul(const Layer& l);
  Status global_pool(bool max, const std::string& x, const std::string& y, bool complete = false);
  std::string transposed(const std::string& x);
  static Result<std::array<int64_t, 4>> borders(const spec::BorderAmounts& amounts);
  bool ranks_are_equal(const Layer& l) const;

  const Model& model_;
  const std::map<std::string, Dims>& blobs_;
  WrittenEspresso out_;
  const Layer* layer_ = nullptr;
  std::set<std::string> outputs_, names_;
  std::map<std::string, std::vector<const Layer*>> readers_;
  std::set<const Layer*> done_;
  std::map<std::string, const Layer*> padded_;  // blobs that only a convolution reads, by the padding that makes them
  std::string refused_;
};

}  // namespace mlt::coreml
