#include <doctest/doctest.h>

#include <cmath>

#include "lib/coreml/classic.h"
#include "lib/coreml/model_proto.h"
#include "lib/coreml/nn_lift.h"
#include "lib/runtime/executor.h"
#include "tests/unit/corpus.h"

using namespace mlt;
using namespace mlt::coreml;

namespace {

struct Net {
  Model model;
  spec::NeuralNetwork* network;
  Net() {
    network = model.mutable_proto().mutable_neuralnetwork();
  }
  void exact() { network->set_arrayinputshapemapping(spec::EXACT_ARRAY_MAPPING); }
  void interface(std::vector<std::pair<std::string, FeatureType>> inputs, std::vector<std::pair<std::string, FeatureType>> outputs) {
    Description d;
    for (auto& [name, type] : inputs) d.inputs.push_back({name, "", type});
    for (auto& [name, type] : outputs) d.outputs.push_back({name, "", type});
    model.set_description(d);
  }
  spec::NeuralNetworkLayer* layer(const std::string& name, std::vector<std::string> inputs, std::vector<std::string> outputs, spec::NeuralNetwork* where = nullptr) {
    auto* l = (where ? where : network)->add_layers();
    l->set_name(name);
    for (auto& i : inputs) l->add_input(i);
    for (auto& o : outputs) l->add_output(o);
    return l;
  }
};

FeatureType array(std::vector<int64_t> shape) { return FeatureType::multi_array(ArrayDataType::kFloat32, std::move(shape)); }

void fill(spec::WeightParams* w, std::vector<float> values) {
  for (float v : values) w->add_floatvalue(v);
}

std::map<std::string, Tensor> run(const Model& model, std::map<std::string, Tensor> given) {
  LiftOptions options;
  for (auto& [name, tensor] : given) options.input_dims[name] = tensor.dims();
  auto net = lift_neural_network(model, options);
  REQUIRE_MESSAGE(net.ok(), (net.ok() ? "" : net.error().to_string()));
  auto executor = Executor::create(*net->program->functions[0], net->program);
  REQUIRE_MESSAGE(executor.ok(), (executor.ok() ? "" : executor.error().to_string()));
  std::vector<Tensor> inputs;
  for (const auto& input : net->inputs) {
    auto it = given.find(input.feature);
    inputs.push_back(it == given.end() ? Tensor::zeros(DType::kF32, input.dims) : it->second.reshaped(input.dims));
  }
  auto results = (*executor)->run(inputs);
  REQUIRE_MESSAGE(results.ok(), (results.ok() ? "" : results.error().to_string()));
  std::map<std::string, Tensor> out;
  const auto& values = net->program->functions[0]->body->outputs;
  for (size_t i = 0; i < values.size(); ++i) {
    for (const auto& output : net->outputs)
      if (output.value == values[i]->name) out[output.feature] = (*results)[i].tensor.clone();
    if (net->probabilities == values[i]->name) out["probabilities"] = (*results)[i].tensor.clone();
  }
  return out;
}

Tensor floats(Dims dims, std::vector<float> values) { return Tensor::from<float>(std::move(dims), values); }

std::string refusal(const Model& model, Code code) {
  auto net = lift_neural_network(model);
  REQUIRE_FALSE(net.ok());
  CHECK(net.error().code == code);
  return net.error().to_string();
}

}  // namespace

