// Attention and rotary embeddings, spelled out in matrix products.
#include <cmath>
#include <limits>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

// [B, S, heads * D] -> [B, heads, S, D]; rank 4 goes through.
V split_heads(Ctx& c, V x, int64_t heads) {
  if (Lower::rank(x) == 4) return x;
  const Dims dims = Lower::dims(x);
  if (dims.size() != 3 || heads <= 0 || dims[2] < 0 || dims[2] % heads != 0) bad_input("the number of heads does not divide the hidden size");
  if (dims[0] < 0 && dims[1] < 0) unsupported("extents that are not known", "give fixed input shapes with --input NAME,shape=...");
  return c.l.transpose(c.l.reshape(x, {dims[0], dims[1], heads, dims[2] / heads}), {0, 2, 1, 3});
}

V repeat_heads(Ctx& c, V x, int64_t heads) {
  int64_t own = Lower::dims(x)[1];
  if (own == heads) return x;
  if (own <= 0 || heads % own != 0) bad_input("query heads are no multiple of key heads");
  Lower::check_constant({heads});
  std::vector<int64_t> index;
  for (int64_t h = 0; h < heads; ++h) index.push_back(h / (heads / own));
  return c.l.gather(x, c.l.ints(index), 1);
}

void attention(Ctx& c) {
  Lower& l = c.l;
  c.ignore({"softmax_precision"});
  constexpr double kOut = -std::numeric_limits<double>::infinity();
  int64_t left = c.i64("left_window_size", -1), right = c.i64("right_window_size", -1);
  bool flat = c.rank(0) == 3;
  int64_t q_heads = c.i64("q_num_heads", 0), kv_heads = c.i64("kv_num_heads", 0);
  V q = split_heads(c, c.fin(0), q_heads), k = split_heads(c, c.fin(1), kv_heads), v = split_heads(c, c.fin(2), kv_heads);
  V past_key = c.opt(4) ? c.fin(4) : nullptr, past_value = c.opt(5) ? c.fin(5) : nullptr;
  int64_t past = past_key ? Lower::dims(past_key)[2] : 0;
  if (past_key) k = l.concat({past_key, k}, 2);
  if (past_value) v = l.concat({past_value, v}, 2);
  if (c.wants(1)) c.out(1, k, c.type(1));
  if (c.wants(2)) c.out(2, v, c.type(2));
  int64_t heads = Lower::dims(q)[1], depth = Lower::dims(q)[3], queries = Lower::dims(q)[2], keys = Lower::dims(k)[2];
  double scale = c.f32("scale", 0);
  if (scale == 0) {
    if (depth <= 0) unsupported("an unknown head size");
    scale = 1 / std::sqrt(static_cast<double>(depth));
  }
  // The root of the scale on both sides keeps products small.
  double root = std::sqrt(scale);
  V scores = l.matmul(l.mul(q, root), l.mul(repeat_heads(c, k, heads), root), false, true);
  int64_t mode = c.i64("qk_matmul_output_mode", 0);
  V exported = mode == 0 ? scores : nullptr;
  bool causal = c.i64("is_causal", 0) != 0;
  float softcap = c.f32("softcap", 0);
  if (causal) right = right < 0 ? 0 : std::min<int64_t>(right, 0);
  V bias = nullptr;
  if ((left >= 0 || right >= 0) && (queries < 0 || keys < 0 || past < 0)) unsupported("a causal mask of unknown extents", "give fixed input shapes with --input NAME,shape=...");
  if ((left >= 0 || right >= 0) && c.opt(6) && past_key == nullptr) {  // the last query stands at the last key there is
    V last = l.expand_dims(l.sub(c.in(6), l.i32(queries)), {1, 2});
    V at = l.add(l.expand_dims(l.index_vector(queries), {0, 2}), last), j = l.expand_dims(l.index_vector(keys), {0, 1});
    V see = nullptr;
    if (right >= 0) see = l.binary("less_equal", j, right > 0 ? l.add(at, l.i32(right)) : at);
    if (left >= 0) {
      V near = l.binary("greater_equal", j, l.sub(at, l.i32(left)));
      see = see ? l.op("logical_and", {{"x", see}, {"y", near}}) : near;
    }
    bias = l.expand_dims(select_broadcast(l, see, l.f32(0), l.f32(kOut)), {1});
  } else if (left >= 0 || right >= 0) {
    Lower::check_constant({queries, keys});
    Tensor mask = Tensor::zeros(DType::kF32, {queries, keys});
    for (int64_t i = 0; i < queries; ++i)
      for (int64_t j = 0; j < keys; ++j)
        if ((right >= 0 && j - right > i + past) || (left >= 0 && j + left < i + past)) mask.mutable_data<float>()[i * keys + j] = static_cast<float>(kOut);
    bias = l.constant(std::move(mask));
  }
  if (c.opt(3)) {
    V mask = c.in(3);
    if (Lower::dtype(mask) == DType::kBool) mask = select_broadcast(l, mask, l.f32(0), l.f32(kOut));
    mask = l.cast(mask, DType::kF32);
    int64_t width = Lower::dims(mask).back();
    if (width >= 0 && keys >= 0 && width < keys && width != 1) {  // missing columns are masked out
      std::vector<int64_t> amounts(static_cast<size_t>(2 * Lower::rank(mask)), 0);
      amounts.back() = keys - width;
      mask = l.op("pad", {{"x", mask}, {"pad", l.ints(amounts)}, {"mode", l.str("constant")}, {"constant_val", l.f32(kOut)}});
    }
    bias = bias ? l.add(bias, mask) : mask;
  }
  if (c.opt(6)) {  // how many keys of each batch are there
    if (keys < 0) unsupported("lengths of padded keys of unknown number", "give fixed input shapes with --input NAME,shape=...");
    V there = l.binary("less", l.expand_dims(l.index_vector(keys), {0}), l.expand_dims(c.in(6), {1}));
    V mask = l.expand_dims(select_broadcast(l, there, l.f32(0), l.f32(kOut)), {1, 2});
    bias = bias ? l.add(bias, mask) : mask;
  }
  if (softcap != 0) scores = l.mul(l.unary("tanh", l.div(scores, l.f32(softcap))), softcap);
  if (mode == 1) exported = scores;
  if (bias) scores = l.add(scores, bias);
  if (mode == 2) exported = scores;
  V weights = softmax(l, scores, Lower::rank(scores) - 1);
  if (bias) {  // a query that may see nothing gets nothing
    V most = l.reduce("reduce_max", bias, {Lower::rank(bias) - 1}, true);
    const Tensor* known = Lower::known(most);
    bool blind = known == nullptr;
    if (known)
      for (float m : to_floats(*known)) blind = blind || m == static_cast<float>(kOut);
    if (blind) weights = select_broadcast(l, l.binary("equal", most, l.f32(kOut)), l.f32(0), weights);
  }
  if (mode == 3) exported = weights;
  V y = l.matmul(weights, repeat_heads(c, v, heads));
  if (flat) {
    y = l.transpose(y, {0, 2, 1, 3});
    const Dims dims = Lower::dims(y);
    if (dims[2] < 0 || dims[3] < 0) unsupported("an unknown head size");
    y = l.reshape(y, {dims[0], dims[1], dims[2] * dims[3]});
  }
  c.out(0, y, c.type(0));
  if (c.wants(3)) c.out(3, exported, c.type(0));
}

