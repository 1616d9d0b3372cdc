// Operations between dequantize and quantize run on codes of eight bits, and give what the op table gives in floats.
#include <doctest/doctest.h>

#include <cmath>

#include "lib/base/threads.h"
#include "lib/kernels/target.h"
#include "lib/ops/builder.h"
#include "lib/runtime/executor.h"
#include "tests/unit/runtime/net.h"

using namespace mlt;
using ops::OpBuilder;
using ops::Opset;
using mlt_test_net::noise;

namespace {

struct Quantized {
  std::shared_ptr<ir::Function> function = std::make_shared<ir::Function>();
  OpBuilder b;
  std::vector<Tensor> inputs;
  uint32_t seed = 3;
  Quantized() : b(*function, Opset::kCoreML7) {
    function->name = "main";
    function->opset = std::string(ops::opset_token(Opset::kCoreML7));
  }
  ir::Value* input(std::string name, Dims dims) {
    inputs.push_back(noise(dims, static_cast<uint32_t>(inputs.size() + 1)));
    return function->add_input(std::move(name), ir::Type::tensor(DType::kF32, std::move(dims)));
  }
  // Integers of [-127, 127] times a scale for each entry of `axis`.
  ir::Value* weights(Dims dims, int64_t axis, bool blocks = false, int zero = 0) {
    Tensor codes = convert(noise(dims, ++seed, static_cast<float>(-127 + zero), 127), DType::kI8);
    int64_t reach = 1;
    for (size_t i = 0; i < dims.size(); ++i) reach *= static_cast<int64_t>(i) == axis ? 1 : dims[i];
    const float size = std::sqrt(3.0f / static_cast<float>(reach)) / 127;
    Tensor scale = noise({dims[static_cast<size_t>(axis)]}, ++seed, 0.5f * size, size);
    if (!blocks)
      return b.op("constexpr_affine_dequantize", {{"quantized_data", b.constant(codes)}, {"zero_point", b.constant(convert(Tensor::scalar<int32_t>(zero), DType::kI8))},
                                                  {"scale", b.constant(scale)}, {"axis", b.i32(static_cast<int32_t>(axis))}});
    Dims shape(dims.size(), 1);
    shape[static_cast<size_t>(axis)] = scale.size();
    return b.op("constexpr_blockwise_shift_scale", {{"data", b.constant(codes)}, {"scale", b.constant(scale.reshaped(shape))}});
  }
  // A step of 1/32 up to 1/8: halves are met often. `type` is int8 or uint8.
  ir::Value* pair(ir::Value* x, float scale, int zero, const char* type = "uint8") {
    const DType dtype = std::string_view(type) == "int8" ? DType::kI8 : DType::kU8;
    ir::Value* z = b.constant(convert(Tensor::scalar<int32_t>(zero), dtype));
    ir::Value* q = b.op("quantize", {{"input", x}, {"zero_point", z}, {"scale", b.f32(scale)}, {"output_dtype", b.string(type)}});
    return b.op("dequantize", {{"input", q}, {"zero_point", z}, {"scale", b.f32(scale)}});
  }
  ir::Value* conv(ir::Value* x, int64_t in, int64_t out, int64_t kernel, int64_t stride = 1, int64_t groups = 1) {
    return b.op("conv", {{"x", x}, {"weight", weights({out, in / groups, kernel, kernel}, 0)}, {"bias", b.constant(noise({out}, ++seed))},
                         {"strides", b.ints({stride, stride})}, {"pad_type", b.string("custom")}, {"pad", b.ints({kernel / 2, kernel / 2, kernel / 2, kernel / 2})},
                         {"dilations", b.ints({1, 1})}, {"groups", b.i32(static_cast<int32_t>(groups))}});
  }
  ir::Value* one(const char* kind, ir::Value* x) { return b.op(kind, {{"x", x}}); }
  ir::Value* two(const char* kind, ir::Value* x, ir::Value* y) { return b.op(kind, {{"x", x}, {"y", y}}); }
  ir::Value* pool(const char* kind, ir::Value* x, int64_t kernel, int64_t stride, int64_t pad) {
    std::vector<ops::Input> args{{"x", x}, {"kernel_sizes", b.ints({kernel, kernel})}, {"strides", b.ints({stride, stride})}, {"pad_type", b.string("custom")},
                                 {"pad", b.ints({pad, pad, pad, pad})}, {"ceil_mode", b.boolean(false)}};
    if (std::string_view(kind) == "avg_pool") args.push_back({"exclude_padding_from_average", b.boolean(true)});
    return b.op(kind, args);
  }

