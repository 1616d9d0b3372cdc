#include "lib/convert/onnx/extents.h"

#include <algorithm>
#include <map>

namespace mlt::foreign::onnx {
namespace {

constexpr int kMaxDepth = 200;

size_t at(int64_t i) { return static_cast<size_t>(i); }

// Output has the type of x, or x's extents at least.
constexpr std::string_view kSameShape[] = {
    "abs",   "acos",       "asin",       "atan",      "atanh",      "ceil",       "clip",  "cos",     "cosh",    "elu",  "erf",     "exp",  "exp2",
    "floor", "gelu",       "identity",   "inverse",   "l2_norm",    "layer_norm", "log",   "cast",    "leaky_relu",   "logical_not", "prelu", "relu", "relu6",
    "round", "rsqrt",      "scaled_tanh", "sigmoid",  "sigmoid_hard", "sign",     "silu",  "sin",     "sinh",    "softmax", "softplus", "softsign",
    "sqrt",  "square",     "tan",        "tanh",      "threshold",  "thresholded_relu", "batch_norm", "instance_norm", "cumsum", "reverse", "band_part"};
constexpr std::string_view kBroadcasting[] = {"add", "sub", "mul", "real_div", "floor_div", "mod", "pow", "maximum", "minimum", "equal", "not_equal",
                                              "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor"};

bool among(std::span<const std::string_view> list, const std::string& kind) { return std::find(list.begin(), list.end(), kind) != list.end(); }

std::optional<std::vector<int64_t>> constant_ints(const ir::Op& op, std::string_view name) {
  const ir::Operand* operand = op.operand(name);
  const Tensor* t = operand ? operand->constant_tensor() : nullptr;
  if (t == nullptr || !is_integer(t->dtype())) return std::nullopt;
  return to_ints(*t);
}
bool is_true(const ir::Op& op, std::string_view name) {
  const ir::Operand* operand = op.operand(name);
  const Tensor* t = operand ? operand->constant_tensor() : nullptr;
  return t && t->size() == 1 && t->dtype() == DType::kBool && *t->data<bool>();
}

class Tracer {
 public:
  Extent axis(V x, int64_t i, int depth = 0) {
    const Dims& dims = x->type.dims;
    if (i < 0 || i >= static_cast<int64_t>(dims.size())) return {};
    if (dims[at(i)] >= 0) return {nullptr, dims[at(i)], true};
    auto [it, fresh] = seen_.try_emplace({x, i}, Extent{x, i, true});
    if (!fresh || depth > kMaxDepth) return {x, i, true};
    if (auto source = step(x, i, depth + 1)) it->second = *source;
    return seen_[{x, i}];
  }

  Extent element(V v, int64_t i, int depth = 0) {
    if (v == nullptr || v->type.rank() > 1 || depth > kMaxDepth) return {};
    if (const Tensor* t = v->constant_tensor()) {
      if (!is_integer(t->dtype()) || i < 0 || i >= t->size()) return {};
      return {nullptr, to_ints(*t)[at(i)], true};
    }
    const ir::Op* op = v->producer;
    if (op == nullptr) return {};
    if (op->kind == "shape") return axis(op->input("x"), i, depth + 1);
    if (op->kind == "cast" || op->kind == "identity" || op->kind == "expand_dims" || op->kind == "squeeze" || op->kind == "reshape") {
      V x = op->input("x");
      return x && (x->type.rank() == 1 || i == 0) ? element(x, i, depth + 1) : Extent{};
    }
    if (op->kind == "concat") {
      for (const ir::Operand& part : op->find("values")->operands) {
        const ir::Type& type = part.type();
        if (type.rank() != 1 || type.dims[0] < 0) return {};
        if (i < type.dims[0]) return part.value ? element(part.value, i, depth + 1) : Extent{};
        i -= type.dims[0];
      }
      return {};
    }
    if (op->kind == "slice_by_index") {
      V x = op->input("x");
      auto begin = constant_ints(*op, "begin"), stride = constant_ints(*op, "stride");
      if (!x || x->type.rank() != 1 || x->type.dims[0] < 0 || !begin || begin->size() != 1 || (stride && (*stride)[0] != 1)) return {};
      if (const ir::Operand* mask = op->operand("begin_mask"); mask && (mask->constant_tensor() == nullptr || *mask->constant_tensor()->data<bool>())) (*begin)[0] = 0;
      int64_t from = (*begin)[0] < 0 ? (*begin)[0] + x->type.dims[0] : (*begin)[0];
      return element(x, from + i, depth + 1);
    }
    if (op->kind == "gather") {
      V x = op->input("x");
      auto indices = constant_ints(*op, "indices");
      if (!x || x->type.rank() != 1 || x->type.dims[0] < 0 || !indices || i < 0 || i >= static_cast<int64_t>(indices->size())) return {};
      int64_t k = (*indices)[at(i)];
      return element(x, k < 0 ? k + x->type.dims[0] : k, depth + 1);
    }
    return {};
  }

