#include "lib/inspect/structure.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>
#include <tuple>
#include <unordered_map>

#include "lib/coreml/nn_layers.h"
#include "lib/coreml/nn_lift.h"
#include "lib/coreml/parameters.h"
#include "lib/ops/call.h"

namespace mlt::inspect {
namespace {

constexpr int64_t kSmallest = 10;  // elements; shorter constants are fields

bool is_expression(const ir::Op& op) { return op.kind.starts_with("constexpr_"); }

// The literal behind a parameter of an op, an attribute too.
const ir::Literal* literal_of(const ir::Op& op, std::string_view param) {
  if (const ir::Operand* operand = op.operand(param)) return operand->constant();
  auto it = op.attributes.find(param);
  return it == op.attributes.end() ? nullptr : it->second.get();
}

int64_t literal_size(const ir::Literal* literal) {
  if (literal == nullptr || !literal->type.is_static()) return 0;
  auto count = element_count(literal->type.dims);
  return count.ok() ? *count : 0;
}

// How the expression stores its values.
std::string expression_storage(const ir::Op& op) {
  auto dtype = [&](std::string_view param) {
    const ir::Literal* literal = literal_of(op, param);
    return literal != nullptr ? std::string(dtype_name(literal->type.dtype)) : std::string("?");
  };
  if (op.kind == "constexpr_affine_dequantize") return "linear " + dtype("quantized_data");
  if (op.kind == "constexpr_blockwise_shift_scale") return "linear " + dtype("data");
  if (op.kind == "constexpr_lut_to_dense") {
    const ir::Literal* indices = literal_of(op, "indices");
    if (indices != nullptr && dtype_bits(indices->type.dtype) < 8)
      return fmt::format("palette {}-bit", dtype_bits(indices->type.dtype));
    int64_t entries = literal_size(literal_of(op, "lut"));
    int bits = 0;
    while (bits < 8 && (int64_t{1} << bits) < entries) ++bits;
    return fmt::format("palette {}-bit", bits);
  }
  if (op.kind.starts_with("constexpr_sparse") || op.kind.starts_with("constexpr_lut_to_sparse"))
    return "sparse";
  if (op.kind == "constexpr_cast") return dtype("source_val");
  return op.kind.substr(10);
}

constexpr int kDeepest = 32;  // expressions within expressions

uint64_t expression_bytes(const ir::Op& op, int depth = 0) {
  uint64_t bytes = 0;
  auto add = [&](const ir::Literal* literal) {
    if (literal != nullptr && literal->type.is_static() && literal->type.dtype != DType::kString)
      bytes += static_cast<uint64_t>(storage_bytes(literal->type.dtype, literal_size(literal)));
  };
  for (const auto& [name, literal] : op.attributes)
    if (name != "name") add(literal.get());
  for (const ir::Arg& arg : op.args)
    for (const ir::Operand& operand : arg.operands) {
      if (operand.constant() != nullptr)
        add(operand.constant());
      else if (operand.value != nullptr && operand.value->producer != nullptr &&
               is_expression(*operand.value->producer) && depth < kDeepest)
        bytes += expression_bytes(*operand.value->producer, depth + 1);
    }
  return bytes;
}

bool expression_missing(const ir::Op& op, int depth = 0) {
  for (const auto& [name, literal] : op.attributes)
    if (literal->blob && !literal->tensor.valid()) return true;
  for (const ir::Arg& arg : op.args)
    for (const ir::Operand& operand : arg.operands) {
      const ir::Literal* literal = operand.constant();
      if (literal != nullptr && literal->blob && !literal->tensor.valid()) return true;
      if (literal == nullptr && operand.value != nullptr && operand.value->producer != nullptr &&
          depth < kDeepest && expression_missing(*operand.value->producer, depth + 1))
        return true;
    }
  return false;
}

Result<std::vector<ops::RtValue>> expand(const ir::Op& op, ops::Opset opset, int depth = 0) {
  if (depth > kDeepest) return unsupported_error("constants nest too deep");
  std::optional<Error> inner;
  MLT_ASSIGN(ops::Call call, ops::bind_call(op, opset, [&](const ir::Value& value) -> ops::RtValue {
               if (value.producer == nullptr || inner) return {};
               auto out = expand(*value.producer, opset, depth + 1);
               if (!out.ok()) {
                 inner = out.error();
                 return {};
               }
               for (size_t i = 0; i < value.producer->outputs.size() && i < out->size(); ++i)
                 if (value.producer->outputs[i].get() == &value) return (*out)[i];
               return {};
             }));
  if (inner) return *inner;
  MLT_TRY(ops::evaluate(call));
  return std::move(call.outputs());
}

class ProgramReader {
 public:
  ProgramReader(const ir::Function& function, Unit& unit)
      : function_(function),
        unit_(unit),
        opset_(ops::opset_from_token(function.opset).value_or(ops::Opset::kCoreML9)) {}