TEST_CASE("lift: convolution and pooling in the legacy mapping") {
  Net n;
  n.interface({{"x", array({1, 3, 3})}}, {{"y", array({})}, {"p", array({})}});
  auto* conv = n.layer("conv", {"x"}, {"y"})->mutable_convolution();
  conv->set_outputchannels(1), conv->set_kernelchannels(1), conv->set_hasbias(true);
  for (int i = 0; i < 2; ++i) conv->add_kernelsize(2);
  fill(conv->mutable_weights(), {1, 0, 0, 1});
  fill(conv->mutable_bias(), {0.5f});
  auto* pool = n.layer("pool", {"x"}, {"p"})->mutable_pooling();
  pool->set_type(spec::PoolingLayerParams::AVERAGE);
  for (int i = 0; i < 2; ++i) pool->add_kernelsize(2), pool->add_stride(2);
  pool->mutable_includelastpixel();
  auto out = run(n.model, {{"x", floats({1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9})}});
  CHECK(out["y"].dims() == Dims{1, 2, 2});
  CHECK(to_floats(out["y"]) == std::vector<float>{6.5f, 8.5f, 12.5f, 14.5f});
  // The last windows hang over the edge and average what is there.
  CHECK(to_floats(out["p"]) == std::vector<float>{3, 4.5f, 7.5f, 9});
}

TEST_CASE("lift: an image is scaled in its own channel order") {
  for (auto [space, expected] : {std::pair(ColorSpace::kRgb, std::vector<float>{1, 2, 3}), std::pair(ColorSpace::kBgr, std::vector<float>{3, 2, 1})}) {
    Net n;
    n.interface({{"image", FeatureType::image_of(1, 1, space)}}, {{"y", array({3, 1, 1})}});
    auto* p = n.network->add_preprocessing();
    p->mutable_scaler()->set_channelscale(0.5f);
    p->mutable_scaler()->set_redbias(1), p->mutable_scaler()->set_greenbias(2), p->mutable_scaler()->set_bluebias(3);
    auto* act = n.layer("id", {"image"}, {"y"})->mutable_activation()->mutable_linear();
    act->set_alpha(1);
    auto out = run(n.model, {{"image", floats({1, 3, 1, 1}, {0, 0, 0})}});
    CHECK(to_floats(out["y"]) == expected);
    out = run(n.model, {{"image", floats({1, 3, 1, 1}, {10, 20, 30})}});
    CHECK(to_floats(out["y"])[1] == 12);
  }
}

TEST_CASE("lift: recurrent layers take sequences, states are optional") {
  Net n;
  FeatureType state = array({1});
  state.optional = true;
  n.interface({{"x", array({1})}, {"h", state}, {"c", state}}, {{"y", array({1})}, {"ho", array({1})}, {"co", array({1})}});
  auto* l = n.layer("lstm", {"x", "h", "c"}, {"y", "ho", "co"})->mutable_unidirectionallstm();
  l->set_inputvectorsize(1), l->set_outputvectorsize(1);
  l->add_activations()->mutable_sigmoid();
  for (int i = 0; i < 2; ++i) l->add_activations()->mutable_tanh();
  auto* w = l->mutable_weightparams();
  for (auto* m : {w->mutable_inputgateweightmatrix(), w->mutable_forgetgateweightmatrix(), w->mutable_blockinputweightmatrix(), w->mutable_outputgateweightmatrix()}) fill(m, {1});
  for (auto* m : {w->mutable_inputgaterecursionmatrix(), w->mutable_forgetgaterecursionmatrix(), w->mutable_blockinputrecursionmatrix(), w->mutable_outputgaterecursionmatrix()}) fill(m, {0.5f});
  auto out = run(n.model, {{"x", floats({2, 1, 1}, {1, -1})}});
  double h = 0, c = 0;
  for (double x : {1.0, -1.0}) {
    double s = 1 / (1 + std::exp(-(x + 0.5 * h))), z = std::tanh(x + 0.5 * h);
    c = s * c + s * z;
    h = s * std::tanh(c);
  }
  CHECK(to_floats(out["y"])[0] == doctest::Approx(h));
  CHECK(to_floats(out["co"])[0] == doctest::Approx(c));
  // The same again in two calls that hand the state on.
  auto first = run(n.model, {{"x", floats({1, 1, 1}, {1})}});
  auto second = run(n.model, {{"x", floats({1}, {-1})}, {"h", first["ho"]}, {"c", first["co"]}});
  CHECK(to_floats(second["y"])[0] == doctest::Approx(h));
}

