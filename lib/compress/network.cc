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
// _MINIMUM_QUANTIZED_MODEL_SPEC_VERSION; products of int8 with iOS 14).
constexpr int kHalfVersion = 2, kQuantizedVersion = 3, kDynamicVersion = 5;

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
bool takes_whole_layers(const Config& config, const Recipe& recipe) { return config.decompress || recipe.float16; }

const Recipe* recipe_of(const NetworkWeight& weight, const Config& config) {
  return config.recipe_for({weight.layer + "/" + weight.name}, {{weight.layer, weight.layer_kind}});
}

bool is_product(const NetworkWeight& weight) { return (weight.layer_kind == "innerProduct" || weight.layer_kind == "batchedMatmul") && weight.name == "weights"; }

// Settings that networks have no form for.
void unsuitable(const Recipe& recipe, std::vector<std::string>* reasons) {
  auto add = [&](const char* what) { reasons->push_back(std::string(what) + " for ML programs only"); };
  if (recipe.prune) add("pruning is");
  if (recipe.palette && recipe.linear) add("joint compression is");
  if (recipe.linear && recipe.linear->per == Linear::Per::kBlock) add("scales per block are");
  if (recipe.palette && recipe.palette->group > 0) add("a palette for each group of channels is");
  if (recipe.palette && recipe.palette->vector > 1) add("palettes of vectors are");
  if (recipe.palette && recipe.palette->channel_scale) add("palettes with channels scaled are");
  if (recipe.linear && recipe.linear->symmetric && recipe.linear->bits != 8 && !recipe.linear->dynamic)
    reasons->push_back(fmt::format("symmetric codes of {} bits are not stored in networks: mode asymmetric is", recipe.linear->bits));
}

