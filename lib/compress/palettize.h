// Palettes: each weight becomes an index into a small table of values.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "lib/compress/measure.h"

namespace mlt::compress {

struct Palette {
  std::vector<uint8_t> codes;  // one per value, below 1 << bits
  std::vector<float> table;    // 1 << bits entries: the used ones ascending, the others 0
  Distance distance;
};

// The table of least mean squared error (kmeans.h). values: finite. half: table entries are float16 values.
Palette palettize(std::span<const float> values, int bits, bool half);

}  // namespace mlt::compress
