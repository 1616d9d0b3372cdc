// Operators of ONNX whose lowering takes more than one op, each on a few numbers, by reference and by the executor.
#include <doctest/doctest.h>

#include <cmath>

#include "lib/convert/convert.h"
#include "lib/runtime/executor.h"
#include "tests/conformance/reference.h"
#include "tests/unit/convert/onnx_builder.h"

using namespace mlt;
namespace ob = onnx_builder;

namespace {

struct Case {
  ob::Message node;
  std::vector<Tensor> inputs;  // x, y, z ...
  std::vector<float> want;
  int64_t opset = 20;
  std::string domain = "";
};

ob::Message node_of(std::string_view op, size_t inputs, const std::vector<ob::Message>& attributes, std::vector<std::string> outputs = {"out"}) {
  std::vector<std::string> names;
  for (size_t i = 0; i < inputs; ++i) names.push_back(std::string(1, static_cast<char>('x' + i)));
  return ob::node(op, names, outputs, attributes);
}

void check(const Case& c) {
  ob::Graph g;
  g.nodes = {c.node};
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const Tensor& t = c.inputs[i];
    g.inputs.push_back(ob::value(std::string(1, static_cast<char>('x' + i)), t.dtype() == DType::kF32 ? 1 : 6, t.dims()));
  }
  g.outputs = {ob::value("out", 1, {})};
  foreign::Request request;
  request.float16 = false;
  auto made = foreign::convert_source(Blob(ob::model(g, c.opset)), "", request);
  REQUIRE_MESSAGE(made.ok(), made.error().to_string());
  const ir::Function& main = *made->converted.program->functions[0];
  auto by_op = reference::run(main, c.inputs);
  REQUIRE_MESSAGE(by_op.ok(), by_op.error().to_string());
  auto executor = Executor::create(main, nullptr);
  REQUIRE_MESSAGE(executor.ok(), executor.error().to_string());
  auto planned = (*executor)->run(c.inputs);
  REQUIRE_MESSAGE(planned.ok(), planned.error().to_string());
  for (const auto& got : {to_floats((*by_op)[0].tensor), to_floats((*planned)[0].tensor)}) {
    REQUIRE(got.size() == c.want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      if (std::isinf(c.want[i])) CHECK(got[i] == c.want[i]);
      else CHECK(got[i] == doctest::Approx(c.want[i]).epsilon(1e-5));
    }
  }
}

Tensor f(Dims dims, std::vector<float> values) { return Tensor::from<float>(std::move(dims), values); }
Tensor n(Dims dims, std::vector<int64_t> values) { return Tensor::ints(values).reshaped(std::move(dims)); }

}  // namespace

TEST_CASE("onnx: NaN differs from itself, and a remainder of nothing has the divisor's sign") {
  ob::Graph g;
  check({node_of("IsNaN", 1, {}), {f({9}, {1, NAN, 2, NAN, 5, 6, INFINITY, NAN, 0})}, {0, 1, 0, 1, 0, 0, 0, 1, 0}});
  g.nodes = {ob::node("Mod", {"x", "y"}, {"r"}), ob::node("Reciprocal", {"r"}, {"out"})};
  g.inputs = {ob::value("x", 1, {4}), ob::value("y", 1, {4})};
  g.outputs = {ob::value("out", 1, {4})};
  foreign::Request request;
  request.float16 = false;
  auto made = foreign::convert_source(Blob(ob::model(g, 17)), "", request);
  REQUIRE_MESSAGE(made.ok(), made.error().to_string());
  auto executor = Executor::create(*made->converted.program->functions[0], nullptr);
  REQUIRE(executor.ok());
  auto out = (*executor)->run(std::vector<Tensor>{f({4}, {0, -0.0f, 0, -4}), f({4}, {-2, 2, 2, -INFINITY})});
  REQUIRE(out.ok());
  CHECK(to_floats((*out)[0].tensor) == std::vector<float>{-INFINITY, INFINITY, INFINITY, -0.25f});
}

TEST_CASE("onnx: shifts of signed integers keep their sign and forget what leaves") {
  auto shift = [](const char* direction) { return node_of("BitShift", 2, {ob::attribute_string("direction", direction)}); };
  check({shift("LEFT"), {n({5}, {1073741824, 1, -8, 4, 3}), n({5}, {1, 31, 32, -1, 2})}, {-2147483648.0f, -2147483648.0f, 0, 0, 12}, 28});
  check({shift("RIGHT"), {n({6}, {-8, -1, 4, 4, -2147483648, 9}), n({6}, {1, 40, -1, 31, 1, 2})}, {-4, -1, 0, 0, -1073741824.0f, 2}, 28});
}