TEST_CASE("lift: recurrent activations that only unrolling can compute") {
  Net n;
  n.interface({{"x", array({1})}}, {{"y", array({})}});
  auto* l = n.layer("rnn", {"x"}, {"y"})->mutable_simplerecurrent();
  l->set_inputvectorsize(1), l->set_outputvectorsize(1), l->set_sequenceoutput(true);
  l->mutable_activation()->mutable_relu();
  fill(l->mutable_weightmatrix(), {1});
  fill(l->mutable_recursionmatrix(), {2});
  auto out = run(n.model, {{"x", floats({3, 1, 1}, {1, -3, 60})}});
  CHECK(out["y"].size() == 3);
  CHECK(to_floats(out["y"]) == std::vector<float>{1, 0, 50});  // gate inputs end at 50
}

TEST_CASE("lift: exact shapes, broadcasting, reshapes by another blob's shape") {
  Net n;
  n.exact();
  n.interface({{"x", array({2, 3})}, {"b", array({3})}}, {{"y", array({})}, {"t", array({})}});
  n.layer("add", {"x", "b"}, {"s"})->mutable_addbroadcastable();
  n.layer("shape", {"b"}, {"shape"})->mutable_getshape();
  n.layer("more", {"s"}, {"st"})->mutable_transpose()->add_axes(1);
  n.network->mutable_layers(2)->mutable_transpose()->add_axes(0);
  auto* tail = n.layer("pad", {"shape"}, {"target"})->mutable_constantpad();
  tail->set_value(2), tail->add_padamounts(0), tail->add_padamounts(1);
  n.layer("reshape", {"s", "target"}, {"y"})->mutable_reshapedynamic();
  auto* copy = n.layer("id", {"st"}, {"t"})->mutable_activation()->mutable_linear();
  copy->set_alpha(1);
  auto out = run(n.model, {{"x", floats({2, 3}, {1, 2, 3, 4, 5, 6})}, {"b", floats({3}, {10, 20, 30})}});
  CHECK(out["y"].dims() == Dims{3, 2});
  CHECK(to_floats(out["y"]) == std::vector<float>{11, 22, 33, 14, 25, 36});
  CHECK(to_floats(out["t"]) == std::vector<float>{11, 14, 22, 25, 33, 36});
}

TEST_CASE("lift: what is expanded from no axes has the new axes alone") {
  Net n;
  n.exact();
  n.interface({{"x", array({2})}}, {{"y", array({})}, {"e", array({})}});
  auto* cut = n.layer("cut", {"x"}, {"y"})->mutable_slicestatic();
  cut->add_beginids(1), cut->add_endids(2), cut->add_strides(1), cut->add_beginmasks(false), cut->add_endmasks(false), cut->add_squeezemasks(true);
  n.layer("expand", {"y"}, {"e"})->mutable_expanddims()->add_axes(0);
  auto out = run(n.model, {{"x", floats({2}, {3, 4})}});
  CHECK(out["y"].dims() == Dims{1});
  CHECK(out["e"].dims() == Dims{1});
  CHECK(to_floats(out["e"]) == std::vector<float>{4});
}

TEST_CASE("lift: repetitions of the last axes, a picture's axes without its batch") {
  Net n;
  n.exact();
  n.interface({{"x", array({2, 2})}, {"r", array({1})}}, {{"y", array({})}});
  n.layer("tile", {"x", "r"}, {"y"})->mutable_tile();
  auto out = run(n.model, {{"x", floats({2, 2}, {1, 2, 3, 4})}, {"r", floats({1}, {2})}});
  CHECK(out["y"].dims() == Dims{2, 4});
  CHECK(to_floats(out["y"]) == std::vector<float>{1, 2, 1, 2, 3, 4, 3, 4});

  Net p;
  p.exact();
  p.interface({{"image", FeatureType::image_of(2, 1, ColorSpace::kRgb)}}, {{"y", array({1, 2, 3})}});
  auto* transpose = p.layer("nhwc", {"image"}, {"y"})->mutable_transpose();
  for (uint64_t axis : {1, 2, 0}) transpose->add_axes(axis);
  out = run(p.model, {{"image", floats({1, 3, 1, 2}, {1, 2, 3, 4, 5, 6})}});
  CHECK(to_floats(out["y"]) == std::vector<float>{1, 3, 5, 2, 4, 6});
}

