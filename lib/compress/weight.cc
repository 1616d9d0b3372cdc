#include "lib/compress/weight.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "lib/base/float16.h"
#include "lib/compress/linear.h"
#include "lib/compress/palettize.h"
#include "lib/compress/parts.h"
#include "lib/compress/prune.h"

namespace mlt::compress {
namespace {

using ops::Opset;

// A tensor of bytes that are in its storage form already.
Tensor tensor_of(DType dtype, Dims dims, ByteSpan bytes) {
  Tensor tensor = Tensor::uninitialized(dtype, std::move(dims));
  std::copy(bytes.begin(), bytes.end(), tensor.mutable_bytes());
  return tensor;
}
Tensor tensor_of(DType dtype, Dims dims, const std::vector<float>& values) { return convert(Tensor::from(std::move(dims), values), dtype); }
// One code per byte, packed where the type is narrower.
Tensor codes_of(DType dtype, Dims dims, std::span<const uint8_t> codes) {
  if (is_sub_byte(dtype)) return tensor_of(dtype, std::move(dims), pack_bits(dtype, codes));
  return tensor_of(dtype, std::move(dims), std::as_bytes(codes));
}

std::vector<uint8_t> stored_only(const std::vector<uint8_t>& codes, const std::vector<uint8_t>& kept) {
  std::vector<uint8_t> out;
  for (size_t i = 0; i < codes.size(); ++i)
    if (kept[i] != 0) out.push_back(codes[i]);
  return out;
}

std::string counted(size_t count, const std::string& thing) { return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s"); }

DType code_type(const Linear& linear) { return dtype_from_name(fmt::format("{}int{}", linear.is_signed ? "" : "u", linear.bits)).value_or(DType::kI8); }

class Encoder {
 public:
  Encoder(const Tensor& weight, const Recipe& recipe, const WeightUse& use, Opset opset)
      : weight_(weight), recipe_(recipe), use_(use), opset_(opset), dims_(weight.dims()), half_(weight.dtype() == DType::kF16) {}

  Encoded run() {
    floats_ = convert(weight_, DType::kF32);
    original_ = floats_.span<float>();
    values_ = original_;
    if (!std::all_of(original_.begin(), original_.end(), [](float v) { return std::abs(v) <= kLargest; })) return keep(kBeyond);
    if (recipe_.float16) return half();
    if (recipe_.prune && !prune_it()) return std::move(out_);
    if (recipe_.palette) {
      if (!palette()) return std::move(out_);
    } else if (recipe_.linear) {
      if (!linear()) return std::move(out_);
    } else {
      sparse(tensor_of(weight_.dtype(), {kept_count_}, stored_values()), std::nullopt);
      out_.distance = measure(original_, [&](size_t begin, size_t end, float* to) { std::copy(zeroed_.begin() + static_cast<std::ptrdiff_t>(begin), zeroed_.begin() + static_cast<std::ptrdiff_t>(end), to); });
    }
    return std::move(out_);
  }

 private:
  Encoded keep(std::string why) {
    out_.parts.clear();
    out_.form = std::move(why);
    return std::move(out_);
  }
  bool refuse(std::string why) {
    out_.parts.clear();
    out_.form = std::move(why);
    return false;
  }
  void note(const std::string& text) { out_.form += (out_.form.empty() ? "" : ", ") + text; }
  ir::Type whole() const { return ir::Type::tensor(weight_.dtype(), dims_); }
  bool pruned() const { return !kept_.empty(); }

  Encoded half() {
    if (half_) return keep("stored as fp16");
    if (std::any_of(original_.begin(), original_.end(), [](float v) { return std::isinf(round_to_half(v)); })) return keep("too large for float16");
    out_.form = "fp16";
    out_.distance = measure(original_, [&](size_t begin, size_t end, float* to) {
      for (size_t i = begin; i < end; ++i) *to++ = round_to_half(original_[i]);
    });
    out_.parts.push_back({.kind = "constexpr_cast", .suffix = "_to_fp16", .constants = {{"source_val", convert(weight_, DType::kF16)}, {"output_dtype", Tensor::string("fp32")}}, .outputs = {whole()}});
    return std::move(out_);
  }

  bool prune_it() {
    const Prune& how = *recipe_.prune;
    if ((how.kind == Prune::Kind::kPattern || how.block > 1) && !use_.structured) return refuse("blocks and patterns are for weights of conv and linear");
    Pruned pruned = prune(original_, dims_, how, half_);
    if (!pruned.refused.empty()) return refuse(pruned.refused);
    kept_ = std::move(pruned.kept);
    kept_count_ = pruned.count;
    zeroed_.resize(original_.size());
    for (size_t i = 0; i < zeroed_.size(); ++i) zeroed_[i] = kept_[i] != 0 ? original_[i] : 0.0f;
    values_ = zeroed_;
    note(fmt::format("{:.3g}% zeros", 100 * (1 - static_cast<double>(kept_count_) / static_cast<double>(original_.size()))));
    return true;
  }

  std::vector<float> stored_values() const {
    std::vector<float> out;
    for (size_t i = 0; i < values_.size(); ++i)
      if (kept_[i] != 0) out.push_back(values_[i]);
    return out;
  }

  Tensor mask(const std::vector<uint8_t>& kept, const Dims& dims) const { return codes_of(DType::kU1, dims, kept); }

  // The last op of a pruned weight. Values: a constant, or outputs 1 (and 0, their mask) of the part before.
  void sparse(std::optional<Tensor> values, std::optional<size_t> from) {
    Part part{.kind = "constexpr_sparse_to_dense", .suffix = "_sparsified", .constants = {}, .outputs = {whole()}};
    if (values) part.constants.emplace_back("nonzero_data", std::move(*values));
    if (from) {
      part.links = {{"nonzero_data", *from, 1}, {"mask", *from, 0}};
    } else if (opset_ >= Opset::kCoreML8) {
      part.constants.emplace_back("mask", mask(kept_, dims_));
    } else {
      Bytes packed = pack_bits(DType::kU1, kept_);
      std::vector<uint32_t> shape(dims_.begin(), dims_.end());
      part.constants.emplace_back("mask", tensor_of(DType::kU8, {static_cast<int64_t>(packed.size())}, packed));
      part.constants.emplace_back("shape", Tensor::from(Dims{static_cast<int64_t>(shape.size())}, shape));
    }
    out_.parts.push_back(std::move(part));
  }
  std::vector<ir::Type> sparse_outputs() const { return {ir::Type::tensor(DType::kU1, dims_), ir::Type::tensor(weight_.dtype(), {kept_count_})}; }

  void measure_with(FunctionRef<void(size_t, size_t, float*)> decode) {
    out_.distance = measure(original_, [&](size_t begin, size_t end, float* to) {
      decode(begin, end, to);
      if (!pruned()) return;
      for (size_t i = begin; i < end; ++i)
        if (kept_[i] == 0) to[i - begin] = 0;
    });
  }

  bool linear() {
    const Linear& how = *recipe_.linear;
    auto axis = static_cast<size_t>(std::max(0, use_.output_axis));
    Dims blocks(dims_.size(), 0);
    if (how.per == Linear::Per::kBlock && how.block.size() > 1) {
      if (how.block.size() != dims_.size()) return refuse(fmt::format("blocks of {} axes do not suit {}", how.block.size(), dims_text(dims_)));
      blocks = how.block;
    } else if (how.per != Linear::Per::kTensor) {
      if (use_.output_axis < 0 || (how.per == Linear::Per::kBlock && use_.input_axis < 0)) return refuse("its ops disagree about output channels");
      blocks[axis] = 1;
      if (how.per == Linear::Per::kBlock && use_.input_axis < static_cast<int>(dims_.size())) blocks[static_cast<size_t>(use_.input_axis)] = how.block[0];
    }
    for (size_t i = 0; i < blocks.size(); ++i)
      if (blocks[i] != 0 && dims_[i] % blocks[i] != 0) return refuse(fmt::format("{} on axis {} is not divisible by blocks of {}", dims_[i], i, blocks[i]));
    Grid grid(dims_, blocks);
    LinearCodes result = quantize_linear(values_, grid, {.bits = how.bits, .is_signed = how.is_signed, .symmetric = how.symmetric, .half = half_});
    measure_with([&](size_t begin, size_t end, float* to) { result.decode(grid, begin, end, to); });
    note(fmt::format("{}int{} {}, {}", how.is_signed ? "" : "u", how.bits, how.symmetric ? "symmetric" : "asymmetric", counted(result.scale.size(), "scale")));
    DType dtype = code_type(how);
    auto scales = static_cast<int64_t>(result.scale.size());
    if (opset_ < Opset::kCoreML8) {
      Dims dims = scales == 1 ? Dims{} : Dims{scales};
      out_.parts.push_back({.kind = "constexpr_affine_dequantize",
                            .suffix = "_quantized",
                            .constants = {{"quantized_data", codes_of(dtype, dims_, result.codes)},
                                          {"zero_point", codes_of(dtype, dims, result.zero_point)},
                                          {"scale", tensor_of(weight_.dtype(), dims, result.scale)},
                                          {"axis", Tensor::scalar<int32_t>(scales == 1 ? 0 : static_cast<int32_t>(axis))}},
                            .outputs = {whole()}});
      return true;
    }
    Part part{.kind = "constexpr_blockwise_shift_scale", .suffix = "_quantized", .constants = {}, .outputs = {whole()}};
    if (pruned()) {
      part.kind = "constexpr_sparse_blockwise_shift_scale";
      part.constants = {{"data_mask", mask(kept_, dims_)}, {"nonzero_data", codes_of(dtype, {kept_count_}, stored_only(result.codes, kept_))}};
      part.outputs = sparse_outputs();
    } else {
      part.constants = {{"data", codes_of(dtype, dims_, result.codes)}};
    }
    part.constants.emplace_back("scale", tensor_of(weight_.dtype(), grid.counts(), result.scale));
    if (result.has_zero_point) part.constants.emplace_back("offset", codes_of(dtype, grid.counts(), result.zero_point));
    out_.parts.push_back(std::move(part));
    if (pruned()) sparse(std::nullopt, 0);
    return true;
  }

  // Brings every channel to [-1, 1].
  void scale_channels(size_t axis) {
    Dims blocks(dims_.size(), 0);
    blocks[axis] = 1;
    channels_.emplace(dims_, blocks);
    scale_.assign(static_cast<size_t>(channels_->count()), 0);
    channels_->stretches(0, values_.size(), [&](int64_t c, size_t begin, size_t end) {
      float& scale = scale_[static_cast<size_t>(c)];
      for (size_t i = begin; i < end; ++i) scale = std::max(scale, std::abs(values_[i]));
    });
    for (float& scale : scale_)
      if (scale == 0) scale = 1;
    scaled_.resize(values_.size());
    channels_->stretches(0, values_.size(), [&](int64_t c, size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        float value = values_[i] / scale_[static_cast<size_t>(c)];
        scaled_[i] = half_ ? round_to_half(value) : value;
      }
    });
    values_ = scaled_;
  }

  bool palette() {
    const Palette& how = *recipe_.palette;
    bool per_axis = how.group > 0 || how.vector > 1 || how.channel_scale;
    int wanted = how.axis.value_or(use_.output_axis);
    if (wanted < 0 && how.axis) wanted += static_cast<int>(dims_.size());
    if (per_axis && !how.axis && wanted < 0) return refuse("its ops disagree about output channels");
    if (wanted >= static_cast<int>(dims_.size())) return refuse(fmt::format("has no axis {}", wanted));
    auto axis = static_cast<size_t>(std::max(0, wanted));
    int64_t group = how.group == 0 ? dims_[axis] : how.group;
    if (dims_[axis] % group != 0) return refuse(fmt::format("{} channels are not divisible by groups of {}", dims_[axis], group));
    if (group % how.vector != 0) return refuse(fmt::format("groups of {} channels are not divisible by vectors of {}", group, how.vector));
    if (how.vector > 1 && axis == 0 && dims_[axis] / use_.conv_groups % how.vector != 0)
      return refuse(fmt::format("{} channels of a convolution's group are not divisible by vectors of {}", dims_[axis] / use_.conv_groups, how.vector));
    if (how.vector > 1 && pruned()) widen_mask(axis, how.vector);
    if (how.channel_scale) scale_channels(axis);

    PaletteOptions options{.mode = how.mode, .bits = how.bits, .half = half_, .axis = static_cast<int>(axis), .group = how.group, .vector = how.vector, .table = how.table, .channel_scale = scale_, .kept = kept_};
    if (opset_ < Opset::kCoreML8) std::erase(options.choices, 3);
    if (half_ && !pruned() && !how.channel_scale) options.bits_of_values = weight_.span<uint16_t>();
    std::optional<LinearCodes> quantized;
    auto adjust = [&](PaletteCodes& codes) {
      if (!recipe_.linear) return;
      Grid all({static_cast<int64_t>(codes.tables.size())}, {});
      quantized = quantize_linear(codes.tables, all, {.bits = recipe_.linear->bits, .is_signed = recipe_.linear->is_signed, .symmetric = recipe_.linear->symmetric, .half = half_});
      std::vector<float> rounded(codes.tables.size());
      quantized->decode(all, 0, rounded.size(), rounded.data());
      codes.tables = std::move(rounded);
    };
    std::optional<PaletteCodes> found = palettize(values_, dims_, options, adjust);
    if (!found) return refuse("more than 256 distinct values");
    measure_with([&](size_t begin, size_t end, float* to) {
      found->decode(begin, end, to);
      if (!channels_) return;
      channels_->stretches(begin, end, [&](int64_t c, size_t first, size_t last) {
        for (size_t i = first; i < last; ++i) {
          float value = to[i - begin] * scale_[static_cast<size_t>(c)];
          to[i - begin] = half_ ? round_to_half(value) : value;
        }
      });
    });
    note(found->groups == 1 ? fmt::format("{}-bit palette", found->bits) : fmt::format("{} {}-bit palettes", found->groups, found->bits));
    if (how.vector > 1) note(fmt::format("vectors of {}", how.vector));
    if (how.channel_scale) note("channels scaled");
    if (quantized) note(fmt::format("values {}int{}", recipe_.linear->is_signed ? "" : "u", recipe_.linear->bits));
    emit(*found, axis, quantized);
    return true;
  }

  // Of a vector all elements are stored, or none.
  void widen_mask(size_t axis, int vector) {
    int64_t inner = 1, extent = dims_[axis];
    for (size_t i = axis + 1; i < dims_.size(); ++i) inner *= dims_[i];
    int64_t outer = static_cast<int64_t>(kept_.size()) / (extent * inner);
    vector_mask_.clear();
    kept_count_ = 0;
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t c = 0; c < extent; c += vector)
        for (int64_t s = 0; s < inner; ++s) {
          auto at = [&](int64_t j) { return static_cast<size_t>((o * extent + c + j) * inner + s); };
          uint8_t any = 0;
          for (int64_t j = 0; j < vector; ++j) any |= kept_[at(j)];
          for (int64_t j = 0; j < vector; ++j) kept_[at(j)] = any;
          vector_mask_.push_back(any);
          kept_count_ += any * vector;
        }
  }

