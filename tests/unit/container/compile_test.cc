#include "lib/container/compile.h"

#include <doctest/doctest.h>
#include <sodium.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "lib/container/bucket_order.h"
#include "lib/container/metadata_json.h"
#include "lib/container/program.h"
#include "lib/ir/text.h"
#include "tests/unit/corpus.h"

using namespace mlt;

namespace {

Blob blob(std::string_view text) {
  ByteSpan bytes = as_bytes(text);
  return Blob(Bytes(bytes.begin(), bytes.end()));
}
std::string sha256(ByteSpan bytes) {
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(digest, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  char hex[2 * sizeof(digest) + 1];
  sodium_bin2hex(hex, sizeof(hex), digest, sizeof(digest));
  return hex;
}
std::string digest(const FileTree& tree, std::string_view name) {
  auto file = tree.open(name);
  REQUIRE(file.ok());
  return sha256(file->bytes());
}
std::string content(const FileTree& tree, std::string_view name) {
  auto file = tree.open(name);
  REQUIRE_MESSAGE(file.ok(), name);
  return std::string(file->text());
}
CompiledFiles compiled(const OpenedModel& model, const CompileOptions& options = {}) {
  auto result = compile_model(model, options);
  REQUIRE_MESSAGE(result.ok(), result.error().to_string());
  return std::move(*result);
}
OpenedModel opened_text(std::string_view text, const char* name = "input.mil") {
  auto model = open_memory(blob(text), name);
  REQUIRE_MESSAGE(model.ok(), model.error().to_string());
  return std::move(*model);
}
// Line 2 is the compiler's signature.
std::string without_build_info(std::string_view text) {
  size_t first = text.find('\n');
  return std::string(text.substr(0, first)) + std::string(text.substr(text.find('\n', first + 1)));
}

// Lines without their final comma, in no order.
std::multiset<std::string> lines(std::string_view text) {
  std::multiset<std::string> out;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    std::string line(text.substr(at, end - at));
    if (line.ends_with(',')) line.pop_back();
    out.insert(line);
    at = end + 1;
  }
  return out;
}

// As Apple's 2026 compiler names itself; so the digests of its files can be met.
const CompileOptions kApple{.component_version = "3600.16.1", .compiler_version = "3600.25.1"};

}  // namespace

// Expected digests: fixtures of rebeckerspecialties/mlmodelc-export, made by Apple's compiler 3600.25.1.
TEST_CASE("fp16 edge values compile to Apple's bytes") {
  OpenedModel model = opened_text(R"(program(1.3) { func main<ios17>(tensor<fp32, [5]> input) {
    tensor<fp16, [5]> half = const()[val = tensor<fp16, [5]>([0x1p-24, 0x1.5p-17, 0x1.ff8p-15, 0x1p-14, -0x1.5p-17])];
    tensor<fp32, [5]> constant = cast(dtype = string("fp32"), x = half);
    tensor<fp32, [5]> output = add(x = input, y = constant);
    } -> (output); })");
  FileTree tree = compiled(model, kApple).tree;
  CHECK(tree.open("coremldata.bin")->size() == 143);
  CHECK(digest(tree, "coremldata.bin") == "f1df53cf37b1d6e1e74b2ecf71bedcb25f581ed56b051de9a3a8c8dc374dceff");
  CHECK(digest(tree, "metadata.json") == "7c539b566dadd47bd7354623b78e4f5e9b4a6c813a4ada1a3fbeaf862c227558");
  CHECK(digest(tree, "model.mil") == "5bd7193263c0afd46f0121522946193adc48a027ca784b842f83ad2a173f5c75");
}

