#include <algorithm>
#include <cmath>
#include <optional>

#include "lib/ops/infer_util.h"
#include "lib/runtime/attention_plan.h"
#include "lib/runtime/fuse.h"

namespace mlt {
namespace {

const PlanValue& value(const Plan& plan, int id) { return plan.values[static_cast<size_t>(id)]; }

bool slice_view(StridedView& view, ops::Call& call, const Dims& out) {
  if (!call.known("begin") || !call.known("end")) return false;
  const size_t rank = view.dims.size();
  std::vector<int64_t> begin = call.ints("begin"), stride = call.has("stride") ? call.ints("stride") : std::vector<int64_t>(rank, 1);
  auto flags = [&](std::string_view param) {
    std::vector<int64_t> list = call.has(param) ? call.ints(param) : std::vector<int64_t>();
    list.resize(rank, 0);
    return list;
  };
  std::vector<int64_t> begin_mask = flags("begin_mask"), squeeze = flags("squeeze_mask");
  if (begin.size() != rank || stride.size() != rank) return false;
  StridedView sliced{view.id, {}, {}, view.offset};
  for (size_t i = 0; i < rank; ++i) {
    int64_t start = begin[i] < 0 ? begin[i] + view.dims[i] : begin[i];
    if (begin_mask[i] && !squeeze[i]) start = 0;
    if (stride[i] < 1 || start < 0 || start >= view.dims[i]) return false;
    sliced.offset += start * view.strides[i];
    if (squeeze[i]) continue;
    if (sliced.dims.size() == out.size()) return false;
    const int64_t count = out[sliced.dims.size()];
    if (count < 1 || start + (count - 1) * stride[i] >= view.dims[i]) return false;
    sliced.dims.push_back(count);
    sliced.strides.push_back(view.strides[i] * stride[i]);
  }
  if (sliced.dims != out) return false;
  view = std::move(sliced);
  return true;
}

// One index along an axis.
bool gather_view(StridedView& view, ops::Call& call, const Dims& out) {
  if (!call.known("indices") || !call.known("axis") || (call.has("batch_dims") && (!call.known("batch_dims") || call.i64("batch_dims") != 0))) return false;
  const std::vector<int64_t> index = call.ints("indices");
  auto axis = ops::normalize_axis(call.i64("axis"), static_cast<int64_t>(view.dims.size()));
  if (index.size() != 1 || !axis) return false;
  const auto a = static_cast<size_t>(*axis);
  const int64_t at = index[0] < 0 ? index[0] + view.dims[a] : index[0];
  if (at < 0 || at >= view.dims[a]) return false;
  StridedView taken = view;
  taken.offset += at * view.strides[a];
  taken.dims[a] = 1;
  if (!reshape_view(taken, out)) return false;
  view = std::move(taken);
  return true;
}

// One step through a node that only moves elements; false when it does more, or strides cannot express it.
bool look_through(const Plan& plan, Node& node, int id, StridedView& view) {
  const std::string& kind = node.op->kind;
  const Dims& out = value(plan, id).type.dims;
  if (kind == "identity") return true;
  if (kind == "cast") return is_float(value(plan, node.in("x")).type.dtype) && is_float(value(plan, id).type.dtype);
  if (kind == "reshape" || kind == "expand_dims" || kind == "squeeze") return reshape_view(view, out);
  if (kind == "transpose") {
    auto perm = ops::normalize_axes(node.call.ints("perm"), static_cast<int64_t>(view.dims.size()));
    if (!perm || perm->size() != view.dims.size()) return false;
    StridedView moved{view.id, {}, {}, view.offset};
    for (int64_t p : *perm) {
      moved.dims.push_back(view.dims[static_cast<size_t>(p)]);
      moved.strides.push_back(view.strides[static_cast<size_t>(p)]);
    }
    view = std::move(moved);
    return true;
  }
  if (kind == "split") {
    auto axis = ops::normalize_axis(node.call.i64("axis"), static_cast<int64_t>(view.dims.size()));
    if (!axis) return false;
    for (int other : node.outs) {
      if (other == id) break;
      view.offset += value(plan, other).type.dims[static_cast<size_t>(*axis)] * view.strides[static_cast<size_t>(*axis)];
    }
    view.dims = out;
    return true;
  }
  if (kind == "slice_by_index") return slice_view(view, node.call, out);
  if (kind == "gather") return gather_view(view, node.call, out);
  return false;
}

bool movable(const Plan& plan, int id) {
  const PlanValue& v = value(plan, id);
  return !v.dynamic && v.type.is_tensor() && v.type.is_static() && v.type.dtype != DType::kString;
}

// Strides of `view` for an operand of these extents: 0 along the axes that it repeats.
bool broadcast_view(const StridedView& view, const Dims& dims, Dims* strides) {
  if (view.dims.size() > dims.size()) return false;
  strides->assign(dims.size(), 0);
  const size_t lead = dims.size() - view.dims.size();
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (view.dims[i] == dims[lead + i]) {
      (*strides)[lead + i] = view.dims[i] == 1 ? 0 : view.strides[i];
    } else if (view.dims[i] != 1) {
      return false;
    }
  }
  return true;
}

// [batch..., row, col] into an operand. The last two extents are the view's own.
bool set_operand(const StridedView& view, bool transposed, const Dims& batch, Attention::Operand* operand) {
  if (view.dims.size() < 2) return false;
  StridedView outer{view.id, {view.dims.begin(), view.dims.end() - 2}, {view.strides.begin(), view.strides.end() - 2}, 0};
  Dims strides;
  if (!broadcast_view(outer, batch, &strides)) return false;
  std::copy(strides.begin(), strides.end(), operand->batch.begin());
  operand->row = view.strides[view.strides.size() - (transposed ? 1 : 2)];
  operand->col = view.strides[view.strides.size() - (transposed ? 2 : 1)];
  const int64_t rows = view.dims[view.dims.size() - (transposed ? 1 : 2)], cols = view.dims[view.dims.size() - (transposed ? 2 : 1)];
  if (rows == 1) operand->row = 0;
  if (cols == 1) operand->col = 1;
  return true;
}

bool scalar(const Plan& plan, int id, float* out) {
  const PlanValue& v = value(plan, id);
  if (!v.is_constant || !v.type.is_tensor() || !v.constant.valid() || !is_float(v.type.dtype) || v.constant.size() != 1) return false;
  *out = to_compute(v.constant).data<float>()[0];
  return true;
}

// The number that a tensor is multiplied by, and the tensor.
std::optional<std::pair<int, float>> scaled(const Plan& plan, const Node& node) {
  const bool divided = node.op->kind == "real_div";
  if (!divided && node.op->kind != "mul") return std::nullopt;
  const int x = node.in("x"), y = node.in("y");
  float number = 0;
  int of = -1;
  if (scalar(plan, y, &number)) {
    of = x;
  } else if (!divided && scalar(plan, x, &number)) {
    of = y;
  }
  if (of < 0 || !movable(plan, of) || value(plan, of).type.dims != value(plan, node.outs[0]).type.dims) return std::nullopt;
  return std::pair(of, divided ? 1 / number : number);
}

// The one number that all elements of a constant are.
bool uniform(const Plan& plan, int id, float* out) {
  constexpr int64_t kMost = 1 << 22;
  const PlanValue& v = value(plan, id);
  if (!v.is_constant || !v.type.is_tensor() || !v.constant.valid() || !is_float(v.type.dtype) || v.constant.size() < 1 || v.constant.size() > kMost) return false;
  const Tensor floats = convert(v.constant, DType::kF32);
  *out = floats.data<float>()[0];
  return std::all_of(floats.data<float>(), floats.data<float>() + floats.size(), [&](float f) { return f == *out; });
}

struct Finder {
  Plan& plan;
  std::vector<Node*> producer;
  std::vector<std::vector<Node*>> readers;

