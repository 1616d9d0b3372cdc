// Layers of the first specification other than the spatial and recurrent ones.
#include <algorithm>
#include <cmath>

#include "lib/coreml/nn_lifter.h"

namespace mlt::coreml {

using Ints = std::vector<int64_t>;

namespace {
std::vector<float> floats_of(const Tensor& tensor) { return {tensor.data<float>(), tensor.data<float>() + tensor.size()}; }
}  // namespace

Result<Lifter::V> Lifter::activate(const spec::ActivationParams& p, const Blob& x) {
  using A = spec::ActivationParams;
  V v = x.value;
  auto with_alpha = [&](const char* kind, float alpha) { return op(kind, {{"x", v}, {"alpha", b_.f32(alpha)}}); };
  auto with_both = [&](const char* kind, float alpha, float beta) { return op(kind, {{"x", v}, {"alpha", b_.f32(alpha)}, {"beta", b_.f32(beta)}}); };
  // One value for all channels or one per channel (axis -3).
  auto per_channel = [&](const spec::WeightParams& w) -> Result<std::vector<float>> {
    if (x.rank() < 3) return bad("needs an input of rank 3 or more, got " + dims_text(x.dims));
    int64_t channels = x.dims[x.dims.size() - 3];
    MLT_ASSIGN(int64_t count, weight_count(w, channels));
    MLT_ASSIGN(Tensor t, weight_tensor(w, {count == 1 ? 1 : channels}));
    std::vector<float> values = floats_of(t);
    if (values.size() == 1) values.assign(static_cast<size_t>(std::max<int64_t>(channels, 0)), values[0]);
    return values;
  };
  V y = nullptr;
  switch (p.NonlinearityType_case()) {
    case A::kLinear: y = with_both("linear_activation", p.linear().alpha(), p.linear().beta()); break;
    case A::kReLU: y = op("relu", {{"x", v}}); break;
    case A::kLeakyReLU: y = with_alpha("leaky_relu", p.leakyrelu().alpha()); break;
    case A::kThresholdedReLU: y = with_alpha("thresholded_relu", p.thresholdedrelu().alpha()); break;
    case A::kTanh: y = op("tanh", {{"x", v}}); break;
    case A::kScaledTanh: y = with_both("scaled_tanh", p.scaledtanh().alpha(), p.scaledtanh().beta()); break;
    case A::kSigmoid: y = op("sigmoid", {{"x", v}}); break;
    case A::kSigmoidHard: y = with_both("sigmoid_hard", p.sigmoidhard().alpha(), p.sigmoidhard().beta()); break;
    case A::kELU: y = with_alpha("elu", p.elu().alpha()); break;
    case A::kSoftsign: y = op("softsign", {{"x", v}}); break;
    case A::kSoftplus: y = op("softplus", {{"x", v}}); break;
    case A::kPReLU: {
      MLT_ASSIGN(auto alpha, per_channel(p.prelu().alpha()));
      MLT_ASSIGN(V planes, nchw(x));
      y = op("prelu", {{"x", planes}, {"alpha", b_.floats(alpha)}});
      break;
    }
    case A::kParametricSoftplus: {
      MLT_ASSIGN(auto alpha, per_channel(p.parametricsoftplus().alpha()));
      MLT_ASSIGN(auto beta, per_channel(p.parametricsoftplus().beta()));
      MLT_ASSIGN(V planes, nchw(x));
      y = op("softplus_parametric", {{"x", planes}, {"alpha", b_.floats(alpha)}, {"beta", b_.floats(beta)}});
      break;
    }
    default: return unsupported_error("an activation without a type, or of one that is not known here");
  }
  if (y == nullptr) return failed().error();
  return y;
}

Status Lifter::activation(const spec::ActivationParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V y, activate(p, x));
  return out(y, x.dims);
}

