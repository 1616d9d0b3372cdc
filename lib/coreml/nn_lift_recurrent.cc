// Recurrent layers. The usual activations become the ops rnn, gru and lstm; others are unrolled step by step, with the
// layer's own clipping of gate inputs to [-50, 50], which bounded activations do not feel.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "lib/coreml/nn_lifter.h"

namespace mlt::coreml {
namespace {

constexpr int64_t kMaxUnrolled = 4096;

// Recurrent layers know three parametric activations with fixed parameters; converters leave their fields empty. coremltools'
// tests (test_recurrent.py) have the numbers.
spec::ActivationParams completed(const spec::ActivationParams& p) {
  using A = spec::ActivationParams;
  A out = p;
  if (p.NonlinearityType_case() == A::kLinear && p.linear().alpha() == 0 && p.linear().beta() == 0) out.mutable_linear()->set_alpha(1);
  if (p.NonlinearityType_case() == A::kSigmoidHard && p.sigmoidhard().alpha() == 0 && p.sigmoidhard().beta() == 0) {
    out.mutable_sigmoidhard()->set_alpha(0.2f);
    out.mutable_sigmoidhard()->set_beta(0.5f);
  }
  if (p.NonlinearityType_case() == A::kScaledTanh && p.scaledtanh().alpha() == 0 && p.scaledtanh().beta() == 0) {
    out.mutable_scaledtanh()->set_alpha(1);
    out.mutable_scaledtanh()->set_beta(1);
  }
  return out;
}

// Name in rnn, gru and lstm of an activation for which clipping the input to [-50, 50] changes nothing.
const char* bounded_name(const spec::ActivationParams& given) {
  using A = spec::ActivationParams;
  A p = completed(given);
  if (p.NonlinearityType_case() == A::kSigmoid) return "sigmoid";
  if (p.NonlinearityType_case() == A::kTanh) return "tanh";
  if (p.NonlinearityType_case() == A::kSigmoidHard && p.sigmoidhard().alpha() == 0.2f && p.sigmoidhard().beta() == 0.5f) return "sigmoid_hard";
  return nullptr;
}

// Matrices or vectors below each other.
Tensor stacked(const std::vector<Tensor>& parts) {
  Dims dims = parts[0].dims();
  dims[0] = 0;
  for (const Tensor& part : parts) dims[0] += part.dims()[0];
  Tensor out = Tensor::uninitialized(DType::kF32, dims);
  float* to = out.mutable_data<float>();
  for (const Tensor& part : parts) to = std::copy_n(part.data<float>(), part.size(), to);
  return out;
}

Result<std::vector<Tensor>> tensors(std::initializer_list<const spec::WeightParams*> list, const Dims& dims) {
  std::vector<Tensor> out;
  for (const auto* params : list) {
    MLT_ASSIGN(Tensor tensor, weight_tensor(*params, dims));
    out.push_back(std::move(tensor));
  }
  return out;
}

}  // namespace

// The layer's optional input `index` as [batch, hidden]; zeros when it is absent.
Result<Lifter::V> Lifter::state(int index, int64_t batch, int64_t hidden) {
  if (!has_in(index)) return b_.constant(Tensor::zeros(DType::kF32, {batch, hidden}));
  MLT_ASSIGN(Blob x, in(index));
  MLT_ASSIGN(Dims dims, fixed(x));
  MLT_ASSIGN(int64_t count, element_count(dims));
  if (count != batch * hidden) return bad("the initial state " + dims_text(dims) + " does not hold " + std::to_string(batch) + "x" + std::to_string(hidden) + " values");
  return view(x.value, {batch, hidden});
}

Result<Lifter::V> Lifter::activate_clipped(const spec::ActivationParams& p, V x) {
  if (x != nullptr && bounded_name(p) == nullptr) x = op("clip", {{"x", x}, {"alpha", b_.f32(-50)}, {"beta", b_.f32(50)}});
  if (x == nullptr) return failed().error();
  return activate(completed(p), {x, x->type.dims});
}

// Input as [steps, batch, inputs] and what every recurrent layer checks.
struct Lifter::Cell {
  V x = nullptr;
  int64_t steps = 0, batch = 0, inputs = 0, hidden = 0;
  V step(Lifter& lift, int64_t t) const {
    V row = lift.op("slice_by_index", {{"x", x}, {"begin", lift.b_.ints({t, 0, 0})}, {"end", lift.b_.ints({t + 1, batch, inputs})}});
    return lift.view(row, {batch, inputs});
  }
  static Result<Cell> of(Lifter& lift, uint64_t inputs, uint64_t hidden) {
    MLT_ASSIGN(Blob blob, lift.in());
    MLT_ASSIGN(Dims dims, lift.fixed(blob));
    if (dims.size() != 5 || dims[2] * dims[3] * dims[4] != static_cast<int64_t>(inputs))
      return lift.bad("needs an input of shape [sequence, batch, " + std::to_string(inputs) + ", 1, 1], got " + dims_text(dims));
    if (hidden < 1 || hidden > (1u << 24)) return lift.bad("bad outputVectorSize");
    Cell cell;
    cell.steps = dims[0], cell.batch = dims[1], cell.inputs = static_cast<int64_t>(inputs), cell.hidden = static_cast<int64_t>(hidden);
    cell.x = lift.view(blob.value, {cell.steps, cell.batch, cell.inputs});
    if (cell.x == nullptr) return lift.failed().error();
    return cell;
  }
};

Status Lifter::simple_recurrent(const spec::SimpleRecurrentLayerParams& p) {
  MLT_TRY(need(1, 2, 1, 2));
  MLT_ASSIGN(Cell c, Cell::of(*this, p.inputvectorsize(), p.outputvectorsize()));
  MLT_ASSIGN(V h, state(1, c.batch, c.hidden));
  MLT_ASSIGN(V w, weight(p.weightmatrix(), {c.hidden, c.inputs}, "weight"));
  MLT_ASSIGN(V r, weight(p.recursionmatrix(), {c.hidden, c.hidden}, "recursion"));
  V bias = nullptr;
  if (p.hasbiasvector()) {
    MLT_ASSIGN(bias, weight(p.biasvector(), {c.hidden}, "bias"));
  }
  int64_t shown = p.sequenceoutput() ? c.steps : 1;
  V y = nullptr;
  if (const char* name = bounded_name(p.activation())) {
    auto results = ops_of("rnn", {{"x", c.x}, {"initial_h", h}, {"weight_ih", w}, {"weight_hh", r}, {"bias", bias}, {"direction", b_.string(p.reverseinput() ? "reverse" : "forward")},
                                  {"output_sequence", b_.boolean(p.sequenceoutput())}, {"activation", b_.string(name)}});
    if (results.size() < 2) return failed();
    y = results[0], h = results[1];
  } else {
    if (c.steps > kMaxUnrolled) return unsupported_error("a sequence of " + std::to_string(c.steps) + " steps with this activation");
    std::vector<V> all;
    for (int64_t i = 0; i < c.steps; ++i) {
      V sum = op("linear", {{"x", c.step(*this, p.reverseinput() ? c.steps - 1 - i : i)}, {"weight", w}, {"bias", bias}});
      sum = op("add", {{"x", sum}, {"y", op("linear", {{"x", h}, {"weight", r}})}});
      MLT_ASSIGN(h, activate_clipped(p.activation(), sum));
      all.push_back(h);
    }
    y = p.sequenceoutput() ? op("concat", {{"values", all}, {"axis", b_.i32(0)}, {"interleave", b_.boolean(false)}}) : h;
  }
  MLT_TRY(out(y, {shown, c.batch, c.hidden, 1, 1}));
  return out(h, {1, c.batch, c.hidden, 1, 1}, 1);
}

Status Lifter::gru(const spec::GRULayerParams& p) {
  MLT_TRY(need(1, 2, 1, 2));
  MLT_ASSIGN(Cell c, Cell::of(*this, p.inputvectorsize(), p.outputvectorsize()));
  if (p.activations_size() != 2) return bad("needs 2 activations, has " + std::to_string(p.activations_size()));
  MLT_ASSIGN(V h, state(1, c.batch, c.hidden));
  // Gates in the order of the op gru: reset, output, update.
  MLT_ASSIGN(auto w, tensors({&p.resetgateweightmatrix(), &p.outputgateweightmatrix(), &p.updategateweightmatrix()}, {c.hidden, c.inputs}));
  MLT_ASSIGN(auto r, tensors({&p.resetgaterecursionmatrix(), &p.outputgaterecursionmatrix(), &p.updategaterecursionmatrix()}, {c.hidden, c.hidden}));
  std::vector<Tensor> biases(3, Tensor::zeros(DType::kF32, {c.hidden}));
  if (p.hasbiasvectors()) {
    MLT_ASSIGN(biases, tensors({&p.resetgatebiasvector(), &p.outputgatebiasvector(), &p.updategatebiasvector()}, {c.hidden}));
  }
  const char *gate = bounded_name(p.activations(0)), *outer = bounded_name(p.activations(1));
  V y = nullptr;
  if (gate != nullptr && outer != nullptr) {
    auto results = ops_of("gru", {{"x", c.x}, {"initial_h", h}, {"weight_ih", weights(stacked(w), "weight")}, {"weight_hh", weights(stacked(r), "recursion")},
                                  {"bias", weights(stacked(biases), "bias")}, {"direction", b_.string(p.reverseinput() ? "reverse" : "forward")},
                                  {"output_sequence", b_.boolean(p.sequenceoutput())}, {"recurrent_activation", b_.string(gate)}, {"activation", b_.string(outer)}});
    if (results.size() < 2) return failed();
    y = results[0], h = results[1];
  } else {
    if (c.steps > kMaxUnrolled) return unsupported_error("a sequence of " + std::to_string(c.steps) + " steps with these activations");
    std::array<V, 3> wi{}, ri{}, bi{};
    for (size_t g = 0; g < 3; ++g) wi[g] = weights(w[g], "weight"), ri[g] = weights(r[g], "recursion"), bi[g] = weights(biases[g], "bias");
    std::vector<V> all;
    for (int64_t i = 0; i < c.steps; ++i) {
      V x = c.step(*this, p.reverseinput() ? c.steps - 1 - i : i);
      auto sum = [&](size_t g, V from) {
        return op("add", {{"x", op("linear", {{"x", x}, {"weight", wi[g]}, {"bias", bi[g]}})}, {"y", op("linear", {{"x", from}, {"weight", ri[g]}})}});
      };
      MLT_ASSIGN(V reset, activate_clipped(p.activations(0), sum(0, h)));
      MLT_ASSIGN(V update, activate_clipped(p.activations(0), sum(2, h)));
      MLT_ASSIGN(V fresh, activate_clipped(p.activations(1), sum(1, op("mul", {{"x", h}, {"y", reset}}))));
      // (1 - z) o + z h = o + z (h - o)
      h = op("add", {{"x", fresh}, {"y", op("mul", {{"x", update}, {"y", op("sub", {{"x", h}, {"y", fresh}})}})}});
      all.push_back(h);
    }
    y = p.sequenceoutput() ? op("concat", {{"values", all}, {"axis", b_.i32(0)}, {"interleave", b_.boolean(false)}}) : h;
  }
  MLT_TRY(out(y, {p.sequenceoutput() ? c.steps : 1, c.batch, c.hidden, 1, 1}));
  return out(h, {1, c.batch, c.hidden, 1, 1}, 1);
}

namespace {

// One direction's weights, gates in the order of the op lstm: input, forget, output, block input.
struct LstmWeights {
  std::vector<Tensor> w, r, bias, peephole;  // peepholes: input, forget, output; empty without
};

Result<LstmWeights> lstm_weights(const spec::LSTMParams& params, const spec::LSTMWeightParams& p, int64_t inputs, int64_t hidden) {
  LstmWeights out;
  bool coupled = params.coupledinputandforgetgate();
  // A coupled layer has no forget gate; its weights may be absent.
  auto gates = [&](const spec::WeightParams& i, const spec::WeightParams& f, const spec::WeightParams& o, const spec::WeightParams& z, const Dims& dims) {
    return tensors({&i, coupled ? &i : &f, &o, &z}, dims);
  };
  MLT_ASSIGN(out.w, gates(p.inputgateweightmatrix(), p.forgetgateweightmatrix(), p.outputgateweightmatrix(), p.blockinputweightmatrix(), {hidden, inputs}));
  MLT_ASSIGN(out.r, gates(p.inputgaterecursionmatrix(), p.forgetgaterecursionmatrix(), p.outputgaterecursionmatrix(), p.blockinputrecursionmatrix(), {hidden, hidden}));
  out.bias.assign(4, Tensor());
  for (Tensor& t : out.bias) t = Tensor::zeros(DType::kF32, {hidden});
  if (params.hasbiasvectors()) {
    MLT_ASSIGN(out.bias, gates(p.inputgatebiasvector(), p.forgetgatebiasvector(), p.outputgatebiasvector(), p.blockinputbiasvector(), {hidden}));
  }
  if (params.forgetbias())
    for (int64_t i = 0; i < hidden; ++i) out.bias[1].mutable_data<float>()[i] += 1.0f;
  if (params.haspeepholevectors()) {
    MLT_ASSIGN(out.peephole, tensors({&p.inputgatepeepholevector(), coupled ? &p.inputgatepeepholevector() : &p.forgetgatepeepholevector(), &p.outputgatepeepholevector()}, {hidden}));
  }
  return out;
}

}  // namespace

Status Lifter::lstm(const spec::UniDirectionalLSTMLayerParams& p) {
  MLT_TRY(need(1, 3, 1, 3));
  MLT_ASSIGN(Cell c, Cell::of(*this, p.inputvectorsize(), p.outputvectorsize()));
  if (p.activations_size() != 3) return bad("needs 3 activations, has " + std::to_string(p.activations_size()));
  MLT_ASSIGN(V h, state(1, c.batch, c.hidden));
  MLT_ASSIGN(V cell, state(2, c.batch, c.hidden));
  MLT_ASSIGN(LstmWeights w, lstm_weights(p.params(), p.weightparams(), c.inputs, c.hidden));
  bool sequence = p.params().sequenceoutput(), coupled = p.params().coupledinputandforgetgate();
  float clip = p.params().cellclipthreshold() == 0 ? 50.0f : p.params().cellclipthreshold();
  const char *f = bounded_name(p.activations(0)), *g = bounded_name(p.activations(1)), *o = bounded_name(p.activations(2));
  V y = nullptr;
  // The activation h() of the cell is not clipped before, so any name the op knows would do; only these are used.
  if (f != nullptr && g != nullptr && o != nullptr && !coupled) {
    auto results = ops_of("lstm", {{"x", c.x}, {"initial_h", h}, {"initial_c", cell}, {"weight_ih", weights(stacked(w.w), "weight")}, {"weight_hh", weights(stacked(w.r), "recursion")},
                                   {"bias", weights(stacked(w.bias), "bias")}, {"peephole", w.peephole.empty() ? nullptr : weights(stacked(w.peephole), "peephole")},
                                   {"direction", b_.string(p.reverseinput() ? "reverse" : "forward")}, {"output_sequence", b_.boolean(sequence)},
                                   {"recurrent_activation", b_.string(f)}, {"cell_activation", b_.string(g)}, {"activation", b_.string(o)}, {"clip", b_.f32(clip)}});
    if (results.size() < 3) return failed();
    y = results[0], h = results[1], cell = results[2];
  } else {
    if (c.steps > kMaxUnrolled) return unsupported_error("a sequence of " + std::to_string(c.steps) + " steps with these parameters");
    std::array<V, 4> wi{}, ri{}, bi{};
    for (size_t k = 0; k < 4; ++k) wi[k] = weights(w.w[k], "weight"), ri[k] = weights(w.r[k], "recursion"), bi[k] = weights(w.bias[k], "bias");
    std::array<V, 3> peep{};
    for (size_t k = 0; k < w.peephole.size(); ++k) peep[k] = weights(w.peephole[k], "peephole");
    std::vector<V> all;
    for (int64_t i = 0; i < c.steps; ++i) {
      V x = c.step(*this, p.reverseinput() ? c.steps - 1 - i : i);
      auto sum = [&](size_t k) {
        return op("add", {{"x", op("linear", {{"x", x}, {"weight", wi[k]}, {"bias", bi[k]}})}, {"y", op("linear", {{"x", h}, {"weight", ri[k]}})}});
      };
      auto peeped = [&](size_t k) {
        V s = sum(k);
        return peep[k] == nullptr ? s : op("add", {{"x", s}, {"y", op("mul", {{"x", cell}, {"y", peep[k]}})}});
      };
      MLT_ASSIGN(V in_gate, activate_clipped(p.activations(0), peeped(0)));
      V forget = op("linear_activation", {{"x", in_gate}, {"alpha", b_.f32(-1)}, {"beta", b_.f32(1)}});
      if (!coupled) {
        MLT_ASSIGN(forget, activate_clipped(p.activations(0), peeped(1)));
      }
      MLT_ASSIGN(V block, activate_clipped(p.activations(1), sum(3)));
      cell = op("add", {{"x", op("mul", {{"x", cell}, {"y", forget}})}, {"y", op("mul", {{"x", in_gate}, {"y", block}})}});
      cell = op("clip", {{"x", cell}, {"alpha", b_.f32(-clip)}, {"beta", b_.f32(clip)}});
      MLT_ASSIGN(V out_gate, activate_clipped(p.activations(0), peeped(2)));
      if (cell == nullptr) return failed();
      MLT_ASSIGN(V shown, activate(completed(p.activations(2)), {cell, cell->type.dims}));
      h = op("mul", {{"x", shown}, {"y", out_gate}});
      all.push_back(h);
    }
    y = sequence ? op("concat", {{"values", all}, {"axis", b_.i32(0)}, {"interleave", b_.boolean(false)}}) : h;
  }
  MLT_TRY(out(y, {sequence ? c.steps : 1, c.batch, c.hidden, 1, 1}));
  MLT_TRY(out(h, {1, c.batch, c.hidden, 1, 1}, 1));
  return out(cell, {1, c.batch, c.hidden, 1, 1}, 2);
}

Status Lifter::bi_lstm(const spec::BiDirectionalLSTMLayerParams& p) {
  MLT_TRY(need(1, 5, 1, 5));
  MLT_ASSIGN(Cell c, Cell::of(*this, p.inputvectorsize(), p.outputvectorsize()));
  if (p.weightparams_size() != 2) return bad("needs weights of 2 directions, has " + std::to_string(p.weightparams_size()));
  if (p.activationsforwardlstm_size() != 3) return bad("needs 3 activations, has " + std::to_string(p.activationsforwardlstm_size()));
  std::array<const char*, 3> names{};
  for (int k = 0; k < 3; ++k) {
    names[static_cast<size_t>(k)] = bounded_name(p.activationsforwardlstm(k));
    if (names[static_cast<size_t>(k)] == nullptr || p.params().coupledinputandforgetgate())
      return unsupported_error("a bidirectional LSTM with activations other than sigmoid, tanh and hard sigmoid, or with coupled gates");
    if (p.activationsbackwardlstm_size() > k && p.activationsbackwardlstm(k).SerializeAsString() != p.activationsforwardlstm(k).SerializeAsString())
      return unsupported_error("a bidirectional LSTM whose directions have different activations");
  }
  std::array<V, 4> states{};
  for (int i = 0; i < 4; ++i) {
    MLT_ASSIGN(states[static_cast<size_t>(i)], state(i + 1, c.batch, c.hidden));
  }
  auto joined = [&](V a, V b) { return op("concat", {{"values", std::vector<V>{a, b}}, {"axis", b_.i32(1)}, {"interleave", b_.boolean(false)}}); };
  MLT_ASSIGN(LstmWeights fw, lstm_weights(p.params(), p.weightparams(0), c.inputs, c.hidden));
  MLT_ASSIGN(LstmWeights bw, lstm_weights(p.params(), p.weightparams(1), c.inputs, c.hidden));
  bool sequence = p.params().sequenceoutput(), peep = !fw.peephole.empty();
  float clip = p.params().cellclipthreshold() == 0 ? 50.0f : p.params().cellclipthreshold();
  auto results = ops_of("lstm", {{"x", c.x}, {"initial_h", joined(states[0], states[2])}, {"initial_c", joined(states[1], states[3])},
                                 {"weight_ih", weights(stacked(fw.w), "weight")}, {"weight_hh", weights(stacked(fw.r), "recursion")}, {"bias", weights(stacked(fw.bias), "bias")},
                                 {"peephole", peep ? weights(stacked(fw.peephole), "peephole") : nullptr},
                                 {"weight_ih_back", weights(stacked(bw.w), "weight_back")}, {"weight_hh_back", weights(stacked(bw.r), "recursion_back")},
                                 {"bias_back", weights(stacked(bw.bias), "bias_back")}, {"peephole_back", peep ? weights(stacked(bw.peephole), "peephole_back") : nullptr},
                                 {"direction", b_.string("bidirectional")}, {"output_sequence", b_.boolean(sequence)}, {"recurrent_activation", b_.string(names[0])},
                                 {"cell_activation", b_.string(names[1])}, {"activation", b_.string(names[2])}, {"clip", b_.f32(clip)}});
  if (results.size() < 3) return failed();
  MLT_TRY(out(results[0], {sequence ? c.steps : 1, c.batch, 2 * c.hidden, 1, 1}));
  for (int i = 0; i < 4; ++i) {
    int64_t from = i < 2 ? 0 : c.hidden;
    V half = op("slice_by_index", {{"x", results[i % 2 == 0 ? 1 : 2]}, {"begin", b_.ints({0, from})}, {"end", b_.ints({c.batch, from + c.hidden})}});
    MLT_TRY(out(half, {1, c.batch, c.hidden, 1, 1}, i + 1));
  }
  return {};
}

}  // namespace mlt::coreml
