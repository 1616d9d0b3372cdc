// Neural networks: weights are fields of layers.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "lib/compress/linear.h"
#include "lib/compress/palettize.h"
#include "lib/compress/parts.h"
#include "lib/base/float16.h"
#include "lib/coreml/weights.h"

namespace mlt::compress {
namespace {

using coreml::NetworkWeight;
using coreml::NetworkWeights;
using coreml::WeightStorage;

// Specification versions that introduce the stored forms (coremltools: _MINIMUM_FP16_SPEC_VERSION and
// _MINIMUM_QUANTIZED_MODEL_SPEC_VERSION).
constexpr int kHalfVersion = 2, kQuantizedVersion = 3;

std::string_view storage_name(WeightStorage storage) {
  switch (storage) {
    case WeightStorage::kFloat32: return "stored as fp32";
    case WeightStorage::kFloat16: return "stored as fp16";
    case WeightStorage::kLinear: return "quantized already";
    case WeightStorage::kPalette: return "palettized already";
    case WeightStorage::kDynamicInt8: return "quantized together with activations";
    case WeightStorage::kOpaque: break;
  }
  return "of unknown form";
}

bool is_plain(const NetworkWeight& weight) { return weight.storage == WeightStorage::kFloat32 || weight.storage == WeightStorage::kFloat16; }

// A layer's weights: those from begin up to end.
struct Layer {
  size_t begin, end;
};

// Float32 and float16 cannot stand side by side in one layer, so what changes between them changes whole layers.
bool takes_whole_layers(const Config& config) { return config.method == Method::kFloat16 || config.method == Method::kDecompress; }

// Why weight i is not for this configuration, or nothing.
Result<std::string> reason_to_keep(const NetworkWeights& weights, const Layer& layer, size_t i, const Config& config) {
  const NetworkWeight& weight = weights[i];
  bool whole = takes_whole_layers(config);
  std::vector<std::string> names{weight.layer};
  int64_t largest = 0;
  for (size_t k = layer.begin; k < layer.end; ++k) {
    if (!whole && k != i) continue;
    names.push_back(weights[k].layer + "/" + weights[k].name);
    largest = std::max(largest, weights[k].size());
  }
  if (!config.selects(names)) return std::string("not selected");
  if (weight.storage == WeightStorage::kOpaque || weight.storage == WeightStorage::kDynamicInt8) return std::string(storage_name(weight.storage));
  if (config.method == Method::kDecompress) return std::string(weight.storage == WeightStorage::kFloat32 ? "stored as fp32" : "");
  if (!is_plain(weight) || (config.method == Method::kFloat16 && weight.storage == WeightStorage::kFloat16)) return std::string(storage_name(weight.storage));
  if (largest <= config.threshold) return fmt::format("{} elements or fewer", config.threshold);
  if (!whole && weight.dims.size() < 2) return std::string("a vector");
  if (config.method != Method::kFloat16) return std::string();
  for (size_t k = layer.begin; k < layer.end; ++k) {
    if (weights[k].storage != WeightStorage::kFloat32) continue;
    MLT_ASSIGN(Tensor tensor, weights.values(k));
    std::span<const float> values = tensor.span<float>();
    if (std::any_of(values.begin(), values.end(), [](float v) { return !std::isfinite(round_to_half(v)); }))
      return fmt::format("{} is too large for float16", k == i ? "it" : weights[k].layer + "/" + weights[k].name);
  }
  return std::string();
}

Status compress_one(NetworkWeights& weights, size_t i, const Config& config, WeightReport* report) {
  const NetworkWeight& weight = weights[i];
  MLT_ASSIGN(Tensor tensor, weights.values(i));
  std::span<const float> values = tensor.span<float>();
  if (config.method == Method::kDecompress) {
    MLT_TRY(weights.set_float32(i, values));
    report->form = "fp32";
    report->changed = true;
    report->bytes_after = weight.bytes;
    return {};
  }
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::abs(v) <= kLargest; })) {
    report->form = kBeyond;
    return {};
  }
  switch (config.method) {
    case Method::kFloat16:
      MLT_TRY(weights.set_float16(i, values));
      report->form = "fp16";
      report->distance = measure(values, [&](size_t k) { return round_to_half(values[k]); });
      report->bytes_after = weight.bytes;
      break;
    case Method::kLinear: {
      int axis = config.per_channel && weight.channels > 1 ? weight.channel_axis : -1;
      AffineCodes codes = quantize_affine(values, weight.dims, axis, config.symmetric);
      MLT_TRY(weights.set_linear(i, 8, codes.codes, codes.scale, codes.bias));
      report->form = fmt::format("8 bits linear {}, {} scale{}", config.symmetric ? "symmetric" : "asymmetric", codes.scale.size(), codes.scale.size() == 1 ? "" : "s");
      report->distance = codes.distance;
      report->bytes_after = weight.bytes + 8 * codes.scale.size();
      break;
    }
    default: {
      Palette palette = palettize(values, config.bits, false);
      MLT_TRY(weights.set_palette(i, config.bits, palette.codes, palette.table));
      report->form = fmt::format("{}-bit palette", config.bits);
      report->distance = palette.distance;
      report->bytes_after = weight.bytes + 4 * palette.table.size();
    }
  }
  report->changed = true;
  return {};
}

