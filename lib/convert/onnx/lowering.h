// Lowering of ONNX nodes to MIL. One function per operator, registered in table.cc with the operator's name; functions of
// one family share a file. A function reads inputs and attributes through Ctx, builds with Ctx::l (lib/convert/lower.h) and
// names its results with out(). It throws LowerError through unsupported() when it cannot.
//
// Element types: every float becomes fp32, every integer int32, bool stays bool. What the file said is kept beside the
// value (Val::type) for operators whose meaning depends on it (Cast, QuantizeLinear, integer division).
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/convert/frontend.h"
#include "lib/convert/lower.h"
#include "lib/convert/onnx/model.h"

namespace mlt::foreign::onnx {

// Strings that numbers choose.
struct Strings {
  std::vector<std::string> labels;
  V index;   // [0, labels.size()); null: `scores` by label (ZipMap)
  V scores;
};

struct Val {
  V value = nullptr;
  DType type = DType::kF32;                    // in the source
  std::shared_ptr<std::vector<Val>> sequence;  // a sequence whose elements are known values
  std::shared_ptr<const Strings> strings;      // then there may be no value
  bool none = false;                           // an optional without a value
  bool poisoned = false;                       // its producer could not be lowered
  std::shared_ptr<const Tensor> raw;           // a narrow integer constant as the file has it
};

class Driver;

class Ctx {
 public:
  Ctx(Driver& driver, Lower& lower, const Node& source, int64_t version)
      : l(lower), node(source), driver_(driver), version_(version) {}
  Lower& l;
  const Node& node;

  int64_t version() const { return version_; }  // of the node's operator set
  size_t inputs() const { return node.inputs.size(); }
  bool has(size_t i) const { return i < node.inputs.size() && !node.inputs[i].empty(); }
  V in(size_t i);   // a tensor; throws when it is absent
  V opt(size_t i);  // null when it is absent
  // A constant of the file in its own element type, without making a value of it; null for what is computed.
  const Tensor* raw(size_t i) { return has(i) ? raw_named(node.inputs[i]) : nullptr; }
  Val val(size_t i);
  DType type(size_t i) { return val(i).type; }
  Dims dims(size_t i) { return in(i)->type.dims; }
  int64_t rank(size_t i) { return in(i)->type.rank(); }
  // Input i as fp32.
  V fin(size_t i) { return l.cast(in(i), DType::kF32); }

  // Attributes. Every name asked for counts as understood; others are reported as a warning.
  bool has_attr(std::string_view name);
  int64_t i64(std::string_view name, int64_t absent);
  float f32(std::string_view name, float absent);
  std::string str(std::string_view name, std::string absent);
  std::optional<std::vector<int64_t>> ints(std::string_view name);
  std::optional<std::vector<float>> floats(std::string_view name);
  std::optional<std::vector<std::string>> strings(std::string_view name);
  const Tensor* tensor(std::string_view name);
  std::shared_ptr<Graph> graph(std::string_view name);
  // Named for the sake of old files, without effect on inference.
  void ignore(std::initializer_list<std::string_view> names) { for (auto n : names) used_.insert(std::string(n)); }

  // Integers of input i, known in full; throws otherwise, naming `what`.
  std::vector<int64_t> known(size_t i, std::string_view what);
  std::vector<float> known_floats(size_t i, std::string_view what);
  const Tensor& known_tensor(size_t i, std::string_view what);
  // The attribute when there is one, else input i.
  std::optional<std::vector<int64_t>> ints_of(std::string_view attribute, size_t i, std::string_view what);
  int64_t axis(std::string_view name, int64_t absent, int64_t rank) { return Lower::axis_of(i64(name, absent), rank); }
  // Extents of x, all known; throws otherwise.
  const Dims& known_dims(V x, std::string_view what = "this operator");

  // Results. Without a type: bool for bool, the first input's type of the same kind otherwise.
  void out(size_t i, V value);
  void out(size_t i, V value, DType type);
  void out(size_t i, Val value);
  bool wants(size_t i) const { return i < node.outputs.size() && !node.outputs[i].empty(); }
  void forbid_output(size_t i, std::string_view what) { if (wants(i)) unsupported(std::string(what)); }

