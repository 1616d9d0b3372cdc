// Depthwise convolutions with their neighbours of 1x1, and convolutions with the pooling behind them: what lies between them need
// not be written to memory.
#include <algorithm>

#include "lib/kernels/nhwc.h"
#include "lib/runtime/block_plan.h"
#include "lib/runtime/layout.h"

namespace mlt {
namespace {

class Finder {
 public:
  Finder(Plan& plan, const std::vector<std::unique_ptr<Node>>& nodes) : plan_(plan), maker_(plan.values.size()), reader_(plan.values.size()), other_(plan.values.size()) {
    for (const auto& node : nodes) {
      for (int id : node->outs) maker_[static_cast<size_t>(id)] = node.get();
      for (const Node::Source& s : node->sources) {
        other_[static_cast<size_t>(s.id)] = reader_[static_cast<size_t>(s.id)];
        reader_[static_cast<size_t>(s.id)] = node.get();
      }
    }
  }

  void join(Node& node) const {
    const auto depthwise = shape_of(&node);
    if (!depthwise || depthwise->groups == 1 || node.residual >= 0) return;
    Node* before = private_value(node.in("x")) ? maker_[static_cast<size_t>(node.in("x"))] : nullptr;
    Node* after = private_value(node.outs[0]) ? reader_[static_cast<size_t>(node.outs[0])] : nullptr;
    const auto expand = pointwise(before), project = pointwise(after);
    if (before != nullptr && (!expand || before->residual >= 0)) before = nullptr;
    if (after != nullptr && (!project || after->in("x") != node.outs[0])) after = nullptr;
    auto block = std::make_shared<BlockPlan>();
    block->shape.depthwise = *depthwise;
    if (before != nullptr) block->shape.in_channels = expand->in_channels;
    if (after != nullptr) block->shape.out_channels = project->out_channels;
    Node* mean = after == nullptr ? mean_of(node.outs[0]) : nullptr;
    block->shape.mean = mean != nullptr;
    if (!DepthwiseBlock::takes(block->shape)) return;
    const int x = before != nullptr ? before->in("x") : node.in("x");
    if (value(x).pitch > 0 || (after != nullptr && after->residual >= 0 && value(after->residual).pitch > 0)) return;
    if (before != nullptr) block->expand = layer(*before);
    block->depthwise = layer(node);
    if (after != nullptr) block->project = layer(*after);

    Node& last = after != nullptr ? *after : node;
    std::vector<const ir::Op*> ops;
    std::vector<Node::Source> sources{{"x", 0, x}};
    size_t index = 0;
    for (Node* n : {before, &node, after}) {
      if (n == nullptr) continue;
      ops.insert(ops.end(), n->fused.begin(), n->fused.end());
      sources.push_back({"weight", index, n->in("weight")});
      if (n->in("bias") >= 0) sources.push_back({"bias", index, n->in("bias")});
      ++index;
      n->dead = n != &last;
    }
    if (mean != nullptr) {
      ops.insert(ops.end(), mean->fused.begin(), mean->fused.end());
      last.outs.push_back(mean->outs[0]);
      mean->dead = true;
    }
    last.fused = std::move(ops);
    last.sources = std::move(sources);
    last.block = std::move(block);
  }

  // An image times a factor for each channel, read by a convolution of 1x1 alone.
  void gate(Node& node) const {
    const auto shape = pointwise(&node);
    if (!shape || node.in("gate") >= 0) return;
    const int x = node.in("x");
    Node* mul = private_value(x) ? maker_[static_cast<size_t>(x)] : nullptr;
    if (mul == nullptr || mul->dead || mul->eager || mul->int8 != nullptr || mul->act || !mul->channels_last || mul->op->kind != "mul") return;
    int image = mul->in("x"), factor = mul->in("y");
    if (!is_image(plan_, image)) std::swap(image, factor);
    if (value(image).pitch > 0 || (node.residual >= 0 && value(node.residual).pitch > 0)) return;
    const PlanValue& f = value(factor);
    if (!is_image(plan_, image) || value(image).type.dims != value(x).type.dims || f.is_constant || f.dynamic || f.pitch != 0) return;
    if (f.type.dims != Dims{shape->batch, shape->in_channels, 1, 1} || !is_float(f.type.dtype)) return;
    for (Node::Source& s : node.sources)
      if (s.param == "x") s.id = image;
    node.sources.push_back({"gate", 0, factor});
    node.fused.insert(node.fused.begin(), mul->fused.begin(), mul->fused.end());
    mul->dead = true;
  }

