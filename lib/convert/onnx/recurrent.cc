// LSTM, GRU, RNN. What MIL's own ops mean exactly goes to them; the rest (clipping, coupled gates, variable lengths, before
// CoreML8 GRUs that reset after the product, other activations) is unrolled over a fixed number of steps.
//
// Gate order: ONNX has LSTM i o f c, GRU z r h; MIL has LSTM i f o c, GRU r h z. ONNX keeps one tensor per direction on
// the leading axis of W, R and B, and adds an axis for the direction to the results.
#include <algorithm>
#include <cctype>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

constexpr int64_t kMaxSteps = 1024;  // unrolled

struct Activation {
  std::string name;
  float alpha = 0, beta = 0;
};

enum class Kind { kLstm, kGru, kRnn };

struct Cell {
  Kind kind;
  int64_t gates, hidden, directions, steps, batch;
  V x;                       // [T, B, I]
  V w, r, b, peephole;       // as given, by direction
  V lengths;                 // null: all full
  V h0, c0;                  // [directions, B, H], or null
  std::vector<Activation> activations;
  float clip = 0;
  bool coupled = false, reset_after = false;
};

Activation read_activation(const std::string& name, const std::vector<float>& alpha, const std::vector<float>& beta, size_t* a, size_t* b) {
  Activation out;
  for (char ch : name) out.name += static_cast<char>(std::tolower(ch));
  auto next = [](const std::vector<float>& list, size_t* at, float absent) { return *at < list.size() ? list[(*at)++] : absent; };
  const std::string& n = out.name;
  if (n == "leakyrelu") out.alpha = next(alpha, a, 0.01f);
  else if (n == "thresholdedrelu" || n == "elu") out.alpha = next(alpha, a, 1.0f);
  else if (n == "hardsigmoid") out.alpha = next(alpha, a, 0.2f), out.beta = next(beta, b, 0.5f);
  else if (n == "scaledtanh" || n == "affine") out.alpha = next(alpha, a, 1.0f), out.beta = next(beta, b, n == "affine" ? 0.0f : 1.0f);
  else if (n != "sigmoid" && n != "tanh" && n != "relu" && n != "softsign" && n != "softplus") unsupported("activation \"" + name + "\"");
  return out;
}

// The name MIL gives it inside its recurrent ops, or empty.
std::string mil_name(const Activation& a) {
  if (a.name == "sigmoid" || a.name == "tanh" || a.name == "relu") return a.name;
  if (a.name == "hardsigmoid" && a.alpha == 0.2f && a.beta == 0.5f) return "hard_sigmoid";
  if (a.name == "affine" && a.alpha == 1 && a.beta == 0) return "linear";
  return {};
}

V apply(Lower& l, const Activation& a, V x) {
  if (a.name == "leakyrelu") return l.op("leaky_relu", {{"x", x}, {"alpha", l.f32(a.alpha)}});
  if (a.name == "elu") return l.op("elu", {{"x", x}, {"alpha", l.f32(a.alpha)}});
  if (a.name == "thresholdedrelu") return l.op("thresholded_relu", {{"x", x}, {"alpha", l.f32(a.alpha)}});
  if (a.name == "hardsigmoid") return l.op("sigmoid_hard", {{"x", x}, {"alpha", l.f32(a.alpha)}, {"beta", l.f32(a.beta)}});
  if (a.name == "scaledtanh") return l.op("scaled_tanh", {{"x", x}, {"alpha", l.f32(a.alpha)}, {"beta", l.f32(a.beta)}});
  if (a.name == "affine") return l.op("linear_activation", {{"x", x}, {"alpha", l.f32(a.alpha)}, {"beta", l.f32(a.beta)}});
  return l.unary(a.name, x);
}

// Part d of a constant's leading axis, as host floats.
std::vector<float> part(V value, int64_t d) {
  std::vector<float> all = to_floats(*Lower::known(value));
  size_t each = all.size() / static_cast<size_t>(Lower::dims(value)[0]);
  return {all.begin() + static_cast<int64_t>(static_cast<size_t>(d) * each), all.begin() + static_cast<int64_t>((static_cast<size_t>(d) + 1) * each)};
}

// Gates of `values` ([gates * H, ...] flattened) in another order.
std::vector<float> reorder(const std::vector<float>& values, int64_t gates, const std::vector<int>& order) {
  size_t each = values.size() / static_cast<size_t>(gates);
  std::vector<float> out;
  for (int g : order) out.insert(out.end(), values.begin() + static_cast<int64_t>(static_cast<size_t>(g) * each), values.begin() + static_cast<int64_t>((static_cast<size_t>(g) + 1) * each));
  return out;
}