Status Lifter::inner_product(const spec::InnerProductLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(Dims dims, fixed(x));
  auto from = static_cast<int64_t>(p.inputchannels()), to = static_cast<int64_t>(p.outputchannels());
  // The last extent is the vector up to rank 3, the last three of higher ranks.
  size_t tail = dims.size() <= 3 ? 1 : 3;
  int64_t width = 1, rows = 1;
  for (size_t d = 0; d < dims.size(); ++d) (d + tail >= dims.size() ? width : rows) *= dims[d];
  if (dims.empty() || width != from) return bad("expects " + std::to_string(from) + " input channels, got " + dims_text(dims));
  MLT_ASSIGN(V w, weight(p.weights(), {to, from}, "weight"));
  V bias = nullptr;
  if (p.hasbias()) {
    MLT_ASSIGN(bias, weight(p.bias(), {to}, "bias"));
  }
  V y = op("linear", {{"x", view(x.value, {rows, from})}, {"weight", w}, {"bias", bias}});
  Dims shape = lead(dims, tail);
  shape.push_back(to);
  if (tail == 3) shape.insert(shape.end(), {1, 1});
  return out(y, shape);
}

Status Lifter::embedding(const spec::EmbeddingLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(Dims dims, fixed(x));
  if (dims.size() < 4 || dims[dims.size() - 1] != 1 || dims[dims.size() - 2] != 1 || dims[dims.size() - 3] != 1)
    return bad("needs an input whose last three extents are 1, got " + dims_text(dims));
  auto from = static_cast<int64_t>(p.inputdim()), to = static_cast<int64_t>(p.outputchannels());
  MLT_ASSIGN(Tensor w, weight_tensor(p.weights(), {to, from}));
  Tensor table = Tensor::uninitialized(DType::kF32, {from, to});
  for (int64_t i = 0; i < from; ++i)
    for (int64_t j = 0; j < to; ++j) table.mutable_data<float>()[i * to + j] = w.data<float>()[j * from + i];
  int64_t rows = 1;
  for (int64_t d : dims) rows *= d;
  V y = op("gather", {{"x", weights(table, "weight")}, {"indices", to_int(view(x.value, {rows}))}, {"axis", b_.i32(0)}, {"validate_indices", b_.boolean(true)}});
  if (p.hasbias()) {
    MLT_ASSIGN(V bias, weight(p.bias(), {to}, "bias"));
    y = op("add", {{"x", y}, {"y", bias}});
  }
  Dims shape = lead(dims, 3);
  shape.insert(shape.end(), {to, 1, 1});
  return out(y, shape);
}

Status Lifter::batchnorm(const spec::BatchnormLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  auto channels = static_cast<int64_t>(p.channels());
  if (value->type.dims[1] != channels) return bad("expects " + std::to_string(channels) + " channels, got " + dims_text(x.dims));
  float epsilon = p.epsilon() == 0 ? 1e-5f : p.epsilon();
  MLT_ASSIGN(V gamma, weight(p.gamma(), {channels}, "gamma"));
  MLT_ASSIGN(V beta, weight(p.beta(), {channels}, "beta"));
  if (!p.computemeanvar()) {
    MLT_ASSIGN(V mean, weight(p.mean(), {channels}, "mean"));
    MLT_ASSIGN(V variance, weight(p.variance(), {channels}, "variance"));
    return out_nchw(x, op("batch_norm", {{"x", value}, {"mean", mean}, {"variance", variance}, {"gamma", gamma}, {"beta", beta}, {"epsilon", b_.f32(epsilon)}}));
  }
  if (p.instancenormalization() || value->type.dims[0] == 1)
    return out_nchw(x, op("instance_norm", {{"x", value}, {"gamma", gamma}, {"beta", beta}, {"epsilon", b_.f32(epsilon)}}));
  V axes = b_.ints({0, 2, 3});
  V mean = op("reduce_mean", {{"x", value}, {"axes", axes}, {"keep_dims", b_.boolean(true)}});
  V centered = op("sub", {{"x", value}, {"y", mean}});
  V variance = op("reduce_mean", {{"x", op("square", {{"x", centered}})}, {"axes", axes}, {"keep_dims", b_.boolean(true)}});
  V scaled = op("mul", {{"x", centered}, {"y", op("rsqrt", {{"x", variance}, {"epsilon", b_.f32(epsilon)}})}});
  V y = op("mul", {{"x", scaled}, {"y", view(gamma, {1, channels, 1, 1})}});
  return out_nchw(x, op("add", {{"x", y}, {"y", view(beta, {1, channels, 1, 1})}}));
}

