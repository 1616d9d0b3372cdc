#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include "lib/ops/infer_util.h"
#include "lib/runtime/fuse.h"
#include "lib/runtime/int8_graph.h"
#include "lib/runtime/layout.h"
#include "lib/runtime/lower_resampling.h"

namespace mlt {
namespace {

using Kind = Int8Plan::Kind;

// Gives a number for every number: what quantize makes of others is not what kernels do.
bool is_total(const Activation& f) {
  for (Unary op : {Unary::kSqrt, Unary::kRsqrt, Unary::kLog, Unary::kAsin, Unary::kAcos, Unary::kAcosh, Unary::kAtanh, Unary::kInverse, Unary::kTan, Unary::kExp, Unary::kSinh, Unary::kCosh, Unary::kExp2})
    if (f.op == op) return false;
  return true;
}

class Fusion : CodeGraph {
 public:
  using CodeGraph::CodeGraph;

  void run() {
    prepare();
    fuse_code_functions(*this);
    for (size_t i = 0; i < nodes_.size(); ++i) {
      Node& node = *nodes_[i];
      if (node.dead || node.eager || node.attention != nullptr || node.int8 != nullptr) continue;
      const std::string& kind = node.op->kind;
      if (kind == "conv" || kind == "linear" || kind == "matmul") product(i);
      else if (kind == "add") sum(i);
      else if (kind == "mul") scaling(i);
      else if (kind == "instance_norm") norm(i);
      else if (kind == "upsample_nearest_neighbor" || kind == "resize_nearest_neighbor") picking(i);
      else if (kind == "max_pool" || kind == "avg_pool" || kind == "reduce_mean") pooling(i);
      else if (kind == "concat") concatenation(i);
      else if (kind == "split") parts(i);
      else if (kind == "reshape" || kind == "expand_dims" || kind == "squeeze" || kind == "transpose") movement(i);
      else if (activation_of(node) && operand(node.in("x"))) refuse(node, "the result is not quantized");
    }
    for (auto& node : nodes_) {
      if (node->dead || node->int8 == nullptr) continue;
      if (node->int8->kind == Kind::kConcat) join(*node);
      if (node->int8->kind == Kind::kProduct && node->op->kind == "conv") keep_innermost(*node);
    }
    borders();
  }

 private:
  void absorb(Node& node, Node& after) {
    node.outs = after.outs;
    node.fused.push_back(after.op);
    after.dead = true;
    for (int id : node.outs) maker_[static_cast<size_t>(id)] = at_;
  }
  // An activation, if any, and the quantize: the node then makes codes.
  struct Tail {
    Node* act = nullptr;
    Node* quantize = nullptr;
    Activation f{};
  };
  std::optional<Tail> tail(int id) {
    Tail t;
    if ((t.quantize = quantizer(id)) != nullptr) return t;
    const int next = only_reader(id);
    if (next < 0 || nodes_[static_cast<size_t>(next)]->attention != nullptr) return std::nullopt;
    Node& after = *nodes_[static_cast<size_t>(next)];
    auto act = activation_of(after);
    if (!act || !is_total(*act) || after.in("x") != id || (t.quantize = quantizer(after.outs[0])) == nullptr) return std::nullopt;
    t.act = &after, t.f = *act;
    return t;
  }
  void take_tail(Node& node, const Tail& t) {
    if (t.act != nullptr) absorb(node, *t.act);
    absorb(node, *t.quantize);
  }
  void refuse(Node& node, std::string reason) {
    if (node.int8_refusal.empty()) node.int8_refusal = std::move(reason);
  }

