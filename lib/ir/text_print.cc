// Printer of MIL text. The rules were found by comparing compiled models with their sources (reference of the compiled
// format, section 2); layout, order and spelling are all significant, since the aim is equality byte for byte.
//
// Three things have never been seen in a compiled model, so their spelling is ours, and text_parse.cc reads it back:
//   - blocks nested in an op:
//         TYPE NAME = cond(pred = p)[name = "c"] {
//             block(TYPE a) [ATTR] {
//                     ops
//                 } -> (x);
//         };
//   - names that are no identifiers: in double quotes;
//   - an unknown rank, "tensor<fp32, *>", and a variadic extent, "...".
#include "lib/ir/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "lib/base/float16.h"
#include "lib/ir/text_tokens.h"

namespace mlt::ir {

bool is_plain_identifier(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [](char c) { return is_identifier_char(c); });
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    // A raw line feed would be legal, but keeps people from reading a line as an op.
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out += '"';
}

std::string opset_token(std::string_view opset) {
  for (const OpsetName& row : kOpsetNames)
    if (row.opset == opset) return std::string(row.token);
  return is_plain_identifier(opset) ? std::string(opset) : quoted(opset);
}

std::string hex_float(double value) {
  if (std::isnan(value)) return "nan";
  std::string sign = std::signbit(value) ? "-" : "";
  if (std::isinf(value)) return sign + "inf";
  if (value == 0) return sign + "0x0p+0";
  int exponent = 0;
  // [0.5, 1) -> 1.xxx: normal form also for values that are subnormal in their own type.
  double mantissa = std::frexp(std::fabs(value), &exponent) * 2;
  --exponent;
  uint64_t fraction = std::bit_cast<uint64_t>(mantissa) & 0xfffffffffffffu;
  std::string digits;
  if (fraction != 0) {
    digits = fmt::format(".{:013x}", fraction);
    digits.erase(digits.find_last_not_of('0') + 1);
  }
  return fmt::format("{}0x1{}p{}{}", sign, digits, exponent < 0 ? '-' : '+', std::abs(exponent));
}

namespace {

class Printer {
 public:
  explicit Printer(const PrintOptions& options) : options_(options), terse_scalars_(options.version != "1.0") {}

  std::string take() { return std::move(out_); }

  void type(const Type& t) {
    switch (t.kind) {
      case Type::Kind::kTensor: {
        std::string_view name = dtype_name(t.dtype);
        if (!t.ranked) {
          put("tensor<", name, ", *>");
        } else if (t.dims.empty() && terse_scalars_) {
          put(name);
        } else {
          put("tensor<", name, ", [");
          for (size_t i = 0; i < t.dims.size(); ++i) {
            if (i) put(", ");
            if (t.dims[i] >= 0) put(std::to_string(t.dims[i]));
            else put(t.dims[i] == kVariadic ? "..." : "?");
          }
          put("]>");
        }
        return;
      }
      case Type::Kind::kList:
        put("list<");
        params(t);
        put(", ", t.length >= 0 ? std::to_string(t.length) : "?", ">");
        return;
      case Type::Kind::kTuple: return wrapped("tuple<", t);
      case Type::Kind::kDict: return wrapped("dict<", t);
      case Type::Kind::kState: return wrapped("state<", t);
    }
  }

  // TYPE(LITERAL)
  void typed(const Literal& literal) {
    type(literal.type);
    put("(");
    bare(literal);
    put(")");
  }

  void program(const Program& p) {
    put("program(", options_.version, ")\n");
    if (!p.attributes.empty()) {
      attributes(p.attributes);
      put("\n");
    }
    put("{\n");
    for (const auto& function : p.functions) this->function(*function);
    put("}");
  }

 private:
  void put(std::string_view text) { out_ += text; }
  template <typename... Rest>
  void put(std::string_view first, const Rest&... rest) {
    out_ += first;
    put(rest...);
  }
  void indent(size_t spaces) { out_.append(spaces, ' '); }
  void name(std::string_view text) { put(is_plain_identifier(text) ? std::string(text) : quoted(text)); }

