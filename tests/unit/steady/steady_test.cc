// What a prediction that only repeats the last one takes from the system: nothing. The C library's allocator is counted.
#include <doctest/doctest.h>

#include "cmd/mlprofile_allocations.h"
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

TEST_CASE("steady: a perceptron of one row allocates nothing") {
  if (skipped()) return;
  Net net;
  ir::Value* x = net.input("x", {1, 64});
  x = net.relu(linear(net, x, 64, 128));
  x = net.relu(linear(net, x, 128, 128));
  x = net.b.op("softmax", {{"x", linear(net, x, 128, 10)}, {"axis", net.b.i32(-1)}});
  CHECK(allocations_of(net, {x}, 2) == 0);
}
