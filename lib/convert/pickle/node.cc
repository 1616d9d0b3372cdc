#include <fmt/core.h>

#include <cmath>
#include <cstring>

#include "lib/base/float16.h"
#include "lib/convert/learners/assembly.h"
#include "lib/convert/pickle/decompress.h"
#include "lib/convert/pickle/pickle.h"

namespace mlt::foreign::pickle {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 28;

template <typename T>
T load(const std::byte* at, bool swap) {
  std::byte raw[sizeof(T)];
  std::memcpy(raw, at, sizeof(T));
  if (swap)
    for (size_t i = 0; i < sizeof(T) / 2; ++i) std::swap(raw[i], raw[sizeof(T) - 1 - i]);
  T value;
  std::memcpy(&value, raw, sizeof(T));
  return value;
}

// 80-bit extended numbers in 16 bytes, as x86 Linux stores np.longdouble.
double load_extended(const std::byte* at) {
  auto mantissa = load<uint64_t>(at, false);
  auto word = load<uint16_t>(at + 8, false);
  int exponent = word & 0x7fff;
  double magnitude = std::ldexp(static_cast<double>(mantissa), exponent - 16383 - 63);
  if (exponent == 0x7fff) magnitude = (mantissa << 1) == 0 ? HUGE_VAL : std::nan("");
  return word & 0x8000 ? -magnitude : magnitude;
}

double element(const ElementType& type, const std::byte* at) {
  bool swap = type.big_endian;
  switch (type.kind) {
    case 'b': return at[0] != std::byte{0} ? 1 : 0;
    case 'i':
      switch (type.size) {
        case 1: return load<int8_t>(at, swap);
        case 2: return load<int16_t>(at, swap);
        case 4: return load<int32_t>(at, swap);
        default: return static_cast<double>(load<int64_t>(at, swap));
      }
    case 'u':
      switch (type.size) {
        case 1: return load<uint8_t>(at, swap);
        case 2: return load<uint16_t>(at, swap);
        case 4: return load<uint32_t>(at, swap);
        default: return static_cast<double>(load<uint64_t>(at, swap));
      }
    case 'f':
      if (type.size == 4) return static_cast<double>(load<float>(at, swap));
      if (type.size == 8) return load<double>(at, swap);
      if (type.size == 16) return load_extended(at);
      return static_cast<double>(half_to_float(load<uint16_t>(at, swap)));
    default: return std::nan("");
  }
}

bool numeric(const ElementType& type) { return type.kind == 'b' || type.kind == 'i' || type.kind == 'u' || type.kind == 'f'; }

std::string element_text(const ElementType& type, const std::byte* at) {
  std::string out;
  if (type.kind == 'S') {
    out.assign(reinterpret_cast<const char*>(at), type.size);
    while (!out.empty() && out.back() == '\0') out.pop_back();
    return out;
  }
  for (uint64_t i = 0; i + 4 <= type.size; i += 4) {
    auto c = load<uint32_t>(at + i, type.big_endian);
    if (c == 0) break;
    if (c < 0x80) out += static_cast<char>(c);
    else if (c < 0x800) (out += static_cast<char>(0xc0 | c >> 6)) += static_cast<char>(0x80 | (c & 0x3f));
    else if (c < 0x10000) ((out += static_cast<char>(0xe0 | c >> 12)) += static_cast<char>(0x80 | (c >> 6 & 0x3f))) += static_cast<char>(0x80 | (c & 0x3f));
    else (((out += static_cast<char>(0xf0 | (c >> 18 & 7))) += static_cast<char>(0x80 | (c >> 12 & 0x3f))) += static_cast<char>(0x80 | (c >> 6 & 0x3f))) += static_cast<char>(0x80 | (c & 0x3f));
  }
  return out;
}

// Memory position of element i counted row by row.
int64_t position(const Array& a, int64_t i) {
  if (!a.fortran || a.dims.size() < 2) return i;
  int64_t at = 0, stride = a.count;
  for (size_t axis = a.dims.size(); axis-- > 0;) {  // last axis varies fastest in i, slowest in memory
    int64_t extent = a.dims[axis];
    stride /= extent;
    at += i % extent * stride;
    i /= extent;
  }
  return at;
}

}  // namespace

