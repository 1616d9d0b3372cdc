// How the inputs of a model lie in a row of numbers, for models that predict many rows at once.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "lib/coreml/description.h"

namespace mlt {

struct RowPlan {
  struct Input {
    std::string name;
    int64_t offset = 0, width = 1;
    bool number = false;  // a double; else an array of `shape`
    bool single = false;  // described as float32: values are rounded to that
    std::vector<int64_t> shape;
  };
  std::vector<Input> inputs;
  int64_t width = 0;
  bool all_single() const {
    for (const Input& input : inputs)
      if (!input.single) return false;
    return true;
  }
};

// nullptr-like (width 0) when some input is no number and no float array of one fixed shape.
RowPlan plan_rows(const std::vector<coreml::FeatureDescription>& inputs);

}  // namespace mlt
