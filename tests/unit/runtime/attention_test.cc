// Attention in its many spellings: what is fused gives what the op table gives.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "lib/ops/builder.h"
#include "lib/runtime/executor.h"

using namespace mlt;
using ops::OpBuilder;
using ops::Opset;

namespace {

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
  std::vector<Tensor> inputs;
  Net() : b(*function, Opset::kCoreML8) {
    function->name = "main";
    function->opset = std::string(ops::opset_token(Opset::kCoreML8));
  }
  ir::Value* input(std::string name, Dims dims) {
    inputs.push_back(noise(dims, static_cast<uint32_t>(inputs.size() + 1)));
    return function->add_input(std::move(name), ir::Type::tensor(DType::kF32, std::move(dims)));
  }
  ir::Value* linear(ir::Value* x, int64_t in, int64_t out, uint32_t seed) {
    return b.op("linear", {{"x", x}, {"weight", b.constant(noise({out, in}, seed))}, {"bias", b.constant(noise({out}, seed + 1))}});
  }
  ir::Value* heads(ir::Value* x, const Dims& shape, const Dims& perm) {
    return b.op("transpose", {{"x", b.op("reshape", {{"x", x}, {"shape", b.ints(shape)}})}, {"perm", b.ints(perm)}});
  }
  ir::Value* matmul(ir::Value* x, ir::Value* y, bool transpose_y) {
    return b.op("matmul", {{"x", x}, {"y", y}, {"transpose_x", b.boolean(false)}, {"transpose_y", b.boolean(transpose_y)}});
  }
  ir::Value* softmax(ir::Value* x) { return b.op("softmax", {{"x", x}, {"axis", b.i32(-1)}}); }

  // The answers with and without fast kernels; how many steps are attention.
  int check(std::vector<ir::Value*> outputs) {
    REQUIRE_MESSAGE(b.ok(), (b.ok() ? "" : b.status().error().to_string()));
    function->body->outputs = std::move(outputs);
    std::vector<std::vector<ops::RtValue>> answers;
    int found = 0;
    for (ExecOptions options : {ExecOptions{.fast_kernels = false}, ExecOptions{}, ExecOptions{.fuse = false}}) {
      auto executor = Executor::create(*function, function, options);
      REQUIRE(executor.ok());
      auto result = (*executor)->run(inputs);
      REQUIRE_MESSAGE(result.ok(), (result.ok() ? "" : result.error().to_string()));
      answers.push_back(std::move(*result));
      if (options.fuse && options.fast_kernels)
        for (const StepInfo& step : (*executor)->last_plan()->steps) found += step.kernel.starts_with("attention");
    }
    for (size_t a = 1; a < answers.size(); ++a)
      for (size_t o = 0; o < answers[0].size(); ++o) {
        const Tensor &want = answers[0][o].tensor, &got = answers[a][o].tensor;
        REQUIRE(want.dims() == got.dims());
        CAPTURE(a);
        for (int64_t i = 0; i < want.size(); ++i) REQUIRE(std::abs(want.data<float>()[i] - got.data<float>()[i]) < 1e-4);
      }
    return found;
  }
};

}  // namespace

TEST_CASE("attention spelled out, behind linear layers") {
  Net net;
  ir::Value *x = net.input("x", {2, 11, 12}), *mask = net.input("mask", {2, 1, 1, 11});
  OpBuilder& b = net.b;
  ir::Value* q = net.heads(net.linear(x, 12, 12, 1), {2, 11, 3, 4}, {0, 2, 1, 3});
  ir::Value* k = net.heads(net.linear(x, 12, 12, 3), {2, 11, 3, 4}, {0, 2, 3, 1});
  ir::Value* v = net.heads(net.linear(x, 12, 12, 5), {2, 11, 3, 4}, {0, 2, 1, 3});
  ir::Value* scores = b.op("real_div", {{"x", net.matmul(q, k, false)}, {"y", b.f32(2)}});
  ir::Value* weights = net.softmax(b.op("add", {{"x", mask}, {"y", scores}}));
  ir::Value* y = b.op("transpose", {{"x", net.matmul(weights, v, false)}, {"perm", b.ints({0, 2, 1, 3})}});
  CHECK(net.check({net.linear(b.op("reshape", {{"x", y}, {"shape", b.ints({2, 11, 12})}}), 12, 5, 7)}) == 1);
}