  void params(const Type& t) {
    for (size_t i = 0; i < t.params.size(); ++i) {
      if (i) put(", ");
      type(t.params[i]);
    }
  }
  void wrapped(std::string_view open, const Type& t) {
    put(open);
    params(t);
    put(">");
  }

  // The literal without its type.
  void bare(const Literal& literal) {
    if (literal.blob) {
      put("BLOBFILE(path = ", terse_scalars_ ? "string(" : "tensor<string, []>(", quoted(literal.blob->file), "), offset = ",
          terse_scalars_ ? "uint64(" : "tensor<uint64, []>(");
      put(std::to_string(literal.blob->offset), "))");
      return;
    }
    switch (literal.type.kind) {
      case Type::Kind::kTensor:
        if (!literal.tensor.valid() || (options_.elide_large && literal.tensor.size() > kElideAbove)) return put("...");
        return elements(literal.tensor);
      case Type::Kind::kDict:
        put("{");
        for (size_t i = 0; i + 1 < literal.items.size(); i += 2) {
          put(i ? ", {" : "{");
          bare(literal.items[i]);
          put(", ");
          bare(literal.items[i + 1]);
          put("}");
        }
        return put("}");
      // Lists of tensors print like one more dimension (RangeDims of flexible shapes).
      case Type::Kind::kList: return items(literal, "[", "]");
      case Type::Kind::kTuple:
      case Type::Kind::kState: return items(literal, "(", ")");
    }
  }
  void items(const Literal& literal, std::string_view open, std::string_view close) {
    put(open);
    for (size_t i = 0; i < literal.items.size(); ++i) {
      if (i) put(", ");
      bare(literal.items[i]);
    }
    put(close);
  }

  void elements(const Tensor& tensor) {
    std::vector<uint8_t> unpacked;
    if (is_sub_byte(tensor.dtype())) unpacked = unpack_bits(tensor.dtype(), tensor.bytes(), tensor.size());
    int64_t next = 0;
    nest(tensor, unpacked, 0, &next);
  }
  void nest(const Tensor& tensor, const std::vector<uint8_t>& unpacked, size_t axis, int64_t* next) {
    if (axis == tensor.dims().size()) return element(tensor, unpacked, (*next)++);
    put("[");
    for (int64_t i = 0; i < tensor.dims()[axis]; ++i) {
      if (i) put(", ");
      nest(tensor, unpacked, axis + 1, next);
    }
    put("]");
  }
  void element(const Tensor& tensor, const std::vector<uint8_t>& unpacked, int64_t i) {
    auto at = [&](auto zero) {
      std::memcpy(&zero, tensor.bytes().data() + static_cast<size_t>(i) * sizeof(zero), sizeof(zero));
      return zero;
    };
    switch (tensor.dtype()) {
      case DType::kBool: return put(at(uint8_t{}) ? "true" : "false");
      case DType::kString: return put(quoted(tensor.strings()[static_cast<size_t>(i)]));
      case DType::kF16: return put(hex_float(half_to_float(at(uint16_t{}))));
      case DType::kBF16: return put(hex_float(bfloat16_to_float(at(uint16_t{}))));
      case DType::kF32: return put(hex_float(at(float{})));
      case DType::kF64: return put(hex_float(at(double{})));
      case DType::kF8E4M3FN:
      case DType::kF8E5M2: {
        Tensor one = Tensor::uninitialized(tensor.dtype(), {});
        *one.mutable_bytes() = tensor.bytes()[static_cast<size_t>(i)];
        return put(hex_float(*convert(one, DType::kF32).data<float>()));
      }
      case DType::kI4: return put(std::to_string(static_cast<int8_t>(unpacked[static_cast<size_t>(i)])));
      case DType::kU1: case DType::kU2: case DType::kU3: case DType::kU4: case DType::kU6:
        return put(std::to_string(unpacked[static_cast<size_t>(i)]));
      case DType::kI8: return put(std::to_string(at(int8_t{})));
      case DType::kI16: return put(std::to_string(at(int16_t{})));
      case DType::kI32: return put(std::to_string(at(int32_t{})));
      case DType::kI64: return put(std::to_string(at(int64_t{})));
      case DType::kU8: return put(std::to_string(at(uint8_t{})));
      case DType::kU16: return put(std::to_string(at(uint16_t{})));
      case DType::kU32: return put(std::to_string(at(uint32_t{})));
      case DType::kU64: return put(std::to_string(at(uint64_t{})));
    }
  }