std::vector<float> summed_bias(const Cell& k, int64_t d) {
  std::vector<float> both = part(k.b, d), sum;
  size_t half = both.size() / 2;
  for (size_t i = 0; i < half; ++i) sum.push_back(both[i] + both[half + i]);
  return sum;
}

struct Pass {
  V y, h, c;  // [T, B, H], [B, H], [B, H]
};

// One direction by MIL's op, forward in time.
Pass native(Ctx& c, const Cell& k, int64_t d, V x, V h0, V c0) {
  Lower& l = c.l;
  const std::vector<int> order = k.kind == Kind::kLstm ? std::vector<int>{0, 2, 1, 3} : k.kind == Kind::kGru ? std::vector<int>{1, 2, 0} : std::vector<int>{0};
  int64_t rows = k.gates * k.hidden, input = Lower::dims(k.w)[2];
  std::vector<Input> inputs = {{"x", x}, {"initial_h", h0}, {"output_sequence", l.boolean(true)}, {"direction", l.str("forward")},
                               {"weight_ih", l.constant(Tensor::from<float>({rows, input}, reorder(part(k.w, d), k.gates, order)), k.w->name)},
                               {"weight_hh", l.constant(Tensor::from<float>({rows, k.hidden}, reorder(part(k.r, d), k.gates, order)), k.r->name)}};
  if (k.b && k.reset_after) {  // of the input, and inside the reset
    std::vector<float> both = part(k.b, d);
    auto half = both.begin() + static_cast<int64_t>(both.size() / 2);
    inputs.push_back({"input_bias", l.floats(reorder({both.begin(), half}, k.gates, order))});
    inputs.push_back({"bias", l.floats(reorder({half, both.end()}, k.gates, order))});
  } else if (k.b) {
    inputs.push_back({"bias", l.floats(reorder(summed_bias(k, d), k.gates, order))});
  }
  if (k.reset_after) inputs.push_back({"reset_after", l.boolean(true)});
  const Activation* a = &k.activations[static_cast<size_t>(d) * k.activations.size() / static_cast<size_t>(k.directions)];
  Pass p{};
  if (k.kind == Kind::kLstm) {
    inputs.push_back({"initial_c", c0});
    inputs.push_back({"recurrent_activation", l.str(mil_name(a[0]))});
    inputs.push_back({"cell_activation", l.str(mil_name(a[1]))});
    inputs.push_back({"activation", l.str(mil_name(a[2]))});
    if (k.peephole) inputs.push_back({"peephole", l.floats(reorder(part(k.peephole, d), 3, {0, 2, 1}))});
    auto out = l.ops("lstm", inputs);
    p = {out[0], out[1], out[2]};
  } else if (k.kind == Kind::kGru) {
    inputs.push_back({"recurrent_activation", l.str(mil_name(a[0]))});
    inputs.push_back({"activation", l.str(mil_name(a[1]))});
    auto out = l.ops("gru", inputs);
    p = {out[0], out[1], nullptr};
  } else {
    inputs.push_back({"activation", l.str(mil_name(a[0]))});
    auto out = l.ops("rnn", inputs);
    p = {out[0], out[1], nullptr};
  }
  return p;
}