Status Lifter::mvn(const spec::MeanVarianceNormalizeLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  V axes = p.acrosschannels() ? b_.ints({1, 2, 3}) : b_.ints({2, 3});
  float epsilon = p.epsilon() == 0 ? 1e-6f : p.epsilon();
  if (p.normalizevariance()) return out_nchw(x, op("layer_norm", {{"x", value}, {"axes", axes}, {"epsilon", b_.f32(epsilon)}}));
  V mean = op("reduce_mean", {{"x", value}, {"axes", axes}, {"keep_dims", b_.boolean(true)}});
  return out_nchw(x, op("sub", {{"x", value}, {"y", mean}}));
}

Status Lifter::l2normalize(const spec::L2NormalizeLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  return out_nchw(x, op("l2_norm", {{"x", value}, {"epsilon", b_.f32(p.epsilon() == 0 ? 1e-6f : p.epsilon())}}));
}

Status Lifter::softmax() {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  return out_nchw(x, op("softmax", {{"x", value}, {"axis", b_.i32(1)}}));
}

Status Lifter::lrn(const spec::LRNLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  if (p.localsize() < 1 || p.localsize() > (1u << 24)) return bad("bad localSize");
  return out_nchw(x, op("local_response_norm", {{"x", value}, {"size", b_.i32(static_cast<int64_t>(p.localsize()))}, {"alpha", b_.f32(p.alpha())},
                                                {"beta", b_.f32(p.beta())}, {"k", b_.f32(p.k() == 0 ? 1.0f : p.k())}}));
}

Status Lifter::unary_function(const spec::UnaryFunctionLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  using U = spec::UnaryFunctionLayerParams;
  V v = x.value;
  float scale = p.scale() == 0 ? 1.0f : p.scale(), epsilon = p.epsilon() == 0 ? 1e-6f : p.epsilon();
  if (scale != 1 || p.shift() != 0) v = op("linear_activation", {{"x", v}, {"alpha", b_.f32(scale)}, {"beta", b_.f32(p.shift())}});
  switch (p.type()) {
    case U::SQRT: v = op("sqrt", {{"x", v}}); break;
    case U::RSQRT: v = op("rsqrt", {{"x", v}, {"epsilon", b_.f32(epsilon)}}); break;
    case U::INVERSE: v = op("inverse", {{"x", v}, {"epsilon", b_.f32(epsilon)}}); break;
    case U::POWER: v = op("pow", {{"x", v}, {"y", b_.f32(p.alpha())}}); break;
    case U::EXP: v = op("exp", {{"x", v}}); break;
    case U::LOG: v = op("log", {{"x", v}, {"epsilon", b_.f32(p.epsilon())}}); break;
    case U::ABS: v = op("abs", {{"x", v}}); break;
    case U::THRESHOLD: v = op("threshold", {{"x", v}, {"alpha", b_.f32(p.alpha())}}); break;
    default: return unsupported_error("unary function " + std::to_string(p.type()));
  }
  return out(v, x.dims);
}

// One input: with the constant alpha; several: folded from the left.
Status Lifter::elementwise(std::string_view kind, float alpha, bool average) {
  MLT_TRY(need(1, 1 << 20, 1, 1));
  MLT_ASSIGN(Blob sum, in());
  int count = layer_->input_size();
  if (count == 1 && (kind == "add" || kind == "mul") && !average) return out(op(kind, {{"x", sum.value}, {"y", b_.f32(alpha)}}), sum.dims);
  for (int i = 1; i < count; ++i) {
    MLT_ASSIGN(Blob next, in(i));
    MLT_ASSIGN(sum, binary(kind, sum, next));
  }
  if (average && count > 1) sum.value = op("mul", {{"x", sum.value}, {"y", b_.f32(1.0 / count)}});
  return out(sum.value, sum.dims);
}

