// A program as text, parsed, planned and run twice: with the fast kernels and without, on a state that is kept.
#include <cstdint>

#include "lib/ir/text.h"
#include "lib/ir/verify.h"
#include "lib/runtime/executor.h"

using namespace mlt;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto parsed = ir::parse({reinterpret_cast<const char*>(data), size}, {});
  if (!parsed.ok() || !ir::verify(**parsed).empty()) return 0;
  std::shared_ptr<ir::Program> program = std::move(*parsed);
  for (const auto& function : program->functions) {
    std::vector<Tensor> inputs;
    bool small = true;
    for (const auto& input : function->inputs) {
      if (input->type.is_state()) continue;
      Dims dims = input->type.dims;
      for (int64_t& d : dims)
        if (d < 0) d = 2;
      auto count = element_count(dims);
      small = small && input->type.is_tensor() && count.ok() && *count <= 1 << 16 && input->type.dtype != DType::kString;
      if (small) inputs.push_back(Tensor::zeros(compute_dtype(input->type.dtype), dims));
    }
    if (!small) continue;
    for (bool fast : {true, false}) {
      ExecOptions options;
      options.fast_kernels = fast;
      options.strict_fp16 = !fast;
      options.max_bytes = size_t{1} << 20;
      options.max_iterations = 100;  // a loop that does not end is no finding
      auto executor = Executor::create(*function, program, options);
      if (!executor.ok()) break;
      auto state = (*executor)->initial_state();
      if (state.ok()) (void)(*executor)->run(inputs, &*state);
    }
  }
  return 0;
}
