#include "lib/coreml/espresso.h"

#include <fmt/core.h>

#include <climits>
#include <cmath>
#include <cstring>
#include <set>

#include "lib/coreml/model_proto.h"

namespace mlt::coreml {
namespace {

using Layer = spec::NeuralNetworkLayer;
constexpr double kMaxExtent = 1 << 24;

// Reads one layer after the other into `layers`. Each field that a layer has is either taken or, when it is not zero,
// a reason to refuse: a field that is passed over would change the answers.
class Reader {
 public:
  Reader(const EspressoNetwork& network, const EspressoBlobs& blobs, google::protobuf::RepeatedPtrField<Layer>* layers)
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

  Status one() {
    if (in_->tops.empty()) return input_error("has no output");
    using Handler = Status (Reader::*)();
    static const std::map<std::string_view, Handler> kHandlers = {
        {"convolution", &Reader::convolution}, {"deconvolution", &Reader::convolution}, {"pool", &Reader::pool},
        {"inner_product", &Reader::inner_product}, {"activation", &Reader::activation}, {"elementwise", &Reader::elementwise},
        {"softmax", &Reader::softmax}, {"softmax_nd", &Reader::softmax_nd}, {"flatten", &Reader::flatten},
        {"reshape", &Reader::reshape}, {"transpose", &Reader::transpose}, {"concat", &Reader::concat},
        {"sequence_concat", &Reader::sequence_concat}, {"slice", &Reader::slice}, {"reduce", &Reader::reduce},
        {"general_padding", &Reader::padding}, {"l2_normalize", &Reader::normalize}, {"load_constant", &Reader::load_constant},
        {"expand_dims", &Reader::expand_dims}, {"squeeze", &Reader::expand_dims}, {"batch_matmul", &Reader::batch_matmul},
        {"batchnorm", &Reader::batchnorm}, {"upsample", &Reader::upsample}, {"split_nd", &Reader::split_nd},
    };
    auto it = kHandlers.find(in_->type);
    if (it == kHandlers.end()) return unsupported_error("layers of this type are not known");
    return (this->*it->second)();
  }

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

