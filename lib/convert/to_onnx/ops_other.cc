// Control flow, compressed weights, states, randomness.
#include "lib/convert/onnx/proto/onnx.pb.h"
#include "lib/convert/to_onnx/emit.h"

namespace mlt::foreign::to_onnx {
namespace {

// A value computed outside (or twice) must become a value of the subgraph's own.
void subgraph_outputs(Ctx& c, const std::vector<S>& values, const std::vector<int>& types, std::set<std::string>* own) {
  for (size_t i = 0; i < values.size(); ++i) {
    S name = values[i];
    if (!own->erase(name)) name = c.g.node("Identity", {name});
    Emit::subgraph_value(c.g.graph(), false, name, types[i]);
  }
}
std::set<std::string> produced(const onnx_wire::GraphProto& graph) {
  std::set<std::string> names;
  for (const auto& node : graph.node()) names.insert(node.output().begin(), node.output().end());
  return names;
}

void cond(Ctx& c) {
  S predicate = c.in("pred");
  if (c.op.blocks.size() != 2) bad_input("cond needs two branches");
  std::vector<int> types;
  for (const auto& out : c.op.outputs) types.push_back(c.exporter().elem_type(out->type));
  std::vector<std::shared_ptr<onnx_wire::GraphProto>> branches;
  auto states = c.exporter().states;
  for (size_t i = 0; i < 2; ++i) {
    c.g.push();
    std::vector<S> values = c.exporter().block(*c.op.blocks[i], {});
    if (c.exporter().states != states) unsupported("a state written in a branch");
    auto own = produced(c.g.graph());
    subgraph_outputs(c, values, types, &own);
    c.g.graph().set_name(c.g.fresh(i == 0 ? "then" : "else"));
    branches.push_back(c.g.pop());
  }
  auto y = c.g.nodes("If", {predicate}, types.size(), {{"then_branch", branches[0]}, {"else_branch", branches[1]}});
  for (size_t i = 0; i < y.size(); ++i) c.out(i, y[i]);
}

// blocks[0] computes the condition from the variables, blocks[1] the next values: ONNX's Loop wants the condition of the
// next round from its body.
void while_loop(Ctx& c) {
  if (c.op.blocks.size() != 2) bad_input("while_loop needs two blocks");
  size_t n = c.count("loop_vars");
  std::vector<S> start;
  std::vector<int> types;
  for (size_t i = 0; i < n; ++i) {
    start.push_back(c.in("loop_vars", i));
    types.push_back(c.exporter().elem_type(c.type("loop_vars", i)));
  }
  auto states = c.exporter().states;
  S go = c.exporter().block(*c.op.blocks[0], start).at(0);
  c.g.push();
  S round = c.g.fresh("round"), condition = c.g.fresh("condition");
  Emit::subgraph_value(c.g.graph(), true, round, 7);
  Emit::subgraph_value(c.g.graph(), true, condition, 9);
  std::vector<S> variables;
  for (size_t i = 0; i < n; ++i) {
    variables.push_back(c.g.fresh("variable"));
    Emit::subgraph_value(c.g.graph(), true, variables.back(), types[i]);
  }
  std::vector<S> next = c.exporter().block(*c.op.blocks[1], variables);
  S again = c.exporter().block(*c.op.blocks[0], next).at(0);
  if (c.exporter().states != states) unsupported("a state written in a loop");
  auto own = produced(c.g.graph());
  next.insert(next.begin(), again);
  types.insert(types.begin(), 9);
  subgraph_outputs(c, next, types, &own);
  c.g.graph().set_name(c.g.fresh("body"));
  auto body = c.g.pop();
  std::vector<S> inputs = {"", go};
  inputs.insert(inputs.end(), start.begin(), start.end());
  auto y = c.g.nodes("Loop", inputs, n, {{"body", body}});
  for (size_t i = 0; i < y.size(); ++i) c.out(i, y[i]);
}

// --- weights ---

// Evaluated here; compressed weights may be built in several steps.
void dense(Ctx& c) {
  std::vector<Tensor> values = c.exporter().evaluate(c.op);
  for (size_t i = 0; i < values.size(); ++i) c.exporter().keep(c.op.output(i), std::move(values[i]));
}
// Eight-bit weights with a scale per tensor or along one axis stay what they are.
bool linear_weights(Ctx& c, std::string_view data, std::string_view scale, std::string_view zero, int64_t axis) {
  const Tensor &q = c.tensor(data), &s = c.tensor(scale);
  if ((q.dtype() != DType::kI8 && q.dtype() != DType::kU8) || q.rank() == 0) return false;
  Tensor z;
  if (c.call.has(zero)) {
    z = c.call.tensor(zero);
    if (c.call.type(zero).dtype != q.dtype()) return false;
    z = convert(z, q.dtype());
  }
  int64_t n = q.dims()[static_cast<size_t>(axis)];
  if ((s.size() != 1 && s.size() != n) || (z.valid() && z.size() != 1 && z.size() != s.size())) return false;
  Dims dims = s.size() == 1 ? Dims{} : Dims{n};
  if (z.valid() && z.size() != s.size()) return false;
  std::vector<S> in = {c.g.constant(q, c.op.output()->name), c.g.constant(convert(s, DType::kF32).reshaped(dims))};
  if (z.valid()) in.push_back(c.g.constant(z.reshaped(dims)));
  std::vector<Attr> attributes;
  if (!dims.empty()) attributes.emplace_back("axis", axis);
  S y = c.g.node("DequantizeLinear", in, attributes);
  c.out(c.out_dtype() == DType::kF32 ? y : c.g.cast(y, c.out_dtype()));
  return true;
}
void affine_dequantize(Ctx& c) {
  if (c.known("quantized_data") && c.known("scale") && linear_weights(c, "quantized_data", "scale", "zero_point", c.axis("axis", c.type("quantized_data").rank()))) return;
  dense(c);
}
void blockwise(Ctx& c) {
  const Tensor* s = c.known("scale");
  const Tensor* q = c.known("data");
  if (s && q && s->rank() == q->rank()) {
    int64_t axis = 0, axes = 0;
    for (int i = 0; i < s->rank(); ++i)
      if (s->dims()[static_cast<size_t>(i)] != 1) axis = i, ++axes;
    if (axes <= 1 && linear_weights(c, "data", "scale", "offset", axis)) return;
  }
  dense(c);
}
void constexpr_cast(Ctx& c) { dense(c); }

// --- states: the value lives outside the graph; it comes in as an input and leaves as an output ---

S& state(Ctx& c, std::string_view param) {
  const ir::Value* s = c.op.input(param);
  auto it = c.exporter().states.find(s);
  if (it == c.exporter().states.end()) unsupported("a state that is no input of the function");
  return it->second;
}
void read_state(Ctx& c) {
  S s = state(c, "input");
  c.exporter().bind(c.op.output(), s);
}
void write_state(Ctx& c) { state(c, "input") = c.in("data"); }
void update_state(Ctx& c) {
  S value = c.in("value");
  state(c, "state") = value;
  c.exporter().bind(c.op.output(), value);
}

// --- lists: tensors with the elements along axis 0 ---

const Dims& element_dims(const ir::Type& list) {
  const Dims& dims = list.params.at(0).dims;
  for (int64_t d : dims)
    if (d < 0) unsupported("a list of tensors of unknown extents");
  return dims;
}
void make_list(Ctx& c) {
  const ir::Type& type = c.out_type();
  Dims element = element_dims(type);
  DType t = c.exporter().dtype(type.params.at(0).dtype);
  S length = c.known("init_length") || !c.has("init_length") ? c.g.ints({c.call.i64("init_length")}) : c.g.reshape(c.i64("init_length"), {1});
  S shape = element.empty() ? length : c.g.concat({length, c.g.ints(element)}, 0);
  c.out(c.g.node("Expand", {c.g.scalar(t, 0), shape}));
}
S one_index(Ctx& c, std::string_view param) { return c.g.reshape(c.i64(param), {1, 1}); }
// Writing beyond the end makes the list longer.
S grown(Ctx& c, const S& list, const S& last, size_t rank) {
  S length = c.g.slice(c.g.node("Shape", {list}), 0, 0, 1);
  S more = c.g.node("Max", {c.g.node("Sub", {c.g.node("Add", {c.g.reshape(last, {1}), c.g.ints({1})}), length}), c.g.ints({0})});
  std::vector<int64_t> before(rank + 1, 0), after(rank, 0);
  S pads = rank ? c.g.concat({c.g.ints(before), more, c.g.ints(after)}, 0) : c.g.concat({c.g.ints(before), more}, 0);
  return c.g.node("Pad", {list, pads});
}
void list_write(Ctx& c) {
  S index = one_index(c, "index"), list = c.in("ls");
  list = grown(c, list, index, element_dims(c.type("ls")).size());
  c.out(c.g.node("ScatterND", {list, index, c.g.unsqueeze(c.in("value"), {0})}));
}
void list_scatter(Ctx& c) {
  S index = c.i64("indices"), list = c.in("ls");
  list = grown(c, list, c.g.reduce("ReduceMax", index, {0}, false), element_dims(c.type("ls")).size());
  c.out(c.g.node("ScatterND", {list, c.g.unsqueeze(index, {1}), c.in("value")}));
}
void list_read(Ctx& c) { c.out(c.g.node("Gather", {c.in("ls"), c.g.reshape(c.i64("index"), {})})); }
void list_gather(Ctx& c) { c.out(c.g.node("Gather", {c.in("ls"), c.i64("indices")})); }
void list_length(Ctx& c) { c.out(c.g.cast(c.g.squeeze(c.g.slice(c.g.node("Shape", {c.in("ls")}), 0, 0, 1), {0}), DType::kI32)); }

// --- randomness ---

// A tensor whose extents the random generators of ONNX copy.
S like(Ctx& c) { return c.g.node("ConstantOfShape", {c.i64("shape")}, {{"value", Tensor::zeros(DType::kF32, {1})}}); }
std::vector<Attr> seeded(Ctx& c, std::vector<Attr> attributes) {
  int64_t seed = c.call.i64("seed");
  if (seed >= 0) attributes.emplace_back("seed", static_cast<double>(seed));
  attributes.emplace_back("dtype", onnx_dtype(DType::kF32));
  return attributes;
}
void finish(Ctx& c, const S& y) { c.out(c.out_dtype() == DType::kF32 ? y : c.g.cast(y, c.out_dtype())); }
void random_uniform(Ctx& c) { finish(c, c.g.node("RandomUniformLike", {like(c)}, seeded(c, {{"low", c.call.f64("low")}, {"high", c.call.f64("high")}}))); }
void random_normal(Ctx& c) { finish(c, c.g.node("RandomNormalLike", {like(c)}, seeded(c, {{"mean", c.call.f64("mean")}, {"scale", c.call.f64("stddev")}}))); }
void random_bernoulli(Ctx& c) {
  S u = c.g.node("RandomUniformLike", {like(c)}, seeded(c, {}));
  finish(c, c.g.cast(c.g.node("Less", {u, c.g.scalar(DType::kF32, c.call.f64("prob"))}), DType::kF32));
}

constexpr Row kRows[] = {
    {"cond", cond}, {"while_loop", while_loop}, {"constexpr_affine_dequantize", affine_dequantize}, {"constexpr_blockwise_shift_scale", blockwise},
    {"constexpr_cast", constexpr_cast}, {"constexpr_lut_to_dense", dense}, {"constexpr_lut_to_sparse", dense}, {"constexpr_sparse_to_dense", dense},
    {"constexpr_sparse_blockwise_shift_scale", dense}, {"read_state", read_state}, {"write_state", write_state}, {"coreml_update_state", update_state},
    {"make_list", make_list}, {"list_write", list_write}, {"list_scatter", list_scatter}, {"list_read", list_read}, {"list_gather", list_gather},
    {"list_length", list_length}, {"random_uniform", random_uniform}, {"random_normal", random_normal}, {"random_bernoulli", random_bernoulli},
};

}  // namespace

std::span<const Row> families::other() { return kRows; }

}  // namespace mlt::foreign::to_onnx
