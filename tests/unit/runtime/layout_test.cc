// Images with channels innermost: what is computed so is what the op table gives.
#include <doctest/doctest.h>

#include "tests/unit/runtime/net.h"

using namespace mlt;
using namespace mlt_test_net;
using ops::OpBuilder;
using ops::Opset;

namespace {

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
  CHECK(count(kernels, "nhwc direct planar + max") == 1);  // reads the picture as it is, and does not write what is pooled
  CHECK(count(kernels, "channels last") == 0);
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

TEST_CASE("layout: a convolution to few outputs reads planes") {
  Net net;
  ir::Value* x = net.relu(net.conv(net.input("x", {1, 16, 24, 40}), 16, 32, 3));
  x = net.relu(net.conv(x, 32, 32, 3));
  auto kernels = net.check({net.conv(x, 32, 3, 3), net.conv(x, 32, 16, 3)});
  CHECK(count(kernels, "nhwc") == 3);
  CHECK(count(kernels, "channels first") >= 1);
}

TEST_CASE("layout: blocks of a depthwise convolution and its neighbours") {
  Net net;
  ir::Value* image = net.input("image", {1, 3, 40, 44});
  ir::Value* x = net.relu(net.conv(image, 3, 16, 3, 2));
  // The first lacks the expansion, the second adds its input, the third has a gate for each channel before the projection.
  x = net.conv(net.relu(net.conv(x, 16, 16, 3, 1, 16)), 16, 24, 1);
  ir::Value* y = net.relu(net.conv(net.relu(net.conv(x, 24, 70, 1)), 70, 70, 3, 1, 70));
  x = net.pair("add", net.conv(y, 70, 24, 1), x);
  y = net.relu(net.conv(net.relu(net.conv(x, 24, 72, 1)), 72, 72, 5, 2, 72));
  ir::Value* s = net.b.op("reduce_mean", {{"x", y}, {"axes", net.b.ints({2, 3})}, {"keep_dims", net.b.boolean(true)}});
  s = net.b.op("sigmoid", {{"x", net.conv(net.relu(net.conv(s, 72, 18, 1)), 18, 72, 1)}});
  x = net.conv(net.pair("mul", y, s), 72, 40, 1);
  // Small enough that its channels are summed in parts; its expansion is an output as well. The last writes into a concatenation.
  ir::Value* wide = net.relu(net.conv(x, 40, 240, 1));
  y = net.conv(net.relu(net.conv(wide, 240, 240, 3, 1, 240)), 240, 40, 1);
  x = net.concat({net.relu(net.conv(x, 40, 24, 1)), y});
  auto kernels = net.check({x, wide});
  CHECK(count(kernels, "nhwc depthwise + project") == 2);
  CHECK(count(kernels, "nhwc expand + depthwise + project") == 1);
  CHECK(count(kernels, "nhwc expand + depthwise + mean") == 1);
  CHECK(count(kernels, "nhwc gated pointwise") == 1);
  CHECK(count(kernels, "nhwc depthwise") == 2);
}

TEST_CASE("layout: what is pooled is written where others read it, too") {
  Net net;
  ir::Value* x = net.relu(net.conv(net.input("image", {1, 3, 60, 60}), 3, 24, 5, 2));
  ir::Value* y = net.relu(net.conv(net.pool("max_pool", x, 3, 2, 1), 24, 24, 3));
  ir::Value* z = net.relu(net.conv(x, 24, 24, 3));
  auto kernels = net.check({net.conv(y, 24, 24, 3), net.conv(z, 24, 24, 3)});
  CHECK(count(kernels, "+ max") == 0);
  CHECK(count(kernels, "nhwc window") == 1);
}

TEST_CASE("layout: what does not pay stays as it is") {
  Net net;
  ir::Value* x = net.conv(net.input("x", {1, 32, 30, 30}), 32, 32, 3, 1, 32);  // depthwise alone
  auto kernels = net.check({net.relu(x)});
  CHECK(count(kernels, "nhwc") == 0);
  CHECK(count(kernels, "channels") == 0);
}

TEST_CASE("layout: a picture that others read as well is turned once, for them") {
  Net net;
  ir::Value* image = net.input("image", {1, 5, 40, 36});
  ir::Value* x = net.relu(net.conv(image, 5, 24, 3, 2));
  ir::Value* y = net.pool("max_pool", net.conv(image, 5, 24, 1), 3, 2, 1);  // reads it with channels innermost
  x = net.relu(net.conv(net.pair("add", x, y), 24, 24, 3));
  auto kernels = net.check({x, net.conv(net.conv(image, 5, 12, 3), 12, 5, 1)});
  CHECK(count(kernels, "channels last") == 1);
}

TEST_CASE("layout: groups keep channels innermost") {
  Net net;
  ir::Value* x = net.relu(net.conv(net.input("x", {1, 3, 50, 46}), 3, 48, 3, 2));
  for (int64_t groups : {3, 6, 12}) {
    ir::Value* y = net.relu(net.conv(net.relu(net.conv(x, 48, 48, 1)), 48, 48, 3, 1, groups));
    x = net.relu(net.pair("add", x, net.conv(y, 48, 48, 1)));
  }
  auto kernels = net.check({net.pool("avg_pool", x, 23, 1, 0)});
  CHECK(count(kernels, "groups") == 3);
  CHECK(count(kernels, "channels last") == 0);
}

TEST_CASE("layout: channel shuffles") {
  Net net;
  OpBuilder& b = net.b;
  const auto shuffle = [&](ir::Value* x, int64_t groups, int64_t width, int64_t h, int64_t w) {
    ir::Value* v = b.op("reshape", {{"x", x}, {"shape", b.ints({2, groups, width, h, w})}});
    v = b.op("transpose", {{"x", v}, {"perm", b.ints({0, 2, 1, 3, 4})}});
    return b.op("reshape", {{"x", v}, {"shape", b.ints({2, groups * width, h, w})}});
  };
  const auto slice = [&](ir::Value* x, int64_t from, int64_t to, int64_t h, int64_t w) {
    return b.op("slice_by_index", {{"x", x}, {"begin", b.ints({0, from, 0, 0})}, {"end", b.ints({2, to, h, w})}});
  };
  ir::Value* x = net.relu(net.conv(net.input("x", {2, 3, 33, 37}), 3, 58, 3, 2));  // 17 x 19
  // Halves, one of which goes straight into the next concatenation.
  ir::Value* shuffled = shuffle(x, 2, 29, 17, 19);
  ir::Value *kept = slice(shuffled, 0, 28, 17, 19), *rest = slice(shuffled, 28, 58, 17, 19);
  x = net.concat({kept, net.relu(net.conv(rest, 30, 32, 1))});
  // Three, four and five groups; a split in place of slices; parts that do not begin with a group.
  auto parts = b.ops("split", {{"x", shuffle(x, 3, 20, 17, 19)}, {"num_splits", b.i32(2)}, {"axis", b.i32(1)}});
  x = net.concat({net.relu(net.conv(parts[1], 30, 30, 3)), parts[0]});
  x = net.relu(net.conv(shuffle(net.conv(x, 60, 60, 1), 4, 15, 17, 19), 60, 60, 3, 1, 60));
  ir::Value* odd = shuffle(x, 5, 12, 17, 19);
  x = net.concat({net.conv(slice(odd, 0, 31, 17, 19), 31, 16, 1), slice(odd, 31, 60, 17, 19)});
  auto kernels = net.check({x, net.pool("avg_pool", net.conv(x, 45, 20, 1), 17, 1, 0)});
  CHECK(count(kernels, "nhwc shuffle") == 4);
  // Where channels are not innermost.
  Net planar;
  ir::Value* in = planar.input("x", {2, 24, 6, 5});
  ir::Value* v = planar.b.op("reshape", {{"x", in}, {"shape", planar.b.ints({2, 4, 6, 6, 5})}});
  v = planar.b.op("transpose", {{"x", v}, {"perm", planar.b.ints({0, 2, 1, 3, 4})}});
  v = planar.b.op("reshape", {{"x", v}, {"shape", planar.b.ints({2, 24, 6, 5})}});
  kernels = planar.check({planar.relu(v)});
  CHECK(count(kernels, "shuffle") == 1);
  CHECK(count(kernels, "nhwc") == 0);
}

TEST_CASE("layout: what is concatenated is made there, whoever else reads it") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* x = net.relu(net.conv(net.input("x", {2, 3, 41, 37}), 3, 32, 3, 2));  // 21 x 19
  // Split, with a residual of one part: convolutions of all methods read parts.
  auto parts = b.ops("split", {{"x", net.relu(net.conv(x, 32, 64, 1))}, {"num_splits", b.i32(2)}, {"axis", b.i32(1)}});
  ir::Value* y = net.relu(net.pair("add", parts[1], net.conv(net.relu(net.conv(parts[1], 32, 32, 3)), 32, 32, 3)));
  ir::Value* z = net.pair("add", y, net.conv(net.conv(y, 32, 32, 1), 32, 32, 1));
  ir::Value* joined = net.relu(net.conv(net.concat({parts[0], parts[1], y, z}), 128, 48, 1));
  auto kernels = net.check({net.pool("avg_pool", joined, 19, 1, 0, -2)});
  CHECK(count(kernels, "nhwc copy") == 0);
  CHECK(count(kernels, "in place") == 2);

