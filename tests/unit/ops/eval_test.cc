#include "lib/ops/eval_util.h"

#include <doctest/doctest.h>

#include <set>

#include "lib/base/threads.h"
#include "lib/ops/builder.h"
#include "tests/unit/ops/run_op.h"

using namespace mlt;
using namespace mlt::ops;
using mlt::test::run_op;

TEST_CASE("a broadcast plan merges axes that every operand walks evenly") {
  Dims x = {4, 1, 5, 6}, y = {3, 1, 1};
  BroadcastPlan plan = plan_broadcast({4, 3, 5, 6}, {&x, &y});
  CHECK(plan.row == 30);  // the last two axes
  CHECK(plan.row_strides == std::vector<int64_t>{1, 0});
  CHECK(plan.dims == Dims{4, 3});
  CHECK(plan.rows == 12);
  CHECK(plan.strides[0] == Dims{30, 0});
  CHECK(plan.strides[1] == Dims{0, 1});
  Dims scalar;
  BroadcastPlan one = plan_broadcast({}, {&scalar, &scalar});
  CHECK(one.row == 1);
  CHECK(one.rows == 1);
}

TEST_CASE("the shape of a static type folds without its value, that of an open one does not") {
  ir::Function function;
  function.opset = "CoreML6";
  ir::Value* fixed = function.add_input("fixed", ir::Type::tensor(DType::kF32, {2, 5}));
  ir::Value* open = function.add_input("open", ir::Type::tensor(DType::kF32, {2, ir::kUnknown}));
  OpBuilder b(function, Opset::kCoreML6);
  ir::Value* known = b.op("shape", {{"x", fixed}});
  ir::Value* unknown = b.op("shape", {{"x", open}});
  ir::Value* like = b.op("fill_like", {{"ref_tensor", fixed}, {"value", b.f32(3)}});
  ir::Value* relu = b.op("relu", {{"x", fixed}});
  REQUIRE(b.status().ok());
  auto folded = fold(*known->producer, Opset::kCoreML6);
  REQUIRE((folded.ok() && folded->has_value()));
  CHECK(to_ints((**folded)[0]) == std::vector<int64_t>{2, 5});
  CHECK_FALSE(fold(*unknown->producer, Opset::kCoreML6)->has_value());
  CHECK_FALSE(fold(*relu->producer, Opset::kCoreML6)->has_value());
  auto filled = fold(*like->producer, Opset::kCoreML6);
  REQUIRE((filled.ok() && filled->has_value()));
  CHECK((**filled)[0].dims() == Dims{2, 5});
  CHECK((**filled)[0].data<float>()[9] == 3);
}

TEST_CASE("folding rounds to the declared type and leaves random numbers alone") {
  ir::Function function;
  function.opset = "CoreML7";
  OpBuilder b(function, Opset::kCoreML7);
  ir::Value* sum = b.op("add", {{"x", b.scalar(DType::kF16, 2048)}, {"y", b.scalar(DType::kF16, 1)}});
  ir::Value* random = b.op("random_uniform", {{"shape", b.ints({3})}});
  REQUIRE(b.status().ok());
  auto folded = fold(*sum->producer, Opset::kCoreML7);
  REQUIRE((folded.ok() && folded->has_value()));
  CHECK((**folded)[0].dtype() == DType::kF16);
  CHECK(to_floats((**folded)[0])[0] == 2048);  // 2049 is not a half; the tie goes to the even neighbour
  CHECK_FALSE(fold(*random->producer, Opset::kCoreML7)->has_value());
}

TEST_CASE("random numbers depend on seed and position alone, and look as asked for") {
  auto draw = [](std::string_view op, int seed, std::vector<std::pair<std::string_view, Tensor>> more = {}) {
    more.emplace_back("shape", Tensor::ints({20000}));
    more.emplace_back("seed", Tensor::scalar(static_cast<int32_t>(seed)));
    auto out = run_op(op, more);
    REQUIRE(out.ok());
    return to_floats((*out)[0]);
  };
  auto mean_of = [](const std::vector<float>& values) {
    double sum = 0;
    for (float v : values) sum += v;
    return sum / static_cast<double>(values.size());
  };
  std::vector<float> uniform = draw("random_uniform", 7);
  CHECK(uniform == draw("random_uniform", 7));
  CHECK(uniform != draw("random_uniform", 8));
  CHECK(draw("random_uniform", -1) == draw("random_uniform", -1));
  for (float v : uniform) CHECK((v >= 0 && v < 1));
  CHECK(mean_of(uniform) == doctest::Approx(0.5).epsilon(0.02));
  std::vector<float> normal = draw("random_normal", 7, {{"mean", Tensor::scalar(1.0f)}, {"stddev", Tensor::scalar(2.0f)}});
  CHECK(mean_of(normal) == doctest::Approx(1.0).epsilon(0.05));
  for (float& v : normal) v = (v - 1) * (v - 1);
  CHECK(mean_of(normal) == doctest::Approx(4.0).epsilon(0.05));
  std::vector<float> coin = draw("random_bernoulli", 7, {{"prob", Tensor::scalar(0.25f)}});
  CHECK(std::set<float>(coin.begin(), coin.end()) == std::set<float>{0, 1});
  CHECK(mean_of(coin) == doctest::Approx(0.25).epsilon(0.05));
  auto classes = run_op("random_categorical", {{"x", Tensor::from<float>({2}, std::vector<float>{1, 3})}, {"mode", Tensor::string("probs")},
                                               {"size", Tensor::scalar(int32_t{20000})}});
  REQUIRE(classes.ok());
  CHECK(mean_of(to_floats((*classes)[0])) == doctest::Approx(0.75).epsilon(0.02));
}

TEST_CASE("results do not depend on the thread count") {
  std::vector<float> values(300000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1013) * 0.37f - 100;
  Tensor x = Tensor::from<float>({100, 3, 1000}, values);
  auto all = [&] {
    std::vector<Tensor> outputs;
    auto keep = [&](Result<std::vector<Tensor>> result) {
      REQUIRE(result.ok());
      outputs.insert(outputs.end(), result->begin(), result->end());
    };
    keep(run_op("reduce_sum", {{"x", x}, {"axes", Tensor::ints({0, 2})}}));
    keep(run_op("softmax", {{"x", x}, {"axis", Tensor::scalar(int32_t{0})}}));
    keep(run_op("mul", {{"x", x}, {"y", Tensor::from<float>({3, 1}, std::vector<float>{1, 2, 3})}}));
    keep(run_op("transpose", {{"x", x}, {"perm", Tensor::ints({2, 0, 1})}}));
    keep(run_op("topk", {{"x", x}, {"k", Tensor::scalar(int32_t{5})}}));
    keep(run_op("random_normal", {{"shape", Tensor::ints({50000})}}));
    return outputs;
  };
  set_thread_count(1);
  std::vector<Tensor> one = all();
  set_thread_count(4);
  std::vector<Tensor> four = all();
  set_thread_count(0);
  REQUIRE(one.size() == four.size());
  for (size_t i = 0; i < one.size(); ++i) CHECK(same_bytes(one[i], four[i]));
}
