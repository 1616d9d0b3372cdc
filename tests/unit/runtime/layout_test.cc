// Images with channels innermost: what is computed so is what the op table gives.
#include <doctest/doctest.h>

#include <cmath>

#include "lib/base/threads.h"
#include "lib/ops/builder.h"
#include "lib/runtime/executor.h"

using namespace mlt;
using ops::OpBuilder;
using ops::Opset;

namespace {

Tensor noise(Dims dims, uint32_t seed, float lo = -1, float hi = 1) {
  Tensor t = Tensor::uninitialized(DType::kF32, std::move(dims));
  for (int64_t i = 0; i < t.size(); ++i) {
    seed = seed * 1664525u + 1013904223u;
    t.mutable_data<float>()[i] = lo + (hi - lo) * static_cast<float>(seed >> 8) * 0x1p-24f;
  }
  return t;
}

struct Net {
  std::shared_ptr<ir::Function> function = std::make_shared<ir::Function>();
  OpBuilder b;
  std::vector<Tensor> inputs;
  uint32_t seed = 7;
  Net() : b(*function, Opset::kCoreML8) {
    function->name = "main";
    function->opset = std::string(ops::opset_token(Opset::kCoreML8));
  }
  ir::Value* input(std::string name, Dims dims) {
    inputs.push_back(noise(dims, static_cast<uint32_t>(inputs.size() + 1)));
    return function->add_input(std::move(name), ir::Type::tensor(DType::kF32, std::move(dims)));
  }
  ir::Value* conv(ir::Value* x, int64_t in, int64_t out, int64_t kernel, int64_t stride = 1, int64_t groups = 1) {
    const float size = std::sqrt(3.0f / static_cast<float>(in / groups * kernel * kernel));
    return b.op("conv", {{"x", x}, {"weight", b.constant(noise({out, in / groups, kernel, kernel}, ++seed, -size, size))}, {"bias", b.constant(noise({out}, ++seed))},
                         {"strides", b.ints({stride, stride})}, {"pad_type", b.string("custom")},
                         {"pad", b.ints({kernel / 2, kernel / 2, kernel / 2, kernel / 2})}, {"dilations", b.ints({1, 1})}, {"groups", b.i32(groups)}});
  }
  ir::Value* relu(ir::Value* x) { return b.op("relu", {{"x", x}}); }
  ir::Value* pair(const char* kind, ir::Value* x, ir::Value* y) { return b.op(kind, {{"x", x}, {"y", y}}); }
  ir::Value* concat(std::vector<ir::Value*> values) {
    return b.op("concat", {{"values", std::move(values)}, {"axis", b.i32(1)}, {"interleave", b.boolean(false)}});
  }
  ir::Value* pool(const char* kind, ir::Value* x, int64_t kernel, int64_t stride, int64_t pad, int64_t wider = 0) {
    std::vector<ops::Input> args{{"x", x}, {"kernel_sizes", b.ints({kernel, kernel + wider})}, {"strides", b.ints({stride, stride})},
                                      {"pad_type", b.string("custom")}, {"pad", b.ints({pad, pad, pad, pad})}, {"ceil_mode", b.boolean(false)}};
    if (std::string_view(kind) == "avg_pool") args.push_back({"exclude_padding_from_average", b.boolean(true)});
    return b.op(kind, args);
  }

  // The answers of the op table and of the fast kernels, on one thread and on two; the kernels of the latter.
  std::vector<std::string> check(std::vector<ir::Value*> outputs) {
    REQUIRE_MESSAGE(b.ok(), (b.ok() ? "" : b.status().error().to_string()));
    function->body->outputs = std::move(outputs);
    auto run = [&](ExecOptions options, std::vector<std::string>* kernels) {
      auto executor = Executor::create(*function, function, options);
      REQUIRE(executor.ok());
      auto first = (*executor)->run(inputs), again = (*executor)->run(inputs);
      REQUIRE_MESSAGE(again.ok(), (again.ok() ? "" : again.error().to_string()));
      for (size_t o = 0; o < again->size(); ++o) {
        auto x = (*first)[o].tensor.bytes(), y = (*again)[o].tensor.bytes();
        REQUIRE(std::equal(x.begin(), x.end(), y.begin(), y.end()));
      }
      if (kernels != nullptr)
        for (const StepInfo& step : (*executor)->last_plan()->steps) kernels->push_back(step.kernel);
      return *again;
    };
    auto want = run({.fast_kernels = false}, nullptr);
    std::vector<std::string> kernels;
    for (int threads : {1, 2}) {
      set_thread_count(threads);
      kernels.clear();
      auto got = run({}, &kernels);
      for (size_t o = 0; o < want.size(); ++o) {
        CAPTURE(o);
        REQUIRE(want[o].tensor.dims() == got[o].tensor.dims());
        double worst = 0;
        for (int64_t i = 0; i < want[o].tensor.size(); ++i)
          worst = std::max<double>(worst, std::abs(want[o].tensor.data<float>()[i] - got[o].tensor.data<float>()[i]));
        CHECK(worst < 1e-4);
      }
    }
    set_thread_count(0);
    return kernels;
  }
};

int64_t count(const std::vector<std::string>& kernels, std::string_view name) {
  int64_t n = 0;
  for (const std::string& k : kernels) n += k.find(name) != std::string::npos;
  return n;
}

}  // namespace