  std::shared_ptr<Int8Plan> product_plan(Node& node, const Operand& x) {
    const std::string& kind = node.op->kind;
    const bool conv = kind == "conv", matmul = kind == "matmul";
    const int out = node.outs[0], weight = node.in(matmul ? "y" : "weight"), bias = matmul ? -1 : node.in("bias");
    if (!is_float(value(out).type.dtype)) return nullptr;
    if (weight < 0 || !value(weight).is_constant || (bias >= 0 && !value(bias).is_constant)) return refuse(node, "the weights are not constant"), nullptr;
    if (value(weight).deferred == nullptr) return refuse(node, "the weights are floats"), nullptr;
    auto plan = std::make_shared<Int8Plan>();
    size_t axis = 0;
    if (conv) {
      Lowering l(plan_, node);
      auto shape = conv_shape(l);
      if (!shape) return refuse(node, l.refusal), nullptr;
      if (!Int8Conv::takes(*shape)) return refuse(node, "sums too long for 32 bits"), nullptr;
      // Vectors are filled by a group's output channels, and quads by its input channels.
      const int64_t inputs = shape->in_channels / shape->groups, outputs = shape->out_channels / shape->groups;
      if (shape->groups > 1 && !(inputs == 1 && outputs == 1 && shape->rank < 3) && (inputs < 8 || outputs < 8)) return refuse(node, "narrow groups"), nullptr;
      plan->shape = *shape;
    } else {
      const Dims &xd = dims(x.id), &wd = dims(weight);
      if (xd.empty() || xd.size() == 4) return refuse(node, "operand of rank " + std::to_string(xd.size())), nullptr;
      if (wd.size() != 2) return refuse(node, "the weights are not a matrix"), nullptr;
      bool rows = true;  // [n, k]
      if (matmul) {
        if (xd.size() < 2 || node.call.flag("transpose_x")) return refuse(node, "left operand is transposed"), nullptr;
        rows = node.call.flag("transpose_y");
      }
      axis = rows ? 0 : 1;
      ConvShape& s = plan->shape;
      s.out_channels = wd[axis], s.in_channels = wd[1 - axis];
      s.in = {1, 1, 1};
      for (size_t i = 0; i + 1 < xd.size(); ++i) s.in[0] *= xd[i];
      if (xd.back() != s.in_channels || s.in[0] < 1) return refuse(node, "empty product"), nullptr;
      if (!Int8Conv::takes(s)) return refuse(node, "sums too long for 32 bits"), nullptr;
    }
    std::string reason;
    auto weights = int8_weights(*value(weight).deferred, axis, reason);
    if (!weights || weights->dims != dims(weight)) return refuse(node, weights ? "the weights do not fit" : reason), nullptr;
    plan->weights = std::move(weights->codes);
    plan->weight_scale = std::move(weights->scale);
    if (axis == 1) {  // [k, n] to [n, k]
      const int64_t k = plan->shape.in_channels, n = plan->shape.out_channels;
      std::vector<int8_t> turned(plan->weights.size());
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < n; ++j) turned[static_cast<size_t>(j * k + i)] = plan->weights[static_cast<size_t>(i * n + j)];
      plan->weights = std::move(turned);
    }
    plan->bias.assign(static_cast<size_t>(plan->shape.out_channels), 0.0f);
    if (bias >= 0 && !add_bias(*plan, bias)) return refuse(node, "the bias does not fit"), nullptr;
    plan->x = x.codes;
    return plan;
  }

  bool add_bias(Int8Plan& plan, int id) {
    Tensor stored = plan_.materialize(id, false);
    if (!stored.valid() || stored.size() != static_cast<int64_t>(plan.bias.size())) return false;
    const std::vector<float> b = to_floats(to_compute(stored));
    for (size_t i = 0; i < b.size(); ++i) plan.bias[i] += b[i];
    return true;
  }
  // A constant with a number for each output channel, added to the node's result.
  bool is_bias(Node& node, Node& add, int out) {
    const int other = add.in("x") == out ? add.in("y") : add.in("x");
    if (other < 0 || !value(other).is_constant || dims(add.outs[0]) != dims(out)) return false;
    const Dims& d = dims(other);
    const size_t from_end = node.op->kind == "conv" ? 3 : 1;
    const int64_t n = node.op->kind == "conv" ? dims(out)[1] : dims(out).back();
    if (d.size() < from_end || d.size() > dims(out).size()) return false;
    int64_t count = 1;
    for (int64_t e : d) count *= e;
    return count == n && d[d.size() - from_end] == n;
  }

