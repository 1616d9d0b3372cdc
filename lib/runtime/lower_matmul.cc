// linear and matmul on the packed matrix kernels.
#include <fmt/core.h>

#include <memory>

#include "lib/base/mapped.h"
#include "lib/base/threads.h"
#include "lib/kernels/bf16.h"
#include "lib/kernels/compact.h"
#include "lib/kernels/gemm.h"
#include "lib/kernels/lowbit.h"
#include "lib/ops/eval_util.h"
#include "lib/ops/infer_util.h"
#include "lib/runtime/plan.h"

namespace mlt {
namespace {

using ops::product;

// From CoreML7 on weights and bias may be of another type than x, int32 among them; the kernels read floats.
Tensor float_constant(Lowering& l, int id) { return convert(l.constant(id), DType::kF32); }

// x [m, k] times packed weights [n, k], with the bias, and what was fused to the node.
template <typename Packed>
Lowered product_of(Lowering& l, std::shared_ptr<Packed> packed, std::string kernel, int x, int bias, int64_t m, int64_t n, int64_t k) {
  Tensor biases = bias >= 0 ? float_constant(l, bias) : Tensor();
  Activation act = l.node().act.value_or(Activation{});
  const int residual = l.node().residual, out = l.out();
  Lowered lowered;
  lowered.kernel = std::string(m == 1 ? "gemv" : "gemm") + kernel;
  lowered.packed = packed->bytes();
  lowered.writes_anywhere = true;
  if (residual >= 0) lowered.in_place = {residual};
  constexpr bool kNeedsScratch = requires { packed->scratch_bytes(m); };
  if constexpr (kNeedsScratch) lowered.scratch = packed->scratch_bytes(m);
  lowered.run = [=](RunContext& c) {
    const float* b = biases.valid() ? biases.data<float>() : nullptr;
    const float* r = residual >= 0 ? c.f32(residual) : nullptr;
    if constexpr (kNeedsScratch) {
      packed->run(m, c.f32(x), k, c.f32_out(out), n, b, act, r, n, c.scratch);
    } else {
      packed->run(m, c.f32(x), k, c.f32_out(out), n, b, act, r, n);
    }
    return Status();
  };
  return lowered;
}

// Weights of few bits as they are stored, [n, k]; nothing when they are none, or the kernels do not take them.
std::optional<Lowered> low_bit_product(Lowering& l, int x, int weight, int bias, int64_t m, int64_t n, int64_t k, int64_t col_stride) {
  auto stored = l.compressed(weight);
  if (stored == nullptr) return std::nullopt;
  if (col_stride != 1 || stored->matrix.n != n || stored->matrix.k != k) return l.refuse("low bit: weights are stored by columns");
  auto packed = l.prepared<PackedLowBit>(weight, "low bit", [&] {
    auto made = PackedLowBit::prepare(stored->matrix, l.packed_name(weight), [&]() -> const LowBitMatrix& { return stored->whole(); });
    forget_mapped(stored->codes.bytes());
    return made;
  });
  if (!packed) return l.refuse(packed.error().message);
  const std::string kernel = std::string(stored->matrix.table != nullptr ? " palette " : (*packed)->bits() == 4 ? " int4 " : " int8 ") + "packed";
  return product_of(l, *packed, kernel, x, bias, m, n, k);
}

std::optional<Lowered> bf16_product(Lowering& l, int x, int weight, int bias, int64_t m, int64_t n, int64_t k, int64_t row_stride, int64_t col_stride) {
  auto packed = l.prepared<PackedBf16>(weight, "bf16 " + std::to_string(n) + " " + std::to_string(k) + " " + std::to_string(row_stride), [&] {
    Tensor stored;
    auto floats = [&]() -> const float* { return (stored = float_constant(l, weight)).data<float>(); };
    return PackedBf16::prepare(n, k, floats, row_stride, col_stride, l.packed_name(weight));
  });
  if (!packed) return l.refuse(packed.error().message);
  return product_of(l, *packed, (*packed)->native() ? " bf16 packed" : " rounded to bf16 packed", x, bias, m, n, k);
}

// A product with a constant matrix, [n, k] through its strides, of m rows.
struct ConstantProduct {
  int x = -1, weight = -1, bias = -1;
  int64_t m = 0, n = 0, k = 0, row_stride = 0, col_stride = 0;
  std::string form(std::string_view method) const {
    return fmt::format("{} {} {} {}", method, n, k, row_stride);
  }
};
using Operands = std::optional<ConstantProduct> (*)(Lowering&);

std::optional<ConstantProduct> linear_operands(Lowering& l) {
  ConstantProduct p{l.in("x"), l.in("weight"), l.in("bias")};
  if (!l.is_float(p.x) || l.dims(p.x).empty()) return l.refuse("not a float tensor");
  if (!l.is_constant(p.weight) || (p.bias >= 0 && !l.is_constant(p.bias))) return l.refuse("weights are not constant");
  const Dims& wd = l.dims(p.weight);
  if (wd.size() != 2) return l.refuse("weights are not of rank 2");
  p.n = wd[0];
  p.k = p.row_stride = wd[1];
  p.col_stride = 1;
  return p;
}

std::optional<ConstantProduct> matmul_operands(Lowering& l) {
  ConstantProduct p{l.in("x"), l.in("y"), l.in("bias")};
  if (!l.is_float(p.x) || !l.is_constant(p.weight)) return l.refuse("right operand is not constant");
  if (l.is_constant(p.x) || l.dims(p.weight).size() != 2 || l.dims(p.x).size() < 2) return l.refuse("right operand is not a matrix");
  if (l.call.flag("transpose_x")) return l.refuse("left operand is transposed");
  const Dims& yd = l.dims(p.weight);
  const bool transposed = l.call.flag("transpose_y");
  p.n = transposed ? yd[0] : yd[1];
  p.k = transposed ? yd[1] : yd[0];
  p.row_stride = transposed ? p.k : 1;
  p.col_stride = transposed ? 1 : p.n;
  return p;
}

bool in_bf16(Lowering& l) { return l.options().bf16 == Bf16::kAlways || (l.options().bf16 == Bf16::kFast && bf16_fast()); }

// One row with float32 weights waits for memory. Where inputs of other shapes make it many, the same weights would be kept
// in two forms.
std::optional<Lowered> compact_product(Lowering& l, const ConstantProduct& p) {
  if (p.m > 1) return l.refuse("more than one row");
  if (l.stored_dtype(p.weight) != DType::kF32 || l.compressed(p.weight) != nullptr) return l.refuse("weights are not stored in float32");
  if (in_bf16(l)) return l.refuse("products in bfloat16");
  const ir::Value* x = l.plan().values[static_cast<size_t>(p.x)].value;
  if (x == nullptr || !x->type.is_static()) return l.refuse("inputs of other shapes may give it more rows");
  auto packed = l.prepared<CompactWeights>(p.weight, p.form("compact"), [&] {
    Tensor stored;
    auto floats = [&]() -> const float* { return (stored = float_constant(l, p.weight)).data<float>(); };
    auto made = CompactWeights::prepare(p.n, p.k, floats, p.row_stride, p.col_stride, l.packed_name(p.weight));
    if (stored.valid() && made) forget_mapped(stored.bytes());
    return made;
  });
  if (!packed) return l.refuse(packed.error().message);
  return product_of(l, *packed, " compact", p.x, p.bias, p.m, p.n, p.k);
}

std::optional<Lowered> packed_product(Lowering& l, const ConstantProduct& p) {
  const int weight = p.weight;
  if (auto lowered = low_bit_product(l, p.x, weight, p.bias, p.m, p.n, p.k, p.col_stride)) return lowered;
  if (in_bf16(l)) return bf16_product(l, p.x, weight, p.bias, p.m, p.n, p.k, p.row_stride, p.col_stride);
  // Float16 weights stay so: few rows wait for memory, and for many the expansion is a small part. The arithmetic is
  // the same.
  const bool half = l.stored_dtype(weight) == DType::kF16;
  auto packed = l.prepared<PackedWeights>(weight, p.form("matrix"), [&] {
    Tensor stored;
    auto halves = [&] { return reinterpret_cast<const uint16_t*>((stored = l.stored_constant(weight)).bytes().data()); };
    auto floats = [&]() -> const float* { return (stored = float_constant(l, weight)).data<float>(); };
    auto made = half ? PackedWeights::prepare_half(p.n, p.k, halves, p.row_stride, p.col_stride, l.packed_name(weight))
                     : PackedWeights::prepare(p.n, p.k, floats, p.row_stride, p.col_stride, l.packed_name(weight));
    // The packed form is read from now on.
    if (stored.valid()) forget_mapped(stored.bytes());
    return made;
  });
  if (!packed) return l.refuse(packed.error().message);
  return product_of(l, *packed, std::string(" packed") + (half ? " float16" : ""), p.x, p.bias, p.m, p.n, p.k);
}

using Product = std::optional<Lowered> (*)(Lowering&, const ConstantProduct&);
template <Operands kOperands, Product kProduct>
std::optional<Lowered> lower_constant(Lowering& l) {
  auto p = kOperands(l);
  if (!p) return std::nullopt;
  const Dims& xd = l.dims(p->x);
  p->m = product(xd, 0, xd.size() - 1);
  if (p->m == 0 || p->n == 0 || p->k == 0) return l.refuse("empty product");
  return kProduct(l, *p);
}

std::optional<Lowered> lower_matmul(Lowering& l) {
  int x = l.in("x"), y = l.in("y"), out = l.out();
  if (!l.is_float(x) || !l.is_float(y)) return l.refuse("not float");
  if (l.in("bias") >= 0 || l.node().act || l.node().residual >= 0) return l.refuse("what follows the product is part of it");
  const Dims &xd = l.dims(x), &yd = l.dims(y), &od = l.dims(out);
  if (xd.size() < 2 || yd.size() < 2) return l.refuse("an operand is a vector");
  if (od.size() - 2 > static_cast<size_t>(kMaxRank)) return l.refuse("too many batch axes");
  bool tx = l.call.flag("transpose_x"), ty = l.call.flag("transpose_y");
  size_t r = od.size();
  Matmul p;
  p.m = od[r - 2];
  p.n = od[r - 1];
  p.k = tx ? xd[xd.size() - 2] : xd[xd.size() - 1];
  if (p.m == 0 || p.n == 0) return l.refuse("empty product");
  p.a_row = tx ? 1 : p.k;
  p.a_col = tx ? p.m : 1;
  p.b_row = ty ? 1 : p.n;
  p.b_col = ty ? p.k : 1;
  p.c_row = p.n;
  p.batch_rank = static_cast<int>(r - 2);
  Dims batch(od.begin(), od.end() - 2), xb(xd.begin(), xd.end() - 2), yb(yd.begin(), yd.end() - 2);
  Dims xs = ops::broadcast_strides(xb, batch), ys = ops::broadcast_strides(yb, batch), os = row_major_strides(batch);
  for (size_t i = 0; i + 2 < r; ++i) {
    p.batch[i] = batch[i];
    p.a_batch[i] = xs[i] * p.m * p.k;
    p.b_batch[i] = ys[i] * p.k * p.n;
    p.c_batch[i] = os[i] * p.m * p.n;
  }
  p.slots = thread_count();
  l.keep_constant(y);
  Lowered lowered;
  lowered.kernel = "gemm";
  lowered.scratch = matmul_scratch_bytes(p);
  lowered.run = [=](RunContext& c) {
    matmul(p, c.f32(x), c.f32(y), c.f32_out(out), c.scratch);
    return Status();
  };
  return lowered;
}

constexpr LowerRow kRows[] = {
    {"linear", "gemv compact", lower_constant<linear_operands, compact_product>},
    {"linear", "gemm packed", lower_constant<linear_operands, packed_product>},
    {"matmul", "gemv compact", lower_constant<matmul_operands, compact_product>},
    {"matmul", "gemm packed", lower_constant<matmul_operands, packed_product>},
    {"matmul", "gemm", lower_matmul},
};

}  // namespace

std::span<const LowerRow> matmul_lowerings() { return kRows; }

}  // namespace mlt
