#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "lib/runtime/records.h"
#include "lib/runtime/row_reader.h"

using namespace mlt;
using coreml::FeatureDescription;
using coreml::FeatureKind;

namespace {

std::vector<FeatureDescription> numbers(std::initializer_list<const char*> names) {
  std::vector<FeatureDescription> out;
  for (const char* name : names) {
    out.emplace_back().name = name;
    out.back().type.kind = FeatureKind::kDouble;
  }
  return out;
}

Blob text_blob(const std::string& text) {
  auto bytes = as_bytes(text);
  return Blob(Bytes(bytes.begin(), bytes.end()));
}

}  // namespace

TEST_CASE("decimals are read as strtod reads them") {
  std::mt19937_64 rng(1);
  auto check = [](const std::string& text) {
    double value = 0;
    const char* end = parse_decimal(text.data(), text.data() + text.size(), &value);
    char* stop = nullptr;
    double expected = std::strtod(text.c_str(), &stop);
    if (end == nullptr) return;  // left to the other reader
    INFO(text);
    CHECK(end - text.data() == stop - text.c_str());
    CHECK(std::memcmp(&value, &expected, sizeof value) == 0);
  };
  for (const char* text : {"0", "-0", "1", "-1.5", "1.", ".5", "12345678", "123456789", "1234567890123456789", "12345678901234567890", "9007199254740993",
                           "0.1234567890123456789012345", "1e5", "1e-5", "1.5E+22", "1e23", "1e-400", "1e400", "4.9e-324", "00000000000000000000001",
                           "1e", "1e+", "-", "", ".", "1,2", "1 ", "nan", "inf", "2.2250738585072014e-308", "8.5e22"})
    check(text);
  for (int i = 0; i < 20000; ++i) {
    uint64_t bits = rng();
    double value;
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, i % 2 ? "%.17g" : "%.9g", i % 3 ? value : std::fmod(value, 1e6));
    double read = 0;
    REQUIRE((parse_decimal(buffer, buffer + std::strlen(buffer), &read) != nullptr || std::abs(value) < 1e-300 || std::abs(value) > 1e300));
    check(buffer);
  }
  double value = 0;
  CHECK(parse_decimal("x", "x" + 1, &value) == nullptr);
}

TEST_CASE("CSV: short numbers and others") {
  auto features = numbers({"a", "b"});
  RowPlan plan = plan_rows(features);
  for (const char* end : {"\n", "\r\n"}) {
    std::string text = std::string("a,b") + end + "0,0" + end;
    std::vector<double> expected;
    for (int i = 0; i < 3000; ++i) {
      // Every so often a field that only the careful way takes; the last lines are near the end of the text.
      static const char* const kOdd[] = {"1e-3", "0.1234567890123", "12345678.12345678", "99999999.99999999", "123456789.5", "1.5e3", "-.5", "7.", "-0.0", "90071992.54740993", "00000000.1", "1.5E+2", "-0"};
      std::string a = i % 11 == 5 ? kOdd[i / 11 % 13] : std::to_string(i * 37 % 1000 - 500) + (i % 3 ? ".5" : ""), b = std::to_string(i / 7.0);
      text += a + "," + b + (i + 1 < 3000 || i % 2 ? end : "");
      expected.insert(expected.end(), {std::strtod(a.c_str(), nullptr), std::strtod(b.c_str(), nullptr)});
    }
    auto reader = read_records(text_blob(text), RecordFormat::kCsv, features);
    REQUIRE(reader.ok());
    REQUIRE((*reader)->next().ok());
    std::vector<double> got;
    for (;;) {
      auto rows = (*reader)->next_rows(plan);
      REQUIRE(rows.ok());
      if (rows->count == 0) break;
      REQUIRE(rows->f64 != nullptr);
      got.insert(got.end(), rows->f64, rows->f64 + rows->count * rows->stride);
    }
    CHECK(got == expected);
  }
}