  void product(size_t i) {
    Node& node = *nodes_[i];
    at_ = static_cast<int>(i);
    const int x = node.in("x");
    auto from = operand(x);
    if (!from) {
      Node* source = x >= 0 ? maker(x) : nullptr;
      if (source != nullptr && source->op->kind == "dequantize") refuse(node, "the activation's codes are not of one scale, or are read by others");
      return;
    }
    auto plan = product_plan(node, *from);
    if (plan == nullptr) return;
    node.int8 = plan;
    products_[&node] = plan;
    node.sources = {{"x", 0, from->id}};
    reads(i, from->id);
    release(x);
    for (;;) {
      const int out = node.outs[0];
      const int next = only_reader(out);
      if (next < 0) break;
      Node& after = *nodes_[static_cast<size_t>(next)];
      if (after.attention != nullptr || after.int8 != nullptr) break;
      Int8Epilogue& e = plan->epilogue;
      if (after.op->kind == "add" && e.f.op == Unary::kIdentity && is_bias(node, after, out)) {
        if (!add_bias(*plan, after.in("x") == out ? after.in("y") : after.in("x"))) break;
        absorb(node, after);
        continue;
      }
      if (e.f.op == Unary::kIdentity)
        if (auto act = activation_of(after); act && after.in("x") == out && act->op != Unary::kIdentity && is_total(*act)) {
          e.f = *act;
          absorb(node, after);
          continue;
        }
      if (quantizer(out) == nullptr) break;
      const Codes codes = narrow_.at(after.outs[0]);
      if (e.f.op == Unary::kIdentity && add_residual(node, *plan, after, codes)) return take_function(node, *plan);
      e.out = codes;
      absorb(node, after);
      value(node.outs[0]).codes = true;
      return take_function(node, *plan);
    }
  }

  // Codes of other ranks than an image's are turned before and after a convolution: see lower_int8.cc.
  bool lies_as_computed(const Node& node) { return node.op->kind != "conv" || dims(node.outs[0]).size() == 4; }

  // quantize, dequantize, and the sum with another tensor of codes: one pass over the product. Runs in the sum's place,
  // because the other operand may be made later.
  bool add_residual(Node& node, Int8Plan& plan, Node& quantize, const Codes& codes) {
    if (!lies_as_computed(node)) return false;
    const int q = quantize.outs[0];
    const int d_at = only_reader(q);
    if (d_at < 0) return false;
    Node& dequantize = *nodes_[static_cast<size_t>(d_at)];
    if (dequantize.op->kind != "dequantize" || dequantize.int8 != nullptr) return false;
    const int d = dequantize.outs[0], add_at = only_reader(d);
    if (add_at < 0) return false;
    Node& add = *nodes_[static_cast<size_t>(add_at)];
    if (add.op->kind != "add" || add.int8 != nullptr || *codes_of(dequantize, value(q).type.dtype) != codes) return false;
    const int other = add.in("x") == d ? add.in("y") : add.in("x");
    if (other == d || other < 0 || dims(other) != dims(d) || dims(add.outs[0]) != dims(d)) return false;
    auto residual = operand(other);
    if (!residual) return false;
    auto end = tail(add.outs[0]);
    if (!end) return false;
    plan.epilogue.between = codes;
    plan.epilogue.residual = residual->codes;
    plan.epilogue.f = end->f;
    plan.epilogue.out = narrow_.at(end->quantize->outs[0]);
    absorb(node, quantize);
    absorb(node, dequantize);
    absorb(node, add);
    node.sources.push_back({"residual", 0, residual->id});
    ++value(residual->id).users;
    release(other);
    take_tail(node, *end);
    value(node.outs[0]).codes = true;
    move(at_, add_at);
    readers_[static_cast<size_t>(residual->id)].push_back(static_cast<size_t>(add_at));
    at_ = add_at;
    return true;
  }
  // A function of the codes just made, which nobody else reads.
  void take_function(Node& node, Int8Plan& plan) {
    const int next = only_reader(node.outs[0]);
    if (next < 0) return;
    Node& after = *nodes_[static_cast<size_t>(next)];
    if (after.int8 == nullptr || after.int8->kind != Kind::kMap) return;
    plan.epilogue.table = after.int8->table;
    absorb(node, after);
    node.fused.insert(node.fused.end(), after.fused.begin(), after.fused.end());
  }
  void move(int from, int to) {
    std::swap(nodes_[static_cast<size_t>(from)], nodes_[static_cast<size_t>(to)]);
    for (int id : nodes_[static_cast<size_t>(to)]->outs) maker_[static_cast<size_t>(id)] = to;
    for (const Node::Source& s : nodes_[static_cast<size_t>(to)]->sources)
      std::replace(readers_[static_cast<size_t>(s.id)].begin(), readers_[static_cast<size_t>(s.id)].end(), static_cast<size_t>(from), static_cast<size_t>(to));
  }