  // A convolution and the maxima over its output.
  void pool(Node& node) const {
    if (node.dead || node.eager || node.int8 != nullptr || !node.channels_last || node.op->kind != "max_pool" || value(node.outs[0]).pitch > 0) return;
    const int x = node.in("x");
    Node* conv = private_value(x) ? maker_[static_cast<size_t>(x)] : nullptr;
    const auto shape = shape_of(conv);
    if (!shape || conv->residual >= 0 || conv->in("gate") >= 0) return;
    Lowering l(plan_, node);
    const auto window = pool_shape(l, Pool::kMax);
    if (!window || !ConvNhwcPlan::takes_max(*shape, *window)) return;
    conv->maxima = std::make_shared<MaximaPlan>(MaximaPlan{*shape, *window, layer(*conv), node.op, value(node.outs[0]).type});
    conv->outs = node.outs;
    conv->fused.insert(conv->fused.end(), node.fused.begin(), node.fused.end());
    node.dead = true;
  }

 private:
  const PlanValue& value(int id) const { return plan_.values[static_cast<size_t>(id)]; }
  // Read by one node, and stored by itself.
  bool private_value(int id) const {
    const PlanValue& v = value(id);
    return v.users == 1 && v.alias_of < 0 && v.pitch == 0 && is_image(plan_, id);
  }
  // Who makes the mean over both spatial axes of an image with two readers.
  Node* mean_of(int id) const {
    const auto at = static_cast<size_t>(id);
    if (value(id).users != 2 || value(id).alias_of >= 0 || !is_image(plan_, id)) return nullptr;
    for (Node* node : {reader_[at], other_[at]})
      if (node != nullptr && !node->dead && !node->eager && node->channels_last && node->op->kind == "reduce_mean" && node->in("x") == id) return node;
    return nullptr;
  }
  std::optional<ConvShape> shape_of(Node* node) const {
    if (node == nullptr || node->dead || node->eager || node->block != nullptr || node->int8 != nullptr || !node->channels_last || node->op->kind != "conv") return std::nullopt;
    if (!is_image(plan_, node->in("x")) || !is_image(plan_, node->outs[0])) return std::nullopt;
    Lowering l(plan_, *node);
    return conv_shape(l);
  }
  std::optional<ConvShape> pointwise(Node* node) const {
    auto s = shape_of(node);
    if (!s || s->groups != 1) return std::nullopt;
    for (size_t i = 0; i < 2; ++i)
      if (s->kernel[i] != 1 || s->stride[i] != 1 || s->pad_before[i] != 0 || s->pad_after[i] != 0) return std::nullopt;
    return s;
  }
  BlockPlan::Layer layer(const Node& node) const {
    BlockPlan::Layer l;
    l.op = node.op;
    l.weight = node.in("weight");
    l.bias = node.in("bias");
    l.f = node.act.value_or(Activation{});
    l.in = value(node.in("x")).type;
    l.out = value(node.outs[0]).type;
    l.fused = node.fused.size() - 1;
    return l;
  }

  Plan& plan_;
  std::vector<Node*> maker_, reader_, other_;  // the last two that read a value
};

}  // namespace

namespace {

StepInfo part_of(const BlockPlan::Layer& layer) {
  StepInfo part;
  part.op = layer.op;
  part.kind = layer.op->kind;
  part.fused.resize(layer.fused + 1);
  part.input_types = {layer.in};
  part.output_types = {layer.out};
  return part;
}

}  // namespace

std::vector<StepInfo> block_parts(const BlockPlan& block) {
  std::vector<StepInfo> parts;
  if (block.expand) parts.push_back(part_of(*block.expand));
  parts.push_back(part_of(block.depthwise));
  if (block.project) parts.push_back(part_of(*block.project));
  return parts;
}

std::vector<StepInfo> maxima_parts(const MaximaPlan& maxima) {
  BlockPlan::Layer pooling;
  pooling.op = maxima.op;
  pooling.in = maxima.layer.out;
  pooling.out = maxima.out;
  return {part_of(maxima.layer), part_of(pooling)};
}

void fuse_blocks(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes) {
  const Finder finder(plan, nodes);
  for (auto& node : nodes) finder.join(*node);
  for (auto& node : nodes) finder.gate(*node);
  for (auto& node : nodes) finder.pool(*node);
  std::erase_if(nodes, [](const auto& node) { return node->dead; });
}

}  // namespace mlt