  void emit(const PaletteCodes& found, size_t axis, const std::optional<LinearCodes>& quantized) {
    DType indices = dtype_from_name(fmt::format("uint{}", found.bits)).value_or(DType::kU8);
    if (opset_ < Opset::kCoreML8) {
      std::vector<uint32_t> shape(dims_.begin(), dims_.end());
      Tensor packed = codes_of(indices, {static_cast<int64_t>(found.codes.size())}, found.codes);
      out_.parts.push_back({.kind = "constexpr_lut_to_dense",
                            .suffix = "_palettized",
                            .constants = {{"indices", tensor_of(DType::kU8, {packed.nbytes()}, packed.bytes())},
                                          {"lut", tensor_of(weight_.dtype(), {found.entries}, found.tables)},
                                          {"shape", Tensor::from(Dims{static_cast<int64_t>(shape.size())}, shape)}},
                            .outputs = {whole()}});
      return;
    }
    Dims table_dims(dims_.size() + 2, 1);
    table_dims[axis] = found.groups;
    table_dims[dims_.size()] = found.entries;
    table_dims[dims_.size() + 1] = found.vector;
    Part lookup{.kind = "constexpr_lut_to_dense", .suffix = "_palettized", .constants = {}, .outputs = {whole()}};
    if (quantized) {
      Dims one(table_dims.size(), 1);
      Part tables{.kind = "constexpr_blockwise_shift_scale",
                  .suffix = "_table",
                  .constants = {{"data", codes_of(code_type(*recipe_.linear), table_dims, quantized->codes)}, {"scale", tensor_of(weight_.dtype(), one, quantized->scale)}},
                  .outputs = {ir::Type::tensor(weight_.dtype(), table_dims)}};
      if (quantized->has_zero_point) tables.constants.emplace_back("offset", codes_of(code_type(*recipe_.linear), one, quantized->zero_point));
      out_.parts.push_back(std::move(tables));
      lookup.links.push_back({"lut", 0, 0});
    }
    if (pruned()) {
      const std::vector<uint8_t>& stored = vector_mask_.empty() ? kept_ : vector_mask_;
      std::vector<uint8_t> codes = stored_only(found.codes, stored);
      lookup.kind = "constexpr_lut_to_sparse";
      lookup.constants = {{"indices_mask", mask(stored, found.dims)}, {"indices_nonzero_data", codes_of(indices, {static_cast<int64_t>(codes.size())}, codes)}};
      lookup.outputs = sparse_outputs();
    } else {
      lookup.constants = {{"indices", codes_of(indices, found.dims, found.codes)}};
    }
    if (!quantized) lookup.constants.emplace_back("lut", tensor_of(weight_.dtype(), table_dims, found.tables));
    if (found.vector > 1) lookup.constants.emplace_back("vector_axis", Tensor::scalar<int32_t>(static_cast<int32_t>(axis)));
    out_.parts.push_back(std::move(lookup));
    if (channels_) {
      size_t before = out_.parts.size() - 1;
      Part scaling{.kind = "constexpr_blockwise_shift_scale", .suffix = "_palettized_pcs", .constants = {{"scale", tensor_of(weight_.dtype(), channels_->counts(), scale_)}}, .outputs = {whole()}};
      if (pruned()) {
        scaling.kind = "constexpr_sparse_blockwise_shift_scale";
        scaling.links = {{"data_mask", before, 0}, {"nonzero_data", before, 1}};
        scaling.outputs = sparse_outputs();
      } else {
        scaling.links = {{"data", before, 0}};
      }
      out_.parts.push_back(std::move(scaling));
    }
    if (pruned()) sparse(std::nullopt, out_.parts.size() - 1);
  }