 private:
  std::optional<Extent> step(V y, int64_t i, int depth) {
    const ir::Op* op = y->producer;
    if (op == nullptr || op->outputs.size() != 1) return std::nullopt;
    V x = op->input("x");
    int64_t rank = y->type.rank(), own = x ? x->type.rank() : 0;
    if (x && own == rank && among(kSameShape, op->kind)) return axis(x, i, depth);
    if (among(kBroadcasting, op->kind) || op->kind == "select") {
      std::optional<Extent> found;
      for (const char* name : {"x", "y", "cond", "a", "b"}) {
        const ir::Operand* operand = op->operand(name);
        if (operand == nullptr) continue;
        const ir::Type& type = operand->type();
        int64_t k = i - (rank - type.rank());
        if (k < 0 || type.dims[at(k)] == 1) continue;
        if (operand->value == nullptr) return std::nullopt;
        Extent e = axis(operand->value, k, depth);
        if (found && !(*found == e)) return std::nullopt;
        found = e;
      }
      return found;
    }
    if (op->kind == "transpose") {
      auto perm = constant_ints(*op, "perm");
      if (!x || !perm || static_cast<int64_t>(perm->size()) != rank) return std::nullopt;
      int64_t k = (*perm)[at(i)];
      return axis(x, k < 0 ? k + rank : k, depth);
    }
    if ((op->kind == "linear" && x && i + 1 < rank)) return axis(x, i, depth);
    if (op->kind == "matmul" && x && own == rank && i + 2 < rank) return axis(x, i, depth);
    if (op->kind == "matmul" && x && own == rank && i + 2 == rank) return axis(x, is_true(*op, "transpose_x") ? rank - 1 : i, depth);
    if (op->kind == "matmul" && i + 1 == rank && op->input("y")) {
      V z = op->input("y");
      return axis(z, is_true(*op, "transpose_y") ? z->type.rank() - 2 : z->type.rank() - 1, depth);
    }
    if ((op->kind == "conv" || op->kind == "max_pool" || op->kind == "avg_pool") && x && i == 0) return axis(x, 0, depth);
    if (op->kind.starts_with("reduce_") && x && own == rank) return axis(x, i, depth);
    if (op->kind == "expand_dims" || op->kind == "squeeze") {
      auto axes = constant_ints(*op, "axes");
      if (!x || !axes) return std::nullopt;
      int64_t wide = std::max(rank, own);
      std::vector<bool> single(at(wide));
      for (int64_t a : *axes) {
        if (a < -wide || a >= wide) return std::nullopt;
        single[at(a < 0 ? a + wide : a)] = true;
      }
      // The i-th of those that stay, counted on one side, is the other side's.
      int64_t narrow = 0;
      for (int64_t k = 0; k < wide; ++k) {
        bool here = op->kind == "squeeze" ? !single[at(k)] && narrow == i : k == i;
        if (here) return axis(x, op->kind == "squeeze" ? k : narrow, depth);
        narrow += !single[at(k)];
      }
      return std::nullopt;
    }
    if (op->kind == "reshape" && x) return reshaped(*op, x, y, i, depth);
    if (op->kind == "gather" && x && op->input("indices")) {
      auto along = constant_ints(*op, "axis");
      V indices = op->input("indices");
      int64_t a = along ? (*along)[0] : 0, count = indices->type.rank();
      if (a < 0) a += own;
      if (i < a) return axis(x, i, depth);
      if (i < a + count) return axis(indices, i - a, depth);
      return axis(x, i - count + 1, depth);
    }
    if (op->kind == "concat") {
      auto along = constant_ints(*op, "axis");
      const ir::Arg* values = op->find("values");
      if (!along || !values || values->operands.empty() || values->operands[0].value == nullptr) return std::nullopt;
      int64_t a = (*along)[0] < 0 ? (*along)[0] + rank : (*along)[0];
      return a == i ? std::nullopt : std::optional(axis(values->operands[0].value, i, depth));
    }
    return std::nullopt;
  }

  std::optional<Extent> reshaped(const ir::Op& op, V x, V y, int64_t i, int depth) {
    const ir::Operand* shape = op.operand("shape");
    if (shape == nullptr) return std::nullopt;
    if (shape->value) {
      Extent e = element(shape->value, i, depth);
      if (e.known && (e.value || e.at > 0)) return e;
    }
    // One open extent on either side, the others' products equal: it is the same.
    int64_t from = -1, known_x = 1, known_y = 1;
    for (int64_t k = 0; k < x->type.rank(); ++k) {
      int64_t d = x->type.dims[at(k)];
      if (d < 0 && from >= 0) return std::nullopt;
      if (d < 0) from = k;
      else if (d == 0 || known_x > (int64_t{1} << 40)) return std::nullopt;
      else known_x *= d;
    }
    for (int64_t k = 0; k < y->type.rank(); ++k) {
      int64_t d = y->type.dims[at(k)];
      if (d < 0 && k != i) return std::nullopt;
      if (d == 0 || known_y > (int64_t{1} << 40)) return std::nullopt;
      if (d > 0) known_y *= d;
    }
    return from >= 0 && known_x == known_y ? std::optional(axis(x, from, depth)) : std::nullopt;
  }

  std::map<std::pair<V, int64_t>, Extent> seen_;
};

}  // namespace

Extent extent_of(V x, int64_t axis) { return Tracer().axis(x, axis); }
Extent element_of(V integers, int64_t i) { return Tracer().element(integers, i); }

}  // namespace mlt::foreign::onnx