  void read() {
    unit_.function = &function_;
    for (const auto& input : function_.inputs)
      unit_.inputs.emplace_back(input->name, input->type.to_string());
    block(*function_.body, -1, 0);
    for (const ir::Value* value : function_.body->outputs)
      unit_.outputs.push_back(input("", ir::Operand(const_cast<ir::Value*>(value)), nullptr));
  }

 private:
  void block(const ir::Block& block, int parent, int index) {
    for (size_t i = 0; parent >= 0 && i < block.inputs.size(); ++i)
      block_inputs_[block.inputs[i].get()] = fmt::format("block {} input {}", index, i);
    for (const auto& op : block.ops) {
      if (op->is_const() || is_expression(*op)) continue;
      auto at = static_cast<int>(unit_.nodes.size());
      unit_.nodes.emplace_back();
      {
        Node node;
        node.kind = op->kind;
        node.name = std::string(op->name());
        node.parent = parent;
        node.block = index;
        node.op = op.get();
        std::vector<ir::Type> in, out;
        for (const ir::Arg& arg : op->args)
          for (size_t i = 0; i < arg.operands.size(); ++i) {
            const ir::Operand& operand = arg.operands[i];
            std::string param = arg.operands.size() > 1 ? fmt::format("{}[{}]", arg.name, i) : arg.name;
            Input made = input(param, operand, &node);
            if (operand.value != nullptr && operand.constant() == nullptr) in.push_back(operand.type());
            if (!made.param.empty()) node.inputs.push_back(std::move(made));
          }
        for (const auto& [key, literal] : op->attributes) {
          if (key == "name") continue;
          Input made = input(key, ir::Operand(literal), &node);
          if (!made.param.empty()) node.inputs.push_back(std::move(made));
        }
        for (size_t i = 0; i < op->outputs.size(); ++i) {
          const ir::Value& value = *op->outputs[i];
          node.outputs.push_back({value.name, value.type.to_string(), value.type.dims,
                                  value.type.is_tensor() && value.type.is_static()});
          made_by_[&value] = {at, static_cast<int>(i)};
          out.push_back(value.type);
        }
        node.cost = ops::op_cost({node.kind, op.get(), in, out, 0});
        unit_.nodes[static_cast<size_t>(at)] = std::move(node);
      }
      for (size_t i = 0; i < op->blocks.size(); ++i) {
        this->block(*op->blocks[i], at, static_cast<int>(i));
        // What a block hands on belongs to the op; the ops that make it come after it.
        for (size_t k = 0; k < op->blocks[i]->outputs.size(); ++k) {
          Input made =
              input(fmt::format("block {} output {}", i, k), ir::Operand(op->blocks[i]->outputs[k]), nullptr);
          unit_.nodes[static_cast<size_t>(at)].inputs.push_back(std::move(made));
        }
      }
    }
  }

