#include "lib/ir/graph.h"

#include <algorithm>
#include <unordered_set>

namespace mlt::ir {

Literal Literal::of(Tensor tensor) {
  Literal literal;
  literal.type = Type::of(tensor);
  literal.tensor = std::move(tensor);
  return literal;
}

std::string_view Literal::text() const {
  if (!tensor.valid() || tensor.dtype() != DType::kString || tensor.size() != 1) return {};
  return tensor.strings()[0];
}

const Literal* Value::constant() const {
  if (producer == nullptr || !producer->is_const()) return nullptr;
  auto it = producer->attributes.find("val");
  return it == producer->attributes.end() ? nullptr : it->second.get();
}

const Tensor* Value::constant_tensor() const {
  const Literal* literal = constant();
  return literal != nullptr && literal->tensor.valid() ? &literal->tensor : nullptr;
}

const Tensor* Operand::constant_tensor() const {
  const Literal* found = constant();
  return found != nullptr && found->tensor.valid() ? &found->tensor : nullptr;
}

const Arg* Op::find(std::string_view param) const {
  auto it = std::lower_bound(args.begin(), args.end(), param, [](const Arg& a, std::string_view p) { return a.name < p; });
  return it != args.end() && it->name == param ? &*it : nullptr;
}

Arg& Op::arg(std::string_view param) {
  auto it = std::lower_bound(args.begin(), args.end(), param, [](const Arg& a, std::string_view p) { return a.name < p; });
  if (it == args.end() || it->name != param) it = args.insert(it, Arg{std::string(param), {}});
  return *it;
}

const Operand* Op::operand(std::string_view param) const {
  const Arg* found = find(param);
  return found != nullptr && !found->operands.empty() ? &found->operands[0] : nullptr;
}

Value* Op::input(std::string_view param) const {
  const Operand* found = operand(param);
  return found != nullptr ? found->value : nullptr;
}

void Op::set(std::string_view param, Operand operand) {
  Arg& a = arg(param);
  a.operands.clear();
  a.operands.push_back(std::move(operand));
}
void Op::set(std::string_view param, std::vector<Operand> operands) { arg(param).operands = std::move(operands); }
void Op::erase(std::string_view param) {
  std::erase_if(args, [&](const Arg& a) { return a.name == param; });
}

Value* Op::add_output(std::string name, Type type) {
  outputs.push_back(std::make_unique<Value>(std::move(name), std::move(type), this));
  return outputs.back().get();
}

std::string_view Op::name() const {
  auto it = attributes.find("name");
  if (it != attributes.end() && !it->second->text().empty()) return it->second->text();
  return outputs.empty() ? std::string_view{} : std::string_view(outputs[0]->name);
}

Op* Block::append(std::string kind) {
  ops.push_back(std::make_unique<Op>(std::move(kind), this));
  return ops.back().get();
}
Op* Block::insert(size_t position, std::string kind) {
  return ops.insert(ops.begin() + static_cast<ptrdiff_t>(position), std::make_unique<Op>(std::move(kind), this))->get();
}
Value* Block::add_input(std::string name, Type type) {
  inputs.push_back(std::make_unique<Value>(std::move(name), std::move(type), nullptr));
  return inputs.back().get();
}

Value* Function::add_input(std::string input_name, Type type) {
  inputs.push_back(std::make_unique<Value>(std::move(input_name), std::move(type), nullptr));
  return inputs.back().get();
}
Value* Function::find_input(std::string_view input_name) const {
  for (const auto& input : inputs)
    if (input->name == input_name) return input.get();
  return nullptr;
}

namespace {

template <typename B, typename F>
void visit_ops(B& block, const F& visit) {
  for (auto& op : block.ops) {
    visit(*op);
    for (auto& nested : op->blocks) visit_ops(*nested, visit);
  }
}

template <typename F>
void visit_blocks(Block& block, const F& visit) {
  visit(block);
  for (auto& op : block.ops)
    for (auto& nested : op->blocks) visit_blocks(*nested, visit);
}

bool has_effect(const Op& op) {
  if (op.kind == "write_state" || op.kind == "coreml_update_state") return true;
  for (const auto& block : op.blocks)
    for (const auto& inner : block->ops)
      if (has_effect(*inner)) return true;
  return false;
}

}  // namespace

void Function::for_each_op(const std::function<void(Op&)>& visit) { visit_ops(*body, visit); }
void Function::for_each_op(const std::function<void(const Op&)>& visit) const {
  visit_ops(static_cast<const Block&>(*body), visit);
}

void Function::replace_all_uses(const std::unordered_map<const Value*, Value*>& replacement) {
  if (replacement.empty()) return;
  auto final_value = [&](Value* value) {
    for (size_t hops = 0; hops <= replacement.size(); ++hops) {
      auto it = replacement.find(value);
      if (it == replacement.end()) return value;
      value = it->second;
    }
    return value;
  };
  visit_blocks(*body, [&](Block& block) {
    for (auto& op : block.ops)
      for (Arg& arg : op->args)
        for (Operand& operand : arg.operands)
          if (operand.value != nullptr) operand.value = final_value(operand.value);
    for (Value*& output : block.outputs) output = final_value(output);
  });
}

size_t Function::erase_dead_ops() {
  // Mark from the roots (block outputs, effects) backwards, then sweep.
  std::unordered_set<const Op*> live;
  std::vector<const Op*> work;
  auto mark_value = [&](const Value* value) {
    if (value != nullptr && value->producer != nullptr && live.insert(value->producer).second) work.push_back(value->producer);
  };
  for (const Value* output : body->outputs) mark_value(output);
  for (const auto& op : body->ops)
    if (has_effect(*op) && live.insert(op.get()).second) work.push_back(op.get());
  while (!work.empty()) {
    const Op* op = work.back();
    work.pop_back();
    // A live op nested in a block keeps the op that owns the block.
    for (const Block* block = op->parent; block != nullptr && block->parent != nullptr; block = block->parent->parent)
      if (live.insert(block->parent).second) work.push_back(block->parent);
    for (const Arg& arg : op->args)
      for (const Operand& operand : arg.operands) mark_value(operand.value);
    for (const auto& block : op->blocks) {
      for (const Value* output : block->outputs) mark_value(output);
      for (const auto& inner : block->ops)
        if (has_effect(*inner) && live.insert(inner.get()).second) work.push_back(inner.get());
    }
  }
  size_t erased = 0;
  visit_blocks(*body, [&](Block& block) { erased += std::erase_if(block.ops, [&](const auto& op) { return !live.contains(op.get()); }); });
  return erased;
}

std::string Function::unique_name(std::string_view wish) {
  if (!taken_ready_) {
    for (const auto& input : inputs) taken_.emplace(input->name, 0);
    visit_blocks(*body, [&](Block& block) {
      for (const auto& input : block.inputs) taken_.emplace(input->name, 0);
      for (const auto& op : block.ops)
        for (const auto& output : op->outputs) taken_.emplace(output->name, 0);
    });
    taken_ready_ = true;
  }
  std::string base = sanitized_identifier(wish);
  auto [it, fresh] = taken_.emplace(base, 0);
  if (fresh) return base;
  for (;;) {
    std::string candidate = base + "_" + std::to_string(it->second++);
    if (taken_.emplace(candidate, 0).second) return candidate;
    it = taken_.find(base);
  }
}

Function* Program::add_function(std::string name, std::string opset) {
  auto function = std::make_unique<Function>();
  function->name = std::move(name);
  function->opset = std::move(opset);
  auto it = std::lower_bound(functions.begin(), functions.end(), function->name,
                             [](const auto& f, const std::string& n) { return f->name < n; });
  return functions.insert(it, std::move(function))->get();
}

Function* Program::find(std::string_view name) const {
  for (const auto& function : functions)
    if (function->name == name) return function.get();
  return nullptr;
}

Users::Users(const Function& function) {
  visit_blocks(*function.body, [&](Block& block) {
    for (const auto& op : block.ops)
      for (const Arg& arg : op->args)
        for (const Operand& operand : arg.operands)
          if (operand.value != nullptr) users_[operand.value].push_back(op.get());
    for (const Value* output : block.outputs) ++block_outputs_[output];
  });
}

const std::vector<Op*>& Users::of(const Value* value) const {
  static const std::vector<Op*> kNone;
  auto it = users_.find(value);
  return it == users_.end() ? kNone : it->second;
}
bool Users::is_block_output(const Value* value) const { return block_outputs_.contains(value); }

std::string sanitized_identifier(std::string_view text) {
  std::string name;
  for (char c : text) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    name += plain ? c : '_';
  }
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) name.insert(0, "_");
  return name;
}