TEST_CASE("layout: a network with everything that keeps channels innermost") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* image = net.input("image", {2, 3, 37, 41});
  ir::Value* x = net.relu(net.conv(image, 3, 24, 3, 2));
  x = net.pool("max_pool", x, 3, 2, 1);  // 10 x 11
  ir::Value* y = net.conv(net.relu(net.conv(x, 24, 24, 3)), 24, 24, 1);
  x = net.relu(net.pair("add", x, y));
  x = net.relu(net.conv(x, 24, 24, 3, 1, 24));  // depthwise
  // A gate for each channel.
  ir::Value* s = b.op("reduce_mean", {{"x", x}, {"axes", b.ints({2, 3})}, {"keep_dims", b.boolean(true)}});
  s = b.op("sigmoid", {{"x", net.conv(net.relu(net.conv(s, 24, 6, 1)), 6, 24, 1)}});
  x = net.pair("mul", x, s);
  // A fire module: both convolutions write into the concatenation; the second concatenation copies one part.
  ir::Value* squeezed = net.relu(net.conv(x, 24, 13, 1));
  x = net.concat({net.relu(net.conv(squeezed, 13, 17, 1)), net.relu(net.conv(squeezed, 13, 19, 3))});
  x = net.concat({x, net.conv(x, 36, 8, 1), squeezed});
  x = b.op("batch_norm", {{"x", x}, {"mean", b.constant(noise({57}, 90))}, {"variance", b.constant(noise({57}, 91, 0.5f, 2))},
                          {"gamma", b.constant(noise({57}, 92))}, {"beta", b.constant(noise({57}, 93))}, {"epsilon", b.f32(1e-5f)}});
  x = b.op("upsample_nearest_neighbor", {{"x", x}, {"scale_factor_height", b.f32(2)}, {"scale_factor_width", b.f32(2)}});
  x = net.pool("avg_pool", x, 3, 1, 1);
  x = net.pair("mul", x, b.constant(noise({57, 1, 1}, 94)));
  x = net.pair("sub", b.f32(0.25f), x);
  auto kernels = net.check({x, squeezed, net.pool("avg_pool", net.conv(x, 57, 20, 1), 20, 1, 0, 2)});
  CHECK(count(kernels, "nhwc") >= 14);
  CHECK(count(kernels, "channels last") == 1);    // the picture
  CHECK(count(kernels, "channels first") == 2);   // two outputs; the third is what the pooling leaves of an image
  CHECK(count(kernels, "nhwc depthwise") == 1);
}

TEST_CASE("layout: parts of images, and readers that want them as declared") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* x = net.relu(net.conv(net.input("x", {1, 16, 24, 24}), 16, 32, 3));
  auto parts = b.ops("split", {{"x", x}, {"num_splits", b.i32(2)}, {"axis", b.i32(1)}});
  REQUIRE(parts.size() == 2);
  ir::Value* y = net.concat({parts[0], net.relu(net.conv(parts[1], 16, 16, 3)), parts[1]});
  y = net.relu(net.conv(y, 48, 32, 1));
  ir::Value* flat = b.op("reshape", {{"x", y}, {"shape", b.ints({1, 32 * 24 * 24})}});
  ir::Value* turned = b.op("transpose", {{"x", y}, {"perm", b.ints({0, 3, 1, 2})}});
  ir::Value* rows = b.op("reduce_max", {{"x", y}, {"axes", b.ints({3})}, {"keep_dims", b.boolean(false)}});
  auto kernels = net.check({flat, turned, rows, b.op("softmax", {{"x", net.conv(y, 32, 5, 1)}, {"axis", b.i32(1)}})});
  CHECK(count(kernels, "nhwc") >= 5);
  CHECK(count(kernels, "channels first") == 2);  // for the four readers of y together one
}

TEST_CASE("layout: what does not pay stays as it is") {
  Net net;
  ir::Value* x = net.conv(net.input("x", {1, 32, 30, 30}), 32, 32, 3, 1, 32);  // depthwise alone
  auto kernels = net.check({net.relu(x)});
  CHECK(count(kernels, "nhwc") == 0);
  CHECK(count(kernels, "channels") == 0);
}
