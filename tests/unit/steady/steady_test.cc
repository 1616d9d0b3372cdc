// What a prediction that only repeats the last one takes from the system: nothing. The C library's allocator is counted.
#include <doctest/doctest.h>

#include "cmd/mlprofile_allocations.h"
#include "lib/base/float16.h"
#include "tests/unit/runtime/net.h"

using namespace mlt;
using namespace mlt_test_net;

namespace {

int64_t allocations() { return static_cast<int64_t>(allocation_count()); }
// Sanitizers bring an allocator of their own.
bool skipped() {
  if (allocation_count == nullptr) MESSAGE("skipped: allocations cannot be counted here");
  return allocation_count == nullptr;
}

// Allocations of each of some runs after the first two, and whether the answers stay the same bit by bit.
int64_t allocations_of(Net& net, std::vector<ir::Value*> outputs, int threads) {
  REQUIRE_MESSAGE(net.b.ok(), (net.b.ok() ? "" : net.b.status().error().to_string()));
  net.function->body->outputs = std::move(outputs);
  set_thread_count(threads);
  auto executor = Executor::create(*net.function, net.function, {});
  REQUIRE(executor.ok());
  auto want = (*executor)->run(net.inputs);
  REQUIRE_MESSAGE(want.ok(), (want.ok() ? "" : want.error().to_string()));
  std::vector<Tensor> results;
  for (const auto& value : *want) results.push_back(Tensor::zeros(value.tensor.dtype(), value.tensor.dims()));
  REQUIRE((*executor)->run_into(net.inputs, results).ok());
  const int64_t before = allocations();
  bool ok = true;
  for (int i = 0; i < 5; ++i) ok = (*executor)->run_into(net.inputs, results).ok() && ok;
  const int64_t taken = allocations() - before;
  CHECK(ok);
  for (size_t i = 0; i < results.size(); ++i) {
    auto x = results[i].bytes(), y = (*want)[i].tensor.bytes();
    CHECK(std::equal(x.begin(), x.end(), y.begin(), y.end()));
  }
  set_thread_count(0);
  return taken;
}

ir::Value* linear(Net& net, ir::Value* x, int64_t in, int64_t out) {
  return net.b.op("linear", {{"x", x}, {"weight", net.b.constant(noise({out, in}, ++net.seed, -0.2f, 0.2f))}, {"bias", net.b.constant(noise({out}, ++net.seed))}});
}

}  // namespace

TEST_CASE("steady: the counter counts") {
  if (skipped()) return;
  const int64_t before = allocations();
  auto* volatile text = new std::string(100, 'x');
  delete text;
  CHECK(allocations() - before == 2);
}

TEST_CASE("steady: a convolutional network allocates nothing") {
  if (skipped()) return;
  for (int threads : {1, 2}) {
    Net net;
    ir::Value* image = net.input("image", {1, 3, 65, 65});
    ir::Value* x = net.relu(net.conv(image, 3, 24, 3, 2));
    x = net.pool("max_pool", x, 3, 2, 1);
    x = net.relu(net.pair("add", x, net.conv(net.relu(net.conv(x, 24, 24, 3)), 24, 24, 1)));
    x = net.relu(net.conv(x, 24, 24, 3, 1, 24));
    ir::Value* squeezed = net.relu(net.conv(x, 24, 13, 1));
    x = net.concat({net.relu(net.conv(squeezed, 13, 17, 1)), net.relu(net.conv(squeezed, 13, 19, 3))});
    x = net.b.op("reduce_mean", {{"x", x}, {"axes", net.b.ints({2, 3})}, {"keep_dims", net.b.boolean(false)}});
    x = net.b.op("softmax", {{"x", linear(net, x, 36, 10)}, {"axis", net.b.i32(-1)}});
    CHECK(allocations_of(net, {x}, threads) == 0);
  }
}

TEST_CASE("steady: a transformer's block allocates nothing") {
  if (skipped()) return;
  for (int threads : {1, 2}) {
    Net net;
    OpBuilder& b = net.b;
    const int64_t tokens = 17, width = 64, heads = 4;
    ir::Value* x = net.input("x", {1, tokens, width});
    ir::Value* y = b.op("layer_norm", {{"x", x}, {"axes", b.ints({-1})}, {"gamma", b.constant(noise({width}, 90))}, {"beta", b.constant(noise({width}, 91))}, {"epsilon", b.f32(1e-5f)}});
    auto split = [&](ir::Value* v) {
      v = b.op("reshape", {{"x", linear(net, v, width, width)}, {"shape", b.ints({1, tokens, heads, width / heads})}});
      return b.op("transpose", {{"x", v}, {"perm", b.ints({0, 2, 1, 3})}});
    };
    ir::Value *q = split(y), *k = split(y), *v = split(y);
    ir::Value* scores = b.op("matmul", {{"x", q}, {"y", k}, {"transpose_x", b.boolean(false)}, {"transpose_y", b.boolean(true)}});
    scores = b.op("softmax", {{"x", net.pair("mul", scores, b.f32(0.25f))}, {"axis", b.i32(-1)}});
    y = b.op("matmul", {{"x", scores}, {"y", v}, {"transpose_x", b.boolean(false)}, {"transpose_y", b.boolean(false)}});
    y = b.op("reshape", {{"x", b.op("transpose", {{"x", y}, {"perm", b.ints({0, 2, 1, 3})}})}, {"shape", b.ints({1, tokens, width})}});
    x = net.pair("add", x, linear(net, y, width, width));
    y = b.op("gelu", {{"x", linear(net, x, width, 3 * width)}, {"mode", b.string("EXACT")}});
    x = net.pair("add", x, linear(net, y, 3 * width, width));
    CHECK(allocations_of(net, {x}, threads) == 0);
  }
}