  Finder(Plan& in_plan, std::vector<std::unique_ptr<Node>>& nodes) : plan(in_plan), producer(plan.values.size()), readers(plan.values.size()) {
    for (auto& node : nodes) {
      for (int id : node->outs) producer[static_cast<size_t>(id)] = node.get();
      for (const Node::Source& s : node->sources) readers[static_cast<size_t>(s.id)].push_back(node.get());
    }
  }
  // The only reader of a value that is no output; null when there is none.
  Node* only_reader(int id) const {
    const auto& list = readers[static_cast<size_t>(id)];
    if (value(plan, id).users != 1 || list.size() != 1 || list[0]->dead || list[0]->eager) return nullptr;
    return list[0];
  }
  StridedView view(int id, float* factor = nullptr) const { return view_of(plan, producer, id, factor); }

  // Masks: any extents that broadcast to `now`, which the scores, [batch..., queries, keys], have where the mask meets them.
  bool set_mask(AttentionPlan& a, int id, const Dims& now, const Dims& scores) const {
    if (!movable(plan, id)) return false;
    const DType dtype = value(plan, id).type.dtype;
    if (!is_float(dtype) && dtype != DType::kBool) return false;
    StridedView mask = view(id);
    StridedView over{mask.id, now, {}, mask.offset};
    if (!broadcast_view(mask, now, &over.strides) || (now != scores && !reshape_view(over, scores))) return false;
    Attention::Operand operand;
    std::copy(over.strides.begin(), over.strides.end() - 2, operand.batch.begin());
    operand.row = over.strides[scores.size() - 2];
    operand.col = over.strides[scores.size() - 1];
    if (operand.col > 1) return false;
    const AttentionPlan::Source source{mask.id, mask.offset};
    if (a.mask.id < 0) {
      a.mask = source, a.shape.mask = operand;
      a.shape.mask_kind = dtype == DType::kBool ? Attention::Mask::kBool : Attention::Mask::kFloat;
      return true;
    }
    if (a.bias.id >= 0 || dtype == DType::kBool) return false;
    a.bias = source, a.shape.bias = operand;
    return true;
  }