bool looks_like_pickle(ByteSpan bytes) {
  if (bytes.size() < 4) return false;
  if (compression_of(bytes) != Compression::kNone) return true;
  std::string_view text = as_text(bytes);
  if (text[0] == '\x80') return static_cast<uint8_t>(text[1]) <= 5;
  // Protocols 0 and 1: a global, or a container and what goes into it.
  if (text[0] == 'c' || text.starts_with("(i")) {
    size_t first = text.substr(0, 200).find('\n');
    return first != std::string_view::npos && text.substr(0, first).find(' ') == std::string_view::npos && text.substr(first + 1, 200).find('\n') != std::string_view::npos;
  }
  return text.starts_with("(dp") || text.starts_with("(lp") || text.starts_with("}q") || text.starts_with("]q");
}

void Node::fail(const std::string& what) const { damaged((where_.empty() ? std::string("the pickle") : where_) + ": " + what); }

std::string Node::class_name() const {
  if (kind() == Kind::kObject) return std::string((*document_)[value().cls].text);
  if (kind() == Kind::kClass) return std::string(value().text);
  return {};
}

std::string Node::short_class() const {
  std::string name = class_name();
  return name.substr(name.rfind('.') + 1);
}

Node Node::attr(std::string_view name) const {
  if (kind() != Kind::kObject || value().state == 0) return {};
  const Value& state = (*document_)[value().state];
  if (state.kind != Kind::kDict) return {};
  for (size_t i = state.items.size(); i >= 2; i -= 2) {  // the last one counts
    const Value& key = (*document_)[state.items[i - 2]];
    if ((key.kind == Kind::kText || key.kind == Kind::kBytes) && key.text == name) return with(state.items[i - 1], short_class() + "." + std::string(name));
  }
  return {};
}

Node Node::need(std::string_view name) const {
  Node found = attr(name);
  if (!found.present()) fail(fmt::format("{} has no {}: it is not fitted, or the file is damaged", short_class().empty() ? "the value" : short_class(), name));
  return found;
}

Node Node::first_of(std::initializer_list<std::string_view> names) const {
  for (std::string_view name : names)
    if (Node found = attr(name); found.present()) return found;
  return {};
}

Node Node::argument(size_t i) const {
  if (kind() != Kind::kObject || i >= value().items.size()) return {};
  return with(value().items[i], short_class() + " argument " + std::to_string(i));
}

std::vector<std::string> Node::attributes() const {
  std::vector<std::string> out;
  if (kind() != Kind::kObject || value().state == 0) return out;
  const Value& state = (*document_)[value().state];
  if (state.kind != Kind::kDict) return out;
  for (size_t i = 0; i + 1 < state.items.size(); i += 2) out.emplace_back((*document_)[state.items[i]].text);
  return out;
}

bool Node::is_number() const {
  switch (kind()) {
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat: return true;
    case Kind::kArray: return value().array->count == 1 && value().array->type && numeric(*value().array->type) && !value().array->data.empty();
    default: return false;
  }
}

bool Node::boolean(bool otherwise) const {
  if (!present() || kind() == Kind::kNone) return otherwise;
  return number() != 0;
}

int64_t Node::integer() const {
  if (kind() == Kind::kInt || kind() == Kind::kBool) return value().integer;
  double d = number();
  if (!(std::abs(d) < 9e15) || d != std::floor(d)) fail("is no whole number");
  return static_cast<int64_t>(d);
}

double Node::number() const {
  switch (kind()) {
    case Kind::kInt:
    case Kind::kBool: return static_cast<double>(value().integer);
    case Kind::kFloat: return value().number;
    default: break;
  }
  if (!is_number()) fail("is no number");
  return element(*value().array->type, value().array->data.data());
}

std::string Node::text() const {
  if (is_text()) return std::string(value().text);
  if (kind() == Kind::kArray && value().array->count == 1) {
    const Array& a = *value().array;
    if (a.type->kind == 'U' || a.type->kind == 'S') return element_text(*a.type, a.data.data());
    if (a.type->kind == 'O') return at(0).text();
  }
  fail("is no string");
}

bool Node::is_sequence() const {
  Kind k = kind();
  return k == Kind::kList || k == Kind::kTuple || k == Kind::kSet || (k == Kind::kArray && value().array->type);
}

const Array& Node::array() const {
  if (kind() != Kind::kArray || !value().array->type) fail("is no array");
  const Array& a = *value().array;
  if (a.type->kind != 'O' && a.data.size() != static_cast<uint64_t>(a.count) * a.type->size) fail("is an array without data");
  if (a.count > kMaxElements || (a.type->size == 0 && a.count > 1 << 16)) fail("is too large");
  return a;
}

size_t Node::size() const {
  if (kind() == Kind::kArray) {
    const Array& a = array();
    return a.dims.empty() ? 1 : static_cast<size_t>(a.count);
  }
  if (!is_sequence()) fail("is no list");
  return value().items.size();
}