TEST_CASE("CSV: rows are the records, unusual lines included") {
  auto features = numbers({"a", "b"});
  RowPlan plan = plan_rows(features);
  CHECK(plan.width == 2);
  std::string text = "b,note,a\r\n1,x,2\r\n";
  for (int i = 0; i < 1000; ++i) text += std::to_string(i) + ".5,note " + std::to_string(i) + "," + (i % 10 ? std::to_string(-i) : "") + "\n";
  for (int i = 0; i < 100; ++i) text += "-1.25,," + std::to_string(i) + ".125\r\n";
  text += "3,\"a, b\",4\n\n nan ,,1e999\n5,,6";
  auto slow = read_records(text_blob(text), RecordFormat::kCsv, features);
  auto fast = read_records(text_blob(text), RecordFormat::kCsv, features);
  REQUIRE(slow.ok());
  REQUIRE(fast.ok());
  std::vector<std::pair<double, double>> expected, got;
  for (;;) {
    auto record = (*slow)->next();
    REQUIRE(record.ok());
    if (!*record) break;
    auto number = [&](const char* name) {
      const FeatureValue& v = (**record)[name];
      return std::get<double>(v);
    };
    expected.emplace_back(number("a"), number("b"));
  }
  int64_t in_rows = 0;
  for (;;) {
    auto rows = (*fast)->next_rows(plan);
    REQUIRE(rows.ok());
    for (int64_t i = 0; i < rows->count; ++i) got.emplace_back(rows->f64[i * rows->stride], rows->f64[i * rows->stride + 1]);
    in_rows += rows->count;
    if (rows->count > 0) continue;
    auto record = (*fast)->next();
    REQUIRE(record.ok());
    if (!*record) break;
    got.emplace_back(std::get<double>((**record)["a"]), std::get<double>((**record)["b"]));
  }
  CHECK(in_rows == 1100);
  REQUIRE(got.size() == expected.size());
  CHECK(got.size() == 1104);
  for (size_t i = 0; i < got.size(); ++i) {
    CHECK((got[i].first == expected[i].first || (std::isnan(got[i].first) && std::isnan(expected[i].first))));
    CHECK((got[i].second == expected[i].second || (std::isnan(got[i].second) && std::isnan(expected[i].second))));
  }
}

TEST_CASE("CSV: a wrong line is named as before") {
  auto features = numbers({"a"});
  auto reader = read_records(text_blob("a\n1\n2\n3\nx\n5\n"), RecordFormat::kCsv, features);
  RowPlan plan = plan_rows(features);
  REQUIRE((*reader)->next().ok());
  auto rows = (*reader)->next_rows(plan);
  REQUIRE(rows.ok());
  CHECK(rows->count == 2);
  CHECK((*reader)->next_rows(plan)->count == 0);
  auto bad = (*reader)->next();
  REQUIRE_FALSE(bad.ok());
  CHECK(bad.error().to_string().find("line 5") != std::string::npos);
  CHECK((*reader)->can_go_on());
  CHECK(std::get<double>((**(*reader)->next())["a"]) == 5);
}

TEST_CASE("plans: only numbers and float arrays of one shape") {
  auto features = numbers({"a"});
  features.emplace_back().name = "v";
  features[1].type.kind = FeatureKind::kMultiArray;
  features[1].type.array.shape = {3};
  RowPlan plan = plan_rows(features);
  CHECK(plan.width == 4);
  CHECK_FALSE(plan.all_single());
  features[0].type.kind = FeatureKind::kInt64;
  CHECK(plan_rows(features).width == 0);
  features[0].type.kind = FeatureKind::kString;
  CHECK(plan_rows(features).width == 0);
}

TEST_CASE("writers: batches give the bytes of their records") {
  FeatureBatch batch;
  batch.count = 3;
  batch.columns.resize(2);
  batch.columns[0].name = "a,b";
  batch.columns[0].values = {1, 0.1, std::nan("")};
  batch.columns[1].name = "v";
  batch.columns[1].kind = FeatureBatch::Kind::kArray;
  batch.columns[1].dtype = DType::kF32;
  batch.columns[1].width = 2;
  batch.columns[1].shape = {2};
  batch.columns[1].values = {0.1, 1e-7, 3e10, 1, 2, std::numeric_limits<double>::infinity()};
  for (RecordFormat format : {RecordFormat::kCsv, RecordFormat::kJsonl, RecordFormat::kNpz, RecordFormat::kSafetensors}) {
    auto written = [&](int way) {
      std::string out;
      auto writer = write_records(format, [&](ByteSpan bytes) {
        out += as_text(bytes);
        return Status();
      });
      if (way == 0) {
        for (int64_t i = 0; i < batch.count; ++i) REQUIRE(writer->write(batch.record(i)).ok());
      } else {
        if (way == 2) REQUIRE(writer->write(batch.record(0)).ok());
        REQUIRE(writer->write_rows(batch).ok());
      }
      REQUIRE(writer->finish().ok());
      return out;
    };
    CHECK(written(0) == written(1));
    CHECK(written(2).size() > written(1).size());
  }
}
