#include "lib/inspect/lint.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/unit/inspect/subject.h"

using namespace mlt;
using namespace mlt::inspect;

namespace {

std::string program(const std::string& body, const std::string& inputs = "tensor<fp32, [4]> x",
                    const std::string& output = "y") {
  return "program(1.3) { func main<ios17>(" + inputs + ") {\n" + body + "\n} -> (" + output + "); }";
}
std::string constant(const std::string& type, const std::string& name, const std::string& values) {
  return type + " " + name + " = const()[name = string(\"" + name + "\"), val = " + type + "(" + values +
         ")];\n";
}
const std::string kTen = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
const std::string kRelu = "tensor<fp32, [4]> y = relu(x = x)[name = string(\"y\")];";

std::string transposes(const std::string& first, const std::string& second, const std::string& type) {
  return program(constant("tensor<int32, [3]>", "p", first) + constant("tensor<int32, [3]>", "q", second) +
                     "tensor<fp32, [2, 3, 2]> a = transpose(perm = p, x = x)[name = string(\"a\")];\n" +
                     type + " y = transpose(perm = q, x = a)[name = string(\"y\")];",
                 "tensor<fp32, [2, 2, 3]> x");
}
std::string add_ten(const std::string& values, const std::string& type = "fp32") {
  std::string t = "tensor<" + type + ", [10]>";
  return program(constant(t, "w", values) + t + " y = add(x = x, y = w)[name = string(\"y\")];", t + " x");
}
std::string dequantize(const std::string& scale) {
  return program(
      "tensor<fp32, [16]> w = constexpr_affine_dequantize()[axis = int32(0), name = string(\"w\"), "
      "quantized_data = tensor<uint8, [16]>([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]), scale "
      "= fp32(" +
          scale +
          "), zero_point = uint8(0)];\ntensor<fp32, [16]> y = add(x = x, y = w)[name = string(\"y\")];",
      "tensor<fp32, [16]> x");
}
std::string wide(const std::string& first, const std::string& second) {
  std::string t = "tensor<fp32, [8, 8]>", a, b;
  for (int i = 0; i < 8; ++i) {
    std::string row = "[1, 2, 3, 4, 5, 6, 7, ";
    a += (i ? ", " : "") + row + first + "]";
    b += (i ? ", " : "") + row + second + "]";
  }
  return program(constant(t, "w", "[" + a + "]") + constant(t, "v", "[" + b + "]") + t +
                     " s = add(x = x, y = w)[name = string(\"s\")];\n" + t +
                     " y = add(x = s, y = v)[name = string(\"y\")];",
                 t + " x");
}
std::string zeros(const std::string& last) {
  std::string t = "tensor<fp32, [8, 8]>", values;
  for (int i = 0; i < 8; ++i)
    values += std::string(i ? ", " : "") + "[0, 0, 0, 0, 0, 0, 0, " + (i == 7 ? last : "0") + "]";
  return program(constant(t, "w", "[" + values + "]") + t + " y = add(x = x, y = w)[name = string(\"y\")];",
                 t + " x");
}
std::string random(const std::string& seed) {
  return program(constant("tensor<int32, [1]>", "shape", "[4]") +
                 "tensor<fp32, [4]> r = random_uniform(high = fp32(1), low = fp32(0), seed = int32(" + seed +
                 "), shape = shape)[name = string(\"r\")];\ntensor<fp32, [4]> y = add(x = x, y = r)[name = "
                 "string(\"y\")];");
}
std::string file_weight() {
  return program(
      "tensor<fp32, [10]> w = const()[val = tensor<fp32, [10]>(BLOBFILE(path = "
      "string(\"@model_path/weights/w.bin\"), offset = uint64(64)))];\n"
      "tensor<fp32, [10]> y = add(x = x, y = w)[name = string(\"y\")];",
      "tensor<fp32, [10]> x");
}

// The same model as an .mlmodel of one layer: its field number in NeuralNetworkLayer, specification 4.
Subject network(uint32_t layer) {
  auto message = [](Bytes& out, uint32_t number, const Bytes& inner) {
    for (uint64_t v = number << 3 | 2; true; v >>= 7) {
      out.push_back(static_cast<std::byte>((v & 0x7f) | (v > 0x7f ? 0x80 : 0)));
      if (v <= 0x7f) break;
    }
    out.push_back(static_cast<std::byte>(inner.size()));
    out.insert(out.end(), inner.begin(), inner.end());
  };
  Bytes one, layers, model{std::byte{8}, std::byte{4}};
  Bytes name{std::byte{'l'}};
  message(one, 1, name);
  message(one, layer, {});
  message(layers, 1, one);
  message(model, 2, {});
  message(model, 500, layers);
  auto opened = open_memory(Blob(std::move(model)), "m.mlmodel");
  REQUIRE_MESSAGE(opened.ok(), opened.error().to_string());
  auto subject = prepare(std::move(*opened));
  REQUIRE(subject.ok());
  return std::move(*subject);
}
Subject documented() {
  Subject subject = subject_of(program(kRelu));
  coreml::Description description = subject.opened.model.description();
  description.metadata.short_description = description.metadata.author = description.metadata.license =
      description.metadata.version = "given";
  for (auto* list : {&description.inputs, &description.outputs})
    for (auto& feature : *list) feature.doc = "what it is";
  description.has_metadata = true;
  subject.opened.model.set_description(std::move(description));
  return subject;
}

bool finds(const Subject& subject, std::string_view rule, LintOptions options = {}) {
  auto findings = lint(subject, options);
  REQUIRE_MESSAGE(findings.ok(), findings.error().to_string());
  return std::any_of(findings->begin(), findings->end(),
                     [&](const LintFinding& f) { return f.rule == rule; });
}

}  // namespace

