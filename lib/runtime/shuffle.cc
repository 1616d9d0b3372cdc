// Channel shuffles: a reshape that splits the channels, a transposition that swaps both parts, and a reshape back become one
// node, which also makes the halves of them that the next ops read.
#include "lib/kernels/shuffle.h"

#include "lib/ops/infer_util.h"
#include "lib/runtime/fuse.h"

namespace mlt {
namespace {

struct Finder {
  Plan& plan;
  const std::vector<std::unique_ptr<Node>>& nodes;
  std::vector<std::vector<int>> readers;

  const Dims& dims(int id) const { return plan.values[static_cast<size_t>(id)].type.dims; }
  bool usable(const Node& n) const { return !n.dead && !n.eager && n.int8 == nullptr && n.attention == nullptr; }
  // Of the only reader of a value, when it is a node of this kind.
  Node* reader(int id, std::string_view kind) const {
    const auto& by = readers[static_cast<size_t>(id)];
    if (by.size() != 1 || plan.values[static_cast<size_t>(id)].users != 1) return nullptr;
    Node& n = *nodes[static_cast<size_t>(by[0])];
    return usable(n) && n.op->kind == kind && n.in("x") == id && n.outs.size() == 1 ? &n : nullptr;
  }
};

bool float_tensor(const Plan& plan, int id, size_t rank) {
  const PlanValue& v = plan.values[static_cast<size_t>(id)];
  return !v.is_constant && !v.dynamic && v.type.is_tensor() && v.type.is_static() && is_float(v.type.dtype) && v.type.dims.size() == rank;
}

// The first channel of a slice of nothing but channels, or nothing.
std::optional<int64_t> sliced_channel(Finder& f, Node& n) {
  if (n.op->kind != "slice_by_index" || n.outs.size() != 1 || !n.call.known("begin") || !n.call.known("end")) return std::nullopt;
  const Dims &from = f.dims(n.in("x")), &to = f.dims(n.outs[0]);
  if (to.size() != 4 || to[0] != from[0] || to[2] != from[2] || to[3] != from[3]) return std::nullopt;
  const auto list = [&](std::string_view param, int64_t rest) {
    std::vector<int64_t> v = n.call.known(param) && n.call.has(param) ? n.call.ints(param) : std::vector<int64_t>();
    v.resize(4, rest);
    return v;
  };
  const auto begin = list("begin", 0), stride = list("stride", 1), mask = list("begin_mask", 0), squeeze = list("squeeze_mask", 0);
  for (size_t i = 0; i < 4; ++i)
    if (stride[i] != 1 || squeeze[i] != 0) return std::nullopt;
  const int64_t first = mask[1] != 0 ? 0 : begin[1] < 0 ? begin[1] + from[1] : begin[1];
  return first >= 0 && first + to[1] <= from[1] ? std::optional<int64_t>(first) : std::nullopt;
}

// The ops that read a shuffled image, when all they do is to take some of its channels, with where these begin.
std::vector<std::pair<Node*, std::vector<int64_t>>> takers(Finder& f, int id, int64_t groups) {
  std::vector<std::pair<Node*, std::vector<int64_t>>> found;
  const auto& by = f.readers[static_cast<size_t>(id)];
  if (static_cast<int>(by.size()) != f.plan.values[static_cast<size_t>(id)].users) return {};
  for (int i : by) {
    Node& n = *f.nodes[static_cast<size_t>(i)];
    if (!f.usable(n) || n.in("x") != id) return {};
    std::vector<int64_t> first;
    if (const auto at = sliced_channel(f, n)) {
      first = {*at};
    } else if (n.op->kind == "split" && n.call.known("axis") && (n.call.i64("axis") == 1 || n.call.i64("axis") == -3)) {
      int64_t begin = 0;
      for (int out : n.outs) {
        first.push_back(begin);
        if (!float_tensor(f.plan, out, 4)) return {};
        begin += f.dims(out)[1];
      }
    } else {
      return {};
    }
    for (size_t o = 0; o < n.outs.size(); ++o)
      if (first[o] % groups != 0 || f.dims(n.outs[o])[1] % groups != 0 || f.dims(n.outs[o])[1] == 0) return {};
    found.emplace_back(&n, std::move(first));
  }
  return found;
}

}  // namespace

void fuse_shuffles(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes) {
  Finder f{plan, nodes, std::vector<std::vector<int>>(plan.values.size())};
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const Node::Source& s : nodes[i]->sources) f.readers[static_cast<size_t>(s.id)].push_back(static_cast<int>(i));
    if (nodes[i]->residual >= 0) f.readers[static_cast<size_t>(nodes[i]->residual)].push_back(static_cast<int>(i));
  }
  for (const auto& node : nodes) {
    Node& split = *node;
    if (!f.usable(split) || split.op->kind != "reshape" || split.outs.size() != 1) continue;
    const int x = split.in("x");
    if (x < 0 || !float_tensor(plan, x, 4) || !float_tensor(plan, split.outs[0], 5)) continue;
    const Dims d = f.dims(x), s = f.dims(split.outs[0]);
    if (s[0] != d[0] || s[1] * s[2] != d[1] || s[3] != d[2] || s[4] != d[3] || s[1] < 2 || s[2] < 2 || d[0] * d[2] * d[3] == 0) continue;
    Node* turn = f.reader(split.outs[0], "transpose");
    if (turn == nullptr || !turn->call.known("perm") || !float_tensor(plan, turn->outs[0], 5)) continue;
    const auto perm = ops::normalize_axes(turn->call.ints("perm"), 5);
    if (!perm || *perm != std::vector<int64_t>{0, 2, 1, 3, 4}) continue;
    Node* back = f.reader(turn->outs[0], "reshape");
    if (back == nullptr || !float_tensor(plan, back->outs[0], 4) || f.dims(back->outs[0]) != d) continue;
    auto plan_of = std::make_shared<ShufflePlan>();
    plan_of->groups = s[1];
    turn->sources[0] = {"x", 0, x};
    turn->sources.resize(1);
    turn->fused = {split.op, turn->op, back->op};
    turn->outs = back->outs;
    plan_of->first = {0};
    if (const auto parts = takers(f, back->outs[0], s[1]); !parts.empty()) {
      turn->outs.clear();
      plan_of->first.clear();
      for (const auto& [taker, first] : parts) {
        turn->outs.insert(turn->outs.end(), taker->outs.begin(), taker->outs.end());
        plan_of->first.insert(plan_of->first.end(), first.begin(), first.end());
        turn->fused.push_back(taker->op);
        taker->dead = true;
      }
    }
    turn->shuffle = std::move(plan_of);
    split.dead = back->dead = true;
  }
  std::erase_if(nodes, [](const auto& node) { return node->dead; });
}