TEST_CASE("constexpr ops and weights compile to Apple's bytes") {
  // A source as it would be on disk, weights beside it.
  std::string weights(192, '\0');
  auto put32 = [&](size_t at, uint32_t value) { std::memcpy(weights.data() + at, &value, 4); };
  put32(0, 1), put32(4, 2), put32(64, 0xDEADBEEF), put32(68, 4), put32(72, 4), put32(80, 128);
  weights[128] = '\x80', weights[129] = '\xff', weights[131] = '\x7f';
  FileTree source = FileTree::from_blobs({{"input.mil", blob(R"(program(1.3) { func main<ios17>(tensor<fp32, [4]> input) {
    tensor<fp32, [4]> constant = constexpr_affine_dequantize()[axis = int32(0), quantized_data = tensor<int8, [4]>(BLOBFILE(path = string("@model_path/weights/weights.bin"), offset = uint64(64))), scale = fp32(0.5), zero_point = int8(-1)];
    tensor<fp32, [4]> output = add(x = input, y = constant);
    } -> (output); })")}});
  OpenedModel model = opened_text(content(source, "input.mil"));
  model.files = FileTree::from_blobs({{"weights/weights.bin", blob(weights)}});
  model.weights = std::make_shared<TreeWeights>(model.files);
  CompiledFiles result = compiled(model, kApple);
  CHECK(result.missing_weights.empty());
  CHECK(digest(result.tree, "coremldata.bin") == "f3600551033ee25001fa58f8f84de6bb2ea28eccd0fe536043d46f1923a066d6");
  CHECK(digest(result.tree, "metadata.json") == "05e38dbcff263c39fb1aaa312fa497bd000f3e1a39f4348f294f72ac286f7fbc");
  CHECK(digest(result.tree, "model.mil") == "7c883a45ccf6928213051322ec4cd09b94f03054ef860b290830e06ba2a38cbe");
  CHECK(content(result.tree, "weights/weights.bin") == weights);
}

TEST_CASE("a package compiles to Apple's text and metadata") {
  std::string root = test::corpus_dir();
  if (root.empty()) return;
  std::string expected = root + "/mlmodelc/FluidInference__streaming_encoder_1280ms.mlmodelc";
  auto model = open_model(root + "/mlpackage-graph/FluidInference__streaming_encoder_1280ms.mlpackage");
  REQUIRE_MESSAGE(model.ok(), model.error().to_string());
  model->name = "streaming_encoder";
  CompiledFiles result = compiled(*model);
  CHECK(result.missing_weights == std::vector<std::string>{"@model_path/weights/weight.bin"});
  auto mil = map_file(expected + "/model.mil");
  REQUIRE(mil.ok());
  CHECK(without_build_info(content(result.tree, "model.mil")) == without_build_info(mil->text()));
  auto json = map_file(expected + "/metadata.json");
  REQUIRE(json.ok());
  CHECK(content(result.tree, "metadata.json") == json->text());
}

TEST_CASE("compiled models of the corpus compile again to the same interface") {
  std::string root = test::corpus_dir();
  if (root.empty()) return;
  for (const char* name : {"apple__add_model", "FluidInference__Argmax", "FluidInference__TransposeEncoder", "FluidInference__parakeet_eou_preprocessor"}) {
    std::string directory = root + "/mlmodelc/" + name + ".mlmodelc";
    auto model = open_model(directory);
    REQUIRE_MESSAGE(model.ok(), model.error().to_string());
    model->name = name;
    model->name.erase(0, model->name.find("__") + 2);
    auto json = compiled_metadata_json(*model);
    REQUIRE_MESSAGE(json.ok(), json.error().to_string());
    auto expected = map_file(directory + "/metadata.json");
    REQUIRE(expected.ok());
    std::string wanted(expected->text());
    while (wanted.ends_with('\n')) wanted.pop_back();
    // User metadata collides in the hash table, and its order there differs from run to run of Apple's compiler.
    if (std::string_view(name) == "FluidInference__Argmax") CHECK(lines(*json) == lines(wanted));
    else CHECK_MESSAGE(*json == wanted, name);
  }
}

TEST_CASE("every package of the corpus compiles, or says why not") {
  for (const char* folder : {"mlpackage", "mlpackage-graph"}) {
    for (const std::string& path : test::corpus_files(folder, ".mlpackage")) {
      auto model = open_model(path);
      REQUIRE_MESSAGE(model.ok(), model.error().to_string());
      auto result = compile_model(*model, {});
      REQUIRE_MESSAGE(result.ok(), result.error().to_string());
      auto again = open_tree(result->tree, "again");
      REQUIRE_MESSAGE(again.ok(), again.error().to_string());
      CHECK(again->model.kind() == model->model.kind());
      CHECK_MESSAGE(again->model.description().inputs == model->model.description().inputs, path);
      auto programs = load_programs(*again);
      CHECK_MESSAGE(programs.ok(), (programs.ok() ? "" : programs.error().to_string()));
    }
  }
}

TEST_CASE("classic models are a header and their message; networks compile or say why not") {
  for (const std::string& path : test::corpus_files("mlmodel", ".mlmodel")) {
    auto model = open_model(path);
    REQUIRE(model.ok());
    auto result = compile_model(*model, {});
    std::string metadata = *compiled_metadata_json(*model);
    CHECK(metadata.find("MLModelType_" + model->model.kind_name()) != std::string::npos);
    bool network = coreml::is_neural_network(model->model.kind());
    for (const auto& child : model->model.children()) network |= coreml::is_neural_network(child.kind());
    CHECK_MESSAGE((result.ok() || network), path);
    if (!result.ok()) {
      CHECK(result.error().code == Code::kUnsupported);
      continue;
    }
    auto again = open_tree(result->tree, "again");
    REQUIRE_MESSAGE(again.ok(), path, ": ", again.error().to_string());
    CHECK(again->model.kind() == model->model.kind());
    const Error* unread = first_network_error(*again->compiled);
    CHECK_MESSAGE(unread == nullptr, path, ": ", (unread == nullptr ? "" : unread->to_string()));
    if (!coreml::is_pipeline(model->model.kind()) && !network) CHECK(again->compiled->data->spec.text() == model->model.source().text());
  }
}

TEST_CASE("metadata of a network is that of its compiled form") {
  std::string root = test::corpus_dir();
  if (root.empty()) return;
  auto model = open_model(root + "/mlmodelc-pairs/MatkoGH__MNISTClassifier.mlmodel");
  REQUIRE(model.ok());
  model->name = "MNISTClassifier";
  std::string json = *compiled_metadata_json(*model);
  auto expected = map_file(root + "/mlmodelc-pairs/MatkoGH__MNISTClassifier.mlmodelc/metadata.json");
  REQUIRE(expected.ok());
  // That compiler had no stateSchema.
  std::string states = "    \"stateSchema\" : [\n\n    ],\n";
  REQUIRE(json.find(states) != std::string::npos);
  json.erase(json.find(states), states.size());
  // One more key moves others, and the order of user metadata varies, so lines are compared as a set.
  CHECK(lines(json) == lines(expected->text()));
}

TEST_CASE("several functions, flexible shapes") {
  OpenedModel model = opened_text(R"(program(1.3) {
    func first<ios18>(tensor<fp32, [?]> input) [FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>>((("DefaultShapes", {{"input", [4]}}), ("RangeDims", {{"input", [[0, 4]]}})))] {
      tensor<fp32, [?]> output = relu(x = input); } -> (output);
    func second<ios18>(tensor<fp32, [?]> input) {
      tensor<fp32, [?]> output = relu(x = input); } -> (output); })");
  FileTree tree = compiled(model).tree;
  std::string mil = content(tree, "model.mil");
  CHECK(mil.find(R"(func first<ios18>(tensor<fp32, [?]> input) [FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>>((("DefaultShapes", {{"input", [4]}}), ("RangeDims", {{"input", [[0, 4]]}})))] {)") != std::string::npos);
  CHECK(mil.find(R"(("RangeDims", {{"input", [[1, -1]]}}))") != std::string::npos);
  std::string json = content(tree, "metadata.json");
  // Keys of a function in the order Apple's compiler gives them.
  size_t at = 0;
  for (const char* key : {"\"computePrecision\" : \"Float32\"", "\"outputSchema\"", "\"stateSchema\"", "\"name\" : \"first\"", "\"mlProgramOperationTypeHistogram\"", "\"inputSchema\"", "\"name\" : \"second\""}) {
    at = json.find(key, json.find("\"functions\" : [") > at ? json.find("\"functions\" : [") : at);
    CHECK_MESSAGE(at != std::string::npos, key);
  }
  CHECK(json.find("\"shapeRange\" : \"[[0, 4]]\"") != std::string::npos);
  CHECK(json.find("\"defaultFunctionName\" : \"first\"") != std::string::npos);
  CompiledModel back = *open_compiled(tree);
  CHECK(back.data->program_tail == std::vector<uint64_t>{502, 0, 502, 0});
}

