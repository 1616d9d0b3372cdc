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

// Why a weight is not for this configuration, or nothing.
std::string reason_to_keep(const NetworkWeight& weight, const Config& config) {
  std::string layer = weight.layer, full = weight.layer + "/" + weight.name;
  if (!config.selects({layer, full})) return "not selected";
  bool plain = weight.storage == WeightStorage::kFloat32 || weight.storage == WeightStorage::kFloat16;
  if (weight.storage == WeightStorage::kOpaque || weight.storage == WeightStorage::kDynamicInt8) return std::string(storage_name(weight.storage));
  if (config.method == Method::kDecompress) return weight.storage == WeightStorage::kFloat32 ? "stored as fp32" : "";
  if (!plain || (config.method == Method::kFloat16 && weight.storage == WeightStorage::kFloat16)) return std::string(storage_name(weight.storage));
  if (weight.size() <= config.threshold) return fmt::format("{} elements or fewer", config.threshold);
  if (config.method != Method::kFloat16 && weight.dims.size() < 2) return "a vector";
  return "";
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
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) {
    report->form = "infinite or not a number in places";
    return {};
  }
  switch (config.method) {
    case Method::kFloat16:
      if (std::any_of(values.begin(), values.end(), [](float v) { return std::isinf(round_to_half(v)); })) {
        report->form = "too large for float16";
        return {};
      }
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
  for (size_t i = 0; i < weights.size(); ++i) {
    const NetworkWeight& weight = weights[i];
    WeightReport entry;
    entry.stage = weight.stage;
    while (entry.stage.ends_with('/')) entry.stage.pop_back();
    entry.name = weight.layer + "/" + weight.name;
    entry.used_by = weight.layer_kind;
    entry.dims = weight.dims;
    entry.elements = weight.size();
    entry.bytes_before = entry.bytes_after = weight.bytes;
    entry.form = reason_to_keep(weight, config);
    if (entry.form.empty()) MLT_TRY(compress_one(weights, i, config, &entry).in(entry.name));
    changed = changed || entry.changed;
    if (entry.changed || entry.elements >= 10) report->weights.push_back(std::move(entry));
  }
  if (!changed || config.method == Method::kDecompress) return {};
  int needed = config.method == Method::kFloat16 ? kHalfVersion : kQuantizedVersion, before = model.spec_version();
  raise_spec_version(model, needed);
  if (model.spec_version() > before) report->notes.push_back(fmt::format("specification version {} becomes {}", before, model.spec_version()));
  return {};
}

}  // namespace mlt::compress
