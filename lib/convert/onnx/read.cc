// ONNX protobuf -> plain structs. Large initializers stay in the mapped file; other tensors' bytes are moved out of the parsed
// message, not copied; external data is mapped.
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <limits>
#include <set>

#include "lib/base/mapped.h"
#include "lib/convert/onnx/model.h"
#include "lib/convert/onnx/proto/onnx.pb.h"
#include "lib/convert/onnx/strip.h"
#include "lib/tensor/deferred.h"

namespace mlt::foreign::onnx {
namespace {

constexpr int kMaxDepth = 100;       // nested messages of a file
constexpr int kMaxGraphDepth = 32;   // nested subgraphs
constexpr int kMaxRank = 64;

class Reader {
 public:
  // raw: data of the main graph's initializers that is not in the message (strip.h); empty blobs for the others.
  explicit Reader(std::string directory, std::vector<Blob> raw = {}) : directory_(std::move(directory)), raw_(std::move(raw)) {}

  Result<Tensor> tensor(onnx_wire::TensorProto& proto, const Blob& raw = {});
  Result<Attribute> attribute(onnx_wire::AttributeProto& proto, int depth);
  Result<Node> node(onnx_wire::NodeProto& proto, int depth);
  Result<Graph> graph(onnx_wire::GraphProto& proto, int depth);
  Result<Model> model(onnx_wire::ModelProto& proto);

 private:
  Result<Blob> external(const onnx_wire::TensorProto& proto, uint64_t need);
  Result<Tensor> sparse(onnx_wire::SparseTensorProto& proto);
  std::string directory_;
  std::vector<Blob> raw_;
  std::map<std::string, Blob> files_;
};

template <typename T, typename Field>
Tensor from_field(const Field& field, DType dtype, const Dims& dims) {
  Tensor tensor = Tensor::uninitialized(dtype, dims);
  T* out = reinterpret_cast<T*>(tensor.mutable_bytes());
  for (int i = 0; i < field.size(); ++i) out[i] = static_cast<T>(field.Get(i));
  return tensor;
}

Result<Blob> Reader::external(const onnx_wire::TensorProto& proto, uint64_t need) {
  std::string location;
  uint64_t offset = 0, length = need;
  auto number = [](const std::string& text, uint64_t* out) {
    if (text.empty() || text.size() > 19 || text.find_first_not_of("0123456789") != std::string::npos) return false;
    *out = std::stoull(text);
    return true;
  };
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() == "offset" && !number(entry.value(), &offset)) return input_error("bad offset of external data");
    if (entry.key() == "length" && !number(entry.value(), &length)) return input_error("bad length of external data");
  }
  // Some exporters write "./weights.bin".
  if (location.starts_with("./")) location.erase(0, 2);
  if (!is_safe_relative_path(location)) return input_error("external data lies outside the model's directory: \"" + location + "\"");
  if (directory_.empty()) return input_error("weights are in the file \"" + location + "\"", "give the model as a file beside it, not on a pipe");
  auto it = files_.find(location);
  if (it == files_.end()) {
    MLT_ASSIGN(Blob file, map_file(directory_ + "/" + location));
    it = files_.emplace(location, std::move(file)).first;
  }
  if (length != need) return input_error("external data has " + std::to_string(length) + " bytes, " + std::to_string(need) + " needed");
  if (offset > it->second.size() || length > it->second.size() - offset)
    return input_error("external data ends before byte " + std::to_string(offset + length) + " of \"" + location + "\"");
  return it->second.sub(offset, length);
}