  Status convolution() {
    MLT_TRY(need(1));
    bool transposed = in_->type == "deconvolution";
    MLT_ASSIGN(int64_t inputs, extent("K"));
    MLT_ASSIGN(int64_t outputs, extent("C"));
    MLT_ASSIGN(int64_t width, extent("Nx"));
    MLT_ASSIGN(int64_t height, extent("Ny"));
    MLT_ASSIGN(int64_t groups, extent("n_groups", 1));
    MLT_ASSIGN(int64_t stride_x, extent("stride_x", 1));
    MLT_ASSIGN(int64_t stride_y, extent("stride_y", 1));
    MLT_ASSIGN(int64_t dilation_x, extent("dilation_x", 1));
    MLT_ASSIGN(int64_t dilation_y, extent("dilation_y", 1));
    if (inputs % groups != 0 || outputs % groups != 0) return input_error("the groups do not divide the channels");
    // Which way round other transposed kernels lie has not been seen.
    if (transposed && (inputs != groups || outputs != groups)) return unsupported_error("deconvolution other than channel by channel");
    MLT_TRY(only("has_batch_norm", {0}, 0));
    MLT_TRY(only("pad_fill_mode", {0}, 0));
    MLT_TRY(only("pad_value", {0}, 0));
    MLT_TRY(only("n_parallel", {1}, 1));
    MLT_ASSIGN(int64_t mode, integer("pad_mode", 0, -1000, 1000));
    MLT_ASSIGN(Borders pad, borders());
    MLT_ASSIGN(int64_t relu, integer("fused_relu", 0, 0, 1));
    MLT_ASSIGN(int64_t tanh, integer("fused_tanh", 0, 0, 1));
    MLT_ASSIGN(int64_t has_bias, integer("has_biases", 0, 0, 1));
    if (transposed ? mode != 0 : mode != 0 && mode != 1 && mode != 4) return unsupported_error(fmt::format("pad_mode {} is not known", mode));

    auto* p = add_fused(relu, tanh)->mutable_convolution();
    p->set_outputchannels(static_cast<uint64_t>(outputs));
    p->set_kernelchannels(static_cast<uint64_t>(transposed ? inputs : inputs / groups));
    p->set_ngroups(static_cast<uint64_t>(groups));
    p->set_isdeconvolution(transposed);
    for (int64_t v : {height, width}) p->add_kernelsize(static_cast<uint64_t>(v));
    for (int64_t v : {stride_y, stride_x}) p->add_stride(static_cast<uint64_t>(v));
    for (int64_t v : {dilation_y, dilation_x}) p->add_dilationfactor(static_cast<uint64_t>(v));
    if (mode == 0) {
      set_borders(pad, p->mutable_valid()->mutable_paddingamounts());
    } else {
      if (pad.any()) return unsupported_error("borders besides equal padding");
      p->mutable_same()->set_asymmetrymode(mode == 4 ? spec::SamePadding::TOP_LEFT_HEAVY : spec::SamePadding::BOTTOM_RIGHT_HEAVY);
    }
    if (transposed && has("deconv_out_height")) {
      MLT_ASSIGN(int64_t out_height, extent("deconv_out_height"));
      MLT_ASSIGN(int64_t out_width, extent("deconv_out_width"));
      const EspressoShape* from = shape(in_->bottoms[0]);
      // The borders say the same; where they do not, it is not known which holds.
      if (from == nullptr || (from->h - 1) * stride_y + height - pad.top - pad.bottom != out_height ||
          (from->w - 1) * stride_x + width - pad.left - pad.right != out_width)
        return unsupported_error("an output size that the borders do not give");
    }
    if (has_bias) {
      p->set_hasbias(true);
      MLT_TRY(values("blob_biases", outputs, p->mutable_bias(), true));
    } else {
      taken_.insert("blob_biases");
    }
    if (inputs / groups > (int64_t{1} << 40) / outputs / (height * width)) return input_error("the kernel is too large");
    int64_t count = outputs * (inputs / groups) * height * width;
    if (!has("blob_weights") && !has("blob_weights_f16") && in_->weights.contains("W_U8")) return quantized(outputs, count, p->mutable_weights());
    return values("blob_weights", count, p->mutable_weights());
  }

  Status pool() {
    MLT_TRY(need(1));
    MLT_TRY(only("avg_or_max", {0, 1}, -1));
    bool max = number("avg_or_max", 0) == 1, global = number("is_global", 0) == 1;
    MLT_TRY(only("pad_fill_mode", {0}, 0));
    MLT_TRY(only("pad_value", {0}, 0));
    MLT_ASSIGN(Borders pad, borders());
    MLT_ASSIGN(int64_t width, extent("size_x", 1));
    MLT_ASSIGN(int64_t height, extent("size_y", 1));
    MLT_ASSIGN(int64_t stride_x, extent("stride_x", 1));
    MLT_ASSIGN(int64_t stride_y, extent("stride_y", 1));
    double mode = number("pad_mode", 0), style = number("top_shape_style", 0);
    auto* p = add()->mutable_pooling();
    p->set_type(max ? spec::PoolingLayerParams::MAX : spec::PoolingLayerParams::AVERAGE);
    p->set_avgpoolexcludepadding(number("average_count_exclude_padding", 0) != 0);
    p->set_globalpooling(global);
    for (int64_t v : {height, width}) p->add_kernelsize(static_cast<uint64_t>(v));
    for (int64_t v : {stride_y, stride_x}) p->add_stride(static_cast<uint64_t>(v));
    if (global) {
      // The window is all of the input, whatever the padding's name.
      p->mutable_valid();
      return {};
    }
    if (mode == 2 && style == 0) {
      set_borders(pad, p->mutable_valid()->mutable_paddingamounts());
      return {};
    }
    if (mode == 0 && style == 2) {  // as Caffe: the last window may stand over the border
      if (pad.top != pad.bottom || pad.left != pad.right) return unsupported_error("borders that differ, with windows over the border");
      p->mutable_includelastpixel()->add_paddingamounts(static_cast<uint64_t>(pad.top));
      p->mutable_includelastpixel()->add_paddingamounts(static_cast<uint64_t>(pad.left));
      return {};
    }
    // Seen of convolutions only: taken where the described extents bear it out.
    const EspressoShape *from = shape(in_->bottoms[0]), *to = shape(in_->tops[0]);
    if (mode == 1 && style == 0 && !pad.any() && from != nullptr && to != nullptr && to->h == (from->h + stride_y - 1) / stride_y &&
        to->w == (from->w + stride_x - 1) / stride_x) {
      p->mutable_same();
      return {};
    }
    return unsupported_error(fmt::format("pad_mode {} with top_shape_style {} is not known", mode, style));
  }

