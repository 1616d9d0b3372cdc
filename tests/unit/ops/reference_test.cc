// Properties of the reference evaluations that op cases cannot show: sizes around every tile edge, agreement with the
// plain definition, independence of the number of threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "lib/base/threads.h"
#include "lib/ops/image_resizing_eval.h"
#include "lib/ops/reference_gemm.h"
#include "tests/unit/ops/run_op.h"

using namespace mlt;
using namespace mlt::test;

namespace {

Tensor pseudo_random(Dims dims, uint32_t seed) {
  Tensor tensor = Tensor::uninitialized(DType::kF32, std::move(dims));
  for (int64_t i = 0; i < tensor.size(); ++i) {
    seed = seed * 1664525u + 1013904223u;
    tensor.mutable_data<float>()[i] = static_cast<float>(seed >> 24) / 16.0f - 8.0f;  // sums of products stay exact
  }
  return tensor;
}

std::vector<Tensor> must_run(std::string_view op, std::vector<std::pair<std::string_view, Tensor>> inputs) {
  auto outputs = run_op(op, std::move(inputs));
  REQUIRE_MESSAGE(outputs.ok(), (outputs.ok() ? "" : outputs.error().to_string()));
  return std::move(*outputs);
}

Tensor i32(int64_t value) { return Tensor::scalar(static_cast<int32_t>(value)); }

}  // namespace

TEST_CASE("products of every size around a tile are those of the definition, for plain and transposed operands") {
  for (int64_t m : {1, 3, 4, 5, 9})
    for (int64_t n : {1, 7, 8, 9, 64, 65, 130})
      for (int64_t k : {0, 1, 7, 8, 17})
        for (int transposed = 0; transposed < 4; ++transposed) {
          Tensor a = pseudo_random({m, k}, 1), b = pseudo_random({k, n}, 2), c = pseudo_random({m, n}, 3);
          bool ta = transposed & 1, tb = transposed & 2;
          ops::MatrixView va{a.data<float>(), ta ? 1 : k, ta ? m : 1}, vb{b.data<float>(), tb ? 1 : n, tb ? k : 1};
          bool accumulate = (m + n) % 2 == 0;
          std::vector<float> got(c.data<float>(), c.data<float>() + m * n);
          ops::reference_gemm(m, n, k, va, vb, got.data(), n, accumulate);
          bool same = true;
          for (int64_t i = 0; i < m; ++i)
            for (int64_t j = 0; j < n; ++j) {
              float sum = accumulate ? c.data<float>()[i * n + j] : 0.0f;
              for (int64_t p = 0; p < k; ++p)
                sum += va.data[i * va.row_stride + p * va.col_stride] * vb.data[p * vb.row_stride + j * vb.col_stride];
              same = same && got[static_cast<size_t>(i * n + j)] == sum;
            }
          CHECK_MESSAGE(same, m, "x", n, "x", k, " transposed ", transposed);
        }
}

TEST_CASE("convolution is its definition for every combination of stride, dilation, padding and groups") {
  for (int64_t groups : {1, 2, 4})
    for (int64_t stride : {1, 2, 3})
      for (int64_t dilation : {1, 2})
        for (int64_t pad : {0, 1, 3}) {
          constexpr int64_t kChannels = 4, kOut = 8, kHeight = 9, kWidth = 11;
          Tensor x = pseudo_random({2, kChannels, kHeight, kWidth}, 5), w = pseudo_random({kOut, kChannels / groups, 3, 2}, 6);
          auto y = must_run("conv", {{"x", x}, {"weight", w}, {"strides", Tensor::ints({stride, stride})},
                                     {"dilations", Tensor::ints({dilation, 1})}, {"pad_type", Tensor::string("custom")},
                                     {"pad", Tensor::ints({pad, pad, 0, pad})}, {"groups", i32(groups)}})[0];
          const Dims& d = y.dims();
          CHECK(d[2] == (kHeight + 2 * pad - 2 * dilation - 1) / stride + 1);
          CHECK(d[3] == (kWidth + pad - 2) / stride + 1);
          bool same = true;
          for (int64_t i = 0; i < y.size(); ++i) {
            int64_t ow = i % d[3], oh = i / d[3] % d[2], co = i / d[3] / d[2] % kOut, n = i / d[3] / d[2] / kOut;
            float sum = 0;
            for (int64_t c = 0; c < kChannels / groups; ++c)
              for (int64_t kh = 0; kh < 3; ++kh)
                for (int64_t kw = 0; kw < 2; ++kw) {
                  int64_t ih = oh * stride + kh * dilation - pad, iw = ow * stride + kw;
                  if (ih < 0 || ih >= kHeight || iw < 0 || iw >= kWidth) continue;
                  int64_t ci = co / (kOut / groups) * (kChannels / groups) + c;
                  sum += x.data<float>()[((n * kChannels + ci) * kHeight + ih) * kWidth + iw] *
                         w.data<float>()[((co * (kChannels / groups) + c) * 3 + kh) * 2 + kw];
                }
            same = same && y.data<float>()[i] == sum;
          }
          CHECK_MESSAGE(same, "groups ", groups, " stride ", stride, " dilation ", dilation, " pad ", pad);
        }
}

