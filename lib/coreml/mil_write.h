// ML programs: from the IR to the wire format.
#pragma once
#include "lib/base/result.h"
#include "lib/coreml/model.h"
#include "lib/coreml/weight_source.h"
#include "lib/ir/graph.h"

namespace mlt::coreml {

struct StoreOptions {
  // Constants that still lie in a weight file (ir::Literal::blob) are written as references to it: for callers that
  // copy the weight files whole. Otherwise they are read and written anew, and a missing weight file is an error.
  bool keep_file_references = false;
};

// Makes `program` the body of `model` (kind mlProgram), replacing what was there; the description is the caller's.
// Values of constants and of constexpr parameters go to `weights` by coremltools' rule: ten elements or more, float or
// 8-bit or narrower, from specification version 9 (model.spec_version()) also 16- and 32-bit integers; a tensor shared
// by several ops is added once. Order of blobs: order of ops, functions by name. Everything else, and all of it when
// `weights` is null, is stored in the message. kInput on a program that ir::verify refuses.
Status store_program(Model& model, const ir::Program& program, WeightSink* weights, const StoreOptions& options = {});

// Whether a constant of this type and size goes to the weight file.
bool belongs_in_weight_file(DType dtype, int64_t elements, int spec_version);

}  // namespace mlt::coreml
