// Operators of ONNX on extents that are not known when the model is converted, run with several.
#include <doctest/doctest.h>

#include <cmath>

#include "lib/convert/convert.h"
#include "lib/runtime/executor.h"
#include "tests/conformance/reference.h"
#include "tests/unit/convert/onnx_builder.h"

using namespace mlt;
namespace ob = onnx_builder;

namespace {

struct Open {
  ob::Graph graph;
  std::string shape;  // of "x", as --input says it
  int64_t opset = 17;
};

Result<foreign::Conversion> converted(const Open& o, std::optional<ops::Opset> target = std::nullopt) {
  foreign::Request request;
  request.float16 = false;
  request.target = target;
  request.inputs.push_back(*foreign::parse_input_option("x,shape=" + o.shape));
  return foreign::convert_source(Blob(ob::model(o.graph, o.opset)), "", request);
}

void check(const Open& o, const Tensor& x, const std::vector<float>& want) {
  auto made = converted(o);
  REQUIRE_MESSAGE(made.ok(), made.error().to_string());
  const ir::Function& main = *made->converted.program->functions[0];
  auto by_op = reference::run(main, {x});
  REQUIRE_MESSAGE(by_op.ok(), by_op.error().to_string());
  auto executor = Executor::create(main, nullptr);
  REQUIRE_MESSAGE(executor.ok(), executor.error().to_string());
  auto planned = (*executor)->run(std::vector<Tensor>{x});
  REQUIRE_MESSAGE(planned.ok(), planned.error().to_string());
  for (const auto& got : {to_floats((*by_op)[0].tensor), to_floats((*planned)[0].tensor)}) {
    REQUIRE(got.size() == want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      CHECK(got[i] == doctest::Approx(want[i]).epsilon(1e-5));
    }
  }
}

Tensor ramp(Dims dims) {
  Tensor t = Tensor::uninitialized(DType::kF32, std::move(dims));
  for (int64_t i = 0; i < t.size(); ++i) t.mutable_data<float>()[i] = static_cast<float>(i);
  return t;
}

size_t count_of(const ir::Function& function, std::string_view kind) {
  size_t n = 0;
  function.for_each_op([&](const ir::Op& op) { n += op.kind == kind; });
  return n;
}

Open resize_to(const std::string& mode, const std::string& coordinates, const std::string& nearest, const std::vector<float>& scales) {
  Open o;
  o.graph.initializers = {ob::floats("scales", {static_cast<int64_t>(scales.size())}, scales)};
  o.graph.nodes = {ob::node("Resize", {"x", "", "scales"}, {"out"},
                            {ob::attribute_string("mode", mode), ob::attribute_string("coordinate_transformation_mode", coordinates), ob::attribute_string("nearest_mode", nearest)})};
  o.graph.inputs = {ob::value("x", 1, {1, -1})};
  o.graph.outputs = {ob::value("out", 1, {1, -1})};
  o.shape = "1x1..64";
  return o;
}

}  // namespace

