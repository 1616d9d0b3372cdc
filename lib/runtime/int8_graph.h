// What the passes that look for eight-bit arithmetic know of a graph: who makes and who reads a value, and which tensors
// may be codes. Internal to lib/runtime.
#pragma once
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/runtime/int8_plan.h"

namespace mlt {

class CodeGraph {
 public:
  CodeGraph(Plan& plan, std::vector<std::unique_ptr<Node>>& nodes) : plan_(plan), nodes_(nodes) {}

  // Finds makers and readers, joins quantize nodes that are alike, and dequantize nodes, and finds the codes.
  void prepare();

  // The codes behind a dequantized operand.
  struct Operand {
    int id;
    Codes codes;
  };
  std::optional<Operand> operand(int id);

  PlanValue& value(int id) { return plan_.values[static_cast<size_t>(id)]; }
  const Dims& dims(int id) { return value(id).type.dims; }
  Node* maker(int id) {
    const int at = id >= 0 ? maker_[static_cast<size_t>(id)] : -1;
    return at < 0 || nodes_[static_cast<size_t>(at)]->dead ? nullptr : nodes_[static_cast<size_t>(at)].get();
  }
  // The one node that reads a value which is nothing else either; -1 otherwise.
  int only_reader(int id);
  bool is_output(int id);
  // The quantize that is all that reads a value, with codes that stay codes.
  Node* quantizer(int id);
  // Node i reads these codes.
  void reads(size_t i, int codes) {
    ++value(codes).users;
    readers_[static_cast<size_t>(codes)].push_back(i);
  }
  // One reader less: what nobody reads any more is not computed, up to the codes that it was made of.
  void release(int id);

  Plan& plan_;
  std::vector<std::unique_ptr<Node>>& nodes_;
  std::vector<int> maker_;
  std::vector<std::vector<size_t>> readers_;
  std::unordered_map<int, Codes> narrow_;  // values that may be codes

 private:
  void index();
  void merge_equal(std::string_view kind);
  void find_codes();
  DType coded_type(Node& node) { return node.op->kind == "quantize" ? value(node.outs[0]).type.dtype : value(node.in("input")).type.dtype; }
};

// One scale and zero point for the whole tensor, both known; of a quantize or dequantize node with codes of `type`.
std::optional<Codes> codes_of(Node& node, DType type);

// What MIL's quantize makes of what is no number: the code 0 of the declared type.
inline uint8_t code_of_nan(DType type) { return type == DType::kI8 ? 128 : 0; }

// Elementwise functions of one tensor of codes that are quantized again become tables (Int8Plan::Kind::kMap), however
// many operations and pairs they are spelled in.
void fuse_code_functions(CodeGraph& graph);

}  // namespace mlt
