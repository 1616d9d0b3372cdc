// Layers of the fourth specification and later that compute: elementwise functions, comparisons, products, reductions,
// gathering and scattering, selection.
#include <algorithm>

#include "lib/coreml/nn_lifter.h"

namespace mlt::coreml {

using Ints = std::vector<int64_t>;

namespace {

const char* scatter_mode(int mode) {
  switch (mode) {
    case spec::SCATTER_UPDATE: return "update";
    case spec::SCATTER_ADD: return "add";
    case spec::SCATTER_SUB: return "sub";
    case spec::SCATTER_MUL: return "mul";
    case spec::SCATTER_DIV: return "div";
    case spec::SCATTER_MAX: return "max";
    case spec::SCATTER_MIN: return "min";
    default: return nullptr;
  }
}

}  // namespace

Status Lifter::nd_layer(const Layer& l, bool& known) {
  switch (l.layer_case()) {
    case Layer::kClip: return unary("clip", {{"alpha", b_.f32(l.clip().minval())}, {"beta", b_.f32(l.clip().maxval())}});
    case Layer::kCeil: return unary("ceil");
    case Layer::kFloor: return unary("floor");
    case Layer::kSign: return unary("sign");
    case Layer::kRound: return unary("round");
    case Layer::kExp2: return unary("exp2");
    case Layer::kSin: return unary("sin");
    case Layer::kCos: return unary("cos");
    case Layer::kTan: return unary("tan");
    case Layer::kAsin: return unary("asin");
    case Layer::kAcos: return unary("acos");
    case Layer::kAtan: return unary("atan");
    case Layer::kSinh: return unary("sinh");
    case Layer::kCosh: return unary("cosh");
    case Layer::kTanh: return unary("tanh");
    case Layer::kAtanh: return unary("atanh");
    case Layer::kErf: return unary("erf");
    case Layer::kAsinh: {  // sign(x) log(|x| + sqrt(x^2 + 1)), which no op says
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      V magnitude = op("abs", {{"x", x.value}});
      V root = op("sqrt", {{"x", op("add", {{"x", op("square", {{"x", x.value}})}, {"y", b_.f32(1)}})}});
      V log = op("log", {{"x", op("add", {{"x", magnitude}, {"y", root}})}, {"epsilon", b_.f32(0)}});
      return out(op("mul", {{"x", op("sign", {{"x", x.value}})}, {"y", log}}), x.dims);
    }
    case Layer::kAcosh: {  // log(x + sqrt(x^2 - 1))
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      V root = op("sqrt", {{"x", op("sub", {{"x", op("square", {{"x", x.value}})}, {"y", b_.f32(1)}})}});
      return out(op("log", {{"x", op("add", {{"x", x.value}, {"y", root}})}, {"epsilon", b_.f32(0)}}), x.dims);
    }
    case Layer::kGelu: {
      const char* mode = l.gelu().mode() == spec::GeluLayerParams::TANH_APPROXIMATION      ? "TANH_APPROXIMATION"
                         : l.gelu().mode() == spec::GeluLayerParams::SIGMOID_APPROXIMATION ? "SIGMOID_APPROXIMATION"
                                                                                           : "EXACT";
      return unary("gelu", {{"mode", b_.string(mode)}});
    }
    case Layer::kClampedReLU: return unary("clamped_relu", {{"alpha", b_.f32(l.clampedrelu().alpha())}, {"beta", b_.f32(l.clampedrelu().beta())}});
    case Layer::kEqual: return compare("equal", l.equal().alpha());
    case Layer::kNotEqual: return compare("not_equal", l.notequal().alpha());
    case Layer::kLessThan: return compare("less", l.lessthan().alpha());
    case Layer::kLessEqual: return compare("less_equal", l.lessequal().alpha());
    case Layer::kGreaterThan: return compare("greater", l.greaterthan().alpha());
    case Layer::kGreaterEqual: return compare("greater_equal", l.greaterequal().alpha());
    case Layer::kLogicalOr: return broadcast_binary("logical_or", true);
    case Layer::kLogicalXor: return broadcast_binary("logical_xor", true);
    case Layer::kLogicalAnd: return broadcast_binary("logical_and", true);
    case Layer::kLogicalNot: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      return out(to_float(op("logical_not", {{"x", to_bool(x.value)}})), x.dims);
    }
    case Layer::kModBroadcastable: return broadcast_binary("mod");
    case Layer::kMinBroadcastable: return broadcast_binary("minimum");
    case Layer::kMaxBroadcastable: return broadcast_binary("maximum");
    case Layer::kAddBroadcastable: return broadcast_binary("add");
    case Layer::kPowBroadcastable: return broadcast_binary("pow");
    case Layer::kDivideBroadcastable: return broadcast_binary("real_div");
    case Layer::kFloorDivBroadcastable: return broadcast_binary("floor_div");
    case Layer::kMultiplyBroadcastable: return broadcast_binary("mul");
    case Layer::kSubtractBroadcastable: return broadcast_binary("sub");
    case Layer::kWhereBroadcastable: {
      MLT_TRY(need(3, 3, 1, 1));
      MLT_ASSIGN(Blob c, in(0));
      MLT_ASSIGN(Blob a, in(1));
      MLT_ASSIGN(Blob b, in(2));
      return out(op("select", {{"cond", to_bool(plain(c))}, {"a", plain(a)}, {"b", plain(b)}}));
    }
    case Layer::kSoftmaxND: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      return out(op("softmax", {{"x", plain(x)}, {"axis", b_.i32(l.softmaxnd().axis())}}));
    }
    case Layer::kBatchedMatmul: return batched_matmul(l.batchedmatmul());
    case Layer::kEmbeddingND: return embedding_nd(l.embeddingnd());
    case Layer::kLayerNormalization: return layer_norm(l.layernormalization());
    case Layer::kArgMax: return arg_reduce("reduce_argmax", l.argmax().axis(), l.argmax().removedim());
    case Layer::kArgMin: return arg_reduce("reduce_argmin", l.argmin().axis(), l.argmin().removedim());
    case Layer::kReduceL1: return reduce_nd("reduce_l1_norm", l.reducel1().axes(), l.reducel1().keepdims(), l.reducel1().reduceall());
    case Layer::kReduceL2: return reduce_nd("reduce_l2_norm", l.reducel2().axes(), l.reducel2().keepdims(), l.reducel2().reduceall());
    case Layer::kReduceMax: return reduce_nd("reduce_max", l.reducemax().axes(), l.reducemax().keepdims(), l.reducemax().reduceall());
    case Layer::kReduceMin: return reduce_nd("reduce_min", l.reducemin().axes(), l.reducemin().keepdims(), l.reducemin().reduceall());
    case Layer::kReduceSum: return reduce_nd("reduce_sum", l.reducesum().axes(), l.reducesum().keepdims(), l.reducesum().reduceall());
    case Layer::kReduceProd: return reduce_nd("reduce_prod", l.reduceprod().axes(), l.reduceprod().keepdims(), l.reduceprod().reduceall());
    case Layer::kReduceMean: return reduce_nd("reduce_mean", l.reducemean().axes(), l.reducemean().keepdims(), l.reducemean().reduceall());
    case Layer::kReduceLogSum: return reduce_nd("reduce_log_sum", l.reducelogsum().axes(), l.reducelogsum().keepdims(), l.reducelogsum().reduceall());
    case Layer::kReduceSumSquare: return reduce_nd("reduce_sum_square", l.reducesumsquare().axes(), l.reducesumsquare().keepdims(), l.reducesumsquare().reduceall());
    case Layer::kReduceLogSumExp: return reduce_nd("reduce_log_sum_exp", l.reducelogsumexp().axes(), l.reducelogsumexp().keepdims(), l.reducelogsumexp().reduceall());
    case Layer::kTopK: return top_k(l.topk());
    case Layer::kArgSort: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      return out(to_float(op("argsort", {{"x", plain(x)}, {"axis", b_.i32(l.argsort().axis())}, {"ascending", b_.boolean(!l.argsort().descending())}})));
    }
    case Layer::kCumSum: {
      MLT_TRY(need(1, 2, 1, 1));
      MLT_ASSIGN(Blob x, in());
      int64_t axis = l.cumsum().axis();
      if (has_in(1)) {
        MLT_ASSIGN(Blob given, in(1));
        if (given.value->constant_tensor() == nullptr) {
          // Known when the network runs: of the sums along each axis, one is taken.
          std::vector<V> sums;
          for (int64_t a = 0; a < x.rank(); ++a)
            sums.push_back(op("cumsum", {{"x", plain(x)}, {"axis", b_.i32(a)}, {"exclusive", b_.boolean(l.cumsum().excludefinalsum())}, {"reverse", b_.boolean(l.cumsum().reverse())}}));
          V all = op("stack", {{"values", sums}, {"axis", b_.i32(0)}});
          return out(op("gather", {{"x", all}, {"indices", wrap_indices(view(given.value, {}), x.rank())}, {"axis", b_.i32(0)}, {"validate_indices", b_.boolean(true)}}));
        }
        MLT_ASSIGN(Ints values, constant_ints(given, "the axis"));
        if (values.size() != 1) return bad("the axis must be one number");
        axis = values[0];
      }
      return out(op("cumsum", {{"x", plain(x)}, {"axis", b_.i32(axis)}, {"exclusive", b_.boolean(l.cumsum().excludefinalsum())}, {"reverse", b_.boolean(l.cumsum().reverse())}}));
    }
    case Layer::kGather: case Layer::kGatherAlongAxis: {
      MLT_TRY(need(2, 2, 1, 1));
      MLT_ASSIGN(Blob x, in(0));
      MLT_ASSIGN(Blob indices, in(1));
      bool along = l.layer_case() == Layer::kGatherAlongAxis;
      MLT_ASSIGN(int64_t axis, axis_of(along ? l.gatheralongaxis().axis() : l.gather().axis(), x.rank()));
      V whole = wrap_indices(plain(indices), x.dims[static_cast<size_t>(axis)]);
      return out(op(along ? "gather_along_axis" : "gather", {{"x", plain(x)}, {"indices", whole}, {"axis", b_.i32(axis)}, {"validate_indices", b_.boolean(true)}}));
    }
    case Layer::kGatherND: {
      MLT_TRY(need(2, 2, 1, 1));
      MLT_ASSIGN(Blob x, in(0));
      MLT_ASSIGN(Blob indices, in(1));
      return out(op("gather_nd", {{"x", plain(x)}, {"indices", to_int(plain(indices))}, {"validate_indices", b_.boolean(true)}}));
    }
    case Layer::kScatter: return scatter("scatter", l.scatter().mode(), l.scatter().axis());
    case Layer::kScatterAlongAxis: return scatter("scatter_along_axis", l.scatteralongaxis().mode(), l.scatteralongaxis().axis());
    case Layer::kScatterND: return scatter("scatter_nd", l.scatternd().mode(), std::nullopt);
    case Layer::kOneHot: {
      MLT_TRY(need(1, 2, 1, 1));
      MLT_ASSIGN(Blob x, in());
      auto size = static_cast<int64_t>(std::min<uint64_t>(l.onehot().onehotvectorsize(), uint64_t{1} << 31));
      if (has_in(1)) {
        MLT_ASSIGN(Blob given, in(1));
        MLT_ASSIGN(Ints values, constant_ints(given, "the vector size"));
        if (values.size() != 1) return bad("the vector size must be one number");
        size = values[0];
      }
      return out(op("one_hot", {{"indices", to_int(plain(x))}, {"one_hot_vector_size", b_.i32(size)}, {"axis", b_.i32(l.onehot().axis())},
                                {"on_value", b_.f32(l.onehot().onvalue())}, {"off_value", b_.f32(l.onehot().offvalue())}}));
    }
    case Layer::kWhereNonZero: {
      MLT_TRY(need(1, 1, 1, 1));
      MLT_ASSIGN(Blob x, in());
      return out(to_float(op("non_zero", {{"x", plain(x)}})));
    }
    case Layer::kMatrixBandPart: return triangular(l.matrixbandpart().numlower(), l.matrixbandpart().numupper(), l.matrixbandpart().numlower() >= 0, l.matrixbandpart().numupper() >= 0);
    case Layer::kLowerTriangular: return triangular(0, l.lowertriangular().k(), false, true);
    case Layer::kUpperTriangular: return triangular(-l.uppertriangular().k(), 0, true, false);
    case Layer::kNonMaximumSuppression: return nms(l.nonmaximumsuppression());
    default: known = false; return {};
  }
}

