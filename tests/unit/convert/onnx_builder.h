// ONNX models written field by field, for tests. Field numbers: lib/convert/onnx/proto/onnx.proto.
#pragma once
#include <string>
#include <vector>

#include "lib/coreml/wire.h"

namespace onnx_builder {

using mlt::Bytes;

struct Message {
  Bytes bytes;
  Message& varint(uint32_t field, uint64_t value) {
    mlt::coreml::put_varint(&bytes, uint64_t{field} << 3);
    mlt::coreml::put_varint(&bytes, value);
    return *this;
  }
  Message& text(uint32_t field, std::string_view value) {
    mlt::coreml::put_bytes_field(&bytes, field, mlt::as_bytes(value));
    return *this;
  }
  Message& message(uint32_t field, const Message& value) {
    mlt::coreml::put_bytes_field(&bytes, field, value.bytes);
    return *this;
  }
  Message& f32(uint32_t field, float value) {
    mlt::coreml::put_varint(&bytes, (uint64_t{field} << 3) | 5);
    auto raw = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
    return *this;
  }
};

inline Message attribute_int(std::string_view name, int64_t value) { return Message().text(1, name).varint(20, 2).varint(3, static_cast<uint64_t>(value)); }
inline Message attribute_float(std::string_view name, float value) { return Message().text(1, name).varint(20, 1).f32(2, value); }
inline Message attribute_string(std::string_view name, std::string_view value) { return Message().text(1, name).varint(20, 3).text(4, value); }
inline Message attribute_graph(std::string_view name, const Message& graph) { return Message().text(1, name).varint(20, 5).message(6, graph); }
inline Message attribute_ints(std::string_view name, const std::vector<int64_t>& values) {
  Message m = Message().text(1, name).varint(20, 7);
  for (int64_t v : values) m.varint(8, static_cast<uint64_t>(v));
  return m;
}

inline Message attribute_strings(std::string_view name, const std::vector<std::string>& values) {
  Message m = Message().text(1, name).varint(20, 8);
  for (const auto& v : values) m.text(9, v);
  return m;
}
inline Message attribute_floats(std::string_view name, const std::vector<float>& values) {
  Message m = Message().text(1, name).varint(20, 6);
  for (float v : values) m.f32(7, v);
  return m;
}

inline Message node(std::string_view op, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs, const std::vector<Message>& attributes = {}) {
  Message m;
  for (const auto& i : inputs) m.text(1, i);
  for (const auto& o : outputs) m.text(2, o);
  m.text(3, outputs.empty() ? "" : "make_" + outputs[0]).text(4, op);
  for (const auto& a : attributes) m.message(5, a);
  return m;
}

template <typename T>
Message tensor(std::string_view name, int dtype, const std::vector<int64_t>& dims, const std::vector<T>& values) {
  Message m;
  for (int64_t d : dims) m.varint(1, static_cast<uint64_t>(d));
  m.varint(2, static_cast<uint64_t>(dtype)).text(8, name);
  return m.text(9, std::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)));
}
inline Message floats(std::string_view name, const std::vector<int64_t>& dims, const std::vector<float>& values) { return tensor(name, 1, dims, values); }
inline Message ints(std::string_view name, const std::vector<int64_t>& dims, const std::vector<int64_t>& values) { return tensor(name, 7, dims, values); }

// dims: negative for a symbolic one.
inline Message value(std::string_view name, int dtype, const std::vector<int64_t>& dims) {
  Message shape;
  for (int64_t d : dims) shape.message(1, d < 0 ? Message().text(2, "N") : Message().varint(1, static_cast<uint64_t>(d)));
  return Message().text(1, name).message(2, Message().message(1, Message().varint(1, static_cast<uint64_t>(dtype)).message(2, shape)));
}

struct Graph {
  std::vector<Message> nodes, initializers, inputs, outputs;
  Message build() const {
    Message m;
    for (const auto& n : nodes) m.message(1, n);
    m.text(2, "test");
    for (const auto& t : initializers) m.message(5, t);
    for (const auto& v : inputs) m.message(11, v);
    for (const auto& v : outputs) m.message(12, v);
    return m;
  }
};

inline Bytes model(const Graph& graph, int64_t opset = 17) {
  return Message().varint(1, 8).message(7, graph.build()).message(8, Message().text(1, "").varint(2, static_cast<uint64_t>(opset))).bytes;
}

}  // namespace onnx_builder
