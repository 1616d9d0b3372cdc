#include "lib/runtime/records.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace mlt;
using coreml::FeatureDescription;
using coreml::FeatureType;

namespace {

std::vector<FeatureDescription> features() {
  return {{"age", "", FeatureType::float64()},
          {"count", "", FeatureType::int64()},
          {"name", "", FeatureType::string()},
          {"words", "", FeatureType::dictionary(coreml::FeatureKind::kString)},
          {"x", "", FeatureType::multi_array(coreml::ArrayDataType::kFloat32, {2, 2})}};
}

Blob blob(std::string_view text) {
  ByteSpan bytes = as_bytes(text);
  return Blob(Bytes(bytes.begin(), bytes.end()));
}

std::string written(RecordFormat format, const std::vector<FeatureMap>& records) {
  std::string out;
  auto writer = write_records(format, [&](ByteSpan bytes) {
    out += as_text(bytes);
    return Status();
  });
  for (const FeatureMap& record : records) REQUIRE(writer->write(record).ok());
  REQUIRE(writer->finish().ok());
  return out;
}

}  // namespace

TEST_CASE("JSON lines: every kind of value, and errors name the line") {
  auto reader = read_records(blob("{\"age\": 3, \"name\": \"\\u00e9\", \"words\": {\"a\": 1.5}, \"x\": [[1, 2], [3, null]], \"count\": 7}\n\n{\"age\": null}\n[1]\n"),
                             RecordFormat::kJsonl, features());
  REQUIRE(reader.ok());
  auto first = (*reader)->next();
  REQUIRE(first.ok());
  FeatureMap& record = **first;
  CHECK(std::get<double>(record["age"]) == 3);
  CHECK(std::get<int64_t>(record["count"]) == 7);
  CHECK(std::get<std::string>(record["name"]) == "\xc3\xa9");
  CHECK(std::get<StringDict>(record["words"]) == StringDict{{"a", 1.5}});
  const Tensor& x = std::get<Tensor>(record["x"]);
  CHECK(x.dims() == Dims{2, 2});
  CHECK(std::isnan(x.data<double>()[3]));
  CHECK(std::holds_alternative<std::monostate>((**(*reader)->next())["age"]));
  auto bad = (*reader)->next();
  REQUIRE_FALSE(bad.ok());
  CHECK(bad.error().to_string() == "line 4: a JSON object expected");
}

TEST_CASE("ragged and deep arrays are refused") {
  for (const char* text : {"{\"x\": [[1, 2], [3]]}", "{\"x\": [1, [2]]}", "{\"x\": [[1], 2]}", "{\"x\": [1, \"a\"]}", "{\"words\": {\"a\": []}}", "{\"x\": [{}]}"}) {
    auto reader = read_records(blob(text), RecordFormat::kJsonl, features());
    REQUIRE(reader.ok());
    CHECK_MESSAGE((*reader)->next().error().code == Code::kInput, text);
  }
}

TEST_CASE("CSV: quoting, keyed columns, missing numbers") {
  auto reader = read_records(blob("age,name,\"words[the, end]\",x[0],x[1],x[2],x[3]\r\n,\"a \"\"b\"\"\nc\",2,1,2,3,4\r\n5,d,,1,2,3,x\n"), RecordFormat::kCsv, features());
  REQUIRE(reader.ok());
  auto first = (*reader)->next();
  REQUIRE_MESSAGE(first.ok(), (first.ok() ? "" : first.error().to_string()));
  FeatureMap& record = **first;
  CHECK(std::isnan(std::get<double>(record["age"])));
  CHECK(std::get<std::string>(record["name"]) == "a \"b\"\nc");
  CHECK(std::get<StringDict>(record["words"]) == StringDict{{"the, end", 2}});
  CHECK(std::get<Tensor>(record["x"]).dims() == Dims{2, 2});
  CHECK((*reader)->next().error().message == "column \"x[3]\": \"x\" is not a number");
}

TEST_CASE("what is written reads back equal in every format") {
  FeatureMap a{{"y", Tensor::from<float>({2, 2}, {0.1f, -2.5f, 1e-30f, 3})}, {"n", int64_t{5}}, {"label", std::string("cat, \"big\"")}};
  FeatureMap b = a;
  b["n"] = int64_t{6};
  for (RecordFormat format : {RecordFormat::kNpz, RecordFormat::kJsonl, RecordFormat::kCsv}) {
    std::string text = written(format, {a, b});
    auto kind = record_format("", as_bytes(text));
    REQUIRE(kind.ok());
    CHECK(*kind == format);
    std::vector<FeatureDescription> described{{"y", "", FeatureType::multi_array(coreml::ArrayDataType::kFloat32, {2, 2})}, {"n", "", FeatureType::int64()}, {"label", "", FeatureType::string()}};
    auto reader = read_records(blob(text), format, described, true);
    REQUIRE(reader.ok());
    for (const FeatureMap& want : {a, b}) {
      auto got = (*reader)->next();
      REQUIRE_MESSAGE(got.ok(), (got.ok() ? "" : got.error().to_string()));
      RecordDifference difference = compare_records(**got, want, 1e-7, 0);  // text reads as double
      CHECK_MESSAGE(difference.agree(), difference.findings.size(), " ", (difference.agree() ? "" : difference.findings[0]));
    }
    auto end = (*reader)->next();
    REQUIRE(end.ok());
    CHECK_FALSE(end->has_value());
  }
}