  void attributes(const Attributes& attributes) {
    put("[");
    bool first = true;
    for (const auto& [key, literal] : attributes) {
      if (!first) put(", ");
      first = false;
      name(key);
      put(" = ");
      typed(*literal);
    }
    put("]");
  }

  void parameters(std::vector<const Value*> values, bool sorted) {
    if (sorted) std::stable_sort(values.begin(), values.end(), [](const Value* a, const Value* b) { return a->name < b->name; });
    put("(");
    for (size_t i = 0; i < values.size(); ++i) {
      if (i) put(", ");
      type(values[i]->type);
      put(" ");
      name(values[i]->name);
    }
    put(")");
  }
  static std::vector<const Value*> pointers(const std::vector<std::unique_ptr<Value>>& values) {
    std::vector<const Value*> out;
    for (const auto& value : values) out.push_back(value.get());
    return out;
  }

  void function(const Function& f) {
    indent(4);
    put("func ");
    name(f.name);
    put("<", opset_token(f.opset), ">");
    parameters(pointers(f.inputs), true);
    if (!f.attributes.empty()) {
      put(" ");
      attributes(f.attributes);
    }
    body(*f.body, 4);
    put("\n");
  }

  // " {", the ops, and "} -> (...);"; `at` is the indentation of the line that opens it.
  void body(const Block& block, size_t at) {
    put(" {\n");
    for (const auto& op : block.ops) this->op(*op, at + 8);
    indent(at + 4);
    put("} -> (");
    for (size_t i = 0; i < block.outputs.size(); ++i) {
      if (i) put(", ");
      name(block.outputs[i]->name);
    }
    put(");");
  }

  void op(const Op& op, size_t at) {
    indent(at);
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      if (i) put(", ");
      type(op.outputs[i]->type);
      put(" ");
      name(op.outputs[i]->name);
    }
    if (!op.outputs.empty()) put(" = ");
    name(op.kind);
    put("(");
    for (size_t i = 0; i < op.args.size(); ++i) {
      if (i) put(", ");
      name(op.args[i].name);
      put(" = ");
      operands(op.args[i].operands);
    }
    put(")");
    if (!op.attributes.empty() || op.is_const()) attributes(op.attributes);
    nested_blocks(op, at);
    put(";\n");
  }
  void operands(const std::vector<Operand>& list) {
    if (list.size() == 1) return operand(list[0]);
    put("(");
    for (size_t i = 0; i < list.size(); ++i) {
      if (i) put(", ");
      operand(list[i]);
    }
    put(")");
  }
  void operand(const Operand& o) {
    if (o.value != nullptr) name(o.value->name);
    else typed(*o.literal);
  }

  void nested_blocks(const Op& op, size_t at) {
    if (op.blocks.empty()) return;
    put(" {\n");
    for (const auto& block : op.blocks) {
      indent(at + 4);
      put("block");
      parameters(pointers(block->inputs), false);
      if (!block->attributes.empty()) {
        put(" ");
        attributes(block->attributes);
      }
      body(*block, at + 4);
      put("\n");
    }
    indent(at);
    put("}");
  }

  static constexpr int64_t kElideAbove = 16;
  const PrintOptions& options_;
  const bool terse_scalars_;  // scalars as "fp32"; otherwise "tensor<fp32, []>"
  std::string out_;
};

}  // namespace

std::string print(const Program& program, const PrintOptions& options) {
  Printer printer(options);
  printer.program(program);
  return printer.take();
}

std::string print(const Type& type, const PrintOptions& options) {
  Printer printer(options);
  printer.type(type);
  return printer.take();
}

}  // namespace mlt::ir