  static std::string text_of(const ir::Literal& literal, int depth = 0) {
    if (literal.tensor.valid() && (literal.tensor.size() <= 64 || literal.tensor.dtype() == DType::kString)) {
      std::string text = value_text(literal.tensor);
      for (int64_t i = 64; i < literal.tensor.size(); ++i)
        text += ", \"" + literal.tensor.strings()[static_cast<size_t>(i)] + "\"";
      return text;
    }
    if (literal.tensor.valid()) {  // inside a list or a dictionary: the text stands for all of it
      uint64_t hash = 0xcbf29ce484222325ull;
      for (std::byte byte : literal.tensor.bytes())
        hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001b3ull;
      return fmt::format("{} #{:016x}", literal.type.to_string(), hash);
    }
    if (literal.items.empty() || depth > 20) return literal.type.to_string();
    std::string text = "(";
    for (const ir::Literal& item : literal.items) {
      if (text.size() > 1) text += ", ";
      text += text_of(item, depth + 1);
    }
    return text + ")";
  }

  // An empty param: the operand is small and became a field of the node.
  Input input(const std::string& param, const ir::Operand& operand, Node* node) {
    Input out;
    out.param = param;
    const ir::Op* producer = operand.value != nullptr ? operand.value->producer : nullptr;
    if (operand.value != nullptr) out.name = operand.value->name;
    if (const ir::Literal* literal = operand.constant()) {
      if (node != nullptr &&
          (!literal->type.is_tensor() || (!literal->blob && literal_size(literal) < kSmallest))) {
        node->fields.emplace_back(param, text_of(*literal));
        return {};
      }
      out.constant = constant(literal, producer, param, node);
    } else if (producer != nullptr && is_expression(*producer)) {
      out.constant = expression(*producer, operand.value);
    } else if (operand.value != nullptr) {
      if (auto it = made_by_.find(operand.value); it != made_by_.end())
        std::tie(out.producer, out.output) = it->second;
      else if (auto inner = block_inputs_.find(operand.value); inner != block_inputs_.end())
        out.name = inner->second;
    }
    return out;
  }

  int constant(const ir::Literal* literal, const ir::Op* producer, const std::string& param,
               const Node* node) {
    auto [it, fresh] = constants_.try_emplace(literal, static_cast<int>(unit_.constants.size()));
    if (!fresh) return it->second;
    Constant c;
    c.name = producer != nullptr && !producer->outputs.empty()
                 ? producer->output()->name
                 : (node != nullptr ? node->name + "." : std::string()) + param;
    c.storage = std::string(dtype_name(literal->type.dtype));
    c.dims = literal->type.dims;
    c.bytes = static_cast<uint64_t>(storage_bytes(literal->type.dtype, literal_size(literal)));
    c.missing = !literal->tensor.valid();
    c.values = [literal]() -> Result<Tensor> {
      if (!literal->tensor.valid()) return input_error("its values are missing");
      return literal->tensor;
    };
    bool bytes = literal->tensor.valid() && literal->type.dtype != DType::kString;
    c.stored = [literal, bytes] { return bytes ? literal->tensor.bytes() : ByteSpan(); };
    unit_.constants.push_back(std::move(c));
    return it->second;
  }

  int expression(const ir::Op& op, const ir::Value* value) {
    auto [it, fresh] = constants_.try_emplace(value, static_cast<int>(unit_.constants.size()));
    if (!fresh) return it->second;
    Constant c;
    c.name = value->name;
    c.storage = expression_storage(op);
    c.dims = value->type.dims;
    c.bytes = expression_bytes(op);
    c.missing = expression_missing(op);
    c.expression = true;
    size_t index = 0;
    for (size_t i = 0; i < op.outputs.size(); ++i)
      if (op.outputs[i].get() == value) index = i;
    c.values = [&op, opset = opset_, index]() -> Result<Tensor> {
      MLT_ASSIGN(auto values, expand(op, opset));
      if (index >= values.size() || !values[index].tensor.valid())
        return input_error("its values cannot be computed");
      return values[index].tensor;
    };
    c.stored = [] { return ByteSpan(); };
    unit_.constants.push_back(std::move(c));
    return it->second;
  }

