#include "lib/runtime/layout.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

#include "lib/kernels/nhwc.h"
#include "lib/kernels/transpose.h"
#include "lib/ops/infer_util.h"
#include "lib/runtime/fuse.h"
#include "lib/runtime/int8_plan.h"
#include "lib/runtime/lower_resampling.h"

namespace mlt {
namespace {

// Up to here a convolution is faster with the pixels, rather than its outputs, along the vectors.
constexpr int64_t kFewOutputs = 8;

int64_t floats(const Plan& plan, int id) {
  int64_t n = 1;
  for (int64_t d : plan.values[static_cast<size_t>(id)].type.dims) n *= d;
  return n;
}

bool float_image(const Plan& plan, int id) {
  if (id < 0) return false;
  const PlanValue& v = plan.values[static_cast<size_t>(id)];
  return !v.is_constant && !v.dynamic && v.type.is_tensor() && v.type.is_static() && is_float(v.type.dtype) && v.type.dims.size() == 4;
}

// What a node saves with channels innermost, in passes over its images counted in floats; nothing when it cannot work so.
std::optional<double> saving(Plan& plan, Node& node) {
  const std::string& kind = node.op->kind;
  if (node.eager || node.dead || node.attention != nullptr || node.outs.empty() || (node.outs.size() != 1 && kind != "split" && node.shuffle == nullptr)) return std::nullopt;
  const int out = node.outs[0], x = node.in("x");
  const auto size = [&](int id) { return static_cast<double>(floats(plan, id)); };
  const Dims& od = plan.values[static_cast<size_t>(out)].type.dims;
  if (node.int8 != nullptr) {
    // Codes are in this order anyway; floats are turned on their way to or from them.
    const int image = node.int8->kind == Int8Plan::Kind::kQuantize ? x : out;
    return float_image(plan, image) ? std::optional<double>(size(image)) : std::nullopt;
  }
  // A pass over what it would have to turn.
  if (node.turn != Node::Turn::kNone) return 2 * size(x);
  if (kind == "reduce_mean") {
    if (!float_image(plan, x) || !node.call.known("axes") || !node.call.has("axes")) return std::nullopt;
    auto axes = ops::normalize_axes(node.call.ints("axes"), 4);
    if (!axes) return std::nullopt;
    std::sort(axes->begin(), axes->end());
    if (*axes != std::vector<int64_t>{2, 3} || floats(plan, x) == 0) return std::nullopt;
    return 0;
  }
  if (!float_image(plan, out) || floats(plan, out) == 0) return std::nullopt;
  if (node.shuffle != nullptr) {
    for (int id : node.outs)
      if (node.shuffle->first.size() != node.outs.size() || !float_image(plan, id)) return std::nullopt;
    return float_image(plan, x) ? std::optional<double>(0) : std::nullopt;
  }
  if (kind == "conv") {
    Lowering l(plan, node);
    if (!float_image(plan, x)) return std::nullopt;
    auto shape = conv_shape(l);
    if (!shape || !ConvNhwcPlan::takes(*shape)) return std::nullopt;
    if (node.residual >= 0 && !float_image(plan, node.residual)) return std::nullopt;
    if (shape->groups == shape->in_channels) return 0.25 * size(x);
    if (shape->groups == 1 && shape->out_channels <= kFewOutputs && shape->kernel[0] * shape->kernel[1] > 1) return std::nullopt;
    return size(x) * (shape->kernel[0] * shape->kernel[1] > 1 ? 2.0 : 1.25) + 0.5 * size(out);
  }
  if (kind == "max_pool" || kind == "avg_pool") {
    if (!float_image(plan, x) || !node.call.known("kernel_sizes")) return std::nullopt;
    auto kernel = node.call.ints("kernel_sizes");
    const Dims& xd = plan.values[static_cast<size_t>(x)].type.dims;
    const bool whole = kind == "avg_pool" && kernel == std::vector<int64_t>{xd[2], xd[3]} && od[2] * od[3] == 1;
    if (kernel.size() != 2 || (kernel[0] > 16 && !whole)) return std::nullopt;
    const bool ceil = node.call.info().param("ceil_mode") != nullptr && node.call.has("ceil_mode") && node.call.known("ceil_mode") && node.call.flag("ceil_mode");
    if (ceil && kind == "avg_pool") return std::nullopt;
    return 0.5 * size(x);
  }
  if (kind == "concat") {
    if (!node.call.known("axis") || node.call.flag("interleave")) return std::nullopt;
    auto axis = ops::normalize_axis(node.call.i64("axis"), 4);
    if (!axis || *axis != 1) return std::nullopt;
    for (const Node::Source& s : node.sources)
      if (s.param == "values" && !float_image(plan, s.id)) return std::nullopt;
    return 0;
  }
  if (kind == "pad") return float_image(plan, x) && node.call.known("pad") ? std::optional<double>(0) : std::nullopt;
  if (kind == "split") {
    if (!float_image(plan, x) || !node.call.known("axis")) return std::nullopt;
    auto axis = ops::normalize_axis(node.call.i64("axis"), 4);
    if (!axis || *axis != 1) return std::nullopt;
    for (int id : node.outs)
      if (!float_image(plan, id)) return std::nullopt;
    return 0;
  }
  if (kind == "batch_norm") {
    if (!float_image(plan, x)) return std::nullopt;
    Lowering l(plan, node);
    return folded_batch_norm(l, od[1]) ? std::optional<double>(0) : std::nullopt;
  }
  if (kind.starts_with("upsample_") || kind.starts_with("resize")) {
    Lowering l(plan, node);
    return float_image(plan, x) && resampling(l) ? std::optional<double>(0.25 * size(out)) : std::nullopt;
  }
  if (binary_of(kind)) {
    bool image = false;
    for (int id : {x, node.in("y")}) {
      const PlanValue& v = plan.values[static_cast<size_t>(id)];
      if (!v.type.is_tensor() || v.dynamic || !v.type.is_static() || !is_float(v.type.dtype)) return std::nullopt;
      const bool whole = float_image(plan, id) && v.type.dims == od;
      // The rest is the same bytes in both orders: a number, or one for each channel.
      if (!whole && (v.type.dims.size() > 4 || !is_orderless(v.type.dims))) return std::nullopt;
      image = image || whole;
    }
    return image ? std::optional<double>(0) : std::nullopt;
  }
  if (kind == "cast" && float_image(plan, x)) return 0;  // between floats: a view
  if (float_image(plan, x) && activation_of(node)) return 0;
  return std::nullopt;
}

}  // namespace

Dims channels_last_dims(const Dims& dims) {
  if (dims.size() > 4) return dims;
  Dims d(4 - dims.size(), 1);
  d.insert(d.end(), dims.begin(), dims.end());
  return {d[0], d[2], d[3], d[1]};
}

bool is_orderless(const Dims& dims) {
  const size_t n = dims.size();
  if (n < 3) return true;  // no channels: they count as one
  return dims[n - 3] == 1 || dims[n - 2] * dims[n - 1] == 1;
}

bool is_image(const Plan& plan, int id) { return float_image(plan, id) && !is_orderless(plan.values[static_cast<size_t>(id)].type.dims); }

bool reads_planar(Plan& plan, Node& node) {
  if (node.op->kind != "conv" || node.int8 != nullptr) return false;
  const int x = node.in("x");
  if (!is_image(plan, x) || plan.values[static_cast<size_t>(x)].channels_last) return false;
  Lowering l(plan, node);
  const auto shape = conv_shape(l);
  return shape && ConvNhwcPlan::takes_planar(*shape);
}

namespace {

// Convolutions that a concatenation reads write into it, and so do those that are split before, when all other readers can do
// with parts of wider pixels.
class Joiner {
 public:
  Joiner(Plan& plan, const std::vector<std::unique_ptr<Node>>& nodes, const std::vector<int>& maker) : plan_(plan), nodes_(nodes), maker_(maker), readers_(plan.values.size()) {
    for (const auto& node : nodes) {
      if (node->dead) continue;
      for (const Node::Source& s : node->sources) readers_[static_cast<size_t>(s.id)].push_back(node.get());
      if (node->residual >= 0) readers_[static_cast<size_t>(node->residual)].push_back(node.get());
    }
  }

