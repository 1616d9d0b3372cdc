// Inference and evaluation of the tensor operations that order or search elements; their rows are in
// tensor_operation.cc.
#pragma once
#include "lib/ops/eval_util.h"

namespace mlt::ops {

Result<Types> infer_argsort(Call& call);
Status eval_argsort(Call& call);
Result<Types> infer_topk(Call& call);
Status eval_topk(Call& call);
Result<Types> infer_non_zero(Call& call);
Status eval_non_zero(Call& call);
Result<Types> infer_nms(Call& call);
Status eval_nms(Call& call);

}  // namespace mlt::ops