  Status inner_product() {
    MLT_TRY(need(1));
    MLT_ASSIGN(int64_t inputs, extent("nB"));
    MLT_ASSIGN(int64_t outputs, extent("nC"));
    MLT_TRY(only("has_prelu", {0}, 0));
    MLT_ASSIGN(int64_t relu, integer("has_relu", 0, 0, 1));
    MLT_ASSIGN(int64_t tanh, integer("has_tanh", 0, 0, 1));
    MLT_ASSIGN(int64_t has_bias, integer("has_biases", 0, 0, 1));
    if (has("is_lookup") && number("is_lookup", 0) != 0) return unsupported_error("embeddings (is_lookup) are not known");
    auto* p = add_fused(relu, tanh)->mutable_innerproduct();
    p->set_inputchannels(static_cast<uint64_t>(inputs));
    p->set_outputchannels(static_cast<uint64_t>(outputs));
    if (has_bias) {
      p->set_hasbias(true);
      MLT_TRY(values("blob_biases", outputs, p->mutable_bias(), true));
    } else {
      taken_.insert("blob_biases");
    }
    return values("blob_weights", inputs * outputs, p->mutable_weights());
  }

  Status activation() {
    MLT_TRY(need(1));
    MLT_ASSIGN(int64_t mode, integer("mode", -1, -1, 1000));
    auto alpha = static_cast<float>(number("alpha", 1)), beta = static_cast<float>(number("beta", 0));
    if ((mode == 0 || mode == 3 || mode == 19) && ((has("alpha") && alpha != 0 && alpha != 1) || beta != 0))
      return unsupported_error("alpha or beta of an activation that has none");
    switch (mode) {
      case 0: add()->mutable_activation()->mutable_relu(); return {};
      case 3: add()->mutable_activation()->mutable_sigmoid(); return {};
      case 6: {
        auto* linear = add()->mutable_activation()->mutable_linear();
        linear->set_alpha(alpha);
        linear->set_beta(beta);
        return {};
      }
      case 7: {
        auto* hard = add()->mutable_activation()->mutable_sigmoidhard();
        hard->set_alpha(alpha);
        hard->set_beta(beta);
        return {};
      }
      case 19: add()->mutable_gelu(); return {};
      default: return unsupported_error(fmt::format("mode {} is not known", mode));
    }
  }

  Status elementwise() {
    MLT_ASSIGN(int64_t operation, integer("operation", -1, -1, 100000));
    auto alpha = static_cast<float>(number("alpha", 1)), beta = static_cast<float>(number("beta", 0));
    MLT_ASSIGN(int64_t relu, integer("fused_relu", 0, 0, 1));
    bool two = operation == 0 || operation == 1;
    if (!two && operation != 10 && operation != 25 && operation != 27) return unsupported_error(fmt::format("operation {} is not known", operation));
    // alpha is a parameter of 25 alone.
    if (beta != 0 || (operation != 25 && alpha != 1)) return unsupported_error(fmt::format("operation {} with alpha {} and beta {} is not known", operation, alpha, beta));
    if (two) {
      if (in_->bottoms.size() < 2) return unsupported_error("a sum or product of one input is not known");
      MLT_TRY(need(in_->bottoms.size()));
      Layer* layer = add_fused(relu, false);
      if (network_.exact_arrays) {
        if (operation == 0) layer->mutable_addbroadcastable();
        else layer->mutable_multiplybroadcastable();
      } else {
        if (operation == 0) layer->mutable_add();
        else layer->mutable_multiply();
      }
      return {};
    }
    MLT_TRY(need(1));
    auto* unary = add_fused(relu, false)->mutable_unary();
    unary->set_type(operation == 10   ? spec::UnaryFunctionLayerParams::INVERSE
                    : operation == 25 ? spec::UnaryFunctionLayerParams::THRESHOLD
                                      : spec::UnaryFunctionLayerParams::EXP);
    unary->set_scale(1);
    unary->set_alpha(alpha);
    unary->set_epsilon(1e-6f);
    return {};
  }

