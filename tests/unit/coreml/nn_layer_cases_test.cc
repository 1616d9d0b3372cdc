// One network of each layer: what it answers, and that it refuses to be wired wrongly. The layers are counted against the
// table of kinds, so that none goes without.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <set>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/nn_layers.h"
#include "lib/coreml/nn_lift.h"
#include "lib/runtime/executor.h"

using namespace mlt;
using namespace mlt::coreml;

namespace {

using L = spec::NeuralNetworkLayer;
using Values = std::vector<float>;
struct Array {
  Dims dims;
  Values values;
};

struct LayerCase {
  std::string kind;
  std::function<void(L&)> make;
  std::vector<Array> inputs;
  std::vector<Array> outputs;
};

Model network_of(const LayerCase& c, size_t inputs) {
  Model model;
  auto* network = model.mutable_proto().mutable_neuralnetwork();
  network->set_arrayinputshapemapping(spec::EXACT_ARRAY_MAPPING);
  Description d;
  for (size_t i = 0; i < std::max(inputs, size_t{1}); ++i) {
    const Dims dims = i < c.inputs.size() ? c.inputs[i].dims : Dims{1};
    d.inputs.push_back({"i" + std::to_string(i), "", FeatureType::multi_array(ArrayDataType::kFloat32, dims)});
  }
  auto* layer = network->add_layers();
  layer->set_name("layer");
  for (size_t i = 0; i < inputs; ++i) layer->add_input("i" + std::to_string(i));
  for (size_t i = 0; i < c.outputs.size(); ++i) {
    std::string name = "o" + std::to_string(i);
    layer->add_output(name);
    d.outputs.push_back({name, "", FeatureType::multi_array(ArrayDataType::kFloat32, {})});
  }
  model.set_description(d);
  c.make(*layer);
  return model;
}

Values run(const Model& model, const LayerCase& c, size_t output, Dims& dims, std::string& error) {
  auto net = lift_neural_network(model, {});
  if (!net) return error = net.error().to_string(), Values{};
  auto executor = Executor::create(*net->program->functions[0], net->program);
  if (!executor) return error = executor.error().to_string(), Values{};
  std::vector<Tensor> inputs;
  for (const auto& input : net->inputs) {
    auto i = static_cast<size_t>(std::stoi(input.feature.substr(1)));
    inputs.push_back(i < c.inputs.size() ? Tensor::from<float>(input.dims, c.inputs[i].values) : Tensor::zeros(DType::kF32, input.dims));
  }
  auto results = (*executor)->run(inputs);
  if (!results) return error = results.error().to_string(), Values{};
  const auto& values = net->program->functions[0]->body->outputs;
  for (const auto& out : net->outputs)
    for (size_t i = 0; i < values.size(); ++i)
      if (out.feature == "o" + std::to_string(output) && out.value == values[i]->name) {
        dims = (*results)[i].tensor.dims();
        return to_floats((*results)[i].tensor);
      }
  error = "no output";
  return {};
}

void fill(spec::WeightParams* w, const Values& values) {
  for (float v : values) w->add_floatvalue(v);
}
void copy_as(spec::NeuralNetwork* inner, const std::string& from, const std::string& to, float times) {
  auto* layer = inner->add_layers();
  layer->set_name("inner " + to);
  layer->add_input(from);
  layer->add_output(to);
  layer->mutable_activation()->mutable_linear()->set_alpha(times);
}
float f(double x) { return static_cast<float>(x); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

std::vector<LayerCase> simple_cases() {
  const Array ab{{2}, {-0.5f, 0.25f}}, over{{2}, {1.5f, 2}};
  std::vector<LayerCase> out;
  auto unary = [&](const char* kind, std::function<void(L&)> make, double (*function)(double), const Array& x) {
    Values expected;
    for (float v : x.values) expected.push_back(f(function(v)));
    out.push_back({kind, std::move(make), {x}, {{x.dims, expected}}});
  };
#define UNARY(name, accessor, expression, x) unary(name, [](L& l) { (void)l.mutable_##accessor(); }, [](double v) -> double { return expression; }, x)
  UNARY("ceil", ceil, std::ceil(v), ab);
  UNARY("floor", floor, std::floor(v), ab);
  UNARY("sign", sign, (v > 0) - (v < 0), ab);
  UNARY("round", round, std::nearbyint(v), over);
  UNARY("exp2", exp2, std::exp2(v), ab);
  UNARY("sin", sin, std::sin(v), ab);
  UNARY("cos", cos, std::cos(v), ab);
  UNARY("tan", tan, std::tan(v), ab);
  UNARY("asin", asin, std::asin(v), ab);
  UNARY("acos", acos, std::acos(v), ab);
  UNARY("atan", atan, std::atan(v), ab);
  UNARY("sinh", sinh, std::sinh(v), ab);
  UNARY("cosh", cosh, std::cosh(v), ab);
  UNARY("tanh", tanh, std::tanh(v), ab);
  UNARY("asinh", asinh, std::asinh(v), ab);
  UNARY("acosh", acosh, std::acosh(v), over);
  UNARY("atanh", atanh, std::atanh(v), ab);
  UNARY("erf", erf, std::erf(v), ab);
  UNARY("gelu", gelu, 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))), ab);
  UNARY("logicalNot", logicalnot, v == 0, ab);
  UNARY("copy", copy, v, ab);