  // Scores that give way to a number so low that they count nothing beside it. What was added before would be lost with them.
  bool set_selected(AttentionPlan& a, const Node& select, int at, const Dims& now, const Dims& scores) const {
    constexpr float kLow = -1e30f;
    const int x = select.in("a"), y = select.in("b"), cond = select.in("cond");
    const bool kept_where_true = x == at;
    float fill = 0;
    if (a.mask.id >= 0 || (x == at) == (y == at) || cond < 0 || value(plan, cond).type.dtype != DType::kBool || !uniform(plan, kept_where_true ? y : x, &fill) || !(fill <= kLow)) return false;
    if (!set_mask(a, cond, now, scores)) return false;
    a.shape.masked = fill;
    if (!kept_where_true) a.shape.mask_kind = Attention::Mask::kBoolNot;
    return true;
  }

  bool set_operands(AttentionPlan& a, int q, bool q_transposed, int k, bool k_transposed, int v, bool v_transposed, const Dims& out) const {
    for (int id : {q, k, v})
      if (!movable(plan, id) || !is_float(value(plan, id).type.dtype) || value(plan, id).type.dims.size() < 2) return false;
    if (out.size() < 2 || out.size() - 2 > static_cast<size_t>(kMaxRank)) return false;
    const Dims batch(out.begin(), out.end() - 2);
    float factor = 1;
    const StridedView qv = view(q, &factor), kv = view(k, &factor), vv = view(v);
    Attention& s = a.shape;
    s.scale *= factor;
    s.batch_rank = static_cast<int>(batch.size());
    std::copy(batch.begin(), batch.end(), s.batch.begin());
    if (!set_operand(qv, q_transposed, batch, &s.q) || !set_operand(kv, k_transposed, batch, &s.k) || !set_operand(vv, v_transposed, batch, &s.v))
      return false;
    s.queries = out[out.size() - 2];
    s.values = out[out.size() - 1];
    s.depth = qv.dims[qv.dims.size() - (q_transposed ? 2 : 1)];
    s.keys = kv.dims[kv.dims.size() - (k_transposed ? 1 : 2)];
    if (kv.dims[kv.dims.size() - (k_transposed ? 2 : 1)] != s.depth || vv.dims[vv.dims.size() - (v_transposed ? 1 : 2)] != s.keys) return false;
    if (s.queries < 1 || s.values < 1 || s.depth < 1 || s.keys < 1) return false;
    for (int64_t d : batch)
      if (d < 1) return false;
    a.q = {qv.id, qv.offset};
    a.k = {kv.id, kv.offset};
    a.v = {vv.id, vv.offset};
    a.query_dims = a.key_dims = batch;
    a.query_dims.insert(a.query_dims.end(), {s.queries, s.depth});
    a.key_dims.insert(a.key_dims.end(), {s.keys, s.depth});
    return true;
  }