  struct Found {
    std::vector<std::string> kernels, refused;
    double share = 0, worst = 0;  // of answers that are a step away, and the greatest difference in steps
  };
  // On every instruction set, on one thread and on two; `step`: of the outputs' codes.
  Found check(std::vector<ir::Value*> outputs, float step) {
    REQUIRE_MESSAGE(b.ok(), (b.ok() ? "" : b.status().error().to_string()));
    function->body->outputs = std::move(outputs);
    Found found;
    auto run = [&](ExecOptions options) {
      auto executor = Executor::create(*function, function, options);
      REQUIRE(executor.ok());
      auto first = (*executor)->run(inputs), again = (*executor)->run(inputs);
      REQUIRE_MESSAGE(again.ok(), (again.ok() ? "" : again.error().to_string()));
      for (size_t o = 0; o < again->size(); ++o) {
        auto x = (*first)[o].tensor.bytes(), y = (*again)[o].tensor.bytes();
        REQUIRE(std::equal(x.begin(), x.end(), y.begin(), y.end()));
      }
      found.kernels.clear();
      found.refused.clear();
      for (const StepInfo& s : (*executor)->last_plan()->steps) {
        found.kernels.push_back(s.kernel);
        for (const std::string& r : s.refused) found.refused.push_back(r);
      }
      return *again;
    };
    auto want = run({.fast_kernels = false});
    for (const std::string& target : kernel_targets()) {
      select_kernel_target(target);
      for (int threads : {1, 2}) {
        set_thread_count(threads);
        auto got = run({});
        CAPTURE(target);
        for (size_t o = 0; o < want.size(); ++o) {
          CAPTURE(o);
          REQUIRE(want[o].tensor.dims() == got[o].tensor.dims());
          int64_t away = 0;
          for (int64_t i = 0; i < want[o].tensor.size(); ++i) {
            const double steps = std::abs(want[o].tensor.data<float>()[i] - got[o].tensor.data<float>()[i]) / step;
            found.worst = std::max(found.worst, steps);
            away += steps > 0.5;
          }
          found.share = std::max(found.share, static_cast<double>(away) / static_cast<double>(want[o].tensor.size()));
        }
      }
    }
    select_kernel_target("");
    set_thread_count(0);
    return found;
  }
};

int64_t count(const std::vector<std::string>& names, std::string_view part) {
  int64_t n = 0;
  for (const std::string& k : names) n += k.find(part) != std::string::npos;
  return n;
}

}  // namespace

TEST_CASE("int8: one convolution, its activation and its pairs are three steps") {
  for (const char* type : {"uint8", "int8"}) {
    CAPTURE(type);
    Quantized net;
    ir::Value* x = net.pair(net.input("x", {2, 5, 9, 11}), 1.0f / 64, std::string_view(type) == "int8" ? 3 : 120, type);
    x = net.pair(net.one("relu", net.conv(x, 5, 19, 3)), 1.0f / 32, std::string_view(type) == "int8" ? -128 : 0, type);
    auto found = net.check({x}, 1.0f / 32);
    CHECK(found.worst < 1.01);
    CHECK(found.share < 0.01);
    REQUIRE(found.kernels.size() == 3);
    CHECK(found.kernels[0] == "int8 quantize");
    CHECK(found.kernels[2] == "int8 dequantize");
  }
}

TEST_CASE("int8: a result that stays float") {
  Quantized net;
  ir::Value* x = net.pair(net.input("x", {1, 20, 6, 7}), 1.0f / 64, 120);
  ir::Value* y = net.b.op("softmax", {{"x", net.one("sigmoid", net.conv(x, 20, 10, 1))}, {"axis", net.b.i32(1)}});
  auto found = net.check({y, net.conv(x, 20, 4, 3)}, 1);
  CHECK(found.worst < 1e-5);
  CHECK(count(found.kernels, "int8") == 3);
}