TEST_CASE("attention on a split projection and a cache") {
  for (int64_t tokens : {1, 6}) {
    Net net;
    ir::Value *x = net.input("x", {1, tokens, 12}), *past = net.input("past", {1, 3, 9, 4});
    OpBuilder& b = net.b;
    auto parts = b.ops("split", {{"x", net.linear(x, 12, 36, 1)}, {"split_sizes", b.ints({12, 12, 12})}, {"axis", b.i32(-1)}});
    REQUIRE(parts.size() == 3);
    auto head = [&](ir::Value* part) { return net.heads(part, {1, tokens, 3, 4}, {0, 2, 1, 3}); };
    auto join = [&](ir::Value* part) {
      return b.op("concat", {{"values", std::vector<ir::Value*>{past, head(part)}}, {"axis", b.i32(2)}, {"interleave", b.boolean(false)}});
    };
    ir::Value *k = join(parts[1]), *v = join(parts[2]);
    ir::Value* scores = b.op("mul", {{"x", b.f32(0.5f)}, {"y", net.matmul(head(parts[0]), k, true)}});
    CHECK(net.check({net.matmul(net.softmax(scores), v, false), k}) == 1);
  }
}

TEST_CASE("what looks like attention and is not") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value *q = net.input("q", {1, 3, 5, 4}), *k = net.input("k", {1, 3, 7, 4}), *v = net.input("v", {1, 3, 7, 2});
  // The scores are read twice.
  ir::Value* scores = net.matmul(q, k, true);
  ir::Value* weights = net.softmax(scores);
  // Softmax along the queries.
  ir::Value* other = b.op("softmax", {{"x", net.matmul(q, k, true)}, {"axis", b.i32(2)}});
  // A factor that is no number.
  ir::Value* third = net.softmax(b.op("mul", {{"x", net.matmul(q, k, true)}, {"y", b.constant(noise({7}, 3))}}));
  CHECK(net.check({net.matmul(weights, v, false), scores, net.matmul(other, v, false), net.matmul(third, v, false)}) == 0);
}

// As Swin transformers spell it: queries, keys and values behind one another, queries scaled first, positions and then windows
// masked, these as a batch within the batch.
TEST_CASE("attention in shifted windows") {
  Net net;
  OpBuilder& b = net.b;
  constexpr int64_t kWindows = 4, kTokens = 9, kHeads = 3, kDepth = 4;
  ir::Value* x = net.input("x", {kWindows, kTokens, kHeads * kDepth});
  ir::Value* all = net.heads(net.linear(x, kHeads * kDepth, 3 * kHeads * kDepth, 1), {kWindows, kTokens, 3, kHeads, kDepth}, {2, 0, 3, 1, 4});
  const auto part = [&](int32_t i) { return b.op("gather", {{"x", all}, {"indices", b.i32(i)}, {"axis", b.i32(0)}}); };
  ir::Value* scores = net.matmul(b.op("mul", {{"x", part(0)}, {"y", b.f32(0.5f)}}), part(-2), true);
  Tensor windows = noise({1, kWindows, 1, kTokens, kTokens}, 5);
  for (int64_t i = 0; i < windows.size(); ++i) windows.mutable_data<float>()[i] = windows.data<float>()[i] < 0 ? -100.0f : 0.0f;
  scores = b.op("add", {{"x", scores}, {"y", b.constant(noise({1, kHeads, kTokens, kTokens}, 4))}});
  scores = b.op("reshape", {{"x", scores}, {"shape", b.ints({1, kWindows, kHeads, kTokens, kTokens})}});
  scores = b.op("add", {{"x", scores}, {"y", b.constant(windows)}});
  scores = b.op("reshape", {{"x", scores}, {"shape", b.ints({kWindows, kHeads, kTokens, kTokens})}});
  ir::Value* y = b.op("transpose", {{"x", net.matmul(net.softmax(scores), part(2), false)}, {"perm", b.ints({0, 2, 1, 3})}});
  CHECK(net.check({y}) == 1);
}

