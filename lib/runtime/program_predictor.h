// Predictions by a program of the IR: an ML program, or a neural network lifted into one. Internal to lib/runtime.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/runtime/predictor.h"

namespace mlt {

struct ProgramInterface {
  std::shared_ptr<const ir::Program> program;
  const ir::Function* function = nullptr;
  coreml::FunctionDescription description;
  // Name of the function's input or output for a feature; the feature's own name when absent.
  std::map<std::string, std::string> input_values, output_values;
  // A neural network classifier's labels and the value that holds its probabilities. ML programs say the same with
  // the op "classify".
  struct Labels {
    std::vector<std::string> strings;
    std::vector<int64_t> ints;
    std::string probabilities;  // name of the function's output
    size_t size() const { return ints.empty() ? strings.size() : ints.size(); }
  };
  std::optional<Labels> labels;
};

Result<std::unique_ptr<Predictor>> make_program_predictor(ProgramInterface interface, const PredictOptions& options, const Predictor* parent = nullptr);

}  // namespace mlt
