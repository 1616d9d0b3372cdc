// Smaller weights for a whole model: ML programs, neural networks, and pipelines of them.
#pragma once
#include <memory>
#include <span>

#include "lib/base/result.h"
#include "lib/compress/config.h"
#include "lib/compress/report.h"
#include "lib/coreml/model.h"
#include "lib/coreml/weight_source.h"
#include "lib/ir/graph.h"

namespace mlt::compress {

// Changes `model` in place. programs: those of the model as load_programs() of lib/container gives them (one, or one per
// stage of a pipeline; null where a stage has none); they are used up. All constants of ML programs that belong in a
// weight file, changed or not, go to `sink` one after the other, so memory does not grow with the model; sink may be null
// when there are no programs. ML programs are then stored into the model with references to the sink's file.
//
// kUnsupported when there is nothing that could be compressed in a model of this kind, or when the opset does not have
// what is asked for (all reasons at once); kInput when weights are missing or damaged. The model is then half changed
// and of no use.
Result<Report> compress(coreml::Model& model, std::span<const std::unique_ptr<ir::Program>> programs, const Config& config,
                        coreml::WeightSink* sink);

}  // namespace mlt::compress
