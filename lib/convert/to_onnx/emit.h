// Building ONNX graphs: nodes, initializers, subgraphs, unique names. Internal to lib/convert/to_onnx.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "lib/convert/lower.h"
#include "lib/convert/to_onnx/to_onnx.h"
#include "lib/ops/call.h"

namespace onnx_wire {
class GraphProto;
class NodeProto;
class TensorProto;
class ValueInfoProto;
}  // namespace onnx_wire

namespace mlt::foreign::to_onnx {

using S = std::string;  // the name of a value in the ONNX graph; empty: an optional input that is not given

struct Attr {
  Attr(std::string_view n, int64_t v) : name(n), value(v) {}
  Attr(std::string_view n, int v) : name(n), value(int64_t{v}) {}
  Attr(std::string_view n, bool v) : name(n), value(int64_t{v}) {}
  Attr(std::string_view n, double v) : name(n), value(static_cast<float>(v)) {}
  Attr(std::string_view n, const char* v) : name(n), value(std::string(v)) {}
  Attr(std::string_view n, std::string v) : name(n), value(std::move(v)) {}
  Attr(std::string_view n, std::vector<int64_t> v) : name(n), value(std::move(v)) {}
  Attr(std::string_view n, std::vector<float> v) : name(n), value(std::move(v)) {}
  Attr(std::string_view n, std::vector<std::string> v) : name(n), value(std::move(v)) {}
  Attr(std::string_view n, Tensor v) : name(n), value(std::move(v)) {}
  Attr(std::string_view n, std::shared_ptr<onnx_wire::GraphProto> v) : name(n), value(std::move(v)) {}
  std::string name;
  std::variant<int64_t, float, std::string, std::vector<int64_t>, std::vector<float>, std::vector<std::string>, Tensor,
               std::shared_ptr<onnx_wire::GraphProto>>
      value;
};

// TensorProto.DataType of an element type; throws for types that ONNX lacks.
int onnx_dtype(DType dtype);

class Emit {
 public:
  explicit Emit(const Options& options);
  ~Emit();
  const Options& options() const { return options_; }
  bool at_least(int64_t opset) const { return options_.opset >= opset; }

  // Appends a node and returns its (first) output.
  S node(std::string_view op, std::vector<S> inputs, std::vector<Attr> attributes = {}, std::string_view domain = "");
  std::vector<S> nodes(std::string_view op, std::vector<S> inputs, size_t outputs, std::vector<Attr> attributes = {}, std::string_view domain = "");
  S ml(std::string_view op, std::vector<S> inputs, std::vector<Attr> attributes = {}) { return node(op, std::move(inputs), std::move(attributes), "ai.onnx.ml"); }

  // Constants as initializers of the outermost graph; small equal ones are shared.
  S constant(const Tensor& tensor, std::string_view name = {});
  S ints(const std::vector<int64_t>& values);                        // int64, rank 1
  S int64(int64_t value);                                            // int64, rank 0
  S scalar(DType dtype, double value);                               // rank 0
  S floats(const std::vector<float>& values, Dims dims = {-1});
  S strings(const std::vector<std::string>& values);

  S cast(const S& x, DType to);
  // Small idioms whose spelling depends on the opset.
  S unsqueeze(const S& x, const std::vector<int64_t>& axes);
  S squeeze(const S& x, const std::vector<int64_t>& axes);
  S reshape(const S& x, const std::vector<int64_t>& shape);
  S transpose(const S& x, const std::vector<int64_t>& perm);
  S reduce(std::string_view op, const S& x, const std::vector<int64_t>& axes, bool keep_dims);
  S slice(const S& x, int64_t axis, int64_t begin, int64_t end, int64_t step = 1);
  S concat(const std::vector<S>& values, int64_t axis);

  // A name nobody has: `wish`, or it with a number.
  S fresh(std::string_view wish);
  void reserve(const std::string& name) { taken_.insert(name); }
  // Gives the value the name `wish` if it is still the output of the last node without a name of its own.
  S named(const S& value, std::string_view wish, bool exact = false);
  // Ends with the value under exactly this (reserved) name.
  void alias(const S& value, const std::string& name);

  void add_input(const std::string& name, int elem_type, const std::vector<std::string>& dims, bool string_map = false, bool int_map = false);
  void add_output(const std::string& name, int elem_type, const std::vector<std::string>& dims);
  void metadata(std::string key, std::string value) { metadata_.emplace_back(std::move(key), std::move(value)); }

  // Nodes go to a new graph until pop().
  void push();
  std::shared_ptr<onnx_wire::GraphProto> pop();
  onnx_wire::GraphProto& graph();
  bool nested() const { return graphs_.size() > 1; }
  static void subgraph_value(onnx_wire::GraphProto& graph, bool input, const std::string& name, int elem_type);

  Result<Exported> finish(const std::string& graph_name, const std::string& doc, const std::vector<std::pair<std::string, std::string>>& meta);

 private:
  void fill(const Tensor& tensor, onnx_wire::TensorProto& out);

  Options options_;
  std::vector<std::shared_ptr<onnx_wire::GraphProto>> graphs_;
  std::set<std::string> taken_;
  std::map<std::string, int64_t> counters_;
  std::set<std::string> temporary_;
  std::map<std::string, S> shared_;
  std::vector<std::pair<onnx_wire::TensorProto*, Tensor>> pending_;  // large tensors, stored by finish()
  std::vector<std::pair<std::string, std::string>> metadata_;
  bool ml_used_ = false;
};

// One op of a program on its way out.
class Ctx;
class Exporter;
using EmitFn = void (*)(Ctx&);
struct Row {
  std::string_view op;
  EmitFn emit;
};

class Ctx {
 public:
  Ctx(Exporter& exporter, Emit& emit, const ir::Op& source, ops::Call& bound) : g(emit), op(source), call(bound), exporter_(exporter) {}
  Emit& g;
  const ir::Op& op;
  ops::Call& call;  // constant parameters with the signature's defaults; types