  // Makes a node one of codes whose operands are these.
  void adopt(size_t i, std::shared_ptr<Int8Plan> plan, const std::vector<std::pair<Node::Source, int>>& sources, const Tail& end) {
    Node& node = *nodes_[i];
    plan->out = narrow_.at(end.quantize->outs[0]);
    plan->f = end.f;
    node.int8 = std::move(plan);
    node.sources.clear();
    for (const auto& [source, dequantized] : sources) {
      node.sources.push_back(source);
      reads(i, source.id);
      release(dequantized);
    }
    take_tail(node, end);
    value(node.outs[0]).codes = true;
  }

  void sum(size_t i) {
    Node& node = *nodes_[i];
    at_ = static_cast<int>(i);
    const int x = node.in("x"), y = node.in("y");
    auto a = operand(x), b = operand(y);
    if (!a && !b) return;
    if (!a || !b) return scaling(i);
    if (dims(x) != dims(y)) return refuse(node, "operands of different shapes");
    auto end = tail(node.outs[0]);
    if (!end) return refuse(node, "the result is not quantized");
    auto plan = std::make_shared<Int8Plan>();
    plan->kind = Kind::kAdd;
    plan->x = a->codes, plan->y = b->codes;
    adopt(i, plan, {{{"x", 0, a->id}, x}, {{"y", 0, b->id}, y}}, *end);
  }

  // Numbers by channel, the axis that lies innermost.
  std::optional<std::vector<float>> by_channel(int id, const Dims& whole) {
    if (id < 0 || !value(id).is_constant || !is_float(value(id).type.dtype)) return std::nullopt;
    const Dims& d = dims(id);
    const size_t rank = whole.size(), from_end = rank == 4 ? 3 : 1;
    if (rank == 0 || d.size() < from_end || d.size() > rank) return std::nullopt;
    int64_t count = 1;
    for (int64_t e : d) count *= e;
    if (count != whole[rank - from_end] || d[d.size() - from_end] != count) return std::nullopt;
    Tensor stored = plan_.materialize(id, false);
    if (!stored.valid() || stored.size() != count) return std::nullopt;
    std::vector<float> numbers = to_floats(to_compute(stored));
    if (std::any_of(numbers.begin(), numbers.end(), [](float v) { return !(std::fabs(v) < 1e15f); })) return std::nullopt;
    return numbers;
  }

  // A product or sum with a number for each channel: constants, or codes of an image of one pixel.
  void scaling(size_t i) {
    Node& node = *nodes_[i];
    at_ = static_cast<int>(i);
    const int out = node.outs[0];
    int x = node.in("x"), y = node.in("y");
    if (!operand(x) && !operand(y)) return;
    if (!operand(x) || dims(x) != dims(out)) std::swap(x, y);
    const auto from = operand(x), other = operand(y);
    if (!from || dims(x) != dims(out)) return refuse(node, "operands of different shapes");
    auto plan = std::make_shared<Int8Plan>();
    plan->kind = Kind::kScale;
    plan->x = from->codes;
    std::vector<std::pair<Node::Source, int>> sources{{{"x", 0, from->id}, x}};
    const bool product = node.op->kind == "mul";
    if (other) {
      const Dims& d = dims(out);
      if (!product || d.size() != 4 || dims(y) != Dims{d[0], d[1], 1, 1}) return refuse(node, "operands of different shapes");
      plan->y = other->codes;
      sources.push_back({{"y", 0, other->id}, y});
    } else {
      auto numbers = by_channel(y, dims(out));
      if (!numbers) return refuse(node, "one operand has no codes");
      (product ? plan->factor : plan->shift) = std::move(*numbers);
    }
    auto end = tail(out);
    if (!end || end->act != nullptr) return refuse(node, "the result is not quantized");
    adopt(i, plan, sources, *end);
  }

