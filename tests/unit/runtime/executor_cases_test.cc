// The op cases of tests/ops, run by the executor: with fast kernels on every instruction set of this machine, with the
// reference evaluation inside plans, and with everything kept.
#include <doctest/doctest.h>

#include <cstdlib>

#include "lib/kernels/target.h"
#include "lib/runtime/executor.h"
#include "tests/unit/ops/op_case.h"

using namespace mlt;
using namespace mlt::test;

namespace {

// A case's program through an Executor. Cases with inputs that are no tensors cannot be given to a function.
std::optional<Result<std::vector<CaseValue>>> run_case(const OpCase& one, ExecOptions options, Open open) {
  auto program = program_of(one, open);
  if (!program) return Result<std::vector<CaseValue>>(program.error());
  std::shared_ptr<ir::Program> shared = std::move(program->program);
  const ir::Function* main = shared->find("main");
  if (main == nullptr) return std::nullopt;
  std::vector<Tensor> inputs;
  for (const auto& input : main->inputs) {
    if (input->type.is_state()) continue;
    if (!input->type.is_tensor()) return std::nullopt;
    auto it = program->inputs.find(input->name);
    if (it == program->inputs.end() || !it->second.tensor.valid()) return std::nullopt;
    inputs.push_back(it->second.tensor);
  }
  for (const ir::Value* output : main->body->outputs)
    if (!output->type.is_tensor() && output->type.kind != ir::Type::Kind::kList) return std::nullopt;
  auto executor = Executor::create(*main, shared, options);
  if (!executor) return Result<std::vector<CaseValue>>(executor.error());
  auto state = (*executor)->initial_state();
  if (!state) return std::nullopt;
  auto results = (*executor)->run(inputs, &*state);
  if (!results) return Result<std::vector<CaseValue>>(results.error());
  std::vector<CaseValue> values;
  for (size_t i = 0; i < results->size(); ++i) {
    CaseValue value;
    value.type = main->body->outputs[i]->type;
    value.value = std::move((*results)[i]);
    if (value.value.tensor.valid()) {
      value.type = ir::Type::tensor(value.type.dtype, value.value.tensor.dims());
      value.value.tensor = convert(value.value.tensor, value.type.dtype);
    }
    values.push_back(std::move(value));
  }
  return Result<std::vector<CaseValue>>(std::move(values));
}

void run_all(const std::string& backend_name, ExecOptions options, Open open = Open::kNothing) {
  const char* filter = std::getenv("MLT_OPCASES");
  auto cases = load_op_cases(filter ? filter : "");
  REQUIRE(cases.ok());
  int run = 0;
  options.max_iterations = 1000;
  for (const OpCase& one : *cases) {
    bool has_values = true;
    for (const auto& input : one.inputs)
      for (const CaseValue& value : input.values) has_values = has_values && value.value.known();
    if (!has_values || (open != Open::kNothing && (!one.mil.empty() || depends_on_declaration(one)))) continue;
    auto direct = run_case(one, options, open);
    if (!direct) continue;
    ++run;
    if (one.error) {
      // Whoever notices may say it in other words.
      CHECK_MESSAGE(!direct->ok(), one.place(), " [", backend_name, "]: expected the error ", *one.error);
      continue;
    }
    CaseBackend backend{backend_name, [&](const OpCase&) { return *direct; }};
    std::string wrong = check_case(one, backend);
    CHECK_MESSAGE(wrong.empty(), one.place(), " [", backend_name, "]: ", wrong);
  }
  CHECK(run > 100);
}

}  // namespace

TEST_CASE("op cases by the executor's kernels on every instruction set") {
  for (const std::string& target : kernel_targets()) {
    select_kernel_target(target);
    run_all("kernels " + target, {});
  }
  select_kernel_target("");
}

TEST_CASE("op cases by reference evaluation inside plans") { run_all("plan reference", {.fast_kernels = false}); }

TEST_CASE("op cases with every value kept") { run_all("keep all", {.keep_all = true}); }

TEST_CASE("op cases by plans made from programs whose extents are open") {
  for (Open open : {Open::kFirst, Open::kLast, Open::kAll}) {
    run_all("kernels, " + open_name(open), {}, open);
    run_all("plan reference, " + open_name(open), {.fast_kernels = false}, open);
  }
}