// [1], [C], [1, H, W] or [C, H, W] as it broadcasts against [batch, C, H, W].
Result<Lifter::V> Lifter::channel_shaped(const spec::WeightParams& w, const google::protobuf::RepeatedField<uint64_t>& shape, const char* suffix) {
  Dims dims;
  for (uint64_t d : shape) {
    if (d < 1 || d > (uint64_t{1} << 40)) return bad("bad shape of a weight");
    dims.push_back(static_cast<int64_t>(d));
  }
  if (dims.empty()) dims = {1};
  if (dims.size() == 1) dims = {dims[0], 1, 1};
  if (dims.size() != 3) return bad("a weight must have shape [1], [C], [1, H, W] or [C, H, W], not " + dims_text(dims));
  return weight(w, dims, suffix);
}

Status Lifter::scale(const spec::ScaleLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  MLT_ASSIGN(V factor, channel_shaped(p.scale(), p.shapescale(), "scale"));
  V y = op("mul", {{"x", value}, {"y", factor}});
  if (p.hasbias()) {
    MLT_ASSIGN(V offset, channel_shaped(p.bias(), p.shapebias(), "bias"));
    y = op("add", {{"x", y}, {"y", offset}});
  }
  return out_nchw(x, y);
}

Status Lifter::bias(const spec::BiasLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  MLT_ASSIGN(V offset, channel_shaped(p.bias(), p.shape(), "bias"));
  return out_nchw(x, op("add", {{"x", value}, {"y", offset}}));
}

Status Lifter::dot(const spec::DotProductLayerParams& p) {
  MLT_TRY(need(2, 2, 1, 1));
  MLT_ASSIGN(Blob a, in(0));
  MLT_ASSIGN(Blob b, in(1));
  MLT_ASSIGN(V x, nchw(a));
  MLT_ASSIGN(V y, nchw(b));
  V axes = b_.ints({1}), keep = b_.boolean(true);
  V product = op("reduce_sum", {{"x", op("mul", {{"x", x}, {"y", y}})}, {"axes", axes}, {"keep_dims", keep}});
  if (p.cosinesimilarity()) {
    V nx = op("reduce_l2_norm", {{"x", x}, {"axes", axes}, {"keep_dims", keep}});
    V ny = op("reduce_l2_norm", {{"x", y}, {"axes", axes}, {"keep_dims", keep}});
    product = op("real_div", {{"x", product}, {"y", op("mul", {{"x", nx}, {"y", ny}})}});
  }
  return out_nchw(a, product);
}

Status Lifter::reduce(const spec::ReduceLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  using R = spec::ReduceLayerParams;
  Ints axes;
  switch (p.axis()) {
    case R::CHW: axes = {-3, -2, -1}; break;
    case R::HW: axes = {-2, -1}; break;
    case R::C: axes = {-3}; break;
    case R::H: axes = {-2}; break;
    case R::W: axes = {-1}; break;
    default: return unsupported_error("reduction axis " + std::to_string(p.axis()));
  }
  if (x.rank() < -axes[0]) return bad("the input has too few axes: " + dims_text(x.dims));
  V value = plain(x), keep = b_.boolean(true);
  auto made = [&](const char* kind) { return out(op(kind, {{"x", value}, {"axes", b_.ints(axes)}, {"keep_dims", keep}})); };
  switch (p.mode()) {
    case R::SUM: return made("reduce_sum");
    case R::AVG: return made("reduce_mean");
    case R::PROD: return made("reduce_prod");
    case R::LOGSUM:  // the sum of logarithms, unlike the layer reduceLogSum
      value = op("log", {{"x", value}, {"epsilon", b_.f32(p.epsilon() == 0 ? 1e-6f : p.epsilon())}});
      return made("reduce_sum");
    case R::SUMSQUARE: return made("reduce_sum_square");
    case R::L1: return made("reduce_l1_norm");
    case R::L2: return made("reduce_l2_norm");
    case R::MAX: return made("reduce_max");
    case R::MIN: return made("reduce_min");
    case R::ARGMAX:
      if (axes.size() != 1) return bad("argmax needs a single axis");
      return out(to_float(op("reduce_argmax", {{"x", value}, {"axis", b_.i32(axes[0])}, {"keep_dims", keep}})));
    default: return unsupported_error("reduction " + std::to_string(p.mode()));
  }
}

