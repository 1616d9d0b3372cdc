#include "lib/passes/pattern.h"

#include <algorithm>
#include <cmath>

namespace mlt::passes {

ir::Op* producer(V value, std::string_view kind) {
  return value != nullptr && value->producer != nullptr && value->producer->kind == kind ? value->producer : nullptr;
}

const Tensor* constant(const ir::Op& op, std::string_view param) {
  const ir::Operand* operand = op.operand(param);
  return operand == nullptr ? nullptr : operand->constant_tensor();
}

std::optional<std::vector<int64_t>> constant_ints(const ir::Op& op, std::string_view param) {
  const Tensor* tensor = constant(op, param);
  if (tensor == nullptr || tensor->dtype() == DType::kString) return std::nullopt;
  return to_ints(*tensor);
}

std::optional<bool> constant_flag(const ir::Op& op, std::string_view param, bool absent) {
  if (op.find(param) == nullptr) return absent;
  auto ints = constant_ints(op, param);
  if (!ints || ints->size() != 1) return std::nullopt;
  return (*ints)[0] != 0;
}

namespace {

std::optional<float> uniform_tensor(const Tensor* tensor) {
  if (tensor == nullptr || !is_float(tensor->dtype()) || tensor->size() == 0 || tensor->size() > (1 << 16)) return std::nullopt;
  std::vector<float> values = to_floats(*tensor);
  for (float v : values)
    if (v != values[0]) return std::nullopt;
  return values[0];
}

}  // namespace

std::optional<float> uniform(const ir::Op& op, std::string_view param) { return uniform_tensor(constant(op, param)); }
std::optional<float> uniform(V value) { return value ? uniform_tensor(value->constant_tensor()) : std::nullopt; }

bool near(float a, double b) { return std::abs(a - b) <= 1e-3 * std::abs(b); }

V other_operand(const ir::Op& op, V known) {
  V x = op.input("x"), y = op.input("y");
  if (x == known && y != known) return y;
  if (y == known && x != known) return x;
  return nullptr;
}

bool split_constant(const ir::Op& op, V* variable, const Tensor** value) {
  const ir::Operand *x = op.operand("x"), *y = op.operand("y");
  if (x == nullptr || y == nullptr) return false;
  const Tensor *cx = x->constant_tensor(), *cy = y->constant_tensor();
  if ((cx == nullptr) == (cy == nullptr)) return false;
  *variable = cx ? y->value : x->value;
  *value = cx ? cx : cy;
  return *variable != nullptr;
}

Rewriter::Rewriter(ir::Function& function, Context& context) : function_(function), context_(context) {}

Result<size_t> Rewriter::run(const Visit& visit) {
  constexpr int kMaxRounds = 64;
  size_t total = 0;
  for (int round = 0; round < kMaxRounds; ++round) {
    users_ = std::make_unique<ir::Users>(function_);
    replacement_.clear();
    involved_.clear();
    function_outputs_.clear();
    for (V v : function_.body->outputs) function_outputs_.insert(v);
    changes_ = 0;
    // Ops inserted during the round are not visited in it.
    std::vector<ir::Op*> order;
    function_.for_each_op([&](ir::Op& op) { order.push_back(&op); });
    for (ir::Op* op : order) MLT_TRY(visit(*op));
    if (changes_ == 0) break;
    function_.replace_all_uses(replacement_);
    function_.erase_dead_ops();
    total += changes_;
  }
  return total;
}

ops::OpBuilder Rewriter::before(ir::Op& op) {
  ops::OpBuilder builder(function_, context_.opset, op.parent);
  const auto& list = op.parent->ops;
  auto at = std::find_if(list.begin(), list.end(), [&](const auto& o) { return o.get() == &op; });
  builder.set_position(static_cast<size_t>(at - list.begin()));
  return builder;
}

bool Rewriter::free(std::initializer_list<const ir::Op*> involved) const {
  return std::none_of(involved.begin(), involved.end(), [&](const ir::Op* op) { return involved_.contains(op); });
}

void Rewriter::replace(V old, V fresh, std::initializer_list<const ir::Op*> involved) {
  std::string name = old->name;
  old->name = function_.unique_name(name + "_old");
  fresh->name = name;
  if (fresh->producer && fresh->producer->outputs.size() == 1)
    fresh->producer->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(name));
  replacement_[old] = fresh;
  if (fresh->producer) involved_.insert(fresh->producer);
  involved_.insert(involved.begin(), involved.end());
  ++changes_;
}

bool Rewriter::bypass(V old, V earlier, std::initializer_list<const ir::Op*> involved) {
  if (users_->is_block_output(old)) {
    // The output keeps its name: the earlier value takes it, if it is an op's result in the same block and no output.
    bool possible = earlier->producer != nullptr && old->producer != nullptr && earlier->producer->parent == old->producer->parent &&
                    !earlier->producer->is_const() && !users_->is_block_output(earlier);
    if (!possible) return false;
    replace(old, earlier, involved);
    involved_.insert(earlier->producer);
    return true;
  }
  replacement_[old] = earlier;
  involved_.insert(involved.begin(), involved.end());
  ++changes_;
  return true;
}

}  // namespace mlt::passes
