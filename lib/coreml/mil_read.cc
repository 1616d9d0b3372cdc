#include "lib/coreml/mil_read.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "lib/coreml/mil_types.h"
#include "lib/coreml/model_proto.h"

namespace mlt::coreml {
namespace {

// Names that ops see; entries made inside a block are undone when it ends.
using Scope = std::unordered_map<std::string_view, ir::Value*>;

// Extents of a literal of `count` elements: those of its type, where at most one may be open.
Result<Dims> literal_dims(const ir::Type& type, int64_t count) {
  if (!type.ranked) return input_error("a value of unknown rank");
  Dims dims = type.dims;
  int64_t* open = nullptr;
  int64_t known = 1;
  for (int64_t& d : dims) {
    if (d < 0) {
      if (d == ir::kVariadic || open != nullptr) return input_error(fmt::format("a value of type {}", type.to_string()));
      open = &d;
    } else if (__builtin_mul_overflow(known, d, &known)) {
      return input_error(fmt::format("a value of type {}", type.to_string()));
    }
  }
  if (open != nullptr) *open = known == 0 ? 0 : count / known;
  MLT_ASSIGN(int64_t wanted, element_count(dims));
  if (wanted != count) return input_error(fmt::format("{} elements given, {} needs {}", count, type.to_string(), wanted));
  return dims;
}

// Integers stored wider than their type.
template <typename Values>
Result<Tensor> from_integers(DType dtype, Dims dims, const Values& values) {
  // Unsigned types of the stored width wrap: that is how they are stored in a signed field.
  constexpr bool wide = sizeof(values.Get(0)) == 8;
  int64_t low = 0, high = 0;
  switch (dtype) {
    case DType::kI4: low = -8, high = 7; break;
    case DType::kI8: low = INT8_MIN, high = INT8_MAX; break;
    case DType::kI16: low = INT16_MIN, high = INT16_MAX; break;
    case DType::kI32: low = INT32_MIN, high = INT32_MAX; break;
    case DType::kU32: low = wide ? 0 : INT32_MIN, high = UINT32_MAX; break;
    case DType::kI64: case DType::kU64: low = INT64_MIN, high = INT64_MAX; break;
    case DType::kBool: high = 1; break;
    default:
      if (!is_integer(dtype)) return input_error(fmt::format("integers given for {}", dtype_name(dtype)));
      high = (int64_t{1} << dtype_bits(dtype)) - 1;
  }
  Tensor out = Tensor::uninitialized(DType::kI64, std::move(dims));
  int64_t* data = out.mutable_data<int64_t>();
  for (int i = 0; i < values.size(); ++i) {
    int64_t value = values.Get(i);
    if (value < low || value > high) return input_error(fmt::format("{} does not fit {}", value, dtype_name(dtype)));
    data[i] = value;
  }
  return convert(out, dtype);
}

template <typename T, typename Values>
Tensor from_values(Dims dims, const Values& values) {
  Tensor out = Tensor::uninitialized(dtype_of<T>(), std::move(dims));
  std::copy(values.begin(), values.end(), out.mutable_data<T>());
  return out;
}

Result<Tensor> from_bytes(const ir::Type& type, const std::string& bytes) {
  int64_t size = static_cast<int64_t>(bytes.size());
  if (type.dtype == DType::kString) return input_error("strings given as bytes");
  int bits = dtype_bits(type.dtype);
  // With an open extent the bytes tell how many there are; otherwise the type does.
  int64_t count = type.is_static() ? 0 : size * 8 / bits;
  if (type.is_static()) {
    MLT_ASSIGN(count, element_count(type.dims));
  }
  if (storage_bytes(type.dtype, count) != size)
    return input_error(fmt::format("{} bytes given, {} needs {}", size, type.to_string(), storage_bytes(type.dtype, count)));
  MLT_ASSIGN(Dims dims, literal_dims(type, count));
  Tensor out = Tensor::uninitialized(type.dtype, std::move(dims));
  if (size > 0) std::memcpy(out.mutable_bytes(), bytes.data(), bytes.size());
  if (type.dtype == DType::kBool)
    for (int64_t i = 0; i < size; ++i) out.mutable_bytes()[i] = static_cast<std::byte>(bytes[static_cast<size_t>(i)] != 0);
  return out;
}

// Which field holds which type: reference milblob.md. Other fields that can hold the type without loss are read too.
Result<Tensor> decode_tensor(const milspec::TensorValue& proto, const ir::Type& type) {
  DType dtype = type.dtype;
  auto mismatch = [&](const char* what) { return input_error(fmt::format("{} given for {}", what, type.to_string())); };
  switch (proto.value_case()) {
    case milspec::TensorValue::kFloats: {
      if (!is_float(dtype)) return mismatch("floats");
      MLT_ASSIGN(Dims dims, literal_dims(type, proto.floats().values_size()));
      return convert(from_values<float>(std::move(dims), proto.floats().values()), dtype);
    }
    case milspec::TensorValue::kDoubles: {
      if (!is_float(dtype)) return mismatch("doubles");
      MLT_ASSIGN(Dims dims, literal_dims(type, proto.doubles().values_size()));
      return convert(from_values<double>(std::move(dims), proto.doubles().values()), dtype);
    }
    case milspec::TensorValue::kInts: {
      MLT_ASSIGN(Dims dims, literal_dims(type, proto.ints().values_size()));
      return from_integers(dtype, std::move(dims), proto.ints().values());
    }
    case milspec::TensorValue::kLongInts: {
      MLT_ASSIGN(Dims dims, literal_dims(type, proto.longints().values_size()));
      return from_integers(dtype, std::move(dims), proto.longints().values());
    }
    case milspec::TensorValue::kBools: {
      if (dtype != DType::kBool) return mismatch("bools");
      MLT_ASSIGN(Dims dims, literal_dims(type, proto.bools().values_size()));
      return from_values<bool>(std::move(dims), proto.bools().values());
    }
    case milspec::TensorValue::kStrings: {
      if (dtype != DType::kString) return mismatch("strings");
      MLT_ASSIGN(Dims dims, literal_dims(type, proto.strings().values_size()));
      return Tensor::of_strings(std::move(dims), {proto.strings().values().begin(), proto.strings().values().end()});
    }
    case milspec::TensorValue::kBytes: return from_bytes(type, proto.bytes().values());
    case milspec::TensorValue::VALUE_NOT_SET: break;
  }
  MLT_ASSIGN(Dims dims, literal_dims(type, 0));
  return Tensor::zeros(dtype, std::move(dims));
}

class Reader {
 public:
  explicit Reader(const WeightSource* weights) : resolve_(blob_resolver(weights)) {}

