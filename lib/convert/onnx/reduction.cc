// Reductions along axes.
#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/convert/onnx/helpers.h"

namespace mlt::foreign::onnx {
namespace {

struct Reduction {
  V x;
  std::vector<int64_t> axes;
  bool keep;
  bool noop;  // nothing is reduced
};

Reduction read(Ctx& c, bool axes_input_since_13 = false) {
  Reduction r;
  r.x = c.in(0);
  r.keep = c.i64("keepdims", 1) != 0;
  bool noop_when_empty = c.i64("noop_with_empty_axes", 0) != 0;
  std::optional<std::vector<int64_t>> axes;
  bool as_input = c.version() >= (axes_input_since_13 ? 13 : 18);
  if (as_input && c.opt(1)) axes = c.known(1, "axes");
  else axes = c.ints("axes");
  bool empty = !axes || axes->empty();
  r.noop = empty && noop_when_empty;
  int64_t rank = Lower::rank(r.x);
  if (empty) {
    if (!r.noop)
      for (int64_t i = 0; i < rank; ++i) r.axes.push_back(i);
  } else {
    for (int64_t a : *axes) r.axes.push_back(Lower::axis_of(a, rank));
  }
  return r;
}

void emit(Ctx& c, V y) { c.out(0, y, c.type(0)); }

// The result over no elements at all.
bool over_nothing(Ctx& c, const Reduction& r, double value) {
  const Dims& dims = Lower::dims(r.x);
  bool nothing = false;
  for (int64_t a : r.axes) nothing = nothing || dims[static_cast<size_t>(a)] == 0;
  if (!nothing) return false;
  Dims out;
  for (size_t i = 0; i < dims.size(); ++i) {
    bool reduced = std::find(r.axes.begin(), r.axes.end(), static_cast<int64_t>(i)) != r.axes.end();
    if (!reduced) out.push_back(dims[i]);
    else if (r.keep) out.push_back(1);
  }
  emit(c, c.l.filled(out, Lower::dtype(r.x), value));
  return true;
}

constexpr double kInf = std::numeric_limits<float>::infinity();

void reduce(Ctx& c, std::string_view op, double nothing, bool axes_since_13 = false, bool float_only = false) {
  Reduction r = read(c, axes_since_13);
  if (Lower::dtype(r.x) == DType::kI32 && std::abs(nothing) == kInf) nothing = nothing > 0 ? INT32_MAX : INT32_MIN;
  if (Lower::dtype(r.x) == DType::kBool) nothing = nothing > 0 ? 1 : 0;
  if (over_nothing(c, r, nothing)) return;
  bool flag = Lower::dtype(r.x) == DType::kBool, ints = Lower::dtype(r.x) == DType::kI32;
  V x = flag ? c.l.cast(r.x, DType::kI32) : float_only && ints ? c.l.cast(r.x, DType::kF32) : r.x;
  V y = r.noop || r.axes.empty() ? x : c.l.reduce(op, x, r.axes, r.keep);
  if (flag) y = c.l.cast(y, DType::kBool);
  if (float_only && ints) y = c.l.cast(y, DType::kI32);
  emit(c, y);
}

// With nothing to reduce, the inner function still applies: |x|, x*x, log(x) ...
void with_inner(Ctx& c, std::string_view op, double nothing, V (*inner)(Lower&, V)) {
  Reduction r = read(c);
  if (over_nothing(c, r, nothing)) return;
  V x = r.x;
  bool ints = Lower::dtype(x) == DType::kI32;
  if (ints) x = c.l.cast(x, DType::kF32);
  V y = r.noop || r.axes.empty() ? inner(c.l, x) : c.l.reduce(op, x, r.axes, r.keep);
  emit(c, ints ? c.l.cast(y, DType::kI32) : y);
}

void sum(Ctx& c) { reduce(c, "reduce_sum", 0, true); }
void mean(Ctx& c) { reduce(c, "reduce_mean", std::numeric_limits<double>::quiet_NaN(), false, true); }
void prod(Ctx& c) { reduce(c, "reduce_prod", 1); }
void maximum(Ctx& c) { reduce(c, "reduce_max", -kInf); }
void minimum(Ctx& c) { reduce(c, "reduce_min", kInf); }
void l1(Ctx& c) { with_inner(c, "reduce_l1_norm", 0, [](Lower& l, V x) { return l.unary("abs", x); }); }
void l2(Ctx& c) { with_inner(c, "reduce_l2_norm", 0, [](Lower& l, V x) { return l.unary("abs", x); }); }
void log_sum(Ctx& c) { with_inner(c, "reduce_log_sum", -kInf, natural_log); }
void log_sum_exp(Ctx& c) { with_inner(c, "reduce_log_sum_exp", -kInf, [](Lower&, V x) { return x; }); }
void sum_square(Ctx& c) { with_inner(c, "reduce_sum_square", 0, [](Lower& l, V x) { return l.unary("square", x); }); }

constexpr Row kRows[] = {
    {"ReduceL1", l1}, {"ReduceL2", l2}, {"ReduceLogSum", log_sum}, {"ReduceLogSumExp", log_sum_exp}, {"ReduceMax", maximum},
    {"ReduceMean", mean}, {"ReduceMin", minimum}, {"ReduceProd", prod}, {"ReduceSum", sum}, {"ReduceSumSquare", sum_square},
};

}  // namespace

std::span<const Row> families::reduction() { return kRows; }

}  // namespace mlt::foreign::onnx
