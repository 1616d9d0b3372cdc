// Parser of MIL text, both spellings ("1.0": tensor<fp32, []>, "1.3": fp32), as printed by text_print.cc. It does not
// ask which version the header names: the two differ in nothing else. Recursive descent over the bytes. "//" comments
// run to the end of the line (for tests; compiled models have none).
//
// Hostile input: nesting is bounded (kMaxDepth), and everything stored was spelled out in the text, so memory is a
// small multiple of its length.
#include "lib/ir/text.h"

#include <fmt/core.h>

#include <unordered_map>

#include "lib/ir/text_reader.h"

namespace mlt::ir {
namespace {

constexpr int kMaxDepth = 64;  // blocks within blocks
// Both are kept in sorted vectors, so an absurd number of them would take quadratic time.
constexpr size_t kMaxParameters = 1024;  // of one op
constexpr size_t kMaxFunctions = 4096;

using Scope = std::unordered_map<std::string, Value*>;

class Parser : TextReader {
 public:
  using TextReader::TextReader;

  Result<std::unique_ptr<Program>> program() {
    auto program = std::make_unique<Program>();
    MLT_TRY(keyword("program"));
    MLT_TRY(expect("("));
    skip();
    size_t start = at_;
    while (at_ < text_.size() && (is_digit(text_[at_]) || text_[at_] == '.')) ++at_;
    if (at_ == start) return fail("expected a version, as in program(1.3)");
    MLT_TRY(expect(")"));
    if (peek('[')) MLT_TRY(attributes(program->attributes));
    MLT_TRY(expect("{"));
    while (!accept("}")) MLT_TRY(function(*program));
    skip();
    if (at_ != text_.size()) return fail("text after the end of the program");
    return program;
  }

 private:
  Status attributes(Attributes& out) {
    MLT_TRY(expect("["));
    bool first = true;
    while (!accept("]")) {
      if (!first) MLT_TRY(expect(","));
      first = false;
      skip();
      size_t start = at_;
      MLT_ASSIGN(std::string key, name("an attribute"));
      MLT_TRY(expect("="));
      MLT_ASSIGN(LiteralPtr value, typed());
      if (!out.emplace(key, std::move(value)).second) return fail_at(start, fmt::format("attribute '{}' given twice", key));
    }
    return {};
  }

  Status function(Program& program) {
    MLT_TRY(keyword("func"));
    skip();
    size_t start = at_;
    MLT_ASSIGN(std::string function_name, name("a function name"));
    if (program.functions.size() == kMaxFunctions) return fail("too many functions");
    if (program.find(function_name) != nullptr) return fail_at(start, fmt::format("function '{}' defined twice", function_name));
    MLT_TRY(expect("<"));
    MLT_ASSIGN(std::string token, name("an opset"));
    for (const OpsetName& row : kOpsetNames)
      if (row.token == token) {
        token = row.opset;
        break;
      }
    MLT_TRY(expect(">"));
    Function* function = program.add_function(std::move(function_name), std::move(token));
    Scope scope;
    MLT_TRY(parameters(scope, [&](std::string n, Type t) { return function->add_input(std::move(n), std::move(t)); }));
    if (peek('[')) MLT_TRY(attributes(function->attributes));
    return body(*function->body, scope, 0);
  }

  template <typename Add>
  Status parameters(Scope& scope, const Add& add) {
    MLT_TRY(expect("("));
    bool first = true;
    while (!accept(")")) {
      if (!first) MLT_TRY(expect(","));
      first = false;
      MLT_ASSIGN(Type declared, type());
      MLT_TRY(define(scope, std::move(declared), add));
    }
    return {};
  }
  // Reads a name and enters it; names are unique in their function, so one scope serves all blocks (a block's names are
  // taken out again when it ends, but stay reserved).
  template <typename Add>
  Status define(Scope& scope, Type declared, const Add& add) {
    skip();
    size_t start = at_;
    MLT_ASSIGN(std::string value_name, name("a name"));
    auto [it, fresh] = scope.emplace(value_name, nullptr);
    if (!fresh) return fail_at(start, fmt::format("'{}' is defined twice", value_name));
    it->second = add(std::move(value_name), std::move(declared));
    return {};
  }
  Result<Value*> lookup(const Scope& scope) {
    skip();
    size_t start = at_;
    MLT_ASSIGN(std::string value_name, name("a value"));
    auto it = scope.find(value_name);
    if (it == scope.end() || it->second == nullptr) return fail_at(start, fmt::format("'{}' is not defined here", value_name));
    return it->second;
  }