TEST_CASE("onnx: the indices of maxima count through the whole input, by rows or by columns") {
  std::vector<ob::Message> at = {ob::attribute_ints("kernel_shape", {2, 2}), ob::attribute_ints("strides", {2, 2})};
  Tensor x = f({1, 2, 2, 4}, {1, 9, 3, 4, 5, 6, 8, 7, -1, -2, -3, -4, -5, -6, -7, -2});
  check({node_of("MaxPool", 1, at, {"m", "out"}), {x}, {1, 6, 8, 15}});
  at.push_back(ob::attribute_int("storage_order", 1));
  check({node_of("MaxPool", 1, at, {"m", "out"}), {x}, {2, 5, 8, 15}});
}

TEST_CASE("onnx: elements are scattered by computed indices that cover a part of the data") {
  auto zeros = [](Dims dims) { return f(dims, std::vector<float>(static_cast<size_t>(dims[0] * dims[1]), 0.0f)); };
  auto along = [](int64_t axis) { return node_of("ScatterElements", 3, {ob::attribute_int("axis", axis)}); };
  check({along(1), {zeros({3, 4}), n({2, 2}, {3, -4, 1, 2}), f({2, 2}, {1, 2, 3, 4})}, {2, 0, 0, 1, 0, 3, 4, 0, 0, 0, 0, 0}});
  check({along(0), {zeros({3, 3}), n({2, 2}, {2, 0, -2, 2}), f({2, 2}, {1, 2, 3, 4})}, {0, 2, 0, 3, 0, 0, 1, 4, 0}});
  check({node_of("ScatterElements", 3, {ob::attribute_int("axis", 0), ob::attribute_string("reduction", "add")}),
         {f({2, 3}, {1, 1, 1, 1, 1, 1}), n({3, 2}, {1, 0, 1, 1, 1, 0}), f({3, 2}, {1, 2, 4, 8, 16, 32})}, {1, 35, 1, 22, 9, 1}});
}

TEST_CASE("onnx: a dilated pool of many elements goes axis by axis") {
  std::vector<float> values(81);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  check({node_of("MaxPool", 1, {ob::attribute_ints("kernel_shape", {4, 4}), ob::attribute_ints("dilations", {2, 2}), ob::attribute_ints("strides", {2, 2})}),
         {f({1, 1, 9, 9}, values)}, {60, 62, 78, 80}});
}

TEST_CASE("onnx: grids, cubic and through volumes") {
  // The centre of a pixel is the pixel, whatever the kernel; outside there is nothing.
  check({node_of("GridSample", 2, {ob::attribute_string("mode", "cubic"), ob::attribute_int("align_corners", 1)}),
         {f({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}), f({1, 1, 3, 2}, {-1, -1, 0, 0, 1, 1})}, {1, 5, 9}});
  check({node_of("GridSample", 2, {ob::attribute_string("mode", "linear"), ob::attribute_int("align_corners", 1)}),
         {f({1, 1, 2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7}), f({1, 1, 1, 3, 3}, {0, 0, 0, 1, -1, 1, -1, -1, -3})}, {3.5, 5, 0}});
  check({node_of("GridSample", 2, {ob::attribute_string("mode", "nearest"), ob::attribute_string("padding_mode", "reflection"), ob::attribute_int("align_corners", 0)}),
         {f({1, 1, 1, 1, 4}, {10, 20, 30, 40}), f({1, 1, 1, 2, 3}, {1.4f, 0, 0, -1.8f, 0, 0})}, {40, 20}});
}

TEST_CASE("onnx: a deformed convolution without moves is a convolution") {
  check({node_of("DeformConv", 3, {}), {f({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}), f({1, 1, 2, 2}, {1, 1, 1, 1}), f({1, 8, 2, 2}, std::vector<float>(32, 0))}, {12, 16, 24, 28}});
  std::vector<float> moved(32, 0);
  for (size_t i = 4; i < 8; ++i) moved[i] = 0.5f;  // the first element of the kernel, half a column to the right
  check({node_of("DeformConv", 3, {}), {f({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}), f({1, 1, 2, 2}, {1, 1, 1, 1}), f({1, 8, 2, 2}, moved)}, {12.5, 16.5, 24.5, 28.5}});
}

