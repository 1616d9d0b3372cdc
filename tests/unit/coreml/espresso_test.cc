#include "lib/coreml/espresso.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "lib/container/compile.h"
#include "lib/container/espresso.h"
#include "lib/container/open.h"
#include "lib/coreml/model_proto.h"
#include "lib/runtime/predictor.h"
#include "tests/unit/corpus.h"

using namespace mlt;
using namespace mlt::coreml;

namespace {

struct Net {
  Model model;
  spec::NeuralNetwork* network = model.mutable_proto().mutable_neuralnetwork();
  explicit Net(Dims input, std::vector<std::string> outputs = {"y"}) {
    Description d;
    d.inputs.push_back({"x", "", FeatureType::multi_array(ArrayDataType::kFloat32, std::move(input))});
    for (auto& output : outputs) d.outputs.push_back({output, "", FeatureType::multi_array(ArrayDataType::kFloat32, {})});
    model.set_description(d);
  }
  spec::NeuralNetworkLayer* layer(const std::string& name, std::vector<std::string> inputs, std::vector<std::string> outputs) {
    auto* l = network->add_layers();
    l->set_name(name);
    for (auto& i : inputs) l->add_input(i);
    for (auto& o : outputs) l->add_output(o);
    return l;
  }
};

void fill(spec::WeightParams* w, int count, float from = 0.1f) {
  for (int i = 0; i < count; ++i) w->add_floatvalue(from + 0.05f * static_cast<float>(i % 7) - 0.1f * static_cast<float>(i % 3));
}

OpenedModel opened(const Model& model) {
  auto bytes = model.serialize();
  REQUIRE(bytes.ok());
  auto out = open_memory(Blob(std::move(*bytes)), "test.mlmodel");
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().to_string()));
  return std::move(*out);
}
OpenedModel compiled(const OpenedModel& source, bool keep_source = false) {
  CompileOptions options;
  options.keep_source = keep_source;
  auto files = compile_model(source, options);
  REQUIRE_MESSAGE(files.ok(), (files.ok() ? "" : files.error().to_string()));
  auto out = open_tree(files->tree, "test.mlmodelc");
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().to_string()));
  const Error* error = first_network_error(*out->compiled);
  REQUIRE_MESSAGE(error == nullptr, (error == nullptr ? "" : error->to_string()));
  return std::move(*out);
}

FeatureMap predict(const OpenedModel& model, const FeatureMap& inputs) {
  auto predictor = Predictor::create(model);
  REQUIRE_MESSAGE(predictor.ok(), (predictor.ok() ? "" : predictor.error().to_string()));
  auto out = (*predictor)->predict(inputs, nullptr);
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().to_string()));
  return std::move(*out);
}

float difference(const FeatureMap& a, const FeatureMap& b) {
  float worst = 0;
  REQUIRE(a.size() == b.size());
  for (const auto& [name, value] : a) {
    const auto* x = std::get_if<Tensor>(&value);
    if (x == nullptr) continue;
    const auto* y = std::get_if<Tensor>(&b.at(name));
    REQUIRE(y != nullptr);
    REQUIRE(x->dims() == y->dims());
    std::vector<float> p = to_floats(*x), q = to_floats(*y);
    for (size_t i = 0; i < p.size(); ++i) worst = std::max(worst, std::fabs(p[i] - q[i]));
  }
  return worst;
}

// The source and what is read back from its compiled form give the same.
void same_answers(const Net& net, Dims dims) {
  OpenedModel source = opened(net.model);
  std::vector<float> values;
  int64_t count = *element_count(dims);
  for (int64_t i = 0; i < count; ++i) values.push_back(std::sin(static_cast<float>(i)) * 2);
  FeatureMap inputs;
  inputs["x"] = Tensor::from<float>(std::move(dims), values);
  CHECK(difference(predict(source, inputs), predict(compiled(source), inputs)) < 1e-5f);
}

std::string refused(const Net& net) {
  auto written = write_espresso(net.model);
  REQUIRE_FALSE(written.ok());
  CHECK(written.error().code == Code::kUnsupported);
  return written.error().to_string();
}

// One layer of the given text, read.
Result<Model> read(const std::string& layer, const std::string& shapes = "{}", std::map<uint64_t, std::vector<float>> blobs = {}) {
  std::string net = R"({"format_version": 200, "layers": [)" + layer + "]}", shape = R"({"layer_shapes": )" + shapes + "}";
  MLT_ASSIGN(EspressoNetwork network, parse_espresso(as_bytes(net), as_bytes(shape)));
  Model model;
  model.mutable_proto().mutable_neuralnetwork();
  MLT_ASSIGN(Bytes bytes, model.serialize());
  MLT_ASSIGN(Model empty, Model::parse(Blob(std::move(bytes))));
  MLT_TRY(read_espresso(network, [&](uint64_t id) -> Result<Blob> {
    auto it = blobs.find(id);
    if (it == blobs.end()) return input_error("no blob");
    Bytes data(it->second.size() * 4);
    std::memcpy(data.data(), it->second.data(), data.size());
    return Blob(std::move(data));
  }, empty));
  return empty;
}

}  // namespace

