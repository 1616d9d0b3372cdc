// Internal: what espresso_read.cc and espresso_read_layers.cc share.
#pragma once
#include <fmt/core.h>

#include <climits>
#include <cmath>
#include <cstring>
#include <set>

#include "lib/coreml/espresso.h"
#include "lib/coreml/model_proto.h"

namespace mlt::coreml {

// Reads one layer after the other into `layers`. Each field that a layer has is either taken or, when it is not zero,
// a reason to refuse: a field that is passed over would change the answers.
class EspressoReader {
 public:
  using Layer = spec::NeuralNetworkLayer;

  EspressoReader(const EspressoNetwork& network, const EspressoBlobs& blobs, google::protobuf::RepeatedPtrField<Layer>* layers)
      : network_(network), blobs_(blobs), layers_(layers) {
    for (const EspressoLayer& layer : network.layers)
      for (const std::string& top : layer.tops) names_.insert(top);
  }

  Status run() {
    std::string refused, damaged;
    for (const EspressoLayer& layer : network_.layers) {
      in_ = &layer;
      taken_.clear();
      Status status = one();
      if (status.ok()) status = leftovers();
      if (status.ok()) continue;
      bool unsupported = status.error().code == Code::kUnsupported;
      std::string& list = unsupported ? refused : damaged;
      list += fmt::format("{}layer \"{}\" ({}): {}", list.empty() ? "" : "; ", layer.name, layer.type, status.error().message);
    }
    if (!refused.empty()) return unsupported_error(refused);
    if (!damaged.empty()) return input_error(damaged);
    return {};
  }

 private:
  // ---- fields

  double number(const char* key, double preset) {
    taken_.insert(key);
    auto it = in_->fields.find(key);
    if (it == in_->fields.end()) return preset;
    if (const double* d = std::get_if<double>(&it->second)) return *d;
    if (const bool* b = std::get_if<bool>(&it->second)) return *b ? 1 : 0;
    return preset;
  }
  bool has(const char* key) const { return in_->fields.contains(key); }
  // A whole number within [low, high].
  Result<int64_t> integer(const char* key, int64_t preset, int64_t low, int64_t high) {
    double d = number(key, static_cast<double>(preset));
    if (!(d >= static_cast<double>(low) && d <= static_cast<double>(high)) || d != std::floor(d))
      return input_error(fmt::format("{} is {}", key, d));
    return static_cast<int64_t>(d);
  }
  Result<int64_t> extent(const char* key, int64_t preset = -1) { return integer(key, preset, 1, 1 << 24); }
  // Takes a field that must have one of the known values.
  Status only(const char* key, std::initializer_list<double> known, double preset) {
    double d = number(key, preset);
    for (double k : known)
      if (d == k) return {};
    return unsupported_error(fmt::format("{} {} is not known", key, d));
  }
  Status leftovers() const {
    static const std::set<std::string> kHarmless = {"debug_info", "hint_fallback_from_metal", "version", "use_version", "n_parallel"};
    std::string unknown;
    for (const auto& [key, value] : in_->fields) {
      if (taken_.contains(key) || kHarmless.contains(key)) continue;
      if (const double* d = std::get_if<double>(&value); d != nullptr && *d == 0) continue;
      if (const bool* b = std::get_if<bool>(&value); b != nullptr && !*b) continue;
      unknown += (unknown.empty() ? "" : ", ") + key;
    }
    for (const auto& [key, id] : in_->weights)
      if (!taken_.contains("weights." + key)) unknown += (unknown.empty() ? "" : ", ") + ("weights." + key);
    if (!unknown.empty()) return unsupported_error("the meaning of " + unknown + " is not known");
    return {};
  }

  // ---- output

  Status need(size_t bottoms, size_t tops = 1) const {
    if (in_->bottoms.size() != bottoms || in_->tops.size() != tops)
      return input_error(fmt::format("{} inputs and {} outputs", in_->bottoms.size(), in_->tops.size()));
    return {};
  }
  Layer* add(const std::string& name, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs) {
    Layer* layer = layers_->Add();
    layer->set_name(name);
    for (const std::string& input : inputs) layer->add_input(input);
    for (const std::string& output : outputs) layer->add_output(output);
    return layer;
  }
  Layer* add() { return add(in_->name, in_->bottoms, in_->tops); }
  std::string fresh(std::string name) {
    while (!names_.insert(name).second) name += "_";
    return name;
  }
  // The main layer, followed by the activations fused into it.
  Layer* add_fused(bool relu, bool tanh) {
    if (!relu && !tanh) return add();
    std::string between = fresh(in_->tops[0] + "_before_activation");
    Layer* main = add(in_->name, in_->bottoms, {between});
    if (relu) {
      std::string out = tanh ? fresh(in_->tops[0] + "_relu") : in_->tops[0];
      add(in_->name + "/relu", {between}, {out})->mutable_activation()->mutable_relu();
      between = out;
    }
    if (tanh) add(in_->name + "/tanh", {between}, {in_->tops[0]})->mutable_activation()->mutable_tanh();
    return main;
  }