  void join(Node& concat) {
    const int out = concat.outs[0];
    std::vector<int> parts;
    for (const Node::Source& s : concat.sources)
      if (s.param == "values") parts.push_back(s.id);
    int64_t at = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      const int id = parts[i];
      Node* source = maker_of(id);
      if (movable(id, out) && made_anywhere(source) && read_anywhere(id, concat)) {
        put(id, out, at);
      } else if (source != nullptr && source->channels_last && source->int8 == nullptr && source->op->kind == "split" && source->outs[0] == id) {
        // All parts of it, in their order.
        const int whole = source->in("x");
        bool all = made_anywhere(maker_of(whole)) && movable(whole, out) && readers_[static_cast<size_t>(whole)].size() == 1 && value(whole).users == 1;
        for (size_t p = 0; p < source->outs.size() && all; ++p)
          all = i + p < parts.size() && parts[i + p] == source->outs[p] && movable(source->outs[p], out) && read_anywhere(source->outs[p], concat);
        if (all) {
          put(whole, out, at);
          int64_t begin = at;
          for (int part : source->outs) {
            put(part, out, begin);
            begin += value(part).type.dims[1];
          }
        }
      }
      at += value(id).type.dims[1];
    }
  }

 private:
  PlanValue& value(int id) const { return plan_.values[static_cast<size_t>(id)]; }
  Node* maker_of(int id) const {
    const int from = maker_[static_cast<size_t>(id)];
    return from >= 0 ? nodes_[static_cast<size_t>(from)].get() : nullptr;
  }
  bool movable(int id, int out) const {
    const PlanValue& v = value(id);
    return v.alias_of < 0 && !is_orderless(v.type.dims) && v.type.dims[1] < value(out).type.dims[1];
  }
  bool made_anywhere(const Node* n) const {
    return n != nullptr && n->channels_last && n->int8 == nullptr && (n->op->kind == "conv" || n->shuffle != nullptr || whole_images(*n) || resamples(*n));
  }
  static bool resamples(const Node& n) { return n.op->kind.starts_with("upsample_") || n.op->kind.starts_with("resize"); }
  // Two images of the same extents, and one of them.
  bool whole_images(const Node& n) const {
    if (!binary_of(n.op->kind)) return false;
    const auto same = [&](int id) { return is_image(plan_, id) && value(id).type.dims == value(n.outs[0]).type.dims; };
    return same(n.in("x")) && same(n.in("y"));
  }
  // By this concatenation, once, and else by convolutions, operations on two images and resampling only.
  bool read_anywhere(int id, const Node& concat) const {
    const auto& by = readers_[static_cast<size_t>(id)];
    if (static_cast<int>(by.size()) != value(id).users || std::count(by.begin(), by.end(), &concat) != 1) return false;
    return std::all_of(by.begin(), by.end(), [&](Node* n) {
      if (n == &concat) return true;
      if (!n->channels_last || n->int8 != nullptr) return false;
      if (whole_images(*n) || resamples(*n)) return true;
      if (n->op->kind != "conv") return false;
      Lowering l(plan_, *n);
      const auto shape = conv_shape(l);
      return shape && ConvNhwcPlan::takes_pitch(*shape);
    });
  }
  void put(int id, int out, int64_t channel) const {
    PlanValue& v = value(id);
    v.alias_of = out;
    v.alias_offset = channel * static_cast<int64_t>(sizeof(float));
    v.pitch = value(out).type.dims[1];
  }