Status Lifter::batched_matmul(const spec::BatchedMatMulLayerParams& p) {
  MLT_TRY(need(1, 2, 1, 1));
  MLT_ASSIGN(Blob a, in());
  if (layer_->input_size() == 2) {
    MLT_ASSIGN(Blob b, in(1));
    bool a_vector = a.rank() == 1, b_vector = b.rank() == 1;
    MLT_ASSIGN(Dims ad, fixed(a));
    MLT_ASSIGN(Dims bd, fixed(b));
    V x = a_vector ? view(a.value, {1, ad[0]}) : plain(a);
    V y = b_vector ? view(b.value, {bd[0], 1}) : plain(b);
    return out(op("matmul", {{"x", x}, {"y", y}, {"transpose_x", b_.boolean(p.transposea() && !a_vector)}, {"transpose_y", b_.boolean(p.transposeb() && !b_vector)}}));
  }
  MLT_ASSIGN(Dims dims, fixed(a));
  auto from = static_cast<int64_t>(p.weightmatrixfirstdimension()), to = static_cast<int64_t>(p.weightmatrixseconddimension());
  if (dims.empty() || dims.back() != from) return bad("expects a last extent of " + std::to_string(from) + ", got " + dims_text(dims));
  // [from, to] in column-major order is [to, from] in ours.
  MLT_ASSIGN(V w, weight(p.weights(), {to, from}, "weight"));
  V bias = nullptr;
  if (p.hasbias()) {
    MLT_ASSIGN(bias, weight(p.bias(), {to}, "bias"));
  }
  int64_t rows = 1;
  for (int64_t d : lead(dims, 1)) rows *= d;
  V y = op("linear", {{"x", view(a.value, {rows, from})}, {"weight", w}, {"bias", bias}});
  dims.back() = to;
  return out(y, dims);
}

