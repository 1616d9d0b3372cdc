#include "lib/coreml/mil_types.h"

#include <fmt/core.h>

#include <limits>

namespace mlt::coreml {

namespace milspec = CoreML::Specification::MILSpec;

namespace {

struct Row {
  milspec::DataType mil;
  DType dtype;
};
constexpr Row kRows[] = {
    {milspec::BOOL, DType::kBool},       {milspec::STRING, DType::kString},        {milspec::FLOAT16, DType::kF16},
    {milspec::FLOAT32, DType::kF32},     {milspec::FLOAT64, DType::kF64},          {milspec::BFLOAT16, DType::kBF16},
    {milspec::FLOAT8E4M3FN, DType::kF8E4M3FN}, {milspec::FLOAT8E5M2, DType::kF8E5M2}, {milspec::INT4, DType::kI4},
    {milspec::INT8, DType::kI8},         {milspec::INT16, DType::kI16},            {milspec::INT32, DType::kI32},
    {milspec::INT64, DType::kI64},       {milspec::UINT1, DType::kU1},             {milspec::UINT2, DType::kU2},
    {milspec::UINT3, DType::kU3},        {milspec::UINT4, DType::kU4},             {milspec::UINT6, DType::kU6},
    {milspec::UINT8, DType::kU8},        {milspec::UINT16, DType::kU16},           {milspec::UINT32, DType::kU32},
    {milspec::UINT64, DType::kU64},
};

Result<int64_t> decode_extent(const milspec::Dimension& dimension) {
  if (dimension.has_constant()) {
    uint64_t size = dimension.constant().size();
    if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return input_error("an extent is too large");
    return static_cast<int64_t>(size);
  }
  return dimension.unknown().variadic() ? ir::kVariadic : ir::kUnknown;
}

void encode_extent(int64_t extent, milspec::Dimension* dimension) {
  if (extent >= 0) dimension->mutable_constant()->set_size(static_cast<uint64_t>(extent));
  else dimension->mutable_unknown()->set_variadic(extent == ir::kVariadic);
}

Result<ir::Type> decode_tensor(const milspec::TensorType& proto) {
  auto dtype = from_mil(proto.datatype());
  if (!dtype) return unsupported_error(fmt::format("element type {} is unknown", static_cast<int>(proto.datatype())));
  if (proto.rank() < 0 && proto.dimensions_size() == 0) return ir::Type::unranked(*dtype);
  ir::Type type = ir::Type::tensor(*dtype);
  if (proto.rank() != proto.dimensions_size())
    return input_error(fmt::format("a tensor type of rank {} with {} extents", proto.rank(), proto.dimensions_size()));
  for (const auto& dimension : proto.dimensions()) {
    MLT_ASSIGN(int64_t extent, decode_extent(dimension));
    type.dims.push_back(extent);
  }
  return type;
}

}  // namespace

std::optional<DType> from_mil(milspec::DataType type) {
  for (const Row& row : kRows)
    if (row.mil == type) return row.dtype;
  return std::nullopt;
}

milspec::DataType to_mil(DType type) {
  for (const Row& row : kRows)
    if (row.dtype == type) return row.mil;
  return milspec::UNUSED_TYPE;
}

// Depth is bounded: the parser of the message bounds its nesting.
Result<ir::Type> decode_type(const milspec::ValueType& proto) {
  switch (proto.type_case()) {
    case milspec::ValueType::kTensorType: return decode_tensor(proto.tensortype());
    case milspec::ValueType::kListType: {
      MLT_ASSIGN(ir::Type element, decode_type(proto.listtype().type()));
      MLT_ASSIGN(int64_t length, decode_extent(proto.listtype().length()));
      return ir::Type::list(std::move(element), length < 0 ? ir::kUnknown : length);
    }
    case milspec::ValueType::kTupleType: {
      std::vector<ir::Type> elements;
      for (const auto& element : proto.tupletype().types()) {
        MLT_ASSIGN(ir::Type type, decode_type(element));
        elements.push_back(std::move(type));
      }
      return ir::Type::tuple(std::move(elements));
    }
    case milspec::ValueType::kDictionaryType: {
      MLT_ASSIGN(ir::Type key, decode_type(proto.dictionarytype().keytype()));
      MLT_ASSIGN(ir::Type value, decode_type(proto.dictionarytype().valuetype()));
      return ir::Type::dict(std::move(key), std::move(value));
    }
    case milspec::ValueType::kStateType: {
      MLT_ASSIGN(ir::Type held, decode_type(proto.statetype().wrappedtype()));
      if (!held.is_tensor()) return input_error("a state of something that is no tensor");
      return ir::Type::state(std::move(held));
    }
    case milspec::ValueType::TYPE_NOT_SET: break;
  }
  return input_error("a value without a type");
}

void encode_type(const ir::Type& type, milspec::ValueType* proto) {
  switch (type.kind) {
    case ir::Type::Kind::kTensor: {
      milspec::TensorType* tensor = proto->mutable_tensortype();
      tensor->set_datatype(to_mil(type.dtype));
      tensor->set_rank(type.ranked ? type.rank() : -1);
      for (int64_t extent : type.dims) encode_extent(extent, tensor->add_dimensions());
      return;
    }
    case ir::Type::Kind::kList:
      encode_type(type.params[0], proto->mutable_listtype()->mutable_type());
      encode_extent(type.length, proto->mutable_listtype()->mutable_length());
      return;
    case ir::Type::Kind::kTuple:
      proto->mutable_tupletype();
      for (const ir::Type& element : type.params) encode_type(element, proto->mutable_tupletype()->add_types());
      return;
    case ir::Type::Kind::kDict:
      encode_type(type.params[0], proto->mutable_dictionarytype()->mutable_keytype());
      encode_type(type.params[1], proto->mutable_dictionarytype()->mutable_valuetype());
      return;
    case ir::Type::Kind::kState: encode_type(type.params[0], proto->mutable_statetype()->mutable_wrappedtype()); return;
  }
}

}  // namespace mlt::coreml
