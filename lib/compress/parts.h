// What compress() is made of.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "lib/compress/compress.h"

namespace mlt::compress {

// Larger magnitudes overflow on the way to codes; infinities and NaN have none.
constexpr float kLargest = 1e35f;
constexpr const char* kBeyond = "infinite, not a number or beyond 1e35 in places";

// expand.cc: replaces the constexpr ops that are selected, and those they are made of, by constants in memory. `changed`
// holds a report for each constant that remains in use, keyed by its op.
using Expanded = std::map<const ir::Op*, WeightReport>;
Result<Expanded> expand_function(ir::Function& function, ops::Opset opset, const Config& config);

// program.cc: compresses one program and moves its constants to the sink. `spec_version` is raised when need be.
Status compress_program(ir::Program& program, const Config& config, coreml::WeightSink& sink, int* spec_version, const std::string& stage, Report* report);

// network.cc: every neural network in the model, stages included.
Status compress_networks(coreml::Model& model, const Config& config, Report* report);

// opset.cc: makes the programs' functions that are older use this opset. kUnsupported, with all reasons, when an op is
// not there or means something else.
Status raise_opset(ir::Program& program, ops::Opset target, Report* report);
std::string opset_name(ops::Opset opset);  // "CoreML6 (iOS16)"

// The names by which --only and --skip find a constant.
std::vector<std::string> weight_names(const ir::Value& value, const std::vector<ir::Op*>& users);

// "; " between the reasons of several things that are not supported.
std::string joined(const std::vector<std::string>& reasons, const char* separator = "; ");

}  // namespace mlt::compress
