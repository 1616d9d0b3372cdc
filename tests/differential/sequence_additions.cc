#include <algorithm>
#include <cmath>

#include "tests/differential/additions.h"

namespace mlt::differential {
namespace {

using ir::Value;

int64_t some_width(Random& r) { return r.of<int64_t>({1, 3, 8, 16, 16, 24, 31, 32, 32, 48, 64, 64, 96}); }

// A product with constant weights over the last axis, by one of the ways that exporters take.
Value* project(ProgramMaker& m, Value* x, int64_t out) {
  if (x == nullptr || x->type.dims.empty()) return nullptr;
  const int64_t in = x->type.dims.back();
  const double work = static_cast<double>(elements(x->type.dims) * out);
  auto b = m.b();
  switch (m.random.range(0, 3)) {
    case 0: return m.op("linear", {{"x", x}, {"weight", m.weights({out, in}, in)}}, work);
    case 1: return m.op("matmul", {{"x", x}, {"y", m.weights({in, out}, in)}}, work);
    case 2: {
      Value* y = m.op("matmul", {{"x", x}, {"y", m.weights({out, in}, in)}, {"transpose_y", b.boolean(true)}}, work);
      Value* bias = m.noise({out}, -0.5f, 0.5f);
      return m.random.chance(0.5) ? m.op("add", {{"x", y}, {"y", bias}}) : m.op("add", {{"x", bias}, {"y", y}});
    }
    default: return m.op("linear", {{"x", x}, {"weight", m.weights({out, in}, in)}, {"bias", m.noise({out}, -0.5f, 0.5f)}}, work);
  }
}

Live rows(ProgramMaker& m) {
  Live x = m.pick(m.random.chance(0.7) ? 3 : static_cast<size_t>(m.random.range(1, 5)));
  return x.value != nullptr && x.rank() >= 1 ? x : Live{nullptr, false};
}

bool linear(ProgramMaker& m) {
  const Live x = rows(m);
  if (x.value == nullptr) return false;
  Value* y = project(m, x.value, some_width(m.random));
  if (m.random.chance(0.5)) y = activated(m, y);
  return m.keep(y);
}

Value* layer_norm(ProgramMaker& m, Value* x) {
  if (x == nullptr) return nullptr;
  const int64_t width = x->type.dims.back();
  auto b = m.b();
  Value *gamma = m.noise({width}, 0.5f, 1.5f), *beta = m.noise({width});
  Value* epsilon = b.f32(1e-2);
  switch (m.random.range(0, 3)) {
    case 0: return m.op("layer_norm", {{"x", x}, {"axes", b.ints({-1})}, {"epsilon", epsilon}});
    case 1: {  // root mean square
      Value* mean = m.op("reduce_mean", {{"x", m.op(m.random.chance(0.5) ? "square" : "abs", {{"x", x}})}, {"axes", b.ints({-1})}, {"keep_dims", b.boolean(true)}});
      Value* scale = m.op("rsqrt", {{"x", mean}, {"epsilon", epsilon}});
      return m.op("mul", {{"x", m.op("mul", {{"x", x}, {"y", scale}})}, {"y", gamma}});
    }
    case 2: {
      Value* mean = m.op("reduce_mean", {{"x", x}, {"axes", b.ints({-1})}, {"keep_dims", b.boolean(true)}});
      Value* centred = m.op("sub", {{"x", x}, {"y", mean}});
      Value* variance = m.op("reduce_mean", {{"x", m.op("mul", {{"x", centred}, {"y", centred}})}, {"axes", b.ints({-1})}, {"keep_dims", b.boolean(true)}});
      Value* scale = m.op("sqrt", {{"x", m.op("add", {{"x", variance}, {"y", epsilon}})}});
      Value* y = m.op("real_div", {{"x", centred}, {"y", scale}});
      return m.op("add", {{"x", m.op("mul", {{"x", y}, {"y", gamma}})}, {"y", beta}});
    }
    default: return m.op("layer_norm", {{"x", x}, {"axes", b.ints({-1})}, {"gamma", gamma}, {"beta", beta}, {"epsilon", epsilon}});
  }
}

bool norm(ProgramMaker& m) {
  const Live x = rows(m);
  return x.value != nullptr && m.keep(layer_norm(m, x.value));
}

bool feed_forward(ProgramMaker& m) {
  const Live x = rows(m);
  if (x.value == nullptr) return false;
  Value* y = m.random.chance(0.6) ? layer_norm(m, x.value) : x.value;
  const int64_t wide = some_width(m.random) * 2, width = x.dims().back();
  Value* h = activated(m, project(m, y, wide));
  if (m.random.chance(0.3)) h = m.op("mul", {{"x", h}, {"y", project(m, y, wide)}});
  y = project(m, h, width);
  if (m.random.chance(0.8)) y = m.random.chance(0.5) ? m.op("add", {{"x", x.value}, {"y", y}}) : m.op("add", {{"x", y}, {"y", x.value}});
  return m.keep(y);
}

// [N, T, D] to [N, H, T, D / H].
Value* heads_of(ProgramMaker& m, Value* x, int64_t heads) {
  if (x == nullptr) return nullptr;
  const Dims d = x->type.dims;
  auto b = m.b();
  Value* y = m.op("reshape", {{"x", x}, {"shape", b.ints({d[0], d[1], heads, d[2] / heads})}});
  return m.op("transpose", {{"x", y}, {"perm", b.ints({0, 2, 1, 3})}});
}

Value* mask(ProgramMaker& m, int64_t tokens, int64_t heads) {
  const int64_t kind = m.random.range(0, 2);
  if (kind == 0) return m.noise({tokens, tokens});
  if (kind == 1) return m.noise({1, m.random.chance(0.5) ? heads : 1, tokens, tokens});
  Tensor causal = Tensor::uninitialized(DType::kF32, {1, 1, tokens, tokens});
  for (int64_t i = 0; i < causal.size(); ++i) causal.mutable_data<float>()[i] = i % tokens > i / tokens ? -1e4f : 0.0f;
  return m.b().constant(std::move(causal));
}

bool attention(ProgramMaker& m) {
  const Live x = m.pick(3);
  if (x.value == nullptr) return false;
  const Dims d = x.dims();
  const int64_t heads = m.random.range(1, 4), size = m.random.of<int64_t>({4, 8, 8, 16, 5}), width = heads * size;
  Value* y = m.random.chance(0.5) ? layer_norm(m, x.value) : x.value;
  Value *q = nullptr, *k = nullptr, *v = nullptr;
  auto b = m.b();
  if (m.random.chance(0.3)) {  // of one product
    auto parts = m.ops("split", {{"x", project(m, y, 3 * width)}, {"num_splits", b.i32(3)}, {"axis", b.i32(-1)}});
    if (parts.size() != 3) return false;
    q = parts[0], k = parts[1], v = parts[2];
  } else {
    q = project(m, y, width), k = project(m, y, width), v = project(m, y, width);
  }
  q = heads_of(m, q, heads), k = heads_of(m, k, heads), v = heads_of(m, v, heads);
  if (q == nullptr || k == nullptr || v == nullptr) return false;
  Value* out = nullptr;
  if (m.random.chance(0.3)) {
    out = m.random.chance(0.5) ? m.op("scaled_dot_product_attention", {{"query", q}, {"key", k}, {"value", v}})
                               : m.op("scaled_dot_product_attention", {{"query", q}, {"key", k}, {"value", v}, {"attn_mask", mask(m, d[1], heads)}});
  } else {
    const float scale = 1 / std::sqrt(static_cast<float>(size));
    const int64_t where = m.random.range(0, 3);  // the scale: on queries, on keys, on scores by product or by division
    if (where == 0) q = m.op("mul", {{"x", q}, {"y", b.f32(scale)}});
    if (where == 1) k = m.op("mul", {{"x", k}, {"y", b.f32(scale)}});
    Value* scores = nullptr;
    if (m.random.chance(0.5)) {
      scores = m.op("matmul", {{"x", q}, {"y", k}, {"transpose_y", b.boolean(true)}});
    } else {
      scores = m.op("matmul", {{"x", q}, {"y", m.op("transpose", {{"x", k}, {"perm", b.ints({0, 1, 3, 2})}})}});
    }
    if (where == 2) scores = m.op("mul", {{"x", scores}, {"y", b.f32(scale)}});
    if (where == 3) scores = m.op("real_div", {{"x", scores}, {"y", b.f32(1 / scale)}});
    for (int64_t n = m.random.range(0, 2); n > 0; --n) scores = m.op("add", {{"x", scores}, {"y", mask(m, d[1], heads)}});
    if (scores != nullptr && m.random.chance(0.1)) m.keep(scores);
    Value* p = m.op("softmax", {{"x", scores}, {"axis", b.i32(m.random.chance(0.8) ? -1 : 3)}});
    if (p != nullptr && m.random.chance(0.05)) m.keep(p);
    out = m.op("matmul", {{"x", p}, {"y", v}});
  }
  if (m.random.chance(0.9)) {
    out = m.op("transpose", {{"x", out}, {"perm", b.ints({0, 2, 1, 3})}});
    out = m.op("reshape", {{"x", out}, {"shape", b.ints({d[0], d[1], width})}});
    out = project(m, out, d[2]);
    if (m.random.chance(0.8)) out = m.op("add", {{"x", x.value}, {"y", out}});
  }
  return m.keep(out);
}

bool rotary(ProgramMaker& m) {
  const Live x = m.pick(m.random.chance(0.5) ? 4 : 3);
  if (x.value == nullptr || x.dims().back() % 2 != 0) return false;
  const int64_t tokens = x.dims()[x.rank() - 2], width = x.dims().back();
  auto b = m.b();
  auto halves = m.ops("split", {{"x", x.value}, {"num_splits", b.i32(2)}, {"axis", b.i32(-1)}});
  if (halves.size() != 2) return false;
  Value* turned = m.op("concat", {{"values", {m.op("mul", {{"x", halves[1]}, {"y", b.f32(-1)}}), halves[0]}}, {"axis", b.i32(-1)}, {"interleave", b.boolean(false)}});
  Value* y = m.op("mul", {{"x", x.value}, {"y", m.noise({tokens, width})}});
  Value* z = m.op("mul", {{"x", turned}, {"y", m.noise({tokens, width})}});
  return m.keep(m.op("add", {{"x", y}, {"y", z}}));
}

bool softmax(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr || x.rank() == 0) return false;
  const int64_t rank = static_cast<int64_t>(x.rank());
  return m.keep(m.op("softmax", {{"x", x.value}, {"axis", m.b().i32(m.random.range(-rank, rank - 1))}}));
}

bool product_of_values(ProgramMaker& m) {
  const Live x = m.pick(static_cast<size_t>(m.random.range(2, 4)));
  if (x.value == nullptr) return false;
  const Live y = m.random.chance(0.3) ? x : m.pick(x.rank());
  if (y.value == nullptr) return false;
  auto b = m.b();
  const int64_t inner = x.dims().back();
  const double work = static_cast<double>(elements(x.dims()) * elements(y.dims())) / static_cast<double>(std::max<int64_t>(inner, 1));
  Value* z = m.op("matmul", {{"x", x.value}, {"y", y.value}, {"transpose_x", b.boolean(m.random.chance(0.3))}, {"transpose_y", b.boolean(m.random.chance(0.6))}}, work);
  if (z == nullptr) return false;
  return m.keep(m.op("mul", {{"x", z}, {"y", b.f32(1 / std::sqrt(static_cast<double>(inner)))}}));
}

// weights of `gates` times the hidden size, [S, B, I] in
bool recurrent(ProgramMaker& m) {
  const Live x = m.pick(3);
  if (x.value == nullptr) return false;
  const Dims d = x.dims();
  const int64_t hidden = m.random.of<int64_t>({1, 4, 8, 13, 16, 24});
  const std::string kind = m.random.of<std::string>({"lstm", "lstm", "gru", "gru", "rnn"});
  const bool both = kind == "lstm" && m.random.chance(0.3);
  const int64_t gates = kind == "rnn" ? 1 : kind == "gru" ? 3 : 4, wide = both ? 2 * hidden : hidden;
  auto b = m.b();
  std::vector<ops::Input> args{{"x", x.value},
                               {"initial_h", m.noise({d[1], wide})},
                               {"weight_ih", m.weights({gates * hidden, d[2]}, d[2])},
                               {"weight_hh", m.weights({gates * hidden, hidden}, hidden)},
                               {"bias", m.noise({gates * hidden}, -0.3f, 0.3f)},
                               {"direction", b.string(both ? "bidirectional" : m.random.chance(0.7) ? "forward" : "reverse")},
                               {"output_sequence", b.boolean(m.random.chance(0.7))}};
  if (kind == "gru") {
    args.push_back({"reset_after", b.boolean(m.random.chance(0.5))});
  } else if (kind == "lstm") {
    args.push_back({"initial_c", m.noise({d[1], wide})});
    if (both) {
      args.push_back({"weight_ih_back", m.weights({gates * hidden, d[2]}, d[2])});
      args.push_back({"weight_hh_back", m.weights({gates * hidden, hidden}, hidden)});
      args.push_back({"bias_back", m.noise({gates * hidden}, -0.3f, 0.3f)});
    }
  }
  auto results = m.ops(kind, std::move(args));
  for (Value* v : results)
    if (m.random.chance(0.7)) m.keep(v);
  return !results.empty();
}

bool embed(ProgramMaker& m) {
  auto b = m.b();
  const int64_t count = m.random.range(2, 40), width = some_width(m.random), tokens = m.random.range(1, 12);
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < tokens; ++i) chosen.push_back(m.random.range(0, count - 1));
  Value* y = m.op("gather", {{"x", m.noise({count, width})}, {"indices", b.ints(chosen)}, {"axis", b.i32(0)}});
  const Live x = m.pick(3);
  if (y == nullptr || x.value == nullptr || x.dims().back() != width || x.dims()[1] != tokens) return m.keep(y, true);
  return m.keep(m.op("add", {{"x", x.value}, {"y", y}}));
}

