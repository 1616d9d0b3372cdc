#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <unordered_map>

#include "lib/convert/pickle/decompress.h"
#include "lib/convert/pickle/globals.h"
#include "lib/convert/pickle/reader.h"

namespace mlt::foreign::pickle {

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
