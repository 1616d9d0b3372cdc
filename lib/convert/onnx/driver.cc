// Walks the source graph, calls the lowering function of each node, collects what could not be lowered.
#include <algorithm>

#include "lib/convert/onnx/classic.h"

namespace mlt::foreign::onnx {
namespace {

constexpr int kMaxDepth = 40;                // nested subgraphs and function calls
constexpr int64_t kMaxNodes = 500'000;       // lowered nodes, loops unrolled

// A node of a local function's body with the caller's attributes put in place.
Node resolved(const Node& node, const std::map<std::string, Attribute, std::less<>>& attributes);

void resolve(std::map<std::string, Attribute, std::less<>>& own, const std::map<std::string, Attribute, std::less<>>& caller) {
  for (auto it = own.begin(); it != own.end();) {
    if (!it->second.reference.empty()) {
      auto found = caller.find(it->second.reference);
      if (found == caller.end()) {
        it = own.erase(it);
        continue;
      }
      it->second = found->second;
    } else if (it->second.graph) {
      auto graph = std::make_shared<Graph>(*it->second.graph);
      for (Node& n : graph->nodes) n = resolved(n, caller);
      it->second.graph = std::move(graph);
    }
    ++it;
  }
}

Node resolved(const Node& node, const std::map<std::string, Attribute, std::less<>>& attributes) {
  Node copy = node;
  resolve(copy.attributes, attributes);
  return copy;
}

std::string node_label(const Node& node) {
  if (!node.name.empty()) return node.name;
  for (const std::string& output : node.outputs)
    if (!output.empty()) return output;
  return node.op_type;
}

std::string op_label(const Node& node) { return node.domain.empty() ? node.op_type : node.domain + "." + node.op_type; }

}  // namespace

Driver::Driver(const Model& model, const Options& options, Converted& result)
    : model_(model), options_(options), result_(result), opsets_(model.opsets) {}

void Driver::warn(std::string text) {
  if (seen_warnings_.insert(text).second) result_.warnings.push_back(std::move(text));
}

Val Driver::constant(const Tensor& tensor, std::string_view name) {
  Val v;
  v.type = tensor.dtype();
  v.value = lower_->constant(to_mil(tensor), name);
  if (is_integer(tensor.dtype()) && dtype_bits(tensor.dtype()) <= 8) v.raw = std::make_shared<Tensor>(tensor);
  return v;
}

const Tensor* Driver::raw(const std::string& name) {
  for (size_t i = scopes_.size(); i-- > 0;) {
    if (auto it = scopes_[i].values.find(name); it != scopes_[i].values.end()) return it->second.raw.get();
    if (scopes_[i].graph)
      if (auto it = scopes_[i].graph->initializers.find(name); it != scopes_[i].graph->initializers.end()) return &it->second;
    if (scopes_[i].barrier) break;
  }
  return nullptr;
}

bool Driver::may_use(ops::Opset opset) {
  if (lower_->at_least(opset)) return true;
  if (!options_.fixed_target) unsupported("quantized values need a newer target", "choose a newer --target");
  warn("quantized values are written as floats for this target; " + std::string(opset == ops::Opset::kCoreML6 ? "iOS16" : opset == ops::Opset::kCoreML7 ? "iOS17" : "iOS18") + " can keep them");
  return false;
}

Val Driver::lookup(const std::string& name) {
  for (size_t i = scopes_.size(); i-- > 0;) {
    Scope& scope = scopes_[i];
    if (auto it = scope.values.find(name); it != scope.values.end()) return it->second;
    if (scope.graph) {
      if (auto it = scope.graph->initializers.find(name); it != scope.graph->initializers.end()) {
        Val v = constant(it->second, it->second.size() > 1 ? std::string_view(name) : std::string_view());
        // Kept in the outermost scope that writes to the same block, where the constant now lies.
        size_t keep = scopes_.size() - 1;
        for (size_t k = keep; k > i && scopes_[k - 1].block == lower_->block(); --k) keep = k - 1;
        scopes_[keep].values[name] = v;
        return v;
      }
    }
    if (scope.barrier) break;
  }
  bad_input("value \"" + name + "\" is used but never computed");
}

void Driver::poison(const Node& node) {
  for (const std::string& output : node.outputs)
    if (!output.empty()) {
      Val v;
      v.poisoned = true;
      define(output, v);
    }
}

void Driver::report(const Node& node, const Error& error) {
  std::string reason = error.message;
  if (!error.context.empty() && error.context[0].starts_with("op ")) reason = "MIL " + error.context[0] + ": " + reason;
  if (!error.hint.empty()) reason += " (" + error.hint + ")";
  std::string op = op_label(node), label = node_label(node);
  for (Unsupported& u : result_.unsupported)
    if (u.op == op && u.reason == reason) {
      if (std::find(u.nodes.begin(), u.nodes.end(), label) == u.nodes.end()) u.nodes.push_back(label);
      return;
    }
  result_.unsupported.push_back({op, reason, {label}, error.hint == "choose a newer --target"});
}

void Driver::name_results(const Node& node, Ctx& ctx) {
  for (auto& [i, v] : ctx.results()) {
    if (i >= node.outputs.size() || node.outputs[i].empty() || v.value == nullptr) continue;
    ir::Op* op = v.value->producer;
    if (op == nullptr || op->is_const() || !named_.insert(v.value).second) continue;
    v.value->name = function_->unique_name(node.outputs[i]);
    if (op->outputs.size() == 1) op->attributes["name"] = std::make_shared<ir::Literal>(ir::Literal::string(v.value->name));
  }
}

// Integers computed from extents: where all elements turn out known, the result becomes a constant.
void Driver::propagate_shape_values(const Node& node, Ctx& ctx) {
  auto it = ctx.results().find(0);
  if (it == ctx.results().end() || it->second.value == nullptr) return;
  V y = it->second.value;
  if (Lower::known(y) != nullptr || Lower::dtype(y) != DType::kI32 || !Lower::is_static(y) || Lower::rank(y) > 1) return;
  int64_t size = y->type.dims.empty() ? 1 : y->type.dims[0];
  std::optional<std::vector<int64_t>> result = lower_->partial_ints(y);
  auto input = [&](size_t i) { return ctx.has(i) && ctx.val(i).value ? lower_->partial_ints(ctx.val(i).value) : std::nullopt; };
  const std::string& op = node.op_type;
  if (!result && node.domain.empty()) {
    if (op == "Identity" || op == "Cast" || op == "Reshape" || op == "Squeeze" || op == "Unsqueeze") {
      result = input(0);
    } else if (op == "Gather") {
      auto data = input(0), index = input(1);
      if (data && index) {
        result.emplace();
        for (int64_t i : *index) {
          int64_t at = i < 0 ? i + static_cast<int64_t>(data->size()) : i;
          if (at < 0 || at >= static_cast<int64_t>(data->size())) return;
          result->push_back((*data)[static_cast<size_t>(at)]);
        }
      }
    } else if (op == "Concat") {
      result.emplace();
      for (size_t i = 0; i < ctx.inputs() && result; ++i) {
        auto part = input(i);
        if (part) result->insert(result->end(), part->begin(), part->end());
        else result.reset();
      }
    } else if (op == "Slice" && ctx.has(2)) {
      auto data = input(0), starts = input(1), ends = input(2), steps = ctx.has(4) ? input(4) : std::optional(std::vector<int64_t>{1});
      if (data && starts && ends && steps && starts->size() == 1 && ends->size() == 1 && (*steps)[0] == 1) {
        int64_t n = static_cast<int64_t>(data->size());
        auto place = [n](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + n : i, 0, n); };
        int64_t from = place((*starts)[0]), to = place((*ends)[0]);
        if (to >= from) result.emplace(data->begin() + from, data->begin() + to);
      }
    } else if (op == "Add" || op == "Sub" || op == "Mul" || op == "Div") {
      auto a = input(0), b = input(1);
      if (a && b) {
        size_t n = std::max(a->size(), b->size());
        result.emplace(n, ir::kUnknown);
        for (size_t i = 0; i < n; ++i) {
          int64_t x = (*a)[a->size() == 1 ? 0 : i], y2 = (*b)[b->size() == 1 ? 0 : i];
          if (x < 0 || y2 < 0) continue;
          int64_t value = op == "Add" ? x + y2 : op == "Sub" ? x - y2 : op == "Mul" ? x * y2 : y2 ? x / y2 : -1;
          if (value >= 0) (*result)[i] = value;
        }
      }
    }
  }
  if (!result || static_cast<int64_t>(result->size()) != size) return;
  if (std::find(result->begin(), result->end(), ir::kUnknown) == result->end()) {
    Tensor tensor = Tensor::ints(*result);
    it->second.value = lower_->constant(tensor.reshaped(y->type.dims));
  } else {
    lower_->set_partial(y, *result);
  }
}

