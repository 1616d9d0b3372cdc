#include "lib/coreml/mil_write.h"

#include <fmt/core.h>

#include <cstring>
#include <map>
#include <tuple>

#include "lib/coreml/mil_types.h"
#include "lib/coreml/model_proto.h"
#include "lib/tensor/spill.h"

namespace mlt::coreml {
namespace {

class Writer {
 public:
  Writer(WeightSink* weights, const StoreOptions& options, int spec_version)
      : weights_(weights), options_(options), spec_version_(spec_version) {}

  Status program(const ir::Program& program, milspec::Program* proto) {
    proto->set_version(program.version);
    MLT_TRY(attributes(program.attributes, proto->mutable_attributes(), false));
    for (const auto& f : program.functions)
      MLT_TRY(function(*f, &(*proto->mutable_functions())[f->name]).in("function " + f->name));
    return {};
  }

 private:
  Status function(const ir::Function& f, milspec::Function* proto) {
    proto->set_opset(f.opset);
    MLT_TRY(attributes(f.attributes, proto->mutable_attributes(), false));
    for (const auto& input : f.inputs) named(*input, proto->add_inputs());
    return block(*f.body, &(*proto->mutable_block_specializations())[f.opset]);
  }

  static void named(const ir::Value& value, milspec::NamedValueType* proto) {
    proto->set_name(value.name);
    encode_type(value.type, proto->mutable_type());
  }

  template <typename Map>
  Status attributes(const ir::Attributes& attributes, Map* proto, bool may_be_large) {
    for (const auto& [key, value] : attributes) {
      if (value == nullptr) return input_error(fmt::format("attribute '{}' has no value", key));
      MLT_TRY(literal(*value, &(*proto)[key], may_be_large).in("attribute " + key));
    }
    return {};
  }

  Status block(const ir::Block& b, milspec::Block* proto) {
    MLT_TRY(attributes(b.attributes, proto->mutable_attributes(), false));
    for (const auto& input : b.inputs) named(*input, proto->add_inputs());
    for (const auto& op : b.ops) MLT_TRY(this->op(*op, proto->add_operations()).in(fmt::format("op {} ({})", op->name(), op->kind)));
    for (const ir::Value* output : b.outputs) {
      if (output == nullptr) return input_error("a block output is missing");
      proto->add_outputs(output->name);
    }
    return {};
  }

  Status op(const ir::Op& op, milspec::Operation* proto) {
    proto->set_type(op.kind);
    for (const ir::Arg& arg : op.args) {
      milspec::Argument* argument = &(*proto->mutable_inputs())[arg.name];
      for (const ir::Operand& operand : arg.operands) {
        if (operand.value != nullptr) argument->add_arguments()->set_name(operand.value->name);
        else if (operand.literal != nullptr) MLT_TRY(literal(*operand.literal, argument->add_arguments()->mutable_value(), op.kind.starts_with("constexpr_")).in("parameter " + arg.name));
        else return input_error(fmt::format("parameter '{}' has no value", arg.name));
      }
    }
    for (const auto& output : op.outputs) named(*output, proto->add_outputs());
    MLT_TRY(attributes(op.attributes, proto->mutable_attributes(), op.is_const() || op.kind.starts_with("constexpr_")));
    for (const auto& nested : op.blocks) MLT_TRY(block(*nested, proto->add_blocks()));
    return {};
  }

  Status literal(const ir::Literal& literal, milspec::Value* proto, bool may_be_large) {
    encode_type(literal.type, proto->mutable_type());
    if (literal.blob && options_.keep_file_references) {
      proto->mutable_blobfilevalue()->set_filename(literal.blob->file);
      proto->mutable_blobfilevalue()->set_offset(literal.blob->offset);
      return {};
    }
    auto* value = proto->mutable_immediatevalue();
    switch (literal.type.kind) {
      case ir::Type::Kind::kTensor:
        if (!literal.tensor.valid())
          return input_error(literal.blob ? fmt::format("its weights ({}) are missing", literal.blob->file) : "a constant without a value");
        if (may_be_large && weights_ != nullptr && belongs_in_weight_file(literal.tensor.dtype(), literal.tensor.size(), spec_version_)) {
          MLT_ASSIGN(uint64_t offset, store(literal.tensor));
          release_pages(literal.tensor);
          proto->mutable_blobfilevalue()->set_filename(weights_->file_name());
          proto->mutable_blobfilevalue()->set_offset(offset);
          return {};
        }
        encode_tensor(literal.tensor, value->mutable_tensor());
        return {};
      case ir::Type::Kind::kTuple:
        value->mutable_tuple();
        for (const ir::Literal& item : literal.items) MLT_TRY(this->literal(item, value->mutable_tuple()->add_values(), false));
        return {};
      case ir::Type::Kind::kList:
        value->mutable_list();
        for (const ir::Literal& item : literal.items) MLT_TRY(this->literal(item, value->mutable_list()->add_values(), false));
        return {};
      case ir::Type::Kind::kDict:
        value->mutable_dictionary();
        for (size_t i = 0; i + 1 < literal.items.size(); i += 2) {
          auto* pair = value->mutable_dictionary()->add_values();
          MLT_TRY(this->literal(literal.items[i], pair->mutable_key(), false));
          MLT_TRY(this->literal(literal.items[i + 1], pair->mutable_value(), false));
        }
        return {};
      case ir::Type::Kind::kState: break;
    }
    return input_error("a constant of state type");
  }