TEST_CASE("the transposed convolution is the adjoint of the convolution") {
  for (int64_t groups : {1, 2})
    for (int64_t stride : {1, 2, 3})
      for (int64_t pad : {0, 1}) {
        Tensor x = pseudo_random({1, 4, 10, 7}, 8), w = pseudo_random({6, 4 / groups, 3, 3}, 9);
        std::vector<std::pair<std::string_view, Tensor>> parameters = {{"weight", w}, {"strides", Tensor::ints({stride, stride})},
            {"pad_type", Tensor::string("custom")}, {"pad", Tensor::ints({pad, pad, pad, pad})}, {"groups", i32(groups)}};
        auto forward = parameters, backward = parameters;
        forward.emplace_back("x", x);
        Tensor y = must_run("conv", forward)[0], other = pseudo_random(y.dims(), 10);
        backward.emplace_back("x", other);
        backward.emplace_back("output_shape", Tensor::ints(x.dims()));
        Tensor back = must_run("conv_transpose", backward)[0];
        REQUIRE(back.dims() == x.dims());
        double left = 0, right = 0;
        for (int64_t i = 0; i < y.size(); ++i) left += double{y.data<float>()[i]} * double{other.data<float>()[i]};
        for (int64_t i = 0; i < x.size(); ++i) right += double{x.data<float>()[i]} * double{back.data<float>()[i]};
        CHECK(left == doctest::Approx(right).epsilon(1e-9));
      }
}

TEST_CASE("results do not depend on the number of threads") {
  Tensor x = pseudo_random({2, 16, 21, 19}, 11), w = pseudo_random({24, 16, 3, 3}, 12), q = pseudo_random({2, 3, 70, 16}, 13);
  Tensor a = pseudo_random({70, 100}, 14), b = pseudo_random({100, 300}, 15);
  for (Tensor* t : {&x, &w, &q, &a, &b})
    for (int64_t i = 0; i < t->size(); ++i) t->mutable_data<float>()[i] *= 0.0137f;  // products that round
  auto all = [&] {
    return std::vector<Tensor>{must_run("conv", {{"x", x}, {"weight", w}, {"pad_type", Tensor::string("same")}})[0],
                               must_run("conv_transpose", {{"x", x}, {"weight", pseudo_random({16, 5, 3, 3}, 16)}})[0],
                               must_run("matmul", {{"x", a}, {"y", b}})[0],
                               must_run("scaled_dot_product_attention", {{"query", q}, {"key", q}, {"value", q}})[0],
                               must_run("instance_norm", {{"x", x}})[0]};
  };
  int before = thread_count();
  set_thread_count(1);
  std::vector<Tensor> one = all();
  set_thread_count(3);
  std::vector<Tensor> three = all();
  set_thread_count(before);
  for (size_t i = 0; i < one.size(); ++i) CHECK(same_bytes(one[i], three[i]));
}

