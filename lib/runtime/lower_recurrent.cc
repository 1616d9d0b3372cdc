// lstm and gru with packed weights.
#include <algorithm>
#include <cctype>
#include <cstring>
#include <limits>
#include <memory>

#include "lib/kernels/recurrent.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

// The recurrent ops name activations without parameters; these are MIL's.
std::optional<Activation> named_activation(std::string name) {
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (name == "tanh" || name == "scaled_tanh") return Activation{Unary::kTanh, 0, 0};
  if (name == "sigmoid") return Activation{Unary::kSigmoid, 0, 0};
  if (name == "hard_sigmoid" || name == "sigmoid_hard") return Activation{Unary::kHardSigmoid, 0.2f, 0.5f};
  if (name == "relu") return Activation{Unary::kRelu, 0, 0};
  if (name == "linear") return Activation{Unary::kIdentity, 0, 0};
  return std::nullopt;
}

struct Weights {
  Tensor ih, hh, bias, peephole;
};
std::optional<Weights> weights_of(Lowering& l, const std::string& suffix) {
  Weights w;
  auto take = [&](const std::string& name, Tensor* tensor, bool required) {
    int id = l.in(name + suffix);
    if (id < 0) return !required;
    if (!l.is_constant(id)) return false;
    *tensor = l.constant(id);
    return true;
  };
  if (!take("weight_ih", &w.ih, true) || !take("weight_hh", &w.hh, true) || !take("bias", &w.bias, false)) return std::nullopt;
  if (l.call.info().param("peephole" + suffix) != nullptr && !take("peephole", &w.peephole, false)) return std::nullopt;
  return w;
}

// Copies one direction's part of a [batch, directions * hidden] state.
void gather_state(const float* from, float* to, int64_t batch, int64_t hidden, int64_t width, int64_t offset) {
  for (int64_t b = 0; b < batch; ++b) std::memcpy(to + b * hidden, from + b * width + offset, static_cast<size_t>(hidden) * sizeof(float));
}
void scatter_state(const float* from, float* to, int64_t batch, int64_t hidden, int64_t width, int64_t offset) {
  for (int64_t b = 0; b < batch; ++b) std::memcpy(to + b * width + offset, from + b * hidden, static_cast<size_t>(hidden) * sizeof(float));
}

