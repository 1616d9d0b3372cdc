// A booster as its three file formats give it. Internal to lib/convert/xgboost and to readers of pickled wrappers.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/bytes.h"

namespace mlt::foreign::xgboost {

struct Tree {
  std::vector<int32_t> left, right;       // -1: leaf
  std::vector<uint32_t> feature;
  std::vector<float> value;               // threshold, or the leaf's value
  std::vector<uint8_t> default_left, categorical;
  std::vector<std::vector<int32_t>> right_categories;  // of categorical nodes: these go right
};

struct Booster {
  enum class Kind { kTrees, kLinear } kind = Kind::kTrees;
  std::string objective;
  int64_t features = 0, classes = 0, targets = 1;
  std::vector<double> base;    // one, or one per output
  bool base_is_vector = false;  // written by 3.1 and newer
  bool base_is_margin = false;  // files of before 1.0
  std::vector<Tree> trees;
  std::vector<int32_t> group;      // output of each tree
  std::vector<float> tree_weight;  // dart; else empty
  std::vector<float> linear;       // (features + 1) x outputs, the bias last
  std::vector<std::string> names, types;
  std::string version, best_iteration;
  int64_t outputs() const { return classes > 1 ? classes : targets > 1 ? targets : 1; }
};

// Throw LearnError.
Booster read_binary(ByteSpan bytes);
Booster read_json(const nlohmann::json& model);
Booster read_booster(ByteSpan bytes);  // any of the three, and the serialised form that pickles hold

}  // namespace mlt::foreign::xgboost
