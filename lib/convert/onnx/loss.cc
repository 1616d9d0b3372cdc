// Losses, as exported with some training graphs, and random numbers.
#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

// -weight[t] * x[n, t, ...] reduced; x holds log probabilities with classes on axis 1.
V negative_log_likelihood(Ctx& c, V x, V target, V weight, const std::string& reduction) {
  Lower& l = c.l;
  int64_t rank = Lower::rank(x), classes = Lower::dims(x)[1];
  if (classes < 0) unsupported("an unknown number of classes");
  V hot = l.cast(l.binary("equal", l.expand_dims(target, {1}), along_axis(l, l.index_vector(classes), 1, rank)), DType::kF32);
  if (c.has_attr("ignore_index")) {
    V counted = l.cast(l.binary("not_equal", l.expand_dims(target, {1}), l.i32(c.i64("ignore_index", 0))), DType::kF32);
    hot = l.mul(hot, counted);
  }
  if (weight) hot = l.mul(hot, along_axis(l, weight, 1, rank));
  // Where the mask is zero nothing may come through, not even infinity times zero.
  V picked = select_broadcast(l, l.binary("equal", hot, l.f32(0)), l.f32(0), l.mul(x, hot));
  V loss = l.mul(l.reduce("reduce_sum", picked, {1}, false), -1);
  std::vector<int64_t> all;
  for (int64_t i = 0; i < Lower::rank(loss); ++i) all.push_back(i);
  if (reduction == "none") return loss;
  V sum = l.reduce("reduce_sum", loss, all, false);
  if (reduction == "sum") return sum;
  if (reduction != "mean") bad_input("unknown reduction \"" + reduction + "\"");
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  return l.div(sum, l.reduce("reduce_sum", hot, axes, false));
}

void nll(Ctx& c) {
  c.out(0, negative_log_likelihood(c, c.fin(0), c.in(1), c.opt(2) ? c.fin(2) : nullptr, c.str("reduction", "mean")), c.type(0));
}

void cross_entropy(Ctx& c) {
  V log_probabilities = log_softmax(c.l, c.fin(0), 1);
  c.out(0, negative_log_likelihood(c, log_probabilities, c.in(1), c.opt(2) ? c.fin(2) : nullptr, c.str("reduction", "mean")), c.type(0));
  if (c.wants(1)) c.out(1, log_probabilities, c.type(0));
}

V shape_input(Ctx& c, bool like) {
  if (like) return c.l.shape_of(c.in(0));
  auto shape = c.ints("shape");
  if (!shape) bad_input("shape is missing");
  return c.l.ints(*shape);
}
template <bool kLike>
void random_normal(Ctx& c) {
  c.ignore({"dtype"});
  V y = c.l.op("random_normal", {{"shape", shape_input(c, kLike)}, {"mean", c.l.f32(c.f32("mean", 0))}, {"stddev", c.l.f32(c.f32("scale", 1))},
                                 {"seed", c.l.i32(c.has_attr("seed") ? static_cast<int64_t>(c.f32("seed", 0)) : -1)}});
  c.out(0, y, DType::kF32);
}
template <bool kLike>
void random_uniform(Ctx& c) {
  c.ignore({"dtype"});
  V y = c.l.op("random_uniform", {{"shape", shape_input(c, kLike)}, {"low", c.l.f32(c.f32("low", 0))}, {"high", c.l.f32(c.f32("high", 1))},
                                  {"seed", c.l.i32(c.has_attr("seed") ? static_cast<int64_t>(c.f32("seed", 0)) : -1)}});
  c.out(0, y, DType::kF32);
}

constexpr Row kRows[] = {
    {"NegativeLogLikelihoodLoss", nll}, {"RandomNormal", random_normal<false>}, {"RandomNormalLike", random_normal<true>},
    {"RandomUniform", random_uniform<false>}, {"RandomUniformLike", random_uniform<true>}, {"SoftmaxCrossEntropyLoss", cross_entropy},
};

}  // namespace

std::span<const Row> families::loss() { return kRows; }

}  // namespace mlt::foreign::onnx
