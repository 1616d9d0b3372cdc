#include "lib/runtime/executor.h"

#include <doctest/doctest.h>

#include <cmath>

#include "lib/base/float_mode.h"
#include "lib/kernels/target.h"
#include "lib/ops/builder.h"

using namespace mlt;
using ops::OpBuilder;
using ops::Opset;

namespace {

// Deterministic values in [-1, 1).
Tensor noise(Dims dims, uint32_t seed) {
  Tensor t = Tensor::uninitialized(DType::kF32, std::move(dims));
  for (int64_t i = 0; i < t.size(); ++i) {
    seed = seed * 1664525u + 1013904223u;
    t.mutable_data<float>()[i] = static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
  }
  return t;
}

struct Net {
  std::shared_ptr<ir::Function> function = std::make_shared<ir::Function>();
  OpBuilder b;
  explicit Net(Opset opset = Opset::kCoreML7) : b(*function, opset) {
    function->name = "main";
    function->opset = std::string(ops::opset_token(opset));
  }
  ir::Value* input(std::string name, Dims dims, DType dtype = DType::kF32) { return function->add_input(std::move(name), ir::Type::tensor(dtype, std::move(dims))); }
  std::unique_ptr<Executor> executor(std::vector<ir::Value*> outputs, ExecOptions options = {}) {
    REQUIRE_MESSAGE(b.ok(), (b.ok() ? "" : b.status().error().to_string()));
    function->body->outputs = std::move(outputs);
    auto made = Executor::create(*function, function, options);
    REQUIRE(made.ok());
    return std::move(*made);
  }
};

double max_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.dims() == b.dims());
  std::vector<double> x = to_doubles(a), y = to_doubles(b);
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(x[i] - y[i]));
  return worst;
}

// Two residual blocks, as in a ResNet: the shape that fusion, in-place reuse and the arena have to get right.
std::vector<ir::Value*> residual_net(Net& net) {
  OpBuilder& b = net.b;
  ir::Value* x = net.input("x", {1, 3, 17, 19});
  auto conv = [&](ir::Value* in, int64_t cin, int64_t cout, int64_t k, int64_t stride, uint32_t seed) {
    return b.op("conv", {{"x", in},
                         {"weight", b.constant(noise({cout, cin, k, k}, seed))},
                         {"bias", b.constant(noise({cout}, seed + 1))},
                         {"strides", b.ints({stride, stride})},
                         {"pad_type", b.string("same")}});
  };
  ir::Value* stem = b.op("relu", {{"x", conv(x, 3, 8, 3, 1, 1)}});
  ir::Value* c1 = b.op("relu", {{"x", conv(stem, 8, 8, 3, 1, 3)}});
  ir::Value* c2 = conv(c1, 8, 8, 1, 1, 5);
  ir::Value* r1 = b.op("relu", {{"x", b.op("add", {{"x", c2}, {"y", stem}})}});
  ir::Value* d1 = b.op("relu", {{"x", conv(r1, 8, 12, 3, 2, 7)}});
  ir::Value* d2 = conv(d1, 12, 12, 1, 1, 9);
  ir::Value* shortcut = conv(r1, 8, 12, 1, 2, 11);
  ir::Value* r2 = b.op("clip", {{"x", b.op("add", {{"x", shortcut}, {"y", d2}})}, {"alpha", b.f32(0)}, {"beta", b.f32(6)}});
  ir::Value* pooled = b.op("avg_pool", {{"x", r2}, {"kernel_sizes", b.ints({9, 10})}, {"pad_type", b.string("valid")}});
  ir::Value* flat = b.op("reshape", {{"x", pooled}, {"shape", b.ints({1, 12})}});
  ir::Value* y = b.op("linear", {{"x", flat}, {"weight", b.constant(noise({5, 12}, 13))}, {"bias", b.constant(noise({5}, 14))}});
  return {y, r1};
}

}  // namespace

