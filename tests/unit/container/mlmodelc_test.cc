#include "lib/container/mlmodelc.h"

#include <doctest/doctest.h>

#include "lib/container/compiled_metadata.h"
#include "tests/unit/container/damage.h"
#include "tests/unit/corpus.h"

namespace {

using namespace mlt;
using test::same;

CoremlData program() {
  CoremlData data;
  data.model_type = 502;
  data.format_version = {9, 0, 0};
  data.backend = "generic";
  data.spec_version = 9;
  coreml::Model model;
  coreml::Description description;
  description.inputs.push_back({"x", "", coreml::FeatureType::multi_array(coreml::ArrayDataType::kFloat32, {5})});
  model.set_description(description);
  data.description = Blob(model.serialize_description(true));
  data.program_tail = {502, 0};
  return data;
}

CoremlData classifier() {
  CoremlData data = program();
  data.model_type = 403;
  data.program_tail.clear();
  data.has_labels = true;
  data.labels = {"cat", "dog"};
  data.probabilities_name = "probs";
  data.outputs = {"probs", "label"};
  return data;
}

TEST_CASE("coremldata.bin round-trips") {
  Bytes bytes = write_coremldata(program());
  CHECK(bytes.size() == 75 + 8 + program().description.size() + 16);
  CoremlData read = *parse_coremldata(Blob(bytes));
  CHECK(read.backend == "generic");
  CHECK(read.program_tail == std::vector<uint64_t>{502, 0});
  CHECK(read.rest.size() == 0);
  CHECK(same(write_coremldata(read), bytes));

  bytes = write_coremldata(classifier());
  read = *parse_coremldata(Blob(bytes));
  CHECK(read.labels == std::vector<std::string>{"cat", "dog"});
  CHECK(read.outputs.size() == 2);
  CHECK(same(write_coremldata(read), bytes));

  CoremlData spec;
  spec.model_type = 400;
  spec.backend = "spec";
  spec.spec = test::text_blob("model bytes");
  bytes = write_coremldata(spec);
  read = *parse_coremldata(Blob(bytes));
  CHECK(read.spec.text() == "model bytes");
  CHECK(same(write_coremldata(read), bytes));
}

TEST_CASE("unknown tails are kept") {
  CoremlData data = program();
  data.model_type = 501;
  data.program_tail.clear();
  data.rest = test::text_blob("something later");
  Bytes bytes = write_coremldata(data);
  CoremlData read = *parse_coremldata(Blob(bytes));
  CHECK(read.rest.text() == "something later");
  CHECK(same(write_coremldata(read), bytes));
}

TEST_CASE("a compiled classifier is opened with its labels") {
  CompiledModel compiled = *open_compiled(FileTree::from_blobs({{"coremldata.bin", Blob(write_coremldata(classifier()))}}));
  CHECK(compiled.model.kind() == coreml::ModelKind::kNeuralNetworkClassifier);
  CHECK(compiled.model.spec_version() == 9);
  CHECK(compiled.model.class_labels().strings.size() == 2);
  CHECK(compiled.model.description().inputs[0].name == "x");
}

TEST_CASE("a compiled pipeline is opened with its stages") {
  CoremlData parent = program();
  parent.model_type = 200;
  parent.program_tail.clear();
  parent.backend = "generic.model0v9.0.0generic.model1v1.0.2generic";
  parent.child_count = 2;
  std::map<std::string, Blob> files = {{"coremldata.bin", Blob(write_coremldata(parent))},
                                       {"model0/coremldata.bin", Blob(write_coremldata(program()))},
                                       {"model1/coremldata.bin", Blob(write_coremldata(classifier()))},
                                       {"modelNames/coremldata.bin", Blob(write_model_names({"first", "second"}))}};
  CompiledModel compiled = *open_compiled(FileTree::from_blobs(files));
  REQUIRE(compiled.children.size() == 2);
  CHECK(compiled.model.kind_name() == "pipelineClassifier");
  CHECK(compiled.model.child_count() == 2);
  CHECK(compiled.model.child_name(1) == "second");
  CHECK(compiled.model.child(1).class_labels().strings[0] == "cat");
  files.erase("model1/coremldata.bin");
  CHECK_FALSE(open_compiled(FileTree::from_blobs(files)).ok());
}

TEST_CASE("damaged compiled files") {
  for (const CoremlData& data : {program(), classifier()}) {
    test::for_each_damage(write_coremldata(data), [](const Blob& blob) {
      (void)parse_coremldata(blob);
      (void)open_compiled(FileTree::from_blobs({{"coremldata.bin", blob}}));
    });
  }
  Bytes analytics = write_analytics({{"SpecificationDetails", {{"modelHash", "x"}, {"modelName", "y"}}}});
  CHECK(same(write_analytics(*parse_analytics(Blob(analytics))), analytics));
  test::for_each_damage(analytics, [](const Blob& blob) { (void)parse_analytics(blob); });
}

TEST_CASE("every compiled model of the corpus opens") {
  std::vector<std::string> paths = test::corpus_files("mlmodelc", ".mlmodelc");
  for (const std::string& path : test::corpus_files("mlmodelc-pairs", ".mlmodelc")) paths.push_back(path);
  for (const std::string& path : paths) {
    CAPTURE(path);
    auto compiled = open_compiled(FileTree::from_directory(path));
    if (!compiled.ok()) MESSAGE(compiled.error().to_string());
    REQUIRE(compiled.ok());
    CHECK(compiled->model.kind() != coreml::ModelKind::kNone);
    CHECK_FALSE(compiled->model.description().inputs.empty());
    CHECK_FALSE(compiled->model.description().outputs.empty());
    if (compiled->data) {
      Blob file = *map_file(path + "/coremldata.bin");
      CHECK(same(write_coremldata(*compiled->data), file.bytes()));
      CHECK(compiled->data->rest.size() == 0);
    }
    if (path_kind(path + "/analytics/coremldata.bin") == PathKind::kFile) {
      CHECK_FALSE(compiled->analytics.empty());
      CHECK(same(write_analytics(compiled->analytics), map_file(path + "/analytics/coremldata.bin")->bytes()));
    }
    if (path_kind(path + "/model/coremldata.bin") == PathKind::kFile)
      CHECK(parse_compiled_preprocessing(*map_file(path + "/model/coremldata.bin")).ok());
    // What metadata.json says of the interface is what coremldata.bin says.
    if (compiled->metadata_json && compiled->data) {
      auto said = parse_compiled_metadata(compiled->metadata_json->bytes());
      REQUIRE(said.ok());
      CHECK(said->type == compiled->data->model_type);
      CHECK(said->spec_version == compiled->data->spec_version);
      CHECK(said->description.inputs == compiled->model.description().inputs);
    }
    test::for_each_damage(compiled->metadata_json ? compiled->metadata_json->bytes() : ByteSpan{},
                          [](const Blob& blob) { (void)parse_compiled_metadata(blob.bytes()); }, 200, 200);
  }
}

}  // namespace
