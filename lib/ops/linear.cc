// linear and matmul; einsum is in einsum.cc.
#include <algorithm>

#include "lib/base/threads.h"
#include "lib/ops/einsum.h"
#include "lib/ops/eval_util.h"
#include "lib/ops/extents.h"
#include "lib/ops/families.h"
#include "lib/ops/infer_util.h"
#include "lib/ops/reference_gemm.h"

namespace mlt::ops {
namespace {

// One matrix product of a batch, all in element offsets.
struct Product {
  int64_t m = 0, n = 0, k = 0;
  int64_t a_row = 0, a_col = 0, b_row = 0, b_col = 0;
};

// Runs one product per batch entry, in integers when both operands are, else in floats.
void run_products(const Product& p, const Tensor& a, const Tensor& b, Tensor& out, const std::vector<int64_t>& a_offsets,
                  const std::vector<int64_t>& b_offsets) {
  int64_t batches = static_cast<int64_t>(a_offsets.size()), size = p.m * p.n;
  auto each = [&](auto&& one) {
    // With few large products the threads share each; with many they take one each (the inner call then runs inline).
    if (batches >= thread_count()) {
      parallel_for(batches, 1 + (int64_t{1} << 15) / (size * p.k + 1), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) one(static_cast<size_t>(i));
      });
    } else {
      for (int64_t i = 0; i < batches; ++i) one(static_cast<size_t>(i));
    }
  };
  if (a.dtype() == DType::kI32 && b.dtype() == DType::kI32 && out.dtype() == DType::kI32) {
    each([&](size_t i) {
      reference_gemm_i32(p.m, p.n, p.k, a.data<int32_t>() + a_offsets[i], p.a_row, p.a_col, b.data<int32_t>() + b_offsets[i],
                         p.b_row, p.b_col, out.mutable_data<int32_t>() + static_cast<int64_t>(i) * size, p.n);
    });
    return;
  }
  Tensor fa = convert(a, DType::kF32), fb = convert(b, DType::kF32);
  Tensor result = out.dtype() == DType::kF32 ? out : Tensor::uninitialized(DType::kF32, out.dims());
  float* to = result.mutable_data<float>();
  each([&](size_t i) {
    reference_gemm(p.m, p.n, p.k, {fa.data<float>() + a_offsets[i], p.a_row, p.a_col}, {fb.data<float>() + b_offsets[i], p.b_row, p.b_col},
                   to + static_cast<int64_t>(i) * size, p.n);
  });
  if (out.dtype() != DType::kF32) {
    Tensor narrowed = convert(result, out.dtype());
    std::copy_n(narrowed.bytes().data(), narrowed.bytes().size(), out.mutable_bytes());
  }
}

Result<Dims> linear_dims(Call& call, const Dims& x, const Dims& weight) {
  if (x.empty()) return input_error("x must have rank 1 or more");
  if (weight.size() != 2) return input_error("weight must have rank 2, not " + std::to_string(weight.size()));
  if (!extents_agree(x.back(), weight[1]))
    return input_error("the last extent of x " + dims_text(x) + " is not that of weight " + dims_text(weight));
  if (call.has("bias")) {
    const Dims& bias = call.type("bias").dims;
    if (bias.size() != 1 || !extents_agree(bias[0], weight[0]))
      return input_error("bias " + dims_text(bias) + " must have one value for each row of weight " + dims_text(weight));
  }
  Dims out = x;
  out.back() = weight[0];
  return out;
}

Result<std::vector<ir::Type>> infer_linear(Call& call) {
  MLT_ASSIGN(Dims out, linear_dims(call, call.type("x").dims, call.type("weight").dims));
  return std::vector<ir::Type>{ir::Type::tensor(call.type("x").dtype, out)};
}

Status eval_linear(Call& call) {
  const Tensor &x = call.tensor("x"), &weight = call.tensor("weight");
  if (call.failed()) return {};
  MLT_ASSIGN(Dims dims, linear_dims(call, x.dims(), weight.dims()));
  int64_t k = weight.dims()[1], n = weight.dims()[0], m = 1;
  for (size_t i = 0; i + 1 < x.dims().size(); ++i) m *= x.dims()[i];
  Tensor& out = output(call, 0, dims);
  run_products({m, n, k, k, 1, 1, k}, x, weight, out, {0}, {0});
  if (!call.has("bias")) return {};
  const Tensor& bias = call.tensor("bias");
  if (call.failed() || bias.size() != n) return call.failed() ? Status() : input_error("bias must have one value for each row of weight");
  if (out.dtype() == DType::kI32) {
    std::vector<int64_t> values = to_ints(bias);
    for (int64_t i = 0; i < m * n; ++i)
      out.mutable_data<int32_t>()[i] = static_cast<int32_t>(static_cast<uint32_t>(out.data<int32_t>()[i]) +
                                                            static_cast<uint32_t>(values[static_cast<size_t>(i % n)]));
  } else {
    std::vector<float> values = to_floats(bias);
    float* to = out.mutable_data<float>();
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) to[i * n + j] += values[static_cast<size_t>(j)];
  }
  return {};
}

// Both operands as batches of matrices: x [batch..., m, k], y [batch..., k, n].
struct MatmulShape {
  int64_t m = 1, n = 1, x_inner = 1, y_inner = 1;
  Dims x_batch, y_batch, batch, out;
};

