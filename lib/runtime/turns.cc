// Tokens become images and images tokens: [N, H * W, C], or [N, H, W, C], is what an image's bytes are with channels innermost.
// Reshapes and transposes between the two become one node, which is a view where the image lies so.
#include <array>

#include "lib/kernels/transpose.h"
#include "lib/runtime/attention_plan.h"
#include "lib/runtime/fuse.h"
#include "lib/runtime/layout.h"

namespace mlt {
namespace {

const PlanValue& value(const Plan& plan, int id) { return plan.values[static_cast<size_t>(id)]; }

bool dense_floats(const Plan& plan, int id) {
  const PlanValue& v = value(plan, id);
  return !v.is_constant && !v.dynamic && !v.codes && v.type.is_tensor() && v.type.is_static() && is_float(v.type.dtype);
}

// Whether a view steps through memory as these strides say.
bool steps_so(const StridedView& view, const Dims& strides) {
  for (size_t i = 0; i < view.dims.size(); ++i)
    if (view.dims[i] != 1 && view.strides[i] != strides[i]) return false;
  return true;
}

Node::Turn turn_of(const Plan& plan, const StridedView& view, int id) {
  if (view.id == id || view.offset != 0 || !dense_floats(plan, view.id) || !dense_floats(plan, id)) return Node::Turn::kNone;
  const Dims &from = value(plan, view.id).type.dims, &to = value(plan, id).type.dims;
  if (*element_count(from) != *element_count(to)) return Node::Turn::kNone;
  if (is_image(plan, id)) {
    const int64_t c = to[1], w = to[3];
    if (steps_so(view, {to[2] * w * c, 1, w * c, c})) return Node::Turn::kToImage;
  }
  if (is_image(plan, view.id)) {
    const int64_t c = from[1], h = from[2], w = from[3];
    StridedView pixels{view.id, {from[0], h, w, c}, {c * h * w, w, 1, h * w}, 0};
    if (reshape_view(pixels, to) && steps_so(view, pixels.strides)) return Node::Turn::kFromImage;
  }
  return Node::Turn::kNone;
}

std::optional<Lowered> lower_turn(Lowering& l) {
  const bool to_image = l.node().turn == Node::Turn::kToImage;
  const int x = l.in("x"), out = l.out();
  Lowered lowered;
  if (l.node().channels_last) {
    lowered.kernel = "view";
    lowered.in_place = {x};
    lowered.is_view = true;
    return lowered;
  }
  const Dims& d = l.type(to_image ? out : x).dims;
  const int64_t pixels = d[2] * d[3];
  const std::array<int64_t, 3> shape = to_image ? std::array<int64_t, 3>{d[0], pixels, d[1]} : std::array<int64_t, 3>{d[0], d[1], pixels};
  lowered.kernel = "simd";
  lowered.reads_anywhere = lowered.writes_anywhere = true;
  lowered.run = [x, out, shape](RunContext& c) {
    constexpr std::array<int64_t, 3> kPermutation{0, 2, 1};
    transpose(c.tensor(x).bytes().data(), c.out(out).mutable_bytes(), shape, kPermutation, sizeof(float));
    return Status();
  };
  return lowered;
}

constexpr LowerRow kRows[] = {{"transpose", "turn", lower_turn}};

}  // namespace

void fuse_turns(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes) {
  std::vector<Node*> producer(plan.values.size());
  for (const auto& node : nodes)
    for (int id : node->outs) producer[static_cast<size_t>(id)] = node.get();
  for (const auto& node : nodes) {
    const std::string& kind = node->op->kind;
    if ((kind != "transpose" && kind != "reshape") || node->outs.size() != 1 || node->int8 != nullptr) continue;
    const StridedView view = view_of(plan, producer, node->outs[0]);
    const Node::Turn turn = turn_of(plan, view, node->outs[0]);
    if (turn == Node::Turn::kNone) continue;
    // Nobody else reads what lies between.
    std::vector<Node*> between;
    bool alone = true;
    for (int id = node->in("x"); id != view.id && alone; id = between.back()->in("x")) {
      between.push_back(producer[static_cast<size_t>(id)]);
      alone = value(plan, id).users == 1 && between.back()->int8 == nullptr;
    }
    if (!alone) continue;
    for (Node* n : between) {
      node->fused.insert(node->fused.begin(), n->op);
      n->dead = true;
    }
    node->turn = turn;
    node->sources = {{"x", 0, view.id}};
  }
  std::erase_if(nodes, [](const auto& node) { return node->dead; });
}

std::span<const LowerRow> turn_lowerings() { return kRows; }

}  // namespace mlt