#undef UNARY
  const Values softmax{f(1 / (1 + std::exp(1))), f(1 / (1 + std::exp(-1)))};
  out.push_back({"softmaxND", [](L& l) { l.mutable_softmaxnd()->set_axis(0); }, {{{2, 1}, {3, 4}}}, {{{2, 1}, softmax}}});
  out.push_back({"softmax", [](L& l) { (void)l.mutable_softmax(); }, {{{1, 2, 1, 1}, {3, 4}}}, {{{1, 2, 1, 1}, softmax}}});
  unary("clip", [](L& l) { l.mutable_clip()->set_minval(0), l.mutable_clip()->set_maxval(1); }, [](double v) -> double { return std::min(1.0, std::max(0.0, v)); }, {{3}, {-1, 0.5f, 2}});
  unary("clampedReLU", [](L& l) { l.mutable_clampedrelu()->set_alpha(0.1f), l.mutable_clampedrelu()->set_beta(1); },
        [](double v) -> double { return std::min(1.0, v < 0 ? 0.1f * v : v); }, {{3}, {-1, 0.5f, 2}});
  unary("activation", [](L& l) { l.mutable_activation()->mutable_leakyrelu()->set_alpha(0.5f); }, [](double v) -> double { return v < 0 ? v / 2 : v; }, ab);
  unary("unary", [](L& l) { l.mutable_unary()->set_type(spec::UnaryFunctionLayerParams::EXP), l.mutable_unary()->set_scale(2), l.mutable_unary()->set_shift(1); },
        [](double v) -> double { return std::exp(2 * v + 1); }, ab);

  unary("unary", [](L& l) { l.mutable_unary()->set_type(spec::UnaryFunctionLayerParams::LOG), l.mutable_unary()->set_epsilon(1); },
        [](double v) -> double { return std::log(v + 1); }, ab);
  auto binary = [&](const char* kind, std::function<void(L&)> make, double (*function)(double, double)) {
    const Array x{{2, 2}, {1, -2, 3, 0}}, y{{2}, {2, 3}};
    Values expected;
    for (size_t i = 0; i < 4; ++i) expected.push_back(f(function(x.values[i], y.values[i % 2])));
    out.push_back({kind, std::move(make), {x, y}, {{{2, 2}, expected}}});
  };
#define BINARY(name, accessor, expression) binary(name, [](L& l) { (void)l.mutable_##accessor(); }, [](double a, double b) -> double { return expression; })
  BINARY("equal", equal, a == b);
  BINARY("notEqual", notequal, a != b);
  BINARY("lessThan", lessthan, a < b);
  BINARY("lessEqual", lessequal, a <= b);
  BINARY("greaterThan", greaterthan, a > b);
  BINARY("greaterEqual", greaterequal, a >= b);
  BINARY("logicalOr", logicalor, a != 0 || b != 0);
  BINARY("logicalXor", logicalxor, (a != 0) != (b != 0));
  BINARY("logicalAnd", logicaland, a != 0 && b != 0);
  BINARY("modBroadcastable", modbroadcastable, a - b * std::floor(a / b));
  BINARY("minBroadcastable", minbroadcastable, std::min(a, b));
  BINARY("maxBroadcastable", maxbroadcastable, std::max(a, b));
  BINARY("addBroadcastable", addbroadcastable, a + b);
  BINARY("powBroadcastable", powbroadcastable, std::pow(a, b));
  BINARY("divideBroadcastable", dividebroadcastable, a / b);
  BINARY("floorDivBroadcastable", floordivbroadcastable, std::floor(a / b));
  BINARY("multiplyBroadcastable", multiplybroadcastable, a * b);
  BINARY("subtractBroadcastable", subtractbroadcastable, a - b);
#undef BINARY
  auto same = [&](const char* kind, std::function<void(L&)> make, Values expected) {
    out.push_back({kind, std::move(make), {{{1, 2, 1, 1}, {1, -2}}, {{1, 2, 1, 1}, {3, 4}}}, {{{1, 2, 1, 1}, std::move(expected)}}});
  };
  same("add", [](L& l) { (void)l.mutable_add(); }, {4, 2});
  same("multiply", [](L& l) { (void)l.mutable_multiply(); }, {3, -8});
  same("average", [](L& l) { (void)l.mutable_average(); }, {2, 1});
  same("max", [](L& l) { (void)l.mutable_max(); }, {3, 4});
  same("min", [](L& l) { (void)l.mutable_min(); }, {1, -2});
  out.push_back({"dot", [](L& l) { (void)l.mutable_dot(); }, {{{1, 2, 1, 1}, {1, -2}}, {{1, 2, 1, 1}, {3, 4}}}, {{{1, 1, 1, 1}, {-5}}}});

