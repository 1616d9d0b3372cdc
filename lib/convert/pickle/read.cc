#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "lib/convert/pickle/decompress.h"
#include "lib/convert/pickle/globals.h"
#include "lib/convert/pickle/pickle.h"

namespace mlt::foreign::pickle {
namespace {

constexpr size_t kMaxValues = size_t{1} << 25;
constexpr int kMaxNesting = 4;  // pickles inside joblib's arrays of objects
constexpr uint64_t kMaxCopies = uint64_t{1} << 26;  // of what one byte of the file can ask to copy again and again

struct Failure {
  Error error;
};
[[noreturn]] void fail(std::string what) { throw Failure{input_error("pickle: " + std::move(what))}; }
[[noreturn]] void fail_unsupported(std::string what, std::string hint = {}) { throw Failure{unsupported_error(std::move(what), std::move(hint))}; }

}  // namespace

class Reader {
 public:
  Reader(Document& document, ByteSpan bytes) : d_(document), bytes_(bytes) { d_.values_.emplace_back(); }  // 0 is None
  Ref run() {
    Ref root = load(0);
    return root;
  }

 private:
  // Bytes.
  uint8_t byte() {
    if (at_ >= bytes_.size()) fail("ends too early");
    return static_cast<uint8_t>(bytes_[at_++]);
  }
  template <typename T>
  T number() {
    T value;
    ByteSpan raw = take(sizeof value);
    std::memcpy(&value, raw.data(), sizeof value);
    return value;
  }
  ByteSpan take(uint64_t size) {
    if (size > bytes_.size() - at_) fail("ends too early");
    ByteSpan out = bytes_.subspan(at_, size);
    at_ += size;
    return out;
  }
  std::string_view line() {
    std::string_view rest = as_text(bytes_.subspan(at_));
    size_t end = rest.find('\n');
    if (end == std::string_view::npos) fail("ends too early");
    at_ += end + 1;
    rest = rest.substr(0, end);
    if (rest.ends_with('\r')) rest.remove_suffix(1);
    return rest;
  }