Result<MatmulShape> matmul_shape(Call& call, const Dims& x, const Dims& y) {
  bool transpose_x = call.flag("transpose_x"), transpose_y = call.flag("transpose_y");
  if (call.failed()) return *call.error();
  if (x.empty() || y.empty()) return input_error("x and y must have rank 1 or more");
  if (x.size() == 1 && transpose_x) return input_error("transpose_x needs x of rank 2 or more");
  MatmulShape s;
  s.x_inner = x.back();
  if (x.size() > 1) {
    s.m = x[x.size() - 2];
    if (transpose_x) std::swap(s.m, s.x_inner);
    s.x_batch.assign(x.begin(), x.end() - 2);
  }
  s.y_inner = y.back();
  if (y.size() > 1) {
    s.n = y.back();
    s.y_inner = y[y.size() - 2];
    if (transpose_y) std::swap(s.n, s.y_inner);
    s.y_batch.assign(y.begin(), y.end() - 2);
  }
  if (!extents_agree(s.x_inner, s.y_inner))
    return input_error("inner extents of x " + dims_text(x) + " and y " + dims_text(y) + " differ");
  MLT_ASSIGN(s.batch, broadcast(s.x_batch, s.y_batch));
  s.out = s.batch;
  if (x.size() > 1) s.out.push_back(s.m);
  if (y.size() > 1) s.out.push_back(s.n);
  return s;
}

// Whether a program writes the operand as a constant; one whose value is known for another reason does not count.
bool written_constant(const Call& call, std::string_view param) {
  if (call.op() == nullptr) return call.known(param);
  const ir::Arg* arg = call.op()->find(param);
  return arg != nullptr && !arg->operands.empty() && arg->operands[0].constant() != nullptr;
}

// Of operands of two types, one of them constant, the other's type is that of the product (coremltools, iOS17 matmul).
Result<std::vector<ir::Type>> infer_matmul(Call& call) {
  MLT_ASSIGN(MatmulShape shape, matmul_shape(call, call.type("x").dims, call.type("y").dims));
  const DType x = call.type("x").dtype, y = call.type("y").dtype;
  const bool as_y = x != y && written_constant(call, "x") && !written_constant(call, "y");
  return std::vector<ir::Type>{ir::Type::tensor(as_y ? y : x, shape.out)};
}

// Where each batch entry's matrix starts in an operand.
std::vector<int64_t> batch_offsets(const Dims& operand, const Dims& batch, int64_t matrix) {
  int64_t count = 1;
  for (int64_t d : batch) count *= d;
  std::vector<int64_t> offsets(static_cast<size_t>(count), 0);
  Dims index(batch.size(), 0), strides = broadcast_strides(operand, batch);
  for (int64_t& offset : offsets) {
    for (size_t d = 0; d < batch.size(); ++d) offset += index[d] * strides[d] * matrix;
    next_index(index, batch);
  }
  return offsets;
}

Status eval_matmul(Call& call) {
  const Tensor &x = call.tensor("x"), &y = call.tensor("y");
  if (call.failed()) return {};
  MLT_ASSIGN(MatmulShape s, matmul_shape(call, x.dims(), y.dims()));
  MLT_TRY(element_count(s.out));
  Product p{s.m, s.n, s.x_inner, s.x_inner, 1, s.n, 1};
  if (x.rank() > 1 && call.flag("transpose_x")) p.a_row = 1, p.a_col = s.m;
  if (y.rank() > 1 && call.flag("transpose_y")) p.b_row = 1, p.b_col = s.y_inner;
  Tensor& out = output(call, 0, s.out);
  run_products(p, x, y, out, batch_offsets(s.x_batch, s.batch, s.m * s.x_inner), batch_offsets(s.y_batch, s.batch, s.y_inner * s.n));
  return {};
}

constexpr std::string_view kLinearDoc = "x * transpose(weight) + bias over the last axis of x; weight is [out, in], bias [out].";
constexpr std::string_view kMatmulDoc =
    "Matrix product over the last two axes with NumPy's broadcasting of the others; a rank-1 operand is a row (x) or a column (y).";

constexpr OpDef kOps[] = {
    {.name = "linear",
     .signature = "x: T, weight: const T, bias?: const T -> y",
     .domains = "T: fp16 fp32 int32",
     .infer = infer_linear,
     .eval = eval_linear,
     .doc = kLinearDoc},
    {.name = "linear",
     .since = Opset::kCoreML7,
     .signature = "x: T, weight: const U, bias?: const U -> y",
     .domains = "T: fp16 fp32 int32; U: fp16 fp32 int32",
     .infer = infer_linear,
     .eval = eval_linear,
     .doc = kLinearDoc},
    {.name = "matmul",
     .signature = "x: T, y: T, transpose_x: const bool = false, transpose_y: const bool = false -> z",
     .domains = "T: fp16 fp32 int32",
     .infer = infer_matmul,
     .eval = eval_matmul,
     .doc = kMatmulDoc},
    {.name = "matmul",
     .since = Opset::kCoreML7,
     .signature = "x: T, y: U, transpose_x: const bool = false, transpose_y: const bool = false -> z",
     .domains = "T: fp16 fp32 int32; U: fp16 fp32 int32",
     .infer = infer_matmul,
     .eval = eval_matmul,
     .doc = kMatmulDoc},
    {.name = "einsum",
     .signature = "values*: T, equation: const string -> y",
     .domains = "T: fp16 fp32 int32",
     .infer = infer_einsum,
     .eval = eval_einsum,
     .doc = "Sum of products named by subscripts, as in NumPy: repeated labels, an ellipsis, an omitted right side and "
            "any number of operands are understood; extents of 1 broadcast."},
};

}  // namespace

std::span<const OpDef> linear_ops() { return kOps; }

}  // namespace mlt::ops
