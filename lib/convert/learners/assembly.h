// Puts a Core ML model together stage by stage. Frontends say what is computed from what; this class names features,
// describes interfaces, and makes a single model or a pipeline of the stages.
//
// Inside a frontend, problems are thrown as LearnError; run_learner() turns them into a Result.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/convert/learners/learner.h"
#include "lib/coreml/classic_write.h"

namespace mlt::foreign {

struct LearnError {
  Error error;
};
[[noreturn]] void refuse(std::string what, std::string hint = {});  // kUnsupported
[[noreturn]] void damaged(std::string what);                         // kInput

// Runs body and catches what it throws, std::bad_alloc included.
Result<LearnedModel> run_learner(const std::function<LearnedModel()>& body);

// A row of numbers at some place of the pipeline.
struct Vec {
  std::string name;
  int64_t width = 0;
  bool columns = false;  // not an array yet: the model's scalar inputs, all of them in order
};

class Assembly {
 public:
  Assembly(const LearnerOptions& options, bool missing_allowed = false) : options_(options), missing_allowed_(missing_allowed) {}

  // Declares the inputs: `width` numbers, under these names when the file holds some.
  Vec numbers(int64_t width, const std::vector<std::string>& names);
  // Declares one input of any type.
  std::string input(const std::string& name, coreml::FeatureType type);

  // Stages. Arrays of doubles in and out.
  Vec trees(Vec x, const TreeEnsembleParams& params);
  Vec linear(Vec x, const LinearParams& params);
  Vec svm(Vec x, const SvmParams& params);  // regression
  Vec scale(Vec x, const std::vector<double>& shift, const std::vector<double>& scale);
  Vec normalize(Vec x, Norm norm);
  Vec impute(Vec x, const std::vector<double>& values, double missing);
  Vec extract(Vec x, const std::vector<uint64_t>& indices);
  Vec concat(const std::vector<Vec>& parts);
  Vec network(Vec x, int64_t width, const std::function<void(coreml::NetworkWriter&, const std::string& x)>& build);
  Vec one_hot(const std::string& feature, const std::vector<std::string>& categories, bool ignore_unknown);
  Vec dictionary(const std::string& feature, const std::vector<std::string>& keys);
  Vec string_codes(const std::string& feature, const std::vector<std::pair<std::string, int64_t>>& codes, std::optional<int64_t> unknown);
  std::string impute_string(const std::string& feature, const std::string& value, const std::string& missing);
  Vec scalar(const std::string& feature) { return vectorize({feature}); }  // a double feature as an array of one
  Vec vectorize(const std::vector<std::string>& features);
  void order_inputs(const std::vector<std::string>& names);  // of input(): in the order of the names

  // The last stage.
  void regression(Vec y);
  void svm_regression(Vec x, const SvmParams& params);
  void transformation(Vec y);
  void tree_classifier(Vec x, const TreeEnsembleParams& params, mlt::Labels labels, bool probabilities = true);
  void glm_classifier(Vec x, const LinearParams& params, mlt::Labels labels, bool probabilities);
  // Labels by votes, as LIBSVM does without -b; probabilities, when there are any, from a model beside it.
  void svm_classifier(Vec x, const SvmParams& params, mlt::Labels labels, bool label_by_votes);
  void knn_classifier(Vec x, const KnnParams& params, mlt::Labels labels);
  void network_classifier(Vec x, const std::function<void(coreml::NetworkWriter&, const std::string& x)>& build, mlt::Labels labels);
  // Probabilities given as an array, one a class.
  void pick_classifier(Vec probabilities, mlt::Labels labels);

  mlt::Labels chosen(mlt::Labels labels) const;  // those of the options instead, when given
  void warn(std::string text) { warnings_.push_back(std::move(text)); }
  LearnedModel finish(const std::string& description);

 private:
  struct Stage {
    std::string name;
    coreml::Model model;
  };
  using Feature = coreml::FeatureDescription;
  Stage& add(const std::string& name, std::vector<Feature> inputs, std::vector<Feature> outputs);
  std::vector<Feature> inputs_of(const Vec& x, bool optional = false);
  Vec array(Vec x);  // columns become an array
  Vec result(int64_t width);
  std::string output(const std::string& name);

  Stage& classifier(const std::string& name, std::vector<Feature> inputs, const mlt::Labels& labels, bool probabilities);

  const LearnerOptions& options_;
  bool missing_allowed_;
  std::vector<Feature> inputs_, outputs_;
  std::string predicted_, probabilities_;
  enum class Kind { kTransform, kRegressor, kClassifier } kind_ = Kind::kTransform;
  std::vector<std::unique_ptr<Stage>> stages_;
  std::vector<std::string> warnings_;
  std::map<std::string, bool> used_names_;
  size_t next_ = 0, next_output_ = 0;
  Vec columns_array_;
};

// Thresholds for sources that round a feature to float32 before they compare it. The feature of the model stays a
// double: `x <= le_float(t)` holds exactly when `float(x) <= t`, and `x < lt_float(t)` when `float(x) < t`.
double le_float(double threshold);
double lt_float(float threshold);

// Membership of one feature in a set of intervals: a split that Core ML's trees cannot ask without a copy of the subtree
// per interval (several categories; zero as missing). One tree ensemble in front tests all sets, each a column that is 1
// inside and 0 outside; the trees behind compare that column with 0.5.
class IntervalSets {
 public:
  struct Set {
    uint64_t feature = 0;
    std::vector<double> bounds;    // ascending
    std::vector<uint8_t> inside;   // one more: of x < bounds[0], bounds[0] <= x < bounds[1], ...
    bool missing = false;          // of NaN
    bool operator==(const Set&) const = default;
  };
  struct Categories {
    uint64_t feature = 0;
    std::vector<uint8_t> members;  // by category, which is x truncated towards zero: 1 inside
    bool negative = false, beyond = false, missing = false;  // membership of what is no category, and of NaN
    bool zero_from_below = false;  // -1 < x < 0 counts as category 0
    bool rounds_to_float = false;  // x is rounded to float32 first
  };
  // Index of the column, counted from 0; equal sets may share one.
  uint64_t add(Set set);
  uint64_t add(const Categories& categories);
  bool empty() const { return sets_.empty(); }
  // x with the columns appended: column i is feature x.width + i.
  Vec append(Assembly& assembly, Vec x) const;

 private:
  std::vector<Set> sets_;
};

// Leaves and branches with ids counted per tree.
struct TreeAdder {
  TreeEnsembleParams& params;
  uint64_t tree;
  void branch(uint64_t id, TreeEnsembleParams::Branch kind, uint64_t feature, double value, uint64_t yes, uint64_t no, bool missing_yes);
  void leaf(uint64_t id, std::vector<std::pair<uint64_t, double>> values);
};

// A step function of one feature as a tree: values[k] where bounds[k-1] <= x < bounds[k] (closed_above: < and <=); bounds
// ascend, and there is one value more than bounds.
void add_steps(TreeEnsembleParams& params, uint64_t tree, uint64_t feature, const std::vector<double>& bounds,
               const std::vector<std::vector<std::pair<uint64_t, double>>>& values, const std::vector<std::pair<uint64_t, double>>& missing, bool closed_above = false);

}  // namespace mlt::foreign
