// One model of each classic type that answers, and one that is refused (or one input that is). A type of Model.Type
// that is neither here nor a network or program fails the test.
#include <doctest/doctest.h>
#include <stdlib.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>

#include "lib/coreml/classic.h"
#include "lib/coreml/model_proto.h"
#include "lib/runtime/predictor.h"
#include "lib/runtime/records.h"

using namespace mlt;
using namespace mlt::coreml;

namespace {

using F = FeatureDescription;
using Type = FeatureType;
using Kind = ModelKind;

F number(const char* name) { return {name, "", Type::float64()}; }
F integer(const char* name) { return {name, "", Type::int64()}; }
F text(const char* name) { return {name, "", Type::string()}; }
F array(const char* name, std::vector<int64_t> shape, ArrayDataType type = ArrayDataType::kDouble) { return {name, "", Type::multi_array(type, std::move(shape))}; }
F dict(const char* name, FeatureKind key) { return {name, "", Type::dictionary(key)}; }
F list(const char* name, FeatureKind element) { return {name, "", Type::sequence(element, {0, -1})}; }
F image(const char* name) { return {name, "", Type::image_of(299, 299, ColorSpace::kRgb)}; }

Tensor row(std::vector<double> values) { return Tensor::from<double>({static_cast<int64_t>(values.size())}, values); }

Model make(std::vector<F> inputs, std::vector<F> outputs, const std::function<void(spec::Model&)>& fill) {
  Model model;
  Description d;
  d.inputs = std::move(inputs);
  d.outputs = std::move(outputs);
  for (const F& f : d.outputs) {
    if (f.name == "label") d.predicted_feature_name = f.name;
    if (f.name == "probability") d.predicted_probabilities_name = f.name;
    if (f.name == "y") d.predicted_feature_name = f.name;
  }
  model.set_description(d);
  model.set_spec_version(8);
  fill(model.mutable_proto());
  return model;
}

Model pipeline(Kind kind, const std::vector<const Model*>& stages, std::vector<F> inputs, std::vector<F> outputs) {
  Model model = make(std::move(inputs), std::move(outputs), [](spec::Model&) {});
  model.set_pipeline(kind, stages, {});
  return model;
}

// The answer as JSON, or "<code>: <message>".
std::string answer(const Model& model, const FeatureMap& inputs, FeatureMap supplied = {}) {
  auto bytes = model.serialize();
  REQUIRE(bytes.ok());
  auto opened = open_memory(Blob(std::move(*bytes)), "test");
  if (!opened) return std::to_string(exit_status(opened.error().code)) + ": " + opened.error().to_string();
  PredictOptions options;
  options.stage_features = std::move(supplied);
  auto predictor = Predictor::create(*opened, options);
  if (!predictor) return std::to_string(exit_status(predictor.error().code)) + ": " + predictor.error().to_string();
  auto out = (*predictor)->predict(inputs);
  if (!out) return std::to_string(exit_status(out.error().code)) + ": " + out.error().to_string();
  return to_json(*out);
}

void two_labels(auto* message) {
  message->mutable_int64classlabels()->add_vector(5);
  message->mutable_int64classlabels()->add_vector(7);
}

Model scaler(double scale, const char* in = "x", const char* out = "y") {
  return make({number(in)}, {number(out)}, [&](spec::Model& m) {
    m.mutable_scaler()->add_shiftvalue(1);
    m.mutable_scaler()->add_scalevalue(scale);
  });
}

void stump(spec::TreeEnsembleParameters* trees) {
  trees->set_numpredictiondimensions(1);
  trees->add_basepredictionvalue(0.5);
  for (uint64_t id : {0, 1, 2}) {
    auto* node = trees->add_nodes();
    node->set_nodeid(id);
    if (id == 0) {
      node->set_truechildnodeid(1);
      node->set_falsechildnodeid(2);
      node->set_branchfeaturevalue(0.5);
    } else {
      node->set_nodebehavior(spec::TreeEnsembleParameters::TreeNode::LeafNode);
      node->add_evaluationinfo()->set_evaluationvalue(id == 1 ? -2 : 2);
    }
  }
}

void one_vector(auto* svm) {
  svm->mutable_kernel()->mutable_linearkernel();
  auto* vectors = svm->mutable_densesupportvectors();
  vectors->add_vectors()->add_values(1);
  vectors->add_vectors()->add_values(-1);
}

Model glm_classifier(const std::vector<F>& inputs) {
  return make(inputs, {integer("label"), dict("probability", FeatureKind::kInt64)}, [](spec::Model& m) {
    two_labels(m.mutable_glmclassifier());
    m.mutable_glmclassifier()->add_weights()->add_value(1);
  });
}

// A stage whose weights only Apple's systems have: refused, unless its output is given.
void apple(const Model& stage, const FeatureMap& inputs, const char* output, const char* says) {
  std::string alone = answer(stage, inputs);
  CHECK_MESSAGE(alone.find("4: ") == 0, alone);
  CHECK_MESSAGE(alone.find(says) != std::string::npos, alone);
  Model after = make({array(output, {2})}, {array("scaled", {2})}, [](spec::Model& m) { m.mutable_scaler()->add_scalevalue(2); });
  Model both = pipeline(Kind::kPipeline, {&stage, &after}, stage.description().inputs, {array("scaled", {2})});
  std::string without = answer(both, inputs);
  CHECK_MESSAGE(without.find("4: ") == 0, without);
  CHECK_MESSAGE(without.find(says) != std::string::npos, without);
  CHECK(answer(both, {}, {{output, row({1, 2})}}) == "{\"scaled\": [2, 4]}");
  // What no stage lacks cannot be given.
  std::string other = answer(both, {}, {{output, row({1, 2})}, {"nothing", row({1})}});
  CHECK_MESSAGE(other.find("2: ") == 0, other);
}

void language(const std::function<void(spec::Model&)>& fill) {
  Model model = make({text("text")}, {text("label")}, fill);
  std::string said = answer(model, {{"text", std::string("hello")}});
  CHECK_MESSAGE(said.find("4: ") == 0, said);
  CHECK_MESSAGE(said.find("Natural Language") != std::string::npos, said);
  // In a pipeline, what it would say can be given.
  Model after = make({text("label")}, {integer("number")}, [](spec::Model& m) { (*m.mutable_categoricalmapping()->mutable_stringtoint64map()->mutable_map())["greeting"] = 4; });
  Model both = pipeline(Kind::kPipeline, {&model, &after}, {text("text")}, {integer("number")});
  CHECK(answer(both, {}, {{"label", std::string("greeting")}}) == "{\"number\": 4}");
}

struct TemporaryDirectory {
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "mlt-linked-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
  void put(const std::string& name, const Model& model) const {
    std::filesystem::create_directories(std::filesystem::path(path + "/" + name).parent_path());
    auto bytes = model.serialize();
    REQUIRE(write_file(path + "/" + name, *bytes).ok());
  }
  std::string run(const std::string& name, const FeatureMap& inputs) const {
    auto opened = open_model(path + "/" + name);
    REQUIRE(opened.ok());
    auto predictor = Predictor::create(*opened);
    if (!predictor) return std::to_string(exit_status(predictor.error().code)) + ": " + predictor.error().to_string();
    auto out = (*predictor)->predict(inputs);
    return out ? to_json(*out) : out.error().to_string();
  }
  std::string path;
};

Model linked(const char* name, const char* search) {
  return make({number("x")}, {number("y")}, [&](spec::Model& m) {
    m.mutable_linkedmodel()->mutable_linkedmodelfile()->mutable_linkedmodelfilename()->set_defaultvalue(name);
    m.mutable_linkedmodel()->mutable_linkedmodelfile()->mutable_linkedmodelsearchpath()->set_defaultvalue(search);
  });
}

const FeatureMap kOne{{"x", 1.0}};

std::map<Kind, std::function<void()>> cases() {
  std::map<Kind, std::function<void()>> all;
  auto starts = [](const std::string& said, const char* with) { CHECK_MESSAGE(said.find(with) == 0, said); };

  for (Kind kind : {Kind::kPipeline, Kind::kPipelineRegressor})
    all[kind] = [=] {
      Model a = scaler(2, "x", "z"), b = scaler(10, "z", "y");
      CHECK(answer(pipeline(kind, {&a, &b}, {number("x")}, {number("y")}), kOne) == "{\"y\": 50}");
      Model inner = pipeline(kind, {&a, &b}, {number("x")}, {number("y")});
      for (int depth = 0; depth < 10; ++depth) inner = pipeline(kind, {&inner}, {number("x")}, {number("y")});
      CHECK(answer(inner, kOne) == "{\"y\": 50}");
      for (int depth = 0; depth < 8; ++depth) inner = pipeline(kind, {&inner}, {number("x")}, {number("y")});
      starts(answer(inner, kOne), "3: ");
      starts(answer(pipeline(kind, {&b}, {number("x")}, {number("y")}), kOne), "3: ");
    };
  all[Kind::kPipelineClassifier] = [=] {
    Model a = scaler(0, "x", "z"), b = glm_classifier({number("z")});
    Model both = pipeline(Kind::kPipelineClassifier, {&a, &b}, {number("x")}, {integer("label"), dict("probability", FeatureKind::kInt64)});
    CHECK(answer(both, kOne) == "{\"label\": 5, \"probability\": {\"5\": 0.5, \"7\": 0.5}}");
    starts(answer(both, {}), "3: ");
  };
  all[Kind::kGlmRegressor] = [=] {
    auto glm = [](int weights) {
      return make({number("x"), number("z")}, {number("y")}, [=](spec::Model& m) {
        for (int i = 0; i < weights; ++i) {
          if (i == 0) m.mutable_glmregressor()->add_weights();
          m.mutable_glmregressor()->mutable_weights(0)->add_value(i + 2);
        }
        m.mutable_glmregressor()->add_offset(0.5);
      });
    };
    CHECK(answer(glm(2), {{"x", 1.0}, {"z", 10.0}}) == "{\"y\": 32.5}");
    starts(answer(glm(3), {{"x", 1.0}, {"z", 10.0}}), "3: ");
    starts(answer(glm(0), {{"x", 1.0}, {"z", 10.0}}), "3: ");
  };
  all[Kind::kGlmClassifier] = [=] {
    CHECK(answer(glm_classifier({number("x")}), {{"x", 0.0}}) == "{\"label\": 5, \"probability\": {\"5\": 0.5, \"7\": 0.5}}");
    Model three = glm_classifier({number("x")});
    three.mutable_proto().mutable_glmclassifier()->mutable_int64classlabels()->add_vector(9);
    starts(answer(three, kOne), "3: ");
  };
  all[Kind::kSupportVectorRegressor] = [=] {
    auto svm = [](int alphas) {
      return make({number("x")}, {number("y")}, [=](spec::Model& m) {
        one_vector(m.mutable_supportvectorregressor());
        for (int i = 0; i < alphas; ++i) m.mutable_supportvectorregressor()->mutable_coefficients()->add_alpha(2 - i);
        m.mutable_supportvectorregressor()->set_rho(0.25);
      });
    };
    CHECK(answer(svm(2), {{"x", 3.0}}) == "{\"y\": 2.75}");
    starts(answer(svm(1), kOne), "3: ");
    // No kernel at all: a precomputed one has no form in the format.
    Model none = svm(2);
    none.mutable_proto().mutable_supportvectorregressor()->clear_kernel();
    starts(answer(none, kOne), "3: ");
  };
  all[Kind::kSupportVectorClassifier] = [=] {
    auto svm = [](bool probability, bool wanted) {
      std::vector<F> outputs{integer("label")};
      if (wanted) outputs.push_back(dict("probability", FeatureKind::kInt64));
      return make({number("x")}, outputs, [=](spec::Model& m) {
        auto* s = m.mutable_supportvectorclassifier();
        one_vector(s);
        two_labels(s);
        s->add_coefficients()->add_alpha(1);
        s->mutable_coefficients(0)->add_alpha(-1);
        for (int32_t vectors : {1, 1}) s->add_numberofsupportvectorsperclass(vectors);
        s->add_rho(0);
        if (probability) s->add_proba(0), s->add_probb(0);
      });
    };
    CHECK(answer(svm(false, false), {{"x", -1.0}}) == "{\"label\": 7}");
    CHECK(answer(svm(true, true), {{"x", -1.0}}) == "{\"label\": 5, \"probability\": {\"5\": 0.5, \"7\": 0.5}}");
    starts(answer(svm(false, true), {{"x", -1.0}}), "4: ");
  };
  all[Kind::kTreeEnsembleRegressor] = [=] {
    Model trees = make({number("x")}, {number("y")}, [](spec::Model& m) { stump(m.mutable_treeensembleregressor()->mutable_treeensemble()); });
    CHECK(answer(trees, {{"x", 0.5}}) == "{\"y\": -1.5}");
    trees.mutable_proto().mutable_treeensembleregressor()->mutable_treeensemble()->mutable_nodes(0)->set_truechildnodeid(9);
    starts(answer(trees, kOne), "3: ");
  };
  all[Kind::kTreeEnsembleClassifier] = [=] {
    Model trees = make({number("x")}, {integer("label")}, [](spec::Model& m) {
      stump(m.mutable_treeensembleclassifier()->mutable_treeensemble());
      m.mutable_treeensembleclassifier()->set_postevaluationtransform(spec::Regression_Logistic);
      two_labels(m.mutable_treeensembleclassifier());
    });
    CHECK(answer(trees, kOne) == "{\"label\": 7}");
    CHECK(answer(trees, {{"x", 0.0}}) == "{\"label\": 5}");
    trees.mutable_proto().mutable_treeensembleclassifier()->mutable_int64classlabels()->add_vector(8);
    starts(answer(trees, kOne), "3: ");
  };
  all[Kind::kBayesianProbitRegressor] = [=] {
    auto probit = [](bool sampled) {
      std::vector<F> outputs{number("p"), number("mean"), number("variance"), number("low")};
      if (sampled) outputs.push_back(number("draw"));
      return make({array("x", {2}, ArrayDataType::kInt32), number("optimism")}, outputs, [=](spec::Model& m) {
        auto* p = m.mutable_bayesianprobitregressor();
        p->set_numberoffeatures(2);
        p->mutable_bias()->set_precision(1);
        for (uint32_t f : {0, 1}) {
          auto* feature = p->add_features();
          feature->set_featureid(f);
          for (uint32_t v : {3, 4}) {
            auto* weight = feature->add_weights();
            weight->set_featurevalue(v);
            weight->mutable_featureweight()->set_mean(v - 3.5);
            weight->mutable_featureweight()->set_precision(2);
          }
        }
        p->set_regressioninputfeaturename("x");
        p->set_optimisminputfeaturename("optimism");
        p->set_meanoutputfeaturename("mean");
        p->set_varianceoutputfeaturename("variance");
        p->set_pessimisticprobabilityoutputfeaturename("low");
        p->set_sampledprobabilityoutputfeaturename("draw");
      });
    };
    CHECK(answer(probit(false), {{"x", row({3, 4})}, {"optimism", 0.0}}) == "{\"low\": 0.5, \"mean\": 0, \"p\": 0.5, \"variance\": 2}");
    std::string shifted = answer(probit(false), {{"x", row({4, 4})}, {"optimism", -std::sqrt(0.5)}});
    CHECK_MESSAGE(std::stod(shifted.substr(8)) == doctest::Approx(0.5), shifted);          // "low": the mean 1 moved to 0
    CHECK_MESSAGE(shifted.find("\"p\": 0.71814856917461") != std::string::npos, shifted);  // Phi(1 / sqrt(3))
    starts(answer(probit(false), {{"x", row({4, 5})}, {"optimism", 0.0}}), "3: ");
    starts(answer(probit(true), {{"x", row({4, 4})}, {"optimism", 0.0}}), "4: ");
  };
  all[Kind::kKNearestNeighborsClassifier] = [=] {
    auto knn = [](bool tree) {
      return make({array("x", {1}, ArrayDataType::kFloat32)}, {integer("label")}, [=](spec::Model& m) {
        auto* k = m.mutable_knearestneighborsclassifier();
        auto* index = k->mutable_nearestneighborsindex();
        index->set_numberofdimensions(1);
        if (tree) index->mutable_singlekdtreeindex()->set_leafsize(30);
        else index->mutable_linearindex();
        for (float v : {0.0f, 10.0f}) index->add_floatsamples()->add_vector(v);
        k->mutable_numberofneighbors()->set_defaultvalue(1);
        k->mutable_uniformweighting();
        two_labels(k);
      });
    };
    for (bool tree : {false, true}) {
      CHECK(answer(knn(tree), {{"x", row({2})}}) == "{\"label\": 5}");
      CHECK(answer(knn(tree), {{"x", row({8})}}) == "{\"label\": 7}");
    }
    Model damaged = knn(true);
    damaged.mutable_proto().mutable_knearestneighborsclassifier()->mutable_int64classlabels()->add_vector(1);
    starts(answer(damaged, {{"x", row({2})}}), "3: ");
  };
  all[Kind::kItemSimilarityRecommender] = [=] {
    auto items = [](uint64_t other) {
      return make({dict("x", FeatureKind::kInt64)}, {list("recommended", FeatureKind::kInt64)}, [=](spec::Model& m) {
        auto* r = m.mutable_itemsimilarityrecommender();
        auto* item = r->add_itemitemsimilarities();
        item->set_itemid(0);
        item->add_similaritemlist()->set_itemid(other);
        item->mutable_similaritemlist(0)->set_similarityscore(0.5);
        for (int64_t id : {10, 20, 30}) r->mutable_itemint64ids()->add_vector(id);
        r->set_iteminputfeaturename("x");
        r->set_recommendeditemlistoutputfeaturename("recommended");
      });
    };
    CHECK(answer(items(2), {{"x", IntDict{{10, 1.0}}}}) == "{\"recommended\": [30, 20]}");
    starts(answer(items(9), {{"x", IntDict{{10, 1.0}}}}), "3: ");
  };
  all[Kind::kCustomModel] = [=] {
    Model custom = make({number("x")}, {array("z", {2})}, [](spec::Model& m) { m.mutable_custommodel()->set_classname("MyModel"); });
    apple(custom, kOne, "z", "MyModel");
  };
  all[Kind::kLinkedModel] = [=] {
    TemporaryDirectory dir;
    dir.put("scaler.mlmodel", scaler(2));
    dir.put("parts/scaler3.mlmodel", scaler(3));
    dir.put("a.mlmodel", linked("scaler.mlmodel", ""));
    dir.put("b.mlmodel", linked("scaler3.mlmodel", "/nowhere:.:parts"));
    CHECK(dir.run("a.mlmodel", kOne) == "{\"y\": 4}");
    CHECK(dir.run("b.mlmodel", kOne) == "{\"y\": 6}");
    Model first = scaler(1, "w", "x"), second = linked("a.mlmodel", ".");
    dir.put("p.mlmodel", pipeline(Kind::kPipeline, {&first, &second}, {number("w")}, {number("y")}));
    CHECK(dir.run("p.mlmodel", {{"w", 1.0}}) == "{\"y\": 6}");
    // No way out of the directory, in a circle, or nowhere.
    for (const char* name : {"../a.mlmodel", "/etc/passwd", ""}) {
      dir.put("c.mlmodel", linked(name, ""));
      starts(dir.run("c.mlmodel", kOne), "3: ");
    }
    dir.put("parts/d.mlmodel", linked("scaler.mlmodel", "..:$BUNDLE_MAIN:/tmp"));
    starts(dir.run("parts/d.mlmodel", kOne), "4: ");
    dir.put("e.mlmodel", linked("e.mlmodel", ""));
    starts(dir.run("e.mlmodel", kOne), "3: ");
    starts(answer(linked("scaler.mlmodel", ""), kOne), "3: ");  // from memory there is no directory
  };
  all[Kind::kClassConfidenceThresholding] = [=] {
    Model t = make({array("x", {2})}, {array("y", {2, 2})}, [](spec::Model& m) { m.mutable_classconfidencethresholding()->add_precisionrecallcurves(); });
    CHECK(answer(t, {{"x", row({0.2, 0.8})}}) == "{\"y\": [[0.2, 0.8], [1, 1]]}");
    starts(answer(t, {{"x", row({1, 2, 3})}}), "3: ");
  };
  all[Kind::kOneHotEncoder] = [=] {
    Model encoder = make({text("x")}, {array("y", {2})}, [](spec::Model& m) {
      for (const char* word : {"a", "b"}) m.mutable_onehotencoder()->mutable_stringcategories()->add_vector(word);
    });
    CHECK(answer(encoder, {{"x", std::string("b")}}) == "{\"y\": [0, 1]}");
    starts(answer(encoder, {{"x", std::string("c")}}), "3: ");
  };
  all[Kind::kImputer] = [=] {
    Model imputer = make({number("x")}, {number("y")}, [](spec::Model& m) { m.mutable_imputer()->set_imputeddoublevalue(7); });
    CHECK(answer(imputer, {{"x", std::nan("")}}) == "{\"y\": 7}");
    CHECK(answer(imputer, kOne) == "{\"y\": 1}");
    imputer.mutable_proto().mutable_imputer()->clear_imputeddoublevalue();
    starts(answer(imputer, kOne), "3: ");
  };
  all[Kind::kFeatureVectorizer] = [=] {
    auto vectorizer = [](uint64_t dimensions) {
      return make({number("x"), array("v", {2})}, {array("y", {3})}, [=](spec::Model& m) {
        for (const char* name : {"x", "v"}) {
          auto* column = m.mutable_featurevectorizer()->add_inputlist();
          column->set_inputcolumn(name);
          column->set_inputdimensions(*name == 'x' ? 1 : dimensions);
        }
      });
    };
    CHECK(answer(vectorizer(2), {{"x", 1.0}, {"v", row({2, 3})}}) == "{\"y\": [1, 2, 3]}");
    starts(answer(vectorizer(3), {{"x", 1.0}, {"v", row({2, 3})}}), "3: ");
  };
  all[Kind::kDictVectorizer] = [=] {
    Model vectorizer = make({dict("x", FeatureKind::kString)}, {array("y", {2})}, [](spec::Model& m) {
      for (const char* word : {"a", "b"}) m.mutable_dictvectorizer()->mutable_stringtoindex()->add_vector(word);
    });
    CHECK(answer(vectorizer, {{"x", StringDict{{"b", 4.0}, {"c", 5.0}}}}) == "{\"y\": [0, 4]}");
    starts(answer(vectorizer, kOne), "3: ");
  };
  all[Kind::kScaler] = [=] {
    CHECK(answer(scaler(3), kOne) == "{\"y\": 6}");
    Model wrong = make({array("x", {3})}, {array("y", {3})}, [](spec::Model& m) { m.mutable_scaler()->add_scalevalue(1), m.mutable_scaler()->add_scalevalue(2); });
    starts(answer(wrong, {{"x", row({1, 2, 3})}}), "3: ");
  };
  all[Kind::kCategoricalMapping] = [=] {
    Model mapping = make({text("x")}, {integer("y")}, [](spec::Model& m) { (*m.mutable_categoricalmapping()->mutable_stringtoint64map()->mutable_map())["a"] = 3; });
    CHECK(answer(mapping, {{"x", std::string("a")}}) == "{\"y\": 3}");
    starts(answer(mapping, {{"x", std::string("b")}}), "3: ");
    mapping.mutable_proto().mutable_categoricalmapping()->set_int64value(-1);
    CHECK(answer(mapping, {{"x", std::string("b")}}) == "{\"y\": -1}");
  };
  all[Kind::kNormalizer] = [=] {
    for (int norm : {0, 1, 2}) {
      Model normalizer = make({array("x", {2})}, {array("y", {2})}, [=](spec::Model& m) { m.mutable_normalizer()->set_normtype(static_cast<spec::Normalizer::NormType>(norm)); });
      const char* expected[] = {"{\"y\": [-0.75, 1]}", "{\"y\": [-0.42857142857142855, 0.5714285714285714]}", "{\"y\": [-0.6, 0.8]}"};
      CHECK(answer(normalizer, {{"x", row({-3, 4})}}) == expected[norm]);
    }
    Model unknown = make({array("x", {2})}, {array("y", {2})}, [](spec::Model& m) { m.mutable_normalizer()->set_normtype(static_cast<spec::Normalizer::NormType>(7)); });
    starts(answer(unknown, {{"x", row({-3, 4})}}), "4: ");
  };
  all[Kind::kArrayFeatureExtractor] = [=] {
    auto extractor = [](uint64_t index) {
      return make({array("x", {3})}, {number("y")}, [=](spec::Model& m) { m.mutable_arrayfeatureextractor()->add_extractindex(index); });
    };
    CHECK(answer(extractor(2), {{"x", row({1, 2, 3})}}) == "{\"y\": 3}");
    starts(answer(extractor(3), {{"x", row({1, 2, 3})}}), "3: ");
  };
  all[Kind::kNonMaximumSuppression] = [=] {
    auto nms = [](const char* confidence) {
      return make({array("scores", {2, 1}), array("boxes", {2, 4})}, {array("kept", {1, 1}), array("where", {1, 4})}, [=](spec::Model& m) {
        auto* n = m.mutable_nonmaximumsuppression();
        n->mutable_picktop()->set_perclass(false);
        n->set_iouthreshold(0.5);
        n->set_confidencethreshold(0.1);
        n->set_confidenceinputfeaturename(confidence);
        n->set_coordinatesinputfeaturename("boxes");
        n->set_confidenceoutputfeaturename("kept");
        n->set_coordinatesoutputfeaturename("where");
      });
    };
    FeatureMap in{{"scores", Tensor::from<double>({2, 1}, std::vector<double>{0.5, 0.9})}, {"boxes", Tensor::from<double>({2, 4}, std::vector<double>{0, 0, 2, 2, 0.25, 0, 2, 2})}};
    CHECK(answer(nms("scores"), in) == "{\"kept\": [[0.8999999761581421]], \"where\": [[0.25, 0, 2, 2]]}");
    starts(answer(nms(""), in), "3: ");
  };
  all[Kind::kIdentity] = [=] {
    Model identity = make({number("x")}, {number("x")}, [](spec::Model& m) { m.mutable_identity(); });
    CHECK(answer(identity, kOne) == "{\"x\": 1}");
    starts(answer(identity, {}), "3: ");
  };
  all[Kind::kTextClassifier] = [] { language([](spec::Model& m) { m.mutable_textclassifier()->set_revision(1); }); };
  all[Kind::kWordTagger] = [] { language([](spec::Model& m) { m.mutable_wordtagger()->set_revision(1); }); };
  all[Kind::kGazetteer] = [] { language([](spec::Model& m) { m.mutable_gazetteer()->set_revision(1); }); };
  all[Kind::kWordEmbedding] = [] {
    apple(make({text("text")}, {array("vector", {2})}, [](spec::Model& m) { m.mutable_wordembedding()->set_revision(1); }), {{"text", std::string("a")}}, "vector",
          "Natural Language");
  };
  all[Kind::kVisionFeaturePrint] = [] {
    Image picture;
    picture.width = picture.height = 299, picture.channels = 3;
    picture.pixels = Tensor::zeros(DType::kU8, {299, 299, 3});
    apple(make({image("picture")}, {array("print", {2})},
               [](spec::Model& m) { m.mutable_visionfeatureprint()->mutable_scene()->set_version(spec::CoreMLModels::VisionFeaturePrint_Scene_SceneVersion_SCENE_VERSION_1); }),
          {{"picture", picture}}, "print", "VisionFeaturePrint");
  };
  all[Kind::kAudioFeaturePrint] = [] {
    apple(make({array("samples", {3})}, {array("print", {2})},
               [](spec::Model& m) { m.mutable_audiofeatureprint()->mutable_sound()->set_version(spec::CoreMLModels::AudioFeaturePrint_Sound_SoundVersion_SOUND_VERSION_1); }),
          {{"samples", row({1, 2, 3})}}, "print", "AudioFeaturePrint");
  };
  all[Kind::kSoundAnalysisPreprocessing] = [=] {
    Model sound = make({array("x", {15600}, ArrayDataType::kFloat32)}, {array("y", {1, 96, 64}, ArrayDataType::kFloat32)},
                       [](spec::Model& m) { m.mutable_soundanalysispreprocessing()->mutable_vggish(); });
    std::vector<double> silence(15600, 0.0), tone(15600);
    for (size_t i = 0; i < tone.size(); ++i) tone[i] = std::sin(2 * 3.14159265358979 * 1000.0 * static_cast<double>(i) / 16000.0);
    std::string quiet = answer(sound, {{"x", row(silence)}});
    CHECK(quiet.find("{\"y\": [[[-4.6051702, -4.6051702,") == 0);  // log 0.01
    std::string loud = answer(sound, {{"x", row(tone)}});
    CHECK(loud != quiet);
    starts(answer(sound, {{"x", row({1, 2})}}), "3: ");
    sound.mutable_proto().mutable_soundanalysispreprocessing()->clear_vggish();
    starts(answer(sound, {{"x", row(silence)}}), "4: ");
  };
  all[Kind::kSerializedModel] = [] {
    Model model = make({number("x")}, {array("z", {2})}, [](spec::Model& m) {
      m.mutable_serializedmodel()->set_identifier("com.example.model");
      m.mutable_serializedmodel()->set_model("bytes");
    });
    apple(model, kOne, "z", "com.example.model");
  };
  return all;
}

}  // namespace

TEST_CASE("every classic type: one that answers, one that is refused") {
  auto all = cases();
  int types = 0;
  for (int number = 1; number < 4000; ++number) {
    auto kind = static_cast<ModelKind>(number);
    if (model_kind_name(kind).empty()) continue;
    ++types;
    if (!is_classic(kind)) continue;  // networks and programs have tests for every layer and operation
    INFO(model_kind_name(kind));
    REQUIRE_MESSAGE(all.count(kind), "a type without a case");
    all[kind]();
  }
  CHECK(types == 37);
}