  Driver& driver() { return driver_; }
  std::vector<std::string> unused_attributes() const;
  std::map<size_t, Val>& results() { return results_; }

 private:
  const Attribute* find(std::string_view name, Attribute::Kind kind);
  const Tensor* raw_named(const std::string& name);
  Driver& driver_;
  int64_t version_;
  std::set<std::string, std::less<>> used_;
  std::map<size_t, Val> results_;
};

using LowerFn = void (*)(Ctx&);
struct Row {
  std::string_view op;
  LowerFn lower;
  std::string_view domain = "";
  std::string_view note = "";  // limits, for --list-ops
};
const Row* find_row(std::string_view domain, std::string_view op);
std::vector<const Row*> all_rows();

// Lowers the nodes of graphs; scopes nest as subgraphs do.
class Driver {
 public:
  Driver(const Model& model, const Options& options, Converted& result);
  Status run();

  // Lowers a subgraph's nodes in place (into the current block) with its inputs bound; returns its outputs.
  std::vector<Val> inline_graph(const Graph& graph, const std::vector<Val>& inputs);
  // Lowers into a block of a control flow op; output values are appended to the block's outputs.
  std::vector<Val> lower_block(const Graph& graph, const std::vector<Val>& inputs, ir::Block* block);
  Val lookup(const std::string& name);
  const Tensor* raw(const std::string& name);
  // Whether operations since `opset` may be used. When they may not, but no target was asked for, the node is lowered
  // again for a newer one.
  bool may_use(ops::Opset opset);
  // A constant of the source as a value.
  Val constant(const Tensor& tensor, std::string_view name = {});
  void warn(std::string text);
  // The model's answers would change under float16, for the given reason.
  void keep_float32(std::string reason) { result_.keep_float32 = std::move(reason); }

 private:
  struct Scope {
    std::map<std::string, Val, std::less<>> values;
    const Graph* graph = nullptr;  // for initializers
    ir::Block* block = nullptr;
    bool barrier = false;          // a local function's body: names outside are not visible
  };
  void lower_node(const Node& node);
  void lower_nodes(const std::vector<Node>& nodes);
  void call_function(const LocalFunction& function, const Node& node);
  void report(const Node& node, const Error& error);
  void poison(const Node& node);
  void define(const std::string& name, Val val) { scopes_.back().values[name] = std::move(val); }
  void bind_input(const ValueInfo& info);
  Val bind_feature(const ValueInfo& info, const InputOption* option);
  void bind_outputs();
  void bind_label(const std::string& name, const Strings& strings);
  void propagate_shape_values(const Node& node, Ctx& ctx);
  void name_results(const Node& node, Ctx& ctx);

  const Model& model_;
  const Options& options_;
  Converted& result_;
  ir::Function* function_ = nullptr;
  std::unique_ptr<Lower> lower_;
  std::vector<Scope> scopes_;
  std::map<std::string, int64_t> opsets_;  // in force (a local function brings its own)
  std::set<std::string> seen_warnings_;
  std::set<const ir::Value*> named_;
  std::vector<std::string> output_names_;
  std::vector<std::pair<std::string, std::shared_ptr<const Strings>>> zipped_;  // outputs by label
  int depth_ = 0;
  int64_t lowered_ = 0;  // nodes, unrolled ones counted each time
};

// Initializers and Constant values as MIL holds them: floats to fp32, integers to int32 (saturating), sub-byte unpacked.
Tensor to_mil(const Tensor& tensor);
// The MIL element type of a source type.
DType mil_dtype(DType source);

// Family files.
namespace families {
std::span<const Row> elementwise();
std::span<const Row> activation();
std::span<const Row> shape();
std::span<const Row> indexing();
std::span<const Row> conv();
std::span<const Row> normalization();
std::span<const Row> linear();
std::span<const Row> reduction();
std::span<const Row> recurrent();
std::span<const Row> quantization();
std::span<const Row> image();
std::span<const Row> sampling();
std::span<const Row> control();
std::span<const Row> signal();
std::span<const Row> attention();
std::span<const Row> loss();
std::span<const Row> classic();
std::span<const Row> contrib();
std::span<const Row> bits();
}  // namespace families

}  // namespace mlt::foreign::onnx