// softmax(score_mod(Q K^T)) V, prob_mod in between; the mods are graphs.
void flex_attention(Ctx& c) {
  Lower& l = c.l;
  c.ignore({"softmax_precision"});
  V q = c.fin(0), k = c.fin(1), v = c.fin(2);
  if (Lower::rank(q) != 4 || Lower::rank(k) != 4 || Lower::rank(v) != 4) bad_input("queries, keys and values must have rank 4");
  int64_t heads = Lower::dims(q)[1], depth = Lower::dims(q)[3];
  if (depth <= 0) unsupported("an unknown head size");
  double root = std::sqrt(c.has_attr("scale") ? static_cast<double>(c.f32("scale", 1)) : 1 / std::sqrt(static_cast<double>(depth)));
  auto mod = [&](std::string_view name, V x) {
    if (!c.has_attr(name)) return x;
    auto graph = c.graph(name);
    Val in;
    in.value = x;
    std::vector<Val> out = c.driver().inline_graph(*graph, {in});
    if (out.size() != 1) bad_input(std::string(name) + " must have one output");
    return l.cast(out[0].value, DType::kF32);
  };
  V scores = mod("score_mod", l.matmul(l.mul(q, root), l.mul(repeat_heads(c, k, heads), root), false, true));
  c.out(0, l.matmul(mod("prob_mod", softmax(l, scores, 3)), repeat_heads(c, v, heads)), c.type(0));
}