TEST_CASE("scores that a condition replaces") {
  // Of low numbers that leave nothing of a key, each way round; the others stay as they are written.
  for (float low : {-INFINITY, std::numeric_limits<float>::lowest(), -1e4f})
    for (bool kept : {true, false}) {
      CAPTURE(low);
      CAPTURE(kept);
      Net net;
      OpBuilder& b = net.b;
      ir::Value *q = net.input("q", {2, 3, 5, 4}), *k = net.input("k", {2, 3, 7, 4}), *v = net.input("v", {2, 3, 7, 2}), *m = net.input("m", {2, 1, 5, 7});
      ir::Value* flags = b.op(kept ? "less" : "greater", {{"x", m}, {"y", b.f32(0.7f)}});
      ir::Value *scores = b.op("mul", {{"x", net.matmul(q, k, true)}, {"y", b.f32(0.5f)}}), *fill = b.constant(Tensor::from<float>({1}, std::vector<float>{low}));
      ir::Value* chosen = b.op("select", {{"cond", flags}, {"a", kept ? scores : fill}, {"b", kept ? fill : scores}});
      chosen = b.op("add", {{"x", chosen}, {"y", net.input("bias", {1, 3, 5, 7})}});
      CHECK(net.check({net.matmul(net.softmax(chosen), v, false)}) == (low < -1e30f ? 1 : 0));
    }
}

TEST_CASE("scores that a condition replaces after something was added stay so") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value *q = net.input("q", {2, 5, 4}), *k = net.input("k", {2, 7, 4}), *v = net.input("v", {2, 7, 2});
  ir::Value* none = b.constant(Tensor::from<float>({5, 7}, std::vector<float>(35, -INFINITY)));
  ir::Value* fill = b.constant(Tensor::from<float>({1}, std::vector<float>{std::numeric_limits<float>::lowest()}));
  ir::Value* scores = b.op("add", {{"x", net.matmul(q, k, true)}, {"y", none}});
  // No key is left for any query: all count the same.
  ir::Value* chosen = b.op("select", {{"cond", b.op("less", {{"x", net.input("m", {5, 7})}, {"y", b.f32(-2)}})}, {"a", scores}, {"b", fill}});
  CHECK(net.check({net.matmul(net.softmax(chosen), v, false)}) == 0);
}

TEST_CASE("factors of queries and keys") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value *x = net.input("x", {2, 6, 12}), *past = net.input("past", {2, 6, 12});
  const auto halved = [&](ir::Value* in) { return b.op("real_div", {{"x", in}, {"y", b.f32(2)}}); };
  ir::Value* q = net.heads(halved(net.linear(x, 12, 12, 1)), {2, 6, 3, 4}, {0, 2, 1, 3});
  ir::Value* k = halved(net.heads(past, {2, 6, 3, 4}, {0, 2, 1, 3}));
  // A factor by element is none of these.
  ir::Value* v = b.op("mul", {{"x", net.heads(x, {2, 6, 3, 4}, {0, 2, 1, 3})}, {"y", b.constant(noise({4}, 8))}});
  ir::Value* first = net.matmul(net.softmax(net.matmul(q, k, true)), v, false);
  ir::Value* second = net.matmul(net.softmax(net.matmul(v, k, true)), q, false);
  CHECK(net.check({first, second, k}) == 2);
}