  Result<std::unique_ptr<ir::Program>> program(const milspec::Program& proto) {
    auto program = std::make_unique<ir::Program>();
    program->version = proto.version();
    MLT_TRY(attributes(proto.attributes(), program->attributes));
    for (const auto* entry : sorted(proto.functions())) {
      ir::Function* f = program->add_function(entry->first, entry->second.opset());
      MLT_TRY(function(entry->second, *f).in("function " + entry->first));
    }
    return program;
  }

 private:
  // Entries of a protobuf map by key: its own order is random.
  template <typename Map>
  static std::vector<const typename Map::value_type*> sorted(const Map& map) {
    std::vector<const typename Map::value_type*> entries;
    entries.reserve(map.size());
    for (const auto& entry : map) entries.push_back(&entry);
    std::sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
    return entries;
  }

  template <typename Map>
  Status attributes(const Map& proto, ir::Attributes& out) {
    for (const auto* entry : sorted(proto)) {
      MLT_ASSIGN(ir::Literal value, literal(entry->second).in("attribute " + entry->first));
      out.emplace_hint(out.end(), entry->first, std::make_shared<const ir::Literal>(std::move(value)));
    }
    return {};
  }

  Result<ir::Literal> literal(const milspec::Value& proto) {
    ir::Literal out;
    MLT_ASSIGN(out.type, decode_type(proto.type()));
    if (proto.has_blobfilevalue()) {
      out.blob = ir::BlobRef{proto.blobfilevalue().filename(), proto.blobfilevalue().offset()};
      if (!out.type.is_static()) return input_error(fmt::format("a file value of type {}", out.type.to_string()));
      MLT_ASSIGN(out.tensor, resolve_(*out.blob, out.type));
      return out;
    }
    if (!proto.has_immediatevalue()) return input_error("a value that is neither immediate nor in a file");
    const auto& value = proto.immediatevalue();
    auto wrong = [&] { return input_error(fmt::format("a value that does not fit {}", out.type.to_string())); };
    auto add = [&](const milspec::Value& item) -> Status {
      MLT_ASSIGN(ir::Literal inner, literal(item));
      out.items.push_back(std::move(inner));
      return {};
    };
    switch (value.value_case()) {
      case milspec::Value::ImmediateValue::kTensor: {
        if (!out.type.is_tensor()) return wrong();
        MLT_ASSIGN(out.tensor, decode_tensor(value.tensor(), out.type));
        return out;
      }
      case milspec::Value::ImmediateValue::kTuple:
        if (out.type.kind != ir::Type::Kind::kTuple || out.type.params.size() != static_cast<size_t>(value.tuple().values_size())) return wrong();
        for (const auto& item : value.tuple().values()) MLT_TRY(add(item));
        return out;
      case milspec::Value::ImmediateValue::kList:
        if (out.type.kind != ir::Type::Kind::kList || (out.type.length >= 0 && out.type.length != value.list().values_size())) return wrong();
        for (const auto& item : value.list().values()) MLT_TRY(add(item));
        return out;
      case milspec::Value::ImmediateValue::kDictionary:
        if (out.type.kind != ir::Type::Kind::kDict) return wrong();
        for (const auto& pair : value.dictionary().values()) {
          MLT_TRY(add(pair.key()));
          MLT_TRY(add(pair.value()));
        }
        return out;
      case milspec::Value::ImmediateValue::VALUE_NOT_SET: break;
    }
    return input_error("an immediate value that is empty");
  }