  // The result goes straight to where a transpose of it would put it.
  void set_out(AttentionPlan& a, Node& node) const {
    Dims dims = value(plan, node.outs[0]).type.dims, strides = row_major_strides(dims);
    Node* next = only_reader(node.outs[0]);
    if (next != nullptr && next->op->kind == "transpose") {
      auto perm = ops::normalize_axes(next->call.ints("perm"), static_cast<int64_t>(dims.size()));
      if (perm && perm->size() == dims.size() && perm->back() + 1 == static_cast<int64_t>(dims.size())) {
        Dims moved = row_major_strides(value(plan, next->outs[0]).type.dims);
        for (size_t i = 0; i < perm->size(); ++i) strides[static_cast<size_t>((*perm)[i])] = moved[i];
        node.outs = next->outs;
        node.fused.push_back(next->op);
        next->dead = true;
      }
    }
    std::copy(strides.begin(), strides.end() - 2, a.shape.out.batch.begin());
    a.shape.out.row = strides[strides.size() - 2];
  }

  // Keys or values that are what a cache held and what comes to it, behind one another along the rows of `operand`: the two
  // values, and how they lie.
  struct Grown {
    int ids[2] = {-1, -1};
    int64_t rows[2] = {0, 0};
    Attention::Operand operands[2];
  };
  std::optional<Grown> grown(const AttentionPlan::Source& source, const Attention::Operand& operand, const Attention& shape, int64_t columns) const {
    Node* concat = producer[static_cast<size_t>(source.id)];
    if (concat == nullptr || concat->dead || concat->eager || concat->op->kind != "concat" || source.offset != 0) return std::nullopt;
    if (!concat->call.known("interleave") || concat->call.flag("interleave") || !concat->call.known("axis") || concat->call.count("values") != 2) return std::nullopt;
    const Dims& dims = value(plan, source.id).type.dims;
    auto axis = ops::normalize_axis(concat->call.i64("axis"), static_cast<int64_t>(dims.size()));
    if (!axis) return std::nullopt;
    const auto a = static_cast<size_t>(*axis);
    const int64_t inner = row_major_strides(dims)[a], block = inner * dims[a];
    if (operand.row != inner || dims[a] != shape.keys || operand.col != 1 || columns > inner) return std::nullopt;
    Grown g;
    for (size_t i = 0; i < 2; ++i) {
      const int id = concat->in("values", i);
      if (id < 0 || !movable(plan, id) || !is_float(value(plan, id).type.dtype) || value(plan, id).type.dims.size() != dims.size()) return std::nullopt;
      g.ids[i] = id;
      g.rows[i] = value(plan, id).type.dims[a];
      if (g.rows[i] < 1) return std::nullopt;
      g.operands[i] = operand;
      for (int b = 0; b < shape.batch_rank; ++b) {
        int64_t& stride = g.operands[i].batch[static_cast<size_t>(b)];
        if (stride % block == 0) {  // outside of the axis that grows, or repeated
          stride = stride / block * inner * g.rows[i];
        } else if (stride * shape.batch[static_cast<size_t>(b)] > inner) {
          return std::nullopt;
        }
      }
    }
    return g;
  }
  // A few queries read them there: nothing waits for the copy that makes one of both, if anybody still wants it.
  void read_before_copy(AttentionPlan& a) const {
    Attention& s = a.shape;
    if (!attention_reads_in_place(s)) return;
    const auto k = grown(a.k, s.k, s, s.depth), v = grown(a.v, s.v, s, s.values);
    if (!k || !v || k->rows[1] != v->rows[1]) return;
    s.tail = k->rows[1];
    s.k = k->operands[0], s.k_tail = k->operands[1];
    s.v = v->operands[0], s.v_tail = v->operands[1];
    a.k = {k->ids[0], 0}, a.k_tail = {k->ids[1], 0};
    a.v = {v->ids[0], 0}, a.v_tail = {v->ids[1], 0};
  }