  const Tensor& weight_;
  const Recipe& recipe_;
  const WeightUse& use_;
  Opset opset_;
  Dims dims_;
  bool half_;
  Encoded out_;
  Tensor floats_;
  std::span<const float> original_, values_;
  std::vector<uint8_t> kept_, vector_mask_;
  int64_t kept_count_ = 0;
  std::vector<float> zeroed_, scaled_, scale_;
  std::optional<Grid> channels_;
};

}  // namespace

ops::Opset needed_opset(const Recipe& recipe) {
  bool newer = (recipe.prune ? 1 : 0) + (recipe.palette ? 1 : 0) + (recipe.linear ? 1 : 0) > 1;
  if (recipe.linear) newer = newer || recipe.linear->bits != 8 || recipe.linear->per == Linear::Per::kBlock;
  if (recipe.palette) {
    const Palette& p = *recipe.palette;
    bool bits_matter = p.mode == Palette::Mode::kKMeans || p.mode == Palette::Mode::kUniform;
    newer = newer || (bits_matter && p.bits == 3) || p.table.size() == 8 || p.group > 0 || p.vector > 1 || p.channel_scale;
  }
  return newer ? Opset::kCoreML8 : Opset::kCoreML6;
}

Encoded encode(const Tensor& weight, const Recipe& recipe, const WeightUse& use, ops::Opset opset) { return Encoder(weight, recipe, use, opset).run(); }

}  // namespace mlt::compress