TEST_CASE("scaled_dot_product_attention with masks of both kinds") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value *q = net.input("q", {2, 3, 5, 8}), *k = net.input("k", {2, 3, 7, 8}), *v = net.input("v", {2, 3, 7, 6}), *m = net.input("m", {5, 7});
  ir::Value* flags = b.op("greater", {{"x", m}, {"y", b.f32(-0.5f)}});
  ir::Value* plain = b.op("scaled_dot_product_attention", {{"query", q}, {"key", k}, {"value", v}});
  ir::Value* added = b.op("scaled_dot_product_attention", {{"query", q}, {"key", k}, {"value", v}, {"attn_mask", m}});
  ir::Value* chosen = b.op("scaled_dot_product_attention", {{"query", q}, {"key", k}, {"value", v}, {"attn_mask", flags}});
  CHECK(net.check({plain, added, chosen}) == 3);
}

TEST_CASE("caches come and go without copies, and keep their numbers") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value *past = net.input("past", {4, 1, 2, 200, 16}), *x = net.input("x", {1, 2, 1, 16});
  std::vector<ir::Value*> next;
  ir::Value* y = x;
  for (int64_t layer = 0; layer < 2; ++layer) {
    std::vector<ir::Value*> kv;
    for (int64_t i = 0; i < 2; ++i) {
      ir::Value* old = b.op("gather", {{"x", past}, {"indices", b.i32(2 * layer + i)}, {"axis", b.i32(0)}});
      kv.push_back(b.op("concat", {{"values", std::vector<ir::Value*>{old, y}}, {"axis", b.i32(2)}, {"interleave", b.boolean(false)}}));
      next.push_back(b.op("expand_dims", {{"x", kv.back()}, {"axes", b.ints({0})}}));
    }
    y = net.matmul(net.softmax(net.matmul(y, kv[0], true)), kv[1], false);
  }
  ir::Value* all = b.op("concat", {{"values", next}, {"axis", b.i32(0)}, {"interleave", b.boolean(false)}});
  const Tensor before = net.inputs[0].clone();
  CHECK(net.check({y, all}) == 2);
  CHECK(same_bytes(before, net.inputs[0]));
  // A result that somebody holds is not written again; its bytes come back as the next input.
  auto executor = Executor::create(*net.function, net.function, {});
  REQUIRE(executor.ok());
  auto first = (*executor)->run(net.inputs);
  REQUIRE(first.ok());
  const Tensor held = (*first)[1].tensor, copy = held.clone();
  net.inputs[1] = noise({1, 2, 1, 16}, 77);
  auto second = (*executor)->run(net.inputs);
  REQUIRE(second.ok());
  CHECK(same_bytes(held, copy));
  CHECK_FALSE(same_bytes((*second)[1].tensor, copy));
}

TEST_CASE("pieces of a value, views and concatenations in every order") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value *x = net.input("x", {6, 40}), *z = net.input("z", {2, 40});
  auto parts = b.ops("split", {{"x", b.op("exp", {{"x", x}})}, {"num_splits", b.i32(3)}, {"axis", b.i32(0)}});
  REQUIRE(parts.size() == 3);
  auto join = [&](std::vector<ir::Value*> list) { return b.op("concat", {{"values", list}, {"axis", b.i32(0)}, {"interleave", b.boolean(false)}}); };
  ir::Value* sum = b.op("add", {{"x", parts[0]}, {"y", parts[2]}});
  ir::Value* twice = join({sum, parts[1], sum, z});
  ir::Value* slice = b.op("slice_by_index", {{"x", twice}, {"begin", b.ints({1, 0})}, {"end", b.ints({5, 40})}});
  ir::Value* changed = b.op("relu", {{"x", b.op("sub", {{"x", slice}, {"y", b.f32(1)}})}});
  ir::Value* row = b.op("gather", {{"x", changed}, {"indices", b.i32(2)}, {"axis", b.i32(0)}});
  ir::Value* nested = join({twice, changed, b.op("expand_dims", {{"x", row}, {"axes", b.ints({0})}}), sum});
  ir::Value* wide = b.op("add", {{"x", nested}, {"y", row}});  // a row of it, broadcast
  net.check({wide, twice, changed, row, nested, sum, parts[1]});
}