  Status softmax() {
    MLT_TRY(need(1));
    MLT_TRY(only("C", {2}, -1));  // the axis: channels
    add()->mutable_softmax();
    return {};
  }
  Status softmax_nd() {
    MLT_TRY(need(1));
    MLT_ASSIGN(int64_t axis, integer("nd_axis", 1000, -5, 4));
    add()->mutable_softmaxnd()->set_axis(axis);
    return {};
  }
  Status flatten() {
    MLT_TRY(need(1));
    MLT_TRY(only("mode", {0, 1}, 0));
    MLT_TRY(only("nd_axis", {0}, 0));
    add()->mutable_flatten()->set_mode(number("mode", 0) == 0 ? spec::FlattenLayerParams::CHANNEL_FIRST : spec::FlattenLayerParams::CHANNEL_LAST);
    return {};
  }

  Status reshape() {
    MLT_TRY(need(1));
    MLT_TRY(only("dynamic_shape", {0}, 0));
    int64_t target[5];  // seq, n, k, h, w
    constexpr const char* kKeys[] = {"dst_seq", "dst_n", "dst_k", "dst_h", "dst_w"};
    for (size_t i = 0; i < 5; ++i) {
      MLT_ASSIGN(target[i], integer(kKeys[i], 1, -1, int64_t{1} << 31));
    }
    MLT_ASSIGN(int64_t rank, integer("dst_nd_rank", 0, 0, 5));
    if (rank > 0) {
      MLT_TRY(only("mode", {0}, 0));
      auto* p = add()->mutable_reshapestatic();
      for (size_t i = 5 - static_cast<size_t>(rank); i < 5; ++i) p->add_targetshape(target[i]);
      return {};
    }
    MLT_TRY(only("mode", {0, 1}, 0));
    MLT_TRY(only("dst_n", {0}, 0));  // the batch stays
    auto* p = add()->mutable_reshape();
    for (size_t i : {0, 2, 3, 4}) p->add_targetshape(target[i]);
    p->set_mode(number("mode", 0) == 0 ? spec::ReshapeLayerParams::CHANNEL_FIRST : spec::ReshapeLayerParams::CHANNEL_LAST);
    return {};
  }

  // axis_X: which axis of the input becomes axis X.
  Status transpose() {
    MLT_TRY(need(1));
    constexpr const char* kKeys[] = {"axis_w", "axis_h", "axis_k", "axis_n", "axis_seq"};
    int64_t from[5];
    for (int i = 0; i < 5; ++i) {
      MLT_ASSIGN(from[i], integer(kKeys[i], i, 0, 4));
    }
    if (network_.exact_arrays) {
      const EspressoShape* s = shape(in_->tops[0]);
      if (s == nullptr || s->rank == 0) s = shape(in_->bottoms[0]);
      if (s == nullptr || s->rank < 1 || s->rank > 5) return unsupported_error("the rank of its input is not said");
      auto* p = add()->mutable_transpose();
      for (int i = s->rank - 1; i >= 0; --i) {
        if (from[i] >= s->rank) return input_error("an axis beyond the rank");
        p->add_axes(static_cast<uint64_t>(s->rank - 1 - from[i]));
      }
      for (int i = s->rank; i < 5; ++i)
        if (from[i] != i) return input_error("an axis beyond the rank");
      return {};
    }
    if (from[3] != 3) return unsupported_error("a change of the batch axis");
    auto* p = add()->mutable_permute();
    for (int i : {4, 2, 1, 0}) p->add_axis(static_cast<uint64_t>(from[i] == 4 ? 0 : 3 - from[i]));  // sequence, channel, height, width
    return {};
  }

