// Layers over height and width: convolution, pooling, padding, cropping, resizing.
#include <algorithm>
#include <array>
#include <limits>

#include "lib/coreml/nn_lifter.h"

namespace mlt::coreml {
namespace {

using Ints = std::vector<int64_t>;
constexpr int64_t kLimit = 1 << 24;

// Two values [H, W], or the default when the field is not set.
Result<Ints> pair_of(const google::protobuf::RepeatedField<uint64_t>& field, int64_t preset, const char* what) {
  if (field.empty()) return Ints{preset, preset};
  if (field.size() != 2) return input_error(std::string(what) + " needs 2 values, has " + std::to_string(field.size()));
  for (uint64_t v : field)
    if (v > static_cast<uint64_t>(kLimit)) return input_error(std::string(what) + " is too large");
  return Ints{static_cast<int64_t>(field[0]), static_cast<int64_t>(field[1])};
}

// Top, bottom, left, right.
Result<Ints> borders(const spec::BorderAmounts& amounts) {
  if (amounts.borderamounts().empty()) return Ints{0, 0, 0, 0};
  if (amounts.borderamounts_size() != 2) return input_error("border amounts need 2 entries, have " + std::to_string(amounts.borderamounts_size()));
  Ints out;
  for (const auto& edge : amounts.borderamounts())
    for (uint64_t v : {edge.startedgesize(), edge.endedgesize()}) {
      if (v > static_cast<uint64_t>(kLimit)) return input_error("border amount is too large");
      out.push_back(static_cast<int64_t>(v));
    }
  return out;
}

bool any(const Ints& values) {
  return std::any_of(values.begin(), values.end(), [](int64_t v) { return v != 0; });
}

const char* sampling_mode(const spec::SamplingMode& mode) {
  switch (mode.samplingmethod()) {
    case spec::SamplingMode::ALIGN_ENDPOINTS_MODE: return "ALIGN_CORNERS";
    case spec::SamplingMode::UPSAMPLE_MODE: return "DEFAULT";
    case spec::SamplingMode::ROI_ALIGN_MODE: return "OFFSET_CORNERS";
    default: return "STRICT_ALIGN_CORNERS";
  }
}

}  // namespace

Status Lifter::convolution(const spec::ConvolutionLayerParams& p) {
  MLT_TRY(need(1, 2, 1, 1));
  MLT_ASSIGN(Blob x, in());
  if (p.isdeconvolution()) return deconvolution(p, x);
  if (x.rank() < 4) return bad("needs an input of rank 4 or more, got " + dims_text(x.dims));
  MLT_ASSIGN(V value, nchw(x));
  MLT_ASSIGN(Ints kernel, pair_of(p.kernelsize(), 3, "kernelSize"));
  MLT_ASSIGN(Ints stride, pair_of(p.stride(), 1, "stride"));
  MLT_ASSIGN(Ints dilation, pair_of(p.dilationfactor(), 1, "dilationFactor"));
  auto groups = static_cast<int64_t>(p.ngroups() == 0 ? 1 : p.ngroups());
  auto channels = static_cast<int64_t>(p.outputchannels()), kernel_channels = static_cast<int64_t>(p.kernelchannels());
  V w = nullptr;
  if (layer_->input_size() == 2) {
    MLT_ASSIGN(Blob second, in(1));
    w = plain(second);
  } else {
    MLT_ASSIGN(w, weight(p.weights(), {channels, kernel_channels, kernel[0], kernel[1]}, "weight"));
  }
  V bias = nullptr;
  if (p.hasbias()) {
    MLT_ASSIGN(bias, weight(p.bias(), {channels}, "bias"));
  }
  Ints pad{0, 0, 0, 0};
  std::string type = "valid";
  if (p.has_same()) {
    type = p.same().asymmetrymode() == spec::SamePadding::TOP_LEFT_HEAVY ? "same_lower" : "same";
  } else {
    MLT_ASSIGN(pad, borders(p.valid().paddingamounts()));
    if (any(pad)) type = "custom";
  }
  std::vector<ops::Input> args{{"x", value}, {"weight", w}, {"bias", bias}, {"strides", b_.ints(stride)}, {"pad_type", b_.string(type)},
                               {"dilations", b_.ints(dilation)}, {"groups", b_.i32(groups)}};
  if (type == "custom") args.emplace_back("pad", b_.ints(pad));
  return out_nchw(x, op("conv", std::move(args)));
}

// The full transposed convolution, then cut (or filled with zeros at the far end) to the extents that are wanted.
Status Lifter::deconvolution(const spec::ConvolutionLayerParams& p, const Blob& x) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(V value, nchw(x));
  MLT_ASSIGN(Ints kernel, pair_of(p.kernelsize(), 3, "kernelSize"));
  MLT_ASSIGN(Ints stride, pair_of(p.stride(), 1, "stride"));
  MLT_ASSIGN(Ints dilation, pair_of(p.dilationfactor(), 1, "dilationFactor"));
  auto groups = static_cast<int64_t>(p.ngroups() == 0 ? 1 : p.ngroups());
  auto channels = static_cast<int64_t>(p.outputchannels()), kernel_channels = static_cast<int64_t>(p.kernelchannels());
  if (groups < 1 || groups > channels || channels % groups != 0) return bad("nGroups does not divide outputChannels");
  for (int64_t v : {kernel[0], kernel[1], stride[0], stride[1], dilation[0], dilation[1]})
    if (v < 1 || v > kLimit) return bad("kernelSize, stride and dilationFactor must be positive, and not beyond measure");
  MLT_ASSIGN(V w, weight(p.weights(), {kernel_channels, channels / groups, kernel[0], kernel[1]}, "weight", 1));
  V bias = nullptr;
  if (p.hasbias()) {
    MLT_ASSIGN(bias, weight(p.bias(), {channels}, "bias"));
  }
  const Dims& in_dims = value->type.dims;
  std::array<int64_t, 2> begin{}, wanted{}, full{};
  MLT_ASSIGN(Ints target, pair_of(p.outputshape(), 0, "outputShape"));
  MLT_ASSIGN(Ints pad, borders(p.valid().paddingamounts()));
  for (size_t d = 0; d < 2; ++d) {
    if (in_dims[2 + d] > kLimit) return bad("the input is too large");
    full[d] = (in_dims[2 + d] - 1) * stride[d] + (kernel[d] - 1) * dilation[d] + 1;
    wanted[d] = full[d] - pad[2 * d] - pad[2 * d + 1];
    begin[d] = pad[2 * d];
    if (!p.outputshape().empty() || p.has_same()) {
      wanted[d] = p.outputshape().empty() ? in_dims[2 + d] * stride[d] : target[d];
      int64_t total = std::max<int64_t>(full[d] - wanted[d], 0);
      bool top_heavy = p.has_same() && p.same().asymmetrymode() == spec::SamePadding::TOP_LEFT_HEAVY;
      begin[d] = top_heavy ? total - total / 2 : total / 2;
    }
    if (wanted[d] < 1) return bad("the output has no extent");
  }
  Ints trim;
  for (size_t d = 0; d < 2; ++d) {
    int64_t end = full[d] - begin[d] - wanted[d];
    trim.push_back(begin[d]);
    trim.push_back(std::max<int64_t>(end, 0));
  }
  V y = op("conv_transpose", {{"x", value}, {"weight", w}, {"bias", bias}, {"strides", b_.ints(stride)}, {"dilations", b_.ints(dilation)},
                              {"groups", b_.i32(groups)}, {"pad_type", b_.string(any(trim) ? "custom" : "valid")}, {"pad", any(trim) ? b_.ints(trim) : nullptr}});
  if (y == nullptr) return failed();
  int64_t more_h = wanted[0] - y->type.dims[2], more_w = wanted[1] - y->type.dims[3];
  if (more_h < 0 || more_w < 0) return bad("outputShape does not fit");
  if (more_h > 0 || more_w > 0) {
    // Beyond the reach of the kernel only the bias is left.
    if (bias != nullptr) return unsupported_error("a deconvolution with bias whose output is larger than its kernels reach");
    y = op("pad", {{"x", y}, {"pad", b_.ints({0, more_h, 0, more_w})}, {"mode", b_.string("constant")}, {"constant_val", b_.f32(0)}});
  }
  return out_nchw(x, y);
}