TEST_CASE("lift: branches and loops write blobs again") {
  Net n;
  n.exact();
  n.interface({{"x", array({1})}, {"n", array({1})}}, {{"y", array({})}, {"sign", array({})}});
  n.layer("start", {"x"}, {"y"})->mutable_copy();
  auto* loop = n.layer("loop", {"n"}, {})->mutable_loop();
  n.layer("double", {"y"}, {"z"}, loop->mutable_bodynetwork())->mutable_multiply()->set_alpha(2);
  n.layer("again", {"z"}, {"y"}, loop->mutable_bodynetwork())->mutable_copy();
  n.layer("large", {"y"}, {"stop"}, loop->mutable_bodynetwork())->mutable_greaterthan()->set_alpha(100);
  auto* leave = n.layer("leave", {"stop"}, {}, loop->mutable_bodynetwork())->mutable_branch();
  n.layer("break", {}, {}, leave->mutable_ifbranch())->mutable_loopbreak();
  n.layer("more", {"y"}, {"w"}, loop->mutable_bodynetwork())->mutable_add()->set_alpha(1);
  n.layer("back", {"w"}, {"y"}, loop->mutable_bodynetwork())->mutable_copy();
  n.layer("positive", {"x"}, {"p"})->mutable_greaterthan();
  auto* branch = n.layer("branch", {"p"}, {})->mutable_branch();
  auto* plus = n.layer("plus", {"x"}, {"sign"}, branch->mutable_ifbranch())->mutable_activation()->mutable_linear();
  plus->set_beta(1);
  auto* minus = n.layer("minus", {"x"}, {"sign"}, branch->mutable_elsebranch())->mutable_activation()->mutable_linear();
  minus->set_beta(-1);
  auto y = [&](float x, float count) { return run(n.model, {{"x", floats({1}, {x})}, {"n", floats({1}, {count})}}); };
  CHECK(to_floats(y(1, 0)["y"]) == std::vector<float>{1});
  CHECK(to_floats(y(1, 3)["y"]) == std::vector<float>{15});
  CHECK(to_floats(y(1, 50)["y"]) == std::vector<float>{126});  // 63 doubled, then out of the loop
  CHECK(to_floats(y(3, 0)["sign"]) == std::vector<float>{1});
  CHECK(to_floats(y(-3, 0)["sign"]) == std::vector<float>{-1});
}

TEST_CASE("lift: a classifier's labels and scores") {
  Model model;
  auto* c = model.mutable_proto().mutable_neuralnetworkclassifier();
  auto* l = c->add_layers();
  l->set_name("soft"), l->add_input("x"), l->add_output("scores");
  l->mutable_softmax();
  for (const char* s : {"a", "b"}) c->mutable_stringclasslabels()->add_vector(s);
  Description d;
  d.inputs.push_back({"x", "", array({2})});
  d.outputs.push_back({"label", "", FeatureType::string()});
  d.outputs.push_back({"probs", "", FeatureType::dictionary(FeatureKind::kString)});
  d.predicted_feature_name = "label", d.predicted_probabilities_name = "probs";
  model.set_description(d);
  auto out = run(model, {{"x", floats({2}, {0, std::log(3.0f)})}});
  CHECK(to_floats(out["probabilities"])[1] == doctest::Approx(0.75));
  c->mutable_stringclasslabels()->add_vector("c");
  CHECK(refusal(model, Code::kInput).find("3 class labels") != std::string::npos);
}