TEST_CASE("fused, unfused, kept and reference plans agree") {
  Tensor x = noise({1, 3, 17, 19}, 42);
  std::vector<std::vector<Tensor>> answers;
  for (ExecOptions options : {ExecOptions{.fast_kernels = false}, ExecOptions{}, ExecOptions{.fuse = false}, ExecOptions{.keep_all = true}}) {
    Net net;
    auto executor = net.executor(residual_net(net), options);
    // The second run must not see what the first left in the arena.
    for (int round = 0; round < 2; ++round) {
      auto result = executor->run({x});
      REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().to_string()));
      answers.push_back({(*result)[0].tensor, (*result)[1].tensor});
    }
  }
  for (const auto& answer : answers) {
    CHECK(max_difference(answer[0], answers[0][0]) < 1e-4);
    CHECK(max_difference(answer[1], answers[0][1]) < 1e-4);
  }
}

TEST_CASE("convolution takes in the residual and the activation") {
  Net net;
  auto executor = net.executor(residual_net(net));
  auto info = executor->plan({{1, 3, 17, 19}});
  REQUIRE(info.ok());
  int convs = 0, others = 0;
  for (const StepInfo& step : info->steps) {
    if (step.kind == "conv") ++convs;
    if (step.kind == "relu" || step.kind == "add" || step.kind == "clip") ++others;
  }
  CHECK(convs == 6);
  CHECK(others == 0);
}

TEST_CASE("the arena is smaller than the sum of all values") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* v = net.input("x", {1, 1024, 16});
  for (int i = 0; i < 20; ++i) v = b.op("softmax", {{"x", v}, {"axis", b.i32(1)}});
  auto executor = net.executor({v});
  auto info = executor->plan({{1, 1024, 16}});
  REQUIRE(info.ok());
  CHECK(info->arena_bytes < 3 * 1024 * 16 * 4);
}

TEST_CASE("one executor serves several shapes") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* x = net.input("x", {ir::kUnknown, 4});
  ir::Value* shape = b.op("shape", {{"x", x}});
  ir::Value* rows = b.op("slice_by_index", {{"x", shape}, {"begin", b.ints({0})}, {"end", b.ints({1})}});
  ir::Value* target = b.op("concat", {{"values", std::vector<ir::Value*>{rows, b.ints({2, 2})}}, {"axis", b.i32(0)}});
  ir::Value* y = b.op("relu", {{"x", b.op("reshape", {{"x", x}, {"shape", target}})}});
  auto executor = net.executor({y});
  for (int64_t n : {3, 1, 7, 3}) {
    auto result = executor->run({noise({n, 4}, 5)});
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().to_string()));
    CHECK((*result)[0].tensor.dims() == Dims{n, 2, 2});
    auto info = executor->plan({{n, 4}});
    CHECK(info->folded_ops == 3);  // shape, slice, concat
  }
  CHECK(executor->run({noise({3, 5}, 5)}).error().code == Code::kInput);
}

TEST_CASE("values whose extents depend on data are run beside the plan") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* x = net.input("x", {6});
  ir::Value* found = b.op("non_zero", {{"x", x}});
  ir::Value* doubled = b.op("add", {{"x", found}, {"y", found}});
  auto executor = net.executor({doubled});
  auto result = executor->run({Tensor::from<float>({6}, {0, 1, 0, 2, 3, 0})});
  REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().to_string()));
  CHECK((*result)[0].tensor.dims() == Dims{3, 1});
  CHECK(to_ints((*result)[0].tensor) == std::vector<int64_t>{2, 6, 8});
}