  // Values and the stack.
  Value& at(Ref ref) { return d_.values_[ref]; }
  Ref make(Kind kind) {
    if (d_.values_.size() >= kMaxValues) fail("holds too many values");
    d_.values_.emplace_back().kind = kind;
    return static_cast<Ref>(d_.values_.size() - 1);
  }
  const std::vector<Ref>& copied(const std::vector<Ref>& items) {
    charge(items.size());
    return items;
  }
  void charge(uint64_t count) {
    copies_ += count;
    if (copies_ > kMaxCopies) fail("copies too many values");
  }
  Ref make_text(Kind kind, std::string_view text) {
    Ref ref = make(kind);
    at(ref).text = text;
    return ref;
  }
  std::string_view keep(std::string text) { return d_.strings_.emplace_back(std::move(text)); }
  void push(Ref ref) { stack_.push_back(ref); }
  void push_int(int64_t value) {
    Ref ref = make(Kind::kInt);
    at(ref).integer = value;
    push(ref);
  }
  void push_bool(bool value) {
    Ref ref = make(Kind::kBool);
    at(ref).integer = value;
    push(ref);
  }
  void push_float(double value) {
    Ref ref = make(Kind::kFloat);
    at(ref).number = value;
    push(ref);
  }
  Ref pop() {
    if (stack_.size() <= floor()) fail("takes from an empty stack");
    Ref ref = stack_.back();
    stack_.pop_back();
    return ref;
  }
  Ref top() {
    if (stack_.size() <= floor()) fail("takes from an empty stack");
    return stack_.back();
  }
  size_t floor() const { return marks_.empty() ? base_ : marks_.back(); }
  std::vector<Ref> pop_to_mark() {
    if (marks_.size() <= mark_base_) fail("no mark on the stack");
    std::vector<Ref> out(stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return out;
  }

  Ref load(int depth);
  void op(uint8_t code, int depth);
  void memoize(uint64_t key) { memo_[key] = top(); }
  void recall(uint64_t key) {
    auto it = memo_.find(key);
    if (it == memo_.end()) fail("refers to a value that is not there");
    push(it->second);
  }
  Ref tuple(std::vector<Ref> items) {
    Ref ref = make(Kind::kTuple);
    at(ref).items = std::move(items);
    return ref;
  }
  void push_long(ByteSpan raw);
  void push_decimal(std::string_view text);
  std::string unescape(std::string_view text);
  std::string unescape_unicode(std::string_view text);

  Ref global(std::string_view module, std::string_view name);
  Ref call(Ref callable, Ref args);
  Ref instance(Ref cls, std::vector<Ref> args);
  void build(int depth);
  void append(Ref target, const std::vector<Ref>& items);
  void set_items(Ref target, const std::vector<Ref>& items);

  std::string_view text_of(Ref ref) {
    const Value& v = at(ref);
    if (v.kind != Kind::kText && v.kind != Kind::kBytes) fail("expects a string");
    return v.text;
  }
  int64_t int_of(Ref ref) {
    const Value& v = at(ref);
    if (v.kind != Kind::kInt && v.kind != Kind::kBool) fail("expects a whole number");
    return v.integer;
  }
  std::shared_ptr<const ElementType> dtype_of(Ref ref) {
    const Value& v = at(ref);
    if (v.kind == Kind::kDtype) return v.type;
    if (v.kind == Kind::kClass && v.text.starts_with("numpy.")) return parse_dtype(v.text.substr(6));
    if (v.kind == Kind::kText || v.kind == Kind::kBytes) return parse_dtype(v.text);
    fail("expects an element type");
  }
  std::shared_ptr<ElementType> parse_dtype(std::string_view text);
  void build_dtype(Ref target, Ref state);
  void build_array(Ref target, Ref state);
  void fill_array(Array& array, Ref data);
  Dims dims_of(Ref ref);
  int64_t count_of(const Dims& dims);
  Ref scalar(const ElementType& type, std::string_view data);
  void read_joblib_array(Ref wrapper, int depth);

  Document& d_;
  ByteSpan bytes_;
  size_t at_ = 0;
  std::vector<Ref> stack_;
  std::vector<size_t> marks_;
  size_t base_ = 0, mark_base_ = 0;
  uint64_t copies_ = 0;
  std::unordered_map<uint64_t, Ref> memo_;
};

Ref Reader::load(int depth) {
  if (depth > kMaxNesting) fail("nests too deep");
  auto memo = std::move(memo_);
  memo_.clear();
  size_t base = base_, mark_base = mark_base_;
  base_ = stack_.size();
  mark_base_ = marks_.size();
  for (;;) {
    uint8_t code = byte();
    if (code == '.') break;
    op(code, depth);
  }
  if (marks_.size() != mark_base_ || stack_.size() != base_ + 1) fail("does not end with one value");
  Ref result = stack_.back();
  stack_.pop_back();
  base_ = base;
  mark_base_ = mark_base;
  memo_ = std::move(memo);
  return result;
}

void Reader::push_long(ByteSpan raw) {
  if (raw.size() <= 8) {
    uint64_t value = 0;
    for (size_t i = 0; i < raw.size(); ++i) value |= static_cast<uint64_t>(static_cast<uint8_t>(raw[i])) << (8 * i);
    if (!raw.empty() && raw.size() < 8 && (static_cast<uint8_t>(raw.back()) & 0x80)) value |= ~uint64_t{0} << (8 * raw.size());
    push_int(static_cast<int64_t>(value));
    return;
  }
  push(make_text(Kind::kBigInt, as_text(raw)));
}

void Reader::push_decimal(std::string_view text) {
  if (text == "00" || text == "01") return push_bool(text == "01");
  if (text.ends_with('L')) text.remove_suffix(1);
  if (text.starts_with('+')) text.remove_prefix(1);
  int64_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.empty()) fail("a number is damaged");
  if (code == std::errc::result_out_of_range) return push(make_text(Kind::kBigInt, text));
  if (code != std::errc()) fail("a number is damaged");
  push_int(value);
}

// The text of a protocol 0 string: Python's repr of bytes.
std::string Reader::unescape(std::string_view text) {
  if (text.size() < 2 || (text.front() != '\'' && text.front() != '"') || text.back() != text.front()) fail("a string is damaged");
  text = text.substr(1, text.size() - 2);
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    if (++i >= text.size()) fail("a string is damaged");
    switch (text[i]) {
      case 'n': out += '\n'; break;
      case 't': out += '\t'; break;
      case 'r': out += '\r'; break;
      case 'a': out += '\a'; break;
      case 'b': out += '\b'; break;
      case 'f': out += '\f'; break;
      case 'v': out += '\v'; break;
      case 'x': {
        unsigned value = 0;
        if (i + 2 >= text.size()) fail("a string is damaged");
        auto [end, code] = std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16);
        if (code != std::errc() || end != text.data() + i + 3) fail("a string is damaged");
        out += static_cast<char>(value);
        i += 2;
        break;
      }
      default:
        if (text[i] >= '0' && text[i] <= '7') {
          unsigned value = 0;
          size_t n = 0;
          for (; n < 3 && i + n < text.size() && text[i + n] >= '0' && text[i + n] <= '7'; ++n) value = value * 8 + static_cast<unsigned>(text[i + n] - '0');
          out += static_cast<char>(value);
          i += n - 1;
        } else {
          out += text[i];
        }
    }
  }
  return out;
}

