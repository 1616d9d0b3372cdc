#include "lib/coreml/model.h"

#include <doctest/doctest.h>

#include "lib/coreml/wire.h"
#include "tests/unit/corpus.h"

namespace {

using namespace mlt;
using namespace mlt::coreml;

Blob blob(Bytes bytes) { return Blob(std::move(bytes)); }
bool same(ByteSpan a, ByteSpan b) { return as_text(a) == as_text(b); }

Model sample() {
  Model model;
  model.set_spec_version(9);
  Description d;
  d.inputs.push_back({"x", "an array", FeatureType::multi_array(ArrayDataType::kFloat16, {1, 3})});
  d.inputs.back().type.array.flexibility = Flexibility::kRange;
  d.inputs.back().type.array.shape_range = {{1, 1}, {1, -1}};
  d.inputs.push_back({"photo", "", FeatureType::image_of(600, 375, ColorSpace::kBgr)});
  d.inputs.back().type.image.flexibility = Flexibility::kEnumerated;
  d.inputs.back().type.image.enumerated_sizes = {{600, 375}, {300, 200}};
  d.inputs.back().type.optional = true;
  d.outputs.push_back({"classes", "", FeatureType::dictionary(FeatureKind::kInt64)});
  d.outputs.push_back({"words", "", FeatureType::sequence(FeatureKind::kString, {0, -1})});
  d.states.push_back({"cache", "", FeatureType::state(ArrayDataType::kFloat16, {4})});
  d.predicted_feature_name = "classes";
  d.functions.push_back({"main", d.inputs, d.outputs, {}, "classes", ""});
  d.default_function_name = "main";
  d.metadata.author = "somebody";
  d.metadata.user_defined = {{"z", "1"}, {"a", "2"}, {"m", ""}};
  d.has_metadata = true;
  model.set_description(d);
  return model;
}

TEST_CASE("a description survives serialization") {
  Model model = sample();
  Bytes bytes = *model.serialize();
  Model read = *Model::parse(blob(bytes));
  CHECK(read.spec_version() == 9);
  CHECK_FALSE(read.modified());
  Description expected = model.description(), got = read.description();
  // A message keeps no order of its map: serialized by key, read in file order.
  CHECK(got.metadata.user_defined == decltype(got.metadata.user_defined){{"a", "2"}, {"m", ""}, {"z", "1"}});
  expected.metadata = got.metadata;
  CHECK(got == expected);
  CHECK(same(*read.serialize(), bytes));
  CHECK(read.description().function("main")->inputs.size() == 2);
  CHECK(read.description().function("")->name == "main");
  CHECK_FALSE(read.description().function("other").has_value());
}

TEST_CASE("user-defined metadata keeps the order of the file") {
  Model model = sample();
  Bytes description = model.serialize_description(false);
  Bytes file;
  put_varint(&file, 1 << 3);
  put_varint(&file, 9);
  put_bytes_field(&file, 2, description);
  Model read = *Model::parse(blob(file));
  CHECK(read.metadata().user_defined[0].first == "z");
  CHECK(read.metadata().user_defined[1].first == "a");
  CHECK(same(read.serialize_description(false), description));
}

TEST_CASE("an absent metadata message can be appended as compilers do") {
  Model model;
  CHECK(model.serialize_description(false).empty());
  CHECK(same(model.serialize_description(true), as_bytes(std::string_view("\xa2\x06\x00", 3))));
}

TEST_CASE("unknown fields and unknown types survive") {
  Bytes file;
  put_varint(&file, 1 << 3);
  put_varint(&file, 42);
  put_bytes_field(&file, 4711, as_bytes("body"));
  Model model = *Model::parse(blob(file));
  CHECK(model.kind_name() == "type4711");
  CHECK(static_cast<int>(model.kind()) == 4711);
  CHECK(same(*model.serialize(), file));
  model.set_spec_version(43);
  CHECK(Model::parse(blob(*model.serialize()))->kind_name() == "type4711");
}

TEST_CASE("pipelines nest models") {
  Model stage = sample(), parent;
  parent.set_pipeline(ModelKind::kPipelineClassifier, {&stage, &stage}, {"first"});
  CHECK(parent.kind_name() == "pipelineClassifier");
  REQUIRE(parent.child_count() == 2);
  CHECK(parent.child_name(0) == "first");
  CHECK(parent.child_name(1) == "model1");
  Model child = parent.child(1);
  CHECK(child.description().inputs.size() == 2);
  child.set_spec_version(3);
  CHECK(parent.child(1).spec_version() == 3);
  CHECK(parent.child(0).spec_version() == 9);
  // Children live on after their parent.
  parent = Model();
  CHECK(child.spec_version() == 3);
}

TEST_CASE("nesting beyond the limit is refused") {
  Model model;
  for (int i = 0; i < 60; i++) {
    Model outer;
    outer.set_pipeline(ModelKind::kPipelineRegressor, {&model}, {});
    model = std::move(outer);
  }
  auto bytes = model.serialize();
  REQUIRE(bytes.ok());
  auto read = Model::parse(blob(*bytes));
  REQUIRE_FALSE(read.ok());
  CHECK(read.error().code == Code::kInput);
}

TEST_CASE("truncated and damaged models are errors, never crashes") {
  Bytes bytes = *sample().serialize();
  for (size_t size = 0; size < bytes.size(); size++) {
    auto read = Model::parse(blob(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size))));
    if (read.ok()) (void)read->serialize();
  }
  size_t refused = 0;
  for (size_t i = 0; i < bytes.size() * 8; i++) {
    Bytes flipped = bytes;
    flipped[i / 8] ^= std::byte{1} << (i % 8);
    auto read = Model::parse(blob(flipped));
    if (!read.ok()) refused++;
    else (void)read->class_labels();
  }
  CHECK(refused > 100);
}

TEST_CASE("every model of the corpus round-trips") {
  int exact = 0, models = 0;
  for (const std::string& path : test::corpus_files("mlmodel", ".mlmodel")) {
    CAPTURE(path);
    Blob file = *map_file(path);
    auto model = Model::parse(file);
    REQUIRE(model.ok());
    models++;
    Bytes once = *model->serialize();
    exact += same(once, file.bytes());
    // Not every writer sorts fields and map entries; then the second pass must give the same bytes as the first, and
    // as many as the file has.
    Bytes twice = *Model::parse(blob(once))->serialize();
    CHECK(same(once, twice));
    CHECK(once.size() == file.size());
    // What the setters write is what the getters read.
    Model copy = model->clone();
    copy.set_description(model->description());
    CHECK(copy.description() == model->description());
    CHECK(same(*copy.serialize(), once));
    CHECK(model_kind_name(model->kind()) == model->kind_name());
  }
  if (models) MESSAGE(models << " models, " << exact << " byte for byte");
}

}  // namespace