void Driver::lower_node(const Node& node) {
  if (++lowered_ > kMaxNodes) {
    if (lowered_ == kMaxNodes + 1) report(node, resource_error("the graph grows too large when its loops are unrolled"));
    return poison(node);
  }
  try {
    for (const std::string& input : node.inputs)
      if (!input.empty() && lookup(input).poisoned) return poison(node);
    for (const LocalFunction& f : model_.functions)
      if (f.name == node.op_type && f.domain == node.domain) return call_function(f, node);
    const Row* row = find_row(node.domain, node.op_type);
    if (row == nullptr) unsupported("no such operator here, or none that Core ML can express");
    auto version = opsets_.find(node.domain);
    Ctx ctx(*this, *lower_, node, version == opsets_.end() ? 1 : version->second);
    if (!pass_strings(ctx)) row->lower(ctx);
    for (const std::string& name : ctx.unused_attributes())
      warn("node " + node_label(node) + " (" + op_label(node) + "): attribute \"" + name + "\" is not known and has no effect");
    propagate_shape_values(node, ctx);
    name_results(node, ctx);
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i].empty()) continue;
      auto it = ctx.results().find(i);
      if (it == ctx.results().end()) unsupported("output " + std::to_string(i) + " of this operator");
      define(node.outputs[i], std::move(it->second));
    }
  } catch (const LowerError& failure) {
    report(node, failure.error);
    poison(node);
  }
}