TEST_CASE("enumerated shapes") {
  OpenedModel model = opened_text("program(1.0) { func main<ios16>(tensor<fp16, [?]> input) { tensor<fp16, [?]> y = relu(x = input); } -> (y); }");
  REQUIRE(complete_mil_text(model).ok());
  coreml::Description description = model.model.description();
  description.inputs[0].type.array.shape = {2};
  description.inputs[0].type.array.flexibility = coreml::Flexibility::kEnumerated;
  description.inputs[0].type.array.shape_range.clear();
  description.inputs[0].type.array.enumerated_shapes = {{1}, {2}, {4}};
  model.model.set_description(description);
  model.mil_text.reset();
  model.kind = FileKind::kModel;
  FileTree tree = compiled(model).tree;
  std::string mil = content(tree, "model.mil");
  CHECK(mil.find(R"((tuple<tensor<string, []>, dict<tensor<string, []>, tensor<int32, [?]>>>, tuple<tensor<string, []>, dict<tensor<string, []>, dict<tensor<string, []>, tensor<int32, [?]>>>>>()") == std::string::npos);
  CHECK(mil.find(R"(tuple<tensor<string, []>, dict<tensor<string, []>, dict<tensor<string, []>, tensor<int32, [?]>>>>)") != std::string::npos);
  CHECK(mil.find(R"({{"input", [4]}})") != std::string::npos);
  CHECK(ir::parse(mil, {}).ok());
  std::string json = content(tree, "metadata.json");
  CHECK(json.find(R"("shapeFlexibility" : "1 | 2 | 4")") != std::string::npos);
  CHECK(json.find(R"("enumeratedShapes" : "[[1], [2], [4]]")") != std::string::npos);
  // An input that enumerates nothing beside one that does.
  description.inputs.push_back(description.inputs[0]);
  description.inputs[1].name = std::string("other");
  description.inputs[1].type.array.enumerated_shapes.clear();
  model.model.set_description(description);
  CHECK(ir::parse(content(compiled(model).tree, "model.mil"), {}).ok());
}

