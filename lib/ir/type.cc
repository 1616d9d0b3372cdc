#include "lib/ir/type.h"

#include <algorithm>

namespace mlt::ir {

Type Type::list(Type element, int64_t length) {
  Type type;
  type.kind = Kind::kList;
  type.length = length;
  type.params.push_back(std::move(element));
  return type;
}
Type Type::tuple(std::vector<Type> elements) {
  Type type;
  type.kind = Kind::kTuple;
  type.params = std::move(elements);
  return type;
}
Type Type::dict(Type key, Type value) {
  Type type;
  type.kind = Kind::kDict;
  type.params = {std::move(key), std::move(value)};
  return type;
}
Type Type::state(Type tensor) {
  Type type;
  type.kind = Kind::kState;
  type.params = {std::move(tensor)};
  return type;
}

bool Type::is_static() const {
  return kind == Kind::kTensor && ranked && std::all_of(dims.begin(), dims.end(), [](int64_t d) { return d >= 0; });
}

bool Type::operator==(const Type& other) const {
  if (kind != other.kind) return false;
  if (kind == Kind::kTensor) return dtype == other.dtype && ranked == other.ranked && dims == other.dims;
  return params == other.params && (kind != Kind::kList || length == other.length);
}

std::string Type::to_string() const {
  auto joined = [&] {
    std::string text;
    for (const Type& p : params) text += (text.empty() ? "" : ", ") + p.to_string();
    return text;
  };
  switch (kind) {
    case Kind::kTensor: {
      std::string text(dtype_name(dtype));
      if (!ranked) return text + "[...]";
      if (dims.empty()) return text;
      return text + "[" + dims_text(dims, ", ") + "]";
    }
    case Kind::kList: return "list<" + joined() + ", " + (length < 0 ? "?" : std::to_string(length)) + ">";
    case Kind::kTuple: return "tuple<" + joined() + ">";
    case Kind::kDict: return "dict<" + joined() + ">";
    case Kind::kState: return "state<" + joined() + ">";
  }
  return "?";
}

bool compatible(const Type& declared, const Type& actual) {
  if (declared.kind != actual.kind) return false;
  if (declared.kind == Type::Kind::kTensor) {
    if (declared.dtype != actual.dtype) return false;
    if (!declared.ranked || !actual.ranked) return true;
    auto variadic = [](const Type& t) { return std::find(t.dims.begin(), t.dims.end(), kVariadic) != t.dims.end(); };
    if (variadic(declared) || variadic(actual)) return true;
    if (declared.dims.size() != actual.dims.size()) return false;
    for (size_t i = 0; i < declared.dims.size(); ++i)
      if (declared.dims[i] >= 0 && actual.dims[i] >= 0 && declared.dims[i] != actual.dims[i]) return false;
    return true;
  }
  if (declared.params.size() != actual.params.size()) return false;
  for (size_t i = 0; i < declared.params.size(); ++i)
    if (!compatible(declared.params[i], actual.params[i])) return false;
  return true;
}

}  // namespace mlt::ir
