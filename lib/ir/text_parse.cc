// Parser of MIL text, both spellings ("1.0": tensor<fp32, []>, "1.3": fp32), as printed by text_print.cc. It does not
// ask which version the header names: the two differ in nothing else. Recursive descent over the bytes; literals are
// read by the type in front of them, so that their nesting cannot exceed the type's. "//" comments run to the end of
// the line (for tests; compiled models have none).
//
// Hostile input: nesting is bounded (kMaxDepth), and everything stored was spelled out in the text, so memory is a
// small multiple of its length.
#include "lib/ir/text.h"

#include <fmt/core.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "lib/base/float16.h"
#include "lib/ir/text_tokens.h"

namespace mlt::ir {
namespace {

constexpr int kMaxDepth = 64;    // types within types, blocks within blocks
constexpr size_t kMaxRank = 64;  // extents of one tensor type
// Both are kept in sorted vectors, so an absurd number of them would take quadratic time.
constexpr size_t kMaxParameters = 1024;  // of one op
constexpr size_t kMaxFunctions = 4096;

using Scope = std::unordered_map<std::string, Value*>;

// A half from a double in one rounding: the float in between is rounded to odd, which keeps the sticky bit.
uint16_t double_to_half(double value) {
  auto narrow = static_cast<float>(value);
  if (std::isfinite(narrow) && static_cast<double>(narrow) != value) {
    auto bits = std::bit_cast<uint32_t>(narrow);
    if (std::fabs(static_cast<double>(narrow)) > std::fabs(value)) --bits;
    narrow = std::bit_cast<float>(bits | 1u);
  }
  return float_to_half(narrow);
}

// Elements of one tensor literal, appended in order.
struct Elements {
  DType dtype;
  Bytes raw;                         // byte-sized types
  std::vector<uint8_t> narrow;       // sub-byte types, one per byte
  std::vector<std::string> strings;  // string
  size_t count = 0;
  template <typename T>
  void add(T value) {
    ByteSpan bytes = std::as_bytes(std::span(&value, 1));
    raw.insert(raw.end(), bytes.begin(), bytes.end());
  }
};

class Parser {
 public:
  Parser(std::string_view text, const BlobResolver& blobs) : text_(text), blobs_(blobs) {}

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
  // ---- characters and tokens

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  std::string position(size_t offset) const {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset && i < text_.size(); ++i) {
      if (text_[i] == '\n') ++line, column = 1;
      else ++column;
    }
    return fmt::format("MIL text {}:{}", line, column);
  }
  Error fail_at(size_t offset, std::string message) const { return input_error(position(offset) + ": " + message); }
  Error fail(std::string message) const { return fail_at(at_, std::move(message)); }

