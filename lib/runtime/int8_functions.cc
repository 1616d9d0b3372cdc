#include <algorithm>

#include "lib/runtime/fuse.h"
#include "lib/runtime/int8_graph.h"

namespace mlt {
namespace {

using Values = std::array<float, 256>;

// A value of floats that is f(code), element by element, of a tensor of codes.
struct Function {
  int root = -1;
  Values values{};  // of each code
};

class Functions {
 public:
  explicit Functions(CodeGraph& graph) : g_(graph) {}

  void run() {
    for (size_t i = 0; i < g_.nodes_.size(); ++i) {
      Node& node = *g_.nodes_[i];
      if (node.dead || node.eager || node.attention != nullptr || node.int8 != nullptr || node.outs.size() != 1 || g_.value(node.outs[0]).dynamic) continue;
      if (node.op->kind == "quantize") {
        tabulate(i);
      } else if (auto f = function_of(node)) {
        made_.emplace(node.outs[0], std::move(*f));
      }
    }
  }

 private:
  const Function* find(int id) const {
    auto it = made_.find(id);
    return it == made_.end() ? nullptr : &it->second;
  }

  std::optional<Function> function_of(Node& node) {
    const int out = node.outs[0];
    if (!is_float(g_.value(out).type.dtype)) return std::nullopt;
    if (node.op->kind == "dequantize") {
      auto codes = g_.operand(out);
      if (!codes) return std::nullopt;
      Function f;
      CodeTable table = same_codes();
      f.root = codes->id;
      if (auto map = tables_.find(codes->id); map != tables_.end()) f.root = map->second.first, table = map->second.second;
      dequantize_codes(table.data(), f.values.data(), 256, codes->codes);
      return f;
    }
    if (auto act = activation_of(node)) {
      const Function* x = find(node.in("x"));
      if (x == nullptr) return std::nullopt;
      Function f{x->root, {}};
      unary(*act, x->values.data(), f.values.data(), 256);
      return f;
    }
    if (auto op = binary_of(node.op->kind)) return function_of_two(node, *op);
    return std::nullopt;
  }

  // Both operands of the same codes, or one of them a number.
  std::optional<Function> function_of_two(Node& node, Binary op) {
    const int ids[2] = {node.in("x"), node.in("y")};
    const Function* f[2] = {find(ids[0]), find(ids[1])};
    if (f[0] == nullptr && f[1] == nullptr) return std::nullopt;
    float number[2] = {};
    for (int i : {0, 1}) {
      if (f[i] != nullptr) {
        if (g_.dims(ids[i]) != g_.dims(node.outs[0]) || (f[1 - i] != nullptr && f[1 - i]->root != f[i]->root)) return std::nullopt;
        continue;
      }
      if (ids[i] < 0) return std::nullopt;
      const PlanValue& v = g_.value(ids[i]);
      if (!v.is_constant || v.deferred != nullptr || !is_float(v.type.dtype) || v.constant.size() != 1) return std::nullopt;
      number[i] = to_floats(to_compute(v.constant)).at(0);
    }
    const std::array<int64_t, 1> all{256}, one{1};
    Broadcast shape;
    if (!make_broadcast(f[0] != nullptr ? all : one, f[1] != nullptr ? all : one, &shape)) return std::nullopt;
    Function result{f[f[0] != nullptr ? 0 : 1]->root, {}};
    binary(op, shape, f[0] != nullptr ? f[0]->values.data() : &number[0], f[1] != nullptr ? f[1]->values.data() : &number[1], result.values.data());
    return result;
  }

  void tabulate(size_t i) {
    Node& quantize = *g_.nodes_[i];
    const int x = quantize.in("input"), q = quantize.outs[0];
    const Function* f = find(x);
    auto codes = g_.narrow_.find(q);
    if (f == nullptr || codes == g_.narrow_.end()) return;
    auto plan = std::make_shared<Int8Plan>();
    plan->kind = Int8Plan::Kind::kMap;
    plan->out = codes->second;
    quantize_codes(f->values.data(), plan->table.data(), 256, plan->out, code_of_nan(g_.value(q).type.dtype));
    tables_[q] = {f->root, plan->table};
    if (bypassed(q, f->root, plan->table)) {
      quantize.dead = true;
      return g_.release(x);
    }
    // The last operation makes the codes itself, where nobody else reads its result.
    const int at = g_.quantizer(x) == &quantize ? g_.maker_[static_cast<size_t>(x)] : -1;
    const bool carried = at >= 0 && g_.nodes_[static_cast<size_t>(at)]->op->kind != "dequantize";
    const size_t carrier = carried ? static_cast<size_t>(at) : i;
    Node& node = *g_.nodes_[carrier];
    std::vector<int> read;
    for (const Node::Source& s : node.sources) read.push_back(s.id);
    node.int8 = std::move(plan);
    node.sources = {{"x", 0, f->root}};
    g_.reads(carrier, f->root);
    g_.value(q).codes = true;
    if (carried) {
      node.outs = quantize.outs;
      node.fused.push_back(quantize.op);
      quantize.dead = true;
      g_.maker_[static_cast<size_t>(q)] = static_cast<int>(carrier);
    }
    for (int id : read) g_.release(id);
  }

  // The same codes again: their readers read the first.
  bool bypassed(int q, int root, const CodeTable& table) {
    if (table != same_codes() || g_.value(q).type.dtype != g_.value(root).type.dtype || g_.dims(q) != g_.dims(root)) return false;
    for (size_t r : g_.readers_[static_cast<size_t>(q)]) {
      if (g_.nodes_[r]->dead) continue;
      for (Node::Source& s : g_.nodes_[r]->sources)
        if (s.id == q) s.id = root, --g_.value(q).users, g_.reads(r, root);
    }
    return true;
  }

  static CodeTable same_codes() {
    CodeTable t{};
    for (size_t i = 0; i < t.size(); ++i) t[i] = static_cast<uint8_t>(i);
    return t;
  }

  CodeGraph& g_;
  std::unordered_map<int, Function> made_;                    // by value
  std::unordered_map<int, std::pair<int, CodeTable>> tables_;  // codes made here: of which codes, and how
};

}  // namespace

void fuse_code_functions(CodeGraph& graph) { Functions(graph).run(); }

}  // namespace mlt
