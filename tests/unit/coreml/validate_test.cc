#include "lib/coreml/validate.h"

#include <doctest/doctest.h>

#include "lib/coreml/model_proto.h"
#include "lib/coreml/weights.h"
#include "tests/unit/corpus.h"

namespace {

using namespace mlt;
using namespace mlt::coreml;

std::string errors_of(const Model& model) {
  std::string text;
  for (const Finding& finding : validate(model))
    if (finding.severity == Severity::kError) text += finding.place + ": " + finding.message + "\n";
  return text;
}
#define CHECK_SAYS(model, words)                                  \
  do {                                                            \
    std::string said = errors_of(model);                          \
    CHECK_MESSAGE(said.find(words) != std::string::npos, said);   \
  } while (0)

FeatureDescription scalar(const char* name) { return {name, "", FeatureType::float64()}; }
FeatureDescription array(const char* name, std::vector<int64_t> shape) {
  return {name, "", FeatureType::multi_array(ArrayDataType::kDouble, std::move(shape))};
}

Model tree_model() {
  Model model;
  Description d;
  d.inputs = {array("x", {2})};
  d.outputs = {scalar("y")};
  d.predicted_feature_name = "y";
  model.set_description(d);
  auto* trees = model.mutable_proto().mutable_treeensembleregressor()->mutable_treeensemble();
  trees->set_numpredictiondimensions(1);
  for (uint64_t id : {0, 1, 2}) {
    auto* node = trees->add_nodes();
    node->set_nodeid(id);
    if (id == 0) {
      node->set_truechildnodeid(1);
      node->set_falsechildnodeid(2);
    } else {
      node->set_nodebehavior(spec::TreeEnsembleParameters::TreeNode::LeafNode);
      node->add_evaluationinfo()->set_evaluationvalue(3);
    }
  }
  return model;
}

TEST_CASE("trees") {
  CHECK(errors_of(tree_model()) == "");
  auto with = [](auto&& change) {
    Model model = tree_model();
    change(model.mutable_proto().mutable_treeensembleregressor()->mutable_treeensemble());
    return model;
  };
  CHECK_SAYS(with([](auto* t) { t->mutable_nodes(0)->set_truechildnodeid(7); }), "does not exist");
  CHECK_SAYS(with([](auto* t) { t->mutable_nodes(0)->set_truechildnodeid(0); }), "its own child");
  CHECK_SAYS(with([](auto* t) { t->mutable_nodes(0)->set_truechildnodeid(2); }), "child of two branches");
  CHECK_SAYS(with([](auto* t) { t->mutable_nodes(1)->set_nodeid(2); }), "two nodes 2");
  CHECK_SAYS(with([](auto* t) { t->mutable_nodes(1)->mutable_evaluationinfo(0)->set_evaluationindex(1); }), "dimension 1 of 1");
  CHECK_SAYS(with([](auto* t) { t->mutable_nodes(1)->clear_nodebehavior(); }), "cycle");
  CHECK_SAYS(with([](auto* t) { t->add_basepredictionvalue(1), t->add_basepredictionvalue(1); }), "2 base values");
  CHECK_SAYS(with([](auto* t) { t->clear_nodes(); }), "no nodes");
  Model model = tree_model();
  Description d = model.description();
  d.predicted_feature_name = "other";
  model.set_description(d);
  CHECK_SAYS(model, "predicted feature \"other\"");
}

TEST_CASE("interface") {
  Model model = tree_model();
  auto with_input = [&](FeatureDescription feature, int version = 10) {
    Model changed = tree_model();
    changed.set_spec_version(version);
    Description d = changed.description();
    d.inputs = {std::move(feature)};
    changed.set_description(d);
    return changed;
  };
  CHECK_SAYS(with_input(scalar("")), "has no name");
  CHECK_SAYS(with_input({"x", "", FeatureType()}), "has no type");
  CHECK_SAYS(with_input(array("x", {})), "has no shape");
  CHECK_SAYS(with_input(array("x", {-1})), "negative");
  CHECK_SAYS(with_input({"x", "", FeatureType::multi_array(ArrayDataType::kFloat16, {2})}, 6), "version 7");
  CHECK_SAYS(with_input({"x", "", FeatureType::multi_array(ArrayDataType::kInt8, {2})}, 9), "version 10");
  CHECK_SAYS(with_input({"x", "", FeatureType::image_of(0, 5, ColorSpace::kRgb)}), "not positive");
  CHECK_SAYS(with_input({"x", "", FeatureType::image_of(5, 5, ColorSpace::kInvalid)}), "colour space");
  FeatureDescription flexible = array("x", {5});
  flexible.type.array.flexibility = Flexibility::kRange;
  flexible.type.array.shape_range = {{1, 4}};
  CHECK_SAYS(with_input(flexible), "outside its range");
  flexible.type.array.shape_range = {{4, 1}};
  CHECK_SAYS(with_input(flexible), "is empty");
  flexible.type.array.flexibility = Flexibility::kEnumerated;
  flexible.type.array.enumerated_shapes = {{1}, {2}};
  CHECK_SAYS(with_input(flexible), "not one of the enumerated");
  model.set_spec_version(99);
  CHECK_SAYS(model, "newer than");
  model.set_spec_version(3);
  model.set_updatable(true);
  CHECK_SAYS(model, "version 4");
  CHECK_SAYS(Model(), "no type");
}

TEST_CASE("generalised linear models") {
  Model model;
  Description d;
  d.inputs = {array("x", {3})};
  d.outputs = {{"label", "", FeatureType::string()}};
  d.predicted_feature_name = "label";
  model.set_description(d);
  auto* glm = model.mutable_proto().mutable_glmclassifier();
  for (const char* label : {"a", "b"}) glm->mutable_stringclasslabels()->add_vector(label);
  auto* row = glm->add_weights();
  for (int i = 0; i < 3; i++) row->add_value(i);
  glm->add_offset(0);
  CHECK(errors_of(model) == "");
  row->add_value(9);
  CHECK_SAYS(model, "4 weights per row");
  row->mutable_value()->RemoveLast();
  glm->add_weights()->add_value(1);
  CHECK_SAYS(model, "2 rows of weights but 1 offsets");
  CHECK_SAYS(model, "differ in length");
  CHECK_SAYS(model, "2 classes need 1 rows");
  glm->clear_weights();
  CHECK_SAYS(model, "no weights");
  glm->clear_ClassLabels();
  CHECK_SAYS(model, "class labels are missing");
}

TEST_CASE("support vector machines") {
  Model model;
  Description d;
  d.inputs = {array("x", {2})};
  d.outputs = {{"label", "", FeatureType::int64()}};
  d.predicted_feature_name = "label";
  model.set_description(d);
  auto* svm = model.mutable_proto().mutable_supportvectorclassifier();
  svm->mutable_kernel()->mutable_linearkernel();
  svm->mutable_int64classlabels()->add_vector(0);
  svm->mutable_int64classlabels()->add_vector(1);
  for (int i = 0; i < 2; i++) {
    auto* vector = svm->mutable_densesupportvectors()->add_vectors();
    vector->add_values(1), vector->add_values(2);
    svm->add_numberofsupportvectorsperclass(1);
  }
  auto* coefficients = svm->add_coefficients();
  coefficients->add_alpha(1), coefficients->add_alpha(-1);
  svm->add_rho(0);
  CHECK(errors_of(model) == "");
  svm->set_numberofsupportvectorsperclass(0, 2);
  CHECK_SAYS(model, "sum to 3, found 2");
  coefficients->add_alpha(1);
  CHECK_SAYS(model, "3 entries for 2 support vectors");
  svm->clear_rho();
  CHECK_SAYS(model, "1 values of rho");
  svm->clear_kernel();
  CHECK_SAYS(model, "kernel is not stated");
}

Model network_model() {
  Model model;
  model.set_spec_version(1);
  Description d;
  d.inputs = {array("x", {3})};
  d.outputs = {array("y", {2})};
  model.set_description(d);
  auto* layer = model.mutable_proto().mutable_neuralnetwork()->add_layers();
  layer->set_name("fc");
  layer->add_input("x");
  layer->add_output("y");
  auto* product = layer->mutable_innerproduct();
  product->set_inputchannels(3);
  product->set_outputchannels(2);
  for (int i = 0; i < 6; i++) product->mutable_weights()->add_floatvalue(1);
  return model;
}

TEST_CASE("neural networks") {
  CHECK(errors_of(network_model()) == "");
  auto with = [](auto&& change) {
    Model model = network_model();
    change(model.mutable_proto().mutable_neuralnetwork(), model.mutable_proto().mutable_neuralnetwork()->mutable_layers(0));
    return model;
  };
  CHECK_SAYS(with([](auto*, auto* l) { l->mutable_innerproduct()->set_outputchannels(3); }), "weights: 6 values, expected 9");
  CHECK_SAYS(with([](auto*, auto* l) { l->mutable_innerproduct()->set_outputchannels(uint64_t{1} << 63); }), "overflows");
  CHECK_SAYS(with([](auto*, auto* l) { l->mutable_innerproduct()->set_hasbias(true); }), "bias: has no values");
  CHECK_SAYS(with([](auto*, auto* l) { l->mutable_innerproduct()->mutable_weights()->set_float16value("ab"); }), "several kinds");
  CHECK_SAYS(with([](auto*, auto* l) { l->set_input(0, "z"); }), "not made by an earlier layer");
  CHECK_SAYS(with([](auto*, auto* l) { l->set_output(0, "x"); }), "made a second time");
  CHECK_SAYS(with([](auto*, auto* l) { l->set_output(0, "z"); }), "output \"y\" is not made");
  CHECK_SAYS(with([](auto*, auto* l) { l->add_input("x"); }), "2 inputs, expected 1");
  CHECK_SAYS(with([](auto*, auto* l) { l->clear_layer(); }), "layer has no type");
  CHECK_SAYS(with([](auto* n, auto*) { n->clear_layers(); }), "no layers");
  CHECK_SAYS(with([](auto*, auto* l) {
               auto* weights = l->mutable_innerproduct()->mutable_weights();
               weights->clear_floatvalue();
               weights->set_rawvalue("abc");
               weights->mutable_quantization()->set_numberofbits(4);
               for (int i = 0; i < 3; i++) weights->mutable_quantization()->mutable_linearquantization()->add_scale(1);
             }),
             "3 quantization scales, expected 1 or 2");
  Model model = with([](auto*, auto* l) {
    auto* weights = l->mutable_innerproduct()->mutable_weights();
    weights->clear_floatvalue();
    weights->set_rawvalue("abc");
    weights->mutable_quantization()->set_numberofbits(4);
    for (int i = 0; i < 2; i++) weights->mutable_quantization()->mutable_linearquantization()->add_scale(1);
  });
  CHECK(errors_of(model) == "");
  CHECK(required_spec_version(model) == 3);
}

TEST_CASE("control flow of networks") {
  Model model = network_model();
  model.set_spec_version(4);
  auto* network = model.mutable_proto().mutable_neuralnetwork();
  network->set_arrayinputshapemapping(spec::EXACT_ARRAY_MAPPING);
  auto* loop = network->add_layers();
  loop->mutable_loop()->set_maxloopiterations(3);
  auto* body = loop->mutable_loop()->mutable_bodynetwork()->add_layers();
  body->mutable_copy();
  body->add_input("y");
  body->add_output("y");
  CHECK(errors_of(model) == "");
  body->set_input(0, "unknown");
  CHECK_SAYS(model, "not made by an earlier layer");
  loop->mutable_loop()->clear_maxloopiterations();
  CHECK_SAYS(model, "loop has no end");
  network->add_layers()->mutable_loopbreak();
  CHECK_SAYS(model, "not inside a loop");
}

TEST_CASE("pipelines") {
  Model stage = tree_model(), model;
  Description d = stage.description();
  model.set_description(d);
  model.set_pipeline(ModelKind::kPipelineRegressor, {&stage}, {"only"});
  CHECK(errors_of(model) == "");
  model.set_pipeline(ModelKind::kPipelineRegressor, {&stage}, {"one", "two"});
  CHECK_SAYS(model, "1 stages but 2 names");
  d.inputs[0].type.array.shape = {5};
  model.set_description(d);
  CHECK_SAYS(model, "is given");
  d.inputs.clear();
  model.set_description(d);
  CHECK_SAYS(model, "neither an input of the pipeline");
  model.set_pipeline(ModelKind::kPipelineRegressor, {}, {});
  CHECK_SAYS(model, "no stages");
}

TEST_CASE("nearest neighbours") {
  Model model;
  Description d;
  d.inputs = {array("x", {1})};
  d.outputs = {{"label", "", FeatureType::string()}};
  d.predicted_feature_name = "label";
  model.set_description(d);
  auto* knn = model.mutable_proto().mutable_knearestneighborsclassifier();
  knn->mutable_numberofneighbors()->set_defaultvalue(1);
  knn->mutable_uniformweighting();
  knn->mutable_stringclasslabels()->add_vector("a");
  auto* index = knn->mutable_nearestneighborsindex();
  index->set_numberofdimensions(1);
  index->add_floatsamples()->add_vector(1);
  index->mutable_linearindex();
  index->mutable_squaredeuclideandistance();
  CHECK(errors_of(model) == "");
  index->set_numberofdimensions(2);
  CHECK_SAYS(model, "1 values, 2 expected");
  index->add_floatsamples();
  CHECK_SAYS(model, "2 samples but 1 labels");
  knn->mutable_numberofneighbors()->set_defaultvalue(0);
  CHECK_SAYS(model, "number of neighbours is 0");
  index->clear_IndexType();
  CHECK_SAYS(model, "kind of index");
}

TEST_CASE("findings are bounded") {
  Model model = tree_model();
  auto* trees = model.mutable_proto().mutable_treeensembleregressor()->mutable_treeensemble();
  for (int i = 0; i < 100'000; i++) trees->add_nodes()->set_nodeid(static_cast<uint64_t>(i + 10));
  CHECK(validate(model).size() <= 1001);
}

TEST_CASE("damaged models are checked without harm") {
  uint32_t state = 12345;
  auto next = [&] { return state = state * 1664525u + 1013904223u; };
  for (const std::string& path : test::corpus_files("mlmodel", ".mlmodel")) {
    Blob file = *map_file(path);
    if (file.size() > 40'000) continue;
    CAPTURE(path);
    for (int round = 0; round < 60; round++) {
      Bytes bytes(file.bytes().begin(), file.bytes().end());
      // Mostly near the front, where the structure is.
      for (int flips = 0; flips < 3; flips++) {
        size_t span = round % 2 ? bytes.size() : std::min<size_t>(bytes.size(), 600);
        bytes[(next() >> 8) % span] ^= std::byte{1} << (next() >> 29);
      }
      if (round % 5 == 0) bytes.resize((next() >> 8) % bytes.size());
      auto model = Model::parse(Blob(std::move(bytes)));
      if (!model.ok()) continue;
      (void)validate(*model);
      (void)model->class_labels();
      (void)NetworkWeights::of(*model);
    }
  }
}

TEST_CASE("the models of the corpus are valid") {
  for (const std::string& path : test::corpus_files("mlmodel", ".mlmodel")) {
    CAPTURE(path);
    auto model = Model::parse(*map_file(path));
    REQUIRE(model.ok());
    CHECK(errors_of(*model) == "");
  }
}

}  // namespace