TEST_CASE("espresso: a convolution swallows padding, normalization and activation") {
  Net n({2, 5, 4});
  auto* pad = n.layer("pad", {"x"}, {"p"})->mutable_padding();
  pad->mutable_constant();
  for (int i = 0; i < 2; ++i) pad->mutable_paddingamounts()->add_borderamounts()->set_endedgesize(1);
  auto* conv = n.layer("conv", {"p"}, {"c"})->mutable_convolution();
  conv->set_outputchannels(3), conv->set_kernelchannels(2);
  conv->mutable_valid();
  for (int i = 0; i < 2; ++i) conv->add_kernelsize(3);
  fill(conv->mutable_weights(), 54);
  auto* norm = n.layer("norm", {"c"}, {"n"})->mutable_batchnorm();
  norm->set_channels(3), norm->set_epsilon(1e-5f);
  fill(norm->mutable_gamma(), 3, 1), fill(norm->mutable_beta(), 3), fill(norm->mutable_mean(), 3), fill(norm->mutable_variance(), 3, 0.8f);
  n.layer("relu", {"n"}, {"y"})->mutable_activation()->mutable_relu();
  auto written = write_espresso(n.model);
  REQUIRE(written.ok());
  REQUIRE(written->network.layers.size() == 1);
  const EspressoLayer& layer = written->network.layers[0];
  CHECK(layer.type == "convolution");
  CHECK(layer.tops == std::vector<std::string>{"y"});
  CHECK(layer.is_output);
  CHECK(std::get<double>(layer.fields.at("fused_relu")) == 1);
  CHECK(std::get<double>(layer.fields.at("pad_b")) == 1);
  CHECK(std::get<double>(layer.fields.at("has_biases")) == 1);
  CHECK(written->network.shapes.at("y") == EspressoShape{1, 3, 4, 3, 1, 0});
  same_answers(n, {2, 5, 4});
}

TEST_CASE("espresso: layers of the legacy mapping") {
  auto single = [](Dims dims, auto set) {
    Net n(dims);
    set(n.layer("l", {"x"}, {"y"}));
    same_answers(n, dims);
  };
  Dims image{2, 4, 6};
  using L = spec::NeuralNetworkLayer*;
  for (bool max : {false, true})
    for (int padding : {0, 1, 2}) {
      CAPTURE(padding);
      single(image, [&](L l) {
        auto* p = l->mutable_pooling();
        p->set_type(max ? spec::PoolingLayerParams::MAX : spec::PoolingLayerParams::AVERAGE);
        for (int i = 0; i < 2; ++i) p->add_kernelsize(3), p->add_stride(2);
        if (padding == 0) p->mutable_valid();
        else if (padding == 1) p->mutable_same();
        else p->mutable_includelastpixel();
      });
    }
  single(image, [](L l) { l->mutable_pooling()->set_globalpooling(true); });
  single(image, [](L l) { l->mutable_activation()->mutable_tanh(); });
  single(image, [](L l) { l->mutable_activation()->mutable_sigmoid(); });
  single(image, [](L l) { l->mutable_activation()->mutable_leakyrelu()->set_alpha(0.3f); });
  single(image, [](L l) { l->mutable_activation()->mutable_elu()->set_alpha(0.7f); });
  single(image, [](L l) { fill(l->mutable_activation()->mutable_prelu()->mutable_alpha(), 2, 0.4f); });
  single(image, [](L l) { l->mutable_activation()->mutable_sigmoidhard()->set_alpha(0.2f), l->mutable_activation()->mutable_sigmoidhard()->set_beta(0.5f); });
  single(image, [](L l) { l->mutable_softmax(); });
  single(image, [](L l) { l->mutable_mvn()->set_normalizevariance(true), l->mutable_mvn()->set_epsilon(1e-3f); });
  single(image, [](L l) { l->mutable_flatten()->set_mode(spec::FlattenLayerParams::CHANNEL_LAST); });
  single(image, [](L l) { for (int a : {0, 3, 1, 2}) l->mutable_permute()->add_axis(static_cast<uint64_t>(a)); });
  single(image, [](L l) { for (int d : {6, 2, 4}) l->mutable_reshape()->add_targetshape(d); });
  single(image, [](L l) { l->mutable_slice()->set_startindex(1), l->mutable_slice()->set_endindex(-1), l->mutable_slice()->set_axis(spec::SliceLayerParams::WIDTH_AXIS); });
  single(image, [](L l) { l->mutable_reduce()->set_axis(spec::ReduceLayerParams::C); });
  single(image, [](L l) { l->mutable_reduce()->set_axis(spec::ReduceLayerParams::HW), l->mutable_reduce()->set_mode(spec::ReduceLayerParams::AVG); });
  single(image, [](L l) { l->mutable_unary()->set_type(spec::UnaryFunctionLayerParams::ABS); });
  single(image, [](L l) { l->mutable_unary()->set_type(spec::UnaryFunctionLayerParams::EXP), l->mutable_unary()->set_scale(0.5f); });
  single(image, [](L l) { for (int i = 0; i < 2; ++i) l->mutable_upsample()->add_scalingfactor(2); });
  single(image, [](L l) { l->mutable_scale()->add_shapescale(2), fill(l->mutable_scale()->mutable_scale(), 2, 1), l->mutable_scale()->set_hasbias(true), l->mutable_scale()->add_shapebias(2), fill(l->mutable_scale()->mutable_bias(), 2); });
  single(image, [](L l) {
    auto* b = l->mutable_batchnorm();
    b->set_channels(2), b->set_computemeanvar(true), b->set_instancenormalization(true);
    fill(b->mutable_gamma(), 2, 1), fill(b->mutable_beta(), 2);
  });
  single({4}, [](L l) {
    auto* p = l->mutable_innerproduct();
    p->set_inputchannels(4), p->set_outputchannels(3), p->set_hasbias(true);
    fill(p->mutable_weights(), 12), fill(p->mutable_bias(), 3);
  });
}

