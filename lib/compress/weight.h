// One weight of an ML program, compressed: the constexpr ops that give it back, in the forms of the opset.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "lib/compress/config.h"
#include "lib/compress/measure.h"
#include "lib/ir/type.h"

namespace mlt::compress {

// What the ops that use a weight say about it.
struct WeightUse {
  int output_axis = 0, input_axis = 1;  // of channels; -1: the ops disagree
  bool structured = false;              // weight of conv and linear only: what blocks and patterns are for
  int64_t conv_groups = 1;
};

// One constexpr op. Its parameters are constants, or outputs of ops before it.
struct Part {
  std::string kind, suffix;
  std::vector<std::pair<std::string, Tensor>> constants;
  struct Link {
    std::string parameter;
    size_t part, output;
  };
  std::vector<Link> links = {};
  std::vector<ir::Type> outputs = {};
};

struct Encoded {
  std::vector<Part> parts;  // the last one gives the weight; none: the weight stays
  std::string form;         // "int8 symmetric, 64 scales"; why it stays
  Distance distance;
};

// The oldest opset that has what the recipe makes.
ops::Opset needed_opset(const Recipe& recipe);

// weight: fp16 or fp32.
Encoded encode(const Tensor& weight, const Recipe& recipe, const WeightUse& use, ops::Opset opset);

}  // namespace mlt::compress