Result<Tensor> Reader::tensor(onnx_wire::TensorProto& proto, const Blob& raw) {
  if (proto.dims_size() > kMaxRank) return input_error("a tensor of rank " + std::to_string(proto.dims_size()));
  Dims dims(proto.dims().begin(), proto.dims().end());
  MLT_ASSIGN(int64_t count, element_count(dims));
  if (proto.data_type() == 8) {
    if (proto.string_data_size() != count) return input_error("tensor has " + std::to_string(proto.string_data_size()) + " strings, " + std::to_string(count) + " needed");
    return Tensor::of_strings(dims, {proto.string_data().begin(), proto.string_data().end()});
  }
  auto dtype = dtype_from_onnx(proto.data_type());
  if (!dtype) return unsupported_error("element type " + std::to_string(proto.data_type()) + " of ONNX");
  if (proto.has_segment()) return unsupported_error("tensors stored in segments");
  uint64_t need = static_cast<uint64_t>(storage_bytes(*dtype, count));
  if (proto.data_location() == 1) {
    MLT_ASSIGN(Blob blob, external(proto, need));
    return tensor_of_file(*dtype, dims, blob);
  }
  if (raw.size() > 0) {
    if (raw.size() != need) return input_error("tensor has " + std::to_string(raw.size()) + " bytes, " + std::to_string(need) + " needed");
    return tensor_of_file(*dtype, dims, raw);
  }
  if (proto.has_raw_data()) {
    if (proto.raw_data().size() != need) return input_error("tensor has " + std::to_string(proto.raw_data().size()) + " bytes, " + std::to_string(need) + " needed");
    auto owner = std::make_shared<std::string>(std::move(*proto.mutable_raw_data()));
    Blob blob(owner, as_bytes(*owner));
    return Tensor::from_blob(*dtype, dims, blob);
  }
  auto have = [&](int64_t size) -> Status {
    if (size != count) return input_error("tensor has " + std::to_string(size) + " values, " + std::to_string(count) + " needed");
    return {};
  };
  switch (*dtype) {
    case DType::kF32: MLT_TRY(have(proto.float_data_size())); return from_field<float>(proto.float_data(), *dtype, dims);
    case DType::kF64: MLT_TRY(have(proto.double_data_size())); return from_field<double>(proto.double_data(), *dtype, dims);
    case DType::kI64: MLT_TRY(have(proto.int64_data_size())); return from_field<int64_t>(proto.int64_data(), *dtype, dims);
    case DType::kU64: MLT_TRY(have(proto.uint64_data_size())); return from_field<uint64_t>(proto.uint64_data(), *dtype, dims);
    case DType::kU32: MLT_TRY(have(proto.uint64_data_size())); return from_field<uint32_t>(proto.uint64_data(), *dtype, dims);
    case DType::kI32: MLT_TRY(have(proto.int32_data_size())); return from_field<int32_t>(proto.int32_data(), *dtype, dims);
    case DType::kI16: case DType::kU16: case DType::kF16: case DType::kBF16:
      MLT_TRY(have(proto.int32_data_size())); return from_field<uint16_t>(proto.int32_data(), *dtype, dims);
    case DType::kI8: case DType::kU8: case DType::kF8E4M3FN: case DType::kF8E5M2:
      MLT_TRY(have(proto.int32_data_size())); return from_field<uint8_t>(proto.int32_data(), *dtype, dims);
    case DType::kBool: {
      MLT_TRY(have(proto.int32_data_size()));
      Tensor tensor = Tensor::uninitialized(*dtype, dims);
      for (int i = 0; i < proto.int32_data_size(); ++i) tensor.mutable_data<uint8_t>()[i] = proto.int32_data(i) != 0;
      return tensor;
    }
    case DType::kI4: case DType::kU4: case DType::kU2: {  // int32_data holds several elements in each value's low byte
      MLT_TRY((proto.int32_data_size() == static_cast<int64_t>(need) ? Status() : Status(input_error("packed tensor of wrong length"))));
      Bytes packed(need);
      for (size_t i = 0; i < need; ++i) packed[i] = static_cast<std::byte>(proto.int32_data(static_cast<int>(i)));
      return Tensor::from_blob(*dtype, dims, Blob(std::move(packed)));
    }
    default: return unsupported_error("element type " + std::string(dtype_name(*dtype)));
  }
}

