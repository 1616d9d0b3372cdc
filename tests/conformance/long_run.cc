// Predictions without end: two networks of unknown extents, at shapes that keep changing (more of them than plans are
// kept) and on one thread and two in turn. Every answer must be, bit by bit, the one that the same shape gave first, and
// memory must stay what it was after a tenth of the run.
//
//   long_run [PREDICTIONS]      100000 unless given; exit status 1 when an answer changed or memory grew
#include <fmt/core.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "lib/base/cpu.h"
#include "lib/base/threads.h"
#include "lib/ops/builder.h"
#include "lib/runtime/executor.h"

using namespace mlt;
using ops::OpBuilder;
using ops::Opset;

namespace {

uint32_t seed = 1;
uint32_t next() { return seed = seed * 1664525u + 1013904223u; }

Tensor noise(Dims dims, float scale = 1) {
  Tensor t = Tensor::uninitialized(DType::kF32, std::move(dims));
  for (int64_t i = 0; i < t.size(); ++i) t.mutable_data<float>()[i] = scale * (static_cast<float>(next() >> 8) * 0x1p-23f - 1);
  return t;
}

struct Network {
  std::shared_ptr<ir::Function> function = std::make_shared<ir::Function>();
  std::unique_ptr<Executor> executor;
  Network() {
    function->name = "main";
    function->opset = std::string(ops::opset_token(Opset::kCoreML8));
  }
  void finish(OpBuilder& b, ir::Value* output) {
    if (!b.ok()) fail(b.status().error());
    function->body->outputs = {output};
    auto made = Executor::create(*function, function, {});
    if (!made) fail(made.error());
    executor = std::move(*made);
  }
  [[noreturn]] static void fail(const Error& error) {
    fmt::print(stderr, "long_run: error: {}\n", error.to_string());
    std::exit(1);
  }
};

ir::Value* conv(OpBuilder& b, ir::Value* x, int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t groups = 1) {
  const int64_t pad = kernel / 2;
  return b.op("relu", {{"x", b.op("conv", {{"x", x}, {"weight", b.constant(noise({out, in / groups, kernel, kernel}, 0.3f))}, {"bias", b.constant(noise({out}))},
                                           {"strides", b.ints({stride, stride})}, {"pad_type", b.string("custom")}, {"pad", b.ints({pad, pad, pad, pad})},
                                           {"dilations", b.ints({1, 1})}, {"groups", b.i32(groups)}})}});
}
ir::Value* linear(OpBuilder& b, ir::Value* x, int64_t in, int64_t out) {
  return b.op("linear", {{"x", x}, {"weight", b.constant(noise({out, in}, 0.3f))}, {"bias", b.constant(noise({out}))}});
}

void images(Network& net) {
  OpBuilder b(*net.function, Opset::kCoreML8);
  ir::Value* x = net.function->add_input("image", ir::Type::tensor(DType::kF32, {ir::kUnknown, 3, ir::kUnknown, ir::kUnknown}));
  x = conv(b, x, 3, 16, 3, 2);
  x = b.op("add", {{"x", x}, {"y", conv(b, x, 16, 16, 3, 1)}});
  x = conv(b, conv(b, x, 16, 16, 3, 1, 16), 16, 24, 1, 1);
  x = b.op("reduce_mean", {{"x", x}, {"axes", b.ints({2, 3})}, {"keep_dims", b.boolean(false)}});
  net.finish(b, b.op("softmax", {{"x", linear(b, x, 24, 10)}, {"axis", b.i32(-1)}}));
}

void tokens(Network& net) {
  OpBuilder b(*net.function, Opset::kCoreML8);
  constexpr int64_t kWidth = 32, kHeads = 4;
  ir::Value* x = net.function->add_input("tokens", ir::Type::tensor(DType::kF32, {1, ir::kUnknown, kWidth}));
  auto split = [&](ir::Value* v) {
    v = b.op("reshape", {{"x", linear(b, v, kWidth, kWidth)}, {"shape", b.ints({1, -1, kHeads, kWidth / kHeads})}});
    return b.op("transpose", {{"x", v}, {"perm", b.ints({0, 2, 1, 3})}});
  };
  ir::Value *q = split(x), *k = split(x), *v = split(x);
  ir::Value* scores = b.op("matmul", {{"x", q}, {"y", k}, {"transpose_x", b.boolean(false)}, {"transpose_y", b.boolean(true)}});
  scores = b.op("softmax", {{"x", scores}, {"axis", b.i32(-1)}});
  ir::Value* y = b.op("matmul", {{"x", scores}, {"y", v}, {"transpose_x", b.boolean(false)}, {"transpose_y", b.boolean(false)}});
  y = b.op("reshape", {{"x", b.op("transpose", {{"x", y}, {"perm", b.ints({0, 2, 1, 3})}})}, {"shape", b.ints({1, -1, kWidth})}});
  x = b.op("add", {{"x", x}, {"y", linear(b, y, kWidth, kWidth)}});
  y = b.op("gelu", {{"x", linear(b, x, kWidth, 64)}, {"mode", b.string("EXACT")}});
  net.finish(b, b.op("add", {{"x", x}, {"y", linear(b, y, 64, kWidth)}}));
}

}  // namespace

int main(int argc, char** argv) {
  const long predictions = argc > 1 ? std::atol(argv[1]) : 100000;
  if (predictions < 10) {
    fmt::print(stderr, "usage: long_run [PREDICTIONS]\n");
    return 2;
  }
  Network networks[2];
  images(networks[0]);
  tokens(networks[1]);
  struct Known {
    Tensor input, answer;
  };
  std::map<std::pair<int, Dims>, Known> known;
  size_t settled = 0;
  for (long i = 0; i < predictions; ++i) {
    const int which = static_cast<int>(next() >> 16) & 1;
    auto pick = [](int64_t lo, int64_t count) { return lo + static_cast<int64_t>(next() >> 16) % count; };
    Dims dims = which == 0 ? Dims{pick(1, 2), 3, 9 + 7 * pick(0, 4), 9 + 7 * pick(0, 4)} : Dims{1, pick(1, 24), 32};
    if (i % 64 == 0) set_thread_count(1 + static_cast<int>(i / 64 % 2));
    auto it = known.find({which, dims});
    const bool first = it == known.end();
    if (first) it = known.emplace(std::pair{which, dims}, Known{noise(dims), {}}).first;
    auto result = networks[which].executor->run({it->second.input});
    if (!result) Network::fail(result.error());
    const Tensor& answer = (*result)[0].tensor;
    if (first) {
      it->second.answer = answer.clone();
    } else if (answer.dims() != it->second.answer.dims() || std::memcmp(answer.bytes().data(), it->second.answer.bytes().data(), answer.bytes().size()) != 0) {
      fmt::print(stderr, "long_run: prediction {}: another answer than this shape's first ({})\n", i, dims_text(dims));
      return 1;
    }
    if (i == predictions / 10) settled = current_resident_bytes();
  }
  const size_t now = current_resident_bytes();
  const double grown = (static_cast<double>(now) - static_cast<double>(settled)) / 1048576;
  fmt::print("{} predictions at {} shapes, the same answers; resident memory {:.1f} MiB, {:+.1f} MiB since the first tenth\n", predictions, known.size(),
             static_cast<double>(now) / 1048576, grown);
  return grown > 8 ? 1 : 0;
}
