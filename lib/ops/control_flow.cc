// Branches, loops, selection, and MIL's lists. cond and while_loop only infer: the executor runs their blocks.
#include <algorithm>
#include <cstring>

#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"

namespace mlt::ops {
namespace {

// Lists grow on demand; a longer one is an attack or a mistake.
constexpr int64_t kLongestList = 1 << 20;

Result<Types> block_outputs(Call& call, size_t block) {
  const ir::Op* op = call.op();
  if (op == nullptr || op->blocks.size() != 2) return input_error("the op must have two blocks");
  Types types;
  for (const ir::Value* value : op->blocks[block]->outputs) types.push_back(value->type);
  return types;
}

// What two places that meet have in common: extents that differ become unknown.
ir::Type merged(ir::Type a, const ir::Type& b) {
  if (!a.is_tensor()) return a;
  if (!b.ranked) return b;
  for (size_t i = 0; a.ranked && i < a.dims.size() && a.dims.size() == b.dims.size(); ++i)
    if (a.dims[i] != b.dims[i]) a.dims[i] = ir::kUnknown;
  return a;
}

Result<Types> infer_cond(Call& call) {
  MLT_ASSIGN(Types yes, block_outputs(call, 0));
  MLT_ASSIGN(Types no, block_outputs(call, 1));
  if (yes.size() != no.size())
    return input_error("one branch has " + std::to_string(yes.size()) + " outputs, the other " + std::to_string(no.size()));
  for (size_t i = 0; i < yes.size(); ++i) {
    if (!compatible(yes[i], no[i]))
      return input_error("output " + std::to_string(i) + " is " + yes[i].to_string() + " in one branch and " + no[i].to_string() + " in the other");
    yes[i] = merged(std::move(yes[i]), no[i]);
  }
  return yes;
}

Result<Types> infer_while(Call& call) {
  MLT_ASSIGN(Types condition, block_outputs(call, 0));
  MLT_ASSIGN(Types body, block_outputs(call, 1));
  size_t n = call.count("loop_vars");
  if (condition.size() != 1 || !condition[0].is_tensor() || condition[0].dtype != DType::kBool)
    return input_error("the condition block must give one bool");
  if (body.size() != n || call.op()->blocks[0]->inputs.size() != n || call.op()->blocks[1]->inputs.size() != n)
    return input_error("both blocks must take the " + std::to_string(n) + " loop_vars, and the body return as many");
  for (size_t i = 0; i < n; ++i) {
    const ir::Type& start = call.type("loop_vars", i);
    bool same_kind = start.kind == body[i].kind && (!start.is_tensor() || (start.dtype == body[i].dtype && start.dims.size() == body[i].dims.size()));
    if (!same_kind && start.ranked && body[i].ranked)
      return input_error("loop variable " + std::to_string(i) + " starts as " + start.to_string() + " and becomes " + body[i].to_string());
    body[i] = merged(std::move(body[i]), start);
  }
  return body;
}

// select

Result<Types> infer_select(Call& call) {
  DType dtype = call.type("a").dtype;
  if (!is_ranked(call, "cond") || !is_ranked(call, "a") || !is_ranked(call, "b")) return Types{ir::Type::unranked(dtype)};
  MLT_ASSIGN(Dims dims, broadcast(dims_of(call, "a"), dims_of(call, "b")));
  MLT_ASSIGN(dims, broadcast(dims, dims_of(call, "cond")));
  return Types{ir::Type::tensor(dtype, std::move(dims))};
}

template <typename T>
void select_into(const Tensor& cond, const Tensor& a, const Tensor& b, Tensor& y) {
  BroadcastPlan plan = plan_broadcast(y.dims(), {&cond.dims(), &a.dims(), &b.dims()});
  const uint8_t* c = cond.data<uint8_t>();
  const T *p = a.data<T>(), *q = b.data<T>();
  T* out = y.mutable_data<T>();
  for_each_row<3>(plan, [&](int64_t first, const std::array<int64_t, 3>& at) {
    const std::vector<int64_t>& step = plan.row_strides;
    for (int64_t i = 0; i < plan.row; ++i)
      out[first + i] = c[at[0] + i * step[0]] != 0 ? p[at[1] + i * step[1]] : q[at[2] + i * step[2]];
  });
}

Status eval_select(Call& call) {
  MLT_ASSIGN(Types types, infer_select(call));
  const Tensor &cond = call.tensor("cond"), &a = call.tensor("a"), &b = call.tensor("b");
  Tensor& y = output(call, 0, types[0].dims);
  if (call.failed() || y.size() == 0) return {};
  if (element_bytes(y) == 1) select_into<uint8_t>(cond, a, b, y);
  else select_into<uint32_t>(cond, a, b, y);
  return {};
}

// Lists. An element that was never written is an invalid Tensor, and reads as zeros.

const ir::Type& element_type(Call& call) { return call.type("ls").params[0]; }

Result<Types> infer_make_list(Call& call) {
  std::string name = call.str("dtype");
  if (call.failed()) return Types{};
  auto dtype = dtype_from_name(name);
  if (!dtype || (*dtype != DType::kBool && *dtype != DType::kI32 && *dtype != DType::kF16 && *dtype != DType::kF32))
    return input_error("a list cannot hold \"" + name + "\"");
  Dims dims;
  for (size_t i = 0; i < call.count("elem_shape"); ++i) {
    const Tensor* extent = call.value("elem_shape", i);
    if (extent == nullptr) return input_error("elem_shape must be constant");
    // A name instead of a number is an extent known at run time only.
    if (extent->dtype() == DType::kString) dims.insert(dims.end(), static_cast<size_t>(extent->size()), ir::kUnknown);
    else
      for (int64_t d : to_ints(*extent)) dims.push_back(d < 0 ? ir::kUnknown : d);
  }
  bool dynamic = call.flag("dynamic_length");
  int64_t length = !dynamic && call.known("init_length") ? call.i64("init_length") : ir::kUnknown;
  if (!dynamic && call.known("init_length") && (length < 0 || length > kLongestList))
    return input_error("a list cannot have " + std::to_string(length) + " elements");
  return Types{ir::Type::list(ir::Type::tensor(*dtype, std::move(dims)), length)};
}

Status eval_make_list(Call& call) {
  int64_t length = call.i64("init_length");
  if (length < 0 || length > kLongestList) return input_error("a list cannot have " + std::to_string(length) + " elements");
  call.set_out_list(0, std::make_shared<std::vector<Tensor>>(static_cast<size_t>(length)));
  return {};
}

Result<Types> infer_list_length(Call& call) {
  call.type("ls");
  return Types{ir::Type::tensor(DType::kI32)};
}
Status eval_list_length(Call& call) {
  ListValue list = call.list("ls");
  if (!list) return input_error("the list is not known");
  output(call, 0, {}).mutable_data<int32_t>()[0] = static_cast<int32_t>(list->size());
  return {};
}

Result<Types> infer_list_read(Call& call) { return Types{element_type(call)}; }

// The element at an index; zeros of the element type where nothing was written yet.
Result<Tensor> list_element(Call& call, const std::vector<Tensor>& list, int64_t index) {
  if (index < 0 || index >= static_cast<int64_t>(list.size()))
    return input_error("index " + std::to_string(index) + " is out of range for a list of " + std::to_string(list.size()));
  const Tensor& element = list[static_cast<size_t>(index)];
  const ir::Type& type = element_type(call);
  DType dtype = compute_dtype(type.dtype);
  if (element.valid()) return convert(element, dtype);
  if (!type.is_static()) return input_error("list element " + std::to_string(index) + " was never written and its shape is not known");
  MLT_TRY(element_count(type.dims));
  return Tensor::zeros(dtype, type.dims);
}

Status eval_list_read(Call& call) {
  ListValue list = call.list("ls");
  if (!list) return input_error("the list is not known");
  MLT_ASSIGN(Tensor element, list_element(call, *list, call.i64("index")));
  if (call.failed()) return {};
  return copy_to_output(call, 0, element, element.dims());
}

Result<Types> infer_list_write(Call& call) {
  if (!compatible(element_type(call), call.type("value")))
    return input_error("a list of " + element_type(call).to_string() + " cannot hold " + call.type("value").to_string());
  return Types{call.type("ls")};
}

// Puts an element into a copy of the list (elements share their bytes); a list of unknown length grows.
Status put(Call& call, std::vector<Tensor>& list, int64_t index, Tensor element) {
  bool fixed = call.type("ls").length >= 0;
  if (index < 0 || index >= kLongestList || (fixed && index >= static_cast<int64_t>(list.size())))
    return input_error("index " + std::to_string(index) + " is out of range for a list of " + std::to_string(list.size()));
  if (index >= static_cast<int64_t>(list.size())) list.resize(static_cast<size_t>(index) + 1);
  list[static_cast<size_t>(index)] = std::move(element);
  return {};
}

Status eval_list_write(Call& call) {
  ListValue list = call.list("ls");
  if (!list) return input_error("the list is not known");
  auto written = std::make_shared<std::vector<Tensor>>(*list);
  const Tensor& value = call.tensor("value");
  int64_t index = call.i64("index");
  if (call.failed()) return {};
  MLT_TRY(put(call, *written, index, value.clone()));  // the operand's bytes may be an arena's
  call.set_out_list(0, std::move(written));
  return {};
}

Result<Types> infer_list_gather(Call& call) {
  ir::Type type = element_type(call);
  if (!type.is_tensor() || !type.ranked) return Types{ir::Type::unranked(type.dtype)};
  const Dims& indices = dims_of(call, "indices");
  if (is_ranked(call, "indices") && indices.size() != 1) return input_error("indices must have rank 1");
  type.dims.insert(type.dims.begin(), is_ranked(call, "indices") ? indices[0] : ir::kUnknown);
  return Types{std::move(type)};
}

Status eval_list_gather(Call& call) {
  ListValue list = call.list("ls");
  if (!list) return input_error("the list is not known");
  std::vector<int64_t> indices = call.ints("indices");
  if (call.failed()) return {};
  std::vector<Tensor> elements;
  for (int64_t index : indices) {
    MLT_ASSIGN(Tensor element, list_element(call, *list, index));
    if (!elements.empty() && element.dims() != elements[0].dims())
      return input_error("list elements of shapes " + dims_text(elements[0].dims()) + " and " + dims_text(element.dims()) + " cannot be joined");
    elements.push_back(std::move(element));
  }
  Dims dims = elements.empty() ? element_type(call).dims : elements[0].dims();
  dims.insert(dims.begin(), static_cast<int64_t>(indices.size()));
  if (elements.empty()) std::replace(dims.begin(), dims.end(), ir::kUnknown, int64_t{0});
  Tensor& y = output(call, 0, dims);
  if (call.failed()) return {};
  std::byte* to = y.mutable_bytes();
  for (const Tensor& element : elements) {
    if (element.nbytes() > 0) std::memcpy(to, element.bytes().data(), static_cast<size_t>(element.nbytes()));
    to += element.nbytes();
  }
  return {};
}

Result<Types> infer_list_scatter(Call& call) {
  ir::Type element = call.type("value");
  if (!is_ranked(call, "value") || !is_ranked(call, "indices")) return Types{call.type("ls")};
  const Dims &value = dims_of(call, "value"), &indices = dims_of(call, "indices");
  if (value.empty() || indices.size() != 1 || (value[0] >= 0 && indices[0] >= 0 && value[0] != indices[0]))
    return input_error("cannot scatter values of shape " + dims_text(value) + " to indices of shape " + dims_text(indices));
  element.dims = Dims(value.begin() + 1, value.end());
  if (!compatible(element_type(call), element))
    return input_error("a list of " + element_type(call).to_string() + " cannot hold " + element.to_string());
  return Types{call.type("ls")};
}

Status eval_list_scatter(Call& call) {
  MLT_TRY(infer_list_scatter(call));
  ListValue list = call.list("ls");
  if (!list) return input_error("the list is not known");
  auto written = std::make_shared<std::vector<Tensor>>(*list);
  std::vector<int64_t> indices = call.ints("indices");
  const Tensor& value = call.tensor("value");
  if (call.failed()) return {};
  Dims dims(value.dims().begin() + 1, value.dims().end());
  const std::byte* from = value.bytes().data();
  for (int64_t index : indices) {
    Tensor element = Tensor::uninitialized(value.dtype(), dims);
    if (element.nbytes() > 0) std::memcpy(element.mutable_bytes(), from, static_cast<size_t>(element.nbytes()));
    from += element.nbytes();
    MLT_TRY(put(call, *written, index, std::move(element)));
  }
  call.set_out_list(0, std::move(written));
  return {};
}

constexpr OpDef kOps[] = {
    {.name = "cond", .signature = "pred: bool -> *", .infer = infer_cond, .doc = "The outputs of the first block if pred is true, else those of the second."},
    {.name = "list_gather", .signature = "ls: list, indices: int32 -> output", .infer = infer_list_gather, .eval = eval_list_gather,
     .exactness = Exactness::kExact, .doc = "Elements of a list, stacked."},
    {.name = "list_length", .signature = "ls: list -> output", .infer = infer_list_length, .eval = eval_list_length, .exactness = Exactness::kExact,
     .doc = "The number of elements of a list."},
    {.name = "list_read", .signature = "ls: list, index: int32 -> output", .infer = infer_list_read, .eval = eval_list_read,
     .exactness = Exactness::kExact, .doc = "One element of a list."},
    {.name = "list_scatter", .signature = "ls: list, indices: int32, value: T -> output", .domains = "T: fp16 fp32 bool int32",
     .infer = infer_list_scatter, .eval = eval_list_scatter, .exactness = Exactness::kExact, .doc = "The list with the slices of value written at indices."},
    {.name = "list_write", .signature = "ls: list, index: int32, value: T -> output", .domains = "T: fp16 fp32 bool int32", .infer = infer_list_write,
     .eval = eval_list_write, .exactness = Exactness::kExact, .doc = "The list with one element written; a list of open length grows as needed."},
    {.name = "make_list",
     .signature = "init_length: int32 = 1, dynamic_length: const bool = true, elem_shape*: const int32|string, dtype: const string = \"fp32\" -> output",
     .infer = infer_make_list, .eval = eval_make_list, .exactness = Exactness::kExact, .doc = "A list of tensors of one shape."},
    {.name = "select", .signature = "cond: bool, a: T, b: T -> output", .domains = "T: fp16 fp32 bool int32", .infer = infer_select, .eval = eval_select,
     .exactness = Exactness::kExact, .doc = "a where cond is true, b elsewhere, with broadcasting."},
    {.name = "while_loop", .signature = "loop_vars*: any -> *", .infer = infer_while,
     .doc = "Runs the second block on the loop variables as long as the first gives true."},
};

}  // namespace

std::span<const OpDef> control_flow_ops() { return kOps; }

}  // namespace mlt::ops