TEST_CASE("strict float16 rounds after every op and names what overflows") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* x = net.input("x", {2}, DType::kF16);
  ir::Value* big = b.op("mul", {{"x", x}, {"y", b.scalar(DType::kF16, 60000)}}, "big");
  ir::Value* small = b.op("mul", {{"x", big}, {"y", b.scalar(DType::kF16, 0.0001)}}, "small");
  Tensor in = Tensor::from<float>({2}, {1, 2});
  auto loose = net.executor({small});
  auto result = loose->run({in});
  REQUIRE(result.ok());
  CHECK(to_floats((*result)[0].tensor)[1] == doctest::Approx(12).epsilon(1e-3));
  auto strict = Executor::create(*net.function, net.function, {.strict_fp16 = true});
  REQUIRE(strict.ok());
  auto rounded = (*strict)->run({in});
  REQUIRE(rounded.ok());
  CHECK(std::isinf(to_floats((*rounded)[0].tensor)[1]));
  REQUIRE((*strict)->precision_findings().size() == 1);
  CHECK((*strict)->precision_findings()[0] == "function main: op big (mul): 1 of 2 values overflows float16");
}

TEST_CASE("states live between runs and keep their precision") {
  Net net(Opset::kCoreML8);
  OpBuilder& b = net.b;
  ir::Value* x = net.input("x", {2}, DType::kF16);
  ir::Value* acc = net.function->add_input("acc", ir::Type::state(ir::Type::tensor(DType::kF16, {2})));
  ir::Value* old = b.op("read_state", {{"input", acc}});
  ir::Value* sum = b.op("add", {{"x", old}, {"y", x}});
  ir::Value* now = b.op("coreml_update_state", {{"state", acc}, {"value", sum}});
  auto executor = net.executor({now, old});
  auto state = executor->initial_state();
  REQUIRE(state.ok());
  for (int i = 1; i <= 3; ++i) {
    auto result = executor->run({Tensor::from<float>({2}, {1, 2048})}, &*state);
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().to_string()));
    CHECK(to_floats((*result)[0].tensor) == std::vector<float>{static_cast<float>(i), static_cast<float>(2048 * i)});
    CHECK(to_floats((*result)[1].tensor)[0] == static_cast<float>(i - 1));
  }
  // 2049 is not a float16: the state must not remember it.
  (*state)["acc"] = Tensor::from<float>({2}, {0, 2048});
  REQUIRE(executor->run({Tensor::from<float>({2}, {0, 1})}, &*state).ok());
  CHECK(to_floats((*state)["acc"])[1] == 2048);
  CHECK_FALSE(executor->run({Tensor::from<float>({2}, {0, 1})}).ok());
}

TEST_CASE("an updated slice takes the place of what nobody reads later") {
  Net net(Opset::kCoreML8);
  OpBuilder& b = net.b;
  auto updated = [&](ir::Value* of, ir::Value* with, int64_t begin, int64_t end) {
    return b.op("slice_update", {{"x", of}, {"update", with}, {"begin", b.ints({begin})}, {"end", b.ints({end})}});
  };
  ir::Value *x = net.input("x", {4}), *u = net.input("u", {2});
  // A chain; one whose beginning is read again; an update that is a part of what it updates; and one of an input.
  ir::Value* once = updated(b.op("abs", {{"x", x}}), u, 0, 2);
  ir::Value* twice = updated(once, u, 1, 3);
  ir::Value* old = b.op("abs", {{"x", b.op("square", {{"x", x}})}});
  ir::Value* again = b.op("add", {{"x", updated(old, u, 2, 4)}, {"y", old}});
  ir::Value* whole = b.op("square", {{"x", x}});
  ir::Value* itself = updated(whole, b.op("reshape", {{"x", b.op("slice_by_index", {{"x", whole}, {"begin", b.ints({0})}, {"end", b.ints({2})}})}, {"shape", b.ints({2})}}), 1, 3);
  ir::Value* all = updated(whole, b.op("reshape", {{"x", whole}, {"shape", b.ints({4})}}), 0, 4);
  ir::Value* of_input = updated(x, u, 0, 2);
  auto executor = net.executor({twice, again, itself, all, of_input, b.op("abs", {{"x", x}})});
  for (int run = 0; run < 2; ++run) {
    auto result = executor->run({Tensor::from<float>({4}, {-1, 2, -3, 4}), Tensor::from<float>({2}, {7, 8})});
    REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().to_string()));
    const std::vector<std::vector<float>> want = {{7, 7, 8, 4}, {2, 8, 16, 24}, {1, 1, 4, 16}, {1, 4, 9, 16}, {7, 8, -3, 4}, {1, 2, 3, 4}};
    for (size_t i = 0; i < want.size(); ++i) CHECK(to_floats((*result)[i].tensor) == want[i]);
  }
}