  const ir::Function& function_;
  Unit& unit_;
  ops::Opset opset_;
  std::unordered_map<const ir::Value*, std::pair<int, int>> made_by_;
  std::unordered_map<const ir::Value*, std::string> block_inputs_;
  std::unordered_map<const void*, int> constants_;
};

Constant column_constant(const std::string& name, Tensor values) {
  Constant c;
  c.name = name;
  c.storage = std::string(dtype_name(values.dtype()));
  c.dims = values.dims();
  c.bytes = values.dtype() == DType::kString ? 0 : static_cast<uint64_t>(values.nbytes());
  auto shared = std::make_shared<Tensor>(std::move(values));
  c.values = [shared]() -> Result<Tensor> { return *shared; };
  c.stored = [shared] { return shared->dtype() == DType::kString ? ByteSpan() : shared->bytes(); };
  return c;
}

void add_parameters(std::vector<coreml::Parameter> parameters, const std::string& prefix, Node& node,
                    Unit& unit) {
  for (coreml::Parameter& p : parameters) {
    if (p.values.size() < kSmallest) {
      node.fields.emplace_back(p.name, value_text(p.values));
      continue;
    }
    Input input;
    input.param = p.name;
    input.constant = static_cast<int>(unit.constants.size());
    unit.constants.push_back(column_constant(prefix + p.name, std::move(p.values)));
    node.inputs.push_back(std::move(input));
  }
}

double elements(const Dims& dims) {
  double n = 1;
  for (int64_t d : dims) n *= static_cast<double>(std::max<int64_t>(d, 0));
  return n;
}

// Of a layer, from its weights and the extents of its blobs.
Cost layer_cost(const Node& node, const Unit& unit, const Dims& first_input) {
  Cost cost;
  double out = 0, weights = 0, channels = 1;
  for (const Output& output : node.outputs) {
    if (!output.known) return {};
    out += elements(output.dims);
  }
  for (const Input& input : node.inputs) {
    if (input.constant < 0) continue;
    const Constant& c = unit.constants[static_cast<size_t>(input.constant)];
    cost.bytes += static_cast<double>(c.bytes);
    if (c.dims.size() >= 2 && elements(c.dims) > weights)
      weights = elements(c.dims), channels = std::max<double>(1, static_cast<double>(c.dims[0]));
  }
  cost.bytes += 4 * (out + elements(first_input));
  auto field = [&](std::string_view name) {
    for (const auto& [key, value] : node.fields)
      if (key == name) return value;
    return std::string();
  };
  if (node.kind == "convolution" || node.kind == "convolution3d")
    cost.flops = 2 * weights / channels * (field("isDeconvolution") == "true" ? elements(first_input) : out);
  else if (node.kind == "innerProduct" || node.kind == "batchedMatmul")
    cost.flops = 2 * out * weights / channels;
  else if (node.kind == "simpleRecurrent" || node.kind == "gru" || node.kind == "uniDirectionalLSTM" ||
           node.kind == "biDirectionalLSTM") {
    double all = 0;
    for (const Input& input : node.inputs)
      if (input.constant >= 0 && unit.constants[static_cast<size_t>(input.constant)].dims.size() >= 2)
        all += elements(unit.constants[static_cast<size_t>(input.constant)].dims);
    double steps = first_input.size() >= 2 ? static_cast<double>(first_input[0] * first_input[1]) : 1;
    cost.flops = 2 * all * steps;
  } else if (node.kind == "reshape" || node.kind == "flatten" || node.kind == "permute" ||
             node.kind == "transpose" || node.kind == "concat" || node.kind == "copy" ||
             node.kind == "split" || node.kind == "squeeze" || node.kind == "expandDims" ||
             node.kind == "padding" || node.kind == "embedding" || node.kind == "slice") {
    cost.flops = 0;
  } else {
    cost.flops = out;
  }
  return cost;
}

void read_network(const std::shared_ptr<const coreml::Model>& shared, bool shapes, Unit& unit) {
  const coreml::Model& model = *shared;
  Node head;
  head.kind = model.kind_name();
  head.name = "network";
  add_parameters(coreml::body_parameters(model), "", head, unit);
  unit.nodes.push_back(std::move(head));

  std::map<std::string, Dims> blobs;
  if (shapes)
    if (auto lifted = coreml::lift_neural_network(model); lifted.ok()) blobs = std::move(lifted->blobs);

  std::vector<coreml::NnLayer> layers = coreml::nn_layers(model);
  auto parameters = coreml::layer_parameters(model);
  std::vector<coreml::NnWeight> weights = coreml::nn_weights(model);
  std::map<std::string, std::pair<int, int>> producer;
  std::vector<int> open;  // layers around the current one, by depth
  size_t next = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const coreml::NnLayer& layer = layers[i];
    auto at = static_cast<int>(unit.nodes.size());
    Node node;
    node.kind = layer.kind_name;
    node.name = layer.name;
    open.resize(static_cast<size_t>(layer.depth), -1);
    node.parent = open.empty() ? -1 : open.back();
    open.push_back(at);
    Dims first;
    for (size_t k = 0; k < layer.inputs.size(); ++k) {
      Input input;
      input.param = std::to_string(k);
      input.name = layer.inputs[k];
      if (auto it = producer.find(input.name); it != producer.end())
        std::tie(input.producer, input.output) = it->second;
      if (k == 0)
        if (auto it = blobs.find(input.name); it != blobs.end()) first = it->second;
      node.inputs.push_back(std::move(input));
    }
    for (size_t k = 0; k < layer.outputs.size(); ++k) {
      Output output{layer.outputs[k], "", {}, false};
      if (auto it = blobs.find(layer.outputs[k]); it != blobs.end()) {
        output.dims = it->second;
        output.known = true;
        output.type = dims_text(it->second);
      }
      node.outputs.push_back(std::move(output));
      producer[layer.outputs[k]] = {at, static_cast<int>(k)};
    }
    if (i < parameters.size()) add_parameters(std::move(parameters[i]), layer.name + ".", node, unit);
    // Weights come in the order of the layers.
    for (; next < weights.size() && weights[next].layer == layer.name; ++next) {
      Constant c;
      c.name = weights[next].name;
      c.storage = weights[next].storage;
      c.dims = weights[next].dims;
      c.bytes = weights[next].bytes;
      c.values = [shared, next] { return coreml::nn_weight_values(*shared, next); };
      c.stored = [] { return ByteSpan(); };
      Input input;
      size_t skip = layer.name.size() + 1;
      input.param = c.name.size() > skip ? c.name.substr(skip) : c.name;
      input.constant = static_cast<int>(unit.constants.size());
      unit.constants.push_back(std::move(c));
      node.inputs.push_back(std::move(input));
    }
    node.cost = layer_cost(node, unit, first);
    unit.nodes.push_back(std::move(node));
  }
}

using ModelPtr = std::shared_ptr<const coreml::Model>;
ModelPtr lent(const coreml::Model& model) { return {std::shared_ptr<void>(), &model}; }

void add_program(const ir::Program& program, const std::string& place, std::vector<Unit>& out) {
  for (const auto& function : program.functions) {
    Unit unit;
    unit.kind = "mlProgram";
    unit.place = place;
    if (program.functions.size() > 1)
      unit.place += (place.empty() ? "" : ", ") + ("function " + function->name);
    ProgramReader(*function, unit).read();
    out.push_back(std::move(unit));
  }
}

// `program`: of this model; null when it has none, or lies in a pipeline within a pipeline.
void add_model(const ModelPtr& model, const CompiledModel* compiled, const ir::Program* program,
               const std::vector<std::unique_ptr<ir::Program>>* stages, const std::string& place, bool shapes,
               int depth, std::vector<Unit>& out) {
  if (program != nullptr) return add_program(*program, place, out);
  Unit unit;
  unit.place = place;
  unit.kind = model->kind_name();
  if (coreml::is_neural_network(model->kind())) {
    if (compiled != nullptr && compiled->network_error) unit.unread = compiled->network_error->to_string();
    read_network(model, shapes, unit);
  } else if (model->kind() == coreml::ModelKind::kMlProgram) {
    unit.unread = "its program is not read";
  } else if (!coreml::is_pipeline(model->kind())) {
    Node node;
    node.kind = unit.kind;
    node.name = unit.kind;
    add_parameters(coreml::body_parameters(*model), "", node, unit);
    unit.nodes.push_back(std::move(node));
  }
  if (!coreml::is_pipeline(model->kind())) out.push_back(std::move(unit));
  if (depth > 16) return;
  auto child_place = [&](size_t i) { return (place.empty() ? "stage " : place + ".") + std::to_string(i); };
  auto child_program = [&](size_t i) {
    return stages != nullptr && i < stages->size() ? (*stages)[i].get() : nullptr;
  };
  if (compiled != nullptr && !compiled->children.empty()) {
    for (size_t i = 0; i < compiled->children.size(); ++i)
      add_model(lent(compiled->children[i].model), &compiled->children[i], child_program(i), nullptr,
                child_place(i), shapes, depth + 1, out);
  } else {
    for (size_t i = 0; i < model->child_count(); ++i)
      add_model(std::make_shared<coreml::Model>(model->child(i)), nullptr, child_program(i), nullptr,
                child_place(i), shapes, depth + 1, out);
  }
}

}  // namespace