TEST_CASE("sampling grids end where they should in spite of rounding") {
  for (int64_t n : {2, 3, 7, 10, 49, 1000})
    for (double length : {1.0, 2.0, 6.3, 99.0}) {
      CHECK(ops::sample_grid(ops::Sampling::kStrictAlignCorners, length, n).back() == length);
      for (auto sampling : {ops::Sampling::kDefault, ops::Sampling::kOffsetCorners, ops::Sampling::kUnalignCorners}) {
        auto grid = ops::sample_grid(sampling, length, n);
        CHECK(std::is_sorted(grid.begin(), grid.end()));
        CHECK(grid.front() >= 0);
        CHECK(grid.back() <= length);
      }
    }
  CHECK(ops::nearest_by_center(10, 2) == std::vector<int64_t>{2, 7});
  CHECK(ops::nearest_by_corner(10, 3) == std::vector<int64_t>{0, 3, 6});
  CHECK(ops::fold_coordinate(-1.25, 4, ops::Border::kReflect) == 1.25);
  CHECK(ops::fold_coordinate(-1.25, 4, ops::Border::kSymmetric) == 0.25);
  CHECK(ops::fold_coordinate(3.75, 4, ops::Border::kSymmetric) == 3.0);
  CHECK(ops::fold_coordinate(7.0, 4, ops::Border::kReflect) == 1.0);
  CHECK(ops::fold_coordinate(std::nan(""), 4, ops::Border::kReflect) == 0.0);
}

TEST_CASE("a constexpr op takes the values of another one in the compute type") {
  const ops::OpInfo* info = ops::find_op("constexpr_sparse_to_dense", ops::Opset::kCoreML8);
  ops::Call call(*info, nullptr);
  // As constexpr_lut_to_sparse hands them on: declared uint1 and int8, held as int32.
  call.bind("mask", {{ir::Type::tensor(DType::kU1, {3}), {Tensor::from<int32_t>({3}, std::vector<int32_t>{1, 0, 1}), nullptr}}});
  call.bind("nonzero_data", {{ir::Type::tensor(DType::kI8, {2}), {Tensor::from<int32_t>({2}, std::vector<int32_t>{-5, 7}), nullptr}}});
  REQUIRE(ops::evaluate(call).ok());
  CHECK(to_ints(call.out()) == std::vector<int64_t>{-5, 0, 7});
}

TEST_CASE("extents of hostile programs are refused, not computed with") {
  auto error_of = [](std::string_view op, std::vector<std::pair<std::string_view, ir::Type>> types,
                     std::vector<std::pair<std::string_view, Tensor>> values) {
    ops::Call call(*ops::find_op(op, ops::Opset::kCoreML9), nullptr);
    for (auto& [name, type] : types) call.bind(name, {{type, {}}});
    for (auto& [name, value] : values) call.bind(name, {{ir::Type::of(value), {value, nullptr}}});
    auto status = ops::infer(call);
    return status.ok() ? std::string() : status.error().message;
  };
  auto f32 = [](Dims dims) { return ir::Type::tensor(DType::kF32, std::move(dims)); };
  constexpr int64_t kHuge = int64_t{1} << 62;
  CHECK(error_of("conv", {{"x", f32({1, 1, kHuge})}, {"weight", f32({1, 1, 3})}}, {}).find("too large") != std::string::npos);
  CHECK(error_of("conv_transpose", {{"x", f32({1, 1, int64_t{1} << 40})}, {"weight", f32({1, 1, 3})}},
                 {{"strides", Tensor::ints({1 << 30})}}).find("too large") != std::string::npos);
  CHECK(error_of("matmul", {{"x", f32({kHuge, 2})}, {"y", f32({2, kHuge})}}, {}) != "");
  CHECK(error_of("linear", {{"x", f32({})}, {"weight", f32({2, 2})}}, {}).find("rank 1") != std::string::npos);
  CHECK(error_of("conv", {{"x", f32({1, 4, 8})}, {"weight", f32({4, 4, 1})}}, {{"groups", i32(0)}}).find("groups") != std::string::npos);
  CHECK(error_of("max_pool", {{"x", f32({1, 1, 8})}},
                 {{"kernel_sizes", Tensor::ints({2})}, {"pad_type", Tensor::string("custom")}, {"pad", Tensor::ints({-1, 0})}})
            .find("negative") != std::string::npos);
}