  void install(AttentionPlan a, Node& node) const {
    read_before_copy(a);
    set_out(a, node);
    node.sources.clear();
    node.sources.push_back({"query", 0, a.q.id});
    node.sources.push_back({"key", 0, a.k.id});
    node.sources.push_back({"value", 0, a.v.id});
    if (a.k_tail.id >= 0) node.sources.push_back({"key", 1, a.k_tail.id});
    if (a.v_tail.id >= 0) node.sources.push_back({"value", 1, a.v_tail.id});
    if (a.mask.id >= 0) node.sources.push_back({"attn_mask", 0, a.mask.id});
    if (a.bias.id >= 0) node.sources.push_back({"bias", 0, a.bias.id});
    node.attention = std::make_shared<const AttentionPlan>(std::move(a));
  }

  bool fuse_op(Node& node) const {
    AttentionPlan a;
    const Dims& out = value(plan, node.outs[0]).type.dims;
    if (!set_operands(a, node.in("query"), false, node.in("key"), false, node.in("value"), false, out)) return false;
    Dims scores(out.begin(), out.end() - 1);
    scores.push_back(a.shape.keys);
    if (int mask = node.in("attn_mask"); mask >= 0 && !set_mask(a, mask, scores, scores)) return false;
    a.shape.scale *= 1 / std::sqrt(static_cast<float>(a.shape.depth));
    install(std::move(a), node);
    return true;
  }

  // matmul -> [real_div or mul by a number] -> [masks: added, or selected by] -> softmax -> matmul, and between them what leaves
  // the elements in their order
  bool fuse_matmul(Node& scores) const {
    if (!scores.call.known("transpose_x") || !scores.call.known("transpose_y")) return false;
    AttentionPlan a;
    std::vector<Node*> taken;
    const Dims dims = value(plan, scores.outs[0]).type.dims;
    if (dims.size() < 2) return false;
    int at = scores.outs[0];
    Node* next = only_reader(at);
    const auto now = [&]() -> const Dims& { return value(plan, at).type.dims; };
    // Takes `next` in; then what only gives the same elements other extents or another type. False where the chain ends.
    const auto take = [&] {
      taken.push_back(next);
      at = next->outs[0];
      next = only_reader(at);
      return next != nullptr;
    };
    const auto skip_moves = [&] {
      for (; next != nullptr; take()) {
        const std::string& kind = next->op->kind;
        const bool moves = kind == "reshape" || kind == "expand_dims" || kind == "squeeze" || kind == "cast" || kind == "identity";
        if (!moves || next->in("x") != at || !movable(plan, next->outs[0]) || !is_float(value(plan, next->outs[0]).type.dtype)) return true;
      }
      return false;
    };
    const auto advance = [&] { return value(plan, next->outs[0]).type.dims == now() && take() && skip_moves(); };
    if (!skip_moves()) return false;
    if (auto by = scaled(plan, *next); by && by->first == at) {
      a.shape.scale = by->second;
      if (!advance()) return false;
    }
    for (;;) {
      if (next->op->kind == "add") {
        const int x = next->in("x"), y = next->in("y"), mask = x == at ? y : x;
        if (mask == at || !is_float(value(plan, mask).type.dtype) || !set_mask(a, mask, now(), dims)) return false;
      } else if (next->op->kind == "select") {
        if (!set_selected(a, *next, at, now(), dims)) return false;
      } else {
        break;
      }
      if (!advance()) return false;
    }
    if (next->op->kind != "softmax" || !next->call.known("axis") || now().empty() || now().back() != dims.back()) return false;
    const int64_t axis = next->call.i64("axis");
    if (axis != -1 && axis != static_cast<int64_t>(now().size()) - 1) return false;
    if (!advance() || next->op->kind != "matmul" || next->in("x") != at || next->in("y") == at || now() != dims) return false;
    Node& product = *next;
    if (!product.call.known("transpose_x") || !product.call.known("transpose_y") || product.call.flag("transpose_x")) return false;
    const Dims& out = value(plan, product.outs[0]).type.dims;
    // The values may repeat the scores' batch axes, but not add to them.
    if (out.size() != dims.size() || !std::equal(dims.begin(), dims.end() - 1, out.begin())) return false;
    if (!set_operands(a, scores.in("x"), scores.call.flag("transpose_x"), scores.in("y"), !scores.call.flag("transpose_y"), product.in("y"),
                      product.call.flag("transpose_y"), out))
      return false;
    product.fused.clear();
    product.fused.push_back(scores.op);
    scores.dead = true;
    for (Node* node : taken) {
      product.fused.push_back(node->op);
      node->dead = true;
    }
    product.fused.push_back(product.op);
    install(std::move(a), product);
    return true;
  }
};

}  // namespace

