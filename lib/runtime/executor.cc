#include "lib/runtime/executor.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <list>
#include <new>

#include "lib/base/cpu.h"
#include "lib/base/float_mode.h"
#include "lib/base/mapped.h"
#include "lib/kernels/convert.h"
#include "lib/kernels/target.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

// Plans kept for different input shapes; the one not used for longest goes first.
constexpr size_t kMaxPlans = 16;

struct Borrowed {
  Plan& plan;
  ~Borrowed() { plan.release(); }
};

bool overlap(ByteSpan a, ByteSpan b) {
  return !a.empty() && !b.empty() && std::less<>()(a.data(), b.data() + b.size()) && std::less<>()(b.data(), a.data() + a.size());
}
// Whether a result would be written over something that is read, or over another result.
bool overlaps(const Tensor& output, size_t index, std::span<const Tensor> inputs, std::span<const Tensor> outputs) {
  for (const Tensor& input : inputs)
    if (input.dtype() != DType::kString && overlap(output.bytes(), input.bytes())) return true;
  for (size_t i = 0; i < outputs.size(); ++i)
    if (i != index && outputs[i].valid() && outputs[i].dtype() != DType::kString && overlap(output.bytes(), outputs[i].bytes())) return true;
  return false;
}

}  // namespace

struct Executor::Impl {
  const ir::Function& function;
  std::shared_ptr<const void> owner;
  ops::Opset opset;
  ExecOptions options;
  std::list<std::pair<std::vector<Dims>, std::unique_ptr<Plan>>> plans;  // most recently used first
  std::vector<PrecisionFinding> findings;
  PreparedConstants prepared{};

  std::vector<const ir::Value*> data_inputs() const {
    std::vector<const ir::Value*> inputs;
    for (const auto& input : function.inputs)
      if (!input->type.is_state()) inputs.push_back(input.get());
    return inputs;
  }

  Result<Plan*> find_plan(const std::vector<Dims>& dims) {
    for (auto it = plans.begin(); it != plans.end(); ++it)
      if (it->first == dims) {
        plans.splice(plans.begin(), plans, it);
        return plans.front().second.get();
      }
    auto inputs = data_inputs();
    if (dims.size() != inputs.size())
      return input_error(std::to_string(inputs.size()) + " inputs expected, " + std::to_string(dims.size()) + " given");
    for (size_t i = 0; i < dims.size(); ++i) {
      const ir::Type& type = inputs[i]->type;
      MLT_TRY(element_count(dims[i]));
      if (!ir::compatible(type, ir::Type::tensor(type.dtype, dims[i])))
        return input_error("input \"" + inputs[i]->name + "\": expected " + dims_text(type.dims) + ", got " + dims_text(dims[i]));
    }
    auto plan = Plan::build(function, opset, dims, options, &prepared);
    if (!plan) return std::move(plan).error().in_path("function " + function.name);
    if (plans.empty()) forget_files(**plan);
    plans.emplace_front(dims, std::move(*plan));
    if (plans.size() > kMaxPlans) plans.pop_back();
    return plans.front().second.get();
  }

  // Kernels have most weights in forms of their own. What little they read in the model's files is mapped again, while
  // looking at small constants has mapped all that lies around them.
  static void forget_files(const Plan& plan) {
    ByteSpan file;
    for (const PlanValue& value : plan.values) {
      const Tensor& t = value.constant;
      if (!t.valid() || t.dtype() == DType::kString || t.deferred() != nullptr) continue;
      const ByteSpan bytes = t.bytes();
      if (bytes.empty() || (bytes.data() >= file.data() && bytes.data() < file.data() + file.size())) continue;
      const ByteSpan around = mapped_around(bytes);
      if (around.empty()) continue;
      forget_mapped(file = around);
    }
  }

  // The plan for these inputs; the one used last is found without making anything.
  Result<Plan*> plan_of(std::span<const Tensor> inputs) {
    if (!plans.empty() && std::equal(inputs.begin(), inputs.end(), plans.front().first.begin(), plans.front().first.end(),
                                     [](const Tensor& input, const Dims& dims) { return input.dims() == dims; }))
      return plans.front().second.get();
    std::vector<Dims> dims;
    for (const Tensor& input : inputs) dims.push_back(input.dims());
    return find_plan(dims);
  }
  Status take_inputs(Plan& plan, std::span<const Tensor> inputs);
  Status run_steps(Plan& plan, StateTensors* state, const StepObserver* observer);
  static void give(const PlanValue& value, const Tensor& made, Tensor& result);

  // Rounds what the step declares as float16, and notes overflow and NaN.
  void round_step(const Step& step, Plan& plan) {
    for (int id : step.outs) {
      const PlanValue& value = plan.values[static_cast<size_t>(id)];
      if (value.type.is_tensor() && value.type.dtype == DType::kF16)
        round_and_note(plan.regs[static_cast<size_t>(id)].tensor, step.info.name, step.info.kind, findings);
    }
  }
};