std::vector<Unit> units_of(const Subject& subject, bool shapes) {
  std::vector<Unit> out;
  const CompiledModel* compiled = subject.opened.compiled ? &*subject.opened.compiled : nullptr;
  bool pipeline = coreml::is_pipeline(subject.opened.model.kind());
  const ir::Program* program = pipeline || subject.programs.empty() ? nullptr : subject.programs[0].get();
  add_model(lent(subject.opened.model), compiled, program, pipeline ? &subject.programs : nullptr, "", shapes,
            0, out);
  return out;
}

std::string value_text(const Tensor& tensor) {
  if (!tensor.valid()) return "missing";
  constexpr int64_t kMost = 64;
  std::vector<std::string> parts;
  int64_t shown = std::min(tensor.size(), kMost);
  if (tensor.dtype() == DType::kString) {
    for (int64_t i = 0; i < shown; ++i)
      parts.push_back("\"" + tensor.strings()[static_cast<size_t>(i)] + "\"");
  } else if (tensor.dtype() == DType::kBool) {
    for (int64_t i = 0; i < shown; ++i) parts.emplace_back(tensor.data<bool>()[i] ? "true" : "false");
  } else {
    bool whole = !is_float(tensor.dtype());
    // fp16 and fp32 by their own shortest digits.
    bool single = dtype_bits(tensor.dtype()) <= 32;
    if (tensor.size() > kMost * 16) return fmt::format("{} values", tensor.size());
    if (whole)
      for (int64_t v : to_ints(tensor)) parts.push_back(std::to_string(v));
    else
      for (double v : to_doubles(tensor))
        parts.push_back(single ? fmt::format("{}", static_cast<float>(v)) : fmt::format("{}", v));
    parts.resize(std::min(parts.size(), static_cast<size_t>(shown)));
  }
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  if (tensor.size() > shown) text += fmt::format(", ... ({} values)", tensor.size());
  return tensor.rank() == 0 || (tensor.size() == 1 && tensor.rank() == 1) ? text : "[" + text + "]";
}

}  // namespace mlt::inspect
