// What can be said of a model without running it. examine() gathers; the reports only lay it out.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/result.h"
#include "lib/container/open.h"
#include "lib/coreml/model.h"
#include "lib/coreml/training.h"
#include "lib/coreml/validate.h"
#include "lib/ir/graph.h"
#include "lib/tensor/tensor.h"

namespace mlt::inspect {

// Counts, the largest first.
using Counts = std::vector<std::pair<std::string, int64_t>>;

// A model opened for inspection: its program, or those of its stages, loaded.
struct Subject {
  OpenedModel opened;
  // One entry, or one per stage of a pipeline; null where there is no ML program.
  std::vector<std::unique_ptr<ir::Program>> programs;
};
// Completes the model of MIL text. Weights may be missing.
Result<Subject> prepare(OpenedModel opened);

struct Statistics {
  double min = 0, max = 0, mean = 0, deviation = 0;  // of the finite elements; 0 when there are none
  int64_t zeros = 0, not_finite = 0;
};
// One stored tensor.
struct Weight {
  std::string name;     // unique: "encoder_weight", "conv1.weights"; stages and further functions in front: "1/", "f/"
  std::string storage;  // element type as stored: "fp16", "int8", "palette 4-bit", "float32"
  std::string place;    // "@model_path/weights/weight.bin:64" or "model"
  Dims dims;
  int64_t elements = 0;
  uint64_t bytes = 0;
  bool missing = false;  // its file is not there
  bool floats = false;
  bool shares = false;   // stored by an earlier row already
  std::optional<Statistics> statistics;  // of floating-point values, when asked for
};
std::vector<Weight> list_weights(const Subject& subject, bool with_statistics = false);
// Values as stored; those of neural networks dequantized. kUsage with near names in the hint when there is none of that
// name, kInput when its file is missing.
Result<Tensor> weight_values(const Subject& subject, std::string_view name);
std::optional<Statistics> statistics(const Tensor& tensor);  // nullopt unless floating-point and not empty

struct FunctionInfo {
  std::string name, opset;
  int64_t operations = 0;  // constants not counted
};

struct WeightTotal {
  std::string storage;
  int64_t tensors = 0;
  uint64_t bytes = 0;
};

struct Report {
  std::string name, file;
  std::string container;  // "Core ML model", "model package", ...
  bool sealed = false;
  std::string kind;  // "mlProgram"; "type4711" for one not known here
  int kind_number = 0;
  int spec_version = 0;
  bool updatable = false;
  std::optional<coreml::Training> training;  // of updatable models; of pipelines in their stages
  std::string available;  // "iOS 17.0, macOS 14.0"; empty when the version is not known
  coreml::Description description;
  std::vector<FunctionInfo> functions;  // of ML programs
  Counts operations;                    // of ML programs, constants not counted
  Counts layers;                        // of neural networks, and of compiled ones as their compiler made them
  std::vector<WeightTotal> weights;     // by storage, shared ones once
  int64_t weight_tensors = 0;
  uint64_t weight_bytes = 0;
  std::vector<std::string> missing_files;
  std::vector<std::string> labels;
  std::vector<std::string> needs;  // what else is necessary to run it
  std::vector<Report> stages;           // of pipelines; `name` is the stage's
};
Report examine(const Subject& subject);

// The report for people, and as JSON (schema "mlinspect", version 1; fields in man/mlinspect.1).
std::string report_text(const Report& report);
std::string report_json(const Report& report);
std::string counts_text(const Counts& counts);
std::string counts_json(const Report& report);
std::string weights_text(const std::vector<Weight>& weights);
std::string weights_json(const std::string& file, const std::vector<Weight>& weights);

// Everything that is wrong: with the message (coreml::validate), and with the programs (ir::verify).
std::vector<coreml::Finding> check(const Subject& subject);
std::string findings_text(const Report& report, const std::vector<coreml::Finding>& findings);
std::string findings_json(const Report& report, const std::vector<coreml::Finding>& findings);

// MIL text of the program, or of every program of a pipeline behind a comment that names the stage. kUnsupported when
// there is none.
Result<std::string> mil_text(const Subject& subject);

}  // namespace mlt::inspect