  void norm(size_t i) {
    Node& node = *nodes_[i];
    at_ = static_cast<int>(i);
    const int x = node.in("x"), gamma = node.in("gamma"), beta = node.in("beta");
    auto from = operand(x);
    if (!from) return;
    const Dims& d = dims(x);
    if (d.size() < 3 || d.size() == 4) return refuse(node, "operand of rank " + std::to_string(d.size()));
    auto plan = std::make_shared<Int8Plan>();
    plan->kind = Kind::kNorm;
    plan->x = from->codes;
    plan->epsilon = static_cast<float>(node.call.f64("epsilon"));
    for (const auto& [id, numbers] : {std::pair(gamma, &plan->factor), std::pair(beta, &plan->shift)}) {
      if (id < 0) continue;
      auto given = by_channel(id, Dims{d[1]});
      if (!given) return refuse(node, "gamma or beta");
      *numbers = std::move(*given);
    }
    if (node.call.failed() || !(plan->epsilon > 1e-30f)) return refuse(node, "epsilon");
    auto end = tail(node.outs[0]);
    if (!end || end->act != nullptr) return refuse(node, "the result is not quantized");
    plan->nan = code_of_nan(value(end->quantize->outs[0]).type.dtype);
    adopt(i, plan, {{{"x", 0, from->id}, x}}, *end);
  }

  void picking(size_t i) {
    Node& node = *nodes_[i];
    at_ = static_cast<int>(i);
    const int x = node.in("x");
    auto from = operand(x);
    if (!from) return;
    if (dims(x).size() != 4) return refuse(node, "operand of rank " + std::to_string(dims(x).size()));
    Lowering l(plan_, node);
    auto r = resampling(l);
    if (!r) return refuse(node, l.refusal);
    auto plan = std::make_shared<Int8Plan>();
    plan->kind = Kind::kPick;
    plan->x = from->codes;
    plan->pick_y = r->y.low, plan->pick_x = r->x.low;
    auto end = tail(node.outs[0]);
    if (!end || end->act != nullptr) return refuse(node, "the result is not quantized");
    adopt(i, plan, {{{"x", 0, from->id}, x}}, *end);
  }

  void pooling(size_t i) {
    Node& node = *nodes_[i];
    at_ = static_cast<int>(i);
    const int x = node.in("x");
    auto from = operand(x);
    if (!from) return;
    if (dims(x).size() != 4) return refuse(node, "not two spatial axes");
    auto plan = std::make_shared<Int8Plan>();
    plan->kind = Kind::kPool;
    plan->x = from->codes;
    plan->pool = node.op->kind == "max_pool" ? Pool::kMax : Pool::kAverage;
    const Dims& d = dims(x);
    if (node.op->kind == "reduce_mean") {
      if (!node.call.known("axes") || !node.call.has("axes")) return refuse(node, "the axes are not known");
      auto axes = ops::normalize_axes(node.call.ints("axes"), 4);
      if (!axes) return refuse(node, "the axes are not known");
      std::sort(axes->begin(), axes->end());
      if (*axes != std::vector<int64_t>{2, 3}) return refuse(node, "not over two spatial axes");
      plan->window.batch = d[0], plan->window.channels = d[1];
      plan->window.in = plan->window.kernel = {d[2], d[3], 1};
    } else {
      Lowering l(plan_, node);
      auto window = pool_shape(l, plan->pool);
      if (!window) return refuse(node, l.refusal);
      plan->window = *window;
    }
    const int64_t window = plan->window.kernel[0] * plan->window.kernel[1];
    if (plan->window.batch * plan->window.channels * plan->window.in[0] * plan->window.in[1] == 0 || window > (1 << 22)) return refuse(node, "empty, or too large");
    // A window may hold nothing but padding, whose greatest element is no number that codes have.
    if (plan->pool == Pool::kMax)
      for (size_t a = 0; a < 2; ++a)
        if (plan->window.pad_before[a] >= plan->window.kernel[a] || (plan->window.out[a] - 1) * plan->window.stride[a] - plan->window.pad_before[a] >= plan->window.in[a])
          return refuse(node, "windows of padding alone");
    auto end = tail(node.outs[0]);
    if (!end && node.op->kind == "reduce_mean") {
      plan->floats = true;
      node.int8 = plan;
      node.sources = {{"x", 0, from->id}};
      reads(i, from->id);
      return release(x);
    }
    if (!end) return refuse(node, "the result is not quantized");
    if (end->act != nullptr) return refuse(node, "an activation follows");
    adopt(i, plan, {{{"x", 0, from->id}, x}}, *end);
  }

