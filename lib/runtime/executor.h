// Runs one function of a program. For every set of input shapes there is a plan, made once and cached: shapes are
// inferred op by op, what is constant is folded, neighbouring ops are fused, each remaining op gets the first kernel
// of its ordered list that does not refuse (the op table's reference evaluation is the last), and every value gets its
// place in one arena by liveness. Values whose shape depends on data, lists, and the blocks of cond and while_loop are
// evaluated one op at a time beside the arena.
//
// Floats are held and computed in float32 whatever their declared type; with strict_fp16 every op that declares
// float16 outputs has them rounded, and nothing is fused.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/ir/graph.h"
#include "lib/ops/call.h"

namespace mlt {

class PackedForms;

// Products with constant weights on operands rounded to bfloat16: never, where the processor is faster at it than in
// float32, or anywhere. Sums stay float32; weights of few bits stay as they are.
enum class Bf16 : uint8_t { kNever, kFast, kAlways };
inline std::optional<Bf16> bf16_from_name(std::string_view name) {
  return name == "never" ? std::optional(Bf16::kNever) : name == "fast" ? std::optional(Bf16::kFast) : name == "always" ? std::optional(Bf16::kAlways) : std::nullopt;
}

struct ExecOptions {
  bool fuse = true;
  bool fast_kernels = true;   // false: the op table's reference evaluation only
  bool strict_fp16 = false;
  Bf16 bf16 = Bf16::kNever;
  bool keep_all = false;      // every op's outputs stay readable: nothing fused, nothing overwritten
  // Activations of a plan, and what one op makes, may not take more than this: kResource, with the op and the size.
  // 0: the memory of the machine.
  size_t max_bytes = 0;
  std::shared_ptr<PackedForms> packed{};  // prepared weights of earlier runs; only for fast kernels with fusion
  int64_t max_iterations = int64_t{1} << 20;  // of one while_loop; more are taken for a loop that never ends: kResource
};

// What a program keeps between predictions: one tensor per state, in the compute type.
using StateTensors = std::map<std::string, Tensor>;

// One executed step, for profilers, dumps and --explain.
struct StepInfo {
  std::string name, kind;           // of the op that names the step's result
  std::vector<std::string> fused;   // kinds of the ops merged into it, in order; at least {kind}
  std::string kernel;               // "gemm 8x48", "reference", ...
  std::vector<std::string> refused; // "kernel: reason" for each faster candidate
  std::vector<ir::Type> input_types, output_types;
  std::vector<std::string> output_names;
  const ir::Op* op = nullptr;
  std::vector<StepInfo> parts;  // of a step that is several operations one behind the other: these, without a kernel
};

struct PlanInfo {
  std::vector<StepInfo> steps;
  size_t arena_bytes = 0, scratch_bytes = 0, packed_bytes = 0;
  size_t folded_ops = 0;
};

// Called after every step with its outputs (valid during the call) and the time it took.
using StepObserver = std::function<void(const StepInfo& info, const std::vector<const Tensor*>& outputs, double seconds)>;

class Executor {
 public:
  // Does not copy the function; `owner` keeps it alive.
  static Result<std::unique_ptr<Executor>> create(const ir::Function& function, std::shared_ptr<const void> owner, ExecOptions options = {});
  ~Executor();

  // One tensor for every input that is not a state, in the function's input order; element types are converted to the
  // input's. kInput when a shape does not fit the declared type. The result has one value for each output of the
  // function's body, in compute types.
  Result<std::vector<ops::RtValue>> run(const std::vector<Tensor>& inputs, StateTensors* state = nullptr, const StepObserver* observer = nullptr);

  // The same, results written into `outputs`: one tensor of as many elements for every output of the body, of any element
  // type; those that are not valid() are not wanted. Outputs may overlap inputs, which then change. Large ones may be made in
  // place: after a failure their contents are undefined. With the shapes of the run before, inputs of the declared element
  // type or float32, and outputs in float32, float16 or the type they are computed in, nothing is allocated unless an op
  // is evaluated beside the arena, or a large input or output lies elsewhere than in the run before. kUnsupported when a
  // wanted output is no array of numbers.
  Status run_into(std::span<const Tensor> inputs, std::span<Tensor> outputs, StateTensors* state = nullptr);

  // Makes (or finds) the plan for these input shapes.
  Result<PlanInfo> plan(const std::vector<Dims>& input_dims);
  // What the last run used; null before the first.
  const PlanInfo* last_plan() const;
  // What the function keeps, by name: types of tensors.
  std::map<std::string, ir::Type> state_types() const;
  // Zero-filled states of the function.
  Result<StateTensors> initial_state() const;
  // In strict mode: "function main: op conv_3 (conv): 12 of 512 values overflow float16" of the last run, in the order in
  // which they came up, each op once, the first hundred; otherwise empty.
  std::vector<std::string> precision_findings() const;

 private:
  struct Impl;
  explicit Executor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlt
