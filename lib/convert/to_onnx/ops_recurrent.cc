// lstm, gru, rnn. Gates: MIL orders them input, forget, output, cell (lstm) and reset, output, update (gru); ONNX input,
// output, forget, cell and update, reset, hidden. States: [batch, directions * hidden] here, [directions, batch, hidden] there.
#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/convert/onnx/proto/onnx.pb.h"
#include "lib/convert/to_onnx/emit.h"

namespace mlt::foreign::to_onnx {
namespace {

// Blocks of rows in another order; `t` has order.size() equal blocks along axis 0.
std::vector<float> reordered(const Tensor& t, const std::vector<size_t>& order) {
  std::vector<float> from = to_floats(t), to;
  size_t block = from.size() / order.size();
  for (size_t i : order) to.insert(to.end(), from.begin() + static_cast<std::ptrdiff_t>(i * block), from.begin() + static_cast<std::ptrdiff_t>((i + 1) * block));
  return to;
}

std::string activation(const std::string& name) {
  std::string lower;
  for (char c : name) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower == "tanh" || lower == "scaled_tanh") return "Tanh";
  if (lower == "sigmoid") return "Sigmoid";
  if (lower == "relu") return "Relu";
  if (lower == "hard_sigmoid" || lower == "sigmoid_hard") return "HardSigmoid";
  if (lower == "linear") return "Affine";
  unsupported("activation \"" + name + "\"");
}

struct Layer {
  std::string op;
  std::vector<size_t> order;
  std::vector<std::string> activations;
  bool cell = false;  // a second state
};

void recurrent(Ctx& c, const Layer& layer, const std::vector<float>& bias_ih, const std::vector<float>& bias_hh, const std::vector<float>& peephole,
               std::vector<Attr> more) {
  std::string direction = c.call.str("direction");
  bool both = direction == "bidirectional", sequence = c.call.flag("output_sequence");
  int64_t d = both ? 2 : 1, hidden = c.dims("weight_hh")[1], inputs = c.dims("weight_ih")[1], gates = static_cast<int64_t>(layer.order.size());
  DType t = c.dtype();
  std::vector<float> w, r, b(bias_ih);
  for (int64_t k = 0; k < d; ++k) {
    std::string suffix = k ? "_back" : "";
    auto part = reordered(c.tensor("weight_ih" + suffix), layer.order);
    w.insert(w.end(), part.begin(), part.end());
    part = reordered(c.tensor("weight_hh" + suffix), layer.order);
    r.insert(r.end(), part.begin(), part.end());
  }
  std::vector<float> bias;
  size_t width = static_cast<size_t>(gates * hidden);
  for (int64_t k = 0; k < d; ++k) {
    auto at = [&](const std::vector<float>& v) { return v.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(k) * width); };
    bias.insert(bias.end(), at(b), at(b) + static_cast<std::ptrdiff_t>(width));
    bias.insert(bias.end(), at(bias_hh), at(bias_hh) + static_cast<std::ptrdiff_t>(width));
  }
  auto constant = [&](const std::vector<float>& values, Dims dims) { return c.g.constant(convert(Tensor::from<float>(std::move(dims), values), t)); };
  auto state = [&](std::string_view param) {
    S s = c.in(param);
    return both ? c.g.transpose(c.g.reshape(s, {0, 2, hidden}), {1, 0, 2}) : c.g.unsqueeze(s, {0});
  };
  std::vector<S> in = {c.in("x"), constant(w, {d, gates * hidden, inputs}), constant(r, {d, gates * hidden, hidden}), constant(bias, {d, 2 * gates * hidden}), "", state("initial_h")};
  if (layer.cell) in.push_back(state("initial_c"));
  if (!peephole.empty()) in.push_back(constant(peephole, {d, 3 * hidden}));
  std::vector<std::string> activations;
  for (int64_t k = 0; k < d; ++k) activations.insert(activations.end(), layer.activations.begin(), layer.activations.end());
  more.emplace_back("hidden_size", hidden);
  more.emplace_back("direction", direction);
  more.emplace_back("activations", activations);
  std::vector<S> y = c.g.nodes(layer.op, in, layer.cell ? 3 : 2, std::move(more));
  auto joined = [&](const S& s) { return both ? c.g.reshape(c.g.transpose(s, {1, 0, 2}), {0, 2 * hidden}) : c.g.squeeze(s, {0}); };
  c.out(1, joined(y[1]));
  if (layer.cell) c.out(2, joined(y[2]));
  if (!sequence) return c.out(0, c.g.unsqueeze(c.exporter().value(c.op.output(1)), {0}));
  if (both) return c.out(0, c.g.reshape(c.g.transpose(y[0], {0, 2, 1, 3}), {0, 0, 2 * hidden}));
  S all = c.g.squeeze(y[0], {1});
  // In the order of computation.
  if (direction == "reverse") all = c.g.slice(all, 0, -1, std::numeric_limits<int64_t>::min(), -1);
  c.out(0, all);
}

std::vector<float> vector_of(Ctx& c, const std::string& param, const std::vector<size_t>& order, int64_t hidden) {
  if (!c.has(param)) return std::vector<float>(order.size() * static_cast<size_t>(hidden), 0.0f);
  return reordered(c.tensor(param), order);
}