Result<Tensor> Reader::sparse(onnx_wire::SparseTensorProto& proto) {
  MLT_ASSIGN(Tensor values, tensor(*proto.mutable_values()));
  MLT_ASSIGN(Tensor indices, tensor(*proto.mutable_indices()));
  Dims dims(proto.dims().begin(), proto.dims().end());
  if (dims.size() > kMaxRank) return input_error("a tensor of rank " + std::to_string(dims.size()));
  MLT_ASSIGN(int64_t count, element_count(dims));
  if (count > (int64_t{1} << 28)) return resource_error("sparse tensor of " + std::to_string(count) + " elements");
  if (values.rank() != 1 || indices.dtype() != DType::kI64 || is_sub_byte(values.dtype()) || values.dtype() == DType::kString)
    return unsupported_error("this form of sparse tensor");
  Tensor dense = Tensor::zeros(values.dtype(), dims);
  int64_t n = values.size(), rank = static_cast<int64_t>(dims.size());
  bool linear = indices.rank() == 1;
  if (indices.size() != (linear ? n : n * rank)) return input_error("sparse tensor: indices and values disagree");
  Dims strides = row_major_strides(dims);
  size_t width = static_cast<size_t>(dtype_bits(values.dtype())) / 8;
  for (int64_t k = 0; k < n; ++k) {
    int64_t at = 0;
    const int64_t* index = indices.data<int64_t>();
    if (linear) {
      at = index[k];
    } else {
      for (int64_t d = 0; d < rank; ++d) {
        int64_t i = index[k * rank + d];
        if (i < 0 || i >= dims[static_cast<size_t>(d)]) return input_error("sparse tensor: index out of range");
        at += i * strides[static_cast<size_t>(d)];
      }
    }
    if (at < 0 || at >= count) return input_error("sparse tensor: index out of range");
    std::memcpy(dense.mutable_bytes() + static_cast<size_t>(at) * width, values.bytes().data() + static_cast<size_t>(k) * width, width);
  }
  return dense;
}

Result<Attribute> Reader::attribute(onnx_wire::AttributeProto& proto, int depth) {
  using Kind = Attribute::Kind;
  Attribute out;
  out.reference = proto.ref_attr_name();
  int type = proto.type();
  if (type == 0) {  // old files: the member that is there tells
    if (proto.has_f()) type = 1;
    else if (proto.has_i()) type = 2;
    else if (proto.has_s()) type = 3;
    else if (proto.has_t()) type = 4;
    else if (proto.has_g()) type = 5;
    else if (proto.floats_size()) type = 6;
    else if (proto.strings_size()) type = 8;
    else type = 7;
  }
  switch (type) {
    case 1: out.kind = Kind::kFloat; out.f = proto.f(); break;
    case 2: out.kind = Kind::kInt; out.i = proto.i(); break;
    case 3: out.kind = Kind::kString; out.s = proto.s(); break;
    case 4: {
      out.kind = Kind::kTensor;
      MLT_ASSIGN(out.tensor, tensor(*proto.mutable_t()));
      break;
    }
    case 5: {
      out.kind = Kind::kGraph;
      MLT_ASSIGN(Graph g, graph(*proto.mutable_g(), depth + 1));
      out.graph = std::make_shared<Graph>(std::move(g));
      break;
    }
    case 6: out.kind = Kind::kFloats; out.floats.assign(proto.floats().begin(), proto.floats().end()); break;
    case 7: out.kind = Kind::kInts; out.ints.assign(proto.ints().begin(), proto.ints().end()); break;
    case 8: out.kind = Kind::kStrings; out.strings.assign(proto.strings().begin(), proto.strings().end()); break;
    case 11: {
      out.kind = Kind::kTensor;
      MLT_ASSIGN(out.tensor, sparse(*proto.mutable_sparse_tensor()));
      break;
    }
    default: out.kind = Kind::kOther; break;
  }
  return out;
}