namespace {

using ValueMap = std::unordered_map<const Value*, Value*>;

void clone_block(const Block& from, Block& to, ValueMap& map) {
  to.attributes = from.attributes;
  for (const auto& input : from.inputs) map[input.get()] = to.add_input(input->name, input->type);
  for (const auto& op : from.ops) {
    Op* copy = to.append(op->kind);
    copy->attributes = op->attributes;
    copy->args = op->args;
    for (Arg& arg : copy->args)
      for (Operand& operand : arg.operands)
        if (operand.value != nullptr) {
          auto it = map.find(operand.value);
          if (it != map.end()) operand.value = it->second;
        }
    for (const auto& nested : op->blocks) {
      copy->blocks.push_back(std::make_unique<Block>(copy));
      clone_block(*nested, *copy->blocks.back(), map);
    }
    for (const auto& output : op->outputs) map[output.get()] = copy->add_output(output->name, output->type);
  }
  for (const Value* output : from.outputs) {
    auto it = map.find(output);
    if (it != map.end()) to.outputs.push_back(it->second);
  }
}

}  // namespace

std::unique_ptr<Function> clone(const Function& function) {
  auto copy = std::make_unique<Function>();
  copy->name = function.name;
  copy->opset = function.opset;
  copy->attributes = function.attributes;
  ValueMap map;
  for (const auto& input : function.inputs) map[input.get()] = copy->add_input(input->name, input->type);
  clone_block(*function.body, *copy->body, map);
  return copy;
}

std::unique_ptr<Program> clone(const Program& program) {
  auto copy = std::make_unique<Program>();
  copy->version = program.version;
  copy->attributes = program.attributes;
  for (const auto& function : program.functions) copy->functions.push_back(clone(*function));
  return copy;
}

}  // namespace mlt::ir