  // Sums of images, read and made there; one of them is its own square.
  Net sums;
  x = sums.relu(sums.conv(sums.input("x", {1, 3, 41, 37}), 3, 32, 3, 2));
  parts = sums.b.ops("split", {{"x", sums.relu(sums.conv(x, 32, 36, 1))}, {"num_splits", sums.b.i32(2)}, {"axis", sums.b.i32(1)}});
  y = sums.pair("add", parts[1], sums.relu(sums.conv(sums.relu(sums.conv(parts[1], 18, 18, 3)), 18, 18, 3)));
  z = sums.pair("sub", sums.pair("mul", y, y), sums.relu(sums.conv(y, 18, 18, 1)));
  kernels = sums.check({sums.pool("avg_pool", sums.relu(sums.conv(sums.concat({parts[0], parts[1], y, z}), 72, 30, 1)), 19, 1, 0, -2)});
  CHECK(count(kernels, "nhwc copy") == 0);
  CHECK(count(kernels, "nhwc simd") == 3);

  // Parts in another order are copied; so is what two concatenations read, and what is an output as well.
  Net other;
  x = other.relu(other.conv(other.input("x", {1, 3, 41, 37}), 3, 40, 3, 2));
  parts = other.b.ops("split", {{"x", other.conv(x, 40, 48, 1)}, {"num_splits", other.b.i32(3)}, {"axis", other.b.i32(1)}});
  y = other.relu(other.conv(parts[0], 16, 17, 3, 2));
  z = other.conv(other.concat({parts[1], parts[0], other.conv(parts[2], 16, 20, 5), parts[2]}), 68, 16, 1);
  ir::Value* twice = other.concat({y, other.conv(y, 17, 17, 1), y});
  ir::Value* again = other.concat({other.conv(twice, 51, 24, 1), y});
  kernels = other.check({other.pool("max_pool", z, 3, 2, 1), again, other.conv(again, 41, 12, 3), y});
  CHECK(count(kernels, "nhwc copy") >= 3);