TEST_CASE("int8: a residual block, with a pair for each reader of a value") {
  Quantized net;
  ir::Value* x = net.one("relu", net.pair(net.input("x", {1, 24, 14, 13}), 1.0f / 32, 128));
  ir::Value* y = net.one("relu", net.conv(net.pair(x, 1.0f / 64, 10), 24, 16, 1));
  y = net.one("relu", net.conv(net.pair(y, 1.0f / 64, 0), 16, 16, 3, 2));
  y = net.conv(net.pair(y, 1.0f / 64, 0), 16, 40, 1);
  ir::Value* shortcut = net.conv(net.pair(x, 1.0f / 64, 10), 24, 40, 1, 2);
  ir::Value* z = net.one("relu", net.two("add", net.pair(y, 1.0f / 16, 120), net.pair(shortcut, 1.0f / 16, 130)));
  ir::Value* last = net.conv(net.pair(z, 1.0f / 32, 0), 40, 40, 3, 1, 40);
  last = net.b.op("clip", {{"x", last}, {"alpha", net.b.f32(0)}, {"beta", net.b.f32(6)}});
  last = net.pair(net.pool("max_pool", net.pair(last, 6.0f / 255, 0), 3, 2, 1), 6.0f / 255, 0);
  ir::Value* mean = net.pair(net.b.op("reduce_mean", {{"x", last}, {"axes", net.b.ints({-2, -1})}, {"keep_dims", net.b.boolean(false)}}), 6.0f / 255, 0);
  ir::Value* scores = net.b.op("linear", {{"x", mean}, {"weight", net.weights({17, 40}, 0)}, {"bias", net.b.constant(noise({17}, 55))}});
  auto found = net.check({net.pair(scores, 1.0f / 16, 128)}, 1.0f / 16);
  CHECK(found.worst < 1.01);  // steps of inner values are smaller
  CHECK(count(found.kernels, "dequantize") == 1);
  CHECK(count(found.kernels, "int8 add") == 0);  // part of a convolution
  CHECK(count(found.kernels, "product") == 4);
  CHECK(count(found.kernels, "lines") == 1);
  CHECK(count(found.kernels, "depthwise") == 1);
  CHECK(count(found.kernels, "int8 window") == 2);
  CHECK(count(found.kernels, "reference") == 0);
}

TEST_CASE("int8: sums, concatenations, averages and functions of codes") {
  Quantized net;
  ir::Value* a = net.pair(net.input("a", {2, 6, 8, 8}), 1.0f / 64, 128);
  ir::Value* c = net.pair(net.input("c", {2, 6, 8, 8}), 1.0f / 100, 100);
  ir::Value* s = net.pair(net.two("add", a, c), 1.0f / 50, 120);
  ir::Value* joined = net.pair(net.b.op("concat", {{"values", std::vector<ir::Value*>{s, a, c}}, {"axis", net.b.i32(1)}, {"interleave", net.b.boolean(false)}}), 1.0f / 50, 120);
  ir::Value* mean = net.pair(net.pool("avg_pool", joined, 3, 2, 1), 1.0f / 60, 110);
  ir::Value* gate = net.pair(net.one("sigmoid", mean), 1.0f / 256, 0, "uint8");
  ir::Value* other = net.pair(gate, 1.0f / 128, 4, "uint8");
  auto found = net.check({other, joined}, 1.0f / 50);
  CHECK(found.worst < 1.01);
  CHECK(count(found.kernels, "int8 add") == 1);
  CHECK(count(found.kernels, "int8 copy") == 1);
  CHECK(count(found.kernels, "int8 window") == 1);
  CHECK(count(found.kernels, "int8 table") == 1);
}

