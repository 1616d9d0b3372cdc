// A step for every node of a plan.
#include <algorithm>
#include <cstring>

#include "lib/base/threads.h"
#include "lib/runtime/attention_plan.h"
#include "lib/runtime/block_plan.h"
#include "lib/runtime/layout.h"
#include "lib/runtime/plan.h"
#include "lib/runtime/recurrent_plan.h"

namespace mlt {
namespace {

const std::vector<LowerRow>& lowerings_of(std::string_view kind) {
  static const auto table = [] {
    std::unordered_map<std::string_view, std::vector<LowerRow>> rows;
    for (auto family : {attention_lowerings, conv_lowerings, matmul_lowerings, elementwise_lowerings, movement_lowerings, indexed_lowerings, resampling_lowerings, reduction_lowerings, recurrent_lowerings})
      for (const LowerRow& row : family()) rows[row.kind].push_back(row);
    return rows;
  }();
  static const std::vector<LowerRow> kNone;
  auto it = table.find(kind);
  return it == table.end() ? kNone : it->second;
}

const std::vector<LowerRow>& channels_last_lowerings_of(std::string_view kind) {
  static const auto table = [] {
    std::unordered_map<std::string_view, std::vector<LowerRow>> rows;
    for (auto family : {channels_last_lowerings, channels_last_resampling_lowerings, channels_last_movement_lowerings, elementwise_lowerings})
      for (const LowerRow& row : family()) rows[row.kind].push_back(row);
    return rows;
  }();
  static const std::vector<LowerRow> kNone;
  auto it = table.find(kind);
  return it == table.end() ? kNone : it->second;
}

bool sums_products(std::string_view kind) {
  static constexpr std::string_view kKinds[] = {"conv", "conv_transpose", "linear", "matmul", "scaled_dot_product_attention", "lstm", "gru", "rnn"};
  return std::find(std::begin(kKinds), std::end(kKinds), kind) != std::end(kKinds);
}

}  // namespace

// A value that only steps read which hand it on as it is needs no place in a cache. Every reader comes later in nodes_.
void Plan::find_handed_out() {
  constexpr int64_t kRead = -1;  // by something else, or of unknown size
  handed_out_.assign(values.size(), 0);
  auto mark = [&](int id, int64_t bytes) {
    int64_t& known = handed_out_[static_cast<size_t>(id)];
    known = known == kRead || bytes == kRead ? kRead : std::max(known, bytes);
  };
  for (size_t i = 0; i < values.size(); ++i)
    if (!values[i].type.is_static()) handed_out_[i] = kRead;
  for (int id : output_ids)
    if (const PlanValue& v = values[static_cast<size_t>(id)]; v.type.is_static()) mark(id, storage_bytes(held_dtype(v), *element_count(v.type.dims)));
  for (auto it = nodes_.rbegin(); it != nodes_.rend(); ++it) {
    const Node& node = **it;
    if (node.dead) continue;
    const std::string& kind = node.op->kind;
    const bool hands_on = node.attention == nullptr && (kind == "expand_dims" || kind == "squeeze" || kind == "reshape" || kind == "cast" || kind == "concat");
    for (const Node::Source& s : node.sources) mark(s.id, hands_on ? handed_out_[static_cast<size_t>(node.outs[0])] : kRead);
    if (node.residual >= 0) mark(node.residual, kRead);
  }
}

Status Plan::lower_all() {
  find_handed_out();
  for (auto& node : nodes_) {
    if (node->dead) continue;
    MLT_TRY(lower_node(*node).in(op_place(*node->op)));
  }
  for (int& id : output_ids) {
    const ir::Value* value = values[static_cast<size_t>(id)].value;
    id = reordered(id, false, value != nullptr ? value->producer : nullptr);
  }
  return {};
}

Status Plan::lower_node(Node& node) {
  order_sources(node, node.channels_last);
  Step step;
  const ir::Op& last = *node.fused.back();
  step.info.op = node.op;
  step.info.name = std::string(last.name());
  step.info.kind = node.attention != nullptr ? "scaled_dot_product_attention" : node.op->kind;
  for (const ir::Op* op : node.fused) step.info.fused.push_back(op->kind);
  for (const Node::Source& s : node.sources) {
    step.ins.push_back(s.id);
    step.info.input_types.push_back(values[static_cast<size_t>(s.id)].type);
  }
  if (node.attention != nullptr) {
    step.info.input_types[0].dims = node.attention->query_dims;
    step.info.input_types[1].dims = node.attention->key_dims;
  }
  if (node.block != nullptr) step.info.parts = block_parts(*node.block);
  if (node.maxima != nullptr) step.info.parts = maxima_parts(*node.maxima);
  if (node.twin != nullptr) step.info.parts = recurrent_parts(*this, node);
  if (node.residual >= 0) step.ins.push_back(node.residual);
  step.outs = node.outs;
  for (int id : node.outs) {
    step.info.output_types.push_back(values[static_cast<size_t>(id)].type);
    step.info.output_names.push_back(values[static_cast<size_t>(id)].value->name);
  }

  if (is_state_op(node.op->kind) || node.eager) {
    MLT_TRY(is_state_op(node.op->kind) ? lower_state(node, step) : lower_eager(node, step));
    steps.push_back(std::move(step));
    in_place_.emplace_back();
    return {};
  }
  if (options_.fast_kernels) {
    // Constants that an op works on, not with: it was too large to fold, or another operand is no constant. Lowerings keep the
    // others they read. (Those of a gather may be weights as stored.)
    if (!step.info.kind.starts_with("gather") && node.in("x") >= 0) keep(node.in("x"));
    const std::span<const LowerRow> rows = node.int8 != nullptr    ? int8_lowerings()
                                           : node.block != nullptr ? block_lowerings()
                                           : node.turn != Node::Turn::kNone ? turn_lowerings()
                                           : node.channels_last ? std::span<const LowerRow>(channels_last_lowerings_of(step.info.kind))
                                                                : lowerings_of(step.info.kind);
    if (!node.int8_refusal.empty()) step.info.refused.push_back("int8: " + node.int8_refusal);
    for (const LowerRow& row : rows) {
      Lowering lowering(*this, node);
      std::optional<Lowered> lowered = row.lower(lowering);
      if (node.call.error()) return *node.call.error();
      if (failure_) return *failure_;
      if (!lowered) {
        step.info.refused.push_back(std::string(row.kernel) + ": " + lowering.refusal);
        continue;
      }
      step.info.kernel = lowered->kernel;
      if (node.channels_last && node.turn != Node::Turn::kFromImage)
        for (int id : node.outs) values[static_cast<size_t>(id)].channels_last = is_image(*this, id);
      info.scratch_bytes = std::max(info.scratch_bytes, lowered->scratch);
      info.packed_bytes += lowered->packed;
      step.reads_anywhere = lowered->reads_anywhere || lowered->is_view;
      step.writes_anywhere = lowered->writes_anywhere || lowered->is_view;
      if (lowered->is_view && !options_.keep_all) {
        for (size_t i = 0; i < node.outs.size(); ++i) {
          PlanValue& view = values[static_cast<size_t>(node.outs[i])];
          view.alias_of = lowered->in_place[0];
          view.alias_offset = i < lowered->offsets.size() ? lowered->offsets[i] : 0;
        }
      } else if (lowered->is_view) {
        int from = lowered->in_place[0];
        keep(from);
        step.run = [from, outs = node.outs, offsets = lowered->offsets](RunContext& c) {
          for (size_t i = 0; i < outs.size(); ++i) {
            Tensor& to = c.out(outs[i]);
            std::memcpy(to.mutable_bytes(), c.tensor(from).bytes().data() + (i < offsets.size() ? offsets[i] : 0), to.bytes().size());
          }
          return Status();
        };
      } else {
        step.run = std::move(lowered->run);
        step.sums_products = sums_products(step.info.kind);
        in_place_.resize(steps.size());
        in_place_.push_back(std::move(lowered->in_place));
      }
      steps.push_back(std::move(step));
      in_place_.resize(steps.size());
      return {};
    }
  }
  if (node.int8 != nullptr || node.block != nullptr) return resource_error(step.info.refused.empty() ? "no kernel for this group" : step.info.refused.back());
  if (node.channels_last) {
    // What is made inside a concatenation was promised to be.
    std::vector<int> ids = step.ins;
    ids.insert(ids.end(), node.outs.begin(), node.outs.end());
    for (int id : ids)
      if (values[static_cast<size_t>(id)].pitch > 0) return resource_error("no kernel for this convolution: " + (step.info.refused.empty() ? std::string() : step.info.refused.back()));
    node.channels_last = false;
    return lower_node(node);
  }
  // The op alone is less than what the node computes.
  if (node.fused.size() > 1) return resource_error("no kernel for this group: " + (step.info.refused.empty() ? std::string() : step.info.refused.back()));
  MLT_TRY(lower_reference(node, step));
  steps.push_back(std::move(step));
  in_place_.resize(steps.size());
  // It copies x and then writes over a part: a cache that nobody reads afterwards need not be copied.
  if (node.op->kind == "slice_update") in_place_.back() = {node.in("x")};
  return {};
}

void Plan::keep(int id) {
  PlanValue& v = values[static_cast<size_t>(id)];
  Tensor& place = regs[static_cast<size_t>(id)].tensor;
  if (!v.is_constant || regs[static_cast<size_t>(id)].known()) return;
  std::shared_ptr<void>* shared = prepared_place(id, "tensor");
  if (shared == nullptr) {
    place = to_compute(materialize(id, false));
    return;
  }
  if (*shared == nullptr) {
    Tensor made = to_compute(materialize(id, false));
    if (failure_) return;
    *shared = std::make_shared<Tensor>(std::move(made));
  }
  place = *std::static_pointer_cast<Tensor>(*shared);
}

// The op table's evaluation, on the arena's tensors. The call is bound to them at the first run: they do not move.
Status Plan::lower_reference(Node& node, Step& step) {
  step.info.kernel = "reference";
  for (const Node::Source& s : node.sources)
    if (values[static_cast<size_t>(s.id)].deferred != nullptr) keep(s.id);
  if (failure_) return *failure_;
  auto call = std::make_shared<ops::Call>(std::move(node.call));
  auto bound = std::make_shared<bool>(false);
  std::vector<Node::Source> sources = node.sources;
  std::vector<int> outs = node.outs;
  step.run = [call, bound, sources, outs](RunContext& c) -> Status {
    if (!*bound) {
      for (ops::Binding& b : call->bindings())
        for (const Node::Source& s : sources)
          if (b.param->name == s.param && s.index < b.items.size() && !b.items[s.index].value.known())
            b.items[s.index].value = c.regs[static_cast<size_t>(s.id)];
      *bound = true;
    }
    call->outputs().resize(outs.size());
    for (size_t i = 0; i < outs.size(); ++i) call->outputs()[i].tensor = c.out(outs[i]);
    MLT_TRY(call->def().eval(*call));
    if (call->error()) return *call->error();
    for (size_t i = 0; i < outs.size(); ++i) {
      const Tensor& result = call->outputs()[i].tensor;
      Tensor& place = c.out(outs[i]);
      if (result.dtype() == DType::kString) {
        place = result;
      } else if (result.bytes().data() != place.bytes().data()) {
        if (result.dims() != place.dims() || result.dtype() != place.dtype())
          return input_error("evaluation gave " + dims_text(result.dims()) + " where " + dims_text(place.dims()) + " was inferred");
        std::memcpy(place.mutable_bytes(), result.bytes().data(), result.bytes().size());
      }
    }
    return {};
  };
  return {};
}

// A state goes straight to where the op's result lies, and what is written to it comes straight from its place.
Status Plan::lower_state(Node& node, Step& step) {
  const ir::Op& op = *node.op;
  const bool reads = op.kind == "read_state", serialized = op.kind == "write_state";
  const std::string_view param = reads || serialized ? "input" : "state";
  MLT_ASSIGN(std::string name, state_name(op, param));
  const int from = reads ? -1 : node.in(serialized ? "data" : "value"), to = node.outs.empty() ? -1 : node.outs[0];
  if (node.eager || (!reads && from < 0) || (to >= 0 && values[static_cast<size_t>(to)].dynamic)) {
    MLT_TRY(lower_eager(node, step));
    step.info.kernel = "state, eager";
    return {};
  }
  step.info.kernel = "state";
  for (const Node::Source& s : node.sources) keep(s.id);
  if (failure_) return *failure_;
  step.run = [name, from, to, held = op.input(param)->type.held()](RunContext& c) -> Status {
    if (from >= 0) {
      const Tensor& value = c.tensor(from);
      if (!value.valid()) return input_error("the new state has no value");
      const bool computed = value.dtype() == compute_dtype(value.dtype());  // a copy of the handle would allocate
      MLT_TRY(computed ? write_state_tensor(c.state, name, held, value) : write_state_tensor(c.state, name, held, to_compute(value)));
    }
    if (to < 0) return {};
    MLT_ASSIGN(const Tensor* kept, find_state(c.state, name));
    Tensor& place = c.out(to);
    if (kept->dims() != place.dims() || kept->dtype() != place.dtype())
      return input_error("state \"" + name + "\" is " + dims_text(kept->dims()) + ", " + dims_text(place.dims()) + " expected");
    constexpr size_t kPart = 16384;
    const ByteSpan bytes = kept->bytes();
    std::byte* into = place.mutable_bytes();
    parallel_for(static_cast<int64_t>((bytes.size() + kPart - 1) / kPart), 16, [&](int64_t begin, int64_t end) {
      const size_t at = static_cast<size_t>(begin) * kPart;
      std::memcpy(into + at, bytes.data() + at, std::min(bytes.size(), static_cast<size_t>(end) * kPart) - at);
    });
    return {};
  };
  return {};
}

Status Plan::lower_eager(Node& node, Step& step) {
  step.info.kernel = "eager";
  for (const Node::Source& s : node.sources) keep(s.id);
  if (failure_) return *failure_;
  const ir::Op* op = node.op;
  std::vector<int> outs = node.outs;
  ops::Opset opset = opset_;
  ExecOptions options = options_;
  std::vector<bool> dynamic;
  for (int id : outs) dynamic.push_back(values[static_cast<size_t>(id)].dynamic);
  step.run = [this, op, outs, dynamic, opset, options](RunContext& c) -> Status {
    EagerContext context{opset,
                         [&](const ir::Value& value) {
                           int id = id_of(&value);
                           return id < 0 ? ops::RtValue{} : c.regs[static_cast<size_t>(id)];
                         },
                         c.state, options.strict_fp16, options.max_bytes, options.max_iterations, c.findings};
    MLT_ASSIGN(std::vector<ops::RtValue> results, run_eagerly(*op, context));
    for (size_t i = 0; i < outs.size(); ++i) {
      ops::RtValue& place = c.regs[static_cast<size_t>(outs[i])];
      if (dynamic[i] || !results[i].tensor.valid() || results[i].tensor.dtype() == DType::kString) {
        place = std::move(results[i]);
        continue;
      }
      const Tensor& result = results[i].tensor;
      if (result.dims() != place.tensor.dims() || result.dtype() != place.tensor.dtype())
        return input_error("evaluation gave " + dims_text(result.dims()) + " where " + dims_text(place.tensor.dims()) + " was inferred");
      std::memcpy(place.tensor.mutable_bytes(), result.bytes().data(), result.bytes().size());
    }
    return {};
  };
  return {};
}

}  // namespace mlt
