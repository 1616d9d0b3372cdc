// What fusions match and build with.
#pragma once
#include <functional>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/ops/builder.h"
#include "lib/passes/pass.h"

namespace mlt::passes {

using V = ir::Value*;

// The op that makes `value` when it is of this kind, else null.
ir::Op* producer(V value, std::string_view kind);
// Value of a constant operand.
const Tensor* constant(const ir::Op& op, std::string_view param);
std::optional<std::vector<int64_t>> constant_ints(const ir::Op& op, std::string_view param);
std::optional<bool> constant_flag(const ir::Op& op, std::string_view param, bool absent);
// A float constant all of whose elements are equal: that element.
std::optional<float> uniform(const ir::Op& op, std::string_view param);
std::optional<float> uniform(V value);
bool near(float a, double b);  // to about three digits more than float16 has
// For a commutative op of two operands: the operand that is not `known`, or null when `known` is neither.
V other_operand(const ir::Op& op, V known);
// Operands x and y with the constant one second; false unless exactly one is constant.
bool split_constant(const ir::Op& op, V* variable, const Tensor** value);

// One round of a fusion: matches see a consistent graph, changes take effect together at the end of the round.
class Rewriter {
 public:
  Rewriter(ir::Function& function, Context& context);

  // Calls visit for every op (nested blocks included) in order; repeats while something was replaced.
  using Visit = std::function<Status(ir::Op&)>;
  Result<size_t> run(const Visit& visit);

  // Only this op uses the value, and no block hands it out.
  bool only_user(V value) const { return users_->count(value) == 1; }
  const ir::Users& users() const { return *users_; }
  // A builder that inserts before `op`.
  ops::OpBuilder before(ir::Op& op);
  // All uses of `old` become uses of `fresh`, which takes its name. `involved` ops take no part in further matches of
  // this round; false (and nothing done) when one of them was already involved.
  bool free(std::initializer_list<const ir::Op*> involved) const;
  void replace(V old, V fresh, std::initializer_list<const ir::Op*> involved);
  // Uses of `old` become uses of an earlier value, which keeps its name unless `old` is an output; false when that
  // cannot be (an output that is an input or a constant).
  bool bypass(V old, V earlier, std::initializer_list<const ir::Op*> involved);
  ir::Function& function() { return function_; }
  ops::Opset opset() const { return context_.opset; }

 private:
  ir::Function& function_;
  Context& context_;
  std::unique_ptr<ir::Users> users_;
  std::unordered_map<const ir::Value*, V> replacement_;
  std::unordered_set<const ir::Op*> involved_;
  std::unordered_set<const ir::Value*> function_outputs_;
  size_t changes_ = 0;
};

}  // namespace mlt::passes