namespace {
void add_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) out += static_cast<char>(c);
  else if (c < 0x800) (out += static_cast<char>(0xc0 | c >> 6)) += static_cast<char>(0x80 | (c & 0x3f));
  else if (c < 0x10000) ((out += static_cast<char>(0xe0 | c >> 12)) += static_cast<char>(0x80 | (c >> 6 & 0x3f))) += static_cast<char>(0x80 | (c & 0x3f));
  else (((out += static_cast<char>(0xf0 | (c >> 18 & 7))) += static_cast<char>(0x80 | (c >> 12 & 0x3f))) += static_cast<char>(0x80 | (c >> 6 & 0x3f))) += static_cast<char>(0x80 | (c & 0x3f));
}
}  // namespace

// Protocol 0 unicode: raw-unicode-escape, Latin-1 with \uXXXX and \UXXXXXXXX.
std::string Reader::unescape_unicode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    size_t digits = text[i] == '\\' && i + 1 < text.size() ? (text[i + 1] == 'u' ? 4 : text[i + 1] == 'U' ? 8 : 0) : 0;
    uint32_t c = static_cast<uint8_t>(text[i]);
    if (digits && i + 2 + digits <= text.size()) {
      auto [end, code] = std::from_chars(text.data() + i + 2, text.data() + i + 2 + digits, c, 16);
      if (code != std::errc() || end != text.data() + i + 2 + digits) fail("a string is damaged");
      i += 1 + digits;
    }
    add_utf8(out, c);
  }
  return out;
}

Ref Reader::global(std::string_view module, std::string_view name) {
  if (trust(module, name) == Trust::kRefused)  // os.system is pickled as posix.system or nt.system
    throw Failure{input_error(fmt::format("refused: the pickle would run {}.{}", module == "posix" || module == "nt" ? "os" : module, name), "a pickle is a program; do not open this one with Python")};
  std::string full(module);
  full += '.';
  full += name;
  return make_text(Kind::kClass, keep(std::move(full)));
}

Ref Reader::instance(Ref cls, std::vector<Ref> args) {
  std::string_view name = at(cls).kind == Kind::kClass ? at(cls).text : std::string_view{};
  if (at(cls).kind != Kind::kClass) fail("makes an object of something that is no class");
  std::string_view last = name.substr(name.rfind('.') + 1);
  if (last == "OrderedDict" || last == "defaultdict" || name == "builtins.dict" || name == "__builtin__.dict" || last == "Bunch") {
    Ref ref = make(Kind::kDict);
    size_t first = last == "defaultdict" ? 1 : 0;
    if (last == "Bunch") {
      for (Ref arg : args)
        if (at(arg).kind == Kind::kDict) at(ref).items = copied(at(arg).items);
    } else if (args.size() > first) {
      const Value& given = at(args[first]);
      if (given.kind == Kind::kDict) {
        at(ref).items = copied(given.items);
      } else if (given.kind == Kind::kList || given.kind == Kind::kTuple) {
        for (Ref pair : copied(given.items))
          if (at(pair).items.size() == 2) at(ref).items.insert(at(ref).items.end(), at(pair).items.begin(), at(pair).items.end());
      }
    }
    return ref;
  }
  if (name == "builtins.list" || name == "__builtin__.list" || last == "deque" || last == "set" || last == "frozenset" || name == "builtins.tuple" || name == "__builtin__.tuple") {
    Ref ref = make(last == "tuple" ? Kind::kTuple : last == "set" || last == "frozenset" ? Kind::kSet : Kind::kList);
    if (!args.empty() && !at(args[0]).items.empty() && at(args[0]).kind != Kind::kDict) at(ref).items = copied(at(args[0]).items);
    return ref;
  }
  if (name == "builtins.bytearray" || name == "__builtin__.bytearray" || name == "builtins.bytes") {
    std::string_view data;
    if (!args.empty() && (at(args[0]).kind == Kind::kBytes || at(args[0]).kind == Kind::kText)) data = at(args[0]).text;
    return make_text(Kind::kBytes, data);
  }
  if (name == "numpy.ndarray") {
    Ref ref = make(Kind::kArray);
    at(ref).array = std::make_shared<Array>();
    return ref;
  }
  Ref ref = make(Kind::kObject);
  at(ref).cls = cls;
  at(ref).items = std::move(args);
  return ref;
}

