// Palettes: values become indices into small tables.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lib/compress/config.h"
#include "lib/compress/measure.h"
#include "lib/tensor/tensor.h"

namespace mlt::compress {

struct PaletteOptions {
  Palette::Mode mode = Palette::Mode::kKMeans;
  int bits = 4;               // kUnique: any, from `choices`; kCustom: from the table
  std::vector<int> choices = {1, 2, 3, 4, 6, 8};
  bool half = false;          // table entries are float16 values
  int axis = 0;               // of groups and vectors
  int64_t group = 0;          // channels to a table, dividing the axis; 0: all
  int vector = 1;             // dividing group
  std::span<const float> table = {};  // kCustom
  // Each channel's values count so much: the squared error is that of value * scale. None: all alike.
  std::span<const float> channel_scale = {};
  // 0 where the value is not stored. None: all are. Of a vector all are, or none is.
  std::span<const uint8_t> kept = {};
  // The values as float16 bits, where they are that: counting them needs no conversion.
  std::span<const uint16_t> bits_of_values = {};
};

struct PaletteCodes {
  int bits = 4, vector = 1;
  int64_t groups = 1, entries = 16;
  Dims dims;                   // of the codes: the values', the axis shortened by `vector`
  std::vector<uint8_t> codes;  // row-major; 0 where nothing is stored
  std::vector<float> tables;   // groups x entries x vector; what is used ascending (scalars), the rest 0
  // The values that stand for elements [begin, end).
  void decode(size_t begin, size_t end, float* out) const;

  int64_t extent = 1, inner = 1, group = 1;  // of the values: along the axis, behind it; channels to a table
};

// values: finite, row-major of extents dims. adjust: may change the tables before codes are given to the nearest
// entries. nullopt: more than 256 distinct values (kUnique).
std::optional<PaletteCodes> palettize(std::span<const float> values, const Dims& dims, const PaletteOptions& options,
                                      const std::function<void(PaletteCodes&)>& adjust = {});

}  // namespace mlt::compress