  void concatenation(size_t i) {
    Node& node = *nodes_[i];
    at_ = static_cast<int>(i);
    const size_t rank = dims(node.outs[0]).size();
    size_t count = 0;
    std::vector<std::pair<Node::Source, int>> sources;
    auto plan = std::make_shared<Int8Plan>();
    plan->kind = Kind::kConcat;
    for (const Node::Source& s : node.sources) {
      if (s.param != "values") continue;
      ++count;
      auto part = operand(s.id);
      if (!part) continue;
      plan->values.push_back(part->codes);
      sources.push_back({{"values", s.index, part->id}, s.id});
    }
    if (sources.empty()) return;
    if (sources.size() != count) return refuse(node, "not all parts have codes");
    if (node.call.flag("interleave")) return refuse(node, "interleaved");
    if (!node.call.known("axis")) return refuse(node, "the axis is not known");
    auto axis = ops::normalize_axis(node.call.i64("axis"), static_cast<int64_t>(rank));
    if (!axis) return refuse(node, "the axis is not known");
    plan->axis = *axis;
    auto end = tail(node.outs[0]);
    if (!end || end->act != nullptr) return refuse(node, "the result is not quantized");
    adopt(i, plan, sources, *end);
  }

  // Images that nothing but a concatenation of channels reads are made in their place there, and in its codes.
  void join(Node& node) {
    const int out = node.outs[0];
    if (dims(out).size() != 4 || node.int8->axis != 1) return;
    int64_t channel = 0;
    for (size_t i = 0; i < node.sources.size(); ++i) {
      const int id = node.sources[i].id;
      const int64_t at = channel;
      channel += dims(id)[1];
      PlanValue& part = value(id);
      Node* source = maker(id);
      if (source == nullptr || source->int8 == nullptr || source->int8->kind != Kind::kProduct || source->op->kind != "conv" || source->int8->epilogue.residual) continue;
      if (part.users != 1 || part.alias_of >= 0 || is_output(id) || part.dynamic || value(out).dynamic) continue;
      if (node.int8->values[i] != node.int8->out) {
        CodeTable table = recoding(node.int8->values[i], node.int8->out);
        std::optional<CodeTable>& before = products_.at(source)->epilogue.table;
        if (before) {
          const CodeTable then = table;
          for (size_t code = 0; code < table.size(); ++code) table[code] = then[(*before)[code]];
        }
        before = table;
      }
      part.alias_of = out, part.alias_offset = at, part.pitch = dims(out)[1];
    }
  }

  // Codes that are no images and go from convolutions to convolutions only.
  void keep_innermost(Node& node) {
    const int out = node.outs[0];
    if (lies_as_computed(node) || !value(out).codes || is_output(out)) return;
    std::vector<Int8Plan*> readers;
    for (size_t at : readers_[static_cast<size_t>(out)]) {
      Node& reader = *nodes_[at];
      if (reader.dead) continue;
      const auto product = products_.find(&reader);
      if (product == products_.end() || reader.op->kind != "conv" || reader.sources.size() != 1 || reader.sources[0].id != out) return;
      readers.push_back(product->second.get());
    }
    if (static_cast<int>(readers.size()) != value(out).users) return;
    products_.at(&node)->innermost_out = true;
    for (Int8Plan* reader : readers) reader->innermost_in = true;
  }

