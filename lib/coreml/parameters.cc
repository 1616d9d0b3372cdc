#include "lib/coreml/parameters.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <unordered_map>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/wire.h"

namespace mlt::coreml {
namespace {

constexpr int kDeepest = 50;
constexpr size_t kMostColumns = 20000;

struct Row {
  const char* message;
  uint32_t number;
  const char* name;
  char kind;
  bool repeated, oneof;
  const char* type;
};
constexpr Row kRows[] = {
#include "coreml_fields.inc"
};

// Rows of a message, or enumerators of an enumeration.
const std::vector<const Row*>& rows_of(std::string_view type) {
  static const auto* table = [] {
    auto* out = new std::unordered_map<std::string_view, std::vector<const Row*>>;
    for (const Row& row : kRows) (*out)[row.message].push_back(&row);
    return out;
  }();
  static const auto* none = new std::vector<const Row*>;
  auto it = table->find(type);
  return it == table->end() ? *none : it->second;
}

const Row* row_of(std::string_view type, uint32_t number) {
  for (const Row* row : rows_of(type))
    if (row->number == number) return row;
  return nullptr;
}

struct Column {
  char kind = 'v';
  std::vector<int64_t> ints;
  std::vector<float> floats;
  std::vector<double> doubles;
  std::vector<std::string> texts;
  Bytes bytes;
};

class Reader {
 public:
  void read(std::string_view type, ByteSpan bytes, const std::string& prefix, bool in_list, int depth) {
    if (depth > kDeepest) return;
    // A weight's numbers are listed as weights; nested layers as layers, nested models as stages.
    if (depth > 0 && (type == "WeightParams" || type == "NeuralNetwork" || type == "Model")) return;
    std::map<uint32_t, int64_t> seen;
    std::map<uint32_t, size_t> before;
    if (in_list)
      for (const Row* row : rows_of(type))
        if (row->repeated && row->kind != 'm') before[row->number] = entries(prefix + row->name + "[]");
    WireReader reader(bytes);
    for (WireField field; true;) {
      auto more = reader.next(&field);
      if (!more.ok() || !*more) break;
      const Row* row = row_of(type, field.number);
      ++seen[field.number];
      if (row == nullptr) {
        unknown(prefix + "field " + std::to_string(field.number), field);
        continue;
      }
      std::string name = prefix + row->name + (row->repeated ? "[]" : "");
      if (row->kind == 'm') {
        if (field.type == WireType::kBytes)
          read(row->type, field.bytes, name + ".", in_list || row->repeated, depth + 1);
        // An empty message is a choice made: "identity {}".
        if (row->oneof && field.bytes.empty()) column(name, 'b').ints.push_back(1);
      } else {
        add(*row, name, field);
      }
    }
    if (!in_list) return;
    for (const Row* row : rows_of(type)) {
      bool single = !row->repeated && row->kind != 'm';
      if (single && !row->oneof && !seen.contains(row->number)) add_default(*row, prefix + row->name);
      // Which element a column's entries belong to.
      if (single && !row->oneof) continue;
      std::string name = prefix + row->name + (row->repeated ? "[]" : "");
      int64_t count = row->repeated && row->kind != 'm' ? static_cast<int64_t>(entries(name) - before[row->number])
                                                        : seen[row->number];
      if (order_.size() >= kMostColumns) continue;
      column(name + (row->repeated ? " lengths" : " given"), 'v').ints.push_back(count);
    }
  }

  std::vector<Parameter> take() {
    std::vector<Parameter> out;
    for (const std::string& name : order_) {
      Column& c = columns_[name];
      // Given in all or in none goes without saying; so do lists that are empty throughout.
      bool given = name.ends_with(" given");
      auto all = [&](int64_t value) { return std::all_of(c.ints.begin(), c.ints.end(), [&](int64_t v) { return v == value; }); };
      if ((given && (all(0) || all(1))) || (name.ends_with(" lengths") && all(0))) continue;
      auto dims = [](size_t count) { return Dims{static_cast<int64_t>(count)}; };
      Tensor values;
      switch (c.kind) {
        case 'v':
          values = Tensor::from<int64_t>(dims(c.ints.size()), c.ints);
          break;
        case 'b':
          values = Tensor::uninitialized(DType::kBool, dims(c.ints.size()));
          for (size_t i = 0; i < c.ints.size(); ++i) values.mutable_data<bool>()[i] = c.ints[i] != 0;
          break;
        case 'f':
          values = Tensor::from<float>(dims(c.floats.size()), c.floats);
          break;
        case 'd':
          values = Tensor::from<double>(dims(c.doubles.size()), c.doubles);
          break;
        case 'y':
          values = Tensor::uninitialized(DType::kU8, dims(c.bytes.size()));
          if (!c.bytes.empty()) std::memcpy(values.mutable_bytes(), c.bytes.data(), c.bytes.size());
          break;
        default:
          values = Tensor::of_strings(dims(c.texts.size()), c.texts);
          break;
      }
      out.push_back({name, std::move(values)});
    }
    return out;
  }