TEST_CASE("every rule finds what it is for, and nothing else") {
  struct Pair {
    Subject bad, good;
  };
  std::map<std::string, Pair> cases;
  auto texts = [&](const char* rule, const std::string& bad, const std::string& good) {
    cases.emplace(rule, Pair{subject_of(bad), subject_of(good)});
  };
  texts("missing-weights", file_weight(), add_ten(kTen));
  texts("not-finite-constant", add_ten("[inf, 2, 3, 4, 5, 6, 7, 8, 9, 10]", "fp16"), add_ten(kTen, "fp16"));
  texts("float16-overflow", add_ten("[65520, 2, 3, 4, 5, 6, 7, 8, 9, 10]"),
        add_ten("[65504, 2, 3, 4, 5, 6, 7, 8, 9, 10]"));
  texts("dead-scale", dequantize("0"), dequantize("0.5"));
  texts("zero-weight", zeros("0"), zeros("1"));
  texts("unused-weight", program(constant("tensor<fp32, [10]>", "w", kTen) + kRelu), add_ten(kTen));
  texts("dead-operation", program(kRelu + "tensor<fp32, [4]> z = relu(x = x)[name = string(\"z\")];"),
        program(kRelu));
  cases.emplace("duplicate-constant", Pair{subject_of(wide("8", "8")), subject_of(wide("8", "9"))});
  texts("cancelling-transposes", transposes("[0, 2, 1]", "[0, 2, 1]", "tensor<fp32, [2, 2, 3]>"),
        transposes("[0, 2, 1]", "[1, 0, 2]", "tensor<fp32, [3, 2, 2]>"));
  texts("dynamic-shape",
        program("tensor<fp32, [?]> y = relu(x = x)[name = string(\"y\")];", "tensor<fp32, [?]> x"),
        program(kRelu));
  texts("large-blob", add_ten(kTen), program(kRelu));
  texts("nondeterministic-op", random("-1"), random("7"));
  texts("cpu-only-op", random("7"), program(kRelu));
  cases.emplace("deprecated-op", Pair{network(310), network(1085)});  // permute; transpose
  cases.emplace("missing-metadata", Pair{subject_of(program(kRelu)), documented()});
  cases.emplace("undocumented-feature", Pair{subject_of(program(kRelu)), documented()});

  std::set<std::string> tested;
  for (const LintRuleInfo& rule : lint_rules()) {
    std::string name(rule.name);
    CAPTURE(name);
    auto it = cases.find(name);
    REQUIRE(it != cases.end());
    LintOptions options;
    if (name == "large-blob") options.large_blob = 39;  // ten floats are 40 bytes
    if (name == "duplicate-constant") options.duplicate = 256;
    CHECK(finds(it->second.bad, name, options));
    CHECK_FALSE(finds(it->second.good, name, options));
    options.ignore = {name};
    CHECK_FALSE(finds(it->second.bad, name, options));
    CHECK_FALSE(rule.doc.empty());
    tested.insert(name);
  }
  CHECK(tested.size() == cases.size());
}

