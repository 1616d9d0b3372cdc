// What the validators of all model kinds share: collecting findings, and checks on lists of features.
#pragma once
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "lib/coreml/description.h"
#include "lib/coreml/validate.h"

namespace CoreML::Specification {
class Model;
}

namespace mlt::coreml {

class Checker {
 public:
  Checker(std::vector<Finding>* findings, const WeightSource* weights) : findings_(findings), weights_(weights) {}
  const WeightSource* weights() const { return weights_; }  // may be null

  void error(std::string message) { add(Severity::kError, std::move(message)); }
  void warning(std::string message) { add(Severity::kWarning, std::move(message)); }
  // Message when the condition does not hold.
  bool require(bool condition, const char* message) {
    if (!condition) error(message);
    return condition;
  }
  // Room for more; loops over hostile data stop when there is none.
  bool full() const { return findings_->size() >= kMaxFindings; }

  // Findings made while it lives are at this place, inside the outer ones.
  class Place {
   public:
    Place(Checker& checker, std::string name) : checker_(checker) { checker_.places_.push_back(std::move(name)); }
    ~Place() { checker_.places_.pop_back(); }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    Checker& checker_;
  };

  // At most `most` features (0: any number), each of one of the kinds.
  void features(const char* what, const std::vector<FeatureDescription>& features, size_t most,
                std::initializer_list<FeatureKind> kinds);
  // A feature of that name exists and has one of the kinds.
  void feature(const char* what, const std::vector<FeatureDescription>& features, const std::string& name,
               std::initializer_list<FeatureKind> kinds);

 private:
  static constexpr size_t kMaxFindings = 1000;
  void add(Severity severity, std::string message);

  std::vector<Finding>* findings_;
  const WeightSource* weights_;
  std::vector<std::string> places_;
};

// The interface: names, types, versions, functions, optional inputs, updatability.
void check_interface(const Model& model, Checker& check);
void check_regressor_interface(const Description& description, Checker& check);
// label_count and integer_labels are those of the body; labels_optional: the body may have none.
void check_classifier_interface(const Description& description, const Model::ClassLabels& labels, bool labels_optional,
                                bool default_is_integer, Checker& check);

// Bodies, by kind. Each expects a model of its kind.
void check_pipeline(const Model& model, Checker& check, int depth);
void check_glm(const Model& model, Checker& check);
void check_svm(const Model& model, Checker& check);
void check_knn(const Model& model, Checker& check);
void check_tree_ensemble(const Model& model, Checker& check);
void check_feature_engineering(const Model& model, Checker& check);
void check_apple_model(const Model& model, Checker& check);  // text, vision, sound: data that the system interprets
void check_other(const Model& model, Checker& check);        // custom, linked, thresholding, recommender, NMS, probit
void check_neural_network(const Model& model, Checker& check);
void check_ml_program(const Model& model, Checker& check);

// One model of whatever kind, its stages included.
void check_model(const Model& model, Checker& check, int depth);

}  // namespace mlt::coreml