// A state of keys times values, updated token by token; unrolled.
void linear_attention(Ctx& c) {
  Lower& l = c.l;
  c.ignore({"chunk_size"});
  std::string rule = c.str("update_rule", "gated_delta");
  bool gated = rule == "gated" || rule == "gated_delta", delta = rule == "delta" || rule == "gated_delta";
  if (!gated && !delta && rule != "linear") bad_input("unknown update_rule \"" + rule + "\"");
  int64_t heads = c.i64("q_num_heads", 0), kv = c.i64("kv_num_heads", 0);
  if (heads < 1 || kv < 1 || heads % kv || Lower::rank(c.in(0)) != 3) bad_input("the numbers of heads do not fit");
  if ((gated && !c.opt(4)) || (delta && !c.opt(5))) bad_input("decay or beta is missing");
  V q = split_heads(c, c.fin(0), heads), k = split_heads(c, c.fin(1), kv), v = split_heads(c, c.fin(2), kv);
  int64_t batch = Lower::dims(q)[0], steps = Lower::dims(q)[2], dk = Lower::dims(q)[3], dv = Lower::dims(v)[3];
  if (batch < 0 || steps < 0 || dk <= 0 || dv <= 0) unsupported("extents that are not known", "give fixed input shapes with --input NAME,shape=...");
  if (steps > 512) unsupported("linear attention over more than 512 tokens");
  V decay = nullptr, beta = nullptr;
  if (gated) {  // [B, heads, dk or 1, T]
    int64_t width = Lower::dims(c.in(4))[2];
    decay = l.transpose(l.unary("exp", split_heads(c, c.fin(4), kv)), {0, 1, 3, 2});
    if (width != kv && width != kv * dk) bad_input("decay does not fit the heads");
  }
  if (delta) beta = l.expand_dims(l.transpose(c.fin(5), {0, 2, 1}), {3});
  V state = c.opt(3) ? c.fin(3) : nullptr;
  double scale = c.f32("scale", 0);
  q = l.mul(q, scale == 0 ? 1 / std::sqrt(static_cast<double>(dk)) : scale);
  std::vector<V> outputs;
  for (int64_t i = 0; i < steps; ++i) {
    auto token = [&](V x, int64_t axis) { return l.slice(x, axis, i, i + 1); };
    V key = token(k, 2), value = token(v, 2);
    if (gated && state) state = l.mul(state, token(decay, 3));
    if (delta) value = l.mul(state ? l.sub(value, l.matmul(key, state)) : value, token(beta, 2));
    V write = l.matmul(key, value, true, false);
    state = state ? l.add(state, write) : write;
    outputs.push_back(l.matmul(token(q, 2), repeat_heads(c, state, heads)));
  }
  if (outputs.empty() || state == nullptr) bad_input("no tokens");
  V y = outputs.size() == 1 ? outputs[0] : l.concat(outputs, 2);
  c.out(0, l.reshape(l.transpose(y, {0, 2, 1, 3}), {batch, steps, heads * dv}), c.type(0));
  if (c.wants(1)) c.out(1, state, c.opt(3) ? c.type(3) : c.type(0));
}