std::shared_ptr<ElementType> Reader::parse_dtype(std::string_view text) {
  auto type = std::make_shared<ElementType>();
  static constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"float64", "f8"}, {"float32", "f4"}, {"float16", "f2"}, {"int64", "i8"}, {"int32", "i4"}, {"int16", "i2"}, {"int8", "i1"},   {"uint64", "u8"}, {"uint32", "u4"},
      {"uint16", "u2"},  {"uint8", "u1"},   {"bool_", "b1"},   {"bool", "b1"},  {"object", "O8"}, {"object_", "O8"}, {"str_", "U0"}, {"bytes_", "S0"}, {"intp", "i8"}};
  for (auto [name, code] : kNames)
    if (text == name) text = code;
  if (!text.empty() && (text[0] == '<' || text[0] == '>' || text[0] == '|' || text[0] == '=')) {
    type->big_endian = text[0] == '>';
    text.remove_prefix(1);
  }
  if (text.empty() || std::string_view("biufcOSUVMmap?B").find(text[0]) == std::string_view::npos) fail(fmt::format("unknown element type \"{}\"", text.substr(0, 40)));
  type->kind = text[0] == '?' ? 'b' : text[0] == 'a' ? 'S' : text[0];
  std::string_view digits = text.substr(1);
  if (size_t bracket = digits.find('['); bracket != std::string_view::npos) digits = digits.substr(0, bracket);
  if (!digits.empty()) {
    auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), type->size);
    if (code != std::errc() || end != digits.data() + digits.size() || type->size > (1u << 20)) fail("an element type is damaged");
  } else if (type->kind == 'b') {
    type->size = 1;
  }
  if (type->kind == 'U') type->size *= 4;
  if (type->kind == 'O') type->size = 8;
  bool good = true;
  switch (type->kind) {
    case 'b': good = type->size == 1; break;
    case 'i':
    case 'u': good = type->size == 1 || type->size == 2 || type->size == 4 || type->size == 8; break;
    case 'f': good = type->size == 2 || type->size == 4 || type->size == 8 || type->size == 16; break;
    default: break;
  }
  if (!good) fail("an element type is damaged");
  return type;
}

void Reader::build_dtype(Ref target, Ref state) {
  const std::vector<Ref> items = copied(at(state).items);
  if (at(state).kind != Kind::kTuple || items.size() < 5) fail("an element type is damaged");
  auto type = std::make_shared<ElementType>(*at(target).type);
  std::string_view order = text_of(items[1]);
  type->big_endian = order == ">";
  if (at(items[3]).kind == Kind::kTuple) {  // names
    const Value& fields = at(items[4]);
    if (fields.kind != Kind::kDict) fail("an element type is damaged");
    for (Ref name : at(items[3]).items) {
      std::string_view wanted = text_of(name);
      for (size_t i = 0; i + 1 < fields.items.size(); i += 2) {
        if (text_of(fields.items[i]) != wanted) continue;
        const Value& pair = at(fields.items[i + 1]);
        if (pair.kind != Kind::kTuple || pair.items.size() < 2) fail("an element type is damaged");
        ElementType::Field field;
        field.name = wanted;
        field.type = dtype_of(pair.items[0]);
        field.offset = static_cast<uint64_t>(int_of(pair.items[1]));
        type->fields.push_back(std::move(field));
        break;
      }
      if (type->fields.size() > 4096) fail("an element type is damaged");
    }
    if (items.size() > 5 && int_of(items[5]) > 0) type->size = static_cast<uint64_t>(int_of(items[5]));
    if (type->size > (1u << 20)) fail("an element type is damaged");
    for (const auto& field : type->fields)
      if (field.offset > type->size || field.type->size > type->size - field.offset) fail("an element type is damaged");
  } else if ((type->kind == 'S' || type->kind == 'U' || type->kind == 'V') && items.size() > 5 && int_of(items[5]) > 0) {
    type->size = static_cast<uint64_t>(int_of(items[5]));
    if (type->size > (1u << 20)) fail("an element type is damaged");
  }
  at(target).type = std::move(type);
}

Dims Reader::dims_of(Ref ref) {
  Dims dims;
  const Value& v = at(ref);
  if (v.kind == Kind::kInt) return {v.integer};
  if (v.kind != Kind::kTuple && v.kind != Kind::kList) fail("an array's shape is damaged");
  for (Ref item : v.items) dims.push_back(int_of(item));
  return dims;
}