TEST_CASE("int8: numbers by channel, gates, norms of groups, nearest neighbors, a mean that stays float") {
  Quantized net;
  OpBuilder& b = net.b;
  ir::Value* x = net.pair(net.input("x", {2, 6, 5, 7}), 1.0f / 64, 128);
  ir::Value* gate = net.pair(net.input("g", {2, 6, 1, 1}), 1.0f / 128, 90);
  ir::Value* groups = net.pair(b.op("reshape", {{"x", x}, {"shape", b.ints({2, 3, 70})}}), 1.0f / 64, 128);
  ir::Value* normed = net.pair(b.op("instance_norm", {{"x", groups}, {"gamma", b.constant(noise({3}, 8))}, {"beta", b.constant(noise({3}, 9))}, {"epsilon", b.f32(1e-3f)}}), 1.0f / 40, 128);
  ir::Value* image = net.pair(b.op("reshape", {{"x", normed}, {"shape", b.ints({2, 6, 5, 7})}}), 1.0f / 40, 128);
  ir::Value* scaled = net.pair(net.two("mul", image, b.constant(noise({6, 1, 1}, 10))), 1.0f / 50, 128);
  ir::Value* shifted = net.pair(net.two("add", b.constant(noise({1, 6, 1, 1}, 11)), scaled), 1.0f / 50, 100);
  ir::Value* gated = net.pair(net.two("mul", gate, x), 1.0f / 40, 128);
  ir::Value* large = net.pair(b.op("upsample_nearest_neighbor", {{"x", gated}, {"scale_factor_height", b.f32(2)}, {"scale_factor_width", b.f32(2)}}), 1.0f / 50, 120);
  ir::Value* rows = net.pair(net.two("mul", net.pair(net.input("r", {9, 6}), 1.0f / 64, 128), b.constant(noise({6}, 12))), 1.0f / 50, 128);
  ir::Value* mean = b.op("reduce_mean", {{"x", large}, {"axes", b.ints({2, 3})}, {"keep_dims", b.boolean(true)}});
  auto found = net.check({shifted, large, rows, mean}, 1.0f / 40);
  CHECK(found.worst < 1.3);  // codes a step away, multiplied
  CHECK(found.share < 0.02);
  CHECK(count(found.kernels, "int8 scale") == 4);
  CHECK(count(found.kernels, "int8 norm") == 1);
  CHECK(count(found.kernels, "int8 nearest") == 1);
  CHECK(count(found.kernels, "int8 window") == 1);
  CHECK(found.refused.empty());
}

TEST_CASE("int8: functions spelled out with pairs between are part of the convolution before them") {
  for (const char* type : {"uint8", "int8"}) {
    CAPTURE(type);
    const int mid = std::string_view(type) == "int8" ? 0 : 128, low = mid - 128;
    Quantized net;
    OpBuilder& b = net.b;
    ir::Value* x = net.pair(net.input("x", {1, 8, 9, 10}), 1.0f / 64, mid, type);
    // x * sigmoid(x)
    x = net.pair(net.conv(x, 8, 20, 3), 1.0f / 32, mid, type);
    x = net.pair(net.two("mul", x, net.pair(net.one("sigmoid", x), 1.0f / 256, low, type)), 1.0f / 40, mid - 100, type);
    // x * clip(x + 3, 0, 6) / 6, in floats but for the ends
    x = net.pair(net.conv(x, 20, 20, 1), 1.0f / 32, mid, type);
    ir::Value* gate = b.op("clip", {{"x", net.two("add", x, b.f32(3))}, {"alpha", b.f32(0)}, {"beta", b.f32(6)}});
    x = net.pair(net.two("mul", net.two("real_div", gate, b.f32(6)), x), 1.0f / 40, mid - 100, type);
    // 2 - x, of a depthwise convolution
    x = net.pair(net.conv(x, 20, 20, 3, 1, 20), 1.0f / 32, mid, type);
    x = net.pair(net.two("sub", b.f32(2), x), 1.0f / 30, mid, type);
    auto found = net.check({x}, 1.0f / 30);
    CHECK(found.worst < 2.01);  // inner codes, one away, pass a function
    CHECK(found.share < 0.02);
    CHECK(found.kernels.size() == 5);
    CHECK(count(found.kernels, "table") == 0);
    CHECK(count(found.kernels, "int8") == 5);
  }
}

