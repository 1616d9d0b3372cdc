#include "lib/runtime/executor.h"

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <list>
#include <new>

#include "lib/base/cpu.h"
#include "lib/kernels/target.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

// Plans kept for different input shapes; the one not used for longest goes first.
constexpr size_t kMaxPlans = 16;

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
    plans.emplace_front(dims, std::move(*plan));
    if (plans.size() > kMaxPlans) plans.pop_back();
    return plans.front().second.get();
  }

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
  if (options.max_bytes == 0) options.max_bytes = available_memory();
  if (options.max_bytes == 0) options.max_bytes = std::numeric_limits<size_t>::max();
  auto impl = std::unique_ptr<Impl>(new Impl{function, std::move(owner), *opset, options, {}, {}, {}});
  return std::unique_ptr<Executor>(new Executor(std::move(impl)));
}

Result<std::vector<ops::RtValue>> Executor::run(const std::vector<Tensor>& inputs, StateTensors* state, const StepObserver* observer) try {
  std::vector<Dims> dims;
  for (const Tensor& input : inputs) dims.push_back(input.dims());
  MLT_ASSIGN(Plan * plan, impl_->find_plan(dims));
  impl_->findings = plan->findings;

  for (size_t i = 0; i < inputs.size(); ++i) {
    int id = plan->input_ids[i];
    ir::Type& type = plan->values[static_cast<size_t>(id)].type;
    Tensor& place = plan->regs[static_cast<size_t>(id)].tensor;
    if (type.dtype == DType::kString || inputs[i].dtype() == DType::kString) {
      if (type.dtype != inputs[i].dtype()) return input_error("input " + std::to_string(i) + ": strings and numbers do not mix");
      place = inputs[i];
      continue;
    }
    if (!place.valid() && !plan->lends(i)) continue;  // nothing reads this input
    Tensor value = inputs[i];
    // A float16 input has float16's precision whatever the caller holds it in.
    if (value.dtype() != type.dtype && !(value.dtype() == DType::kF32 && type.dtype == DType::kF32)) value = convert(value, type.dtype);
    value = to_compute(value);
    if (plan->lend_input(i, value)) continue;
    std::memcpy(place.mutable_bytes(), value.bytes().data(), value.bytes().size());
  }

  RunContext context{plan->regs, plan->scratch(), state, &impl_->findings};
  std::vector<const Tensor*> outs;
  for (Step& step : plan->steps) {
    auto start = observer != nullptr ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point();
    if (step.run) {
      Status status = step.run(context);
      if (!status.ok()) return std::move(status).error().in_path("op " + step.info.name + " (" + step.info.kind + ")").in_path("function " + impl_->function.name);
    }
    if (impl_->options.strict_fp16) impl_->round_step(step, *plan);
    if (observer != nullptr) {
      double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      outs.clear();
      for (int id : step.outs) outs.push_back(&plan->regs[static_cast<size_t>(id)].tensor);
      (*observer)(step.info, outs, seconds);
    }
  }

  std::vector<ops::RtValue> results;
  for (int id : plan->output_ids) {
    const PlanValue& value = plan->values[static_cast<size_t>(id)];
    ops::RtValue result = plan->regs[static_cast<size_t>(id)];
    if (result.tensor.valid()) result.tensor = plan->result_copy(results.size(), result.tensor);
    if (value.type.is_tensor() && value.type.dtype == DType::kF16 && result.tensor.valid()) round_to_half_precision(result.tensor);
    results.push_back(std::move(result));
  }
  plan->release_inputs();
  return results;
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