namespace {

// Keys and values of a step: a large input read through views, and a large output put together from it.
std::vector<ir::Value*> decoding_step(Net& net) {
  OpBuilder& b = net.b;
  const int64_t heads = 4, depth = 16, cached = 160;
  ir::Value* x = net.input("x", {1, 1, heads * depth});
  ir::Value* past = net.input("past", {4, 1, heads, cached, depth});
  std::vector<ir::Value*> caches;
  for (int layer = 0; layer < 2; ++layer) {
    auto split = [&](ir::Value* v) {
      v = b.op("reshape", {{"x", linear(net, v, 64, 64)}, {"shape", b.ints({1, 1, heads, depth})}});
      return b.op("transpose", {{"x", v}, {"perm", b.ints({0, 2, 1, 3})}});
    };
    ir::Value *q = split(x), *both[2];
    for (int i = 0; i < 2; ++i) {
      ir::Value* old = b.op("gather", {{"x", past}, {"indices", b.i32(2 * layer + i)}, {"axis", b.i32(0)}});
      both[i] = b.op("concat", {{"values", {old, split(x)}}, {"axis", b.i32(2)}, {"interleave", b.boolean(false)}});
      caches.push_back(b.op("expand_dims", {{"x", both[i]}, {"axes", b.ints({0})}}));
    }
    ir::Value* y = b.op("scaled_dot_product_attention", {{"query", q}, {"key", both[0]}, {"value", both[1]}});
    y = b.op("reshape", {{"x", b.op("transpose", {{"x", y}, {"perm", b.ints({0, 2, 1, 3})}})}, {"shape", b.ints({1, 1, 64})}});
    x = net.pair("add", x, linear(net, y, 64, 64));
  }
  ir::Value* present = b.op("concat", {{"values", caches}, {"axis", b.i32(0)}, {"interleave", b.boolean(false)}});
  return {linear(net, x, 64, 30000), present};
}

}  // namespace

TEST_CASE("steady: a decoding step allocates nothing") {
  if (skipped()) return;
  for (int threads : {1, 2}) {
    Net net;
    std::vector<ir::Value*> outputs = decoding_step(net);
    CHECK(allocations_of(net, outputs, threads) == 0);
  }
}

TEST_CASE("steady: results made where the caller wants them") {
  Net net;
  std::vector<ir::Value*> outputs = decoding_step(net);
  REQUIRE_MESSAGE(net.b.ok(), (net.b.ok() ? "" : net.b.status().error().to_string()));
  net.function->body->outputs = outputs;
  auto executor = Executor::create(*net.function, net.function, {});
  ExecOptions slow;
  slow.fast_kernels = false;
  auto reference = Executor::create(*net.function, net.function, slow);
  REQUIRE(executor.ok());
  REQUIRE(reference.ok());
  auto want = (*executor)->run(net.inputs), slowly = (*reference)->run(net.inputs);
  REQUIRE(want.ok());
  REQUIRE(slowly.ok());
  for (size_t i = 0; i < want->size(); ++i)
    for (int64_t j = 0; j < (*want)[i].tensor.size(); ++j)
      REQUIRE(std::fabs((*want)[i].tensor.data<float>()[j] - (*slowly)[i].tensor.data<float>()[j]) < 1e-4);
  auto equal = [&](const Tensor& result, size_t i) {
    auto x = result.bytes(), y = (*want)[i].tensor.bytes();
    return std::equal(x.begin(), x.end(), y.begin(), y.end());
  };
  const Dims logits = (*want)[0].tensor.dims(), cache = (*want)[1].tensor.dims();
  // Elsewhere each time; not on a vector's boundary; in another element type; not wanted.
  for (size_t shift : {0, 1, 5}) {
    std::vector<float> memory(static_cast<size_t>((*want)[1].tensor.size()) + shift + 1, -7.0f);
    std::vector<Tensor> results{Tensor::zeros(DType::kF32, logits), Tensor::window(DType::kF32, cache, reinterpret_cast<std::byte*>(memory.data() + shift), nullptr)};
    REQUIRE((*executor)->run_into(net.inputs, results).ok());
    CHECK(equal(results[0], 0));
    CHECK(equal(results[1], 1));
    CHECK(memory.back() == -7.0f);
    if (shift > 0) CHECK(memory[shift - 1] == -7.0f);
  }
  std::vector<Tensor> other{Tensor::zeros(DType::kF16, logits), Tensor()};
  REQUIRE((*executor)->run_into(net.inputs, other).ok());
  CHECK(std::fabs(convert(other[0], DType::kF32).data<float>()[3] - (*want)[0].tensor.data<float>()[3]) < 1e-2f);
  // Over the input.
  std::vector<float> memory(static_cast<size_t>((*want)[1].tensor.size()));
  std::vector<Tensor> inputs = net.inputs;
  for (Tensor& input : inputs) {
    if (input.dims() != Dims{4, 1, 4, 160, 16}) continue;
    std::copy_n(input.data<float>(), input.size(), memory.data());
    input = Tensor::window(DType::kF32, input.dims(), reinterpret_cast<std::byte*>(memory.data()), nullptr);
  }
  std::vector<Tensor> over{Tensor::zeros(DType::kF32, logits), Tensor::window(DType::kF32, cache, reinterpret_cast<std::byte*>(memory.data()), nullptr)};
  REQUIRE((*executor)->run_into(inputs, over).ok());
  CHECK(equal(over[0], 0));
  CHECK(equal(over[1], 1));
  // What is handed out stays as it is.
  auto first = (*executor)->run(net.inputs), second = (*executor)->run(inputs);
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(equal((*first)[1].tensor, 1));
  CHECK((*first)[1].tensor.bytes().data() != (*second)[1].tensor.bytes().data());
}

TEST_CASE("steady: a perceptron of one row allocates nothing") {
  if (skipped()) return;
  Net net;
  ir::Value* x = net.input("x", {1, 64});
  x = net.relu(linear(net, x, 64, 128));
  x = net.relu(linear(net, x, 128, 128));
  x = net.b.op("softmax", {{"x", linear(net, x, 128, 10)}, {"axis", net.b.i32(-1)}});
  CHECK(allocations_of(net, {x}, 2) == 0);
}

TEST_CASE("steady: a state is read and written without allocations") {
  if (skipped()) return;
  Net net;
  OpBuilder& b = net.b;
  const int64_t width = 40'000;
  ir::Value* x = net.input("x", {1, width});
  for (DType held : {DType::kF32, DType::kF16}) {
    ir::Value* kept = net.function->add_input(held == DType::kF32 ? "whole" : "half", ir::Type::state(ir::Type::tensor(held, {1, width})));
    ir::Value* old = b.op("read_state", {{"input", kept}});
    if (held == DType::kF16) old = b.op("cast", {{"x", old}, {"dtype", b.string("fp32")}});
    ir::Value* sum = net.pair("add", old, x);
    if (held == DType::kF16) sum = b.op("cast", {{"x", sum}, {"dtype", b.string("fp16")}});
    x = b.op("coreml_update_state", {{"state", kept}, {"value", sum}});
    if (held == DType::kF16) x = b.op("cast", {{"x", x}, {"dtype", b.string("fp32")}});
  }
  REQUIRE_MESSAGE(b.ok(), (b.ok() ? "" : b.status().error().to_string()));
  net.function->body->outputs = {x};
  auto executor = Executor::create(*net.function, net.function, {});
  REQUIRE(executor.ok());
  auto state = (*executor)->initial_state();
  REQUIRE(state.ok());
  net.inputs = {Tensor::zeros(DType::kF32, {1, width})};
  for (int64_t i = 0; i < width; ++i) net.inputs[0].mutable_data<float>()[i] = static_cast<float>(i % 7) + 0x1p-14f;
  std::vector<Tensor> results = {Tensor::zeros(DType::kF32, {1, width})};
  REQUIRE((*executor)->run_into(net.inputs, results, &*state).ok());
  const int64_t before = allocations();
  bool ok = true;
  for (int i = 0; i < 4; ++i) ok = (*executor)->run_into(net.inputs, results, &*state).ok() && ok;
  CHECK(allocations() - before == 0);
  CHECK(ok);
  bool right = true;
  for (int64_t i = 0; i < width; ++i) {
    const float v = static_cast<float>(i % 7);
    float half = 0;
    for (int run = 1; run <= 5; ++run) half = half_to_float(float_to_half(half + static_cast<float>(run) * (v + 0x1p-14f)));
    right = right && (*state)["whole"].data<float>()[i] == 5 * (v + 0x1p-14f) && (*state)["half"].data<float>()[i] == half && results[0].data<float>()[i] == half;
  }
  CHECK(right);
}