#define REDUCE(name, accessor, ...) \
  out.push_back({name, [](L& l) { l.mutable_##accessor()->add_axes(1); l.mutable_##accessor()->set_keepdims(true); }, {{{2, 2}, {1, -2, 3, 4}}}, {{{2, 1}, {__VA_ARGS__}}}})
  REDUCE("reduceL1", reducel1, 3, 7);
  REDUCE("reduceL2", reducel2, f(std::sqrt(5)), 5);
  REDUCE("reduceMax", reducemax, 1, 4);
  REDUCE("reduceMin", reducemin, -2, 3);
  REDUCE("reduceSum", reducesum, -1, 7);
  REDUCE("reduceProd", reduceprod, -2, 12);
  REDUCE("reduceMean", reducemean, -0.5f, 3.5f);
  REDUCE("reduceSumSquare", reducesumsquare, 5, 25);
  REDUCE("reduceLogSumExp", reducelogsumexp, f(std::log(std::exp(1) + std::exp(-2))), f(std::log(std::exp(3) + std::exp(4))));
  REDUCE("reduceLogSum", reducelogsum, f(std::log(3)), f(std::log(7)));
#undef REDUCE
  out.back().inputs[0].values = {1, 2, 3, 4};
  out.push_back({"reduce", [](L& l) { l.mutable_reduce()->set_axis(spec::ReduceLayerParams::C); }, {{{1, 2, 1, 2}, {1, 2, 3, 4}}}, {{{1, 1, 1, 2}, {4, 6}}}});
  return out;
}

std::vector<LayerCase> tensor_cases() {
  const Array m{{2, 2}, {1, 2, 3, 4}}, v{{3}, {3, 1, 2}}, at{{2}, {1, 0}}, image{{1, 1, 2, 2}, {1, 2, 3, 4}}, channels{{1, 4, 1, 1}, {1, 2, 3, 4}};
  std::vector<LayerCase> out;
  auto add = [&](const char* kind, std::vector<Array> inputs, std::vector<Array> outputs, std::function<void(L&)> make) {
    out.push_back({kind, std::move(make), std::move(inputs), std::move(outputs)});
  };
  add("rangeStatic", {}, {{{3}, {1, 3, 5}}}, [](L& l) { auto* p = l.mutable_rangestatic(); p->set_startvalue(1), p->set_endvalue(6), p->set_stepsizevalue(2); });
  add("rangeDynamic", {{{1}, {3}}}, {{{3}, {0, 1, 2}}}, [](L& l) { l.mutable_rangedynamic()->set_stepsizevalue(1); });
  add("loadConstantND", {}, {{{2}, {5, 6}}}, [](L& l) { l.mutable_loadconstantnd()->add_shape(2); fill(l.mutable_loadconstantnd()->mutable_data(), {5, 6}); });
  add("loadConstant", {}, {{{1, 1, 1, 1, 2}, {5, 6}}}, [](L& l) { for (uint64_t d : {1, 1, 2}) l.mutable_loadconstant()->add_shape(d); fill(l.mutable_loadconstant()->mutable_data(), {5, 6}); });
  add("tile", {m}, {{{2, 4}, {1, 2, 1, 2, 3, 4, 3, 4}}}, [](L& l) { l.mutable_tile()->add_reps(1); l.mutable_tile()->add_reps(2); });
  add("stack", {at, at}, {{{2, 2}, {1, 0, 1, 0}}}, [](L& l) { l.mutable_stack()->set_axis(0); });
  add("concatND", {at, v}, {{{5}, {1, 0, 3, 1, 2}}}, [](L& l) { l.mutable_concatnd()->set_axis(0); });
  add("concat", {image, image}, {{{1, 2, 2, 2}, {1, 2, 3, 4, 1, 2, 3, 4}}}, [](L& l) { (void)l.mutable_concat(); });
  add("split", {channels}, {{{1, 2, 1, 1}, {1, 2}}, {{1, 2, 1, 1}, {3, 4}}}, [](L& l) { l.mutable_split()->set_noutputs(2); });
  add("splitND", {v}, {{{1}, {3}}, {{2}, {1, 2}}}, [](L& l) { l.mutable_splitnd()->set_numsplits(2); l.mutable_splitnd()->add_splitsizes(1); l.mutable_splitnd()->add_splitsizes(2); });
  add("gather", {v, at}, {{{2}, {1, 3}}}, [](L& l) { l.mutable_gather()->set_axis(0); });
  add("gatherND", {m, {{1, 2}, {1, 0}}}, {{{1}, {3}}}, [](L& l) { (void)l.mutable_gathernd(); });
  add("gatherAlongAxis", {m, {{1, 2}, {1, 0}}}, {{{1, 2}, {3, 2}}}, [](L& l) { l.mutable_gatheralongaxis()->set_axis(0); });
  add("scatter", {v, at, {{2}, {8, 9}}}, {{{3}, {9, 8, 2}}}, [](L& l) { l.mutable_scatter()->set_mode(spec::SCATTER_UPDATE); });
  add("scatterND", {m, {{1, 2}, {1, 0}}, {{1}, {9}}}, {{{2, 2}, {1, 2, 12, 4}}}, [](L& l) { l.mutable_scatternd()->set_mode(spec::SCATTER_ADD); });
  add("scatterAlongAxis", {m, {{1, 2}, {1, 0}}, {{1, 2}, {8, 9}}}, {{{2, 2}, {1, 9, 8, 4}}}, [](L& l) { l.mutable_scatteralongaxis()->set_mode(spec::SCATTER_UPDATE); });
  add("reverse", {m}, {{{2, 2}, {2, 1, 4, 3}}}, [](L& l) { l.mutable_reverse()->add_reversedim(false); l.mutable_reverse()->add_reversedim(true); });
  add("reverseSeq", {{{2, 3}, {1, 2, 3, 4, 5, 6}}, {{2}, {2, 3}}}, {{{2, 3}, {2, 1, 3, 6, 5, 4}}}, [](L& l) { l.mutable_reverseseq()->set_sequenceaxis(1); });
  add("transpose", {m}, {{{2, 2}, {1, 3, 2, 4}}}, [](L& l) { l.mutable_transpose()->add_axes(1); l.mutable_transpose()->add_axes(0); });
  add("permute", {{{1, 1, 1, 2, 2}, {1, 2, 3, 4}}}, {{{1, 1, 1, 2, 2}, {1, 3, 2, 4}}}, [](L& l) { for (uint64_t a : {0, 1, 3, 2}) l.mutable_permute()->add_axis(a); });
  add("sliceStatic", {v}, {{{2}, {1, 2}}}, [](L& l) {
    auto* p = l.mutable_slicestatic();
    p->add_beginids(1), p->add_endids(0), p->add_strides(1), p->add_beginmasks(false), p->add_endmasks(true), p->add_squeezemasks(false);
  });
  add("sliceDynamic", {v, {{1}, {1}}}, {{{1}, {1}}}, [](L& l) {
    auto* p = l.mutable_slicedynamic();
    p->add_endids(2), p->add_strides(1), p->add_beginmasks(false), p->add_endmasks(false);
  });
  add("sliceDynamic", {v, {{1}, {1}}, {{1}, {3}}}, {{{2}, {1, 2}}}, [](L& l) {
    for (int i = 0; i < 5; ++i) l.mutable_slicedynamic()->add_strides(1), l.mutable_slicedynamic()->add_beginmasks(false), l.mutable_slicedynamic()->add_endmasks(false);
  });
  add("sliceBySize", {v, {{1}, {1}}}, {{{2}, {1, 2}}}, [](L& l) { l.mutable_slicebysize()->set_size(2); });
  add("slice", {channels}, {{{1, 2, 1, 1}, {2, 3}}}, [](L& l) { auto* p = l.mutable_slice(); p->set_startindex(1), p->set_endindex(3), p->set_stride(1); });
  add("slidingWindows", {v}, {{{2, 2}, {3, 1, 1, 2}}}, [](L& l) { auto* p = l.mutable_slidingwindows(); p->set_windowsize(2), p->set_step(1); });
  add("topK", {v}, {{{2}, {3, 2}}, {{2}, {0, 2}}}, [](L& l) { l.mutable_topk()->set_k(2); });
  add("topK", {v, {{1}, {2}}}, {{{2}, {1, 2}}, {{2}, {1, 2}}}, [](L& l) { l.mutable_topk()->set_usebottomk(true); });
  add("argMin", {v}, {{{1}, {1}}}, [](L& l) { l.mutable_argmin()->set_axis(0); });
  add("argMax", {v}, {{{1}, {0}}}, [](L& l) { l.mutable_argmax()->set_axis(0); });
  add("argSort", {v}, {{{3}, {1, 2, 0}}}, [](L& l) { l.mutable_argsort()->set_axis(0); });
  add("cumSum", {v, {{1}, {-1}}}, {{{3}, {3, 4, 6}}}, [](L& l) { (void)l.mutable_cumsum(); });
  add("cumSum", {v}, {{{3}, {3, 4, 6}}}, [](L& l) { l.mutable_cumsum()->set_axis(0); });
  add("oneHot", {at}, {{{2, 3}, {0, 5, 0, 5, 0, 0}}}, [](L& l) { auto* p = l.mutable_onehot(); p->set_onehotvectorsize(3), p->set_axis(-1), p->set_onvalue(5); });
  add("getShape", {m}, {{{2}, {2, 2}}}, [](L& l) { (void)l.mutable_getshape(); });
  add("fillLike", {at}, {{{2}, {7, 7}}}, [](L& l) { l.mutable_filllike()->set_value(7); });
  add("fillStatic", {}, {{{2}, {7, 7}}}, [](L& l) { l.mutable_fillstatic()->set_value(7); l.mutable_fillstatic()->add_targetshape(2); });
  add("fillDynamic", {{{1}, {2}}}, {{{2}, {7, 7}}}, [](L& l) { l.mutable_filldynamic()->set_value(7); });
  add("broadcastToLike", {at, m}, {{{2, 2}, {1, 0, 1, 0}}}, [](L& l) { (void)l.mutable_broadcasttolike(); });
  add("broadcastToStatic", {at}, {{{2, 2}, {1, 0, 1, 0}}}, [](L& l) { for (int i = 0; i < 2; ++i) l.mutable_broadcasttostatic()->add_targetshape(2); });
  add("broadcastToDynamic", {at, {{2}, {2, 2}}}, {{{2, 2}, {1, 0, 1, 0}}}, [](L& l) { (void)l.mutable_broadcasttodynamic(); });
  add("squeeze", {{{2, 1}, {1, 2}}}, {{{2}, {1, 2}}}, [](L& l) { l.mutable_squeeze()->add_axes(1); });
  add("expandDims", {at}, {{{1, 2}, {1, 0}}}, [](L& l) { l.mutable_expanddims()->add_axes(0); });
  add("flattenTo2D", {{{2, 1, 2}, {1, 2, 3, 4}}}, {{{2, 2}, {1, 2, 3, 4}}}, [](L& l) { l.mutable_flattento2d()->set_axis(1); });
  add("flatten", {image}, {{{1, 4, 1, 1}, {1, 2, 3, 4}}}, [](L& l) { (void)l.mutable_flatten(); });
  add("reshape", {{{1, 1, 1, 2, 2}, {1, 2, 3, 4}}}, {{{1, 1, 4, 1, 1}, {1, 2, 3, 4}}}, [](L& l) { for (int64_t d : {4, 1, 1}) l.mutable_reshape()->add_targetshape(d); });
  add("reshapeLike", {m, {{4}, {0, 0, 0, 0}}}, {{{4}, {1, 2, 3, 4}}}, [](L& l) { (void)l.mutable_reshapelike(); });
  add("reshapeStatic", {m}, {{{4}, {1, 2, 3, 4}}}, [](L& l) { l.mutable_reshapestatic()->add_targetshape(-1); });
  add("reshapeDynamic", {m, {{1}, {4}}}, {{{4}, {1, 2, 3, 4}}}, [](L& l) { (void)l.mutable_reshapedynamic(); });
  add("rankPreservingReshape", {m}, {{{1, 4}, {1, 2, 3, 4}}}, [](L& l) { l.mutable_rankpreservingreshape()->add_targetshape(1); l.mutable_rankpreservingreshape()->add_targetshape(-1); });
  add("constantPad", {at}, {{{4}, {9, 1, 0, 9}}}, [](L& l) { auto* p = l.mutable_constantpad(); p->set_value(9), p->add_padamounts(1), p->add_padamounts(1); });
  add("constantPad", {at, {{2}, {0, 3}}}, {{{3}, {1, 0, 9}}}, [](L& l) { auto* p = l.mutable_constantpad(); p->set_value(9), p->set_padtogivenoutputsizemode(true); });
  add("whereNonZero", {m}, {{{4, 2}, {0, 0, 0, 1, 1, 0, 1, 1}}}, [](L& l) { (void)l.mutable_wherenonzero(); });
  add("whereBroadcastable", {at, v, {{1}, {9}}}, {{{2}, {3, 9}}}, [](L& l) { (void)l.mutable_wherebroadcastable(); });
  out.back().inputs[1] = {{2}, {3, 1}};
  add("matrixBandPart", {m}, {{{2, 2}, {1, 0, 3, 4}}}, [](L& l) { l.mutable_matrixbandpart()->set_numlower(-1); });
  add("lowerTriangular", {m}, {{{2, 2}, {1, 0, 3, 4}}}, [](L& l) { (void)l.mutable_lowertriangular(); });
  add("upperTriangular", {m}, {{{2, 2}, {1, 2, 0, 4}}}, [](L& l) { (void)l.mutable_uppertriangular(); });
  // Distributions that leave nothing to chance.
  add("randomNormalLike", {at}, {{{2}, {3, 3}}}, [](L& l) { l.mutable_randomnormallike()->set_mean(3); });
  add("randomNormalStatic", {}, {{{2}, {3, 3}}}, [](L& l) { l.mutable_randomnormalstatic()->set_mean(3); l.mutable_randomnormalstatic()->add_outputshape(2); });
  add("randomNormalDynamic", {{{1}, {2}}}, {{{2}, {3, 3}}}, [](L& l) { l.mutable_randomnormaldynamic()->set_mean(3); });
  add("randomUniformLike", {at}, {{{2}, {3, 3}}}, [](L& l) { auto* p = l.mutable_randomuniformlike(); p->set_minval(3), p->set_maxval(3); });
  add("randomUniformStatic", {}, {{{2}, {3, 3}}}, [](L& l) { auto* p = l.mutable_randomuniformstatic(); p->set_minval(3), p->set_maxval(3), p->add_outputshape(2); });
  add("randomUniformDynamic", {{{1}, {2}}}, {{{2}, {3, 3}}}, [](L& l) { auto* p = l.mutable_randomuniformdynamic(); p->set_minval(3), p->set_maxval(3); });
  add("randomBernoulliLike", {at}, {{{2}, {1, 1}}}, [](L& l) { l.mutable_randombernoullilike()->set_prob(1); });
  add("randomBernoulliStatic", {}, {{{2}, {1, 1}}}, [](L& l) { l.mutable_randombernoullistatic()->set_prob(1); l.mutable_randombernoullistatic()->add_outputshape(2); });
  add("randomBernoulliDynamic", {{{1}, {2}}}, {{{2}, {1, 1}}}, [](L& l) { l.mutable_randombernoullidynamic()->set_prob(1); });
  add("categoricalDistribution", {{{1, 3}, {0, 1, 0}}}, {{{1, 2}, {1, 1}}}, [](L& l) { auto* p = l.mutable_categoricaldistribution(); p->set_numsamples(2), p->set_temperature(1); });
  add("NonMaximumSuppression", {{{1, 2, 4}, {0, 0, 2, 2, 0, 0, 2, 2}}, {{1, 2, 1}, {0.5f, 0.75f}}},
      {{{1, 1, 4}, {0, 0, 2, 2}}, {{1, 1, 1}, {0.75f}}, {{1, 1}, {1}}, {{1}, {1}}},
      [](L& l) { auto* p = l.mutable_nonmaximumsuppression(); p->set_iouthreshold(0.5f), p->set_maxboxes(1); });
  return out;
}

std::vector<LayerCase> network_cases() {
  const Array image{{1, 1, 2, 2}, {1, 2, 3, 4}}, channels{{1, 2, 1, 1}, {1, 3}}, cube{{1, 1, 2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}}, sequence{{2, 1, 1, 1, 1}, {1, -1}};
  std::vector<LayerCase> out;
  auto add = [&](const char* kind, std::vector<Array> inputs, std::vector<Array> outputs, std::function<void(L&)> make) {
    out.push_back({kind, std::move(make), std::move(inputs), std::move(outputs)});
  };
  add("convolution", {image}, {{{1, 1, 1, 1}, {5.5f}}}, [](L& l) {
    auto* p = l.mutable_convolution();
    p->set_outputchannels(1), p->set_kernelchannels(1), p->set_hasbias(true), p->mutable_valid();
    for (int i = 0; i < 2; ++i) p->add_kernelsize(2);
    fill(p->mutable_weights(), {1, 0, 0, 1}), fill(p->mutable_bias(), {0.5f});
  });
  // Transposed: each element of the input spreads over the kernel, whose elements lie two apart.
  add("convolution", {{{1, 1, 1, 2}, {1, 2}}}, {{{1, 1, 1, 4}, {3, 6, 5, 10}}}, [](L& l) {
    auto* p = l.mutable_convolution();
    p->set_outputchannels(1), p->set_kernelchannels(1), p->set_isdeconvolution(true), p->mutable_valid();
    for (uint64_t k : {1, 2}) p->add_kernelsize(k), p->add_dilationfactor(2), p->add_stride(1);
    fill(p->mutable_weights(), {3, 5});
  });
  add("convolution3d", {cube}, {{{1, 1, 1, 1, 1}, {36}}}, [](L& l) {
    auto* p = l.mutable_convolution3d();
    p->set_outputchannels(1), p->set_inputchannels(1), p->set_ngroups(1), p->set_kerneldepth(2), p->set_kernelheight(2), p->set_kernelwidth(2);
    p->set_stridedepth(1), p->set_strideheight(1), p->set_stridewidth(1), p->set_dilationdepth(1), p->set_dilationheight(1), p->set_dilationwidth(1);
    p->set_paddingtype(spec::Convolution3DLayerParams::VALID), fill(p->mutable_weights(), Values(8, 1));
  });
  add("pooling", {image}, {{{1, 1, 1, 1}, {2.5f}}}, [](L& l) { l.mutable_pooling()->set_type(spec::PoolingLayerParams::AVERAGE); l.mutable_pooling()->set_globalpooling(true); });
  add("pooling3d", {cube}, {{{1, 1, 1, 1, 1}, {8}}}, [](L& l) {
    auto* p = l.mutable_pooling3d();
    p->set_kerneldepth(2), p->set_kernelheight(2), p->set_kernelwidth(2), p->set_stridedepth(1), p->set_strideheight(1), p->set_stridewidth(1);
    p->set_paddingtype(spec::Pooling3DLayerParams::VALID);
  });
  add("globalPooling3d", {cube}, {{{1, 1, 1, 1, 1}, {4.5f}}}, [](L& l) { l.mutable_globalpooling3d()->set_type(spec::GlobalPooling3DLayerParams::AVERAGE); });
  add("innerProduct", {{{1, 2}, {1, 3}}}, {{{1, 1}, {-5}}}, [](L& l) {
    auto* p = l.mutable_innerproduct();
    p->set_inputchannels(2), p->set_outputchannels(1), fill(p->mutable_weights(), {1, -2});
  });
  add("batchedMatmul", {{{1, 2}, {1, 3}}, {{2, 1}, {4, 5}}}, {{{1, 1}, {19}}}, [](L& l) { (void)l.mutable_batchedmatmul(); });
  add("embedding", {{{1, 1, 1, 1}, {1}}}, {{{1, 2, 1, 1}, {2, 4}}}, [](L& l) {
    auto* p = l.mutable_embedding();  // [outputChannels, inputDim]
    p->set_inputdim(2), p->set_outputchannels(2), fill(p->mutable_weights(), {1, 2, 3, 4});
  });
  add("embeddingND", {{{1, 1}, {1}}}, {{{1, 2}, {2, 4}}}, [](L& l) {
    auto* p = l.mutable_embeddingnd();  // [embeddingSize, vocabSize]
    p->set_vocabsize(2), p->set_embeddingsize(2), fill(p->mutable_weights(), {1, 2, 3, 4});
  });
  add("batchnorm", {channels}, {{{1, 2, 1, 1}, {3, 5}}}, [](L& l) {
    auto* p = l.mutable_batchnorm();
    p->set_channels(2), fill(p->mutable_gamma(), {2, 2}), fill(p->mutable_beta(), {1, 1}), fill(p->mutable_mean(), {0, 1}), fill(p->mutable_variance(), {1, 1});
  });
  add("mvn", {image}, {{{1, 1, 2, 2}, {-1.5f, -0.5f, 0.5f, 1.5f}}}, [](L& l) { (void)l.mutable_mvn(); });
  add("l2normalize", {{{1, 2, 1, 1}, {3, 4}}}, {{{1, 2, 1, 1}, {0.6f, 0.8f}}}, [](L& l) { l.mutable_l2normalize()->set_epsilon(1e-12f); });
  add("lrn", {channels}, {{{1, 2, 1, 1}, {f(1.0 / 2), f(3.0 / 10)}}}, [](L& l) { auto* p = l.mutable_lrn(); p->set_alpha(1), p->set_beta(1), p->set_localsize(1), p->set_k(1); });
  add("layerNormalization", {{{2}, {1, 3}}}, {{{2}, {-1, 1}}}, [](L& l) {
    auto* p = l.mutable_layernormalization();
    p->add_normalizedshape(2), fill(p->mutable_gamma(), {1, 1}), fill(p->mutable_beta(), {0, 0});
  });
  add("scale", {channels}, {{{1, 2, 1, 1}, {2, 9}}}, [](L& l) { auto* p = l.mutable_scale(); p->add_shapescale(2), fill(p->mutable_scale(), {2, 3}); });
  add("bias", {channels}, {{{1, 2, 1, 1}, {3, 6}}}, [](L& l) { auto* p = l.mutable_bias(); p->add_shape(2), fill(p->mutable_bias(), {2, 3}); });
  add("crop", {image}, {{{1, 1, 1, 1}, {4}}}, [](L& l) {
    for (int i = 0; i < 2; ++i) l.mutable_crop()->mutable_cropamounts()->add_borderamounts()->set_startedgesize(1);
  });
  add("padding", {image}, {{{1, 1, 2, 3}, {1, 2, 9, 3, 4, 9}}}, [](L& l) {
    l.mutable_padding()->mutable_constant()->set_value(9);
    l.mutable_padding()->mutable_paddingamounts()->add_borderamounts();
    l.mutable_padding()->mutable_paddingamounts()->add_borderamounts()->set_endedgesize(1);
  });
  add("upsample", {{{1, 1, 1, 2}, {1, 2}}}, {{{1, 1, 2, 4}, {1, 1, 2, 2, 1, 1, 2, 2}}}, [](L& l) { for (int i = 0; i < 2; ++i) l.mutable_upsample()->add_scalingfactor(2); });
  add("resizeBilinear", {{{1, 1, 1, 2}, {1, 3}}}, {{{1, 1, 1, 3}, {1, 2, 3}}}, [](L& l) {
    auto* p = l.mutable_resizebilinear();
    p->add_targetsize(1), p->add_targetsize(3), p->mutable_mode()->set_samplingmethod(spec::SamplingMode::STRICT_ALIGN_ENDPOINTS_MODE);
  });
  add("cropResize", {image, {{1, 1, 4, 1, 1}, {0, 0, 1, 1}}}, {{{1, 1, 1, 2, 2}, {1, 2, 3, 4}}}, [](L& l) {
    auto* p = l.mutable_cropresize();
    p->add_targetsize(2), p->add_targetsize(2), p->set_spatialscale(1), p->mutable_mode()->set_samplingmethod(spec::SamplingMode::STRICT_ALIGN_ENDPOINTS_MODE);
  });
  out.back().inputs[0].dims = {1, 1, 1, 2, 2};
  add("reorganizeData", {image}, {{{1, 4, 1, 1}, {1, 2, 3, 4}}}, [](L& l) { l.mutable_reorganizedata()->set_blocksize(2); });
  add("sequenceRepeat", {channels}, {{{2, 2, 1, 1}, {1, 3, 1, 3}}}, [](L& l) { l.mutable_sequencerepeat()->set_nrepetitions(2); });
  out.back().inputs[0].dims = {1, 1, 2, 1, 1};
  out.back().outputs[0].dims = {2, 1, 2, 1, 1};
  add("simpleRecurrent", {sequence}, {{{1, 1, 1, 1, 1}, {f(std::tanh(-1 + 0.5 * std::tanh(1)))}}}, [](L& l) {
    auto* p = l.mutable_simplerecurrent();
    p->set_inputvectorsize(1), p->set_outputvectorsize(1), p->mutable_activation()->mutable_tanh();
    fill(p->mutable_weightmatrix(), {1}), fill(p->mutable_recursionmatrix(), {0.5f});
  });
  out.push_back(out.back());
  out.back().make = [whole = out.back().make](L& l) {
    whole(l);
    l.mutable_simplerecurrent()->mutable_activation()->mutable_scaledtanh();  // of no parameters: tanh
  };
  double h = 0;
  for (double x : {1.0, -1.0}) {
    double z = sigmoid(x + 0.5 * h), r = sigmoid(x + 0.5 * h), o = std::tanh(x + 0.5 * r * h);
    h = (1 - z) * o + z * h;
  }
  add("gru", {sequence}, {{{1, 1, 1, 1, 1}, {f(h)}}}, [](L& l) {
    auto* p = l.mutable_gru();
    p->set_inputvectorsize(1), p->set_outputvectorsize(1), p->add_activations()->mutable_sigmoid(), p->add_activations()->mutable_tanh();
    for (auto* w : {p->mutable_updategateweightmatrix(), p->mutable_resetgateweightmatrix(), p->mutable_outputgateweightmatrix()}) fill(w, {1});
    for (auto* w : {p->mutable_updategaterecursionmatrix(), p->mutable_resetgaterecursionmatrix(), p->mutable_outputgaterecursionmatrix()}) fill(w, {0.5f});
  });
  auto lstm = [](spec::LSTMWeightParams* w) {
    for (auto* m : {w->mutable_inputgateweightmatrix(), w->mutable_forgetgateweightmatrix(), w->mutable_blockinputweightmatrix(), w->mutable_outputgateweightmatrix()}) fill(m, {1});
    for (auto* m : {w->mutable_inputgaterecursionmatrix(), w->mutable_forgetgaterecursionmatrix(), w->mutable_blockinputrecursionmatrix(), w->mutable_outputgaterecursionmatrix()}) fill(m, {0.5f});
  };
  auto lstm_answer = [](std::initializer_list<double> xs) {
    double hidden = 0, cell = 0;
    for (double x : xs) {
      double s = sigmoid(x + 0.5 * hidden), z = std::tanh(x + 0.5 * hidden);
      cell = s * cell + s * z;
      hidden = s * std::tanh(cell);
    }
    return f(hidden);
  };
  add("uniDirectionalLSTM", {sequence}, {{{1, 1, 1, 1, 1}, {lstm_answer({1, -1})}}}, [lstm](L& l) {
    auto* p = l.mutable_unidirectionallstm();
    p->set_inputvectorsize(1), p->set_outputvectorsize(1), p->add_activations()->mutable_sigmoid();
    for (int i = 0; i < 2; ++i) p->add_activations()->mutable_tanh();
    lstm(p->mutable_weightparams());
  });
  add("biDirectionalLSTM", {sequence}, {{{1, 1, 2, 1, 1}, {lstm_answer({1, -1}), lstm_answer({-1, 1})}}}, [lstm](L& l) {
    auto* p = l.mutable_bidirectionallstm();
    p->set_inputvectorsize(1), p->set_outputvectorsize(1);
    p->add_activationsforwardlstm()->mutable_sigmoid(), p->add_activationsbackwardlstm()->mutable_sigmoid();
    for (int i = 0; i < 2; ++i) p->add_activationsforwardlstm()->mutable_tanh(), p->add_activationsbackwardlstm()->mutable_tanh();
    lstm(p->add_weightparams()), lstm(p->add_weightparams());
  });
  add("branch", {{{1}, {1}}, {{2}, {3, 4}}}, {{{2}, {6, 8}}}, [](L& l) {
    if (l.input_size() == 2) l.mutable_input()->RemoveLast(), l.clear_output();  // the branches see the network's values
    copy_as(l.mutable_branch()->mutable_ifbranch(), "i1", "o0", 2);
    copy_as(l.mutable_branch()->mutable_elsebranch(), "i1", "o0", 5);
  });
  return out;
}

std::vector<LayerCase> all_cases() {
  std::vector<LayerCase> all = simple_cases();
  for (auto& list : {tensor_cases(), network_cases()}) all.insert(all.end(), list.begin(), list.end());
  return all;
}

}  // namespace

TEST_CASE("layers: each answers as its definition says") {
  for (const LayerCase& c : all_cases()) {
    INFO(c.kind);
    Model model = network_of(c, c.inputs.size());
    auto layers = nn_layers(model);
    REQUIRE(!layers.empty());
    CHECK(layers[0].kind_name == c.kind);
    for (size_t o = 0; o < c.outputs.size(); ++o) {
      Dims dims;
      std::string error;
      Values got = run(model, c, o, dims, error);
      CHECK(error == "");
      CHECK(dims == c.outputs[o].dims);
      CHECK(got.size() == c.outputs[o].values.size());
      for (size_t i = 0; i < std::min(got.size(), c.outputs[o].values.size()); ++i) CHECK(got[i] == doctest::Approx(c.outputs[o].values[i]).epsilon(1e-4));
    }
  }
}

TEST_CASE("layers: each refuses to be wired wrongly") {
  for (const LayerCase& c : all_cases()) {
    INFO(c.kind);
    // Without an input, or, where a layer takes none, with one.
    auto net = lift_neural_network(network_of(c, c.inputs.empty() ? 1 : 0), {});
    CHECK_FALSE(net.ok());
    if (!net.ok()) CHECK(net.error().to_string().find("layer") != std::string::npos);
    // Without an output.
    LayerCase mute = c;
    mute.outputs.clear();
    CHECK_FALSE(lift_neural_network(network_of(mute, c.inputs.size()), {}).ok());
  }
}

TEST_CASE("layers: none is without a case") {
  // Those that other tests run: they are more than one layer.
  std::set<std::string> covered{"loop", "loopBreak", "loopContinue", "custom"};
  for (const LayerCase& c : all_cases()) covered.insert(c.kind);
  int kinds = 0;
  for (int number = 1; number < 4000; ++number) {
    std::string_view name = nn_layer_kind_name(number);
    if (name.empty() || name == "unknown") continue;
    ++kinds;
    INFO(name);
    CHECK(covered.contains(std::string(name)));
  }
  CHECK(kinds >= 158);
}