Node Node::at(size_t i) const {
  if (kind() == Kind::kArray) {
    const Array& a = array();
    if (a.type->kind != 'O') fail("is no array of objects");
    int64_t p = static_cast<int64_t>(i) < a.count ? position(a, static_cast<int64_t>(i)) : a.count;
    if (p >= static_cast<int64_t>(a.objects.size())) fail("has too few elements");
    return with(a.objects[static_cast<size_t>(p)], where_ + "[" + std::to_string(i) + "]");
  }
  if (!is_sequence() || i >= value().items.size()) fail("has too few elements");
  return with(value().items[i], where_ + "[" + std::to_string(i) + "]");
}

std::vector<Node> Node::list() const {
  std::vector<Node> out;
  for (size_t i = 0, n = size(); i < n; ++i) out.push_back(at(i));
  return out;
}

std::vector<double> Node::numbers() const {
  std::vector<double> out;
  if (kind() == Kind::kArray && array().type->kind != 'O') {
    const Array& a = array();
    if (!numeric(*a.type)) fail("holds no numbers");
    out.reserve(static_cast<size_t>(a.count));
    for (int64_t i = 0; i < a.count; ++i) out.push_back(element(*a.type, a.data.data() + static_cast<uint64_t>(position(a, i)) * a.type->size));
    return out;
  }
  for (const Node& item : list()) out.push_back(item.number());
  return out;
}

std::vector<int64_t> Node::integers() const {
  std::vector<int64_t> out;
  if (kind() == Kind::kArray && array().type->kind == 'i' && array().type->size == 8) {  // doubles would lose digits
    const Array& a = array();
    for (int64_t i = 0; i < a.count; ++i) out.push_back(load<int64_t>(a.data.data() + static_cast<uint64_t>(position(a, i)) * 8, a.type->big_endian));
    return out;
  }
  if (kind() != Kind::kArray) {
    for (const Node& item : list()) out.push_back(item.integer());
    return out;
  }
  for (double d : numbers()) {
    if (!(std::abs(d) < 9.2e18) || d != std::floor(d)) fail("holds numbers that are not whole");
    out.push_back(static_cast<int64_t>(d));
  }
  return out;
}

std::vector<std::string> Node::texts() const {
  std::vector<std::string> out;
  if (kind() == Kind::kArray && array().type->kind != 'O') {
    const Array& a = array();
    if (a.type->kind != 'U' && a.type->kind != 'S') fail("holds no strings");
    for (int64_t i = 0; i < a.count; ++i) out.push_back(element_text(*a.type, a.data.data() + static_cast<uint64_t>(position(a, i)) * a.type->size));
    return out;
  }
  for (const Node& item : list()) out.push_back(item.text());
  return out;
}

Dims Node::shape() const {
  if (kind() == Kind::kArray) return array().dims;
  return {static_cast<int64_t>(size())};
}

char Node::element_kind() const { return kind() == Kind::kArray && value().array->type ? value().array->type->kind : '\0'; }

bool Node::has_column(std::string_view field) const {
  for (const auto& f : array().type->fields)
    if (f.name == field) return true;
  return false;
}

std::vector<double> Node::column(std::string_view field) const {
  const Array& a = array();
  for (const auto& f : a.type->fields) {
    if (f.name != field) continue;
    if (!numeric(*f.type)) fail(fmt::format("field {} holds no numbers", field));
    std::vector<double> out;
    out.reserve(static_cast<size_t>(a.count));
    for (int64_t i = 0; i < a.count; ++i) out.push_back(element(*f.type, a.data.data() + static_cast<uint64_t>(position(a, i)) * a.type->size + f.offset));
    return out;
  }
  fail(fmt::format("has no field {}", field));
}

Node Node::get(std::string_view key) const {
  if (kind() != Kind::kDict) return {};
  const std::vector<Ref>& items = value().items;
  for (size_t i = items.size(); i >= 2; i -= 2) {
    const Value& k = (*document_)[items[i - 2]];
    if ((k.kind == Kind::kText || k.kind == Kind::kBytes) && k.text == key) return with(items[i - 1], where_ + "[\"" + std::string(key) + "\"]");
  }
  return {};
}

std::vector<std::pair<Node, Node>> Node::entries() const {
  if (kind() != Kind::kDict) fail("is no dictionary");
  std::vector<std::pair<Node, Node>> out;
  const std::vector<Ref>& items = value().items;
  for (size_t i = 0; i + 1 < items.size(); i += 2) out.emplace_back(with(items[i], where_), with(items[i + 1], where_));
  return out;
}

}  // namespace mlt::foreign::pickle