Status Lifter::pooling(const spec::PoolingLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  if (x.rank() < 4) return bad("needs an input of rank 4 or more, got " + dims_text(x.dims));
  MLT_ASSIGN(V value, nchw(x));
  using P = spec::PoolingLayerParams;
  if (p.type() != P::MAX && p.type() != P::AVERAGE && p.type() != P::L2) return unsupported_error("pooling type " + std::to_string(p.type()));
  if (p.globalpooling()) {
    const char* kind = p.type() == P::MAX ? "reduce_max" : p.type() == P::AVERAGE ? "reduce_mean" : "reduce_l2_norm";
    return out_nchw(x, op(kind, {{"x", value}, {"axes", b_.ints({2, 3})}, {"keep_dims", b_.boolean(true)}}));
  }
  MLT_ASSIGN(Ints kernel, pair_of(p.kernelsize(), 3, "kernelSize"));
  MLT_ASSIGN(Ints stride, pair_of(p.stride(), 1, "stride"));
  if (kernel[0] < 1 || kernel[1] < 1 || stride[0] < 1 || stride[1] < 1) return bad("kernelSize and stride must be positive");
  const Dims& dims = value->type.dims;
  Ints pad{0, 0, 0, 0};
  std::string type = "valid";
  // Per axis and output index: how many elements the average is over, when that is not the kernel's size.
  std::array<std::vector<float>, 2> counts;
  if (p.has_same()) {
    type = p.same().asymmetrymode() == spec::SamePadding::TOP_LEFT_HEAVY ? "same_lower" : "same";
  } else if (p.has_includelastpixel()) {
    MLT_ASSIGN(Ints amounts, pair_of(p.includelastpixel().paddingamounts(), 0, "paddingAmounts"));
    for (size_t d = 0; d < 2; ++d) {
      int64_t extent = dims[2 + d], span = extent + 2 * amounts[d] - kernel[d];
      if (span < 0) return bad("the kernel is larger than the padded input");
      int64_t n = (span + stride[d] - 1) / stride[d] + 1;
      if ((amounts[0] > 0 || amounts[1] > 0) && (n - 1) * stride[d] >= extent + amounts[d]) --n;
      pad[2 * d] = amounts[d];
      pad[2 * d + 1] = std::max<int64_t>((n - 1) * stride[d] + kernel[d] - extent - amounts[d], 0);
      // Windows are cut at the declared padding, as Caffe does, so what lies beyond does not count.
      for (int64_t i = 0; i < n; ++i) counts[d].push_back(static_cast<float>(std::max<int64_t>(std::min(i * stride[d] + kernel[d], extent + 2 * amounts[d]) - i * stride[d], 1)));
    }
    if (any(pad)) type = "custom";
  } else {
    MLT_ASSIGN(pad, borders(p.valid().paddingamounts()));
    if (any(pad)) type = "custom";
  }
  const char* kind = p.type() == P::MAX ? "max_pool" : p.type() == P::AVERAGE ? "avg_pool" : "l2_pool";
  std::vector<ops::Input> args{{"x", value}, {"kernel_sizes", b_.ints(kernel)}, {"strides", b_.ints(stride)}, {"pad_type", b_.string(type)}};
  if (type == "custom") args.emplace_back("pad", b_.ints(pad));
  if (p.type() == P::AVERAGE) args.emplace_back("exclude_padding_from_average", b_.boolean(p.avgpoolexcludepadding()));
  V y = op(kind, std::move(args));
  if (p.type() == P::AVERAGE && !p.avgpoolexcludepadding() && y != nullptr) {
    bool uneven = false;
    for (size_t d = 0; d < 2; ++d)
      for (float c : counts[d]) uneven |= c != static_cast<float>(kernel[d]);
    if (uneven) {
      Tensor factor = Tensor::uninitialized(DType::kF32, {1, 1, static_cast<int64_t>(counts[0].size()), static_cast<int64_t>(counts[1].size())});
      float* f = factor.mutable_data<float>();
      for (float h : counts[0])
        for (float w : counts[1]) *f++ = static_cast<float>(kernel[0] * kernel[1]) / (h * w);
      y = op("mul", {{"x", y}, {"y", b_.constant(factor)}});
    }
  }
  return out_nchw(x, y);
}

