#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "lib/convert/convert.h"
#include "lib/convert/onnx/convert.h"
#include "lib/convert/onnx/model.h"
#include "lib/ir/verify.h"
#include "tests/conformance/reference.h"
#include "tests/unit/convert/onnx_builder.h"

using namespace mlt;
namespace ob = onnx_builder;

namespace {

foreign::Request float32() {
  foreign::Request r;
  r.float16 = false;
  return r;
}

Result<foreign::Conversion> convert_graph(const ob::Graph& graph, const foreign::Request& request = float32(), int64_t opset = 17) {
  return foreign::convert_source(Blob(ob::model(graph, opset)), "", request);
}

std::vector<float> run(const foreign::Conversion& c, const std::vector<Tensor>& inputs, size_t output = 0) {
  auto out = reference::run(*c.converted.program->functions[0], inputs);
  REQUIRE_MESSAGE(out.ok(), out.error().to_string());
  return to_floats((*out)[output].tensor);
}

ob::Graph simple(std::vector<ob::Message> nodes, std::vector<int64_t> dims = {1, 4}) {
  ob::Graph g;
  g.nodes = std::move(nodes);
  g.inputs = {ob::value("x", 1, dims)};
  g.outputs = {ob::value("y", 1, dims)};
  return g;
}

Tensor row(std::vector<float> values) { return Tensor::from<float>({1, static_cast<int64_t>(values.size())}, values); }

const ir::Function& main_of(const foreign::Conversion& c) { return *c.converted.program->functions[0]; }

size_t count_ops(const foreign::Conversion& c, std::string_view kind) {
  size_t n = 0;
  main_of(c).for_each_op([&](const ir::Op& op) { n += op.kind == kind; });
  return n;
}

}  // namespace

TEST_CASE("a chain of operators becomes a program of the same meaning") {
  auto c = convert_graph(simple({ob::node("LeakyRelu", {"x"}, {"a"}, {ob::attribute_float("alpha", 0.5f)}), ob::node("Neg", {"a"}, {"y"})}));
  REQUIRE_MESSAGE(c.ok(), c.error().to_string());
  CHECK(ir::verify(*c->converted.program).empty());
  CHECK(c->opset == ops::Opset::kCoreML5);
  CHECK(run(*c, {row({-2, -1, 0, 3})}) == std::vector<float>{1, 0.5, 0, -3});
  REQUIRE(c->converted.inputs.size() == 1);
  CHECK(c->converted.inputs[0].name == "x");
  CHECK(c->converted.outputs[0].type.array.shape == std::vector<int64_t>{1, 4});
}

TEST_CASE("everything that is unsupported is told, once each, with its nodes") {
  ob::Graph g = simple({ob::node("Frobnicate", {"x"}, {"a"}), ob::node("Frobnicate", {"x"}, {"b"}), ob::node("Relu", {"a"}, {"c"}), ob::node("Det", {"b"}, {"y"}),
                        ob::node("StringNormalizer", {"x"}, {"z"})});
  std::vector<foreign::Unsupported> list;
  auto c = foreign::convert_source(Blob(ob::model(g)), "", float32(), &list);
  REQUIRE(c.ok());
  REQUIRE(list.size() == 2);
  CHECK(list[0].op == "Frobnicate");
  CHECK(list[0].nodes == std::vector<std::string>{"make_a", "make_b"});
  CHECK(list[1].op == "StringNormalizer");
  auto failed = convert_graph(g);
  REQUIRE(!failed.ok());
  CHECK(failed.error().code == Code::kUnsupported);
  CHECK(failed.error().message.find("Frobnicate: 2 nodes (make_a, make_b)") != std::string::npos);
}

TEST_CASE("an attribute nobody knows is a warning") {
  auto c = convert_graph(simple({ob::node("Relu", {"x"}, {"y"}, {ob::attribute_int("surprise", 1)})}));
  REQUIRE(c.ok());
  REQUIRE(c->converted.warnings.size() == 1);
  CHECK(c->converted.warnings[0].find("\"surprise\"") != std::string::npos);
}

