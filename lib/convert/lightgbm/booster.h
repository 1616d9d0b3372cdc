// A LightGBM model as its two formats give it. Internal to lib/convert/lightgbm and readers of pickled wrappers.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "lib/convert/learners/assembly.h"

namespace mlt::foreign::lightgbm {

enum class Missing : uint8_t { kNone, kZero, kNan };

struct Tree {
  struct Node {
    int64_t feature = 0;
    double threshold = 0;
    bool categorical = false, default_left = false;
    Missing missing = Missing::kNone;
    std::vector<uint8_t> left_categories;
    int32_t left = 0, right = 0;  // >= 0: node; < 0: leaf ~index
  };
  std::vector<Node> nodes;  // empty: one leaf
  std::vector<double> leaves;
};

struct Booster {
  std::string objective;  // "binary", with what follows in `parameters`
  std::vector<std::string> parameters;
  int64_t classes = 1, trees_per_iteration = 1, features = 0;
  bool average = false, pandas_categories = false;
  std::vector<std::string> names;
  std::vector<Tree> trees;
};

// Throw LearnError.
Booster read_text(std::string_view text);
Booster read_json(std::string_view text);
LearnedModel convert_booster(const Booster& booster, const LearnerOptions& options, std::optional<mlt::Labels> labels);

}  // namespace mlt::foreign::lightgbm