int64_t Reader::count_of(const Dims& dims) {
  uint64_t count = 1;
  if (dims.size() > 32) fail("an array's shape is damaged");
  for (int64_t d : dims)
    if (d < 0 || !checked_mul(count, static_cast<uint64_t>(d), &count) || count > (uint64_t{1} << 40)) fail("an array's shape is damaged");
  return static_cast<int64_t>(count);
}

void Reader::fill_array(Array& array, Ref data) {
  const Value& v = at(data);
  if (array.type->kind == 'O') {
    if (v.kind != Kind::kList && v.kind != Kind::kTuple) fail("an array of objects is damaged");
    if (static_cast<int64_t>(v.items.size()) != array.count) fail("an array has another number of elements than its shape says");
    array.objects = copied(v.items);
    return;
  }
  std::string_view raw = text_of(data);
  std::string bytes;
  uint64_t wanted = 0;
  if (!checked_mul(static_cast<uint64_t>(array.count), array.type->size, &wanted)) fail("an array's shape is damaged");
  if (raw.size() != wanted) {
    if (v.kind != Kind::kText) fail(fmt::format("an array has {} bytes instead of {}", raw.size(), wanted));
    // Text of protocol 0 to 2: each character is a byte.
    charge(raw.size() / 8);
    for (size_t i = 0; i < raw.size(); ++i) {
      auto c = static_cast<uint8_t>(raw[i]);
      if (c >= 0xc2 && c <= 0xc3 && i + 1 < raw.size()) bytes += static_cast<char>((c & 3) << 6 | (static_cast<uint8_t>(raw[++i]) & 0x3f));
      else bytes += raw[i];
    }
    if (bytes.size() != wanted) fail(fmt::format("an array has {} bytes instead of {}", bytes.size(), wanted));
    raw = keep(std::move(bytes));
  }
  array.data = as_bytes(raw);
}

void Reader::build_array(Ref target, Ref state) {
  const std::vector<Ref> items = copied(at(state).items);
  if (at(state).kind != Kind::kTuple || items.size() < 4) fail("an array is damaged");
  size_t first = items.size() >= 5 ? 1 : 0;
  auto array = std::make_shared<Array>();
  array->dims = dims_of(items[first]);
  array->count = count_of(array->dims);
  array->type = dtype_of(items[first + 1]);
  array->fortran = at(items[first + 2]).integer != 0;
  fill_array(*array, items[first + 3]);
  at(target).array = std::move(array);
}

Ref Reader::scalar(const ElementType& type, std::string_view data) {
  if (type.size > data.size() && type.kind != 'U' && type.kind != 'S') fail("a scalar is damaged");
  auto array = std::make_shared<Array>();
  array->type = std::make_shared<ElementType>(type);
  array->count = 1;
  array->data = as_bytes(data.substr(0, type.size));
  if (array->data.size() < type.size) fail("a scalar is damaged");
  Ref ref = make(Kind::kArray);
  at(ref).array = std::move(array);
  return ref;
}