TEST_CASE("names of operations in the histogram") {
  CHECK(histogram_key("slice_by_index", "CoreML6") == "SliceByIndex");
  CHECK(histogram_key("slice_by_index", "CoreML7") == "Ios17.sliceByIndex");
  CHECK(histogram_key("reduce_sum", "CoreML7") == "Ios16.reduceSum");
  CHECK(histogram_key("range_1d", "CoreML7") == "Range1d");
  CHECK(histogram_key("relu", "CoreML8") == "Ios18.relu");
  CHECK(histogram_key("pad", "CoreML7") == "Pad");
}

TEST_CASE("the hash order of keys") {
  std::vector<std::string_view> keys = {"macOS", "tvOS", "iOS", "macCatalyst", "visionOS", "watchOS"};
  std::vector<std::string_view> out;
  for (size_t i : bucket_order(keys, TableGrowth::kGrowing)) out.push_back(keys[i]);
  CHECK(out == std::vector<std::string_view>{"macOS", "tvOS", "visionOS", "watchOS", "iOS", "macCatalyst"});
  CHECK(bucket_order({}, TableGrowth::kFinal).empty());
  std::vector<std::string> many;
  for (int i = 0; i < 1000; ++i) many.push_back("key" + std::to_string(i));
  CHECK(bucket_order({many.begin(), many.end()}, TableGrowth::kGrowing).size() == 1000);
  CHECK(bucket_order({many.begin(), many.begin() + 600}, TableGrowth::kGrowing).size() == 600);
}

// A pipeline of one pipeline of one ..., its messages written by hand: Model.specificationVersion = 1, Model.pipeline = 202,
// Pipeline.models = 1, Pipeline.names = 2.
TEST_CASE("pipelines compile only as deep as compiled models are read") {
  auto field = [](std::string tag, const std::string& content) {
    for (size_t n = content.size();; n >>= 7) {
      tag.push_back(static_cast<char>(n < 128 ? n : (n & 127) | 128));
      if (n < 128) return tag + content;
    }
  };
  auto nested = [&](int depth) {
    std::string model("\x08\x01\xa2\x38\x00", 5);  // Model.identity = 900
    for (int i = 0; i < depth; ++i) model = std::string("\x08\x01", 2) + field("\xd2\x0c", field("\x0a", model) + field("\x12", "stage"));
    Bytes bytes(model.size());
    std::memcpy(bytes.data(), model.data(), model.size());
    auto opened = open_memory(Blob(std::move(bytes)), "nested");
    REQUIRE(opened.ok());
    return compile_model(*opened, {});
  };
  auto shallow = nested(2);
  REQUIRE_MESSAGE(shallow.ok(), shallow.error().to_string());
  auto deep = nested(40);
  REQUIRE_FALSE(deep.ok());
  CHECK_MESSAGE(deep.error().to_string().find("nest too deep") != std::string::npos, deep.error().to_string());
}