TEST_CASE("unknown ops are all named") {
  auto function = std::make_shared<ir::Function>();
  function->name = "main";
  function->opset = "CoreML7";
  for (const char* kind : {"frobnicate", "relu", "twiddle", "twiddle"}) function->body->append(kind);
  auto made = Executor::create(*function, function);
  REQUIRE_FALSE(made.ok());
  CHECK(made.error().code == Code::kUnsupported);
  CHECK(made.error().message == "ops that cannot be run: frobnicate (1), twiddle (2)");
}

TEST_CASE("a value times a gate of it becomes the epilogue of what made it") {
  enum Form { kHardSwish, kThresholded, kSilu, kOtherThreshold, kReadElsewhere };
  for (Form form : {kHardSwish, kThresholded, kSilu, kOtherThreshold, kReadElsewhere}) {
    CAPTURE(static_cast<int>(form));
    Tensor x = noise({1, 5, 9, 11}, 3);
    std::vector<Tensor> answers;
    for (bool fast : {false, true}) {
      Net net;
      OpBuilder& b = net.b;
      ir::Value* c = b.op("conv", {{"x", net.input("x", {1, 5, 9, 11})}, {"weight", b.constant(noise({24, 5, 3, 3}, 1))}, {"bias", b.constant(noise({24}, 2))}});
      ir::Value* gate = form == kSilu ? b.op("sigmoid", {{"x", c}}) : b.op("sigmoid_hard", {{"x", c}, {"alpha", b.f32(1.0f / 6)}, {"beta", b.f32(0.5f)}});
      ir::Value* value = c;
      if (form == kThresholded || form == kOtherThreshold) value = b.op("thresholded_relu", {{"x", c}, {"alpha", b.f32(form == kThresholded ? -3.0f : -1.0f)}});
      ir::Value* y = b.op("mul", {{"x", gate}, {"y", value}});
      std::vector<ir::Value*> outputs{y};
      if (form == kReadElsewhere) outputs.push_back(gate);
      auto executor = net.executor(outputs, {.fast_kernels = fast});
      auto out = executor->run({x});
      REQUIRE(out.ok());
      answers.push_back((*out)[0].tensor);
      auto info = executor->plan({{1, 5, 9, 11}});
      REQUIRE(info.ok());
      int left = 0;
      for (const StepInfo& step : info->steps) left += step.kind != "conv" && step.kind != "layout";
      if (fast) CHECK((left == 0) == (form < kOtherThreshold));
    }
    CHECK(max_difference(answers[0], answers[1]) < 1e-5);
  }
}