bool reshape_view(StridedView& view, const Dims& dims) {
  Dims strides(dims.size(), 0);
  size_t from = 0, to = 0;
  while (from < view.dims.size() || to < dims.size()) {
    // The smallest groups of axes of either side that hold equally many elements.
    size_t from_end = from, to_end = to;
    int64_t a = 1, b = 1;
    if (from_end < view.dims.size()) a = view.dims[from_end++];
    if (to_end < dims.size()) b = dims[to_end++];
    while (a != b) {
      if (a == 0 || b == 0) return false;
      if (a < b) {
        if (from_end == view.dims.size()) return false;
        a *= view.dims[from_end++];
      } else {
        if (to_end == dims.size()) return false;
        b *= dims[to_end++];
      }
    }
    // Within a group the old axes must lie densely behind one another.
    int64_t stride = 1, expected = -1;
    for (size_t i = from_end; i-- > from;) {
      if (view.dims[i] == 1) continue;
      if (expected >= 0 && view.strides[i] != expected) return false;
      if (expected < 0) stride = view.strides[i];
      expected = view.strides[i] * view.dims[i];
    }
    for (size_t i = to_end; i-- > to;) {
      strides[i] = stride;
      stride *= dims[i];
    }
    from = from_end;
    to = to_end;
  }
  view.dims = dims;
  view.strides = std::move(strides);
  return true;
}

StridedView view_of(const Plan& plan, const std::vector<Node*>& producer, int id, float* factor) {
  const Dims& dims = value(plan, id).type.dims;
  StridedView dense{id, dims, row_major_strides(dims), 0};
  Node* node = producer[static_cast<size_t>(id)];
  if (node == nullptr || node->dead || node->eager || node->attention != nullptr || node->act || node->residual >= 0 || node->shuffle != nullptr || node->turn != Node::Turn::kNone) return dense;
  if (factor != nullptr)
    if (const auto by = scaled(plan, *node); by && !value(plan, by->first).is_constant) {
      *factor *= by->second;
      return view_of(plan, producer, by->first, factor);
    }
  int x = node->in("x");
  if (x < 0 || !movable(plan, x) || value(plan, x).is_constant) return dense;
  static constexpr std::string_view kMoves[] = {"identity", "cast", "reshape", "expand_dims", "squeeze", "transpose", "split", "slice_by_index", "gather"};
  if (std::find(std::begin(kMoves), std::end(kMoves), node->op->kind) == std::end(kMoves)) return dense;
  const float before = factor != nullptr ? *factor : 1;
  StridedView view = view_of(plan, producer, x, factor);
  if (look_through(plan, *node, id, view)) return view;
  if (factor != nullptr) *factor = before;
  return dense;
}

void fuse_attention(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes) {
  Finder finder(plan, nodes);
  for (auto& node : nodes) {
    if (node->dead || node->eager) continue;
    if (node->op->kind == "scaled_dot_product_attention") finder.fuse_op(*node);
    if (node->op->kind == "matmul") finder.fuse_matmul(*node);
  }
  std::erase_if(nodes, [](const auto& node) { return node->dead; });
}

}  // namespace mlt
