// Reading and writing states. They only infer: the executor holds the states.
#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"

namespace mlt::ops {
namespace {

Result<Types> infer_read_state(Call& call) {
  const ir::Type& held = call.type("input").held();
  if (!held.is_tensor()) return input_error("a state must hold a tensor, not " + held.to_string());
  return Types{held};
}

Result<Types> infer_update_state(Call& call) {
  const ir::Type &held = call.type("state").held(), &value = call.type("value");
  if (!compatible(held, value)) return input_error("a state of " + held.to_string() + " cannot hold " + value.to_string());
  return Types{value};
}

// What coreml_update_state is stored as, followed by a read_state where its result is used.
Result<Types> infer_write_state(Call& call) {
  const ir::Type &held = call.type("input").held(), &data = call.type("data");
  if (!compatible(held, data)) return input_error("a state of " + held.to_string() + " cannot hold " + data.to_string());
  return Types{};
}

constexpr OpDef kOps[] = {
    {.name = "coreml_update_state", .since = Opset::kCoreML8, .signature = "state: state, value: T -> output",
     .domains = "T: fp16 fp32 int8 int16 int32 uint8 uint16 bool", .infer = infer_update_state, .exactness = Exactness::kExact,
     .doc = "Writes value into the state and gives what the state then holds."},
    {.name = "read_state", .since = Opset::kCoreML8, .signature = "input: state -> output", .infer = infer_read_state, .exactness = Exactness::kExact,
     .doc = "What a state holds."},
    {.name = "write_state", .since = Opset::kCoreML8, .signature = "input: state, data: T ->",
     .domains = "T: fp16 fp32 int8 int16 int32 uint8 uint16 bool", .infer = infer_write_state, .exactness = Exactness::kExact,
     .doc = "Makes the state hold data."},
};

}  // namespace

std::span<const OpDef> state_ops() { return kOps; }

}  // namespace mlt::ops
