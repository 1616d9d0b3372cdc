// The text of a compiled network as Apple's compiler orders it: keys lie in the buckets of a hash table (bucket_order.h),
// into which they go in the orders below. The orders were found by search; they reproduce the observed files, except
// some transpositions and reshapes of 2019.
#include <algorithm>

#include "lib/base/bytes.h"
#include "lib/container/bucket_order.h"
#include "lib/container/espresso.h"
#include "lib/container/json_text.h"
#include "lib/container/mlmodelc.h"

namespace mlt {
namespace {

using coreml::EspressoLayer;
using coreml::EspressoShape;
using Keys = std::vector<std::string_view>;
using Members = std::vector<std::pair<std::string, JsonText>>;

struct Order {
  TableGrowth growth;
  Keys keys;
};

const Order& order_of(std::string_view type) {
  constexpr TableGrowth kGrow = TableGrowth::kGrowing, kFinal = TableGrowth::kFinal;
  static const std::vector<std::pair<Keys, Order>> kOrders = {
      {{"convolution", "deconvolution"},
       {kGrow, {"has_biases", "fused_relu", "fused_tanh", "debug_info", "pad_r", "top", "C", "Nx", "pad_b", "K", "pad_t", "pad_fill_mode", "n_parallel",
                "has_batch_norm", "type", "stride_y", "Ny", "pad_l", "bottom", "weights", "pad_mode", "pad_value", "blob_weights_f16", "name",
                "blob_weights", "stride_x", "n_groups", "blob_biases"}}},
      {{"pool"},
       {kGrow, {"size_y", "type", "bottom", "top", "name", "stride_y", "pad_fill_mode", "top_shape_style", "pad_t", "is_global", "size_x",
                "average_count_exclude_padding", "pad_r", "avg_or_max", "stride_x", "pad_l", "debug_info", "pad_value", "pad_mode", "weights", "pad_b"}}},
      {{"flatten"}, {kFinal, {"top", "type", "bottom", "nd_axis", "debug_info", "name", "mode", "weights", "attributes"}}},
      {{"inner_product"},
       {kFinal, {"bottom", "type", "has_biases", "has_prelu", "nB", "blob_weights", "nC", "blob_biases", "name", "has_relu", "top", "blob_weights_f16",
                 "weights", "has_tanh", "debug_info"}}},
      {{"softmax"}, {kFinal, {"bottom", "top", "C", "type", "weights", "name", "debug_info", "attributes"}}},
      {{"transpose"},
       {kFinal, {"axis_k", "bottom", "axis_n", "axis_h", "top", "weights", "axis_w", "debug_info", "type", "axis_seq", "attributes", "name"}}},
      {{"reshape"},
       {kGrow, {"dst_n", "version", "dst_w", "top", "attributes", "dst_k", "type", "name", "mode", "dst_h", "bottom", "dst_seq", "dynamic_shape",
                "debug_info", "weights", "hint_fallback_from_metal", "dst_nd_rank"}}},
      {{"elementwise"},
       {kGrow, {"name", "type", "debug_info", "top", "operation", "bottom", "hint_fallback_from_metal", "alpha", "fused_relu", "weights", "beta"}}},
      {{"activation"}, {kFinal, {"alpha", "bottom", "weights", "mode", "debug_info", "top", "type", "name", "beta", "hint_fallback_from_metal"}}},
      {{"reduce"}, {kFinal, {"bottom", "axis_mode", "weights", "mode", "hint_fallback_from_metal", "debug_info", "use_version", "top", "type", "name"}}},
      {{"slice"}, {kFinal, {"bottom", "end", "start", "weights", "hint_fallback_from_metal", "debug_info", "axis", "top", "type", "name"}}},
      {{"general_padding"},
       {kFinal, {"pad_t", "pad_b", "pad_pad_mode", "name", "weights", "type", "pad_l", "pad_fill_mode", "pad_value", "top", "pad_r", "bottom"}}},
      {{"expand_dims", "squeeze"}, {kFinal, {"size_of_axes", "bottom", "axes_0", "weights", "nd_axis", "debug_info", "version", "top", "type", "name"}}},
      {{"load_constant"}, {kGrow, {"w", "h", "bottom", "top", "type", "constant_blob", "k", "debug_info", "name", "n", "weights", "nd_rank"}}},
  };
  static const Order kOther = {kFinal, {"bottom", "weights", "eps", "debug_info", "axis", "normalization_mode", "nd_axis", "simple_concat", "top", "type", "name"}};
  for (const auto& [types, order] : kOrders)
    if (std::find(types.begin(), types.end(), type) != types.end()) return order;
  return kOther;
}

JsonText object(Members members, const Keys& first, TableGrowth growth) {
  auto rank = [&](const std::string& key) { return std::find(first.begin(), first.end(), key) - first.begin(); };
  std::stable_sort(members.begin(), members.end(), [&](const auto& a, const auto& b) { return rank(a.first) < rank(b.first); });
  Keys keys;
  for (const auto& member : members) keys.push_back(member.first);
  JsonText out = JsonText::object();
  for (size_t i : bucket_order(keys, growth)) out.set(members[i].first, std::move(members[i].second));
  return out;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ",") + name;
  return out;
}

JsonText layer_text(const EspressoLayer& layer) {
  Members members;
  auto put = [&](const char* key, JsonText value) { members.emplace_back(key, std::move(value)); };
  put("type", JsonText::string(layer.type));
  put("name", JsonText::string(layer.name));
  put("bottom", JsonText::string(joined(layer.bottoms)));
  put("top", JsonText::string(joined(layer.tops)));
  JsonText weights = JsonText::object();
  for (const auto& [key, id] : layer.weights) weights.set(key, JsonText::number(static_cast<long long>(id)));
  put("weights", std::move(weights));
  if (layer.is_output) put("attributes", JsonText::object().set("is_output", JsonText::number(1)));
  for (const auto& [key, value] : layer.fields) {
    if (const double* d = std::get_if<double>(&value)) put(key.c_str(), JsonText::real(*d));
    else if (const bool* b = std::get_if<bool>(&value)) put(key.c_str(), JsonText::boolean(*b));
    else put(key.c_str(), JsonText::string(std::get<std::string>(value)));
  }
  const Order& order = order_of(layer.type);
  return object(std::move(members), order.keys, order.growth);
}

JsonText shape_text(const EspressoShape& shape) {
  Members members;
  auto put = [&](const char* key, int64_t value) { members.emplace_back(key, JsonText::number(value)); };
  put("k", shape.k);
  put("w", shape.w);
  put("n", shape.n);
  if (shape.seq != 1) put("seq", shape.seq);
  put("h", shape.h);
  if (shape.rank > 0) put("_rank", shape.rank);
  return object(std::move(members), {}, TableGrowth::kFinal);
}

Blob blob_of(const std::string& text) {
  ByteSpan bytes = as_bytes(text);
  return Blob(Bytes(bytes.begin(), bytes.end()));
}

std::string net_text(const coreml::WrittenEspresso& written, const coreml::Model& model) {
  Members members;
  JsonText layers = JsonText::array();
  for (const EspressoLayer& layer : written.network.layers) layers.add(layer_text(layer));
  members.emplace_back("layers", std::move(layers));
  if (!written.network.images.empty()) {
    Members inputs;
    for (const auto& [input, image] : written.network.images) {
      bool bgr = false;
      for (const auto& feature : model.description().inputs) bgr = bgr || (feature.name == input && feature.type.image.color_space == coreml::ColorSpace::kBgr);
      Members t;
      auto put = [&](const char* key, double value) { t.emplace_back(key, JsonText::real(value)); };
      put("bias_a", 0);
      put("bias_g", image.green);
      put("bias_r", image.red);
      put("bias_b", image.blue);
      put("center_mean", 0);
      put("is_network_bgr", bgr ? 1 : 0);
      put("scale", image.scale);
      inputs.emplace_back(input, object(std::move(t), {}, TableGrowth::kFinal));
    }
    members.emplace_back("transform_params", object(std::move(inputs), {}, TableGrowth::kGrowing));
  }
  members.emplace_back("storage", JsonText::string("model.espresso.weights"));
  members.emplace_back("properties", JsonText::object());
  members.emplace_back("analyses", JsonText::object());
  members.emplace_back("metadata_in_weights", JsonText::array());
  members.emplace_back("format_version", JsonText::number(200));
  static const Keys kTop = {"properties", "transform_params", "format_version", "analyses", "layers", "storage", "metadata_in_weights"};
  return object(std::move(members), kTop, TableGrowth::kGrowing).to_string();
}

// Inputs, then the outputs of the layers in order.
std::string shapes_text(const coreml::WrittenEspresso& written, const coreml::Model& model) {
  Members members;
  const auto& shapes = written.network.shapes;
  std::vector<std::string> names;
  for (const auto& input : model.description().inputs) names.push_back(input.name);
  for (const EspressoLayer& layer : written.network.layers) names.insert(names.end(), layer.tops.begin(), layer.tops.end());
  for (const std::string& name : names)
    if (auto it = shapes.find(name); it != shapes.end()) members.emplace_back(name, shape_text(it->second));
  return JsonText::object().set("layer_shapes", object(std::move(members), {}, TableGrowth::kGrowing)).to_string();
}

// Blobs with odd ids hold data, those with even ids zeros that bring the next to a multiple of 64 bytes.
Bytes weights_file(const std::vector<coreml::EspressoBlob>& blobs) {
  ByteWriter out;
  if (blobs.empty()) {
    out.write<uint64_t>(0);
    return out.release();
  }
  uint64_t count = 2 * blobs.size();
  uint64_t position = 8 + 16 * count;
  out.write(count);
  std::vector<uint64_t> fill;
  for (size_t i = 0; i < blobs.size(); ++i) {
    fill.push_back((64 - position % 64) % 64);
    uint64_t size = std::max<uint64_t>(blobs[i].padded, blobs[i].bytes.size());
    position += fill.back() + size;
    out.write<uint64_t>(2 * i);
    out.write(fill.back());
    out.write<uint64_t>(2 * i + 1);
    out.write(size);
  }
  for (size_t i = 0; i < blobs.size(); ++i) {
    out.append(Bytes(fill[i]));
    out.append(blobs[i].bytes);
    if (blobs[i].padded > blobs[i].bytes.size()) out.append(Bytes(blobs[i].padded - blobs[i].bytes.size()));
  }
  return out.release();
}

}  // namespace

std::map<std::string, Blob> espresso_files(const coreml::WrittenEspresso& written, const coreml::Model& model) {
  std::map<std::string, Blob> files;
  files["model.espresso.net"] = blob_of(net_text(written, model));
  files["model.espresso.shape"] = blob_of(shapes_text(written, model));
  files["model.espresso.weights"] = Blob(weights_file(written.blobs));
  CompiledPreprocessing maps;
  for (const auto& [input, image] : written.network.images) {
    coreml::ColorSpace space = coreml::ColorSpace::kRgb;
    for (const auto& feature : model.description().inputs)
      if (feature.name == input) space = feature.type.image.color_space;
    bool gray = space == coreml::ColorSpace::kGrayscale || space == coreml::ColorSpace::kGrayscaleFloat16;
    maps.is_image[input] = 1;
    maps.is_bgr[input] = space == coreml::ColorSpace::kBgr ? 1.0f : 0.0f;
    maps.is_grayscale[input] = gray ? 1.0f : 0.0f;
    maps.blue_bias[input] = image.blue;
    maps.green_bias[input] = image.green;
    maps.red_bias[input] = image.red;
    maps.gray_bias[input] = image.gray;
    maps.channel_scale[input] = image.scale;
  }
  files["model/coremldata.bin"] = Blob(write_compiled_preprocessing(maps));
  if (written.network.update_parameters) {
    files["updateParameters/coremldata.bin"] = Blob(write_updatable_layers(written.network.updatable_layers));
    files["updateParameters/NetworkUpdateParameters/coremldata.bin"] = Blob(Bytes(*written.network.update_parameters));
  }
  ByteWriter optionals;
  for (uint64_t word : {0, 0, written.network.exact_arrays ? 1 : 0, 0, 0}) optionals.write(word);
  files["neural_network_optionals/coremldata.bin"] = Blob(optionals.release());
  return files;
}

}  // namespace mlt
