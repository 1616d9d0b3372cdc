#include "lib/runtime/int8_graph.h"

#include <algorithm>

#include "lib/runtime/fuse.h"

namespace mlt {

std::optional<Codes> codes_of(Node& node, DType type) {
  ops::Call& call = node.call;
  if (type != DType::kI8 && type != DType::kU8) return std::nullopt;
  if (!call.known("scale") || call.type("scale").rank() != 0 || (call.has("zero_point") && !call.known("zero_point"))) return std::nullopt;
  Codes q;
  const std::vector<float> scale = call.floats("scale"), zero = call.has("zero_point") ? call.floats("zero_point") : std::vector<float>{0};
  // Reciprocals of others are no number that kernels could use.
  if (scale.size() != 1 || zero.size() != 1 || !(scale[0] > 1e-30f && scale[0] < 1e30f)) return std::nullopt;
  q.scale = scale[0];
  q.zero = static_cast<int32_t>(zero[0]) + (type == DType::kI8 ? 128 : 0);
  return q;
}

void CodeGraph::prepare() {
  index();
  merge_equal("quantize");
  index();
  merge_equal("dequantize");
  index();
  find_codes();
}

void CodeGraph::index() {
  maker_.assign(plan_.values.size(), -1);
  readers_.assign(plan_.values.size(), {});
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i]->dead) continue;
    for (int id : nodes_[i]->outs) maker_[static_cast<size_t>(id)] = static_cast<int>(i);
    for (const Node::Source& s : nodes_[i]->sources) readers_[static_cast<size_t>(s.id)].push_back(i);
  }
}

int CodeGraph::only_reader(int id) {
  if (value(id).users != 1) return -1;
  for (size_t i : readers_[static_cast<size_t>(id)]) {
    const auto& sources = nodes_[i]->sources;
    const bool reads = std::any_of(sources.begin(), sources.end(), [&](const Node::Source& s) { return s.id == id; });
    if (!nodes_[i]->dead && !nodes_[i]->eager && reads) return static_cast<int>(i);
  }
  return -1;
}

bool CodeGraph::is_output(int id) { return std::find(plan_.output_ids.begin(), plan_.output_ids.end(), id) != plan_.output_ids.end(); }

// Each reader of a value may have a pair of its own, all alike.
void CodeGraph::merge_equal(std::string_view kind) {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    Node& first = *nodes_[i];
    if (first.dead || first.eager || first.op->kind != kind) continue;
    const auto codes = codes_of(first, coded_type(first));
    if (!codes) continue;
    for (size_t j : std::vector<size_t>(readers_[static_cast<size_t>(first.in("input"))])) {
      Node& other = *nodes_[j];
      if (j <= i || other.dead || other.eager || other.op->kind != kind || other.in("input") != first.in("input") || coded_type(other) != coded_type(first) ||
          codes_of(other, coded_type(other)) != codes || value(other.outs[0]).type.dtype != value(first.outs[0]).type.dtype || is_output(other.outs[0]))
        continue;
      const auto& readers = readers_[static_cast<size_t>(other.outs[0])];
      if (std::any_of(readers.begin(), readers.end(), [&](size_t r) { return nodes_[r]->eager || nodes_[r]->attention != nullptr; })) continue;
      for (size_t r : readers)
        for (Node::Source& s : nodes_[r]->sources)
          if (s.id == other.outs[0]) s.id = first.outs[0], ++value(first.outs[0]).users, readers_[static_cast<size_t>(first.outs[0])].push_back(r);
      other.dead = true;
      for (const Node::Source& s : other.sources) --value(s.id).users;
    }
  }
}

// Codes that nobody but dequantize reads need not be int32.
void CodeGraph::find_codes() {
  narrow_.clear();
  for (const auto& node : nodes_) {
    if (node->dead || node->eager || node->op->kind != "quantize") continue;
    const int q = node->outs[0], x = node->in("input");
    const auto codes = codes_of(*node, value(q).type.dtype);
    bool good = codes && x >= 0 && !value(x).is_constant && !value(x).dynamic && !value(q).dynamic && is_float(value(x).type.dtype) && value(q).type.is_static() && !is_output(q);
    for (size_t r : readers_[static_cast<size_t>(q)]) {
      Node& reader = *nodes_[r];
      good = good && !reader.dead && !reader.eager && reader.op->kind == "dequantize" && reader.in("input") == q && codes_of(reader, value(q).type.dtype);
    }
    if (good && !readers_[static_cast<size_t>(q)].empty()) narrow_[q] = *codes;
  }
}

std::optional<CodeGraph::Operand> CodeGraph::operand(int id) {
  Node* node = maker(id);
  if (node == nullptr || node->op->kind != "dequantize" || node->int8 != nullptr) return std::nullopt;
  const int q = node->in("input");
  auto it = narrow_.find(q);
  if (it == narrow_.end()) return std::nullopt;
  return Operand{q, *codes_of(*node, value(q).type.dtype)};
}

Node* CodeGraph::quantizer(int id) {
  const int next = only_reader(id);
  if (next < 0) return nullptr;
  Node& node = *nodes_[static_cast<size_t>(next)];
  if (node.int8 != nullptr || node.op->kind != "quantize" || node.in("input") != id || !narrow_.contains(node.outs[0])) return nullptr;
  return &node;
}

void CodeGraph::release(int id) {
  std::vector<int> left{id};
  while (!left.empty()) {
    const int at = left.back();
    left.pop_back();
    if (--value(at).users > 0) continue;
    Node* node = maker(at);
    if (node == nullptr || node->eager || node->attention != nullptr || node->outs.size() != 1) continue;
    const bool computes = node->op->kind == "dequantize" || node->op->kind == "quantize" || activation_of(*node) || binary_of(node->op->kind);
    if (!computes) continue;
    node->dead = true;
    for (const Node::Source& s : node->sources) left.push_back(s.id);
  }
}

}  // namespace mlt