Status Lifter::convolution3d(const spec::Convolution3DLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  if (x.rank() != 5) return bad("needs an input of rank 5, got " + dims_text(x.dims));
  int64_t groups = p.ngroups() == 0 ? 1 : p.ngroups();
  if (groups < 1 || p.inputchannels() % groups != 0) return bad("nGroups does not divide inputChannels");
  if (p.isdeconvolution() && p.outputchannels() % groups != 0) return bad("nGroups does not divide outputChannels");
  Dims kernel = p.isdeconvolution() ? Dims{p.inputchannels(), p.outputchannels() / groups} : Dims{p.outputchannels(), p.inputchannels() / groups};
  kernel.insert(kernel.end(), {p.kerneldepth(), p.kernelheight(), p.kernelwidth()});
  MLT_ASSIGN(V w, weight(p.weights(), kernel, "weight", p.isdeconvolution() ? 1 : 0));
  V bias = nullptr;
  if (p.hasbias()) {
    MLT_ASSIGN(bias, weight(p.bias(), {p.outputchannels()}, "bias"));
  }
  auto or_one = [](int32_t v) { return v == 0 ? int64_t{1} : int64_t{v}; };
  Ints pad{p.custompaddingfront(), p.custompaddingback(), p.custompaddingtop(), p.custompaddingbottom(), p.custompaddingleft(), p.custompaddingright()};
  bool same = p.paddingtype() == spec::Convolution3DLayerParams::SAME;
  if (p.isdeconvolution()) {
    // The full transposed convolution, less what padding and the wanted extents take away, as in two dimensions.
    if (!p.outputshape().empty() && p.outputshape_size() != 3) return bad("outputShape needs 3 values");
    if (p.paddingtype() == spec::Convolution3DLayerParams::VALID) pad.assign(6, 0);
    Ints strides{or_one(p.stridedepth()), or_one(p.strideheight()), or_one(p.stridewidth())};
    Ints dilations{or_one(p.dilationdepth()), or_one(p.dilationheight()), or_one(p.dilationwidth())};
    for (size_t d = 0; d < 3; ++d) {
      if (strides[d] < 1 || dilations[d] < 1 || kernel[2 + d] < 1 || x.dims[2 + d] < 1 || x.dims[2 + d] > kLimit) return bad("bad extents of kernel, stride or input");
      int64_t full = (x.dims[2 + d] - 1) * strides[d] + (kernel[2 + d] - 1) * dilations[d] + 1;
      if (!same && p.outputshape().empty()) continue;
      uint64_t wanted = p.outputshape().empty() ? static_cast<uint64_t>(x.dims[2 + d] * strides[d]) : p.outputshape(static_cast<int>(d));
      if (wanted < 1 || wanted > static_cast<uint64_t>(full)) return unsupported_error("an output larger than its kernels reach");
      int64_t total = full - static_cast<int64_t>(wanted);
      pad[2 * d] = total / 2;
      pad[2 * d + 1] = total - total / 2;
    }
    return out(op("conv_transpose", {{"x", plain(x)}, {"weight", w}, {"bias", bias}, {"strides", b_.ints(strides)}, {"dilations", b_.ints(dilations)}, {"groups", b_.i32(groups)},
                                     {"pad_type", b_.string(any(pad) ? "custom" : "valid")}, {"pad", any(pad) ? b_.ints(pad) : nullptr}}));
  }
  std::string type = same ? "same" : p.paddingtype() == spec::Convolution3DLayerParams::CUSTOM && any(pad) ? "custom" : "valid";
  return out(op("conv", {{"x", plain(x)}, {"weight", w}, {"bias", bias}, {"pad_type", b_.string(type)}, {"pad", type == "custom" ? b_.ints(pad) : nullptr},
                         {"strides", b_.ints({or_one(p.stridedepth()), or_one(p.strideheight()), or_one(p.stridewidth())})},
                         {"dilations", b_.ints({or_one(p.dilationdepth()), or_one(p.dilationheight()), or_one(p.dilationwidth())})}, {"groups", b_.i32(groups)}}));
}

