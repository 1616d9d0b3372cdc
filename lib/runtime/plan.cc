#include "lib/runtime/plan.h"

#include <algorithm>
#include <unordered_set>

#include "lib/runtime/attention_plan.h"
#include "lib/runtime/block_plan.h"
#include "lib/runtime/fuse.h"
#include "lib/runtime/int8_plan.h"
#include "lib/runtime/layout.h"
#include "lib/runtime/recurrent_plan.h"

namespace mlt {
namespace {

using ir::Type;

// Results of folding larger than this are computed at run time instead of being kept.
constexpr int64_t kFoldLimit = int64_t{1} << 24;

// Values from outside that the blocks of an op read.
void collect_captured(const ir::Block& block, std::unordered_set<const ir::Value*>* inner, std::vector<const ir::Value*>* captured) {
  for (const auto& input : block.inputs) inner->insert(input.get());
  auto see = [&](const ir::Value* value) {
    if (value != nullptr && !inner->contains(value)) captured->push_back(value);
  };
  for (const auto& op : block.ops) {
    for (const ir::Arg& arg : op->args)
      for (const ir::Operand& operand : arg.operands) see(operand.value);
    for (const auto& nested : op->blocks) collect_captured(*nested, inner, captured);
    for (const auto& output : op->outputs) inner->insert(output.get());
  }
  for (const ir::Value* output : block.outputs) see(output);
}

std::string bytes_text(size_t bytes) {
  if (bytes < size_t{1} << 20) return std::to_string(bytes) + " bytes";
  return bytes < size_t{10} << 30 ? std::to_string(bytes >> 20) + " MiB" : std::to_string(bytes >> 30) + " GiB";
}

}  // namespace

bool is_state_op(std::string_view kind) {
  return kind == "read_state" || kind == "write_state" || kind == "coreml_update_state";
}

std::string op_place(const ir::Op& op) { return "op " + std::string(op.name()) + " (" + op.kind + ")"; }

Status check_bytes(const std::vector<Type>& types, size_t max_bytes) {
  size_t total = 0;
  for (const Type& type : types) {
    if (!type.is_tensor() || !type.is_static()) continue;
    MLT_ASSIGN(int64_t count, element_count(type.dims));
    size_t bytes = type.dtype == DType::kString ? static_cast<size_t>(count) * sizeof(std::string)
                                                : static_cast<size_t>(storage_bytes(compute_dtype(type.dtype), count));
    total += std::min(bytes, max_bytes - std::min(max_bytes, total) + 1);
    if (total > max_bytes)
      return resource_error("a value of shape " + dims_text(type.dims) + " takes " + bytes_text(bytes) + ", more than the limit of " + bytes_text(max_bytes));
  }
  return {};
}

std::shared_ptr<void>* Plan::prepared_place(int id, const std::string& form) {
  const ir::Value* value = id >= 0 ? values[static_cast<size_t>(id)].value : nullptr;
  if (prepared_ == nullptr || value == nullptr || value->producer == nullptr) return nullptr;
  const ir::Op& op = *value->producer;
  if (!op.is_const() && !op.kind.starts_with("constexpr_")) return nullptr;
  for (const ir::Arg& arg : op.args)
    for (const ir::Operand& operand : arg.operands)
      if (operand.constant() == nullptr) return nullptr;
  return &(*prepared_)[{value, form}];
}

int Plan::id_of(const ir::Value* value) const {
  auto it = ids_.find(value);
  return it == ids_.end() ? -1 : it->second;
}

int64_t Plan::offset_in_root(int id) const {
  int64_t offset = 0;
  for (; values[static_cast<size_t>(id)].alias_of >= 0; id = values[static_cast<size_t>(id)].alias_of) offset += values[static_cast<size_t>(id)].alias_offset;
  return offset;
}

int Plan::root(int id) const {
  while (values[static_cast<size_t>(id)].alias_of >= 0) id = values[static_cast<size_t>(id)].alias_of;
  return id;
}

Tensor Plan::materialize(int id, bool keep) {
  PlanValue& v = values[static_cast<size_t>(id)];
  if (v.deferred == nullptr || v.constant.valid()) return v.constant;
  Status status = ops::evaluate(*v.deferred);
  Tensor result = status.ok() ? v.deferred->outputs()[0].tensor : Tensor();
  v.deferred->outputs().clear();
  if (!status.ok() || !result.valid()) {
    if (!failure_) failure_ = status.ok() ? input_error("a constant has no value") : std::move(status).error();
    return Tensor::zeros(compute_dtype(v.type.dtype), v.type.dims);  // lets the caller finish; the plan fails
  }
  // What is declared as float16 was rounded to it.
  result = convert(result, v.type.dtype);
  if (!keep) return result;
  folded_bytes_ += static_cast<size_t>(result.nbytes());
  if (folded_bytes_ > options_.max_bytes && !failure_) failure_ = resource_error("constants take more than the limit of " + bytes_text(options_.max_bytes));
  v.constant = result;
  return result;
}

int Plan::add_value(const ir::Value* value, Type type) {
  int id = static_cast<int>(values.size());
  PlanValue& v = values.emplace_back();
  v.value = value;
  v.type = std::move(type);
  if (value != nullptr) ids_[value] = id;
  return id;
}

void Plan::set_constant(int id, Tensor tensor) {
  PlanValue& v = values[static_cast<size_t>(id)];
  v.constant = std::move(tensor);
  v.is_constant = true;
}

Result<std::unique_ptr<Plan>> Plan::build(const ir::Function& function, ops::Opset opset, const std::vector<Dims>& input_dims,
                                          const ExecOptions& options, PreparedConstants* prepared) {
  auto plan = std::make_unique<Plan>();
  plan->prepared_ = prepared;
  plan->function_ = &function;
  plan->opset_ = opset;
  plan->options_ = options;
  // 1. Shapes and constants.
  MLT_TRY(plan->add_nodes(function, input_dims));
  // 2. Neighbours that one kernel computes together.
  plan->fuse();
  // 3. A kernel for every node.
  plan->regs.resize(plan->values.size());
  MLT_TRY(plan->lower_all());
  // 4. A place for every value.
  plan->place();
  if (plan->failure_) return *plan->failure_;
  if (!plan->arena_ok())
    return resource_error("activations take " + bytes_text(plan->info.arena_bytes + plan->info.scratch_bytes) +
                          ", more than can be had; the largest is made by " + plan->largest_);
  plan->nodes_.clear();
  return plan;
}

Status Plan::add_nodes(const ir::Function& function, const std::vector<Dims>& input_dims) {
  size_t next = 0;
  for (const auto& input : function.inputs) {
    if (input->type.is_state()) {
      add_value(input.get(), input->type);
      continue;
    }
    int id = add_value(input.get(), Type::tensor(input->type.dtype, input_dims[next++]));
    input_ids.push_back(id);
  }
  for (const auto& op : function.body->ops) MLT_TRY(add_node(*op).in(op_place(*op)));
  for (const ir::Value* output : function.body->outputs) {
    int id = id_of(output);
    if (id < 0) return input_error("output \"" + output->name + "\" is not defined");
    output_ids.push_back(id);
  }

  drop_unused();
  return {};
}

// Counts the readers of every value, and drops the nodes whose results nobody needs.
void Plan::drop_unused() {
  auto& v = values;
  for (PlanValue& value : v) value.users = 0;
  for (int id : output_ids) ++v[static_cast<size_t>(id)].users;
  for (auto& node : nodes_)
    for (const Node::Source& s : node->sources) ++v[static_cast<size_t>(s.id)].users;
  for (auto it = nodes_.rbegin(); it != nodes_.rend(); ++it) {
    Node& node = **it;
    bool needed = is_state_op(node.op->kind) || options_.keep_all || !node.op->blocks.empty();
    for (int id : node.outs) needed = needed || v[static_cast<size_t>(id)].users > 0;
    if (needed) continue;
    node.dead = true;
    for (const Node::Source& s : node.sources) --v[static_cast<size_t>(s.id)].users;
  }
  std::erase_if(nodes_, [](const auto& node) { return node->dead; });
}

Status Plan::add_node(const ir::Op& op) {
  if (op.is_const()) {
    if (op.outputs.size() != 1 || op.output()->constant() == nullptr) return input_error("const without a value");
    int id = add_value(op.output(), op.output()->type);
    const Tensor* tensor = op.output()->constant_tensor();
    if (tensor != nullptr) {
      set_constant(id, *tensor);
    } else if (op.output()->constant()->blob) {
      return input_error("the weights of this constant are missing: " + op.output()->constant()->blob->file,
                         "the package is incomplete: its weight file was not there");
    }
    return {};
  }

  const ops::OpInfo* row = ops::find_op(op.kind, opset_);
  bool raw = row != nullptr && row->def->raw_inputs;
  // These read weights as they are stored; all others want the values, and so do these where all of it can be folded.
  bool as_stored = op.kind == "gather";
  if (op.kind == "linear" || op.kind == "matmul" || op.kind == "conv")
    for (const ir::Arg& arg : op.args)
      for (const ir::Operand& operand : arg.operands) {
        const int id = operand.value != nullptr ? id_of(operand.value) : -1;
        as_stored = as_stored || (id >= 0 && !values[static_cast<size_t>(id)].is_constant);
      }
  auto value_of = [&](const ir::Value& value) {
    ops::RtValue known;
    int id = id_of(&value);
    if (id >= 0 && values[static_cast<size_t>(id)].is_constant) {
      if (as_stored && values[static_cast<size_t>(id)].deferred != nullptr && !values[static_cast<size_t>(id)].constant.valid()) return known;
      known.tensor = materialize(id, true);
      if (raw) known.tensor = convert(known.tensor, value.type.dtype);
    }
    return known;
  };
  auto type_of = [&](const ir::Value& value) {
    int id = id_of(&value);
    return id >= 0 ? values[static_cast<size_t>(id)].type : value.type;
  };
  MLT_ASSIGN(ops::Call call, ops::bind_call(op, opset_, value_of, type_of));
  if (failure_) return *failure_;
  auto node = std::make_unique<Node>(&op, std::move(call));
  ops::Call& bound = node->call;

  std::vector<Type> types;
  bool known = op.blocks.empty() && !is_state_op(op.kind) && bound.def().eval != nullptr &&
               bound.def().exactness != ops::Exactness::kRandom;
  bool inputs_dynamic = false;
  for (const ops::Binding& b : bound.bindings())
    for (const ops::Item& item : b.items) known = known && item.value.known();
  for (const ir::Arg& arg : op.args)
    for (const ir::Operand& operand : arg.operands)
      if (operand.value != nullptr) {
        int id = id_of(operand.value);
        if (id < 0) return input_error("\"" + operand.value->name + "\" is used before it is defined");
        inputs_dynamic = inputs_dynamic || values[static_cast<size_t>(id)].dynamic;
      }

  if (!op.blocks.empty() && bound.def().eval != nullptr) return input_error("the op takes no blocks");
  if (!op.blocks.empty()) MLT_TRY(ops::infer(bound));  // what its blocks give must fit
  if (!op.blocks.empty() || inputs_dynamic) {
    for (const auto& output : op.outputs) types.push_back(output->type);
  } else {
    MLT_TRY(ops::infer(bound));
    types = bound.out_types();
    if (types.size() != op.outputs.size())
      return input_error(std::to_string(op.outputs.size()) + " outputs declared, " + std::to_string(types.size()) + " expected");
    for (size_t i = 0; i < types.size(); ++i)
      if (!ir::compatible(op.outputs[i]->type, types[i]))
        return input_error("output \"" + op.outputs[i]->name + "\" is declared " + op.outputs[i]->type.to_string() + " and is " + types[i].to_string());
  }

  // The declared element type stands (inference agrees with it in a valid program); extents are the inferred ones.
  int64_t elements = 0;
  bool all_static = true;
  for (const Type& type : types) {
    all_static = all_static && type.is_static();
    if (type.is_static()) {
      MLT_ASSIGN(int64_t count, element_count(type.dims));
      elements += count;
    }
  }
  MLT_TRY(check_bytes(types, options_.max_bytes));
  if (known && !inputs_dynamic && all_static && options_.fast_kernels && !options_.strict_fp16 && is_deferrable(op.kind)) {
    int id = add_value(op.output(), types[0]);
    values[static_cast<size_t>(id)].is_constant = true;
    values[static_cast<size_t>(id)].deferred = std::make_shared<ops::Call>(std::move(bound));
    ++info.folded_ops;
    return {};
  }
  if (known && !inputs_dynamic && (elements <= kFoldLimit || op.kind.starts_with("constexpr_"))) {
    MLT_TRY(ops::evaluate(bound));
    bool tensors = true;
    for (const ops::RtValue& result : bound.outputs()) tensors = tensors && result.tensor.valid();
    if (tensors) {
      for (size_t i = 0; i < types.size(); ++i) {
        Tensor result = bound.outputs()[i].tensor;
        folded_bytes_ += static_cast<size_t>(result.nbytes());
        if (folded_bytes_ > options_.max_bytes) return resource_error("constants take more than the limit of " + bytes_text(options_.max_bytes));
        if (options_.strict_fp16) {
          if (types[i].dtype == DType::kF16 && !op.kind.starts_with("constexpr_")) {
            Tensor noted = to_compute(result).clone();
            round_and_note(noted, op.name(), op.kind, findings);
          }
          result = convert(result, types[i].dtype);
        }
        int id = add_value(op.outputs[i].get(), Type::tensor(types[i].dtype, result.dims()));
        set_constant(id, std::move(result));
      }
      ++info.folded_ops;
      return {};
    }
  }
  // The one op whose value follows from a type alone.
  if (op.kind == "shape" && !inputs_dynamic && bound.type("x").is_static()) {
    int id = add_value(op.output(), types[0]);
    set_constant(id, Tensor::ints(bound.type("x").dims));
    ++info.folded_ops;
    return {};
  }

  node->eager = !op.blocks.empty() || inputs_dynamic || (!all_static && !is_state_op(op.kind));
  for (const ops::Binding& b : bound.bindings()) {
    const ir::Arg* arg = op.find(b.param->name);
    for (size_t i = 0; i < b.items.size(); ++i) {
      int id = -1;
      if (arg != nullptr && i < arg->operands.size() && arg->operands[i].value != nullptr) {
        id = id_of(arg->operands[i].value);
      } else {
        id = add_value(nullptr, b.items[i].type);
        set_constant(id, b.items[i].value.tensor);
      }
      node->sources.push_back({b.param->name, i, id});
    }
  }
  if (!op.blocks.empty()) {
    std::unordered_set<const ir::Value*> inner;
    std::vector<const ir::Value*> captured;
    for (const auto& block : op.blocks) collect_captured(*block, &inner, &captured);
    for (const ir::Value* value : captured) {
      int id = id_of(value);
      if (id >= 0) node->sources.push_back({"", node->sources.size(), id});
    }
  }
  for (size_t i = 0; i < op.outputs.size(); ++i) {
    int id = add_value(op.outputs[i].get(), types[i]);
    values[static_cast<size_t>(id)].dynamic = node->eager && (!types[i].is_static() || !op.blocks.empty() || inputs_dynamic);
    node->outs.push_back(id);
  }
  node->fused.push_back(&op);
  nodes_.push_back(std::move(node));
  return {};
}

void Plan::fuse() {
  if (!options_.fuse || options_.strict_fp16 || options_.keep_all || !options_.fast_kernels) return;
  fuse_attention(*this, nodes_);
  drop_unused();
  fuse_int8(*this, nodes_);
  fuse_epilogues(*this, nodes_);
  fuse_shuffles(*this, nodes_);
  fuse_turns(*this, nodes_);
  choose_layouts(*this, nodes_);
  fuse_blocks(*this, nodes_);
  fuse_recurrent(*this, nodes_);
}

}  // namespace mlt
