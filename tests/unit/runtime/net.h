// Small networks for tests, made op by op, with pseudo-random weights and inputs.
#pragma once
#include <doctest/doctest.h>

#include <cmath>

#include "lib/base/threads.h"
#include "lib/ops/builder.h"
#include "lib/runtime/executor.h"

namespace mlt_test_net {
using namespace mlt;
using ops::OpBuilder;
using ops::Opset;

inline Tensor noise(Dims dims, uint32_t seed, float lo = -1, float hi = 1) {
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

}  // namespace mlt_test_net