Status Lifter::pooling3d(const spec::Pooling3DLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  if (x.rank() != 5) return bad("needs an input of rank 5, got " + dims_text(x.dims));
  using P = spec::Pooling3DLayerParams;
  Ints pad{p.custompaddingfront(), p.custompaddingback(), p.custompaddingtop(), p.custompaddingbottom(), p.custompaddingleft(), p.custompaddingright()};
  std::string type = p.paddingtype() == P::SAME ? "same" : p.paddingtype() == P::CUSTOM && any(pad) ? "custom" : "valid";
  auto or_one = [](int32_t v) { return v == 0 ? int64_t{1} : int64_t{v}; };
  std::vector<ops::Input> args{{"x", plain(x)}, {"kernel_sizes", b_.ints({p.kerneldepth(), p.kernelheight(), p.kernelwidth()})},
                               {"strides", b_.ints({or_one(p.stridedepth()), or_one(p.strideheight()), or_one(p.stridewidth())})}, {"pad_type", b_.string(type)}};
  if (type == "custom") args.emplace_back("pad", b_.ints(pad));
  if (p.type() == P::AVERAGE) args.emplace_back("exclude_padding_from_average", b_.boolean(p.countexcludepadding()));
  return out(op(p.type() == P::AVERAGE ? "avg_pool" : "max_pool", std::move(args)));
}

