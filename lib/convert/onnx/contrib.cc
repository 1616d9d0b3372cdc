// Operators of ONNX Runtime (domain com.microsoft) that exporters and its optimizer write. Source of their meaning: the
// runtime's contrib operator documentation.
#include <cmath>
#include <limits>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

constexpr const char* kMs = "com.microsoft";
constexpr double kInf = std::numeric_limits<double>::infinity();

V gelu_of(Ctx& c, V x, const char* mode) { return c.l.op("gelu", {{"x", x}, {"mode", c.l.str(mode)}}); }
void bias_gelu(Ctx& c) { c.out(0, gelu_of(c, c.l.add(c.fin(0), c.fin(1)), "EXACT"), c.type(0)); }
void fast_gelu(Ctx& c) {
  V x = c.fin(0);
  if (c.opt(1)) x = c.l.add(x, c.fin(1));
  c.out(0, gelu_of(c, x, "TANH_APPROXIMATION"), c.type(0));
}
V rms(Ctx& c, V x, V gamma) {
  V mean = c.l.reduce("reduce_mean", c.l.unary("square", x), {Lower::rank(x) - 1}, true);
  return c.l.mul(c.l.mul(x, recip(c.l, c.l.unary("sqrt", c.l.add(mean, c.f32("epsilon", 1e-5f))))), gamma);
}
void skip_rms_norm(Ctx& c) {
  V x = c.l.add(c.fin(0), c.fin(1));
  if (c.opt(3)) x = c.l.add(x, c.fin(3));
  c.forbid_output(1, "the mean output");
  c.forbid_output(2, "the deviation output");
  c.out(0, rms(c, x, c.fin(2)), c.type(0));
  if (c.wants(3)) c.out(3, x, c.type(0));
}
void embed_layer_norm(Ctx& c) {
  Lower& l = c.l;
  V ids = c.in(0), x = l.gather(c.fin(2), ids, 0);
  V positions = c.opt(8);
  const Dims dims = Lower::dims(ids);
  if (positions == nullptr) {
    if (dims.size() != 2 || dims[1] < 0) unsupported("a sequence of unknown length", "give fixed input shapes with --input NAME,shape=...");
    positions = l.expand_dims(l.index_vector(dims[1]), {0});
  }
  x = l.add(x, l.gather(c.fin(3), positions, 0));
  if (c.opt(1)) x = l.add(x, l.gather(c.fin(4), c.in(1), 0));
  if (c.wants(2)) c.out(2, x, c.type(2));
  std::vector<Input> inputs = {{"x", x}, {"axes", l.ints({2})}, {"epsilon", l.f32(c.f32("epsilon", 1e-12f))}, {"gamma", c.fin(5)}, {"beta", c.fin(6)}};
  c.out(0, l.op("layer_norm", inputs), c.type(2));
  c.ignore({"mask_index_type"});
  if (c.wants(1)) {
    if (c.opt(7)) c.out(1, l.reduce("reduce_sum", c.in(7), {1}, false), DType::kI32);
    else if (dims[0] > 0) c.out(1, l.zeros({dims[0]}, DType::kI32), DType::kI32);
    else unsupported("mask_index of an unknown batch");
  }
}

// --- attention ---

