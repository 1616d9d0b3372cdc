// Feature engineering: each transforms one value (the vectorizer and the identity: several) into another. Sources: the
// .proto of each.
#pragma once
#include <map>
#include <optional>
#include <vector>

#include "lib/estimators/estimator.h"

namespace mlt {

// Numbers, arrays and sparse dictionaries (int64 -> number) laid one after the other; dimensions[i] values for inputs[i].
struct VectorizerColumn {
  std::string input;
  uint64_t dimensions = 0;
};
Result<std::unique_ptr<Estimator>> make_feature_vectorizer(Interface interface, std::vector<VectorizerColumn> columns);

// categories in order; ignore_unknown: all zeros, else an unknown category is an error. sparse: a dictionary {index: 1}.
Result<std::unique_ptr<Estimator>> make_one_hot_encoder(Interface interface, Labels categories, bool sparse, bool ignore_unknown);

struct ImputerParams {
  FeatureValue imputed;                 // int64, double, string, array (as a double tensor), or a dictionary
  std::optional<FeatureValue> missing;  // what counts as missing: double (may be NaN), int64 or string; default NaN
};
Result<std::unique_ptr<Estimator>> make_imputer(Interface interface, ImputerParams params);

// (x + shift) * scale; each of one value, as many as x has, or none.
Result<std::unique_ptr<Estimator>> make_scaler(Interface interface, std::vector<double> shift, std::vector<double> scale);

enum class Norm : uint8_t { kMax, kL1, kL2 };  // kMax: the largest absolute value
Result<std::unique_ptr<Estimator>> make_normalizer(Interface interface, Norm norm);

// keys in order of their place in the output; keys of the input that are not there are ignored.
Result<std::unique_ptr<Estimator>> make_dict_vectorizer(Interface interface, Labels keys);

struct CategoricalParams {
  std::map<std::string, int64_t> to_int;
  std::map<int64_t, std::string> to_string;
  bool from_string = true;
  std::optional<FeatureValue> unknown;
};
Result<std::unique_ptr<Estimator>> make_categorical_mapping(Interface interface, CategoricalParams params);

// One index gives a scalar, several an array.
Result<std::unique_ptr<Estimator>> make_array_feature_extractor(Interface interface, std::vector<uint64_t> indices);

Result<std::unique_ptr<Estimator>> make_identity(Interface interface);

// [C] confidences -> [2, C]: the confidences, and 1 for each class.
Result<std::unique_ptr<Estimator>> make_class_confidence_thresholding(Interface interface);

}  // namespace mlt