Status Lifter::embedding_nd(const spec::EmbeddingNDLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(Dims dims, fixed(x));
  if (dims.size() < 2 || dims.back() != 1) return bad("needs an input whose last extent is 1, got " + dims_text(dims));
  auto from = static_cast<int64_t>(p.vocabsize()), to = static_cast<int64_t>(p.embeddingsize());
  MLT_ASSIGN(Tensor w, weight_tensor(p.weights(), {to, from}));
  Tensor table = Tensor::uninitialized(DType::kF32, {from, to});
  for (int64_t i = 0; i < from; ++i)
    for (int64_t j = 0; j < to; ++j) table.mutable_data<float>()[i * to + j] = w.data<float>()[j * from + i];
  V y = op("gather", {{"x", weights(table, "weight")}, {"indices", to_int(view(x.value, lead(dims, 1)))}, {"axis", b_.i32(0)}, {"validate_indices", b_.boolean(true)}});
  if (p.hasbias()) {
    MLT_ASSIGN(V bias, weight(p.bias(), {to}, "bias"));
    y = op("add", {{"x", y}, {"y", bias}});
  }
  return out(y);
}

Status Lifter::layer_norm(const spec::LayerNormalizationLayerParams& p) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  Dims shape(p.normalizedshape().begin(), p.normalizedshape().end());
  if (shape.empty() || shape.size() > x.dims.size()) return bad("normalizedShape does not fit " + dims_text(x.dims));
  Ints axes;
  for (size_t i = 0; i < shape.size(); ++i) axes.push_back(static_cast<int64_t>(i) - static_cast<int64_t>(shape.size()));
  MLT_ASSIGN(V gamma, weight(p.gamma(), shape, "gamma"));
  MLT_ASSIGN(V beta, weight(p.beta(), shape, "beta"));
  return out(op("layer_norm", {{"x", plain(x)}, {"axes", b_.ints(axes)}, {"gamma", gamma}, {"beta", beta}, {"epsilon", b_.f32(p.eps())}}));
}