  // One that is read before and after it is concatenated, by convolutions with strides, wide windows and few channels.
  Net late;
  x = late.relu(late.conv(late.input("x", {1, 3, 64, 60}), 3, 24, 3, 2));
  y = late.relu(late.conv(x, 24, 20, 3));
  z = late.relu(late.conv(y, 20, 70, 3, 2));
  ir::Value* wide = late.relu(late.conv(y, 20, 30, 7));
  ir::Value* up = late.b.op("upsample_nearest_neighbor", {{"x", z}, {"scale_factor_height", late.b.f32(2)}, {"scale_factor_width", late.b.f32(2)}});
  kernels = late.check({late.conv(late.concat({up, y, wide}), 120, 33, 3, 2), late.pool("max_pool", late.conv(y, 20, 10, 1), 3, 2, 1)});
  CHECK(count(kernels, "nhwc copy") == 0);
  CHECK(count(kernels, "nhwc nearest") == 1);
}

TEST_CASE("layout: resampled images are made where they are concatenated") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* x = net.relu(net.conv(net.input("x", {2, 3, 48, 40}), 3, 24, 3, 2));
  ir::Value* small = net.relu(net.conv(x, 24, 40, 3, 2));
  const auto up = [&](ir::Value* in) {
    return b.op("resize_bilinear", {{"x", in}, {"target_size_height", b.i32(24)}, {"target_size_width", b.i32(20)}, {"sampling_mode", b.string("UNALIGN_CORNERS")}});
  };
  ir::Value* joined = net.concat({up(small), x, up(net.relu(net.conv(small, 40, 17, 3, 2)))});
  auto kernels = net.check({net.pool("avg_pool", net.conv(joined, 81, 20, 1), 3, 2, 1)});
  CHECK(count(kernels, "nhwc linear") == 2);
  CHECK(count(kernels, "nhwc copy") == 0);
}

