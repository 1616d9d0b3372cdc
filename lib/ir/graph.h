// The one intermediate representation: Program > Function > Block > Op > Value, a lossless image of MIL.proto's
// program. ML programs load into it, neural network layers are lifted into it, converters build it; passes, runtime,
// profiler, quantizer, differ and printer work on it.
//
// Ownership goes down by unique_ptr; everything else is a plain pointer inside one Function. A value's name is unique
// within its function. Ops are kept in execution order. Constants are ops of kind "const" whose attribute "val" holds
// a Literal. Uses are not tracked eagerly: Users (below) computes them, and Function::replace_all_uses rewrites many
// at once.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/ir/type.h"

namespace mlt::ir {

class Op;
class Block;
class Function;

// Where a constant's bytes lie outside the program: file name as in the model ("@model_path/weights/weight.bin") and
// the offset of its metadata record.
struct BlobRef {
  std::string file;
  uint64_t offset = 0;
  bool operator==(const BlobRef&) const = default;
};

// A compile-time constant. Tensor literals hold `tensor` (invalid only when it lies in a weight file that is missing);
// lists and tuples hold `items`; a dictionary holds key, value, key, value ... in `items`.
struct Literal {
  Type type;
  Tensor tensor;
  std::vector<Literal> items;
  std::optional<BlobRef> blob;

  static Literal of(Tensor tensor);
  static Literal string(std::string text) { return of(Tensor::string(std::move(text))); }
  static Literal boolean(bool value) { return of(Tensor::scalar(value)); }
  static Literal i32(int64_t value) { return of(Tensor::scalar(static_cast<int32_t>(value))); }
  static Literal f32(float value) { return of(Tensor::scalar(value)); }
  static Literal ints(const std::vector<int64_t>& values) { return of(Tensor::ints(values)); }
  // The text of a string scalar, or empty.
  std::string_view text() const;
};
using LiteralPtr = std::shared_ptr<const Literal>;
using Attributes = std::map<std::string, LiteralPtr, std::less<>>;

// One SSA value: a function parameter, a block parameter or an op's output.
class Value {
 public:
  Value(std::string value_name, Type value_type, Op* op) : name(std::move(value_name)), type(std::move(value_type)), producer(op) {}
  std::string name;
  Type type;
  Op* producer;  // null for parameters
  // The literal when the producer is a "const" op, else null. Its tensor may be invalid (missing weight file).
  const Literal* constant() const;
  // The constant's tensor, or null when this is no constant or the tensor is not there.
  const Tensor* constant_tensor() const;
};

// What an op's parameter is bound to: a value, or a literal written in place.
struct Operand {
  Value* value = nullptr;
  LiteralPtr literal;
  Operand() = default;
  Operand(Value* v) : value(v) {}                    // NOLINT(google-explicit-constructor)
  Operand(LiteralPtr l) : literal(std::move(l)) {}   // NOLINT(google-explicit-constructor)
  const Type& type() const { return value ? value->type : literal->type; }
  const Literal* constant() const { return value ? value->constant() : literal.get(); }
  const Tensor* constant_tensor() const;
};

// A named parameter; several operands make a tuple (concat's values).
struct Arg {
  std::string name;
  std::vector<Operand> operands;
};

class Op {
 public:
  Op(std::string op_kind, Block* block) : kind(std::move(op_kind)), parent(block) {}
  std::string kind;  // "conv", "const", "while_loop"
  std::vector<Arg> args;  // sorted by name
  std::vector<std::unique_ptr<Value>> outputs;
  std::vector<std::unique_ptr<Block>> blocks;
  Attributes attributes;  // "name", const's "val", constexpr parameters of opsets before CoreML8, anything else
  Block* parent;

  const Arg* find(std::string_view param) const;
  Arg& arg(std::string_view param);  // finds or inserts in order
  // The only operand of `param`, or null when it is not given.
  const Operand* operand(std::string_view param) const;
  Value* input(std::string_view param) const;  // the value bound to it, or null
  void set(std::string_view param, Operand operand);
  void set(std::string_view param, std::vector<Operand> operands);
  void erase(std::string_view param);
  Value* output(size_t i = 0) const { return outputs[i].get(); }
  Value* add_output(std::string name, Type type);
  std::string_view name() const;  // attribute "name", else the first output's name
  bool is_const() const { return kind == "const"; }
};

class Block {
 public:
  explicit Block(Op* owner) : parent(owner) {}
  std::vector<std::unique_ptr<Value>> inputs;
  std::vector<std::unique_ptr<Op>> ops;
  std::vector<Value*> outputs;
  Attributes attributes;
  Op* parent;  // the op this block belongs to; null for a function's body

  Op* append(std::string kind);
  Op* insert(size_t position, std::string kind);
  Value* add_input(std::string name, Type type);
};

class Function {
 public:
  Function() : body(std::make_unique<Block>(nullptr)) {}
  std::string name;
  std::string opset;  // "CoreML7"; also the name of the body among the proto's block specializations
  std::vector<std::unique_ptr<Value>> inputs;
  std::unique_ptr<Block> body;
  Attributes attributes;

  Value* add_input(std::string input_name, Type type);
  Value* find_input(std::string_view input_name) const;
  // Every op, depth first in execution order: an op before the ops of its blocks.
  void for_each_op(const std::function<void(Op&)>& visit);
  void for_each_op(const std::function<void(const Op&)>& visit) const;
  // Rewrites every operand and block output; chains (a -> b, b -> c) are followed.
  void replace_all_uses(const std::unordered_map<const Value*, Value*>& replacement);
  // Removes ops none of whose outputs is used, except those that write state. Returns how many.
  size_t erase_dead_ops();
  // A name not yet taken in this function, made from `wish` (sanitized to an identifier).
  std::string unique_name(std::string_view wish);

 private:
  std::unordered_map<std::string, int> taken_;  // filled on first use
  bool taken_ready_ = false;
};

class Program {
 public:
  int64_t version = 1;
  std::vector<std::unique_ptr<Function>> functions;  // sorted by name
  Attributes attributes;

  Function* add_function(std::string name, std::string opset);
  Function* find(std::string_view name) const;
};

// Uses of every value of a function, as of construction.
class Users {
 public:
  explicit Users(const Function& function);
  const std::vector<Op*>& of(const Value* value) const;  // an op once per operand that names the value
  bool is_block_output(const Value* value) const;
  size_t count(const Value* value) const { return of(value).size() + (is_block_output(value) ? 1 : 0); }

 private:
  std::unordered_map<const Value*, std::vector<Op*>> users_;
  std::unordered_map<const Value*, int> block_outputs_;
};

// Letters, digits and underscore, not starting with a digit, as MIL identifiers must be.
std::string sanitized_identifier(std::string_view text);

// Deep copies; literals are shared.
std::unique_ptr<Function> clone(const Function& function);
std::unique_ptr<Program> clone(const Program& program);

}  // namespace mlt::ir