bool scan(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr || x.rank() == 0) return false;
  auto b = m.b();
  const int64_t rank = static_cast<int64_t>(x.rank());
  return m.keep(m.op("cumsum", {{"x", x.value}, {"axis", b.i32(m.random.range(-rank, rank - 1))}, {"exclusive", b.boolean(m.random.chance(0.3))}, {"reverse", b.boolean(m.random.chance(0.3))}}));
}

bool sorting(ProgramMaker& m) {
  const Live x = m.pick();
  if (x.value == nullptr || !x.exact || x.rank() == 0) return false;
  auto b = m.b();
  const int64_t rank = static_cast<int64_t>(x.rank()), axis = m.random.range(0, rank - 1);
  auto results = m.ops("topk", {{"x", x.value}, {"k", b.i32(m.random.range(1, x.dims()[static_cast<size_t>(axis)]))}, {"axis", b.i32(axis - (m.random.chance(0.5) ? rank : 0))},
                                {"ascending", b.boolean(m.random.chance(0.3))}});
  return results.size() == 2 && m.keep(results[0], true);
}

}  // namespace

std::vector<Addition> sequence_additions() {
  return {{"linear", 6, linear},
          {"norm", 3, norm},
          {"feed_forward", 4, feed_forward},
          {"attention", 5, attention},
          {"rotary", 1, rotary},
          {"softmax", 1, softmax},
          {"product_of_values", 2, product_of_values},
          {"recurrent", 2, recurrent},
          {"embed", 1, embed},
          {"scan", 1, scan},
          {"sorting", 1, sorting}};
}

}  // namespace mlt::differential
