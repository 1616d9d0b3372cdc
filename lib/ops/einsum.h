// einsum, of the family "linear".
#pragma once
#include "lib/ops/call.h"

namespace mlt::ops {

Result<std::vector<ir::Type>> infer_einsum(Call& call);
Status eval_einsum(Call& call);

}  // namespace mlt::ops