TEST_CASE("onnx: the largest sample of a region") {
  std::vector<float> image(16);
  for (size_t i = 0; i < 16; ++i) image[i] = static_cast<float>(i);
  std::vector<ob::Message> at = {ob::attribute_string("mode", "max"), ob::attribute_int("output_height", 1), ob::attribute_int("output_width", 1), ob::attribute_int("sampling_ratio", 1),
                                 ob::attribute_string("coordinate_transformation_mode", "output_half_pixel")};
  // One sample at (1.5, 1.5): a quarter of the largest neighbour.
  check({node_of("RoiAlign", 3, at), {f({1, 1, 4, 4}, image), f({1, 4}, {1, 1, 2, 2}), n({1}, {0})}, {10 / 4.0f}});
}

TEST_CASE("onnx: n-grams are counted with gaps, single ones once") {
  std::vector<ob::Message> at = {ob::attribute_int("min_gram_length", 1), ob::attribute_int("max_gram_length", 2), ob::attribute_int("max_skip_count", 1), ob::attribute_string("mode", "TF"),
                                 ob::attribute_ints("ngram_counts", {0, 2}), ob::attribute_ints("ngram_indexes", {0, 1, 2}), ob::attribute_ints("pool_int64s", {5, 6, 5, 6})};
  check({node_of("TfIdfVectorizer", 1, at), {n({6}, {5, 6, 5, 1, 6, 5})}, {3, 2, 2}});
}

TEST_CASE("onnx: attention in a window; a query that sees nothing gives nothing") {
  Tensor q = f({1, 1, 3, 1}, {0, 0, 0}), v = f({1, 1, 3, 1}, {3, 6, 12});
  check({node_of("Attention", 3, {ob::attribute_int("left_window_size", 1), ob::attribute_int("right_window_size", 0)}), {q, q, v}, {3, 4.5, 9}, 25});
  check({node_of("Attention", 4, {}), {q, q, v, f({3, 3}, {0, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, 0, 0, 0})}, {3, 0, 7}, 23});
}

TEST_CASE("onnx: linear attention keeps a state") {
  // One head of one: the state sums keys times values, decayed by half each step.
  float half = std::log(0.5f);
  std::vector<ob::Message> at = {ob::attribute_int("q_num_heads", 1), ob::attribute_int("kv_num_heads", 1), ob::attribute_string("update_rule", "gated"), ob::attribute_float("scale", 1)};
  ob::Message node = ob::node("LinearAttention", {"x", "y", "z", "", "{"}, {"out"}, at);
  check({node, {f({1, 3, 1}, {1, 1, 2}), f({1, 3, 1}, {1, 2, 1}), f({1, 3, 1}, {4, 1, 1}), f({1, 3, 1}, {half, half, half})}, {4, 4, 6}, 27});
}

TEST_CASE("onnx: a one-sided spectrum comes back whole") {
  // DC 4 and nothing else over 4 samples: ones.
  check({node_of("DFT", 1, {ob::attribute_int("inverse", 1), ob::attribute_int("onesided", 1), ob::attribute_int("axis", 1)}), {f({1, 3, 2}, {4, 0, 0, 0, 0, 0})}, {1, 1, 1, 1}, 17});
}

namespace {

// y = x W with W of 8 bits, one scale for each column, x quantized before and after.
ob::Graph quantized_product() {
  std::vector<int8_t> w(64 * 32);
  std::vector<float> scales(32);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<int8_t>(static_cast<int>(i * 37 % 251) - 125);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = 0.01f + 0.001f * static_cast<float>(i);
  ob::Graph g;
  g.initializers = {ob::tensor<int8_t>("w", 3, {64, 32}, w), ob::floats("s", {32}, scales), ob::floats("xs", {}, {0.02f}), ob::tensor<uint8_t>("xz", 2, {}, {128})};
  g.nodes = {ob::node("QuantizeLinear", {"x", "xs", "xz"}, {"q"}), ob::node("DequantizeLinear", {"q", "xs", "xz"}, {"xq"}),
             ob::node("DequantizeLinear", {"w", "s"}, {"wf"}, {ob::attribute_int("axis", 1)}), ob::node("MatMul", {"xq", "wf"}, {"out"})};
  g.inputs = {ob::value("x", 1, {1, 64})};
  g.outputs = {ob::value("out", 1, {1, 32})};
  return g;
}

size_t count_kind(const ir::Function& f, std::string_view kind) {
  size_t n = 0;
  f.for_each_op([&](const ir::Op& op) { n += op.kind == kind; });
  return n;
}

}  // namespace