Pass unrolled(Ctx& c, const Cell& k, int64_t d, V x, V h, V cell) {
  Lower& l = c.l;
  if (k.steps < 0) unsupported("a sequence of unknown length in this form of the layer", "give fixed input shapes with --input NAME,shape=...");
  if (k.steps > kMaxSteps) unsupported("more than " + std::to_string(kMaxSteps) + " steps in this form of the layer");
  auto piece = [&](V v) { return v ? l.squeeze(l.slice(v, 0, d, d + 1), {0}) : nullptr; };
  V w = piece(k.w), r = piece(k.r), b = piece(k.b), p = piece(k.peephole);
  int64_t rows = k.gates * k.hidden, H = k.hidden;
  V wb = b ? l.slice(b, 0, 0, rows) : nullptr, rb = b ? l.slice(b, 0, rows, 2 * rows) : nullptr;
  const Activation* a = &k.activations[static_cast<size_t>(d) * k.activations.size() / static_cast<size_t>(k.directions)];
  V projected = l.matmul(x, w, false, true);
  if (wb) projected = l.add(projected, wb);
  auto gate = [&](V v, int64_t g) { return l.slice(v, 1, g * H, (g + 1) * H); };
  auto limit = [&](V v) { return k.clip > 0 ? l.clip(v, -k.clip, k.clip) : v; };
  std::vector<V> ys;
  for (int64_t t = 0; t < k.steps; ++t) {
    V in = l.squeeze(l.slice(projected, 0, t, t + 1), {0});
    V h_new, c_new = nullptr;
    if (k.kind == Kind::kLstm) {
      V sum = l.add(in, l.matmul(h, r, false, true));
      if (rb) sum = l.add(sum, rb);
      V gi = gate(sum, 0), go = gate(sum, 1), gf = gate(sum, 2), gc = gate(sum, 3);
      if (p) {
        gi = l.add(gi, l.mul(cell, l.slice(p, 0, 0, H)));
        gf = l.add(gf, l.mul(cell, l.slice(p, 0, 2 * H, 3 * H)));
      }
      V i = apply(l, a[0], limit(gi));
      V f = k.coupled ? l.sub(l.f32(1), i) : apply(l, a[0], limit(gf));
      c_new = l.add(l.mul(f, cell), l.mul(i, apply(l, a[1], limit(gc))));
      if (p) go = l.add(go, l.mul(c_new, l.slice(p, 0, H, 2 * H)));
      h_new = l.mul(apply(l, a[0], limit(go)), apply(l, a[2], c_new));
    } else if (k.kind == Kind::kGru) {
      V rz = l.matmul(h, l.slice(r, 0, 0, 2 * H), false, true);
      if (rb) rz = l.add(rz, l.slice(rb, 0, 0, 2 * H));
      V z = apply(l, a[0], limit(l.add(gate(in, 0), gate(rz, 0)))), reset = apply(l, a[0], limit(l.add(gate(in, 1), gate(rz, 1))));
      V rh = l.slice(r, 0, 2 * H, 3 * H), rbh = rb ? l.slice(rb, 0, 2 * H, 3 * H) : nullptr, n;
      if (k.reset_after) {
        V inner = l.matmul(h, rh, false, true);
        if (rbh) inner = l.add(inner, rbh);
        n = l.add(gate(in, 2), l.mul(reset, inner));
      } else {
        n = l.add(gate(in, 2), l.matmul(l.mul(reset, h), rh, false, true));
        if (rbh) n = l.add(n, rbh);
      }
      n = apply(l, a[1], limit(n));
      h_new = l.add(l.mul(l.sub(l.f32(1), z), n), l.mul(z, h));
    } else {
      V sum = l.add(in, l.matmul(h, r, false, true));
      if (rb) sum = l.add(sum, rb);
      h_new = apply(l, a[0], limit(sum));
    }
    V y = h_new;
    if (k.lengths) {
      V alive = l.expand_dims(l.binary("greater", k.lengths, l.i32(t)), {1});
      y = select_broadcast(l, alive, h_new, l.f32(0));
      h_new = select_broadcast(l, alive, h_new, h);
      if (c_new) c_new = select_broadcast(l, alive, c_new, cell);
    }
    ys.push_back(y);
    h = h_new;
    if (c_new) cell = c_new;
  }
  return {l.stack(ys, 0), h, cell};
}

