// Classic models from the plain structs of lib/estimators: the way back of classic.h. Each function sets the body of a
// model and leaves its description alone.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/coreml/model.h"
#include "lib/estimators/glm.h"
#include "lib/estimators/knn.h"
#include "lib/estimators/preprocess.h"
#include "lib/estimators/svm.h"
#include "lib/estimators/tree_ensemble.h"

namespace mlt::coreml {

void write_tree_regressor(Model& model, const TreeEnsembleParams& params);
void write_tree_classifier(Model& model, const TreeEnsembleParams& params, const Labels& labels);
void write_glm_regressor(Model& model, const LinearParams& params);
void write_glm_classifier(Model& model, const LinearParams& params, const Labels& labels);
void write_svm_regressor(Model& model, const SvmParams& params);
void write_svm_classifier(Model& model, const SvmParams& params, const Labels& labels);
void write_knn_classifier(Model& model, const KnnParams& params, const Labels& labels);
void write_feature_vectorizer(Model& model, const std::vector<VectorizerColumn>& columns);
void write_one_hot_encoder(Model& model, const Labels& categories, bool ignore_unknown);
void write_dict_vectorizer(Model& model, const std::vector<std::string>& keys);
void write_imputer(Model& model, const std::vector<double>& values, double missing);
void write_string_imputer(Model& model, const std::string& value, const std::string& missing);
void write_scaler(Model& model, const std::vector<double>& shift, const std::vector<double>& scale);
void write_normalizer(Model& model, Norm norm);
void write_array_feature_extractor(Model& model, const std::vector<uint64_t>& indices);
void write_string_mapping(Model& model, const std::vector<std::pair<std::string, int64_t>>& to_int, std::optional<int64_t> unknown);

// A small neural network (specification 4, arrays as they are): what no classic model can say. Values are named by the
// functions; all arithmetic is float32.
class NetworkWriter {
 public:
  using Ref = std::string;
  NetworkWriter();
  ~NetworkWriter();
  // y = W x + b on the last axis; weights are [outputs, inputs] row by row.
  Ref inner_product(const Ref& x, int64_t inputs, int64_t outputs, const std::vector<float>& weights, const std::vector<float>& bias);
  Ref constant(const std::vector<int64_t>& dims, const std::vector<float>& values);
  // "relu", "tanh", "sigmoid", "exp", "log", "abs", "square", "rsqrt", "softplus"
  Ref unary(const std::string& kind, const Ref& x);
  Ref clip(const Ref& x, float low, float high);
  // "add", "subtract", "multiply", "divide"; broadcasting.
  Ref binary(const std::string& kind, const Ref& x, const Ref& y);
  Ref softmax(const Ref& x);                       // last axis
  Ref sum(const Ref& x, int64_t axis, bool keep);  // over one axis
  Ref expand(const Ref& x, int64_t axis);
  std::pair<Ref, Ref> smallest(const Ref& x, int64_t count);  // values and indices along the last axis, ascending
  Ref gather(const Ref& x, const Ref& indices);               // along axis 0
  // The last layer's first output becomes `output`. With labels: a classifier over that layer.
  void finish(Model& model, const std::string& output, const Labels* labels = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mlt::coreml
