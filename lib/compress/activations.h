// Activations in eight bits: pairs of quantize and dequantize before the ops that gain by it, as coremltools'
// linear_quantize_activations inserts them (optimize/coreml/_quantization_passes.py): before x of conv, linear, avg_pool
// and max_pool, and before x and y of add where neither is a constant.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "lib/compress/config.h"
#include "lib/compress/report.h"
#include "lib/ir/graph.h"

namespace mlt::compress {

struct ActivationRange {
  float low = 0, high = 0;
};

struct ActivationPlan {
  bool is_signed = true, symmetric = true;
  std::map<std::string, ActivationRange> ranges;  // by the value's name; a value without one stays as it is
  std::vector<Pattern> only = {}, skip = {};      // by the op's name
  std::optional<ops::Opset> target = {};          // raise the opset to this one first
};

// The values that would be quantized, each once, in order; what a calibration must measure.
std::vector<std::string> activations_of(const ir::Program& program, const ActivationPlan& plan);

// Needs opset CoreML7 or later: kUnsupported otherwise.
Status quantize_activations(ir::Program& program, const ActivationPlan& plan, Report* report);

}  // namespace mlt::compress