  Status concat() {
    MLT_TRY(need(in_->bottoms.size()));
    MLT_TRY(only("axis", {1}, 1));
    add()->mutable_concat();
    return {};
  }
  Status sequence_concat() {
    MLT_TRY(need(in_->bottoms.size()));
    MLT_TRY(only("simple_concat", {1}, 0));
    add()->mutable_concat()->set_sequenceconcat(true);
    return {};
  }
  Status slice() {
    MLT_TRY(need(1));
    MLT_TRY(only("axis", {0, 1, 2}, -1));
    auto* p = add()->mutable_slice();
    double axis = number("axis", 2);
    p->set_axis(axis == 2 ? spec::SliceLayerParams::CHANNEL_AXIS : axis == 1 ? spec::SliceLayerParams::HEIGHT_AXIS : spec::SliceLayerParams::WIDTH_AXIS);
    MLT_ASSIGN(int64_t start, integer("start", 0, -(1 << 24), 1 << 24));
    MLT_ASSIGN(int64_t end, integer("end", 1 << 24, -(1 << 24), 1 << 24));
    p->set_startindex(start);
    p->set_endindex(end);
    p->set_stride(1);
    return {};
  }
  Status reduce() {
    MLT_TRY(need(1));
    MLT_TRY(only("mode", {0}, -1));
    MLT_TRY(only("axis_mode", {4}, -1));
    auto* p = add()->mutable_reduce();
    p->set_mode(spec::ReduceLayerParams::SUM);
    p->set_axis(spec::ReduceLayerParams::C);
    p->set_epsilon(1e-6f);
    return {};
  }
  Status padding() {
    MLT_TRY(need(1));
    MLT_TRY(only("pad_pad_mode", {0}, 0));
    MLT_TRY(only("pad_fill_mode", {0}, 0));
    MLT_ASSIGN(Borders pad, borders());
    auto* p = add()->mutable_padding();
    p->mutable_constant()->set_value(static_cast<float>(number("pad_value", 0)));
    set_borders(pad, p->mutable_paddingamounts());
    return {};
  }
  Status normalize() {
    MLT_TRY(need(1));
    MLT_TRY(only("normalization_mode", {1}, -1));
    MLT_TRY(only("axis", {1, 2}, -1));
    auto* p = add()->mutable_mvn();
    p->set_normalizevariance(true);
    p->set_acrosschannels(number("axis", 1) == 2);
    p->set_epsilon(static_cast<float>(number("eps", 1e-5)));
    return {};
  }
  Status load_constant() {
    MLT_TRY(need(0));
    int64_t dims[4];
    constexpr const char* kKeys[] = {"n", "k", "h", "w"};
    int64_t count = 1;
    for (size_t i = 0; i < 4; ++i) {
      MLT_ASSIGN(dims[i], extent(kKeys[i], 1));
      if (count > (int64_t{1} << 32) / dims[i]) return input_error("the constant is too large");
      count *= dims[i];
    }
    MLT_ASSIGN(int64_t rank, integer("nd_rank", network_.exact_arrays ? 3 : 0, 0, 4));
    int64_t shown = 1;
    size_t first = rank == 0 ? 1 : 4 - static_cast<size_t>(rank);
    for (size_t i = first; i < 4; ++i) shown *= dims[i];
    if (shown != count) return input_error("the constant has more axes than its rank");
    Layer* layer = add();
    auto* data = rank == 0 ? layer->mutable_loadconstant()->mutable_data() : layer->mutable_loadconstantnd()->mutable_data();
    for (size_t i = first; i < 4; ++i) {
      if (rank == 0) layer->mutable_loadconstant()->add_shape(static_cast<uint64_t>(dims[i]));
      else layer->mutable_loadconstantnd()->add_shape(static_cast<uint64_t>(dims[i]));
    }
    return values("constant_blob", count, data);
  }
  Status expand_dims() {
    MLT_TRY(need(1));
    MLT_TRY(only("nd_axis", {0}, 0));
    MLT_ASSIGN(int64_t count, integer("size_of_axes", 0, 0, 5));
    if (count == 0) return unsupported_error("no axes are named");
    Layer* layer = add();
    for (int64_t i = 0; i < count; ++i) {
      MLT_ASSIGN(int64_t axis, integer(fmt::format("axes_{}", i).c_str(), 1000, -5, 4));
      if (in_->type == "squeeze") layer->mutable_squeeze()->add_axes(axis);
      else layer->mutable_expanddims()->add_axes(axis);
    }
    return {};
  }
  Status batch_matmul() {
    MLT_TRY(need(2));
    MLT_TRY(only("channel_mode", {0}, 0));
    add()->mutable_batchedmatmul();
    return {};
  }
  // Four numbers for each channel: scale, offset, mean, variance.
  Status batchnorm() {
    MLT_TRY(need(1));
    MLT_ASSIGN(int64_t channels, extent("C"));
    spec::WeightParams all;
    MLT_TRY(values("blob_batchnorm_params", 4 * channels, &all, true));
    auto* p = add()->mutable_batchnorm();
    p->set_channels(static_cast<uint64_t>(channels));
    p->set_epsilon(1e-5f);
    if (all.floatvalue_size() != 4 * channels) return unsupported_error("parameters that are no float32 numbers");
    for (int c = 0; c < channels; ++c) {
      p->mutable_gamma()->add_floatvalue(all.floatvalue(4 * c));
      p->mutable_beta()->add_floatvalue(all.floatvalue(4 * c + 1));
      p->mutable_mean()->add_floatvalue(all.floatvalue(4 * c + 2));
      p->mutable_variance()->add_floatvalue(all.floatvalue(4 * c + 3));
      // Whether epsilon is still to be added to the variance is not known; above this it makes no difference that
      // float16 arithmetic would show.
      if (!(all.floatvalue(4 * c + 3) >= 0.02f)) return unsupported_error("small variances: whether epsilon is part of them is not known");
    }
    return {};
  }
  Status upsample() {
    MLT_TRY(need(1));
    MLT_TRY(only("mode", {1}, -1));
    for (const char* key : {"align_corners", "is_legacy_mode", "use_fractional_scale_factors"}) MLT_TRY(only(key, {0}, -1));
    for (const char* key : {"fractional_scaling_factor_x", "fractional_scaling_factor_y"}) MLT_TRY(only(key, {1}, 1));
    MLT_ASSIGN(int64_t y, extent("scaling_factor_y"));
    MLT_ASSIGN(int64_t x, extent("scaling_factor_x"));
    auto* p = add()->mutable_upsample();
    p->add_scalingfactor(static_cast<uint64_t>(y));
    p->add_scalingfactor(static_cast<uint64_t>(x));
    p->set_mode(spec::UpsampleLayerParams::BILINEAR);
    p->set_linearupsamplemode(spec::UpsampleLayerParams::ALIGN_CORNERS_FALSE);
    return {};
  }
  Status split_nd() {
    MLT_TRY(need(1, in_->tops.size()));
    MLT_ASSIGN(int64_t axis, integer("nd_axis", 1000, -5, 4));
    auto* p = add()->mutable_splitnd();
    p->set_axis(axis);
    p->set_numsplits(in_->tops.size());
    for (const std::string& top : in_->tops) {
      const EspressoShape* s = shape(top);
      if (s == nullptr || s->rank < 1 || s->rank > 5) return unsupported_error("the extents of its outputs are not said");
      int64_t id = axis < 0 ? -1 - axis : s->rank - 1 - axis;  // from the innermost
      const int64_t extents[] = {s->w, s->h, s->k, s->n, s->seq};
      if (id < 0 || id >= s->rank) return input_error("an axis beyond the rank");
      p->add_splitsizes(static_cast<uint64_t>(std::max<int64_t>(extents[id], 0)));
    }
    return {};
  }

  const EspressoNetwork& network_;
  const EspressoBlobs& blobs_;
  google::protobuf::RepeatedPtrField<Layer>* layers_;
  const EspressoLayer* in_ = nullptr;
  std::set<std::string> taken_, names_;
};

}  // namespace

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
    Status status = Reader(network, blobs, body->mutable_layers()).run();
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