Executor::Executor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Executor::~Executor() = default;

Result<std::unique_ptr<Executor>> Executor::create(const ir::Function& function, std::shared_ptr<const void> owner, ExecOptions options) {
  // Looked at once: tests choose targets themselves afterwards.
  static const bool cpu_known = cpu_target_override().empty() || select_kernel_target(cpu_target_override());
  if (!cpu_known) return usage_error("MLT_CPU names no instruction set: \"" + cpu_target_override() + "\"", "the best here is " + kernel_targets().front());
  auto opset = ops::opset_from_token(function.opset);
  if (!opset) return unsupported_error("opset \"" + function.opset + "\" is not known");
  // All unknown ops at once.
  std::map<std::string, int> unknown;
  function.for_each_op([&](const ir::Op& op) {
    if (!op.is_const() && ops::find_op(op.kind, *opset) == nullptr) ++unknown[op.kind];
  });
  if (!unknown.empty()) {
    std::string list;
    for (const auto& [kind, count] : unknown) list += (list.empty() ? "" : ", ") + kind + " (" + std::to_string(count) + ")";
    return unsupported_error("ops that cannot be run: " + list).in_path("function " + function.name);
  }
  // Other options change what the same names stand for.
  if (!options.fuse || !options.fast_kernels || options.strict_fp16 || options.keep_all) options.packed = nullptr;
  if (options.max_bytes == 0) options.max_bytes = available_memory();
  if (options.max_bytes == 0) options.max_bytes = std::numeric_limits<size_t>::max();
  auto impl = std::unique_ptr<Impl>(new Impl{function, std::move(owner), *opset, options, {}, {}, {}});
  return std::unique_ptr<Executor>(new Executor(std::move(impl)));
}

Status Executor::Impl::take_inputs(Plan& plan, std::span<const Tensor> inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto id = static_cast<size_t>(plan.input_ids[i]);
    const DType declared = plan.values[id].type.dtype, given = inputs[i].dtype();
    Tensor& place = plan.regs[id].tensor;
    if (declared == DType::kString || given == DType::kString) {
      if (declared != given) return input_error("input " + std::to_string(i) + ": strings and numbers do not mix");
      place = inputs[i];
      continue;
    }
    const bool lends = plan.lends(i);
    if (!place.valid() && !lends) continue;  // nothing reads this input
    if (given == compute_dtype(declared) && declared != DType::kF16) {
      if (lends && plan.lend_input(i, inputs[i])) continue;
      std::memcpy(place.mutable_bytes(), inputs[i].bytes().data(), inputs[i].bytes().size());
      continue;
    }
    if (!lends && given == DType::kF32 && declared == DType::kF16) {
      // A float16 input has float16's precision whatever the caller holds it in.
      round_to_half(inputs[i].data<float>(), place.mutable_data<float>(), inputs[i].size());
      continue;
    }
    if (!lends && given == DType::kF16 && place.dtype() == DType::kF32) {
      half_to_float(inputs[i].data<uint16_t>(), place.mutable_data<float>(), inputs[i].size());
      continue;
    }
    Tensor value = to_compute(given == declared ? inputs[i] : convert(inputs[i], declared));
    if (plan.lend_input(i, value)) continue;
    std::memcpy(place.mutable_bytes(), value.bytes().data(), value.bytes().size());
  }
  return {};
}

Status Executor::Impl::run_steps(Plan& plan, StateTensors* state, const StepObserver* observer) {
  RunContext context{plan.regs, plan.scratch(), state, &findings};
  std::vector<const Tensor*> outs;
  for (Step& step : plan.steps) {
    auto start = observer != nullptr ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    if (step.run) {
      const ZeroDenormals small(step.sums_products);
      Status status = step.run(context);
      if (!status.ok()) return std::move(status).error().in_path("op " + step.info.name + " (" + step.info.kind + ")").in_path("function " + function.name);
    }
    if (options.strict_fp16) round_step(step, plan);
    if (observer != nullptr) {
      double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      outs.clear();
      for (int id : step.outs) outs.push_back(&plan.regs[static_cast<size_t>(id)].tensor);
      (*observer)(step.info, outs, seconds);
    }
  }
  return {};
}

// A result as the caller holds it: the same elements in an element type of his.
void Executor::Impl::give(const PlanValue& value, const Tensor& made, Tensor& result) {
  const bool half = value.type.is_tensor() && value.type.dtype == DType::kF16 && made.dtype() == DType::kF32;
  if (result.mutable_bytes() == made.bytes().data() && !half) return;  // made there
  if (result.dtype() == DType::kF16 && made.dtype() == DType::kF32) {
    float_to_half(made.data<float>(), result.mutable_data<uint16_t>(), made.size());
  } else if (half && result.dtype() == DType::kF32) {
    round_to_half(made.data<float>(), result.mutable_data<float>(), made.size());
  } else {
    const Tensor same = result.dtype() == made.dtype() ? Tensor() : convert(half ? convert(made, DType::kF16) : made, result.dtype());
    std::memcpy(result.mutable_bytes(), (same.valid() ? same : made).bytes().data(), result.bytes().size());
  }
}

