#include "lib/convert/to_onnx/emit.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <limits>
#include <utility>

#include "lib/convert/onnx/proto/onnx.pb.h"

namespace mlt::foreign::to_onnx {
namespace {

constexpr size_t kLarge = 4096;                         // bytes; smaller tensors are shared by value and never kept apart
constexpr uint64_t kLargestFile = uint64_t{1800} << 20;  // a message must stay below 2 GiB, structure included

}  // namespace

// Numbers: TensorProto.DataType of the ONNX specification.
int onnx_dtype(DType dtype) {
  switch (dtype) {
    case DType::kF32: return 1;
    case DType::kU8: return 2;
    case DType::kI8: return 3;
    case DType::kU16: return 4;
    case DType::kI16: return 5;
    case DType::kI32: return 6;
    case DType::kI64: return 7;
    case DType::kString: return 8;
    case DType::kBool: return 9;
    case DType::kF16: return 10;
    case DType::kF64: return 11;
    case DType::kU32: return 12;
    case DType::kU64: return 13;
    case DType::kBF16: return 16;
    case DType::kU4: return 21;
    case DType::kI4: return 22;
    default: unsupported("ONNX has no element type " + std::string(dtype_name(dtype)));
  }
}

Emit::Emit(const Options& options) : options_(options) { push(); }
Emit::~Emit() = default;

onnx_wire::GraphProto& Emit::graph() { return *graphs_.back(); }
void Emit::push() { graphs_.push_back(std::make_shared<onnx_wire::GraphProto>()); }
std::shared_ptr<onnx_wire::GraphProto> Emit::pop() {
  auto graph = graphs_.back();
  graphs_.pop_back();
  return graph;
}

S Emit::fresh(std::string_view wish) {
  std::string name(wish);
  if (name.empty()) name = "v";
  while (!taken_.insert(name).second) name = std::string(wish) + "_" + std::to_string(++counters_[std::string(wish)]);
  return name;
}

void Emit::fill(const Tensor& tensor, onnx_wire::TensorProto& out) {
  for (int64_t d : tensor.dims()) out.add_dims(d);
  out.set_data_type(onnx_dtype(tensor.dtype()));
  if (tensor.dtype() == DType::kString) {
    for (const std::string& s : tensor.strings()) out.add_string_data(s);
    return;
  }
  if (tensor.bytes().size() >= kLarge) {
    pending_.emplace_back(&out, tensor);
    return;
  }
  ByteSpan bytes = tensor.bytes();
  out.set_raw_data(bytes.data(), bytes.size());
}

S Emit::constant(const Tensor& tensor, std::string_view name) {
  if (!tensor.valid()) bad_input("a constant lies in a weight file that is missing");
  bool small = tensor.dtype() != DType::kString && tensor.bytes().size() < kLarge;
  std::string key;
  if (small) {
    key = std::string(dtype_name(tensor.dtype())) + dims_text(tensor.dims()) + ":" +
          std::string(reinterpret_cast<const char*>(tensor.bytes().data()), tensor.bytes().size());
    if (auto it = shared_.find(key); it != shared_.end()) return it->second;
  }
  S own = fresh(name.empty() ? "const" : name);
  onnx_wire::TensorProto* proto = graphs_.front()->add_initializer();
  proto->set_name(own);
  fill(tensor, *proto);
  if (small) shared_.emplace(std::move(key), own);
  return own;
}

S Emit::ints(const std::vector<int64_t>& values) { return constant(Tensor::from<int64_t>({static_cast<int64_t>(values.size())}, values)); }
S Emit::int64(int64_t value) { return constant(Tensor::scalar(value)); }
S Emit::scalar(DType dtype, double value) {
  if (dtype == DType::kI64) return int64(static_cast<int64_t>(value));
  return constant(convert(is_integer(dtype) ? Tensor::scalar(static_cast<int32_t>(value)) : Tensor::scalar(static_cast<float>(value)), dtype));
}
S Emit::floats(const std::vector<float>& values, Dims dims) {
  if (dims.size() == 1 && dims[0] < 0) dims = {static_cast<int64_t>(values.size())};
  return constant(Tensor::from<float>(std::move(dims), values));
}
S Emit::strings(const std::vector<std::string>& values) {
  return constant(Tensor::of_strings({static_cast<int64_t>(values.size())}, values));
}

std::vector<S> Emit::nodes(std::string_view op, std::vector<S> inputs, size_t outputs, std::vector<Attr> attributes, std::string_view domain) {
  onnx_wire::NodeProto* node = graph().add_node();
  node->set_op_type(std::string(op));
  if (!domain.empty()) {
    node->set_domain(std::string(domain));
    ml_used_ = true;
  }
  while (!inputs.empty() && inputs.back().empty()) inputs.pop_back();
  for (S& input : inputs) node->add_input(std::move(input));
  std::vector<S> names;
  for (size_t i = 0; i < outputs; ++i) {
    names.push_back(fresh(std::string(op)));
    temporary_.insert(names.back());
    node->add_output(names.back());
  }
  if (!names.empty()) node->set_name("n/" + names[0]);
  for (Attr& a : attributes) {
    onnx_wire::AttributeProto* proto = node->add_attribute();
    proto->set_name(std::move(a.name));
    if (auto* i = std::get_if<int64_t>(&a.value)) {
      proto->set_type(2);
      proto->set_i(*i);
    } else if (auto* f = std::get_if<float>(&a.value)) {
      proto->set_type(1);
      proto->set_f(*f);
    } else if (auto* s = std::get_if<std::string>(&a.value)) {
      proto->set_type(3);
      proto->set_s(std::move(*s));
    } else if (auto* is = std::get_if<std::vector<int64_t>>(&a.value)) {
      proto->set_type(7);
      for (int64_t v : *is) proto->add_ints(v);
    } else if (auto* fs = std::get_if<std::vector<float>>(&a.value)) {
      proto->set_type(6);
      for (float v : *fs) proto->add_floats(v);
    } else if (auto* ss = std::get_if<std::vector<std::string>>(&a.value)) {
      proto->set_type(8);
      for (std::string& v : *ss) proto->add_strings(std::move(v));
    } else if (auto* t = std::get_if<Tensor>(&a.value)) {
      proto->set_type(4);
      fill(*t, *proto->mutable_t());
    } else if (auto* g = std::get_if<std::shared_ptr<onnx_wire::GraphProto>>(&a.value)) {
      proto->set_type(5);
      proto->mutable_g()->Swap(g->get());
    }
  }
  return names;
}

S Emit::node(std::string_view op, std::vector<S> inputs, std::vector<Attr> attributes, std::string_view domain) {
  return nodes(op, std::move(inputs), 1, std::move(attributes), domain)[0];
}

S Emit::named(const S& value, std::string_view wish, bool exact) {
  auto& list = *graph().mutable_node();
  if (list.empty() || !temporary_.contains(value)) return value;
  onnx_wire::NodeProto& last = list[list.size() - 1];
  for (int i = 0; i < last.output_size(); ++i) {
    if (last.output(i) != value) continue;
    temporary_.erase(value);
    S name = exact ? S(wish) : fresh(wish);
    *last.mutable_output(i) = name;
    if (i == 0) last.set_name("n/" + name);
    return name;
  }
  return value;
}

void Emit::alias(const S& value, const std::string& name) {
  if (value == name) return;
  named(node("Identity", {value}), name, true);
}

S Emit::cast(const S& x, DType to) { return node("Cast", {x}, {{"to", onnx_dtype(to)}}); }
S Emit::unsqueeze(const S& x, const std::vector<int64_t>& axes) { return node("Unsqueeze", {x, ints(axes)}); }
S Emit::squeeze(const S& x, const std::vector<int64_t>& axes) { return node("Squeeze", {x, ints(axes)}); }
S Emit::reshape(const S& x, const std::vector<int64_t>& shape) { return node("Reshape", {x, ints(shape)}); }
S Emit::transpose(const S& x, const std::vector<int64_t>& perm) { return node("Transpose", {x}, {{"perm", perm}}); }
S Emit::reduce(std::string_view op, const S& x, const std::vector<int64_t>& axes, bool keep_dims) {
  if (op == "ReduceSum" || at_least(18)) return node(op, {x, ints(axes)}, {{"keepdims", keep_dims}});
  return node(op, {x}, {{"axes", axes}, {"keepdims", keep_dims}});
}
S Emit::slice(const S& x, int64_t axis, int64_t begin, int64_t end, int64_t step) {
  return node("Slice", {x, ints({begin}), ints({end}), ints({axis}), ints({step})});
}
S Emit::concat(const std::vector<S>& values, int64_t axis) {
  return values.size() == 1 ? values[0] : node("Concat", values, {{"axis", axis}});
}

namespace {

void set_type(onnx_wire::ValueInfoProto& info, const std::string& name, int elem_type, const std::vector<std::string>& dims) {
  info.set_name(name);
  auto* tensor = info.mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(elem_type);
  tensor->mutable_shape();
  for (const std::string& d : dims) {
    auto* dim = tensor->mutable_shape()->add_dim();
    if (!d.empty() && d.find_first_not_of("0123456789") == std::string::npos) dim->set_dim_value(std::stoll(d));
    else if (!d.empty()) dim->set_dim_param(d);
  }
}

}  // namespace

void Emit::add_input(const std::string& name, int elem_type, const std::vector<std::string>& dims, bool string_map, bool int_map) {
  auto* info = graphs_.front()->add_input();
  if (!string_map && !int_map) return set_type(*info, name, elem_type, dims);
  info->set_name(name);
  auto* map = info->mutable_type()->mutable_map_type();
  map->set_key_type(string_map ? 8 : 7);
  auto* value = map->mutable_value_type()->mutable_tensor_type();
  value->set_elem_type(elem_type);
  value->mutable_shape();
}
void Emit::add_output(const std::string& name, int elem_type, const std::vector<std::string>& dims) {
  set_type(*graphs_.front()->add_output(), name, elem_type, dims);
}
void Emit::subgraph_value(onnx_wire::GraphProto& graph, bool input, const std::string& name, int elem_type) {
  auto* info = input ? graph.add_input() : graph.add_output();
  info->set_name(name);
  info->mutable_type()->mutable_tensor_type()->set_elem_type(elem_type);
}

Result<Exported> Emit::finish(const std::string& graph_name, const std::string& doc, const std::vector<std::pair<std::string, std::string>>& meta) {
  Exported out;
  uint64_t total = 0, offset = 0;
  for (const auto& [proto, tensor] : pending_) total += tensor.bytes().size();
  bool apart = total > kLargestFile;
  if (apart && options_.data_name.empty()) return resource_error("the ONNX model would be larger than 2 GiB", "write it to a file: the weights then go to a file beside it");
  for (auto& [proto, tensor] : pending_) {
    ByteSpan bytes = tensor.bytes();
    if (!apart) {
      proto->set_raw_data(bytes.data(), bytes.size());
      continue;
    }
    auto entry = [p = proto](const char* key, std::string value) {
      auto* e = p->add_external_data();
      e->set_key(key);
      e->set_value(std::move(value));
    };
    entry("location", options_.data_name);
    entry("offset", std::to_string(offset));
    entry("length", std::to_string(bytes.size()));
    proto->set_data_location(1);
    out.data.push_back(tensor.blob());
    offset += bytes.size();
  }
  onnx_wire::ModelProto model;
  // The IR version that came with the operator set (ONNX's table of versions).
  int64_t opset = options_.opset;
  model.set_ir_version(opset >= 23 ? 11 : opset >= 21 ? 10 : opset >= 19 ? 9 : opset >= 15 ? 8 : 7);
  model.set_producer_name("mltools");
  if (!doc.empty()) model.set_doc_string(doc);
  auto* set = model.add_opset_import();
  set->set_domain("");
  set->set_version(opset);
  if (ml_used_) {
    set = model.add_opset_import();
    set->set_domain("ai.onnx.ml");
    set->set_version(options_.ml_opset);
  }
  for (const auto* list : {&std::as_const(metadata_), &meta})
    for (const auto& [key, value] : *list) {
      auto* entry = model.add_metadata_props();
      entry->set_key(key);
      entry->set_value(value);
    }
  model.mutable_graph()->Swap(graphs_.front().get());
  model.mutable_graph()->set_name(graph_name);
  if (model.ByteSizeLong() > static_cast<size_t>(std::numeric_limits<int>::max())) return resource_error("the ONNX model would be larger than 2 GiB");
  out.model.resize(model.ByteSizeLong());
  google::protobuf::io::ArrayOutputStream stream(out.model.data(), static_cast<int>(out.model.size()));
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  if (!model.SerializeToCodedStream(&coded)) return resource_error("the ONNX model cannot be serialized");
  return out;
}

}  // namespace mlt::foreign::to_onnx
