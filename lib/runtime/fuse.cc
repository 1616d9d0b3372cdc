#include "lib/runtime/fuse.h"

#include <string_view>

#include "lib/base/float16.h"

namespace mlt {
namespace {

// Kernels that take an epilogue. Their lowering never refuses when these conditions hold (see the families).
bool takes_epilogue(const Plan& plan, Node& node) {
  if (node.eager || node.dead || node.int8 != nullptr) return false;
  const std::string& kind = node.op->kind;
  if (kind != "conv" && kind != "linear" && kind != "conv_transpose") return false;
  int weight = node.in("weight"), bias = node.in("bias");
  auto constant = [&](int id) { return plan.values[static_cast<size_t>(id)].is_constant; };
  return weight >= 0 && constant(weight) && (bias < 0 || constant(bias)) &&
         is_float(plan.values[static_cast<size_t>(node.outs[0])].type.dtype);
}

}  // namespace

std::optional<Activation> activation_of(Node& node) {
  std::string_view kind = node.op->kind;
  ops::Call& call = node.call;
  // MIL's defaults are "in the type of x": a float16 op has them rounded.
  bool half = call.has("x") && call.type("x").is_tensor() && call.type("x").dtype == DType::kF16;
  auto f = [&](std::string_view param) {
    auto number = static_cast<float>(call.f64(param));
    return half && !call.has(param) ? round_to_half(number) : number;
  };
  auto known = [&](std::initializer_list<std::string_view> params) {
    for (std::string_view param : params)
      if (!call.known(param)) return false;
    return true;
  };
  struct Plain {
    std::string_view kind;
    Unary op;
  };
  static constexpr Plain kPlain[] = {
      {"relu", Unary::kRelu},     {"sigmoid", Unary::kSigmoid}, {"tanh", Unary::kTanh},   {"silu", Unary::kSilu},
      {"softplus", Unary::kSoftplus}, {"softsign", Unary::kSoftsign}, {"abs", Unary::kAbs}, {"exp", Unary::kExp},
      {"exp2", Unary::kExp2},     {"sqrt", Unary::kSqrt},       {"square", Unary::kSquare}, {"sin", Unary::kSin},
      {"cos", Unary::kCos},       {"tan", Unary::kTan},         {"asin", Unary::kAsin},   {"acos", Unary::kAcos},
      {"atan", Unary::kAtan},     {"sinh", Unary::kSinh},       {"cosh", Unary::kCosh},   {"asinh", Unary::kAsinh},
      {"acosh", Unary::kAcosh},   {"atanh", Unary::kAtanh},     {"erf", Unary::kErf},     {"ceil", Unary::kCeil},
      {"floor", Unary::kFloor},   {"round", Unary::kRound},     {"sign", Unary::kSign},
  };
  for (const Plain& plain : kPlain)
    if (plain.kind == kind) return Activation{plain.op, 0, 0};
  if (kind == "relu6") return Activation{Unary::kClip, 0, 6};
  if (kind == "clip" && known({"alpha", "beta"})) return Activation{Unary::kClip, f("alpha"), f("beta")};
  if (kind == "threshold" && known({"alpha"})) return Activation{Unary::kThreshold, f("alpha"), 0};
  if (kind == "thresholded_relu" && known({"alpha"})) return Activation{Unary::kThresholdedRelu, f("alpha"), 0};
  if (kind == "leaky_relu" && known({"alpha"})) return Activation{Unary::kLeakyRelu, f("alpha"), 0};
  if (kind == "clamped_relu" && known({"alpha", "beta"})) return Activation{Unary::kClampedRelu, f("alpha"), f("beta")};
  if (kind == "linear_activation" && known({"alpha", "beta"})) return Activation{Unary::kLinear, f("alpha"), f("beta")};
  if (kind == "sigmoid_hard" && known({"alpha", "beta"})) return Activation{Unary::kHardSigmoid, f("alpha"), f("beta")};
  if (kind == "elu" && known({"alpha"})) return Activation{Unary::kElu, f("alpha"), 0};
  if (kind == "scaled_tanh" && known({"alpha", "beta"})) return Activation{Unary::kScaledTanh, f("alpha"), f("beta")};
  if (kind == "rsqrt" && known({"epsilon"})) return Activation{Unary::kRsqrt, f("epsilon"), 0};
  if (kind == "inverse" && known({"epsilon"})) return Activation{Unary::kInverse, f("epsilon"), 0};
  if (kind == "log" && known({"epsilon"})) return Activation{Unary::kLog, f("epsilon"), 0};
  if (kind == "gelu" && known({"mode"})) {
    std::string mode = call.str("mode");
    if (mode == "EXACT") return Activation{Unary::kGelu, 0, 0};
    if (mode == "TANH_APPROXIMATION") return Activation{Unary::kGeluTanh, 0, 0};
    if (mode == "SIGMOID_APPROXIMATION") return Activation{Unary::kGeluSigmoid, 0, 0};
  }
  return std::nullopt;
}

void fuse_epilogues(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes) {
  // Who reads each value; only values with one reader matter.
  std::vector<int> reader(plan.values.size(), -1);
  for (size_t i = 0; i < nodes.size(); ++i)
    for (const Node::Source& s : nodes[i]->sources) reader[static_cast<size_t>(s.id)] = static_cast<int>(i);

  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i]->dead || !takes_epilogue(plan, *nodes[i])) continue;
    size_t at = i;  // where the growing group stands; it moves down when it takes in a residual
    for (;;) {
      Node& node = *nodes[at];
      int out = node.outs[0];
      if (node.act || plan.values[static_cast<size_t>(out)].users != 1) break;
      int next = reader[static_cast<size_t>(out)];
      if (next < 0 || nodes[static_cast<size_t>(next)]->dead || nodes[static_cast<size_t>(next)]->eager) break;
      Node& after = *nodes[static_cast<size_t>(next)];
      if (after.int8 != nullptr) break;
      if (auto act = activation_of(after); act && after.in("x") == out) {
        node.act = act;
        node.outs = after.outs;
        node.fused.push_back(after.op);
        after.dead = true;
        break;
      }
      if (after.op->kind == "add" && node.residual < 0 && node.op->kind != "conv_transpose") {
        int x = after.in("x"), y = after.in("y");
        int other = x == out ? y : x;
        const PlanValue& r = plan.values[static_cast<size_t>(other)];
        if (other == out || r.is_constant || r.dynamic || r.type.dims != plan.values[static_cast<size_t>(out)].type.dims ||
            plan.values[static_cast<size_t>(after.outs[0])].type.dims != r.type.dims)
          break;
        // The other operand may be computed after this node: the group runs in the addition's place.
        node.residual = other;
        node.outs = after.outs;
        node.fused.push_back(after.op);
        after.dead = true;
        std::swap(nodes[at], nodes[static_cast<size_t>(next)]);
        at = static_cast<size_t>(next);
        continue;
      }
      break;
    }
  }
  std::erase_if(nodes, [](const auto& node) { return node->dead; });
}

}  // namespace mlt