Result<std::vector<ops::RtValue>> Executor::run(const std::vector<Tensor>& inputs, StateTensors* state, const StepObserver* observer) try {
  MLT_ASSIGN(Plan * plan, impl_->plan_of(inputs));
  impl_->findings = plan->findings;
  const Borrowed borrowed{*plan};
  MLT_TRY(impl_->take_inputs(*plan, inputs));
  for (size_t i = 0; i < plan->output_ids.size(); ++i)
    if (plan->makes_outside(i)) plan->lend_output(i, plan->result_place(i));
  MLT_TRY(impl_->run_steps(*plan, state, observer));
  std::vector<ops::RtValue> results;
  for (int id : plan->output_ids) {
    const PlanValue& value = plan->values[static_cast<size_t>(id)];
    ops::RtValue result = plan->regs[static_cast<size_t>(id)];
    if (plan->makes_outside(results.size())) {
      result.tensor = plan->result_place(results.size());
    } else if (result.tensor.valid()) {
      result.tensor = plan->result_copy(results.size(), result.tensor);
    }
    if (value.type.is_tensor() && value.type.dtype == DType::kF16 && result.tensor.valid() && result.tensor.dtype() == DType::kF32)
      round_to_half(result.tensor.data<float>(), result.tensor.mutable_data<float>(), result.tensor.size());
    results.push_back(std::move(result));
  }
  return results;
} catch (const std::bad_alloc&) {
  return resource_error("not enough memory").in_path("function " + impl_->function.name);
}

Status Executor::run_into(std::span<const Tensor> inputs, std::span<Tensor> outputs, StateTensors* state) try {
  MLT_ASSIGN(Plan * plan, impl_->plan_of(inputs));
  impl_->findings = plan->findings;
  if (outputs.size() != plan->output_ids.size())
    return usage_error(std::to_string(plan->output_ids.size()) + " outputs expected, " + std::to_string(outputs.size()) + " given");
  const Borrowed borrowed{*plan};
  MLT_TRY(impl_->take_inputs(*plan, inputs));
  for (size_t i = 0; i < outputs.size(); ++i)
    if (plan->makes_outside(i) && outputs[i].valid() && !overlaps(outputs[i], i, inputs, outputs)) plan->lend_output(i, outputs[i]);
  MLT_TRY(impl_->run_steps(*plan, state, nullptr));
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto id = static_cast<size_t>(plan->output_ids[i]);
    const Tensor& made = plan->regs[id].tensor;
    if (!outputs[i].valid()) continue;
    if (!made.valid() || made.dtype() == DType::kString || outputs[i].dtype() == DType::kString)
      return unsupported_error("output " + std::to_string(i) + " is no array of numbers").in_path("function " + impl_->function.name);
    if (made.size() != outputs[i].size())
      return input_error("output " + std::to_string(i) + ": " + dims_text(made.dims()) + " is made, " + dims_text(outputs[i].dims()) + " expected");
    impl_->give(plan->values[id], made, outputs[i]);
  }
  return {};
} catch (const std::bad_alloc&) {
  return resource_error("not enough memory").in_path("function " + impl_->function.name);
}

Result<PlanInfo> Executor::plan(const std::vector<Dims>& input_dims) {
  MLT_ASSIGN(Plan * plan, impl_->find_plan(input_dims));
  return plan->info;
}

const PlanInfo* Executor::last_plan() const { return impl_->plans.empty() ? nullptr : &impl_->plans.front().second->info; }

std::map<std::string, ir::Type> Executor::state_types() const {
  std::map<std::string, ir::Type> types;
  for (const auto& input : impl_->function.inputs)
    if (input->type.is_state()) types.emplace(input->name, input->type.held());
  return types;
}

Result<StateTensors> Executor::initial_state() const {
  StateTensors state;
  for (const auto& input : impl_->function.inputs) {
    if (!input->type.is_state()) continue;
    const ir::Type& held = input->type.held();
    if (!held.is_static()) return input_error("state \"" + input->name + "\" has no fixed shape");
    MLT_TRY(check_bytes({held}, impl_->options.max_bytes).in("state \"" + input->name + "\""));
    state[input->name] = Tensor::zeros(compute_dtype(held.dtype), held.dims);
  }
  return state;
}

std::vector<std::string> Executor::precision_findings() const {
  std::vector<std::string> texts;
  for (const PrecisionFinding& finding : impl_->findings) texts.push_back("function " + impl_->function.name + ": " + finding.text);
  return texts;
}

}  // namespace mlt