V heads_first(Ctx& c, V x, int64_t heads) {  // [B, S, heads * D] -> [B, heads, S, D]
  const Dims dims = Lower::dims(x);
  if (dims.size() == 4) return x;
  if (dims.size() != 3 || heads <= 0 || dims[2] < 0 || dims[2] % heads != 0) bad_input("the number of heads does not divide the hidden size");
  if (dims[0] < 0 && dims[1] < 0) unsupported("extents that are not known", "give fixed input shapes with --input NAME,shape=...");
  return c.l.transpose(c.l.reshape(x, {dims[0], dims[1], heads, dims[2] / heads}), {0, 2, 1, 3});
}
V heads_last(Ctx& c, V y) {
  y = c.l.transpose(y, {0, 2, 1, 3});
  const Dims dims = Lower::dims(y);
  if (dims[0] < 0 && dims[1] < 0) unsupported("extents that are not known", "give fixed input shapes with --input NAME,shape=...");
  return c.l.reshape(y, {dims[0], dims[1], dims[2] * dims[3]});
}
V repeat_heads(Ctx& c, V x, int64_t heads) {
  int64_t own = Lower::dims(x)[1];
  if (own == heads) return x;
  std::vector<int64_t> index;
  for (int64_t h = 0; h < heads; ++h) index.push_back(h / (heads / own));
  return c.l.gather(x, c.l.ints(index), 1);
}
// 0, 1, ... along an axis whose extent may be known at run time only.
V positions_of(Ctx& c, V x, int64_t axis) {
  int64_t n = Lower::dims(x)[static_cast<size_t>(axis)];
  if (n >= 0) return c.l.index_vector(n);
  V extent = c.l.squeeze(c.l.slice(c.l.shape_of(x), 0, axis, axis + 1), {0});
  return c.l.op("range_1d", {{"start", c.l.i32(0)}, {"end", extent}, {"step", c.l.i32(1)}});
}
V masked(Ctx& c, V allowed, double fill) { return select_broadcast(c.l, allowed, c.l.f32(0), c.l.f32(fill)); }
V attend(Ctx& c, V q, V k, V v, V bias, double scale, double softcap = 0) {
  int64_t heads = Lower::dims(q)[1], depth = Lower::dims(q)[3];
  if (heads <= 0 || depth <= 0) unsupported("an unknown head size");
  if (scale == 0) scale = 1 / std::sqrt(static_cast<double>(depth));
  V scores = c.l.matmul(c.l.mul(q, scale), repeat_heads(c, k, heads), false, true);
  if (softcap != 0) scores = c.l.mul(c.l.unary("tanh", c.l.mul(scores, 1 / softcap)), softcap);
  if (bias) scores = c.l.add(scores, bias);
  return c.l.matmul(softmax(c.l, scores, 3), repeat_heads(c, v, heads));
}
// [B, T] of ones and zeros, [B, S, T], or [B] lengths: what to add to scores [B, heads, S, T].
V mask_bias(Ctx& c, V mask, V keys, double fill) {
  switch (Lower::rank(mask)) {
    case 1: {
      if (Lower::dims(mask)[0] != Lower::dims(keys)[0]) unsupported("masks by first and last positions");
      V j = c.l.expand_dims(positions_of(c, keys, 2), {0});
      return c.l.expand_dims(masked(c, c.l.binary("less", j, c.l.expand_dims(mask, {1})), fill), {1, 2});
    }
    case 2: return c.l.expand_dims(masked(c, c.l.cast(mask, DType::kBool), fill), {1, 2});
    case 3: return c.l.expand_dims(masked(c, c.l.cast(mask, DType::kBool), fill), {1});
    default: unsupported("a mask of rank " + std::to_string(Lower::rank(mask)));
  }
}
// Query t may see keys up to t plus what was there before.
V causal(Ctx& c, V q, V k, double fill) {
  V i = positions_of(c, q, 2), j = positions_of(c, k, 2);
  int64_t queries = Lower::dims(q)[2], keys = Lower::dims(k)[2];
  if (queries != keys) {
    if (queries < 0 || keys < 0) unsupported("a causal mask of unknown extents", "give fixed input shapes with --input NAME,shape=...");
    i = c.l.add(i, c.l.i32(keys - queries));
  }
  return masked(c, c.l.binary("less_equal", c.l.expand_dims(j, {0}), c.l.expand_dims(i, {1})), fill);
}
V sum_of(Ctx& c, V a, V b) { return a == nullptr ? b : b == nullptr ? a : c.l.add(a, b); }

