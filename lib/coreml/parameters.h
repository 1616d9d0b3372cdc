// What the message of a model says, field by field under the names of the format, for tools that show and
// compare. The names come from the .proto files (fields.awk), so every type of model and layer is covered.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "lib/coreml/model.h"
#include "lib/tensor/tensor.h"

namespace mlt::coreml {

// A field, or the same field of all elements of a list, as one column:
// "treeEnsemble.nodes[].branchFeatureValue". Numbers are int64, fp32 or fp64, enumerations their names
// (string), bytes uint8. A list's columns have an entry for each element, the default where it is not
// written; fields with a presence of their own (oneof) only where they are.
// Columns "... lengths" and "... given" say how many entries of a column each element has, where that is not clear.
struct Parameter {
  std::string name;
  Tensor values;  // rank 1; scalars have one element
};

// Of a message: `type` as in the .proto files, without package ("TreeEnsembleParameters.TreeNode"). Fields
// that are not known are columns too: "field 4711". Messages nested deeper than 50 and bytes that are no
// message end in what was read so far.
std::vector<Parameter> message_parameters(std::string_view type, ByteSpan bytes);

// Of the body of a model: networks without their layers, pipelines without their stages, nothing of ML
// programs. Types newer than this library are one column of bytes.
std::vector<Parameter> body_parameters(const Model& model);
// Of every layer of a network, in the order of nn_layers(): without its name, inputs, outputs, weights and
// nested layers.
std::vector<std::vector<Parameter>> layer_parameters(const Model& model);

}  // namespace mlt::coreml