  Status function(const milspec::Function& proto, ir::Function& f) {
    scope_.clear();
    taken_.clear();
    undo_.clear();
    reserve_names(proto);
    MLT_TRY(attributes(proto.attributes(), f.attributes));
    for (const auto& input : proto.inputs()) {
      MLT_TRY(define(input, [&](std::string name, ir::Type type) { return f.add_input(std::move(name), std::move(type)); }));
    }
    auto body = proto.block_specializations().find(proto.opset());
    if (body == proto.block_specializations().end()) return input_error(fmt::format("no body for its opset '{}'", proto.opset()));
    return block(body->second, *f.body);
  }

  // Every name of the function, so that a new one made for a duplicate meets none of them.
  void reserve_names(const milspec::Function& proto) {
    for (const auto& input : proto.inputs()) reserved_.insert(input.name());
    for (const auto& entry : proto.block_specializations()) reserve_names(entry.second);
  }
  void reserve_names(const milspec::Block& proto) {
    for (const auto& input : proto.inputs()) reserved_.insert(input.name());
    for (const auto& op : proto.operations()) {
      for (const auto& output : op.outputs()) reserved_.insert(output.name());
      for (const auto& nested : op.blocks()) reserve_names(nested);
    }
  }

  // Enters a new value. `add` makes it; the message outlives the scope, so its names serve as keys.
  template <typename Add>
  Status define(const milspec::NamedValueType& proto, const Add& add) {
    const std::string& name = proto.name();
    if (name.empty()) return input_error("a value without a name");
    auto type = decode_type(proto.type());
    if (!type.ok()) return std::move(type).in("value " + name).error();
    std::string unique = name;
    if (!taken_.insert(name).second) {
      if (defined_here_.contains(name)) return input_error(fmt::format("'{}' is defined twice", name));
      for (int i = 0; !taken_.insert(unique).second || reserved_.contains(unique); ++i) unique = fmt::format("{}_{}", name, i);
    }
    defined_here_.insert(name);
    ir::Value*& slot = scope_[name];
    undo_.emplace_back(name, slot);
    slot = add(std::move(unique), std::move(*type));
    return {};
  }
  Result<ir::Value*> lookup(const std::string& name) const {
    auto it = scope_.find(name);
    if (it == scope_.end() || it->second == nullptr) return input_error(fmt::format("'{}' is not defined here", name));
    return it->second;
  }