  // The same numbers in another order, or of another shape.
  void movement(size_t i) {
    Node& node = *nodes_[i];
    at_ = static_cast<int>(i);
    const int x = node.in("x"), out = node.outs[0];
    auto from = operand(x);
    if (!from) return;
    if (value(out).dynamic || !value(out).type.is_static()) return refuse(node, "the result's shape is not known");
    if (dims(x).size() > kMaxRank || dims(out).size() > kMaxRank) return refuse(node, "too many axes");
    auto plan = std::make_shared<Int8Plan>();
    plan->kind = Kind::kReshape;
    plan->x = from->codes;
    if (node.op->kind == "transpose") {
      if (!node.call.known("perm")) return refuse(node, "the order of the axes is not known");
      auto perm = ops::normalize_axes(node.call.ints("perm"), static_cast<int64_t>(dims(x).size()));
      if (!perm || perm->size() != dims(x).size()) return refuse(node, "the order of the axes is not known");
      plan->kind = Kind::kTranspose;
      plan->perm = *perm;
    }
    auto end = tail(out);
    if (!end || end->act != nullptr) return refuse(node, "the result is not quantized");
    adopt(i, plan, {{{"x", 0, from->id}, x}}, *end);
  }

  // Every part with a quantize of its own.
  void parts(size_t i) {
    Node& node = *nodes_[i];
    const int x = node.in("x");
    auto from = operand(x);
    if (!from) return;
    if (!node.call.known("axis")) return refuse(node, "the axis is not known");
    const size_t rank = dims(x).size();
    auto axis = ops::normalize_axis(node.call.i64("axis"), static_cast<int64_t>(rank));
    if (!axis) return refuse(node, "the axis is not known");
    auto plan = std::make_shared<Int8Plan>();
    plan->kind = Kind::kSplit;
    plan->x = from->codes;
    plan->axis = *axis;
    std::vector<Node*> ends;
    for (int id : node.outs) {
      ends.push_back(quantizer(id));
      if (ends.back() == nullptr) return refuse(node, "the results are not quantized");
      plan->values.push_back(narrow_.at(ends.back()->outs[0]));
    }
    node.int8 = std::move(plan);
    node.sources = {{"x", 0, from->id}};
    reads(i, from->id);
    for (size_t part = 0; part < ends.size(); ++part) {
      const int id = ends[part]->outs[0];
      node.outs[part] = id;
      node.fused.push_back(ends[part]->op);
      ends[part]->dead = true;
      maker_[static_cast<size_t>(id)] = static_cast<int>(i);
      value(id).codes = true;
    }
    release(x);
  }

  void borders() {
    for (auto& pointer : nodes_) {
      Node& node = *pointer;
      if (node.dead || node.int8 != nullptr || node.eager) continue;
      const bool quantize = node.op->kind == "quantize";
      if (!quantize && node.op->kind != "dequantize") continue;
      const int coded = quantize ? node.outs[0] : node.in("input");
      if (!narrow_.contains(coded)) continue;
      auto plan = std::make_shared<Int8Plan>();
      plan->kind = quantize ? Kind::kQuantize : Kind::kDequantize;
      plan->x = *codes_of(node, value(coded).type.dtype);
      plan->nan = code_of_nan(value(coded).type.dtype);
      node.sources = {{"x", 0, node.in("input")}};
      node.int8 = plan;
      value(coded).codes = true;
    }
  }

  int at_ = -1;  // of the node being worked on
  std::unordered_map<const Node*, std::shared_ptr<Int8Plan>> products_;
};

}  // namespace

void fuse_int8(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes) {
  if (std::none_of(nodes.begin(), nodes.end(), [](const auto& node) { return node->op->kind == "dequantize"; })) return;
  Fusion(plan, nodes).run();
  std::erase_if(nodes, [](const auto& node) { return node->dead; });
}

}  // namespace mlt
