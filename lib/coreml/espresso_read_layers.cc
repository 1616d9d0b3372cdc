// Compiled layers, each as a layer of the source. How their fields were understood: espresso.h.
#include "lib/coreml/espresso_reader.h"

namespace mlt::coreml {

using Layer = spec::NeuralNetworkLayer;

Status EspressoReader::convolution() {
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

Status EspressoReader::pool() {
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

Status EspressoReader::inner_product() {
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

Status EspressoReader::activation() {
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

Status EspressoReader::elementwise() {
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

Status EspressoReader::softmax() {
  MLT_TRY(need(1));
  MLT_TRY(only("C", {2}, -1));  // the axis: channels
  add()->mutable_softmax();
  return {};
}

Status EspressoReader::softmax_nd() {
  MLT_TRY(need(1));
  MLT_ASSIGN(int64_t axis, integer("nd_axis", 1000, -5, 4));
  add()->mutable_softmaxnd()->set_axis(axis);
  return {};
}

Status EspressoReader::flatten() {
  MLT_TRY(need(1));
  MLT_TRY(only("mode", {0, 1}, 0));
  MLT_TRY(only("nd_axis", {0}, 0));
  add()->mutable_flatten()->set_mode(number("mode", 0) == 0 ? spec::FlattenLayerParams::CHANNEL_FIRST : spec::FlattenLayerParams::CHANNEL_LAST);
  return {};
}

Status EspressoReader::reshape() {
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
Status EspressoReader::transpose() {
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

Status EspressoReader::concat() {
  MLT_TRY(need(in_->bottoms.size()));
  MLT_TRY(only("axis", {1}, 1));
  add()->mutable_concat();
  return {};
}

Status EspressoReader::sequence_concat() {
  MLT_TRY(need(in_->bottoms.size()));
  MLT_TRY(only("simple_concat", {1}, 0));
  add()->mutable_concat()->set_sequenceconcat(true);
  return {};
}

Status EspressoReader::slice() {
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

Status EspressoReader::reduce() {
  MLT_TRY(need(1));
  MLT_TRY(only("mode", {0}, -1));
  MLT_TRY(only("axis_mode", {4}, -1));
  auto* p = add()->mutable_reduce();
  p->set_mode(spec::ReduceLayerParams::SUM);
  p->set_axis(spec::ReduceLayerParams::C);
  p->set_epsilon(1e-6f);
  return {};
}

Status EspressoReader::padding() {
  MLT_TRY(need(1));
  MLT_TRY(only("pad_pad_mode", {0}, 0));
  MLT_TRY(only("pad_fill_mode", {0}, 0));
  MLT_ASSIGN(Borders pad, borders());
  auto* p = add()->mutable_padding();
  p->mutable_constant()->set_value(static_cast<float>(number("pad_value", 0)));
  set_borders(pad, p->mutable_paddingamounts());
  return {};
}

Status EspressoReader::normalize() {
  MLT_TRY(need(1));
  MLT_TRY(only("normalization_mode", {1}, -1));
  MLT_TRY(only("axis", {1, 2}, -1));
  auto* p = add()->mutable_mvn();
  p->set_normalizevariance(true);
  p->set_acrosschannels(number("axis", 1) == 2);
  p->set_epsilon(static_cast<float>(number("eps", 1e-5)));
  return {};
}

Status EspressoReader::load_constant() {
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

Status EspressoReader::expand_dims() {
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

Status EspressoReader::batch_matmul() {
  MLT_TRY(need(2));
  MLT_TRY(only("channel_mode", {0}, 0));
  add()->mutable_batchedmatmul();
  return {};
}

// Four numbers for each channel: scale, offset, mean, variance.
Status EspressoReader::batchnorm() {
  MLT_TRY(need(1));
  MLT_ASSIGN(int64_t channels, extent("C"));
  spec::WeightParams all;
  MLT_TRY(values("blob_batchnorm_params", 4 * channels, &all, true));
  auto* p = add()->mutable_batchnorm();
  p->set_channels(static_cast<uint64_t>(channels));
  bool folded = true;
  if (all.floatvalue_size() != 4 * channels) return unsupported_error("parameters that are no float32 numbers");
  for (int c = 0; c < channels; ++c) {
    p->mutable_gamma()->add_floatvalue(all.floatvalue(4 * c));
    p->mutable_beta()->add_floatvalue(all.floatvalue(4 * c + 1));
    p->mutable_mean()->add_floatvalue(all.floatvalue(4 * c + 2));
    p->mutable_variance()->add_floatvalue(all.floatvalue(4 * c + 3));
    // Whether epsilon is still to be added to the variance is not known; above this it makes no difference that
    // float16 arithmetic would show.
    if (!(all.floatvalue(4 * c + 3) >= 0.02f)) return unsupported_error("small variances: whether epsilon is part of them is not known");
    folded = folded && all.floatvalue(4 * c + 2) == 0 && all.floatvalue(4 * c + 3) == 1;
  }
  // A compiler that leaves no mean and a variance of one has put all of it, epsilon too, into scale and offset.
  p->set_epsilon(folded ? 1e-12f : 1e-5f);
  return {};
}

Status EspressoReader::upsample() {
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

Status EspressoReader::split_nd() {
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

}  // namespace mlt::coreml