Ref Reader::call(Ref callable, Ref args_ref) {
  if (at(args_ref).kind != Kind::kTuple) fail("calls something without arguments");
  std::vector<Ref> args = copied(at(args_ref).items);
  if (at(callable).kind != Kind::kClass) {
    // A call of what a call returned: partial objects and methods. Only data is kept.
    fail("refused: the pickle would run a value that it makes");
  }
  std::string_view name = at(callable).text;
  size_t dot = name.rfind('.');
  // Names with dots inside a module ("A.b") come with protocol 4.
  std::string_view module = name.substr(0, dot), last = name.substr(dot + 1);
  if (trust(module, last) != Trust::kConstructor)
    throw Failure{input_error(fmt::format("refused: the pickle would run {}", name), "only data of known libraries is read; classes of your own cannot be converted")};
  auto is_numpy = [&](std::string_view what) { return module.starts_with("numpy") && last == what; };
  if (is_numpy("_reconstruct")) {
    Ref ref = make(Kind::kArray);
    at(ref).array = std::make_shared<Array>();
    at(ref).array->type = std::make_shared<ElementType>();
    return ref;
  }
  if (is_numpy("dtype")) {
    if (args.empty()) fail("an element type is damaged");
    Ref ref = make(Kind::kDtype);
    std::shared_ptr<const ElementType> type = dtype_of(args[0]);
    at(ref).type = std::move(type);
    return ref;
  }
  if (is_numpy("scalar")) {
    if (args.empty()) fail("a scalar is damaged");
    auto type = dtype_of(args[0]);
    if (type->kind == 'O') return args.size() > 1 ? args[1] : 0;
    if (args.size() < 2) fail("a scalar is damaged");
    const Value& data = at(args[1]);
    if (data.kind == Kind::kText) {  // one character a byte
      Array one;
      one.type = type;
      one.count = 1;
      fill_array(one, args[1]);
      return scalar(*type, as_text(one.data));
    }
    return scalar(*type, text_of(args[1]));
  }
  if (is_numpy("_frombuffer")) {
    if (args.size() < 3) fail("an array is damaged");
    Ref ref = make(Kind::kArray);
    auto array = std::make_shared<Array>();
    array->type = dtype_of(args[1]);
    array->dims = dims_of(args[2]);
    array->count = count_of(array->dims);
    array->fortran = args.size() > 3 && text_of(args[3]) == "F";
    if (args.size() > 3 && text_of(args[3]) == "K") fail_unsupported("an array with permuted axes");
    fill_array(*array, args[0]);
    at(ref).array = std::move(array);
    return ref;
  }
  if (last == "_reconstructor") {  // (class, base, state)
    if (args.empty()) fail("an object is damaged");
    return instance(args[0], {});
  }
  if (last == "__newobj__" || last == "__newobj_ex__") {
    if (args.empty()) fail("an object is damaged");
    std::vector<Ref> rest;
    if (last == "__newobj__") rest.assign(args.begin() + 1, args.end());
    else if (args.size() > 1) rest = copied(at(args[1]).items);
    return instance(args[0], std::move(rest));
  }
  if (last == "encode" && (module == "_codecs" || module == "codecs")) {
    if (args.empty()) fail("a string is damaged");
    std::string_view text = text_of(args[0]);
    std::string bytes;  // UTF-8 to Latin-1
    for (size_t i = 0; i < text.size(); ++i) {
      auto c = static_cast<uint8_t>(text[i]);
      if (c < 0x80) bytes += text[i];
      else if ((c == 0xc2 || c == 0xc3) && i + 1 < text.size()) bytes += static_cast<char>((c & 3) << 6 | (static_cast<uint8_t>(text[++i]) & 0x3f));
      else fail("a string is damaged");
    }
    return make_text(Kind::kBytes, keep(std::move(bytes)));
  }
  return instance(callable, std::move(args));
}

// joblib: the array's bytes follow the wrapper's BUILD in the file itself.
void Reader::read_joblib_array(Ref wrapper, int depth) {
  Node node(d_, wrapper, "NumpyArrayWrapper");
  Ref state = at(wrapper).state;
  auto find = [&](std::string_view key) -> Ref {
    const Value& dict = at(state);
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2)
      if (at(dict.items[i]).text == key) return dict.items[i + 1];
    return 0;
  };
  auto array = std::make_shared<Array>();
  array->type = dtype_of(find("dtype"));
  array->dims = dims_of(find("shape"));
  array->count = count_of(array->dims);
  Ref order = find("order");
  array->fortran = order != 0 && text_of(order) == "F";
  if (array->type->kind == 'O') {  // a pickle of its own
    Ref inner = load(depth + 1);
    if (at(inner).kind != Kind::kArray) fail("an array of objects is damaged");
    at(wrapper) = Value(at(inner));
    return;
  }
  if (find("numpy_array_alignment_bytes") != 0) take(byte());  // padding
  uint64_t size = 0;
  if (!checked_mul(static_cast<uint64_t>(array->count), array->type->size, &size)) fail("an array's shape is damaged");
  array->data = take(size);
  Value value;
  value.kind = Kind::kArray;
  value.array = std::move(array);
  at(wrapper) = std::move(value);
}

