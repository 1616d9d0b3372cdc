// Many records at once as rows of numbers: the form in which trees and linear models predict fast. A row is what
// gather_numbers() makes of a record; answers are columns, and record(i) is what predict() would have given.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/estimators/feature.h"

namespace mlt {

struct Labels;

// `count` rows, the first number of each `stride` apart; one of f32 and f64 is set. NaN is a missing value. The numbers need
// not be aligned: number_at() and kernels read them.
struct Rows {
  const float* f32 = nullptr;
  const double* f64 = nullptr;
  int64_t count = 0, stride = 0;
};

// Outputs of many records, one column for each output feature, ascending by name.
struct FeatureBatch {
  enum class Kind : uint8_t {
    kDouble,   // values: one for each record
    kArray,    // values: `width` for each record, in `shape` and of `dtype`
    kLabel,    // indices into `labels`
    kDict,     // values: `width` for each record; labels->at(order[k]) is the key of the k-th, ascending
  };
  struct Column {
    std::string name;
    Kind kind = Kind::kDouble;
    int64_t width = 1;
    DType dtype = DType::kF64;
    Dims shape;
    std::shared_ptr<const Labels> labels;
    std::vector<size_t> order;
    std::vector<double> values;
    std::vector<uint32_t> indices;
  };
  int64_t count = 0;
  std::vector<Column> columns;

  FeatureMap record(int64_t i) const;
  // All records stacked along a new first axis; a dictionary becomes "name" and "name.keys", both [count, width], or with
  // keys_once the keys [width].
  std::vector<std::pair<std::string, Tensor>> arrays(bool keys_once = false) const;
};

}  // namespace mlt
