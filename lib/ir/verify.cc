#include "lib/ir/verify.h"

#include <fmt/core.h>

#include <unordered_set>

#include "lib/base/result.h"

namespace mlt::ir {
namespace {

constexpr int kMaxDepth = 64;       // blocks within blocks
constexpr size_t kMaxErrors = 200;  // a broken program breaks everywhere; the rest adds nothing

// Number of blocks an op of this kind must have, or -1 when it may have any.
int expected_blocks(std::string_view kind) {
  if (kind == "cond" || kind == "while_loop") return 2;
  if (kind == "const" || kind == "cast" || kind.starts_with("constexpr_")) return 0;
  return -1;
}

class Verifier {
 public:
  std::vector<Error> run(const Program& program) {
    const Function* previous = nullptr;
    check_attributes(program.attributes, "program");
    for (const auto& function : program.functions) {
      if (function == nullptr) {
        report("null function");
        continue;
      }
      function_ = function.get();
      if (function->name.empty()) report("function without a name");
      if (function->opset.empty()) report("function without an opset");
      if (previous != nullptr && previous->name >= function->name) report("functions are not sorted by name, or share a name");
      previous = function.get();
      this->function(*function);
      function_ = nullptr;
    }
    return std::move(errors_);
  }

 private:
  void report(std::string message) {
    if (errors_.size() >= kMaxErrors) return;
    Error error = input_error(std::move(message));
    if (op_ != nullptr) error.context.push_back(fmt::format("op {} ({})", op_->name(), op_->kind));
    if (function_ != nullptr) error.context.push_back("function " + function_->name);
    errors_.push_back(std::move(error));
  }

  void function(const Function& f) {
    names_.clear();
    visible_.clear();
    check_attributes(f.attributes, "function");
    for (const auto& input : f.inputs) define(*input, nullptr, "input");
    block(*f.body, nullptr, 0);
  }

  void define(const Value& value, const Op* producer, std::string_view what) {
    if (value.name.empty()) report(fmt::format("{} without a name", what));
    if (!names_.insert(value.name).second) report(fmt::format("name '{}' is used twice", value.name));
    if (value.producer != producer) report(fmt::format("'{}' does not know its producer", value.name));
    check_type(value.type, value.name, 0);
    visible_.insert(&value);
  }

  void check_type(const Type& type, const std::string& where, int depth) {
    if (depth > kMaxDepth) return report(fmt::format("type of '{}' nests too deep", where));
    size_t params = type.params.size();
    bool complete = true;
    switch (type.kind) {
      case Type::Kind::kTensor:
        complete = params == 0;
        if (!type.ranked && !type.dims.empty()) report(fmt::format("type of '{}' has extents but no rank", where));
        for (int64_t d : type.dims)
          if (d < 0 && d != kUnknown && d != kVariadic) report(fmt::format("type of '{}' has extent {}", where, d));
        break;
      case Type::Kind::kList: complete = params == 1; break;
      case Type::Kind::kDict: complete = params == 2; break;
      case Type::Kind::kState:
        complete = params == 1;
        if (complete && !type.params[0].is_tensor()) report(fmt::format("'{}' is a state of something that is no tensor", where));
        break;
      case Type::Kind::kTuple: break;
    }
    if (!complete) report(fmt::format("type of '{}' is incomplete", where));
    for (const Type& param : type.params) check_type(param, where, depth + 1);
  }

  void check_attributes(const Attributes& attributes, std::string_view owner) {
    for (const auto& [key, literal] : attributes) {
      if (key.empty()) report(fmt::format("{} attribute without a name", owner));
      if (literal == nullptr) report(fmt::format("attribute '{}' has no value", key));
      else check_literal(*literal, key, 0);
    }
  }

  void check_literal(const Literal& literal, const std::string& where, int depth) {
    if (depth > kMaxDepth) return report(fmt::format("value of '{}' nests too deep", where));
    if (depth == 0) check_type(literal.type, where, 0);
    switch (literal.type.kind) {
      case Type::Kind::kTensor:
        if (!literal.items.empty()) report(fmt::format("'{}' is a tensor with items", where));
        if (!literal.tensor.valid()) {
          if (!literal.blob) report(fmt::format("'{}' has no value", where));
        } else if (!compatible(literal.type, Type::of(literal.tensor))) {
          report(fmt::format("'{}' is declared {}, its value is {}", where, literal.type.to_string(), Type::of(literal.tensor).to_string()));
        }
        return;
      case Type::Kind::kList:
      case Type::Kind::kTuple: {
        bool list = literal.type.kind == Type::Kind::kList;
        int64_t wanted = list ? literal.type.length : static_cast<int64_t>(literal.type.params.size());
        if (wanted >= 0 && static_cast<size_t>(wanted) != literal.items.size())
          report(fmt::format("'{}' has {} items, its type says {}", where, literal.items.size(), wanted));
        break;
      }
      case Type::Kind::kDict:
        if (literal.items.size() % 2 != 0) report(fmt::format("'{}' is a dictionary with half an entry", where));
        break;
      case Type::Kind::kState: report(fmt::format("'{}' is a constant of state type", where)); return;
    }
    for (const Literal& item : literal.items) check_literal(item, where, depth + 1);
  }