void Reader::build(int depth) {
  Ref state = pop();
  Ref target = top();
  switch (at(target).kind) {
    case Kind::kDtype: return build_dtype(target, state);
    case Kind::kArray: return build_array(target, state);
    case Kind::kObject: {
      // (state, slots): slots are merged behind.
      const Value& s = at(state);
      if (s.kind == Kind::kTuple && s.items.size() == 2 && (at(s.items[0]).kind == Kind::kDict || at(s.items[0]).kind == Kind::kNone) && at(s.items[1]).kind == Kind::kDict) {
        Ref merged = make(Kind::kDict);
        for (Ref part : std::vector<Ref>(s.items)) {
          const std::vector<Ref>& more = copied(at(part).items);
          at(merged).items.insert(at(merged).items.end(), more.begin(), more.end());
        }
        state = merged;
      }
      at(target).state = state;
      std::string_view cls = at(at(target).cls).text;
      if (cls.ends_with(".NumpyArrayWrapper")) read_joblib_array(target, depth);
      else if (cls.ends_with(".NDArrayWrapper") || cls.ends_with(".ZNDArrayWrapper")) fail_unsupported("a joblib file whose arrays are in files of their own (joblib before 0.10)", "write it again with today's joblib");
      return;
    }
    case Kind::kDict:  // attributes of a dictionary subclass (Bunch, OrderedDict): entries as well
      if (at(state).kind == Kind::kDict && state != target) {
        std::vector<Ref> more = copied(at(state).items);
        at(target).items.insert(at(target).items.end(), more.begin(), more.end());
      }
      return;
    case Kind::kList:
    case Kind::kSet:
    case Kind::kTuple: return;
    default: fail("sets the state of something that has none");
  }
}

void Reader::append(Ref target, const std::vector<Ref>& items) {
  Value& v = at(target);
  if (v.kind == Kind::kObject) {  // a list subclass
    v.items.insert(v.items.end(), items.begin(), items.end());
    return;
  }
  if (v.kind != Kind::kList && v.kind != Kind::kSet) fail("appends to something that is no list");
  v.items.insert(v.items.end(), items.begin(), items.end());
}

void Reader::set_items(Ref target, const std::vector<Ref>& items) {
  if (items.size() % 2) fail("a dictionary has a key without a value");
  Value& v = at(target);
  if (v.kind != Kind::kDict && v.kind != Kind::kObject) fail("sets items of something that is no dictionary");
  v.items.insert(v.items.end(), items.begin(), items.end());
}

