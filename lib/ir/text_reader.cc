#include "lib/ir/text_reader.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "lib/base/float16.h"

namespace mlt::ir {
namespace {

constexpr int kMaxDepth = 64;    // types within types
constexpr size_t kMaxRank = 64;  // extents of one tensor type

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

}  // namespace

// Elements of one tensor literal, appended in order.
struct TextReader::Elements {
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

Result<Type> TextReader::type(int depth) {
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
Result<int64_t> TextReader::extent() {
  if (accept("...")) return kVariadic;
  if (accept("?")) return kUnknown;
  size_t start = at_;
  MLT_ASSIGN(int64_t value, integer<int64_t>());
  if (value < 0) return fail_at(start, "negative extent");
  return value;
}

Result<LiteralPtr> TextReader::typed() {
  MLT_ASSIGN(Type declared, type());
  MLT_TRY(expect("("));
  MLT_ASSIGN(Literal value, literal(declared));
  MLT_TRY(expect(")"));
  return std::make_shared<const Literal>(std::move(value));
}

Result<Literal> TextReader::literal(const Type& declared) {
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
Status TextReader::items(Literal& out, std::string_view close, const ElementType& element_type) {
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
Result<BlobRef> TextReader::blob_ref() {
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
Result<Tensor> TextReader::resolve(const BlobRef& ref, const Type& declared, size_t start) {
  if (!declared.is_static()) return fail_at(start, "a file constant needs a type with all extents known");
  if (!blobs_) return Tensor();
  auto tensor = blobs_(ref, declared);
  if (tensor.ok()) return tensor;
  return std::move(tensor).in(position(start));  // which counts lines
}

Result<Tensor> TextReader::tensor(const Type& declared) {
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
Status TextReader::nest(Dims& dims, size_t axis, Elements& elements) {
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
Status TextReader::add_integer(Elements& elements) {
  MLT_ASSIGN(T value, integer<T>());
  elements.add(value);
  return {};
}
Status TextReader::element(Elements& elements) {
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

}  // namespace mlt::ir
