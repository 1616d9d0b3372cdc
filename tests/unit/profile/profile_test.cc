#include <doctest/doctest.h>

#include "lib/ops/builder.h"
#include "lib/profile/measure.h"

using namespace mlt;

TEST_CASE("percentiles are nearest ranks") {
  std::vector<double> values;
  for (int i = 100; i >= 1; --i) values.push_back(i);
  Percentiles p = percentiles(values);
  CHECK(p.min == 1);
  CHECK(p.p50 == 50);
  CHECK(p.p90 == 90);
  CHECK(p.p99 == 99);
  CHECK(p.max == 100);
  CHECK(p.mean == doctest::Approx(50.5));
  CHECK(percentiles({3}).p99 == 3);
  CHECK(percentiles({}).p50 == 0);
}

TEST_CASE("failure rules") {
  auto rule = parse_fail_rule("predict.p50>+5%");
  REQUIRE(rule.ok());
  CHECK(rule->metric == "predict.p50");
  CHECK(rule->relative);
  CHECK(rule->limit == doctest::Approx(0.05));
  CHECK(parse_fail_rule("memory.peak_resident>=1e9")->or_equal);
  CHECK_FALSE(parse_fail_rule("x<10")->greater);
  for (const char* bad : {"", "p50", ">5", "p50>", "p50>x", "p50>5%", "p50>+-5%", "p50>nan"}) CHECK_MESSAGE(parse_fail_rule(bad).error().code == Code::kUsage, bad);

  Profile now;
  now.predict.p50 = 0.011;
  std::string profile = profile_json(now, "m");
  now.predict.p50 = 0.010;
  std::string baseline = profile_json(now, "m");
  auto failures = [&](const char* text) { return check_rules({*parse_fail_rule(text)}, profile, &baseline); };
  using State = RuleOutcome::State;
  CHECK(failures("predict.p50>+5%")->at(0).state == State::kFails);
  CHECK(failures("predict.p50>+20%")->at(0).state == State::kHolds);
  CHECK(failures("predict.p50>10.5")->at(0).state == State::kFails);
  CHECK(failures("predict.p50<-1%")->at(0).state == State::kHolds);
  CHECK(failures("predict.p51>1").error().code == Code::kUsage);
  CHECK(check_rules({*parse_fail_rule("predict.p50>+5%")}, profile, nullptr).error().code == Code::kUsage);
  std::string other = "{\"schema\": \"else\"}";
  CHECK(check_rules({*parse_fail_rule("predict.p50>+5%")}, profile, &other).error().code == Code::kInput);
}

TEST_CASE("operations of products and convolutions are counted from their shapes") {
  auto function = std::make_shared<ir::Function>();
  function->name = "main";
  function->opset = "CoreML7";
  ops::OpBuilder b(*function, ops::Opset::kCoreML7);
  ir::Value* x = function->add_input("x", ir::Type::tensor(DType::kF32, {1, 3, 8, 8}));
  ir::Value* conv = b.op("conv", {{"x", x}, {"weight", b.constant(Tensor::zeros(DType::kF32, {4, 3, 3, 3}))}, {"pad_type", b.string("same")}});
  ir::Value* flat = b.op("reshape", {{"x", b.op("relu", {{"x", conv}})}, {"shape", b.ints({1, 256})}});
  ir::Value* y = b.op("linear", {{"x", flat}, {"weight", b.constant(Tensor::zeros(DType::kF32, {10, 256}))}});
  REQUIRE(b.ok());
  function->body->outputs = {y};
  auto executor = Executor::create(*function, function);
  REQUIRE(executor.ok());
  auto info = (*executor)->plan({{1, 3, 8, 8}});
  REQUIRE(info.ok());
  double flops = 0;
  for (const StepInfo& step : info->steps) flops += step_cost(step).flops;
  CHECK(flops == 2 * 4 * 64 * 27 + 4 * 64 + 2 * 10 * 256);  // convolution, the relu fused into it, product
}

TEST_CASE("inputs that are not given are made up, unknown ones refused") {
  coreml::FunctionDescription description;
  description.inputs = {{"n", "", coreml::FeatureType::float64()},
                        {"x", "", coreml::FeatureType::multi_array(coreml::ArrayDataType::kFloat32, {2, 3})},
                        {"image", "", coreml::FeatureType::image_of(4, 5, coreml::ColorSpace::kRgb)}};
  auto inputs = complete_inputs(description, {{"n", 2.0}});
  REQUIRE(inputs.ok());
  CHECK(std::get<double>((*inputs)["n"]) == 2);
  CHECK(std::get<Tensor>((*inputs)["x"]).dims() == Dims{2, 3});
  CHECK(std::get<Image>((*inputs)["image"]).height == 5);
  CHECK(complete_inputs(description, {{"m", 2.0}}).error().code == Code::kUsage);
}
