// Patterns of several source nodes that together are one operator.
#include <algorithm>
#include <unordered_map>

#include "lib/convert/onnx/model.h"

namespace mlt::foreign::onnx {

// DynamicQuantizeLinear, MatMulInteger, Cast and Mul by both scales, as dynamic quantization writes them:
// com.microsoft.DynamicQuantizeMatMul, whose integers need not be products of int32.
void fuse_dynamic_quantization(Graph& graph) {
  std::unordered_map<std::string, size_t> maker, uses;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const std::string& output : graph.nodes[i].outputs) maker[output] = i;
    for (const std::string& input : graph.nodes[i].inputs) ++uses[input];
    // What a subgraph reads may not go away.
    for (const auto& [name, attribute] : graph.nodes[i].attributes)
      if (attribute.graph) return;
  }
  for (const ValueInfo& output : graph.outputs) uses[output.name] += 2;
  auto made_by = [&](const std::string& value, std::string_view op) -> const Node* {
    auto it = maker.find(value);
    return it != maker.end() && graph.nodes[it->second].domain.empty() && graph.nodes[it->second].op_type == op ? &graph.nodes[it->second] : nullptr;
  };
  std::vector<bool> gone(graph.nodes.size(), false);
  std::vector<std::pair<size_t, Node>> fused;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& last = graph.nodes[i];
    if (last.op_type != "Mul" || !last.domain.empty() || last.inputs.size() != 2) continue;
    for (size_t side = 0; side < 2; ++side) {
      const Node *cast = made_by(last.inputs[side], "Cast"), *scales = made_by(last.inputs[1 - side], "Mul");
      const Node* product = cast && cast->inputs.size() == 1 ? made_by(cast->inputs[0], "MatMulInteger") : nullptr;
      if (product == nullptr || scales == nullptr || scales->inputs.size() != 2 || product->inputs.size() < 3 || uses[cast->outputs[0]] != 1 || uses[product->outputs[0]] != 1) continue;
      const Node* range = made_by(product->inputs[0], "DynamicQuantizeLinear");
      if (range == nullptr || range->outputs.size() != 3 || product->inputs[2] != range->outputs[2] || !graph.initializers.contains(product->inputs[1])) continue;
      auto to = cast->attributes.find("to");
      if (to == cast->attributes.end() || to->second.i != 1) continue;
      size_t own = scales->inputs[0] == range->outputs[1] ? 0 : 1;
      if (scales->inputs[own] != range->outputs[1] || !graph.initializers.contains(scales->inputs[1 - own])) continue;
      Node node;
      node.op_type = "DynamicQuantizeMatMul";
      node.domain = "com.microsoft";
      node.name = product->name;
      node.inputs = {range->inputs[0], product->inputs[1], scales->inputs[1 - own]};
      if (product->inputs.size() > 3) node.inputs.push_back(product->inputs[3]);
      node.outputs = last.outputs;
      gone[maker[cast->outputs[0]]] = gone[maker[product->outputs[0]]] = true;
      fused.emplace_back(i, std::move(node));
      break;
    }
  }
  for (auto& [i, node] : fused) graph.nodes[i] = std::move(node);
  size_t kept = 0;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (gone[i]) continue;
    if (kept != i) graph.nodes[kept] = std::move(graph.nodes[i]);
    ++kept;
  }
  graph.nodes.resize(kept);
}

}  // namespace mlt::foreign::onnx