  Column& column(const std::string& name, char kind) {
    auto [it, fresh] = columns_.try_emplace(name);
    if (fresh) {
      it->second.kind = kind == 'e' ? 't' : kind;
      order_.push_back(name);
    }
    return it->second;
  }

 private:
  size_t entries(const std::string& name) const {
    auto it = columns_.find(name);
    if (it == columns_.end()) return 0;
    const Column& c = it->second;
    return c.ints.size() + c.floats.size() + c.doubles.size() + c.texts.size() + c.bytes.size();
  }
  static std::string enumerator(const Row& row, uint64_t value) {
    for (const Row* name : rows_of(row.type))
      if (name->number == value) return name->name;
    return std::to_string(static_cast<int64_t>(value));
  }
  static void put(Column& c, const Row& row, uint64_t value) {
    switch (row.kind) {
      case 'e':
        c.texts.push_back(enumerator(row, value));
        break;
      case 'f':
        c.floats.push_back(std::bit_cast<float>(static_cast<uint32_t>(value)));
        break;
      case 'd':
        c.doubles.push_back(std::bit_cast<double>(value));
        break;
      default:
        c.ints.push_back(static_cast<int64_t>(value));
        break;
    }
  }
  void add(const Row& row, const std::string& name, const WireField& field) {
    if (order_.size() >= kMostColumns) return;
    Column& c = column(name, row.kind);
    if (row.kind == 't')
      c.texts.emplace_back(as_text(field.bytes));
    else if (row.kind == 'y')
      c.bytes.insert(c.bytes.end(), field.bytes.begin(), field.bytes.end());
    else if (field.type == WireType::kBytes)
      packed(c, row, field.bytes);
    else
      put(c, row, field.value);
  }
  static void packed(Column& c, const Row& row, ByteSpan bytes) {
    if (row.kind == 'f' || row.kind == 'd') {
      size_t width = row.kind == 'f' ? 4 : 8;
      for (size_t at = 0; at + width <= bytes.size(); at += width) {
        uint64_t value = 0;
        std::memcpy(&value, bytes.data() + at, width);
        put(c, row, value);
      }
      return;
    }
    uint64_t value = 0;
    int shift = 0;
    for (std::byte byte : bytes) {
      if (shift < 64) value |= (static_cast<uint64_t>(byte) & 0x7f) << shift;
      shift += 7;
      if ((static_cast<uint64_t>(byte) & 0x80) != 0) continue;
      put(c, row, value);
      value = 0, shift = 0;
    }
  }
  void add_default(const Row& row, const std::string& name) {
    if (order_.size() >= kMostColumns || row.kind == 'y') return;
    Column& c = column(name, row.kind);
    if (row.kind == 't')
      c.texts.emplace_back();
    else
      put(c, row, 0);
  }
  void unknown(const std::string& name, const WireField& field) {
    if (order_.size() >= kMostColumns) return;
    Column& c = column(name, 'y');
    c.bytes.push_back(static_cast<std::byte>(field.type));
    for (int i = 0; i < 8 && field.type != WireType::kBytes; ++i)
      c.bytes.push_back(static_cast<std::byte>(field.value >> (8 * i)));
    c.bytes.insert(c.bytes.end(), field.bytes.begin(), field.bytes.end());
  }