void Reader::op(uint8_t code, int depth) {
  switch (code) {
    case '(': marks_.push_back(stack_.size()); break;
    case '0':
      if (!marks_.empty() && marks_.size() > mark_base_ && marks_.back() == stack_.size()) marks_.pop_back();
      else pop();
      break;
    case '1': pop_to_mark(); break;
    case '2': push(top()); break;
    case 'F': {
      std::string text(line());
      char* end = nullptr;
      double value = std::strtod(text.c_str(), &end);
      if (text.empty() || end != text.c_str() + text.size()) fail("a number is damaged");
      push_float(value);
      break;
    }
    case 'G': {
      ByteSpan raw = take(8);
      uint64_t bits = 0;
      for (std::byte b : raw) bits = bits << 8 | static_cast<uint8_t>(b);
      double value;
      std::memcpy(&value, &bits, 8);
      push_float(value);
      break;
    }
    case 'I':
    case 'L': push_decimal(line()); break;
    case 'J': push_int(number<int32_t>()); break;
    case 'K': push_int(byte()); break;
    case 'M': push_int(number<uint16_t>()); break;
    case 0x8a: push_long(take(byte())); break;
    case 0x8b: {
      auto size = number<int32_t>();
      if (size < 0) fail("a number is damaged");
      push_long(take(static_cast<uint64_t>(size)));
      break;
    }
    case 'N': push(0); break;
    case 0x88: push_bool(true); break;
    case 0x89: push_bool(false); break;
    case 'S': push(make_text(Kind::kBytes, keep(unescape(line())))); break;
    case 'T': push(make_text(Kind::kBytes, as_text(take(number<uint32_t>())))); break;
    case 'U': push(make_text(Kind::kBytes, as_text(take(byte())))); break;
    case 'C': push(make_text(Kind::kBytes, as_text(take(byte())))); break;
    case 'B': push(make_text(Kind::kBytes, as_text(take(number<uint32_t>())))); break;
    case 0x8e:
    case 0x96: push(make_text(Kind::kBytes, as_text(take(number<uint64_t>())))); break;
    case 'V': push(make_text(Kind::kText, keep(unescape_unicode(line())))); break;
    case 'X': push(make_text(Kind::kText, as_text(take(number<uint32_t>())))); break;
    case 0x8c: push(make_text(Kind::kText, as_text(take(byte())))); break;
    case 0x8d: push(make_text(Kind::kText, as_text(take(number<uint64_t>())))); break;
    case ')': push(make(Kind::kTuple)); break;
    case ']': push(make(Kind::kList)); break;
    case '}': push(make(Kind::kDict)); break;
    case 0x8f: push(make(Kind::kSet)); break;
    case 't': push(tuple(pop_to_mark())); break;
    case 0x85: {
      Ref a = pop();
      push(tuple({a}));
      break;
    }
    case 0x86: {
      Ref b = pop(), a = pop();
      push(tuple({a, b}));
      break;
    }
    case 0x87: {
      Ref c = pop(), b = pop(), a = pop();
      push(tuple({a, b, c}));
      break;
    }
    case 'l': {
      auto items = pop_to_mark();
      Ref ref = make(Kind::kList);
      at(ref).items = std::move(items);
      push(ref);
      break;
    }
    case 'd': {
      auto items = pop_to_mark();
      Ref ref = make(Kind::kDict);
      set_items(ref, items);
      push(ref);
      break;
    }
    case 0x91: {
      auto items = pop_to_mark();
      Ref ref = make(Kind::kSet);
      at(ref).items = std::move(items);
      push(ref);
      break;
    }
    case 'a': {
      Ref item = pop();
      append(top(), {item});
      break;
    }
    case 'e':
    case 0x90: {
      auto items = pop_to_mark();
      append(top(), items);
      break;
    }
    case 's': {
      Ref value = pop(), key = pop();
      set_items(top(), {key, value});
      break;
    }
    case 'u': {
      auto items = pop_to_mark();
      set_items(top(), items);
      break;
    }
    case 'p': {
      std::string_view text = line();
      uint64_t key = 0;
      auto [end, code2] = std::from_chars(text.data(), text.data() + text.size(), key);
      if (code2 != std::errc() || end != text.data() + text.size()) fail("a memo number is damaged");
      memoize(key);
      break;
    }
    case 'q': memoize(byte()); break;
    case 'r': memoize(number<uint32_t>()); break;
    case 0x94: memoize(memo_.size()); break;
    case 'g': {
      std::string_view text = line();
      uint64_t key = 0;
      auto [end, code2] = std::from_chars(text.data(), text.data() + text.size(), key);
      if (code2 != std::errc() || end != text.data() + text.size()) fail("a memo number is damaged");
      recall(key);
      break;
    }
    case 'h': recall(byte()); break;
    case 'j': recall(number<uint32_t>()); break;
    case 'c': {
      std::string_view module = line(), name = line();
      push(global(module, name));
      break;
    }
    case 0x93: {
      Ref name = pop(), module = pop();
      push(global(text_of(module), text_of(name)));
      break;
    }
    case 'i': {
      std::string_view module = line(), name = line();
      Ref cls = global(module, name);
      if (trust(module, name) != Trust::kConstructor) throw Failure{input_error(fmt::format("refused: the pickle would run {}.{}", module, name))};
      push(instance(cls, pop_to_mark()));
      break;
    }
    case 'o': {
      auto items = pop_to_mark();
      if (items.empty()) fail("makes an object of nothing");
      Ref args = tuple({items.begin() + 1, items.end()});
      push(call(items[0], args));
      break;
    }
    case 'R': {
      Ref args = pop(), callable = pop();
      push(call(callable, args));
      break;
    }
    case 0x81: {
      Ref args = pop(), cls = pop();
      if (at(args).kind != Kind::kTuple) fail("makes an object without arguments");
      push(instance(cls, copied(at(args).items)));
      break;
    }
    case 0x92: {
      Ref kwargs = pop(), args = pop(), cls = pop();
      if (at(args).kind != Kind::kTuple || at(kwargs).kind != Kind::kDict) fail("makes an object without arguments");
      push(instance(cls, copied(at(args).items)));
      break;
    }
    case 'b': build(depth); break;
    case 0x80:
      if (byte() > 5) fail_unsupported("a pickle of a protocol newer than 5");
      break;
    case 0x95: number<uint64_t>(); break;  // a frame: only a hint for reading ahead
    case 'P':
    case 'Q': fail("refers to objects outside of the file");
    case 0x82:
    case 0x83:
    case 0x84: fail("refers to the extension registry of a program");
    case 0x97:
    case 0x98: fail_unsupported("a pickle whose buffers are outside of the file");
    default: fail(fmt::format("unknown opcode {:#04x} at byte {}", code, at_ - 1));
  }
}

Result<Document> Document::read(const Blob& bytes) {
  Document d;
  MLT_ASSIGN(d.source_, decompress(bytes));
  try {
    Reader reader(d, d.source_.bytes());
    d.root_ = reader.run();
  } catch (Failure& f) {
    return std::move(f.error);
  } catch (const std::bad_alloc&) {
    return resource_error("not enough memory for what the file declares");
  }
  return d;
}

}  // namespace mlt::foreign::pickle