TEST_CASE("layout: borders are put around images as they lie") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* x = net.relu(net.conv(net.input("x", {2, 16, 13, 19}), 16, 24, 3));
  int64_t expected = 0;
  for (const char* mode : {"reflect", "replicate", "constant"}) {
    x = b.op("pad", {{"x", x}, {"pad", b.ints({0, 0, 0, 0, 1, 2, 3, 1})}, {"mode", b.string(mode)}, {"constant_val", b.f32(0.5f)}});
    x = net.relu(net.conv(x, 24, 24, 3));
    ++expected;
  }
  x = b.op("pad", {{"x", x}, {"pad", b.ints({0, 1, 2, 3, 0, 0, 0, 0})}, {"mode", b.string("constant")}, {"constant_val", b.f32(-1.5f)}});
  auto kernels = net.check({net.conv(x, 29, 24, 1)});
  CHECK(count(kernels, "nhwc copy") == expected + 1);
}

TEST_CASE("layout: casts between floats follow what they see") {
  Net net;
  OpBuilder& b = net.b;
  ir::Value* x = b.op("cast", {{"x", net.input("x", {1, 3, 40, 44})}, {"dtype", b.string("fp32")}});
  ir::Value* y = net.relu(net.conv(x, 3, 24, 3, 2));
  ir::Value* up = b.op("upsample_nearest_neighbor", {{"x", net.conv(y, 24, 24, 3, 2)}, {"scale_factor_height", b.f32(2)}, {"scale_factor_width", b.f32(2)}});
  up = b.op("cast", {{"x", up}, {"dtype", b.string("fp32")}});
  auto kernels = net.check({net.pool("max_pool", net.conv(net.concat({up, y}), 48, 24, 3), 3, 2, 1)});
  CHECK(count(kernels, "nhwc direct planar") == 1);
  CHECK(count(kernels, "channels last") == 0);
  CHECK(count(kernels, "channels first") == 1);
  CHECK(count(kernels, "nhwc nearest") == 1);
}