TEST_CASE("espresso: several inputs") {
  for (int kind = 0; kind < 5; ++kind) {
    Net n({2, 3, 3});
    auto* linear = n.layer("a", {"x"}, {"b"})->mutable_activation()->mutable_linear();
    linear->set_alpha(-0.5f), linear->set_beta(0.25f);
    auto* l = n.layer("l", {"x", "b", "x"}, {"y"});
    if (kind == 0) l->mutable_add();
    if (kind == 1) l->mutable_multiply();
    if (kind == 2) l->mutable_max();
    if (kind == 3) l->mutable_min();
    if (kind == 4) l->mutable_concat();
    same_answers(n, {2, 3, 3});
  }
}

TEST_CASE("espresso: exactly mapped arrays") {
  Net n({1, 6, 4});
  n.network->set_arrayinputshapemapping(spec::EXACT_ARRAY_MAPPING);
  auto* reshape = n.layer("reshape", {"x"}, {"r"})->mutable_reshapestatic();
  for (int d : {1, 6, 2, 2}) reshape->add_targetshape(d);
  auto* transpose = n.layer("transpose", {"r"}, {"t"})->mutable_transpose();
  for (uint64_t a : {0, 2, 1, 3}) transpose->add_axes(a);
  auto* product = n.layer("product", {"t", "t"}, {"s"})->mutable_batchedmatmul();
  product->set_transposeb(true);
  n.layer("softmax", {"s"}, {"m"})->mutable_softmaxnd()->set_axis(-1);
  n.layer("values", {"m", "t"}, {"v"})->mutable_batchedmatmul();
  auto* squeeze = n.layer("squeeze", {"v"}, {"q"})->mutable_squeeze();
  squeeze->add_axes(0);
  n.layer("gelu", {"q"}, {"y"})->mutable_gelu();
  same_answers(n, {1, 6, 4});
}

TEST_CASE("espresso: what cannot be written is listed, or kept") {
  Net n({2, 4, 4});
  n.layer("first", {"x"}, {"a"})->mutable_activation()->mutable_softplus();
  n.layer("second", {"a"}, {"y"})->mutable_lrn()->set_localsize(3);
  std::string message = refused(n);
  CHECK(message.find("first") != message.npos);
  CHECK(message.find("second") != message.npos);
  OpenedModel source = opened(n.model);
  CHECK_FALSE(compile_model(source, {}).ok());
  FeatureMap inputs;
  inputs["x"] = Tensor::from<float>({2, 4, 4}, std::vector<float>(32, 0.5f));
  CHECK(difference(predict(source, inputs), predict(compiled(source, true), inputs)) == 0);
}