// Why weight i is not for this configuration, or nothing.
Result<std::string> reason_to_keep(const NetworkWeights& weights, const Layer& layer, size_t i, const Config& config) {
  const NetworkWeight& weight = weights[i];
  const Recipe& recipe = *recipe_of(weight, config);
  bool whole = takes_whole_layers(config, recipe);
  std::vector<std::string> names{weight.layer};
  int64_t largest = 0;
  for (size_t k = layer.begin; k < layer.end; ++k) {
    if (!whole && k != i) continue;
    names.push_back(weights[k].layer + "/" + weights[k].name);
    largest = std::max(largest, weights[k].size());
  }
  if (!config.selects(names)) return std::string("not selected");
  if (weight.storage == WeightStorage::kOpaque || weight.storage == WeightStorage::kDynamicInt8) return std::string(storage_name(weight.storage));
  if (config.decompress) return std::string(weight.storage == WeightStorage::kFloat32 ? "stored as fp32" : "");
  if (recipe.none()) return std::string("no method given for it");
  if (!is_plain(weight) || (recipe.float16 && weight.storage == WeightStorage::kFloat16)) return std::string(storage_name(weight.storage));
  if (recipe.threshold && largest <= *recipe.threshold) return fmt::format("{} elements or fewer", *recipe.threshold);
  // Variances would vanish: coremltools folds them into convolutions before, where it can.
  if (!whole && weight.layer_kind == "batchnorm") return std::string("of a batch normalization");
  if (recipe.linear && recipe.linear->dynamic && !is_product(weight)) return std::string("not of a matrix product");
  if (!recipe.float16) return std::string();
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
  if (config.decompress) {
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
  const Recipe& recipe = *recipe_of(weight, config);
  // Scales and tables of a small weight take more than its codes save.
  auto gains = [&](int bits, size_t extra) { return (values.size() * static_cast<size_t>(bits) + 7) / 8 + extra < weight.bytes; };
  constexpr const char* kNoGain = "would not be smaller";
  if (recipe.float16) {
    MLT_TRY(weights.set_float16(i, values));
    report->form = "fp16";
    report->distance = measure(values, [&](size_t begin, size_t end, float* to) {
      for (size_t k = begin; k < end; ++k) *to++ = round_to_half(values[k]);
    });
    report->bytes_after = weight.bytes;
  } else if (recipe.linear && recipe.linear->dynamic) {
    Grid whole(weight.dims, {});
    LinearCodes codes = quantize_linear(values, whole, {});
    MLT_TRY(weights.set_dynamic(i, codes.codes, codes.scale[0]));
    report->form = "int8, with activations";
    report->distance = measure(values, [&](size_t begin, size_t end, float* to) { codes.decode(whole, begin, end, to); });
    report->bytes_after = weight.bytes + 4;
  } else if (recipe.linear) {
    Dims blocks(weight.dims.size(), 0);
    if (recipe.linear->per == Linear::Per::kChannel && weight.channels > 1 && weight.dims.size() > 1) blocks[static_cast<size_t>(weight.channel_axis)] = 1;
    Grid grid(weight.dims, blocks);
    if (!gains(recipe.linear->bits, 8 * static_cast<size_t>(grid.count()))) {
      report->form = kNoGain;
      return {};
    }
    AffineCodes codes = quantize_affine(values, grid, recipe.linear->bits, recipe.linear->symmetric);
    MLT_TRY(weights.set_linear(i, recipe.linear->bits, codes.codes, codes.scale, codes.bias));
    report->form = fmt::format("{} bits linear {}, {} scale{}", recipe.linear->bits, recipe.linear->symmetric ? "symmetric" : "asymmetric", codes.scale.size(), codes.scale.size() == 1 ? "" : "s");
    report->distance = measure(values, [&](size_t begin, size_t end, float* to) {
      grid.stretches(begin, end, [&](int64_t block, size_t first, size_t last) {
        auto at = static_cast<size_t>(block);
        for (size_t k = first; k < last; ++k) to[k - begin] = static_cast<float>(codes.codes[k]) * codes.scale[at] + codes.bias[at];
      });
    });
    report->bytes_after = weight.bytes + 8 * codes.scale.size();
  } else {
    const Palette& how = *recipe.palette;
    PaletteOptions options{.mode = how.mode, .bits = how.bits, .choices = {1, 2, 3, 4, 5, 6, 7, 8}, .table = how.table};
    std::optional<PaletteCodes> palette = palettize(values, weight.dims, options);
    if (!palette) {
      report->form = "more than 256 distinct values";
      return {};
    }
    if (!gains(palette->bits, 4 * palette->tables.size())) {
      report->form = kNoGain;
      return {};
    }
    MLT_TRY(weights.set_palette(i, palette->bits, palette->codes, palette->tables));
    report->form = fmt::format("{}-bit palette", palette->bits);
    report->distance = measure(values, [&](size_t begin, size_t end, float* to) { palette->decode(begin, end, to); });
    report->bytes_after = weight.bytes + 4 * palette->tables.size();
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
  std::vector<std::string> reasons;
  if (weights.size() > 0 && !config.decompress) {
    unsuitable(config.recipe, &reasons);
    for (const Rule& rule : config.rules) unsuitable(rule.recipe, &reasons);
  }
  if (!reasons.empty()) return unsupported_error("neural networks: " + joined(reasons));
  int needed = 0;
  for (Layer layer{0, 0}; layer.begin < weights.size(); layer.begin = layer.end) {
    const NetworkWeight& first = weights[layer.begin];
    for (layer.end = layer.begin + 1; layer.end < weights.size(); ++layer.end)
      if (weights[layer.end].layer != first.layer || weights[layer.end].stage != first.stage || weights[layer.end].layer_kind != first.layer_kind) break;
    // All reasons first: they depend on the layer as it was.
    reasons.clear();
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
      if (entry.changed && !config.decompress) {
        const Recipe& recipe = *recipe_of(weight, config);
        needed = std::max(needed, recipe.float16 ? kHalfVersion : recipe.linear && recipe.linear->dynamic ? kDynamicVersion : kQuantizedVersion);
      }
      if (entry.changed || entry.elements >= 10) report->weights.push_back(std::move(entry));
    }
  }
  if (needed == 0) return {};
  if (needed == kDynamicVersion && model.spec_version() < 4)
    return unsupported_error(fmt::format("products of int8 need specification version {}, and networks of version {} give their arrays another shape there", needed, model.spec_version()));
  int before = model.spec_version();
  raise_spec_version(model, needed);
  if (model.spec_version() > before) report->notes.push_back(fmt::format("specification version {} becomes {}", before, model.spec_version()));
  return {};
}

}  // namespace mlt::compress