void multi_head_attention(Ctx& c) {
  int64_t heads = c.i64("num_heads", 0);
  double fill = c.f32("mask_filter_value", -10000.0f);
  if (Lower::rank(c.in(0)) != 3 || !c.opt(1) || !c.opt(2)) unsupported("packed queries, keys and values");
  V q = c.fin(0), k = c.fin(1), v = c.fin(2);
  if (c.opt(3)) {
    V bias = c.fin(3);
    int64_t h = Lower::dims(q)[2], total = Lower::dims(bias)[0];
    if (h <= 0 || total < 2 * h) bad_input("the bias does not fit");
    q = c.l.add(q, c.l.slice(bias, 0, 0, h));
    if (Lower::rank(k) == 3) k = c.l.add(k, c.l.slice(bias, 0, h, 2 * h));
    if (Lower::rank(v) == 3) v = c.l.add(v, c.l.slice(bias, 0, 2 * h, total));
  }
  q = heads_first(c, q, heads), k = heads_first(c, k, heads), v = heads_first(c, v, heads);
  if (c.opt(6)) k = c.l.concat({c.fin(6), k}, 2);
  if (c.opt(7)) v = c.l.concat({c.fin(7), v}, 2);
  if (c.wants(1)) c.out(1, k, c.type(0));
  if (c.wants(2)) c.out(2, v, c.type(0));
  c.forbid_output(3, "the products of queries and keys");
  V bias = c.opt(4) ? mask_bias(c, c.in(4), k, fill) : nullptr;
  if (c.opt(5)) bias = sum_of(c, bias, c.fin(5));
  if (c.i64("unidirectional", 0)) bias = sum_of(c, bias, causal(c, q, k, fill));
  c.out(0, heads_last(c, attend(c, q, k, v, bias, c.f32("scale", 0))), c.type(0));
}

void attention(Ctx& c) {
  int64_t heads = c.i64("num_heads", 0);
  double fill = c.f32("mask_filter_value", -10000.0f);
  c.ignore({"past_present_share_buffer"});
  if (c.i64("do_rotary", 0)) unsupported("rotary embeddings inside Attention");
  V x = c.fin(0), w = c.fin(1);
  if (Lower::rank(x) != 3) bad_input("the input must be [batch, sequence, hidden]");
  int64_t total = Lower::dims(w)[1];
  if (total <= 0) unsupported("weights of unknown extents");
  V all = c.l.matmul(x, w);
  if (c.opt(2)) all = c.l.add(all, c.fin(2));
  std::vector<int64_t> sizes = c.ints("qkv_hidden_sizes").value_or(std::vector<int64_t>{total / 3, total / 3, total / 3});
  if (sizes.size() != 3 || sizes[0] + sizes[1] + sizes[2] != total) bad_input("qkv_hidden_sizes do not fit the weights");
  V q = heads_first(c, c.l.slice(all, 2, 0, sizes[0]), heads), k = heads_first(c, c.l.slice(all, 2, sizes[0], sizes[0] + sizes[1]), heads);
  V v = heads_first(c, c.l.slice(all, 2, sizes[0] + sizes[1], total), heads);
  if (c.opt(4)) {
    V past = c.fin(4);
    k = c.l.concat({c.l.squeeze(c.l.slice(past, 0, 0, 1), {0}), k}, 2);
    v = c.l.concat({c.l.squeeze(c.l.slice(past, 0, 1, 2), {0}), v}, 2);
  }
  if (c.wants(1)) c.out(1, c.l.stack({k, v}, 0), c.type(0));
  V bias = c.opt(3) ? mask_bias(c, c.in(3), k, fill) : nullptr;
  if (c.opt(5)) bias = sum_of(c, bias, c.fin(5));
  if (c.i64("unidirectional", 0)) bias = sum_of(c, bias, causal(c, q, k, fill));
  c.out(0, heads_last(c, attend(c, q, k, v, bias, c.f32("scale", 0))), c.type(0));
}