TEST_CASE("what does not fit into the limit is refused before it is allocated") {
  auto message_of = [](const auto& result) {
    REQUIRE(!result.ok());
    CHECK(result.error().code == Code::kResource);
    return result.error().to_string();
  };
  ExecOptions small;
  small.max_bytes = size_t{1} << 20;
  SUBCASE("one value of 2^40 elements, with the machine's own limit") {
    Net net;
    ir::Value* x = net.input("x", {1});
    ir::Value* huge = net.b.op("tile", {{"x", x}, {"reps", net.b.ints({int64_t{1} << 30})}});
    ir::Value* y = net.b.op("reduce_max", {{"x", net.b.op("expand_dims", {{"x", huge}, {"axes", net.b.ints({0})}})}});
    small.max_bytes = size_t{1} << 30;
    std::string message = message_of(net.executor({y}, small)->run({Tensor::from<float>({1}, std::vector<float>{1})}));
    CHECK(message.find("(tile)") != std::string::npos);
    CHECK(message.find("4096 MiB") != std::string::npos);
  }
  SUBCASE("a constant that folding would make") {
    Net net;
    ir::Value* x = net.input("x", {1});
    ir::Value* fill = net.b.op("fill", {{"shape", net.b.ints({1 << 20})}, {"value", net.b.f32(1)}});
    std::string message = message_of(net.executor({net.b.op("add", {{"x", x}, {"y", fill}})}, small)->plan({{1}}));
    CHECK(message.find("(fill)") != std::string::npos);
  }
  SUBCASE("values that fit one by one") {
    Net net;
    ir::Value* x = net.input("x", {1000, 100});
    ir::Value *a = net.b.op("exp", {{"x", x}}), *b = net.b.op("sin", {{"x", x}}), *c = net.b.op("cos", {{"x", x}});
    std::string message = message_of(net.executor({a, b, c}, small)->plan({{1000, 100}}));
    CHECK(message.find("activations take 1") != std::string::npos);
    small.max_bytes = size_t{8} << 20;
    Net again;
    x = again.input("x", {1000, 100});
    a = again.b.op("exp", {{"x", x}}), b = again.b.op("sin", {{"x", x}}), c = again.b.op("cos", {{"x", x}});
    CHECK(again.executor({a, b, c}, small)->run({noise({1000, 100}, 1)}).ok());
  }
  SUBCASE("a shape that only the data tells") {
    Net net;
    ir::Value* n = net.input("n", {1}, DType::kI32);
    ir::Value* fill = net.b.op("fill", {{"shape", n}, {"value", net.b.f32(1)}});
    ir::Value* y = net.b.op("reduce_sum", {{"x", fill}, {"axes", net.b.ints({0})}, {"keep_dims", net.b.boolean(false)}});
    auto executor = net.executor({y}, small);
    CHECK(executor->run({Tensor::ints({1000})}).ok());
    std::string message = message_of(executor->run({Tensor::ints({1 << 20})}));
    CHECK(message.find("(fill)") != std::string::npos);
  }
  SUBCASE("a state") {
    Net net;
    net.function->add_input("cache", ir::Type::state(ir::Type::tensor(DType::kF32, {1 << 20})));
    ir::Value* x = net.input("x", {1});
    message_of(net.executor({net.b.op("exp", {{"x", x}})}, small)->initial_state());
  }
}

TEST_CASE("plans of other extents share prepared weights and answer alike") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* x = net.input("x", {ir::kUnknown, 24});
  ir::Value* folded = b.op("cast", {{"x", b.constant(noise({24, 16}, 5))}, {"dtype", b.string("fp16")}});
  ir::Value* wide = b.op("cast", {{"x", folded}, {"dtype", b.string("fp32")}});
  ir::Value* y = b.op("linear", {{"x", x}, {"weight", b.constant(noise({32, 24}, 3))}, {"bias", b.constant(noise({32}, 4))}});
  ir::Value* z = b.op("matmul", {{"x", x}, {"y", wide}});
  ir::Value* table = b.op("gather", {{"x", b.constant(noise({9, 4}, 6))}, {"indices", b.ints({1, 3})}, {"axis", b.i32(0)}});
  auto fast = net.executor({y, z, table});
  auto plain = Executor::create(*net.function, net.function, {.fuse = false, .fast_kernels = false});
  REQUIRE(plain.ok());
  for (int64_t rows : {1, 5, 2, 1, 7}) {
    Tensor in = noise({rows, 24}, 9);
    auto got = fast->run({in});
    auto want = (*plain)->run({in});
    REQUIRE(got.ok());
    REQUIRE(want.ok());
    for (size_t i = 0; i < 3; ++i) CHECK(max_difference((*got)[i].tensor, (*want)[i].tensor) < 1e-4);
  }
}

