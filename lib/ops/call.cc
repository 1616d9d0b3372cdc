#include "lib/ops/call.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>

#include "lib/tensor/deferred.h"

namespace mlt::ops {
namespace {

const ir::Type kScalar = ir::Type::tensor(DType::kF32);
const Tensor kEmpty = Tensor::zeros(DType::kF32, {0});

// Numbers of a default such as "-1", "1e-5" or "[1, 1]".
std::vector<double> default_numbers(std::string_view text) {
  std::vector<double> numbers;
  std::string copy(text);
  for (char& c : copy)
    if (c == '[' || c == ']' || c == ',') c = ' ';
  const char* at = copy.c_str();
  for (char* end = nullptr;; at = end) {
    double number = std::strtod(at, &end);
    if (end == at) return numbers;
    numbers.push_back(number);
  }
}

bool kind_fits(const Param& param, const ir::Type& type) {
  if (param.kind == "any") return true;
  if (param.kind == "list") return type.kind == ir::Type::Kind::kList;
  if (param.kind == "state") return type.is_state();
  if (param.kind == "dict") return type.kind == ir::Type::Kind::kDict;
  return type.is_tensor();
}

}  // namespace

const Binding* Call::find(std::string_view param) const {
  for (const Binding& b : bindings_)
    if (b.param->name == param) return b.items.empty() && !b.param->variadic ? nullptr : &b;
  return nullptr;
}

size_t Call::count(std::string_view param) const {
  const Binding* b = find(param);
  return b ? b->items.size() : 0;
}

const ir::Type& Call::type(std::string_view param, size_t i) {
  const Binding* b = find(param);
  if (b == nullptr || i >= b->items.size()) {
    fail("parameter \"" + std::string(param) + "\" is missing");
    return kScalar;
  }
  return b->items[i].type;
}

const Tensor* Call::value(std::string_view param, size_t i) const {
  const Binding* b = find(param);
  if (b == nullptr || i >= b->items.size()) return nullptr;
  return item_value(b->items[i]);
}

const Tensor* Call::item_value(const Item& item) const {
  Tensor& tensor = item.value.tensor;
  if (!tensor.valid()) return nullptr;
  if (!def().raw_inputs) tensor = to_compute(tensor);
  return &tensor;
}

const Tensor& Call::tensor(std::string_view param, size_t i) {
  const Tensor* found = value(param, i);
  if (found != nullptr) return *found;
  fail("parameter \"" + std::string(param) + "\" has no value");
  return kEmpty;
}

ListValue Call::list(std::string_view param) const {
  const Binding* b = find(param);
  return b == nullptr || b->items.empty() ? nullptr : b->items[0].value.list;
}

const Tensor* Call::single(std::string_view param) {
  const Tensor* found = value(param);
  if (found == nullptr || found->dtype() == DType::kString) return nullptr;
  if (found->size() == 1) return found;
  fail("\"" + std::string(param) + "\" must be a single number");
  return nullptr;
}

std::string_view Call::default_text(std::string_view param) const {
  const Param* p = info_.param(param);
  return p == nullptr ? std::string_view{} : p->default_text;
}

bool Call::known(std::string_view param) const { return value(param) != nullptr || (!has(param) && !default_text(param).empty()); }

int64_t Call::i64(std::string_view param) {
  if (const Tensor* t = single(param)) return to_ints(*t)[0];
  std::string_view text = default_text(param);
  if (!has(param) && !text.empty()) {
    auto numbers = default_numbers(text);
    if (!numbers.empty()) return static_cast<int64_t>(numbers[0]);
  }
  fail("parameter \"" + std::string(param) + "\" must be a known integer");
  return 0;
}

double Call::f64(std::string_view param) {
  if (const Tensor* t = single(param)) return to_doubles(*t)[0];
  std::string_view text = default_text(param);
  if (!has(param) && !text.empty()) {
    auto numbers = default_numbers(text);
    if (!numbers.empty()) return numbers[0];
  }
  fail("parameter \"" + std::string(param) + "\" must be a known number");
  return 0;
}

bool Call::flag(std::string_view param) {
  if (const Tensor* t = single(param)) return to_ints(*t)[0] != 0;
  std::string_view text = default_text(param);
  if (!has(param) && !text.empty()) return text == "true";
  fail("parameter \"" + std::string(param) + "\" must be a known bool");
  return false;
}

std::string Call::str(std::string_view param) {
  const Tensor* t = value(param);
  if (t != nullptr && t->dtype() == DType::kString && t->size() == 1) return t->strings()[0];
  std::string_view text = default_text(param);
  if (!has(param) && text.size() >= 2 && text.front() == '"') return std::string(text.substr(1, text.size() - 2));
  fail("parameter \"" + std::string(param) + "\" must be a known string");
  return {};
}

std::vector<int64_t> Call::ints(std::string_view param) {
  const Tensor* t = value(param);
  if (t != nullptr && t->dtype() != DType::kString) return to_ints(*t);
  std::string_view text = default_text(param);
  if (!has(param) && !text.empty()) {
    std::vector<int64_t> values;
    for (double number : default_numbers(text)) values.push_back(static_cast<int64_t>(number));
    return values;
  }
  fail("parameter \"" + std::string(param) + "\" must be known integers");
  return {};
}

std::vector<float> Call::floats(std::string_view param) {
  const Tensor* t = value(param);
  if (t != nullptr && t->dtype() != DType::kString) return to_floats(*t);
  std::string_view text = default_text(param);
  if (!has(param) && !text.empty()) {
    std::vector<float> values;
    for (double number : default_numbers(text)) values.push_back(static_cast<float>(number));
    return values;
  }
  fail("parameter \"" + std::string(param) + "\" must be known numbers");
  return {};
}

void Call::fail(std::string message) {
  if (!error_) error_ = input_error(std::move(message));
}

void Call::bind(std::string_view param, std::vector<Item> items) {
  const Param* p = info_.param(param);
  if (p == nullptr) {
    fail("op \"" + std::string(def().name) + "\" has no parameter \"" + std::string(param) + "\"");
    return;
  }
  bindings_.push_back(Binding{p, std::move(items)});
}

Status Call::check_bindings() {
  if (error_) return *error_;
  std::optional<DType> domain[26];
  for (const Param& param : info_.params) {
    const Binding* b = find(param.name);
    if (b == nullptr) {
      if (!param.optional) return input_error("required parameter \"" + std::string(param.name) + "\" is missing");
      continue;
    }
    if (!param.variadic && b->items.size() != 1)
      return input_error("parameter \"" + std::string(param.name) + "\" takes one value, " + std::to_string(b->items.size()) + " given");
    for (const Item& item : b->items) {
      if (!kind_fits(param, item.type))
        return input_error("parameter \"" + std::string(param.name) + "\" cannot be " + item.type.to_string());
      if (param.kind != "tensor") continue;
      if (std::find(param.dtypes.begin(), param.dtypes.end(), item.type.dtype) == param.dtypes.end())
        return input_error("parameter \"" + std::string(param.name) + "\" cannot have element type " + std::string(dtype_name(item.type.dtype)));
      if (param.domain != 0) {
        auto& seen = domain[param.domain - 'A'];
        if (seen && *seen != item.type.dtype)
          return input_error("parameter \"" + std::string(param.name) + "\" is " + std::string(dtype_name(item.type.dtype)) +
                             " where other parameters of the same type domain are " + std::string(dtype_name(*seen)));
        seen = item.type.dtype;
      }
    }
  }
  return {};
}

void Call::allocate_outputs() {
  outputs_.resize(out_types_.size());
  for (size_t i = 0; i < out_types_.size(); ++i) {
    const ir::Type& type = out_types_[i];
    if (!type.is_static()) continue;
    DType dtype = compute_dtype(type.dtype);
    Tensor& given = outputs_[i].tensor;
    if (!given.valid() || !given.writable() || given.dtype() != dtype || given.dims() != type.dims)
      given = Tensor::uninitialized(dtype, type.dims);
  }
}

Status infer(Call& call) {
  MLT_TRY(call.check_bindings());
  auto types = call.def().infer(call);
  if (call.error()) return *call.error();
  if (!types) return std::move(types).error();
  for (const ir::Type& type : *types)
    if (type.is_static()) MLT_TRY(element_count(type.dims));
  call.out_types() = std::move(*types);
  return {};
}

Status evaluate(Call& call) {
  if (call.out_types().empty()) MLT_TRY(infer(call));
  if (call.def().eval == nullptr) return unsupported_error("op \"" + std::string(call.def().name) + "\" cannot be evaluated on its own");
  try {
    call.allocate_outputs();
    // Nothing to compute; and no evaluation has to think of an empty tensor with one huge extent.
    const auto& types = call.out_types();
    bool empty = std::all_of(types.begin(), types.end(), [](const ir::Type& type) {
      return type.is_static() && std::find(type.dims.begin(), type.dims.end(), 0) != type.dims.end();
    });
    if (empty) return {};
    Status status = call.def().eval(call);
    if (call.error()) return *call.error();
    return status;
  } catch (const std::bad_alloc&) {
    return resource_error("not enough memory to evaluate op \"" + std::string(call.def().name) + "\"");
  }
}

Result<Call> bind_call(const ir::Op& op, Opset opset, const ValueOf& value_of, const TypeOf& type_of) {
  const OpInfo* info = find_op(op.kind, opset);
  if (info == nullptr) return unsupported_error("op \"" + op.kind + "\" is not known in opset " + std::string(opset_token(opset)));
  Call call(*info, &op);
  auto literal_item = [](const ir::Literal& literal) {
    Item item{literal.type, {}};
    item.value.tensor = literal.tensor;
    return item;
  };
  for (const ir::Arg& arg : op.args) {
    std::vector<Item> items;
    for (const ir::Operand& operand : arg.operands) {
      if (operand.literal) {
        items.push_back(literal_item(*operand.literal));
        continue;
      }
      Item item{type_of ? type_of(*operand.value) : operand.value->type, {}};
      if (value_of) item.value = value_of(*operand.value);
      if (!item.value.known()) {
        const ir::Literal* literal = operand.value->constant();
        if (literal != nullptr) item = literal_item(*literal);
      }
      items.push_back(std::move(item));
    }
    // A parameter given as an empty tuple counts as absent.
    call.bind(arg.name, std::move(items));
  }
  for (const auto& [name, literal] : op.attributes)
    if (name != "name" && op.find(name) == nullptr && info->param(name) != nullptr) call.bind(name, {literal_item(*literal)});
  if (call.error()) return *call.error();
  return call;
}

Result<std::vector<ir::Type>> infer_types(const ir::Op& op, Opset opset) {
  MLT_ASSIGN(Call call, bind_call(op, opset, {}));
  MLT_TRY(infer(call));
  return std::move(call.out_types());
}

namespace {

// Large constants from files are rearranged when they are written, not here.
std::optional<Tensor> fold_later(const ir::Op& op, const ir::Type& type) {
  const ir::Operand* x = op.operand("x");
  const Tensor* t = x ? x->constant_tensor() : nullptr;
  if (t == nullptr || !waits_in_file(*t) || !type.is_static() || type.dtype != t->dtype()) return std::nullopt;
  if (op.kind == "reshape" || op.kind == "expand_dims" || op.kind == "squeeze") {
    auto count = element_count(type.dims);
    if (count && *count == t->size()) return t->reshaped(type.dims);
  }
  if (op.kind == "transpose" && t->rank() == 2 && (dtype_bits(t->dtype()) == 32 || dtype_bits(t->dtype()) == 16)) {
    const ir::Operand* perm = op.operand("perm");
    const Tensor* order = perm ? perm->constant_tensor() : nullptr;
    if (order && order->size() == 2 && is_integer(order->dtype()) && (to_ints(*order)[0] + 2) % 2 == 1) return transposed_matrix(*t);
  }
  return std::nullopt;
}

}  // namespace

Result<std::optional<std::vector<Tensor>>> fold(const ir::Op& op, Opset opset, int64_t max_elements) {
  using Folded = std::optional<std::vector<Tensor>>;
  if (op.is_const() || !op.blocks.empty()) return Folded{};
  MLT_ASSIGN(Call call, bind_call(op, opset, {}));
  if (call.def().eval == nullptr || call.def().exactness == Exactness::kRandom) return Folded{};
  bool any = false;
  for (const Binding& b : call.bindings())
    for (const Item& item : b.items) {
      if (!item.value.tensor.valid() && !(call.def().reads_types_only && item.type.is_static())) return Folded{};
      any = true;
    }
  if (!any) return Folded{};
  MLT_TRY(infer(call));
  for (const ir::Type& type : call.out_types()) {
    if (!type.is_tensor()) return Folded{};
    if (!type.is_static()) continue;
    MLT_ASSIGN(int64_t count, element_count(type.dims));
    if (count > max_elements) return Folded{};
  }
  if (call.out_types().size() == 1) {
    if (auto later = fold_later(op, call.out_types()[0])) return Folded{std::vector<Tensor>{std::move(*later)}};
  }
  MLT_TRY(evaluate(call));
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < call.outputs().size(); ++i) {
    const Tensor& tensor = call.outputs()[i].tensor;
    if (!tensor.valid()) return Folded{};
    outputs.push_back(convert(tensor, call.out_types()[i].dtype));
  }
  return Folded{std::move(outputs)};
}

}  // namespace mlt::ops
