// lstm, gru and rnn with packed weights; two that do not wait for each other run side by side.
#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <memory>

#include "lib/base/threads.h"
#include "lib/kernels/recurrent.h"
#include "lib/runtime/plan.h"
#include "lib/runtime/recurrent_plan.h"

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
  Tensor ih, hh, bias, peephole, input_bias;
};
Weights weights_of(Lowering& l, const std::string& suffix) {
  const auto value = [&](std::string name) { return l.in(name) >= 0 ? l.constant(l.in(name)) : Tensor(); };
  return {value("weight_ih" + suffix), value("weight_hh" + suffix), value("bias" + suffix), value("peephole" + suffix), value("input_bias" + suffix)};
}
const float* floats(const Tensor& tensor) { return tensor.valid() ? tensor.data<float>() : nullptr; }

// Where the rows of a layer's steps go.
struct Rows {
  float* first;
  int64_t step;
  // A layer that walks backwards alone has its outputs in the order of computation.
  Rows(float* y, int64_t steps, int64_t width, bool backwards) : first(y), step(width) {
    if (y == nullptr || !backwards) return;
    first += (steps - 1) * step;
    step = -step;
  }
};

// Copies one direction's part of a [batch, directions * hidden] state.
void gather_state(const float* from, float* to, int64_t batch, int64_t hidden, int64_t width, int64_t offset) {
  for (int64_t b = 0; b < batch; ++b) std::memcpy(to + b * hidden, from + b * width + offset, static_cast<size_t>(hidden) * sizeof(float));
}
void scatter_state(const float* from, float* to, int64_t batch, int64_t hidden, int64_t width, int64_t offset) {
  for (int64_t b = 0; b < batch; ++b) std::memcpy(to + b * width + offset, from + b * hidden, static_cast<size_t>(hidden) * sizeof(float));
}

std::optional<Lowered> lower_lstm(Lowering& l) {
  const int x = l.in("x"), h0 = l.in("initial_h"), c0 = l.in("initial_c");
  const Dims& xd = l.dims(x);
  const std::string direction = l.call.str("direction");
  const int directions = direction == "bidirectional" ? 2 : 1;
  const bool reverse = direction == "reverse", sequence = l.call.flag("output_sequence");
  auto gate = named_activation(l.call.str("recurrent_activation")), cell = named_activation(l.call.str("cell_activation")),
       outer = named_activation(l.call.str("activation"));
  const float clip = l.call.has("clip") ? static_cast<float>(l.call.f64("clip")) : 0;
  const int64_t steps = xd[0], batch = xd[1], inputs = xd[2];
  auto plans = std::make_shared<std::vector<LstmPlan>>();
  int64_t hidden = 0;
  size_t packed = 0;
  for (int d = 0; d < directions; ++d) {
    const Weights w = weights_of(l, d == 0 ? "" : "_back");
    hidden = w.hh.dims()[1];
    // MIL's blocks: input, forget, output, cell (source: coremltools' lstm definition).
    auto plan = LstmPlan::create({inputs, hidden}, floats(w.ih), floats(w.hh), floats(w.bias), floats(w.peephole), {0, 1, 2, 3}, *gate, *cell, *outer, clip);
    if (!plan) return l.refuse(plan.error().message);
    packed += static_cast<size_t>(w.ih.nbytes() + w.hh.nbytes());
    plans->push_back(std::move(*plan));
  }
  l.keep_constant(h0);
  l.keep_constant(c0);
  l.keep_constant(x);
  const int64_t width = directions * hidden;
  const size_t state_bytes = align_up(static_cast<size_t>(batch * hidden) * sizeof(float));
  const size_t each = align_up(2 * state_bytes + plans->front().scratch_bytes(steps, batch));
  const int y = l.out(0), h = l.out(1), c = l.out(2);
  Lowered lowered;
  lowered.kernel = "lstm packed";
  lowered.packed = packed;
  lowered.scratch = static_cast<size_t>(directions) * each;
  lowered.run = [=](RunContext& ctx) {
    // Directions do not wait for each other.
    parallel_for(directions, 1, [&](int64_t begin, int64_t end) {
      for (int64_t d = begin; d < end; ++d) {
        std::byte* scratch = ctx.scratch + static_cast<size_t>(d) * each;
        auto* hs = reinterpret_cast<float*>(scratch);
        auto* cs = reinterpret_cast<float*>(scratch + state_bytes);
        const int64_t offset = d * hidden;
        gather_state(ctx.f32(h0), hs, batch, hidden, width, offset);
        gather_state(ctx.f32(c0), cs, batch, hidden, width, offset);
        const Rows rows(sequence ? ctx.f32_out(y) + offset : nullptr, steps, batch * width, reverse);
        (*plans)[static_cast<size_t>(d)].run(steps, batch, ctx.f32(x), hs, cs, rows.first, rows.step, width, d == 1 || reverse, scratch + 2 * state_bytes);
        scatter_state(hs, ctx.f32_out(h), batch, hidden, width, offset);
        scatter_state(cs, ctx.f32_out(c), batch, hidden, width, offset);
        if (!sequence) scatter_state(hs, ctx.f32_out(y), batch, hidden, width, offset);
      }
    });
    return Status();
  };
  return lowered;
}

