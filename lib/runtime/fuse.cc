#include "lib/runtime/fuse.h"

#include <algorithm>
#include <string_view>

#include "lib/base/float16.h"

namespace mlt {
namespace {

// Kernels that take an epilogue: a bias, a residual and an activation. Their lowering refuses for want of memory alone when these
// conditions hold (see the families).
bool takes_epilogue(const Plan& plan, Node& node) {
  if (node.eager || node.dead || node.int8 != nullptr || node.attention != nullptr) return false;
  const std::string& kind = node.op->kind;
  const bool matmul = kind == "matmul";
  if (kind != "conv" && kind != "linear" && kind != "conv_transpose" && !matmul) return false;
  const int weight = node.in(matmul ? "y" : "weight"), bias = node.in("bias"), x = node.in("x");
  auto at = [&](int id) -> const PlanValue& { return plan.values[static_cast<size_t>(id)]; };
  if (x < 0 || weight < 0 || !at(weight).is_constant || (bias >= 0 && !at(bias).is_constant) || !is_float(at(node.outs[0]).type.dtype)) return false;
  const Dims &xd = at(x).type.dims, &wd = at(weight).type.dims;
  for (const Dims* dims : {&xd, &wd})
    if (std::find(dims->begin(), dims->end(), 0) != dims->end()) return false;
  if (!matmul) return true;
  if (!node.call.known("transpose_x") || node.call.flag("transpose_x") || !node.call.known("transpose_y")) return false;
  return !at(x).is_constant && is_float(at(x).type.dtype) && is_float(at(weight).type.dtype) && wd.size() == 2 && xd.size() >= 2;
}

// The constant that a product's columns have added, where this is a bias that it has not yet.
bool is_bias(const Plan& plan, const Node& product, int id, int sum) {
  if (product.op->kind != "linear" && product.op->kind != "matmul") return false;
  const PlanValue &v = plan.values[static_cast<size_t>(id)], &out = plan.values[static_cast<size_t>(product.outs[0])];
  if (product.in("bias") >= 0 || product.residual >= 0 || !v.is_constant || !v.type.is_tensor() || !v.type.is_static() || !is_float(v.type.dtype)) return false;
  const Dims &d = v.type.dims, &od = out.type.dims;
  return !d.empty() && d.back() == od.back() && *element_count(d) == od.back() && plan.values[static_cast<size_t>(sum)].type.dims == od;
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

std::span<const BinaryKind> binary_kinds() {
  static constexpr BinaryKind kRows[] = {
      {"add", Binary::kAdd}, {"sub", Binary::kSub}, {"mul", Binary::kMul},     {"real_div", Binary::kDiv}, {"floor_div", Binary::kFloorDiv},
      {"mod", Binary::kMod}, {"pow", Binary::kPow}, {"maximum", Binary::kMax}, {"minimum", Binary::kMin},
  };
  return kRows;
}

std::optional<Binary> binary_of(std::string_view kind) {
  for (const BinaryKind& row : binary_kinds())
    if (row.kind == kind) return row.op;
  return std::nullopt;
}

namespace {

// The nodes that read a value, the last of them first; those of values with more than two readers do not matter.
struct Readers {
  int last = -1, other = -1;
};

// x * gate(x), which has no op of its own: the multiplication of an image with a function of it, found from the two nodes
// that read x.
struct Gated {
  Node *first, *second, *product;
  Activation f;
};
std::optional<Gated> gated(const Plan& plan, const std::vector<std::unique_ptr<Node>>& nodes, const std::vector<Readers>& readers, int x) {
  const auto node = [&](int i) { return i < 0 || nodes[static_cast<size_t>(i)]->dead || nodes[static_cast<size_t>(i)]->eager ? nullptr : nodes[static_cast<size_t>(i)].get(); };
  const auto single = [&](const Node& n) { return n.outs.size() == 1 && plan.values[static_cast<size_t>(n.outs[0])].users == 1; };
  const Readers& by = readers[static_cast<size_t>(x)];
  Node *a = node(by.last), *b = node(by.other);
  if (a == nullptr || b == nullptr || a == b) return std::nullopt;
  if (a->op->kind != "mul") std::swap(a, b);
  // x * gate(x), or threshold(x) * gate(x) where the gate is closed below the threshold, as coremltools writes hard swish.
  Node* threshold = nullptr;
  Node* gate = b;
  if (a->op->kind != "mul") {
    if (a->op->kind != "thresholded_relu") std::swap(a, b);
    threshold = a, gate = b;
    if (threshold->op->kind != "thresholded_relu" || threshold->in("x") != x || !single(*threshold)) return std::nullopt;
    a = node(readers[static_cast<size_t>(threshold->outs[0])].last);
    if (a == nullptr) return std::nullopt;
  }
  auto f = activation_of(*gate);
  if (!f || gate->in("x") != x || !single(*gate) || a->op->kind != "mul" || a->int8 != nullptr) return std::nullopt;
  const int value = threshold != nullptr ? threshold->outs[0] : x;
  if (!(a->in("x") == value && a->in("y") == gate->outs[0]) && !(a->in("y") == value && a->in("x") == gate->outs[0])) return std::nullopt;
  if (f->op == Unary::kHardSigmoid && f->a > 0) {
    const auto closed = threshold != nullptr ? activation_of(*threshold) : std::nullopt;
    if (threshold != nullptr && (!closed || closed->a > -f->b / f->a + 1e-5f)) return std::nullopt;
    f->op = Unary::kHardSwish;
  } else if (f->op == Unary::kSigmoid && threshold == nullptr) {
    f->op = Unary::kSilu;
  } else {
    return std::nullopt;
  }
  return Gated{threshold != nullptr ? threshold : gate, threshold != nullptr ? gate : nullptr, a, *f};
}

// Of a chain of nodes from `at` on that only move elements, each read by the next alone, the last one, where an activation reads
// that alone.
Node* last_move(const Plan& plan, const std::vector<std::unique_ptr<Node>>& nodes, const std::vector<Readers>& readers, int at) {
  Node* last = nullptr;
  for (;;) {
    Node& node = *nodes[static_cast<size_t>(at)];
    const std::string& kind = node.op->kind;
    if (node.dead || node.eager || node.int8 != nullptr) return nullptr;
    if (kind != "reshape" && kind != "transpose" && kind != "expand_dims" && kind != "squeeze")
      return last != nullptr && node.in("x") == last->outs[0] && activation_of(node) ? last : nullptr;
    const int out = node.outs[0];
    if (plan.values[static_cast<size_t>(out)].users != 1 || readers[static_cast<size_t>(out)].last < 0) return nullptr;
    last = &node;
    at = readers[static_cast<size_t>(out)].last;
  }
}

}  // namespace

void fuse_epilogues(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes) {
  std::vector<Readers> readers(plan.values.size());
  for (size_t i = 0; i < nodes.size(); ++i)
    for (const Node::Source& s : nodes[i]->sources) {
      Readers& by = readers[static_cast<size_t>(s.id)];
      by.other = by.last;
      by.last = static_cast<int>(i);
    }

  for (size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i]->dead || !takes_epilogue(plan, *nodes[i])) continue;
    size_t at = i;  // where the growing group stands; it moves down when it takes in a residual
    for (;;) {
      Node& node = *nodes[at];
      int out = node.outs[0];
      if (node.act) break;
      if (plan.values[static_cast<size_t>(out)].users == 2) {
        if (auto g = gated(plan, nodes, readers, out)) {
          node.act = g->f;
          node.outs = g->product->outs;
          for (Node* n : {g->first, g->second, g->product}) {
            if (n == nullptr) continue;
            node.fused.push_back(n->op);
            n->dead = true;
          }
        }
        break;
      }
      if (plan.values[static_cast<size_t>(out)].users != 1) break;
      int next = readers[static_cast<size_t>(out)].last;
      if (next < 0 || nodes[static_cast<size_t>(next)]->dead || nodes[static_cast<size_t>(next)]->eager) break;
      Node& after = *nodes[static_cast<size_t>(next)];
      if (after.int8 != nullptr) break;
      if (Node* move = last_move(plan, nodes, readers, next)) {
        // Whatever order the elements come in, the function is the same.
        Node& f = *nodes[static_cast<size_t>(readers[static_cast<size_t>(move->outs[0])].last)];
        node.act = activation_of(f);
        node.fused.push_back(f.op);
        move->outs = f.outs;
        f.dead = true;
        break;
      }
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
        if (is_bias(plan, node, other, after.outs[0])) {
          node.sources.push_back({"bias", 0, other});
          node.outs = after.outs;
          node.fused.push_back(after.op);
          after.dead = true;
          continue;
        }
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