// Each is part of the next: what asks how far a value is handed on must not follow the whole chain from every link.
TEST_CASE("a long chain of concatenations") {
  constexpr int64_t kLinks = 4000;
  Net net;
  OpBuilder& b = net.b;
  ir::Value *x = net.input("x", {1, 2}), *all = x;
  for (int64_t i = 0; i < kLinks; ++i) {
    ir::Value* wider = b.op("expand_dims", {{"x", all}, {"axes", b.ints({0})}});
    ir::Value* again = b.op("squeeze", {{"x", wider}, {"axes", b.ints({0})}});
    all = b.op("concat", {{"values", std::vector<ir::Value*>{again, x}}, {"axis", b.i32(1)}, {"interleave", b.boolean(false)}});
  }
  const Tensor in = noise({1, 2}, 3);
  auto got = net.executor({all})->run({in});
  REQUIRE(got.ok());
  const Tensor& y = (*got)[0].tensor;
  REQUIRE(y.dims() == Dims{1, 2 * (kLinks + 1)});
  for (int64_t i = 0; i < y.size(); ++i) REQUIRE(y.data<float>()[i] == in.data<float>()[i % 2]);
}

// Linear layers of images with channels last: programs have matmul where linear takes no such rank.
TEST_CASE("a product with constants takes in its bias, the residual and the activation") {
  for (bool transposed : {false, true}) {
    Net net;
    OpBuilder& b = net.b;
    ir::Value* x = net.input("x", {2, 3, 5, 6});
    const auto product = [&](ir::Value* in, int64_t k, int64_t n, uint32_t seed) {
      return b.op("matmul", {{"x", in}, {"y", b.constant(noise(transposed ? Dims{n, k} : Dims{k, n}, seed))}, {"transpose_x", b.boolean(false)}, {"transpose_y", b.boolean(transposed)}});
    };
    const auto biased = [&](ir::Value* in, Dims dims, uint32_t seed) { return b.op("add", {{"x", b.constant(noise(std::move(dims), seed))}, {"y", in}}); };
    ir::Value* wide = b.op("gelu", {{"x", biased(product(x, 6, 40, 1), {40}, 2)}, {"mode", b.string("EXACT")}});
    ir::Value* back = b.op("add", {{"x", x}, {"y", biased(product(wide, 40, 6, 3), {1, 1, 6}, 4)}});
    // Not one number for each column: an addition of its own.
    ir::Value* other = biased(product(x, 6, 5, 5), {5, 1}, 6);
    // A bias before and after what is no bias.
    ir::Value* twice = b.op("relu", {{"x", biased(biased(biased(product(x, 6, 7, 7), {7}, 8), {5, 7}, 9), {7}, 10)}});
    auto fast = net.executor({back, other, twice});
    auto plain = Executor::create(*net.function, net.function, {.fuse = false, .fast_kernels = false});
    REQUIRE(plain.ok());
    const Tensor in = noise({2, 3, 5, 6}, 9);
    auto got = fast->run({in}), want = (*plain)->run({in});
    REQUIRE(got.ok());
    REQUIRE(want.ok());
    for (size_t i = 0; i < 3; ++i) CHECK(max_difference((*got)[i].tensor, (*want)[i].tensor) < 1e-4);
    int products = 0, additions = 0;
    for (const StepInfo& step : fast->last_plan()->steps) products += step.kind == "matmul", additions += step.kind == "add";
    CHECK(products == 4);
    CHECK(additions == 3);
  }
}

// Sums of products take denormals for zero, whoever computes them; nothing else does, and the caller's settings stay.
TEST_CASE("numbers too small for a full significand") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* x = net.input("x", {64, 64});
  ir::Value* sum = b.op("add", {{"x", x}, {"y", b.f32(0)}});
  ir::Value* product = b.op("matmul", {{"x", x}, {"y", b.constant(noise({64, 64}, 3))}, {"transpose_x", b.boolean(false)}, {"transpose_y", b.boolean(false)}});
  auto executor = net.executor({sum, product});
  const Tensor in = Tensor::from<float>({64, 64}, std::vector<float>(64 * 64, 1e-39f));
  const uint32_t before = float_mode();
  auto got = executor->run({in});
  REQUIRE(got.ok());
  CHECK((float_mode() & kZeroDenormals) == (before & kZeroDenormals));
  const Tensor &same = (*got)[0].tensor, &products = (*got)[1].tensor;
  for (int64_t i = 0; i < same.size(); ++i) {
    REQUIRE(same.data<float>()[i] == 1e-39f);
    REQUIRE(std::abs(products.data<float>()[i]) < 1e-37f);
    if (kZeroDenormals != 0) REQUIRE(products.data<float>()[i] == 0);
  }
}

