// An ONNX file as plain structs: what read.cc makes of the protobuf message and what lowering works on. Element types
// stay those of the file (int64, double, bfloat16 ...); lowering maps them to what MIL has.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/tensor/tensor.h"

namespace mlt::foreign::onnx {

struct Graph;

struct Attribute {
  enum class Kind { kFloat, kInt, kString, kTensor, kGraph, kFloats, kInts, kStrings, kOther };
  Kind kind = Kind::kOther;
  float f = 0;
  int64_t i = 0;
  std::string s;
  Tensor tensor;
  std::shared_ptr<Graph> graph;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
  std::string reference;  // inside a function: the caller's attribute to use
};

struct Node {
  std::string name, op_type, domain;  // domain is empty for the standard operators
  std::vector<std::string> inputs, outputs;
  std::map<std::string, Attribute, std::less<>> attributes;
};

struct Dim {
  int64_t extent = -1;  // negative: not known
  std::string symbol;   // may be empty
};

struct ValueInfo {
  enum class Kind { kTensor, kSequence, kMap, kOptional, kNone };
  std::string name;
  Kind kind = Kind::kNone;
  DType dtype = DType::kF32;
  bool known_dtype = false;  // false: an element type this library has no word for (complex, float4)
  bool has_shape = false;
  std::vector<Dim> dims;
};

struct Graph {
  std::string name;
  std::vector<Node> nodes;
  std::map<std::string, Tensor, std::less<>> initializers;
  std::vector<ValueInfo> inputs, outputs;
};

struct LocalFunction {
  std::string name, domain;
  std::vector<std::string> inputs, outputs;
  std::vector<Node> nodes;
  std::map<std::string, Attribute, std::less<>> defaults;
  std::map<std::string, int64_t> opsets;
};

struct Model {
  int64_t ir_version = 0;
  std::string producer, producer_version, doc;
  std::map<std::string, int64_t> opsets;  // by domain, "" for the standard one
  std::vector<std::pair<std::string, std::string>> metadata;
  Graph graph;
  std::vector<LocalFunction> functions;
};

// directory: where external data files are looked for; empty when the model has no place in the file system. External
// files are mapped. kInput when the bytes are no ONNX model or contradict themselves, kUnsupported (all element types
// concerned listed) when a tensor has an element type this library cannot hold.
Result<Model> read_model(const Blob& bytes, const std::string& directory);
// The inputs that somebody has to give; nothing when the bytes are no ONNX model.
std::optional<std::vector<ValueInfo>> read_interface(ByteSpan bytes);
// Rewrites groups of nodes that are one operator (rewrite.cc).
void fuse_dynamic_quantization(Graph& graph);
// A TensorProto by itself, as in ONNX's test data sets.
Result<Tensor> read_tensor(const Blob& bytes, std::string* name = nullptr);

// ONNX TensorProto.DataType number to element type; nullopt for complex, float4, float8 variants without a MIL twin.
std::optional<DType> dtype_from_onnx(int64_t number);

}  // namespace mlt::foreign::onnx