std::optional<Lowered> lower_lstm(Lowering& l) {
  int x = l.in("x"), h0 = l.in("initial_h"), c0 = l.in("initial_c");
  if (!l.is_float(x)) return l.refuse("not float");
  const Dims& xd = l.dims(x);
  std::string direction = l.call.str("direction");
  int directions = direction == "bidirectional" ? 2 : 1;
  bool reverse = direction == "reverse", sequence = l.call.flag("output_sequence");
  auto gate = named_activation(l.call.str("recurrent_activation")), cell = named_activation(l.call.str("cell_activation")),
       outer = named_activation(l.call.str("activation"));
  if (!gate || !cell || !outer) return l.refuse("activation");
  float clip = l.call.has("clip") ? static_cast<float>(l.call.f64("clip")) : 0;
  if (l.call.has("clip") && clip <= 0) return l.refuse("clip");
  int64_t steps = xd[0], batch = xd[1], inputs = xd[2];
  if (steps == 0 || batch == 0 || inputs == 0) return l.refuse("empty");
  auto plans = std::make_shared<std::vector<LstmPlan>>();
  int64_t hidden = 0;
  size_t packed = 0;
  for (int d = 0; d < directions; ++d) {
    auto w = weights_of(l, d == 0 ? "" : "_back");
    if (!w) return l.refuse("weights are not constant");
    hidden = w->hh.dims()[1];
    // MIL's blocks: input, forget, output, cell (source: coremltools' lstm definition).
    auto plan = LstmPlan::create({inputs, hidden}, w->ih.data<float>(), w->hh.data<float>(), w->bias.valid() ? w->bias.data<float>() : nullptr,
                                 w->peephole.valid() ? w->peephole.data<float>() : nullptr, {0, 1, 2, 3}, *gate, *cell, *outer, clip);
    if (!plan) return l.refuse(plan.error().message);
    packed += static_cast<size_t>(w->ih.nbytes() + w->hh.nbytes());
    plans->push_back(std::move(*plan));
  }
  l.keep_constant(h0);
  l.keep_constant(c0);
  l.keep_constant(x);
  int64_t width = directions * hidden;
  size_t state_bytes = align_up(static_cast<size_t>(batch * hidden) * sizeof(float));
  int y = l.out(0), h = l.out(1), c = l.out(2);
  Lowered lowered;
  lowered.kernel = "lstm packed";
  lowered.packed = packed;
  lowered.scratch = 2 * state_bytes + plans->front().scratch_bytes(steps, batch);
  lowered.run = [=](RunContext& ctx) {
    auto* hs = reinterpret_cast<float*>(ctx.scratch);
    auto* cs = reinterpret_cast<float*>(ctx.scratch + state_bytes);
    for (int d = 0; d < directions; ++d) {
      bool backward = d == 1 || reverse;
      int64_t offset = d * hidden;
      gather_state(ctx.f32(h0), hs, batch, hidden, width, offset);
      gather_state(ctx.f32(c0), cs, batch, hidden, width, offset);
      float* rows = sequence ? ctx.f32_out(y) + offset : nullptr;
      int64_t step = batch * width;
      // A reverse lstm's outputs are in the order of computation, a bidirectional one's in the order of the inputs.
      if (sequence && reverse) {
        rows += (steps - 1) * step;
        step = -step;
      }
      (*plans)[static_cast<size_t>(d)].run(steps, batch, ctx.f32(x), hs, cs, rows, step, width, backward, ctx.scratch + 2 * state_bytes);
      scatter_state(hs, ctx.f32_out(h), batch, hidden, width, offset);
      scatter_state(cs, ctx.f32_out(c), batch, hidden, width, offset);
      if (!sequence) scatter_state(hs, ctx.f32_out(y), batch, hidden, width, offset);
    }
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_gru(Lowering& l) {
  int x = l.in("x"), h0 = l.in("initial_h");
  if (!l.is_float(x)) return l.refuse("not float");
  if (l.call.str("direction") != "forward") return l.refuse("direction");
  const Dims& xd = l.dims(x);
  int64_t steps = xd[0], batch = xd[1], inputs = xd[2];
  if (steps == 0 || batch == 0 || inputs == 0) return l.refuse("empty");
  auto gate = named_activation(l.call.str("recurrent_activation")), act = named_activation(l.call.str("activation"));
  if (!gate || !act) return l.refuse("activation");
  auto w = weights_of(l, "");
  if (!w) return l.refuse("weights are not constant");
  bool reset_after = l.call.info().param("reset_after") != nullptr && l.call.flag("reset_after");
  Tensor input_bias;
  if (int id = l.in("input_bias"); id >= 0) {
    if (!l.is_constant(id)) return l.refuse("weights are not constant");
    input_bias = l.constant(id);
  }
  int64_t hidden = w->hh.dims()[1];
  // MIL's blocks: reset, output, update; the kernel asks for update, reset, output.
  auto plan = GruPlan::create({inputs, hidden}, w->ih.data<float>(), w->hh.data<float>(), input_bias.valid() ? input_bias.data<float>() : nullptr,
                              w->bias.valid() ? w->bias.data<float>() : nullptr, {2, 0, 1}, reset_after, *gate, *act);
  if (!plan) return l.refuse(plan.error().message);
  auto shared = std::make_shared<GruPlan>(std::move(*plan));
  bool sequence = l.call.flag("output_sequence");
  l.keep_constant(h0);
  l.keep_constant(x);
  int y = l.out(0), h = l.out(1);
  Lowered lowered;
  lowered.kernel = "gru packed";
  lowered.packed = static_cast<size_t>(w->ih.nbytes() + w->hh.nbytes());
  lowered.scratch = shared->scratch_bytes(steps, batch);
  lowered.run = [=](RunContext& ctx) {
    float* state = ctx.f32_out(h);
    size_t bytes = static_cast<size_t>(batch * hidden) * sizeof(float);
    if (state != ctx.f32(h0)) std::memcpy(state, ctx.f32(h0), bytes);
    shared->run(steps, batch, ctx.f32(x), state, sequence ? ctx.f32_out(y) : nullptr, batch * hidden, hidden, false, ctx.scratch);
    if (!sequence) std::memcpy(ctx.f32_out(y), state, bytes);
    return Status();
  };
  return lowered;
}

constexpr LowerRow kRows[] = {
    {"lstm", "lstm packed", lower_lstm},
    {"gru", "gru packed", lower_gru},
};

}  // namespace

std::span<const LowerRow> recurrent_lowerings() { return kRows; }

}  // namespace mlt