  Status block(const milspec::Block& proto, ir::Block& b) {
    MLT_TRY(attributes(proto.attributes(), b.attributes));
    for (const auto& input : proto.inputs())
      MLT_TRY(define(input, [&](std::string name, ir::Type type) { return b.add_input(std::move(name), std::move(type)); }));
    b.ops.reserve(static_cast<size_t>(proto.operations_size()));
    for (const auto& op : proto.operations()) {
      ir::Op* target = b.append(op.type());
      auto done = this->op(op, *target);
      if (!done.ok()) {
        std::string_view name = op.outputs_size() > 0 ? std::string_view(op.outputs(0).name()) : target->name();
        return std::move(done).in(fmt::format("op {} ({})", name, op.type())).error();
      }
    }
    for (const std::string& name : proto.outputs()) {
      MLT_ASSIGN(ir::Value * output, lookup(name));
      b.outputs.push_back(output);
    }
    return {};
  }

  Status op(const milspec::Operation& proto, ir::Op& op) {
    if (proto.type().empty()) return input_error("an operation without a type");
    MLT_TRY(attributes(proto.attributes(), op.attributes));
    op.args.reserve(proto.inputs().size());
    for (const auto* entry : sorted(proto.inputs())) {
      ir::Arg arg{entry->first, {}};
      for (const auto& binding : entry->second.arguments()) {
        if (binding.has_value()) {
          MLT_ASSIGN(ir::Literal value, literal(binding.value()).in("parameter " + entry->first));
          arg.operands.emplace_back(std::make_shared<const ir::Literal>(std::move(value)));
        } else {
          MLT_ASSIGN(ir::Value * value, lookup(binding.name()).in("parameter " + entry->first));
          arg.operands.emplace_back(value);
        }
      }
      op.args.push_back(std::move(arg));
    }
    for (const auto& nested : proto.blocks()) {
      op.blocks.push_back(std::make_unique<ir::Block>(&op));
      size_t mark = undo_.size();
      std::unordered_set<std::string_view> outer;
      outer.swap(defined_here_);
      MLT_TRY(block(nested, *op.blocks.back()));
      for (; undo_.size() > mark; undo_.pop_back()) scope_[undo_.back().first] = undo_.back().second;
      defined_here_.swap(outer);
    }
    for (const auto& output : proto.outputs())
      MLT_TRY(define(output, [&](std::string name, ir::Type type) { return op.add_output(std::move(name), std::move(type)); }));
    return {};
  }

  ir::BlobResolver resolve_;
  Scope scope_;
  std::unordered_set<std::string> taken_;               // names given out in this function
  std::unordered_set<std::string_view> reserved_;       // names that occur in it
  std::unordered_set<std::string_view> defined_here_;   // in the present block
  std::vector<std::pair<std::string_view, ir::Value*>> undo_;
};

}  // namespace

ir::BlobResolver blob_resolver(const WeightSource* weights) {
  return [weights](const ir::BlobRef& ref, const ir::Type& type) -> Result<Tensor> {
    if (weights == nullptr || !weights->has(ref.file)) return Tensor();
    auto place = [&] { return fmt::format("{} at offset {}", ref.file, ref.offset); };
    auto blob = weights->read(ref.file, ref.offset);
    if (!blob.ok()) return std::move(blob).in(place()).error();
    if (blob->dtype != type.dtype)
      return Result<Tensor>(input_error(fmt::format("a blob of {}, expected {}", dtype_name(blob->dtype), type.to_string()))).in(place());
    MLT_ASSIGN(int64_t count, element_count(type.dims));
    if (blob->elements != static_cast<uint64_t>(count))
      return Result<Tensor>(input_error(fmt::format("a blob of {} elements, {} needs {}", blob->elements, type.to_string(), count))).in(place());
    return Tensor::from_blob(type.dtype, type.dims, blob->data).in(place());
  };
}

Result<std::unique_ptr<ir::Program>> load_program(const Model& model, const WeightSource* weights) {
  if (model.kind() != ModelKind::kMlProgram) return usage_error(fmt::format("the model is a {}, not an ML program", model.kind_name()));
  return Reader(weights).program(model.proto().mlprogram());
}

}  // namespace mlt::coreml
