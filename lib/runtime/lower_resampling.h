// What a resizing op does to the last two axes, as tables. Internal to lib/runtime.
#pragma once
#include "lib/kernels/resize.h"
#include "lib/runtime/plan.h"

namespace mlt {

struct Resampling {
  bool linear;  // or nearest
  ResizeAxis y, x;
};
// Nothing, with the reason in l.refusal, when the op does something else.
std::optional<Resampling> resampling(Lowering& l);

}  // namespace mlt