void raise_spec_version(coreml::Model& model, int version) {
  bool networks = coreml::is_neural_network(model.kind()) || coreml::is_pipeline(model.kind());
  if (!networks) return;
  for (size_t i = 0; i < model.child_count(); ++i) {
    coreml::Model child = model.child(i);
    raise_spec_version(child, version);
  }
  if (model.spec_version() < version) model.set_spec_version(version);
}

}  // namespace

Status compress_networks(coreml::Model& model, const Config& config, Report* report) {
  MLT_ASSIGN(NetworkWeights weights, NetworkWeights::of(model));
  bool changed = false;
  for (Layer layer{0, 0}; layer.begin < weights.size(); layer.begin = layer.end) {
    const NetworkWeight& first = weights[layer.begin];
    for (layer.end = layer.begin + 1; layer.end < weights.size(); ++layer.end)
      if (weights[layer.end].layer != first.layer || weights[layer.end].stage != first.stage || weights[layer.end].layer_kind != first.layer_kind) break;
    // All reasons first: they depend on the layer as it was.
    std::vector<std::string> reasons;
    for (size_t i = layer.begin; i < layer.end; ++i) {
      MLT_ASSIGN(std::string reason, reason_to_keep(weights, layer, i, config));
      reasons.push_back(std::move(reason));
    }
    for (size_t i = layer.begin; i < layer.end; ++i) {
      const NetworkWeight& weight = weights[i];
      WeightReport entry;
      entry.stage = weight.stage;
      while (entry.stage.ends_with('/')) entry.stage.pop_back();
      entry.name = weight.layer + "/" + weight.name;
      entry.used_by = weight.layer_kind;
      entry.dims = weight.dims;
      entry.elements = weight.size();
      entry.bytes_before = entry.bytes_after = weight.bytes;
      entry.form = reasons[i - layer.begin];
      if (entry.form.empty()) MLT_TRY(compress_one(weights, i, config, &entry).in(entry.name));
      changed = changed || entry.changed;
      if (entry.changed || entry.elements >= 10) report->weights.push_back(std::move(entry));
    }
  }
  if (!changed || config.method == Method::kDecompress) return {};
  int needed = config.method == Method::kFloat16 ? kHalfVersion : kQuantizedVersion, before = model.spec_version();
  raise_spec_version(model, needed);
  if (model.spec_version() > before) report->notes.push_back(fmt::format("specification version {} becomes {}", before, model.spec_version()));
  return {};
}

}  // namespace mlt::compress