  // " {", ops, "} -> (a, b);"
  Status body(Block& block, Scope& scope, int depth) {
    if (depth > kMaxDepth) return fail("blocks nest too deep");
    MLT_TRY(expect("{"));
    while (!accept("}")) MLT_TRY(op(block, scope, depth));
    MLT_TRY(expect("->"));
    MLT_TRY(expect("("));
    while (!accept(")")) {
      if (!block.outputs.empty()) MLT_TRY(expect(","));
      MLT_ASSIGN(Value * output, lookup(scope));
      block.outputs.push_back(output);
    }
    return expect(";");
  }

  Status op(Block& block, Scope& scope, int depth) {
    // Outputs are entered after the nested blocks are read, as these cannot see them.
    struct Pending {
      size_t at;
      std::string name;
      Type type;
    };
    std::vector<Pending> pending;
    skip();
    size_t start = at_;
    // An op without outputs starts with its own name and "(": a type in that place is followed by a name or '<'.
    bool outputs = !peek('"');
    if (outputs) {
      word();
      outputs = !peek('(');
      at_ = start;
    }
    if (outputs) {
      do {
        MLT_ASSIGN(Type declared, type());
        skip();
        size_t name_at = at_;
        MLT_ASSIGN(std::string value_name, name("a name"));
        pending.push_back({name_at, std::move(value_name), std::move(declared)});
      } while (accept(","));
      MLT_TRY(expect("="));
    }
    MLT_ASSIGN(std::string kind, name("an operation"));
    Op* op = block.append(std::move(kind));
    MLT_TRY(arguments(*op, scope));
    if (peek('[')) MLT_TRY(attributes(op->attributes));
    if (accept("{")) {
      while (!accept("}")) {
        MLT_TRY(keyword("block"));
        op->blocks.push_back(std::make_unique<Block>(op));
        MLT_TRY(nested(*op->blocks.back(), scope, depth + 1));
      }
    }
    for (Pending& output : pending) {
      auto [it, fresh] = scope.emplace(output.name, nullptr);
      if (!fresh) return fail_at(output.at, fmt::format("'{}' is defined twice", output.name));
      it->second = op->add_output(std::move(output.name), std::move(output.type));
    }
    return expect(";");
  }

  Status arguments(Op& op, const Scope& scope) {
    MLT_TRY(expect("("));
    bool first = true;
    while (!accept(")")) {
      if (!first) MLT_TRY(expect(","));
      first = false;
      skip();
      size_t start = at_;
      MLT_ASSIGN(std::string param, name("a parameter"));
      if (op.args.size() == kMaxParameters) return fail("too many parameters");
      if (op.find(param) != nullptr) return fail_at(start, fmt::format("parameter '{}' given twice", param));
      MLT_TRY(expect("="));
      std::vector<Operand> operands;
      if (accept("(")) {
        while (!accept(")")) {
          if (!operands.empty()) MLT_TRY(expect(","));
          MLT_ASSIGN(Operand o, operand(scope));
          operands.push_back(std::move(o));
        }
      } else {
        MLT_ASSIGN(Operand o, operand(scope));
        operands.push_back(std::move(o));
      }
      op.set(param, std::move(operands));
    }
    return {};
  }
  // A name followed by '(' or '<' is a type, and a literal follows.
  Result<Operand> operand(const Scope& scope) {
    skip();
    size_t start = at_;
    if (text_.substr(at_, 1) != "\"") {
      word();
      bool is_type = peek('(') || peek('<');
      at_ = start;
      if (is_type) {
        MLT_ASSIGN(LiteralPtr value, typed());
        return Operand(std::move(value));
      }
    }
    MLT_ASSIGN(Value * value, lookup(scope));
    return Operand(value);
  }

  Status nested(Block& block, Scope& scope, int depth) {
    MLT_TRY(parameters(scope, [&](std::string n, Type t) { return block.add_input(std::move(n), std::move(t)); }));
    if (peek('[')) MLT_TRY(attributes(block.attributes));
    MLT_TRY(body(block, scope, depth));
    for (const auto& input : block.inputs) scope[input->name] = nullptr;
    for (const auto& op : block.ops)
      for (const auto& output : op->outputs) scope[output->name] = nullptr;
    return {};
  }
};

}  // namespace

Result<std::unique_ptr<Program>> parse(std::string_view text, const BlobResolver& blobs) { return Parser(text, blobs).program(); }

}  // namespace mlt::ir