  bool has(std::string_view param) const { return op.find(param) != nullptr && !op.find(param)->operands.empty(); }
  S in(std::string_view param, size_t i = 0);
  size_t count(std::string_view param) const { return op.find(param) ? op.find(param)->operands.size() : 0; }
  const ir::Type& type(std::string_view param, size_t i = 0);
  const Dims& dims(std::string_view param) { return type(param).dims; }
  int64_t rank(std::string_view param) { return type(param).rank(); }
  // Element type in the ONNX graph (float16 may have become float32).
  DType dtype(std::string_view param = "x", size_t i = 0);
  const ir::Type& out_type(size_t i = 0) const { return op.output(i)->type; }
  DType out_dtype(size_t i = 0);
  bool is_float(std::string_view param = "x") { return mlt::is_float(type(param).dtype); }
  // The constant behind a parameter; null when it is computed.
  const Tensor* known(std::string_view param, size_t i = 0) const;
  const Tensor& tensor(std::string_view param, size_t i = 0);  // throws when it is not constant
  int64_t axis(std::string_view param, int64_t rank) { return Lower::axis_of(call.i64(param), rank); }
  std::vector<int64_t> axes(std::string_view param, int64_t rank);  // all of them when the parameter is absent
  S i64(std::string_view param);  // the value as int64
  S scalar(std::string_view param, std::string_view like = "x") { return g.scalar(dtype(like), call.f64(param)); }
  S number(double value, std::string_view like = "x") { return g.scalar(dtype(like), value); }

  void out(const S& value) { out(0, value); }
  void out(size_t i, const S& value);
  Exporter& exporter() { return exporter_; }

 private:
  Exporter& exporter_;
};

namespace families {
std::span<const Row> elementwise();
std::span<const Row> network();
std::span<const Row> recurrent();
std::span<const Row> shape();
std::span<const Row> gather();
std::span<const Row> image();
std::span<const Row> other();
}  // namespace families

// Programs to nodes: keeps which ONNX value stands for which IR value.
class Exporter {
 public:
  Exporter(Emit& emit, std::vector<Unsupported>& problems) : g_(emit), problems_(problems) {}
  // inputs: ONNX values for the function's inputs, in order. Returns those of its outputs; names: what the outputs are
  // to be called when they come fresh from a node (may be empty).
  std::vector<S> function(const ir::Function& function, const std::vector<S>& inputs, const std::vector<std::string>& names);
  // The ops of a block whose inputs are bound; the values of its outputs.
  std::vector<S> block(const ir::Block& block, const std::vector<S>& inputs);
  S value(const ir::Value* value);
  void bind(const ir::Value* value, S name) { values_[value] = std::move(name); }
  S operand(const ir::Operand& operand);
  DType dtype(DType source) const { return g_.options().float32 && source == DType::kF16 ? DType::kF32 : source; }
  // Lists are tensors with the elements along axis 0.
  int elem_type(const ir::Type& type) const {
    return onnx_dtype(dtype(type.kind == ir::Type::Kind::kList ? type.params.at(0).dtype : type.held().dtype));
  }
  Emit& g() { return g_; }
  std::unordered_map<const ir::Value*, S> states;  // by state parameter: its current value
  std::optional<Error> damage;                     // the first error that is the model's, not ONNX's
  S wish(const ir::Value* value) const;
  bool exact(const ir::Value* value) const { return wanted_.contains(value); }
  // The values of an op whose operands are constants or values kept before, in their declared element types.
  std::vector<Tensor> evaluate(const ir::Op& op);
  // A value known here that becomes a constant of the model when something uses it.
  void keep(const ir::Value* value, Tensor tensor) { kept_[value] = std::move(tensor); }
  const Tensor* kept(const ir::Value* value) const {
    auto it = kept_.find(value);
    return it == kept_.end() ? nullptr : &it->second;
  }

 private:
  void one(const ir::Op& op);
  void report(const ir::Op& op, const Error& error);
  Emit& g_;
  std::vector<Unsupported>& problems_;
  std::unordered_map<const ir::Value*, S> values_;
  std::unordered_map<const ir::Value*, std::string> wanted_;
  std::unordered_map<const ir::Value*, Tensor> kept_;
  ops::Opset opset_ = ops::Opset::kCoreML5;
};

const Row* find_row(std::string_view op);

// classic.cc: a stage that is neither program nor network. features: ONNX values by feature name; outputs are added.
struct FeatureValue {
  S name;
  DType dtype = DType::kF32;
  int64_t rank = 2;
  bool map = false;
};
void export_classic(Emit& g, const coreml::Model& model, std::map<std::string, FeatureValue>& features, std::vector<Unsupported>& problems);
// Whether export_classic knows the kind.
bool exports_classic(coreml::ModelKind kind);
// label and probabilities from scores [N, classes] that are probabilities already.
void classifier_outputs(Emit& g, const coreml::Description& d, const coreml::Model::ClassLabels& labels, const S& scores, const S& probabilities,
                        std::map<std::string, FeatureValue>& features);

}  // namespace mlt::foreign::to_onnx