TEST_CASE("shape arithmetic folds") {
  ob::Graph g = simple({ob::node("Shape", {"x"}, {"s"}), ob::node("Gather", {"s", "one"}, {"n"}), ob::node("Unsqueeze", {"n", "zero"}, {"nv"}),
                        ob::node("Concat", {"minus", "nv"}, {"target"}, {ob::attribute_int("axis", 0)}), ob::node("Reshape", {"x", "target"}, {"y"})},
                       {2, 3, 4});
  g.initializers = {ob::ints("one", {}, {1}), ob::ints("zero", {1}, {0}), ob::ints("minus", {1}, {-1})};
  g.outputs = {ob::value("y", 1, {8, 3})};
  auto c = convert_graph(g);
  REQUIRE_MESSAGE(c.ok(), c.error().to_string());
  CHECK(count_ops(*c, "reshape") == 1);
  CHECK(count_ops(*c, "gather") == 0);
  CHECK(main_of(*c).body->outputs[0]->type.dims == Dims{8, 3});
}

TEST_CASE("open axes stay flexible where the shape arithmetic allows") {
  ob::Graph g = simple({ob::node("Shape", {"x"}, {"s"}), ob::node("Gather", {"s", "one"}, {"n"}), ob::node("Unsqueeze", {"n", "zero"}, {"nv"}),
                        ob::node("Concat", {"nv", "four"}, {"target"}, {ob::attribute_int("axis", 0)}), ob::node("Reshape", {"x", "target"}, {"y"})},
                       {1, -1, 4});
  g.initializers = {ob::ints("one", {}, {1}), ob::ints("zero", {1}, {0}), ob::ints("four", {1}, {4})};
  g.outputs = {ob::value("y", 1, {-1, 4})};
  auto c = convert_graph(g);
  REQUIRE_MESSAGE(c.ok(), c.error().to_string());
  CHECK(c->converted.inputs[0].type.array.flexibility == coreml::Flexibility::kRange);
  CHECK(main_of(*c).body->outputs[0]->type.dims == Dims{ir::kUnknown, 4});
  Tensor x = Tensor::from<float>({1, 2, 4}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(run(*c, {x}).size() == 8);
}

TEST_CASE("a branch with a known condition is inlined, an unknown one becomes cond") {
  ob::Graph then_graph, else_graph;
  then_graph.nodes = {ob::node("Relu", {"x"}, {"t"})};
  then_graph.outputs = {ob::value("t", 1, {1, 4})};
  else_graph.nodes = {ob::node("Neg", {"x"}, {"e"})};
  else_graph.outputs = {ob::value("e", 1, {1, 4})};
  std::vector<ob::Message> branches = {ob::attribute_graph("then_branch", then_graph.build()), ob::attribute_graph("else_branch", else_graph.build())};
  ob::Graph known = simple({ob::node("If", {"flag"}, {"y"}, branches)});
  known.initializers = {ob::tensor<uint8_t>("flag", 9, {}, {1})};
  auto a = convert_graph(known);
  REQUIRE_MESSAGE(a.ok(), a.error().to_string());
  CHECK(count_ops(*a, "cond") == 0);
  CHECK(run(*a, {row({-1, 2, -3, 4})}) == std::vector<float>{0, 2, 0, 4});

  ob::Graph open = simple({ob::node("If", {"flag"}, {"y"}, branches)});
  open.inputs.push_back(ob::value("flag", 9, {}));
  auto b = convert_graph(open);
  REQUIRE_MESSAGE(b.ok(), b.error().to_string());
  CHECK(count_ops(*b, "cond") == 1);
  CHECK(ir::verify(*b->converted.program).empty());
  CHECK(run(*b, {row({-1, 2, -3, 4}), Tensor::ints({1})}) == std::vector<float>{0, 2, 0, 4});
  CHECK(run(*b, {row({-1, 2, -3, 4}), Tensor::ints({0})}) == std::vector<float>{1, -2, 3, -4});

  // An input given as a constant decides the branch.
  foreign::Request request = float32();
  request.inputs.push_back(*foreign::parse_input_option("flag,value=0"));
  auto c = convert_graph(open, request);
  REQUIRE_MESSAGE(c.ok(), c.error().to_string());
  CHECK(c->converted.inputs.size() == 1);
  CHECK(count_ops(*c, "cond") == 0);
}

TEST_CASE("an image input is scaled and shifted inside the program") {
  ob::Graph g = simple({ob::node("Relu", {"x"}, {"y"})}, {1, 3, 1, 2});
  foreign::Request request = float32();
  request.inputs.push_back(*foreign::parse_input_option("x,type=image,color=BGR,scale=0.5,bias=1,-2,0"));
  auto c = convert_graph(g, request);
  REQUIRE_MESSAGE(c.ok(), c.error().to_string());
  const coreml::FeatureDescription& f = c->converted.inputs[0];
  CHECK(f.type.kind == coreml::FeatureKind::kImage);
  CHECK(f.type.image.width == 2);
  CHECK(f.type.image.height == 1);
  CHECK(f.type.image.color_space == coreml::ColorSpace::kBgr);
  Tensor x = Tensor::from<float>({1, 3, 1, 2}, std::vector<float>{2, 4, 2, 8, -6, 10});
  CHECK(run(*c, {x}) == std::vector<float>{2, 3, 0, 2, 0, 5});
  // Channels last: the program transposes.
  ob::Graph nhwc = simple({ob::node("Relu", {"x"}, {"y"})}, {1, 1, 2, 3});
  request.inputs = {*foreign::parse_input_option("x,type=image")};
  auto d = convert_graph(nhwc, request);
  REQUIRE_MESSAGE(d.ok(), d.error().to_string());
  CHECK(main_of(*d).inputs[0]->type.dims == Dims{1, 3, 1, 2});
  CHECK(run(*d, {x}) == std::vector<float>{2, 2, 0, 4, 8, 10});
}

TEST_CASE("class labels make a classifier") {
  ob::Graph g = simple({ob::node("Softmax", {"x"}, {"y"})}, {1, 2});
  foreign::Request request = float32();
  request.labels = foreign::Labels{{"cat", "dog"}, {}, "", "", ""};
  request.metadata.author = "someone";
  auto c = convert_graph(g, request);
  REQUIRE_MESSAGE(c.ok(), c.error().to_string());
  CHECK(ir::verify(*c->converted.program).empty());
  auto model = foreign::make_model(*c, request);
  REQUIRE(model.ok());
  CHECK(model->description().predicted_feature_name == "classLabel");
  CHECK(model->description().outputs.size() == 2);
  CHECK(model->metadata().author == "someone");
  CHECK(model->spec_version() == 6);
  request.labels->strings.push_back("mouse");
  auto wrong = convert_graph(g, request);
  REQUIRE(!wrong.ok());
  CHECK(wrong.error().code == Code::kUsage);
}

TEST_CASE("outputs get the names asked for") {
  foreign::Request request = float32();
  request.output_names = {{"y", "answer"}};
  auto c = convert_graph(simple({ob::node("Relu", {"x"}, {"answer"}), ob::node("Neg", {"answer"}, {"y"})}), request);
  REQUIRE_MESSAGE(c.ok(), c.error().to_string());
  CHECK(main_of(*c).body->outputs[0]->name == "answer");
  CHECK(c->converted.outputs[0].name == "answer");
  CHECK(ir::verify(*c->converted.program).empty());
  request.output_names = {{"nothing", "answer"}};
  CHECK(!convert_graph(simple({ob::node("Relu", {"x"}, {"y"})}), request).ok());
}

TEST_CASE("float16 features need a newer target and change both ends") {
  foreign::Request request;
  request.float16_io = true;
  auto c = convert_graph(simple({ob::node("Relu", {"x"}, {"y"})}), request);
  REQUIRE_MESSAGE(c.ok(), c.error().to_string());
  CHECK(c->opset == ops::Opset::kCoreML6);
  CHECK(main_of(*c).inputs[0]->type.dtype == DType::kF16);
  CHECK(main_of(*c).body->outputs[0]->type.dtype == DType::kF16);
  CHECK(count_ops(*c, "cast") == 0);
}

TEST_CASE("a target too old is refused with the reason") {
  // GatherND with batch_dims came with iOS16.
  ob::Graph g = simple({ob::node("GatherND", {"x", "i"}, {"y"}, {ob::attribute_int("batch_dims", 1)})}, {2, 3});
  g.initializers = {ob::ints("i", {2, 1}, {0, 2})};
  g.outputs = {ob::value("y", 1, {2})};
  auto free = convert_graph(g);
  REQUIRE_MESSAGE(free.ok(), free.error().to_string());
  CHECK(free->opset == ops::Opset::kCoreML6);
  foreign::Request request = float32();
  request.target = ops::Opset::kCoreML5;
  auto fixed = convert_graph(g, request);
  REQUIRE(!fixed.ok());
  CHECK(fixed.error().code == Code::kUnsupported);
}

TEST_CASE("the same source gives the same program, names included") {
  ob::Graph g = simple({ob::node("Relu", {"x"}, {"a"}), ob::node("Mul", {"a", "k"}, {"b"}), ob::node("Add", {"b", "a"}, {"y"})});
  g.initializers = {ob::floats("k", {4}, {1, 2, 3, 4})};
  foreign::Request request;
  auto names = [&] {
    auto c = convert_graph(g, request);
    REQUIRE(c.ok());
    std::string all;
    main_of(*c).for_each_op([&](const ir::Op& op) {
      for (const auto& v : op.outputs) all += v->name + ":" + v->type.to_string() + " ";
    });
    return all;
  };
  CHECK(names() == names());
}

TEST_CASE("input options") {
  auto o = foreign::parse_input_option("in put,shape=1x3x{224,256}x1..512,dtype=float16");
  REQUIRE_MESSAGE(o.ok(), o.error().to_string());
  CHECK(o->name == "in put");
  REQUIRE(o->shape->size() == 4);
  CHECK((*o->shape)[2].choices == std::vector<int64_t>{224, 256});
  CHECK((*o->shape)[3].upper == 512);
  CHECK(o->dtype == DType::kF16);
  for (const char* bad : {"", "x,shape=1x", "x,shape=0", "x,shape=1x-2", "x,shape={1", "x,shape=3..2", "x,colour=RGB", "x,color=RGB", "x,type=image,color=PINK", "x,stray", "x,scale=", "x,type=video",
                          "x,dtype=int8", "x,value=1,dtype=float16", "x,shape=99999999999"}) {
    CAPTURE(bad);
    auto r = foreign::parse_input_option(bad);
    REQUIRE(!r.ok());
    CHECK(r.error().code == Code::kUsage);
  }
}

TEST_CASE("targets by every name") {
  CHECK(*foreign::target_from_text("iOS16") == ops::Opset::kCoreML6);
  CHECK(*foreign::target_from_text("macOS14") == ops::Opset::kCoreML7);
  CHECK(*foreign::target_from_text("9") == ops::Opset::kCoreML8);
  CHECK(foreign::target_from_text("iOS13").error().code == Code::kUnsupported);
  CHECK(foreign::target_from_text("iOS99").error().code == Code::kUsage);
}

TEST_CASE("what is no ONNX model is refused") {
  Bytes good = ob::model(simple({ob::node("Relu", {"x"}, {"y"})}));
  CHECK(foreign::onnx::looks_like_onnx(good));
  CHECK(!foreign::onnx::looks_like_onnx(as_bytes("program(1.0)")));
  CHECK(!foreign::onnx::looks_like_onnx({}));
  CHECK(foreign::convert_source(Blob(Bytes(10)), "", float32()).error().code == Code::kInput);
  // A use before definition, a tensor of the wrong size, external data outside the folder, data no file holds.
  CHECK(!convert_graph(simple({ob::node("Relu", {"nowhere"}, {"y"})})).ok());
  ob::Graph wrong = simple({ob::node("Add", {"x", "k"}, {"y"})});
  wrong.initializers = {ob::floats("k", {5}, {1, 2, 3, 4})};
  CHECK(convert_graph(wrong).error().code == Code::kInput);
  wrong.initializers = {ob::floats("k", {-1}, {1})};
  CHECK(convert_graph(wrong).error().code == Code::kInput);
  wrong.initializers = {ob::floats("k", {int64_t{1} << 40, int64_t{1} << 40}, {1})};
  CHECK(convert_graph(wrong).error().code == Code::kInput);
  ob::Message entry = ob::Message().text(1, "location").text(2, "../secret");
  wrong.initializers = {ob::Message().varint(1, 4).varint(2, 1).text(8, "k").message(13, entry).varint(14, 1)};
  auto outside = convert_graph(wrong);
  REQUIRE(!outside.ok());
  CHECK(outside.error().message.find("outside") != std::string::npos);
}

TEST_CASE("cut and changed models end in an error or a program, never worse") {
  ob::Graph g = simple({ob::node("Conv", {"x", "w"}, {"a"}, {ob::attribute_ints("pads", {1, 1, 1, 1})}), ob::node("Reshape", {"a", "s"}, {"b"}), ob::node("Gemm", {"b", "m"}, {"y"})}, {1, 1, 2, 2});
  g.initializers = {ob::floats("w", {1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}), ob::ints("s", {2}, {1, 4}), ob::floats("m", {4, 1}, {1, 2, 3, 4})};
  Bytes good = ob::model(g);
  REQUIRE(foreign::convert_source(Blob(good), "", float32()).ok());
  for (size_t n = 0; n < good.size(); ++n) {
    (void)foreign::convert_source(Blob(Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(n))), "", float32()).ok();
    for (uint8_t flip : {0x01, 0x80, 0xff}) {
      Bytes bad = good;
      bad[n] ^= static_cast<std::byte>(flip);
      foreign::Request r = float32();
      r.from = "onnx";
      (void)foreign::convert_source(Blob(std::move(bad)), "", r).ok();
    }
  }
}

