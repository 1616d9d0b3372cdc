// The files of a compiled neural network: model.espresso.net, .shape and .weights, model/coremldata.bin and
// neural_network_optionals/coremldata.bin (reference mlmodelc.md section 6). Their meaning is lib/coreml/espresso.h's.
#pragma once
#include <map>
#include <string>

#include "lib/base/result.h"
#include "lib/container/file_tree.h"
#include "lib/coreml/espresso.h"

namespace mlt {

// kInput when the text is no such JSON. `shape` may be empty.
Result<coreml::EspressoNetwork> parse_espresso(ByteSpan net, ByteSpan shape);

// Gives `model`, whose type and description are known, the layers that lie in the tree. Errors: read_espresso's, kInput
// for damaged or missing files.
Status load_espresso(const FileTree& tree, coreml::Model& model);

// The files of a network in its written form, by name. `model`: its description.
std::map<std::string, Blob> espresso_files(const coreml::WrittenEspresso& written, const coreml::Model& model);

}  // namespace mlt