// x [B, heads, S, D] turned by the rows of the caches at positions [B or 1, S].
V rotate(Ctx& c, V x, V cosine, V sine, V positions, bool interleaved) {
  Lower& l = c.l;
  int64_t depth = Lower::dims(x)[3], rotary = 2 * Lower::dims(cosine)[1];
  if (depth <= 0 || rotary <= 0 || rotary > depth) bad_input("the caches do not fit the head size");
  V part = rotary < depth ? l.slice(x, 3, 0, rotary) : x;
  V co = l.expand_dims(l.gather(cosine, positions, 0), {1}), si = l.expand_dims(l.gather(sine, positions, 0), {1});
  V a = interleaved ? l.slice(part, 3, 0, rotary, 2) : l.slice(part, 3, 0, rotary / 2), b = interleaved ? l.slice(part, 3, 1, rotary, 2) : l.slice(part, 3, rotary / 2, rotary);
  V re = l.sub(l.mul(a, co), l.mul(b, si)), im = l.add(l.mul(a, si), l.mul(b, co));
  V y = l.concat({re, im}, 3);
  if (interleaved) {
    std::vector<int64_t> order;
    for (int64_t i = 0; i < rotary; ++i) order.push_back(i % 2 ? rotary / 2 + i / 2 : i / 2);
    y = l.gather(y, l.ints(order), 3);
  }
  return rotary < depth ? l.concat({y, l.slice(x, 3, rotary, depth)}, 3) : y;
}
void rotary_embedding(Ctx& c) {
  c.ignore({"is_packed_batching", "rotary_embedding_dim"});
  if (c.f32("scale", 1) != 1) unsupported("a scale of the embedding");
  V x = c.fin(0), positions = c.in(1), cosine = c.fin(2), sine = c.fin(3);
  bool flat = Lower::rank(x) == 3;
  int64_t heads = c.i64("num_heads", 0);
  if (flat && heads == 0) {
    int64_t depth = 2 * Lower::dims(cosine)[1], hidden = Lower::dims(x)[2];
    if (depth <= 0 || hidden <= 0 || hidden % depth) bad_input("the caches do not fit the hidden size");
    heads = hidden / depth;
  }
  V full = flat ? heads_first(c, x, heads) : x;
  if (Lower::rank(positions) < 2) positions = c.l.expand_dims(c.l.add(positions_of(c, full, 2), Lower::rank(positions) == 1 ? c.l.squeeze(positions, {0}) : positions), {0});
  V y = rotate(c, full, cosine, sine, positions, c.i64("interleaved", 0) != 0);
  c.out(0, flat ? heads_last(c, y) : y, c.type(0));
}
void group_query_attention(Ctx& c) {
  Lower& l = c.l;
  int64_t heads = c.i64("num_heads", 0), kv = c.i64("kv_num_heads", 0), window = c.i64("local_window_size", -1);
  c.ignore({"smooth_softmax", "qk_output"});
  if (c.i64("smooth_softmax", 0) > 0) unsupported("smooth softmax");
  V packed = c.fin(0), q, k, v;
  if (c.opt(1)) {
    q = heads_first(c, packed, heads), k = heads_first(c, c.fin(1), kv), v = heads_first(c, c.fin(2), kv);
  } else {
    int64_t width = Lower::dims(packed)[2];
    if (width <= 0 || width % (heads + 2 * kv)) bad_input("packed queries, keys and values do not fit the heads");
    int64_t d = width / (heads + 2 * kv);
    q = heads_first(c, l.slice(packed, 2, 0, heads * d), heads), k = heads_first(c, l.slice(packed, 2, heads * d, (heads + kv) * d), kv);
    v = heads_first(c, l.slice(packed, 2, (heads + kv) * d, width), kv);
  }
  V total = l.cast(c.in(5), DType::kI32);  // [B]: keys in use, less one
  if (Lower::rank(total) == 2) total = l.squeeze(total, {1});
  V fresh = positions_of(c, q, 2);
  // Position of the first new token: total + 1 - S.
  V count = Lower::dims(q)[2] >= 0 ? l.i32(Lower::dims(q)[2]) : l.squeeze(l.slice(l.shape_of(q), 0, 2, 3), {0});
  V first = l.sub(l.add(total, l.i32(1)), count);
  V positions = l.add(l.expand_dims(first, {1}), l.expand_dims(fresh, {0}));  // [B, S]
  if (c.i64("do_rotary", 0)) {
    bool interleaved = c.i64("rotary_interleaved", 0) != 0;
    V at = positions;
    if (c.opt(9)) at = c.in(9);
    q = rotate(c, q, c.fin(7), c.fin(8), at, interleaved);
    k = rotate(c, k, c.fin(7), c.fin(8), at, interleaved);
  }
  if (c.opt(3) && Lower::dims(c.in(3))[2] != 0) k = l.concat({c.fin(3), k}, 2), v = l.concat({c.fin(4), v}, 2);
  if (c.wants(1)) c.out(1, k, c.type(0));
  if (c.wants(2)) c.out(2, v, c.type(0));
  V j = l.expand_dims(positions_of(c, k, 2), {0, 1}), i = l.expand_dims(positions, {2});  // [1, 1, T], [B, S, 1]
  V allowed = l.binary("less_equal", j, i);
  if (window > 0) allowed = l.op("logical_and", {{"x", allowed}, {"y", l.binary("greater", j, l.sub(i, l.i32(window)))}});
  V bias = l.expand_dims(masked(c, allowed, -kInf), {1});
  if (c.opt(10)) bias = l.add(bias, c.fin(10));
  c.driver().warn("GroupQueryAttention: past keys and values are taken to be full (no shared buffer)");
  c.out(0, heads_last(c, attend(c, q, k, v, bias, c.f32("scale", 0), c.f32("softcap", 0))), c.type(0));
}

