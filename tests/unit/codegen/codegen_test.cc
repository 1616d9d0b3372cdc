#include "lib/codegen/codegen.h"

#include <doctest/doctest.h>

#include "lib/base/versions.h"
#include "lib/codegen/interface.h"

namespace {

using namespace mlt;
using coreml::FeatureKind;
using coreml::FeatureType;

OpenedModel model_of(coreml::Description description, int spec_version = 7) {
  OpenedModel opened;
  opened.kind = FileKind::kModel;
  opened.name = "Some-Model";
  opened.model.set_spec_version(spec_version);
  opened.model.set_description(std::move(description));
  return opened;
}

std::string generated(const OpenedModel& model, codegen::Language language, size_t file = 0) {
  codegen::Options options;
  options.language = language;
  auto out = codegen::generate(model, options);
  REQUIRE_MESSAGE(out.ok(), (out.ok() ? "" : out.error().to_string()));
  REQUIRE(out->size() > file);
  return (*out)[file].text;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

constexpr codegen::Language kAll[] = {codegen::Language::kSwift, codegen::Language::kObjectiveC, codegen::Language::kCpp, codegen::Language::kPython};

}  // namespace

TEST_CASE("identifiers are made of any text") {
  CHECK(codegen::identifier("image", {}) == "image");
  CHECK(codegen::identifier("input:0", {}) == "input_0");
  CHECK(codegen::identifier("1st", {}) == "_1st");
  CHECK(codegen::identifier("", {}) == "_feature");
  CHECK(codegen::identifier("\xc3\xa4", {}) == "__feature");
  CHECK(codegen::identifier("class", {"class", "class_"}) == "class__");
}

TEST_CASE("string literals and comments hold hostile text") {
  CHECK(codegen::quoted("a\"b\\c\n") == "\"a\\\"b\\\\c\\n\"");
  CHECK(codegen::quoted(std::string("\x01" "2", 2)) == "\"\\0012\"");
  CHECK(codegen::quoted("\x01", true) == "\"\\u{1}\"");
  CHECK(codegen::quoted("?" "?/") == "\"?\"\"?/\"");
  CHECK(codegen::quoted("\xff") == "\"\xef\xbf\xbd\"");
  CHECK(codegen::one_line("a\nb */ c\\") == "a b *  c/");
  CHECK_FALSE(has(codegen::one_line("\"\"\"\nimport os"), "\"\"\""));
  CHECK_FALSE(has(codegen::one_line("a\xe2\x80\xa8" "b"), "\xe2\x80\xa8"));
  CHECK(codegen::one_line(std::string(5000, 'x')).size() < 300);
}

TEST_CASE("templates are filled once") {
  CHECK(codegen::fill("$A$-$B$", {{"A", "$B$"}, {"B", "x"}}) == "$B$-x");
  CHECK(codegen::fill("cost: 5$", {}) == "cost: 5$");
}

TEST_CASE("a feature named to break out stays in its literal") {
  coreml::Description d;
  d.inputs = {{"x\"; exit(1) //\n", "*/ #error\nboom", FeatureType::float64()}, {"x\"; exit(1) //\r", "", FeatureType::float64()}};
  d.outputs = {{"$CLASS$", "", FeatureType::string()}};
  for (codegen::Language language : kAll) {
    std::string text = generated(model_of(d), language, language == codegen::Language::kObjectiveC ? 1 : 0);
    CHECK_FALSE(has(text, "\nboom"));
    // Unescaped in comments alone.
    for (size_t at = text.find("x\";"); at != text.npos; at = text.find("x\";", at + 1)) {
      std::string line = text.substr(text.rfind('\n', at) + 1, at - text.rfind('\n', at) - 1);
      CHECK((has(line, "//") || has(line, "# ")));
    }
    CHECK(has(text, "x\\\"; exit(1) //\\n"));
    CHECK(has(text, "\"$CLASS$\""));
    // The two inputs have the same letters, and two identifiers.
    CHECK(has(text, "x___exit_1_____"));
    CHECK(has(text, "x___exit_1______"));
  }
}

TEST_CASE("availability follows the specification version and the platform") {
  coreml::Description d;
  d.inputs = {{"x", "", FeatureType::float64()}};
  d.outputs = {{"y", "", FeatureType::float64()}};
  CHECK(has(generated(model_of(d, 6), codegen::Language::kSwift), "@available(macOS 12.0, iOS 15.0, tvOS 15.0, watchOS 8.0, visionOS 1.0, *)"));
  CHECK(has(generated(model_of(d, 9), codegen::Language::kSwift), "visionOS 2.0"));
  codegen::Options options;
  options.platform = codegen::Platform{"ios", "17.2"};
  auto raised = codegen::generate(model_of(d, 6), options);
  REQUIRE(raised.ok());
  CHECK(has((*raised)[0].text, "@available(macOS 12.0, iOS 17.2, tvOS 15.0,"));
  options.platform = codegen::Platform{"ios", "12"};
  CHECK(has((*codegen::generate(model_of(d, 6), options))[0].text, "iOS 15.0"));
  options.platform = codegen::Platform{"amiga", "1"};
  CHECK(codegen::generate(model_of(d, 6), options).error().code == Code::kUsage);
}

TEST_CASE("what cannot be said is listed") {
  coreml::Description d;
  d.inputs = {{"a", "", FeatureType{}}, {"b", "", FeatureType{}}};
  auto out = codegen::generate(model_of(d), {});
  REQUIRE_FALSE(out.ok());
  CHECK(out.error().code == Code::kUnsupported);
  CHECK(has(out.error().message, "input \"a\" has no type"));
  CHECK(has(out.error().message, "input \"b\" has no type"));
  CHECK(has(out.error().message, "no outputs"));
  codegen::Options options;
  options.class_name = "not a name";
  d.inputs.clear();
  d.outputs = {{"y", "", FeatureType::float64()}};
  CHECK(codegen::generate(model_of(d), options).error().code == Code::kUsage);
}

TEST_CASE("dotted versions") {
  CHECK(compare_versions("15", "15.0") == 0);
  CHECK(compare_versions("9.10", "9.9") == 1);
  CHECK(compare_versions("9.9.9", "10") == -1);
  CHECK_FALSE(compare_versions("", "1").has_value());
  CHECK_FALSE(compare_versions("1.", "1").has_value());
  CHECK_FALSE(compare_versions("1.x", "1").has_value());
  CHECK_FALSE(compare_versions("-1", "1").has_value());
  CHECK_FALSE(compare_versions("99999999999", "1").has_value());
}
