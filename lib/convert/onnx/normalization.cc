// Normalization layers.
#include <algorithm>
#include <cmath>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

void same(Ctx& c, V y) { c.out(0, y, c.type(0)); }

void batch_norm(Ctx& c) {
  c.ignore({"consumed_inputs", "is_test"});
  float momentum = c.f32("momentum", 0.9f);
  if (c.i64("training_mode", 0) != 0 && c.version() >= 14) {  // statistics of the batch; running ones come out
    V x = c.fin(0);
    int64_t rank = Lower::rank(x);
    std::vector<int64_t> axes = {0};
    for (int64_t i = 2; i < rank; ++i) axes.push_back(i);
    V mean = c.l.reduce("reduce_mean", x, axes, false), centered = c.l.sub(x, along_axis(c.l, mean, 1, rank));
    V var = c.l.reduce("reduce_mean", c.l.unary("square", centered), axes, false);
    V inverse = c.l.div(c.fin(1), c.l.unary("sqrt", c.l.add(var, c.f32("epsilon", 1e-5f))));
    same(c, c.l.add(c.l.mul(centered, along_axis(c.l, inverse, 1, rank)), along_axis(c.l, c.fin(2), 1, rank)));
    auto running = [&](V old, V now) { return c.l.add(c.l.mul(old, momentum), c.l.mul(now, 1.0 - static_cast<double>(momentum))); };
    if (c.wants(1)) c.out(1, running(c.fin(3), mean), c.type(3));
    if (c.wants(2)) c.out(2, running(c.fin(4), var), c.type(4));
    return;
  }
  if (c.i64("training_mode", 0) != 0) unsupported("training mode");
  for (size_t i = 1; i < 5; ++i) c.forbid_output(i, "outputs of training mode");
  V x = c.fin(0), scale = c.fin(1), bias = c.fin(2), mean = c.fin(3), var = c.fin(4);
  float epsilon = c.f32("epsilon", 1e-5f);
  bool spatial = c.i64("spatial", 1) != 0;
  int64_t rank = Lower::rank(x);
  bool constant = Lower::known(scale) && Lower::known(bias) && Lower::known(mean) && Lower::known(var);
  if (spatial && constant && rank >= 3 && rank <= 5) {
    return same(c, c.l.op("batch_norm", {{"x", x}, {"mean", mean}, {"variance", var}, {"gamma", scale}, {"beta", bias}, {"epsilon", c.l.f32(epsilon)}}));
  }
  auto place = [&](V v) { return spatial ? (rank >= 2 ? along_axis(c.l, v, 1, rank) : v) : v; };
  V inverse = c.l.div(scale, c.l.unary("sqrt", c.l.add(var, epsilon)));
  same(c, c.l.add(c.l.mul(c.l.sub(x, place(mean)), place(inverse)), place(bias)));
}

// (x - mean) / sqrt(var + epsilon) over axes; also gives mean and the inverse deviation when asked.
V standardize(Lower& l, V x, const std::vector<int64_t>& axes, double epsilon, V* mean_out = nullptr, V* inverse_out = nullptr) {
  V mean = l.reduce("reduce_mean", x, axes, true);
  V centered = l.sub(x, mean);
  V var = l.reduce("reduce_mean", l.unary("square", centered), axes, true);
  V inverse = recip(l, l.unary("sqrt", l.add(var, epsilon)));
  if (mean_out) *mean_out = mean;
  if (inverse_out) *inverse_out = inverse;
  return l.mul(centered, inverse);
}

void instance_norm(Ctx& c) {
  c.ignore({"consumed_inputs"});
  V x = c.fin(0), scale = c.fin(1), bias = c.fin(2);
  double epsilon = c.f32("epsilon", 1e-5f);
  int64_t rank = Lower::rank(x);
  if (Lower::known(scale) && Lower::known(bias) && (rank == 3 || rank == 4))
    return same(c, c.l.op("instance_norm", {{"x", x}, {"gamma", scale}, {"beta", bias}, {"epsilon", c.l.f32(epsilon)}}));
  std::vector<int64_t> axes;
  for (int64_t i = 2; i < rank; ++i) axes.push_back(i);
  V y = standardize(c.l, x, axes, epsilon);
  same(c, c.l.add(c.l.mul(y, along_axis(c.l, scale, 1, rank)), along_axis(c.l, bias, 1, rank)));
}

std::vector<int64_t> trailing_axes(int64_t axis, int64_t rank) {
  std::vector<int64_t> axes;
  for (int64_t i = axis; i < rank; ++i) axes.push_back(i);
  return axes;
}

void layer_norm(Ctx& c) {
  c.ignore({"stash_type"});
  V x = c.fin(0), scale = c.opt(1) ? c.fin(1) : nullptr, bias = c.opt(2) ? c.fin(2) : nullptr;
  int64_t rank = Lower::rank(x), axis = c.axis("axis", -1, rank);
  double epsilon = c.f32("epsilon", 1e-5f);
  std::vector<int64_t> axes = trailing_axes(axis, rank);
  Dims tail(Lower::dims(x).begin() + axis, Lower::dims(x).end());
  auto fits = [&](V v) { return v == nullptr || (Lower::known(v) && Lower::dims(v) == tail); };
  if (!c.wants(1) && !c.wants(2) && fits(scale) && fits(bias)) {
    std::vector<Input> inputs = {{"x", x}, {"axes", c.l.ints(axes)}, {"epsilon", c.l.f32(epsilon)}};
    if (scale) inputs.push_back({"gamma", scale});
    if (bias) inputs.push_back({"beta", bias});
    return same(c, c.l.op("layer_norm", inputs));
  }
  V mean, inverse, y = standardize(c.l, x, axes, epsilon, &mean, &inverse);
  if (scale) y = c.l.mul(y, scale);
  if (bias) y = c.l.add(y, bias);
  same(c, y);
  if (c.wants(1)) c.out(1, mean, DType::kF32);
  if (c.wants(2)) c.out(2, inverse, DType::kF32);
}