  void skip() {
    while (at_ < text_.size()) {
      char c = text_[at_];
      if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
        ++at_;
      } else if (text_.substr(at_, 2) == "//") {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else {
        return;
      }
    }
  }
  bool peek(char c) {
    skip();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool accept(std::string_view token) {
    skip();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  Status expect(std::string_view token) {
    if (!accept(token)) return fail(fmt::format("expected '{}'{}", token, found()));
    return {};
  }
  std::string found() const {
    if (at_ >= text_.size()) return ", found the end of the text";
    auto c = static_cast<unsigned char>(text_[at_]);
    return c < 0x20 || c >= 0x7f ? fmt::format(", found byte 0x{:02x}", c) : fmt::format(", found '{}'", text_[at_]);
  }
  std::string_view word() {
    skip();
    size_t start = at_;
    while (at_ < text_.size() && is_identifier_char(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }
  Status keyword(std::string_view wanted) {
    skip();
    size_t start = at_;
    if (word() != wanted) {
      at_ = start;
      return fail(fmt::format("expected '{}'{}", wanted, found()));
    }
    return {};
  }
  Result<std::string> name(std::string_view what) {
    if (peek('"')) return string();
    std::string_view text = word();
    if (text.empty()) return fail(fmt::format("expected {}{}", what, found()));
    return std::string(text);
  }
  Result<std::string> string() {
    skip();
    size_t start = at_;
    if (!accept("\"")) return fail("expected a string" + found());
    std::string out;
    while (at_ < text_.size()) {
      char c = text_[at_++];
      if (c == '"') return out;
      if (c == '\\') {
        if (at_ == text_.size()) break;
        c = text_[at_++];
        switch (c) {
          case 'n': c = '\n'; break;
          case 't': c = '\t'; break;
          case '"': case '\\': case '/': break;
          default: return fail_at(at_ - 2, "unknown escape in a string");
        }
      }
      out += c;
    }
    return fail_at(start, "string without an end");
  }
  template <typename T>
  Result<T> integer() {
    skip();
    T value{};
    auto [end, code] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (code == std::errc::result_out_of_range) return fail("number out of range");
    if (code != std::errc{}) return fail("expected an integer" + found());
    at_ = static_cast<size_t>(end - text_.data());
    if (at_ < text_.size() && is_identifier_char(text_[at_])) return fail("expected an integer" + found());
    return value;
  }
  // Hexadecimal, decimal, inf or nan. F: float or double, so that there is one rounding only.
  template <typename F>
  Result<F> floating() {
    skip();
    size_t start = at_;
    bool negative = accept("-");
    auto format = std::chars_format::general;
    if (text_.substr(at_, 2) == "0x" || text_.substr(at_, 2) == "0X") {
      at_ += 2;
      format = std::chars_format::hex;
    }
    F value{};
    if (at_ < text_.size() && (text_[at_] == '-' || text_[at_] == '+')) return fail("expected a number" + found());
    auto [end, code] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value, format);
    if (code == std::errc::result_out_of_range) return fail_at(start, "number out of range");
    if (code != std::errc{}) return fail("expected a number" + found());
    at_ = static_cast<size_t>(end - text_.data());
    if (at_ < text_.size() && is_identifier_char(text_[at_])) return fail("expected a number" + found());
    return negative ? -value : value;
  }

  // ---- types

  Result<Type> type(int depth = 0) {
    skip();
    size_t start = at_;
    if (depth > kMaxDepth) return fail("types nest too deep");
    std::string_view head = word();
    if (head == "tensor") {
      MLT_TRY(expect("<"));
      skip();
      size_t element_at = at_;
      auto dtype = dtype_from_name(word());
      if (!dtype) return fail_at(element_at, "expected an element type");
      MLT_TRY(expect(","));
      if (accept("*")) {
        MLT_TRY(expect(">"));
        return Type::unranked(*dtype);
      }
      Type tensor = Type::tensor(*dtype);
      MLT_TRY(expect("["));
      while (!accept("]")) {
        if (!tensor.dims.empty()) MLT_TRY(expect(","));
        if (tensor.dims.size() == kMaxRank) return fail("too many dimensions");
        MLT_ASSIGN(int64_t extent, this->extent());
        tensor.dims.push_back(extent);
      }
      MLT_TRY(expect(">"));
      return tensor;
    }
    if (head == "list") {
      MLT_TRY(expect("<"));
      MLT_ASSIGN(Type element, type(depth + 1));
      MLT_TRY(expect(","));
      MLT_ASSIGN(int64_t length, extent());
      if (length == kVariadic) return fail("a list cannot have variadic length");
      MLT_TRY(expect(">"));
      return Type::list(std::move(element), length);
    }
    if (head == "tuple") {
      MLT_TRY(expect("<"));
      std::vector<Type> elements;
      while (!accept(">")) {
        if (!elements.empty()) MLT_TRY(expect(","));
        MLT_ASSIGN(Type element, type(depth + 1));
        elements.push_back(std::move(element));
      }
      return Type::tuple(std::move(elements));
    }
    if (head == "dict") {
      MLT_TRY(expect("<"));
      MLT_ASSIGN(Type key, type(depth + 1));
      MLT_TRY(expect(","));
      MLT_ASSIGN(Type value, type(depth + 1));
      MLT_TRY(expect(">"));
      return Type::dict(std::move(key), std::move(value));
    }
    if (head == "state") {
      MLT_TRY(expect("<"));
      MLT_ASSIGN(Type held, type(depth + 1));
      MLT_TRY(expect(">"));
      return Type::state(std::move(held));
    }
    auto dtype = dtype_from_name(head);
    if (!dtype) {
      at_ = start;
      return fail(head.empty() ? "expected a type" + found() : fmt::format("unknown type '{}'", head));
    }
    return Type::tensor(*dtype);
  }
  Result<int64_t> extent() {
    if (accept("...")) return kVariadic;
    if (accept("?")) return kUnknown;
    size_t start = at_;
    MLT_ASSIGN(int64_t value, integer<int64_t>());
    if (value < 0) return fail_at(start, "negative extent");
    return value;
  }

  // ---- literals

  Result<LiteralPtr> typed() {
    MLT_ASSIGN(Type declared, type());
    MLT_TRY(expect("("));
    MLT_ASSIGN(Literal value, literal(declared));
    MLT_TRY(expect(")"));
    return std::make_shared<const Literal>(std::move(value));
  }

  Result<Literal> literal(const Type& declared) {
    Literal out;
    out.type = declared;
    switch (declared.kind) {
      case Type::Kind::kTensor: {
        size_t start = at_;
        if (accept("BLOBFILE")) {
          MLT_ASSIGN(out.blob, blob_ref());
          MLT_ASSIGN(out.tensor, resolve(*out.blob, declared, start));
        } else {
          MLT_ASSIGN(out.tensor, tensor(declared));
        }
        return out;
      }
      case Type::Kind::kList: {
        bool round = accept("(");
        if (!round) MLT_TRY(expect("["));
        MLT_TRY(items(out, round ? ")" : "]", [&](size_t) { return &declared.params[0]; }));
        if (declared.length >= 0 && static_cast<uint64_t>(declared.length) != out.items.size())
          return fail(fmt::format("list of {} elements, its type says {}", out.items.size(), declared.length));
        return out;
      }
      case Type::Kind::kTuple: {
        MLT_TRY(expect("("));
        MLT_TRY(items(out, ")", [&](size_t i) { return i < declared.params.size() ? &declared.params[i] : nullptr; }));
        if (out.items.size() != declared.params.size()) return fail("tuple has too few elements");
        return out;
      }
      case Type::Kind::kDict: {
        MLT_TRY(expect("{"));
        while (!accept("}")) {
          if (!out.items.empty()) MLT_TRY(expect(","));
          MLT_TRY(expect("{"));
          MLT_ASSIGN(Literal key, literal(declared.params[0]));
          MLT_TRY(expect(","));
          MLT_ASSIGN(Literal value, literal(declared.params[1]));
          MLT_TRY(expect("}"));
          out.items.push_back(std::move(key));
          out.items.push_back(std::move(value));
        }
        return out;
      }
      case Type::Kind::kState: break;
    }
    return fail("a state has no literal");
  }
  template <typename ElementType>
  Status items(Literal& out, std::string_view close, const ElementType& element_type) {
    while (!accept(close)) {
      if (!out.items.empty()) MLT_TRY(expect(","));
      const Type* type = element_type(out.items.size());
      if (type == nullptr) return fail("tuple has too many elements");
      MLT_ASSIGN(Literal item, literal(*type));
      out.items.push_back(std::move(item));
    }
    return {};
  }

  // BLOBFILE (path = string("..."), offset = uint64(64))
  Result<BlobRef> blob_ref() {
    // A file constant within a file constant's path would nest without end.
    if (in_blob_) return fail("BLOBFILE within BLOBFILE");
    in_blob_ = true;
    BlobRef ref;
    MLT_TRY(expect("("));
    MLT_TRY(keyword("path"));
    MLT_TRY(expect("="));
    MLT_ASSIGN(LiteralPtr path, typed());
    if (path->type != Type::tensor(DType::kString)) return fail("path of BLOBFILE is not a string");
    ref.file = path->text();
    MLT_TRY(expect(","));
    MLT_TRY(keyword("offset"));
    MLT_TRY(expect("="));
    MLT_ASSIGN(LiteralPtr offset, typed());
    if (offset->type != Type::tensor(DType::kU64) || !offset->tensor.valid()) return fail("offset of BLOBFILE is not a uint64");
    ref.offset = *offset->tensor.data<uint64_t>();
    MLT_TRY(expect(")"));
    in_blob_ = false;
    return ref;
  }
  Result<Tensor> resolve(const BlobRef& ref, const Type& declared, size_t start) {
    if (!declared.is_static()) return fail_at(start, "a file constant needs a type with all extents known");
    if (!blobs_) return Tensor();
    return blobs_(ref, declared).in(position(start));
  }

  Result<Tensor> tensor(const Type& declared) {
    size_t start = at_;
    if (!declared.ranked) return fail("a literal needs a type with a rank");
    for (int64_t d : declared.dims)
      if (d == kVariadic) return fail("a literal needs a type with a rank");
    Elements elements{declared.dtype, {}, {}, {}};
    Dims dims = declared.dims;
    MLT_TRY(nest(dims, 0, elements));
    // An unknown extent below an empty one was never met.
    for (int64_t& d : dims)
      if (d < 0) d = 0;
    MLT_ASSIGN(int64_t count, element_count(dims));
    if (static_cast<uint64_t>(count) != elements.count) return fail_at(start, "number of elements differs from the type");
    if (declared.dtype == DType::kString) return Tensor::of_strings(std::move(dims), std::move(elements.strings));
    Tensor out = Tensor::uninitialized(declared.dtype, std::move(dims));
    if (is_sub_byte(declared.dtype)) elements.raw = pack_bits(declared.dtype, elements.narrow);
    if (!elements.raw.empty()) std::memcpy(out.mutable_bytes(), elements.raw.data(), elements.raw.size());
    return out;
  }
  // Unknown extents are filled in by the first sequence met at their axis.
  Status nest(Dims& dims, size_t axis, Elements& elements) {
    if (axis == dims.size()) return element(elements);
    size_t start = at_;
    MLT_TRY(expect("["));
    int64_t count = 0;
    while (!accept("]")) {
      if (count > 0) MLT_TRY(expect(","));
      MLT_TRY(nest(dims, axis + 1, elements));
      ++count;
    }
    if (dims[axis] < 0) dims[axis] = count;
    if (dims[axis] != count) return fail_at(start, fmt::format("{} elements along axis {}, expected {}", count, axis, dims[axis]));
    return {};
  }
  template <typename T>
  Status add_integer(Elements& elements) {
    MLT_ASSIGN(T value, integer<T>());
    elements.add(value);
    return {};
  }
  Status element(Elements& elements) {
    ++elements.count;
    switch (elements.dtype) {
      case DType::kBool: {
        skip();
        size_t start = at_;
        std::string_view text = word();
        if (text != "true" && text != "false") return fail_at(start, "expected true or false");
        elements.add(static_cast<uint8_t>(text == "true"));
        return {};
      }
      case DType::kString: {
        MLT_ASSIGN(std::string value, string());
        elements.strings.push_back(std::move(value));
        return {};
      }
      case DType::kF32: {
        MLT_ASSIGN(float value, floating<float>());
        elements.add(value);
        return {};
      }
      case DType::kF64: case DType::kF16: case DType::kBF16: case DType::kF8E4M3FN: case DType::kF8E5M2: {
        MLT_ASSIGN(double value, floating<double>());
        if (elements.dtype == DType::kF64) elements.add(value);
        else if (elements.dtype == DType::kF16) elements.add(double_to_half(value));
        else if (elements.dtype == DType::kBF16) elements.add(float_to_bfloat16(static_cast<float>(value)));
        else elements.add(convert(Tensor::scalar(value), elements.dtype).bytes()[0]);
        return {};
      }
      case DType::kI4: case DType::kU1: case DType::kU2: case DType::kU3: case DType::kU4: case DType::kU6: {
        skip();
        size_t start = at_;
        MLT_ASSIGN(int value, integer<int>());
        bool is_signed = elements.dtype == DType::kI4;
        int low = is_signed ? -8 : 0, high = is_signed ? 7 : (1 << dtype_bits(elements.dtype)) - 1;
        if (value < low || value > high) return fail_at(start, "number out of range");
        elements.narrow.push_back(static_cast<uint8_t>(value));
        return {};
      }
      case DType::kI8: return add_integer<int8_t>(elements);
      case DType::kI16: return add_integer<int16_t>(elements);
      case DType::kI32: return add_integer<int32_t>(elements);
      case DType::kI64: return add_integer<int64_t>(elements);
      case DType::kU8: return add_integer<uint8_t>(elements);
      case DType::kU16: return add_integer<uint16_t>(elements);
      case DType::kU32: return add_integer<uint32_t>(elements);
      case DType::kU64: return add_integer<uint64_t>(elements);
    }
    return fail("unknown element type");
  }

  // ---- program structure

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

  std::string_view text_;
  const BlobResolver& blobs_;
  size_t at_ = 0;
  bool in_blob_ = false;
};

}  // namespace

Result<std::unique_ptr<Program>> parse(std::string_view text, const BlobResolver& blobs) { return Parser(text, blobs).program(); }

}  // namespace mlt::ir