TEST_CASE("onnx: quantized weights and activations stay what they are, unless the target is too old") {
  ob::Graph g = quantized_product();
  std::vector<float> x(64);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 0.05f * static_cast<float>(i) - 1.5f;
  std::vector<std::vector<float>> answers;
  for (bool old : {false, true}) {
    foreign::Request request;
    request.float16 = false;
    if (old) request.target = ops::Opset::kCoreML5;
    auto made = foreign::convert_source(Blob(ob::model(g, 17)), "", request);
    REQUIRE_MESSAGE(made.ok(), made.error().to_string());
    const ir::Function& main = *made->converted.program->functions[0];
    CHECK(made->opset == (old ? ops::Opset::kCoreML5 : ops::Opset::kCoreML7));
    CHECK(made->converted.warnings.empty() == !old);
    CHECK(count_kind(main, "constexpr_affine_dequantize") == (old ? 0 : 1));
    CHECK(count_kind(main, "quantize") == (old ? 0 : 1));
    CHECK(count_kind(main, "dequantize") == (old ? 0 : 1));
    CHECK(count_kind(main, "linear") == 1);
    auto out = reference::run(main, {f({1, 64}, x)});
    REQUIRE_MESSAGE(out.ok(), out.error().to_string());
    answers.push_back(to_floats((*out)[0].tensor));
  }
  for (size_t i = 0; i < 32; ++i) CHECK(answers[0][i] == doctest::Approx(answers[1][i]).epsilon(1e-5));
}

TEST_CASE("onnx: float16 takes the scale of compressed weights along, but not one that would lose digits") {
  for (float factor : {1.0f, 1e-4f}) {
    ob::Graph g = quantized_product();
    std::vector<float> scales(32, 0.01f * factor);
    g.initializers[1] = ob::floats("s", {32}, scales);
    auto made = foreign::convert_source(Blob(ob::model(g, 17)), "", foreign::Request());
    REQUIRE_MESSAGE(made.ok(), made.error().to_string());
    made->converted.program->functions[0]->for_each_op([&](const ir::Op& op) {
      if (op.kind == "constexpr_affine_dequantize") CHECK(op.output()->type.dtype == (factor == 1 ? DType::kF16 : DType::kF32));
    });
  }
}

TEST_CASE("onnx: dynamic quantization's four nodes are one product with small weights") {
  std::vector<uint8_t> w(64 * 32);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<uint8_t>(i * 37 % 251);
  ob::Graph g;
  g.initializers = {ob::tensor<uint8_t>("w", 2, {64, 32}, w), ob::floats("ws", {}, {0.01f}), ob::tensor<uint8_t>("wz", 2, {}, {128})};
  g.nodes = {ob::node("DynamicQuantizeLinear", {"x"}, {"q", "s", "z"}), ob::node("MatMulInteger", {"q", "w", "z", "wz"}, {"m"}),
             ob::node("Cast", {"m"}, {"f"}, {ob::attribute_int("to", 1)}), ob::node("Mul", {"s", "ws"}, {"both"}), ob::node("Mul", {"f", "both"}, {"out"})};
  g.inputs = {ob::value("x", 1, {1, 64})};
  g.outputs = {ob::value("out", 1, {1, 32})};
  foreign::Request request;
  request.float16 = false;
  auto made = foreign::convert_source(Blob(ob::model(g, 17)), "", request);
  REQUIRE_MESSAGE(made.ok(), made.error().to_string());
  const ir::Function& main = *made->converted.program->functions[0];
  CHECK(count_kind(main, "constexpr_affine_dequantize") == 1);
  CHECK(count_kind(main, "linear") == 1);
  std::vector<float> x(64);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 0.25f * static_cast<float>(i) - 4;
  auto out = reference::run(main, {f({1, 64}, x)});
  REQUIRE_MESSAGE(out.ok(), out.error().to_string());
  // By hand: range -4 .. 11.75.
  float scale = 15.75f / 255, zero = std::nearbyint(4 / scale);
  for (size_t n = 0; n < 32; ++n) {
    float sum = 0;
    for (size_t k = 0; k < 64; ++k) sum += (std::nearbyint(x[k] / scale) + zero - zero) * (static_cast<float>(w[k * 32 + n]) - 128);
    CHECK(to_floats((*out)[0].tensor)[n] == doctest::Approx(sum * scale * 0.01f).epsilon(1e-4));
  }
}