// --- weights of a few bits: B [N, blocks, bytes], scales [N * blocks], zero points packed likewise ---

// The packed bytes are the weights' rows one after the other, as Core ML packs them too; null when they do not fit.
V nbits_weights(Ctx& c, const Tensor* packed, int64_t n, int64_t k, int64_t blocks, int64_t bits) {
  if (packed == nullptr || (bits != 4 && bits != 8) || k % blocks || packed->dtype() != DType::kU8) return nullptr;
  DType type = bits == 4 ? DType::kU4 : DType::kU8;
  Tensor data = take(Tensor::from_blob(type, {n, k}, packed->blob())), zeros = Tensor::uninitialized(DType::kU8, {n, blocks});
  uint8_t middle = static_cast<uint8_t>(1 << (bits - 1));
  std::fill_n(zeros.mutable_data<uint8_t>(), n * blocks, middle);
  if (c.opt(3)) {
    const Tensor* given = c.raw(3);
    if (given == nullptr || given->dtype() != DType::kU8) return nullptr;
    int64_t per = 8 / bits, row = (blocks + per - 1) / per;
    if (given->size() != n * row) bad_input("zero points do not fit N and K");
    for (int64_t r = 0; r < n; ++r)
      for (int64_t b = 0; b < blocks; ++b)
        zeros.mutable_data<uint8_t>()[r * blocks + b] = static_cast<uint8_t>((given->data<uint8_t>()[r * row + b / per] >> (b % per * bits)) & ((1 << bits) - 1));
  }
  zeros = convert(zeros, type);
  Tensor scales = c.known_tensor(2, "scales").reshaped({n, blocks});
  return compressed(c, &data, &scales, &zeros, 1);
}

void matmul_nbits(Ctx& c) {
  c.ignore({"accuracy_level"});
  int64_t k = c.i64("K", 0), n = c.i64("N", 0), bits = c.i64("bits", 4), block = c.i64("block_size", 32);
  if (k <= 0 || n <= 0 || block <= 0 || (bits != 2 && bits != 4 && bits != 8)) unsupported(std::to_string(bits) + "-bit weights of this form");
  const Tensor* stored = c.raw(1);
  const Tensor& packed = stored ? *stored : c.known_tensor(1, "weights");
  std::vector<float> scales = c.known_floats(2, "scales");
  int64_t blocks = (k + block - 1) / block, bytes = block * bits / 8;
  if (packed.size() != n * blocks * bytes || static_cast<int64_t>(scales.size()) != n * blocks) bad_input("weights and scales do not fit N and K");
  if (c.opt(4)) unsupported("reordered groups");
  if (V w = nbits_weights(c, stored, n, k, blocks, bits)) {
    std::vector<Input> inputs = {{"x", c.fin(0)}, {"weight", w}};
    if (c.opt(5)) inputs.push_back({"bias", c.fin(5)});
    return c.out(0, c.l.op("linear", inputs), c.type(0));
  }
  std::vector<int64_t> data = to_ints(packed), zeros;
  bool float_zeros = false;
  std::vector<float> zero_floats;
  if (c.opt(3)) {
    float_zeros = mlt::is_float(c.type(3));
    if (float_zeros) zero_floats = c.known_floats(3, "zero points");
    else zeros = to_ints(c.known_tensor(3, "zero points"));
  }
  int64_t per = 8 / bits, mask = (int64_t{1} << bits) - 1, row = (blocks * bits + 7) / 8;
  Lower::check_constant({n, k});
  Tensor w = Tensor::uninitialized(DType::kF32, {n, k});
  for (int64_t r = 0; r < n; ++r)
    for (int64_t b = 0; b < blocks; ++b) {
      double zero = static_cast<double>(int64_t{1} << (bits - 1));
      if (float_zeros) zero = zero_floats.at(static_cast<size_t>(r * blocks + b));
      else if (!zeros.empty()) zero = static_cast<double>((zeros.at(static_cast<size_t>(r * row + b / per)) >> (b % per * bits)) & mask);
      for (int64_t i = 0; i < block && b * block + i < k; ++i) {
        int64_t q = (data[static_cast<size_t>((r * blocks + b) * bytes + i / per)] >> (i % per * bits)) & mask;
        w.mutable_data<float>()[r * k + b * block + i] = static_cast<float>((static_cast<double>(q) - zero) * static_cast<double>(scales[static_cast<size_t>(r * blocks + b)]));
      }
    }
  std::vector<Input> inputs = {{"x", c.fin(0)}, {"weight", c.l.constant(std::move(w))}};
  if (c.opt(5)) inputs.push_back({"bias", c.fin(5)});
  c.out(0, c.l.op("linear", inputs), c.type(0));
}