Status Lifter::load_constant(const google::protobuf::RepeatedField<uint64_t>& shape, const spec::WeightParams& data, bool legacy) {
  MLT_TRY(need(0, 0, 1, 1));
  Dims dims;
  for (uint64_t d : shape) {
    if (d > (uint64_t{1} << 40)) return bad("bad shape");
    dims.push_back(static_cast<int64_t>(d));
  }
  if (legacy && dims.size() != 3) return bad("the shape must be [C, H, W]");
  if (legacy) dims.insert(dims.begin(), {1, 1});
  MLT_ASSIGN(V value, weight(data, dims, "data"));
  return out(value, dims);
}

Status Lifter::reshape(const spec::ReshapeLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(Dims dims, fixed(x));
  if (dims.size() != 5) return bad("needs an input of rank 5, got " + dims_text(dims));
  Ints target(p.targetshape().begin(), p.targetshape().end());
  if (target.size() != 3 && target.size() != 4) return bad("targetShape needs 3 or 4 values");
  if (target.size() == 3) target.insert(target.begin(), dims[0]);
  Dims shape{target[0], dims[1], target[1], target[2], target[3]};
  int64_t total = 1, known = 1, open = -1;
  for (int64_t d : dims) total *= d;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == -1 && open < 0) open = static_cast<int64_t>(i);
    else if (shape[i] < 1 || shape[i] > (int64_t{1} << 40)) return bad("bad targetShape");
    else if (known > (int64_t{1} << 40) / shape[i]) return bad("targetShape is too large");
    else known *= shape[i];
  }
  if (open >= 0) shape[static_cast<size_t>(open)] = total / known, known *= total / known;
  if (known != total) return bad("cannot reshape " + dims_text(dims) + " to " + dims_text(shape));
  if (p.mode() == spec::ReshapeLayerParams::CHANNEL_FIRST) return out(x.value, shape);
  V last = op("transpose", {{"x", plain(x)}, {"perm", b_.ints({0, 1, 3, 4, 2})}});
  V spread = view(last, {shape[0], shape[1], shape[3], shape[4], shape[2]});
  return out(op("transpose", {{"x", spread}, {"perm", b_.ints({0, 1, 4, 2, 3})}}));
}

Status Lifter::flatten(const spec::FlattenLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  const Dims& d = value->type.dims;
  Dims shape = lead(x.dims, 3);
  shape.insert(shape.end(), {d[1] * d[2] * d[3], 1, 1});
  if (p.mode() == spec::FlattenLayerParams::CHANNEL_LAST) value = op("transpose", {{"x", value}, {"perm", b_.ints({0, 2, 3, 1})}});
  return out(value, shape);
}

// The permutation counts the axes sequence, C, H, W; the batch stays where it is.
Status Lifter::permute(const spec::PermuteLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  if (x.rank() != 5) return bad("needs an input of rank 5, got " + dims_text(x.dims));
  Ints perm{0, 1, 2, 3};
  if (!p.axis().empty()) perm.assign(p.axis().begin(), p.axis().end());
  Ints sorted = perm;
  std::sort(sorted.begin(), sorted.end());
  if (sorted != Ints{0, 1, 2, 3}) return bad("axis is no permutation of 0, 1, 2, 3");
  auto full = [](int64_t axis) { return axis == 0 ? axis : axis + 1; };
  Ints order{full(perm[0]), 1, full(perm[1]), full(perm[2]), full(perm[3])};
  if (order == Ints{0, 1, 2, 3, 4}) return out(x.value, x.dims);
  if (order[0] == 0) {  // within one item: rank 4 is enough
    MLT_ASSIGN(V planes, nchw(x));
    return out_nchw(x, op("transpose", {{"x", planes}, {"perm", b_.ints({0, perm[1], perm[2], perm[3]})}}));
  }
  return out(op("transpose", {{"x", plain(x)}, {"perm", b_.ints(order)}}));
}

