#include "lib/profile/report.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

using namespace mlt;
using nlohmann::json;

namespace {

const char* const kHostile = "<img src=x>|\"a\nb\x01";

Profile sample_profile() {
  Profile p;
  p.open = 0.001, p.load = 0.002, p.first = 0.003;
  p.samples = {0.010, 0.011, 0.010, 0.012};
  p.predict = percentiles(p.samples);
  auto intervals = bootstrap(p.samples, {0.5, 0.9, 0.99});
  std::copy(intervals.begin(), intervals.end(), p.intervals);
  p.runs = 4;
  for (int i = 0; i < 3; ++i) {
    OpProfile op;
    op.step.name = i == 1 ? kHostile : "op" + std::to_string(i);
    op.step.kind = i == 2 ? "conv" : "relu";
    op.step.fused = {op.step.kind};
    op.step.kernel = "k";
    op.seconds = 0.001 * (i + 1);
    p.ops.push_back(op);
  }
  return p;
}
std::vector<RuleOutcome> outcomes() {
  using State = RuleOutcome::State;
  return {{"a>1", "a is 2", State::kFails},
          {"b>1", kHostile, State::kUndecided},
          {"c<1", "c is 1", State::kHolds}};
}
size_t count(const std::string& text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("bootstrap intervals cover, narrow with more runs, and are the same every time") {
  std::mt19937 random(3);
  std::lognormal_distribution<double> times(0, 0.1);  // median 1
  int covered = 0;
  double few = 0, many = 0;
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<double> small(30), large(300);
    for (double& v : small) v = times(random);
    for (double& v : large) v = times(random);
    Interval a = bootstrap(small, {0.5})[0], b = bootstrap(large, {0.5})[0];
    covered += a.low <= 1 && 1 <= a.high;
    few += a.high - a.low;
    many += b.high - b.low;
  }
  CHECK(covered >= 85);
  CHECK(many < few / 2);
  std::vector<double> values = {3, 1, 2, 5, 4};
  Interval once = bootstrap(values, {0.5})[0], again = bootstrap(values, {0.5})[0];
  CHECK(once.low == again.low);
  CHECK(once.high == again.high);
  CHECK(bootstrap({}, {0.5})[0].high == 0);
  CHECK(bootstrap({7}, {0.99})[0].low == 7);
}

TEST_CASE("a relative rule is decided by the interval") {
  std::mt19937 random(5);
  auto profile = [&](double median, double spread, int runs) {
    std::normal_distribution<double> times(median, spread);
    Profile p;
    for (int i = 0; i < runs; ++i) p.samples.push_back(times(random));
    p.predict = percentiles(p.samples);
    return profile_json(p, "m");
  };
  using State = RuleOutcome::State;
  auto state = [&](const std::string& now, const std::string& base, const char* rule) {
    return check_rules({*parse_fail_rule(rule)}, now, &base)->at(0).state;
  };
  // 20 % slower with little noise fails, the same holds, and a noisy handful does not decide.
  std::string base = profile(0.010, 0.0002, 100);
  CHECK(state(profile(0.012, 0.0002, 100), base, "predict.p50>+5%") == State::kFails);
  CHECK(state(profile(0.010, 0.0002, 100), base, "predict.p50>+5%") == State::kHolds);
  CHECK(state(profile(0.0105, 0.004, 7), profile(0.010, 0.004, 7), "predict.p50>+5%") == State::kUndecided);
  CHECK(state(profile(0.008, 0.0002, 100), base, "predict.p90<-10%") == State::kFails);
  CHECK(state(profile(0.012, 0.0002, 100), base, "predict.mean>+5%") ==
        State::kFails);  // a number without an interval
}

TEST_CASE("noise is named") {
  Noise quiet;
  CHECK(noise_warnings(quiet, 30, 2).empty());
  Noise loud{0.5, 0.3, 1000, 9};
  CHECK(noise_warnings(loud, 30, 2).size() == 4);
  CHECK(noise_warnings(quiet, 3, 2).size() == 1);
  Machine m = machine_facts();
  CHECK(m.cores >= 1);
  CHECK(m.memory > 0);
  CHECK_FALSE(m.system.empty());
}

TEST_CASE("trace events have the fields of the format") {
  json trace = json::parse(profile_trace(sample_profile(), kHostile));
  REQUIRE(trace["traceEvents"].is_array());
  std::map<int, double> end;  // of the last slice on a thread
  size_t slices = 0, operations = 0;
  for (const json& e : trace["traceEvents"]) {
    REQUIRE(e["name"].is_string());
    REQUIRE(e["pid"].is_number_integer());
    REQUIRE(e["tid"].is_number_integer());
    std::string ph = e["ph"];
    if (ph == "M") {
      CHECK(std::set<std::string>{"process_name", "thread_name"}.count(e["name"]) == 1);
      CHECK(e["args"]["name"].is_string());
      continue;
    }
    REQUIRE(ph == "X");
    ++slices;
    operations += e["tid"] == 2;
    CHECK(e["cat"].is_string());
    CHECK(e["dur"].get<double>() >= 0);
    CHECK(e["ts"].get<double>() >= end[e["tid"]] - 1e-6);  // one after the other
    end[e["tid"]] = e["ts"].get<double>() + e["dur"].get<double>();
  }
  CHECK(slices == 7);
  CHECK(operations == 3);
}

TEST_CASE("speedscope events open and close in pairs, in order") {
  json file = json::parse(profile_speedscope(sample_profile(), "m"));
  CHECK(file["$schema"] == "https://www.speedscope.app/file-format-schema.json");
  REQUIRE(file["profiles"].size() == 1);
  const json& profile = file["profiles"][0];
  CHECK(profile["type"] == "evented");
  CHECK(profile["unit"] == "milliseconds");
  size_t frames = file["shared"]["frames"].size();
  std::vector<size_t> open;
  double at = profile["startValue"];
  for (const json& e : profile["events"]) {
    auto frame = e["frame"].get<size_t>();
    REQUIRE(frame < frames);
    CHECK(e["at"].get<double>() >= at);
    at = e["at"];
    if (e["type"] == "O")
      open.push_back(frame);
    else {
      REQUIRE(!open.empty());
      CHECK(open.back() == frame);
      open.pop_back();
    }
  }
  CHECK(open.empty());
  CHECK(at <= profile["endValue"].get<double>());
}

TEST_CASE("JUnit, Markdown and the page") {
  Profile p = sample_profile();
  std::string junit = profile_junit(p, kHostile, outcomes());
  CHECK(
      junit.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"mlprofile\" "
                        "tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""));
  CHECK(count(junit, "<testcase ") == 3);
  CHECK(count(junit, "<failure message=\"a is 2\"/>") == 1);
  CHECK(count(junit, "<img") == 0);
  CHECK(count(junit, "\x01") == 0);
  CHECK(count(profile_junit(p, "m", {}), "<testcase ") == 1);
  std::string markdown = profile_markdown(p, kHostile, outcomes());
  CHECK(count(markdown, "<img") == 0);
  CHECK(count(markdown, "**fails**") == 1);
  for (size_t at = 0; at < markdown.size();) {  // every row of a table has its bars
    size_t end = markdown.find('\n', at);
    std::string line = markdown.substr(at, end - at);
    if (line.starts_with("|")) CHECK(line.ends_with("|"));
    at = end + 1;
  }
  std::string page = profile_html(p, kHostile, outcomes());
  CHECK(count(page, "<img") == 0);
  CHECK(count(page, "<circle ") == 4);
  CHECK(count(page, "<script") == 0);
  CHECK(count(page, "http") == 1);  // http-equiv
  CHECK(count(profile_csv(p), "\n") >= 4);
}