TEST_CASE("int8: a function whose codes others read as well stays a step, and codes in between that are read") {
  Quantized net;
  ir::Value* x = net.pair(net.input("x", {1, 8, 6, 6}), 1.0f / 64, 128);
  ir::Value* y = net.pair(net.conv(x, 8, 16, 1), 1.0f / 32, 128);
  ir::Value* s = net.pair(net.one("sigmoid", y), 1.0f / 256, 0);
  ir::Value* z = net.pair(net.two("mul", y, s), 1.0f / 40, 60);
  // Of two different tensors there is no table.
  ir::Value* other = net.pair(net.two("mul", z, net.pair(net.conv(x, 8, 16, 3), 1.0f / 32, 128)), 1.0f / 32, 128);
  // NaN, infinities and what overflows the codes go where quantize sends them.
  ir::Value* wild = net.pair(net.one("sqrt", net.two("real_div", y, net.b.f32(0))), 1.0f / 32, 7);
  auto found = net.check({y, s, z, other, wild}, 1.0f / 32);
  CHECK(found.worst < 1.3);
  CHECK(count(found.kernels, "int8 table") == 3);
  CHECK(count(found.kernels, "simd") == 1);
}

TEST_CASE("int8: parts of codes, the same codes again") {
  Quantized net;
  OpBuilder& b = net.b;
  ir::Value* x = net.pair(net.conv(net.pair(net.input("x", {2, 5, 7, 6}), 1.0f / 64, 128), 5, 30, 1), 1.0f / 32, 128);
  std::vector<ir::Value*> parts = b.ops("split", {{"x", x}, {"split_sizes", b.ints({10, 17, 3})}, {"axis", b.i32(1)}});
  ir::Value* first = net.pair(parts[0], 1.0f / 32, 128);       // the same codes
  ir::Value* second = net.pair(parts[1], 1.0f / 20, 100);      // others
  ir::Value* third = net.pair(net.pair(parts[2], 1.0f / 32, 128), 1.0f / 32, 128);
  ir::Value* joined = net.pair(b.op("concat", {{"values", std::vector<ir::Value*>{third, second, first}}, {"axis", b.i32(1)}, {"interleave", b.boolean(false)}}), 1.0f / 32, 128);
  auto found = net.check({joined, net.conv(first, 10, 4, 3)}, 1.0f / 32);
  CHECK(found.worst < 1.6);
  CHECK(count(found.kernels, "int8 copy") == 2);
  CHECK(count(found.kernels, "int8 table") == 0);
  CHECK(count(found.kernels, "int8") == 6);
}

TEST_CASE("int8: convolutions are made where they are concatenated") {
  Quantized net;
  OpBuilder& b = net.b;
  auto join = [&](std::vector<ir::Value*> list) { return b.op("concat", {{"values", std::move(list)}, {"axis", b.i32(1)}, {"interleave", b.boolean(false)}}); };
  ir::Value* x = net.pair(net.input("x", {2, 5, 7, 6}), 1.0f / 64, 128);
  ir::Value* first = net.pair(net.conv(x, 5, 19, 1), 1.0f / 32, 128);
  ir::Value* second = net.pair(net.conv(x, 5, 70, 3), 1.0f / 20, 100);                                    // other codes
  ir::Value* third = net.pair(net.one("sigmoid", net.pair(net.conv(x, 5, 3, 3), 1.0f / 40, 90)), 1.0f / 256, 0);  // and a function of them
  ir::Value* read = net.pair(net.conv(x, 5, 8, 3), 1.0f / 24, 128);                                       // by another too
  ir::Value* joined = net.pair(join({first, second, third}), 1.0f / 32, 128);
  ir::Value* more = net.pair(join({read, net.pair(net.conv(joined, 92, 9, 1), 1.0f / 16, 128)}), 1.0f / 16, 128);
  auto found = net.check({more, net.conv(read, 8, 4, 3)}, 1.0f / 16);
  CHECK(found.worst < 1.6);
  CHECK(count(found.kernels, "in place") == 1);
  CHECK(count(found.kernels, "int8 copy") == 1);
}

