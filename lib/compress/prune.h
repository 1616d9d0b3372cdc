// Pruning: which values of a weight become zero. Rules and their arithmetic are those of coremltools' prune_weights.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/compress/config.h"
#include "lib/tensor/tensor.h"

namespace mlt::compress {

struct Pruned {
  std::vector<uint8_t> kept;  // 1: stays; 0: is or becomes zero
  int64_t count = 0;          // of what stays
  std::string refused;        // why the weight cannot be pruned so; then the rest is empty
};

// values: finite, row-major of extents dims (two or more axes for blocks and patterns). half: they are float16, and so is
// all arithmetic.
Pruned prune(std::span<const float> values, const Dims& dims, const Prune& how, bool half = false);

}  // namespace mlt::compress