  Plan& plan_;
  const std::vector<std::unique_ptr<Node>>& nodes_;
  const std::vector<int>& maker_;
  std::vector<std::vector<Node*>> readers_;
};

}  // namespace

void choose_layouts(Plan& plan, const std::vector<std::unique_ptr<Node>>& nodes) {
  const size_t n = nodes.size();
  std::vector<std::optional<double>> savings(n);
  std::vector<int> maker(plan.values.size(), -1);
  std::vector<size_t> region(n);
  std::iota(region.begin(), region.end(), size_t{0});
  const auto find = [&](size_t i) {
    while (region[i] != i) i = region[i] = region[region[i]];
    return i;
  };
  const auto read_by = [&](const Node& node, const auto& visit) {
    for (const Node::Source& s : node.sources) visit(s.id);
    if (node.residual >= 0) visit(node.residual);
  };
  // Ops that look values up by name, in blocks of their own or in states, want them as they are declared.
  std::vector<bool> fixed(plan.values.size(), false);
  for (const auto& node : nodes)
    if (node->eager || node->op->kind.ends_with("_state")) read_by(*node, [&](int id) { fixed[static_cast<size_t>(id)] = true; });
  for (size_t i = 0; i < n; ++i) {
    if (nodes[i]->dead) continue;
    savings[i] = saving(plan, *nodes[i]);
    // Views follow what they see.
    if (nodes[i]->op->kind == "cast") {
      const int from = nodes[i]->in("x") >= 0 ? maker[static_cast<size_t>(nodes[i]->in("x"))] : -1;
      if (from < 0 || !savings[static_cast<size_t>(from)] || nodes[static_cast<size_t>(from)]->turn == Node::Turn::kFromImage) savings[i].reset();
    }
    for (int id : nodes[i]->outs) {
      maker[static_cast<size_t>(id)] = static_cast<int>(i);
      if (fixed[static_cast<size_t>(id)]) savings[i].reset();
    }
  }
  // What enlarges an image that nobody keeps in this order had better turn it before.
  std::vector<bool> kept(plan.values.size(), false);
  for (size_t i = n; i-- > 0;) {
    if (savings[i] && nodes[i]->outs.size() == 1 && !kept[static_cast<size_t>(nodes[i]->outs[0])] && nodes[i]->int8 == nullptr) {
      const int x = nodes[i]->in("x");
      if (x >= 0 && is_image(plan, x) && 2 * static_cast<double>(floats(plan, nodes[i]->outs[0]) - floats(plan, x)) > *savings[i]) savings[i].reset();
    }
    if (savings[i]) read_by(*nodes[i], [&](int id) { kept[static_cast<size_t>(id)] = true; });
  }
  // What a node would read, and what is made, with channels innermost.
  const auto wants = [&](size_t i, int id) { return savings[i] && is_image(plan, id) && nodes[i]->turn != Node::Turn::kToImage; };
  const auto inside = [&](int id) {
    const int from = maker[static_cast<size_t>(id)];
    return from >= 0 && savings[static_cast<size_t>(from)] && is_image(plan, id) && nodes[static_cast<size_t>(from)]->turn != Node::Turn::kFromImage;
  };
  for (size_t i = 0; i < n; ++i)
    read_by(*nodes[i], [&](int id) {
      if (wants(i, id) && inside(id)) region[find(i)] = find(static_cast<size_t>(maker[static_cast<size_t>(id)]));
    });

  // Turning an image reads and writes it; each is turned once.
  std::vector<double> balance(n, 0);
  std::vector<std::pair<size_t, int>> borders;
  for (size_t i = 0; i < n; ++i) {
    if (savings[i]) balance[find(i)] += *savings[i];
    read_by(*nodes[i], [&](int id) {
      if (nodes[i]->dead || !is_image(plan, id)) return;
      if (wants(i, id) && !inside(id) && !(id == nodes[i]->in("x") && reads_planar(plan, *nodes[i]))) borders.emplace_back(find(i), id);
      if (!wants(i, id) && inside(id)) borders.emplace_back(find(static_cast<size_t>(maker[static_cast<size_t>(id)])), id);
    });
  }
  for (int id : plan.output_ids)
    if (inside(id)) borders.emplace_back(find(static_cast<size_t>(maker[static_cast<size_t>(id)])), id);
  std::sort(borders.begin(), borders.end());
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
  for (auto [r, id] : borders) balance[r] -= 2 * static_cast<double>(floats(plan, id));
  for (size_t i = 0; i < n; ++i) nodes[i]->channels_last = savings[i] && balance[find(i)] > 0;
  for (const auto& node : nodes)
    if (node->int8 != nullptr && node->int8->kind == Int8Plan::Kind::kProduct && float_image(plan, node->outs[0])) node->channels_last = true;

  Joiner joiner(plan, nodes, maker);
  for (const auto& node : nodes)
    if (node->channels_last && node->op->kind == "concat" && node->int8 == nullptr) joiner.join(*node);
}

