#include "lib/inspect/diff.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "lib/coreml/parameters.h"
#include "lib/ir/text.h"
#include "tests/unit/corpus.h"
#include "tests/unit/inspect/subject.h"

using namespace mlt;
using namespace mlt::inspect;

namespace {

// A chain of unary ops: "relu tanh relu", with names n0, n1 ... and a prefix.
Subject chain(const std::string& kinds, const std::string& prefix = "n") {
  std::string body, last = "x";
  int i = 0;
  for (size_t at = 0; at < kinds.size();) {
    size_t end = kinds.find(' ', at);
    if (end == std::string::npos) end = kinds.size();
    bool final = end == kinds.size();
    std::string name = final ? "y" : prefix + std::to_string(i++);
    body += "tensor<fp32, [4]> " + name + " = " + kinds.substr(at, end - at) + "(x = " + last +
            ")[name = string(\"" + name + "\")];\n";
    last = name;
    at = end + 1;
  }
  return subject_of("program(1.3) { func main<ios17>(tensor<fp32, [4]> x) {\n" + body + "} -> (y); }");
}
Comparison compared(const Subject& a, const Subject& b) {
  auto out = compare(a, b);
  REQUIRE_MESSAGE(out.ok(), out.error().to_string());
  return std::move(*out);
}

}  // namespace

TEST_CASE("distances of tensors") {
  float nan = std::nanf(""), inf = std::numeric_limits<float>::infinity();
  Distance d = distance(Tensor::from<float>({4}, std::vector<float>{3, 4, nan, inf}),
                        Tensor::from<float>({4}, std::vector<float>{3, 5, nan, 1}));
  CHECK(d.elements == 4);
  CHECK(d.changed == 2);
  CHECK(d.not_finite == 2);
  CHECK(d.max == 1);
  CHECK(d.mean == 0.5);
  CHECK(d.relative == doctest::Approx(0.2));
  CHECK(d.cosine == doctest::Approx((9 + 20) / (5 * std::sqrt(34.0))));
  Distance zero =
      distance(Tensor::zeros(DType::kF32, {2}), Tensor::from<float>({2}, std::vector<float>{1, 0}));
  CHECK(std::isinf(zero.relative));
  CHECK(std::isnan(zero.cosine));
  CHECK(distance(Tensor::ints({1, 5}), Tensor::ints({1, 3})).max == 2);
}

TEST_CASE("operations are paired by structure") {
  Subject a = chain("relu tanh exp sigmoid relu tanh");
  CHECK(compared(a, chain("relu tanh exp sigmoid relu tanh")).same());
  // Other names throughout.
  Comparison renamed = compared(a, chain("relu tanh exp sigmoid relu tanh", "other"));
  CHECK(renamed.same());
  CHECK(renamed.renamed == 5);
  // One more, one less, in the middle, under other names too.
  for (const char* prefix : {"n", "other"}) {
    Comparison more = compared(a, chain("relu tanh sin exp sigmoid relu tanh", prefix));
    REQUIRE(more.graph.size() == 1);
    CHECK(more.graph[0].kind == Change::Kind::kAdded);
    CHECK(more.graph[0].what == "sin");
    CHECK(more.same_nodes == 6);
    Comparison less = compared(a, chain("relu tanh sigmoid relu tanh", prefix));
    REQUIRE(less.graph.size() == 1);
    CHECK(less.graph[0].kind == Change::Kind::kRemoved);
    CHECK(less.graph[0].what == "exp");
  }
  // Two edits at once leave what is between them paired.
  Comparison both = compared(a, chain("relu sin tanh exp sigmoid cos relu tanh", "other"));
  CHECK(both.graph.size() == 2);
  CHECK(both.same_nodes == 6);
  // A name that moved to another operation does not pair them.
  Comparison swapped = compared(chain("relu tanh exp"), chain("tanh relu exp"));
  CHECK_FALSE(swapped.same());
}

TEST_CASE("wiring counts, not only the operations") {
  const char* text = R"(program(1.3) { func main<ios17>(tensor<fp32, [4]> x, tensor<fp32, [4]> z) {
    tensor<fp32, [4]> y = sub(x = x, y = z)[name = string("y")]; } -> (y); })";
  std::string other = text;
  other.replace(other.find("x = x, y = z"), 12, "x = z, y = x");
  Comparison c = compared(subject_of(text), subject_of(other));
  REQUIRE(c.graph.size() == 1);
  CHECK(c.graph[0].details == std::vector<std::string>{"x: x -> z", "y: z -> x"});
  // What a block hands on.
  std::string cond = R"(program(1.3) { func main<ios17>(bool p, tensor<fp32, [4]> x) {
    tensor<fp32, [4]> y = cond(pred = p)[name = string("y")] {
      block() { tensor<fp32, [4]> a = relu(x = x)[name = string("a")]; tensor<fp32, [4]> b = tanh(x = x)[name = string("b")]; } -> (a);
      block() { tensor<fp32, [4]> e = exp(x = x)[name = string("e")]; } -> (e); }; } -> (y); })";
  std::string changed = cond;
  changed.replace(changed.find("-> (a)"), 6, "-> (b)");
  auto subject = [](const std::string& mil) {
    Subject s;
    auto parsed = ir::parse(mil, [](const ir::BlobRef&, const ir::Type&) { return Tensor(); });
    REQUIRE_MESSAGE(parsed.ok(), parsed.error().to_string());
    s.programs.push_back(std::move(*parsed));
    return s;
  };
  CHECK(compared(subject(cond), subject(cond)).same());
  CHECK_FALSE(compared(subject(cond), subject(changed)).same());
}