TEST_CASE("int8: codes in another order, of another shape, parts along every axis") {
  Quantized net;
  OpBuilder& b = net.b;
  auto pair = [&](ir::Value* v) { return net.pair(v, 1.0f / 32, 128); };
  auto join = [&](std::vector<ir::Value*> list, int axis) { return b.op("concat", {{"values", std::move(list)}, {"axis", b.i32(axis)}, {"interleave", b.boolean(false)}}); };
  auto turn = [&](ir::Value* v, std::vector<int64_t> perm) { return pair(b.op("transpose", {{"x", v}, {"perm", b.ints(perm)}})); };
  auto shape = [&](ir::Value* v, std::vector<int64_t> dims) { return b.op("reshape", {{"x", v}, {"shape", b.ints(dims)}}); };
  ir::Value* x = pair(net.conv(pair(net.input("x", {2, 5, 17, 18})), 5, 36, 3));
  std::vector<ir::Value*> outputs;
  outputs.push_back(pair(shape(x, {2, 36, 306})));                        // from an image
  outputs.push_back(pair(shape(outputs[0], {2, 18, 17, 36})));             // to one
  outputs.push_back(net.pair(shape(x, {2, 18, 36, 17}), 1.0f / 20, 100));  // both, and other codes
  outputs.push_back(pair(shape(outputs[0], {72, 306})));                   // neither
  outputs.push_back(net.pair(b.op("expand_dims", {{"x", outputs[3]}, {"axes", b.ints({0, 1})}}), 1.0f / 25, 90));
  outputs.push_back(turn(x, {0, 2, 3, 1}));
  outputs.push_back(turn(x, {3, 1, 0, 2}));
  outputs.push_back(turn(outputs[0], {-1, 0, 1}));
  for (int axis : {0, 2, -1}) outputs.push_back(pair(join({x, x, x}, axis)));
  outputs.push_back(pair(join({outputs[0], outputs[0]}, 1)));
  for (ir::Value* part : b.ops("split", {{"x", x}, {"split_sizes", b.ints({3, 10, 4})}, {"axis", b.i32(2)}})) outputs.push_back(pair(part));
  for (ir::Value* part : b.ops("split", {{"x", outputs[0]}, {"split_sizes", b.ints({30, 6})}, {"axis", b.i32(-2)}})) outputs.push_back(net.pair(part, 1.0f / 20, 100));
  auto found = net.check(outputs, 1.0f / 32);
  CHECK(found.worst < 1.6);
  CHECK(found.share < 0.01);
  CHECK(count(found.kernels, "int8 copy") == 14);
  CHECK(count(found.kernels, "dequantize") == static_cast<int64_t>(outputs.size()));
  CHECK(found.kernels.size() == 2 + 14 + outputs.size());
}

TEST_CASE("int8: convolutions of one and three axes and of groups") {
  for (bool volume : {false, true}) {
    CAPTURE(volume);
    Quantized net;
    OpBuilder& b = net.b;
    const std::vector<int64_t> once(volume ? 3 : 1, 1), pads(volume ? 6 : 2, 1);
    auto conv = [&](ir::Value* x, int64_t in, int64_t out, int64_t groups) {
      Dims w{out, in / groups, 3};
      if (volume) w.insert(w.end(), {3, 3});
      return b.op("conv", {{"x", x}, {"weight", net.weights(w, 0)}, {"bias", b.constant(noise({out}, ++net.seed))}, {"strides", b.ints(once)}, {"pad_type", b.string("custom")},
                           {"pad", b.ints(pads)}, {"dilations", b.ints(once)}, {"groups", b.i32(static_cast<int32_t>(groups))}});
    };
    ir::Value* x = net.pair(net.input("x", volume ? Dims{2, 6, 4, 5, 7} : Dims{2, 6, 33}), 1.0f / 64, 128);
    ir::Value* y = net.pair(net.one("relu", conv(x, 6, 32, 1)), 1.0f / 32, 0);
    ir::Value* z = net.pair(conv(y, 32, 32, 2), 1.0f / 32, 128);
    z = net.pair(net.two("mul", z, net.pair(net.one("sigmoid", z), 1.0f / 256, 0)), 1.0f / 40, 60);
    ir::Value* sum = net.pair(net.two("add", net.pair(conv(z, 32, 32, 1), 1.0f / 32, 128), y), 1.0f / 16, 128);
    auto found = net.check({sum, conv(sum, 32, 3, 1)}, 1.0f / 16);
    CHECK(found.worst < 1.6);
    CHECK(count(found.kernels, "taps int8") + count(found.kernels, "lines int8") + count(found.kernels, "windows int8") == 4);
    CHECK(count(found.kernels, "int8 add") == 1);
    CHECK(count(found.kernels, "int8") == static_cast<int64_t>(found.kernels.size()));
  }
}