Status Lifter::arg_reduce(std::string_view kind, int64_t axis, bool remove) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  return out(to_float(op(kind, {{"x", plain(x)}, {"axis", b_.i32(axis)}, {"keep_dims", b_.boolean(!remove)}})));
}

Status Lifter::reduce_nd(std::string_view kind, const google::protobuf::RepeatedField<int64_t>& axes, bool keep, bool all) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  std::vector<ops::Input> args{{"x", plain(x)}, {"keep_dims", b_.boolean(keep)}};
  if (!all && !axes.empty()) args.emplace_back("axes", b_.ints({axes.begin(), axes.end()}));
  return out(op(kind, std::move(args)));
}

Status Lifter::top_k(const spec::TopKLayerParams& p) {
  MLT_TRY(need(1, 2, 1, 2));
  MLT_ASSIGN(Blob x, in());
  auto k = static_cast<int64_t>(std::min<uint64_t>(p.k(), uint64_t{1} << 31));
  if (has_in(1)) {
    MLT_ASSIGN(Blob given, in(1));
    if (given.value->constant_tensor() == nullptr) return top_k_of(x, given, p);
    MLT_ASSIGN(Ints values, constant_ints(given, "K"));
    if (values.size() != 1) return bad("K must be one number");
    k = values[0];
  }
  auto results = ops_of("topk", {{"x", plain(x)}, {"k", b_.i32(k)}, {"axis", b_.i32(p.axis())}, {"ascending", b_.boolean(p.usebottomk())}});
  if (results.size() < 2) return failed();
  MLT_TRY(out(results[0]));
  return out(to_float(results[1]), 1);
}