TEST_CASE("weights: values, forms, and small constants") {
  auto model = [](const std::string& values, const std::string& type = "fp32") {
    return subject_of("program(1.3) { func main<ios17>(tensor<" + type + ", [10]> x) { tensor<" + type +
                      ", [10]> w = const()[val = tensor<" + type + ", [10]>([" + values + "])]; tensor<" +
                      type + ", [10]> y = add(x = x, y = w)[name = string(\"y\")]; } -> (y); }");
  };
  Subject a = model("1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
  Comparison c = compared(a, model("1, 2, 3, 4, 5, 6, 7, 8, 9, 12"));
  REQUIRE(c.weights.size() == 1);
  CHECK(c.graph.empty());
  REQUIRE(c.weights[0].distance.has_value());
  CHECK(c.weights[0].distance->max == 2);
  CHECK(c.weights[0].distance->changed == 1);
  Comparison half = compared(a, model("1, 2, 3, 4, 5, 6, 7, 8, 9, 10", "fp16"));
  REQUIRE(half.weights.size() == 1);
  CHECK(half.weights[0].distance->changed == 0);
  CHECK(half.weights[0].storage_after == "fp16");
  CHECK_FALSE(half.same());
}

TEST_CASE("parameters of messages under their names") {
  // A scaler: shiftValue [1, 2], scaleValue [3]; and a field that is not known.
  Bytes bytes;
  auto packed = [&](uint32_t number, std::vector<double> values) { coreml_put(bytes, number, values); };
  packed(1, {1, 2});
  packed(2, {3});
  bytes.push_back(std::byte{0x98});
  bytes.push_back(std::byte{0x06});
  bytes.push_back(std::byte{0x07});  // field 99, varint 7
  auto parameters = coreml::message_parameters("Scaler", bytes);
  REQUIRE(parameters.size() == 3);
  CHECK(parameters[0].name == "shiftValue[]");
  CHECK(to_doubles(parameters[0].values) == std::vector<double>{1, 2});
  CHECK(parameters[1].name == "scaleValue[]");
  CHECK(parameters[2].name == "field 99");
  // Truncated bytes end in what was read.
  bytes.resize(12);
  CHECK(coreml::message_parameters("Scaler", bytes).size() <= 1);
}

TEST_CASE("large integers are compared exactly") {
  auto model = [](const char* last) {
    return subject_of(
        "program(1.3) { func main<ios17>(tensor<fp32, [4]> x) { tensor<int64, [10]> w = const()[val = "
        "tensor<int64, [10]>([1, 2, 3, 4, 5, 6, 7, 8, 9, " +
        std::string(last) +
        "])]; tensor<fp32, [4]> y = relu(x = x, w = w)[name = string(\"y\")]; } -> (y); }");
  };
  CHECK(compared(model("9007199254740993"), model("9007199254740993")).same());
  Comparison c = compared(model("9007199254740993"), model("9007199254740992"));
  CHECK_FALSE(c.same());
}

TEST_CASE("which list a number is in counts") {
  // DenseSupportVectors {vectors {values: ..} vectors {values: ..}}: [1, 2] [3], and [1] [2, 3].
  auto vectors = [](std::vector<std::vector<double>> lists) {
    Bytes out;
    for (const auto& list : lists) {
      Bytes inner;
      coreml_put(inner, 1, list);
      out.push_back(std::byte{0x0a});
      out.push_back(static_cast<std::byte>(inner.size()));
      out.insert(out.end(), inner.begin(), inner.end());
    }
    return coreml::message_parameters("DenseSupportVectors", out);
  };
  auto text = [](const std::vector<coreml::Parameter>& parameters) {
    std::string out;
    for (const auto& p : parameters) out += p.name + " " + value_text(p.values) + "\n";
    return out;
  };
  CHECK(text(vectors({{1, 2}, {3}})) == "vectors[].values[] [1, 2, 3]\nvectors[].values[] lengths [2, 1]\n");
  CHECK(text(vectors({{1}, {2, 3}})) == "vectors[].values[] [1, 2, 3]\nvectors[].values[] lengths [1, 2]\n");
}

TEST_CASE("models of the corpus equal themselves, and what they compile to") {
  for (const char* folder : {"mlmodel", "mlpackage"})
    for (const std::string& path :
         test::corpus_files(folder, folder == std::string("mlmodel") ? ".mlmodel" : ".mlpackage")) {
      if (std::filesystem::is_regular_file(path) && std::filesystem::file_size(path) > 3000000) continue;
      Subject a = subject_at(path), b = subject_at(path);
      auto c = compare(a, b);
      REQUIRE_MESSAGE(c.ok(), path);
      CHECK_MESSAGE(c->same(), path << "\n" << comparison_text(*c));
    }
  std::string root = test::corpus_dir();
  if (root.empty()) return;
  auto c = compare(subject_at(root + "/mlmodelc-pairs/MatkoGH__MNISTClassifier.mlmodel"),
                   subject_at(root + "/mlmodelc-pairs/MatkoGH__MNISTClassifier.mlmodelc"));
  REQUIRE(c.ok());
  CHECK_MESSAGE(c->same(), comparison_text(*c));
}