Result<Node> Reader::node(onnx_wire::NodeProto& proto, int depth) {
  Node out;
  out.name = proto.name();
  out.op_type = proto.op_type();
  out.domain = proto.domain() == "ai.onnx" ? "" : proto.domain();
  out.inputs.assign(proto.input().begin(), proto.input().end());
  out.outputs.assign(proto.output().begin(), proto.output().end());
  for (auto& a : *proto.mutable_attribute()) {
    auto value = attribute(a, depth);
    if (!value) return std::move(value.error()).in_path("attribute " + a.name()).in_path("node " + (out.name.empty() ? out.op_type : out.name));
    if (!out.attributes.emplace(a.name(), std::move(*value)).second)
      return input_error("attribute \"" + a.name() + "\" is given twice").in_path("node " + out.name);
  }
  return out;
}

ValueInfo value_info(const onnx_wire::ValueInfoProto& proto) {
  using Kind = ValueInfo::Kind;
  ValueInfo out;
  out.name = proto.name();
  const auto& type = proto.type();
  switch (type.value_case()) {
    case onnx_wire::TypeProto::kTensorType: out.kind = Kind::kTensor; break;
    case onnx_wire::TypeProto::kSequenceType: out.kind = Kind::kSequence; break;
    case onnx_wire::TypeProto::kMapType: out.kind = Kind::kMap; break;
    case onnx_wire::TypeProto::kOptionalType: out.kind = Kind::kOptional; break;
    default: break;
  }
  if (out.kind != Kind::kTensor) return out;
  const auto& tensor = type.tensor_type();
  if (tensor.elem_type() == 8) {
    out.dtype = DType::kString;
    out.known_dtype = true;
  } else if (auto dtype = dtype_from_onnx(tensor.elem_type())) {
    out.dtype = *dtype;
    out.known_dtype = true;
  }
  out.has_shape = tensor.has_shape();
  for (const auto& dim : tensor.shape().dim()) {
    Dim d;
    if (dim.value_case() == onnx_wire::TensorShapeProto::Dimension::kDimValue) d.extent = dim.dim_value();
    d.symbol = dim.dim_param();
    out.dims.push_back(std::move(d));
  }
  return out;
}

Result<Graph> Reader::graph(onnx_wire::GraphProto& proto, int depth) {
  if (depth > kMaxGraphDepth) return input_error("subgraphs nest too deep");
  Graph out;
  out.name = proto.name();
  size_t index = 0;
  for (auto& t : *proto.mutable_initializer()) {
    auto value = depth == 0 && index < raw_.size() ? tensor(t, raw_[index]) : tensor(t);
    ++index;
    if (!value) return std::move(value.error()).in_path("initializer " + t.name());
    out.initializers[t.name()] = std::move(*value);
  }
  for (auto& t : *proto.mutable_sparse_initializer()) {
    std::string name = t.values().name();
    auto value = sparse(t);
    if (!value) return std::move(value.error()).in_path("initializer " + name);
    out.initializers[name] = std::move(*value);
  }
  for (auto& n : *proto.mutable_node()) {
    MLT_ASSIGN(Node value, node(n, depth));
    out.nodes.push_back(std::move(value));
  }
  for (const auto& v : proto.input()) {
    ValueInfo info = value_info(v);
    if (info.dims.size() > kMaxRank) return input_error("input \"" + info.name + "\" has rank " + std::to_string(info.dims.size()));
    out.inputs.push_back(std::move(info));
  }
  for (const auto& v : proto.output()) out.outputs.push_back(value_info(v));
  return out;
}