// --- integers with a scale ---

V real(Ctx& c, size_t i) { return dequantize_op(c, c.in(i), c.fin(i + 1), c.opt(i + 2)); }
void back(Ctx& c, V y, size_t scale) {
  DType type = c.type(0);
  c.out(0, quantize_op(c, y, c.fin(scale), c.opt(scale + 1), type), type);
}
void qlinear_add(Ctx& c) { back(c, c.l.add(real(c, 0), real(c, 3)), 6); }
void qlinear_mul(Ctx& c) { back(c, c.l.mul(real(c, 0), real(c, 3)), 6); }
void qlinear_sigmoid(Ctx& c) { back(c, c.l.unary("sigmoid", real(c, 0)), 3); }
void qlinear_leaky_relu(Ctx& c) { back(c, c.l.op("leaky_relu", {{"x", real(c, 0)}, {"alpha", c.l.f32(c.f32("alpha", 0.01f))}}), 3); }
void qlinear_global_average_pool(Ctx& c) {
  if (c.i64("channels_last", 0)) unsupported("channels last");
  V x = real(c, 0);
  std::vector<int64_t> axes;
  for (int64_t i = 2; i < Lower::rank(x); ++i) axes.push_back(i);
  back(c, c.l.reduce("reduce_mean", x, axes, true), 3);
}
void qlinear_softmax(Ctx& c) {
  V x = real(c, 0);
  c.ignore({"opset"});
  if (c.i64("opset", 13) < 13) unsupported("softmax of operator sets before 13");
  back(c, softmax(c.l, x, c.axis("axis", -1, Lower::rank(x))), 3);
}
void qlinear_concat(Ctx& c) {  // Y scale, Y zero point, then triples
  std::vector<V> parts;
  for (size_t i = 2; i + 2 < c.inputs() + 1; i += 3) parts.push_back(real(c, i));
  DType type = c.type(2);
  V y = c.l.concat(parts, c.axis("axis", 0, Lower::rank(parts.at(0))));
  c.out(0, quantize_op(c, y, c.fin(0), c.opt(1), type), type);
}
V times(Ctx& c, V a, V b) {
  if (is_compressed(b) && Lower::rank(b) == 2 && Lower::rank(a) >= 2 && Lower::rank(a) <= 3) return c.l.op("linear", {{"x", a}, {"weight", compressed_transpose(c.l, b)}});
  return c.l.matmul(a, b);
}
// B at i with scale s and zero point z.
V weights(Ctx& c, size_t i, size_t s, size_t z) {
  if (V w = compressed_input(c, i, s, z, c.raw(i) ? c.raw(i)->rank() - 1 : 0)) return w;
  return dequantize(c.l, c.in(i), c.fin(s), c.opt(z));
}
// A float times B: A is quantized by its own range, as DynamicQuantizeLinear does.
void dynamic_quantize_matmul(Ctx& c) {
  Lower& l = c.l;
  V x = c.fin(0), b = weights(c, 1, 2, 3);
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < Lower::rank(x); ++i) axes.push_back(i);
  V zero = l.f32(0);
  V high = l.binary("maximum", l.reduce("reduce_max", x, axes, false), zero), low = l.binary("minimum", l.reduce("reduce_min", x, axes, false), zero);
  V scale = l.div(l.sub(high, low), l.f32(255)), zp = l.unary("round", l.clip(l.div(l.mul(low, -1), scale), 0, 255));
  V a = l.mul(l.sub(quantize(l, x, scale, zp, DType::kU8), l.cast(zp, DType::kI32)), scale);
  V y = times(c, a, b);
  c.out(0, c.opt(4) ? l.add(y, c.fin(4)) : y, c.type(0));
}
// alpha A B + C, C in units of both scales; a float comes out when no scale of the result is given.
void qgemm(Ctx& c) {
  Lower& l = c.l;
  bool trans_a = c.i64("transA", 0) != 0, trans_b = c.i64("transB", 0) != 0;
  float alpha = c.f32("alpha", 1);
  V a = real(c, 0), b_scale = c.fin(4);
  if (trans_a) a = l.transpose(a, {1, 0});
  V b = compressed_input(c, 3, 4, 5, trans_b ? 0 : 1);
  if (b == nullptr) {
    int64_t axis = trans_b ? 0 : 1;
    b = dequantize(l, c.in(3), along_axis(l, b_scale, axis, 2), c.opt(5) ? along_axis(l, c.in(5), axis, 2) : nullptr);
  }
  V y;
  if (is_compressed(b)) y = l.op("linear", {{"x", a}, {"weight", trans_b ? b : compressed_transpose(l, b)}});
  else y = l.matmul(a, b, false, trans_b);
  if (c.opt(6)) y = l.add(y, l.mul(c.fin(6), l.mul(Lower::rank(c.fin(1)) ? l.reshape(c.fin(1), {}) : c.fin(1), Lower::dims(b_scale) == Dims{1} ? l.reshape(b_scale, {}) : b_scale)));
  if (alpha != 1) y = l.mul(y, alpha);
  if (!c.opt(7)) return c.out(0, y, DType::kF32);
  DType type = c.opt(8) ? c.type(8) : DType::kU8;
  c.out(0, quantize_op(c, y, c.fin(7), c.opt(8), type), type);
}
void matmul_integer_to_float(Ctx& c) {
  V a = dequantize(c.l, c.in(0), c.fin(2), c.opt(4)), b = weights(c, 1, 3, 5);
  V y = times(c, a, b);
  c.out(0, c.opt(6) ? c.l.add(y, c.fin(6)) : y, DType::kF32);
}