// ONNX's LSTM bounds the inputs of its activations; a bounded cell state is spelled step by step.
void clipped_lstm(Ctx& c) {
  std::string direction = c.call.str("direction");
  if (direction == "bidirectional" || c.has("peephole")) unsupported("a bounded cell state with peepholes or both directions");
  std::string gate = activation(c.call.str("recurrent_activation")), cell = activation(c.call.str("cell_activation")), outer = activation(c.call.str("activation"));
  for (const std::string& a : {gate, cell, outer})
    if (a == "Affine") unsupported("a bounded cell state with linear activations");
  double bound = c.call.f64("clip");
  DType t = c.dtype();
  int64_t hidden = c.dims("weight_hh")[1];
  auto transposed = [&](std::string_view param) {
    S w = c.in(param);
    return c.g.transpose(c.dtype(param) == t ? w : c.g.cast(w, t), {1, 0});
  };
  S products = c.g.node("MatMul", {c.in("x"), transposed("weight_ih")});
  if (c.has("bias")) products = c.g.node("Add", {products, c.dtype("bias") == t ? c.in("bias") : c.g.cast(c.in("bias"), t)});
  S recurrent = transposed("weight_hh"), low = c.g.scalar(t, -bound), high = c.g.scalar(t, bound), parts = c.g.ints({hidden, hidden, hidden, hidden});
  S h0 = c.in("initial_h"), c0 = c.in("initial_c");
  c.g.push();
  S h = c.g.fresh("h"), cs = c.g.fresh("c"), x = c.g.fresh("x");
  for (const S& name : {h, cs, x}) Emit::subgraph_value(c.g.graph(), true, name, onnx_dtype(t));
  auto gates = c.g.nodes("Split", {c.g.node("Add", {x, c.g.node("MatMul", {h, recurrent})}), parts}, 4, {{"axis", -1}});
  S next = c.g.node("Add", {c.g.node("Mul", {c.g.node(gate, {gates[1]}), cs}), c.g.node("Mul", {c.g.node(gate, {gates[0]}), c.g.node(cell, {gates[3]})})});
  next = c.g.node("Clip", {next, low, high});
  S state = c.g.node("Mul", {c.g.node(gate, {gates[2]}), c.g.node(outer, {next})});
  for (const S& name : {state, next, c.g.node("Identity", {state})}) Emit::subgraph_value(c.g.graph(), false, name, onnx_dtype(t));
  c.g.graph().set_name(c.g.fresh("step"));
  auto body = c.g.pop();
  std::vector<Attr> attributes = {{"body", body}, {"num_scan_inputs", 1}};
  if (direction == "reverse") attributes.emplace_back("scan_input_directions", std::vector<int64_t>{1});
  auto y = c.g.nodes("Scan", {h0, c0, products}, 3, attributes);
  c.out(1, y[0]);
  c.out(2, y[1]);
  c.out(0, c.call.flag("output_sequence") ? y[2] : c.g.unsqueeze(c.exporter().value(c.op.output(1)), {0}));
}

// The cell grows by at most one a step when gates stay in [0, 1] and inputs in [-1, 1].
bool clip_matters(Ctx& c) {
  if (!c.has("clip") || !std::isfinite(c.call.f64("clip"))) return false;
  const Tensor* start = c.known("initial_c");
  std::string gate = activation(c.call.str("recurrent_activation")), cell = activation(c.call.str("cell_activation"));
  if (start == nullptr || c.dims("x")[0] < 0 || (gate != "Sigmoid" && gate != "HardSigmoid") || (cell != "Tanh" && cell != "Sigmoid")) return true;
  double largest = 0;
  for (double v : to_doubles(*start)) largest = std::max(largest, std::abs(v));
  return largest + static_cast<double>(c.dims("x")[0]) > c.call.f64("clip");
}

void lstm(Ctx& c) {
  if (clip_matters(c)) return clipped_lstm(c);
  Layer layer{"LSTM", {0, 2, 1, 3}, {activation(c.call.str("recurrent_activation")), activation(c.call.str("cell_activation")), activation(c.call.str("activation"))}, true};
  int64_t hidden = c.dims("weight_hh")[1];
  bool both = c.call.str("direction") == "bidirectional";
  std::vector<float> bias, zero, peephole;
  bool any = c.has("peephole") || c.has("peephole_back");
  for (int k = 0; k < (both ? 2 : 1); ++k) {
    std::string suffix = k ? "_back" : "";
    auto part = vector_of(c, "bias" + suffix, layer.order, hidden);
    bias.insert(bias.end(), part.begin(), part.end());
    if (!any) continue;
    part = vector_of(c, "peephole" + suffix, {0, 2, 1}, hidden);
    peephole.insert(peephole.end(), part.begin(), part.end());
  }
  zero.assign(bias.size(), 0.0f);
  recurrent(c, layer, bias, zero, peephole, {});
}

void gru(Ctx& c) {
  Layer layer{"GRU", {2, 0, 1}, {activation(c.call.str("recurrent_activation")), activation(c.call.str("activation"))}};
  int64_t hidden = c.dims("weight_hh")[1];
  bool after = c.call.info().param("reset_after") != nullptr && c.call.flag("reset_after");
  std::vector<float> bias = vector_of(c, "bias", layer.order, hidden), input = vector_of(c, "input_bias", layer.order, hidden);
  if (after) return recurrent(c, layer, input, bias, {}, {{"linear_before_reset", 1}});
  for (size_t i = 0; i < bias.size(); ++i) input[i] += bias[i];
  std::fill(bias.begin(), bias.end(), 0.0f);
  recurrent(c, layer, input, bias, {}, {});
}

void rnn(Ctx& c) {
  Layer layer{"RNN", {0}, {activation(c.call.str("activation"))}};
  std::vector<float> bias = vector_of(c, "bias", layer.order, c.dims("weight_hh")[1]);
  recurrent(c, layer, bias, std::vector<float>(bias.size(), 0.0f), {}, {});
}

constexpr Row kRows[] = {{"lstm", lstm}, {"gru", gru}, {"rnn", rnn}};

}  // namespace

std::span<const Row> families::recurrent() { return kRows; }

}  // namespace mlt::foreign::to_onnx