Status Lifter::concat(const spec::ConcatLayerParams& p) {
  MLT_TRY(need(1, 1 << 20, 1, 1));
  MLT_ASSIGN(Blob first, in());
  bool sequence = p.sequenceconcat();
  if (first.rank() < (sequence ? 5 : 3)) return bad("the inputs have too few axes: " + dims_text(first.dims));
  std::vector<V> values;
  for (int i = 0; i < layer_->input_size(); ++i) {
    MLT_ASSIGN(Blob x, in(i));
    if (x.rank() != first.rank()) return bad("inputs of different ranks");
    if (sequence) {
      values.push_back(plain(x));
    } else {
      if (lead(x.dims, 3) != lead(first.dims, 3)) return bad("inputs of different batch extents");
      MLT_ASSIGN(V planes, nchw(x));
      values.push_back(planes);
    }
  }
  V y = op("concat", {{"values", values}, {"axis", b_.i32(sequence ? first.rank() - 5 : 1)}, {"interleave", b_.boolean(false)}});
  return sequence ? out(y) : out_nchw(first, y);
}

Status Lifter::split(const spec::SplitLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1 << 20));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(V value, nchw(x));
  if (p.noutputs() != static_cast<uint64_t>(layer_->output_size())) return bad("nOutputs is " + std::to_string(p.noutputs()) + ", but the layer has " + std::to_string(layer_->output_size()) + " outputs");
  std::vector<V> parts = ops_of("split", {{"x", value}, {"num_splits", b_.i32(layer_->output_size())}, {"axis", b_.i32(1)}});
  if (parts[0] == nullptr) return failed();
  for (int i = 0; i < layer_->output_size(); ++i) MLT_TRY(out_nchw(x, parts[static_cast<size_t>(i)], i));
  return {};
}

Status Lifter::sequence_repeat(const spec::SequenceRepeatLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  if (x.rank() < 5) return bad("needs an input of rank 5 or more, got " + dims_text(x.dims));
  if (p.nrepetitions() > (1u << 24)) return bad("nRepetitions is too large");
  Ints reps(x.dims.size(), 1);
  reps[x.dims.size() - 5] = p.nrepetitions() == 0 ? 1 : static_cast<int64_t>(p.nrepetitions());
  return out(op("tile", {{"x", plain(x)}, {"reps", b_.ints(reps)}}));
}

Status Lifter::slice(const spec::SliceLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  using S = spec::SliceLayerParams;
  int from_end = p.axis() == S::CHANNEL_AXIS ? 3 : p.axis() == S::HEIGHT_AXIS ? 2 : p.axis() == S::WIDTH_AXIS ? 1 : 0;
  if (from_end == 0) return unsupported_error("slice axis " + std::to_string(p.axis()));
  if (x.rank() < from_end) return bad("the input has too few axes: " + dims_text(x.dims));
  V value = nullptr;
  if (x.rank() >= 3) {
    MLT_ASSIGN(value, nchw(x));
  } else {
    value = plain(x);
  }
  const Dims& dims = value->type.dims;
  size_t axis = dims.size() - static_cast<size_t>(from_end);
  int64_t extent = dims[axis], start = p.startindex(), end = p.endindex();
  if (start < 0) start += extent;
  if (end < 0) end += extent;
  end = std::min(end, extent);
  if (start < 0 || start >= end || p.stride() > (1u << 30)) return bad("slices nothing of an extent of " + std::to_string(extent));
  Ints begins(dims.size(), 0), ends = dims, strides(dims.size(), 1);
  begins[axis] = start, ends[axis] = end, strides[axis] = p.stride() == 0 ? 1 : static_cast<int64_t>(p.stride());
  V y = op("slice_by_index", {{"x", value}, {"begin", b_.ints(begins)}, {"end", b_.ints(ends)}, {"stride", b_.ints(strides)}});
  return x.rank() >= 3 ? out_nchw(x, y) : out(y);
}

}  // namespace mlt::coreml