// Layers whose state is one vector and that have one direction.
template <typename RecurrentPlan>
Lowered lower_one_state(Lowering& l, std::string kernel, std::shared_ptr<const RecurrentPlan> plan, int64_t hidden) {
  const int x = l.in("x"), h0 = l.in("initial_h"), y = l.out(0), h = l.out(1);
  const int64_t steps = l.dims(x)[0], batch = l.dims(x)[1];
  const bool sequence = l.call.flag("output_sequence"), reverse = l.call.str("direction") == "reverse";
  l.keep_constant(h0);
  l.keep_constant(x);
  Lowered lowered;
  lowered.kernel = std::move(kernel);
  lowered.scratch = plan->scratch_bytes(steps, batch);
  lowered.run = [=](RunContext& ctx) {
    float* state = ctx.f32_out(h);
    const size_t bytes = static_cast<size_t>(batch * hidden) * sizeof(float);
    if (state != ctx.f32(h0)) std::memcpy(state, ctx.f32(h0), bytes);
    const Rows rows(sequence ? ctx.f32_out(y) : nullptr, steps, batch * hidden, reverse);
    plan->run(steps, batch, ctx.f32(x), state, rows.first, rows.step, hidden, reverse, ctx.scratch);
    if (!sequence) std::memcpy(ctx.f32_out(y), state, bytes);
    return Status();
  };
  return lowered;
}

std::optional<Lowered> lower_gru(Lowering& l) {
  const Weights w = weights_of(l, "");
  const bool reset_after = l.call.info().param("reset_after") != nullptr && l.call.flag("reset_after");
  const int64_t hidden = w.hh.dims()[1];
  // MIL's blocks: reset, output, update; the kernel asks for update, reset, output.
  auto plan = GruPlan::create({l.dims(l.in("x"))[2], hidden}, floats(w.ih), floats(w.hh), floats(w.input_bias), floats(w.bias), {2, 0, 1}, reset_after,
                              *named_activation(l.call.str("recurrent_activation")), *named_activation(l.call.str("activation")));
  if (!plan) return l.refuse(plan.error().message);
  Lowered lowered = lower_one_state<GruPlan>(l, "gru packed", std::make_shared<GruPlan>(std::move(*plan)), hidden);
  lowered.packed = static_cast<size_t>(w.ih.nbytes() + w.hh.nbytes());
  return lowered;
}

std::optional<Lowered> lower_rnn(Lowering& l) {
  const Weights w = weights_of(l, "");
  const int64_t hidden = w.hh.dims()[1];
  auto plan = RnnPlan::create({l.dims(l.in("x"))[2], hidden}, floats(w.ih), floats(w.hh), floats(w.bias), *named_activation(l.call.str("activation")));
  if (!plan) return l.refuse(plan.error().message);
  Lowered lowered = lower_one_state<RnnPlan>(l, "rnn packed", std::make_shared<RnnPlan>(std::move(*plan)), hidden);
  lowered.packed = static_cast<size_t>(w.ih.nbytes() + w.hh.nbytes());
  return lowered;
}

std::optional<Lowered> lower_alone(Lowering& l) {
  if (!takes_recurrent(l)) return std::nullopt;
  const std::string& kind = l.node().op->kind;
  return kind == "lstm" ? lower_lstm(l) : kind == "gru" ? lower_gru(l) : lower_rnn(l);
}

std::optional<Lowered> lower_recurrent(Lowering& l) {
  auto lowered = lower_alone(l);
  if (!lowered || l.node().twin == nullptr) return lowered;
  Lowering other(l.plan(), *l.node().twin);
  auto beside = lower_alone(other);
  if (!beside) return l.refuse(other.refusal);
  const size_t offset = align_up(lowered->scratch);
  lowered->kernel += ", two side by side";
  lowered->packed += beside->packed;
  lowered->scratch = offset + beside->scratch;
  lowered->run = [offset, runs = std::array{std::move(lowered->run), std::move(beside->run)}](RunContext& ctx) {
    std::array<Status, 2> done;
    parallel_for(2, 1, [&](int64_t begin, int64_t end) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        RunContext own{ctx.regs, ctx.scratch + i * offset, ctx.state, ctx.findings};
        done[i] = runs[i](own);
      }
    });
    return done[0].ok() ? done[1] : done[0];
  };
  return lowered;
}

