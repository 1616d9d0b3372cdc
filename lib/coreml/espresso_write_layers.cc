// Layers by family, each as the compiled layers that say the same.
#include "lib/coreml/espresso_writer.h"

namespace mlt::coreml {

using Layer = spec::NeuralNetworkLayer;

// Top, bottom, left, right.
Result<std::array<int64_t, 4>> EspressoWriter::borders(const spec::BorderAmounts& amounts) {
  std::array<int64_t, 4> out{};
  if (amounts.borderamounts().empty()) return out;
  if (amounts.borderamounts_size() != 2) return input_error("border amounts need 2 entries");
  for (int i = 0; i < 2; ++i) {
    out[static_cast<size_t>(2 * i)] = static_cast<int64_t>(amounts.borderamounts(i).startedgesize());
    out[static_cast<size_t>(2 * i + 1)] = static_cast<int64_t>(amounts.borderamounts(i).endedgesize());
  }
  return out;
}

Status EspressoWriter::convolution(const Layer& l) {
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

Status EspressoWriter::global_pool(bool max, const std::string& x, const std::string& y, bool complete) {
  Dims from = dims(x);
  if (from.size() < 3) return unknown("its extents are not known");
  set(emit("pool", step_name(y, y), {x}, {y}),
      {{"avg_or_max", max ? 1 : 0}, {"size_x", static_cast<double>(from.back())}, {"size_y", static_cast<double>(from[from.size() - 2])}, {"stride_x", 1},
       {"stride_y", 1}, {"pad_l", 0}, {"pad_r", 0}, {"pad_t", 0}, {"pad_b", 0}, {"pad_mode", complete ? 0 : 2}, {"pad_fill_mode", 0}, {"pad_value", 0},
       {"top_shape_style", complete ? 2 : 0}, {"average_count_exclude_padding", complete ? 0 : 1}, {"is_global", 1}});
  return {};
}

Status EspressoWriter::pooling(const spec::PoolingLayerParams& p, const std::string& x, const std::string& y) {
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

Status EspressoWriter::activation(const spec::ActivationParams& p, const std::string& x, const std::string& y) {
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

Status EspressoWriter::inner_product(const Layer& l) {
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
Status EspressoWriter::affine(std::vector<float> scale, std::vector<float> offset, const std::string& x, const std::string& y) {
  std::vector<float> all;
  for (size_t c = 0; c < scale.size(); ++c) all.insert(all.end(), {scale[c], offset[c], 0.0f, 1.0f});
  EspressoLayer& e = emit("batchnorm", layer_->name(), {x}, {y});
  e.fields["C"] = static_cast<double>(scale.size());
  e.fields["blob_batchnorm_params"] = static_cast<double>(add_floats(all));
  return {};
}

Status EspressoWriter::batchnorm(const spec::BatchnormLayerParams& p, const std::string& x, const std::string& y) {
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

Status EspressoWriter::unary(const spec::UnaryFunctionLayerParams& p, const std::string& x, const std::string& y) {
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
Status EspressoWriter::chain(const Layer& l, int operation, const std::string& y) {
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

Status EspressoWriter::reduce(const spec::ReduceLayerParams& p, const std::string& x, const std::string& y) {
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

Status EspressoWriter::reshape(const spec::ReshapeLayerParams& p, const std::string& x, const std::string& y) {
  std::vector<int64_t> target(p.targetshape().begin(), p.targetshape().end());
  if (target.size() == 3) target.insert(target.begin(), dims(x).size() == 5 ? dims(x)[0] : 1);
  if (target.size() != 4) return input_error("targetShape needs 3 or 4 values");
  set(emit("reshape", layer_->name(), {x}, {y}),
      {{"version", 1}, {"mode", p.mode() == spec::ReshapeLayerParams::CHANNEL_FIRST ? 0 : 1}, {"dst_n", 0}, {"dst_seq", static_cast<double>(target[0])},
       {"dst_k", static_cast<double>(target[1])}, {"dst_h", static_cast<double>(target[2])}, {"dst_w", static_cast<double>(target[3])}});
  return {};
}

// axis: 2 channels, 1 height, 0 width.
Status EspressoWriter::slice(const std::string& x, const std::string& y, int axis, int64_t start, int64_t end) {
  set(emit("slice", y == layer_->output(0) ? layer_->name() : y, {x}, {y}), {{"axis", axis}, {"start", static_cast<double>(start)}, {"end", static_cast<double>(end)}});
  return {};
}

Status EspressoWriter::crop(const Layer& l) {
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

Status EspressoWriter::split(const Layer& l) {
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

Status EspressoWriter::upsample(const spec::UpsampleLayerParams& p, const std::string& x, const std::string& y) {
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
std::string EspressoWriter::transposed(const std::string& x) {
  Dims to = dims(x).empty() ? shape_dims(x) : dims(x);
  if (to.size() < 2) return x;
  std::swap(to[to.size() - 1], to[to.size() - 2]);
  std::string blob = fresh(layer_->output(0) + "__transposed");
  describe(blob, to);
  set(emit("transpose", blob, {x}, {blob}), {{"axis_w", 1}, {"axis_h", 0}, {"axis_k", 2}, {"axis_n", 3}, {"axis_seq", 4}});
  return blob;
}

Status EspressoWriter::matmul(const Layer& l) {
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

}  // namespace mlt::coreml