// K is known only when the network runs: all elements are sorted, and the first K of them taken.
Status Lifter::top_k_of(const Blob& x, const Blob& k, const spec::TopKLayerParams& p) {
  MLT_ASSIGN(Dims dims, fixed(x));
  MLT_ASSIGN(int64_t axis, axis_of(p.axis(), x.rank()));
  MLT_ASSIGN(Dims one, fixed(k));
  if (std::any_of(one.begin(), one.end(), [](int64_t d) { return d != 1; })) return bad("K must be one number");
  auto sorted = ops_of("topk", {{"x", plain(x)}, {"k", b_.i32(dims[static_cast<size_t>(axis)])}, {"axis", b_.i32(axis)}, {"ascending", b_.boolean(p.usebottomk())}});
  if (sorted.size() < 2) return failed();
  V first = op("range_1d", {{"end", to_int(view(k.value, {}))}, {"start", b_.i32(0)}, {"step", b_.i32(1)}});
  auto take = [&](V from) { return op("gather", {{"x", from}, {"indices", first}, {"axis", b_.i32(axis)}, {"validate_indices", b_.boolean(true)}}); };
  MLT_TRY(out(take(sorted[0])));
  return out(to_float(take(sorted[1])), 1);
}

Status Lifter::scatter(std::string_view kind, int mode, std::optional<int64_t> axis) {
  MLT_TRY(need(3, 3, 1, 1));
  MLT_ASSIGN(Blob data, in(0));
  MLT_ASSIGN(Blob indices, in(1));
  MLT_ASSIGN(Blob updates, in(2));
  const char* name = scatter_mode(mode);
  if (name == nullptr) return unsupported_error("scatter mode " + std::to_string(mode));
  std::vector<ops::Input> args{{"data", plain(data)}, {"updates", plain(updates)}, {"mode", b_.string(name)}, {"validate_indices", b_.boolean(true)}};
  if (axis) {
    MLT_ASSIGN(int64_t at, axis_of(*axis, data.rank()));
    args.emplace_back("indices", wrap_indices(plain(indices), data.dims[static_cast<size_t>(at)]));
    args.emplace_back("axis", b_.i32(at));
  } else {
    args.emplace_back("indices", to_int(plain(indices)));
  }
  return out(op(kind, std::move(args)));
}

// Keeps element (m, n) of each matrix when (!use_lower or m - n <= lower) and (!use_upper or n - m <= upper).
Status Lifter::triangular(int64_t lower, int64_t upper, bool use_lower, bool use_upper) {
  MLT_TRY(need(1, 1, 1, 1));
  MLT_ASSIGN(Blob x, in());
  MLT_ASSIGN(Dims dims, fixed(x));
  if (dims.size() < 2) return bad("needs an input of rank 2 or more, got " + dims_text(dims));
  int64_t rows = dims[dims.size() - 2], cols = dims[dims.size() - 1];
  Dims shape(dims.size() - 2, 1);
  shape.insert(shape.end(), {rows, cols});
  Tensor mask = Tensor::uninitialized(DType::kBool, shape);
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t n = 0; n < cols; ++n) mask.mutable_data<bool>()[m * cols + n] = (!use_lower || m - n <= lower) && (!use_upper || n - m <= upper);
  return out(op("select", {{"cond", b_.constant(mask)}, {"a", plain(x)}, {"b", b_.f32(0)}}));
}

Status Lifter::nms(const spec::NonMaximumSuppressionLayerParams& p) {
  MLT_TRY(need(2, 5, 1, 4));
  MLT_ASSIGN(Blob boxes, in(0));
  MLT_ASSIGN(Blob scores, in(1));
  auto number = [&](int index, float preset) -> Result<V> {
    if (!has_in(index)) return b_.f32(preset);
    MLT_ASSIGN(Blob given, in(index));
    return view(given.value, {});
  };
  MLT_ASSIGN(V iou, number(2, p.iouthreshold()));
  MLT_ASSIGN(V threshold, number(3, p.scorethreshold()));
  V most = b_.i32(static_cast<int64_t>(std::min<uint64_t>(p.maxboxes(), uint64_t{1} << 24)));
  if (has_in(4)) {
    MLT_ASSIGN(Blob given, in(4));
    most = to_int(view(given.value, {}));
  }
  auto results = ops_of("nn_nms", {{"boxes", plain(boxes)}, {"scores", plain(scores)}, {"iou_threshold", iou}, {"score_threshold", threshold},
                                   {"max_boxes", most}, {"per_class", b_.boolean(p.perclasssuppression())}});
  if (results.size() < 4) return failed();
  for (int i = 0; i < layer_->output_size(); ++i) MLT_TRY(out(results[static_cast<size_t>(i)], i));
  return {};
}

}  // namespace mlt::coreml