void skip_layer_norm(Ctx& c) {  // com.microsoft: LayerNormalization(input + skip + bias)
  V x = c.l.add(c.fin(0), c.fin(1));
  if (c.opt(4)) x = c.l.add(x, c.fin(4));
  c.forbid_output(1, "the mean output");
  c.forbid_output(2, "the deviation output");
  int64_t rank = Lower::rank(x);
  std::vector<Input> inputs = {{"x", x}, {"axes", c.l.ints({rank - 1})}, {"epsilon", c.l.f32(c.f32("epsilon", 1e-12f))}, {"gamma", c.fin(2)}};
  if (c.opt(3)) inputs.push_back({"beta", c.fin(3)});
  same(c, c.l.op("layer_norm", inputs));
  if (c.wants(3)) c.out(3, x, c.type(0));
}

void rms_norm(Ctx& c) {
  c.ignore({"stash_type"});
  V x = c.fin(0);
  int64_t rank = Lower::rank(x), axis = c.axis("axis", -1, rank);
  V mean = c.l.reduce("reduce_mean", c.l.unary("square", x), trailing_axes(axis, rank), true);
  V y = c.l.mul(x, recip(c.l, c.l.unary("sqrt", c.l.add(mean, c.f32("epsilon", 1e-5f)))));
  same(c, c.opt(1) ? c.l.mul(y, c.fin(1)) : y);
}

void group_norm(Ctx& c) {
  c.ignore({"stash_type"});
  V x = c.fin(0);
  const Dims dims = Lower::dims(x);
  int64_t groups = c.i64("num_groups", 0), rank = Lower::rank(x);
  if (rank < 3 || groups <= 0 || dims[1] < 0 || dims[1] % groups != 0) bad_input("channels do not divide into " + std::to_string(groups) + " groups");
  if (dims[0] < 0) unsupported("a batch of unknown extent");
  V y = c.l.reshape(x, {dims[0], groups, -1});
  y = standardize(c.l, y, {2}, c.f32("epsilon", 1e-5f));
  auto apply = [&](V v, bool scale) {
    if (c.version() < 21) {  // one value per group
      V p = c.l.expand_dims(v, {0, 2});
      y = scale ? c.l.mul(y, p) : c.l.add(y, p);
    } else {
      V p = along_axis(c.l, v, 1, rank);
      y = scale ? c.l.mul(y, p) : c.l.add(y, p);
    }
  };
  if (c.version() >= 21) y = reshape_like(c, y, x);
  apply(c.fin(1), true);
  apply(c.fin(2), false);
  same(c, c.version() >= 21 ? y : reshape_like(c, y, x));
}

void lrn(Ctx& c) {
  V x = c.fin(0);
  same(c, c.l.op("local_response_norm", {{"x", x}, {"size", c.l.i32(c.i64("size", 1))}, {"alpha", c.l.f32(c.f32("alpha", 1e-4f))},
                                         {"beta", c.l.f32(c.f32("beta", 0.75f))}, {"k", c.l.f32(c.f32("bias", 1))}}));
}

void mean_variance(Ctx& c) {
  V x = c.fin(0);
  std::vector<int64_t> axes = c.ints("axes").value_or(std::vector<int64_t>{0, 2, 3});
  for (int64_t& a : axes) a = Lower::axis_of(a, Lower::rank(x));
  V centered = c.l.sub(x, c.l.reduce("reduce_mean", x, axes, true));
  V deviation = c.l.unary("sqrt", c.l.reduce("reduce_mean", c.l.unary("square", centered), axes, true));
  same(c, c.l.div(centered, c.l.add(deviation, 1e-9)));
}

void lp_norm(Ctx& c) {
  V x = c.fin(0);
  int64_t axis = c.axis("axis", -1, Lower::rank(x)), p = c.i64("p", 2);
  if (p != 1 && p != 2) bad_input("p must be 1 or 2");
  V norm = c.l.reduce(p == 1 ? "reduce_l1_norm" : "reduce_l2_norm", x, {axis}, true);
  // A vector of zeros stays one.
  V safe = select_broadcast(c.l, c.l.binary("equal", norm, c.l.f32(0)), c.l.f32(1), norm);
  same(c, c.l.div(x, safe));
}

constexpr Row kRows[] = {
    {"BatchNormalization", batch_norm}, {"GroupNormalization", group_norm}, {"InstanceNormalization", instance_norm},
    {"LRN", lrn}, {"LayerNormalization", layer_norm}, {"LpNormalization", lp_norm}, {"MeanVarianceNormalization", mean_variance},
    {"RMSNormalization", rms_norm}, {"SimplifiedLayerNormalization", rms_norm}, {"SkipLayerNormalization", skip_layer_norm, "com.microsoft"},
};

}  // namespace

std::span<const Row> families::normalization() { return kRows; }

}  // namespace mlt::foreign::onnx
