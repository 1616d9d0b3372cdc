// Classic learners from their own files: bytes -> a Core ML model of trees, linear models, support vectors, nearest
// neighbours, feature engineering and small networks, or a pipeline of these. The table of formats is in learner.cc.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/coreml/model.h"
#include "lib/estimators/estimator.h"

namespace mlt::foreign {

struct LearnerOptions {
  // Inputs: one array (nothing given), or one scalar feature per name. `model_names`: the names that the file holds.
  std::vector<std::string> feature_names;
  bool model_names = false;
  std::optional<mlt::Labels> labels;  // instead of the file's, in the file's order of classes
  std::vector<std::pair<std::string, std::string>> output_names;  // from, to; an empty `from` counts outputs in order
  coreml::Metadata metadata;
};

struct LearnedModel {
  coreml::Model model;
  std::vector<std::string> warnings;
};

struct Learner {
  std::string_view name;  // "sklearn"
  bool (*detect)(ByteSpan bytes);
  // kInput: damaged, or refused because it would run code. kUnsupported: says which class, objective or option.
  Result<LearnedModel> (*convert)(const Blob& bytes, const LearnerOptions& options);
};

const std::vector<Learner>& learners();
// By name, or by content when name is empty; null when it is none of them.
const Learner* find_learner(const std::string& name, ByteSpan bytes);

// What each format covers, for --list-ops: (format, class or objective, limits).
struct LearnerCoverage {
  std::string_view format, name, note;
};
std::vector<LearnerCoverage> learner_coverage();

}  // namespace mlt::foreign