TEST_CASE("onnx: an open axis is resized as a fixed one would be") {
  for (const char* mode : {"nearest", "linear"})
    for (const char* coordinates : {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"})
      for (const char* nearest : {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"})
        for (float scale : {2.0f, 0.5f, 1.5f, 3.0f, 0.75f})
          for (int64_t length : {3, 7, 10}) {
            CAPTURE(mode);
            CAPTURE(coordinates);
            CAPTURE(nearest);
            CAPTURE(scale);
            CAPTURE(length);
            Open open = resize_to(mode, coordinates, nearest, {1, scale}), fixed = open;
            fixed.shape = "1x" + std::to_string(length);
            auto made = converted(fixed);
            REQUIRE_MESSAGE(made.ok(), made.error().to_string());
            Tensor x = ramp({1, length});
            auto want = reference::run(*made->converted.program->functions[0], {x});
            REQUIRE(want.ok());
            check(open, x, to_floats((*want)[0].tensor));
          }
}

TEST_CASE("onnx: an axis asked to keep its extent is not resized, and others follow another tensor") {
  // As segmentation networks end: a small map at the extents of the image.
  Open o;
  o.graph.initializers = {ob::ints("zero", {1}, {0}), ob::ints("two", {1}, {2}), ob::ints("four", {1}, {4})};
  o.graph.nodes = {ob::node("MaxPool", {"x"}, {"small"}, {ob::attribute_ints("kernel_shape", {2, 2}), ob::attribute_ints("strides", {2, 2})}),
                   ob::node("Shape", {"small"}, {"s"}), ob::node("Slice", {"s", "zero", "two"}, {"front"}), ob::node("Shape", {"x"}, {"t"}),
                   ob::node("Slice", {"t", "two", "four"}, {"back"}), ob::node("Concat", {"front", "back"}, {"sizes"}, {ob::attribute_int("axis", 0)}),
                   ob::node("Resize", {"small", "", "", "sizes"}, {"out"}, {ob::attribute_string("mode", "nearest"), ob::attribute_string("coordinate_transformation_mode", "asymmetric"), ob::attribute_string("nearest_mode", "floor")})};
  o.graph.inputs = {ob::value("x", 1, {-1, 1, -1, -1})};
  o.graph.outputs = {ob::value("out", 1, {-1, 1, -1, -1})};
  o.shape = "1..3x1x2..16x2..16";
  auto made = converted(o);
  REQUIRE_MESSAGE(made.ok(), made.error().to_string());
  CHECK(count_of(*made->converted.program->functions[0], "range_1d") == 2);  // height and width
  check(o, ramp({1, 1, 2, 4}), {5, 5, 7, 7, 5, 5, 7, 7});
  check(o, ramp({2, 1, 2, 2}), {3, 3, 3, 3, 7, 7, 7, 7});
}

TEST_CASE("onnx: a triangle of open extents") {
  for (bool upper : {false, true})
    for (int64_t k : {-2, -1, 0, 1, 2}) {
      Open o;
      o.graph.initializers = {ob::ints("k", {}, {k})};
      o.graph.nodes = {ob::node("Trilu", {"x", "k"}, {"out"}, {ob::attribute_int("upper", upper)})};
      o.graph.inputs = {ob::value("x", 1, {-1, -1})};
      o.graph.outputs = {ob::value("out", 1, {-1, -1})};
      o.shape = "1..8x1..8";
      for (auto [rows, cols] : {std::pair<int64_t, int64_t>{3, 4}, {4, 2}}) {
        Tensor x = Tensor::uninitialized(DType::kF32, {rows, cols});
        std::vector<float> want;
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t q = 0; q < cols; ++q) {
            bool keep = upper ? q - r >= k : q - r <= k;
            x.mutable_data<float>()[r * cols + q] = keep ? 1.5f : -INFINITY;  // what goes may be anything
            want.push_back(keep ? 1.5f : 0);
          }
        CAPTURE(k);
        check(o, x, want);
      }
    }
}

TEST_CASE("onnx: zeros of a shape keep open extents of an input of another rank") {
  Open o;
  o.graph.initializers = {ob::ints("shape", {3}, {0, 0, -1})};
  o.graph.nodes = {ob::node("Reshape", {"x", "shape"}, {"out"})};
  o.graph.inputs = {ob::value("x", 1, {-1, -1, 2, 3})};
  o.graph.outputs = {ob::value("out", 1, {-1, -1, 6})};
  for (const char* shape : {"1..4x2x2x3", "1..4x1..4x2x3"}) {
    o.shape = shape;
    Tensor x = ramp({3, 2, 2, 3});
    check(o, x, to_floats(x));
    auto made = converted(o);
    REQUIRE(made.ok());
    if (o.shape == "1..4x2x2x3") CHECK(made->converted.program->functions[0]->body->outputs[0]->type.dims[2] == 6);
  }
}

TEST_CASE("onnx: a branch that asks whether two extents of one origin differ is not taken") {
  // Both branches would have to agree in rank otherwise.
  Open o;
  ob::Graph yes, no;
  yes.nodes = {ob::node("Squeeze", {"x", "axes"}, {"a"})};
  yes.outputs = {ob::value("a", 1, {-1})};
  no.nodes = {ob::node("Identity", {"x"}, {"b"})};
  no.outputs = {ob::value("b", 1, {1, -1})};
  o.graph.initializers = {ob::ints("axes", {1}, {0}), ob::ints("one", {}, {1}), ob::ints("swap", {2}, {-1, 1})};
  o.graph.nodes = {ob::node("Relu", {"x"}, {"r"}),
                   ob::node("Transpose", {"r"}, {"rt"}, {ob::attribute_ints("perm", {1, 0})}),
                   ob::node("Shape", {"rt"}, {"s"}),
                   ob::node("Gather", {"s", "axes"}, {"n"}),
                   ob::node("Squeeze", {"n"}, {"left"}),
                   ob::node("Shape", {"x"}, {"t"}),
                   ob::node("Gather", {"t", "one"}, {"right"}),
                   ob::node("Equal", {"left", "right"}, {"same"}),
                   ob::node("Not", {"same"}, {"differ"}),
                   ob::node("If", {"differ"}, {"out"}, {ob::attribute_graph("then_branch", yes.build()), ob::attribute_graph("else_branch", no.build())})};
  o.graph.inputs = {ob::value("x", 1, {1, -1})};
  o.graph.outputs = {ob::value("out", 1, {1, -1})};
  o.shape = "1x1..9";
  check(o, ramp({1, 5}), {0, 1, 2, 3, 4});
}

TEST_CASE("onnx: gated recurrent units that reset after the product") {
  // One step, one unit: z, r, h gates. h' = (1 - z) tanh(w x + r (u h + c)) + z h.
  for (bool biased : {false, true})
    for (bool open : {false, true})
      for (auto target : {std::optional<ops::Opset>(), std::optional(ops::Opset::kCoreML8)}) {
        Open o;
        o.graph.initializers = {ob::floats("w", {1, 3, 1}, {0.3f, -0.4f, 0.5f}), ob::floats("r", {1, 3, 1}, {0.7f, 0.2f, -0.9f}), ob::floats("h", {1, 1, 1}, {0.6f})};
        std::vector<std::string> inputs = {"x", "w", "r", "", "", "h"};
        if (biased) o.graph.initializers.push_back(ob::floats("b", {1, 6}, {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f})), inputs[3] = "b";
        o.graph.nodes = {ob::node("GRU", inputs, {"out"}, {ob::attribute_int("hidden_size", 1), ob::attribute_int("linear_before_reset", 1)})};
        o.graph.inputs = {ob::value("x", 1, {open ? -1 : 2, 1, 1})};
        o.graph.outputs = {ob::value("out", 1, {open ? -1 : 2, 1, 1, 1})};
        o.shape = open ? "1..8x1x1" : "2x1x1";
        std::vector<float> want;
        float h = 0.6f, b[6] = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f};
        for (float& value : b) value *= biased ? 1.0f : 0.0f;
        for (float x : {0.0f, 1.0f}) {
          auto sigmoid = [](float v) { return 1 / (1 + std::exp(-v)); };
          float z = sigmoid(0.3f * x + 0.7f * h + b[0] + b[3]), r = sigmoid(-0.4f * x + 0.2f * h + b[1] + b[4]);
          h = (1 - z) * std::tanh(0.5f * x + b[2] + r * (-0.9f * h + b[5])) + z * h;
          want.push_back(h);
        }
        auto made = converted(o, target);
        REQUIRE_MESSAGE(made.ok(), made.error().to_string());
        bool native = open || target;
        CHECK(count_of(*made->converted.program->functions[0], "gru") == (native ? 1 : 0));
        CHECK(made->opset == (native ? ops::Opset::kCoreML8 : ops::Opset::kCoreML5));
        check(o, ramp({2, 1, 1}), want);
      }
}