TEST_CASE("lift: everything unsupported is named at once") {
  Net n;
  n.interface({{"x", array({1})}}, {{"y", array({})}});
  n.layer("first", {"x"}, {"a"})->mutable_custom()->set_classname("Swish");
  n.layer("plain", {"a"}, {"b"})->mutable_activation()->mutable_relu();
  n.layer("second", {"b"}, {"y"})->mutable_custom()->set_classname("Mish");
  std::string message = refusal(n.model, Code::kUnsupported);
  for (const char* part : {"first", "Swish", "second", "Mish"}) CHECK(message.find(part) != std::string::npos);
}

TEST_CASE("lift: damaged networks are refused") {
  Net missing;
  missing.interface({{"x", array({1})}}, {{"y", array({})}});
  missing.layer("a", {"nothing"}, {"y"})->mutable_activation()->mutable_relu();
  CHECK(refusal(missing.model, Code::kInput).find("nothing") != std::string::npos);
  Net no_output;
  no_output.interface({{"x", array({1})}}, {{"y", array({})}});
  no_output.layer("a", {"x"}, {"z"})->mutable_activation()->mutable_relu();
  refusal(no_output.model, Code::kInput);
  Net weights;
  weights.interface({{"x", array({1})}}, {{"y", array({})}});
  auto* ip = weights.layer("ip", {"x"}, {"y"})->mutable_innerproduct();
  ip->set_inputchannels(1), ip->set_outputchannels(uint64_t{1} << 60);
  refusal(weights.model, Code::kInput);
  Net huge;
  huge.interface({{"x", array({int64_t{1} << 40, int64_t{1} << 40, 3})}}, {{"y", array({})}});
  huge.layer("a", {"x"}, {"y"})->mutable_activation()->mutable_relu();
  refusal(huge.model, Code::kInput);
  Net pad;
  pad.interface({{"x", array({1, 4, 4})}}, {{"y", array({})}});
  auto* up = pad.layer("up", {"x"}, {"y"})->mutable_upsample();
  up->add_scalingfactor(uint64_t{1} << 62), up->add_scalingfactor(1);
  refusal(pad.model, Code::kInput);
  Net arity;
  arity.interface({{"x", array({1})}}, {{"y", array({})}});
  arity.layer("conv", {}, {"y"})->mutable_convolution();
  refusal(arity.model, Code::kInput);
}

TEST_CASE("lift: a loop full of branches that leave it ends in a refusal, not in exponential work") {
  Net n;
  n.exact();
  n.interface({{"x", array({1})}}, {{"y", array({})}});
  n.layer("start", {"x"}, {"y"})->mutable_copy();
  auto* body = n.layer("loop", {}, {})->mutable_loop()->mutable_bodynetwork();
  n.network->mutable_layers(1)->mutable_loop()->set_maxloopiterations(2);
  for (int i = 0; i < 40; ++i) {
    auto* inner = n.layer("b", {"x"}, {}, body)->mutable_branch();
    auto* deep = n.layer("c", {"x"}, {}, inner->mutable_ifbranch())->mutable_branch();
    n.layer("out", {}, {}, deep->mutable_ifbranch())->mutable_loopbreak();
  }
  n.layer("copy", {"x"}, {"y"}, body)->mutable_copy();
  refusal(n.model, Code::kUnsupported);
}

TEST_CASE("corpus: every network lifts, or names its custom layers") {
  int lifted = 0;
  for (const std::string& path : test::corpus_files("mlmodel", ".mlmodel")) {
    INFO(path);
    auto bytes = map_file(path);
    REQUIRE(bytes.ok());
    auto model = Model::parse(*bytes);
    REQUIRE(model.ok());
    if (!is_neural_network(model->kind())) continue;
    LiftOptions options;
    if (path.find("Exermote") != std::string::npos) options.input_dims["accelerations"] = {60, 1, 12};  // convolves along the sequence
    auto net = lift_neural_network(*model, options);
    if (!net.ok()) {
      CHECK(net.error().code == Code::kUnsupported);
      CHECK(net.error().message.find("custom layer") != std::string::npos);
      continue;
    }
    ++lifted;
  }
  CHECK((test::corpus_dir().empty() || lifted >= 20));
}