TEST_CASE("safetensors round trip and damage") {
  FeatureMap a{{"y", Tensor::from<float>({3}, {1, 2, 3})}, {"z", Tensor::from<int32_t>({1, 2}, {4, 5})}};
  std::string text = written(RecordFormat::kSafetensors, {a});
  CHECK(*record_format("", as_bytes(text)) == RecordFormat::kSafetensors);
  auto reader = read_records(blob(text), RecordFormat::kSafetensors, {});
  REQUIRE(reader.ok());
  auto back = (*reader)->next();
  REQUIRE(back.ok());
  CHECK(compare_records(**back, a, 0, 0).agree());
  for (size_t cut = 0; cut < text.size(); ++cut) CHECK_FALSE(read_records(blob(text.substr(0, cut)), RecordFormat::kSafetensors, {}).ok());
}

TEST_CASE("a dictionary written as two arrays reads back") {
  FeatureMap a{{"s", StringDict{{"x", 0.5}, {"y", 2}}}, {"n", IntDict{{-3, 1}, {7, 0.25}}}};
  std::vector<coreml::FeatureDescription> features(2);
  features[0].name = "s", features[1].name = "n";
  for (auto& feature : features) feature.type.kind = coreml::FeatureKind::kDictionary;
  auto one = read_records(blob(written(RecordFormat::kNpz, {a})), RecordFormat::kNpz, features);
  REQUIRE(one.ok());
  auto joined = (*one)->next();
  REQUIRE(joined.ok());
  CHECK((*joined)->size() == 2);
  CHECK(compare_records(**joined, a, 0, 0).agree());
  auto two = read_records(blob(written(RecordFormat::kNpz, {a, a})), RecordFormat::kNpz, features, true);
  REQUIRE(two.ok());
  for (int i = 0; i < 2; ++i) CHECK(compare_records(**(*two)->next(), a, 0, 0).agree());
  // Without the description they are the two arrays.
  auto plain = read_records(blob(written(RecordFormat::kNpz, {a})), RecordFormat::kNpz, {});
  CHECK((*plain)->next()->value().size() == 4);
}

TEST_CASE("after a line that cannot be read comes the next one") {
  coreml::FeatureDescription x;
  x.name = "x";
  x.type.kind = coreml::FeatureKind::kDouble;
  for (auto [format, text] : {std::pair(RecordFormat::kJsonl, "{\"x\": 1}\nnonsense\n{\"x\": 3}\n"), std::pair(RecordFormat::kCsv, "x\n1\ny\n3\n")}) {
    auto reader = read_records(blob(text), format, {x});
    REQUIRE(reader.ok());
    CHECK((*reader)->next().ok());
    CHECK_FALSE((*reader)->next().ok());
    CHECK((*reader)->can_go_on());
    auto last = (*reader)->next();
    REQUIRE(last.ok());
    CHECK(std::get<double>((*last)->at("x")) == 3);
    CHECK_FALSE((*(*reader)->next()).has_value());
  }
  // A quote that never ends swallows the rest.
  auto reader = read_records(blob("x\n\"1\n2\n"), RecordFormat::kCsv, {x});
  CHECK_FALSE((*reader)->next().ok());
  CHECK_FALSE((*reader)->can_go_on());
}

TEST_CASE("comparison counts what is off") {
  FeatureMap want{{"y", Tensor::from<float>({3}, {1, 2, 3})}, {"label", std::string("a")}, {"d", StringDict{{"a", 0.5}}}};
  FeatureMap have = want;
  CHECK(compare_records(have, want, 0, 0).agree());
  have["y"] = Tensor::from<float>({3}, {1, 2.1f, 3});
  RecordDifference d = compare_records(have, want, 0.01, 0);
  CHECK(d.outside == 1);
  CHECK(d.max_abs == doctest::Approx(0.1).epsilon(1e-5));
  CHECK(compare_records(have, want, 0.1, 0).agree());
  have["y"] = Tensor::from<float>({3}, {1, std::nanf(""), 3});
  CHECK_FALSE(compare_records(have, want, 1e9, 1e9).agree());
  CHECK_FALSE(compare_records(want, have, 1e9, 1e9).agree());
  CHECK(compare_records(have, have, 0, 0).agree());
  have["y"] = Tensor::from<float>({3}, {1, INFINITY, 3});
  CHECK_FALSE(compare_records(want, have, 1e9, 1e9).agree());
  CHECK(compare_records(have, have, 0, 0).agree());
  have = want;
  have["label"] = std::string("b");
  have.erase("d");
  CHECK(compare_records(have, want, 0, 0).findings.size() == 2);
}