TEST_CASE("int8: products of matrices") {
  Quantized net;
  OpBuilder& b = net.b;
  ir::Value* x = net.pair(net.input("x", {3, 7, 40}), 1.0f / 64, 5, "int8");
  ir::Value* q = b.op("linear", {{"x", x}, {"weight", net.weights({50, 40}, 0)}, {"bias", b.constant(noise({50}, 70))}});
  ir::Value* k = b.op("matmul", {{"x", x}, {"y", net.weights({40, 33}, 1)}, {"transpose_x", b.boolean(false)}, {"transpose_y", b.boolean(false)}});
  k = net.two("add", b.constant(noise({33}, 71)), k);
  k = b.op("gelu", {{"x", k}, {"mode", b.string("EXACT")}});
  ir::Value* v = b.op("matmul", {{"x", net.pair(k, 1.0f / 64, 20)}, {"y", net.weights({9, 33}, 0)}, {"transpose_x", b.boolean(false)}, {"transpose_y", b.boolean(true)}});
  auto found = net.check({q, net.pair(v, 1.0f / 32, 128)}, 1.0f / 32);
  CHECK(found.worst < 1.01);
  CHECK(count(found.kernels, "product int8") == 3);
  CHECK(found.kernels.size() == 5);
}

TEST_CASE("int8: what is not taken says why, and is computed in floats") {
  Quantized net;
  OpBuilder& b = net.b;
  ir::Value* x = net.pair(net.input("x", {1, 4, 6, 6}), 1.0f / 64, 128);
  ir::Value* floats = b.op("conv", {{"x", x}, {"weight", b.constant(noise({3, 4, 1, 1}, 5))}, {"strides", b.ints({1, 1})}, {"pad_type", b.string("valid")},
                                    {"pad", b.ints({0, 0, 0, 0})}, {"dilations", b.ints({1, 1})}, {"groups", b.i32(1)}});
  ir::Value* grouped = net.conv(x, 4, 6, 1, 1, 2);
  ir::Value* unquantized = net.pool("max_pool", x, 2, 2, 0);
  ir::Value* far = b.op("linear", {{"x", net.pair(net.input("y", {2, 8}), 1.0f / 64, 128)}, {"weight", net.weights({5, 8}, 0, false, -100)}});
  auto found = net.check({floats, grouped, unquantized, far}, 1);
  CHECK(found.worst < 1e-4);
  CHECK(count(found.refused, "int8: the weights are floats") == 1);
  CHECK(count(found.refused, "int8: narrow groups") == 1);
  CHECK(count(found.refused, "int8: the result is not quantized") == 1);
  CHECK(count(found.refused, "int8: the weights' zero points") == 1);
}

TEST_CASE("int8: codes that others read stay whole numbers") {
  Quantized net;
  OpBuilder& b = net.b;
  ir::Value* z = b.constant(convert(Tensor::scalar<int32_t>(10), DType::kU8));
  ir::Value* q = b.op("quantize", {{"input", net.input("x", {3, 8})}, {"zero_point", z}, {"scale", b.f32(0.02f)}, {"output_dtype", b.string("uint8")}});
  ir::Value* d = b.op("dequantize", {{"input", q}, {"zero_point", z}, {"scale", b.f32(0.02f)}});
  ir::Value* y = b.op("linear", {{"x", d}, {"weight", net.weights({5, 8}, 0)}, {"bias", b.constant(noise({5}, 9))}});
  auto found = net.check({y, b.op("cast", {{"x", q}, {"dtype", b.string("fp32")}})}, 1);
  CHECK(found.worst < 1e-5);
  CHECK(count(found.kernels, "product") == 0);
  CHECK(count(found.refused, "int8: the activation's codes") == 1);
}
