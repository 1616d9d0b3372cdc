// Removes ops whose result is their input: identity, a reshape to the same extents, adding zero, multiplying by one, a
// transpose that moves nothing, a slice of everything, padding by nothing.
#include <algorithm>

#include "lib/passes/pattern.h"

namespace mlt::passes {
namespace {

bool all_equal(const std::optional<std::vector<int64_t>>& values, int64_t wanted) {
  return values && std::all_of(values->begin(), values->end(), [&](int64_t v) { return v == wanted; });
}

bool is_uniform(const Tensor* t, double wanted) {
  if (t == nullptr || t->size() == 0 || t->size() > (1 << 16) || t->dtype() == DType::kString || t->dtype() == DType::kBool) return false;
  std::vector<double> values = to_doubles(*t);
  return std::all_of(values.begin(), values.end(), [&](double v) { return v == wanted; });
}

// The input that passes through unchanged, or null.
V passed_through(const ir::Op& op) {
  if (op.outputs.size() != 1) return nullptr;
  const ir::Type& type = op.outputs[0]->type;
  const std::string& k = op.kind;
  V x = op.input("x");
  auto same_type = [&](V v) { return v != nullptr && v->type == type && type.is_tensor(); };
  if (k == "identity") return x;
  if (k == "concat" || k == "add" || k == "sub" || k == "mul" || k == "real_div" || k == "pow") {
    if (k == "concat") {
      const ir::Arg* values = op.find("values");
      return values && values->operands.size() == 1 && same_type(values->operands[0].value) ? values->operands[0].value : nullptr;
    }
    const Tensor *cx = constant(op, "x"), *cy = constant(op, "y");
    double neutral = k == "add" || k == "sub" ? 0 : 1;
    if (cy && is_uniform(cy, neutral) && same_type(x)) return x;
    if (cx && (k == "add" || k == "mul") && is_uniform(cx, neutral) && same_type(op.input("y"))) return op.input("y");
    return nullptr;
  }
  if (!same_type(x)) return nullptr;
  if (k == "cast") return x;
  if (k == "reshape" || k == "squeeze" || k == "expand_dims" || k == "flatten2d") return type.is_static() ? x : nullptr;
  if (k == "transpose") {
    auto perm = constant_ints(op, "perm");
    if (!perm) return nullptr;
    int64_t rank = x->type.rank();
    for (size_t i = 0; i < perm->size(); ++i)
      if (((*perm)[i] + rank) % rank != static_cast<int64_t>(i)) return nullptr;
    return x;
  }
  if (k == "tile") return all_equal(constant_ints(op, "reps"), 1) ? x : nullptr;
  if (k == "pad") return all_equal(constant_ints(op, "pad"), 0) ? x : nullptr;
  if (k == "slice_by_index") {
    // Same static extents and no step other than 1: nothing is left out.
    if (!type.is_static() || (op.find("squeeze_mask") && !all_equal(constant_ints(op, "squeeze_mask"), 0))) return nullptr;
    if (op.find("stride") && !all_equal(constant_ints(op, "stride"), 1)) return nullptr;
    return x;
  }
  if (k == "slice_by_size") return type.is_static() ? x : nullptr;
  if (k == "linear_activation") return uniform(op, "alpha") == 1.0f && uniform(op, "beta") == 0.0f ? x : nullptr;
  if (k == "upsample_nearest_neighbor" || k == "upsample_bilinear" || k == "resize_bilinear") {
    return type.is_static() && k == "upsample_nearest_neighbor" ? x : nullptr;
  }
  return nullptr;
}

}  // namespace

Result<size_t> noop_elimination(ir::Function& function, Context& context) {
  Rewriter r(function, context);
  return r.run([&](ir::Op& op) -> Status {
    V x = passed_through(op);
    if (x == nullptr || !r.free({&op, x->producer})) return {};
    r.bypass(op.output(), x, {&op});
    return {};
  });
}

}  // namespace mlt::passes
