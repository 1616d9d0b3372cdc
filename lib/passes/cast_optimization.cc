// cast(cast(x, a), b) -> cast(x, b) where the inner cast loses nothing; casts to x's own type vanish.
#include "lib/passes/pattern.h"

namespace mlt::passes {
namespace {

bool lossless(DType from, DType to) {
  if (from == to || from == DType::kBool) return true;
  if (is_float(from)) return is_float(to) && dtype_bits(to) >= dtype_bits(from) && from != DType::kBF16;
  if (!is_integer(from)) return false;
  if (is_integer(to)) return dtype_bits(to) > dtype_bits(from) || (dtype_bits(to) == dtype_bits(from) && is_signed_integer(from) == is_signed_integer(to));
  int mantissa = to == DType::kF32 ? 24 : to == DType::kF16 ? 11 : 0;
  return dtype_bits(from) <= mantissa;
}

}  // namespace

Result<size_t> cast_optimization(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    if (op.kind != "cast") return {};
    V x = op.input("x");
    if (x == nullptr) return {};
    DType to = op.output()->type.dtype;
    if (x->type.dtype == to) {
      if (r.free({&op, x->producer})) r.bypass(op.output(), x, {&op});
      return {};
    }
    ir::Op* inner = producer(x, "cast");
    if (inner == nullptr || inner->input("x") == nullptr || !r.free({&op, inner})) return {};
    V source = inner->input("x");
    // Integers that float32 rounds lie beyond float16 anyway.
    bool through = source->type.dtype == DType::kI32 && x->type.dtype == DType::kF32 && to == DType::kF16;
    if (!through && !lossless(source->type.dtype, x->type.dtype)) return {};
    if (source->type.dtype == to) {
      r.bypass(op.output(), source, {&op, inner});
      return {};
    }
    ops::OpBuilder b = r.before(op);
    V fresh = b.op("cast", {{"x", source}, {"dtype", b.string(dtype_name(to))}});
    MLT_TRY(b.status());
    r.replace(op.output(), fresh, {&op, inner});
    return {};
  });
}

}  // namespace mlt::passes
