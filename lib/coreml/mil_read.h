// ML programs: from the wire format to the IR. Lossless in functions, blocks, ops, bindings, types, values and
// attributes; not kept are doc strings, attributes of tensor types, and all but one specialization of a function's
// body (Core ML runs the one named by the function's opset; coremltools never writes another).
#pragma once
#include <memory>

#include "lib/base/result.h"
#include "lib/coreml/model.h"
#include "lib/coreml/weight_source.h"
#include "lib/ir/graph.h"
#include "lib/ir/text.h"

namespace mlt::coreml {

// The program of a model of kind mlProgram; kUsage for another kind. File-stored constants are windows on the mapped
// weight file, so this is cheap for any size of weights. Constants of a weight file that is missing, or of any when
// `weights` is null, keep their BlobRef and have an invalid tensor. A record that does not fit its type is kInput.
// Values of sibling blocks that share a name are renamed, since names are unique within an ir::Function.
Result<std::unique_ptr<ir::Program>> load_program(const Model& model, const WeightSource* weights);

// How the above resolves file constants, for ir::parse. `weights` may be null and must outlive the resolver.
ir::BlobResolver blob_resolver(const WeightSource* weights);

}  // namespace mlt::coreml