Status Lifter::global_pooling3d(const spec::GlobalPooling3DLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  if (x.rank() != 5) return bad("needs an input of rank 5, got " + dims_text(x.dims));
  const char* kind = p.type() == spec::GlobalPooling3DLayerParams::AVERAGE ? "reduce_mean" : "reduce_max";
  return out(op(kind, {{"x", plain(x)}, {"axes", b_.ints({2, 3, 4})}, {"keep_dims", b_.boolean(true)}}));
}

Status Lifter::padding(const spec::PaddingLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  if (x.rank() < 2) return bad("needs an input of rank 2 or more, got " + dims_text(x.dims));
  MLT_ASSIGN(Ints pad, borders(p.paddingamounts()));
  V value = nullptr;
  if (x.rank() >= 3) {
    MLT_ASSIGN(value, nchw(x));
  } else {
    value = plain(x);
  }
  const char* mode = p.has_reflection() ? "reflect" : p.has_replication() ? "replicate" : "constant";
  V y = op("pad", {{"x", value}, {"pad", b_.ints(pad)}, {"mode", b_.string(mode)}, {"constant_val", b_.f32(p.constant().value())}});
  return x.rank() >= 3 ? out_nchw(x, y) : out(y);
}

Status Lifter::crop(const spec::CropLayerParams& p) {
  MLT_TRY(need(1, 2, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  const Dims& dims = value->type.dims;
  Ints begin{0, 0, 0, 0}, end = dims;
  if (layer_->input_size() == 1) {
    MLT_ASSIGN(Ints amounts, borders(p.cropamounts()));
    begin[2] = amounts[0], begin[3] = amounts[2];
    end[2] = dims[2] - amounts[1], end[3] = dims[3] - amounts[3];
  } else {
    MLT_ASSIGN(Blob reference, in(1));
    MLT_ASSIGN(Dims wanted, fixed(reference));
    if (wanted.size() < 2) return bad("the reference has no height and width");
    MLT_ASSIGN(Ints offset, pair_of(p.offset(), 0, "offset"));
    for (size_t d = 0; d < 2; ++d) {
      begin[2 + d] = offset[d];
      end[2 + d] = offset[d] + wanted[wanted.size() - 2 + d];
    }
  }
  for (size_t d = 2; d < 4; ++d)
    if (begin[d] >= end[d] || end[d] > dims[d]) return bad("crops more than the input has");
  return out_nchw(x, op("slice_by_index", {{"x", value}, {"begin", b_.ints(begin)}, {"end", b_.ints(end)}}));
}

Status Lifter::upsample(const spec::UpsampleLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  const Dims& dims = value->type.dims;
  std::array<double, 2> factor{1, 1};
  bool fractional = !p.fractionalscalingfactor().empty();
  if (fractional) {
    if (p.fractionalscalingfactor_size() != 2 || !p.scalingfactor().empty()) return bad("fractionalScalingFactor needs 2 values and no scalingFactor");
    factor = {p.fractionalscalingfactor(0), p.fractionalscalingfactor(1)};
  } else {
    MLT_ASSIGN(Ints whole, pair_of(p.scalingfactor(), 1, "scalingFactor"));
    factor = {static_cast<double>(whole[0]), static_cast<double>(whole[1])};
  }
  Ints target;
  for (size_t d = 0; d < 2; ++d) {
    double extent = factor[d] * static_cast<double>(dims[2 + d]);
    if (!(factor[d] > 0) || !(extent >= 1) || extent > static_cast<double>(kLimit)) return bad("bad scaling factor");
    target.push_back(static_cast<int64_t>(extent));
  }
  if (p.mode() == spec::UpsampleLayerParams::NN) {
    auto scale = [&](size_t d) { return fractional ? b_.f32(factor[d]) : b_.i32(static_cast<int64_t>(factor[d])); };
    return out_nchw(x, op("upsample_nearest_neighbor", {{"x", value}, {"scale_factor_height", scale(0)}, {"scale_factor_width", scale(1)}}));
  }
  const char* mode = "DEFAULT";
  if (p.linearupsamplemode() == spec::UpsampleLayerParams::ALIGN_CORNERS_TRUE) mode = "STRICT_ALIGN_CORNERS";
  if (p.linearupsamplemode() == spec::UpsampleLayerParams::ALIGN_CORNERS_FALSE) mode = "UNALIGN_CORNERS";
  return out_nchw(x, op("resize_bilinear", {{"x", value}, {"target_size_height", b_.i32(target[0])}, {"target_size_width", b_.i32(target[1])}, {"sampling_mode", b_.string(mode)}}));
}

Status Lifter::resize_bilinear(const spec::ResizeBilinearLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  MLT_ASSIGN(Ints target, pair_of(p.targetsize(), 1, "targetSize"));
  return out_nchw(x, op("resize_bilinear", {{"x", value}, {"target_size_height", b_.i32(target[0])}, {"target_size_width", b_.i32(target[1])},
                                            {"sampling_mode", b_.string(sampling_mode(p.mode()))}}));
}

// The program's crop_resize takes boxes [N, 4] and the image of each; the layer's result is [N, batch, C, H, W].
Status Lifter::crop_resize(const spec::CropResizeLayerParams& p) {
  MLT_TRY(need(2, 2, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(Blob roi, in(1));
  MLT_ASSIGN(V value, nchw(x));
  MLT_ASSIGN(Dims roi_dims, fixed(roi));
  if (roi_dims.size() < 4) return bad("boxes need rank 4 or more, got " + dims_text(roi_dims));
  int64_t width = roi_dims[roi_dims.size() - 3], count = 1;
  for (int64_t d : roi_dims) count *= d;
  if ((width != 4 && width != 5) || count % width != 0) return bad("boxes need 4 or 5 values, got " + dims_text(roi_dims));
  int64_t n = count / width, batch = value->type.dims[0];
  V rows = view(roi.value, {n, width}), indices = nullptr, boxes = rows;
  int64_t per_box = 1;
  if (width == 5) {
    indices = to_int(op("slice_by_index", {{"x", rows}, {"begin", b_.ints({0, 0})}, {"end", b_.ints({n, 1})}, {"squeeze_mask", b_.bools({false, true})}}));
    boxes = op("slice_by_index", {{"x", rows}, {"begin", b_.ints({0, 1})}, {"end", b_.ints({n, 5})}});
  } else {
    per_box = batch;
    Ints list;
    for (int64_t i = 0; i < n * batch; ++i) list.push_back(i % batch);
    indices = b_.ints(list);
    if (batch > 1) boxes = view(op("tile", {{"x", view(rows, {n, 1, 4})}, {"reps", b_.ints({1, batch, 1})}}), {n * batch, 4});
  }
  const char* boxes_mode = "CORNERS_HEIGHT_FIRST";
  switch (p.boxindicesmode().boxmode()) {
    case spec::BoxCoordinatesMode::CORNERS_WIDTH_FIRST: boxes_mode = "CORNERS_WIDTH_FIRST"; break;
    case spec::BoxCoordinatesMode::CENTER_SIZE_HEIGHT_FIRST: boxes_mode = "CENTER_SIZE_HEIGHT_FIRST"; break;
    case spec::BoxCoordinatesMode::CENTER_SIZE_WIDTH_FIRST: boxes_mode = "CENTER_SIZE_WIDTH_FIRST"; break;
    default: break;
  }
  MLT_ASSIGN(Ints target, pair_of(p.targetsize(), 1, "targetSize"));
  V y = op("crop_resize", {{"x", value}, {"boxes", boxes}, {"box_indices", indices}, {"target_height", b_.i32(target[0])}, {"target_width", b_.i32(target[1])},
                           {"normalized_coordinates", b_.boolean(p.normalizedcoordinates())}, {"spatial_scale", b_.f32(p.spatialscale() == 0 ? 1.0 : p.spatialscale())},
                           {"box_coordinate_mode", b_.string(boxes_mode)}, {"sampling_mode", b_.string(sampling_mode(p.mode()))}});
  return out(y, {n, per_box, value->type.dims[1], target[0], target[1]});
}

Status Lifter::reorganize(const spec::ReorganizeDataLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  if (p.blocksize() < 1 || p.blocksize() > static_cast<uint64_t>(kLimit)) return bad("bad blockSize");
  auto block = static_cast<int64_t>(p.blocksize());
  switch (p.mode()) {
    case spec::ReorganizeDataLayerParams::SPACE_TO_DEPTH: return out_nchw(x, op("space_to_depth", {{"x", value}, {"block_size", b_.i32(block)}}));
    case spec::ReorganizeDataLayerParams::DEPTH_TO_SPACE: return out_nchw(x, op("depth_to_space", {{"x", value}, {"block_size", b_.i32(block)}}));
    case spec::ReorganizeDataLayerParams::PIXEL_SHUFFLE: return out_nchw(x, op("pixel_shuffle", {{"x", value}, {"upscale_factor", b_.i32(block)}}));
    default: return unsupported_error("reorganization mode " + std::to_string(p.mode()));
  }
}

}  // namespace mlt::coreml