TEST_CASE("models of the corpus convert") {
  const char* env = std::getenv("MLT_CORPUS");
  std::filesystem::path dir = std::filesystem::path(env ? env : std::string(MLT_SOURCE_DIR) + "/../shared/corpus") / "onnx";
  if (!std::filesystem::is_directory(dir)) {
    MESSAGE("skipped: no corpus");
    return;
  }
  // Name, then the inputs that the file leaves open.
  const std::vector<std::pair<std::string, std::vector<std::string>>> models = {
      {"Linzaer__version-RFB-320.onnx", {}}, {"Tencent__test_torch_topk.onnx", {}}, {"dog-qiuqiu__FastestDet.onnx", {}}, {"lgyStoic__carn.onnx", {}},
      {"microsoft__candy.onnx", {}}, {"microsoft__iris_network.onnx", {}}, {"microsoft__mel_spectrogram.onnx", {}}, {"microsoft__mnist.onnx", {}},
      {"microsoft__mnist_original.onnx", {}}, {"onnx__light_resnet50.onnx", {}}, {"onnx__light_shufflenet.onnx", {}}, {"onnx__light_squeezenet.onnx", {}},
      {"onnx__test_xgb.onnx", {}}, {"oracle__cnn_mnist.onnx", {}}, {"oracle__lr_mnist.onnx", {}}, {"pykeio__lora_model.onnx", {}},
      {"pykeio__upsample.onnx", {"up_sampling2d_input:0,shape=1x4x5x3"}},
      {"snakers4__silero_vad.onnx", {"input,shape=1x576", "state,shape=2x1x128", "sr,value=16000"}},
      {"sonos__tract_averagepool_count_include_pad/model.onnx", {}}, {"sonos__tract_deconv_group/model.onnx", {}}, {"sonos__tract_lgbm_regressor_tensor/model.onnx", {}},
      {"sonos__tract_linear_regressor/model.onnx", {}}, {"sonos__tract_qlstm_3-2-3_T3_S1/model.onnx", {"input,shape=9x3"}}, {"sonos__tract_qrelu_2/model.onnx", {}},
      {"sonos__tract_qsigmoid_1/model.onnx", {}}, {"sonos__tract_qtanh_1/model.onnx", {}}, {"sonos__tract_qtdnn_10x5_101_i32_biases/model.onnx", {"input,shape=10x10"}},
      {"sonos__tract_xgboost_classifier_tree/model.onnx", {}}, {"yalue__example_float16.onnx", {}}, {"yalue__example_several_inputs_and_outputs.onnx", {}},
  };
  for (const auto& model : models) {
    const auto& name = model.first;
    const auto& inputs = model.second;
    CAPTURE(name);
    auto bytes = map_file((dir / name).string());
    REQUIRE_MESSAGE(bytes.ok(), bytes.error().to_string());
    CHECK(foreign::onnx::looks_like_onnx(bytes->bytes()));
    foreign::Request request;
    for (const std::string& text : inputs) request.inputs.push_back(*foreign::parse_input_option(text));
    auto c = foreign::convert_source(*bytes, (dir / name).string(), request);
    CHECK_MESSAGE(c.ok(), (c.ok() ? "" : c.error().to_string()));
    if (c.ok()) CHECK(ir::verify(*c->converted.program).empty());
  }
}