  // ---- weights

  // Values of a blob: float32, or float16 under the key with "_f16". The blob may be longer, filled with zeros (biases
  // of inner products are).
  Status values(const char* key, int64_t count, spec::WeightParams* params, bool may_be_longer = false) {
    std::string half = std::string(key) + "_f16";
    taken_.insert(half);
    bool f16 = has(half.c_str()) && !has(key);
    MLT_ASSIGN(int64_t id, integer(f16 ? half.c_str() : key, -1, 0, INT32_MAX));
    return values_of(static_cast<uint64_t>(id), count, f16, params, may_be_longer);
  }
  Status values_of(uint64_t id, int64_t count, bool f16, spec::WeightParams* params, bool may_be_longer = false) {
    MLT_ASSIGN(Blob blob, blobs_(id));
    size_t bytes = static_cast<size_t>(count) * (f16 ? 2 : 4);
    if (blob.size() != bytes && !(may_be_longer && blob.size() > bytes))
      return input_error(fmt::format("blob {} has {} bytes, {} are needed", id, blob.size(), bytes));
    const auto* data = reinterpret_cast<const char*>(blob.bytes().data());
    if (f16) {
      params->set_float16value(std::string(data, bytes));
    } else {
      params->mutable_floatvalue()->Resize(static_cast<int>(count), 0);
      if (bytes > 0) std::memcpy(params->mutable_floatvalue()->mutable_data(), data, bytes);
    }
    return {};
  }
  // Bytes with a scale and a bias per output channel: value = byte * scale + bias.
  Status quantized(int64_t channels, int64_t count, spec::WeightParams* params) {
    auto id = [&](const char* key) {
      taken_.insert(std::string("weights.") + key);
      auto it = in_->weights.find(key);
      return it == in_->weights.end() ? uint64_t{0} : it->second;
    };
    MLT_ASSIGN(Blob codes, blobs_(id("W_U8")));
    if (codes.size() != static_cast<size_t>(count)) return input_error(fmt::format("{} bytes of weights, {} are needed", codes.size(), count));
    spec::WeightParams scale, bias;
    MLT_TRY(values_of(id("per_ch_qscale"), channels, false, &scale));
    MLT_TRY(values_of(id("per_ch_qbias"), channels, false, &bias));
    params->set_rawvalue(std::string(codes.text()));
    params->mutable_quantization()->set_numberofbits(8);
    auto* linear = params->mutable_quantization()->mutable_linearquantization();
    linear->mutable_scale()->Swap(scale.mutable_floatvalue());
    linear->mutable_bias()->Swap(bias.mutable_floatvalue());
    return {};
  }

  // ---- layers

  Status one();
  struct Borders {
    int64_t top, bottom, left, right;
    bool any() const { return top != 0 || bottom != 0 || left != 0 || right != 0; }
  };
  Result<Borders> borders() {
    Borders b{};
    for (auto [key, value] : {std::pair{"pad_t", &b.top}, {"pad_b", &b.bottom}, {"pad_l", &b.left}, {"pad_r", &b.right}}) {
      MLT_ASSIGN(*value, integer(key, 0, 0, 1 << 24));
    }
    return b;
  }
  static void set_borders(const Borders& b, spec::BorderAmounts* out) {
    auto* vertical = out->add_borderamounts();
    vertical->set_startedgesize(static_cast<uint64_t>(b.top));
    vertical->set_endedgesize(static_cast<uint64_t>(b.bottom));
    auto* horizontal = out->add_borderamounts();
    horizontal->set_startedgesize(static_cast<uint64_t>(b.left));
    horizontal->set_endedgesize(static_cast<uint64_t>(b.right));
  }
  const EspressoShape* shape(const std::string& blob) const {
    auto it = network_.shapes.find(blob);
    return it == network_.shapes.end() ? nullptr : &it->second;
  }

  Status convolution();
  Status pool();
  Status inner_product();
  Status activation();
  Status elementwise();
  Status softmax();
  Status softmax_nd();
  Status flatten();
  Status reshape();
  Status transpose();
  Status concat();
  Status sequence_concat();
  Status slice();
  Status reduce();
  Status padding();
  Status normalize();
  Status load_constant();
  Status expand_dims();
  Status batch_matmul();
  Status batchnorm();
  Status upsample();
  Status split_nd();

  const EspressoNetwork& network_;
  const EspressoBlobs& blobs_;
  google::protobuf::RepeatedPtrField<Layer>* layers_;
  const EspressoLayer* in_ = nullptr;
  std::set<std::string> taken_, names_;
};

}  // namespace mlt::coreml