TEST_CASE("corpus: classic models are made, or say what is missing") {
  int made = 0, missing = 0;
  for (const std::string& path : test::corpus_files("mlmodel", ".mlmodel")) {
    INFO(path);
    auto model = Model::parse(*map_file(path));
    REQUIRE(model.ok());
    if (!is_classic(model->kind())) continue;
    auto estimator = make_estimator(*model);
    if (estimator.ok()) {
      ++made;
    } else {
      CHECK(estimator.error().code == Code::kUnsupported);
      ++missing;
    }
    if (path.find("SleepCalculator") != std::string::npos) {
      auto out = (*estimator)->predict({{"wake", 28800.0}, {"estimatedSleep", 8.0}, {"coffee", 2.0}});
      REQUIRE(out.ok());
      CHECK(std::get<double>((*out)["actualSleep"]) == doctest::Approx(30940.34725435857));
    }
    if (path.find("FlowerClassifier") != std::string::npos) {
      CHECK((*estimator)->predict({}).error().code == Code::kUnsupported);
      auto out = (*estimator)->predict({{"sceneprint", Tensor::from<double>({2048}, std::vector<double>(2048, 0.1))}});
      REQUIRE(out.ok());
      CHECK(std::get<std::string>((*out)["classLabel"]) == "daisy");
    }
  }
  if (!test::corpus_dir().empty()) {
    CHECK(made >= 18);
    CHECK(missing >= 4);
  }
}

TEST_CASE("lift: convolutions and deconvolutions of three dimensions") {
  Net n;
  n.interface({{"x", array({1, 1, 1, 1, 2})}}, {{"y", array({})}});
  n.exact();
  auto* p = n.layer("l", {"x"}, {"y"})->mutable_convolution3d();
  p->set_inputchannels(1), p->set_outputchannels(1), p->set_ngroups(1), p->set_isdeconvolution(true);
  p->set_kerneldepth(1), p->set_kernelheight(1), p->set_kernelwidth(3);
  p->set_paddingtype(spec::Convolution3DLayerParams::VALID);
  fill(p->mutable_weights(), {1, 2, 3});
  CHECK(to_floats(run(n.model, {{"x", floats({1, 1, 1, 1, 2}, {1, 10})}})["y"]) == std::vector<float>{1, 12, 23, 30});
  p->set_paddingtype(spec::Convolution3DLayerParams::CUSTOM);
  p->set_custompaddingleft(1);
  CHECK(to_floats(run(n.model, {{"x", floats({1, 1, 1, 1, 2}, {1, 10})}})["y"]) == std::vector<float>{12, 23, 30});
  p->set_paddingtype(spec::Convolution3DLayerParams::SAME);
  CHECK(to_floats(run(n.model, {{"x", floats({1, 1, 1, 1, 2}, {1, 10})}})["y"]) == std::vector<float>{12, 23});
  for (int d : {1, 1, 3}) p->add_outputshape(static_cast<uint64_t>(d));
  CHECK(to_floats(run(n.model, {{"x", floats({1, 1, 1, 1, 2}, {1, 10})}})["y"]) == std::vector<float>{1, 12, 23});
  p->set_outputshape(2, 9);
  CHECK(refusal(n.model, Code::kUnsupported).find("larger than its kernels reach") != std::string::npos);
  p->clear_outputshape();
  p->set_isdeconvolution(false);
  CHECK(to_floats(run(n.model, {{"x", floats({1, 1, 1, 1, 2}, {1, 10})}})["y"]) == std::vector<float>{32, 21});
}
