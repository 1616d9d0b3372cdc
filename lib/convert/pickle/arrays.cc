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

}  // namespace mlt::foreign::pickle
