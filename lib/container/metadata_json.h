// metadata.json of compiled models: what `coremlcompiler metadata` prints. Content, spelling and order of keys follow
// reference mlmodelc.md section 3.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/coreml/model.h"
#include "lib/ir/graph.h"

namespace mlt {

// Counts by name, in order of first occurrence.
using Histogram = std::vector<std::pair<std::string, int64_t>>;

// What the metadata says of a body: an ML program's functions, a network's layers, or a pipeline's stages together.
struct BodySummary {
  Histogram operations;  // "Ios17.conv"; ML programs
  Histogram layers;      // "Convolution"; neural networks
  // "Float16", "Mixed (Float16, Int32)"; empty: not said.
  std::string compute_precision, storage_precision;
};
BodySummary summarize(const ir::Function& function);
// All functions together.
BodySummary summarize(const ir::Program& program);
BodySummary summarize_network(const coreml::Model& model);

// Least versions of the systems whose Core ML opens a specification version; null for a version that is not known.
struct Availability {
  int spec;
  const char *macos, *ios, *watchos, *visionos;  // iOS, macCatalyst and tvOS share a number; visionos may be ""
};
const Availability* availability_of(int spec_version);

// Name of an operation in the histogram: "Ios17.sliceByIndex", "Pad". The number is the newest definition in Apple's op
// set that the opset ("CoreML7") has; that table is known in part, the rest is a guess from the op's family.
std::string histogram_key(std::string_view op, std::string_view opset);

// Labels of a classifier program, as text: the `classes` of its `classify` op; empty when it has none.
std::vector<std::string> program_class_labels(const ir::Program& program);

// "1 × 1...2048" for a range, "1 | 2 | 4" for enumerated shapes; empty when the shape is fixed.
std::string shape_flexibility(const coreml::ArrayType& array);

// Programs of a model, or of the stages of a pipeline in order (null for a stage that is none). `class_name`: base name
// of the source.
std::string metadata_json(const coreml::Model& model, const std::vector<const ir::Program*>& programs, const std::string& class_name);

}  // namespace mlt