  std::map<std::string, Column> columns_;
  std::vector<std::string> order_;
};

template <typename Message>
Bytes serialized(const Message& message) {
  Bytes bytes(message.ByteSizeLong());
  google::protobuf::io::ArrayOutputStream array(bytes.data(), static_cast<int>(bytes.size()));
  google::protobuf::io::CodedOutputStream out(&array);
  out.SetSerializationDeterministic(true);
  message.SerializeWithCachedSizes(&out);
  return bytes;
}

using Layers = google::protobuf::RepeatedPtrField<spec::NeuralNetworkLayer>;

// A network's message without its layers, which may be large.
template <typename Network>
std::vector<Parameter> network_parameters(const char* type, const Network& network) {
  Network rest;
  *rest.mutable_preprocessing() = network.preprocessing();
  rest.set_arrayinputshapemapping(network.arrayinputshapemapping());
  rest.set_imageinputshapemapping(network.imageinputshapemapping());
  if (network.has_updateparams()) *rest.mutable_updateparams() = network.updateparams();
  if constexpr (std::is_same_v<Network, spec::NeuralNetworkClassifier>) {
    if (network.has_stringclasslabels()) *rest.mutable_stringclasslabels() = network.stringclasslabels();
    if (network.has_int64classlabels()) *rest.mutable_int64classlabels() = network.int64classlabels();
    rest.set_labelprobabilitylayername(network.labelprobabilitylayername());
  }
  return message_parameters(type, serialized(rest));
}

void add_layers(const Layers& layers, std::vector<std::vector<Parameter>>& out) {
  for (const spec::NeuralNetworkLayer& layer : layers) {
    Bytes bytes = serialized(layer);
    std::vector<Parameter> kept;
    for (Parameter& p : message_parameters("NeuralNetworkLayer", bytes)) {
      bool wiring = p.name == "name" || p.name == "input[]" || p.name == "output[]" ||
                    p.name.starts_with("inputTensor[]") || p.name.starts_with("outputTensor[]");
      if (wiring) continue;
      // "convolution.kernelSize[]": the layer's kind goes without saying.
      size_t dot = p.name.find('.');
      if (dot != std::string::npos) p.name.erase(0, dot + 1);
      kept.push_back(std::move(p));
    }
    out.push_back(std::move(kept));
    if (layer.has_branch()) {
      add_layers(layer.branch().ifbranch().layers(), out);
      add_layers(layer.branch().elsebranch().layers(), out);
    } else if (layer.has_loop()) {
      add_layers(layer.loop().conditionnetwork().layers(), out);
      add_layers(layer.loop().bodynetwork().layers(), out);
    }
  }
}

}  // namespace

std::vector<Parameter> message_parameters(std::string_view type, ByteSpan bytes) {
  Reader reader;
  reader.read(type, bytes, "", false, 0);
  return reader.take();
}

std::vector<Parameter> body_parameters(const Model& model) {
  const spec::Model& proto = model.proto();
  switch (model.kind()) {
    case ModelKind::kMlProgram:
    case ModelKind::kNone:
      return {};
    case ModelKind::kNeuralNetwork:
      return network_parameters("NeuralNetwork", proto.neuralnetwork());
    case ModelKind::kNeuralNetworkClassifier:
      return network_parameters("NeuralNetworkClassifier", proto.neuralnetworkclassifier());
    case ModelKind::kNeuralNetworkRegressor:
      return network_parameters("NeuralNetworkRegressor", proto.neuralnetworkregressor());
    default:
      break;
  }
  auto whole = model.serialize();
  if (!whole.ok()) return {};
  WireReader reader(*whole);
  for (WireField field; true;) {
    auto more = reader.next(&field);
    if (!more.ok() || !*more) return {};
    if (field.number != static_cast<uint32_t>(model.kind()) || field.type != WireType::kBytes) continue;
    if (const Row* row = row_of("Model", field.number)) return message_parameters(row->type, field.bytes);
    Reader raw;
    raw.column("bytes", 'y').bytes.assign(field.bytes.begin(), field.bytes.end());
    return raw.take();
  }
}

std::vector<std::vector<Parameter>> layer_parameters(const Model& model) {
  std::vector<std::vector<Parameter>> out;
  const spec::Model& proto = model.proto();
  if (proto.has_neuralnetwork())
    add_layers(proto.neuralnetwork().layers(), out);
  else if (proto.has_neuralnetworkclassifier())
    add_layers(proto.neuralnetworkclassifier().layers(), out);
  else if (proto.has_neuralnetworkregressor())
    add_layers(proto.neuralnetworkregressor().layers(), out);
  return out;
}

}  // namespace mlt::coreml
