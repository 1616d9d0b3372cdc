// What was done, weight by weight.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "lib/compress/measure.h"
#include "lib/tensor/tensor.h"

namespace mlt::compress {

struct WeightReport {
  std::string stage;     // of a pipeline: "stage 1", else empty
  std::string function;  // ML programs
  std::string name;      // "conv_1_weight"; neural networks: "layer/weights"
  std::string used_by;   // kind of the op or layer: "conv"
  std::string form;      // "int8 symmetric, 64 scales", "4-bit palette", "fp16"; of what stays: why
  Dims dims;
  int64_t elements = 0;
  uint64_t bytes_before = 0, bytes_after = 0;
  bool changed = false;
  Distance distance;
};

struct Report {
  std::string method;                  // "linear int8 symmetric per channel"
  std::vector<WeightReport> weights;   // every float weight of more than nine elements, in order
  std::vector<std::string> notes;      // "function main: opset CoreML5 becomes CoreML6 (iOS16)"
  std::vector<std::string> warnings;
  std::vector<std::pair<std::string, std::string>> sections;  // further members: name, JSON text
  uint64_t bytes_before() const;
  uint64_t bytes_after() const;
  size_t changed() const;
  // JSON, schema "mltools.quantize" version 1; the fields are those of the manual.
  std::string json() const;
  // The same as a page that needs nothing but itself.
  std::string html() const;
};

}  // namespace mlt::compress