  void use(const Value* value, std::string_view where) {
    if (value == nullptr) report(fmt::format("{} has no value", where));
    else if (!visible_.contains(value)) report(fmt::format("'{}' ({}) is used before it is defined, or out of its block", value->name, where));
  }

  void block(const Block& b, const Op* owner, int depth) {
    if (depth > kMaxDepth) return report("blocks nest too deep");
    if (b.parent != owner) report("a block does not know its owner");
    check_attributes(b.attributes, "block");
    std::vector<const Value*> mine;
    for (const auto& input : b.inputs) {
      define(*input, nullptr, "block input");
      mine.push_back(input.get());
    }
    const Op* outer = op_;
    for (const auto& op : b.ops) {
      op_ = op.get();
      if (op->parent != &b) report("an op does not know its block");
      this->op(*op, depth);
      for (const auto& output : op->outputs) {
        define(*output, op.get(), "output");
        mine.push_back(output.get());
      }
    }
    op_ = outer;
    for (const Value* output : b.outputs) use(output, "block output");
    // Values of a nested block are not seen outside.
    if (owner != nullptr)
      for (const Value* value : mine) visible_.erase(value);
  }

  void op(const Op& op, int depth) {
    if (op.kind.empty()) report("op without a kind");
    check_attributes(op.attributes, "op");
    const Arg* previous = nullptr;
    for (const Arg& arg : op.args) {
      if (arg.name.empty()) report("parameter without a name");
      if (previous != nullptr && previous->name >= arg.name) report(fmt::format("parameters are not sorted by name, or '{}' is given twice", arg.name));
      previous = &arg;
      for (const Operand& operand : arg.operands) {
        if (operand.literal != nullptr && operand.value == nullptr) check_literal(*operand.literal, arg.name, 0);
        else use(operand.value, fmt::format("parameter '{}'", arg.name));
      }
    }
    if (op.is_const()) constant(op);
    int blocks = expected_blocks(op.kind);
    if (blocks >= 0 && op.blocks.size() != static_cast<size_t>(blocks))
      report(fmt::format("{} blocks, expected {}", op.blocks.size(), blocks));
    for (const auto& nested : op.blocks) {
      if (nested == nullptr) report("null block");
      else block(*nested, &op, depth + 1);
    }
    if (op.kind == "cond") cond(op);
    if (op.kind == "while_loop") while_loop(op);
  }

  void constant(const Op& op) {
    if (op.outputs.size() != 1) return report(fmt::format("a constant with {} outputs", op.outputs.size()));
    auto val = op.attributes.find("val");
    if (val == op.attributes.end() || val->second == nullptr) return report("a constant without a value");
    if (!compatible(op.outputs[0]->type, val->second->type))
      report(fmt::format("output is declared {}, its value is {}", op.outputs[0]->type.to_string(), val->second->type.to_string()));
  }

  // Block outputs that become values of the types in `wanted`.
  template <typename Values>
  void results(const Block& block, size_t skip, const Values& wanted, std::string_view what) {
    if (block.outputs.size() != wanted.size() + skip)
      return report(fmt::format("{} gives {} values, expected {}", what, block.outputs.size(), wanted.size() + skip));
    for (size_t i = 0; i < wanted.size(); ++i) {
      const Value* given = block.outputs[i + skip];
      if (given != nullptr && !compatible(wanted[i]->type, given->type))
        report(fmt::format("{} gives {} for '{}', expected {}", what, given->type.to_string(), wanted[i]->name, wanted[i]->type.to_string()));
    }
  }

  void cond(const Op& op) {
    for (const auto& branch : op.blocks) {
      if (branch == nullptr) continue;
      if (!branch->inputs.empty()) report("a branch with inputs");
      results(*branch, 0, op.outputs, "a branch");
    }
  }

  // Blocks: condition (loop values in, one bool out), body (loop values in and out).
  void while_loop(const Op& op) {
    const Arg* vars = op.find("loop_vars");
    if (vars == nullptr) return report("no loop_vars");
    if (op.blocks.size() != 2 || op.blocks[0] == nullptr || op.blocks[1] == nullptr) return;
    if (op.outputs.size() != vars->operands.size())
      report(fmt::format("{} loop_vars, {} outputs", vars->operands.size(), op.outputs.size()));
    const Block& condition = *op.blocks[0];
    const Block& body = *op.blocks[1];
    if (condition.outputs.size() != 1 || condition.outputs[0] == nullptr || !condition.outputs[0]->type.is_tensor() ||
        condition.outputs[0]->type.dtype != DType::kBool)
      report("the condition does not give one bool");
    for (const Block* block : {&condition, &body})
      if (block->inputs.size() != vars->operands.size())
        report(fmt::format("a block takes {} values, {} loop_vars", block->inputs.size(), vars->operands.size()));
    results(body, 0, op.outputs, "the body");
  }

  std::vector<Error> errors_;
  const Function* function_ = nullptr;
  const Op* op_ = nullptr;
  std::unordered_set<std::string> names_;           // of the whole function
  std::unordered_set<const Value*> visible_;
};

}  // namespace

std::vector<Error> verify(const Program& program) { return Verifier().run(program); }

}  // namespace mlt::ir