void recurrent(Ctx& c, Kind kind) {
  Lower& l = c.l;
  Cell k{};
  k.kind = kind;
  k.gates = kind == Kind::kLstm ? 4 : kind == Kind::kGru ? 3 : 1;
  c.ignore({"output_sequence"});
  bool batch_first = c.i64("layout", 0) != 0;
  std::string direction = c.str("direction", "forward");
  k.directions = direction == "bidirectional" ? 2 : 1;
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional") bad_input("unknown direction \"" + direction + "\"");
  k.x = c.fin(0);
  if (Lower::rank(k.x) != 3) bad_input("the input must have rank 3");
  if (batch_first) k.x = l.transpose(k.x, {1, 0, 2});
  k.w = c.fin(1);
  k.r = c.fin(2);
  k.b = c.opt(3) ? c.fin(3) : nullptr;
  k.lengths = c.opt(4);
  auto state = [&](size_t i) -> V {
    if (!c.opt(i)) return nullptr;
    return batch_first ? l.transpose(c.fin(i), {1, 0, 2}) : c.fin(i);
  };
  k.h0 = state(5);
  if (kind == Kind::kLstm) {
    k.c0 = state(6);
    k.peephole = c.opt(7) ? c.fin(7) : nullptr;
  }
  if (Lower::rank(k.w) != 3 || Lower::rank(k.r) != 3 || Lower::dims(k.r)[0] != k.directions || Lower::dims(k.w)[0] != k.directions) bad_input("the weights do not fit the direction");
  k.hidden = Lower::dims(k.r)[2];
  if (c.i64("hidden_size", k.hidden) != k.hidden || k.hidden <= 0 || Lower::dims(k.r)[1] != k.gates * k.hidden || Lower::dims(k.w)[1] != k.gates * k.hidden) bad_input("hidden_size does not fit the weights");
  if (k.b && (Lower::rank(k.b) != 2 || Lower::dims(k.b)[0] != k.directions || Lower::dims(k.b)[1] != 2 * k.gates * k.hidden)) bad_input("the bias does not fit the weights");
  if (k.peephole && (Lower::rank(k.peephole) != 2 || Lower::dims(k.peephole)[0] != k.directions || Lower::dims(k.peephole)[1] != 3 * k.hidden)) bad_input("the peephole weights do not fit");
  k.steps = Lower::dims(k.x)[0];
  k.batch = Lower::dims(k.x)[1];
  k.clip = c.f32("clip", 0);
  k.coupled = kind == Kind::kLstm && c.i64("input_forget", 0) != 0;
  k.reset_after = kind == Kind::kGru && c.i64("linear_before_reset", 0) != 0;
  std::vector<std::string> names = c.strings("activations").value_or(std::vector<std::string>{});
  std::vector<float> alpha = c.floats("activation_alpha").value_or(std::vector<float>{}), beta = c.floats("activation_beta").value_or(std::vector<float>{});
  size_t per = kind == Kind::kLstm ? 3 : kind == Kind::kGru ? 2 : 1;
  if (names.empty())
    for (int64_t d = 0; d < k.directions; ++d) {
      if (kind == Kind::kLstm) names.insert(names.end(), {"Sigmoid", "Tanh", "Tanh"});
      else if (kind == Kind::kGru) names.insert(names.end(), {"Sigmoid", "Tanh"});
      else names.emplace_back("Tanh");
    }
  if (names.size() != per * static_cast<size_t>(k.directions)) bad_input("activations do not fit the layer");
  size_t a = 0, b = 0;
  for (const std::string& name : names) k.activations.push_back(read_activation(name, alpha, beta, &a, &b));
  if (k.lengths)
    if (auto known = l.known_ints(k.lengths))
      if (std::all_of(known->begin(), known->end(), [&](int64_t n) { return n == k.steps; })) k.lengths = nullptr;

  bool constant = Lower::known(k.w) && Lower::known(k.r) && (!k.b || Lower::known(k.b)) && (!k.peephole || Lower::known(k.peephole));
  bool fits = constant && !k.lengths && k.clip == 0 && !k.coupled && k.steps != 0;
  for (const Activation& act : k.activations) fits = fits && !mil_name(act).empty();
  // Older GRUs scale the state by the reset gate, before the product.
  if (fits && k.reset_after) fits = k.steps < 0 || k.steps > kMaxSteps ? c.driver().may_use(ops::Opset::kCoreML8) : l.at_least(ops::Opset::kCoreML8);
  std::vector<Pass> passes;
  for (int64_t d = 0; d < k.directions; ++d) {
    bool backwards = direction == "reverse" || d == 1;
    auto flip = [&](V v) {
      if (k.lengths) return l.op("reverse_sequence", {{"x", v}, {"lengths", k.lengths}, {"seq_axis", l.i32(0)}, {"batch_axis", l.i32(1)}});
      return l.op("reverse", {{"x", v}, {"axes", l.ints({0})}});
    };
    auto initial = [&](V given) {
      if (given) return l.squeeze(l.slice(given, 0, d, d + 1), {0});
      if (k.batch < 0) unsupported("a batch of unknown extent without initial state");
      return l.zeros({k.batch, k.hidden}, DType::kF32);
    };
    V x = backwards ? flip(k.x) : k.x;
    V h0 = initial(k.h0), c0 = kind == Kind::kLstm ? initial(k.c0) : nullptr;
    Pass p = fits ? native(c, k, d, x, h0, c0) : unrolled(c, k, d, x, h0, c0);
    if (backwards && c.wants(0)) p.y = flip(p.y);
    passes.push_back(p);
  }
  auto gather_states = [&](V Pass::*member) {
    std::vector<V> parts;
    for (Pass& p : passes) parts.push_back(p.*member);
    V y = l.stack(parts, 0);
    return batch_first ? l.transpose(y, {1, 0, 2}) : y;
  };
  DType type = c.type(0);
  if (c.wants(0)) {
    std::vector<V> parts;
    for (Pass& p : passes) parts.push_back(p.y);
    V y = l.stack(parts, 1);  // [T, directions, B, H]
    c.out(0, batch_first ? l.transpose(y, {2, 0, 1, 3}) : y, type);
  }
  if (c.wants(1)) c.out(1, gather_states(&Pass::h), type);
  if (kind == Kind::kLstm && c.wants(2)) c.out(2, gather_states(&Pass::c), type);
}

void lstm(Ctx& c) { recurrent(c, Kind::kLstm); }
void gru(Ctx& c) { recurrent(c, Kind::kGru); }
void rnn(Ctx& c) { recurrent(c, Kind::kRnn); }

constexpr Row kRows[] = {
    {"GRU", gru, "", "with linear_before_reset unrolled before CoreML8"}, {"LSTM", lstm}, {"RNN", rnn},
};

}  // namespace

std::span<const Row> families::recurrent() { return kRows; }

}  // namespace mlt::foreign::onnx