Result<Model> Reader::model(onnx_wire::ModelProto& proto) {
  Model out;
  out.ir_version = proto.ir_version();
  out.producer = proto.producer_name();
  out.producer_version = proto.producer_version();
  out.doc = proto.doc_string();
  for (const auto& o : proto.opset_import()) {
    int64_t& version = out.opsets[o.domain() == "ai.onnx" ? "" : o.domain()];
    version = std::max(version, o.version());
  }
  for (const auto& m : proto.metadata_props()) out.metadata.emplace_back(m.key(), m.value());
  MLT_ASSIGN(out.graph, graph(*proto.mutable_graph(), 0));
  for (auto& f : *proto.mutable_functions()) {
    LocalFunction function;
    function.name = f.name();
    function.domain = f.domain() == "ai.onnx" ? "" : f.domain();
    function.inputs.assign(f.input().begin(), f.input().end());
    function.outputs.assign(f.output().begin(), f.output().end());
    for (auto& n : *f.mutable_node()) {
      MLT_ASSIGN(Node value, node(n, 0));
      function.nodes.push_back(std::move(value));
    }
    for (auto& a : *f.mutable_attribute_proto()) {
      MLT_ASSIGN(Attribute value, attribute(a, 0));
      function.defaults.emplace(a.name(), std::move(value));
    }
    for (const auto& o : f.opset_import()) function.opsets[o.domain() == "ai.onnx" ? "" : o.domain()] = o.version();
    out.functions.push_back(std::move(function));
  }
  return out;
}

bool parse(ByteSpan bytes, google::protobuf::MessageLite* message) {
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) return false;
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  google::protobuf::io::CodedInputStream coded(&stream);
  coded.SetRecursionLimit(kMaxDepth);
  return message->ParseFromCodedStream(&coded) && coded.ConsumedEntireMessage();
}

}  // namespace

// Numbers: TensorProto.DataType of the ONNX specification.
std::optional<DType> dtype_from_onnx(int64_t number) {
  switch (number) {
    case 1: return DType::kF32;
    case 2: return DType::kU8;
    case 3: return DType::kI8;
    case 4: return DType::kU16;
    case 5: return DType::kI16;
    case 6: return DType::kI32;
    case 7: return DType::kI64;
    case 8: return DType::kString;
    case 9: return DType::kBool;
    case 10: return DType::kF16;
    case 11: return DType::kF64;
    case 12: return DType::kU32;
    case 13: return DType::kU64;
    case 16: return DType::kBF16;
    case 17: return DType::kF8E4M3FN;
    case 19: return DType::kF8E5M2;
    case 21: return DType::kU4;
    case 22: return DType::kI4;
    case 25: return DType::kU2;
    default: return std::nullopt;
  }
}

Result<Model> read_model(const Blob& bytes, const std::string& directory) {
  onnx_wire::ModelProto proto;
  std::vector<Blob> raw;
  if (auto stripped = strip_weights(bytes.bytes())) {
    if (!parse(stripped->message, &proto)) return input_error("not an ONNX model, or a damaged one");
    for (ByteSpan span : stripped->raw) raw.push_back(span.empty() ? Blob() : bytes.sub(static_cast<size_t>(span.data() - bytes.bytes().data()), span.size()));
  } else if (!parse(bytes.bytes(), &proto)) return input_error("not an ONNX model, or a damaged one");
  if (!proto.has_graph()) return input_error("not an ONNX model: it holds no graph");
  forget_mapped(bytes.bytes());  // what is needed of it again are weights, piece by piece
  return Reader(directory, std::move(raw)).model(proto);
}

std::optional<std::vector<ValueInfo>> read_interface(ByteSpan bytes) {
  onnx_wire::ModelProto proto;
  auto stripped = strip_weights(bytes);
  if (!stripped || !parse(stripped->message, &proto) || !proto.has_graph()) return std::nullopt;
  std::set<std::string_view> given;
  for (const auto& t : proto.graph().initializer()) given.insert(t.name());
  std::vector<ValueInfo> inputs;
  for (const auto& v : proto.graph().input())
    if (!given.contains(v.name())) inputs.push_back(value_info(v));
  return inputs;
}

Result<Tensor> read_tensor(const Blob& bytes, std::string* name) {
  onnx_wire::TensorProto proto;
  if (!parse(bytes.bytes(), &proto)) return input_error("not an ONNX tensor, or a damaged one");
  if (name) *name = proto.name();
  return Reader("").tensor(proto);
}

}  // namespace mlt::foreign::onnx
