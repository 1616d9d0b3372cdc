#include <algorithm>

#include "lib/convert/onnx/lowering.h"
#include "lib/tensor/deferred.h"

namespace mlt::foreign::onnx {

DType mil_dtype(DType source) {
  if (is_float(source)) return DType::kF32;
  return is_integer(source) ? DType::kI32 : source;
}

Tensor to_mil(const Tensor& tensor) {
  DType dtype = tensor.dtype();
  if (dtype == DType::kF16 || dtype == DType::kBF16) return widened(tensor);
  if (dtype != DType::kI64 && dtype != DType::kU64 && dtype != DType::kU32) return convert(tensor, mil_dtype(dtype));
  // Saturating: "to the end" is written as the largest int64.
  Tensor out = Tensor::uninitialized(DType::kI32, tensor.dims());
  int32_t* to = out.mutable_data<int32_t>();
  auto fill = [&](const auto* from) {
    for (int64_t i = 0; i < tensor.size(); ++i)
      to[i] = static_cast<int32_t>(std::clamp<std::conditional_t<std::is_signed_v<std::remove_cvref_t<decltype(*from)>>, int64_t, uint64_t>>(
          from[i], std::is_signed_v<std::remove_cvref_t<decltype(*from)>> ? INT32_MIN : 0, INT32_MAX));
  };
  if (dtype == DType::kI64) fill(tensor.data<int64_t>());
  else if (dtype == DType::kU64) fill(tensor.data<uint64_t>());
  else fill(tensor.data<uint32_t>());
  return out;
}

const Tensor* Ctx::raw_named(const std::string& name) { return driver_.raw(name); }

Val Ctx::val(size_t i) {
  if (!has(i)) bad_input("input " + std::to_string(i) + " is missing");
  return driver_.lookup(node.inputs[i]);
}

V Ctx::in(size_t i) {
  Val v = val(i);
  if (v.value == nullptr) unsupported(v.sequence ? "a sequence where a tensor is needed" : v.strings ? "strings" : "input " + std::to_string(i) + " is no tensor");
  return v.value;
}

V Ctx::opt(size_t i) {
  if (!has(i)) return nullptr;
  Val v = val(i);
  return v.none ? nullptr : in(i);
}

const Attribute* Ctx::find(std::string_view name, Attribute::Kind kind) {
  used_.insert(std::string(name));
  auto it = node.attributes.find(name);
  if (it == node.attributes.end()) return nullptr;
  if (it->second.kind != kind) {
    // Empty lists of unknown kind in old files read as integers.
    bool empty = it->second.kind == Attribute::Kind::kInts && it->second.ints.empty();
    if (!empty) bad_input("attribute \"" + std::string(name) + "\" has an unexpected type");
  }
  return &it->second;
}

bool Ctx::has_attr(std::string_view name) {
  used_.insert(std::string(name));
  return node.attributes.find(name) != node.attributes.end();
}
int64_t Ctx::i64(std::string_view name, int64_t absent) {
  const Attribute* a = find(name, Attribute::Kind::kInt);
  return a ? a->i : absent;
}
float Ctx::f32(std::string_view name, float absent) {
  const Attribute* a = find(name, Attribute::Kind::kFloat);
  return a ? a->f : absent;
}
std::string Ctx::str(std::string_view name, std::string absent) {
  const Attribute* a = find(name, Attribute::Kind::kString);
  return a ? a->s : absent;
}
std::optional<std::vector<int64_t>> Ctx::ints(std::string_view name) {
  const Attribute* a = find(name, Attribute::Kind::kInts);
  return a ? std::optional(a->ints) : std::nullopt;
}
std::optional<std::vector<float>> Ctx::floats(std::string_view name) {
  const Attribute* a = find(name, Attribute::Kind::kFloats);
  return a ? std::optional(a->floats) : std::nullopt;
}
std::optional<std::vector<std::string>> Ctx::strings(std::string_view name) {
  const Attribute* a = find(name, Attribute::Kind::kStrings);
  return a ? std::optional(a->strings) : std::nullopt;
}
const Tensor* Ctx::tensor(std::string_view name) {
  const Attribute* a = find(name, Attribute::Kind::kTensor);
  return a ? &a->tensor : nullptr;
}
std::shared_ptr<Graph> Ctx::graph(std::string_view name) {
  const Attribute* a = find(name, Attribute::Kind::kGraph);
  if (a == nullptr) bad_input("attribute \"" + std::string(name) + "\" is missing");
  return a->graph;
}

std::vector<int64_t> Ctx::known(size_t i, std::string_view what) {
  auto ints = l.known_ints(in(i));
  if (!ints) unsupported(std::string(what) + " must be constant", "give fixed input shapes with --input NAME,shape=...");
  return *ints;
}

const Tensor& Ctx::known_tensor(size_t i, std::string_view what) {
  const Tensor* tensor = Lower::known(in(i));
  if (tensor == nullptr) unsupported(std::string(what) + " must be constant");
  return *tensor;
}

std::vector<float> Ctx::known_floats(size_t i, std::string_view what) { return to_floats(known_tensor(i, what)); }

std::optional<std::vector<int64_t>> Ctx::ints_of(std::string_view attribute, size_t i, std::string_view what) {
  if (auto a = ints(attribute)) return a;
  if (opt(i) == nullptr) return std::nullopt;
  return known(i, what);
}

const Dims& Ctx::known_dims(V x, std::string_view what) {
  if (!Lower::is_static(x))
    unsupported(std::string(what) + " needs known extents, this input has " + dims_text(Lower::dims(x)), "give fixed input shapes with --input NAME,shape=...");
  return Lower::dims(x);
}

void Ctx::out(size_t i, V value) {
  DType dtype = Lower::dtype(value), type = dtype == DType::kI32 ? DType::kI64 : dtype;
  if (dtype != DType::kBool)
    for (size_t k = 0; k < inputs(); ++k) {
      if (!has(k)) continue;
      DType t = this->type(k);
      if (is_float(t) == is_float(dtype) && t != DType::kBool && t != DType::kString) {
        type = t;
        break;
      }
    }
  out(i, value, type);
}

void Ctx::out(size_t i, V value, DType type) {
  Val v;
  v.value = value;
  v.type = type;
  results_[i] = std::move(v);
}

void Ctx::out(size_t i, Val value) { results_[i] = std::move(value); }

std::vector<std::string> Ctx::unused_attributes() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : node.attributes)
    if (!used_.contains(name)) names.push_back(name);
  return names;
}

}  // namespace mlt::foreign::onnx
