#include "lib/profile/variants.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "lib/base/threads.h"
#include "lib/profile/report.h"

using namespace mlt;

namespace {

OpenedModel model_of(const std::string& extent) {
  std::string text = "program(1.3) { func main<ios17>(tensor<fp32, [" + extent + ", 4]> x) { tensor<fp32, [" +
                     extent + ", 4]> y = relu(x = x)[name = string(\"y\")]; } -> (y); }";
  ByteSpan bytes = as_bytes(text);
  auto opened = open_memory(Blob(Bytes(bytes.begin(), bytes.end())), "m.mil");
  REQUIRE_MESSAGE(opened.ok(), opened.error().to_string());
  return std::move(*opened);
}
Result<FeatureMap> none(const coreml::FunctionDescription&) { return FeatureMap(); }
std::vector<SweepPoint> swept(const OpenedModel& model, std::initializer_list<const char*> texts) {
  std::vector<SweepAxis> axes;
  for (const char* text : texts) {
    auto axis = parse_sweep(text);
    REQUIRE(axis.ok());
    axes.push_back(std::move(*axis));
  }
  MeasureOptions options;
  options.runs = 3;
  auto out = sweep(model, {}, none, axes, options);
  REQUIRE_MESSAGE(out.ok(), out.error().to_string());
  return std::move(*out);
}

}  // namespace

TEST_CASE("sweeps as written") {
  auto axis = parse_sweep("x=1x3x8x8,2x3x8x8");
  REQUIRE(axis.ok());
  CHECK(axis->name == "x");
  CHECK(axis->values == std::vector<Dims>{{1, 3, 8, 8}, {2, 3, 8, 8}});
  CHECK(parse_sweep("threads=1,2")->values.size() == 2);
  for (const char* bad : {"", "threads", "=1", "threads=", "threads=0", "threads=1x2", "batch=-1", "x=1xx2",
                          "x=1,", "x=a", "threads=99999", "x=999999999x999999999x99999"})
    CHECK_MESSAGE(parse_sweep(bad).error().code == Code::kUsage, bad);
}

TEST_CASE("sweeps over threads, batches and shapes; what the model does not take is said") {
  OpenedModel flexible = model_of("?");
  int before = thread_count();
  auto points = swept(flexible, {"threads=1,2", "batch=1,5", "x=3x4", "x=3x5"});
  REQUIRE(points.size() == 6);
  for (size_t i = 0; i < 5; ++i) {
    CHECK_FALSE(points[i].refused.has_value());
    CHECK(points[i].predict.p50 > 0);
  }
  CHECK(points[3].per_second == doctest::Approx(5 / points[3].predict.p50));
  CHECK(points[5].refused.has_value());
  CHECK(thread_count() == before);
  auto fixed = swept(model_of("2"), {"batch=2"});
  CHECK(fixed[0].refused == "the shapes of the model's inputs are fixed");
  CHECK(sweep(flexible, {}, none, {*parse_sweep("z=1")}, {}).error().code == Code::kUsage);
}

TEST_CASE("side by side, and cold") {
  OpenedModel a = model_of("2"), b = model_of("3");
  MeasureOptions options;
  options.runs = 4;
  auto compared = compare_models({&a, &b}, {}, none, options);
  REQUIRE(compared.ok());
  REQUIRE(compared->size() == 2);
  CHECK((*compared)[0].ratio == 1);
  CHECK((*compared)[1].ratio > 0);
  CHECK((*compared)[1].ratio_interval.low <= (*compared)[1].ratio_interval.high);
  int opened = 0;
  auto cold = measure_cold(
      [&]() -> Result<OpenedModel> {
        ++opened;
        return model_of("2");
      },
      [] { return false; }, {}, none, 3);
  REQUIRE(cold.ok());
  CHECK(opened == 3);
  CHECK_FALSE(cold->evicted);
  CHECK(cold->total.p50 > 0);
  CHECK_FALSE(evict_page_cache("/nonexistent"));

  Profile p;
  p.cold = *cold;
  p.compared = *compared;
  p.sweeps = swept(a, {"threads=1", "batch=9"});
  p.peaks = Peaks{2e9, 1e9, 4e9};
  OpProfile op;
  op.seconds = 1;
  op.cost = {1e9, 2e6};
  p.ops.push_back(op);
  auto json = nlohmann::json::parse(profile_json(p, "m"));
  CHECK(json["cold"]["runs"] == 3);
  CHECK(json["compared"].size() == 2);
  CHECK(json["sweeps"][1]["refused"].is_string());
  CHECK(json["ops"][0]["roofline_percent"] == 50);
  std::string text = profile_text(p, 5, false);
  for (const char* part : {"cold ", "threads 1", "batch 9", "roof%", "ratio"})
    CHECK_MESSAGE(text.find(part) != std::string::npos, part);
  std::string page = profile_html(p, "m", {});
  for (const char* part :
       {"Cold against warm", "Sweeps", "Side by side", "the shapes of the model&#39;s inputs are fixed"})
    CHECK_MESSAGE(page.find(part) != std::string::npos, part);
  // Bytes decide where they take longer: 2 MB from memory, less from caches.
  op.cost = {0, 2e6};
  CHECK(roofline_percent(op, *p.peaks) == doctest::Approx(0.2));
  op.cost = {0, 1e6};
  CHECK(roofline_percent(op, *p.peaks) == doctest::Approx(0.025));
}
