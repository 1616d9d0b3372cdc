// Inference and evaluation of the operations that cut out or write regions; their rows are in tensor_transformation.cc.
#pragma once
#include "lib/ops/eval_util.h"

namespace mlt::ops {

Result<Types> infer_slice_by_index(Call& call);
Status eval_slice_by_index(Call& call);
Result<Types> infer_slice_by_size(Call& call);
Status eval_slice_by_size(Call& call);
Result<Types> infer_slice_update(Call& call);
Status eval_slice_update(Call& call);
Result<Types> infer_sliding_windows(Call& call);
Status eval_sliding_windows(Call& call);

}  // namespace mlt::ops
