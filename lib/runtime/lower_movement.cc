// Ops that only move or rename elements.
#include <cstring>

#include "lib/ops/infer_util.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

// The same bytes under other extents.
std::optional<Lowered> lower_view(Lowering& l) {
  int x = l.in("x");
  if (l.is_constant(x)) return l.refuse("constant");
  if (!l.type(x).is_tensor() || l.type(x).dtype == DType::kString) return l.refuse("element type");
  Lowered lowered;
  lowered.kernel = "view";
  lowered.in_place = {x};
  lowered.is_view = true;
  return lowered;
}

constexpr LowerRow kRows[] = {
    {"reshape", "view", lower_view},  {"expand_dims", "view", lower_view}, {"squeeze", "view", lower_view},
    {"identity", "view", lower_view}, {"flatten2d", "view", lower_view},
};

}  // namespace

std::span<const LowerRow> movement_lowerings() { return kRows; }

}  // namespace mlt