void Driver::lower_nodes(const std::vector<Node>& nodes) {
  for (const Node& node : nodes) lower_node(node);
}

void Driver::call_function(const LocalFunction& function, const Node& node) {
  if (depth_ >= kMaxDepth) unsupported("functions call each other too deep");
  Scope scope;
  scope.block = lower_->block();
  scope.barrier = true;
  for (size_t i = 0; i < function.inputs.size(); ++i) {
    if (i < node.inputs.size() && !node.inputs[i].empty()) scope.values[function.inputs[i]] = lookup(node.inputs[i]);
  }
  std::map<std::string, Attribute, std::less<>> attributes = node.attributes;
  for (const auto& [name, value] : function.defaults) attributes.emplace(name, value);
  std::vector<Node> body;
  for (const Node& n : function.nodes) {
    Node copy = resolved(n, attributes);
    // Inputs the caller left out.
    for (std::string& input : copy.inputs)
      for (size_t i = 0; i < function.inputs.size(); ++i)
        if (input == function.inputs[i] && !scope.values.contains(input)) input.clear();
    body.push_back(std::move(copy));
  }
  auto outer = opsets_;
  for (const auto& [domain, version] : function.opsets) opsets_[domain] = version;
  scopes_.push_back(std::move(scope));
  ++depth_;
  lower_nodes(body);
  --depth_;
  std::vector<Val> outputs;
  for (const std::string& name : function.outputs) {
    Val v;
    v.poisoned = true;
    try {
      v = lookup(name);
    } catch (const LowerError&) {
    }
    outputs.push_back(std::move(v));
  }
  scopes_.pop_back();
  opsets_ = std::move(outer);
  for (size_t i = 0; i < node.outputs.size() && i < outputs.size(); ++i)
    if (!node.outputs[i].empty()) define(node.outputs[i], outputs[i]);
}

std::vector<Val> Driver::inline_graph(const Graph& graph, const std::vector<Val>& inputs) {
  if (depth_ >= kMaxDepth) unsupported("subgraphs nest too deep");
  Scope scope;
  scope.graph = &graph;
  scope.block = lower_->block();
  for (size_t i = 0; i < graph.inputs.size() && i < inputs.size(); ++i) scope.values[graph.inputs[i].name] = inputs[i];
  scopes_.push_back(std::move(scope));
  ++depth_;
  size_t problems = result_.unsupported.size();
  lower_nodes(graph.nodes);
  --depth_;
  std::vector<Val> outputs;
  std::optional<Error> error;
  for (const ValueInfo& output : graph.outputs) {
    try {
      outputs.push_back(lookup(output.name));
    } catch (const LowerError& failure) {
      error = failure.error;
    }
  }
  scopes_.pop_back();
  if (error) throw LowerError{*error};
  for (const Val& v : outputs)
    if (v.poisoned) unsupported(result_.unsupported.size() > problems ? "its subgraph holds unsupported operators" : "its subgraph depends on unsupported operators");
  return outputs;
}

std::vector<Val> Driver::lower_block(const Graph& graph, const std::vector<Val>& inputs, ir::Block* block) {
  lower_->push_block(block);
  std::vector<Val> outputs;
  try {
    outputs = inline_graph(graph, inputs);
  } catch (const LowerError&) {
    lower_->pop_block();
    throw;
  }
  lower_->pop_block();
  return outputs;
}

Status Driver::run() {
  auto program = std::make_unique<ir::Program>();
  function_ = program->add_function("main", std::string(ops::opset_token(options_.opset)));
  lower_ = std::make_unique<Lower>(*function_, options_.opset);
  Scope scope;
  scope.graph = &model_.graph;
  scope.block = function_->body.get();
  scopes_.push_back(std::move(scope));
  for (const InputOption& option : options_.inputs) {
    bool found = std::any_of(model_.graph.inputs.begin(), model_.graph.inputs.end(), [&](const ValueInfo& v) { return v.name == option.name; });
    if (!found) {
      std::string names;
      for (const ValueInfo& v : model_.graph.inputs)
        if (!model_.graph.initializers.contains(v.name)) names += (names.empty() ? "" : ", ") + v.name;
      return usage_error("the model has no input \"" + option.name + "\"", "its inputs are: " + names);
    }
  }
  try {
    for (const ValueInfo& info : model_.graph.inputs)
      if (!model_.graph.initializers.contains(info.name)) bind_input(info);
    for (const ValueInfo& info : model_.graph.outputs) output_names_.push_back(function_->unique_name(info.name));
    lower_nodes(model_.graph.nodes);
    bind_outputs();
  } catch (const LowerError& failure) {
    return failure.error;
  }
  result_.program = std::move(program);
  return {};
}

}  // namespace mlt::foreign::onnx