void rotary_embedding(Ctx& c) {
  Lower& l = c.l;
  V x = c.fin(0), cosine = c.fin(1), sine = c.fin(2);
  bool flat = Lower::rank(x) == 3, interleaved = c.i64("interleaved", 0) != 0;
  int64_t heads = c.i64("num_heads", 0), rotary = c.i64("rotary_embedding_dim", 0);
  V full = flat ? split_heads(c, x, heads) : x;  // [B, heads, S, D]
  int64_t depth = Lower::dims(full)[3];
  if (depth < 0) unsupported("an unknown head size");
  if (rotary == 0) rotary = depth;
  V rest = rotary < depth ? l.slice(full, 3, rotary, depth) : nullptr, part = rest ? l.slice(full, 3, 0, rotary) : full;
  if (c.opt(3)) {  // rows of the caches for each position
    cosine = l.gather(cosine, c.in(3), 0);
    sine = l.gather(sine, c.in(3), 0);
  }
  cosine = l.expand_dims(cosine, {1});
  sine = l.expand_dims(sine, {1});
  if (Lower::dims(cosine).back() > rotary / 2) {
    cosine = l.slice(cosine, 3, 0, rotary / 2);
    sine = l.slice(sine, 3, 0, rotary / 2);
  }
  V a = interleaved ? l.slice(part, 3, 0, rotary, 2) : l.slice(part, 3, 0, rotary / 2), b = interleaved ? l.slice(part, 3, 1, rotary, 2) : l.slice(part, 3, rotary / 2, rotary);
  V re = l.sub(l.mul(a, cosine), l.mul(b, sine)), im = l.add(l.mul(a, sine), l.mul(b, cosine));
  V y;
  if (interleaved) {
    Dims dims = Lower::dims(part);
    y = l.reshape(l.stack({re, im}, 4), dims);
  } else {
    y = l.concat({re, im}, 3);
  }
  if (rest) y = l.concat({y, rest}, 3);
  if (flat) y = l.reshape(l.transpose(y, {0, 2, 1, 3}), Lower::dims(x));
  c.out(0, y, c.type(0));
}

void tensor_scatter(Ctx& c) {
  Lower& l = c.l;
  std::string mode = c.str("mode", "linear");
  V cache = c.in(0), update = c.in(1);
  const Dims dims = c.known_dims(update);
  size_t axis = static_cast<size_t>(c.axis("axis", -2, Lower::rank(cache)));
  int64_t n = dims[axis], total = c.known_dims(cache)[axis];
  if (!c.opt(2)) return c.out(0, n == total ? update : l.concat({update, l.slice(cache, static_cast<int64_t>(axis), n, total)}, static_cast<int64_t>(axis)), c.type(0));
  V at = l.add(l.expand_dims(c.in(2), {1}), l.expand_dims(l.index_vector(n), {0}));  // [batch, n]
  if (mode == "circular") at = l.binary("mod", at, l.i32(total));
  Dims shape(dims.size(), 1);
  shape[0] = dims[0];
  shape[axis] = n;
  V index = l.broadcast_to(l.reshape(at, shape), dims);
  c.out(0, l.op("scatter_along_axis", {{"data", cache}, {"indices", index}, {"updates", update}, {"axis", l.i32(static_cast<int64_t>(axis))}, {"mode", l.str("update")}}), c.type(0));
}

constexpr Row kRows[] = {
    {"Attention", attention}, {"FlexAttention", flex_attention, "ai.onnx.preview"},
    {"LinearAttention", linear_attention, "", "known extents"}, {"RotaryEmbedding", rotary_embedding},
    {"TensorScatter", tensor_scatter},
};

}  // namespace

std::span<const Row> families::attention() { return kRows; }

}  // namespace mlt::foreign::onnx