constexpr Row kRows[] = {
    {"Attention", attention, kMs, "without rotary embeddings"}, {"BiasGelu", bias_gelu, kMs}, {"DynamicQuantizeMatMul", dynamic_quantize_matmul, kMs},
    {"EmbedLayerNormalization", embed_layer_norm, kMs}, {"FastGelu", fast_gelu, kMs},
    {"GroupQueryAttention", group_query_attention, kMs, "past keys and values without shared buffers"}, {"MatMulIntegerToFloat", matmul_integer_to_float, kMs},
    {"MatMulNBits", matmul_nbits, kMs}, {"MultiHeadAttention", multi_head_attention, kMs, "separate queries, keys and values"},
    {"QGemm", qgemm, kMs}, {"QLinearAdd", qlinear_add, kMs}, {"QLinearConcat", qlinear_concat, kMs}, {"QLinearGlobalAveragePool", qlinear_global_average_pool, kMs},
    {"QLinearLeakyRelu", qlinear_leaky_relu, kMs}, {"QLinearMul", qlinear_mul, kMs}, {"QLinearSigmoid", qlinear_sigmoid, kMs},
    {"QLinearSoftmax", qlinear_softmax, kMs}, {"RotaryEmbedding", rotary_embedding, kMs},
    {"SkipSimplifiedLayerNormalization", skip_rms_norm, kMs},
};

}  // namespace

std::span<const Row> families::contrib() { return kRows; }

}  // namespace mlt::foreign::onnx
