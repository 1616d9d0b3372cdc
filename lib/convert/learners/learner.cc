// The table of formats.
#include "lib/convert/learners/learner.h"

#include "lib/convert/libsvm/libsvm.h"
#include "lib/convert/lightgbm/lightgbm.h"
#include "lib/convert/onnx/pipeline.h"
#include "lib/convert/sklearn/sklearn.h"
#include "lib/convert/xgboost/xgboost.h"

namespace mlt::foreign {

const std::vector<Learner>& learners() {
  static const std::vector<Learner> table = {
      {"sklearn", sklearn::looks_like_sklearn, sklearn::convert_sklearn},
      {"xgboost", xgboost::looks_like_xgboost, xgboost::convert_xgboost},
      {"lightgbm", lightgbm::looks_like_lightgbm, lightgbm::convert_lightgbm},
      {"libsvm", libsvm::looks_like_libsvm, libsvm::convert_libsvm},
      {"onnx-ml", onnx::needs_pipeline, onnx::convert_pipeline},
  };
  return table;
}

const Learner* find_learner(const std::string& name, ByteSpan bytes) {
  for (const Learner& learner : learners())
    if (name.empty() ? learner.detect(bytes) : learner.name == name) return &learner;
  return nullptr;
}

std::vector<LearnerCoverage> learner_coverage() {
  std::vector<LearnerCoverage> list;
  sklearn::add_coverage(list);
  xgboost::add_coverage(list);
  lightgbm::add_coverage(list);
  libsvm::add_coverage(list);
  onnx::add_coverage(list);
  return list;
}

}  // namespace mlt::foreign