// Tokens are what an image is with channels innermost: transposes and reshapes between convolutions and products cost nothing.
TEST_CASE("tokens become images and images tokens") {
  const auto dense = [](Net& net, ir::Value* x, int64_t in, int64_t out) {
    return net.b.op("matmul", {{"x", x}, {"y", net.b.constant(noise({in, out}, ++net.seed, -0.3f, 0.3f))}, {"transpose_x", net.b.boolean(false)}, {"transpose_y", net.b.boolean(false)}});
  };
  const auto reshape = [](Net& net, ir::Value* x, Dims shape) { return net.b.op("reshape", {{"x", x}, {"shape", net.b.ints(shape)}}); };
  const auto transpose = [](Net& net, ir::Value* x, Dims perm) { return net.b.op("transpose", {{"x", x}, {"perm", net.b.ints(perm)}}); };
  const auto moved = [](const std::vector<std::string>& kernels) {
    return std::count_if(kernels.begin(), kernels.end(), [](const std::string& k) { return k == "simd" || k == "channels last" || k == "channels first"; });
  };
  SUBCASE("sequences, and the last axis") {
    Net net;
    ir::Value* x = net.input("x", {2, 12 * 10, 24});
    ir::Value* image = reshape(net, transpose(net, dense(net, x, 24, 24), {0, 2, 1}), {2, 24, 12, 10});
    ir::Value* inner = net.conv(net.relu(net.conv(image, 24, 40, 3)), 40, 40, 3, 1, 40);
    ir::Value* tokens = net.b.op("gelu", {{"x", transpose(net, reshape(net, inner, {2, 40, 120}), {0, 2, 1})}, {"mode", net.b.string("EXACT")}});
    ir::Value* grid = dense(net, reshape(net, tokens, {2, 12, 10, 40}), 40, 16);
    ir::Value* last = net.conv(transpose(net, grid, {0, 3, 1, 2}), 16, 20, 3);
    ir::Value* out = transpose(net, last, {0, 2, 3, 1});
    CHECK(moved(net.check({dense(net, out, 20, 3)})) == 0);
  }
  SUBCASE("others read what lies between, or the image") {
    Net net;
    ir::Value* x = net.input("x", {1, 8 * 9, 16});
    ir::Value* turned = transpose(net, dense(net, x, 16, 16), {0, 2, 1});
    ir::Value* image = reshape(net, turned, {1, 16, 8, 9});
    ir::Value* inner = net.conv(image, 16, 16, 3);
    ir::Value* tokens = transpose(net, reshape(net, inner, {1, 16, 72}), {0, 2, 1});
    ir::Value* twice = transpose(net, net.conv(inner, 16, 18, 1), {0, 2, 3, 1});
    net.check({turned, net.pair("add", image, inner), tokens, net.pair("add", tokens, x), net.relu(twice), twice});
  }
  SUBCASE("what only looks so") {
    Net net;
    ir::Value* x = net.input("x", {2, 6, 8, 12});
    // Height and width change places; channels of another extent; images of a batch that is part of the pixels.
    ir::Value* a = net.conv(transpose(net, x, {0, 3, 2, 1}), 12, 14, 3);
    ir::Value* b = net.conv(reshape(net, x, {2, 12, 8, 6}), 12, 14, 3);
    ir::Value* c = net.conv(reshape(net, transpose(net, reshape(net, x, {96, 12}), {1, 0}), {1, 12, 8, 12}), 12, 14, 3);
    ir::Value* d = reshape(net, transpose(net, a, {0, 2, 3, 1}), {2, 6, 8, 14});
    net.check({a, b, c, transpose(net, b, {2, 0, 3, 1}), d});
  }
  SUBCASE("nothing to gain") {
    Net net;
    ir::Value* x = net.input("x", {1, 20, 6});
    ir::Value* image = reshape(net, transpose(net, x, {0, 2, 1}), {1, 6, 4, 5});
    net.check({image, net.relu(image), transpose(net, reshape(net, net.relu(image), {1, 6, 20}), {0, 2, 1})});
  }
}
