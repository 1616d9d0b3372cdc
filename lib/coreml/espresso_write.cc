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
namespace {

using Layer = spec::NeuralNetworkLayer;
using Names = std::vector<std::string>;

// Layers that have no known compiled form of their own are said with those that have: a hyperbolic tangent is a sigmoid
// between two linear functions. What that cannot reach is refused. Names of blobs in between derive from the output's.
class Writer {
 public:
  Writer(const Model& model, const LiftedNetwork& lifted) : model_(model), blobs_(lifted.blobs) {}

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

// Top, bottom, left, right.
Result<std::array<int64_t, 4>> Writer::borders(const spec::BorderAmounts& amounts) {
  std::array<int64_t, 4> out{};
  if (amounts.borderamounts().empty()) return out;
  if (amounts.borderamounts_size() != 2) return input_error("border amounts need 2 entries");
  for (int i = 0; i < 2; ++i) {
    out[static_cast<size_t>(2 * i)] = static_cast<int64_t>(amounts.borderamounts(i).startedgesize());
    out[static_cast<size_t>(2 * i + 1)] = static_cast<int64_t>(amounts.borderamounts(i).endedgesize());
  }
  return out;
}

Status Writer::convolution(const Layer& l) {
  const auto& p = l.convolution();
  if (l.input_size() != 1) return unknown("kernels that are an input are not known");
  uint64_t groups = p.ngroups() == 0 ? 1 : p.ngroups();
  auto pair = [](const auto& field, int i, int64_t preset) { return i < field.size() ? static_cast<int64_t>(field.Get(i)) : preset; };
  int64_t height = pair(p.kernelsize(), 0, 3), width = pair(p.kernelsize(), 1, 3);
  auto outputs = static_cast<int64_t>(p.outputchannels());
  if (p.isdeconvolution() && (p.kernelchannels() != groups || p.outputchannels() != groups)) return unknown("deconvolutions other than channel by channel are not known");
  Dims shape = p.isdeconvolution() ? Dims{static_cast<int64_t>(p.kernelchannels()), 1, height, width} : Dims{outputs, static_cast<int64_t>(p.kernelchannels()), height, width};
  MLT_ASSIGN(std::vector<float> weights, values(p.weights(), shape, p.isdeconvolution() ? 1 : 0));
  std::vector<float> bias(static_cast<size_t>(outputs));
  if (p.hasbias()) {
    MLT_ASSIGN(bias, values(p.bias(), {outputs}));
  }
  bool has_bias = p.hasbias();
  MLT_ASSIGN(auto pad, borders(p.valid().paddingamounts()));
  std::string x = l.input(0), y = l.output(0);
  // Zeros around the input, put there by the layer before it, which waits for this one.
  if (auto before = padded_.find(x); before != padded_.end()) {
    x = before->second->input(0);
    MLT_ASSIGN(auto amounts, borders(before->second->padding().paddingamounts()));
    for (size_t i = 0; i < 4; ++i) pad[i] += amounts[i];
  }
  bool relu = false;
  if (const Layer* norm = p.isdeconvolution() ? nullptr : follower(y, Layer::kBatchnorm); norm != nullptr && !norm->batchnorm().computemeanvar()) {
    const auto& n = norm->batchnorm();
    if (static_cast<int64_t>(n.channels()) != outputs) return input_error("its batch normalization has another number of channels");
    MLT_ASSIGN(std::vector<float> gamma, values(n.gamma(), {outputs}));
    MLT_ASSIGN(std::vector<float> beta, values(n.beta(), {outputs}));
    MLT_ASSIGN(std::vector<float> mean, values(n.mean(), {outputs}));
    MLT_ASSIGN(std::vector<float> variance, values(n.variance(), {outputs}));
    size_t per_channel = weights.size() / static_cast<size_t>(outputs);
    for (size_t c = 0; c < bias.size(); ++c) {
      float factor = gamma[c] / std::sqrt(variance[c] + (n.epsilon() == 0 ? 1e-5f : n.epsilon()));
      for (size_t i = 0; i < per_channel; ++i) weights[c * per_channel + i] *= factor;
      bias[c] = (bias[c] - mean[c]) * factor + beta[c];
    }
    has_bias = true;
    done_.insert(norm);
    y = norm->output(0);
  }
  if (const Layer* next = follower(y, Layer::kActivation); next != nullptr && next->activation().has_relu()) {
    relu = true;
    done_.insert(next);
    y = next->output(0);
  }

  EspressoLayer& e = emit(p.isdeconvolution() ? "deconvolution" : "convolution", l.name(), {x}, {y});
  double inputs = static_cast<double>(p.isdeconvolution() ? p.kernelchannels() : p.kernelchannels() * groups);
  set(e, {{"K", inputs}, {"C", outputs}, {"Nx", width}, {"Ny", height}, {"n_groups", static_cast<double>(groups)}, {"n_parallel", 1},
          {"has_batch_norm", 0}, {"fused_relu", relu ? 1 : 0}, {"fused_tanh", 0}, {"has_biases", has_bias ? 1 : 0}, {"pad_fill_mode", 0}, {"pad_value", 0}});
  for (auto [key, i] : {std::pair{"stride_y", 0}, {"stride_x", 1}})
    if (int64_t stride = pair(p.stride(), i, 1); stride != 1) e.fields[key] = static_cast<double>(stride);
  for (auto [key, i] : {std::pair{"dilation_y", 0}, {"dilation_x", 1}})
    if (int64_t dilation = pair(p.dilationfactor(), i, 1); dilation != 1) e.fields[key] = static_cast<double>(dilation);
  if (p.isdeconvolution()) {
    // How equal padding is said of a deconvolution is not known; its borders follow from the extents.
    Dims from = dims(x), to = dims(y);
    if (from.size() < 3 || to.size() < 3) return unknown("its extents are not known");
    int64_t full[2] = {(from[from.size() - 2] - 1) * pair(p.stride(), 0, 1) + height, (from.back() - 1) * pair(p.stride(), 1, 1) + width};
    int64_t wanted[2] = {to[to.size() - 2], to.back()};
    for (size_t d = 0; d < 2; ++d) {
      int64_t total = full[d] - wanted[d];
      if (total < 0) return unknown("an output beyond the reach of its kernels");
      if (!p.has_same() && p.outputshape().empty()) continue;
      bool top = p.has_same() && p.same().asymmetrymode() == spec::SamePadding::TOP_LEFT_HEAVY;
      pad[2 * d] = top ? total - total / 2 : total / 2;
      pad[2 * d + 1] = total - pad[2 * d];
    }
    set(e, {{"deconv_out_height", wanted[0]}, {"deconv_out_width", wanted[1]}});
  }
  bool same = p.has_same() && !p.isdeconvolution();
  set(e, {{"pad_mode", !same ? 0 : p.same().asymmetrymode() == spec::SamePadding::TOP_LEFT_HEAVY ? 4 : 1},
          {"pad_t", same ? 0 : pad[0]}, {"pad_b", same ? 0 : pad[1]}, {"pad_l", same ? 0 : pad[2]}, {"pad_r", same ? 0 : pad[3]}});
  if (has_bias) e.fields["blob_biases"] = static_cast<double>(add_floats(bias));
  add_weights(e, weights, is_f16(p.weights()));
  return {};
}

Status Writer::global_pool(bool max, const std::string& x, const std::string& y, bool complete) {
  Dims from = dims(x);
  if (from.size() < 3) return unknown("its extents are not known");
  set(emit("pool", step_name(y, y), {x}, {y}),
      {{"avg_or_max", max ? 1 : 0}, {"size_x", static_cast<double>(from.back())}, {"size_y", static_cast<double>(from[from.size() - 2])}, {"stride_x", 1},
       {"stride_y", 1}, {"pad_l", 0}, {"pad_r", 0}, {"pad_t", 0}, {"pad_b", 0}, {"pad_mode", complete ? 0 : 2}, {"pad_fill_mode", 0}, {"pad_value", 0},
       {"top_shape_style", complete ? 2 : 0}, {"average_count_exclude_padding", complete ? 0 : 1}, {"is_global", 1}});
  return {};
}

Status Writer::pooling(const spec::PoolingLayerParams& p, const std::string& x, const std::string& y) {
  if (p.type() != spec::PoolingLayerParams::MAX && p.type() != spec::PoolingLayerParams::AVERAGE) return unknown("L2 pooling is not known");
  bool max = p.type() == spec::PoolingLayerParams::MAX, complete = p.has_includelastpixel();
  if (p.globalpooling()) {
    MLT_TRY(global_pool(max, x, y, complete));
    out_.network.layers.back().fields["average_count_exclude_padding"] = p.avgpoolexcludepadding() ? 1.0 : 0.0;
    return {};
  }
  std::array<int64_t, 4> pad{};
  if (complete) {
    const auto& amounts = p.includelastpixel().paddingamounts();
    if (amounts.size() == 2) pad = {static_cast<int64_t>(amounts[0]), static_cast<int64_t>(amounts[0]), static_cast<int64_t>(amounts[1]), static_cast<int64_t>(amounts[1])};
  } else {
    MLT_ASSIGN(pad, borders(p.valid().paddingamounts()));
  }
  if (p.has_same() && p.same().asymmetrymode() == spec::SamePadding::TOP_LEFT_HEAVY) return unknown("padding that is heavier at the top is not known");
  auto pair = [](const auto& field, int i, double preset) { return i < field.size() ? static_cast<double>(field.Get(i)) : preset; };
  set(emit("pool", layer_->name(), {x}, {y}),
      {{"avg_or_max", max ? 1 : 0}, {"size_y", pair(p.kernelsize(), 0, 3)}, {"size_x", pair(p.kernelsize(), 1, 3)}, {"stride_y", pair(p.stride(), 0, 1)},
       {"stride_x", pair(p.stride(), 1, 1)}, {"pad_t", pad[0]}, {"pad_b", pad[1]}, {"pad_l", pad[2]}, {"pad_r", pad[3]},
       {"pad_mode", p.has_same() ? 1 : complete ? 0 : 2}, {"top_shape_style", complete ? 2 : 0}, {"pad_fill_mode", 0}, {"pad_value", 0},
       {"average_count_exclude_padding", p.avgpoolexcludepadding() ? 1 : 0}});
  return {};
}

Status Writer::activation(const spec::ActivationParams& p, const std::string& x, const std::string& y) {
  using P = spec::ActivationParams;
  // max(0, -x), the other half of what relu gives.
  auto negative = [&] { return relu(linear(x, -1, 0)); };
  switch (p.NonlinearityType_case()) {
    case P::kReLU: relu(x, y); return {};
    case P::kSigmoid: activate(3, x, y, "sigmoid"); return {};
    case P::kLinear: linear(x, p.linear().alpha(), p.linear().beta(), y); return {};
    case P::kSigmoidHard: {
      activate(7, x, y, "hard");
      EspressoLayer& e = out_.network.layers.back();
      if (p.sigmoidhard().alpha() != 1) e.fields["alpha"] = double{p.sigmoidhard().alpha()};
      e.fields["beta"] = double{p.sigmoidhard().beta()};
      return {};
    }
    case P::kTanh: linear(activate(3, linear(x, 2, 0), "", "sigmoid"), 2, -1, y); return {};
    case P::kScaledTanh: {
      float a = p.scaledtanh().alpha(), b = p.scaledtanh().beta();
      linear(activate(3, linear(x, 2 * b, 0), "", "sigmoid"), 2 * a, -a, y);
      return {};
    }
    case P::kLeakyReLU: sum(relu(x), linear(negative(), -p.leakyrelu().alpha(), 0), y); return {};
    case P::kELU: {
      std::string below = elementwise(27, {linear(negative(), -1, 0)}, 1, "", x);
      sum(relu(x), linear(below, p.elu().alpha(), -p.elu().alpha()), y);
      return {};
    }
    case P::kPReLU: {
      Dims from = dims(x);
      if (from.size() < 3) return unknown("its extents are not known");
      int64_t channels = from[from.size() - 3];
      const auto& alpha = p.prelu().alpha();
      MLT_ASSIGN(int64_t count, weight_count(alpha, -1));
      if (count != channels && count != 1) return unknown("slopes other than one for each channel are not known");
      std::vector<uint64_t> shape{static_cast<uint64_t>(count)};
      MLT_ASSIGN(std::string slopes, channel_constant(alpha, shape, "_constant_alpha"));
      sum(relu(x), linear(product(negative(), slopes), -1, 0), y);
      return {};
    }
    default: return unknown();
  }
}

Status Writer::inner_product(const Layer& l) {
  const auto& p = l.innerproduct();
  if (p.int8dynamicquantize()) return unknown("products with activations that are quantized at run time are not known");
  auto inputs = static_cast<int64_t>(p.inputchannels()), outputs = static_cast<int64_t>(p.outputchannels());
  MLT_ASSIGN(std::vector<float> weights, values(p.weights(), {outputs, inputs}));
  std::string y = l.output(0);
  bool relu = false;
  if (const Layer* next = follower(y, Layer::kActivation); next != nullptr && next->activation().has_relu()) {
    relu = true;
    done_.insert(next);
    y = next->output(0);
  }
  EspressoLayer& e = emit("inner_product", l.name(), {l.input(0)}, {y});
  set(e, {{"nB", inputs}, {"nC", outputs}, {"has_relu", relu ? 1 : 0}, {"has_tanh", 0}, {"has_prelu", 0}, {"has_biases", p.hasbias() ? 1 : 0}});
  if (p.hasbias()) {
    MLT_ASSIGN(std::vector<float> bias, values(p.bias(), {outputs}));
    // The blob of a bias is four times as long, filled with zeros; of convolutions it is not.
    e.fields["blob_biases"] = static_cast<double>(add_floats(bias, 4));
  }
  add_weights(e, weights, is_f16(p.weights()));
  return {};
}

// x * scale + offset for each channel.
Status Writer::affine(std::vector<float> scale, std::vector<float> offset, const std::string& x, const std::string& y) {
  std::vector<float> all;
  for (size_t c = 0; c < scale.size(); ++c) all.insert(all.end(), {scale[c], offset[c], 0.0f, 1.0f});
  EspressoLayer& e = emit("batchnorm", layer_->name(), {x}, {y});
  e.fields["C"] = static_cast<double>(scale.size());
  e.fields["blob_batchnorm_params"] = static_cast<double>(add_floats(all));
  return {};
}

Status Writer::batchnorm(const spec::BatchnormLayerParams& p, const std::string& x, const std::string& y) {
  auto channels = static_cast<int64_t>(p.channels());
  float epsilon = p.epsilon() == 0 ? 1e-5f : p.epsilon();
  MLT_ASSIGN(std::vector<float> gamma, values(p.gamma(), {channels}));
  MLT_ASSIGN(std::vector<float> beta, values(p.beta(), {channels}));
  if (p.computemeanvar()) {
    Dims from = dims(x);
    if (!p.instancenormalization() && (from.size() < 4 || from[from.size() - 4] != 1)) return unknown("statistics over a batch are not known");
    std::string between = step("", "normalized", x);
    set(emit("l2_normalize", between, {x}, {between}), {{"normalization_mode", 1}, {"axis", 1}, {"eps", epsilon}});
    return affine(std::move(gamma), std::move(beta), between, y);
  }
  MLT_ASSIGN(std::vector<float> mean, values(p.mean(), {channels}));
  MLT_ASSIGN(std::vector<float> variance, values(p.variance(), {channels}));
  for (size_t c = 0; c < gamma.size(); ++c) {
    gamma[c] /= std::sqrt(variance[c] + epsilon);
    beta[c] -= mean[c] * gamma[c];
  }
  return affine(std::move(gamma), std::move(beta), x, y);
}

Status Writer::unary(const spec::UnaryFunctionLayerParams& p, const std::string& x, const std::string& y) {
  using U = spec::UnaryFunctionLayerParams;
  float scale = p.scale() == 0 ? 1.0f : p.scale();
  bool known = p.type() == U::INVERSE || p.type() == U::EXP || p.type() == U::THRESHOLD || p.type() == U::ABS || (p.type() == U::POWER && (p.alpha() == 1 || p.alpha() == 2));
  if (!known) return unknown();
  if (p.type() == U::INVERSE && p.epsilon() != 0 && p.epsilon() != 1e-6f) return unknown("an epsilon other than 1e-6 is not known");
  std::string from = scale != 1 || p.shift() != 0 ? linear(x, scale, p.shift()) : x;
  switch (p.type()) {
    case U::INVERSE: elementwise(10, {from}, 1, y, x); break;
    case U::EXP: elementwise(27, {from}, 1, y, x); break;
    case U::THRESHOLD: threshold(from, p.alpha(), y); break;
    case U::ABS: sum(relu(from), relu(linear(from, -1, 0)), y); break;
    default:
      if (p.alpha() == 2) product(from, from, y);
      else linear(from, 1, 0, y);
  }
  return {};
}

// Sum (0), product (1), maximum (2), minimum (3) of all inputs.
Status Writer::chain(const Layer& l, int operation, const std::string& y) {
  std::string total = l.input(0);
  int count = l.input_size();
  if (count == 1) {
    linear(total, 1, 0, y);
    return {};
  }
  for (int i = 1; i < count; ++i) {
    const std::string& next = l.input(i);
    std::string to = i + 1 == count ? y : "";
    if (operation == 0) total = sum(total, next, to);
    else if (operation == 1) total = product(total, next, to);
    else if (operation == 2) total = sum(total, relu(sum(next, linear(total, -1, 0))), to);            // a + max(0, b - a)
    else total = sum(total, linear(relu(sum(total, linear(next, -1, 0))), -1, 0), to);                 // a - max(0, a - b)
  }
  return {};
}

Status Writer::reduce(const spec::ReduceLayerParams& p, const std::string& x, const std::string& y) {
  using R = spec::ReduceLayerParams;
  Dims from = dims(x);
  if (from.size() < 3) return unknown("its extents are not known");
  auto channels = static_cast<float>(from[from.size() - 3]), area = static_cast<float>(from[from.size() - 2] * from.back());
  bool total = p.mode() == R::SUM, mean = p.mode() == R::AVG;
  if (p.axis() == R::C && (total || mean)) {
    std::string blob = mean ? step("", "total", y) : y;
    set(emit("reduce", mean ? blob : layer_->name(), {x}, {blob}), {{"mode", 0}, {"axis_mode", 4}, {"use_version", 1}});
    if (mean) linear(blob, 1 / channels, 0, y);
    return {};
  }
  if (p.axis() == R::HW && (total || mean || p.mode() == R::MAX)) {
    std::string blob = total ? step("", "mean", y) : y;
    MLT_TRY(global_pool(p.mode() == R::MAX, x, blob));
    if (total) linear(blob, area, 0, y);
    return {};
  }
  return unknown("this reduction is not known");
}

Status Writer::reshape(const spec::ReshapeLayerParams& p, const std::string& x, const std::string& y) {
  std::vector<int64_t> target(p.targetshape().begin(), p.targetshape().end());
  if (target.size() == 3) target.insert(target.begin(), dims(x).size() == 5 ? dims(x)[0] : 1);
  if (target.size() != 4) return input_error("targetShape needs 3 or 4 values");
  set(emit("reshape", layer_->name(), {x}, {y}),
      {{"version", 1}, {"mode", p.mode() == spec::ReshapeLayerParams::CHANNEL_FIRST ? 0 : 1}, {"dst_n", 0}, {"dst_seq", static_cast<double>(target[0])},
       {"dst_k", static_cast<double>(target[1])}, {"dst_h", static_cast<double>(target[2])}, {"dst_w", static_cast<double>(target[3])}});
  return {};
}

// axis: 2 channels, 1 height, 0 width.
Status Writer::slice(const std::string& x, const std::string& y, int axis, int64_t start, int64_t end) {
  set(emit("slice", y == layer_->output(0) ? layer_->name() : y, {x}, {y}), {{"axis", axis}, {"start", static_cast<double>(start)}, {"end", static_cast<double>(end)}});
  return {};
}

Status Writer::crop(const Layer& l) {
  Dims from = dims(l.input(0)), to = dims(l.output(0));
  if (from.size() < 3 || to.size() < 3) return unknown("its extents are not known");
  int64_t top = 0, left = 0;
  if (l.input_size() == 2) {
    if (l.crop().offset_size() == 2) top = static_cast<int64_t>(l.crop().offset(0)), left = static_cast<int64_t>(l.crop().offset(1));
  } else {
    MLT_ASSIGN(auto amounts, borders(l.crop().cropamounts()));
    top = amounts[0], left = amounts[2];
  }
  Dims rows = from;
  rows[rows.size() - 2] = to[to.size() - 2];
  std::string between = fresh(l.output(0) + "__rows");
  describe(between, rows);
  MLT_TRY(slice(l.input(0), between, 1, top, top + to[to.size() - 2]));
  return slice(between, l.output(0), 0, left, left + to.back());
}

Status Writer::split(const Layer& l) {
  int64_t start = 0;
  for (const std::string& output : l.output()) {
    Dims to = dims(output);
    if (to.size() < 3) return unknown("its extents are not known");
    int64_t end = start + to[to.size() - 3];
    set(emit("slice", output, {l.input(0)}, {output}), {{"axis", 2}, {"start", static_cast<double>(start)}, {"end", static_cast<double>(end)}});
    start = end;
  }
  return {};
}

Status Writer::upsample(const spec::UpsampleLayerParams& p, const std::string& x, const std::string& y) {
  if (p.fractionalscalingfactor_size() > 0) return unknown("scaling by fractions is not known");
  int64_t rows = p.scalingfactor_size() > 0 ? static_cast<int64_t>(p.scalingfactor(0)) : 1, columns = p.scalingfactor_size() > 1 ? static_cast<int64_t>(p.scalingfactor(1)) : 1;
  if (p.mode() == spec::UpsampleLayerParams::BILINEAR) {
    if (p.linearupsamplemode() != spec::UpsampleLayerParams::ALIGN_CORNERS_FALSE) return unknown("bilinear scaling other than between centers of pixels is not known");
    set(emit("upsample", layer_->name(), {x}, {y}), {{"mode", 1}, {"align_corners", 0}, {"is_legacy_mode", 0}, {"use_fractional_scale_factors", 0},
        {"fractional_scaling_factor_x", 1}, {"fractional_scaling_factor_y", 1}, {"scaling_factor_x", static_cast<double>(columns)}, {"scaling_factor_y", static_cast<double>(rows)}});
    return {};
  }
  // Every element becomes a block of its own: a deconvolution with kernels of ones.
  Dims from = dims(x), to = dims(y);
  if (from.size() < 3 || to.size() < 3 || rows * columns > 4096) return unknown("its extents are not known");
  auto channels = static_cast<double>(from[from.size() - 3]);
  EspressoLayer& e = emit("deconvolution", layer_->name(), {x}, {y});
  set(e, {{"K", channels}, {"C", channels}, {"Nx", static_cast<double>(columns)}, {"Ny", static_cast<double>(rows)}, {"n_groups", channels}, {"n_parallel", 1}, {"has_batch_norm", 0},
          {"fused_relu", 0}, {"fused_tanh", 0}, {"has_biases", 0}, {"pad_fill_mode", 0}, {"pad_value", 0}, {"pad_mode", 0}, {"pad_t", 0}, {"pad_b", 0}, {"pad_l", 0},
          {"pad_r", 0}, {"deconv_out_height", static_cast<double>(to[to.size() - 2])}, {"deconv_out_width", static_cast<double>(to.back())}});
  if (columns != 1) e.fields["stride_x"] = static_cast<double>(columns);
  if (rows != 1) e.fields["stride_y"] = static_cast<double>(rows);
  add_weights(e, std::vector<float>(static_cast<size_t>(channels) * static_cast<size_t>(rows * columns), 1.0f), false);
  return {};
}

// The last two axes exchanged.
std::string Writer::transposed(const std::string& x) {
  Dims to = dims(x).empty() ? shape_dims(x) : dims(x);
  if (to.size() < 2) return x;
  std::swap(to[to.size() - 1], to[to.size() - 2]);
  std::string blob = fresh(layer_->output(0) + "__transposed");
  describe(blob, to);
  set(emit("transpose", blob, {x}, {blob}), {{"axis_w", 1}, {"axis_h", 0}, {"axis_k", 2}, {"axis_n", 3}, {"axis_seq", 4}});
  return blob;
}

Status Writer::matmul(const Layer& l) {
  const auto& p = l.batchedmatmul();
  if (p.int8dynamicquantize()) return unknown("products with activations that are quantized at run time are not known");
  for (const std::string& input : l.input())
    if (dims(input).size() < 2) return unknown("products of vectors are not known");
  std::string a = p.transposea() ? transposed(l.input(0)) : l.input(0), b;
  if (l.input_size() == 2) {
    b = p.transposeb() ? transposed(l.input(1)) : l.input(1);
  } else {
    // Kept as a matrix [rows, columns], which is stored by columns.
    auto rows = static_cast<int64_t>(p.weightmatrixfirstdimension()), columns = static_cast<int64_t>(p.weightmatrixseconddimension());
    if (dims(l.input(0)).size() < 2) return unknown("products of vectors are not known");
    MLT_ASSIGN(std::vector<float> stored, values(p.weights(), {columns, rows}));
    EspressoLayer& e = emit("inner_product", l.name(), {a}, {l.output(0)});
    set(e, {{"nB", rows}, {"nC", columns}, {"has_relu", 0}, {"has_tanh", 0}, {"has_prelu", 0}, {"has_biases", p.hasbias() ? 1 : 0}});
    if (dims(l.input(0)).size() > 3) return unknown("products of this rank with weights are not known");
    if (p.hasbias()) {
      MLT_ASSIGN(std::vector<float> bias, values(p.bias(), {columns}));
      e.fields["blob_biases"] = static_cast<double>(add_floats(bias, 4));
    }
    add_weights(e, stored, is_f16(p.weights()));
    return {};
  }
  set(emit("batch_matmul", l.name(), {a, b}, {l.output(0)}), {});
  out_.network.layers.back().fields["channel_mode"] = false;
  return {};
}

bool Writer::ranks_are_equal(const Layer& l) const {
  for (const std::string& input : l.input())
    if (dims(input).size() != dims(l.input(0)).size()) return false;
  return true;
}

Status Writer::one(const Layer& l) {
  bool exact = out_.network.exact_arrays;
  std::string x = l.input_size() > 0 ? l.input(0) : "", y = l.output_size() > 0 ? l.output(0) : "";
  if (y.empty()) return unknown("it has no output");
  switch (l.layer_case()) {
    case Layer::kConvolution: return convolution(l);
    case Layer::kPooling: return pooling(l.pooling(), x, y);
    case Layer::kActivation: return activation(l.activation(), x, y);
    case Layer::kInnerProduct: return inner_product(l);
    case Layer::kBatchnorm: return batchnorm(l.batchnorm(), x, y);
    case Layer::kUnary: return unary(l.unary(), x, y);
    case Layer::kMvn:
      if (!l.mvn().normalizevariance()) return unknown("subtraction of the mean alone is not known");
      set(emit("l2_normalize", l.name(), {x}, {y}),
          {{"normalization_mode", 1}, {"axis", l.mvn().acrosschannels() ? 2 : 1}, {"eps", l.mvn().epsilon() == 0 ? 1e-6f : l.mvn().epsilon()}});
      return {};
    case Layer::kSoftmax: set(emit("softmax", l.name(), {x}, {y}), {{"C", 2}}); return {};
    case Layer::kAdd: case Layer::kAddBroadcastable:
      if (l.input_size() == 1 && l.has_add()) return done(linear(x, 1, l.add().alpha(), y));
      return chain(l, 0, y);
    case Layer::kMultiply: case Layer::kMultiplyBroadcastable:
      if (l.input_size() == 1 && l.has_multiply()) return done(linear(x, l.multiply().alpha(), 0, y));
      return chain(l, 1, y);
    case Layer::kMax: case Layer::kMaxBroadcastable: return chain(l, 2, y);
    case Layer::kMin: case Layer::kMinBroadcastable: return chain(l, 3, y);
    case Layer::kSubtractBroadcastable: return done(sum(x, linear(l.input(1), -1, 0), y));
    case Layer::kAverage: {
      std::string total = step("", "total", y);
      MLT_TRY(chain(l, 0, total));
      return done(linear(total, 1.0f / static_cast<float>(l.input_size()), 0, y));
    }
    case Layer::kClip: {
      std::string low = threshold(x, l.clip().minval());
      return done(linear(threshold(linear(low, -1, 0), -l.clip().maxval()), -1, 0, y));
    }
    case Layer::kScale: {
      MLT_ASSIGN(std::string factor, channel_constant(l.scale().scale(), l.scale().shapescale(), "_constant_in_scale"));
      if (!l.scale().hasbias()) return done(product(x, factor, y));
      MLT_ASSIGN(std::string offset, channel_constant(l.scale().bias(), l.scale().shapebias(), "_constant_in_bias"));
      return done(sum(product(x, factor), offset, y));
    }
    case Layer::kBias: {
      MLT_ASSIGN(std::string offset, channel_constant(l.bias().bias(), l.bias().shape(), "_constant_in_bias"));
      return done(sum(x, offset, y));
    }
    case Layer::kDot: {
      if (l.dot().cosinesimilarity()) return unknown("cosine similarity is not known");
      std::string all = product(x, l.input(1));
      set(emit("reduce", l.name(), {all}, {y}), {{"mode", 0}, {"axis_mode", 4}, {"use_version", 1}});
      return {};
    }
    case Layer::kReduce: return reduce(l.reduce(), x, y);
    case Layer::kPadding: {
      if (!l.padding().has_constant()) return unknown("padding with the input's own values is not known");
      // Zeros around the input of one convolution become that convolution's.
      if (const Layer* next = l.padding().constant().value() == 0 ? follower(y, Layer::kConvolution) : nullptr; next != nullptr && !next->convolution().has_same() && !next->convolution().isdeconvolution()) {
        padded_[y] = &l;
        return {};
      }
      MLT_ASSIGN(auto pad, borders(l.padding().paddingamounts()));
      set(emit("general_padding", l.name(), {x}, {y}), {{"pad_pad_mode", 0}, {"pad_fill_mode", 0}, {"pad_value", l.padding().constant().value()},
          {"pad_t", pad[0]}, {"pad_b", pad[1]}, {"pad_l", pad[2]}, {"pad_r", pad[3]}});
      return {};
    }
    case Layer::kCrop: return crop(l);
    case Layer::kUpsample: return upsample(l.upsample(), x, y);
    case Layer::kLoadConstant: {
      Dims shape(l.loadconstant().shape().begin(), l.loadconstant().shape().end());
      MLT_TRY(constant(l.loadconstant().data(), shape, "", false, y));
      return {};
    }
    case Layer::kLoadConstantND: {
      Dims shape(l.loadconstantnd().shape().begin(), l.loadconstantnd().shape().end());
      MLT_TRY(constant(l.loadconstantnd().data(), shape, "", true, y));
      return {};
    }
    case Layer::kReshape: return reshape(l.reshape(), x, y);
    case Layer::kFlatten:
      set(emit("flatten", l.name(), {x}, {y}), {{"mode", l.flatten().mode() == spec::FlattenLayerParams::CHANNEL_FIRST ? 0 : 1}, {"nd_axis", 0}});
      return {};
    case Layer::kPermute: {
      if (l.permute().axis_size() != 4) return input_error("permute needs 4 axes");
      EspressoLayer& e = emit("transpose", l.name(), {x}, {y});
      constexpr const char* kKeys[] = {"axis_seq", "axis_k", "axis_h", "axis_w"};
      e.fields["axis_n"] = 3.0;
      for (int i = 0; i < 4; ++i) e.fields[kKeys[i]] = l.permute().axis(i) == 0 ? 4.0 : 3.0 - static_cast<double>(l.permute().axis(i));
      return {};
    }
    case Layer::kConcat: {
      bool sequence = l.concat().sequenceconcat();
      EspressoLayer& e = emit(sequence ? "sequence_concat" : "concat", l.name(), Names(l.input().begin(), l.input().end()), {y});
      if (sequence) e.fields["simple_concat"] = 1.0;
      return {};
    }
    case Layer::kConcatND: {
      int64_t rank = static_cast<int64_t>(dims(y).size()), axis = l.concatnd().axis();
      if (axis >= 0) axis -= rank;
      if (axis != -3 || l.concatnd().interleave() || !ranks_are_equal(l)) return unknown("joining along another axis than the channels is not known");
      emit("concat", l.name(), Names(l.input().begin(), l.input().end()), {y});
      return {};
    }
    case Layer::kSplit: return split(l);
    case Layer::kSlice: {
      const auto& p = l.slice();
      if (p.stride() > 1) return unknown("slices with steps are not known");
      int axis = p.axis() == spec::SliceLayerParams::CHANNEL_AXIS ? 2 : p.axis() == spec::SliceLayerParams::HEIGHT_AXIS ? 1 : 0;
      return slice(x, y, axis, p.startindex(), p.endindex());
    }
    case Layer::kGelu:
      if (l.gelu().mode() != spec::GeluLayerParams::EXACT) return unknown("approximations of gelu are not known");
      return done(activate(19, x, y, "gelu"));
    case Layer::kSoftmaxND: set(emit("softmax_nd", l.name(), {x}, {y}), {{"nd_axis", static_cast<double>(l.softmaxnd().axis())}}); return {};
    case Layer::kTanh: return done(linear(activate(3, linear(x, 2, 0), "", "sigmoid"), 2, -1, y));
    case Layer::kReshapeStatic: {
      const auto& target = l.reshapestatic().targetshape();
      if (!exact || target.empty() || target.size() > 5) return unknown("reshapes of this rank are not known");
      EspressoLayer& e = emit("reshape", l.name(), {x}, {y});
      set(e, {{"version", 1}, {"mode", 0}, {"dst_nd_rank", static_cast<double>(target.size())}});
      e.fields["dynamic_shape"] = false;
      constexpr const char* kKeys[] = {"dst_w", "dst_h", "dst_k", "dst_n", "dst_seq"};
      for (int i = 0; i < 5; ++i) {
        int64_t extent = i < target.size() ? target.Get(target.size() - 1 - i) : 1;
        if (extent == 0) return unknown("a reshape that keeps an extent by 0 is not known");
        e.fields[kKeys[i]] = static_cast<double>(extent);
      }
      return {};
    }
    case Layer::kTranspose: {
      const auto& axes = l.transpose().axes();
      int rank = axes.size();
      if (!exact || rank < 1 || rank > 5) return unknown("transpositions of this rank are not known");
      EspressoLayer& e = emit("transpose", l.name(), {x}, {y});
      constexpr const char* kKeys[] = {"axis_w", "axis_h", "axis_k", "axis_n", "axis_seq"};
      for (int i = 0; i < 5; ++i) e.fields[kKeys[i]] = i < rank ? rank - 1 - static_cast<double>(axes.Get(rank - 1 - i)) : i;
      return {};
    }
    case Layer::kSqueeze: case Layer::kExpandDims: {
      bool squeeze = l.has_squeeze();
      const auto& axes = squeeze ? l.squeeze().axes() : l.expanddims().axes();
      if (!exact || axes.empty() || (squeeze && l.squeeze().squeezeall())) return unknown("removing all axes is not known");
      EspressoLayer& e = emit(squeeze ? "squeeze" : "expand_dims", l.name(), {x}, {y});
      set(e, {{"size_of_axes", static_cast<double>(axes.size())}, {"nd_axis", 0}});
      if (squeeze) e.fields["version"] = 1.0;
      for (int i = 0; i < axes.size(); ++i) e.fields["axes_" + std::to_string(i)] = static_cast<double>(axes.Get(i));
      return {};
    }
    case Layer::kBatchedMatmul: return matmul(l);
    case Layer::kCopy: return done(linear(x, 1, 0, y));
    default: return unknown();
  }
}

}  // namespace

Result<WrittenEspresso> write_espresso(const Model& model) {
  MLT_ASSIGN(LiftedNetwork lifted, lift_neural_network(model));
  switch (model.kind()) {
    case ModelKind::kNeuralNetwork: return Writer(model, lifted).run(model.proto().neuralnetwork());
    case ModelKind::kNeuralNetworkClassifier: return Writer(model, lifted).run(model.proto().neuralnetworkclassifier());
    case ModelKind::kNeuralNetworkRegressor: return Writer(model, lifted).run(model.proto().neuralnetworkregressor());
    default: return usage_error("a " + model.kind_name() + " is no neural network");
  }
}

}  // namespace mlt::coreml