constexpr LowerRow kRows[] = {
    {"lstm", "lstm packed", lower_recurrent},
    {"gru", "gru packed", lower_recurrent},
    {"rnn", "rnn packed", lower_recurrent},
};

}  // namespace

bool takes_recurrent(Lowering& l) {
  const auto no = [&](const char* why) {
    l.refusal = why;
    return false;
  };
  const int x = l.in("x");
  if (!l.is_float(x)) return no("not float");
  const Dims& xd = l.dims(x);
  if (!l.type(x).is_static() || xd.size() != 3 || xd[0] == 0 || xd[1] == 0 || xd[2] == 0) return no("empty");
  for (std::string_view param : {"activation", "recurrent_activation", "cell_activation"})
    if (l.call.info().param(param) != nullptr && (!l.call.known(param) || !named_activation(l.call.str(param)))) return no("activation");
  const std::string direction = l.call.str("direction");
  if (direction != "forward" && direction != "reverse" && (direction != "bidirectional" || l.node().op->kind != "lstm")) return no("direction");
  if (l.call.info().param("clip") != nullptr && l.call.has("clip") && l.call.f64("clip") <= 0) return no("clip");
  for (std::string suffix : {"", "_back"})
    for (std::string_view param : {"weight_ih", "weight_hh", "bias", "peephole", "input_bias"}) {
      const std::string name = std::string(param).append(suffix);
      const bool needed = param.starts_with("weight") && (suffix.empty() || direction == "bidirectional");
      if (l.call.info().param(name) == nullptr ? needed : l.in(name) < 0 ? needed : !l.is_constant(l.in(name))) return no("weights are not constant");
    }
  return true;
}

namespace {

// The later of two takes the other in, where nothing between them reads what that one makes.
void join(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes, size_t first) {
  Node& node = *nodes[first];
  const auto joinable = [&](Node& n) {
    if (n.dead || n.eager || n.twin != nullptr || (n.op->kind != "lstm" && n.op->kind != "gru" && n.op->kind != "rnn")) return false;
    Lowering l(plan, n);
    return takes_recurrent(l);
  };
  if (!joinable(node)) return;
  const auto dims = [&](const Node& n) { return plan.values[static_cast<size_t>(n.in("x"))].type.dims; };
  for (size_t i = first + 1; i < nodes.size(); ++i) {
    Node& later = *nodes[i];
    if (later.dead) continue;
    for (const Node::Source& s : later.sources)
      if (std::find(node.outs.begin(), node.outs.end(), s.id) != node.outs.end()) return;
    if (later.residual >= 0 && std::find(node.outs.begin(), node.outs.end(), later.residual) != node.outs.end()) return;
    // Blocks and what is looked up by name may read anything.
    if (later.eager) return;
    if (later.op->kind != node.op->kind || !joinable(later) || dims(later)[0] != dims(node)[0] || dims(later)[1] != dims(node)[1]) continue;
    for (const Node::Source& s : node.sources) later.sources.push_back({"beside", later.sources.size(), s.id});
    later.outs.insert(later.outs.end(), node.outs.begin(), node.outs.end());
    later.fused.insert(later.fused.begin(), node.fused.begin(), node.fused.end());
    later.twin = std::move(nodes[first]);
    nodes[first] = std::make_unique<Node>(later.twin->op, later.twin->call);
    nodes[first]->dead = true;
    return;
  }
}

StepInfo part_of(const Plan& plan, const Node& node, size_t outs) {
  StepInfo part;
  part.op = node.op;
  part.kind = node.op->kind;
  part.fused = {part.kind};
  for (const Node::Source& s : node.sources)
    if (s.param != "beside") part.input_types.push_back(plan.values[static_cast<size_t>(s.id)].type);
  for (size_t i = 0; i < outs; ++i) part.output_types.push_back(plan.values[static_cast<size_t>(node.outs[i])].type);
  return part;
}

}  // namespace

void fuse_recurrent(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes) {
  for (size_t i = 0; i < nodes.size(); ++i) join(plan, nodes, i);
  std::erase_if(nodes, [](const auto& node) { return node->dead; });
}

std::vector<StepInfo> recurrent_parts(const Plan& plan, const Node& node) {
  const size_t theirs = node.twin->outs.size();
  return {part_of(plan, *node.twin, theirs), part_of(plan, node, node.outs.size() - theirs)};
}

std::span<const LowerRow> recurrent_lowerings() { return kRows; }

}  // namespace mlt