TEST_CASE("espresso: fields and values that are not known are refused") {
  std::string relu = R"({"type": "activation", "name": "l", "bottom": "x", "top": "y", "weights": {}, "mode": 0)";
  CHECK(read(relu + "}").ok());
  for (const char* more : {R"(, "surprise": 1)", R"(, "surprise": true)", R"(, "surprise": "yes")", R"(, "surprise": [1])", R"(, "beta": 2)"}) {
    CAPTURE(more);
    auto model = read(relu + more + "}");
    REQUIRE_FALSE(model.ok());
    CHECK(model.error().code == Code::kUnsupported);
  }
  CHECK(read(relu + R"(, "surprise": 0, "hint_fallback_from_metal": 1})").ok());
  auto both = read(R"({"type": "rnn_arch", "name": "one", "bottom": "x", "top": "y"}, {"type": "elementwise", "name": "two", "bottom": "y", "top": "z", "operation": 3})");
  REQUIRE_FALSE(both.ok());
  CHECK(both.error().to_string().find("one") != std::string::npos);
  CHECK(both.error().to_string().find("two") != std::string::npos);
  std::string conv = R"({"type": "convolution", "name": "l", "bottom": "x", "top": "y", "K": 1, "C": 1, "Nx": 1, "Ny": 1, "blob_weights": 1)";
  CHECK(read(conv + "}", "{}", {{1, {2}}}).ok());
  CHECK_FALSE(read(conv + "}", "{}", {{1, {2, 3}}}).ok());  // a blob of another size
  CHECK_FALSE(read(conv + "}", "{}", {}).ok());
  CHECK_FALSE(read(conv + R"(, "pad_mode": 3})", "{}", {{1, {2}}}).ok());
  CHECK_FALSE(read(conv + R"(, "n_groups": 0})", "{}", {{1, {2}}}).ok());
  CHECK_FALSE(read(conv + R"(, "C": 1e300})", "{}", {{1, {2}}}).ok());
}

TEST_CASE("espresso: an updatable network keeps what it can be trained in") {
  Net n({1});
  auto* l = n.layer("dense", {"x"}, {"y"});
  l->set_isupdatable(true);
  auto* p = l->mutable_innerproduct();
  p->set_inputchannels(1), p->set_outputchannels(1);
  p->mutable_weights()->set_isupdatable(true);
  fill(p->mutable_weights(), 1);
  n.network->mutable_updateparams()->mutable_optimizer()->mutable_sgdoptimizer()->mutable_learningrate()->set_defaultvalue(0.5);
  n.model.set_updatable(true);
  OpenedModel again = compiled(opened(n.model));
  CHECK(again.model.updatable());
  CHECK(again.model.proto().neuralnetwork().layers(0).isupdatable());
  CHECK(again.model.proto().neuralnetwork().updateparams().optimizer().sgdoptimizer().learningrate().defaultvalue() == 0.5);
}

TEST_CASE("espresso: files of Apple's compiler") {
  for (const std::string& path : test::corpus_files("mlmodelc-pairs", ".mlmodelc")) {
    CAPTURE(path);
    auto source = open_model(path.substr(0, path.size() - 1));
    if (!source.ok() || !is_neural_network(source->model.kind())) continue;
    auto files = compile_model(*source, {});
    REQUIRE(files.ok());
    FileTree theirs = FileTree::from_directory(path);
    for (const char* file : {"model.espresso.net", "model.espresso.shape", "model.espresso.weights", "model/coremldata.bin", "neural_network_optionals/coremldata.bin"}) {
      CAPTURE(file);
      CHECK(files->tree.open(file)->text() == theirs.open(file)->text());
    }
  }
  // Compiled by older compilers: the same layers, and the same answers up to the rounding of folded weights.
  for (const std::string& path : test::corpus_files("mlmodelc", ".mlmodelc")) {
    size_t name = path.rfind('/');
    std::string beside = path.substr(0, name - 1) + path.substr(name, path.size() - name - 1);
    if (path_kind(beside) != PathKind::kFile) continue;
    CAPTURE(path);
    auto source = open_model(beside), theirs = open_model(path);
    REQUIRE(source.ok());
    REQUIRE(theirs.ok());
    if (!is_neural_network(source->model.kind())) continue;
    FeatureMap inputs;
    for (const auto& input : source->model.description().inputs) {
      if (input.type.kind != FeatureKind::kImage) continue;
      Image image;
      image.width = input.type.image.width, image.height = input.type.image.height, image.channels = 3;
      image.pixels = Tensor::zeros(DType::kU8, {image.height, image.width, 3});
      for (int64_t i = 0; i < image.pixels.size(); ++i) image.pixels.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(i * 7 % 251);
      inputs[input.name] = image;
    }
    FeatureMap from_source = predict(*source, inputs), from_theirs = predict(*theirs, inputs), from_ours = predict(compiled(*source), inputs);
    CHECK(difference(from_source, from_theirs) < 0.01f);
    CHECK(difference(from_ours, from_theirs) < 0.002f);
  }
}
