// The classifier's output op. It only infers: the executor makes the label and the dictionary.
#include "lib/ops/eval_util.h"
#include "lib/ops/families.h"

namespace mlt::ops {
namespace {

Result<Types> infer_classify(Call& call) {
  const ir::Type& classes = call.type("classes");
  const ir::Type& label = classes.params[0];
  if (!label.is_tensor() || (label.dtype != DType::kString && label.dtype != DType::kI64))
    return input_error("classes must be a list of string or int64, not " + classes.to_string());
  const ir::Type& probabilities = call.type("probabilities");
  if (probabilities.is_static()) {
    MLT_ASSIGN(int64_t count, element_count(probabilities.dims));
    ListValue list = call.list("classes");
    int64_t length = list ? static_cast<int64_t>(list->size()) : classes.length;
    if (length >= 0 && length != count)
      return input_error(std::to_string(length) + " classes for " + std::to_string(count) + " probabilities");
  }
  ir::Type key = ir::Type::tensor(label.dtype);
  return Types{key, ir::Type::dict(key, ir::Type::tensor(DType::kF64))};
}

constexpr OpDef kOps[] = {
    {.name = "classify", .signature = "probabilities: fp32, classes: const list -> label, probabilities_by_label", .infer = infer_classify,
     .exactness = Exactness::kExact, .doc = "The label of the largest probability, and a dictionary of all of them."},
};

}  // namespace

std::span<const OpDef> classify_ops() { return kOps; }

}  // namespace mlt::ops