int Plan::reordered(int id, bool channels_last, const ir::Op* op) {
  if (values[static_cast<size_t>(id)].channels_last == channels_last || is_orderless(values[static_cast<size_t>(id)].type.dims)) return id;
  auto known = reordered_.find(id);
  if (known != reordered_.end()) return known->second;
  const int to = add_value(nullptr, values[static_cast<size_t>(id)].type);
  PlanValue& made = values[static_cast<size_t>(to)];
  const PlanValue& from = values[static_cast<size_t>(id)];
  made.value = from.value;
  made.channels_last = channels_last;
  made.users = 1;
  regs.resize(values.size());
  reordered_[id] = to;
  reordered_[to] = id;
  Step step;
  step.info.op = op;
  step.info.name = from.value != nullptr ? from.value->name : "";
  step.info.kind = "layout";
  step.info.fused = {step.info.kind};
  step.info.kernel = channels_last ? "channels last" : "channels first";
  step.info.input_types = step.info.output_types = {from.type};
  step.info.output_names = {step.info.name};
  step.ins = {id};
  step.outs = {to};
  step.reads_anywhere = true;
  const Dims& d = from.type.dims;
  const std::array<int64_t, 3> shape = channels_last ? std::array<int64_t, 3>{d[0], d[1], d[2] * d[3]} : std::array<int64_t, 3>{d[0], d[2] * d[3], d[1]};
  step.run = [id, to, shape](RunContext& c) {
    constexpr std::array<int64_t, 3> kPermutation{0, 2, 1};
    transpose(c.tensor(id).bytes().data(), c.out(to).mutable_bytes(), shape, kPermutation, sizeof(float));
    return Status();
  };
  steps.push_back(std::move(step));
  in_place_.resize(steps.size());
  return to;
}

void Plan::order_sources(Node& node, bool channels_last) {
  if (node.turn == Node::Turn::kToImage) channels_last = false;  // what it reads is no image
  const int as_declared = channels_last && reads_planar(*this, node) ? node.in("x") : -1;
  for (Node::Source& s : node.sources) {
    if (s.id == as_declared) {
      const auto turned = reordered_.find(s.id);
      if (turned != reordered_.end()) s.id = turned->second;
    } else if (!channels_last || is_image(*this, s.id)) {
      s.id = reordered(s.id, channels_last, node.op);
    }
  }
  if (node.residual >= 0) node.residual = reordered(node.residual, channels_last, node.op);
}

}  // namespace mlt
