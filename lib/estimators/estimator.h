// The one shape of a classic model: features in, features out. Trees, linear models, SVMs, nearest neighbours,
// feature engineering and pipelines of them are each an Estimator over plain structs; lib/coreml/classic.h makes them
// from a model.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/estimators/feature.h"
#include "lib/estimators/rows.h"

namespace mlt {

class Estimator {
 public:
  virtual ~Estimator() = default;
  // Outputs only. Features that the model does not name are ignored. Safe from several threads at once.
  virtual Result<FeatureMap> predict(const FeatureMap& inputs) const = 0;
  // Names of features that a caller may give in place of stages that cannot run here.
  virtual std::vector<std::string> missing_features() const { return {}; }
  // One result per record, in order; records run in parallel.
  std::vector<Result<FeatureMap>> predict_many(std::span<const FeatureMap> records) const;
  // True for models that predict rows of `width` numbers (the inputs as gather_numbers() lays them) at once.
  virtual bool takes_rows(int64_t width) const;
  // Bit for bit what predict() gives for each row. Only when takes_rows(); every row has at least `width` numbers.
  virtual Result<FeatureBatch> predict_rows(const Rows& rows) const;
};

// Inputs and outputs as an estimator needs to know them: the model's description without the prose.
enum class PortType : uint8_t { kInt, kDouble, kString, kArray, kImage, kIntDict, kStringDict, kIntList, kStringList, kOther };

struct Port {
  std::string name;
  PortType type = PortType::kOther;
  bool optional = false;
  DType dtype = DType::kF64;  // kArray
  Dims shape;                 // kArray, kImage (height, width); may be empty: not stated
  int64_t min_rows = 0, max_rows = -1;  // kArray: bounds of the first axis when flexible; -1 unbounded
};

struct Interface {
  std::vector<Port> inputs, outputs;
  std::string predicted_feature;        // empty: the first int64 or string output (classifiers), the first output (regressors)
  std::string predicted_probabilities;  // empty: the first dictionary output, if any
  const Port* output(std::string_view name) const;
};

// Class labels: strings or integers.
struct Labels {
  bool integers = false;
  std::vector<std::string> strings;
  std::vector<int64_t> ints;
  size_t size() const { return integers ? ints.size() : strings.size(); }
  FeatureValue at(size_t i) const;
  int compare(size_t i, size_t j) const;  // by value: < 0, 0, > 0
};

// The inputs of a numeric model (numbers and multi-arrays) laid one after the other, in the interface's order. An
// optional input that is not given is NaN (missing); a required one is an error. A dictionary from int64 to number is a
// sparse vector of `width` elements. With width >= 0 the total must be at least that (width 0 accepts anything).
Result<std::vector<double>> gather_numbers(const Interface& interface, const FeatureMap& features, int64_t width);

// predicted_feature = labels.at(best) and, when declared, the dictionary of probabilities (one per label).
Result<FeatureMap> classifier_outputs(const Interface& interface, const Labels& labels, size_t best, std::span<const double> probabilities);
// The regression target, as the type the interface declares: one number, or a multi-array.
Result<FeatureMap> regressor_outputs(const Interface& interface, std::span<const double> values);

// The outputs above as columns of a batch. nullopt when they have a form that batches do not hold (a label of another type
// than declared, labels that repeat).
std::optional<FeatureBatch> classifier_columns(const Interface& interface, const Labels& labels);
std::optional<FeatureBatch> regressor_columns(const Interface& interface, size_t width);
// The values of row i of such a batch, whose columns have room for it.
void set_classifier_row(FeatureBatch& batch, int64_t i, size_t best, std::span<const double> probabilities);
void set_regressor_row(FeatureBatch& batch, int64_t i, std::span<const double> values);
void make_room(FeatureBatch& batch, int64_t count);

// Numbers as the declared type of an output: int64 (must be whole), double, or a multi-array of the declared element
// type, in the declared shape when its extents match, else one axis.
Result<FeatureValue> shaped_numbers(const Port& port, std::span<const double> values);
// Adapts a value to a declared type where that loses nothing: number kinds, array element types.
Result<FeatureValue> adapt(const Port& port, const FeatureValue& value);

// Index of the largest value, the first of equals.
size_t arg_max(std::span<const double> values);
double logistic(double x);
double normal_cdf(double x);
// values <- softmax(values), numerically safe.
void softmax_in_place(std::span<double> values);

}  // namespace mlt