// A matrix of one column looks like one of one row; a product of nothing but constants is a constant.
TEST_CASE("weights in codes, stored by columns or multiplied with constants") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* x = net.input("x", {5, 6});
  const auto coded = [&](Dims dims) {
    Tensor codes = noise(dims, 3);
    for (float& code : std::span(codes.mutable_data<float>(), static_cast<size_t>(codes.size()))) code *= 100;
    return b.op("constexpr_affine_dequantize", {{"quantized_data", b.constant(convert(codes, DType::kI8))}, {"zero_point", b.constant(convert(Tensor::scalar<int32_t>(0), DType::kI8))},
                                                {"scale", b.constant(noise({dims[0]}, 4))}, {"axis", b.i32(0)}});
  };
  std::vector<ir::Value*> outputs;
  for (int64_t columns : {1, 6, 7})
    outputs.push_back(b.op("matmul", {{"x", x}, {"y", coded({6, columns})}, {"transpose_x", b.boolean(false)}, {"transpose_y", b.boolean(false)}}));
  outputs.push_back(b.op("linear", {{"x", b.constant(noise({3, 6}, 5))}, {"weight", coded({4, 6})}}));
  auto fast = net.executor(outputs);
  auto plain = Executor::create(*net.function, net.function, {.fuse = false, .fast_kernels = false});
  REQUIRE(plain.ok());
  const Tensor in = noise({5, 6}, 9);
  auto got = fast->run({in}), want = (*plain)->run({in});
  REQUIRE(got.ok());
  REQUIRE(want.ok());
  for (size_t i = 0; i < outputs.size(); ++i) CHECK(max_difference((*got)[i].tensor, (*want)[i].tensor) < 1e-3);
}

TEST_CASE("one row of a product has compact weights where no other shape gives it more") {
  auto kernel = [](Dims declared, Dims given, int64_t k) {
    Net net;
    ir::Value* x = net.input("x", std::move(declared));
    auto executor = net.executor({net.b.op("linear", {{"x", x}, {"weight", net.b.constant(noise({800, k}, 3))}, {"bias", net.b.constant(noise({800}, 5))}})});
    auto plain = net.executor(net.function->body->outputs, {.fast_kernels = false});
    const Tensor input = noise(given, 7);
    auto found = executor->run({input}), expected = plain->run({input});
    REQUIRE(found.ok());
    REQUIRE(expected.ok());
    CHECK(max_difference((*found)[0].tensor, (*expected)[0].tensor) < 1e-4);
    for (const StepInfo& s : executor->last_plan()->steps)
      if (s.kind == "linear") return s.refused.empty() ? s.kernel : s.kernel + ", not " + s.refused[0];
    return std::string("none");
  };
  for (const std::string& target : kernel_targets()) {
    select_kernel_target(target);
    CAPTURE(target);
    const bool compact = target.starts_with("avx");
    CHECK(kernel({1, 600}, {1, 600}, 600) == (compact ? "gemv compact" : "gemv packed, not gemv compact: no kernel for this instruction set"));
    CHECK(kernel({2, 600}, {2, 600}, 600) == "gemm packed, not gemv compact: more than one row");
    CHECK(kernel({-1, 600}, {1, 600}, 600) == "gemv packed, not gemv compact: inputs of other shapes may give it more rows");
    if (compact) CHECK(kernel({1, 60}, {1, 60}, 60) == "gemv packed, not gemv compact: the weights stay in a near cache");
  }
  select_kernel_target("");
}