TEST_CASE("limits of rules") {
  LintOptions options;
  options.large_blob = 40;
  CHECK_FALSE(finds(subject_of(add_ten(kTen)), "large-blob", options));
  CHECK_FALSE(finds(subject_of(wide("8", "8")), "duplicate-constant"));  // 256 bytes only
  options.ignore = {"no-such-rule"};
  CHECK(lint(subject_of(add_ten(kTen)), options).error().code == Code::kUsage);
  // NaN is an error, infinity a warning.
  auto level = [](const std::string& value) {
    auto findings = lint(subject_of(add_ten("[" + value + ", 2, 3, 4, 5, 6, 7, 8, 9, 10]", "fp16")));
    REQUIRE(findings.ok());
    for (const LintFinding& f : *findings)
      if (f.rule == "not-finite-constant") return f.level;
    return Level::kNote;
  };
  CHECK(level("nan") == Level::kError);
  CHECK(level("-inf") == Level::kWarning);
  // Many findings of one rule end in a count.
  LintOptions few;
  few.most_per_rule = 1;
  auto findings = lint(subject_of(program(kRelu)), few);
  REQUIRE(findings.ok());
  CHECK(std::count_if(findings->begin(), findings->end(),
                      [](const LintFinding& f) { return f.rule == "undocumented-feature"; }) == 2);
  CHECK(findings->back().message == "1 more of this rule");
}

TEST_CASE("SARIF has what the standard requires, and hostile names do not break the forms") {
  std::vector<LintFinding> findings = {
      {"dead-scale", Level::kError, "stage 1", "conv", "a\"b\n::error::x", "text\n%, of \x1b two lines"},
      {"missing-metadata", Level::kNote, "", "", "", "none"}};
  auto sarif = nlohmann::json::parse(lint_sarif(findings, "dir/my model,1.mlmodel"));
  CHECK(sarif["version"] == "2.1.0");
  REQUIRE(sarif["runs"].size() == 1);
  const auto& run = sarif["runs"][0];
  CHECK(run["tool"]["driver"]["name"] == "mlinspect");
  const auto& rules = run["tool"]["driver"]["rules"];
  CHECK(rules.size() == lint_rules().size());
  std::set<std::string> ids;
  for (const auto& rule : rules) {
    CHECK(rule["shortDescription"]["text"].is_string());
    ids.insert(rule["id"].get<std::string>());
  }
  CHECK(ids.size() == rules.size());
  REQUIRE(run["results"].size() == 2);
  for (const auto& result : run["results"]) {
    CHECK(rules[result["ruleIndex"].get<size_t>()]["id"] == result["ruleId"]);
    CHECK(std::set<std::string>{"none", "note", "warning", "error"}.count(
              result["level"].get<std::string>()) == 1);
    CHECK(result["message"]["text"].is_string());
    CHECK(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] ==
          "dir/my%20model%2C1.mlmodel");
  }
  CHECK(run["results"][0]["locations"][0]["logicalLocations"][0]["name"] == findings[0].name);
  std::string github = lint_github(findings, "a,b:c.mlmodel");
  CHECK(std::count(github.begin(), github.end(), '\n') == 2);
  CHECK(
      github.starts_with("::error file=a%2Cb%3Ac.mlmodel,title=dead-scale::stage 1: conv a\"b%0A::error::x: "
                         "text%0A%25, of \\x1b two lines\n::notice "));
  std::string text = lint_text(findings, "m");
  CHECK(std::count(text.begin(), text.end(), '\n') == 3);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(nlohmann::json::parse(lint_json(findings, "m"))["findings"].size() == 2);
}