std::optional<Lowered> lower_shuffle(Lowering& l) {
  const int x = l.in("x");
  const Dims& d = l.type(x).dims;
  struct Part {
    int id;
    int64_t first, count, pitch;
  };
  std::vector<Part> parts;
  for (size_t i = 0; i < l.node().outs.size(); ++i) parts.push_back({l.out(i), l.node().shuffle->first[i], l.type(l.out(i)).dims[1], l.pitch(l.out(i))});
  Lowered lowered;
  const int64_t groups = l.node().shuffle->groups, width = d[1] / groups, pixels = d[2] * d[3];
  if (l.node().channels_last) {
    lowered.kernel = "nhwc shuffle";
    lowered.run = [=, all = d[0] * pixels](RunContext& c) {
      for (const Part& part : parts) shuffle_channels_nhwc(c.f32(x), c.f32_out(part.id), all, groups, width, part.first, part.count, part.pitch);
      return Status();
    };
    return lowered;
  }
  lowered.kernel = "shuffle";
  lowered.run = [=, batch = d[0]](RunContext& c) {
    for (const Part& part : parts) shuffle_planes(c.f32(x), c.f32_out(part.id), batch, groups, width, pixels, part.first, part.count);
    return Status();
  };
  return lowered;
}

}  // namespace mlt