  // One blob per tensor in memory; whether equal contents are stored once is the sink's affair.
  Result<uint64_t> store(const Tensor& tensor) {
    auto key = std::tuple(tensor.deferred() ? static_cast<const void*>(tensor.deferred()) : tensor.bytes().data(), tensor.nbytes(), tensor.dtype());
    auto it = stored_.find(key);
    if (it != stored_.end()) return it->second;
    MLT_ASSIGN(uint64_t offset, weights_->add_tensor(tensor));
    stored_.emplace(key, offset);
    return offset;
  }

  // Which type goes to which field: reference milblob.md, from coremltools.
  static void encode_tensor(const Tensor& tensor, milspec::TensorValue* proto) {
    auto fill = [&](auto* values, auto zero) {
      using Stored = decltype(zero);
      const std::byte* data = tensor.bytes().data();
      values->Reserve(static_cast<int>(tensor.size()));
      for (int64_t i = 0; i < tensor.size(); ++i) {
        Stored value;
        std::memcpy(&value, data + static_cast<size_t>(i) * sizeof(Stored), sizeof(Stored));
        values->Add(static_cast<std::remove_cvref_t<decltype(values->Get(0))>>(value));
      }
    };
    switch (tensor.dtype()) {
      case DType::kF32: return fill(proto->mutable_floats()->mutable_values(), float{});
      case DType::kF64: return fill(proto->mutable_doubles()->mutable_values(), double{});
      case DType::kI16: return fill(proto->mutable_ints()->mutable_values(), int16_t{});
      case DType::kU16: return fill(proto->mutable_ints()->mutable_values(), uint16_t{});
      case DType::kI32: return fill(proto->mutable_ints()->mutable_values(), int32_t{});
      case DType::kI64: return fill(proto->mutable_longints()->mutable_values(), int64_t{});
      case DType::kU64: return fill(proto->mutable_longints()->mutable_values(), uint64_t{});
      case DType::kBool: return fill(proto->mutable_bools()->mutable_values(), uint8_t{});
      case DType::kString:
        proto->mutable_strings();
        for (const std::string& text : tensor.strings()) proto->mutable_strings()->add_values(text);
        return;
      default:
        proto->mutable_bytes()->set_values(tensor.bytes().data(), tensor.bytes().size());
        return;
    }
  }

  WeightSink* weights_;
  const StoreOptions& options_;
  int spec_version_;
  std::map<std::tuple<const void*, int64_t, DType>, uint64_t> stored_;
};

}  // namespace

bool belongs_in_weight_file(DType dtype, int64_t elements, int spec_version) {
  if (elements < 10) return false;
  switch (dtype) {
    case DType::kBool: case DType::kString: case DType::kF64: case DType::kI64: case DType::kU64: return false;
    case DType::kI16: case DType::kU16: case DType::kI32: case DType::kU32: return spec_version >= 9;
    default: return true;
  }
}

Status store_program(Model& model, const ir::Program& program, WeightSink* weights, const StoreOptions& options) {
  // The new body is complete before it takes the place of the old one, so a failure changes nothing.
  auto* fresh = google::protobuf::Arena::CreateMessage<milspec::Program>(model.proto().GetArena());
  MLT_TRY(Writer(weights, options, model.spec_version()).program(program, fresh));
  milspec::Program* body = model.mutable_proto().mutable_mlprogram();
  fresh->set_docstring(body->docstring());
  body->Swap(fresh);
  return {};
}

}  // namespace mlt::coreml
