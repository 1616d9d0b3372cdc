#include "lib/inspect/inspect.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "lib/container/compile.h"
#include "tests/unit/corpus.h"

using namespace mlt;
using namespace mlt::inspect;

namespace {

Subject subject_of(std::string_view text, const char* name = "m.mil") {
  ByteSpan bytes = as_bytes(text);
  auto opened = open_memory(Blob(Bytes(bytes.begin(), bytes.end())), name);
  REQUIRE_MESSAGE(opened.ok(), opened.error().to_string());
  auto subject = prepare(std::move(*opened));
  REQUIRE_MESSAGE(subject.ok(), subject.error().to_string());
  return std::move(*subject);
}
Subject subject_at(const std::string& path) {
  auto opened = open_model(path);
  REQUIRE_MESSAGE(opened.ok(), opened.error().to_string());
  auto subject = prepare(std::move(*opened));
  REQUIRE_MESSAGE(subject.ok(), subject.error().to_string());
  return std::move(*subject);
}
bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("statistics look at finite values only") {
  float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
  auto s = statistics(Tensor::from<float>({5}, std::vector<float>{1, nan, -3, inf, 5}));
  REQUIRE(s.has_value());
  CHECK(s->min == -3);
  CHECK(s->max == 5);
  CHECK(s->mean == doctest::Approx(1));
  CHECK(s->not_finite == 2);
  CHECK(statistics(Tensor::from<float>({1}, std::vector<float>{nan}))->max == 0);
  CHECK_FALSE(statistics(Tensor::ints({1, 2})).has_value());
  CHECK_FALSE(statistics(Tensor::zeros(DType::kF32, {0})).has_value());
}

TEST_CASE("weights of programs: constants of some size, and constexpr parameters") {
  Subject subject = subject_of(R"(program(1.3) { func main<ios17>(tensor<fp16, [4]> x) {
    tensor<int32, [2]> short = const()[val = tensor<int32, [2]>([1, 2])];
    tensor<fp32, [10]> long = const()[val = tensor<fp32, [10]>([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])];
    tensor<fp16, [4]> file = const()[val = tensor<fp16, [4]>(BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))];
    tensor<fp16, [4]> again = const()[val = tensor<fp16, [4]>(BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))];
    tensor<fp16, [16]> q = constexpr_affine_dequantize()[axis = int32(0), quantized_data = tensor<uint8, [16]>([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])];
    } -> (x); })");
  std::vector<Weight> weights = list_weights(subject, true);
  REQUIRE(weights.size() == 4);
  CHECK(weights[0].name == "long");
  CHECK(weights[0].statistics->mean == doctest::Approx(5.5));
  CHECK(weights[1].name == "file");
  CHECK(weights[1].place == "@model_path/weights/w.bin:64");
  CHECK(weights[1].missing);
  CHECK_FALSE(weights[1].shares);
  CHECK(weights[2].shares);
  CHECK(weights[3].name == "q.quantized_data");
  CHECK_FALSE(weights[3].statistics.has_value());

  Report report = examine(subject);
  CHECK(report.weight_tensors == 3);
  CHECK(report.weight_bytes == 40 + 8 + 16);
  CHECK(report.missing_files == std::vector<std::string>{"@model_path/weights/w.bin"});
  CHECK(has(report_text(report), "needs       weight file @model_path/weights/w.bin, which is missing"));

  CHECK(to_ints(*weight_values(subject, "q.quantized_data"))[15] == 16);
  CHECK(weight_values(subject, "file").error().code == Code::kInput);
  auto none = weight_values(subject, "quantized");
  CHECK(none.error().code == Code::kUsage);
  CHECK(has(none.error().hint, "q.quantized_data"));
}

TEST_CASE("text of a model cannot drive a terminal") {
  coreml::Model model;
  coreml::Description d;
  d.inputs.push_back({"x\x1b[31m", "line\nline", coreml::FeatureType::float64()});
  d.metadata.author = std::string(1000, 'a');
  model.set_description(d);
  Report report;
  report.description = model.description();
  std::string text = report_text(report);
  CHECK_FALSE(has(text, "\x1b"));
  CHECK(has(text, "x\\x1b[31m: Double - line line"));
  CHECK_FALSE(has(text, std::string(500, 'a')));
}

TEST_CASE("findings of the program and of the message") {
  Subject subject = subject_of("program(1.3) { func main<ios17>(tensor<fp32, [1]> x) { tensor<fp32, [1]> y = relu(x = x); } -> (y); }");
  CHECK_FALSE(coreml::has_errors(check(subject)));
  subject.programs[0]->functions[0]->body->ops[0]->outputs[0]->name = std::string("x");
  auto findings = check(subject);
  REQUIRE(coreml::has_errors(findings));
  CHECK(has(findings_text(examine(subject), findings), "error: function main: op x (relu): name 'x' is used twice\n"));
}

TEST_CASE("every model of the corpus can be looked at in every way") {
  struct Folder {
    const char *name, *extension;
  };
  for (const Folder& folder : {Folder{"mlmodel", ".mlmodel"}, Folder{"mlpackage", ".mlpackage"}, Folder{"mlpackage-graph", ".mlpackage"}, Folder{"mlmodelc", ".mlmodelc"}}) {
    for (const std::string& path : test::corpus_files(folder.name, folder.extension)) {
      CAPTURE(path);
      Subject subject = subject_at(path);
      Report report = examine(subject);
      CHECK(report.kind != "none");
      CHECK(has(report_text(report), report.kind));
      CHECK(has(report_json(report), "\"schema\": \"mlinspect\""));
      CHECK(has(counts_json(report), "mlinspect-ops"));
      for (const Weight& weight : list_weights(subject)) {
        if (weight.missing) continue;
        auto count = element_count(weight.dims);
        CHECK(*count == weight.elements);
      }
      if (coreml::is_neural_network(subject.opened.model.kind())) {
        CHECK_FALSE(report.layers.empty());
        CHECK(mil_text(subject).error().code == Code::kUnsupported);
      }
      if (subject.opened.model.kind() == coreml::ModelKind::kMlProgram) CHECK_MESSAGE(mil_text(subject).ok(), path);
      CHECK(compiled_metadata_json(subject.opened).ok());
    }
  }
}
